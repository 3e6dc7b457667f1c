package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"firebreak/functions"
	"firebreak/lib/account"
	"firebreak/lib/asl"
)

var serves = regexp.MustCompile(`\.(?:Containing|Eradicating)\("([a-z-]+)"`)

// Actions lists the actions of a project: folders with an action.yaml, and those whose code says that they are one.
func Actions(root string) ([]string, error) {
	found := map[string]bool{}
	yamls, err := filepath.Glob(filepath.Join(root, "functions", "*", "action.yaml"))
	if err != nil {
		return nil, err
	}
	mains, err := filepath.Glob(filepath.Join(root, "functions", "*", "main.go"))
	if err != nil {
		return nil, err
	}
	for _, f := range yamls {
		found[filepath.Base(filepath.Dir(f))] = true
	}
	for _, f := range mains {
		if serves.MatchString(text(f)) {
			found[filepath.Base(filepath.Dir(f))] = true
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// Missing says what an action lacks of all that it needs, each by its name and place.
func Missing(root, name string) []string {
	var out []string
	miss := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	in := func(parts ...string) string { return filepath.Join(append([]string{root}, parts...)...) }
	s, folder := stem(name), "functions/"+name

	a, err := functions.Parse(name, []byte(text(in(folder, "action.yaml"))))
	if _, there := os.Stat(in(folder, "action.yaml")); there != nil {
		miss("%s/action.yaml is not there", folder)
	} else if err != nil {
		miss("%s/action.yaml: %v", folder, err)
	}
	code := text(in(folder, "main.go"))
	tells := a.Tells()
	switch m := serves.FindStringSubmatch(code); {
	case code == "":
		miss("%s/main.go is not there", folder)
	case tells:
	case m == nil || m[1] != name:
		miss("%s/main.go does not serve %q on the spine", folder, name)
	case a.Destroys != strings.Contains(m[0], "Eradicating"):
		miss("%s/action.yaml says destroys: %v, and main.go serves it by %s", folder, a.Destroys, m[0])
	}
	if strings.Contains(code, "unwritten") {
		miss("%s/main.go is the frame still: write the service's calls in the place of unwritten, and the package's comment", folder)
	}
	if text(in(folder, "main_test.go")) == "" {
		miss("%s/main_test.go is not there", folder)
	}
	goldens := []string{"applied", "planned"}
	if !a.Destroys {
		goldens = append(goldens, "already")
	}
	switch {
	case a.Destroys || tells:
	case a.Undoable():
		goldens = append(goldens, "refused", "restored")
	default:
		goldens = append(goldens, "refused", "not-undone")
	}
	for _, g := range goldens {
		if text(in(folder, "testdata", g+".json")) == "" {
			miss("the golden result %s/testdata/%s.json is not there", folder, g)
		}
	}

	machines := map[string]string{"respond": "WhichAction?"}
	if a.Destroys {
		machines["respond"] = "WhichEradication?"
	}
	if a.Undoable() {
		machines["release"] = "WhichAction?"
	}
	templates := text(in("cloudformation", "statemachines.yaml"))
	for _, machine := range slices.Sorted(maps.Keys(machines)) {
		file := "statemachines/" + machine + ".asl.json"
		m, err := asl.Load(in(file))
		if err != nil {
			miss("%v", err)
			continue
		}
		if _, ok := m.State(s); !ok {
			miss("%s has no state %s", file, s)
		}
		if q, _ := m.State(machines[machine]); !slices.ContainsFunc(q.Choices, func(r asl.Rule) bool { return r.Next == s && strings.Contains(r.Condition, "'"+name+"'") }) {
			miss("%s %s does not choose %s for %q", file, machines[machine], s, name)
		}
		M := stem(machine)
		if !strings.Contains(section(templates, M+"Machine"), "\n        "+s+"Function: ") {
			miss("cloudformation/statemachines.yaml %sMachine has no substitution %sFunction", M, s)
		}
		if !strings.Contains(section(templates, M+"Role"), ":function:firebreak-"+name+"'") {
			miss("cloudformation/statemachines.yaml %sRole may not invoke firebreak-%s", M, name)
		}
	}

	blocks := text(in("cloudformation", "functions.yaml"))
	for _, part := range []string{"Function", "Role", "Logs"} {
		if section(blocks, s+part) == "" {
			miss("cloudformation/functions.yaml has no %s%s", s, part)
		}
	}
	var askers []string
	switch {
	case a.Destroys:
		askers = []string{"RequestApproval", "Sweep"}
	case !tells && a.Unwatched == "":
		askers = []string{"WatchContainment"}
	}
	for _, asker := range askers {
		if !strings.Contains(section(blocks, asker+"Role"), ":function:firebreak-"+name+"'") {
			miss("cloudformation/functions.yaml %sRole may not invoke firebreak-%s", asker, name)
		}
	}
	if !tells {
		member := text(in("cloudformation", "member.yaml"))
		takes := section(blocks, s+"Role")
		if !strings.Contains(takes, account.RolePrefix+string(account.Read)) {
			miss("cloudformation/functions.yaml %sRole may not take the role Read", s)
		}
		changes := 0
		for _, role := range account.Roles() {
			if !strings.Contains(takes, account.RolePrefix+string(role)+"'") {
				continue
			}
			if role != account.Read {
				changes++
			}
			if !strings.Contains(section(member, string(role)+"Role"), ":role/firebreak-"+name+"-*'") {
				miss("cloudformation/member.yaml %sRole does not trust firebreak-%s", role, name)
			}
		}
		if changes == 0 {
			miss("cloudformation/functions.yaml %sRole may take no role that changes", s)
		}
	}
	if !strings.Contains(text(in("README.md")), "\n| "+name+" |") {
		miss("README.md has no row for it: go run ./scripts/catalogue -into README.md")
	}
	return out
}

// text reads a file; what cannot be read is empty.
func text(path string) string {
	b, _ := os.ReadFile(path)
	return string(b)
}

// section gives a resource of a template, without its comment.
func section(template, id string) string {
	i := strings.Index(template, "\n  "+id+":\n")
	if i < 0 {
		return ""
	}
	rest := template[i+1:]
	end := regexp.MustCompile(`\n {0,2}[^ \n]`).FindStringIndex(rest[1:])
	if end == nil {
		return rest
	}
	return rest[:end[0]+1]
}

package main

import (
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"firebreak/functions"
	"firebreak/lib/account"

	"go.yaml.in/yaml/v3"
)

// Row is what the catalogue says of one action.
type Row struct {
	functions.Action
	// Does is the first sentence of the package's comment, Undo what it says of its undo, or why there is none.
	Does, Undo string
	// May are the IAM actions that its sessions ask for, by the remediation role that grants them.
	May map[account.Role][]string
}

// Table gives the catalogue as Markdown. root is the project's directory.
func Table(root string) (string, error) {
	rows, err := Rows(root)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("| action | target | does | undo | may, in the account | approval |\n|---|---|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", r.Name, target(r), cell(r.Does), cell(r.Undo), may(r), approval(r))
	}
	return b.String(), nil
}

func target(r Row) string {
	if r.Tells() {
		return "–"
	}
	return strings.Join(r.Targets, ", ")
}

func may(r Row) string {
	var out []string
	for _, role := range account.Roles() {
		if list := r.May[role]; len(list) > 0 {
			out = append(out, fmt.Sprintf("**%s** %s", role, strings.Join(list, ", ")))
		}
	}
	if len(out) == 0 {
		return "nothing"
	}
	return strings.Join(out, "<br>")
}

func approval(r Row) string {
	if r.Destroys {
		return "two people, of exactly what they were shown"
	}
	if r.Tells() {
		return "none"
	}
	return "none; one person for what the guard refuses"
}

func cell(text string) string { return strings.ReplaceAll(text, "|", "\\|") }

// Rows gives the actions, those that destroy last, each group by name.
func Rows(root string) ([]Row, error) {
	known, err := read(root)
	if err != nil {
		return nil, err
	}
	granted, err := grants(filepath.Join(root, "cloudformation", "member.yaml"))
	if err != nil {
		return nil, err
	}
	takes, err := takers(filepath.Join(root, "cloudformation", "functions.yaml"))
	if err != nil {
		return nil, err
	}
	var out []Row
	for _, name := range slices.Sorted(maps.Keys(known)) {
		r := Row{Action: known[name], May: map[account.Role][]string{}}
		folder := filepath.Join(root, "functions", name)
		if err := r.describe(filepath.Join(folder, "main.go")); err != nil {
			return nil, fmt.Errorf("functions/%s: %w", name, err)
		}
		asked, err := asks(folder)
		if err != nil {
			return nil, err
		}
		for _, a := range asked {
			for _, role := range takes[name] {
				if granted[role][a] {
					r.May[role] = append(r.May[role], a)
				}
			}
		}
		out = append(out, r)
	}
	slices.SortStableFunc(out, func(a, b Row) int {
		switch {
		case a.Destroys == b.Destroys:
			return 0
		case b.Destroys:
			return -1
		}
		return 1
	})
	return out, nil
}

// read gives the actions by what stands in root now, not by what this program was built with.
func read(root string) (map[string]functions.Action, error) {
	files, err := filepath.Glob(filepath.Join(root, "functions", "*", "action.yaml"))
	if err != nil {
		return nil, err
	}
	out := map[string]functions.Action{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		name := filepath.Base(filepath.Dir(f))
		if out[name], err = functions.Parse(name, text); err != nil {
			return nil, fmt.Errorf("functions/%s/action.yaml: %w", name, err)
		}
	}
	return out, nil
}

var (
	sentence = regexp.MustCompile(`^(.*?)\.(?:\s|$)`)
	undo     = regexp.MustCompile(`(?:Undo: |Its undo )(.*?)\.(?:\s|$)`)
)

// describe takes what the package's comment says. Errors: it does not say what the action does, or, where there is an undo,
// what that does.
func (r *Row) describe(file string) error {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.PackageClauseOnly|parser.ParseComments)
	if err != nil {
		return err
	}
	text := strings.Join(strings.Fields(f.Doc.Text()), " ")
	said, named := strings.CutPrefix(strings.TrimPrefix(text, "Command "), r.Name+" ")
	m := sentence.FindStringSubmatch(said)
	if !named || m == nil {
		return fmt.Errorf("the package's comment does not begin with %q and a sentence of what it does", r.Name)
	}
	r.Does = m[1]
	if !r.Undoable() {
		r.Undo = "none: " + r.NoUndo
		return nil
	}
	if m = undo.FindStringSubmatch(text); m == nil {
		return errors.New(`the package's comment says nothing of the undo: a sentence that begins with "Its undo" or "Undo:"`)
	}
	r.Undo = m[1]
	return nil
}

// asked is an IAM action in Go code; a string that a colon follows is a condition's key.
var asked = regexp.MustCompile(`"([a-z0-9-]+:[A-Z][A-Za-z0-9]+)"(:?)`)

// asks lists the IAM actions that stand in a folder's code, each once, sorted.
func asks(folder string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		code, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		for _, m := range asked.FindAllStringSubmatch(string(code), -1) {
			if m[2] == "" {
				out = append(out, m[1])
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// grants gives what each remediation role allows.
func grants(file string) (map[account.Role]map[string]bool, error) {
	resources, err := resources(file)
	if err != nil {
		return nil, err
	}
	out := map[account.Role]map[string]bool{}
	for _, role := range account.Roles() {
		out[role] = map[string]bool{}
		for _, s := range statements(at(resources[string(role)+"Role"], "Properties", "Policies")) {
			if value(at(s, "Effect")) != "Allow" {
				continue
			}
			for _, a := range list(at(s, "Action")) {
				out[role][a] = true
			}
		}
	}
	return out, nil
}

var remediation = regexp.MustCompile(`role/` + account.RolePrefix + `(\w+)$`)

// takers gives the remediation roles that each function may take.
func takers(file string) (map[string][]account.Role, error) {
	resources, err := resources(file)
	if err != nil {
		return nil, err
	}
	out := map[string][]account.Role{}
	for _, r := range resources {
		if value(at(r, "Type")) != "AWS::IAM::Role" {
			continue
		}
		for _, s := range statements(at(r, "Properties", "Policies")) {
			name := value(at(list0(at(r, "Properties", "Policies")), "PolicyName"))
			for _, arn := range list(at(s, "Resource")) {
				if m := remediation.FindStringSubmatch(arn); m != nil {
					out[name] = append(out[name], account.Role(m[1]))
				}
			}
		}
	}
	return out, nil
}

// resources gives a template's resources by their logical ids.
func resources(file string) (map[string]*yaml.Node, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	out := map[string]*yaml.Node{}
	if n := at(doc.Content[0], "Resources"); n != nil {
		for i := 0; i+1 < len(n.Content); i += 2 {
			out[n.Content[i].Value] = n.Content[i+1]
		}
	}
	return out, nil
}

// at follows keys into mappings; nil where one is missing.
func at(n *yaml.Node, keys ...string) *yaml.Node {
	for _, k := range keys {
		var next *yaml.Node
		if n != nil && n.Kind == yaml.MappingNode {
			for i := 0; i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == k {
					next = n.Content[i+1]
				}
			}
		}
		n = next
	}
	return n
}

func value(n *yaml.Node) string {
	if n == nil {
		return ""
	}
	return n.Value
}

// list gives the texts of a sequence, or of a single scalar.
func list(n *yaml.Node) []string {
	switch {
	case n == nil:
		return nil
	case n.Kind == yaml.ScalarNode:
		return []string{n.Value}
	}
	var out []string
	for _, c := range n.Content {
		out = append(out, c.Value)
	}
	return out
}

func list0(n *yaml.Node) *yaml.Node {
	if n == nil || n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		return nil
	}
	return n.Content[0]
}

// statements finds every statement under n: whatever has an Effect.
func statements(n *yaml.Node) []*yaml.Node {
	if n == nil {
		return nil
	}
	if at(n, "Effect") != nil {
		return []*yaml.Node{n}
	}
	var out []*yaml.Node
	for _, c := range n.Content {
		out = append(out, statements(c)...)
	}
	return out
}

package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// The edits take a file's text and give it with one thing more, in its place and in the file's own form. What is there already
// is left as it is. An error says that the file does not look as it does for the other actions.

var next = regexp.MustCompile(`"Next": "(\w+)"`)

// addState adds the choice and the state of an action to a question of a machine: the choice last, or before that of the state named
// before; the state before the one named so. It is made like the first of its neighbours.
func addState(text, asked, before, name string) (string, error) {
	lines, s := strings.Split(text, "\n"), stem(name)
	question := find(lines, 0, `"`+asked+`": {`)
	first := find(lines, question, `"Choices": [`) + 1
	last := find(lines, first, `],`) - 1
	if question < 0 || first <= 0 || last < first {
		return "", fmt.Errorf("there is no question %s with a list of choices", asked)
	}
	if strings.Contains(text, fmt.Sprintf(`"%s": {`, s)) {
		return text, nil
	}
	m := next.FindStringSubmatch(lines[first])
	if m == nil {
		return "", fmt.Errorf("the first choice of %s leads nowhere", asked)
	}
	choice := indent(lines[first]) + fmt.Sprintf(`{"Condition": "{%% $states.input.action = '%s' %%}", "Next": "%s"}`, name, s)
	at := last + 1
	if i := slices.IndexFunc(lines[first:last+1], func(l string) bool { return strings.Contains(l, `"Next": "`+before+`"`) }); i >= 0 {
		at = first + i
		choice += ","
	} else {
		lines[last] += ","
	}
	lines = slices.Insert(lines, at, choice)
	begin := find(lines, at, fmt.Sprintf(`"%s": {`, m[1]))
	end := begin + 1
	for end < len(lines) && lines[end] != indent(lines[begin])+"}," {
		end++
	}
	to := find(lines, at, fmt.Sprintf(`"%s": {`, before))
	if begin < 0 || end >= len(lines) || to < 0 {
		return "", fmt.Errorf("there is no state %s to copy, or no state %s to put it before", m[1], before)
	}
	state := strings.ReplaceAll(strings.Join(lines[begin:end+1], "\n"), m[1], s)
	state = regexp.MustCompile(`"TimeoutSeconds": \d+`).ReplaceAllString(state, `"TimeoutSeconds": 70`)
	return strings.Join(slices.Insert(lines, to, state), "\n"), nil
}

var functionName = regexp.MustCompile(`^      FunctionName: firebreak-([a-z-]+)$`)

// addFunction adds a function's block to functions.yaml, in the order of the folders.
func addFunction(text, block, name string) (string, error) {
	lines := strings.Split(text, "\n")
	at := find(lines, 0, "Outputs:")
	for i, l := range lines {
		m := functionName.FindStringSubmatch(l)
		switch {
		case m == nil:
			continue
		case m[1] == name:
			return text, nil
		case m[1] < name:
			continue
		}
		for at = i; !strings.HasSuffix(lines[at], "Function:"); at-- {
		}
		for at > 0 && strings.HasPrefix(lines[at-1], "  #") {
			at--
		}
		break
	}
	if at < 0 {
		return "", errors.New("there is no function to put it before, and no Outputs")
	}
	return strings.Join(slices.Insert(lines, at, strings.TrimRight(block, "\n"), ""), "\n"), nil
}

// addToMachine adds a function to the substitutions of a machine and to what its role may invoke.
func addToMachine(text, machine, name string) (string, error) {
	arn := `!Sub 'arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:firebreak-` + name + `'`
	text, err := addSorted(text, machine+"Machine", regexp.MustCompile(`^        \w+Function: `), "        "+stem(name)+"Function: "+arn)
	if err != nil {
		return "", err
	}
	return addSorted(text, machine+"Role", regexp.MustCompile(`^                  - !Sub '.*:function:firebreak-`), "                  - "+arn)
}

// addInvocation lets a function of the hub call an action's function.
func addInvocation(text, caller, name string) (string, error) {
	return addSorted(text, caller+"Role", regexp.MustCompile(`^                  - !Sub '.*:function:firebreak-`), "                  - !Sub 'arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:firebreak-"+name+"'")
}

// addTrust lets a function's role take a remediation role.
func addTrust(text, role, name string) (string, error) {
	return addSorted(text, role+"Role", regexp.MustCompile(`^                  - !Sub '.*:role/firebreak-[a-z-]+-\*'`),
		"                  - !Sub 'arn:${AWS::Partition}:iam::${HubAccount}:role/firebreak-"+name+"-*'")
}

// addSorted adds a line among those of its kind in a resource, in their order.
func addSorted(text, resource string, kind *regexp.Regexp, line string) (string, error) {
	lines := strings.Split(text, "\n")
	begin := slices.Index(lines, "  "+resource+":")
	if begin < 0 {
		return "", fmt.Errorf("there is no resource %s", resource)
	}
	end := begin + 1
	for end < len(lines) && (lines[end] == "" || strings.HasPrefix(lines[end], "   ")) {
		end++
	}
	at := -1
	for i := begin; i < end; i++ {
		if lines[i] == line {
			return text, nil
		}
		if kind.MatchString(lines[i]) {
			if lines[i] > line && at >= 0 {
				break
			}
			if at = i + 1; lines[i] > line {
				at = i
				break
			}
		}
	}
	if at < 0 {
		return "", fmt.Errorf("%s has no line like %q to put it beside", resource, strings.TrimSpace(line))
	}
	return strings.Join(slices.Insert(lines, at, line), "\n"), nil
}

// find gives the first line from one on that has this text, blanks at its ends aside; -1 where there is none.
func find(lines []string, from int, text string) int {
	for i := max(from, 0); i < len(lines); i++ {
		if strings.TrimSpace(lines[i]) == text {
			return i
		}
	}
	return -1
}

func indent(line string) string { return line[:len(line)-len(strings.TrimLeft(line, " "))] }

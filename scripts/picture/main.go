// Command picture draws a state machine as a Mermaid flowchart, for the README.
//
//	go run ./scripts/picture [statemachines/respond.asl.json]
//	go run ./scripts/picture -into FILE
//
// It writes one machine to standard output, or with -into all of them, each between its own marks: <!-- machine --> and
// <!-- /machine --> for the one that responds, <!-- release --> and <!-- /release --> for the one that releases.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"firebreak/lib/asl"
)

func main() {
	into := flag.String("into", "", "file whose blocks are replaced, one a machine")
	flag.Parse()
	definition := Machines["machine"]
	if flag.NArg() > 0 {
		definition = flag.Arg(0)
	}
	if err := run(".", definition, *into); err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}

// Machines are the machines' definitions by the marks of their blocks.
var Machines = map[string]string{"machine": "statemachines/respond.asl.json", "release": "statemachines/release.asl.json"}

func run(root, definition, into string) error {
	if into == "" {
		m, err := asl.Load(definition)
		if err != nil {
			return err
		}
		_, err = fmt.Print(Picture(m))
		return err
	}
	text, err := os.ReadFile(into)
	if err != nil {
		return err
	}
	drawn := string(text)
	for mark, definition := range Machines {
		m, err := asl.Load(filepath.Join(root, definition))
		if err != nil {
			return err
		}
		before, _, after, err := Block(drawn, mark)
		if err != nil {
			return fmt.Errorf("%s: %w", into, err)
		}
		drawn = before + "\n" + Fenced(m) + after
	}
	return os.WriteFile(into, []byte(drawn), 0o644)
}

// Block splits a text at the marks of a block: what is before it (with the first mark), the block itself, what is after it.
// Errors: a mark is missing.
func Block(text, mark string) (before, block, after string, err error) {
	begin, end := "<!-- "+mark+" -->", "<!-- /"+mark+" -->"
	i, j := strings.Index(text, begin), strings.Index(text, end)
	if i < 0 || j < i {
		return "", "", "", fmt.Errorf("no block between %s and %s", begin, end)
	}
	i += len(begin)
	return text[:i], strings.TrimPrefix(text[i:j], "\n"), text[j:], nil
}

// Fenced is the picture as a block of Markdown.
func Fenced(m asl.Machine) string { return "```mermaid\n" + Picture(m) + "```\n" }

// Picture draws a machine. Choices are diamonds, endings are round, a Map is a box around what it runs for each item. Failures
// and unknown answers, which nearly all lead to one state of their level, are drawn as one dotted line to it.
func Picture(m asl.Machine) string {
	var b strings.Builder
	b.WriteString("%%{init: {\"flowchart\": {\"nodeSpacing\": 18, \"rankSpacing\": 28}}}%%\nflowchart TD\n")
	level(&b, m, "  ", "any state")
	b.WriteString("  classDef clean stroke:#2e7d32,stroke-width:2px\n  classDef dirty stroke:#c62828,stroke-width:2px\n  classDef quiet stroke-dasharray:3 3\n")
	return b.String()
}

// level draws states in the order of the file, edges next, and boxes last: Mermaid lays out what stands first at the top.
func level(b *strings.Builder, m asl.Machine, indent, any string) {
	failure, from := catchAll(m)
	for _, s := range m.States {
		switch id := id(s.Name); s.Type {
		case "Choice":
			fmt.Fprintf(b, "%s%s{\"%s\"}\n", indent, id, s.Name)
		case "Succeed":
			fmt.Fprintf(b, "%s%s([\"%s\"]):::clean\n", indent, id, s.Name)
		case "Fail":
			fmt.Fprintf(b, "%s%s([\"%s\"]):::dirty\n", indent, id, s.Name)
		case "Map":
		default:
			fmt.Fprintf(b, "%s%s[\"%s\"]\n", indent, id, s.Name)
		}
	}
	for i, s := range m.States {
		var drawn []string
		for _, e := range s.Edges() {
			covered := e.To == failure && (e.Kind == asl.Default || e.Kind == asl.Caught && slices.Contains(from, s.Name))
			if covered || e.Kind == asl.Caught && slices.Contains(drawn, e.To) {
				continue
			}
			drawn = append(drawn, e.To)
			to := id(e.To)
			if position(m, e.To) < i { // a line upwards would turn Mermaid's layout over
				to = fmt.Sprintf("again_%s([\"%s again\"]):::quiet", to, e.To)
			}
			fmt.Fprintf(b, "%s%s %s %s\n", indent, id(s.Name), arrow(e), to)
		}
	}
	if failure != "" {
		fmt.Fprintf(b, "%sfails_%s([\"%s that fails\"]):::quiet -.-> %s\n", indent, id(failure), any, id(failure))
	}
	for _, s := range m.States {
		if s.ItemProcessor != nil {
			how := "at once"
			if s.MaxConcurrency == float64(1) {
				how = "one after the other"
			}
			fmt.Fprintf(b, "%ssubgraph %s[\"%s: each step, %s\"]\n%s  direction LR\n", indent, id(s.Name), s.Name, how, indent)
			level(b, *s.ItemProcessor, indent+"  ", "any action")
			fmt.Fprintf(b, "%send\n", indent)
		}
	}
}

// catchAll is the state that most catches of a level lead to, and the states whose catches all lead to it.
func catchAll(m asl.Machine) (to string, from []string) {
	count := map[string][]string{}
	for _, s := range m.States {
		targets := []string{}
		for _, c := range s.Catch {
			targets = append(targets, c.Next)
		}
		slices.Sort(targets)
		if targets = slices.Compact(targets); len(targets) == 1 {
			count[targets[0]] = append(count[targets[0]], s.Name)
		}
	}
	for _, s := range m.States {
		if len(count[s.Name]) > max(1, len(from)) || len(from) == 0 && len(count[s.Name]) == 1 && len(count) == 1 {
			to, from = s.Name, count[s.Name]
		}
	}
	return to, from
}

func arrow(e asl.Edge) string {
	switch label := ""; e.Kind {
	case asl.Caught:
		return "-.->"
	case asl.Default:
		return `-- "otherwise" -->`
	case asl.Chosen:
		if label = words(e.Label); label != "" && label != asl.Folder(e.To) {
			return fmt.Sprintf(`-- "%s" -->`, label)
		}
	}
	return "-->"
}

var literal = regexp.MustCompile(`'([^']*)'`)

// words says a rule by its comment, or else by the words that its condition looks for.
func words(label string) string {
	if !strings.HasPrefix(label, "{%") {
		return label
	}
	var out []string
	for _, m := range literal.FindAllStringSubmatch(label, -1) {
		out = append(out, m[1])
	}
	return strings.Join(out, ", ")
}

func position(m asl.Machine, name string) int {
	return slices.IndexFunc(m.States, func(s asl.State) bool { return s.Name == name })
}

// id is a state's name as Mermaid takes it.
func id(name string) string { return strings.ReplaceAll(name, "?", "_") }

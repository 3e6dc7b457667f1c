// Package cloudformation has the house rules of the templates, on top of what cfn-lint knows. It asserts what the local
// platform drops (recovery, encryption, retention), because nothing else would notice.
package cloudformation

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// template is one file, with its lines for messages and comments.
type template struct {
	name  string
	root  *yaml.Node
	lines []string
}

func read(t *testing.T, name string) template {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return template{name, doc.Content[0], strings.Split(string(text), "\n")}
}

func all(t *testing.T) []template {
	t.Helper()
	names, err := filepath.Glob("*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("no templates: %v", err)
	}
	var out []template
	for _, n := range names {
		out = append(out, read(t, n))
	}
	return out
}

// at follows keys into mappings; nil where one is missing.
func at(n *yaml.Node, keys ...string) *yaml.Node {
	for _, k := range keys {
		var next *yaml.Node
		for _, p := range pairs(n) {
			if p.key.Value == k {
				next = p.value
			}
		}
		n = next
	}
	return n
}

// dig is at for a path with dots, in which a number is a place in a sequence.
func dig(n *yaml.Node, path string) *yaml.Node {
	for _, k := range strings.Split(path, ".") {
		if i, err := strconv.Atoi(k); err == nil && n != nil && n.Kind == yaml.SequenceNode && i < len(n.Content) {
			n = n.Content[i]
			continue
		}
		n = at(n, k)
	}
	return n
}

// text is a scalar's value, with its tag in front where it is a function: "!Ref Key".
func text(n *yaml.Node) string {
	switch {
	case n == nil:
		return ""
	case strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!"):
		return n.Tag + " " + n.Value
	}
	return n.Value
}

type pair struct{ key, value *yaml.Node }

func pairs(n *yaml.Node) []pair {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	var out []pair
	for i := 0; i+1 < len(n.Content); i += 2 {
		out = append(out, pair{n.Content[i], n.Content[i+1]})
	}
	return out
}

func keys(n *yaml.Node) []string {
	out := []string{}
	for _, p := range pairs(n) {
		out = append(out, p.key.Value)
	}
	return out
}

// list gives the texts of a sequence, or of a single scalar.
func list(n *yaml.Node) []string {
	switch {
	case n == nil:
		return nil
	case n.Kind == yaml.ScalarNode:
		return []string{text(n)}
	}
	var out []string
	for _, c := range n.Content {
		out = append(out, text(c))
	}
	return out
}

func sorted(s []string) []string {
	out := slices.Clone(s)
	slices.Sort(out)
	return out
}

type resource struct {
	template
	id   string
	key  *yaml.Node
	node *yaml.Node
}

func (r resource) kind() string                       { return text(at(r.node, "Type")) }
func (r resource) property(keys ...string) *yaml.Node { return at(at(r.node, "Properties"), keys...) }
func (r resource) String() string                     { return r.name + " " + r.id }

func (t template) resources() []resource {
	var out []resource
	for _, p := range pairs(at(t.root, "Resources")) {
		out = append(out, resource{t, p.key.Value, p.key, p.value})
	}
	return out
}

func (t template) resource(tb testing.TB, id string) resource {
	tb.Helper()
	for _, r := range t.resources() {
		if r.id == id {
			return r
		}
	}
	tb.Fatalf("%s has no resource %s", t.name, id)
	return resource{}
}

// statement is one statement of any policy.
type statement struct {
	in   string
	node *yaml.Node
}

func (s statement) allows() bool { return text(at(s.node, "Effect")) == "Allow" }
func (s statement) sid() string  { return text(at(s.node, "Sid")) }

// statements finds every statement under n: whatever has an Effect.
func statements(in string, n *yaml.Node) []statement {
	if n == nil {
		return nil
	}
	if at(n, "Effect") != nil {
		return []statement{{in, n}}
	}
	var out []statement
	for _, c := range n.Content {
		out = append(out, statements(in, c)...)
	}
	return out
}

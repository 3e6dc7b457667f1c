package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const root = "../.."

func TestReadmeHasTheCatalogue(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, block, _, err := Block(string(text))
	if err != nil {
		t.Fatal(err)
	}
	table, err := Table(root)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(block, "\n"), strings.Split(table, "\n")); diff != "" {
		t.Errorf("README.md is behind the code: go run ./scripts/catalogue -into README.md (-readme +code):\n%s", diff)
	}
}

// What action.yaml says of the undo is what the code answers when it is asked for one.
func TestReasonsWithoutAnUndoAreTheCodes(t *testing.T) {
	rows, err := Rows(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		reason, found := "", false
		files, _ := filepath.Glob(filepath.Join(root, "functions", r.Name, "*.go"))
		for _, file := range files {
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range f.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok || fn.Name.Name != "NoUndo" || strings.HasSuffix(file, "_test.go") {
					continue
				}
				found = true
				ast.Inspect(fn.Body, func(n ast.Node) bool {
					if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
						reason, _ = strconv.Unquote(l.Value)
					}
					return true
				})
			}
		}
		contains := !r.Destroys && !r.Tells()
		if contains && found != !r.Undoable() || found && reason != r.NoUndo {
			t.Errorf("%s: action.yaml has noUndo %q, the code's NoUndo gives %q (there is one: %v)", r.Name, r.NoUndo, reason, found)
		}
	}
}

// The calls that an action looks with look only, by their names, and belong to no changing interface.
func TestReadsOnlyRead(t *testing.T) {
	looks := regexp.MustCompile(`^(Describe|Get|List|Head|Lookup|Simulate|BatchGet)`)
	rows, err := Rows(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		files, _ := filepath.Glob(filepath.Join(root, "functions", r.Name, "*.go"))
		for _, file := range files {
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				spec, ok := n.(*ast.TypeSpec)
				if !ok || spec.Name.Name != "reads" && spec.Name.Name != "source" {
					return true
				}
				calls, ok := spec.Type.(*ast.InterfaceType)
				if !ok {
					return true // a name for another package's interface, which is held to this where it stands
				}
				for _, m := range calls.Methods.List {
					for _, name := range m.Names {
						if !looks.MatchString(name.Name) {
							t.Errorf("%s looks with %s", r.Name, name.Name)
						}
					}
				}
				return true
			})
		}
	}
}

func TestTheTableSaysWhatTheTemplatesGrant(t *testing.T) {
	rows, err := Rows(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if r.Name == "terminate-instance" {
			if diff := cmp.Diff([]string{"ec2:ModifyInstanceAttribute", "ec2:TerminateInstances"}, r.May["Destroy"]); diff != "" || !r.Destroys || !strings.Contains(approval(r), "two people") {
				t.Errorf("%+v\n%s", r, diff)
			}
		}
	}
}

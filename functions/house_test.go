package functions

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// file is one file of the code that runs in Lambda, without tests.
type file struct {
	path string
	fset *token.FileSet
	*ast.File
}

func (f file) at(n ast.Node) string {
	return f.path + ":" + strconv.Itoa(f.fset.Position(n.Pos()).Line)
}

// forTests are packages of lib that no function is built with.
var forTests = []string{"actiontest", "asl", "compliancetest", "findingtest", "instancetest", "permission"}

// running gives the code of the functions and of what they are built with.
func running(t *testing.T) []file {
	t.Helper()
	var out []file
	for _, pattern := range []string{"*/*.go", "../lib/*/*.go", "../lib/*/*/*.go"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			if strings.HasSuffix(p, "_test.go") || slices.Contains(forTests, filepath.Base(filepath.Dir(p))) {
				continue
			}
			set := token.NewFileSet()
			parsed, err := parser.ParseFile(set, p, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, file{p, set, parsed})
		}
	}
	if len(out) < 100 {
		t.Fatalf("only %d files", len(out))
	}
	return out
}

// calls gives each call in n by its name as it is spelled: os.Getenv, panic.
func calls(n ast.Node, f func(name string, call *ast.CallExpr)) {
	ast.Inspect(n, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			switch fun := call.Fun.(type) {
			case *ast.Ident:
				f(fun.Name, call)
			case *ast.SelectorExpr:
				if x, ok := fun.X.(*ast.Ident); ok {
					f(x.Name+"."+fun.Sel.Name, call)
				}
			}
		}
		return true
	})
}

// A function starts in one place, so that each error leaves it under a name that the machines know, and reads its environment in main
// only: what it does depends on nothing else than what it is given.
func TestFunctionsStartInOnePlace(t *testing.T) {
	started := 0
	for _, f := range running(t) {
		boot := filepath.ToSlash(filepath.Dir(f.path)) == "../lib/boot"
		for _, i := range f.Imports {
			if i.Path.Value == `"github.com/aws/aws-lambda-go/lambda"` && !boot {
				t.Errorf("%s: lambda.Start is lib/boot's", f.at(i))
			}
		}
		for _, d := range f.Decls {
			fn, isFunc := d.(*ast.FuncDecl)
			if isFunc && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: what init does, nobody who reads main sees", f.at(fn))
			}
			main := isFunc && fn.Recv == nil && fn.Name.Name == "main"
			calls(d, func(name string, call *ast.CallExpr) {
				switch name {
				case "boot.Start":
					if started++; !main {
						t.Errorf("%s: main starts the function", f.at(call))
					}
				case "os.Getenv", "os.LookupEnv", "os.Environ":
					if !boot {
						t.Errorf("%s: the environment is lib/boot's", f.at(call))
					}
				case "b.Env":
					if !main && !boot {
						t.Errorf("%s: main reads the environment", f.at(call))
					}
				}
				if strings.HasSuffix(name, ".NewFromConfig") && !isFunc {
					t.Errorf("%s: a client of the whole package", f.at(call))
				}
			})
		}
	}
	if started < 20 {
		t.Errorf("only %d functions start", started)
	}
}

// A function that ends without an error that the machine can catch is a dead letter that says nothing; and whoever waits in one pays for
// it.
func TestFunctionsEndWithAnError(t *testing.T) {
	for _, f := range running(t) {
		for _, d := range f.Decls {
			fn, _ := d.(*ast.FuncDecl)
			calls(d, func(name string, call *ast.CallExpr) {
				switch {
				case name == "panic" && fn != nil && fn.Name.Name == "veil": // of a key of 32 bytes, which is always one
				case name == "panic", name == "os.Exit", strings.HasPrefix(name, "log.Fatal"), strings.HasPrefix(name, "log.Panic"):
					t.Errorf("%s: %s in a function", f.at(call), name)
				case name == "time.Sleep":
					t.Errorf("%s: it waits where nobody can stop it", f.at(call))
				case name == "context.Background", name == "context.TODO":
					t.Errorf("%s: the context is the caller's", f.at(call))
				case name == "fmt.Errorf":
					if format, ok := call.Args[0].(*ast.BasicLit); ok && format.Value == `"%w"` {
						t.Errorf("%s: an error that is wrapped in no words", f.at(call))
					}
				}
			})
		}
	}
}

// Whoever opens a function reads first what it does, what happens the second time, and its undo.
func TestFunctionsSayWhatHappensTheSecondTime(t *testing.T) {
	for _, f := range running(t) {
		if f.Name.Name != "main" || filepath.Base(f.path) != "main.go" {
			continue
		}
		comment := strings.ToLower(f.Doc.Text())
		for _, word := range []string{"second", "undo"} {
			if !strings.Contains(comment, word) {
				t.Errorf("%s: the package's comment does not speak of %q", f.path, word)
			}
		}
	}
}

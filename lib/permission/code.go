package permission

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Method is a call of an AWS service by its SDK name, for instance ec2.CopySnapshot.
type Method struct{ Service, Name string }

func (m Method) String() string { return m.Service + "." + m.Name }

// Code is one package of this project, as far as it tells which calls it may make.
type Code struct {
	root string
	dir  string
	// files with the import paths of each by name.
	files []*ast.File
}

const (
	sdk    = "github.com/aws/aws-sdk-go-v2/service/"
	module = "firebreak/"
)

// Parse reads the package in root/dir, without its tests.
func Parse(root, dir string) (*Code, error) {
	c := &Code{root: root, dir: dir}
	names, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil || len(names) == 0 {
		return nil, fmt.Errorf("no Go files in %s: %w", dir, err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		c.files = append(c.files, f)
	}
	return c, nil
}

// imports maps the names that a file gives to packages to their paths.
func imports(f *ast.File) map[string]string {
	out := map[string]string{}
	for _, i := range f.Imports {
		p := strings.Trim(i.Path.Value, `"`)
		name := path.Base(p)
		if i.Name != nil {
			name = i.Name.Name
		}
		out[name] = p
	}
	return out
}

// Libraries lists the project's own packages that this one imports.
func (c *Code) Libraries() []string {
	var out []string
	for _, f := range c.files {
		for _, p := range imports(f) {
			if dir, ok := strings.CutPrefix(p, module); ok && !slices.Contains(out, dir) {
				out = append(out, dir)
			}
		}
	}
	slices.Sort(out)
	return out
}

// Interfaces lists, by the name of each interface, the calls of AWS in it, those of embedded interfaces too.
func (c *Code) Interfaces() (map[string][]Method, error) {
	out := map[string][]Method{}
	for _, f := range c.files {
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, s := range g.Specs {
				if t, ok := s.(*ast.TypeSpec); ok {
					if _, ok := t.Type.(*ast.InterfaceType); ok {
						methods, err := c.methods(t.Name.Name)
						if err != nil {
							return nil, fmt.Errorf("%s: %w", t.Name.Name, err)
						}
						out[t.Name.Name] = methods
					}
				}
			}
		}
	}
	return out, nil
}

// methods gives the calls of the type of that name; none for what is no interface of this package, or struct of interfaces.
func (c *Code) methods(name string) ([]Method, error) {
	var out []Method
	for _, f := range c.files {
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, s := range g.Specs {
				t, ok := s.(*ast.TypeSpec)
				if !ok || t.Name.Name != name {
					continue
				}
				methods, err := c.calls(f, t.Type)
				if err != nil {
					return nil, err
				}
				out = append(out, methods...)
			}
		}
	}
	return out, nil
}

// calls gives those of a type: an interface's methods, what it embeds, and what the fields of a struct of interfaces have.
func (c *Code) calls(f *ast.File, t ast.Expr) (out []Method, err error) {
	var fields []*ast.Field
	switch t := t.(type) {
	case *ast.InterfaceType:
		fields = t.Methods.List
	case *ast.StructType:
		fields = t.Fields.List
	case *ast.Ident:
		return c.methods(t.Name)
	case *ast.SelectorExpr:
		return c.elsewhere(f, t)
	}
	for _, field := range fields {
		if fun, ok := field.Type.(*ast.FuncType); ok {
			if m, ok := call(f, field.Names[0].Name, fun); ok {
				out = append(out, m)
			}
			continue
		}
		more, err := c.calls(f, field.Type)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	return out, nil
}

// elsewhere gives the calls of an interface of another of the project's packages.
func (c *Code) elsewhere(f *ast.File, t *ast.SelectorExpr) ([]Method, error) {
	dir, ok := strings.CutPrefix(imports(f)[fmt.Sprint(t.X)], module)
	if !ok {
		return nil, nil
	}
	other, err := Parse(c.root, dir)
	if err != nil {
		return nil, err
	}
	return other.methods(t.Sel.Name)
}

// call tells which call a method is, by the type of its second parameter: *ec2.CopySnapshotInput.
func call(f *ast.File, name string, t *ast.FuncType) (Method, bool) {
	if t.Params.NumFields() < 2 {
		return Method{}, false
	}
	var flat []ast.Expr
	for _, p := range t.Params.List {
		flat = append(flat, slices.Repeat([]ast.Expr{p.Type}, max(1, len(p.Names)))...)
	}
	star, ok := flat[1].(*ast.StarExpr)
	if !ok {
		return Method{}, false
	}
	sel, ok := star.X.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != name+"Input" {
		return Method{}, false
	}
	service, ok := strings.CutPrefix(imports(f)[fmt.Sprint(sel.X)], sdk)
	return Method{service, name}, ok
}

// Takes lists, by the role that a function takes in an account (account.Read and so on), the calls that it may make with it: those of
// the interface that the function which names the role gives.
func (c *Code) Takes() (map[string][]Method, error) {
	out := map[string][]Method{}
	for _, f := range c.files {
		var failed error
		ast.Inspect(f, func(n ast.Node) bool {
			lit, ok := n.(*ast.FuncLit)
			if !ok || lit.Type.Results == nil {
				return true
			}
			role := named(lit.Body)
			if role == "" {
				return true
			}
			methods, err := c.calls(f, lit.Type.Results.List[0].Type)
			if err != nil {
				failed = err
			}
			out[role] = append(out[role], methods...)
			return false
		})
		if failed != nil {
			return nil, failed
		}
	}
	return out, nil
}

// named gives the role account.X that a body names, "" for none.
func named(body *ast.BlockStmt) (role string) {
	ast.Inspect(body, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && fmt.Sprint(s.X) == "account" && slices.Contains([]string{"Read", "Network", "Identity", "Data", "Destroy", "Evidence"}, s.Sel.Name) {
			role = s.Sel.Name
		}
		return true
	})
	return role
}

// Clients lists the services whose clients a package makes with the function's own role: x.NewFromConfig(b.AWS).
func (c *Code) Clients() []string {
	var out []string
	for _, f := range c.files {
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			fun, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || fun.Sel.Name != "NewFromConfig" {
				return true
			}
			if arg, ok := call.Args[0].(*ast.SelectorExpr); ok && arg.Sel.Name == "AWS" {
				if service, ok := strings.CutPrefix(imports(f)[fmt.Sprint(fun.X)], sdk); ok && !slices.Contains(out, service) {
					out = append(out, service)
				}
			}
			return true
		})
	}
	return out
}

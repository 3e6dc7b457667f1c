package main

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

func TestEveryActionIsWhole(t *testing.T) {
	names, err := Actions(root)
	if err != nil || len(names) == 0 {
		t.Fatalf("no actions: %v", err)
	}
	for _, name := range names {
		for _, m := range Missing(root, name) {
			t.Errorf("%s: %s", name, m)
		}
	}
}

// project copies what makes up the project into a directory that may be changed.
func project(t *testing.T, skip ...string) string {
	t.Helper()
	dir := t.TempDir()
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			if rel != "." && strings.HasPrefix(e.Name(), ".") || rel == "dist" || rel == filepath.Join("scripts", "local") || slices.Contains(skip, e.Name()) {
				return filepath.SkipDir
			}
			return os.MkdirAll(filepath.Join(dir, rel), 0o755)
		}
		if !e.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, rel), text, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Each piece that an action is made of is missed by its name when it is taken away.
func TestWhatIsMissingIsNamed(t *testing.T) {
	const name = "block-public-access"
	remove := func(file string) func(string) error {
		return func(dir string) error { return os.Remove(filepath.Join(dir, file)) }
	}
	edit := func(file string, old, by string) func(string) error {
		return func(dir string) error {
			path := filepath.Join(dir, file)
			before, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			after := bytes.Replace(before, []byte(old), []byte(by), 1)
			if bytes.Equal(before, after) {
				t.Errorf("%s does not have %q", file, old)
			}
			return os.WriteFile(path, after, 0o644)
		}
	}
	dir := project(t)
	if m := Missing(dir, name); len(m) > 0 {
		t.Fatalf("the copy lacks %q", m)
	}
	folder := "functions/" + name
	for _, c := range []struct {
		what string
		take func(string) error
		want string
	}{
		{"the description", remove(folder + "/action.yaml"), "functions/block-public-access/action.yaml is not there"},
		{"the kind of target", edit(folder+"/action.yaml", "targets", "kinds"), "functions/block-public-access/action.yaml: yaml"},
		{"the code", remove(folder + "/main.go"), "functions/block-public-access/main.go is not there"},
		{"its name on the spine", edit(folder+"/main.go", `Containing("block-public-access"`, `Containing("block"`), "main.go does not serve"},
		{"the test", remove(folder + "/main_test.go"), "functions/block-public-access/main_test.go is not there"},
		{"a golden result", remove(folder + "/testdata/restored.json"), "functions/block-public-access/testdata/restored.json is not there"},
		{"the state", edit("statemachines/respond.asl.json", `"BlockPublicAccess": {`, `"BlockAccess": {`), "statemachines/respond.asl.json has no state BlockPublicAccess"},
		{"the choice", edit("statemachines/release.asl.json", `'block-public-access'`, `'block'`), `statemachines/release.asl.json WhichAction? does not choose BlockPublicAccess`},
		{"the state that undoes", edit("statemachines/release.asl.json", `"BlockPublicAccess": {`, `"BlockAccess": {`), "statemachines/release.asl.json has no state BlockPublicAccess"},
		{"the placeholder", edit("cloudformation/statemachines.yaml", "        BlockPublicAccessFunction: ", "        BlockFunction: "), "cloudformation/statemachines.yaml ReleaseMachine has no substitution BlockPublicAccessFunction"},
		{"the machine's right", edit("cloudformation/statemachines.yaml", "- !Sub 'arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:firebreak-block-public-access'", "- none"),
			"cloudformation/statemachines.yaml ReleaseRole may not invoke firebreak-block-public-access"},
		{"the function", edit("cloudformation/functions.yaml", "\n  BlockPublicAccessFunction:", "\n  BlockFunction:"), "cloudformation/functions.yaml has no BlockPublicAccessFunction"},
		{"the watch's right", edit("cloudformation/functions.yaml", ":function:firebreak-block-public-access'", ":function:firebreak-block'"), "cloudformation/functions.yaml WatchContainmentRole may not invoke firebreak-block-public-access"},
		{"the log group", edit("cloudformation/functions.yaml", "\n  BlockPublicAccessLogs:", "\n  BlockLogs:"), "cloudformation/functions.yaml has no BlockPublicAccessLogs"},
		{"the trust", edit("cloudformation/member.yaml", "role/firebreak-block-public-access-*", "role/firebreak-block-*"), "cloudformation/member.yaml ReadRole does not trust firebreak-block-public-access"},
		{"the row of the README", edit("README.md", "| block-public-access |", "| block |"), "README.md has no row for it"},
	} {
		t.Run(c.what, func(t *testing.T) {
			saved := map[string]string{}
			for _, f := range []string{folder + "/action.yaml", folder + "/main.go", folder + "/main_test.go", folder + "/testdata/restored.json", "statemachines/respond.asl.json",
				"statemachines/release.asl.json", "cloudformation/statemachines.yaml", "cloudformation/functions.yaml", "cloudformation/member.yaml", "README.md"} {
				saved[f] = text(filepath.Join(dir, f))
			}
			defer func() {
				for f, before := range saved {
					if err := os.WriteFile(filepath.Join(dir, f), []byte(before), 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}()
			if err := c.take(dir); err != nil {
				t.Fatal(err)
			}
			if m := Missing(dir, name); !strings.Contains(strings.Join(m, "\n"), c.want) {
				t.Errorf("missing is %q, want %q", m, c.want)
			}
		})
	}
}

// An eradicating action is asked for by those who ask people: that is missed by name too.
func TestWhatAnEradicatingActionLacksIsNamed(t *testing.T) {
	dir := project(t)
	if err := run(dir, []string{"burn-door", "--target", "queue", "--destroys", "--no-undo", "ashes stay ashes"}, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	for file, c := range map[string]struct{ old, want string }{
		"cloudformation/functions.yaml":     {":function:firebreak-burn-door'", "RequestApprovalRole may not invoke firebreak-burn-door"},
		"cloudformation/member.yaml":        {"role/firebreak-burn-door-*", "does not trust firebreak-burn-door"},
		"statemachines/respond.asl.json":    {"= 'burn-door'", "WhichEradication? does not choose BurnDoor"},
		"functions/burn-door/action.yaml":   {"destroys: true\n", "destroys: false, and main.go serves it by"},
		"cloudformation/statemachines.yaml": {"        BurnDoorFunction: ", "RespondMachine has no substitution BurnDoorFunction"},
	} {
		path := filepath.Join(dir, file)
		before := text(path)
		if !strings.Contains(before, c.old) {
			t.Errorf("%s does not have %q", file, c.old)
			continue
		}
		if err := os.WriteFile(path, []byte(strings.Replace(before, c.old, "none", 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		if file == "functions/burn-door/action.yaml" {
			if err := os.WriteFile(path, []byte(strings.Replace(before, c.old, "", 1)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if m := strings.Join(Missing(dir, "burn-door"), "\n"); !strings.Contains(m, c.want) {
			t.Errorf("%s without %q: missing is %q, want %q", file, c.old, m, c.want)
		}
		if err := os.WriteFile(path, []byte(before), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// A new action takes no edit of a Go file that is there: its frame stands in its own folder, and every test of the machines,
// the templates and the catalogue passes with it. Only the frame itself is missed.
func TestANewActionTakesNoEditOfASharedGoFile(t *testing.T) {
	for name, args := range map[string][]string{
		"with an undo":    {"close-door", "--target", "bucket", "--role", "Data"},
		"destroying":      {"burn-door", "--target", "queue", "--destroys", "--no-undo", "ashes stay ashes"},
		"without an undo": {"paint-door", "--target", "role", "--role", "Identity", "--no-undo", "paint stays"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := project(t)
			code := goFiles(t, dir)
			var out bytes.Buffer
			if err := run(dir, args, &out, io.Discard); err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			for file, before := range code {
				if text(file) != before {
					t.Errorf("%s was changed", file)
				}
			}
			action := args[0]
			if m := Missing(dir, action); len(m) != 1 || !strings.Contains(m[0], "is the frame still") {
				t.Errorf("missing is %q, want the frame's unwritten client only", m)
			}
			before := snapshot(t, dir)
			if err := run(dir, args, io.Discard, io.Discard); err != nil {
				t.Fatal(err)
			}
			for file, was := range before {
				if text(file) != was {
					t.Errorf("the second time changed %s", file)
				}
			}
			cmd := exec.Command("go", "test", "-short", "-trimpath", "-vet=off", "./functions/"+action, "./statemachines", "./cloudformation", "./scripts/catalogue")
			cmd.Dir = dir
			if said, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("with the frame the tests fail: %v\n%s", err, said)
			}
			if fmtd, err := exec.Command("gofmt", "-l", filepath.Join(dir, "functions", action)).CombinedOutput(); err != nil || len(fmtd) > 0 {
				t.Errorf("gofmt would change %s (%v)", fmtd, err)
			}
		})
	}
}

func goFiles(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := snapshot(t, dir)
	for file := range out {
		if !strings.HasSuffix(file, ".go") {
			delete(out, file)
		}
	}
	return out
}

func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			out[path] = text(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWrongInputIsAnswered(t *testing.T) {
	for _, args := range [][]string{{}, {"close-door"}, {"CloseDoor", "--target", "bucket", "--role", "Data"}, {"close-door", "--target", "bucket", "--role", "Destroy"}, {"close-door", "--role", "Data"}, {"close", "--target", "bucket", "--role", "Data"},
		{"burn-door", "--target", "queue", "--destroys"}, {"burn-door", "--destroys", "--no-undo", "ashes"}, {"burn-door", "--target", "queue", "--destroys", "--no-undo", "ashes", "--role", "Data"}} {
		if err := run(t.TempDir(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
}

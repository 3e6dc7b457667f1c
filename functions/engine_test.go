package functions

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every action is tried on the engines, and every one that contains against somebody who undoes it.
func TestEveryActionIsTriedOnTheEnginesAndAgainstAnAdversary(t *testing.T) {
	actions, err := Actions()
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for name, a := range actions {
		if a.Tells() || strings.Contains(source(t, name, "main.go"), "unwritten") { // a frame still, as scripts/new-action says
			continue
		}
		tried++
		suite := "actiontest.OnTheEngine(t, "
		if a.Destroys {
			suite = "actiontest.RuinOnTheEngine(t, "
		}
		engine := source(t, name, "engine_test.go")
		if !strings.HasPrefix(engine, "//go:build engine\n") || !strings.Contains(engine, suite) || !strings.Contains(engine, `Action: "`+name+`"`) {
			t.Errorf("functions/%s/engine_test.go does not try %s on the engines: write its %s…)", name, name, suite)
		}
		if !a.Destroys && !strings.Contains(source(t, name, "adversary_test.go"), "actiontest.Undone(t, ") {
			t.Errorf("functions/%s/adversary_test.go does not hold %s against who undoes it: write its actiontest.Undone", name, name)
		}
	}
	if tried < 12 {
		t.Errorf("only %d actions are known", tried)
	}
}

// source reads a file of a folder, "" where there is none.
func source(t *testing.T, folder, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, file))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(text)
}

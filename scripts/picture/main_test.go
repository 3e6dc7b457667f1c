package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"firebreak/lib/asl"

	"github.com/google/go-cmp/cmp"
)

func TestREADMEHasThePictureOfEachMachine(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../../statemachines/*.asl.json")
	if err != nil || len(files) != len(Machines) {
		t.Errorf("%d machines and %d pictures, %v", len(files), len(Machines), err)
	}
	for mark, definition := range Machines {
		m, err := asl.Load("../../" + definition)
		if err != nil {
			t.Fatal(err)
		}
		_, block, _, err := Block(string(readme), mark)
		if err != nil {
			t.Fatal("README.md:", err)
		}
		if diff := cmp.Diff(Fenced(m), block); diff != "" {
			t.Errorf("README.md's picture of %s is stale, run: go run ./scripts/picture -into README.md\n%s", definition, diff)
		}
	}
}

func TestPictureHasEveryState(t *testing.T) {
	for _, definition := range Machines {
		m, err := asl.Load("../../" + definition)
		if err != nil {
			t.Fatal(err)
		}
		picture := Picture(m)
		for s := range m.All() {
			if !strings.Contains(picture, `"`+s.Name) {
				t.Errorf("%s is not in the picture of %s", s.Name, definition)
			}
		}
		if again := Picture(m); again != picture {
			t.Error("drawn twice, it is not the same")
		}
	}
}

func TestPicture(t *testing.T) {
	m, err := asl.Parse([]byte(`{"StartAt": "Each", "States": {
		"Each": {"Type": "Map", "Items": [], "ItemProcessor": {"StartAt": "Work", "States": {"Work": {"Type": "Task", "End": true}}},
			"Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Lost"}], "Next": "Good?"},
		"Good?": {"Type": "Choice", "Choices": [{"Condition": "{% $x = 'good' %}", "Next": "Done"}, {"Comment": "once more", "Condition": "{% $n < 2 %}", "Next": "Each"}], "Default": "Lost"},
		"Done": {"Type": "Succeed"},
		"Lost": {"Type": "Fail"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := `  Good_{"Good?"}
  Done(["Done"]):::clean
  Lost(["Lost"]):::dirty
  Each --> Good_
  Good_ -- "good" --> Done
  Good_ -- "once more" --> again_Each(["Each again"]):::quiet
  fails_Lost(["any state that fails"]):::quiet -.-> Lost
  subgraph Each["Each: each step, at once"]
    direction LR
    Work["Work"]
  end
`
	_, got, _ := strings.Cut(Picture(m), "flowchart TD\n")
	got, _, _ = strings.Cut(got, "  classDef")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("picture (-want +got):\n%s", diff)
	}
}

func TestBlockNeedsItsMarks(t *testing.T) {
	if _, _, _, err := Block("a text without them", "machine"); err == nil {
		t.Error("no error")
	}
	before, block, after, err := Block("a\n<!-- machine -->\nold\n<!-- /machine -->\nz\n", "machine")
	if err != nil || before != "a\n<!-- machine -->" || block != "old\n" || after != "<!-- /machine -->\nz\n" {
		t.Errorf("%q %q %q %v", before, block, after, err)
	}
}

// Each machine goes between its own marks, and all else stays.
func TestEveryPictureGoesWhereItBelongs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "README.md")
	if err := os.WriteFile(file, []byte("a\n<!-- machine -->\n<!-- /machine -->\nb\n<!-- release -->\nold\n<!-- /release -->\nc\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := run("../..", "", file); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, responds, _, _ := Block(string(text), "machine")
	_, releases, rest, _ := Block(string(text), "release")
	if !strings.Contains(responds, "NeedsApproval?") || strings.Contains(responds, "PlanRelease") || !strings.Contains(releases, "PlanRelease") || !strings.Contains(releases, "one after the other") || rest != "<!-- /release -->\nc\n" {
		t.Errorf("%s", text)
	}
	if err := os.WriteFile(file, []byte("<!-- machine -->\n<!-- /machine -->\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run("../..", "", file); err == nil {
		t.Error("a file without the marks of the second machine is accepted")
	}
}

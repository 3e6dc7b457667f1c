package main

import (
	"os"
	"strings"
	"testing"

	"firebreak/lib/asl"

	"github.com/google/go-cmp/cmp"
)

const definition = "../../statemachines/respond.asl.json"

func TestREADMEHasThePictureOfTheMachine(t *testing.T) {
	m, err := asl.Load(definition)
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _, err := Block(string(readme))
	if err != nil {
		t.Fatal("README.md:", err)
	}
	if diff := cmp.Diff(Fenced(m), block); diff != "" {
		t.Errorf("README.md is stale, run: go run ./scripts/picture -into README.md\n%s", diff)
	}
}

func TestPictureHasEveryState(t *testing.T) {
	m, err := asl.Load(definition)
	if err != nil {
		t.Fatal(err)
	}
	picture := Picture(m)
	for s := range m.All() {
		if !strings.Contains(picture, `"`+s.Name) {
			t.Errorf("%s is not in the picture", s.Name)
		}
	}
	if again := Picture(m); again != picture {
		t.Error("drawn twice, it is not the same")
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

func TestBlockNeedsItsMarkers(t *testing.T) {
	if _, _, _, err := Block("a text without them"); err == nil {
		t.Error("no error")
	}
	before, block, after, err := Block("a\n" + begin + "\nold\n" + end + "\nz\n")
	if err != nil || before != "a\n"+begin || block != "old\n" || after != end+"\nz\n" {
		t.Errorf("%q %q %q %v", before, block, after, err)
	}
}

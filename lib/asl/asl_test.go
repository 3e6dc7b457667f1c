package asl

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const nested = `{"StartAt": "Each", "States": {
	"Each": {"Type": "Map", "Items": "{% $items %}", "ItemProcessor": {"ProcessorConfig": {"Mode": "INLINE"}, "StartAt": "Work", "States": {
		"Work": {"Type": "Task", "Resource": "${Work}", "Arguments": {"Payload": {"of": "{% $states.input %}"}}, "End": true}}},
		"Catch": [{"ErrorEquals": ["A", "B"], "Next": "Lost"}], "Next": "Which?"},
	"Which?": {"Type": "Choice", "Choices": [{"Condition": "{% $x %}", "Next": "Done"}], "Default": "Lost"},
	"Done": {"Type": "Succeed"},
	"Lost": {"Type": "Fail"}}}`

func TestStatesKeepTheOrderOfTheFile(t *testing.T) {
	m, err := Parse([]byte(nested))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for s := range m.All() {
		got = append(got, s.Name)
	}
	if diff := cmp.Diff([]string{"Each", "Work", "Which?", "Done", "Lost"}, got); diff != "" {
		t.Error(diff)
	}
	if s, ok := m.State("Work"); !ok || s.Resource != "${Work}" {
		t.Errorf("Work is %+v", s)
	}
}

func TestExpressionsOfAMapAreNotThoseOfItsStates(t *testing.T) {
	m, _ := Parse([]byte(nested))
	each, _ := m.State("Each")
	work, _ := m.State("Work")
	if diff := cmp.Diff([]Expression{{"Items", "$items"}}, each.Expressions()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Expression{{"Arguments.Payload.of", "$states.input"}}, work.Expressions()); diff != "" {
		t.Error(diff)
	}
}

func TestEdges(t *testing.T) {
	m, _ := Parse([]byte(nested))
	each, _ := m.State("Each")
	which, _ := m.State("Which?")
	if diff := cmp.Diff([]Edge{{"Which?", Next, ""}, {"Lost", Caught, "A, B"}}, each.Edges()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Edge{{"Done", Chosen, "{% $x %}"}, {"Lost", Default, ""}}, which.Edges()); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsNotKnownIsAnError(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"a field of a state":     {`{"States": {"A": {"Type": "Pass", "InputPath": "$"}}}`, "state A"},
		"a field in a Map":       {`{"States": {"A": {"Type": "Map", "ItemProcessor": {"States": {"B": {"HeartbeatSeconds": 1}}}}}}`, "state B"},
		"a field of the machine": {`{"Version": "1.0"}`, "Version"},
		"a state named twice":    {`{"States": {"A": {"Type": "Pass"}, "A": {"Type": "Pass"}}}`, "twice"},
		"a second definition":    {`{} {}`, "follows"},
		"no JSON":                {`{"States": ${States}}`, "invalid"},
	} {
		if _, err := Parse([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReachable(t *testing.T) {
	m, _ := Parse([]byte(`{"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "B"}, "B": {"Type": "Succeed"}, "C": {"Type": "Succeed"}}}`))
	reached, err := m.Reachable()
	if err != nil || !reached["B"] || reached["C"] {
		t.Errorf("%v %v", reached, err)
	}
	m.States[0].Next = "Nowhere"
	if _, err := m.Reachable(); err == nil || !strings.Contains(err.Error(), "Nowhere") {
		t.Errorf("an edge to nowhere: %v", err)
	}
}

func TestSubstitute(t *testing.T) {
	text := []byte(`{"a": "${One}", "b": "arn:${Two}:x:${One}"}`)
	if diff := cmp.Diff([]string{"One", "Two"}, Placeholders(text)); diff != "" {
		t.Error(diff)
	}
	got, err := Substitute(text, map[string]string{"One": "1", "Two": "2"})
	if err != nil || string(got) != `{"a": "1", "b": "arn:2:x:1"}` {
		t.Errorf("%s %v", got, err)
	}
	if _, err := Substitute(text, map[string]string{"One": "1"}); err == nil || !strings.Contains(err.Error(), "Two") {
		t.Errorf("a placeholder without a value: %v", err)
	}
}

func TestFolder(t *testing.T) {
	for state, want := range map[string]string{"Notify": "notify", "IsolateInstance": "isolate-instance", "BlockPublicAccess": "block-public-access"} {
		if got := Folder(state); got != want {
			t.Errorf("%s: %s, want %s", state, got, want)
		}
	}
}

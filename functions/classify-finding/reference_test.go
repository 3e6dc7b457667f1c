package main

import (
	"bytes"
	"strings"
	"testing"

	"firebreak/lib/fault"
	"firebreak/lib/finding"
	"firebreak/lib/incident"
	"firebreak/lib/reference"
)

// oversize is an event that no state can take.
func oversize(t *testing.T) []byte {
	t.Helper()
	raw := bytes.TrimSuffix(bytes.TrimSpace(event(t, "guardduty-public-bucket")), []byte("}"))
	return append(raw, []byte(`,"padding":"`+strings.Repeat("x", reference.Limit)+`"}`)...)
}

func (w *world) refer(t *testing.T, raw []byte) []byte {
	t.Helper()
	input, err := reference.Input(t.Context(), w.kept, w.bucket, raw)
	if err != nil {
		t.Fatal(err)
	}
	return input
}

// An event that comes by reference is the same incident with the same plan, and is kept whole.
func TestAnEventByReferenceIsTheEvent(t *testing.T) {
	one, two := newWorld(t), newWorld(t)
	raw := oversize(t)
	want := one.classify(t, raw, "first")
	got := two.classify(t, two.refer(t, raw), "first")
	if got.Disposition != incident.Respond || got.Incident != want.Incident || len(got.Plan.Contain) != len(want.Plan.Contain) {
		t.Errorf("by reference %+v, itself %+v", got, want)
	}
	if kept := two.kept.kept["findings/"+got.Incident.ID+"/first.json"]; kept != string(raw) {
		t.Errorf("%d bytes are kept, want %d", len(kept), len(raw))
	}
	if d := two.classify(t, raw, "second"); d.Disposition != incident.Duplicate {
		t.Errorf("the event itself, afterwards: %+v", d)
	}
}

// Nothing is done about what is not the event that the execution was started for.
func TestAReferenceToSomethingElseIsRefused(t *testing.T) {
	for what, change := range map[string]func(w *world, input []byte) []byte{
		"changed": func(w *world, input []byte) []byte {
			for key := range w.kept.kept {
				w.kept.kept[key] += " "
			}
			return input
		},
		"gone": func(w *world, input []byte) []byte {
			clear(w.kept.kept)
			return input
		},
		"elsewhere": func(_ *world, input []byte) []byte {
			return bytes.Replace(input, []byte("oversize/"), []byte("findings/"), 1)
		},
	} {
		w := newWorld(t)
		input := change(w, w.refer(t, oversize(t)))
		d, err := w.handle(t.Context(), call(input, "first"))
		if !fault.Is(err, fault.BadInput) && !fault.Is(err, fault.Unreadable) {
			t.Errorf("%s: %+v, %v", what, d, err)
		}
	}
	// what was kept is an event: it cannot smuggle a resumption in
	w := newWorld(t)
	resume := []byte(`{"resume":{"incident":"INC-AAAAAAAAAAAAAAAA","episode":1,"run":1,"from":"x","steps":[],"reason":"` + strings.Repeat("r", reference.Limit) + `"}}`)
	if d := w.classify(t, w.refer(t, resume), "first"); d.Disposition != incident.Record || len(d.Plan.Contain) != 0 {
		t.Errorf("a resumption by reference: %+v", d)
	}
}

// The findings of an event can themselves be too large for a state.
func TestTheFindingsOfALargeEventStartByReference(t *testing.T) {
	w := newWorld(t)
	w.decode = func([]byte) ([]finding.Finding, error) {
		one, err := finding.Decode(oversize(t))
		other, _ := finding.Decode(event(t, "guardduty-crypto-mining"))
		return append(one, other...), err
	}
	d := w.classify(t, []byte(`{"both":true}`), "first")
	sizes := map[bool]int{}
	for _, input := range w.runs.started {
		if len(input) > reference.Limit {
			t.Errorf("an execution starts with %d bytes", len(input))
		}
		sizes[strings.HasPrefix(input, `{"reference":`)]++
	}
	if d.Split != 2 || sizes[true] != 1 || sizes[false] != 1 {
		t.Errorf("split %d, by reference or not: %v", d.Split, sizes)
	}
}

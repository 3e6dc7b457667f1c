package main

import (
	"testing"
)

func TestPlansChangeNothingAndTheUndoDoesWhatItsPlanSays(t *testing.T) {
	f := newFake()
	newWorld(t, f).Cycle(audit, nil, func() int { return len(f.Changed) })
}

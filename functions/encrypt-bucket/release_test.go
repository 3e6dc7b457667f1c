package main

import (
	"testing"
)

func TestPlansChangeNothingAndTheUndoDoesWhatItsPlanSays(t *testing.T) {
	f := newFake()
	newWorld(t, f).Cycle(exports, with("alias/clinic"), func() int { return len(f.Changed) })
}

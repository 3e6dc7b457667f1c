package main

import "testing"

func TestPlansChangeNothingAndTheUndoDoesWhatItsPlanSays(t *testing.T) {
	f := newFake()
	newWorld(t, f).Cycle(exports, nil, func() int { return f.sessions })
}

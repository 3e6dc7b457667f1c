package main

import (
	"testing"
)

func TestPlansChangeNothingAndTheUndoDoesWhatItsPlanSays(t *testing.T) {
	f := newFake(user)
	newWorld(t, f).Cycle(user, nil, func() int { return len(f.Changed) })
}

package main

import (
	"testing"
)

func TestPlansChangeNothingAndTheUndoDoesWhatItsPlanSays(t *testing.T) {
	f := newFake(exports, own, allow("Them", `{"AWS":"`+theirs+`"}`))
	newWorld(t, f).Cycle(exports, whom(them), func() int { return len(f.Changed) })
}

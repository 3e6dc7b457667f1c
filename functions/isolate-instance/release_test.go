package main

import (
	"testing"

	"firebreak/lib/actiontest"
)

func TestPlansChangeNothingAndTheUndoDoesWhatItsPlanSays(t *testing.T) {
	w := newWorld(t)
	actiontest.Cycle(t, w.store, func() int { return len(w.ec2.Calls) }, w.do)
}

package main

import (
	"testing"

	"firebreak/lib/actiontest"
)

func TestPlansChangeNothingAndTheUndoIsRefused(t *testing.T) {
	w := newWorld(t, vol1, vol2)
	actiontest.Cycle(t, w.store, func() int { return len(w.ec2.Calls) }, w.do)
}

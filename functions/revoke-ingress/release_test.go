package main

import (
	"testing"
)

func TestPlansChangeNothingAndTheUndoDoesWhatItsPlanSays(t *testing.T) {
	f := newFake("tcp 443-443 from 10.0.0.0/8", ssh, ssh6)
	newWorld(t, f).Cycle(group, nil, func() int { return len(f.Changed) })
}

package main

import (
	"context"
	"testing"

	"firebreak/lib/action"
	"firebreak/lib/actiontest"
)

func TestPlansChangeNothingAndTheUndoDoesWhatItsPlanSays(t *testing.T) {
	f, sessions := newFake(), 0
	w := actiontest.New(t, "deactivate-keys", deactivation{
		reads:   func(context.Context, action.Call) (reads, error) { return f, nil },
		changes: func(context.Context, action.Call) (changes, error) { sessions++; return f, nil },
	})
	w.Cycle(user, nil, func() int { return sessions })
}

package main

import (
	"context"
	"testing"
	"time"

	"firebreak/lib/action"
	"firebreak/lib/actiontest"
)

func TestPlansChangeNothingAndTheUndoDoesWhatItsPlanSays(t *testing.T) {
	f, sessions := newFake(), 0
	w := actiontest.New(t, "revoke-sessions", revocation{
		reads:   func(context.Context, action.Call) (reads, error) { return f, nil },
		changes: func(context.Context, action.Call) (changes, error) { sessions++; return f, nil },
		now:     func() time.Time { return actiontest.Start },
	})
	w.Cycle(web, nil, func() int { return sessions })
}

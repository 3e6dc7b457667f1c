package main

import (
	"context"
	"testing"

	"firebreak/lib/action"
	"firebreak/lib/actiontest"
)

func TestPlansChangeNothingAndTheUndoDoesWhatItsPlanSays(t *testing.T) {
	f, sessions := newFake(), 0
	w := actiontest.New(t, "block-public-access", blocking{
		reads:   func(context.Context, action.Call) (reads, error) { return f, nil },
		changes: func(context.Context, action.Call) (changes, error) { sessions++; return f, nil },
		grants:  &grants{},
	})
	w.Cycle(exports, nil, func() int { return sessions })
}

// Command plan-release says what a release undoes: every hold of the incident that has an undo, the newest first, or those of
// the actions that were named. It puts on record who asked; a release that only plans is not recorded.
//
// The second time it says what is still held, and the record gets no second entry.
//
// It has no undo, it changes nothing but the record.
package main

import (
	"context"
	"log/slog"
	"time"

	"firebreak/lib/boot"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/release"
)

type handler struct {
	store ledger.Store
	now   func() time.Time
}

// input is what the machine's first state sends.
type input struct {
	Release   incident.Release   `json:"release"`
	Execution incident.Execution `json:"execution"`
	State     incident.State     `json:"state"`
}

// handle gives the plan. Errors: BadInput, Busy while the incident is still being contained, Unreadable.
func (h handler) handle(ctx context.Context, in input) (incident.ReleasePlan, error) {
	slog.InfoContext(ctx, "release", "incident", in.Release.Incident, "actions", in.Release.Actions, "plan", in.Release.Plan, "force", in.Release.Force, "by", in.Release.By, "execution", in.Execution.ARN)
	p, err := release.Plan(ctx, h.store, in.Release)
	if err != nil || in.Release.Plan {
		return p, err
	}
	return p, release.Tell(ctx, h.store, p, in.Execution, in.State, h.now().UTC())
}

func main() {
	b := boot.Load()
	boot.Start(handler{store: b.Store(), now: time.Now}.handle)
}

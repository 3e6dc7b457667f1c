// Watch-accounts notes the heartbeat of each account and region that forwards findings, and says every five minutes which of them
// have fallen silent: a rule that somebody has switched off, or a role that somebody has taken away, makes no noise of its own.
//
// A second heartbeat writes the same again, a second look finds the same: neither does harm. It has no undo, because it changes
// nothing but its own notes.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"firebreak/lib/boot"
	"firebreak/lib/fault"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
)

const (
	// rule ends the ARN of the rule that sends heartbeats, in every account.
	rule = ":rule/firebreak-heartbeat"
	// patience is how long an account may be silent: three heartbeats, and EventBridge's own delay.
	patience = 16 * time.Minute
)

type watch struct {
	store ledger.Store
	inst  *setting.Installation
	now   func() time.Time
}

// event is what EventBridge sends when the rule of an account rings, or nothing, from the clock. Account and region are
// EventBridge's own words; nobody can put an event of aws.events.
type event struct {
	Source    string    `json:"source"`
	Account   string    `json:"account"`
	Region    string    `json:"region"`
	Time      time.Time `json:"time"`
	Resources []string  `json:"resources"`
}

// beat is the note of an account and region.
type beat struct {
	At time.Time `json:"at"`
}

// Report is which accounts are silent, as account/region.
type Report struct {
	Silent []string `json:"silent"`
}

func beatKey(account, region string) ledger.Key {
	return ledger.Key{PK: "BEAT#" + account, SK: "REGION#" + region}
}

// handle takes a heartbeat, or looks. Errors: BadInput for an event that is no heartbeat, Unreadable.
func (w watch) handle(ctx context.Context, raw json.RawMessage) (Report, error) {
	var e event
	if err := json.Unmarshal(raw, &e); err != nil {
		return Report{}, fault.Wrap(fault.BadInput, err, "the event")
	}
	if e.Source == "" {
		return w.look(ctx)
	}
	if e.Source != "aws.events" || e.Account == "" || e.Region == "" || !slices.ContainsFunc(e.Resources, func(r string) bool { return strings.HasSuffix(r, rule) }) {
		return Report{}, fault.New(fault.BadInput, "an event of %s in account %q, region %q is no heartbeat", e.Source, e.Account, e.Region)
	}
	return Report{}, w.note(ctx, e)
}

// note keeps the newest heartbeat of an account and region; one that comes late changes nothing.
func (w watch) note(ctx context.Context, e event) error {
	_, err := ledger.Update(ctx, w.store, beatKey(e.Account, e.Region), func(it *ledger.Item[beat]) error {
		if e.Time.After(it.Value.At) {
			it.Value.At = e.Time
		}
		return nil
	})
	return err
}

// look lists the accounts and regions that the installation acts in and that have been silent for too long. One that was never
// heard counts: an account that is listed and not deployed is not watched.
func (w watch) look(ctx context.Context) (Report, error) {
	in, err := w.inst.Read(ctx)
	if err != nil {
		return Report{}, err
	}
	r := Report{Silent: []string{}}
	var errs []error
	for _, a := range in.Accounts {
		for _, region := range a.Regions {
			it, err := ledger.Load[beat](ctx, w.store, beatKey(a.ID, region))
			switch {
			case err != nil:
				errs = append(errs, fmt.Errorf("account %s, region %s: %w", a.ID, region, err))
			case w.now().Sub(it.Value.At) > patience:
				r.Silent = append(r.Silent, a.ID+"/"+region)
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return Report{}, err
	}
	w.measure(ctx, r)
	return r, nil
}

// measure writes the count in CloudWatch's embedded metric format, and the names beside it: an alarm reads the count, and its missing
// data is the alarm that nobody looks. Source: Amazon CloudWatch user guide, "Specification: Embedded metric format".
func (w watch) measure(ctx context.Context, r Report) {
	slog.InfoContext(ctx, "watched",
		"_aws", map[string]any{
			"Timestamp": w.now().UnixMilli(),
			"CloudWatchMetrics": []map[string]any{{
				"Namespace": "Firebreak", "Dimensions": [][]string{{}}, "Metrics": []map[string]string{{"Name": "Silent", "Unit": "Count"}},
			}},
		},
		"Silent", len(r.Silent), "accounts", r.Silent)
}

func main() {
	b := boot.Load()
	boot.Start(watch{store: b.Store(), inst: b.Installation(), now: time.Now}.handle)
}

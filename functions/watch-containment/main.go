// Command watch-containment looks once an hour whether what is called contained still is: whoever gives an interface its groups back or
// activates a key again makes no noise of their own.
//
// What it does: it has each contained incident's actions look, which changes nothing. What somebody has undone it tells people, and calls
// the incident open and in need of a person until somebody contains it again, closes or releases it. It takes no role in any account.
// The second time: an incident that is not contained is not looked at, and people are told once of what they were told already.
// Its undo: none, it changes nothing but the ledger; scripts/firebreak redrive contains again.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"firebreak/lib/boot"
	"firebreak/lib/channel"
	"firebreak/lib/closure"
	"firebreak/lib/incident"
	"firebreak/lib/invocation"
	"firebreak/lib/ledger"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sns"
)

// box is how long one run begins with another incident, patience how long one step is waited for. The next run, a quarter of an hour
// later, goes on. A look takes about a second: some 300 steps an hour.
const (
	box      = 80 * time.Second
	patience = 15 * time.Second
)

type watch struct {
	store     ledger.Store
	functions invocation.API
	topic     *channel.Topic
	closing   closure.Machines
	now       func() time.Time
}

// request is what the clock sends, or a person who does not want to wait for the next hour.
type request struct {
	// Again begins with the first incident, also where all were looked at this hour.
	Again bool `json:"again,omitempty"`
}

// turn is how far the incidents were looked at: WATCHED / CONTAINMENT.
type turn struct {
	// After is the incident that was looked at last, Pass the hour that was looked for; Done says that all were.
	After string    `json:"after"`
	Pass  time.Time `json:"pass"`
	Done  bool      `json:"done"`
}

// Report counts what one run found.
type Report struct {
	Incidents int `json:"incidents"` // contained ones that were looked at
	Still     int `json:"still"`     // steps that are contained, or whose resource is gone
	Undone    int `json:"undone"`    // incidents of which somebody has undone something
	Unseen    int `json:"unseen"`    // steps of which nobody can say how they stand
	Busy      int `json:"busy"`      // incidents and steps that something goes on with: they have their turn at the next run
	Waiting   int `json:"waiting"`   // incidents that there was no time for
}

// run is one run: until then it begins with another incident; unseen is what could not be looked at, by account.
type run struct {
	watch
	report Report
	until  time.Time
	unseen map[string][]string
}

// handle looks at the incidents whose turn it is. One that fails keeps no other from being looked at; the error at the end names them
// all. Errors: the ledger cannot be read or written; SNS takes no message.
func (w watch) handle(ctx context.Context, in request) (Report, error) {
	r := &run{watch: w, until: w.now().Add(box), unseen: map[string][]string{}}
	err := errors.Join(r.walk(ctx, in), r.tellUnseen(ctx))
	r.measure(ctx)
	return r.report, err
}

// walk looks at the incidents whose turn it is, as far as the time allows.
func (r *run) walk(ctx context.Context, in request) error {
	last, err := ledger.Load[turn](ctx, r.store, ledger.Key{PK: "WATCHED", SK: "CONTAINMENT"})
	if err != nil {
		return err
	}
	v, hour := &last.Value, r.now().Truncate(time.Hour)
	if v.Done && v.Pass.Equal(hour) && !in.Again {
		return nil
	}
	if v.Done || in.Again {
		v.After, v.Done = "", false
	}
	v.Pass = hour
	queue, err := r.queue(ctx, v.After)
	if err != nil {
		return err
	}
	var errs []error
	for i, id := range queue {
		if !r.now().Before(r.until) {
			r.report.Waiting = len(queue) - i
			return errors.Join(errs...)
		}
		if err := r.incident(ctx, id); err != nil {
			errs = append(errs, fmt.Errorf("incident %s: %w", id, err))
		}
		v.After = id
		if stop, err := r.save(ctx, &last); stop {
			return errors.Join(append(errs, err)...)
		}
	}
	v.Done = true
	_, err = r.save(ctx, &last)
	return errors.Join(append(errs, err)...)
}

// save keeps how far the run has come, and tells whether that ends it: where another run has, that one goes on.
func (r *run) save(ctx context.Context, last *ledger.Item[turn]) (bool, error) {
	err := ledger.Save(ctx, r.store, last)
	if errors.Is(err, ledger.ErrConflict) {
		slog.InfoContext(ctx, "another run goes on", "after", last.Value.After)
		return true, nil
	}
	return err != nil, err
}

// queue gives the contained incidents after that one.
func (r *run) queue(ctx context.Context, after string) ([]string, error) {
	var all []string
	for _, band := range incident.Bands() {
		items, err := ledger.Open[ledger.Incident](ctx, r.store, ledger.IncidentGroup(band))
		if err != nil {
			return nil, err
		}
		for _, it := range items {
			if it.Value.Status == incident.Contained && it.Value.ID > after {
				all = append(all, it.Value.ID)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// tellUnseen says what could not be looked at, once a day and account.
func (r *run) tellUnseen(ctx context.Context) error {
	var errs []error
	for _, account := range slices.Sorted(maps.Keys(r.unseen)) {
		lines := r.unseen[account]
		slices.Sort(lines)
		if more := len(lines) - 20; more > 0 {
			lines = append(lines[:20], fmt.Sprintf("and %d more, see the log of firebreak-watch-containment", more))
		}
		_, err := r.topic.Once(ctx, r.store, "WATCH-CONTAINMENT", int(r.now().Unix()/86400), "unseen-"+account, channel.Message{
			Subject: "Firebreak cannot see whether account " + account + " is still contained", Severity: incident.High,
			Body: fmt.Sprintf("These were contained, and whether they still are is not known until they can be looked at. It is tried again each hour.\n\n%s\n\nThe role is SecurityRemediationRole-Read of the account: scripts/deploy member makes it.\n", strings.Join(lines, "\n")),
		})
		if err != nil && !errors.Is(err, ledger.ErrConflict) { // else another run tells it
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// measure writes the report in CloudWatch's embedded metric format, which the alarms read. Source: Amazon CloudWatch user guide,
// "Specification: Embedded metric format".
func (r *run) measure(ctx context.Context) {
	type metric struct{ Name, Unit string }
	slog.InfoContext(ctx, "watched what is contained",
		"_aws", map[string]any{
			"Timestamp": r.now().UnixMilli(),
			"CloudWatchMetrics": []map[string]any{{
				"Namespace": "Firebreak", "Dimensions": [][]string{{}}, "Metrics": []metric{{"Undone", "Count"}, {"Unseen", "Count"}},
			}},
		},
		"Undone", r.report.Undone, "Unseen", r.report.Unseen, "report", r.report)
}

func main() {
	b := boot.Load()
	boot.Start(watch{
		store: b.Store(), functions: lambda.NewFromConfig(b.AWS), topic: channel.NewTopic(sns.NewFromConfig(b.AWS), b.Env("TOPIC")),
		closing: closure.Machines{API: sfn.NewFromConfig(b.AWS), Respond: b.Env("MACHINE"), Release: b.Env("RELEASE_MACHINE")},
		now:     func() time.Time { return time.Now().UTC() },
	}.handle)
}

// Command notify tells the security topic that an incident has begun: what was found, where, and what is being done about it.
//
// It sends one message for each episode of an incident, whatever the number of copies, retries and executions. The second time
// it sends nothing. It has no undo: a message cannot be called back.
//
// It asks no guard: people are told in every mode, and when the mode cannot be read.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"firebreak/lib/boot"
	"firebreak/lib/channel"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/service/sns"
)

// name of the action.
const name = "notify"

// opened is the kind of the notice.
const opened = "opened"

// publisher sends a message once in an episode and tells whether it did so now.
type publisher interface {
	Once(ctx context.Context, s ledger.Store, id string, episode int, kind string, m channel.Message) (bool, error)
}

type notice struct {
	store ledger.Store
	topic publisher
	now   func() time.Time
}

// handle takes the request of a step notify. The result is applied, already, planned (mode plan of the call: nothing is sent)
// or, for an undo, refused. Errors: BadInput, Unreadable, Busy where another call is sending, and as SNS answers.
func (n notice) handle(ctx context.Context, req incident.Request) (incident.Result, error) {
	if req.Step.Action != name || req.Incident.ID == "" {
		return incident.Result{}, fault.New(fault.BadInput, "notify takes a step notify of an incident, not %q of %q", req.Step.Action, req.Incident.ID)
	}
	res := incident.Result{Action: name, Target: req.Step.Target, Step: req.Step.Key(), Changes: []string{}}
	if req.Mode.Undoes() {
		res.Outcome, res.Reason = incident.Refused, "notify has no undo: a message cannot be called back"
		return res, nil
	}
	meta, err := ledger.Load[ledger.Incident](ctx, n.store, ledger.IncidentKey(req.Incident.ID))
	if err != nil {
		return incident.Result{}, err
	}
	if !meta.Exists() {
		return incident.Result{}, fault.New(fault.Unreadable, "incident %s is not in the ledger: nobody can be told what it is", req.Incident.ID)
	}
	if req.Mode == incident.Look {
		return n.look(ctx, req, res)
	}
	if err := n.claim(ctx, req); err != nil {
		return incident.Result{}, err
	}
	sent, err := n.topic.Once(ctx, n.store, meta.Value.ID, req.Incident.Episode, opened, n.message(ctx, meta.Value))
	switch {
	case err != nil && !sent:
		n.unclaim(ctx, req)
		return incident.Result{}, fmt.Errorf("tell of %s: %w", req.Incident.ID, err)
	case err != nil:
		// A retry would tell people a second time.
		res.Reason = fmt.Sprintf("it was sent, but that is not recorded (%v)", err)
	}
	res.Verified = true
	res.Outcome, res.Changes = incident.Already, []string{fmt.Sprintf("the security topic was told of episode %d before", req.Incident.Episode)}
	if sent {
		res.Outcome, res.Changes = incident.Applied, []string{fmt.Sprintf("told the security topic of episode %d", req.Incident.Episode)}
	}
	err = ledger.Append(ctx, n.store, meta.Value.ID, ledger.Event{
		Time: n.now(), State: req.State.Name, Attempt: req.State.Attempt, Who: req.Execution.ARN,
		What: res.Changes[0], Result: &res, Why: meta.Value.Rule,
	})
	return res, err
}

// sending is how long a call may take to send before another one takes its place.
const sending = 10 * time.Second

// claim lets one call at a time send. A call that died leaves its claim for as long as sending.
func (n notice) claim(ctx context.Context, req incident.Request) error {
	it, err := ledger.Load[channel.Notice](ctx, n.store, channel.NoticeKey(req.Incident.ID, req.Incident.Episode, opened))
	if err != nil || !it.Value.Sent.IsZero() {
		return err
	}
	now := n.now().UTC()
	if it.Exists() && now.Sub(it.Value.Begun) < sending {
		return fault.New(fault.Busy, "another call tells of %s since %s", req.Incident.ID, it.Value.Begun.Format(time.RFC3339))
	}
	it.Value = channel.Notice{Kind: opened, Begun: now}
	if err := ledger.Save(ctx, n.store, &it); errors.Is(err, ledger.ErrConflict) {
		return fault.Wrap(fault.Busy, err, "another call tells of %s", req.Incident.ID)
	} else if err != nil {
		return fmt.Errorf("claim the notice of %s: %w", req.Incident.ID, err)
	}
	return nil
}

// unclaim lets a retry send at once after a failure. Where that fails too, the claim runs out by itself.
func (n notice) unclaim(ctx context.Context, req incident.Request) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_, err := ledger.Update(ctx, n.store, channel.NoticeKey(req.Incident.ID, req.Incident.Episode, opened), func(it *ledger.Item[channel.Notice]) error {
		it.Value.Begun = time.Time{}
		return nil
	})
	if err != nil {
		slog.WarnContext(ctx, "the claim stays until it runs out", "incident", req.Incident.ID, "error", err.Error())
	}
}

// look tells whether people would be told.
func (n notice) look(ctx context.Context, req incident.Request, res incident.Result) (incident.Result, error) {
	it, err := ledger.Load[channel.Notice](ctx, n.store, channel.NoticeKey(req.Incident.ID, req.Incident.Episode, opened))
	if err != nil {
		return incident.Result{}, err
	}
	res.Outcome, res.Changes = incident.Planned, []string{fmt.Sprintf("would tell the security topic of episode %d", req.Incident.Episode)}
	if !it.Value.Sent.IsZero() {
		res.Outcome, res.Verified, res.Changes = incident.Already, true, []string{fmt.Sprintf("the security topic was told of episode %d before", req.Incident.Episode)}
	}
	return res, nil
}

// message says what was found, and first of all whether anything is being changed.
func (n notice) message(ctx context.Context, meta ledger.Incident) channel.Message {
	m := channel.Found(meta)
	set, err := setting.ReadGuard(ctx, n.store)
	var first string
	switch {
	case err != nil:
		first = fmt.Sprintf("NOTHING IS CHANGED: the settings cannot be read (%s). Mend that first. What follows is what the plan calls for.\n", channel.Plain(err.Error()))
	case set.Mode == setting.Plan:
		first = "NOTHING IS CHANGED: Firebreak is in mode plan. What follows is what it would do in mode act (scripts/firebreak mode act).\n"
	case set.Mode == setting.Off:
		first = "NOTHING IS CHANGED: Firebreak is switched off. What follows is what it would do in mode act (scripts/firebreak mode act).\n"
	}
	var b strings.Builder
	b.WriteString(first + m.Body)
	if len(meta.Finding.Resources) > 0 {
		b.WriteString("\nNAMED IN THE FINDING\n")
		for _, r := range meta.Finding.Resources {
			fmt.Fprintf(&b, "- %s\n", channel.Plain(r))
		}
	}
	m.Body = b.String()
	return m
}

func main() {
	b := boot.Load()
	boot.Start(notice{store: b.Store(), topic: channel.NewTopic(sns.NewFromConfig(b.AWS), b.Env("TOPIC")), now: time.Now}.handle)
}

// Command close-incident writes how an execution ended. It takes the ending that the machine claims, lays its results over what
// is known of the whole incident, and lets the claim stand only where every outcome bears it out.
//
// The second time it writes the same again: the timeline gets no second entry, people no second message.
//
// It has no undo: a closing is a record. A person, a release or the source closes the incident itself.
package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/boot"
	"firebreak/lib/channel"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/outcome"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sns"
)

// calls are what this function asks of AWS, besides the ledger and the settings: it reads the key of the links, and publishes.
type calls interface {
	approval.SecretAPI
	channel.Publisher
}

type handler struct {
	store ledger.Store
	inst  *setting.Installation
	topic *channel.Topic
	ask   channel.Invitations
	now   func() time.Time
}

// address is where the parts of an installation are.
type address struct{ topic, approvers, key, api string }

func newHandler(store ledger.Store, inst *setting.Installation, api calls, at address, now func() time.Time) handler {
	topic := channel.NewTopic(api, at.topic)
	return handler{store: store, inst: inst, topic: topic, now: now, ask: channel.Invitations{
		Store: store, Topic: topic, Personal: channel.NewTopic(api, at.approvers), Slack: channel.NewSlack(api, now), Keys: approval.NewKeys(api, at.key, now), API: at.api, Now: now,
	}}
}

// handle gives the closing, or the error Incomplete with what is done, what is not and what to do. Other errors: BadInput,
// Unreadable, as SNS answers.
func (h handler) handle(ctx context.Context, in incident.CloseRequest) (incident.Closing, error) {
	if in.Incident.ID == "" || in.Incident.Episode < 1 || in.Execution.ARN == "" || in.Execution.Start.IsZero() || !slices.Contains(endings, in.Ending) {
		return incident.Closing{}, fault.New(fault.BadInput, "a closing needs incident, episode, execution and one of the endings %v, not %q", endings, in.Ending)
	}
	slog.InfoContext(ctx, "close", "incident", in.Incident.ID, "episode", in.Incident.Episode, "ending", in.Ending, "execution", in.Execution.ARN)
	var before string
	var j judgement
	results := slices.Concat(in.Contain, in.Eradicate)
	meta, err := outcome.Merge(ctx, h.store, in.Incident, in.Execution, results, func(m *ledger.Incident) {
		if before == "" && m.Ending == "" {
			before = m.Needs // said when the incident began, and still true
		}
		j = judge(in, *m)
		h.write(m, in, j, before)
	})
	if err != nil {
		return incident.Closing{}, err
	}
	past := meta.Episode != in.Incident.Episode
	if past {
		j = judgePast(in, meta)
	}
	if len(j.left) > 0 && !past && in.Ending != incident.EndPlanned {
		if j.override, err = h.override(ctx, in, meta); err != nil {
			return incident.Closing{}, fault.Wrap(fault.NameOf(err), err, "%s, and people could not be asked", j.words(in))
		}
		if j.override > 0 {
			if _, err := outcome.Merge(ctx, h.store, in.Incident, in.Execution, nil, func(m *ledger.Incident) { h.write(m, in, j, before) }); err != nil {
				return incident.Closing{}, err
			}
		}
	}
	if err := h.tell(ctx, in, meta, j); err != nil {
		return incident.Closing{}, err
	}
	if len(j.left) > 0 {
		return incident.Closing{}, fault.New(fault.Incomplete, "%s", j.words(in))
	}
	return incident.Closing{Incident: in.Incident.ID, Ending: in.Ending, Done: len(j.done), Summary: j.words(in)}, nil
}

// write puts the judgement into the incident. An execution that another one has taken the incident from has no say any more,
// beyond its results; a closed incident stays closed.
func (h handler) write(m *ledger.Incident, in incident.CloseRequest, j judgement, before string) {
	if m.Status == incident.Closed || (m.Owner != in.Execution.ARN && in.Execution.Start.Before(m.OwnerStart)) {
		return
	}
	m.Ending, m.Needs = in.Ending, before
	switch {
	case len(j.left) > 0:
		m.Ending, m.Needs = incident.EndNeedsPerson, join(before, j.words(in))
	case in.Ending == incident.EndRecorded:
		m.Status = incident.Recorded
	case in.Ending == incident.EndEradicated:
		m.Status = incident.Contained
	case m.Status == incident.Open:
		// Nothing went wrong, and nothing is contained: planned only, or people decided against the only thing to do.
		m.Needs = join(before, j.words(in)+"; act by hand, or redrive when Firebreak may act")
	}
}

// override asks people about what the guard refused in this execution and nothing has contained since. It gives the number of
// the approval, 0 for none.
func (h handler) override(ctx context.Context, in incident.CloseRequest, meta ledger.Incident) (int, error) {
	held := approval.Refused(meta.Plan.Contain, turnedDown(in, meta))
	if len(held) == 0 {
		return 0, nil
	}
	installed, err := h.inst.Deciding(ctx)
	if err != nil {
		return 0, err
	}
	now := h.now().UTC()
	a, err := approval.Open(ctx, h.store, approval.Request{
		Incident: in.Incident, Kind: approval.KindOverride, Steps: held, Execution: in.Execution, Now: now, Expires: now.Add(approval.Time(installed, meta.Band)),
	})
	if err != nil {
		return 0, err
	}
	_, err = h.ask.Send(ctx, meta, a, installed)
	return a.Number, err
}

// turnedDown gives what was refused in this execution and nothing has contained since.
func turnedDown(in incident.CloseRequest, meta ledger.Incident) []incident.Result {
	var out []incident.Result
	for k, r := range outcome.ByKey(meta.Plan, in.Contain) {
		if r.Outcome == incident.Refused && meta.Outcomes[k].Outcome == incident.Refused {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b incident.Result) int { return cmp.Compare(a.Step, b.Step) })
	return out
}

// tell writes the timeline, once, and lets the team know when people decided against destroying, or not at all, and when a person has
// to do what nobody can let Firebreak do.
func (h handler) tell(ctx context.Context, in incident.CloseRequest, meta ledger.Incident, j judgement) error {
	hand := slices.DeleteFunc(turnedDown(in, meta), func(r incident.Result) bool { return r.Override != "" })
	if len(hand) > 0 && meta.Episode == in.Incident.Episode && meta.Status != incident.Closed {
		if _, err := h.topic.Once(ctx, h.store, meta.ID, meta.Episode, "by-hand", channel.ByHand(meta, hand)); err != nil {
			return err
		}
	}
	if in.Ending == incident.EndApprovalRejected || in.Ending == incident.EndApprovalExpired {
		all, err := approval.List(ctx, h.store, in.Incident.ID)
		if err != nil {
			return err
		}
		for _, it := range all {
			if a := it.Value; a.Kind == approval.KindEradicate && a.Execution == in.Execution.ARN && (a.Status == approval.StatusRejected || a.Status == approval.StatusExpired) {
				if _, err := h.topic.Once(ctx, h.store, meta.ID, a.Episode, fmt.Sprintf("ended-%04d", a.Number), channel.Ended(meta, a)); err != nil {
					return err
				}
			}
		}
	}
	e := ledger.Event{Time: h.now().UTC(), State: in.State.Name, Attempt: in.State.Attempt, Who: in.Execution.ARN, What: j.words(in), Why: meta.Rule}
	past, err := ledger.Timeline(ctx, h.store, in.Incident.ID)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(past, func(p ledger.Event) bool { return p.Who == e.Who && p.State == e.State && p.What == e.What }) {
		return nil
	}
	return ledger.Append(ctx, h.store, in.Incident.ID, e)
}

func main() {
	b := boot.Load()
	api := struct {
		approval.SecretAPI
		channel.Publisher
	}{secretsmanager.NewFromConfig(b.AWS), sns.NewFromConfig(b.AWS)}
	boot.Start(newHandler(b.Store(), b.Installation(), api, address{b.Env("TOPIC"), b.Env("APPROVERS"), b.Env("LINK_KEY"), b.Env("API")}, time.Now).handle)
}

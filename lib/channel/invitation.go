package channel

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
)

// Invitations ask the approvers of an incident: each by a link of their own, and all of them in Slack.
type Invitations struct {
	Store ledger.Store
	Topic *Topic
	// Personal is where links go that are for one person: whoever subscribes to the team's topic never sees them.
	Personal *Topic
	Slack    *Slack
	Keys     *approval.Keys
	// API is the base URL of the HTTP API.
	API string
	Now func() time.Time
}

// Send asks everybody who may decide, each once, and gives the ids of those who were asked, now or before. Where they are fewer
// than it takes, the team is told. A channel that does not take a message costs nobody the others: it is logged, and the sweep
// sends what is left, every minute. An approval that is not open is nobody's to decide any more: nothing is sent. Errors:
// Unreadable.
func (i Invitations) Send(ctx context.Context, meta ledger.Incident, a approval.Approval, in setting.Installed) ([]string, error) {
	asked := []string{}
	if a.Status != approval.StatusOpen || a.Number < 1 {
		return asked, nil
	}
	ring, err := i.Keys.Read(ctx)
	if err != nil {
		return nil, err
	}
	people, err := approval.Deciders(ctx, i.Store, in, meta, a.Kind)
	if err != nil {
		return nil, err
	}
	for _, p := range people {
		if _, decided := a.Decided(p.ID); decided {
			continue
		}
		if i.once(ctx, meta, fmt.Sprintf("approval-%04d-%s", a.Number, p.ID), Ask(meta, a, p.ID, i.link(ring.Link(a, p.ID)), i.Now())) {
			asked = append(asked, p.ID)
		}
	}
	i.show(ctx, in, meta, a.Number)
	if len(people) < a.Need {
		i.once(ctx, meta, fmt.Sprintf("too-few-%04d", a.Number), Few(meta, a, len(people)))
	}
	return asked, nil
}

// Remind asks everybody who may decide and has not, once more; and says so in Slack. Errors: Unreadable.
func (i Invitations) Remind(ctx context.Context, meta ledger.Incident, a approval.Approval, in setting.Installed) error {
	ring, err := i.Keys.Read(ctx)
	if err != nil {
		return err
	}
	people, err := approval.Deciders(ctx, i.Store, in, meta, a.Kind)
	if err != nil {
		return err
	}
	for _, p := range people {
		if _, decided := a.Decided(p.ID); !decided {
			i.once(ctx, meta, fmt.Sprintf("reminder-%04d-%s", a.Number, p.ID), Remind(meta, a, p.ID, i.link(ring.Link(a, p.ID)), i.Now()))
		}
	}
	i.reply(ctx, in, meta, a.Number, "reminder", fmt.Sprintf("Half of the time is over: %d of %d have approved. Decide before %s.", len(a.By()), a.Need, clock(a.Expires)))
	return nil
}

// Escalate tells the next audience that a request is not decided yet, once.
func (i Invitations) Escalate(ctx context.Context, meta ledger.Incident, a approval.Approval, in setting.Installed) {
	i.once(ctx, meta, fmt.Sprintf("escalation-%04d", a.Number), Escalated(meta, a, i.Now()))
	i.reply(ctx, in, meta, a.Number, "escalation", fmt.Sprintf("Not decided after %s: the escalation audience was told.", i.Now().Sub(a.Asked).Round(time.Minute)))
}

// Over tells the team that a request ran out, once, and whether it was told, now or before; close-incident says the same of those
// that an execution waits for.
func (i Invitations) Over(ctx context.Context, meta ledger.Incident, a approval.Approval) bool {
	return i.once(ctx, meta, fmt.Sprintf("ended-%04d", a.Number), Ended(meta, a))
}

// Watch asks everybody who may to look after an incident, each by a link of their own to say so, and all of them in Slack. round
// tells one call from the next. Errors: Unreadable.
func (i Invitations) Watch(ctx context.Context, meta ledger.Incident, in setting.Installed, round int, expires time.Time) ([]string, error) {
	ring, err := i.Keys.Read(ctx)
	if err != nil {
		return nil, err
	}
	people, err := approval.Watchers(ctx, i.Store, in, meta)
	if err != nil {
		return nil, err
	}
	var told []string
	for _, p := range people {
		link := strings.TrimRight(i.API, "/") + "/seen/" + ring.SeenLink(meta, p.ID, expires)
		if i.once(ctx, meta, fmt.Sprintf("seen-%d-%s", round, p.ID), Attend(meta, p.ID, link, round)) {
			told = append(told, p.ID)
		}
	}
	i.show(ctx, in, meta, -meta.Episode)
	return told, nil
}

// Unattended tells the next audience that nobody looks after an incident, once.
func (i Invitations) Unattended(ctx context.Context, in setting.Installed, meta ledger.Incident, since time.Time) bool {
	i.reply(ctx, in, meta, -meta.Episode, "unattended", fmt.Sprintf("Nobody looks after it after %s: the escalation audience was told.", i.Now().Sub(since).Round(time.Minute)))
	return i.once(ctx, meta, "unattended", Unattended(meta, i.Now().Sub(since)))
}

func (i Invitations) link(segment string) string {
	return strings.TrimRight(i.API, "/") + "/approve/" + segment
}

// once sends a message of that kind, and tells whether it was sent, now or before.
func (i Invitations) once(ctx context.Context, meta ledger.Incident, kind string, m Message) bool {
	topic := i.Topic
	if m.To != "" {
		topic = i.Personal
	}
	if _, err := topic.Once(ctx, i.Store, meta.ID, meta.Episode, kind, m); err != nil {
		slog.ErrorContext(ctx, "a message was not sent", "incident", meta.ID, "kind", kind, "to", m.To, "error", err.Error())
		return false
	}
	return true
}

func (i Invitations) show(ctx context.Context, in setting.Installed, meta ledger.Incident, number int) {
	if err := i.Slack.Show(ctx, i.Store, in, meta.ID, number); err != nil {
		slog.ErrorContext(ctx, "Slack does not show what people are asked", "incident", meta.ID, "number", number, "error", err.Error())
	}
}

func (i Invitations) reply(ctx context.Context, in setting.Installed, meta ledger.Incident, number int, kind, text string) {
	if err := i.Slack.Reply(ctx, i.Store, in, meta.ID, meta.Episode, number, kind, text); err != nil {
		slog.ErrorContext(ctx, "a message was not sent", "incident", meta.ID, "kind", "slack "+kind, "error", err.Error())
	}
}

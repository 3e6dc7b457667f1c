package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/channel"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
)

// people sees to it that those who have to decide hear of it: what could not be sent before, a reminder at half time, the next
// audience when the playbook says so; that Slack shows how each request stands; and that somebody looks after what needs no
// decision. Without the settings nothing of that can be done; everything else has been by then.
func (s sweep) people(ctx context.Context, r *Report) error {
	in, err := s.inst.Deciding(ctx)
	if err != nil {
		r.Failed++
		return err
	}
	return errors.Join(s.requests(ctx, in, r), s.shown(ctx, in, r), s.watches(ctx, in, r))
}

func (s sweep) requests(ctx context.Context, in setting.Installed, r *Report) error {
	items, err := approval.Pending(ctx, s.store)
	if err != nil {
		return err
	}
	var errs []error
	for _, it := range items {
		if err := s.request(ctx, in, it.Value.Incident, it.Value.Number, r); err != nil {
			r.Failed++
			errs = append(errs, fmt.Errorf("ask about request %d of %s: %w", it.Value.Number, it.Value.Incident, err))
		}
	}
	return errors.Join(errs...)
}

func (s sweep) request(ctx context.Context, in setting.Installed, id string, number int, r *Report) error {
	it, err := approval.Load(ctx, s.store, id, number)
	if err != nil {
		return err
	}
	meta, err := ledger.Load[ledger.Incident](ctx, s.store, ledger.IncidentKey(id))
	if err != nil {
		return err
	}
	a, now := it.Value, s.now()
	if a.Status != approval.StatusOpen || a.Episode != meta.Value.Episode || now.Sub(a.Asked) < settling {
		return nil
	}
	asked, err := s.ask.Send(ctx, meta.Value, a, in)
	if err != nil {
		return err
	}
	if len(asked) == 0 && len(a.Decisions) == 0 {
		r.Untold++
	}
	half := a.Asked.Add(a.Expires.Sub(a.Asked) / 2)
	if !now.Before(half) {
		if err := s.ask.Remind(ctx, meta.Value, a, in); err != nil {
			return err
		}
	}
	if due := a.Asked.Add(patienceOf(meta.Value)); !now.Before(due) || !now.Before(half) {
		s.ask.Escalate(ctx, meta.Value, a, in)
	}
	return nil
}

// settling is how long whoever opened a request has to send its messages itself.
const settling = 30 * time.Second

// patienceOf is how long people have before the next audience is told, by the playbook; an hour where it says nothing.
func patienceOf(meta ledger.Incident) time.Duration {
	if meta.Told.Audience == "" {
		return time.Hour
	}
	return time.Duration(meta.Told.EscalateMinutes) * time.Minute
}

// shown brings the messages in Slack up to date.
func (s sweep) shown(ctx context.Context, in setting.Installed, r *Report) error {
	if !in.Slack.On() {
		return nil
	}
	items, err := ledger.Open[channel.Posted](ctx, s.store, channel.PostedGroup)
	if err != nil {
		return err
	}
	for _, it := range items {
		// Slack being down keeps nothing else from being done, and is no failure of the sweep: the next one tries again.
		if err := s.ask.Slack.Show(ctx, s.store, in, it.Value.Incident, it.Value.Number); err != nil {
			slog.ErrorContext(ctx, "Slack does not show a request", "incident", it.Value.Incident, "approval", it.Value.Number, "error", err.Error())
		}
	}
	return nil
}

// watches calls people to what needs no decision: the approvers at once, the next audience when the playbook says so, everybody
// again after a day; until somebody says that they look after it.
func (s sweep) watches(ctx context.Context, in setting.Installed, r *Report) error {
	items, err := ledger.Open[approval.Watch](ctx, s.store, approval.WatchGroup)
	if err != nil {
		return err
	}
	var errs []error
	for _, it := range items {
		if err := s.watch(ctx, in, it, r); err != nil && !errors.Is(err, ledger.ErrConflict) {
			r.Failed++
			errs = append(errs, fmt.Errorf("call people to %s: %w", it.Value.Incident, err))
		}
	}
	return errors.Join(errs...)
}

// answer is how long a link to acknowledge is good for.
const answer = 7 * 24 * time.Hour

func (s sweep) watch(ctx context.Context, in setting.Installed, it ledger.Item[approval.Watch], r *Report) error {
	w, now := it.Value, s.now()
	meta, err := ledger.Load[ledger.Incident](ctx, s.store, ledger.IncidentKey(w.Incident))
	if err != nil {
		return err
	}
	_, seen, err := approval.Acknowledged(ctx, s.store, meta.Value)
	if err != nil {
		return err
	}
	later := []time.Duration{0, patienceOf(meta.Value), max(24*time.Hour, patienceOf(meta.Value))}
	over := seen || meta.Value.Episode != w.Episode || !approval.Answerable(meta.Value) || w.Called >= len(later)
	if !over && now.Sub(w.Began) < later[w.Called] {
		return nil
	}
	if over {
		it.Group, it.Sort = "", ""
		return ledger.Save(ctx, s.store, &it)
	}
	slog.InfoContext(ctx, "call", "incident", w.Incident, "episode", w.Episode, "called", w.Called)
	told := true
	switch w.Called {
	case 1:
		told = s.ask.Unattended(ctx, in, meta.Value, w.Began)
	default:
		people, err := s.ask.Watch(ctx, meta.Value, in, w.Called+1, w.Began.Add(answer))
		if err != nil {
			return err
		}
		told = len(people) > 0
	}
	if !told {
		r.Untold++
		if now.Sub(w.Began) < later[w.Called]+time.Hour {
			return nil // the next sweep tries again; after an hour the next audience has its turn
		}
	}
	it.Value.Called++
	return ledger.Save(ctx, s.store, &it)
}

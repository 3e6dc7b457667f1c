package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
)

// visit is a genuine link, with what it leads to.
type visit struct {
	link      approval.Link
	ring      approval.Ring
	approval  approval.Approval
	meta      ledger.Incident
	installed setting.Installed
	now       time.Time
	barred    bool // the link is this approver's, who may not decide
}

// follow follows a link. Whatever is wrong with one, the answer is the same; res is set then.
func (h handler) follow(ctx context.Context, segment string, p pages) (v visit, res *response, err error) {
	wrong := p.message(http.StatusNotFound, "wrong")
	if v.ring, v.link, err = h.keys.Follow(ctx, segment); errors.Is(err, approval.ErrLink) {
		return v, &wrong, nil
	} else if err != nil {
		return v, nil, err
	}
	if v.installed, err = h.inst.Deciding(ctx); err != nil {
		return v, nil, err
	}
	it, err := approval.Load(ctx, h.store, v.link.Incident, v.link.Number)
	if err != nil {
		return v, nil, err
	}
	meta, err := ledger.Load[ledger.Incident](ctx, h.store, ledger.IncidentKey(v.link.Incident))
	if err != nil {
		return v, nil, err
	}
	if !v.ring.Genuine(v.link, it.Value) || !meta.Exists() {
		return v, &wrong, nil
	}
	v.approval, v.meta, v.now = it.Value, meta.Value, h.now().UTC()
	people, err := approval.Deciders(ctx, h.store, v.installed, v.meta, v.approval.Kind)
	if err != nil {
		return v, nil, err
	}
	if !slices.ContainsFunc(people, func(p setting.Approver) bool { return p.ID == v.link.Approver }) {
		v.barred = true
		barred := p.message(http.StatusForbidden, "barred")
		return v, &barred, nil
	}
	return v, nil, nil
}

// view is the record INC#<id> / VIEW#<number>#<approver>#<what>#<hour>: it keeps the timeline at one entry an hour.
type view struct {
	At time.Time `json:"at"`
}

// viewed puts on record that the approver has seen the request.
func (h handler) viewed(ctx context.Context, v visit, via string) {
	h.remember(ctx, v, "looked", "looked at "+string(v.approval.Kind)+" by "+via)
}

// refused puts on record that a decision of the approver's was turned down: barred, unproven, late, again.
func (h handler) refused(ctx context.Context, v visit, via, why string) {
	h.remember(ctx, v, why, fmt.Sprintf("refused a decision on %s %d by %s: %s", v.approval.Kind, v.approval.Number, via, why))
}

// remember writes into the timeline, once an hour for each approver and kind. What cannot be put on record is answered all the same.
func (h handler) remember(ctx context.Context, v visit, kind, what string) {
	a := v.approval
	it := ledger.Item[view]{
		Key:   ledger.Key{PK: "INC#" + a.Incident, SK: strings.Join([]string{"VIEW", approval.Key("", a.Number).SK, v.link.Approver, kind, v.now.Format("2006-01-02T15")}, "#")},
		Value: view{v.now}, Expires: v.now.Add(48 * time.Hour),
	}
	if seen, err := h.store.Get(ctx, it.Key); err != nil || seen.Version > 0 {
		return
	}
	entry := ledger.Entry(a.Incident, ledger.Event{Time: v.now, State: "Approval", Who: v.link.Approver, What: what})
	entry.SK += "#" + it.SK
	if err := ledger.Save(ctx, h.store, &it, &entry); err != nil && !errors.Is(err, ledger.ErrConflict) {
		slog.ErrorContext(ctx, "not on record", "kind", kind, "incident", a.Incident, "error", err.Error())
	}
}

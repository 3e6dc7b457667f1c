// Command approvals serves the page on which people decide. GET shows a request and changes nothing; POST records a decision
// first and delivers it afterwards.
//
// The second time a person sends a form, or a person decides who has decided, nothing changes and the page says so. What is
// recorded and not delivered, the sweep delivers.
//
// It has no undo: a decision stays on record. Until the destroying step runs, cancelling the incident's request ends it.
package main

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/boot"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
)

// calls are what this function asks of AWS, besides the ledger and the settings: it reads the key of the links, and delivers.
type calls interface {
	approval.SecretAPI
	approval.MachineAPI
}

type (
	request  = events.APIGatewayV2HTTPRequest
	response = events.APIGatewayV2HTTPResponse
)

type handler struct {
	store   ledger.Store
	inst    *setting.Installation
	keys    *approval.Keys
	courier approval.Courier
	who     Identity
	pages   pages
	now     func() time.Time
}

func newHandler(store ledger.Store, inst *setting.Installation, api calls, key, machine string, now func() time.Time) handler {
	return handler{
		store: store, inst: inst, keys: approval.NewKeys(api, key), who: linkAlone{}, pages: newPages(english), now: now,
		courier: approval.Courier{Store: store, API: api, Machine: machine, Now: now},
	}
}

// handle answers every request with a page. It never fails: what goes wrong inside is logged here, and shown without details.
func (h handler) handle(ctx context.Context, req request) (res response, _ error) {
	method := req.RequestContext.HTTP.Method
	defer func() {
		if p := recover(); p != nil {
			slog.ErrorContext(ctx, "failed", "panic", p)
			res = h.pages.message(http.StatusInternalServerError, "broken")
		}
		if method == http.MethodHead {
			res.Body = ""
		}
	}()
	var err error
	switch method {
	case http.MethodGet, http.MethodHead:
		res, err = h.show(ctx, req)
	case http.MethodPost:
		res, err = h.decide(ctx, req)
	default:
		res = h.pages.message(http.StatusMethodNotAllowed, "wrong")
		res.Headers["allow"] = "GET, HEAD, POST"
	}
	if err != nil {
		slog.ErrorContext(ctx, "failed", "error", err.Error())
		res = h.pages.message(http.StatusInternalServerError, "broken")
	}
	return res, nil
}

func (h handler) show(ctx context.Context, req request) (response, error) {
	v, res, err := h.visit(ctx, req)
	if err != nil || res != nil {
		return deref(res), err
	}
	if req.RequestContext.HTTP.Method == http.MethodGet {
		h.viewed(ctx, v)
	}
	_, signed := h.who.Identify(req, v)
	return h.pages.approval(http.StatusOK, v, signed, entry{})
}

func deref(res *response) response {
	if res == nil {
		return response{}
	}
	return *res
}

// decide takes a sent form: first whether it may be one at all, then who sends it, then what it says.
func (h handler) decide(ctx context.Context, req request) (response, error) {
	v, res, err := h.visit(ctx, req)
	if err != nil || res != nil {
		return deref(res), err
	}
	if !ownForm(req) {
		return h.pages.message(http.StatusForbidden, "foreign"), nil
	}
	form, status := parse(req)
	if status != http.StatusOK {
		return h.pages.message(status, "malformed"), nil
	}
	person, ok := h.who.Identify(req, v)
	if !ok {
		return h.pages.message(http.StatusForbidden, "signin"), nil
	}
	in := read(form, v, person)
	nonce, ok := v.ring.Spend(v.link, form.Get("nonce"), v.now)
	if !ok {
		in.Trouble = "stale"
		return h.pages.approval(http.StatusConflict, v, true, in)
	}
	if closed(v) {
		return h.pages.approval(http.StatusConflict, v, true, entry{Trouble: after(v, person)})
	}
	if in.Trouble != "" {
		return h.pages.approval(http.StatusUnprocessableEntity, v, true, in)
	}
	a := v.approval
	slog.InfoContext(ctx, "decide", "incident", a.Incident, "approval", a.Number, "approver", person.Approver, "via", person.Via, "decision", in.Decision)
	answer, latest, err := approval.Decide(ctx, h.store, v.installed, approval.Vote{
		Incident: a.Incident, Number: a.Number, Approver: person.Approver, Via: person.Via, Approve: in.Decision == "approve",
		Reason: in.Reason, Hash: a.Hash, Nonce: nonce, Now: v.now,
	})
	if !answer.Recorded() {
		if err != nil {
			return response{}, err
		}
		v.approval = latest
		if answer == approval.Barred {
			return h.pages.message(http.StatusForbidden, "barred"), nil
		}
		return h.pages.approval(http.StatusConflict, v, true, entry{Trouble: after(v, person)})
	}
	// From here the decision stands. What fails now, the sweep makes good.
	if err != nil {
		slog.ErrorContext(ctx, "a decision is recorded, but not in the timeline", "incident", a.Incident, "approval", a.Number, "error", err.Error())
	}
	if _, err := h.courier.Deliver(ctx, a.Incident, a.Number); err != nil {
		slog.ErrorContext(ctx, "a decision is recorded, but not delivered yet", "incident", a.Incident, "approval", a.Number, "error", err.Error())
	}
	see := h.pages.message(http.StatusSeeOther, "done")
	see.Headers["location"] = strings.TrimPrefix(req.RawPath, "/approve/") // relative, for APIs behind a prefix
	return see, nil
}

func main() {
	b := boot.Load()
	api := struct {
		approval.SecretAPI
		approval.MachineAPI
	}{secretsmanager.NewFromConfig(b.AWS), sfn.NewFromConfig(b.AWS)}
	boot.Start(newHandler(b.Store(), b.Installation(), api, b.Env("LINK_KEY"), b.Env("MACHINE"), time.Now).handle)
}

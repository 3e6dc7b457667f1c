// Command approvals serves the page on which people decide. GET shows a request and changes nothing; POST records a decision
// first and delivers it afterwards.
//
// The second time a person sends a form, or a person decides who has decided, nothing changes and the page says so. What is
// recorded and not delivered, the sweep delivers.
//
// It has no undo: a decision stays on record. Until it is delivered, cancelling the request ends it.
package main

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/boot"
	"firebreak/lib/channel"
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
	door    *signIn
	slack   *channel.Slack
	pages   []pages // the first is for whoever reads none of the others
	now     func() time.Time
}

// address is where the parts of an installation are.
type address struct{ key, machine, api string }

func newHandler(store ledger.Store, inst *setting.Installation, api calls, at address, now func() time.Time) handler {
	return handler{
		store: store, inst: inst, keys: approval.NewKeys(api, at.key, now), door: newSignIn(api, at.api, now), slack: channel.NewSlack(api, now), pages: []pages{newPages(english), newPages(japanese)}, now: now,
		courier: approval.Courier{Store: store, API: api, Machine: at.machine, Now: now},
	}
}

// handle answers every request with a page. It never fails: what goes wrong inside is logged here, and shown without details.
func (h handler) handle(ctx context.Context, req request) (res response, _ error) {
	method, p := req.RequestContext.HTTP.Method, h.language(req)
	defer func() {
		if broken := recover(); broken != nil {
			slog.ErrorContext(ctx, "failed", "panic", broken)
			res = p.message(http.StatusInternalServerError, "broken")
		}
		if method == http.MethodHead {
			res.Body = ""
		}
	}()
	res, err := h.route(ctx, req, p)
	if err != nil {
		slog.ErrorContext(ctx, "failed", "error", err.Error())
		res = p.message(http.StatusInternalServerError, "broken")
	}
	return res, nil
}

// route finds what answers a request. Only POST can change anything.
func (h handler) route(ctx context.Context, req request, p pages) (response, error) {
	method := req.RequestContext.HTTP.Method
	looking, posting := method == http.MethodGet || method == http.MethodHead, method == http.MethodPost
	_, link, _ := strings.Cut(strings.TrimPrefix(req.RawPath, "/"), "/")
	switch place, _, _ := strings.Cut(strings.TrimPrefix(req.RawPath, "/"), "/"); {
	case !looking && !posting:
		res := p.message(http.StatusMethodNotAllowed, "wrong")
		res.Headers["allow"] = "GET, HEAD, POST"
		return res, nil
	case place == "approve" && looking:
		return h.show(ctx, req, link, p)
	case place == "approve":
		return h.decide(ctx, req, link, p)
	case place == "seen":
		return h.seen(ctx, req, link, p)
	case place == "slack" && posting && link == "interactions":
		return h.interaction(ctx, req)
	case place == "signin" && looking:
		return h.signin(ctx, req, p)
	}
	return p.message(http.StatusNotFound, "wrong"), nil
}

func (h handler) show(ctx context.Context, req request, link string, p pages) (response, error) {
	v, res, err := h.follow(ctx, link, p)
	if err != nil || res != nil {
		return deref(res), err
	}
	who := identify(req, v)
	if req.RequestContext.HTTP.Method == http.MethodGet {
		h.viewed(ctx, v, cmp.Or(who.person.Via, setting.ViaLink))
	}
	return p.approval(http.StatusOK, v, who, entry{})
}

func deref(res *response) response {
	if res == nil {
		return response{}
	}
	return *res
}

// decide takes a sent form: first whether it may be one at all, then who sends it, then what it says. What is refused goes on record
// where the form was one that we have shown: others are sent by machines.
func (h handler) decide(ctx context.Context, req request, link string, p pages) (response, error) {
	v, res, err := h.follow(ctx, link, p)
	if err != nil || res != nil && !v.barred {
		return deref(res), err
	}
	if !ownForm(req) {
		return p.message(http.StatusForbidden, "foreign"), nil
	}
	form, status := parse(req)
	if status != http.StatusOK {
		return p.message(status, "malformed"), nil
	}
	who := identify(req, v)
	person := who.person
	nonce, shown := v.ring.Spend(v.link, person.Session, form.Get("nonce"), v.now)
	refuse := func(why string) {
		if shown {
			h.refused(ctx, v, person.Via, why)
		}
	}
	switch {
	case v.barred:
		refuse("barred")
		return *res, nil
	case closed(v): // whoever comes too late hears what happened, however old the form or the sign-in is
		refuse(after(v, person))
		return p.approval(http.StatusConflict, v, who, entry{Trouble: after(v, person)})
	case !who.ok:
		refuse("unproven")
		return p.message(http.StatusForbidden, "signin"), nil
	}
	in := read(form, v, person)
	if !shown {
		in.Trouble = "stale"
		return p.approval(http.StatusConflict, v, who, in)
	}
	if in.Trouble != "" {
		return p.approval(http.StatusUnprocessableEntity, v, who, in)
	}
	a := v.approval
	slog.InfoContext(ctx, "decide", "incident", a.Incident, "approval", a.Number, "approver", person.Approver, "via", person.Via, "decision", in.Decision)
	answer, latest, err := approval.Decide(ctx, h.store, v.installed, approval.Vote{
		Incident: a.Incident, Number: a.Number, Approver: person.Approver, Via: person.Via, Approve: in.Decision == "approve",
		Keep: in.keep(a), Reason: in.Reason, Hash: a.Hash, Nonce: nonce, Now: v.now,
	})
	if err != nil {
		return response{}, err
	}
	if !answer.Recorded() {
		v.approval = latest
		switch answer {
		case approval.Barred:
			return p.message(http.StatusForbidden, "barred"), nil
		case approval.Unproven:
			return p.message(http.StatusForbidden, "signin"), nil
		}
		return p.approval(http.StatusConflict, v, who, entry{Trouble: after(v, person)})
	}
	h.carryOn(ctx, v.installed, a.Incident, a.Number)
	see := p.message(http.StatusSeeOther, "done")
	see.Headers["location"] = link // relative, for APIs behind a prefix
	return see, nil
}

func main() {
	b := boot.Load()
	api := struct {
		approval.SecretAPI
		approval.MachineAPI
	}{secretsmanager.NewFromConfig(b.AWS), sfn.NewFromConfig(b.AWS)}
	boot.Start(newHandler(b.Store(), b.Installation(), api, address{b.Env("LINK_KEY"), b.Env("MACHINE"), b.Env("API")}, time.Now).handle)
}

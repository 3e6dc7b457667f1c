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
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
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

// visit is a genuine link, with what it leads to.
type visit struct {
	link      approval.Link
	ring      approval.Ring
	approval  approval.Approval
	meta      ledger.Incident
	installed setting.Installed
	now       time.Time
}

// visit follows the link of a request. Whatever is wrong with a link, the answer is the same; res is set then.
func (h handler) visit(ctx context.Context, req request) (v visit, res *response, err error) {
	wrong := h.pages.message(http.StatusNotFound, "wrong")
	segment, ok := strings.CutPrefix(req.RawPath, "/approve/")
	if !ok {
		return v, &wrong, nil
	}
	if v.link, err = approval.ParseLink(segment); err != nil {
		return v, &wrong, nil
	}
	if v.ring, err = h.keys.Read(ctx); err != nil {
		return v, nil, err
	}
	if v.installed, err = h.inst.Read(ctx); err != nil {
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
	if !slices.ContainsFunc(approval.Eligible(v.installed, v.meta), func(p setting.Approver) bool { return p.ID == v.link.Approver }) {
		barred := h.pages.message(http.StatusForbidden, "barred")
		return v, &barred, nil
	}
	return v, nil, nil
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

// view is the record INC#<id> / VIEW#<number>#<approver>#<hour>: it keeps the timeline at one entry an hour.
type view struct {
	At time.Time `json:"at"`
}

// viewed writes that the approver has seen the request. A page that cannot be put on record is shown all the same.
func (h handler) viewed(ctx context.Context, v visit) {
	a := v.approval
	it := ledger.Item[view]{
		Key:   ledger.Key{PK: "INC#" + a.Incident, SK: strings.Join([]string{"VIEW", approval.Key("", a.Number).SK, v.link.Approver, v.now.Format("2006-01-02T15")}, "#")},
		Value: view{v.now}, Expires: v.now.Add(48 * time.Hour),
	}
	if seen, err := h.store.Get(ctx, it.Key); err != nil || seen.Version > 0 {
		return
	}
	if ledger.Save(ctx, h.store, &it) != nil {
		return
	}
	err := ledger.Append(ctx, h.store, a.Incident, ledger.Event{Time: v.now, State: "Approval", Who: v.link.Approver, What: "looked at " + string(a.Kind) + " by link"})
	if err != nil {
		slog.ErrorContext(ctx, "a view is not on record", "incident", a.Incident, "error", err.Error())
	}
}

const (
	maxBody   = 8 << 10
	maxReason = 500
)

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

// ownForm tells whether the form was on our own page, as far as a browser says so. The page asks for no referrer, so browsers
// give "null" as the origin of its form; then Sec-Fetch-Site has to speak for it. The nonce is what proves it.
func ownForm(req request) bool {
	site, origin := header(req, "sec-fetch-site"), header(req, "origin")
	if site != "" && site != "same-origin" {
		return false
	}
	if origin == "" {
		return true
	}
	if origin == "null" {
		return site == "same-origin"
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && (strings.EqualFold(u.Host, header(req, "host")) || strings.EqualFold(u.Host, req.RequestContext.DomainName))
}

// header reads one header; API Gateway gives names in lower case, other front doors do not.
func header(req request, name string) string {
	for k, v := range req.Headers {
		if strings.EqualFold(k, name) {
			return v
		}
	}
	return ""
}

// parse reads the form. Each field comes once; the status says what is wrong otherwise.
func parse(req request) (url.Values, int) {
	kind, _, _ := strings.Cut(header(req, "content-type"), ";")
	if !strings.EqualFold(strings.TrimSpace(kind), "application/x-www-form-urlencoded") {
		return nil, http.StatusUnsupportedMediaType
	}
	if len(req.Body) > maxBody*4/3+4 {
		return nil, http.StatusRequestEntityTooLarge
	}
	body := req.Body
	if req.IsBase64Encoded {
		raw, err := base64.StdEncoding.DecodeString(body)
		if err != nil {
			return nil, http.StatusBadRequest
		}
		body = string(raw)
	}
	if len(body) > maxBody {
		return nil, http.StatusRequestEntityTooLarge
	}
	form, err := url.ParseQuery(body)
	if err != nil {
		return nil, http.StatusBadRequest
	}
	for _, values := range form {
		if len(values) != 1 {
			return nil, http.StatusBadRequest
		}
	}
	return form, http.StatusOK
}

func main() {
	b := boot.Load()
	api := struct {
		approval.SecretAPI
		approval.MachineAPI
	}{secretsmanager.NewFromConfig(b.AWS), sfn.NewFromConfig(b.AWS)}
	boot.Start(newHandler(b.Store(), b.Installation(), api, b.Env("LINK_KEY"), b.Env("MACHINE"), time.Now).handle)
}

package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/channel"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/slack-go/slack"
)

// answered is what Slack is told: a status, and for a submitted view what becomes of it.
func answered(status int, body any) response {
	res := response{StatusCode: status, Headers: map[string]string{"cache-control": "no-store", "x-content-type-options": "nosniff"}}
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return response{StatusCode: http.StatusInternalServerError, Headers: res.Headers}
		}
		res.Headers["content-type"], res.Body = "application/json; charset=utf-8", string(data)
	}
	return res
}

// maxInteraction bounds what is read at all; Slack sends the whole message along.
const maxInteraction = 256 << 10

// interaction takes what a member of the Slack workspace did with a message: pressing a button opens a view and changes
// nothing; submitting the view decides.
func (h handler) interaction(ctx context.Context, req request) (response, error) {
	installed, err := h.inst.Deciding(ctx)
	if err != nil {
		return answered(http.StatusServiceUnavailable, nil), err
	}
	set := installed.Slack
	if !set.On() {
		return answered(http.StatusNotFound, nil), nil
	}
	body, ok := rawBody(req)
	if !ok {
		return answered(http.StatusRequestEntityTooLarge, nil), nil
	}
	signing, err := h.slack.SigningSecret(ctx, set)
	if err != nil {
		slog.ErrorContext(ctx, "nobody can decide in Slack", "error", err.Error())
		return answered(http.StatusServiceUnavailable, nil), nil
	}
	now := h.now().UTC()
	seal, err := genuine(req, body, signing)
	if err != nil {
		slog.WarnContext(ctx, "refused a request of Slack", "why", err.Error())
		return answered(http.StatusUnauthorized, nil), nil
	}
	if first, err := h.firstTime(ctx, seal, now); err != nil || !first {
		if err != nil {
			return answered(http.StatusServiceUnavailable, nil), nil
		}
		slog.WarnContext(ctx, "refused a request of Slack", "why", "it came before")
		return answered(http.StatusConflict, nil), nil
	}
	form, err := url.ParseQuery(body)
	var in slack.InteractionCallback
	if err != nil || json.Unmarshal([]byte(form.Get("payload")), &in) != nil {
		return answered(http.StatusBadRequest, nil), nil
	}
	if set.Team != "" && in.Team.ID != set.Team {
		slog.WarnContext(ctx, "refused a request of Slack", "why", "it is from another workspace", "team", short(in.Team.ID))
		return answered(http.StatusForbidden, nil), nil
	}
	switch {
	case in.Type == slack.InteractionTypeBlockActions && len(in.ActionCallback.BlockActions) == 1:
		return h.pressed(ctx, installed, in, now)
	case in.Type == slack.InteractionTypeViewSubmission && in.View.CallbackID == channel.ViewDecide:
		return h.submitted(ctx, installed, in, now)
	}
	return answered(http.StatusOK, nil), nil
}

// rawBody gives the body as Slack sent it: that is what is signed.
func rawBody(req request) (string, bool) {
	body := req.Body
	if len(body) > maxInteraction*4/3+4 {
		return "", false
	}
	if req.IsBase64Encoded {
		raw, err := base64.StdEncoding.DecodeString(body)
		if err != nil {
			return "", false
		}
		body = string(raw)
	}
	return body, len(body) <= maxInteraction
}

// genuine checks Slack's signature (v0: HMAC-SHA256 over version, stamp and raw body, compared in constant time) and that the
// stamp is at most five minutes off. It gives a fingerprint of the signature. (Slack: Verifying requests from Slack.)
func genuine(req request, body, secret string) (string, error) {
	headers := http.Header{}
	for k, v := range req.Headers {
		if strings.HasPrefix(strings.ToLower(k), "x-slack-") {
			headers.Add(k, v)
		}
	}
	verifier, err := slack.NewSecretsVerifier(headers, secret)
	if err != nil {
		return "", err
	}
	if _, err := verifier.Write([]byte(body)); err != nil {
		return "", err
	}
	if err := verifier.Ensure(); err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(strings.ToLower(headers.Get("X-Slack-Signature"))))
	return hex.EncodeToString(sum[:16]), nil
}

// firstTime records that a request with this signature came, for as long as its stamp is taken; a second one is a replay.
func (h handler) firstTime(ctx context.Context, seal string, now time.Time) (bool, error) {
	it := ledger.Item[view]{Key: ledger.Key{PK: "SLACK#" + seal, SK: "SEEN"}, Value: view{now}, Expires: now.Add(time.Hour)}
	err := ledger.Save(ctx, h.store, &it)
	if errors.Is(err, ledger.ErrConflict) {
		return false, nil
	}
	return err == nil, err
}

// refusal is why somebody in Slack does not decide: for the record, and in words for that person.
type refusal struct{ why, words string }

// asked is a request that somebody in Slack decides about, and that person; or why not.
func (h handler) asked(ctx context.Context, installed setting.Installed, ref channel.Ref, member string, now time.Time) (v visit, person Person, no refusal, err error) {
	it, err := approval.Load(ctx, h.store, ref.Incident, ref.Number)
	if err != nil {
		return v, person, no, err
	}
	meta, err := ledger.Load[ledger.Incident](ctx, h.store, ledger.IncidentKey(ref.Incident))
	if err != nil {
		return v, person, no, err
	}
	p, known := approval.Member(installed, member)
	v = visit{approval: it.Value, meta: meta.Value, installed: installed, now: now, link: approval.Link{Incident: ref.Incident, Number: ref.Number, Approver: p.ID}}
	if !it.Exists() || !meta.Exists() {
		return v, person, refusal{"unknown", "There is no such request."}, nil
	}
	people, err := approval.Deciders(ctx, h.store, installed, meta.Value, it.Value.Kind)
	if err != nil {
		return v, person, no, err
	}
	person = Person{Approver: p.ID, Via: setting.ViaSlack}
	_, decided := v.approval.Decided(p.ID)
	switch {
	case !known:
		no = refusal{"unknown", "You are not on the list of approvers, or not as this member of Slack. Nothing was recorded. Ask your security team."}
	case !slices.ContainsFunc(people, func(q setting.Approver) bool { return q.ID == p.ID }):
		no = refusal{"barred", "You do not decide this: it is for others, the finding names you, or you have changed the incident. Nothing was recorded."}
	case !installed.Approval.Accepts(setting.ViaSlack, v.approval.Kind == approval.KindEradicate):
		no = refusal{"unproven", "This is not decided in Slack here. Open the link in your mail, or use the command line: scripts/firebreak approve. Nothing was recorded."}
	case decided:
		no = refusal{"again", "You have decided before. Nothing was changed."}
	case closed(v) || v.approval.Hash != ref.Hash:
		no = refusal{"late", fmt.Sprintf("It is too late: the request is %s, or the incident has changed. Nothing was recorded.", v.approval.Status)}
	}
	return v, person, no, nil
}

// pressed opens the view that a button leads to.
func (h handler) pressed(ctx context.Context, installed setting.Installed, in slack.InteractionCallback, now time.Time) (response, error) {
	button := in.ActionCallback.BlockActions[0]
	ref, ok := channel.ReadRef(button.Value)
	switch {
	case ok && button.ActionID == channel.ActionSeen && ref.Number < 0:
		return h.sawInSlack(ctx, installed, ref, in, now)
	case !ok || ref.Number < 0 || button.ActionID != channel.ActionApprove && button.ActionID != channel.ActionReject:
		return answered(http.StatusOK, nil), nil
	}
	v, _, no, err := h.asked(ctx, installed, ref, in.User.ID, now)
	if err != nil {
		return answered(http.StatusServiceUnavailable, nil), err
	}
	show := channel.Modal(v.approval, button.ActionID)
	if no.why != "" {
		show = channel.Note("Nothing to decide", no.words)
		h.turnedAway(ctx, v, no)
	} else {
		h.viewed(ctx, v, setting.ViaSlack)
	}
	if err := h.slack.OpenView(ctx, installed.Slack, in.TriggerID, show); err != nil {
		slog.ErrorContext(ctx, "a button of Slack led to nothing", "error", err.Error())
	}
	return answered(http.StatusOK, nil), nil
}

// sawInSlack records that whoever pressed the button looks after the incident: Slack says who that is, and programs press nothing
// there. It decides nothing.
func (h handler) sawInSlack(ctx context.Context, installed setting.Installed, ref channel.Ref, in slack.InteractionCallback, now time.Time) (response, error) {
	meta, err := ledger.Load[ledger.Incident](ctx, h.store, ledger.IncidentKey(ref.Incident))
	if err != nil {
		return answered(http.StatusServiceUnavailable, nil), err
	}
	people, err := approval.Watchers(ctx, h.store, installed, meta.Value)
	if err != nil {
		return answered(http.StatusServiceUnavailable, nil), err
	}
	p, known := approval.Member(installed, in.User.ID)
	why := ""
	switch {
	case !meta.Exists() || meta.Value.Episode != -ref.Number:
		why = "The incident has changed since. Look for a newer message."
	case meta.Value.Status == incident.Closed:
		why = "The incident is closed: nobody needs to look after it any more."
	case !known:
		why = "You are not on the list of approvers, or not as this member of Slack. Ask your security team."
	case !slices.ContainsFunc(people, func(q setting.Approver) bool { return q.ID == p.ID }):
		why = "You are not asked about this: it is for others, or the finding names you."
	default:
		slog.InfoContext(ctx, "acknowledge", "incident", ref.Incident, "approver", p.ID, "via", setting.ViaSlack)
		by, first, err := approval.Acknowledge(ctx, h.store, meta.Value, approval.Acknowledgement{By: p.ID, Via: setting.ViaSlack, At: now})
		if err != nil {
			return answered(http.StatusServiceUnavailable, nil), err
		}
		if !first && by.By != p.ID {
			why = name(installed, by.By) + " looks after it already."
		}
		h.showSeen(ctx, installed, meta.Value)
	}
	if why == "" {
		return answered(http.StatusOK, nil), nil
	}
	if err := h.slack.OpenView(ctx, installed.Slack, in.TriggerID, channel.Note("Nothing was recorded", why)); err != nil {
		slog.ErrorContext(ctx, "a button of Slack led to nothing", "error", err.Error())
	}
	return answered(http.StatusOK, nil), nil
}

// showSeen has Slack show who looks after an incident; where that fails, the sweep does it.
func (h handler) showSeen(ctx context.Context, installed setting.Installed, meta ledger.Incident) {
	if err := h.slack.Show(ctx, h.store, installed, meta.ID, -meta.Episode); err != nil {
		slog.ErrorContext(ctx, "Slack does not show yet who looks after it", "incident", meta.ID, "error", err.Error())
	}
}

// turnedAway puts on record that an approver's decision in Slack was refused. Who is not on the list has no name here.
func (h handler) turnedAway(ctx context.Context, v visit, no refusal) {
	if no.why != "unknown" {
		h.refused(ctx, v, setting.ViaSlack, no.why)
	}
}

// submitted takes a view: the same rules as for the form on the page.
func (h handler) submitted(ctx context.Context, installed setting.Installed, in slack.InteractionCallback, now time.Time) (response, error) {
	ref, ok := channel.ReadRef(in.View.PrivateMetadata)
	if !ok || ref.Number < 0 || in.View.State == nil || ref.Action != channel.ActionApprove && ref.Action != channel.ActionReject {
		return answered(http.StatusBadRequest, nil), nil
	}
	say := func(title, text string) (response, error) {
		note := channel.Note(title, text)
		return answered(http.StatusOK, slack.NewUpdateViewSubmissionResponse(&note)), nil
	}
	v, person, no, err := h.asked(ctx, installed, ref, in.User.ID, now)
	switch {
	case err != nil:
		return answered(http.StatusServiceUnavailable, nil), err
	case no.why != "":
		h.turnedAway(ctx, v, no)
		return say("Nothing was recorded", no.words)
	}
	field := func(block, action string) slack.BlockAction { return in.View.State.Values[block][action] }
	wrong := map[string]string{}
	for i, s := range v.approval.Steps {
		block := fmt.Sprintf("typed-%d", i)
		if typed(v.approval, person) && strings.TrimSpace(field(block, "typed").Value) != s.Name() {
			wrong[block] = "This is not its id."
		}
	}
	if len(wrong) > 0 {
		return answered(http.StatusOK, slack.NewErrorsViewSubmissionResponse(wrong)), nil
	}
	vote := approval.Vote{
		Incident: ref.Incident, Number: ref.Number, Approver: person.Approver, Via: person.Via, Approve: ref.Action == channel.ActionApprove,
		Reason: channel.Line(field("reason", "reason").Value, maxReason), Hash: ref.Hash, Nonce: "slack " + in.View.ID, Now: now,
	}
	for _, o := range field("keep", "keep").SelectedOptions {
		for i, s := range v.approval.Steps {
			if vote.Approve && o.Value == fmt.Sprint(i) {
				vote.Keep = append(vote.Keep, s.Key())
			}
		}
	}
	if vote.Approve && len(vote.Keep) >= len(v.approval.Steps) {
		return answered(http.StatusOK, slack.NewErrorsViewSubmissionResponse(map[string]string{"keep": "That leaves nothing to approve: reject it instead."})), nil
	}
	slog.InfoContext(ctx, "decide", "incident", ref.Incident, "approval", ref.Number, "approver", person.Approver, "via", person.Via, "decision", ref.Action)
	answer, latest, err := approval.Decide(ctx, h.store, installed, vote)
	switch {
	case err != nil:
		return answered(http.StatusServiceUnavailable, nil), err
	case !answer.Recorded():
		return say("Nothing was recorded", "You have decided before, or it is too late.")
	}
	h.carryOn(ctx, installed, ref.Incident, ref.Number)
	switch answer {
	case approval.Carried:
		return say("Approved", "Your approval is recorded, and it was the last that was needed.")
	case approval.Ended:
		if latest.Kind == approval.KindOverride {
			return say("Rejected", "Your rejection is recorded. What was held back is not contained: somebody has to look after it by hand.")
		}
		return say("Rejected", "Your rejection is recorded. What is contained stays contained.")
	}
	return say("Recorded", fmt.Sprintf("Your approval is recorded: %d of %d.", len(latest.By()), latest.Need))
}

// carryOn does what follows a decision that stands: what fails here, the sweep makes good.
func (h handler) carryOn(ctx context.Context, installed setting.Installed, id string, number int) {
	if _, err := h.courier.Deliver(ctx, id, number); err != nil {
		slog.ErrorContext(ctx, "a decision is recorded, but not delivered yet", "incident", id, "approval", number, "error", err.Error())
	}
	if err := h.slack.Show(ctx, h.store, installed, id, number); err != nil {
		slog.ErrorContext(ctx, "a decision is recorded, but Slack does not show it yet", "incident", id, "approval", number, "error", err.Error())
	}
}

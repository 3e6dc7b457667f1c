package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/channel"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
	"firebreak/scripts/local/workspace"
)

const slackSecretARN = "arn:aws:secretsmanager:us-east-1:111111111111:secret:firebreak/channel/slack"

// newChannel is a door of an installation with a Slack workspace, where alice is U1, bob U2 and carol, whom the finding names,
// U3. Nobody decides by a link alone. Its clock is the real one: Slack's stamps are held against that.
func newChannel(t *testing.T, kind approval.Kind) (*door, *workspace.Workspace) {
	t.Helper()
	d := newDoor(t, kind)
	d.now = time.Now().UTC()
	w := workspace.New()
	srv := httptest.NewServer(w)
	t.Cleanup(srv.Close)
	d.secrets = map[string]string{slackSecretARN: w.Secret()}
	d.installed.Approval.LinkAlone = "none"
	d.installed.Slack = setting.Slack{Channel: w.Channel, Team: w.Team, SecretARN: slackSecretARN, API: srv.URL}
	for i, member := range []string{"U1", "U2", "U3"} {
		d.installed.Approvers[i].Slack = member
	}
	d.serve()
	_, err := ledger.Update(t.Context(), d.mem, approval.Key(id, 1), func(it *ledger.Item[approval.Approval]) error {
		it.Value.Expires = d.now.Add(4 * time.Hour)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.h.slack.Show(t.Context(), d.mem, d.installed, id, 1); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, f := range w.Faults() {
			t.Error("Slack would refuse: " + f)
		}
	})
	return d, w
}

func (d *door) slack(r workspace.Request) response {
	return d.ask("POST", "/slack/interactions", r.Header, r.Body)
}

// presses presses a button and gives the view that opens.
func (d *door) presses(w *workspace.Workspace, member, action string) workspace.View {
	d.t.Helper()
	before := len(w.Views())
	if res := d.slack(w.Press(member, w.Messages()[0], action)); res.StatusCode != http.StatusOK || res.Body != "" {
		d.t.Fatalf("%s presses %s: %d %s %s", member, action, res.StatusCode, res.Body, d.log)
	}
	views := w.Views()
	if len(views) != before+1 {
		d.t.Fatalf("%s presses %s, and %d views open: %s", member, action, len(views)-before, d.log)
	}
	return views[before]
}

func TestTwoPeopleDecideInSlack(t *testing.T) {
	d, w := newChannel(t, approval.KindEradicate)
	first := w.Messages()[0]
	for _, want := range []string{"Your decision is needed", instance, "its root volume", "0 of 2 approved", "Credentials that were made"} {
		if !strings.Contains(workspace.Words(first.Blocks), want) {
			t.Errorf("the message does not say %q:\n%s", want, workspace.Words(first.Blocks))
		}
	}
	before := d.dump()
	view := d.presses(w, "U1", "approve")
	if d.dump() != before {
		t.Error("pressing a button changed something")
	}
	if words := workspace.Words(view.Blocks); !strings.Contains(words, "Type "+instance+" by hand") || !strings.Contains(words, "cannot be undone") {
		t.Errorf("the view says\n%s", words)
	}
	for _, typed := range []any{nil, "", "i-0abcdef1234567891", strings.ToUpper(instance)} {
		res := d.slack(w.Submit("U1", view, map[string]any{"typed-0": typed}))
		if !strings.Contains(res.Body, `"response_action":"errors"`) || d.dump() != before {
			t.Errorf("typed %v: %s", typed, res.Body)
		}
	}
	res := d.slack(w.Submit("U1", view, map[string]any{"typed-0": instance, "reason": "miner found <https://evil.example.com|here>"}))
	if !strings.Contains(res.Body, "1 of 2") {
		t.Fatalf("%d %s", res.StatusCode, res.Body)
	}
	if words := workspace.Words(w.Messages()[0].Blocks); !strings.Contains(words, "Alice approved") || !strings.Contains(words, "1 of 2 approved") {
		t.Errorf("the message says\n%s", words)
	}
	res = d.slack(w.Submit("U2", d.presses(w, "U2", "approve"), map[string]any{"typed-0": " " + instance + " "}))
	if !strings.Contains(res.Body, "Approved") {
		t.Fatalf("%d %s", res.StatusCode, res.Body)
	}
	a := d.approval(1)
	if a.Status != approval.StatusApproved || len(d.sent) != 1 || a.Decisions[0].Via != "slack" {
		t.Errorf("%v, sent %v", a, d.sent)
	}
	messages := w.Messages()
	if words := workspace.Words(messages[0].Blocks); len(messages) != 1 || len(workspace.Buttons(messages[0].Blocks)) != 0 || !strings.Contains(words, "APPROVED") || !strings.Contains(words, "Bob approved") {
		t.Errorf("after the decision the message says\n%s", words)
	}
}

func TestOneRejectsOrOverridesInSlack(t *testing.T) {
	d, w := newChannel(t, approval.KindEradicate)
	if res := d.slack(w.Submit("U2", d.presses(w, "U2", "reject"), map[string]any{"typed-0": instance, "reason": "it is ours"})); !strings.Contains(res.Body, "rejection is recorded") {
		t.Fatalf("%s", res.Body)
	}
	if a := d.approval(1); a.Status != approval.StatusRejected || d.sent[0].Decision != "rejected" {
		t.Error(a)
	}
	d, w = newChannel(t, approval.KindOverride)
	if res := d.slack(w.Submit("U1", d.presses(w, "U1", "approve"), nil)); !strings.Contains(res.Body, "last that was needed") {
		t.Fatalf("%s", res.Body)
	}
	if a := d.approval(1); a.Status != approval.StatusApproved || len(d.started) != 1 {
		t.Error(a, d.started)
	}
	d, w = newChannel(t, approval.KindOverride)
	r := d.presses(w, "U1", "reject")
	for _, said := range []string{mustJSON(t, r), d.slack(w.Submit("U1", r, nil)).Body} {
		if strings.Contains(said, "stays contained") || !strings.Contains(said, "look after it by hand") {
			t.Errorf("whoever rejects an override reads %s", said)
		}
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// What needs no decision is shown in Slack too, with a button for whoever looks after it; whoever does so first, here or by the
// link of a mail, stands in the message.
func TestAcknowledgeInSlack(t *testing.T) {
	for _, by := range []string{"button", "link"} {
		d, w := newChannel(t, approval.KindOverride)
		_, err := ledger.Update(t.Context(), d.mem, ledger.IncidentKey(id), func(it *ledger.Item[ledger.Incident]) error {
			it.Value.Plan.Eradicate = nil
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.h.slack.Show(t.Context(), d.mem, d.installed, id, -1); err != nil {
			t.Fatal(err)
		}
		m := w.Messages()[1]
		if words := workspace.Words(m.Blocks); !strings.Contains(words, "Somebody has to look after this") || !strings.Contains(words, "Credentials that were made") || len(workspace.Buttons(m.Blocks)) != 1 {
			t.Fatalf("the message says\n%s", words)
		}
		said := func(member string) string {
			before := len(w.Views())
			if res := d.slack(w.Press(member, m, "seen")); res.StatusCode != http.StatusOK {
				t.Fatalf("%s: %d", member, res.StatusCode)
			}
			if views := w.Views(); len(views) > before {
				return workspace.Words(views[before].Blocks)
			}
			return ""
		}
		before := d.dump()
		if got := said("U9"); !strings.Contains(got, "not on the list") {
			t.Errorf("a stranger reads %q", got)
		}
		if got := said("U3"); !strings.Contains(got, "the finding names you") {
			t.Errorf("carol, whom the finding names, reads %q", got)
		}
		if d.dump() != before {
			t.Error("somebody who is not asked changed something")
		}
		if by == "button" {
			if got := said("U1"); got != "" {
				t.Errorf("alice reads %q", got)
			}
		} else {
			form := url.Values{"nonce": {nonceOf(t, d.ask("GET", "/seen/"+d.seen("alice"), nil, ""))}, "decision": {"seen"}, "typed-0": {"222222222222"}}
			if res := d.ask("POST", "/seen/"+d.seen("alice"), sameOrigin, form.Encode()); res.StatusCode != http.StatusSeeOther {
				t.Fatalf("%d %s", res.StatusCode, res.Body)
			}
		}
		if words := workspace.Words(w.Messages()[1].Blocks); !strings.Contains(words, "Alice looks after it") || len(workspace.Buttons(w.Messages()[1].Blocks)) != 0 {
			t.Errorf("afterwards the message says\n%s", words)
		}
		if got := said("U2"); !strings.Contains(got, "Alice looks after it already") {
			t.Errorf("bob reads %q", got)
		}
		if a := d.approval(1); a.Status != approval.StatusOpen || len(a.Decisions) != 0 || len(d.started) != 0 {
			t.Errorf("acknowledging decided something: %v", a)
		}
		if left, err := ledger.Open[channel.Posted](t.Context(), d.mem, channel.PostedGroup); err != nil || len(left) != 1 {
			t.Errorf("%d messages still to be looked after, want the request's (%v)", len(left), err)
		}
	}
}

// A button to acknowledge is none to decide, and the other way round; nor is one of another episode.
func TestButtonsToAcknowledgeDecideNothing(t *testing.T) {
	d, w := newChannel(t, approval.KindEradicate)
	m, before := w.Messages()[0], d.dump()
	for name, button := range map[string]struct{ action, value string }{
		"acknowledge a request":   {"seen", channel.Ref{Incident: id, Number: 1, Hash: d.approval(1).Hash}.String()},
		"approve an episode":      {"approve", channel.Ref{Incident: id, Number: -1}.String()},
		"reject with a hash":      {"reject", channel.Ref{Incident: id, Number: -1, Hash: d.approval(1).Hash}.String()},
		"another episode":         {"seen", channel.Ref{Incident: id, Number: -2}.String()},
		"another incident":        {"seen", channel.Ref{Incident: "INC-EEEEFFFFGGGGHHHH", Number: -1}.String()},
		"episode nought":          {"seen", channel.Ref{Incident: id}.String()},
		"no incident":             {"seen", channel.Ref{Number: -1}.String()},
		"something else entirely": {"seen", "{}"},
	} {
		m.Blocks = []workspace.Block{{"type": "actions", "elements": []any{map[string]any{"type": "button", "action_id": button.action, "value": button.value}}}}
		if res := d.slack(w.Press("U1", m, button.action)); res.StatusCode != http.StatusOK {
			t.Errorf("%s: %d", name, res.StatusCode)
		}
		if d.dump() != before || len(d.sent)+len(d.started) != 0 {
			t.Fatalf("%s: something was decided", name)
		}
	}
}

// A decision by another way shows in the message too, and an end takes the buttons away.
func TestTheMessageShowsEveryEnd(t *testing.T) {
	for name, end := range map[string]func(*door){
		"CANCELLED":  func(d *door) { d.cancel() },
		"SUPERSEDED": func(d *door) { d.supersede() },
		"EXPIRED": func(d *door) {
			if err := approval.Expire(t.Context(), d.mem, id, 1, d.now.Add(5*time.Hour)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		d, w := newChannel(t, approval.KindEradicate)
		old := w.Messages()[0]
		view := d.presses(w, "U1", "approve")
		end(d)
		for range 2 {
			if err := d.h.slack.Show(t.Context(), d.mem, d.installed, id, 1); err != nil {
				t.Fatal(err)
			}
		}
		m := w.Messages()[0]
		if !strings.Contains(workspace.Words(m.Blocks), name) || len(workspace.Buttons(m.Blocks)) != 0 || m.Edits != 1 {
			t.Errorf("%s: %d edits\n%s", name, m.Edits, workspace.Words(m.Blocks))
		}
		if left, err := ledger.Open[channel.Posted](t.Context(), d.mem, channel.PostedGroup); err != nil || len(left) != 0 {
			t.Errorf("%s: %d messages still to be looked after (%v)", name, len(left), err)
		}
		before := d.dump()
		if res := d.slack(w.Submit("U1", view, map[string]any{"typed-0": instance})); !strings.Contains(res.Body, "too late") || d.dump() != before {
			t.Errorf("%s: %s", name, res.Body)
		}
		if res := d.slack(w.Press("U2", old, "approve")); res.StatusCode != http.StatusOK || !strings.Contains(workspace.Words(w.Views()[1].Blocks), "too late") {
			t.Errorf("%s: an old button opens\n%s", name, workspace.Words(w.Views()[1].Blocks))
		}
	}
}

// None of these requests decides anything.
func TestSlackRequestsThatDecideNothing(t *testing.T) {
	submit := func(d *door, w *workspace.Workspace, member string) workspace.Request {
		return w.Submit(member, d.presses(w, "U1", "approve"), map[string]any{"typed-0": instance})
	}
	edit := func(r workspace.Request, w *workspace.Workspace, from, to string) workspace.Request {
		form, _ := url.ParseQuery(r.Body)
		text := form.Get("payload")
		if !strings.Contains(text, from) {
			panic("nothing to change: " + from)
		}
		return w.Sign(url.Values{"payload": {strings.ReplaceAll(text, from, to)}}.Encode(), time.Now())
	}
	tests := []struct {
		name   string
		make   func(d *door, w *workspace.Workspace) workspace.Request
		status int
		says   string
	}{
		{"an unknown member", func(d *door, w *workspace.Workspace) workspace.Request { return submit(d, w, "U9") }, 200, "not on the list"},
		{"whom the finding names", func(d *door, w *workspace.Workspace) workspace.Request { return submit(d, w, "U3") }, 200, "do not decide this"},
		{"no member", func(d *door, w *workspace.Workspace) workspace.Request { return submit(d, w, "") }, 200, "not on the list"},
		{"another workspace", func(d *door, w *workspace.Workspace) workspace.Request {
			return edit(submit(d, w, "U1"), w, w.Team, "T9999999999")
		}, 403, ""},
		{"another plan", func(d *door, w *workspace.Workspace) workspace.Request {
			return edit(submit(d, w, "U1"), w, d.approval(1).Hash, strings.Repeat("0", 64))
		}, 200, "too late"},
		{"another request", func(d *door, w *workspace.Workspace) workspace.Request {
			return edit(submit(d, w, "U1"), w, `\"n\":1`, `\"n\":2`)
		}, 200, "no such request"},
		{"another incident", func(d *door, w *workspace.Workspace) workspace.Request {
			return edit(submit(d, w, "U1"), w, id, "INC-EEEEFFFFGGGGHHHH")
		}, 200, "no such request"},
		{"another action", func(d *door, w *workspace.Workspace) workspace.Request {
			return edit(submit(d, w, "U1"), w, `\"a\":\"approve\"`, `\"a\":\"destroy\"`)
		}, 400, ""},
		{"Slack does not count here", func(d *door, w *workspace.Workspace) workspace.Request {
			r := submit(d, w, "U1")
			d.installed.Approval.Destructive = []string{"oidc"}
			d.serve()
			return r
		}, 200, "not decided in Slack"},
		{"a removed approver", func(d *door, w *workspace.Workspace) workspace.Request {
			r := submit(d, w, "U1")
			d.installed.Approvers = d.installed.Approvers[1:]
			d.serve()
			return r
		}, 200, "not on the list"},
		{"two approvers who are one member", func(d *door, w *workspace.Workspace) workspace.Request {
			r := submit(d, w, "U1")
			d.installed.Approvers[1].Slack = "U1"
			d.serve()
			return r
		}, 200, "not on the list"},
		{"ten minutes old", func(d *door, w *workspace.Workspace) workspace.Request {
			return w.Sign(submit(d, w, "U1").Body, time.Now().Add(-10*time.Minute))
		}, 401, ""},
		{"ten minutes ahead", func(d *door, w *workspace.Workspace) workspace.Request {
			return w.Sign(submit(d, w, "U1").Body, time.Now().Add(10*time.Minute))
		}, 401, ""},
		{"a stamp of another time", func(d *door, w *workspace.Workspace) workspace.Request {
			r := submit(d, w, "U1")
			r.Header["X-Slack-Request-Timestamp"] = w.Sign("", time.Now().Add(-time.Minute)).Header["X-Slack-Request-Timestamp"]
			return r
		}, 401, ""},
		{"no signature", func(d *door, w *workspace.Workspace) workspace.Request {
			r := submit(d, w, "U1")
			delete(r.Header, "X-Slack-Signature")
			return r
		}, 401, ""},
		{"no stamp", func(d *door, w *workspace.Workspace) workspace.Request {
			r := submit(d, w, "U1")
			delete(r.Header, "X-Slack-Request-Timestamp")
			return r
		}, 401, ""},
		{"another version", func(d *door, w *workspace.Workspace) workspace.Request {
			r := submit(d, w, "U1")
			r.Header["X-Slack-Signature"] = strings.Replace(r.Header["X-Slack-Signature"], "v0=", "v1=", 1)
			return r
		}, 401, ""},
		{"signed by another secret", func(d *door, w *workspace.Workspace) workspace.Request {
			other := workspace.New()
			return other.Sign(submit(d, w, "U1").Body, time.Now())
		}, 401, ""},
		{"a byte more", func(d *door, w *workspace.Workspace) workspace.Request {
			r := submit(d, w, "U1")
			r.Body += "&x=1"
			return r
		}, 401, ""},
		{"no payload", func(_ *door, w *workspace.Workspace) workspace.Request { return w.Sign("payload=", time.Now()) }, 400, ""},
		{"not JSON", func(_ *door, w *workspace.Workspace) workspace.Request { return w.Sign("payload=%7B", time.Now()) }, 400, ""},
		{"huge", func(_ *door, w *workspace.Workspace) workspace.Request {
			return w.Sign("payload="+strings.Repeat("x", maxInteraction), time.Now())
		}, 413, ""},
		{"a view that was closed", func(d *door, w *workspace.Workspace) workspace.Request {
			return edit(submit(d, w, "U1"), w, "view_submission", "view_closed")
		}, 200, ""},
		{"a shortcut", func(d *door, w *workspace.Workspace) workspace.Request {
			return edit(submit(d, w, "U1"), w, "view_submission", "shortcut")
		}, 200, ""},
		{"another view", func(d *door, w *workspace.Workspace) workspace.Request {
			return edit(submit(d, w, "U1"), w, `"callback_id":"decide"`, `"callback_id":"other"`)
		}, 200, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, w := newChannel(t, approval.KindEradicate)
			r := tt.make(d, w)
			before := d.dump()
			res := d.slack(r)
			if res.StatusCode != tt.status || !strings.Contains(res.Body, tt.says) || d.dump() != before || len(d.sent) != 0 {
				t.Errorf("%d %s", res.StatusCode, res.Body)
			}
			if strings.Contains(d.log.String(), w.SigningSecret) || strings.Contains(d.log.String(), w.Token) {
				t.Error("a credential of Slack is in the log")
			}
		})
	}
	d, w := newChannel(t, approval.KindEradicate)
	r := submit(d, w, "U1")
	d.installed.Slack = setting.Slack{}
	d.serve()
	if res := d.slack(r); res.StatusCode != http.StatusNotFound {
		t.Errorf("without Slack: %d", res.StatusCode)
	}
	if res := d.ask("GET", "/slack/interactions", nil, ""); res.StatusCode != http.StatusNotFound {
		t.Errorf("GET: %d", res.StatusCode)
	}
}

// Every single bit of stamp and signature counts, and the whole body does.
func TestEveryBitOfASlackSignatureCounts(t *testing.T) {
	d, w := newChannel(t, approval.KindEradicate)
	r := w.Sign("payload=%7B%22type%22%3A%22x%22%7D", time.Now())
	var req request
	check := func(what string) {
		t.Helper()
		if _, err := genuine(req, req.Body, w.SigningSecret); err == nil {
			t.Errorf("%s does not count", what)
		}
	}
	for _, name := range []string{"X-Slack-Signature", "X-Slack-Request-Timestamp"} {
		for i := range r.Header[name] {
			for bit := range 8 {
				b := []byte(r.Header[name])
				if b[i] ^= 1 << bit; strings.EqualFold(string(b), r.Header[name]) {
					continue // hexadecimal digits are the same in capitals; the replay check knows
				}
				req.Body, req.Headers = r.Body, map[string]string{"X-Slack-Signature": r.Header["X-Slack-Signature"], "X-Slack-Request-Timestamp": r.Header["X-Slack-Request-Timestamp"], name: string(b)}
				check(name)
			}
		}
	}
	for i := range r.Body {
		for bit := range 8 {
			b := []byte(r.Body)
			b[i] ^= 1 << bit
			req.Body, req.Headers = string(b), r.Header
			check("the body")
		}
	}
	_ = d
}

func TestSlackReplaysDoNothing(t *testing.T) {
	d, w := newChannel(t, approval.KindEradicate)
	r := w.Submit("U1", d.presses(w, "U1", "approve"), map[string]any{"typed-0": instance})
	codes := make(chan int, 64)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			again := workspace.Request{Body: r.Body, Header: map[string]string{}}
			for k, v := range r.Header {
				again.Header[k] = v
			}
			if i%2 == 1 { // the same signature, spelled otherwise
				again.Header["X-Slack-Signature"] = "v0=" + strings.ToUpper(strings.TrimPrefix(again.Header["X-Slack-Signature"], "v0="))
			}
			codes <- d.slack(again).StatusCode
		})
	}
	wg.Wait()
	close(codes)
	taken := 0
	for c := range codes {
		if c == http.StatusOK {
			taken++
		} else if c != http.StatusConflict {
			t.Errorf("%d", c)
		}
	}
	if a := d.approval(1); taken != 1 || len(a.Decisions) != 1 {
		t.Errorf("%d of 64 were taken, %d decisions", taken, len(a.Decisions))
	}
	view := d.presses(w, "U2", "approve")
	_ = view
}

// Slack being down costs nobody a decision, and what it missed it shows later.
func TestSlackIsDown(t *testing.T) {
	d, w := newChannel(t, approval.KindEradicate)
	r := w.Submit("U1", d.presses(w, "U1", "reject"), map[string]any{"typed-0": instance})
	w.Down = true
	if res := d.slack(r); !strings.Contains(res.Body, "rejection is recorded") || d.approval(1).Status != approval.StatusRejected || len(d.sent) != 1 {
		t.Fatalf("%d %s", res.StatusCode, res.Body)
	}
	if left, err := ledger.Open[channel.Posted](t.Context(), d.mem, channel.PostedGroup); err != nil || len(left) != 1 {
		t.Fatalf("%d messages to be looked after (%v)", len(left), err)
	}
	w.Down = false
	if err := d.h.slack.Show(t.Context(), d.mem, d.installed, id, 1); err != nil {
		t.Fatal(err)
	}
	if left, err := ledger.Open[channel.Posted](t.Context(), d.mem, channel.PostedGroup); err != nil || len(left) != 0 || !strings.Contains(workspace.Words(w.Messages()[0].Blocks), "REJECTED") {
		t.Errorf("%d messages to be looked after (%v)", len(left), err)
	}
}

// Of many who show a request at once, one posts; and the last thing that the message says is how the request stands.
func TestOneMessageARequest(t *testing.T) {
	d, w := newChannel(t, approval.KindEradicate)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			if i == 7 {
				if err := approval.Cancel(t.Context(), d.mem, id, 1, "alice", ""); err != nil {
					t.Error(err)
				}
			}
			if err := d.h.slack.Show(t.Context(), d.mem, d.installed, id, 1); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if m := w.Messages(); len(m) != 1 || !strings.Contains(workspace.Words(m[0].Blocks), "CANCELLED") {
		t.Errorf("%d messages", len(m))
	}
}

func TestViewsThatAnswerAreTakenBySlack(t *testing.T) {
	d, w := newChannel(t, approval.KindEradicate)
	res := d.slack(w.Submit("U9", d.presses(w, "U1", "approve"), map[string]any{"typed-0": instance}))
	var out struct {
		View json.RawMessage `json:"view"`
	}
	if err := json.Unmarshal([]byte(res.Body), &out); err != nil {
		t.Fatal(err)
	}
	for _, f := range workspace.CheckView(string(out.View)) {
		t.Error(f)
	}
}

// Whoever is turned away in Slack stands in the timeline, once an hour.
func TestRefusalsInSlackAreOnRecord(t *testing.T) {
	d, w := newChannel(t, approval.KindEradicate)
	view := d.presses(w, "U1", "approve")
	d.cancel()
	for range 2 {
		d.slack(w.Submit("U1", view, map[string]any{"typed-0": instance}))
	}
	events, err := d.timeline()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range events {
		if e.Who == "alice" && e.What == "refused a decision on eradicate 1 by slack: late" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d entries in %+v", n, events)
	}
}

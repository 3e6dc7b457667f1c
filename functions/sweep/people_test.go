package main

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/channel"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
	"firebreak/scripts/local/workspace"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

// told lists who was told what, as "alice: subject", oldest first, and forgets it.
func (w *world) told() []string {
	out := []string{}
	for _, m := range w.topic.sent {
		to := *m.MessageAttributes["audience"].StringValue
		if personal := strings.HasSuffix(*m.TopicArn, ":firebreak-approvers"); personal != (to == "approver") || personal != strings.Contains(*m.Message, "https://api.example.com/") {
			w.t.Errorf("a message for %s goes to %s:\n%s", to, *m.TopicArn, *m.Message)
		}
		if a, ok := m.MessageAttributes["approver"]; ok {
			to = *a.StringValue
		}
		_, what, _ := strings.Cut(*m.Subject, ": ")
		out = append(out, to+": "+what)
	}
	w.topic.sent = nil
	slices.Sort(out)
	return out
}

func (w *world) tells(want ...string) {
	w.t.Helper()
	if got := w.told(); !slices.Equal(got, want) {
		w.t.Errorf("%s after %s: told %q, want %q", w.t.Name(), w.at.Sub(now), got, want)
	}
}

// open asks for the decision to terminate, now, for so long.
func (w *world) open(kind approval.Kind, hours time.Duration) approval.Approval {
	w.t.Helper()
	r := approval.Request{
		Incident: incident.Ref{ID: "INC-A", Episode: 1}, Kind: kind, Round: 1, Token: "token", Evidence: approval.Complete,
		Steps: []approval.Step{{Step: incident.Step{Action: "terminate-instance", Target: target}}}, Execution: incident.Execution{ARN: first, Start: now},
		Expires: now.Add(hours), Now: now,
	}
	if kind == approval.KindOverride {
		r.Token, r.Steps = "", []approval.Step{{Step: incident.Step{Action: "isolate-instance", Target: target}, Refusal: "protected", Rule: "protected"}}
	}
	a, err := approval.Open(context.Background(), w.store, r)
	w.ok(err)
	return a
}

func (w *world) change(do func(*ledger.Incident)) {
	w.t.Helper()
	_, err := ledger.Update(context.Background(), w.store, ledger.IncidentKey("INC-A"), func(it *ledger.Item[ledger.Incident]) error {
		do(&it.Value)
		ledger.Place(it)
		return nil
	})
	w.ok(err)
}

func (w *world) vote(who string, yes bool) {
	w.t.Helper()
	it, err := approval.Load(context.Background(), w.store, "INC-A", 1)
	w.ok(err)
	answer, _, err := approval.Decide(context.Background(), w.store, w.in, approval.Vote{Incident: "INC-A", Number: 1, Approver: who, Approve: yes, Via: "oidc", Hash: it.Value.Hash, Now: w.at})
	w.ok(err)
	if !answer.Recorded() {
		w.t.Fatalf("%s: %s", who, answer)
	}
}

func (w *world) after(d time.Duration) Report {
	w.t.Helper()
	w.at = now.Add(d)
	w.functions.result = incident.Result{Outcome: incident.Planned, Evidence: approval.Complete}
	r, err := w.handle(context.Background(), nil)
	w.ok(err)
	w.ok2(w.handle(context.Background(), nil)) // nobody is told twice
	return r
}

func (w *world) ok2(_ Report, err error) {
	w.t.Helper()
	w.ok(err)
}

// A request that nobody decides: everybody is asked once, the next audience when the playbook says so, a reminder at half time,
// an end, and a word about it. Nothing is destroyed.
func TestARequestThatNobodyDecides(t *testing.T) {
	w := newWorld(t)
	w.change(func(m *ledger.Incident) { m.Told = ledger.Told{Audience: "security", EscalateMinutes: 60} })
	w.open(approval.KindEradicate, 4*time.Hour)
	w.after(time.Second) // whoever asked is still at it
	w.tells()
	w.after(time.Minute)
	w.tells("alice: your decision is needed", "bob: your decision is needed")
	w.after(59 * time.Minute)
	w.tells()
	w.after(time.Hour)
	w.tells("escalation: nobody has decided yet")
	w.after(119 * time.Minute)
	w.tells()
	w.after(2 * time.Hour)
	w.tells("alice: still waits for your decision", "bob: still waits for your decision")
	w.after(4*time.Hour - time.Minute)
	w.tells()
	if r := w.after(4 * time.Hour); r.Expired != 1 || r.Delivered != 1 {
		t.Errorf("%+v", r)
	}
	w.tells("security: request expired")
	if len(w.machines.sent) != 1 || w.machines.sent[0].Decision != "expired" {
		t.Errorf("the execution was told %v", w.machines.sent)
	}
	w.after(100 * time.Hour)
	w.tells()
}

// At once means at once, half of the time over means everybody, and who has decided is left in peace.
func TestEscalationFollowsThePlaybook(t *testing.T) {
	w := newWorld(t)
	w.change(func(m *ledger.Incident) { m.Told = ledger.Told{Audience: "security"} })
	w.open(approval.KindEradicate, 4*time.Hour)
	w.after(time.Minute)
	w.tells("alice: your decision is needed", "bob: your decision is needed", "escalation: nobody has decided yet")
	w.vote("alice", true)
	w.after(2 * time.Hour)
	w.tells("bob: still waits for your decision")
	w.vote("bob", true)
	if r := w.after(2*time.Hour + time.Minute); r.Delivered != 1 {
		t.Errorf("%+v", r)
	}
	w.after(100 * time.Hour)
	w.tells()

	w = newWorld(t)
	w.change(func(m *ledger.Incident) { m.Told = ledger.Told{Audience: "owner", EscalateMinutes: 24 * 60} })
	w.open(approval.KindEradicate, 4*time.Hour)
	w.after(time.Minute)
	w.told()
	w.after(2 * time.Hour) // the next audience is told before the time is over, whatever the playbook says
	w.tells("alice: still waits for your decision", "bob: still waits for your decision", "escalation: nobody has decided yet")
}

// An override has no execution that would say that it ran out.
func TestAnOverrideThatRunsOut(t *testing.T) {
	w := newWorld(t)
	w.open(approval.KindOverride, time.Hour)
	w.after(time.Minute)
	w.told()
	if r := w.after(time.Hour); r.Expired != 1 || len(w.machines.sent) != 0 {
		t.Errorf("%+v", r)
	}
	if text := w.topic.sent[0].Message; !strings.Contains(*text, "NOT contained") || strings.Contains(*text, "stays") {
		t.Errorf("people read:\n%s", *text)
	}
	w.tells("security: request expired")
}

// Nobody else says that an override ran out: the sweep does not forget it while no channel works.
func TestAnOverrideThatRunsOutWhileNoChannelWorks(t *testing.T) {
	w := newWorld(t)
	w.open(approval.KindOverride, time.Hour)
	w.after(time.Minute)
	w.told()
	w.topic.down = errors.New("no topic")
	for _, d := range []time.Duration{60, 61, 600} {
		if r := w.after(d * time.Minute); r.Untold != 1 || r.Failed != 0 {
			t.Errorf("%+v", r)
		}
	}
	w.topic.down = nil
	w.after(11 * time.Hour)
	w.tells("security: request expired")
	if left, err := approval.Pending(t.Context(), w.store); err != nil || len(left) != 0 {
		t.Errorf("%v %v", left, err)
	}
}

// The approvers may leave while a request is open: the team hears that too few are left, and who comes is asked.
func TestApproversComeAndGo(t *testing.T) {
	w := newWorld(t)
	w.open(approval.KindEradicate, 4*time.Hour)
	w.after(time.Minute)
	w.told()
	w.in.Approvers = w.in.Approvers[1:]
	w.inst = setting.Fixed(w.in)
	w.after(2 * time.Minute)
	w.tells("security: too few approvers")
	w.in.Approvers = append(w.in.Approvers, setting.Approver{ID: "carol"})
	w.inst = setting.Fixed(w.in)
	w.after(3 * time.Minute)
	w.tells("carol: your decision is needed")
}

// While no channel works the sweep says so in its metric, and the request goes on: it is sent when one works again, and it
// expires in time when none does.
func TestNoChannelWorks(t *testing.T) {
	w := newWorld(t)
	w.open(approval.KindEradicate, 4*time.Hour)
	w.topic.down = errors.New("no topic")
	if r := w.after(time.Minute); r.Untold != 1 || r.Failed != 0 {
		t.Errorf("%+v", r)
	}
	w.topic.down = nil
	if r := w.after(2 * time.Minute); r.Untold != 0 {
		t.Errorf("%+v", r)
	}
	w.tells("alice: your decision is needed", "bob: your decision is needed")
	w.topic.down = errors.New("no topic")
	if r := w.after(4 * time.Hour); r.Expired != 1 || len(w.machines.sent) != 1 || w.machines.sent[0].Decision != "expired" {
		t.Errorf("%+v, told %v", r, w.machines.sent)
	}
}

// Unreadable settings keep the sweep from asking, and from nothing else.
func TestDecisionsAreDeliveredWithoutTheSettings(t *testing.T) {
	w := newWorld(t)
	w.ask(approval.StatusRejected, approval.Complete, now.Add(time.Hour))
	w.inst = setting.NewInstallation(nowhere{}, "/firebreak")
	r, err := w.handle(context.Background(), nil)
	if err == nil || r.Delivered != 1 || r.Failed != 1 {
		t.Errorf("%+v %v", r, err)
	}
}

type nowhere struct{ setting.SSMAPI }

func (nowhere) GetParameters(context.Context, *ssm.GetParametersInput, ...func(*ssm.Options)) (*ssm.GetParametersOutput, error) {
	return nil, errors.New("no settings")
}

// What needs no decision calls the approvers, then the next audience, then everybody again, until somebody says that they look
// after it.
func TestAnIncidentThatNobodyLooksAfter(t *testing.T) {
	quiet := func(t *testing.T) *world {
		w := newWorld(t)
		w.change(func(m *ledger.Incident) {
			m.Plan.Eradicate, m.Status, m.Band, m.Told = nil, incident.Contained, incident.High, ledger.Told{Audience: "security", EscalateMinutes: 60}
		})
		w.ok(approval.BeginWatch(context.Background(), w.store, w.meta(), now))
		w.ok(approval.BeginWatch(context.Background(), w.store, w.meta(), now.Add(time.Second)))
		return w
	}
	w := quiet(t)
	w.after(time.Minute)
	w.tells("alice: who looks after it?", "bob: who looks after it?")
	w.after(59 * time.Minute)
	w.tells()
	w.after(time.Hour)
	w.tells("escalation: nobody looks after it")
	w.after(24 * time.Hour)
	w.tells("alice: who looks after it?", "bob: who looks after it?")
	w.after(240 * time.Hour)
	w.tells()

	for name, stop := range map[string]func(*world){
		"acknowledged": func(w *world) {
			_, _, err := approval.Acknowledge(context.Background(), w.store, w.meta(), approval.Acknowledgement{By: "alice", Via: "link", At: w.at})
			w.ok(err)
		},
		"closed":       func(w *world) { w.change(func(m *ledger.Incident) { m.Status = incident.Closed }) },
		"next episode": func(w *world) { w.change(func(m *ledger.Incident) { m.Episode = 2 }) },
	} {
		w := quiet(t)
		w.after(time.Minute)
		w.told()
		stop(w)
		w.after(48 * time.Hour)
		if got := w.told(); len(got) != 0 {
			t.Errorf("%s: told %q", name, got)
		}
		if left, err := ledger.Open[approval.Watch](context.Background(), w.store, approval.WatchGroup); err != nil || len(left) != 0 {
			t.Errorf("%s: %d still watched (%v)", name, len(left), err)
		}
	}

	w = quiet(t)
	w.topic.down = errors.New("no topic")
	if r := w.after(time.Minute); r.Untold != 1 {
		t.Errorf("%+v", r)
	}
	w.topic.down = nil
	w.after(2 * time.Minute)
	w.tells("alice: who looks after it?", "bob: who looks after it?")

	for name, change := range map[string]func(*ledger.Incident){
		"MEDIUM": func(m *ledger.Incident) { m.Band = incident.Medium },
		"closed": func(m *ledger.Incident) { m.Status = incident.Closed },
		"a decision asks": func(m *ledger.Incident) {
			m.Plan.Eradicate = []incident.Step{{Action: "terminate-instance", Target: target}}
		},
	} {
		w := quiet(t)
		w.change(change)
		w.after(time.Minute)
		if got := w.told(); len(got) != 0 {
			t.Errorf("%s: told %q", name, got)
		}
	}
}

// Slack shows a request and each change of it within a minute, whoever made it; and what it is told under the message.
func TestSlackIsKeptUpToDate(t *testing.T) {
	w := newWorld(t)
	ws := workspace.New()
	srv := httptest.NewServer(ws)
	t.Cleanup(srv.Close)
	w.in.Slack = setting.Slack{Channel: ws.Channel, Team: ws.Team, SecretARN: "arn", API: srv.URL}
	w.inst, w.sweep.ask.Slack = setting.Fixed(w.in), channel.NewSlack(vault(ws.Secret()), func() time.Time { return w.at })
	w.open(approval.KindEradicate, 4*time.Hour)
	w.after(time.Minute)
	if m := ws.Messages(); len(m) != 1 || len(workspace.Buttons(m[0].Blocks)) != 2 {
		t.Fatalf("%d messages", len(m))
	}
	w.after(2 * time.Hour)
	said := []string{}
	for _, m := range ws.Messages()[1:] {
		said = append(said, fmt.Sprintf("%t %.25s", m.Thread == ws.Messages()[0].TS, m.Text))
	}
	slices.Sort(said)
	if !slices.Equal(said, []string{"true Half of the time is over:", "true Not decided after 2h0m0s:"}) {
		t.Errorf("under the message: %q", said)
	}
	w.vote("alice", false)
	w.after(2*time.Hour + time.Minute)
	if words := workspace.Words(ws.Messages()[0].Blocks); !strings.Contains(words, "REJECTED") || !strings.Contains(words, "alice rejected") {
		t.Errorf("the message says\n%s", words)
	}
	calls := ws.Calls()
	w.after(5 * time.Hour)
	if ws.Calls() != calls || len(ws.Faults()) != 0 {
		t.Errorf("Slack was called again, or would refuse: %v", ws.Faults())
	}
}

// What needs no decision is shown in Slack as well, once, until somebody looks after it or it is over.
func TestSlackShowsWhatNobodyLooksAfter(t *testing.T) {
	w := newWorld(t)
	ws := workspace.New()
	srv := httptest.NewServer(ws)
	t.Cleanup(srv.Close)
	w.in.Slack = setting.Slack{Channel: ws.Channel, Team: ws.Team, SecretARN: "arn", API: srv.URL}
	w.inst, w.sweep.ask.Slack = setting.Fixed(w.in), channel.NewSlack(vault(ws.Secret()), func() time.Time { return w.at })
	w.change(func(m *ledger.Incident) {
		m.Plan.Eradicate, m.Status, m.Band, m.Told = nil, incident.Contained, incident.High, ledger.Told{Audience: "security", EscalateMinutes: 60}
	})
	w.ok(approval.BeginWatch(context.Background(), w.store, w.meta(), now))
	ws.Down = true
	w.after(time.Minute) // Slack being down keeps nobody from being called by mail
	w.tells("alice: who looks after it?", "bob: who looks after it?")
	ws.Down = false
	w.after(3 * time.Minute)
	if m := ws.Messages(); len(m) != 1 || len(workspace.Buttons(m[0].Blocks)) != 1 || !strings.Contains(workspace.Words(m[0].Blocks), "Somebody has to look after this") {
		t.Fatalf("Slack has %d messages: %v", len(m), m)
	}
	w.after(time.Hour)
	if m := ws.Messages(); len(m) != 2 || m[1].Thread != m[0].TS || !strings.Contains(m[1].Text, "the escalation audience was told") {
		t.Errorf("under the message: %v", m[1:])
	}
	w.change(func(m *ledger.Incident) { m.Status = incident.Closed })
	w.after(2 * time.Hour)
	if m := ws.Messages(); len(workspace.Buttons(m[0].Blocks)) != 0 || !strings.Contains(workspace.Words(m[0].Blocks), "Nobody needs to look after this any more") {
		t.Errorf("closed, and the message says\n%s", workspace.Words(m[0].Blocks))
	}
	calls := ws.Calls()
	w.after(30 * time.Hour)
	if ws.Calls() != calls || len(ws.Faults()) != 0 {
		t.Errorf("Slack was called again, or would refuse: %v", ws.Faults())
	}
}

type vault string

func (v vault) GetSecretValue(context.Context, *secretsmanager.GetSecretValueInput, ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error) {
	return &secretsmanager.GetSecretValueOutput{SecretString: aws.String(string(v))}, nil
}

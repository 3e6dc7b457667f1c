package approval

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/google/go-cmp/cmp"
)

const (
	id     = "INC-BWJ4TH5BLF5DYQIG"
	target = "arn:aws:ec2:us-east-1:222222222222:instance/i-0abcdef1234567890"
	first  = "arn:aws:states:us-east-1:111111111111:execution:firebreak-respond:first"
)

var (
	now       = time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)
	terminate = incident.Step{Action: "terminate-instance", Target: target}
	isolate   = incident.Step{Action: "isolate-instance", Target: target}
	revoke    = incident.Step{Action: "revoke-sessions", Target: "arn:aws:iam::222222222222:role/clinic-web"}
	people    = setting.Installed{Approval: setting.Approval{LinkAlone: "destructive"}, Approvers: []setting.Approver{{ID: "alice", Email: "alice@example.com"}, {ID: "bob"}, {ID: "alice-2", Email: "Alice@example.com"}, {ID: "carol", Principals: []string{"arn:aws:iam::222222222222:role/ops/clinic-web"}}}}
)

func store(t *testing.T) *ledger.Memory {
	t.Helper()
	mem := ledger.NewMemory()
	meta := ledger.Item[ledger.Incident]{Key: ledger.IncidentKey(id), Value: ledger.Incident{
		ID: id, Status: incident.Open, Episode: 1, Band: incident.Critical,
		Finding: ledger.Finding{Account: "222222222222", People: []string{"arn:aws:sts::222222222222:assumed-role/clinic-web/i-0abcdef1234567890"}},
	}}
	if err := ledger.Save(t.Context(), mem, &meta); err != nil {
		t.Fatal(err)
	}
	return mem
}

func eradication(token string) Request {
	return Request{
		Incident: incident.Ref{ID: id, Episode: 1}, Kind: KindEradicate, Round: 1, Steps: []Step{{Step: terminate, Identity: map[string]string{"launched": "a", "volumes": "v"}}},
		Token: token, Execution: incident.Execution{ARN: first, Start: now.Add(-time.Minute)}, Evidence: Complete, Now: now, Expires: now.Add(4 * time.Hour),
	}
}

func override(steps ...Step) Request {
	r := eradication("")
	r.Kind, r.Steps = KindOverride, steps
	return r
}

func open(t *testing.T, s ledger.Store, r Request) Approval {
	t.Helper()
	a, err := Open(t.Context(), s, r)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func load(t *testing.T, s ledger.Store, n int) ledger.Item[Approval] {
	t.Helper()
	it, err := Load(t.Context(), s, id, n)
	if err != nil {
		t.Fatal(err)
	}
	return it
}

func vote(t *testing.T, s ledger.Store, a Approval, who string, approve bool) Answer {
	t.Helper()
	answer, _, err := Decide(t.Context(), s, people, Vote{Incident: id, Number: a.Number, Approver: who, Approve: approve, Via: "link", Hash: a.Hash, Now: now.Add(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestTheHashCoversWhatPeopleApprove(t *testing.T) {
	base := func() Approval {
		return Approval{Incident: id, Episode: 1, Kind: KindEradicate, Steps: []Step{
			{Step: incident.Step{Action: "a", Target: "t", With: map[string]string{"k": "v"}}, Identity: map[string]string{"i": "x"}, Rule: "r"}, {Step: incident.Step{Action: "b", Target: "t"}},
		}}
	}
	sum := func(change func(*Approval)) string {
		a := base()
		change(&a)
		return Hash(a.Kind, a.Incident, a.Episode, a.Steps)
	}
	same := sum(func(*Approval) {})
	for name, change := range map[string]func(*Approval){
		"kind": func(a *Approval) { a.Kind = KindOverride }, "incident": func(a *Approval) { a.Incident = "INC-X" }, "episode": func(a *Approval) { a.Episode = 2 },
		"action": func(a *Approval) { a.Steps[0].Action = "c" }, "target": func(a *Approval) { a.Steps[0].Target = "u" }, "with": func(a *Approval) { a.Steps[0].With["k"] = "w" },
		"identity": func(a *Approval) { a.Steps[0].Identity["i"] = "y" }, "identity field": func(a *Approval) { a.Steps[0].Identity["j"] = "" }, "rule": func(a *Approval) { a.Steps[0].Rule = "s" },
		"a step more": func(a *Approval) { a.Steps = append(a.Steps, Step{Step: isolate}) }, "a step less": func(a *Approval) { a.Steps = a.Steps[:1] },
	} {
		if sum(change) == same {
			t.Errorf("%s is not in the hash", name)
		}
	}
	for name, change := range map[string]func(*Approval){
		"order": func(a *Approval) { a.Steps[0], a.Steps[1] = a.Steps[1], a.Steps[0] }, "words": func(a *Approval) { a.Steps[0].Destroys = []string{"w"} },
		"evidence": func(a *Approval) { a.Evidence = "pending" }, "empty parameters": func(a *Approval) { a.Steps[1].With = map[string]string{} },
	} {
		if sum(change) != same {
			t.Errorf("%s changes the hash", name)
		}
	}
}

func TestOpen(t *testing.T) {
	t.Run("one request of 32 at once", func(t *testing.T) {
		s := store(t)
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				if _, err := Open(context.Background(), s, eradication("token")); err != nil {
					t.Error(err)
				}
				if _, err := Open(context.Background(), s, override(Step{Step: revoke, Rule: "shared"})); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if all, err := List(t.Context(), s, id); err != nil || len(all) != 2 {
			t.Errorf("%d requests, %v", len(all), err)
		}
	})
	t.Run("a retry replaces the token", func(t *testing.T) {
		s := store(t)
		a := open(t, s, eradication("old"))
		vote(t, s, a, "alice", true)
		b := open(t, s, eradication("new"))
		if b.Number != a.Number || b.Token != "new" || len(b.Decisions) != 1 {
			t.Errorf("%v, %d decisions", b, len(b.Decisions))
		}
	})
	t.Run("a retry after the decision gets it again", func(t *testing.T) {
		s := store(t)
		a := open(t, s, eradication("old"))
		vote(t, s, a, "alice", false)
		c := courier(s, &machine{dead: "old"})
		if done, err := c.Deliver(t.Context(), id, 1); err != nil || !done {
			t.Fatal(done, err)
		}
		if b := open(t, s, eradication("new")); b.Number != 1 || b.Status != StatusRejected || !b.Delivered.IsZero() || load(t, s, 1).Group == "" {
			t.Errorf("%v, delivered %v", b, b.Delivered)
		}
	})
	t.Run("something different asks again, under another number", func(t *testing.T) {
		s := store(t)
		open(t, s, eradication("old"))
		r := eradication("new")
		r.Steps[0].Identity["launched"] = "b"
		b := open(t, s, r)
		if old := load(t, s, 1).Value; b.Number != 2 || old.Status != StatusSuperseded || old.Token != "" || old.Delivered.IsZero() {
			t.Errorf("%v beside %v", b, old)
		}
	})
	t.Run("another execution ends the wait of the first", func(t *testing.T) {
		s := store(t)
		open(t, s, eradication("old"))
		r := eradication("new")
		r.Execution.ARN = "second"
		r.Steps[0].Identity["launched"] = "b"
		open(t, s, r)
		if old := load(t, s, 1).Value; old.Status != StatusSuperseded || old.Token != "old" || !old.Delivered.IsZero() {
			t.Errorf("%v, delivered %v", old, old.Delivered)
		}
	})
	t.Run("another execution asks again for what is done", func(t *testing.T) {
		s := store(t)
		a := open(t, s, eradication("old"))
		vote(t, s, a, "alice", true)
		vote(t, s, a, "bob", true)
		if done, err := courier(s, &machine{}).Deliver(t.Context(), id, 1); err != nil || !done {
			t.Fatal(done, err)
		}
		r := eradication("new")
		r.Execution.ARN = "second"
		if b := open(t, s, r); b.Number != 2 || b.Status != StatusOpen {
			t.Errorf("%v", b)
		}
	})
	t.Run("round 2 is a request of its own", func(t *testing.T) {
		s := store(t)
		open(t, s, eradication("one"))
		r := eradication("two")
		r.Round = 2
		if b := open(t, s, r); b.Number != 2 || load(t, s, 1).Value.Status != StatusOpen {
			t.Errorf("%v", b)
		}
	})
	t.Run("an override asks for what no other asks for", func(t *testing.T) {
		s := store(t)
		one := Step{Step: revoke, Rule: "shared"}
		a := open(t, s, override(one))
		if b := open(t, s, override(one)); b.Number != a.Number {
			t.Errorf("asked twice: %v", b)
		}
		if b := open(t, s, override(one, Step{Step: isolate, Rule: "budget"})); b.Number != 2 || len(b.Steps) != 1 || b.Steps[0].Action != "isolate-instance" {
			t.Errorf("%v asks for %v", b, b.Steps)
		}
		if b := open(t, s, override(Step{Step: revoke, Rule: "protected"})); b.Number != 3 {
			t.Errorf("another rule is not asked for: %v", b)
		}
		vote(t, s, a, "bob", false)
		if b := open(t, s, override(one)); b.Number != 1 || b.Status != StatusRejected {
			t.Errorf("what people rejected is asked again by the same execution: %v", b)
		}
		later := override(one)
		later.Execution.Start, later.Now = now.Add(time.Hour), now.Add(time.Hour)
		if b := open(t, s, later); b.Number != 4 || b.Status != StatusOpen {
			t.Errorf("a later execution's refusal is not asked for: %v", b)
		}
	})
	for name, r := range map[string]Request{"no token": eradication(""), "no steps": func() Request { r := eradication("t"); r.Steps = nil; return r }(), "over before it begins": func() Request { r := eradication("t"); r.Expires = now; return r }()} {
		if _, err := Open(t.Context(), store(t), r); !fault.Is(err, fault.BadInput) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDecide(t *testing.T) {
	tests := []struct {
		name  string
		votes []string // approver, with - for a rejection
		want  []Answer
		end   Status
	}{
		{"two people", []string{"alice", "bob"}, []Answer{Counted, Carried}, StatusApproved},
		{"one person twice", []string{"alice", "alice"}, []Answer{Counted, Repeated}, StatusOpen},
		{"one person, two entries", []string{"alice", "alice-2"}, []Answer{Counted, Barred}, StatusOpen},
		{"first rejection ends it", []string{"alice", "-bob", "alice-2"}, []Answer{Counted, Ended, Late}, StatusRejected},
		{"named in the finding", []string{"carol", "-carol"}, []Answer{Barred, Barred}, StatusOpen},
		{"not on the list", []string{"mallory", ""}, []Answer{Barred, Barred}, StatusOpen},
		{"changing one's mind", []string{"alice", "-alice", "bob"}, []Answer{Counted, Repeated, Carried}, StatusApproved},
		{"after the end", []string{"alice", "bob", "-alice-2"}, []Answer{Counted, Carried, Late}, StatusApproved},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := store(t)
			a := open(t, s, eradication("token"))
			for i, v := range tt.votes {
				who, reject := strings.CutPrefix(v, "-")
				if got := vote(t, s, a, who, !reject); got != tt.want[i] {
					t.Errorf("%s: %s, not %s", v, got, tt.want[i])
				}
			}
			if got := load(t, s, 1).Value; got.Status != tt.end || got.Delivered.IsZero() == false {
				t.Errorf("%v", got)
			}
		})
	}
	t.Run("a settings file that lowers the need lowers nothing", func(t *testing.T) {
		s := store(t)
		a := open(t, s, eradication("token"))
		if _, _, err := update(t.Context(), s, id, 1, func(a *Approval) (bool, *ledger.Event) { a.Need = 1; return true, nil }); err != nil {
			t.Fatal(err)
		}
		if got := vote(t, s, a, "alice", true); got != Counted {
			t.Errorf("one person destroyed: %s", got)
		}
	})
	t.Run("another plan than shown", func(t *testing.T) {
		s := store(t)
		a := open(t, s, eradication("token"))
		a.Hash = "other"
		if got := vote(t, s, a, "alice", true); got != Late {
			t.Error(got)
		}
	})
	t.Run("nonce used", func(t *testing.T) {
		s := store(t)
		a := open(t, s, eradication("token"))
		v := Vote{Incident: id, Number: 1, Approver: "alice", Approve: true, Via: "link", Hash: a.Hash, Nonce: "n", Now: now}
		if got, _, err := Decide(t.Context(), s, people, v); got != Counted || err != nil {
			t.Fatal(got, err)
		}
		v.Approver = "bob"
		if got, _, err := Decide(t.Context(), s, people, v); got != Used || err != nil {
			t.Error(got, err)
		}
	})
	if _, _, err := Decide(t.Context(), store(t), people, Vote{Incident: id, Number: 7, Approver: "alice"}); !fault.Is(err, fault.BadInput) {
		t.Errorf("no such approval: %v", err)
	}
	if _, _, err := Decide(t.Context(), store(t), people, Vote{Incident: "INC-X", Number: 1}); !fault.Is(err, fault.BadInput) {
		t.Errorf("no such incident: %v", err)
	}
}

func TestOneWinnerOf64(t *testing.T) {
	for range 1000 {
		s := store(t)
		a := open(t, s, eradication("token"))
		vote(t, s, a, "alice", true)
		var wg sync.WaitGroup
		var mu sync.Mutex
		counts := map[Answer]int{}
		for i := range 64 {
			wg.Go(func() {
				answer, _, err := Decide(context.Background(), s, people, Vote{Incident: id, Number: 1, Approver: "bob", Approve: i%2 == 0, Via: "link", Hash: a.Hash, Nonce: fmt.Sprint(i), Now: now})
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				counts[answer]++
			})
		}
		wg.Wait()
		if counts[Carried]+counts[Ended] != 1 || counts[Repeated] != 63 {
			t.Fatalf("%v", counts)
		}
	}
}

func TestPrincipals(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{"arn:aws:iam::222222222222:user/alice", "arn:aws:iam::222222222222:user/alice", true},
		{"arn:aws:iam::222222222222:user/ops/alice", "arn:aws:iam::222222222222:user/alice", true},
		{"arn:aws:iam::222222222222:user/alice", "arn:aws:iam::333333333333:user/alice", false},
		{"arn:aws:iam::222222222222:user/alice", "arn:aws:iam::222222222222:role/alice", false},
		{"arn:aws:iam::222222222222:role/ops/deploy", "arn:aws:sts::222222222222:assumed-role/deploy/session", true},
		{"arn:aws:sts::222222222222:assumed-role/sso/alice", "arn:aws:sts::222222222222:assumed-role/sso/bob", false},
		{"arn:aws:sts::222222222222:assumed-role/sso/alice", "arn:aws:sts::222222222222:assumed-role/sso/alice", true},
		{"arn:aws:iam::222222222222:root", "arn:aws:iam::222222222222:root", true},
		{"", "nonsense", false},
	} {
		if got := samePrincipal(tt.a, tt.b); got != tt.same {
			t.Errorf("%s and %s: %v", tt.a, tt.b, got)
		}
	}
}

func TestVerify(t *testing.T) {
	identity := map[string]string{"launched": "a", "volumes": "v"}
	approved := func(t *testing.T) *ledger.Memory {
		s := store(t)
		a := open(t, s, eradication("token"))
		vote(t, s, a, "alice", true)
		vote(t, s, a, "bob", true)
		return s
	}
	tamper := func(change func(*Approval)) func(*testing.T, *ledger.Memory) {
		return func(t *testing.T, s *ledger.Memory) {
			if _, _, err := update(t.Context(), s, id, 1, func(a *Approval) (bool, *ledger.Event) { change(a); return true, nil }); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name     string
		prepare  func(*testing.T, *ledger.Memory)
		number   int
		step     incident.Step
		identity map[string]string
		ok       bool
		says     string
	}{
		{name: "exactly this", number: 1, step: terminate, identity: identity, ok: true},
		{name: "no number", number: 0, step: terminate, identity: identity, says: "no approval was given"},
		{name: "no such", number: 9, step: terminate, identity: identity, says: "there is no approval 9"},
		{name: "another step", number: 1, step: incident.Step{Action: "terminate-instance", Target: target + "0"}, identity: identity, says: "does not have the step"},
		{name: "another identity", number: 1, step: terminate, identity: map[string]string{"launched": "b", "volumes": "v"}, says: "launched: approved a, now b"},
		{name: "a field less", number: 1, step: terminate, identity: map[string]string{"launched": "a"}, says: "volumes: approved v, now absent"},
		{name: "a field more", number: 1, step: terminate, identity: map[string]string{"launched": "a", "volumes": "v", "w": ""}, says: "w: approved absent, now present"},
		{name: "superseded", number: 1, step: terminate, identity: identity, prepare: tamper(func(a *Approval) { a.Status = StatusSuperseded }), says: "is superseded, not approved"},
		{name: "override", number: 1, step: terminate, identity: identity, prepare: tamper(func(a *Approval) { a.Kind = KindOverride }), says: "lets nothing be destroyed"},
		{name: "one approver", number: 1, step: terminate, identity: identity, prepare: tamper(func(a *Approval) { a.Decisions = a.Decisions[:1] }), says: "has 1 approvers who count, 2 are needed"},
		{name: "one approver twice", number: 1, step: terminate, identity: identity, prepare: tamper(func(a *Approval) { a.Decisions[1] = a.Decisions[0] }), says: "has 1 approvers who count, 2 are needed"},
		{name: "steps changed since", number: 1, step: terminate, identity: identity, prepare: tamper(func(a *Approval) { a.Steps[0].Identity = map[string]string{"x": "y"} }), says: "not what people were shown"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := approved(t)
			if tt.prepare != nil {
				tt.prepare(t, s)
			}
			ok, difference, err := Verify(t.Context(), s, people, id, tt.number, tt.step, tt.identity)
			if err != nil || ok != tt.ok || !strings.Contains(strings.Join(difference, "\n"), tt.says) {
				t.Errorf("%v %q %v", ok, difference, err)
			}
		})
	}
	s := approved(t)
	s.Fail = func(string, ledger.Key) error { return errors.New("no table") }
	if ok, _, err := Verify(t.Context(), s, people, id, 1, terminate, identity); ok || !fault.Is(err, fault.Unreadable) {
		t.Errorf("unreadable: %v %v", ok, err)
	}
}

func TestOverride(t *testing.T) {
	s := store(t)
	a := open(t, s, override(Step{Step: revoke, Rule: "shared"}))
	rules := func(n int, step incident.Step) string {
		got, err := Override(t.Context(), s, id, n, step)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(got, ",")
	}
	if got := rules(1, revoke); got != "" {
		t.Errorf("open: %s", got)
	}
	if got := vote(t, s, a, "alice", true); got != Carried {
		t.Fatal(got)
	}
	for _, tt := range []struct {
		n    int
		step incident.Step
		want string
	}{{1, revoke, "shared"}, {1, isolate, ""}, {0, revoke, ""}, {2, revoke, ""}} {
		if got := rules(tt.n, tt.step); got != tt.want {
			t.Errorf("%d %s: %q", tt.n, tt.step.Action, got)
		}
	}
	e := open(t, s, eradication("token"))
	vote(t, s, e, "alice", true)
	vote(t, s, e, "bob", true)
	if got := rules(e.Number, terminate); got != "" {
		t.Errorf("an eradication sets aside %s", got)
	}
}

func TestEndsOfARequest(t *testing.T) {
	t.Run("expire", func(t *testing.T) {
		s := store(t)
		a := open(t, s, eradication("token"))
		if err := Expire(t.Context(), s, id, 1, a.Expires.Add(-time.Second)); err != nil || load(t, s, 1).Value.Status != StatusOpen {
			t.Error("expired before its time", err)
		}
		if err := Expire(t.Context(), s, id, 1, a.Expires); err != nil || load(t, s, 1).Value.Status != StatusExpired {
			t.Error("not expired", err)
		}
	})
	t.Run("what was approved in time does not expire", func(t *testing.T) {
		s := store(t)
		a := open(t, s, eradication("token"))
		vote(t, s, a, "alice", true)
		vote(t, s, a, "bob", true)
		if err := Expire(t.Context(), s, id, 1, a.Expires.Add(time.Hour)); err != nil || load(t, s, 1).Value.Status != StatusApproved {
			t.Error(load(t, s, 1).Value, err)
		}
	})
	t.Run("supersede", func(t *testing.T) {
		s := store(t)
		open(t, s, eradication("token"))
		open(t, s, override(Step{Step: revoke, Rule: "shared"}))
		next := eradication("next")
		next.Incident.Episode = 2
		open(t, s, next)
		if err := Supersede(t.Context(), s, id, 2); err != nil {
			t.Fatal(err)
		}
		var got []string
		for n := range 3 {
			it := load(t, s, n+1)
			got = append(got, fmt.Sprintf("%s %v", it.Value.Status, it.Group != ""))
		}
		if d := cmp.Diff([]string{"superseded true", "superseded false", "open true"}, got); d != "" {
			t.Error(d)
		}
	})
	t.Run("cancel", func(t *testing.T) {
		s := store(t)
		open(t, s, eradication("token"))
		if err := Cancel(t.Context(), s, id, 1, "alice", "false alarm"); err != nil {
			t.Fatal(err)
		}
		if a := load(t, s, 1).Value; a.Status != StatusCancelled || !cmp.Equal(a.Verdict().By, []string{"alice"}) {
			t.Error(a)
		}
		if err := Cancel(t.Context(), s, id, 2, "alice", ""); !fault.Is(err, fault.BadInput) {
			t.Error(err)
		}
	})
}

// machine is Step Functions as far as the courier goes.
type machine struct {
	dead   string // a token that nobody waits for
	err    error
	before func()
	sent   []string // tokens
	output string
	names  []string
	inputs []string
}

func (m *machine) SendTaskSuccess(_ context.Context, in *sfn.SendTaskSuccessInput, _ ...func(*sfn.Options)) (*sfn.SendTaskSuccessOutput, error) {
	if m.before != nil {
		m.before()
	}
	if m.err != nil {
		return nil, m.err
	}
	m.sent, m.output = append(m.sent, *in.TaskToken), *in.Output
	if *in.TaskToken == m.dead {
		return nil, &types.TaskTimedOut{Message: aws.String("Task Timed Out: " + *in.TaskToken)}
	}
	return &sfn.SendTaskSuccessOutput{}, nil
}

func (m *machine) StartExecution(_ context.Context, in *sfn.StartExecutionInput, _ ...func(*sfn.Options)) (*sfn.StartExecutionOutput, error) {
	m.names, m.inputs = append(m.names, *in.Name), append(m.inputs, *in.Input)
	return &sfn.StartExecutionOutput{}, m.err
}

func courier(s ledger.Store, m *machine) Courier {
	return Courier{Store: s, API: m, Machine: "machine", Now: func() time.Time { return now.Add(time.Hour) }}
}

// What the execution is told is what the machine's paths are tested with.
func TestVerdicts(t *testing.T) {
	for status, prepare := range map[Status]func(t *testing.T, s ledger.Store, a Approval){
		StatusApproved: func(t *testing.T, s ledger.Store, a Approval) {
			vote(t, s, a, "alice", true)
			vote(t, s, a, "bob", true)
		},
		StatusRejected: func(t *testing.T, s ledger.Store, a Approval) { vote(t, s, a, "alice", false) },
		StatusExpired: func(t *testing.T, s ledger.Store, a Approval) {
			if err := Expire(t.Context(), s, id, 1, a.Expires); err != nil {
				t.Fatal(err)
			}
		},
		StatusSuperseded: func(t *testing.T, s ledger.Store, _ Approval) {
			if err := Supersede(t.Context(), s, id, 2); err != nil {
				t.Fatal(err)
			}
		},
		StatusCancelled: func(t *testing.T, s ledger.Store, _ Approval) {
			if err := Cancel(t.Context(), s, id, 1, "alice", ""); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(string(status), func(t *testing.T) {
			s, m := store(t), &machine{}
			prepare(t, s, open(t, s, eradication("token")))
			for range 2 {
				if done, err := courier(s, m).Deliver(t.Context(), id, 1); !done || err != nil {
					t.Fatal(done, err)
				}
			}
			if len(m.sent) != 1 || load(t, s, 1).Group != "" {
				t.Errorf("sent %d times, index %q", len(m.sent), load(t, s, 1).Group)
			}
			want, err := os.ReadFile("../../functions/request-approval/testdata/" + string(status) + ".json")
			if err != nil {
				t.Fatal(err)
			}
			var a, b any
			if err := errors.Join(json.Unmarshal(want, &a), json.Unmarshal([]byte(m.output), &b)); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(a, b); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestDeliver(t *testing.T) {
	t.Run("open: nothing", func(t *testing.T) {
		s, m := store(t), &machine{}
		open(t, s, eradication("token"))
		if done, err := courier(s, m).Deliver(t.Context(), id, 1); done || err != nil || len(m.sent) != 0 {
			t.Error(done, err, m.sent)
		}
	})
	t.Run("approved waits for evidence", func(t *testing.T) {
		s, m := store(t), &machine{}
		r := eradication("token")
		r.Evidence = "pending: snapshot"
		a := open(t, s, r)
		vote(t, s, a, "alice", true)
		vote(t, s, a, "bob", true)
		if done, err := courier(s, m).Deliver(t.Context(), id, 1); done || err != nil || len(m.sent) != 0 {
			t.Error(done, err, m.sent)
		}
		if err := Evidence(t.Context(), s, id, 1, Complete); err != nil {
			t.Fatal(err)
		}
		if done, err := courier(s, m).Deliver(t.Context(), id, 1); !done || err != nil || len(m.sent) != 1 {
			t.Error(done, err, m.sent)
		}
	})
	t.Run("a dead token ends it, with a word in the timeline", func(t *testing.T) {
		s, m := store(t), &machine{dead: "token"}
		vote(t, s, open(t, s, eradication("token")), "alice", false)
		if done, err := courier(s, m).Deliver(t.Context(), id, 1); !done || err != nil {
			t.Error(done, err)
		}
		events, err := ledger.Timeline(t.Context(), s, id)
		if err != nil || !strings.Contains(events[len(events)-1].What, "does not wait for it any more") || strings.Contains(fmt.Sprint(events), "token") {
			t.Error(events, err)
		}
	})
	t.Run("a token that comes meanwhile hears it too", func(t *testing.T) {
		s := store(t)
		m := &machine{dead: "old"}
		vote(t, s, open(t, s, eradication("old")), "alice", false)
		m.before = func() {
			m.before = nil
			open(t, s, eradication("new"))
		}
		if done, err := courier(s, m).Deliver(t.Context(), id, 1); !done || err != nil || !cmp.Equal(m.sent, []string{"old", "new"}) {
			t.Error(done, err, m.sent)
		}
	})
	t.Run("a newer episode makes an approval void", func(t *testing.T) {
		s, m := store(t), &machine{}
		a := open(t, s, eradication("token"))
		vote(t, s, a, "alice", true)
		vote(t, s, a, "bob", true)
		if _, err := ledger.Update(t.Context(), s, ledger.IncidentKey(id), func(it *ledger.Item[ledger.Incident]) error { it.Value.Episode = 2; return nil }); err != nil {
			t.Fatal(err)
		}
		if done, err := courier(s, m).Deliver(t.Context(), id, 1); !done || err != nil || !strings.Contains(m.output, "superseded") {
			t.Error(done, err, m.output)
		}
	})
	t.Run("an error names no token", func(t *testing.T) {
		s, m := store(t), &machine{err: errors.New("cannot use secret-token")}
		vote(t, s, open(t, s, eradication("secret-token")), "alice", false)
		if done, err := courier(s, m).Deliver(t.Context(), id, 1); done || err == nil || strings.Contains(err.Error(), "secret-token") || !load(t, s, 1).Value.Delivered.IsZero() {
			t.Error(done, err)
		}
	})
	t.Run("an override starts one execution under one name", func(t *testing.T) {
		s, m := store(t), &machine{}
		vote(t, s, open(t, s, override(Step{Step: revoke, Rule: "shared"})), "alice", true)
		m.err = errors.New("throttled")
		if done, err := courier(s, m).Deliver(t.Context(), id, 1); done || err == nil {
			t.Error(done, err)
		}
		m.err = &types.ExecutionAlreadyExists{}
		if done, err := courier(s, m).Deliver(t.Context(), id, 1); !done || err != nil || !cmp.Equal(m.names, []string{id + "-e1-r1", id + "-e1-r1"}) {
			t.Error(done, err, m.names)
		}
	})
}

func TestLinks(t *testing.T) {
	key := strings.Repeat("k", 64)
	old, err := ParseRing([]byte(`{"id":"1","key":"` + key + `"}`))
	if err != nil {
		t.Fatal(err)
	}
	rotated, err := ParseRing([]byte(`{"id":"2","key":"` + strings.Repeat("n", 64) + `","previous":{"id":"1","key":"` + key + `"}}`))
	if err != nil {
		t.Fatal(err)
	}
	a := Approval{Incident: id, Number: 1, Hash: "h", Expires: now}
	l, err := old.Parse(old.Link(a, "alice"))
	if err != nil || l.Approver != "alice" || !old.Genuine(l, a) || !rotated.Genuine(l, a) {
		t.Fatalf("%+v %v", l, err)
	}
	if fresh, err := rotated.Parse(rotated.Link(a, "alice")); err != nil || old.Genuine(fresh, a) || !rotated.Genuine(fresh, a) {
		t.Error("a link of the new key", err)
	}
	for name, b := range map[string]Approval{
		"number": {Incident: id, Number: 2, Hash: "h"}, "incident": {Incident: "INC-X", Number: 1, Hash: "h"}, "plan": {Incident: id, Number: 1, Hash: "i"}, "none": {},
	} {
		if old.Genuine(l, b) {
			t.Errorf("it opens another %s", name)
		}
	}
	nonce := old.Nonce(l, "", now)
	if _, ok := rotated.Spend(l, "", nonce, now.Add(29*time.Minute)); !ok {
		t.Error("a nonce of the old key, for a link of the old key, is not taken")
	}
	if _, ok := old.Spend(l, "", nonce, now.Add(nonceLife)); ok {
		t.Error("an old nonce is taken")
	}
	for i := range len(nonce) {
		for bit := range 8 {
			b := []byte(nonce)
			b[i] ^= 1 << bit
			if _, ok := old.Spend(l, "", string(b), now); ok {
				t.Fatalf("bit %d of character %d does not count", bit, i)
			}
		}
	}
	for _, bad := range []string{``, `{}`, `{"id":"1","key":"short"}`, `{"key":"` + key + `"}`, `{"id":"1","key":"` + key + `","previous":{"id":"1","key":"` + key + `"}}`, key} {
		if _, err := ParseRing([]byte(bad)); !fault.Is(err, fault.Unreadable) || strings.Contains(err.Error(), key) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if s := fmt.Sprintf("%v %+v %#v", old, old, old); strings.Contains(s, key) {
		t.Errorf("a printed ring shows its key: %s", s)
	}
}

type vault struct {
	secret string
	err    error
	reads  int
}

func (v *vault) GetSecretValue(context.Context, *secretsmanager.GetSecretValueInput, ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error) {
	v.reads++
	return &secretsmanager.GetSecretValueOutput{SecretString: &v.secret}, v.err
}

func TestKeysAreKept(t *testing.T) {
	v := &vault{err: errors.New("down")}
	k := NewKeys(v, "secret", func() time.Time { return now })
	if _, err := k.Read(t.Context()); !fault.Is(err, fault.Unreadable) {
		t.Error(err)
	}
	v.secret, v.err = `{"id":"1","key":"`+strings.Repeat("k", 64)+`"}`, nil
	for range 3 {
		if r, err := k.Read(t.Context()); err != nil || r.ID != "1" {
			t.Error(r, err)
		}
	}
	if v.reads != 2 {
		t.Errorf("read %d times", v.reads)
	}
}

// A key that has become known is void everywhere five minutes after it was changed.
func TestKeysAreReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &vault{secret: `{"id":"1","key":"` + strings.Repeat("k", 64) + `"}`}
		k := NewKeys(v, "secret", time.Now)
		for _, c := range []struct {
			later time.Duration
			want  string
		}{{0, "1"}, {5*time.Minute - time.Second, "1"}, {time.Second, "2"}} {
			time.Sleep(c.later) // on the clock of synctest: nobody waits
			if r, err := k.Read(t.Context()); err != nil || r.ID != c.want {
				t.Errorf("%s later the key is %s (%v), not %s", c.later, r.ID, err, c.want)
			}
			v.secret = `{"id":"2","key":"` + strings.Repeat("n", 64) + `"}`
		}
	})
}

// A link of a key that is not known is no reason to read the secret at every request.
func TestAnUnknownKeyIsLookedUp(t *testing.T) {
	one := `{"id":"1","key":"` + strings.Repeat("k", 64) + `"}`
	two := `{"id":"2","key":"` + strings.Repeat("n", 64) + `","previous":` + one + `,"since":"` + now.Format(time.RFC3339) + `"}`
	a := Approval{Incident: id, Number: 1, Hash: "h", Expires: now.Add(time.Hour)}
	links := map[string]string{}
	for _, secret := range []string{one, two} {
		r, err := ParseRing([]byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		links[r.ID] = r.Link(a, "alice")
	}
	v := &vault{secret: one}
	k := NewKeys(v, "secret", func() time.Time { return now })
	for range 5 {
		if _, _, err := k.Follow(t.Context(), links["2"]); !errors.Is(err, ErrLink) {
			t.Fatal(err)
		}
	}
	if v.reads != 1 {
		t.Errorf("read %d times", v.reads)
	}
	v.secret = two
	for i, c := range []struct{ link, ring string }{{"1", "1"}, {"2", "2"}, {"1", "2"}} {
		k.read = k.read.Add(-time.Minute)
		r, l, err := k.Follow(t.Context(), links[c.link])
		if err != nil || r.ID != c.ring || !r.Genuine(l, a) || l.Approver != "alice" || v.reads != min(i+1, 2) {
			t.Errorf("link of key %s: %v %v, read %d times", c.link, r, err, v.reads)
		}
	}
	if _, _, err := k.Follow(t.Context(), "no.link"); !errors.Is(err, ErrLink) || v.reads != 2 {
		t.Errorf("%v, read %d times", err, v.reads)
	}
}

// Who reads an address learns nothing: what a link says is neither in it nor in what it decodes to, and one link has one address.
func TestALinkIsOpaque(t *testing.T) {
	ring, err := ParseRing([]byte(`{"id":"key-of-march","key":"` + strings.Repeat("k", 64) + `"}`))
	if err != nil {
		t.Fatal(err)
	}
	a := Approval{Incident: id, Number: 1, Hash: "h", Expires: now.Add(time.Hour)}
	alices := ring.Link(a, "alice")
	if again := ring.Link(a, "alice"); again != alices {
		t.Error("the same link has two addresses")
	}
	head, _, _ := strings.Cut(alices, ".")
	raw, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{id, "alice", "key-of-march"} {
		if strings.Contains(alices+string(raw), secret) {
			t.Errorf("%q can be read in %q", secret, raw)
		}
	}
	bobs, _, _ := strings.Cut(ring.Link(a, "bob"), ".")
	if len(bobs) == len(head) && bobs[:16] == head[:16] {
		t.Error("two links begin alike: they have one nonce")
	}
}

// The previous key is honoured until the last of its links has expired, and no longer.
func TestThePreviousKeyRetires(t *testing.T) {
	old, err := ParseRing([]byte(`{"id":"1","key":"` + strings.Repeat("k", 64) + `"}`))
	if err != nil {
		t.Fatal(err)
	}
	secret, err := old.Rotate(now)
	if err != nil {
		t.Fatal(err)
	}
	a := Approval{Incident: id, Number: 1, Hash: "h", Expires: now.Add(160 * time.Hour)}
	l, err := old.Parse(old.Link(a, "alice"))
	if err != nil {
		t.Fatal(err)
	}
	for after, want := range map[time.Duration]bool{0: true, 161 * time.Hour: true, 8 * 24 * time.Hour: false} {
		r, err := NewKeys(&vault{secret: secret}, "secret", func() time.Time { return now.Add(after) }).Read(t.Context())
		if err != nil || r.Genuine(l, a) != want {
			t.Errorf("after %s: %v %v", after, !want, err)
		}
	}
	if secret, err = Replace(now); err != nil {
		t.Fatal(err)
	}
	if r, err := ParseRing([]byte(secret)); err != nil || r.Previous != nil || r.Genuine(l, a) {
		t.Error("a key that has become known is honoured", err)
	}
}

func TestAPrintedApprovalShowsNoToken(t *testing.T) {
	a := Approval{Incident: id, Number: 1, Token: "secret-token"}
	if s := fmt.Sprintf("%v %+v %#v %s %v %+v", a, a, a, a, &a, struct{ A Approval }{a}); strings.Contains(s, "secret-token") {
		t.Error(s)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "approval", a)
	if strings.Contains(log.String(), "secret-token") {
		t.Error(log.String())
	}
}

func TestRefused(t *testing.T) {
	key := incident.Step{Action: "deactivate-keys", Target: "arn:aws:iam::222222222222:user/export", With: map[string]string{"keyId": "AKIAIOSFODNN7EXAMPLE"}}
	got := Refused([]incident.Step{isolate, key}, []incident.Result{
		{Action: key.Action, Target: key.Target, Step: key.Key(), Outcome: incident.Refused, Reason: "why", Override: "budget"},
		{Action: isolate.Action, Target: target, Step: isolate.Key(), Outcome: incident.Refused, Reason: "mode"},
		{Action: isolate.Action, Target: target, Outcome: incident.Applied, Override: "budget"},
	})
	if d := cmp.Diff([]Step{{Step: key, Refusal: "why", Rule: "budget"}}, got); d != "" {
		t.Error(d)
	}
}

func TestTime(t *testing.T) {
	in := setting.Installed{Approval: setting.Approval{Hours: map[string]int{"CRITICAL": 4, "HIGH": 0, "": 24}}}
	for band, want := range map[incident.Band]time.Duration{incident.Critical: 4 * time.Hour, incident.High: 24 * time.Hour, incident.Low: 24 * time.Hour} {
		if got := Time(in, band); got != want {
			t.Errorf("%s: %s", band, got)
		}
	}
}

// What is asked anew says what is different from before; what is asked for the first time does not.
func TestANewRequestShowsTheDifference(t *testing.T) {
	s := store(t)
	r := eradication("token")
	if a := open(t, s, r); len(a.Steps[0].Changed) != 0 {
		t.Errorf("for the first time: %q", a.Steps[0].Changed)
	}
	r.Round, r.Token = 2, "another"
	r.Steps = slices.Clone(r.Steps)
	r.Steps[0].Identity = map[string]string{"launched": "a", "volumes": "v,w", "owner": "x"}
	r.Steps = append(r.Steps, Step{Step: incident.Step{Action: "delete-keys", Target: "arn:aws:iam::222222222222:user/bob"}})
	a := open(t, s, r)
	if d := cmp.Diff([][]string{{"owner: was absent, now x", "volumes: was v, now v,w"}, {"this was not asked before"}}, [][]string{a.Steps[0].Changed, a.Steps[1].Changed}); d != "" || a.Number != 2 {
		t.Errorf("request %d: %s", a.Number, d)
	}
	if again := load(t, s, 2).Value; again.Hash != Hash(again.Kind, id, 1, again.Steps) {
		t.Error("what is said of the difference is in the hash")
	}
	r.Incident.Episode, r.Token = 2, "third"
	if a := open(t, s, r); len(a.Steps[0].Changed) != 0 {
		t.Errorf("in the next episode: %q", a.Steps[0].Changed)
	}
}

// Whoever changed the incident, is named in it, was taken off the list or proves nothing does not count, then or later.
func TestFourEyes(t *testing.T) {
	alice, bob := "arn:aws:iam::111111111111:user/alice", "arn:aws:sts::111111111111:assumed-role/AWSReservedSSO_security/bob@example.com"
	base := func() setting.Installed {
		return setting.Installed{Approval: setting.Approval{LinkAlone: "none"}, Approvers: []setting.Approver{
			{ID: "alice", Principals: []string{alice}, Subjects: []string{"a"}, Slack: "U1"}, {ID: "bob", Principals: []string{bob}}, {ID: "carol"},
			{ID: "alice-slack", Slack: "U1"}, {ID: "alice-oidc", Subjects: []string{"x", "a"}}, {ID: "bob-again", Principals: []string{bob}},
		}}
	}
	say := func(t *testing.T, s ledger.Store, in setting.Installed, who, via string) Answer {
		t.Helper()
		answer, _, err := Decide(t.Context(), s, in, Vote{Incident: id, Number: 1, Approver: who, Approve: true, Via: via, Hash: load(t, s, 1).Value.Hash, Now: now.Add(time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	touch := func(t *testing.T, s ledger.Store, who string, at time.Time) {
		t.Helper()
		if err := ledger.Append(t.Context(), s, id, ledger.Event{Time: at, State: "Release", Who: who, What: "released something"}); err != nil {
			t.Fatal(err)
		}
	}
	verify := func(t *testing.T, s ledger.Store, in setting.Installed) bool {
		t.Helper()
		ok, _, err := Verify(t.Context(), s, in, id, 1, terminate, map[string]string{"launched": "a", "volumes": "v"})
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	t.Run("one person with several entries is one", func(t *testing.T) {
		s, in := store(t), base()
		open(t, s, eradication("token"))
		for who, want := range map[string]Answer{"alice-slack": Barred, "alice-oidc": Barred} {
			if say(t, s, in, "alice", "oidc"); say(t, s, in, who, "oidc") != want {
				t.Errorf("%s counts beside alice", who)
			}
		}
		if got := say(t, s, in, "bob", "cli"); got != Carried {
			t.Error(got)
		}
		if got := say(t, s, in, "bob-again", "cli"); got != Late {
			t.Error(got)
		}
	})
	t.Run("what is not proven as the installation asks", func(t *testing.T) {
		s, in := store(t), base()
		open(t, s, eradication("token"))
		in.Approval.Destructive = []string{"oidc"}
		for _, via := range []string{"link", "cli", "slack", "", "OIDC"} {
			if got := say(t, s, in, "alice", via); got != Unproven {
				t.Errorf("%q: %s", via, got)
			}
		}
		if a := load(t, s, 1).Value; len(a.Decisions) != 0 {
			t.Error(a.Decisions)
		}
	})
	t.Run("changed it before", func(t *testing.T) {
		s, in := store(t), base()
		open(t, s, eradication("token"))
		touch(t, s, alice, now)
		if got := say(t, s, in, "alice", "oidc"); got != Barred {
			t.Error(got)
		}
	})
	t.Run("changed it as the same role's session", func(t *testing.T) {
		s, in := store(t), base()
		open(t, s, eradication("token"))
		touch(t, s, bob, now)
		if got := say(t, s, in, "bob", "cli"); got != Barred {
			t.Error(got)
		}
		if got := say(t, s, in, "alice", "cli"); got != Counted {
			t.Error(got)
		}
	})
	t.Run("changed it between the approvals", func(t *testing.T) {
		s, in := store(t), base()
		open(t, s, eradication("token"))
		say(t, s, in, "alice", "oidc")
		touch(t, s, alice, now.Add(2*time.Minute))
		if got := say(t, s, in, "bob", "cli"); got != Counted || verify(t, s, in) {
			t.Error(got)
		}
		if got := say(t, s, in, "carol", "oidc"); got != Carried || !verify(t, s, in) {
			t.Error(got)
		}
	})
	t.Run("changed it after both", func(t *testing.T) {
		s, in := store(t), base()
		open(t, s, eradication("token"))
		say(t, s, in, "alice", "oidc")
		say(t, s, in, "bob", "cli")
		if !verify(t, s, in) {
			t.Fatal("two people do not count")
		}
		touch(t, s, bob, now.Add(3*time.Minute))
		if verify(t, s, in) {
			t.Error("bob counts, who changed the incident since")
		}
	})
	t.Run("an execution, an approver's decision and what was before the finding are no hand", func(t *testing.T) {
		s, in := store(t), base()
		if _, err := ledger.Update(t.Context(), s, ledger.IncidentKey(id), func(it *ledger.Item[ledger.Incident]) error { it.Value.Seen = now.Add(-time.Hour); return nil }); err != nil {
			t.Fatal(err)
		}
		open(t, s, eradication("token"))
		touch(t, s, alice, now.Add(-2*time.Hour))
		touch(t, s, first, now)
		touch(t, s, "alice", now)
		if got := say(t, s, in, "alice", "oidc"); got != Counted {
			t.Error(got)
		}
	})
	t.Run("named in the finding, in other words", func(t *testing.T) {
		for _, named := range []string{
			"arn:aws:iam::111111111111:user/Alice", "arn:aws:iam::111111111111:user/security/alice", "arn:aws:sts::222222222222:assumed-role/AWSReservedSSO_Admin_0123/Alice@Example.com",
			"arn:aws:iam::222222222222:user/alice@example.com",
		} {
			s, in := store(t), base()
			in.Approvers[0].Email = "alice@example.com"
			if _, err := ledger.Update(t.Context(), s, ledger.IncidentKey(id), func(it *ledger.Item[ledger.Incident]) error {
				it.Value.Finding.People = []string{named}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			open(t, s, eradication("token"))
			if got := say(t, s, in, "alice", "oidc"); got != Barred {
				t.Errorf("%s: %s", named, got)
			}
			if got := say(t, s, in, "bob", "cli"); got != Counted {
				t.Errorf("bob beside %s: %s", named, got)
			}
		}
	})
	t.Run("one principal in two spellings is one person", func(t *testing.T) {
		s, in := store(t), base()
		in.Approvers[2].Principals = []string{"arn:aws:iam::111111111111:user/security/Alice"}
		open(t, s, eradication("token"))
		if a, c := say(t, s, in, "alice", "oidc"), say(t, s, in, "carol", "oidc"); a != Counted || c != Barred {
			t.Error(a, c)
		}
	})
	t.Run("a newer episode", func(t *testing.T) {
		s, in := store(t), base()
		open(t, s, eradication("token"))
		say(t, s, in, "alice", "oidc")
		say(t, s, in, "bob", "cli")
		if _, err := ledger.Update(t.Context(), s, ledger.IncidentKey(id), func(it *ledger.Item[ledger.Incident]) error { it.Value.Episode++; return nil }); err != nil {
			t.Fatal(err)
		}
		if verify(t, s, in) {
			t.Error("what was approved in an earlier episode is destroyed")
		}
	})
	t.Run("changed the playbook, or who decides", func(t *testing.T) {
		for _, what := range []string{"playbook", "approvers", "approval", "signin", "slack"} {
			s, in := store(t), base()
			if _, err := ledger.Update(t.Context(), s, ledger.IncidentKey(id), func(it *ledger.Item[ledger.Incident]) error { it.Value.Seen = now.Add(-time.Hour); return nil }); err != nil {
				t.Fatal(err)
			}
			open(t, s, eradication("token"))
			in.Authors = []setting.Author{{Setting: what, Who: alice, At: now.Add(-2 * time.Hour)}}
			if got := say(t, s, in, "alice", "oidc"); got != Counted {
				t.Errorf("%s before the finding: %s", what, got)
			}
			in.Authors = append(in.Authors, setting.Author{Setting: what, Who: alice, At: now})
			if got := say(t, s, in, "bob", "cli"); got != Counted || verify(t, s, in) {
				t.Errorf("%s meanwhile: %s", what, got)
			}
		}
	})
	t.Run("taken off the list", func(t *testing.T) {
		s, in := store(t), base()
		open(t, s, eradication("token"))
		say(t, s, in, "alice", "oidc")
		without := in
		without.Approvers = in.Approvers[1:3]
		if got := say(t, s, without, "bob", "cli"); got != Counted {
			t.Error(got)
		}
		say(t, s, without, "carol", "oidc")
		if !verify(t, s, without) || !verify(t, s, in) {
			t.Error("bob and carol do not count")
		}
		without.Approvers = in.Approvers[2:3]
		if verify(t, s, without) {
			t.Error("bob counts, who is not on the list any more")
		}
	})
	t.Run("a playbook asks for three", func(t *testing.T) {
		s, in := store(t), base()
		open(t, s, eradication("token"))
		r := eradication("token")
		r.Need = 3
		s = store(t)
		open(t, s, r)
		if a, b, c := say(t, s, in, "alice", "oidc"), say(t, s, in, "bob", "cli"), say(t, s, in, "carol", "oidc"); a != Counted || b != Counted || c != Carried || !verify(t, s, in) {
			t.Error(a, b, c)
		}
	})
}

// dump is all that the incident's partition has.
func dump(t *testing.T, s ledger.Store) string {
	t.Helper()
	recs, err := s.List(t.Context(), "INC#"+id, "")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%+v", recs)
}

// Whatever dies between any two writes, the timeline says what was decided, and nothing else.
func TestTheTimelineSaysWhatIsDecided(t *testing.T) {
	in := setting.Installed{Approval: setting.Approval{LinkAlone: "none"}, Approvers: []setting.Approver{{ID: "alice"}, {ID: "bob"}}}
	for name, do := range map[string]func(ctx context.Context, s ledger.Store) error{
		"approved eradicate": func(ctx context.Context, s ledger.Store) error {
			it, err := Load(ctx, s, id, 1)
			if err == nil {
				_, _, err = Decide(ctx, s, in, Vote{Incident: id, Number: 1, Approver: "alice", Approve: true, Via: "oidc", Hash: it.Value.Hash, Now: now})
			}
			return err
		},
		"is expired":   func(ctx context.Context, s ledger.Store) error { return Expire(ctx, s, id, 1, now.Add(100*time.Hour)) },
		"is cancelled": func(ctx context.Context, s ledger.Store) error { return Cancel(ctx, s, id, 1, "operator", "") },
		"acknowledged": func(ctx context.Context, s ledger.Store) error {
			_, _, err := Acknowledge(ctx, s, ledger.Incident{ID: id, Episode: 1}, Acknowledgement{By: "alice", Via: "link", At: now})
			return err
		},
	} {
		for after := range 3 {
			s := store(t)
			open(t, s, eradication("token"))
			before := dump(t, s)
			puts := 0
			s.Fail = func(op string, _ ledger.Key) error {
				if op == "put" {
					if puts++; puts > after {
						return errors.New("died")
					}
				}
				return nil
			}
			err := do(t.Context(), s)
			s.Fail = nil
			events, listed := ledger.Timeline(t.Context(), s, id)
			if listed != nil {
				t.Fatal(listed)
			}
			said := slices.ContainsFunc(events, func(e ledger.Event) bool { return strings.Contains(e.What, name) })
			if changed := dump(t, s) != before; changed != said || changed != (err == nil) {
				t.Errorf("%s, dead after %d writes: changed %v, in the timeline %v, %v", name, after, changed, said, err)
			}
		}
	}
}

// People decide step by step: what one of them keeps is not destroyed, whatever the others say.
func TestStepByStep(t *testing.T) {
	other := incident.Step{Action: "terminate-instance", Target: target + "1"}
	request := func() Request {
		r := eradication("token")
		r.Steps = append(r.Steps, Step{Step: other, Identity: map[string]string{"launched": "b"}})
		return r
	}
	say := func(t *testing.T, s ledger.Store, who string, keep ...string) Answer {
		t.Helper()
		answer, _, err := Decide(t.Context(), s, people, Vote{Incident: id, Number: 1, Approver: who, Approve: true, Keep: keep, Via: "link", Reason: "needed", Hash: load(t, s, 1).Value.Hash, Now: now})
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	verify := func(t *testing.T, s ledger.Store, step incident.Step, launched map[string]string) bool {
		t.Helper()
		ok, _, err := Verify(t.Context(), s, people, id, 1, step, launched)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	s := store(t)
	open(t, s, request())
	if a, b := say(t, s, "alice", other.Key()), say(t, s, "bob"); a != Counted || b != Carried {
		t.Fatal(a, b)
	}
	if !verify(t, s, terminate, map[string]string{"launched": "a", "volumes": "v"}) || verify(t, s, other, map[string]string{"launched": "b"}) {
		t.Error("what both approved is kept, or what alice keeps is destroyed")
	}
	if who, why, err := Keeper(t.Context(), s, id, 1, other); who != "alice" || why != "needed" || err != nil {
		t.Error(who, why, err)
	}
	s = store(t)
	open(t, s, request())
	if a, b := say(t, s, "alice", other.Key()), say(t, s, "bob", terminate.Key()); a != Counted || b != Ended {
		t.Fatal(a, b)
	}
	if a := load(t, s, 1).Value; a.Status != StatusRejected || !cmp.Equal(a.Verdict().By, []string{"alice", "bob"}) {
		t.Errorf("%v by %v", a, a.Verdict().By)
	}
	s, m := store(t), &machine{}
	open(t, s, override(Step{Step: revoke, Rule: "shared"}, Step{Step: isolate, Rule: "budget"}))
	if got := say(t, s, "alice", isolate.Key()); got != Carried {
		t.Fatal(got)
	}
	if _, err := courier(s, m).Deliver(t.Context(), id, 1); err != nil || len(m.inputs) != 1 || strings.Contains(m.inputs[0], "isolate-instance") || !strings.Contains(m.inputs[0], "revoke-sessions") {
		t.Error(m.inputs, err)
	}
	if rules, err := Override(t.Context(), s, id, 1, isolate); len(rules) != 0 || err != nil {
		t.Error(rules, err)
	}
}

// Who somebody is follows from exactly one entry of the list, and from nothing that several people may share.
func TestWhoItIs(t *testing.T) {
	session := "arn:aws:sts::111111111111:assumed-role/AWSReservedSSO_security/alice@example.com"
	in := setting.Installed{Approvers: []setting.Approver{
		{ID: "alice", Principals: []string{session, "arn:aws:iam::111111111111:role/shared", "arn:aws:iam::111111111111:root"}, Subjects: []string{"a", ""}, Slack: "U1"},
		{ID: "bob", Principals: []string{"arn:aws:iam::111111111111:user/ops/bob"}, Subjects: []string{"b", "both"}}, {ID: "carol", Subjects: []string{"both"}}, {ID: "", Slack: "U9"},
	}}
	for caller, want := range map[string]string{
		session: "alice", "arn:aws:iam::111111111111:user/ops/bob": "bob", "arn:aws:iam::111111111111:user/bob": "", "arn:aws:iam::111111111111:role/shared": "",
		"arn:aws:sts::111111111111:assumed-role/shared/alice": "", "arn:aws:iam::111111111111:root": "", "": "", "alice": "",
		"arn:aws:sts::111111111111:assumed-role/AWSReservedSSO_security/bob@example.com": "", "arn:aws:sts::222222222222:assumed-role/AWSReservedSSO_security/alice@example.com": "",
	} {
		if p, ok := Caller(in, caller); p.ID != want || ok != (want != "") {
			t.Errorf("%s is %q", caller, p.ID)
		}
	}
	for subject, want := range map[string]string{"a": "alice", "b": "bob", "both": "", "": "", "A": ""} {
		if p, _ := Subject(in, subject); p.ID != want {
			t.Errorf("subject %s is %q", subject, p.ID)
		}
	}
	for member, want := range map[string]string{"U1": "alice", "": "", "U9": ""} {
		if p, _ := Member(in, member); p.ID != want {
			t.Errorf("member %s is %q", member, p.ID)
		}
	}
}

func TestAcknowledgements(t *testing.T) {
	s := store(t)
	ring, err := ParseRing([]byte(`{"id":"1","key":"` + strings.Repeat("k", 64) + `"}`))
	if err != nil {
		t.Fatal(err)
	}
	meta, err := ledger.Load[ledger.Incident](t.Context(), s, ledger.IncidentKey(id))
	if err != nil {
		t.Fatal(err)
	}
	l, err := ring.Parse(ring.SeenLink(meta.Value, "alice", now.Add(time.Hour)))
	if err != nil || !ring.GenuineSeen(l, meta.Value) {
		t.Fatal(l, err)
	}
	other := meta.Value
	other.ID = "INC-X"
	if ring.GenuineSeen(l, other) || ring.GenuineSeen(l, ledger.Incident{}) || l.Number != -1 || !l.Expires.Equal(now.Add(time.Hour).Truncate(time.Second)) {
		t.Error("it acknowledges something else, or for ever")
	}
	for n := -2; n < 3; n++ {
		if ring.Genuine(l, Approval{Incident: id, Number: n, Hash: seen}) {
			t.Errorf("it opens request %d", n)
		}
	}
	if asked, err := ring.Parse(ring.Link(Approval{Incident: id, Number: 1, Hash: seen, Expires: now.Add(time.Hour)}, "alice")); err != nil || ring.GenuineSeen(asked, meta.Value) {
		t.Error("a link to decide acknowledges", err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	firsts := 0
	for i := range 64 {
		wg.Go(func() {
			_, first, err := Acknowledge(context.Background(), s, meta.Value, Acknowledgement{By: fmt.Sprint(i), Via: "link", At: now})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if first {
				firsts++
			}
		})
	}
	wg.Wait()
	if ack, ok, err := Acknowledged(t.Context(), s, meta.Value); firsts != 1 || !ok || err != nil || ack.By == "" {
		t.Error(firsts, ack, err)
	}
}

func TestSeals(t *testing.T) {
	key := strings.Repeat("k", 64)
	ring, err := ParseRing([]byte(`{"id":"1","key":"` + key + `"}`))
	if err != nil {
		t.Fatal(err)
	}
	rotated, err := ParseRing([]byte(`{"id":"2","key":"` + strings.Repeat("n", 64) + `","previous":{"id":"1","key":"` + key + `"}}`))
	if err != nil {
		t.Fatal(err)
	}
	text, err := ring.Seal("cookie", map[string]string{"who": "alice"}, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if !ring.Open("cookie", text, &got, now) || got["who"] != "alice" || !rotated.Open("cookie", text, &got, now) {
		t.Error("a seal of our own is not taken")
	}
	fresh, err := rotated.Seal("cookie", 1, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if ring.Open("cookie", fresh, &n, now) || ring.Open("other", text, &got, now) || ring.Open("cookie", text, &got, now.Add(time.Hour)) || ring.Open("cookie", "", &got, now) || ring.Open("cookie", strings.Repeat("a", 5000)+".b", &got, now) {
		t.Error("a seal of another key, purpose or time is taken")
	}
	for i := range text {
		for bit := range 8 {
			b := []byte(text)
			if b[i] ^= 1 << bit; ring.Open("cookie", string(b), &got, now) {
				t.Fatalf("bit %d of character %d does not count", bit, i)
			}
		}
	}
	if _, err := ring.Seal("cookie", func() {}, now); err == nil {
		t.Error("it seals what cannot be written")
	}
}

package guard

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func instance(n int) string {
	return fmt.Sprintf("arn:aws:ec2:us-east-1:222222222222:instance/i-%017d", n)
}

func question(t *testing.T, s ledger.Store, arn string, band incident.Band) Question {
	t.Helper()
	ref := incident.Ref{ID: "INC-A", Severity: band, Account: "222222222222", Region: "us-east-1"}
	step := incident.Step{Action: "isolate-instance", Target: arn}
	_, err := ledger.Update(context.Background(), s, ledger.IncidentKey("INC-A"), func(it *ledger.Item[ledger.Incident]) error {
		it.Value.ID, it.Value.Status, it.Value.Finding.Account = "INC-A", incident.Open, "222222222222"
		it.Value.Plan.Contain = append(it.Value.Plan.Contain, step)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	target, err := incident.ParseTarget(step, ref)
	if err != nil {
		t.Fatal(err)
	}
	return Question{Now: now, Target: target, Request: incident.Request{Mode: incident.Apply, Incident: ref, Step: step,
		Execution: incident.Execution{ARN: "arn:aws:states:us-east-1:111111111111:execution:firebreak-respond:x", Start: now}}}
}

func acting() setting.Guard {
	g := setting.Defaults()
	g.Mode = setting.Act
	return g
}

func TestWhatTheGuardRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		arn    string
		change func(*setting.Guard, *Question, *ledger.Memory)
		want   Rule
	}{
		{"nothing in the way", instance(1), nil, ""},
		{"switched off", instance(1), func(g *setting.Guard, _ *Question, _ *ledger.Memory) { g.Mode = setting.Off }, Mode},
		{"a step that the plan has not", instance(1), func(_ *setting.Guard, q *Question, _ *ledger.Memory) { q.Request.Step.Target = instance(2) }, Unplanned},
		{"an unknown incident", instance(1), func(_ *setting.Guard, q *Question, _ *ledger.Memory) { q.Request.Incident.ID = "INC-Z" }, Unplanned},
		{"a finding of another account", instance(1), func(_ *setting.Guard, _ *Question, m *ledger.Memory) {
			_, err := ledger.Update(t.Context(), m, ledger.IncidentKey("INC-A"), func(it *ledger.Item[ledger.Incident]) error {
				it.Value.Finding.Account = "333333333333"
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}, Unplanned},
		{"protected by list", instance(1), func(g *setting.Guard, _ *Question, _ *ledger.Memory) { g.Protected = []string{instance(1)} }, Protected},
		{"protected by pattern", instance(1), func(g *setting.Guard, _ *Question, _ *ledger.Memory) {
			g.Protected = []string{"arn:aws:ec2:*:222222222222:instance/*1"}
		}, Protected},
		{"protected by tag", instance(1), func(_ *setting.Guard, q *Question, _ *ledger.Memory) {
			q.Tags = map[string]string{ProtectedTag: "true"}
		}, Protected},
		{"shared by too many", instance(1), func(_ *setting.Guard, q *Question, _ *ledger.Memory) { q.Shared = 6 }, Shared},
		{"shared up to the limit", instance(1), func(_ *setting.Guard, q *Question, _ *ledger.Memory) { q.Shared = 5 }, ""},
		{"shared, set aside", instance(1), func(_ *setting.Guard, q *Question, _ *ledger.Memory) { q.Shared = 6; q.Aside = []string{"shared"} }, ""},
		{"off is never set aside", instance(1), func(g *setting.Guard, q *Question, _ *ledger.Memory) {
			g.Mode = setting.Off
			q.Aside = []string{"mode"}
		}, Mode},
		{"our role in a member", "arn:aws:iam::222222222222:role/SecurityRemediationRole-Network", nil, Self},
		{"our role is never set aside", "arn:aws:iam::222222222222:role/SecurityRemediationRole-Read", func(_ *setting.Guard, q *Question, _ *ledger.Memory) { q.Aside = []string{"self"} }, Self},
		{"our forwarder in a member", "arn:aws:iam::222222222222:role/firebreak-forwarder-us-east-1", nil, Self},
		{"an attacker's name in a member", "arn:aws:iam::222222222222:role/firebreak-evil", nil, ""},
		{"a role that only begins like ours", "arn:aws:iam::222222222222:role/SecurityRemediationRole-NetworkX", nil, ""},
		{"released a moment ago", instance(1), func(_ *setting.Guard, q *Question, m *ledger.Memory) {
			released1(t, m, q.Target.ARN, now.Add(time.Hour))
		}, Released},
		{"released long ago", instance(1), func(_ *setting.Guard, q *Question, m *ledger.Memory) {
			released1(t, m, q.Target.ARN, now.Add(-time.Hour))
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			store, set := ledger.NewMemory(), acting()
			q := question(t, store, c.arn, incident.High)
			if c.change != nil {
				c.change(&set, &q, store)
			}
			no, err := Check(context.Background(), store, set, q)
			if err != nil {
				t.Fatal(err)
			}
			got := Rule("")
			if no != nil {
				got = no.Rule
				if no.Reason == "" {
					t.Error("refused without a reason")
				}
			}
			if got != c.want {
				t.Errorf("refused by %q (%v), want %q", got, no, c.want)
			}
		})
	}
}

func TestHubResourcesAreOurs(t *testing.T) {
	store := ledger.NewMemory()
	for _, arn := range []string{
		"arn:aws:iam::111111111111:role/firebreak-isolate-instance-us-east-1", "arn:aws:lambda:us-east-1:111111111111:function:firebreak-notify",
		"arn:aws:dynamodb:us-east-1:111111111111:table/firebreak-ledger", "arn:aws:states:us-east-1:111111111111:stateMachine:firebreak-respond",
		"arn:aws:s3:::firebreak-evidence-111111111111-us-east-1", "arn:aws:sns:us-east-1:111111111111:firebreak-security",
	} {
		q := question(t, store, instance(1), incident.High)
		target, err := incident.ParseTarget(incident.Step{Action: "isolate-instance", Target: arn}, incident.Ref{Account: "111111111111", Region: "us-east-1"})
		if err != nil {
			t.Fatal(err)
		}
		if no := self(target, hubAccount(q.Request.Execution.ARN)); no == nil {
			t.Errorf("%s is not known as ours", arn)
		}
	}
}

func released1(t *testing.T, m *ledger.Memory, arn string, until time.Time) {
	t.Helper()
	it := ledger.Item[ledger.Hold]{Key: ledger.HoldKey(arn, "isolate-instance"), Value: ledger.Hold{Phase: ledger.Released, Until: until}}
	if err := ledger.Save(context.Background(), m, &it); err != nil {
		t.Fatal(err)
	}
}

func TestTheBudgetIsExactAtAnyConcurrency(t *testing.T) {
	store, set := ledger.NewMemory(), acting()
	questions := make([]Question, 64)
	for i := range questions {
		questions[i] = question(t, store, instance(i), incident.High)
	}
	count := func() (yes int) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		for _, q := range questions {
			wg.Go(func() {
				no, err := Check(context.Background(), store, set, q)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				if no == nil {
					yes++
				} else if no.Rule != Budget {
					t.Errorf("refused by %s", no.Rule)
				}
			})
		}
		wg.Wait()
		return yes
	}
	if got := count(); got != 15 {
		t.Errorf("%d of 64 were allowed, want 15: 20 less the 5 kept for CRITICAL", got)
	}
	if got := count(); got != 15 {
		t.Errorf("a retry of all allows %d, want the same 15", got)
	}
	for i := range questions {
		questions[i].Request.Incident.Severity = incident.Critical
	}
	if got := count(); got != 20 {
		t.Errorf("CRITICAL findings bring it to %d, want 20", got)
	}
}

// Without the hub's account nobody can tell what is part of Firebreak.
func TestAnExecutionOfNoAccountIsNoExecution(t *testing.T) {
	for _, execution := range []string{"x", "arn:aws:states:us-east-1::execution:firebreak-respond:x"} {
		mem := ledger.NewMemory()
		q := question(t, mem, instance(1), incident.High)
		q.Request.Execution.ARN = execution
		if no, err := Check(t.Context(), mem, acting(), q); !fault.Is(err, fault.BadInput) {
			t.Errorf("%q: %v, %v", execution, no, err)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, arn string
		want         bool
	}{
		{"arn:aws:s3:::a", "arn:aws:s3:::a", true}, {"arn:aws:s3:::a", "arn:aws:s3:::ab", false}, {"arn:aws:s3:::a*", "arn:aws:s3:::ab", true},
		{"*", "anything", true}, {"a*b*c", "axxbyyc", true}, {"a*b*c", "axxcyyb", false}, {"a*a", "a", false}, {"", "", true}, {"", "a", false},
	} {
		if got := Match(c.pattern, c.arn); got != c.want {
			t.Errorf("Match(%q, %q) = %v", c.pattern, c.arn, got)
		}
	}
}

//go:build e2e

package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
	"firebreak/scripts/local/world"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// says fails the test unless some text that a person finds about the event names the thing.
func says(t *testing.T, name string, texts ...string) {
	t.Helper()
	if !strings.Contains(strings.Join(texts, "\n"), name) {
		t.Errorf("nothing names %q in:\n%s", name, strings.Join(texts, "\n"))
	}
}

func TestWhatIsNoEventIsADeadLetter(t *testing.T) {
	for name, c := range map[string]struct{ input, names string }{
		"a text":         {`"an event that is no object"`, "not a json object"},
		"an empty event": {`{}`, "source"},
		"a broken detail": {`{"source":"aws.guardduty","detail-type":"GuardDuty Finding","account":"222222222222","region":"us-east-1","detail":"{\"id\":"}`,
			"recorded"},
	} {
		t.Run(name, func(t *testing.T) {
			since := time.Now()
			arn := must(hub.Start(t.Context(), "", c.input))(t)
			run := must(hub.End(t.Context(), arn))(t)
			if run.Ending() != "NeedsPerson" && run.Ending() != "Recorded" {
				t.Fatal(show(run))
			}
			texts := []string{run.Cause, run.Output}
			if run.Ending() == "NeedsPerson" {
				texts = append(texts, letter(t, world.Incident, arn))
			}
			says(t, c.names, strings.ToLower(strings.Join(texts, "\n")))
			made := must(platform.Decided(since, func(d world.Decision) bool { return d.Changes() }))(t)
			if len(made) > 0 {
				t.Errorf("something was changed: %+v", made)
			}
		})
	}
}

func TestFindingsThatCannotBeActedOnAreTold(t *testing.T) {
	for sampled, names := range map[string]string{
		"guardduty-no-resources":       "needs an instance, and the finding names none",
		"guardduty-unknown-account":    "account",
		"guardduty-region-not-enabled": "region",
	} {
		t.Run(sampled, func(t *testing.T) {
			since, finding := time.Now(), sample(t, sampled)
			put(t, finding)
			run := settle(t, finding)
			if run.Ending() != "Recorded" {
				t.Fatal(show(run))
			}
			meta := must(hub.Meta(t.Context(), finding.Incident()))(t)
			if meta.Status != incident.Recorded {
				t.Errorf("the incident is %s", meta.Status)
			}
			texts := []string{}
			for _, e := range must(hub.Timeline(t.Context(), finding.Incident()))(t) {
				texts = append(texts, e.What, e.Why)
			}
			says(t, names, texts...)
			unchanged(t, since, finding.Incident())
		})
	}
}

func TestAnInstanceThatIsGoneIsContained(t *testing.T) {
	since := time.Now()
	gone := world.Instance{ID: "i-0abcdef1234567890", Role: "no-such-role"}
	finding := mining(t, gone)
	put(t, finding)
	run := asks(t, finding)
	got := outcomes(t, finding.Incident())
	for _, action := range []string{"isolate-instance", "snapshot-volumes"} {
		if got[action] != incident.Gone {
			t.Errorf("%s is %q, want gone (%s)", action, got[action], show(run))
		}
	}
	r := must(hub.Result(t.Context(), finding.Incident(), "isolate-instance"))(t)
	says(t, gone.ID, r.Target+" "+r.Reason)
	unchanged(t, since, finding.Incident())
}

// withParameter gives an SSM parameter another value for the rest of the test; environments that read the earlier one end.
func withParameter(t *testing.T, name, value string) {
	t.Helper()
	was := must(hub.SSM.GetParameter(t.Context(), &ssm.GetParameterInput{Name: &name}))(t)
	write := func(ctx context.Context, v string) error {
		_, err := hub.SSM.PutParameter(ctx, &ssm.PutParameterInput{Name: &name, Value: &v, Type: types.ParameterTypeString, Overwrite: aws.Bool(true)})
		platform.Kill("firebreak-classify-finding")
		return err
	}
	check(t, write(t.Context(), value))
	t.Cleanup(func() { check(t, write(context.Background(), aws.ToString(was.Parameter.Value))) })
}

func TestWithoutPlaybookNothingIsDone(t *testing.T) {
	for name, value := range map[string]string{"empty": `{"source":""}`, "unknown": `{"source":"mine"}`, "broken": `{`} {
		t.Run(name, func(t *testing.T) {
			withParameter(t, "/firebreak/playbook", value)
			since := time.Now()
			_, finding := public(t)
			put(t, finding)
			run := settle(t, finding)
			if run.Ending() != "NeedsPerson" {
				t.Fatal(show(run))
			}
			says(t, "playbook", run.Cause, letter(t, world.Incident, run.ARN))
			unchanged(t, since, finding.Incident())
		})
	}
}

func TestWithoutSettingsNothingIsDone(t *testing.T) {
	it := must(ledger.Load[setting.Guard](t.Context(), hub.Store, setting.GuardKey))(t)
	check(t, hub.Store.Delete(t.Context(), setting.GuardKey, it.Version))
	t.Cleanup(func() {
		it.Version = 0
		check(t, ledger.Save(context.Background(), hub.Store, &it))
	})
	bucket, finding := public(t)
	since := time.Now()
	put(t, finding)
	run := settle(t, finding)
	if run.Ending() != "NeedsPerson" {
		t.Fatal(show(run))
	}
	says(t, "settings", run.Cause)
	says(t, "settings", letter(t, world.Incident, run.ARN))
	if on, err := member.Blocked(t.Context(), bucket); on != 0 || err != nil {
		t.Errorf("%d flags are on (%v)", on, err)
	}
	unchanged(t, since, finding.Incident())
}

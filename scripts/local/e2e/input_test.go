//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
	"firebreak/scripts/local/world"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// Wrong input, from the member's bus: each ends recorded, with words that name the thing, and nothing is changed.
func TestFindingsThatMayNotActAreRecorded(t *testing.T) {
	i := instance(t)
	for what, c := range map[string]struct {
		event world.Event
		says  string
	}{
		"no resources":               {sample(t, "guardduty-no-resources"), "names none"},
		"an unknown account":         {sample(t, "guardduty-unknown-account"), "333333333333"},
		"a region that is not ours":  {sample(t, "guardduty-region-not-enabled"), "eu-central-1"},
		"a sample":                   {sample(t, "guardduty-sample"), "sample"},
		"an archived one":            {sample(t, "guardduty-archived"), "archived"},
		"one that contradicts":       {sample(t, "guardduty-contradictory"), ""},
		"severity missing":           {sample(t, "guardduty-severity-missing"), "severity"},
		"severity as text":           {mining(t, i).Set("high", "severity"), "severity"},
		"archived as text":           {mining(t, i).Set("no", "service", "archived"), "archived"},
		"type missing":               {mining(t, i).Without("type"), "type"},
		"no id":                      {mining(t, i).Without("id"), "id"},
		"an instance id with quotes": {mining(t, i).Set(`i-" or "1"="1`, "resource", "instanceDetails", "instanceId"), ""},
		"resource is a list":         {mining(t, i).Set([]any{1, 2}, "resource"), ""},
		"an unknown type":            {sample(t, "guardduty-unknown-type"), ""},
		"a cluster":                  {sample(t, "guardduty-kubernetes"), ""},
		"root":                       {sample(t, "guardduty-root-usage"), ""},
	} {
		t.Run(what, func(t *testing.T) {
			since := time.Now()
			if c.event.ID() == "" {
				c.event = c.event.Set(name("marker"), "title")
			}
			put(t, c.event)
			needle := c.event.ID()
			if needle == "" {
				needle = c.event.Detail["title"].(string)
			}
			arn := must(hub.Started(t.Context(), needle, 1))(t)
			run := must(hub.End(t.Context(), arn))(t)
			if run.Ending() != "Recorded" {
				t.Errorf("%s", show(run))
			}
			if found := must(hub.Dump(t.Context()))(t); !strings.Contains(found, run.Name) {
				t.Error("the ledger does not know of it")
			} else if c.says != "" {
				for _, line := range strings.Split(found, "\n") {
					if strings.Contains(line, run.Name) && strings.Contains(line, c.says) {
						unchanged(t, since, c.event.Incident())
						return
					}
				}
				t.Errorf("no record of it names %q", c.says)
			}
			unchanged(t, since, c.event.Incident())
		})
	}
	isolated(t, i, false)
}

// What no rule lets through, put in by hand.
func TestInputThatIsNoEvent(t *testing.T) {
	for what, c := range map[string]struct{ input, ending, says string }{
		"another object":           {`{"hello":"world"}`, "Recorded", "source"},
		"a list":                   {`[1,2,3]`, "Recorded", ""},
		"a string":                 {`"finding"`, "NeedsPerson", "string"},
		"null":                     {`null`, "NeedsPerson", ""},
		"a source that is not AWS": {`{"version":"0","id":"1","source":"com.example","detail-type":"GuardDuty Finding","account":"222222222222","region":"us-east-1","detail":{"id":"x","severity":9}}`, "Recorded", "com.example"},
		"detail is text":           {`{"version":"0","id":"2","source":"aws.guardduty","detail-type":"GuardDuty Finding","account":"222222222222","region":"us-east-1","detail":"boom"}`, "Recorded", ""},
		"a resumption of nothing":  {`{"resume":{}}`, "NeedsPerson", "incident"},
		"a resumption of unknown":  {`{"resume":{"incident":"INC-AAAAAAAAAAAAAAAA","episode":1,"run":1,"from":"x","steps":[],"approval":0,"reason":"r"}}`, "NeedsPerson", "INC-AAAAAAAAAAAAAAAA"},
		"a resumption with more":   {`{"resume":{"incident":"INC-AAAAAAAAAAAAAAAA","episode":1,"mode":"act"}}`, "NeedsPerson", "mode"},
	} {
		t.Run(what, func(t *testing.T) {
			run := must(hub.End(t.Context(), must(hub.Start(t.Context(), name("wrong"), c.input))(t)))(t)
			if run.Ending() != c.ending {
				t.Fatalf("want %s: %s", c.ending, show(run))
			}
			var said string
			if c.ending == "NeedsPerson" {
				said = letter(t, world.Incident, run.ARN)
			} else {
				said = must(hub.Dump(t.Context()))(t)
			}
			if !strings.Contains(said, c.says) {
				t.Errorf("nothing names %q: %s", c.says, run.Cause)
			}
		})
	}
	// only the machine's own steps are carried out: a resumption cannot bring others
	bucket, finding := public(t)
	put(t, finding)
	settle(t, finding)
	i := instance(t)
	resume, err := json.Marshal(map[string]any{"resume": incident.Resume{
		Incident: finding.Incident(), Episode: 1, Run: 1, Reason: "smuggled", Steps: []incident.Step{{Action: "isolate-instance", Target: i.ARN}},
	}})
	check(t, err)
	run := must(hub.End(t.Context(), must(hub.Start(t.Context(), name("wrong"), string(resume)))(t)))(t)
	if run.Ending() != "NeedsPerson" || !strings.Contains(run.Cause, i.ARN) {
		t.Errorf("a step of no plan: %s", show(run))
	}
	isolated(t, i, false)
	if on := must(member.Blocked(t.Context(), bucket))(t); on != 4 {
		t.Errorf("%d flags", on)
	}
}

// AWS does not take what is no JSON (InvalidExecutionInput); the local machine takes it as an object without anything in it.
func TestMalformedJSON(t *testing.T) {
	arn, err := hub.Start(t.Context(), name("malformed"), `{"detail":`)
	if err != nil {
		return
	}
	run := must(hub.End(t.Context(), arn))(t)
	if run.Ending() != "Recorded" {
		t.Errorf("%s", show(run))
	}
}

func TestAnInstanceThatIsGone(t *testing.T) {
	since := time.Now()
	finding := mining(t, world.Instance{ID: "i-0123456789abcdef0"})
	put(t, finding)
	arn := must(hub.Started(t.Context(), finding.ID(), 1))(t)
	run := must(hub.Follow(t.Context(), arn, time.Minute, nil, func(r world.Run) bool { return r.Ending() == "RequestApproval" }))(t)
	if !run.Ended() {
		asks(t, finding)
		decide(t, finding.Incident(), world.ToDestroy, "approve", "i-0123456789abcdef0", "alice", "bob")
		run = must(hub.End(t.Context(), arn))(t)
	}
	if run.Status != "SUCCEEDED" {
		t.Errorf("%s", show(run))
	}
	for action, outcome := range outcomes(t, finding.Incident()) {
		if action != "notify" && outcome != incident.Gone {
			t.Errorf("%s is %s, want gone", action, outcome)
		}
	}
	unchanged(t, since, finding.Incident())
}

// Without settings nothing is done, and a person is told which are missing.
func TestSettingsThatAreMissing(t *testing.T) {
	for _, c := range []struct{ parameter, value, says string }{
		{"accounts", "", "/firebreak/accounts"},
		{"action", "", "/firebreak/action"},
		{"playbook", `{"source":""}`, "playbook"},
		{"playbook", `{"source":"s3://nowhere/playbook.yaml"}`, "nowhere"},
		{"approval", `{"linkAlone":"always"}`, "always"},
		{"accounts", `{`, "/firebreak/accounts"},
	} {
		t.Run(c.parameter+" "+c.value, func(t *testing.T) {
			parameter := aws.String("/firebreak/" + c.parameter)
			was := must(hub.SSM.GetParameter(t.Context(), &ssm.GetParameterInput{Name: parameter}))(t)
			restore := func(ctx context.Context) {
				_, err := hub.SSM.PutParameter(ctx, &ssm.PutParameterInput{Name: parameter, Value: was.Parameter.Value, Type: ssmtypes.ParameterTypeString, Overwrite: aws.Bool(true)})
				check(t, err)
				forget(t)
			}
			t.Cleanup(func() { restore(context.Background()) })
			if c.value == "" {
				must(hub.SSM.DeleteParameter(t.Context(), &ssm.DeleteParameterInput{Name: parameter}))(t)
			} else {
				must(hub.SSM.PutParameter(t.Context(), &ssm.PutParameterInput{Name: parameter, Value: &c.value, Type: ssmtypes.ParameterTypeString, Overwrite: aws.Bool(true)}))(t)
			}
			forget(t)
			doesNothing(t, c.says)
		})
	}
}

// forget ends the idle environments of the functions that decide: they keep settings for a minute.
func forget(t testing.TB) {
	t.Helper()
	for _, f := range []string{"firebreak-classify-finding", "firebreak-block-public-access"} {
		kill(f)
		check(t, world.Until(context.Background(), 10*time.Second, "no worker of "+f, func(context.Context) (bool, error) { return len(platform.Workers(f)) == 0, nil }))
	}
}

// doesNothing puts a finding that would be contained and sees that it is not.
func doesNothing(t *testing.T, says string) {
	t.Helper()
	since := time.Now()
	bucket, finding := public(t)
	put(t, finding)
	run := settle(t, finding)
	if run.Ending() != "NeedsPerson" || !strings.Contains(letter(t, world.Incident, run.ARN), says) {
		t.Errorf("nothing names %q: %s", says, show(run))
	}
	if on := must(member.Blocked(t.Context(), bucket))(t); on != 0 {
		t.Errorf("%d flags are on", on)
	}
	unchanged(t, since, finding.Incident())
}

func TestGuardsSettingsThatAreMissing(t *testing.T) {
	it := must(ledger.Load[setting.Guard](t.Context(), hub.Store, setting.GuardKey))(t)
	check(t, hub.Store.Delete(t.Context(), setting.GuardKey, it.Version))
	t.Cleanup(func() {
		back := ledger.Item[setting.Guard]{Key: setting.GuardKey, Value: it.Value}
		check(t, ledger.Save(context.Background(), hub.Store, &back))
	})
	doesNothing(t, "SETTING#guard")
}

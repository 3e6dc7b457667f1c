//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"firebreak/lib/findingtest"
	"firebreak/scripts/local/world"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
)

// The rules that were deployed match what cloudformation/testdata/rules.tsv says that they match: the platform's matcher is asked
// about every event of events/, and of the corpus where it lies beside the repository, for the hub's rules and the forwarders'.
func TestTheDeployedRulesMatchWhatTheTableSays(t *testing.T) {
	root := must(world.Root())(t)
	data := must(os.ReadFile(filepath.Join(root, "cloudformation", "testdata", "rules.tsv")))(t)
	want := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n")[1:] {
		f := strings.Split(line, "\t")
		want[f[0]+" "+f[1]] = f[3]
	}
	api := eventbridge.NewFromConfig(platform.Config(world.HubAccount))
	patterns := map[string]map[string]*string{"firebreak-findings": {}, "firebreak-calls": {}}
	for _, r := range []struct {
		of       *eventbridge.Client
		bus      *string
		name, as string
	}{
		{api, aws.String("firebreak"), "firebreak-findings", "firebreak-findings"}, {api, aws.String("firebreak"), "firebreak-calls", "firebreak-calls"},
		{api, nil, "firebreak-forward", "firebreak-findings"}, {api, nil, "firebreak-forward-calls", "firebreak-calls"},
		{member.Events, nil, "firebreak-forwarder", "firebreak-findings"}, {member.Events, nil, "firebreak-forwarder-calls", "firebreak-calls"},
	} {
		rule := must(r.of.DescribeRule(t.Context(), &eventbridge.DescribeRuleInput{Name: &r.name, EventBusName: r.bus}))(t)
		patterns[r.as][r.name] = rule.EventPattern
	}
	records, _ := findingtest.Records(t, root)
	asked := 0
	for _, r := range records {
		raw, ok := findingtest.OnBus(r.Raw)
		if !ok {
			continue
		}
		var event map[string]any
		if err := json.Unmarshal(raw, &event); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"id", "account", "time", "region"} { // TestEventPattern asks for all of them
			if s, _ := event[key].(string); s == "" {
				event[key] = map[string]string{"id": "0", "account": "111111111111", "time": "2026-01-15T10:00:00Z", "region": "us-east-1"}[key]
			}
		}
		whole := string(must(json.Marshal(event))(t))
		for as, rules := range patterns {
			for name, pattern := range rules {
				got := must(api.TestEventPattern(t.Context(), &eventbridge.TestEventPatternInput{Event: &whole, EventPattern: pattern}))(t).Result
				if asked++; got != (want[fmt.Sprintf("%s %d", r.File, r.Number)] == as) {
					t.Errorf("%s %d: %s matches: %v, the table says %q", r.File, r.Number, name, got, want[fmt.Sprintf("%s %d", r.File, r.Number)])
				}
			}
		}
	}
	t.Logf("%d questions about %d records", asked, len(records))
}

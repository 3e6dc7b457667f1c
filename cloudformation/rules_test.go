package cloudformation

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"firebreak/lib/finding"
	"firebreak/lib/findingtest"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata/rules.tsv: read every changed line before you keep it")

// patterns are the event patterns of these rules, by name.
func patterns(t *testing.T, name string, ids ...string) map[string]map[string]any {
	t.Helper()
	tpl, out := read(t, name), map[string]map[string]any{}
	for _, id := range ids {
		p := map[string]any{}
		if err := tpl.resource(t, id).property("EventPattern").Decode(&p); err != nil {
			t.Fatal(err)
		}
		out[text(tpl.resource(t, id).property("Name"))] = p
	}
	return out
}

// matches tells whether an event, or what lies in it under a key, matches a pattern (EventBridge User Guide, "Creating Amazon
// EventBridge event patterns"), as far as the templates use the language: what they do not use fails the test. The test of the
// platform's own matcher (scripts/local/e2e) reads the same table to prove this one right.
func matches(t *testing.T, pattern, node any) bool {
	t.Helper()
	if list, ok := node.([]any); ok && len(list) > 0 { // an empty one has no field that could be matched: it is absent
		return slices.ContainsFunc(list, func(item any) bool { return matches(t, pattern, item) })
	}
	object, _ := node.(map[string]any)
	for key, want := range pattern.(map[string]any) {
		var ok bool
		switch want := want.(type) {
		case []any:
			if ok = key == "$or" && slices.ContainsFunc(want, func(p any) bool { return matches(t, p, node) }); key != "$or" {
				ok = leaf(t, want, object[key])
			}
		default:
			under, there := object[key]
			ok = there && matches(t, want, under) || !there && matches(t, want, nil)
		}
		if !ok {
			return false
		}
	}
	return true
}

// leaf holds a value, or each of a list, against what a pattern allows.
func leaf(t *testing.T, allowed []any, value any) bool {
	values, ok := value.([]any)
	if !ok {
		values = []any{value}
	}
	for _, a := range allowed {
		op, filter := a.(map[string]any)
		if there, asked := op["exists"]; asked {
			if there == (value != nil) {
				return true
			}
			continue
		}
		for _, v := range values {
			s, isText := v.(string)
			switch {
			case !filter && a == v, filter && isText && allows(t, op, s):
				return true
			}
		}
	}
	return false
}

func allows(t *testing.T, op map[string]any, s string) bool {
	for name, arg := range op {
		switch arg := arg.(type) {
		case string:
			switch before, after, _ := strings.Cut(arg, "*"); name {
			case "prefix":
				return strings.HasPrefix(s, arg)
			case "wildcard":
				if before != "" || !strings.HasSuffix(after, "*") {
					t.Fatalf("this test knows *word* only, not %s", arg)
				}
				return strings.Contains(s, strings.Trim(arg, "*"))
			}
		case []any:
			if name == "anything-but" {
				return !slices.Contains(arg, any(s))
			}
		case map[string]any:
			words, _ := arg["equals-ignore-case"].([]any)
			if name == "anything-but" && words != nil {
				return !slices.ContainsFunc(words, func(w any) bool { return strings.EqualFold(w.(string), s) })
			}
		}
	}
	t.Fatalf("this test does not know the filter %v", op)
	return false
}

// The last layer of dead letters: what no Catch can catch ends in the queue, of both machines. NeedsPerson has written its own letter.
func TestExecutionsThatNothingCaughtAreLetters(t *testing.T) {
	pattern := patterns(t, "ingest.yaml", "ExecutionRule")["firebreak-executions"]
	machines := pattern["detail"].(map[string]any)["stateMachineArn"].([]any)
	if diff := cmp.Diff([]any{"MachineArn", "ReleaseMachineArn"}, machines); diff != "" {
		t.Fatalf("the machines (-want +got):\n%s", diff)
	}
	for _, c := range []struct {
		status string
		err    any
		want   bool
	}{
		{"FAILED", "States.DataLimitExceeded", true}, {"FAILED", nil, true}, {"FAILED", "NeedsPerson", false},
		{"TIMED_OUT", nil, true}, {"ABORTED", nil, true}, {"SUCCEEDED", nil, false}, {"RUNNING", nil, false},
	} {
		detail := map[string]any{"status": c.status, "stateMachineArn": machines[0]}
		if c.err != nil {
			detail["error"] = c.err
		}
		event := map[string]any{"source": "aws.states", "detail-type": "Step Functions Execution Status Change", "detail": detail}
		if got := matches(t, pattern, event); got != c.want {
			t.Errorf("%s with the error %v: a letter is %v", c.status, c.err, got)
		}
	}
}

// What classify makes of an event: wanted ones are findings that stand, or that claim to be findings and cannot be read; idle ones
// are never acted on (samples, settled); others turn out to be harmless only when they are read.
const (
	wanted   = "wanted"
	idle     = "idle"
	harmless = "harmless"
	unwanted = "unwanted"
)

func classOf(raw []byte) string {
	found, err := finding.Decode(raw)
	if r := finding.Refused(err); r != nil {
		found = []finding.Finding{{Refusal: r}}
	}
	out := unwanted
	for _, f := range found {
		class := wanted
		switch r := f.Refusal; {
		case r == nil && f.Idle() != "", r != nil && !r.Tell && r.Read != nil:
			class = idle
		case r == nil, r.Tell:
		case strings.Contains(r.Reason, "nothing that is watched for"), strings.Contains(r.Reason, "coverage reaches"), strings.Contains(r.Reason, "in a class that is read"):
			class = harmless
		default:
			class = unwanted
		}
		if order := []string{unwanted, harmless, idle, wanted}; slices.Index(order, class) > slices.Index(order, out) {
			out = class
		}
	}
	return out
}

// P1: what classify would take for a finding reaches the machine, by one rule, and what it would not does not start it. What is
// never acted on may be left out where a pattern costs nothing. testdata/rules.tsv has every event, its class and its rule: each
// line was read.
func TestEveryWantedEventMatchesARuleAndNoOther(t *testing.T) {
	rules := patterns(t, "ingest.yaml", "FindingsRule", "CallsRule")
	list, corpus := findingtest.Records(t, "..")
	out := []string{"events\trecord\tclass\trule"}
	counts := map[string]int{}
	for _, r := range list {
		raw, ok := findingtest.OnBus(r.Raw)
		if !ok {
			continue
		}
		var event any
		if err := json.Unmarshal(raw, &event); err != nil {
			t.Fatal(err)
		}
		name, class := fmt.Sprintf("%s\t%d", r.File, r.Number), classOf(raw)
		var by []string
		for _, rule := range slices.Sorted(maps.Keys(rules)) {
			if matches(t, rules[rule], event) {
				by = append(by, rule)
			}
		}
		switch {
		case len(by) == 0 && class == wanted:
			t.Errorf("%s is wanted and matches no rule", name)
		case len(by) > 0 && class == unwanted:
			t.Errorf("%s is unwanted and matches %v", name, by)
		case len(by) > 1:
			t.Errorf("%s starts the machine twice: %v", name, by)
		}
		counts[fmt.Sprintf("%s, matched: %v", class, len(by) > 0)]++
		out = append(out, strings.Join([]string{name, class, strings.Join(append(by, "-")[:1], "")}, "\t"))
	}
	for _, count := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%4d %s", counts[count], count)
	}
	path := filepath.Join("testdata", "rules.tsv")
	if *update && corpus {
		if err := os.WriteFile(path, []byte(strings.Join(out, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := slices.DeleteFunc(strings.Split(strings.TrimSpace(string(data)), "\n"), func(l string) bool { return !corpus && strings.HasPrefix(l, "corpus/") })
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("testdata/rules.tsv (-want +got):\n%s", diff)
	}
}

// What a member forwards, and what the hub account forwards of its own, the hub bus matches, and nothing is forwarded for nothing:
// the patterns are the same. EventBridge's limit for a pattern is 2,048 characters.
func TestForwardersAndHubHaveTheSamePatterns(t *testing.T) {
	hub := patterns(t, "ingest.yaml", "FindingsRule", "CallsRule")
	own := patterns(t, "ingest.yaml", "ForwardRule", "ForwardCallsRule")
	member := patterns(t, "member.yaml", "ForwarderRule", "ForwarderCallsRule")
	for rule, same := range map[string][]map[string]any{
		"firebreak-findings": {own["firebreak-forward"], member["firebreak-forwarder"]},
		"firebreak-calls":    {own["firebreak-forward-calls"], member["firebreak-forwarder-calls"]},
	} {
		for _, p := range same {
			if diff := cmp.Diff(hub[rule], p); diff != "" {
				t.Errorf("%s (-hub +forwarder):\n%s", rule, diff)
			}
		}
		if text, err := json.Marshal(hub[rule]); err != nil || len(text) > 2048 {
			t.Errorf("the pattern of %s has %d characters: %v", rule, len(text), err)
		} else {
			t.Logf("%s: %d characters", rule, len(text))
		}
	}
}

// The calls that the rules let through are those that lib/finding watches, no more and no fewer.
func TestTheRulesNameTheCallsThatAreWatched(t *testing.T) {
	named := map[string]bool{}
	rule := patterns(t, "ingest.yaml", "CallsRule")["firebreak-calls"]
	for _, branch := range rule["$or"].([]any) {
		b := branch.(map[string]any)
		for _, name := range b["detail"].(map[string]any)["eventName"].([]any) {
			named[name.(string)] = true
		}
	}
	watched := map[string]bool{}
	for _, call := range finding.Calls() {
		service, name, _ := strings.Cut(call, " ")
		watched[name] = true
		event := map[string]any{"source": "aws." + service, "detail-type": "AWS API Call via CloudTrail", "detail": map[string]any{
			"eventName": name, "userIdentity": map[string]any{"type": "Root"}, "responseElements": map[string]any{"ConsoleLogin": "Success"},
		}}
		if service == "signin" {
			event["detail-type"] = "AWS Console Sign In via CloudTrail"
		}
		if !matches(t, rule, event) {
			t.Errorf("%s is watched and not let through", call)
		}
		event["detail"].(map[string]any)["errorCode"] = "AccessDenied"
		if service != "signin" && matches(t, rule, event) {
			t.Errorf("%s is let through although it failed", call)
		}
	}
	if diff := cmp.Diff(watched, named); diff != "" {
		t.Errorf("(-watched +let through):\n%s", diff)
	}
}

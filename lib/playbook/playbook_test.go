package playbook

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"firebreak/lib/fault"
	"firebreak/lib/finding"
	"firebreak/lib/incident"

	"github.com/google/go-cmp/cmp"
)

func book(t testing.TB) *Book {
	t.Helper()
	b, err := Builtin()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func event(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("../../events", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// short names steps without the part of the ARN that is the same in all tests.
func short(list []Doing) []string {
	out := []string{}
	for _, d := range list {
		target := d.Target[strings.LastIndex(d.Target, ":")+1:]
		out = append(out, d.Action+" "+target)
	}
	return out
}

// Every event in events/ has its route in testdata/events.tsv: a new one without a row fails the test.
func TestTheBuiltinPlaybookRoutesEveryEvent(t *testing.T) {
	files, err := filepath.Glob("../../events/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no events: %v", err)
	}
	b := book(t)
	var out strings.Builder
	out.WriteString("event\tfinding\tdisposition\trule\tcontain\teradicate\treason\n")
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".json")
		for _, l := range b.Lines(0, event(t, name), 25) {
			fmt.Fprintf(&out, "%s\t%d\t%s\t%s\t%s\t%s\t%s\n", name, l.Finding, l.Disposition, ruleName(b, string(l.Rule)), strings.Join(short(l.Contain), ", "), strings.Join(short(l.Eradicate), ", "), l.Reason)
			if l.Reason == "" {
				t.Errorf("%s has no reason", name)
			}
			if (l.Disposition == Respond || l.Disposition == Notify) != (len(l.Contain) > 0 && l.Contain[len(l.Contain)-1].Action == "notify") {
				t.Errorf("%s: %s with %v", name, l.Disposition, l.Contain)
			}
		}
	}
	golden(t, "events.tsv", out.String())
}

func ruleName(b *Book, cited string) string {
	for _, r := range b.rules {
		if cited == fmt.Sprintf("%s:%d", b.File, r.line) {
			return r.Name
		}
	}
	return cited
}

func TestStolenInstanceCredentialsAreTreatedAsCritical(t *testing.T) {
	fs, err := finding.Decode(event(t, "guardduty-stolen-instance-credentials"))
	if err != nil {
		t.Fatal(err)
	}
	d := book(t).Decide(fs[0], 25)
	if fs[0].Band != incident.High || d.Band != incident.Critical {
		t.Errorf("found %s, treated as %s; want HIGH and CRITICAL", fs[0].Band, d.Band)
	}
}

func TestADeactivatedKeyIsTheOneThatTheFindingNames(t *testing.T) {
	fs, err := finding.Decode(event(t, "guardduty-misused-user-key"))
	if err != nil {
		t.Fatal(err)
	}
	want := incident.Step{Action: "deactivate-keys", Target: "arn:aws:iam::222222222222:user/bob", With: map[string]string{"keyId": "AKIAIOSFODNN7EXAMPLE"}}
	if diff := cmp.Diff(want, book(t).Decide(fs[0], 25).Plan.Contain[0]); diff != "" {
		t.Error(diff)
	}
}

func TestTheCitedLineIsTheRulesLine(t *testing.T) {
	l := book(t).Lines(0, event(t, "guardduty-public-bucket"), 25)[0]
	var line int
	if _, err := fmt.Sscanf(string(l.Rule), "lib/playbook/builtin.yaml:%d", &line); err != nil {
		t.Fatalf("rule is %q: %v", l.Rule, err)
	}
	if got := strings.Split(string(builtin), "\n")[line-1]; !strings.Contains(got, "name: public-bucket") {
		t.Errorf("line %d is %q", line, got)
	}
}

func TestALineHasNullForUnknownAndNeverForLists(t *testing.T) {
	got, err := json.Marshal(book(t).Lines(7, []byte(`{"hello":"world"}`), 25))
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"record":7,"finding":0,"incidentId":null,"product":null,"findingId":null,"type":null,"title":null,"account":null,"region":null,"severity":null,"score":null,"resources":[],"disposition":"ignore","reason":"not an event of EventBridge: it has no source and no detail-type, and not a finding in a form that is read","playbook":null,"rule":null,"contain":[],"eradicate":[]}]`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestAPlanIsCutAndTheNoticeStays(t *testing.T) {
	f := finding.Finding{Product: finding.GuardDuty, Type: "Policy:S3/BucketPublicAccessGranted", Account: "222222222222", Region: "us-east-1", Partition: "aws", Band: incident.High, About: "S3Bucket"}
	for i := range 30 {
		f.Resources = append(f.Resources, finding.Resource{Type: finding.Bucket, ID: fmt.Sprintf("clinic-%02d", i), ARN: fmt.Sprintf("arn:aws:s3:::clinic-%02d", i), Account: f.Account})
	}
	d := book(t).Decide(f, 25)
	if len(d.Plan.Contain) != 25 || d.Plan.Contain[24].Action != "notify" || d.Dropped != 6 || !strings.Contains(d.Reason, "6 are left to people") {
		t.Errorf("%d steps, the last %v, %d dropped: %s", len(d.Plan.Contain), d.Plan.Contain[len(d.Plan.Contain)-1], d.Dropped, d.Reason)
	}
}

// A rule may ask for more people than two, and for what it eradicates only.
func TestARuleMayAskForMoreApprovers(t *testing.T) {
	f := finding.Finding{Account: "222222222222", Partition: "aws", Region: "us-east-1", Resources: []finding.Resource{{Type: finding.Instance, ID: "i-0abcdef1234567890", ARN: "arn:aws:ec2:us-east-1:222222222222:instance/i-0abcdef1234567890", Account: "222222222222"}}}
	const rule = "rules:\n  - name: a\n    when: {names: [instance]}\n    contain:\n      - {action: isolate-instance, target: instance}\n    eradicate:\n      - {action: terminate-instance, target: instance}\n%s    notify: {audience: security}\n"
	for text, want := range map[string]int{"": 0, "    approvers: 2\n": 2, "    approvers: 3\n": 3} {
		b, err := Parse("p.yaml", fmt.Appendf(nil, rule, text), Actions())
		if err != nil {
			t.Fatal(err)
		}
		d := b.Decide(f, 25)
		if len(d.Plan.Eradicate) != 1 || d.Plan.Approvers != want {
			t.Errorf("%q: %d approvers of %v, want %d", text, d.Plan.Approvers, d.Plan.Eradicate, want)
		}
	}
}

func TestNothingIsDestroyedThatIsNotContained(t *testing.T) {
	b, err := Parse("p.yaml", []byte(`
rules:
  - name: all
    contain: [{action: isolate-instance, target: instance}]
    eradicate: [{action: terminate-instance, target: instance}]
    notify: {audience: security}
`), Actions())
	if err != nil {
		t.Fatal(err)
	}
	f := finding.Finding{Account: "222222222222", Partition: "aws", Region: "us-east-1"}
	for i := range 3 {
		arn := fmt.Sprintf("arn:aws:ec2:us-east-1:222222222222:instance/i-%08d", i)
		f.Resources = append(f.Resources, finding.Resource{Type: finding.Instance, ID: fmt.Sprintf("i-%08d", i), ARN: arn, Account: f.Account})
	}
	d := b.Decide(f, 2)
	if len(d.Plan.Contain) != 2 || len(d.Plan.Eradicate) != 1 || d.Plan.Eradicate[0].Target != d.Plan.Contain[0].Target {
		t.Errorf("plan is %+v", d.Plan)
	}
}

func TestATargetThatIsNotCertainMakesNoStepAtAll(t *testing.T) {
	base := func() finding.Finding {
		return finding.Finding{Product: finding.GuardDuty, Type: "Trojan:EC2/DropPoint", About: "Instance", Account: "222222222222", Region: "us-east-1", Partition: "aws", Band: incident.High}
	}
	odd := base()
	odd.Resources = []finding.Resource{{Type: finding.Instance, ID: "${instance_id}", Account: odd.Account}}
	foreign := base()
	foreign.Resources = []finding.Resource{{Type: finding.Instance, ID: "i-0abcdef1234567890", ARN: "arn:aws:ec2:us-east-1:333333333333:instance/i-0abcdef1234567890", Account: "333333333333"}}
	for name, f := range map[string]finding.Finding{"no instance": base(), "no instance id": odd, "another account's": foreign} {
		t.Run(name, func(t *testing.T) {
			d := book(t).Decide(f, 25)
			if d.Disposition != Notify || len(d.Plan.Contain) != 1 || d.Plan.Contain[0].Action != "notify" || len(d.Plan.Eradicate) != 0 {
				t.Errorf("got %s with %+v", d.Disposition, d.Plan)
			}
			if !strings.Contains(d.Reason, "rule compromised-instance cannot act: isolate-instance") {
				t.Errorf("reason is %q", d.Reason)
			}
		})
	}
}

func TestAPlaybookThatIsWrongIsRefusedWithItsLine(t *testing.T) {
	const good = "rules:\n  - name: a\n    when: {type: [\"Trojan:*\"]}\n    notify: {audience: security}\n"
	cases := map[string]struct{ yaml, want string }{
		"empty":               {"", "p.yaml:1: the file is empty: it would act on nothing"},
		"only comments":       {"# nothing\n", "p.yaml:1: the file is empty: it would act on nothing"},
		"null":                {"~\n", "p.yaml:1: there should be keys and values here"},
		"no rules":            {"rules:\n", "p.yaml:1: there should be a list here"},
		"empty rules":         {"rules: []\n", "p.yaml:1: the list is empty: leave the key out"},
		"no rules key":        {"{}\n", "p.yaml:1: there are no rules: it would act on nothing"},
		"not YAML":            {"rules: [\n", "p.yaml:"},
		"a list":              {"- a\n", "p.yaml:1: there should be keys and values here"},
		"misspelt key":        {"rules:\n  - name: a\n    wen: {role: actor}\n", `p.yaml:3: unknown key "wen": when is probably meant`},
		"misspelt condition":  {"rules:\n  - name: a\n    when:\n      acount: [\"1*\"]\n", `p.yaml:4: unknown key "acount": account is probably meant`},
		"tags are lists":      {"rules:\n  - name: a\n    when: {tags: {x: z}}\n", "p.yaml:3: there should be a list here"},
		"tag without value":   {"rules:\n  - name: a\n    when: {tags: {x: []}}\n", "p.yaml:3: the list is empty: leave the key out"},
		"exclusion unknown":   {"rules:\n  - name: a\n    when: {not: {type: [\"a\"]}}\n", `p.yaml:3: unknown key "not"`},
		"audience":            {"rules:\n  - name: a\n    notify: {audience: dataowner}\n", `p.yaml:3: unknown audience "dataowner": data-owner is probably meant`},
		"parameter":           {"rules:\n  - name: a\n    contain:\n      - {action: deactivate-keys, target: user, with: {exposd: \"true\"}}\n", `p.yaml:4: deactivate-keys has no parameter "exposd": exposed is probably meant`},
		"no parameters":       {"rules:\n  - name: a\n    contain:\n      - {action: isolate-instance, target: instance, with: {a: b}}\n", `p.yaml:4: isolate-instance has no parameter "a"`},
		"value of a finding":  {"rules:\n  - name: a\n    contain:\n      - {action: remove-external-access, target: resource, with: {principal: finding.principle}}\n", `p.yaml:4: a finding has no value "finding.principle": finding.principal is probably meant`},
		"two kinds of target": {"rules:\n  - name: a\n    contain:\n      - {action: deactivate-keys, target: role}\n", "p.yaml:4: deactivate-keys takes a target of kind user or key, not role"},
		"fans out to nothing": {"rules:\n  - name: a\n    fanOut: true\n", "p.yaml:3: rule a fans out and contains nothing"},
		"tells from":          {"rules:\n  - name: a\n    contain:\n      - {action: isolate-instance, target: instance}\n    notify: {audience: security, from: HIGH}\n", "p.yaml:5: rule a acts: people are told at any severity"},
		"tells from nowhere":  {"rules:\n  - name: a\n    notify: {audience: security, from: HGIH}\n", `p.yaml:3: unknown severity "HGIH": HIGH is probably meant`},
		"one approver":        {"rules:\n  - name: a\n    contain:\n      - {action: isolate-instance, target: instance}\n    eradicate:\n      - {action: terminate-instance, target: instance}\n    approvers: 1\n    notify: {audience: security}\n", "p.yaml:7: approvers is 1, not between 2 and 20: what cannot be undone takes 2 people, never fewer"},
		"no approver":         {"rules:\n  - name: a\n    contain:\n      - {action: isolate-instance, target: instance}\n    eradicate:\n      - {action: terminate-instance, target: instance}\n    approvers: 0\n    notify: {audience: security}\n", "p.yaml:7: approvers is 0, not between 2 and 20"},
		"a crowd":             {"rules:\n  - name: a\n    contain:\n      - {action: isolate-instance, target: instance}\n    eradicate:\n      - {action: terminate-instance, target: instance}\n    approvers: 21\n    notify: {audience: security}\n", "p.yaml:7: approvers is 21, not between 2 and 20"},
		"approvers in words":  {"rules:\n  - name: a\n    approvers: three\n", "p.yaml:3: cannot unmarshal !!str `three` into int"},
		"approvers of what":   {"rules:\n  - name: a\n    contain:\n      - {action: isolate-instance, target: instance}\n    approvers: 3\n    notify: {audience: security}\n", "p.yaml:5: rule a eradicates nothing, so nobody is asked and approvers has no place here"},
		"approver":            {"rules:\n  - name: a\n    aprovers: 3\n", `p.yaml:3: unknown key "aprovers": approvers is probably meant`},
		"destroys only":       {"rules:\n  - name: a\n    eradicate:\n      - {action: terminate-instance, target: instance}\n    notify: {audience: security}\n", "rule a destroys what it does not contain"},
		"key twice":           {"rules:\n  - name: a\n    name: b\n", "p.yaml:3: the key name is there twice"},
		"no value":            {"rules:\n  - name: a\n    when:\n      role:\n", "p.yaml:4: there is no value here"},
		"text for a list":     {"rules:\n  - name: a\n    when: {type: \"Trojan:*\"}\n", "p.yaml:3: there should be a list here"},
		"no name":             {"rules:\n  - when: {role: actor}\n", "p.yaml:2: the rule has no name"},
		"name twice":          {good + strings.TrimPrefix(good, "rules:\n"), "p.yaml:5: rule a is there already, in line 2"},
		"unknown action":      {"rules:\n  - name: a\n    contain:\n      - {action: isolate-instances, target: instance}\n", `p.yaml:4: unknown action "isolate-instances": isolate-instance is probably meant`},
		"action of later":     {"rules:\n  - name: a\n    contain:\n      - {action: quarantine, target: user}\n", `p.yaml:4: unknown action "quarantine"`},
		"destroys at once":    {"rules:\n  - name: a\n    contain:\n      - {action: terminate-instance, target: instance}\n", "p.yaml:4: terminate-instance destroys: it stands under eradicate, where it waits for approval"},
		"contains afterwards": {"rules:\n  - name: a\n    eradicate:\n      - {action: isolate-instance, target: instance}\n", "p.yaml:4: isolate-instance contains: it stands under contain"},
		"wrong target":        {"rules:\n  - name: a\n    contain:\n      - {action: isolate-instance, target: role}\n", "p.yaml:4: isolate-instance takes a target of kind instance, not role"},
		"unknown target":      {"rules:\n  - name: a\n    contain:\n      - {action: isolate-instance, target: instnace}\n", `p.yaml:4: unknown target "instnace": instance is probably meant`},
		"no target":           {"rules:\n  - name: a\n    contain:\n      - {action: isolate-instance}\n", "p.yaml:4: isolate-instance has no target"},
		"notify as a step":    {"rules:\n  - name: a\n    contain:\n      - {action: notify, target: instance}\n", "p.yaml:4: notify is a key of the rule, not a step"},
		"tells nobody":        {"rules:\n  - name: a\n    contain:\n      - {action: isolate-instance, target: instance}\n", "p.yaml:2: rule a acts and tells nobody: give it a notify"},
		"no audience":         {"rules:\n  - name: a\n    notify: {escalate: 1h}\n", "p.yaml:3: notify says no audience"},
		"escalate unit":       {"rules:\n  - name: a\n    notify: {audience: security, escalate: 60}\n", "p.yaml:3:"},
		"escalate seconds":    {"rules:\n  - name: a\n    notify: {audience: security, escalate: 90s}\n", "p.yaml:3: escalate is 1m30s: it is counted in whole minutes"},
		"band":                {"rules:\n  - name: a\n    when: {severity: {from: HGIH}}\n", `p.yaml:3: unknown severity "HGIH": HIGH is probably meant`},
		"band small":          {"rules:\n  - name: a\n    severity: high\n", `p.yaml:3: unknown severity "high": HIGH is probably meant`},
		"role":                {"rules:\n  - name: a\n    when: {role: attacker}\n", `p.yaml:3: unknown role "attacker"`},
		"principal":           {"rules:\n  - name: a\n    when: {principal: [usr]}\n", `p.yaml:3: unknown principal "usr": user is probably meant`},
		"never reached":       {"rules:\n  - name: a\n    notify: {audience: security}\n" + strings.Replace(strings.TrimPrefix(good, "rules:\n"), "name: a", "name: b", 1), "p.yaml:2: rule a has no condition, so the 1 rules after it never decide"},
		"two documents":       {good + "---\n" + good, "a second document: a playbook is one"},
		"alias":               {"rules:\n  - &x\n    name: a\n  - *x\n", "p.yaml:2: anchors and aliases are not read: write it out"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b, err := Parse("p.yaml", []byte(c.yaml), Actions())
			if err == nil || b != nil {
				t.Fatalf("it was accepted: %+v", b)
			}
			if !fault.Is(err, fault.Unreadable) {
				t.Errorf("error name is %s, want Unreadable", fault.NameOf(err))
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is\n%s\nwant\n%s", err, c.want)
			}
		})
	}
	if _, err := Parse("p.yaml", []byte(good), Actions()); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

func TestGlobsKnowTheStarOnly(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"Trojan:*", "Trojan:EC2/DNSDataExfiltration", true},
		{"Trojan:*", "xTrojan:EC2/DropPoint", false},
		{"*:IAMUser/*", "UnauthorizedAccess:IAMUser/TorIPCaller", true},
		{"*:IAMUser/*", "UnauthorizedAccess:IAM/TorIPCaller", false},
		{"Backdoor:EC2/C&CActivity.B!DNS", "Backdoor:EC2/C&CActivity.B!DNS", true},
		{"Backdoor:EC2/C&CActivity.B", "Backdoor:EC2/C&CActivityxB", false},
		{"a*a", "a", false},
		{"a*b*c", "a-b-b-c", true},
		{"a*b*c", "acb", false},
		{"*", "", true},
		{"", "", true},
		{"", "a", false},
		{"**", "ab", true},
		{"a?c", "abc", false},
	} {
		if got := glob(c.pattern, c.s); got != c.want {
			t.Errorf("glob(%q, %q) = %v", c.pattern, c.s, got)
		}
	}
}

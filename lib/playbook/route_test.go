package playbook

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"firebreak/lib/finding"
	"firebreak/lib/incident"
)

var scores = map[string]float64{"CRITICAL": 9, "HIGH": 8, "MEDIUM": 5, "LOW": 2}

// plain is a finding of that type as GuardDuty sends it: about one resource of the kind, with the severity that it has by default.
func plain(kind, about, severity, who string) finding.Finding {
	const account, region = "222222222222", "us-east-1"
	f := finding.Finding{
		Product: finding.GuardDuty, NativeID: "id", Type: kind, Account: account, Region: region, Partition: "aws", About: strings.Trim(about, "-"),
		Score: scores[severity], Scored: true, Band: finding.BandOf(scores[severity]), Unknown: !finding.Known(kind),
	}
	instance := finding.Resource{Type: finding.Instance, ID: "i-0abcdef1234567890", ARN: "arn:aws:ec2:us-east-1:222222222222:instance/i-0abcdef1234567890", Account: account, Region: region}
	switch about {
	case "Instance":
		instance.Part = finding.Target
		f.Resources = append(f.Resources, instance)
	case "S3Bucket":
		f.Resources = append(f.Resources, finding.Resource{Type: finding.Bucket, ID: "clinic-exports", ARN: "arn:aws:s3:::clinic-exports", Account: account, Region: region})
	}
	switch who {
	case "user":
		f.Principal = finding.Principal{Kind: finding.WhoUser, Name: "bob", ARN: "arn:aws:iam::222222222222:user/bob", KeyID: "AKIAIOSFODNN7EXAMPLE"}
		f.Resources = append(f.Resources, finding.Resource{Type: finding.User, ID: "bob", ARN: f.Principal.ARN, Account: account})
	case "role":
		f.Principal = finding.Principal{Kind: finding.WhoRole, Name: "clinic-web", ARN: "arn:aws:iam::222222222222:role/clinic-web", KeyID: "ASIAIOSFODNN7EXAMPLE", Session: instance.ID}
		f.Resources = append(f.Resources, finding.Resource{Type: finding.Role, ID: "clinic-web", ARN: f.Principal.ARN, Account: account})
		if strings.Contains(kind, "InstanceCredentialExfiltration") {
			f.Resources = append(f.Resources, instance)
		}
	}
	return f
}

// testdata/routes.tsv says for each GuardDuty type what comes of it: the first four columns are given, the others are the
// playbook's and were reviewed. Each type has a rule, and each rule that acts on nothing says why.
func TestEveryGuardDutyTypeHasItsRoute(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "routes.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	b := book(t)
	rows := strings.Split(strings.TrimSpace(string(data)), "\n")
	out := []string{rows[0]}
	missing := map[string]bool{}
	for _, k := range finding.Types() {
		missing[k] = true
	}
	for _, row := range rows[1:] {
		given := strings.Split(row, "\t")[:4]
		delete(missing, given[0])
		d := b.Decide(plain(given[0], given[1], given[2], given[3]), 25)
		if d.Rule == "" {
			t.Errorf("%s has no rule: %s", given[0], d.Reason)
		}
		if d.Disposition != Respond && !strings.Contains(d.Reason, ": ") {
			t.Errorf("%s: the reason %q says nothing", given[0], d.Reason)
		}
		out = append(out, strings.Join(append(given, string(d.Disposition), d.Name, strings.Join(short(doings(d.Plan.Contain)), ", "), strings.Join(short(doings(d.Plan.Eradicate)), ", ")), "\t"))
	}
	for k := range missing {
		t.Errorf("%s has no row in testdata/routes.tsv", k)
	}
	golden(t, "routes.tsv", strings.Join(out, "\n")+"\n")
}

// What AWS will invent is routed by severity: told from HIGH up, never acted on, whatever the globs say.
func TestAnUnknownTypeIsNeverActedOn(t *testing.T) {
	b := book(t)
	for _, kind := range []string{
		"Trojan:EC2/SomethingNew", "UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration.FromSpace", "NewPurpose:EC2/TorClient",
		"Trojan:Quantum/DropPoint", "Trojan:EC2/DropPoint ", "trojan:ec2/droppoint", "Policy:S3/BucketPublicAccessGranted2", "AttackSequence:EC2/New",
	} {
		for severity, want := range map[string]Disposition{"CRITICAL": Notify, "HIGH": Notify, "MEDIUM": Record, "LOW": Record} {
			for _, about := range []string{"Instance", "S3Bucket", "AccessKey", "-"} {
				for _, who := range []string{"user", "role", "-"} {
					d := b.Decide(plain(kind, about, severity, who), 25)
					if d.Disposition != want || len(d.Plan.Eradicate) > 0 || len(d.Plan.Contain) > 1 || !strings.Contains(d.Reason, "does not know") {
						t.Errorf("%s %s on %s by %s: %s, %+v, %s", severity, kind, about, who, d.Disposition, d.Plan, d.Reason)
					}
				}
			}
		}
	}
	own, err := Parse("own.yaml", []byte("rules:\n  - name: new\n    when: {type: [\"Trojan:EC2/SomethingNew\"]}\n    contain: [{action: isolate-instance, target: instance}]\n    notify: {audience: security}\n"), Actions())
	if err != nil {
		t.Fatal(err)
	}
	if d := own.Decide(plain("Trojan:EC2/SomethingNew", "Instance", "HIGH", "-"), 25); d.Disposition != Respond {
		t.Errorf("a rule that names it to the letter: %s, %s", d.Disposition, d.Reason)
	}
}

// Sample, archived, settled, doubtful, Firebreak's own: no type and no severity makes any of them act.
func TestWhatMayNotBeActedOnIsNot(t *testing.T) {
	b := book(t)
	for name, c := range map[string]struct {
		change func(*finding.Finding)
		tells  bool
	}{
		"sample":   {func(f *finding.Finding) { f.Sample = true }, false},
		"archived": {func(f *finding.Finding) { f.Archived = true }, false},
		"settled":  {func(f *finding.Finding) { f.Settled = "the finding is resolved" }, false},
		"doubtful": {func(f *finding.Finding) { f.Doubt = "it was imported" }, true},
		"our role": {func(f *finding.Finding) {
			f.Resources = append(f.Resources, finding.Resource{Type: finding.Role, ID: "SecurityRemediationRole-Network"})
		}, true},
		"our role in the hub": {func(f *finding.Finding) {
			f.Hub, f.Resources = f.Account, append(f.Resources, finding.Resource{Type: finding.Role, ID: "firebreak-sweep-us-east-1"})
		}, true},
		"our session": {func(f *finding.Finding) {
			f.Principal = finding.Principal{Kind: finding.WhoRole, Name: "SecurityRemediationRole-Read"}
		}, true},
	} {
		for _, kind := range finding.Types() {
			for _, who := range []string{"user", "role"} {
				f := plain(kind, "AccessKey", "CRITICAL", who)
				c.change(&f)
				d := b.Decide(f, 25)
				want, steps := Record, 0
				if c.tells {
					want, steps = Notify, 1
				}
				if d.Disposition != want || len(d.Plan.Contain) != steps || len(d.Plan.Eradicate) != 0 {
					t.Fatalf("%s %s: %s with %+v", name, kind, d.Disposition, d.Plan)
				}
			}
		}
	}
}

// The matrix of the design, the rows that are no GuardDuty types: audience and time to escalate too.
func TestWhoIsToldAndWhenSomebodyElseIs(t *testing.T) {
	b := book(t)
	for name, want := range map[string]string{
		"guardduty-stolen-instance-credentials": "CRITICAL security 0s", "guardduty-crypto-mining": "HIGH security 0s", "guardduty-misused-user-key": "MEDIUM security 0s",
		"guardduty-public-bucket": "HIGH data-owner 1h0m0s", "guardduty-named-trail-stopped": "LOW security 1h0m0s", "health-exposed-key": "CRITICAL security 0s",
		"config-public-bucket": "HIGH data-owner 1h0m0s", "config-unencrypted-bucket": "MEDIUM bucket-owner 24h0m0s", "config-public-instance": "MEDIUM account-owner 24h0m0s",
		"access-analyzer-queue": "HIGH owner 1h0m0s", "cloudtrail-group-opened": "HIGH owner 1h0m0s", "cloudtrail-database-opened": "HIGH owner 1h0m0s",
		"guardduty-port-probe": "LOW security 24h0m0s", "guardduty-unknown-type": "HIGH security 1h0m0s",
	} {
		fs, err := finding.Decode(event(t, name))
		if err != nil {
			t.Fatal(err)
		}
		d := b.Decide(fs[0], 25)
		if got := fmt.Sprint(d.Band, " ", d.Audience, " ", d.Escalate); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// What is found about Firebreak's own roles people look at. Nobody hides behind such a name: in an account that is not the hub's, only
// the names that the member template gives are ours.
func TestFindingsAboutOurRolesGoToPeople(t *testing.T) {
	b := book(t)
	for _, c := range []struct {
		role, account, hub string
		ours               bool
	}{
		{"SecurityRemediationRole-Data", "222222222222", "111111111111", true},
		{"SecurityRemediationRole-Evidence", "444444444444", "111111111111", true},
		{"SecurityRemediationRole-Dataset", "222222222222", "111111111111", false},
		{"firebreak-forwarder", "222222222222", "111111111111", true},
		{"firebreak-notify-us-east-1", "111111111111", "111111111111", true},
		{"firebreak-notify-us-east-1", "222222222222", "111111111111", false},
		{"firebreak-notify-us-east-1", "222222222222", "", true}, // whose account it is, nobody has said
		{"clinic-admin", "222222222222", "111111111111", false},
	} {
		fs, err := finding.Decode(event(t, "guardduty-misused-role-session"))
		if err != nil {
			t.Fatal(err)
		}
		f := fs[0]
		f.Account, f.Hub, f.Principal.Name = c.account, c.hub, c.role
		f.Resources = nil
		if told := strings.Contains(b.Decide(f, 25).Reason, "a role of Firebreak itself"); told != c.ours {
			t.Errorf("%s of %s, the hub is %q: ours is %v", c.role, c.account, c.hub, told)
		}
	}
}

func TestConditionsOfAnInstallationsOwnPlaybook(t *testing.T) {
	f := plain("Trojan:EC2/DropPoint", "Instance", "HIGH", "-")
	f.Unit, f.Resources[0].Tags, f.Resources[0].Part = "ou-clinic", map[string]string{"environment": "production-eu"}, finding.Actor
	for when, want := range map[string]bool{
		`organizationalUnit: ["ou-*"]`: true, `organizationalUnit: ["ou-lab"]`: false,
		`tags: {environment: ["prod*"]}`: true, `tags: {environment: ["dev*"]}`: false, `tags: {environment: ["prod*"], team: ["*"]}`: false,
		`account: ["2222*"]`: true, `account: ["333333333333"]`: false, `region: ["us-*", "eu-*"]`: true, `region: ["eu-*"]`: false,
		`role: actor`: true, `role: target`: false, `product: ["aws/*"]`: true, `product: [aws/config]`: false,
		`names: [instance]`: true, `names: [instance, bucket]`: false, `resourceType: [Inst*]`: true, `resourceType: [AccessKey]`: false,
		`severity: {from: HIGH}`: true, `severity: {from: CRITICAL}`: false, `principal: [user]`: false,
	} {
		b, err := Parse("own.yaml", []byte("rules:\n  - name: own\n    when: {"+when+"}\n    notify: {audience: security}\n"), Actions())
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if got := b.Decide(f, 25).Name == "own"; got != want {
			t.Errorf("%s holds: %v, want %v", when, got, want)
		}
	}
}

func TestParametersComeFromTheFinding(t *testing.T) {
	b := book(t)
	step := func(name, action string) incident.Step {
		fs, err := finding.Decode(event(t, name))
		if err != nil {
			t.Fatal(err)
		}
		p := b.Decide(fs[0], 25).Plan
		i := slices.IndexFunc(slices.Concat(p.Contain, p.Eradicate), func(s incident.Step) bool { return s.Action == action })
		if i < 0 {
			t.Fatalf("%s has no step %s: %+v", name, action, p)
		}
		return slices.Concat(p.Contain, p.Eradicate)[i]
	}
	for _, c := range []struct{ event, action, want string }{
		{"access-analyzer-queue", "remove-external-access", "map[principal:*]"},
		{"guardduty-misused-user-key", "deactivate-keys", "map[keyId:AKIAIOSFODNN7EXAMPLE]"},
		{"guardduty-misused-user-key", "delete-keys", "map[keyId:AKIAIOSFODNN7EXAMPLE]"},
		{"guardduty-misused-user-key", "quarantine-principal", "map[]"},
		{"health-exposed-key", "deactivate-keys", "map[exposed:true keyId:AKIAIOSFODNN7EXAMPLE]"},
		{"health-exposed-key", "delete-keys", "map[keyId:AKIAIOSFODNN7EXAMPLE]"},
	} {
		if got := fmt.Sprint(step(c.event, c.action).With); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.event, c.action, got, c.want)
		}
	}
}

func TestAnExposedKeyIsItsUsersOnceThatIsKnown(t *testing.T) {
	fs, err := finding.Decode(event(t, "health-exposed-key"))
	if err != nil || len(fs[0].Ownerless()) != 1 {
		t.Fatalf("%v %+v", err, fs)
	}
	f := fs[0]
	f.Owned("AKIAIOSFODNN7EXAMPLE", "bob")
	if got := short(doings(book(t).Decide(f, 25).Plan.Contain)); strings.Join(got, ", ") != "deactivate-keys user/bob, quarantine-principal user/bob, notify user/bob" || len(f.Ownerless()) != 0 {
		t.Errorf("steps %v, without owner %v", got, f.Ownerless())
	}
	root := fs[0]
	root.Owned("AKIAIOSFODNN7EXAMPLE", "")
	if d := book(t).Decide(root, 25); d.Disposition != Notify || !strings.Contains(d.Reason, "the root user's") {
		t.Errorf("root's key: %s, %s", d.Disposition, d.Reason)
	}
}

// The organization's trail is another account's, and a member's finding may name it: the step is made, so that whoever has the trail is told.
// Of nothing else that is another account's is a step made.
func TestTheOrganizationsTrailIsAStep(t *testing.T) {
	raw := strings.ReplaceAll(string(event(t, "guardduty-named-trail-stopped")), "arn:aws:cloudtrail:us-east-1:222222222222:trail/clinic-trail", "arn:aws:cloudtrail:eu-west-1:333333333333:trail/organization")
	fs, err := finding.Decode([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	d := book(t).Decide(fs[0], 25)
	if d.Disposition != Respond || d.Plan.Contain[0].Action != "restart-trail" || d.Plan.Contain[0].Target != "arn:aws:cloudtrail:eu-west-1:333333333333:trail/organization" {
		t.Errorf("%s (%s): %+v", d.Disposition, d.Reason, d.Plan)
	}
}

// A rule of an installation's own may have an action take the whole account of the finding.
func TestARuleForTheWholeAccount(t *testing.T) {
	b, err := Parse("own.yaml", []byte("rules:\n  - name: block-all\n    when: {type: [\"Policy:S3/*\"]}\n    contain: [{action: block-public-access, target: account}]\n    notify: {audience: security, escalate: 1h}\n"), Actions())
	if err != nil {
		t.Fatal(err)
	}
	fs, err := finding.Decode(event(t, "guardduty-public-bucket"))
	if err != nil {
		t.Fatal(err)
	}
	d := b.Decide(fs[0], 25)
	if d.Disposition != Respond || d.Plan.Contain[0].Action != "block-public-access" || d.Plan.Contain[0].Target != "arn:aws:iam::222222222222:root" {
		t.Errorf("%s (%s): %+v", d.Disposition, d.Reason, d.Plan)
	}
	for _, action := range []string{"encrypt-bucket", "isolate-instance"} {
		_, err := Parse("own.yaml", []byte("rules:\n  - name: x\n    contain: [{action: "+action+", target: account}]\n    notify: {audience: security, escalate: 1h}\n"), Actions())
		if err == nil || !strings.Contains(err.Error(), "not account") {
			t.Errorf("%s of an account: %v", action, err)
		}
	}
}

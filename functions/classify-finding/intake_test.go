package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	"firebreak/lib/fault"
	"firebreak/lib/finding"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/google/go-cmp/cmp"
)

// P2, across forms: whichever copy comes first, one incident is made and acted on once.
func TestCopiesInOtherFormsAreDuplicates(t *testing.T) {
	forms := []string{"guardduty-crypto-mining", "securityhub-guardduty-asff", "securityhub-guardduty-ocsf", "guardduty-api", "sns-wrapped"}
	for _, first := range forms {
		w := newWorld(t)
		d := w.classify(t, event(t, first), "first")
		if d.Disposition != incident.Respond || len(d.Plan.Contain) != 3 {
			t.Fatalf("%s: %+v", first, d)
		}
		for _, next := range forms {
			if got := w.classify(t, event(t, next), "next-"+next); got.Disposition != incident.Duplicate || got.Incident.ID != d.Incident.ID {
				t.Errorf("%s after %s: %s of %s", next, first, got.Disposition, got.Incident.ID)
			}
		}
		if m := w.meta(t, d.Incident.ID).Value; m.Episode != 1 {
			t.Errorf("%s: episode %d", first, m.Episode)
		}
	}
}

// Our own calls come back as events that match the rules. They are ours by the role's session and an incident that the ledger
// knows; a role that somebody else took tells people.
func TestOurOwnCallsAreSetAsideAndNobodyElses(t *testing.T) {
	raw := event(t, "cloudtrail-own-session")
	w := newWorld(t)
	stolen := w.classify(t, event(t, "guardduty-stolen-instance-credentials"), "stolen")
	d := w.classify(t, raw, "own")
	if d.Disposition != incident.Record || !strings.Contains(d.Reason, "Firebreak made this call itself, for "+stolen.Incident.ID) || w.meta(t, d.Incident.ID).Exists() {
		t.Errorf("our own call: %+v", d)
	}
	// The incident is not in the ledger: somebody has our role.
	w = newWorld(t)
	if d := w.classify(t, raw, "own"); d.Disposition != incident.Respond || len(d.Plan.Contain) != 1 || d.Plan.Contain[0].Action != "notify" || !strings.Contains(d.Reason, "a role of Firebreak itself") {
		t.Errorf("our role without an incident: %+v", d)
	}
	// A session name like ours proves nothing, and neither does a role's that anybody can make: its calls are answered like anybody's.
	const role = "arn:aws:iam::222222222222:role/SecurityRemediationRole-Network"
	for what, another := range map[string]string{
		"another role":                           "arn:aws:iam::222222222222:role/clinic-admin",
		"a role whose name begins like ours":     role + "X",
		"a role called like one of the hub's":    "arn:aws:iam::222222222222:role/firebreak-notify-us-east-1",
		"our role's name, in somebody's account": "arn:aws:iam::666666666666:role/SecurityRemediationRole-Network",
	} {
		w = newWorld(t)
		w.classify(t, event(t, "guardduty-stolen-instance-credentials"), "stolen")
		forged := strings.ReplaceAll(string(raw), role, another)
		forged = strings.ReplaceAll(forged, "SecurityRemediationRole-Network", another[strings.LastIndex(another, "/")+1:])
		if d := w.classify(t, []byte(forged), "forged"); d.Disposition != incident.Respond || d.Plan.Contain[0].Action != "revoke-ingress" {
			t.Errorf("%s with our naming: %+v", what, d)
		}
	}
	w = newWorld(t)
	w.classify(t, event(t, "guardduty-stolen-instance-credentials"), "stolen")
	nobody := strings.Replace(string(raw), `"sourceIdentity": "INC-BWJ4TH5BLF5DYQIG"`, `"sourceIdentity": ""`, 1)
	if d := w.classify(t, []byte(nobody), "nobody"); d.Disposition != incident.Respond || d.Plan.Contain[0].Action != "notify" {
		t.Errorf("our role without a source identity: %+v", d)
	}
	w.store.Fail = func(_ string, k ledger.Key) error {
		if k.PK == "INC#INC-BWJ4TH5BLF5DYQIG" {
			return errors.New("no route")
		}
		return nil
	}
	if _, err := w.handle(t.Context(), call(raw, "unreadable")); !fault.Is(err, fault.Unreadable) {
		t.Errorf("with a ledger that cannot be read: %v", err)
	}
}

// Whoever may make roles chooses their names and paths, and every incident of the account stands in its trail: none of that makes a
// call ours, or keeps what makes it from being contained.
func TestARoleThatIsOnlyNamedLikeOursIsNobodyOfOurs(t *testing.T) {
	raw := string(event(t, "cloudtrail-own-session"))
	for _, role := range []string{"SecurityRemediationRole-Rescue", "ops/SecurityRemediationRole-Network", "SecurityRemediationRole-Network/extra"} {
		w := newWorld(t)
		w.classify(t, event(t, "guardduty-stolen-instance-credentials"), "stolen")
		forged := strings.ReplaceAll(raw, ":role/SecurityRemediationRole-Network", ":role/"+role)
		if d := w.classify(t, []byte(forged), "forged"); d.Disposition != incident.Respond {
			t.Errorf("a call of %s: %+v", role, d)
		}
	}
	w := newWorld(t)
	w.classify(t, event(t, "guardduty-stolen-instance-credentials"), "stolen")
	elsewhere := strings.ReplaceAll(raw, "iam::222222222222:role/SecurityRemediationRole-Network", "iam::999999999999:role/SecurityRemediationRole-Network")
	if d := w.classify(t, []byte(elsewhere), "elsewhere"); d.Disposition != incident.Respond {
		t.Errorf("a call of another account's role: %+v", d)
	}
	misused := string(event(t, "guardduty-misused-role-session"))
	for _, role := range []string{"firebreak-evil", "firebreak-sweep-us-east-1", "SecurityRemediationRole-Rescue"} {
		w := newWorld(t)
		d := w.classify(t, []byte(strings.ReplaceAll(misused, "report-writer", role)), "misused")
		if d.Disposition != incident.Respond || d.Plan.Contain[0].Action != "revoke-sessions" {
			t.Errorf("the session of a member's role %s: %+v", role, d)
		}
	}
}

// iamKeys answers whose keys are.
type iamKeys struct {
	owners map[string]string
	err    error
}

func (k iamKeys) GetAccessKeyLastUsed(_ context.Context, in *iam.GetAccessKeyLastUsedInput, _ ...func(*iam.Options)) (*iam.GetAccessKeyLastUsedOutput, error) {
	if k.err != nil {
		return nil, k.err
	}
	user, ok := k.owners[aws.ToString(in.AccessKeyId)]
	if !ok {
		return nil, &types.NoSuchEntityException{}
	}
	return &iam.GetAccessKeyLastUsedOutput{UserName: &user}, nil
}

// AWS Health names the key and not its user: nothing is aimed at anybody who was not looked up.
func TestAnExposedKeysUserIsLookedUp(t *testing.T) {
	const key = "AKIAIOSFODNN7EXAMPLE"
	raw := event(t, "health-exposed-key")
	for name, c := range map[string]struct {
		keys  iamKeys
		steps []string
		says  string
	}{
		"a user's": {iamKeys{owners: map[string]string{key: "bob"}}, []string{
			"deactivate-keys arn:aws:iam::222222222222:user/bob exposed=true keyId=" + key, "quarantine-principal arn:aws:iam::222222222222:user/bob", "notify arn:aws:iam::222222222222:user/bob",
		}, "rule exposed-key"},
		"root's":      {iamKeys{owners: map[string]string{key: "<root_account>"}}, []string{"notify arn:aws:iam::222222222222:root"}, "the root user's"},
		"nobody's":    {iamKeys{}, []string{"notify arn:aws:iam::222222222222:root"}, "not in account 222222222222 any more"},
		"not allowed": {iamKeys{err: fault.New(fault.Denied, "no role")}, []string{"notify arn:aws:iam::222222222222:root"}, "could not be found out"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.keys = func(context.Context, finding.Finding) (keys, error) { return c.keys, nil }
			d := w.classify(t, raw, "first")
			var steps []string
			for _, s := range d.Plan.Contain {
				steps = append(steps, s.Key())
			}
			if diff := cmp.Diff(c.steps, steps); diff != "" || !strings.Contains(d.Reason, c.says) {
				t.Errorf("%s (-want +got):\n%s", d.Reason, diff)
			}
		})
	}
	w := newWorld(t)
	w.keys = func(context.Context, finding.Finding) (keys, error) {
		return iamKeys{err: fault.New(fault.Throttled, "slow down")}, nil
	}
	if _, err := w.handle(t.Context(), call(raw, "first")); !fault.Is(err, fault.Throttled) {
		t.Errorf("throttled: %v", err)
	}
	// What could not be found out first does not stand in the way once it can.
	w.keys = func(context.Context, finding.Finding) (keys, error) { return iamKeys{}, nil }
	w.classify(t, raw, "first")
	w.keys = func(context.Context, finding.Finding) (keys, error) {
		return iamKeys{owners: map[string]string{key: "bob"}}, nil
	}
	if d := w.classify(t, raw, "second"); d.Disposition != incident.Respond || d.Incident.Episode != 2 || len(d.Plan.Contain) != 3 {
		t.Errorf("the second copy: %+v", d)
	}
}

// A copy that may not be acted on does not take the incident from one that may.
func TestADoubtfulCopyDoesNotStandInTheWay(t *testing.T) {
	native := event(t, "guardduty-crypto-mining")
	nameless := []byte(strings.Replace(string(native), `"source": "aws.guardduty",`, "", 1))
	w := newWorld(t)
	if d := w.classify(t, nameless, "nameless"); d.Disposition != incident.Respond || len(d.Plan.Contain) != 1 {
		t.Fatalf("%+v", d)
	}
	if d := w.classify(t, native, "native"); d.Disposition != incident.Respond || len(d.Plan.Contain) != 3 || d.Incident.Episode != 2 {
		t.Errorf("%+v", d)
	}
	// Below HIGH it is recorded beside the incident.
	w = newWorld(t)
	d := w.classify(t, event(t, "access-analyzer-error"), "error")
	if d.Disposition != incident.Record || w.meta(t, d.Incident.ID).Exists() {
		t.Errorf("%+v", d)
	}
}

func TestWhoIsToldIsOnRecord(t *testing.T) {
	w := newWorld(t)
	in := installed()
	in.Accounts[0].Owners = map[string]string{"data-owner": "data@example.com"}
	w.settings = setting.Fixed(in)
	d := w.classify(t, event(t, "config-public-bucket"), "first")
	want := ledger.Told{Audience: "data-owner", Name: "data@example.com", Said: "the settings of account 222222222222 (data-owner)", EscalateMinutes: 60}
	if diff := cmp.Diff(want, w.meta(t, d.Incident.ID).Value.Told); diff != "" {
		t.Error(diff)
	}
	d = w.classify(t, event(t, "config-unencrypted-bucket"), "second")
	if told := w.meta(t, d.Incident.ID).Value.Told; told.Name != "data@example.com" || told.EscalateMinutes != 24*60 {
		t.Errorf("%+v", told)
	}
	d = w.classify(t, event(t, "cloudtrail-group-opened"), "third")
	if told := w.meta(t, d.Incident.ID).Value.Told; told.Name != "security" || !strings.Contains(told.Missing, "nobody is named as owner") {
		t.Errorf("%+v", told)
	}
}

// The account's organizational unit is the settings', and a rule may ask for it.
func TestTheOrganizationalUnitIsTheSettings(t *testing.T) {
	w := newWorld(t)
	in := installed()
	in.Accounts[0].Unit = "ou-clinic"
	w.settings = setting.Fixed(in)
	var seen string
	f := finding.Finding{Account: "222222222222", Region: "us-east-1", Product: finding.GuardDuty, Type: "Trojan:EC2/DropPoint"}
	if _, err := w.decide(t.Context(), &f); err != nil {
		t.Fatal(err)
	}
	if seen = f.Unit; seen != "ou-clinic" {
		t.Errorf("unit %q", seen)
	}
}

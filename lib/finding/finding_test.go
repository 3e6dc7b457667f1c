package finding

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/lib/fault"
	"firebreak/lib/incident"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func event1(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("../../events", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func one(t *testing.T, raw []byte) Finding {
	t.Helper()
	fs, err := Decode(raw)
	if err != nil || len(fs) != 1 {
		t.Fatalf("%d findings, error %v", len(fs), err)
	}
	return fs[0]
}

// changed gives an event of events/ with one value at a path replaced (a nil value takes it out).
func changed(t testing.TB, name string, value any, path ...string) []byte {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(event1(t, name), &m); err != nil {
		t.Fatal(err)
	}
	at := m
	for _, key := range path[:len(path)-1] {
		at = at[key].(map[string]any)
	}
	if last := path[len(path)-1]; value == nil {
		delete(at, last)
	} else {
		at[last] = value
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestAStolenInstanceCredentialsFindingInFull(t *testing.T) {
	got := one(t, event1(t, "guardduty-stolen-instance-credentials"))
	want := Finding{
		Product: "aws/guardduty", NativeID: "6ab1c2d3e4f5061728394a5b6c7d8e9f", Source: "11aabbccddeeff001122334455667788",
		Type:    "UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration.OutsideAWS",
		Title:   "Credentials for instance role clinic-web used from external IP address.",
		Account: "222222222222", Region: "us-east-1", Partition: "aws", Score: 8, Scored: true, Band: incident.High,
		FirstSeen: time.Date(2026, 1, 15, 10, 2, 11, 0, time.UTC), LastSeen: time.Date(2026, 1, 15, 10, 12, 30, 0, time.UTC), Updated: time.Date(2026, 1, 15, 10, 14, 0, 0, time.UTC),
		About: "AccessKey", Count: 1,
		Resources: []Resource{
			{Type: Role, ID: "clinic-web", ARN: "arn:aws:iam::222222222222:role/clinic-web", Account: "222222222222", Part: Target},
			{Type: AccessKey, ID: "ASIAIOSFODNN7EXAMPLE", Account: "222222222222", Part: Target},
			{Type: Instance, ID: "i-0abcdef1234567890", ARN: "arn:aws:ec2:us-east-1:222222222222:instance/i-0abcdef1234567890", Account: "222222222222", Region: "us-east-1", Tags: map[string]string{"Name": "clinic-web"}},
		},
		Principal: Principal{Kind: WhoRole, Name: "clinic-web", ARN: "arn:aws:iam::222222222222:role/clinic-web", Session: "i-0abcdef1234567890", KeyID: "ASIAIOSFODNN7EXAMPLE"},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Finding{}, "Raw")); diff != "" {
		t.Errorf("finding (-want +got):\n%s", diff)
	}
	if got.IncidentID() != "INC-BWJ4TH5BLF5DYQIG" {
		t.Errorf("incident id is %s", got.IncidentID())
	}
	if diff := cmp.Diff([]string{"arn:aws:iam::222222222222:role/clinic-web", "arn:aws:sts::222222222222:assumed-role/clinic-web/i-0abcdef1234567890"}, got.People()); diff != "" {
		t.Error(diff)
	}
}

// Whoever the finding names does not decide about it, whether or not anything is done to that principal.
func TestPeopleOfAFinding(t *testing.T) {
	guardduty := func(who map[string]any) []byte {
		return changed(t, "guardduty-misused-role-session", who, "detail", "resource", "accessKeyDetails")
	}
	call := func(who map[string]any) []byte {
		return changed(t, "cloudtrail-group-opened", who, "detail", "userIdentity")
	}
	for name, c := range map[string]struct {
		event []byte
		want  string
	}{
		"a person of Identity Center, by the session": {guardduty(map[string]any{"userType": "AssumedRole", "userName": "AWSReservedSSO_Admin_0123456789abcdef", "principalId": "AROAEXAMPLEEXAMPLE02:alice@example.com"}),
			"arn:aws:sts::222222222222:assumed-role/AWSReservedSSO_Admin_0123456789abcdef/alice@example.com"},
		"one that contradicts itself": {guardduty(map[string]any{"userType": "IAMUser", "userName": "alice", "principalId": "AROAEXAMPLEEXAMPLE02:x"}), "arn:aws:iam::222222222222:user/alice"},
		"a federated one":             {guardduty(map[string]any{"userType": "FederatedUser", "userName": "alice", "principalId": "222222222222:alice"}), "arn:aws:sts::222222222222:federated-user/alice"},
		"a federated one that calls":  {call(map[string]any{"type": "FederatedUser", "arn": "arn:aws:sts::222222222222:federated-user/alice"}), "arn:aws:sts::222222222222:federated-user/alice"},
		"one of another account":      {call(map[string]any{"type": "IAMUser", "arn": "arn:aws:iam::111111111111:user/ops/alice", "userName": "alice"}), "arn:aws:iam::111111111111:user/ops/alice"},
	} {
		if got := one(t, c.event).People(); !slices.Contains(got, c.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestTheStolenCredentialsAreThoseOfTheInstanceThatTheSessionIsNamedAfter(t *testing.T) {
	f := one(t, event1(t, "guardduty-stolen-instance-credentials-inside-aws"))
	if len(f.Of(Instance)) != 2 || len(f.Instances()) != 1 || f.Instances()[0].ID != "i-0abcdef1234567890" {
		t.Errorf("instances %v, to act on %v", f.Of(Instance), f.Instances())
	}
}

// Whoever takes a role chooses the session's name: it names no instance, unless GuardDuty says that an instance's credentials they are.
func TestASessionNamedAfterAnInstanceIsNotTheInstances(t *testing.T) {
	actor := map[string]any{"id": "a1", "user": map[string]any{"name": "reports", "uid": "AROAEXAMPLEEXAMPLE02:i-0bbbbbbbbbbbbbbbb", "type": "AssumedRole"}}
	for name, raw := range map[string][]byte{
		"an attack sequence": changed(t, "guardduty-attack-sequence", map[string]any{"actors": []any{actor}}, "detail", "service", "detection", "sequence"),
		"a misused session":  changed(t, "guardduty-misused-role-session", "AROAEXAMPLEEXAMPLE02:i-0bbbbbbbbbbbbbbbb", "detail", "resource", "accessKeyDetails", "principalId"),
	} {
		f := one(t, raw)
		if f.Principal.Session != "i-0bbbbbbbbbbbbbbbb" || slices.ContainsFunc(f.Instances(), func(r Resource) bool { return r.ID == f.Principal.Session }) {
			t.Errorf("%s of session %q would act on %v", name, f.Principal.Session, f.Instances())
		}
	}
}

// A finding whose envelope comes from the administrator account is the member's all the same.
func TestTheIncidentIsTheFindingsNotTheEnvelopes(t *testing.T) {
	want := one(t, event1(t, "guardduty-crypto-mining"))
	got := one(t, changed(t, "guardduty-crypto-mining", "111111111111", "account"))
	if got.Account != "222222222222" || got.IncidentID() != want.IncidentID() {
		t.Errorf("account %s, incident %s, want %s", got.Account, got.IncidentID(), want.IncidentID())
	}
}

func TestSeverityInAnyForm(t *testing.T) {
	for _, c := range []struct {
		in    string
		score float64
		band  incident.Band
	}{
		{"8", 8, incident.High}, {"8.0", 8, incident.High}, {"8e0", 8, incident.High}, {"0.8e1", 8, incident.High}, {`"8.0"`, 8, incident.High},
		{"9", 9, incident.Critical}, {"9.0", 9, incident.Critical}, {"10", 10, incident.Critical}, {"8.9999", 8.9999, incident.High},
		{"7", 7, incident.High}, {"6.9", 6.9, incident.Medium}, {"4", 4, incident.Medium}, {"3.9", 3.9, incident.Low}, {"0.0", 0, incident.Low},
	} {
		f := one(t, changed(t, "guardduty-crypto-mining", json.RawMessage(c.in), "detail", "severity"))
		if f.Score != c.score || f.Band != c.band {
			t.Errorf("severity %s gives %v %s, want %v %s", c.in, f.Score, f.Band, c.score, c.band)
		}
	}
	for _, bad := range []string{"-1", "10.1", "1e400", `"high"`, `"NaN"`, `"0x8"`, `""`, "true", "[8]", "{}"} {
		_, err := Decode(changed(t, "guardduty-crypto-mining", json.RawMessage(bad), "detail", "severity"))
		if r := Refused(err); r == nil || !r.Tell || !strings.Contains(r.Reason, "severity is ") {
			t.Errorf("severity %s gives %v", bad, err)
		}
	}
}

// Security Hub's own number, where a finding has no label.
func TestNormalizedSeverity(t *testing.T) {
	for n, want := range map[float64]incident.Band{
		100: incident.Critical, 90: incident.Critical, 89: incident.High, 70: incident.High, 69: incident.Medium, 40: incident.Medium, 39: incident.Low, 1: incident.Low, 0: incident.Info,
	} {
		if got := normalized(n); got != want {
			t.Errorf("%v is %s, want %s", n, got, want)
		}
	}
}

func TestWhatDecidesIsReadStrictly(t *testing.T) {
	for _, c := range []struct {
		name  string
		value any
		path  string
		want  string
	}{
		{"account of 13 digits", "1234567891234", "accountId", `accountId is "1234567891234"`},
		{"account as a number", json.RawMessage("222222222222"), "accountId", "accountId is 222222222222"},
		{"no account", nil, "accountId", "accountId is missing"},
		{"no id", nil, "id", "id is missing"},
		{"no type", nil, "type", "type is missing"},
		{"type a list", []string{"a"}, "type", "type is a list"},
		{"region", "everywhere", "region", `region is "everywhere"`},
		{"archived in doubt", "perhaps", "service.archived", `service.archived is "perhaps", neither true nor false`},
		{"another service", "inspector", "service.serviceName", `service.serviceName is "inspector"`},
		{"another id in the ARN", "someotherid", "id", `its ARN ends in "7a10c2d3e4f5061728394a5b6c7d8e01", its id is "someotherid"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw := changed(t, "guardduty-crypto-mining", c.value, append([]string{"detail"}, strings.Split(c.path, ".")...)...)
			if !strings.Contains(c.name, "ARN") {
				raw = without(t, raw)
			}
			_, err := Decode(raw)
			if r := Refused(err); r == nil || !r.Tell || !strings.Contains(r.Reason, c.want) {
				t.Errorf("got %v, want a refusal that tells and says %s", err, c.want)
			}
		})
	}
	if f := one(t, changed(t, "guardduty-crypto-mining", nil, "detail", "region")); f.Region != "us-east-1" {
		t.Errorf("without a region the ARN's is taken, got %q", f.Region)
	}
}

// without takes the finding's ARN out, so that it contradicts nothing.
func without(t *testing.T, raw []byte) []byte {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	delete(m["detail"].(map[string]any), "arn")
	out, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWhatIsNoFindingIsRefusedWithAReason(t *testing.T) {
	for name, want := range map[string]struct {
		reason string
		tell   bool
	}{
		"guardduty-contradictory":    {`its ARN says account "111111111111"`, true},
		"guardduty-severity-missing": {"severity is missing", true},
		"securityhub-imported":       {"a Security Hub event without findings", true},
		"instance-state-change":      {"not a finding: aws.ec2", false},
		"custom-source":              {`not a finding of an AWS service: the source is "com.example.app"`, false},
		"not-an-event":               {"not an event of EventBridge", false},
	} {
		_, err := Decode(event1(t, name))
		r := Refused(err)
		if r == nil || !strings.Contains(r.Reason, want.reason) || r.Tell != want.tell {
			t.Errorf("%s: got %+v (%v)", name, r, err)
			continue
		}
		_, err = Decode(event1(t, name))
		if again := Refused(err); r.Finding().IncidentID() != again.Finding().IncidentID() {
			t.Errorf("%s: two deliveries give two incidents", name)
		}
	}
	text := []byte(`{"source":"aws.guardduty","detail-type":"GuardDuty Finding","detail":"plain words"}`)
	if _, err := Decode(text); Refused(err) == nil || !Refused(err).Tell || !strings.Contains(err.Error(), "detail is a string") {
		t.Errorf("a detail that is a string gives %v", err)
	}
}

func TestGarbageIsAnErrorThatNamesTheThing(t *testing.T) {
	for in, want := range map[string]string{
		"":                   "the event is not JSON: it ends after 0 bytes",
		`{"source":"aws.gua`: "it ends after 18 bytes in the middle",
		"hello":              "the event is not JSON: invalid character 'h'",
		`"x"`:                "but a string",
		"7":                  "but a number",
		"null":               "but null",
		"{} {}":              "there is more after the JSON value",
	} {
		_, err := Decode([]byte(in))
		if !fault.Is(err, fault.BadInput) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q gives %v (%s), want BadInput with %q", in, err, fault.NameOf(err), want)
		}
	}
}

func TestSamplesAreRecognizedByWhatNobodyCanChoose(t *testing.T) {
	key := func(user, id, key string) map[string]any {
		return map[string]any{"userName": user, "userType": "IAMUser", "principalId": id, "accessKeyId": key}
	}
	for _, c := range []struct {
		name, event string
		value       any
		path        string
		want        bool
	}{
		{"as it is", "guardduty-crypto-mining", "x", "description", false},
		{"flag", "guardduty-crypto-mining", map[string]any{"sample": true}, "service.additionalInfo", true},
		{"flag as text", "guardduty-crypto-mining", map[string]any{"sample": "true"}, "service.additionalInfo", true},
		{"flag in doubt", "guardduty-crypto-mining", map[string]any{"sample": "perhaps"}, "service.additionalInfo", true},
		{"flag false", "guardduty-crypto-mining", map[string]any{"sample": false}, "service.additionalInfo", false},
		{"inside the value", "guardduty-crypto-mining", map[string]any{"value": `{"sample":true}`}, "service.additionalInfo", true},
		{"value that is no JSON", "guardduty-crypto-mining", map[string]any{"value": "sample"}, "service.additionalInfo", false},
		{"title", "guardduty-crypto-mining", "[SAMPLE] EC2 instance", "title", true},
		{"instance", "guardduty-crypto-mining", "i-99999999", "resource.instanceDetails.instanceId", true},
		{"key and id", "guardduty-misused-user-key", key("GeneratedFindingUserName", "GeneratedFindingPrincipalId", "GeneratedFindingAccessKeyId"), "resource.accessKeyDetails", true},
		{"name alone", "guardduty-misused-user-key", map[string]any{"userName": "GeneratedFindingUserName", "userType": "IAMUser"}, "resource.accessKeyDetails", true},
		{"an attacker's user of that name", "guardduty-misused-user-key", key("GeneratedFindingUserName", "AIDAEXAMPLEEXAMPLE01", "AKIAIOSFODNN7EXAMPLE"), "resource.accessKeyDetails", false},
	} {
		f := one(t, changed(t, c.event, c.value, append([]string{"detail"}, strings.Split(c.path, ".")...)...))
		if f.Sample != c.want {
			t.Errorf("%s: sample is %v", c.name, f.Sample)
		}
	}
	for value, want := range map[any]bool{true: true, false: false, "true": true, "false": false} {
		if f := one(t, changed(t, "guardduty-crypto-mining", value, "detail", "service", "archived")); f.Archived != want {
			t.Errorf("archived %v gives %v", value, f.Archived)
		}
	}
}

func TestPrincipals(t *testing.T) {
	const account = "222222222222"
	for _, c := range []struct {
		name                   string
		user, kind, unique, id string
		want                   Principal
	}{
		{"user", "bob", "IAMUser", "AIDAEXAMPLEEXAMPLE01", "AKIAIOSFODNN7EXAMPLE", Principal{Kind: WhoUser, Name: "bob", ARN: "arn:aws:iam::222222222222:user/bob", KeyID: "AKIAIOSFODNN7EXAMPLE"}},
		{"user with a path", "division/team/bob", "IAMUser", "AIDAEXAMPLEEXAMPLE01", "", Principal{Kind: WhoUser, Name: "bob", ARN: "arn:aws:iam::222222222222:user/division/team/bob"}},
		{"user by ARN", "arn:aws:iam::222222222222:user/team/bob", "IAMUser", "", "", Principal{Kind: WhoUser, Name: "bob", ARN: "arn:aws:iam::222222222222:user/team/bob"}},
		{"user of another account", "arn:aws:iam::333333333333:user/bob", "IAMUser", "", "", Principal{Kind: WhoOther, Doubt: "the principal arn:aws:iam::333333333333:user/bob is of another account", Elsewhere: "arn:aws:iam::333333333333:user/bob"}},
		{"role", "app", "AssumedRole", "AROAEXAMPLEEXAMPLE01:s", "ASIAIOSFODNN7EXAMPLE", Principal{Kind: WhoRole, Name: "app", ARN: "arn:aws:iam::222222222222:role/app", Session: "s", KeyID: "ASIAIOSFODNN7EXAMPLE"}},
		{"role by session ARN", "arn:aws:sts::222222222222:assumed-role/app/session-1", "AssumedRole", "", "", Principal{Kind: WhoRole, Name: "app", ARN: "arn:aws:iam::222222222222:role/app", Session: "session-1"}},
		{"role whose name is a user's ARN", "arn:aws:iam::222222222222:user/bob", "AssumedRole", "", "", Principal{Kind: WhoOther, Doubt: "the user type is AssumedRole and the name arn:aws:iam::222222222222:user/bob"}},
		{"role with a user's id", "app", "Role", "AIDAEXAMPLEEXAMPLE01", "", Principal{Kind: WhoOther, Name: "app", Doubt: "the user type is Role and the principal id AIDAEXAMPLEEXAMPLE01"}},
		{"user with a role's id", "bob", "IAMUser", "AROAEXAMPLEEXAMPLE01", "", Principal{Kind: WhoOther, Name: "bob", Doubt: "the user type is IAMUser and the principal id AROAEXAMPLEEXAMPLE01"}},
		{"role with a long-term key", "app", "Role", "", "AKIAIOSFODNN7EXAMPLE", Principal{Kind: WhoOther, Name: "app", KeyID: "AKIAIOSFODNN7EXAMPLE", Doubt: "the user type is Role and the key AKIAIOSFODNN7EXAMPLE a long-term one, which roles do not have"}},
		{"root", "Root", "Root", account, "ASIAIOSFODNN7EXAMPLE", Principal{Kind: WhoRoot, Name: "root", ARN: "arn:aws:iam::222222222222:root", KeyID: "ASIAIOSFODNN7EXAMPLE"}},
		{"user that is the account", "bob", "IAMUser", account, "", Principal{Kind: WhoOther, Name: "bob", Doubt: "the user type is IAMUser and the principal id 222222222222"}},
		{"federated", "bob", "FederatedUser", "", "", Principal{Kind: WhoFederated, Name: "bob"}},
		{"service", "", "AWSService", "x", "", Principal{Kind: WhoService}},
		{"account", "", "AWSAccount", "x", "", Principal{Kind: WhoAccount}},
		{"unknown type", "bob", "Wizard", "", "", Principal{Kind: WhoOther, Name: "bob", Doubt: `the user type is "Wizard"`}},
		{"no type", "bob", "", "", "", Principal{Kind: WhoOther, Name: "bob", Doubt: `the user type is ""`}},
		{"name that is none", "${user_name}", "IAMUser", "", "", Principal{Kind: WhoOther, Name: "${user_name}", Doubt: `the user name is "${user_name}"`}},
		{"no name", "", "IAMUser", "AIDAEXAMPLEEXAMPLE01", "", Principal{Kind: WhoOther, Doubt: `the user name is ""`}},
		{"path out of bounds", "../bob", "IAMUser", "", "", Principal{Kind: WhoOther, Name: "bob", Doubt: `the user name is "../bob"`}},
		{"a role's session by name", "app/session-1", "AssumedRole", "AROAEXAMPLEEXAMPLE01:session-1", "", Principal{Kind: WhoOther, Name: "session-1", Session: "session-1", Doubt: `the user name "app/session-1" is a role's with its session's, or a path with a role's`}},
		{"identity center", "AWSReservedSSO_Admin_0123456789abcdef", "AssumedRole", "AROAEXAMPLEEXAMPLE01:bob", "", Principal{Kind: WhoCenter, Name: "AWSReservedSSO_Admin_0123456789abcdef", Session: "bob"}},
		{"service-linked role", "AWSServiceRoleForSupport", "AssumedRole", "AROAEXAMPLEEXAMPLE01:s", "", Principal{Kind: WhoService, Name: "AWSServiceRoleForSupport", Session: "s"}},
		{"nothing", "", "", "", "", Principal{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := tree{"userName": c.user, "userType": c.kind, "principalId": c.unique, "accessKeyId": c.id}
			got := principal(Finding{Account: account, Partition: "aws"}, k)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if strings.Contains(c.name, "doubt") && got.ARN != "" {
				t.Error("a principal in doubt has an ARN")
			}
		})
	}
}

func TestBucketsAreNamedOnlyWhereNameAndARNAgree(t *testing.T) {
	list := func(name, arn string) []any { return []any{map[string]any{"name": name, "arn": arn}} }
	for _, c := range []struct {
		name string
		list any
		want []string
	}{
		{"both", list("clinic-exports", "arn:aws:s3:::clinic-exports"), []string{"arn:aws:s3:::clinic-exports"}},
		{"name only", list("clinic-exports", ""), []string{"arn:aws:s3:::clinic-exports"}},
		{"ARN only", list("", "arn:aws:s3:::clinic-exports"), []string{"arn:aws:s3:::clinic-exports"}},
		{"they differ", list("clinic-exports", "arn:aws:s3:::other"), []string{""}},
		{"directory bucket", list("clinic--use1-az4--x-s3", "arn:aws:s3express:us-east-1:222222222222:bucket/clinic--use1-az4--x-s3"), []string{""}},
		{"an object", list("clinic-exports/secret", ""), []string{""}},
		{"not a list", map[string]any{"name": "clinic-exports"}, []string{"arn:aws:s3:::clinic-exports"}},
		{"odd entries", []any{"x", nil, map[string]any{}}, []string{}},
	} {
		f := one(t, changed(t, "guardduty-public-bucket", c.list, "detail", "resource", "s3BucketDetails"))
		got := []string{}
		for _, r := range f.Of(Bucket) {
			got = append(got, r.ARN)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

// Malware is found in objects and backups too, and databases have no instances: they are named with their part (GuardDuty API Reference,
// Resource).
func TestWhatIsNeitherInstanceNorBucketIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		resource string
		want     []Resource
	}{
		"object": {`{"resourceType":"S3Object","s3BucketDetails":[{"name":"clinic-exports","arn":"arn:aws:s3:::clinic-exports","s3ObjectDetails":[{"objectArn":"arn:aws:s3:::clinic-exports/a/b.exe","key":"a/b.exe"}]}]}`, []Resource{
			{Type: Bucket, ID: "clinic-exports", ARN: "arn:aws:s3:::clinic-exports", Account: "222222222222", Region: "us-east-1", Part: Target},
			{Type: Object, ID: "clinic-exports/a/b.exe", ARN: "arn:aws:s3:::clinic-exports/a/b.exe", Account: "222222222222"},
		}},
		"snapshot": {`{"resourceType":"EBSSnapshot","ebsSnapshotDetails":{"snapshotArn":"arn:aws:ec2:us-east-1::snapshot/snap-0abcdef1234567890"}}`, []Resource{
			{Type: Snapshot, ID: "snap-0abcdef1234567890", ARN: "arn:aws:ec2:us-east-1:222222222222:snapshot/snap-0abcdef1234567890", Account: "222222222222", Region: "us-east-1", Part: Target},
		}},
		"image": {`{"ec2ImageDetails":{"imageArn":"arn:aws:ec2:us-east-1::image/ami-0abcdef1234567890"}}`, []Resource{
			{Type: Image, ID: "ami-0abcdef1234567890", ARN: "arn:aws:ec2:us-east-1:222222222222:image/ami-0abcdef1234567890", Account: "222222222222", Region: "us-east-1", Part: Target},
		}},
		"recovery point": {`{"recoveryPointDetails":{"backupVaultName":"clinic","recoveryPointArn":"arn:aws:backup:us-east-1:222222222222:recovery-point:0aaaaaaa-0000-4000-8000-000000000000"}}`, []Resource{
			{Type: "AWS::Backup::RecoveryPoint", ID: "0aaaaaaa-0000-4000-8000-000000000000", ARN: "arn:aws:backup:us-east-1:222222222222:recovery-point:0aaaaaaa-0000-4000-8000-000000000000", Account: "222222222222", Region: "us-east-1", Part: Target},
		}},
		"database without limits": {`{"resourceType":"RDSLimitlessDB","rdsLimitlessDbDetails":{"dbShardGroupArn":"arn:aws:rds:us-east-1:222222222222:shard-group:shardgroup-0a"}}`, []Resource{
			{Type: "AWS::RDS::DBShardGroup", ID: "shardgroup-0a", ARN: "arn:aws:rds:us-east-1:222222222222:shard-group:shardgroup-0a", Account: "222222222222", Region: "us-east-1", Part: Target},
		}},
	} {
		f := one(t, changed(t, "guardduty-brute-force-target", json.RawMessage(c.resource), "detail", "resource"))
		if diff := cmp.Diff(c.want, f.Resources); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestPartitionsFollowTheRegion(t *testing.T) {
	raw := without(t, changed(t, "guardduty-crypto-mining", "us-gov-west-1", "detail", "region"))
	if f := one(t, raw); f.Instances()[0].ARN != "arn:aws-us-gov:ec2:us-gov-west-1:222222222222:instance/i-0abcdef1234567890" {
		t.Errorf("ARN is %s", f.Instances()[0].ARN)
	}
}

// Order of keys, fields that nobody knows (in any spelling) and forms of numbers say nothing about a finding.
func TestWhatSaysNothingChangesNothing(t *testing.T) {
	files, err := filepath.Glob("../../events/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no events: %v", err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		v, err := parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		want, wantErr := Decode(raw)
		for range 50 {
			var b bytes.Buffer
			scramble(&b, v, rnd)
			got, gotErr := Decode(b.Bytes())
			if diff := cmp.Diff(plainly(want), plainly(got)); diff != "" || fmt.Sprint(wantErr) != fmt.Sprint(gotErr) {
				t.Fatalf("%s: %s\nerror %v, want %v\nfrom %s", file, diff, gotErr, wantErr, b.String())
			}
		}
	}
}

// plainly gives findings without what repeats the input: Raw, and the hash of what is refused.
func plainly(fs []Finding) []Finding {
	var out []Finding
	for _, f := range fs {
		if f.Raw = nil; f.Refusal != nil {
			f = Finding{Title: f.Refusal.Reason}
		}
		out = append(out, f)
	}
	return out
}

func scramble(b *bytes.Buffer, v any, rnd *rand.Rand) {
	switch v := v.(type) {
	case map[string]any:
		keys := slices.Collect(maps.Keys(v))
		have := map[string]bool{}
		for _, k := range keys {
			have[k] = true
		}
		for _, k := range keys {
			// A map of tags has no fields: what is added there is a tag.
			if odd := strings.ToUpper(k); !have[odd] && rnd.IntN(4) == 0 && !have["Name"] {
				keys, have[odd] = append(keys, odd), true
			}
		}
		rnd.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		b.WriteString("{ ")
		for i, k := range keys {
			if i > 0 {
				b.WriteString(" ,")
			}
			name, _ := json.Marshal(k)
			b.Write(name)
			b.WriteString(": ")
			if val, ok := v[k]; ok {
				scramble(b, val, rnd)
			} else {
				b.WriteString([]string{`"odd"`, "1", "null", "{}", "[true]"}[rnd.IntN(5)])
			}
		}
		b.WriteString(" }")
	case []any:
		b.WriteByte('[')
		for i, item := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			scramble(b, item, rnd)
		}
		b.WriteByte(']')
	case json.Number:
		s := v.String()
		if !strings.ContainsAny(s, ".eE") {
			s += []string{"", ".0", "e0", ".00E+0"}[rnd.IntN(4)]
		}
		b.WriteString(s)
	default:
		out, _ := json.Marshal(v)
		b.Write(out)
	}
}

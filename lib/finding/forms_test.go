package finding

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"firebreak/lib/incident"

	"github.com/google/go-cmp/cmp"
)

// all gives the findings of an event of events/.
func all(t testing.TB, name string) []Finding {
	t.Helper()
	fs, err := Decode(event1(t, name))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return fs
}

// P2: native, API, ASFF, OCSF, wrapped, the member's copy and the administrator's are one incident, about the same resources, the
// same severity, the same type.
func TestOneFindingInAnyFormIsOneIncident(t *testing.T) {
	want := one(t, event1(t, "guardduty-crypto-mining"))
	forms := map[string]Finding{
		"as the administrator's copy": one(t, changed(t, "guardduty-crypto-mining", "111111111111", "account")),
		"as GetFindings answers it":   all(t, "guardduty-api")[0],
		"in ASFF":                     all(t, "securityhub-guardduty-asff")[0],
		"in OCSF":                     all(t, "securityhub-guardduty-ocsf")[0],
		"through SNS":                 all(t, "sns-wrapped")[0],
		"bare":                        all(t, "bare-list")[0],
		"ASFF bare":                   all(t, "bare-list")[1],
		"OCSF bare":                   all(t, "bare-list")[2],
		"updated":                     one(t, changed(t, "guardduty-crypto-mining", "2026-01-15T16:14:00.000Z", "detail", "updatedAt")),
	}
	type essence struct {
		ID, Product, Type, Account, Region, About, Source string
		Band                                              incident.Band
		Score                                             float64
		Unknown, Sample, Archived                         bool
		Doubt, Settled                                    string
		Resources                                         []Resource
	}
	of := func(f Finding) essence {
		return essence{f.IncidentID(), f.Product, f.Type, f.Account, f.Region, f.About, f.Source, f.Band, f.Score, f.Unknown, f.Sample, f.Archived, f.Doubt, f.Settled, f.Resources}
	}
	for form, f := range forms {
		got, like := of(f), of(want)
		if strings.Contains(form, "OCSF") {
			got.Score = like.Score // OCSF has words only
		}
		if diff := cmp.Diff(like, got); diff != "" {
			t.Errorf("%s (-native +got):\n%s", form, diff)
		}
	}
}

// Two findings are two incidents: 1,000 pairs that differ in one of the four things that make an incident, in all forms.
func TestDifferentFindingsAreDifferentIncidents(t *testing.T) {
	seen := map[string]string{}
	forms := []string{"guardduty-crypto-mining", "securityhub-guardduty-asff", "securityhub-guardduty-ocsf"}
	for n := range 1000 {
		account, region, id := "222222222222", "us-east-1", "7a10c2d3e4f5061728394a5b6c7d8e01"
		switch n % 3 {
		case 0:
			account = fmt.Sprintf("%012d", 300000000000+n)
		case 1:
			region = fmt.Sprintf("eu-west-%d", n/3%99+1)
			id = fmt.Sprintf("%032x", n/297)
		case 2:
			id = fmt.Sprintf("%031x%x", n, n%16)
		}
		text := string(event1(t, forms[n%len(forms)]))
		text = strings.NewReplacer("222222222222", account, "us-east-1", region, "7a10c2d3e4f5061728394a5b6c7d8e01", id).Replace(text)
		f := one(t, []byte(text))
		key := strings.Join([]string{f.Product, f.Account, f.Region, f.NativeID}, " ")
		if f.Account != account || f.Region != region || f.NativeID != id {
			t.Fatalf("read as %s", key)
		}
		if other, ok := seen[f.IncidentID()]; ok && other != key {
			t.Fatalf("%s and %s are both %s", other, key, f.IncidentID())
		}
		seen[f.IncidentID()] = key
	}
	if len(seen) != 1000 {
		t.Errorf("%d incidents of 1000 findings", len(seen))
	}
}

func TestThreeSpellingsOfAType(t *testing.T) {
	for spelling, want := range map[string]string{
		"TTPs/Defense Evasion/Stealth:IAMUser-CloudTrailLoggingDisabled":                             "Stealth:IAMUser/CloudTrailLoggingDisabled",
		"TTPs/PenTest:IAMUser/KaliLinux":                                                             "PenTest:IAMUser/KaliLinux",
		"TTPs/Command and Control/Trojan:EC2-DNSDataExfiltration!DNS":                                "Trojan:EC2/DNSDataExfiltration",
		"Discovery:S3-MaliciousIPCaller":                                                             "Discovery:S3/MaliciousIPCaller",
		"Trojan:EC2/DropPoint!DNS":                                                                   "Trojan:EC2/DropPoint!DNS",
		"TTPs/Impact/IAMUser-AnomalousBehavior":                                                      "Impact:IAMUser/AnomalousBehavior",
		"TTPs/Privilege Escalation/IAMUser-AnomalousBehavior":                                        "PrivilegeEscalation:IAMUser/AnomalousBehavior",
		"TTPs/Discovery/RDS-TorIPCaller":                                                             "Discovery:RDS/TorIPCaller",
		"TTPs/AnomalousBehavior/Execution:Kubernetes-ExecInPod":                                      "Execution:Kubernetes/AnomalousBehavior.ExecInPod",
		"TTPs/AnomalousBehavior/Persistence:Kubernetes-WorkloadDeployed!ContainerWithSensitiveMount": "Persistence:Kubernetes/AnomalousBehavior.WorkloadDeployed!ContainerWithSensitiveMount",
		"TTPs/DefenseEvasion/EC2:Unusual-DNS-Resolver":                                               "DefenseEvasion:EC2/UnusualDNSResolver",
		"TTPs/DefenseEvasion/EC2:Unusual-DoH-Activity":                                               "DefenseEvasion:EC2/UnusualDoHActivity",
		"TTPs/Impact/Nothing-Known":                                                                  "TTPs/Impact/Nothing-Known",
		"TTPs/AnomalousBehavior/Execution:Kubernetes-Nothing":                                        "Execution:Kubernetes/Nothing",
		"Software and Configuration Checks/Vulnerabilities/CVE":                                      "Software and Configuration Checks/Vulnerabilities/CVE",
		"":  "",
		":": ":",
	} {
		if got := nativeType(spelling); got != want {
			t.Errorf("%q is %q, want %q", spelling, got, want)
		}
	}
	// Every known type, in the spelling that Security Hub would give it under any heading.
	for _, k := range Types() {
		for _, heading := range []string{"", "TTPs/", "TTPs/Initial Access/", "Effects/Data Exfiltration/", "Unusual Behaviors/User/"} {
			if got := nativeType(heading + strings.Replace(k, "/", "-", 1)); got != k {
				t.Errorf("%s: got %s", heading+strings.Replace(k, "/", "-", 1), got)
			}
		}
	}
	if got := typeOf([]any{"Threats", "Nothing:Known/Here", "TTPs/Trojan:EC2-DropPoint"}); got != "Trojan:EC2/DropPoint" {
		t.Errorf("of several the known one is meant, got %s", got)
	}
}

// The published table of Security Hub's spellings, where it lies beside the repository.
func TestSecurityHubsTableOfTypes(t *testing.T) {
	path := filepath.Join("..", "..", "..", "shared", "guardduty_asff_types.tsv")
	if dir := os.Getenv("FIREBREAK_CORPUS"); dir != "" {
		path = filepath.Join(dir, "..", "guardduty_asff_types.tsv")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Skipf("the table of types is not at %s: set FIREBREAK_CORPUS", path)
	}
	for line := range strings.Lines(string(data)) {
		native, asff, ok := strings.Cut(strings.TrimSpace(line), "\t")
		if !ok || native == "guardduty_type" {
			continue
		}
		if got := nativeType(asff); got != nativeType(native) || !Known(got) {
			t.Errorf("%s is %s, want %s; known: %v", asff, got, native, Known(got))
		}
	}
}

// BatchUpdateFindings changes Types at top level: a copy that somebody has edited so that no rule acts is what its provider wrote all the same.
func TestTheTypeIsTheProvidersWhateverSomebodyMadeOfIt(t *testing.T) {
	const name = "securityhub-guardduty-asff"
	want := one(t, event1(t, name))
	var m map[string]any
	if err := json.Unmarshal(event1(t, name), &m); err != nil {
		t.Fatal(err)
	}
	edited := m["detail"].(map[string]any)["findings"].([]any)[0].(map[string]any)
	edited["FindingProviderFields"] = map[string]any{"Types": edited["Types"]}
	edited["Types"] = []any{"TTPs/Discovery/Recon:EC2-PortProbeUnprotectedPort"}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if got := one(t, raw); got.Type != want.Type || got.IncidentID() != want.IncidentID() {
		t.Errorf("%s, want %s", got.Type, want.Type)
	}
}

// Each finding of an event that has several is itself alone in its Raw: that is what its own execution starts with.
func TestEachOfSeveralIsWholeAlone(t *testing.T) {
	for _, name := range []string{"securityhub-custom-action", "health-abuse", "bare-list"} {
		fs := all(t, name)
		if len(fs) < 2 {
			t.Fatalf("%s has %d findings", name, len(fs))
		}
		for i, f := range fs {
			again, err := Decode(f.Raw)
			if f.Refusal != nil {
				if err == nil || err.Error() != f.Refusal.Reason {
					t.Errorf("%s %d: alone it gives %v, among others %s", name, i, err, f.Refusal.Reason)
				}
				continue
			}
			if err != nil || len(again) != 1 {
				t.Fatalf("%s %d: %d findings, %v", name, i, len(again), err)
			}
			f.Raw, again[0].Raw = nil, nil
			if diff := cmp.Diff(f, again[0]); diff != "" {
				t.Errorf("%s %d (-among others +alone):\n%s", name, i, diff)
			}
		}
	}
}

func TestWrappersAreTakenOff(t *testing.T) {
	raw := event1(t, "guardduty-crypto-mining")
	want := one(t, raw).IncidentID()
	quote := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	var event map[string]any
	if err := json.Unmarshal(raw, &event); err != nil {
		t.Fatal(err)
	}
	detail, _ := json.Marshal(event["detail"])
	for name, in := range map[string]string{
		"SNS":                `{"Type":"Notification","MessageId":"1","TopicArn":"t","Message":` + quote(string(raw)) + `}`,
		"SNS to Lambda":      `{"Records":[{"EventSource":"aws:sns","Sns":{"Message":` + quote(string(raw)) + `}}]}`,
		"SQS":                `{"Records":[{"messageId":"1","body":` + quote(string(raw)) + `}]}`,
		"SNS in SQS":         `{"Records":[{"body":` + quote(`{"Type":"Notification","Message":`+quote(string(raw))+`}`) + `}]}`,
		"an answer":          `{"Findings":[` + string(detail) + `]}`,
		"a recorded answer":  `{"status_code":200,"data":{"ResponseMetadata":{},"Findings":[` + string(detail) + `]}}`,
		"a list":             `[` + string(raw) + `]`,
		"a list in a list":   `[[` + string(raw) + `]]`,
		"as PutEvents takes": `{"Source":"aws.guardduty","DetailType":"GuardDuty Finding","Detail":` + quote(string(detail)) + `}`,
		"bare":               string(detail),
	} {
		fs, err := Decode([]byte(in))
		if err != nil || len(fs) != 1 || fs[0].IncidentID() != want || fs[0].Doubt != "" {
			t.Errorf("%s: %d findings, %v", name, len(fs), err)
		}
	}
	if _, err := Decode([]byte(strings.Repeat("[", 50) + string(raw) + strings.Repeat("]", 50))); err == nil || !strings.Contains(err.Error(), "wrapped more than") {
		t.Errorf("wrapped fifty times: %v", err)
	}
	nameless := one(t, []byte(`{"detail-type":"GuardDuty Finding","detail":`+string(detail)+`}`))
	if nameless.Doubt == "" {
		t.Error("an envelope without a source may be acted on")
	}
	for name, in := range map[string]string{
		"another source":      strings.Replace(string(raw), `"aws.guardduty"`, `"com.example.guardduty"`, 1),
		"almost AWS":          strings.Replace(string(raw), `"aws.guardduty"`, `"awsguardduty"`, 1),
		"another AWS service": strings.Replace(string(raw), `"aws.guardduty"`, `"aws.ec2"`, 1),
	} {
		if fs, err := Decode([]byte(in)); err == nil {
			t.Errorf("%s is read: %+v", name, fs)
		}
	}
}

func TestWhatNoLongerStandsIsSettled(t *testing.T) {
	for _, c := range []struct{ event, path, value, want string }{
		{"securityhub-guardduty-asff", "RecordState", `"ARCHIVED"`, "archived"},
		{"securityhub-guardduty-asff", "Workflow", `{"Status":"RESOLVED"}`, "resolved"},
		{"securityhub-guardduty-asff", "Workflow", `{"Status":"SUPPRESSED"}`, "suppressed"},
		{"securityhub-guardduty-asff", "Workflow", `{"Status":"NOTIFIED"}`, ""},
		{"securityhub-guardduty-asff", "Compliance", `{"Status":"PASSED"}`, "PASSED"},
		{"securityhub-guardduty-asff", "Compliance", `{"Status":"WARNING"}`, "WARNING"},
		{"securityhub-guardduty-asff", "Compliance", `{"Status":"NOT_AVAILABLE"}`, "NOT_AVAILABLE"},
		{"securityhub-guardduty-asff", "Compliance", `{"Status":"FAILED"}`, ""},
		{"securityhub-guardduty-asff", "ProductFields", `{"aws/guardduty/service/archived":"true"}`, "archived"},
		{"securityhub-guardduty-asff", "ProductFields", `{"archived":"true"}`, "archived"},
		{"securityhub-guardduty-asff", "ProductFields", `{"aws/guardduty/service/additionalInfo/sample":"true"}`, "sample"},
		{"securityhub-guardduty-asff", "ProductFields", `{"aws/guardduty/service/additionalInfo/value":"{\"sample\":true}"}`, "sample"},
		{"securityhub-guardduty-asff", "Sample", `true`, "sample"},
		{"securityhub-guardduty-asff", "Title", `"[SAMPLE] an instance"`, "sample"},
		{"securityhub-guardduty-ocsf", "status_id", `4`, "resolved"},
		{"securityhub-guardduty-ocsf", "status_id", `3`, "suppressed"},
		{"securityhub-guardduty-ocsf", "status_id", `5`, "archived"},
		{"securityhub-guardduty-ocsf", "status", `"Archived"`, "archived"},
		{"securityhub-guardduty-ocsf", "status_id", `2`, ""},
		{"securityhub-guardduty-ocsf", "activity_id", `3`, "closed"},
		{"securityhub-guardduty-ocsf", "activity_name", `"Close"`, "closed"},
		{"securityhub-guardduty-ocsf", "compliance", `{"status":"Pass"}`, "did not fail"},
		{"securityhub-guardduty-ocsf", "compliance", `{"status_id":1}`, "did not fail"},
		{"securityhub-guardduty-ocsf", "compliance", `{"status":"Fail","status_id":3}`, ""},
	} {
		var m map[string]any
		if err := json.Unmarshal(event1(t, c.event), &m); err != nil {
			t.Fatal(err)
		}
		m["detail"].(map[string]any)["findings"].([]any)[0].(map[string]any)[c.path] = json.RawMessage(c.value)
		raw, _ := json.Marshal(m)
		if got := one(t, raw).Idle(); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s with %s %s: %q, want %q", c.event, c.path, c.value, got, c.want)
		}
	}
}

func TestOnlyFindingsOfAWSServicesAreActedOn(t *testing.T) {
	for product, want := range map[string]bool{
		"arn:aws:securityhub:us-east-1::product/aws/guardduty":                             true,
		"arn:aws:securityhub:us-east-1::productv2/aws/guardduty":                           true,
		"arn:aws::securityhub:us-east-1::product/aws/guardduty":                            true,
		"arn:aws-us-gov:securityhub:us-gov-west-1::product/aws/guardduty":                  true,
		"arn:aws:securityhub:us-east-1:222222222222:product/222222222222/default":          false,
		"arn:aws:securityhub:us-east-1:222222222222:product/aws/guardduty":                 false,
		"arn:aws:securityhub:us-east-1::product/crowdstrike/falcon":                        false,
		"arn:aws:securityhub:us-east-1::product/aws":                                       false,
		"arn:aws:securityhub:us-east-1::product/aws/guardduty/arn:aws:guardduty:us-east-1": false,
		"": false,
	} {
		var f Finding
		f.product(product)
		if got := f.Doubt == ""; got != want {
			t.Errorf("%s may be acted on: %v (%s)", product, got, f.Doubt)
		}
	}
}

func TestResourcesAreWhatTheyAreCalled(t *testing.T) {
	f := Finding{Account: "222222222222", Region: "us-east-1", Partition: "aws"}
	for _, c := range []struct {
		kind       string
		given      string
		id, arn    string
		of, region string
	}{
		{"AwsEc2Instance", "i-0abcdef1234567890", "i-0abcdef1234567890", "arn:aws:ec2:us-east-1:222222222222:instance/i-0abcdef1234567890", "", "us-east-1"},
		{"AWS_EC2_INSTANCE", "arn:aws:ec2:eu-west-1:333333333333:instance/i-0abcdef1234567890", "i-0abcdef1234567890", "arn:aws:ec2:eu-west-1:333333333333:instance/i-0abcdef1234567890", "333333333333", "eu-west-1"},
		{"AwsEc2Instance", "arn:aws::ec2:us-east-1:222222222222:instance/i-0abcdef1234567890", "i-0abcdef1234567890", "arn:aws:ec2:us-east-1:222222222222:instance/i-0abcdef1234567890", "", "us-east-1"},
		{"AwsEc2Instance", "i-test-instance", "i-test-instance", "", "", "us-east-1"},
		{"AwsEc2Instance", "arn:aws:ec2:us-east-1:222222222222:instance/${id}", "arn:aws:ec2:us-east-1:222222222222:instance/${id}", "", "", "us-east-1"},
		{"AwsEc2Instance", "arn:aws:ec2:us-east-1::instance/i-0abcdef1234567890", "arn:aws:ec2:us-east-1::instance/i-0abcdef1234567890", "", "", "us-east-1"},
		{"AwsIamRole", "arn:aws:iam::222222222222:user/bob", "arn:aws:iam::222222222222:user/bob", "", "", ""},
		{"AwsIamRole", "arn:aws:iam::222222222222:role/service-role/app", "app", "arn:aws:iam::222222222222:role/service-role/app", "", ""},
		{"AwsIamUser", "arn:aws:iam::222222222222:user/../bob", "arn:aws:iam::222222222222:user/../bob", "", "", ""},
		{"AwsS3Bucket", "arn:aws:s3:::clinic-exports", "clinic-exports", "arn:aws:s3:::clinic-exports", "", ""},
		{"AwsS3Bucket", "arn:aws:s3:::clinic-exports/secret", "arn:aws:s3:::clinic-exports/secret", "", "", ""},
		{"AwsS3Bucket", "arn:aws:::clinic-exports", "arn:aws:::clinic-exports", "", "", ""},
		{"AWS::SQS::Queue", "arn:aws:sqs:us-east-1:222222222222:clinic.fifo", "clinic.fifo", "arn:aws:sqs:us-east-1:222222222222:clinic.fifo", "", "us-east-1"},
		{"AWS::KMS::Key", "arn:aws:kms:us-east-1:222222222222:key/0aaaaaaa-0000-4000-8000-000000000000", "0aaaaaaa-0000-4000-8000-000000000000", "arn:aws:kms:us-east-1:222222222222:key/0aaaaaaa-0000-4000-8000-000000000000", "", "us-east-1"},
		{"AwsNeverHeardOf", "x", "x", "", "", "us-east-1"},
	} {
		r := f.named(kindNamed(c.kind), c.given)
		if c.of == "" {
			c.of = f.Account
		}
		if r.ID != c.id || r.ARN != c.arn || r.Account != c.of || r.Region != c.region {
			t.Errorf("%s %s: %+v", c.kind, c.given, r)
		}
	}
	for _, spelling := range []string{"AwsEc2Instance", "AWS::EC2::Instance", "AWS_EC2_INSTANCE", "EC2_INSTANCE"} {
		if kindNamed(spelling) != Instance {
			t.Errorf("%s is %s", spelling, kindNamed(spelling))
		}
	}
}

func TestAnAttackSequenceNamesItsResources(t *testing.T) {
	f := one(t, event1(t, "guardduty-attack-sequence"))
	var got []string
	for _, r := range f.Resources {
		got = append(got, fmt.Sprint(r.Type, " ", r.ID, " ", r.Account, " ", r.ARN != ""))
	}
	want := []string{
		"AWS::EC2::Instance i-0abcdef1234567890 222222222222 true", "AWS::EC2::Instance i-0fedcba9876543210 222222222222 true",
		"AWS::EC2::Instance i-0aaaabbbbccccdddd 333333333333 true", "AWS::IAM::User bob 222222222222 true", "AWS::IAM::AccessKey AKIAIOSFODNN7EXAMPLE 222222222222 false",
		"AWS::EC2::VPC vpc-0aaaaaaaaaaaaaaaa 222222222222 false", "AWS::IAM::Role clinic-web 222222222222 true", "AWS::IAM::AccessKey ASIAIOSFODNN7EXAMPLE 222222222222 false",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if bare := one(t, event1(t, "guardduty-attack-sequence-bare")); len(bare.Resources) != 0 || bare.Band != incident.Critical {
		t.Errorf("one without a sequence: %+v", bare)
	}
}

func TestKeysInSecurityHubsForms(t *testing.T) {
	var m map[string]any
	if err := json.Unmarshal(event1(t, "securityhub-misused-user-key-asff"), &m); err != nil {
		t.Fatal(err)
	}
	finding := m["detail"].(map[string]any)["findings"].([]any)[0].(map[string]any)
	for _, c := range []struct{ name, resource, want string }{
		{"as it is", `{"Type":"AwsIamAccessKey","Id":"AWS::IAM::AccessKey:AKIAIOSFODNN7EXAMPLE","Details":{"AwsIamAccessKey":{"PrincipalType":"IAMUser","PrincipalId":"AIDAEXAMPLEEXAMPLE01","UserName":"bob"}}}`, "user bob AKIAIOSFODNN7EXAMPLE"},
		{"before there were types", `{"Type":"AwsIamAccessKey","Id":"AWS::IAM::AccessKey:AKIAIOSFODNN7EXAMPLE","Details":{"AwsIamAccessKey":{"UserName":"bob"}}}`, "user bob AKIAIOSFODNN7EXAMPLE"},
		{"no key, the name alone", `{"Type":"AwsIamAccessKey","Id":"AWS::IAM::AccessKey:null","Details":{"AwsIamAccessKey":{"UserName":"bob"}}}`, "other bob "},
		{"root before there were types", `{"Type":"AwsIamAccessKey","Id":"AWS::IAM::AccessKey:AKIAIOSFODNN7EXAMPLE","Details":{"AwsIamAccessKey":{"UserName":"Root"}}}`, "other Root AKIAIOSFODNN7EXAMPLE"},
		{"a role's session", `{"Type":"AwsIamAccessKey","Id":"AWS::IAM::AccessKey:ASIAIOSFODNN7EXAMPLE","Details":{"AwsIamAccessKey":{"PrincipalType":"Role","PrincipalId":"AROAEXAMPLEEXAMPLE01:s","PrincipalName":"app"}}}`, "role app ASIAIOSFODNN7EXAMPLE"},
		{"a person of the identity center", `{"Type":"AwsIamAccessKey","Id":"AWS::IAM::AccessKey:ASIAIOSFODNN7EXAMPLE","Details":{"AwsIamAccessKey":{"PrincipalType":"AssumedRole","PrincipalId":"AROAEXAMPLEEXAMPLE01:bob@example.com","UserName":"AWSReservedSSO_Admin_0123456789abcdef"}}}`, "identity-center AWSReservedSSO_Admin_0123456789abcdef ASIAIOSFODNN7EXAMPLE"},
	} {
		finding["Resources"] = []any{json.RawMessage(c.resource)}
		raw, _ := json.Marshal(m)
		p := one(t, raw).Principal
		if got := fmt.Sprint(p.Kind, " ", p.Name, " ", p.KeyID); got != c.want || p.Kind == WhoCenter && p.ARN != "" {
			t.Errorf("%s: %s (%s), want %s", c.name, got, p.Doubt, c.want)
		}
	}
	// OCSF: the key in data, a shortened one in uid; data as an object or as a string.
	for _, data := range []string{
		`{"access_key_id":"AKIAIOSFODNN7EXAMPLE","principal_id":"AIDAEXAMPLEEXAMPLE01","user_name":"bob","user_type":"IAMUser"}`,
		`"{\"AwsIamAccessKey\":{\"PrincipalId\":\"AIDAEXAMPLEEXAMPLE01\",\"PrincipalType\":\"IAMUser\",\"UserName\":\"bob\",\"AccessKeyId\":\"AKIAIOSFODNN7EXAMPLE\"}}"`,
	} {
		var o map[string]any
		if err := json.Unmarshal(event1(t, "securityhub-guardduty-ocsf"), &o); err != nil {
			t.Fatal(err)
		}
		of := o["detail"].(map[string]any)["findings"].([]any)[0].(map[string]any)
		of["resources"] = []any{map[string]any{"type": "AWS::IAM::AccessKey", "uid": "AKIA...MPLE", "data": json.RawMessage(data)}}
		of["finding_info"].(map[string]any)["types"] = []any{"Threats", "UnauthorizedAccess:IAMUser/TorIPCaller"}
		raw, _ := json.Marshal(o)
		if f := one(t, raw); f.Principal.Kind != WhoUser || f.Principal.KeyID != "AKIAIOSFODNN7EXAMPLE" || f.About != "AccessKey" {
			t.Errorf("%s: %+v about %s", data, f.Principal, f.About)
		}
	}
}

func TestConfigRulesByTheirBaseName(t *testing.T) {
	for name, want := range map[string]string{
		"s3-bucket-public-read-prohibited":                               "s3-bucket-public-read-prohibited",
		"s3-bucket-public-read-prohibited-conformance-pack-qayjyopmd":    "s3-bucket-public-read-prohibited",
		"securityhub-s3-default-encryption-kms-791d3b9c":                 "s3-default-encryption-kms",
		"OrgConfigRule-encrypted-volumes-ab12cd34":                       "encrypted-volumes",
		"AWSControlTower_AWS-GR_S3_BUCKET_PUBLIC_READ_PROHIBITED":        "s3-bucket-public-read-prohibited",
		"AWSControlTower_AWS-GR_RESTRICTED_SSH":                          "restricted-ssh",
		"AWSControlTower_AWS-GR_":                                        "AWSControlTower_AWS-GR_",
		"S3_BUCKET_PUBLIC_READ_PROHIBITED":                               "S3_BUCKET_PUBLIC_READ_PROHIBITED",
		"securityhub-":                                                   "securityhub-",
		"my-own-rule":                                                    "my-own-rule",
		"":                                                               "",
		"ec2-instance-no-public-ip-conformance-pack-":                    "ec2-instance-no-public-ip-conformance-pack-",
		"securityhub-access-keys-rotated-eee76602-conformance-pack-ab1x": "securityhub-access-keys-rotated-eee76602",
	} {
		if got := baseRule(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	// The same verdict through Security Hub is the same incident.
	native := one(t, event1(t, "config-public-bucket"))
	asff := `{"SchemaVersion":"2018-10-08","Id":"arn:aws:config:us-east-1:222222222222:config-rule/config-rule-ex0001/finding/0123456789abcdef","ProductArn":"arn:aws:securityhub:us-east-1::product/aws/config","AwsAccountId":"222222222222","Region":"us-east-1",
	"GeneratorId":"arn:aws:config:us-east-1:222222222222:config-rule/config-rule-ex0001","Types":["Software and Configuration Checks"],"Severity":{"Label":"MEDIUM","Normalized":40},"Title":"s3-bucket-public-read-prohibited-conformance-pack-ab12cd34e",
	"ProductFields":{"aws/config/ConfigRuleName":"s3-bucket-public-read-prohibited-conformance-pack-ab12cd34e"},"Resources":[{"Type":"AwsS3Bucket","Id":"arn:aws:s3:::clinic-exports"}],"Compliance":{"Status":"FAILED"},"RecordState":"ACTIVE","Workflow":{"Status":"NEW"}}`
	if f := one(t, []byte(asff)); f.IncidentID() != native.IncidentID() || f.Type != native.Type {
		t.Errorf("%s %s, natively %s %s", f.IncidentID(), f.Type, native.IncidentID(), native.Type)
	}
}

func TestTimesInAnyForm(t *testing.T) {
	for in, want := range map[string]string{
		`"2026-01-15T10:14:00Z"`: "2026-01-15T10:14:00Z", `"2026-01-15T10:14:00.123456789Z"`: "2026-01-15T10:14:00.123456789Z",
		`"2026-01-15T05:14:00.000-05:00"`: "2026-01-15T10:14:00Z", `"Thu, 15 Jan 2026 10:14:00 GMT"`: "2026-01-15T10:14:00Z",
		`"Thu, 1 Jan 2026 10:14:00 GMT"`: "2026-01-01T10:14:00Z", `"Thu Jan 15 10:14:00.000 UTC 2026"`: "2026-01-15T10:14:00Z",
		`"2026-01-15 10:14:00.721"`: "2026-01-15T10:14:00.721Z", `1768472040000`: "2026-01-15T10:14:00Z", `1768472040.5`: "2026-01-15T10:14:00.5Z",
		`1.76847204e12`: "2026-01-15T10:14:00Z", `"1970-01-01T00:00:00Z"`: "", `"yesterday"`: "", `""`: "", `0`: "", `-5`: "", `1e300`: "", `true`: "", `null`: "", `{"year":2023}`: "",
	} {
		v, err := parse([]byte(`{"t":` + in + `}`))
		if err != nil {
			t.Fatal(err)
		}
		got := asTree(v).time("t")
		if text := got.Format("2006-01-02T15:04:05.999999999Z07:00"); got.IsZero() != (want == "") || want != "" && text != want {
			t.Errorf("%s is %s, want %s", in, text, want)
		}
	}
}

func TestExternalAccessNamesWhoHasIt(t *testing.T) {
	if f := one(t, event1(t, "access-analyzer-queue")); !slices.Equal(f.External, []string{"*"}) || f.Band != incident.High {
		t.Errorf("%+v", f)
	}
	if f := one(t, event1(t, "access-analyzer-role")); !slices.Equal(f.External, []string{"333333333333"}) || f.Band != incident.Medium {
		t.Errorf("%+v", f)
	}
	if f := one(t, changed(t, "access-analyzer-queue", map[string]any{"Federated": "accounts.example.com"}, "detail", "principal")); !slices.Equal(f.External, []string{"Federated:accounts.example.com"}) {
		t.Errorf("%v", f.External)
	}
	for path, value := range map[string]any{"status": "PENDING", "isPublic": "perhaps", "isDeleted": 3, "principal": nil, "resource": "arn:aws:sqs:us-east-1:333333333333:x"} {
		if f := one(t, changed(t, "access-analyzer-queue", value, "detail", path)); f.Doubt == "" {
			t.Errorf("with %s %v it may be acted on", path, value)
		}
	}
}

// What AWS Health tells Security Hub is the event that it sends itself, and what is no security event in one form is none in the
// other.
func TestHealthThroughSecurityHub(t *testing.T) {
	native := one(t, event1(t, "health-exposed-key"))
	asff := `{"SchemaVersion":"2018-10-08","Id":"arn:aws:health:us-east-1:222222222222:event/RISK/AWS_RISK_CREDENTIALS_EXPOSED/AWS_RISK_CREDENTIALS_EXPOSED_ex1/0123456789ABCDEF","ProductArn":"arn:aws:securityhub:us-east-1::product/aws/health",
	"AwsAccountId":"222222222222","Region":"us-east-1","GeneratorId":"AWS_RISK_CREDENTIALS_EXPOSED","Types":["Software and Configuration Checks"],"Severity":{"Label":"CRITICAL","Normalized":90},"Title":"AWS Health - AWS_RISK_CREDENTIALS_EXPOSED",
	"Resources":[{"Type":"Other","Id":"AKIAIOSFODNN7EXAMPLE"}],"RecordState":"ACTIVE","Workflow":{"Status":"NEW"}}`
	f := one(t, []byte(asff))
	if f.IncidentID() != native.IncidentID() || f.Type != native.Type || f.Source != native.Source || f.About != native.About {
		t.Errorf("%s %s %s %s, natively %s %s %s %s", f.IncidentID(), f.Type, f.Source, f.About, native.IncidentID(), native.Type, native.Source, native.About)
	}
	if diff := cmp.Diff(native.Resources, f.Resources); diff != "" {
		t.Errorf("resources (-native +got):\n%s", diff)
	}
	if diff := cmp.Diff(native.Principal, f.Principal); diff != "" {
		t.Errorf("principal (-native +got):\n%s", diff)
	}
	maintenance := strings.NewReplacer("/RISK/", "/SES/", "AWS_RISK_CREDENTIALS_EXPOSED", "AWS_SES_CMF_PENDING_TO_SUCCESS").Replace(asff)
	if _, err := Decode([]byte(maintenance)); Refused(err) == nil || Refused(err).Tell || !strings.Contains(err.Error(), "not a security event") {
		t.Errorf("a notice about mail: %v", err)
	}
}

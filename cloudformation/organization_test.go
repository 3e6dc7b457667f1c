package cloudformation

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestFindingsAreMadeAndComeSoon(t *testing.T) {
	detector := read(t, "organization.yaml").resource(t, "GuardDutyDetector")
	if got := text(detector.property("FindingPublishingFrequency")); got != "FIFTEEN_MINUTES" {
		t.Errorf("findings that repeat come out %s", got)
	}
	var on []string
	for _, f := range detector.property("Features").Content {
		if text(at(f, "Status")) == "ENABLED" {
			on = append(on, text(at(f, "Name")))
		}
	}
	want := []string{"EBS_MALWARE_PROTECTION", "EKS_AUDIT_LOGS", "LAMBDA_NETWORK_LOGS", "RDS_LOGIN_EVENTS", "RUNTIME_MONITORING", "S3_DATA_EVENTS"}
	if !slices.Equal(sorted(on), want) {
		t.Errorf("protection plans %v", sorted(on))
	}
}

func TestTheTrailCanBeBelieved(t *testing.T) {
	tpl := read(t, "organization.yaml")
	trail := tpl.resource(t, "Trail")
	for _, p := range []string{"IsLogging", "IsOrganizationTrail", "IsMultiRegionTrail", "IncludeGlobalServiceEvents", "EnableLogFileValidation"} {
		if text(trail.property(p)) != "true" {
			t.Errorf("the trail has %s %q", p, text(trail.property(p)))
		}
	}
	if key := text(trail.property("KMSKeyId")); !strings.HasSuffix(key, text(tpl.resource(t, "RecordsKeyAlias").property("AliasName"))) {
		t.Errorf("the trail is encrypted by %q", key)
	}
	bucket := tpl.resource(t, "Records")
	if name := text(bucket.property("BucketName")); name != "!Sub firebreak-records-${AWS::AccountId}-${AWS::Region}" || text(trail.property("S3BucketName")) != "!Sub firebreak-records-${SecurityAccount}-${HomeRegion}" {
		t.Errorf("the trail writes to %q, the bucket is called %q", text(trail.property("S3BucketName")), name)
	}
	rule := dig(bucket.property(), "LifecycleConfiguration.Rules.0")
	if text(at(rule, "ExpirationInDays")) != "!Ref TrailDays" || len(at(rule, "Transitions").Content) == 0 {
		t.Error("the trail is neither tiered nor kept for as long as it was asked")
	}
	if text(dig(bucket.property(), "ObjectLockConfiguration.Rule.DefaultRetention.Mode")) == "" {
		t.Error("the trail can be deleted by whoever may write to its bucket")
	}
	source := "!Sub arn:${AWS::Partition}:cloudtrail:${HomeRegion}:${ManagementAccount}:trail/" + text(trail.property("TrailName"))
	for _, s := range statements("records", tpl.resource(t, "RecordsPolicy").property("PolicyDocument")) {
		if strings.HasPrefix(s.sid(), "RecordsTrail") && text(at(s.node, "Condition", "StringEquals", "aws:SourceArn")) != source {
			t.Errorf("%s lets any trail in", s.sid())
		}
	}
}

// AWS Config delivers to no bucket with Object Lock (CloudFormation reference, AWS::Config::DeliveryChannel), so the recorders' bucket is
// not the trail's; nobody deletes from it all the same, and only the organization's recorders write.
func TestRecordersWriteWhereConfigCanDeliver(t *testing.T) {
	tpl := read(t, "organization.yaml")
	target := text(at(tpl.root, "Outputs", "RecordsBucket", "Value"))
	bucket := tpl.resource(t, strings.TrimPrefix(target, "!Ref "))
	if bucket.property("ObjectLockEnabled") != nil || bucket.property("ObjectLockConfiguration") != nil {
		t.Errorf("%s is locked: no recorder can deliver to it", bucket)
	}
	if got := text(bucket.property("VersioningConfiguration", "Status")); got != "Enabled" {
		t.Errorf("%s keeps no versions", bucket)
	}
	policy := tpl.resource(t, bucket.id+"Policy")
	if text(policy.property("Bucket")) != target {
		t.Errorf("%s is not the policy of %s", policy, bucket)
	}
	var kept []string
	for _, s := range statements("policy", policy.property("PolicyDocument")) {
		if s.allows() && (text(at(s.node, "Principal", "Service")) != "config.amazonaws.com" || text(at(s.node, "Condition", "StringEquals", "aws:SourceOrgID")) != "!Ref OrganizationId") {
			t.Errorf("%s lets in who is no recorder of the organization", s.sid())
		}
		if !s.allows() && at(s.node, "Condition") == nil && text(at(s.node, "Principal")) == "*" {
			kept = append(kept, list(at(s.node, "Action"))...)
		}
	}
	if !slices.Equal(sorted(kept), []string{"s3:DeleteObject", "s3:DeleteObjectVersion"}) {
		t.Errorf("nobody may %v in %s: records can be deleted", kept, bucket)
	}
}

// One account without a recorder fails a conformance pack and the stack that makes it: it must be possible to leave it out until all have
// one. What Security Hub does comes after Security Hub.
func TestAFirstInstallationCanSucceed(t *testing.T) {
	tpl := read(t, "organization.yaml")
	pack := tpl.resource(t, "PosturePack")
	condition := at(tpl.root, "Conditions", text(at(pack.node, "Condition")))
	if !strings.Contains(spelled(t, condition), "!Ref Posture") {
		t.Errorf("%s is made whether every account has a recorder or not", pack)
	}
	if got := spelled(t, at(tpl.resource(t, "FindingAggregator").node, "Metadata", "After")); !strings.Contains(got, "!Ref Hub") {
		t.Errorf("findings are aggregated after %q, not after Security Hub is on", got)
	}
	rules := read(t, "stacksets.yaml").resource(t, "RuleStacks")
	if !strings.Contains(spelled(t, at(rules.node, "Metadata", "After")), "!Ref RecorderStacks") || !strings.Contains(spelled(t, rules.property("AutoDeployment")), "stackset/${RecorderStacks}") {
		t.Errorf("%s come before the recorders, now or in accounts to come", rules)
	}
	for _, name := range []string{"member.yaml", "forensics.yaml"} {
		for _, r := range read(t, name).resources() {
			for _, target := range targets(r.property("Targets")) {
				if role := at(target, "RoleArn"); r.kind() == "AWS::Events::Rule" && !strings.Contains(spelled(t, role), "!GetAtt ForwarderRole.Arn") {
					t.Errorf("%s can be made before the role that delivers for it", r)
				}
			}
		}
	}
}

// Quotas of IAM, characters without white space: a role's trust policy, its inline policies together, a managed policy. The longest that
// the pseudo parameters make of them, in the longest partition and region.
func TestPoliciesFitIntoIAM(t *testing.T) {
	longest := strings.NewReplacer("!Sub ", "", "!Ref ", "", "!GetAtt ", "", "${AWS::Partition}", "aws-us-gov", "${AWS::AccountId}", "111111111111", "${HubAccount}", "111111111111",
		"${ForensicAccount}", "111111111111", "${AWS::Region}", "ap-southeast-1", "ExternalId", strings.Repeat("x", 64))
	quotas := map[string]int{"AssumeRolePolicyDocument": 2048, "Policies": 10240, "PolicyDocument": 6144}
	for _, tpl := range all(t) {
		for _, r := range tpl.resources() {
			for property, quota := range quotas {
				n := r.property(property)
				if n == nil || !strings.HasPrefix(r.kind(), "AWS::IAM::") {
					continue
				}
				out, err := json.Marshal(plain(n))
				if err != nil {
					t.Fatal(err)
				}
				if size := len(longest.Replace(string(out))); size > quota {
					t.Errorf("%s: %s has up to %d characters, and IAM takes %d", r, property, size, quota)
				} else if size > quota*9/10 {
					t.Logf("%s: %s has up to %d of %d characters", r, property, size, quota)
				}
			}
		}
	}
}

// plain is a node as JSON can write it, functions of CloudFormation by their text.
func plain(n *yaml.Node) any {
	switch n.Kind {
	case yaml.MappingNode:
		out := map[string]any{}
		for _, p := range pairs(n) {
			out[p.key.Value] = plain(p.value)
		}
		return out
	case yaml.SequenceNode:
		out := []any{}
		for _, c := range n.Content {
			out = append(out, plain(c))
		}
		return out
	}
	return text(n)
}

// spelled writes a node out.
func spelled(t *testing.T, n *yaml.Node) string {
	t.Helper()
	out, err := yaml.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// A service control policy may have 5,120 characters (AWS: Organizations quotas), and must let service-linked roles and the keeper
// through, or an installation could not be repaired.
func TestTheFenceFitsAndHasAGate(t *testing.T) {
	content := read(t, "organization.yaml").resource(t, "FencePolicy").property("Content")
	var plain any
	if err := content.Decode(&plain); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(plain)
	if err != nil {
		t.Fatal(err)
	}
	longest := strings.NewReplacer("${AWS::Partition}", "aws-us-gov", "${FenceKeeper}", strings.Repeat("k", 64)).Replace(string(out))
	if len(longest) > 5120 {
		t.Errorf("the fence has up to %d characters", len(longest))
	}
	for _, s := range statements("fence", content) {
		gate := list(at(s.node, "Condition", "ArnNotLike", "aws:PrincipalArn"))
		if s.allows() || !slices.Contains(gate, "!Sub arn:${AWS::Partition}:iam::*:role/${FenceKeeper}") {
			t.Errorf("%s leaves nobody who can repair", s.sid())
		}
	}
}

// The rules that the response matrix and the issue of an installation ask for are there, and no rule is asked twice, since each
// evaluation costs.
func TestConfigurationIsWatched(t *testing.T) {
	var names []string
	tpl := read(t, "config-rules.yaml")
	for _, r := range tpl.resources() {
		if r.kind() != "AWS::Config::ConfigRule" {
			continue
		}
		name := text(r.property("ConfigRuleName"))
		names = append(names, name)
		if id := text(r.property("Source", "SourceIdentifier")); text(r.property("Source", "Owner")) == "AWS" && id != strings.ToUpper(strings.ReplaceAll(name, "-", "_")) {
			t.Errorf("%s asks %s", name, id)
		}
	}
	want := []string{
		"ec2-instance-no-public-ip", "encrypted-volumes", "hipaa-phi-encryption-check", "patient-data-access-logging", "rds-storage-encrypted",
		"s3-bucket-public-read-prohibited", "s3-bucket-public-write-prohibited", "s3-bucket-server-side-encryption-enabled", "s3-default-encryption-kms",
	}
	if !slices.Equal(sorted(names), want) {
		t.Errorf("rules %v", sorted(names))
	}
	var pack yaml.Node
	if err := yaml.Unmarshal([]byte(text(read(t, "organization.yaml").resource(t, "PosturePack").property("TemplateBody"))), &pack); err != nil {
		t.Fatal(err)
	}
	for _, p := range pairs(at(pack.Content[0], "Resources")) {
		name := text(at(p.value, "Properties", "ConfigRuleName"))
		if slices.Contains(want, name) || name == "" || text(at(p.value, "Type")) != "AWS::Config::ConfigRule" {
			t.Errorf("the posture pack's %s is %q, asked already or no rule", p.key.Value, name)
		}
	}
}

var known = regexp.MustCompile(`"(AWS::[A-Za-z0-9]+::[A-Za-z0-9]+)": +\{`)

// A custom rule is asked about exactly the types that its function knows.
func TestRulesAreAskedWhatTheyKnow(t *testing.T) {
	for _, f := range rules {
		var want []string
		for _, m := range known.FindAllStringSubmatch(code(t, f), -1) {
			want = append(want, m[1])
		}
		got := list(read(t, "config-rules.yaml").resource(t, stem(f)+"Rule").property("Scope", "ComplianceResourceTypes"))
		if len(want) < 8 || !slices.Equal(sorted(got), sorted(want)) {
			t.Errorf("%s knows\n%v\nand is asked about\n%v", f, sorted(want), sorted(got))
		}
	}
}

// Whoever looks at evidence must not let it call home: nothing in the template is a way out.
func TestTheForensicNetworkHasNoWayOut(t *testing.T) {
	tpl := read(t, "forensics.yaml")
	ways := []string{"InternetGateway", "NatGateway", "VPCPeering", "TransitGateway", "VPNGateway", "EgressOnly", "AWS::EC2::Route", "ElasticIP", "AWS::EC2::EIP", "CarrierGateway"}
	for _, r := range tpl.resources() {
		for _, way := range ways {
			if strings.Contains(r.kind(), way) && r.kind() != "AWS::EC2::RouteTable" {
				t.Errorf("%s is a way out (%s)", r, r.kind())
			}
		}
		if r.kind() == "AWS::EC2::VPCEndpoint" {
			for _, s := range statements(r.String(), r.property("PolicyDocument")) {
				if text(at(s.node, "Condition", "StringEquals", "aws:PrincipalAccount")) != "!Ref AWS::AccountId" {
					t.Errorf("%s carries data to other people's accounts", r)
				}
			}
			if r.property("PolicyDocument") == nil {
				t.Errorf("%s has no policy: it would carry data to anybody's account", r)
			}
		}
	}
	if got := text(dig(tpl.resource(t, "Evidence").property(), "ObjectLockConfiguration.Rule.DefaultRetention.Mode")); got != "COMPLIANCE" {
		t.Errorf("evidence is locked by %q", got)
	}
	if public := text(tpl.resource(t, "Subnet").property("MapPublicIpOnLaunch")); public != "false" {
		t.Errorf("the subnet gives public addresses: %s", public)
	}
	for _, s := range statements("evidence role", tpl.resource(t, "EvidenceRole").property("Policies")) {
		for _, a := range list(at(s.node, "Action")) {
			if strings.Contains(a, "Delete") || strings.Contains(a, "Unlock") {
				t.Errorf("the role that takes evidence in may %s", a)
			}
		}
	}
}

// A stack set passes exactly what its template takes, and its template stands alone: service-managed stack sets take no nested stacks
// and no transforms (AWS: CloudFormation user guide, stack set considerations).
func TestStackSetsPassWhatTheirTemplatesTake(t *testing.T) {
	for _, r := range read(t, "stacksets.yaml").resources() {
		part := read(t, text(r.property("TemplateURL")))
		var given []string
		for _, p := range r.property("Parameters").Content {
			given = append(given, text(at(p, "ParameterKey")))
		}
		if want := sorted(keys(at(part.root, "Parameters"))); !slices.Equal(sorted(given), want) {
			t.Errorf("%s passes %v, and %s takes %v", r, sorted(given), part.name, want)
		}
		for property, only := range map[string]string{"AutoDeployment": "Managed", "CallAs": "Managed", "AdministrationRoleARN": "", "ExecutionRoleName": ""} {
			choice := r.property(property).Content
			managed, self := text(choice[1]), text(choice[2])
			if text(choice[0]) != "Managed" || (self == "!Ref AWS::NoValue") != (only == "Managed") || (managed == "!Ref AWS::NoValue") != (only == "") {
				t.Errorf("%s: %s is given to the wrong kind of stack set", r, property)
			}
		}
		if at(part.root, "Transform") != nil {
			t.Errorf("%s has a transform", part.name)
		}
		for _, inner := range part.resources() {
			if inner.kind() == "AWS::CloudFormation::Stack" {
				t.Errorf("%s nests a stack", part.name)
			}
			if iam := strings.HasPrefix(inner.kind(), "AWS::IAM::"); iam && !strings.Contains(text(inner.property("RoleName")), "${AWS::Region}") && text(at(inner.node, "Condition")) == "" {
				t.Errorf("%s is made in every region, and IAM's names are global", inner)
			}
		}
	}
}

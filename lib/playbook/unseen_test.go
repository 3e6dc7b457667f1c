package playbook

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// gone takes a key away.
type gone struct{}

// made gives an event of events/ with changes: pairs of a path and a value. d. stands for detail, f. for its first finding, r. for
// detail.resource, k. for its key, s. for detail.service, p. for requestParameters.
func made(t *testing.T, name string, changes ...any) []byte {
	t.Helper()
	var v any
	if err := json.Unmarshal(event(t, name), &v); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(changes); i += 2 {
		path := changes[i].(string)
		for short, long := range map[string]string{"d.": "detail.", "f.": "detail.findings.0.", "r.": "detail.resource.", "k.": "detail.resource.accessKeyDetails.", "s.": "detail.service.", "p.": "detail.requestParameters."} {
			if rest, ok := strings.CutPrefix(path, short); ok {
				path = long + rest
				break
			}
		}
		if !put(v, strings.Split(path, "."), changes[i+1]) {
			t.Fatalf("%s has no %s", name, path)
		}
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func put(v any, path []string, value any) bool {
	key := strings.ReplaceAll(path[0], "·", ".") // a dot in a key
	switch v := v.(type) {
	case map[string]any:
		if len(path) > 1 {
			if v[key] == nil {
				v[key] = map[string]any{}
			}
			return put(v[key], path[1:], value)
		}
		if _, ok := value.(gone); ok {
			delete(v, key)
		} else {
			v[key] = value
		}
		return true
	case []any:
		n, err := strconv.Atoi(key)
		if err != nil || n >= len(v) {
			return false
		}
		if len(path) > 1 {
			return put(v[n], path[1:], value)
		}
		v[n] = value
		return true
	}
	return false
}

// raised writes keys with a capital, as the API does.
func raised(t *testing.T, raw []byte) []byte {
	t.Helper()
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	var raise func(any) any
	raise = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			out := map[string]any{}
			for k, item := range v {
				out[strings.ToUpper(k[:1])+k[1:]] = raise(item)
			}
			return out
		case []any:
			out := []any{}
			for _, item := range v {
				out = append(out, raise(item))
			}
			return out
		}
		return v
	}
	out, err := json.Marshal(raise(v))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

type (
	m = map[string]any
	l = []any
)

// unseen are records that a stranger could send, each with what must come of it: the disposition and, where it acts, the steps
// without the notice; then words of the reason.
func unseen(t *testing.T) []struct{ name, want, says, in string } {
	const (
		mine    = "guardduty-crypto-mining"
		key     = "guardduty-misused-user-key"
		role    = "guardduty-misused-role-session"
		stolen  = "guardduty-stolen-instance-credentials"
		seq     = "guardduty-attack-sequence"
		asff    = "securityhub-guardduty-asff"
		asffK   = "securityhub-misused-user-key-asff"
		ocsf    = "securityhub-guardduty-ocsf"
		aa      = "access-analyzer-queue"
		sg      = "cloudtrail-group-opened"
		health  = "health-exposed-key"
		config  = "config-public-bucket"
		isolate = "respond isolate-instance instance/i-0abcdef1234567890, snapshot-volumes instance/i-0abcdef1234567890, terminate-instance instance/i-0abcdef1234567890"
		keys    = "respond deactivate-keys user/bob, quarantine-principal user/bob, delete-keys user/bob"
		revoke  = "respond revoke-sessions role/report-writer"
	)
	wrap := func(raw []byte) string { b, _ := json.Marshal(string(raw)); return string(b) }
	detail := func(raw []byte) json.RawMessage {
		var e struct{ Detail json.RawMessage }
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatal(err)
		}
		return e.Detail
	}
	first := func(raw []byte) string {
		var e struct {
			Detail struct{ Findings []json.RawMessage }
		}
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatal(err)
		}
		return string(e.Detail.Findings[0])
	}
	var out []struct{ name, want, says, in string }
	add := func(name, want, says string, in []byte) {
		out = append(out, struct{ name, want, says, in string }{name, want, says, string(in)})
	}
	of := func(name, want, says, base string, changes ...any) { add(name, want, says, made(t, base, changes...)) }

	// GuardDuty: what is written differently and means the same.
	of("native", isolate, "compromised-instance", mine)
	of("severity a float", isolate, "", mine, "d.severity", 8.0)
	of("severity as text", isolate, "", mine, "d.severity", "8.5")
	of("severity in exponents", isolate, "", mine, "d.severity", json.RawMessage("0.85e1"))
	of("severity 7 exactly", isolate, "", mine, "d.severity", 7)
	of("severity 10", isolate, "", mine, "d.severity", 10)
	of("severity just below HIGH", "record", "below HIGH", mine, "d.severity", 6.9)
	of("severity zero", "record", "", mine, "d.severity", 0.0)
	of("nulls where something optional could be", isolate, "", mine, "d.createdAt", nil, "d.updatedAt", nil, "s.action", nil, "s.additionalInfo", nil, "r.instanceDetails.tags", nil, "r.instanceDetails.networkInterfaces", nil, "d.title", nil, "d.partition", nil, "s.count", nil, "resources", nil)
	of("times that are none", isolate, "", mine, "d.createdAt", "yesterday", "d.updatedAt", 7, "s.eventLastSeen", m{"a": 1})
	of("count huge", isolate, "", mine, "s.count", json.RawMessage("1e300"))
	of("envelope of another account", isolate, "", mine, "account", "111111111111")
	of("envelope without account", isolate, "", mine, "account", gone{})
	of("envelope with 13 digits", isolate, "", mine, "account", "2222222222223")
	of("envelope with the account as a number", isolate, "", mine, "account", 222222222222)
	of("no resource type: the type says it", isolate, "", mine, "r.resourceType", gone{})
	of("no resource role", isolate, "", mine, "s.resourceRole", gone{})
	of("marked target although it calls out", isolate, "", mine, "s.resourceRole", "TARGET", "d.type", "Trojan:EC2/DropPoint")
	of("IPv6 only", isolate, "", mine, "r.instanceDetails.networkInterfaces", l{m{"networkInterfaceId": "eni-0aaaaaaaaaaaaaaaa", "ipv6Addresses": l{"2001:db8::1"}}})
	of("an older, shorter instance id", "respond isolate-instance instance/i-0abcdef1, snapshot-volumes instance/i-0abcdef1, terminate-instance instance/i-0abcdef1", "", mine, "r.instanceDetails.instanceId", "i-0abcdef1")
	of("GovCloud", isolate, "", mine, "d.region", "us-gov-west-1", "d.arn", "arn:aws-us-gov:guardduty:us-gov-west-1:222222222222:detector/11aabbccddeeff001122334455667788/finding/7a10c2d3e4f5061728394a5b6c7d8e01", "d.partition", "aws-us-gov", "region", "us-gov-west-1")
	of("China", isolate, "", mine, "d.region", "cn-north-1", "d.arn", "arn:aws-cn:guardduty:cn-north-1:222222222222:detector/11aabbccddeeff001122334455667788/finding/7a10c2d3e4f5061728394a5b6c7d8e01", "region", "cn-north-1")
	of("unknown fields beside", isolate, "", mine, "d.brandNew", m{"Type": "Policy:S3/BucketAnonymousAccessGranted", "severity": 1}, "d.TYPE", "x", "d.Severity", 1, "x", l{})
	of("keys of other formats beside", isolate, "", mine, "d.ProductArnX", "x", "d.metadata", m{}, "d.eventTypeCodeX", "y", "d.Records", l{})
	of("a bucket beside the instance it is about", isolate, "", mine, "r.s3BucketDetails", l{m{"name": "clinic-exports", "arn": "arn:aws:s3:::clinic-exports"}})

	// GuardDuty: what is not acted on.
	of("sample", "record", "sample", mine, "s.additionalInfo.sample", true)
	of("sample as text", "record", "sample", mine, "s.additionalInfo.sample", "true")
	of("sample in the API's JSON string", "record", "sample", mine, "s.additionalInfo.value", `{"sample": true, "threatName": "x"}`)
	of("sample by title", "record", "sample", mine, "d.title", "[SAMPLE] EC2 instance")
	of("sample by instance id", "record", "sample", mine, "r.instanceDetails.instanceId", "i-99999999")
	of("sample by key id", "record", "sample", key, "k.accessKeyId", "GeneratedFindingAccessKeyId")
	of("a user who calls himself generated", keys[:len("respond ")]+"deactivate-keys user/GeneratedFindingUserName, quarantine-principal user/GeneratedFindingUserName, delete-keys user/GeneratedFindingUserName", "", key, "k.userName", "GeneratedFindingUserName")
	of("archived", "record", "archived", mine, "s.archived", true)
	of("archived as text", "record", "archived", mine, "s.archived", "True")
	of("archived is a number", "notify", "neither true nor false", mine, "s.archived", 1)
	of("service a word", "notify", "service is a string", mine, "d.service", "guardduty")
	of("additional information a list", "notify", "additionalInfo is a list", mine, "s.additionalInfo", l{m{"sample": true}})
	of("resource a list", "notify", "resource is a list", mine, "d.resource", l{m{"resourceType": "Instance"}})
	of("key a list", "notify", "accessKeyId is a list", key, "k.accessKeyId", l{"AKIAIOSFODNN7EXAMPLE"})
	of("call that failed, a number for the code", "notify", "errorCode is a number", sg, "d.errorCode", 403)
	of("archived is missing", isolate, "", mine, "s.archived", gone{})
	of("severity above ten", "notify", "not a number from 0 to 10", mine, "d.severity", 11)
	of("severity negative", "notify", "not a number from 0 to 10", mine, "d.severity", -1)
	of("severity beyond any number", "notify", "not a number from 0 to 10", mine, "d.severity", json.RawMessage("1e999"))
	of("severity a word", "notify", "not a number", mine, "d.severity", "HIGH")
	of("severity null", "notify", "not a number", mine, "d.severity", nil)
	of("severity a list", "notify", "not a number", mine, "d.severity", l{8})
	of("severity NaN", "notify", "not a number", mine, "d.severity", "NaN")
	of("account missing", "notify", "accountId is missing", mine, "d.accountId", gone{})
	of("account a number", "notify", "accountId is", mine, "d.accountId", 222222222222)
	of("account of 13 digits", "notify", "accountId is", mine, "d.accountId", "2222222222223")
	of("account with a star", "notify", "accountId is", mine, "d.accountId", "*")
	of("id missing", "notify", "id is missing", mine, "d.id", nil, "d.arn", nil)
	of("type missing", "notify", "type is missing", mine, "d.type", nil)
	of("type a list", "notify", "type is a list", mine, "d.type", l{"Trojan:EC2/DropPoint"})
	of("type with a line break", "notify", "type is", mine, "d.type", "Trojan:EC2/DropPoint\n")
	of("type in another case", "notify", "does not know", mine, "d.type", "cryptocurrency:ec2/bitcointool.b!dns")
	of("type unknown, HIGH", "notify", "does not know", mine, "d.type", "CryptoCurrency:EC2/BitcoinTool.Z")
	of("type unknown, MEDIUM", "record", "does not know", mine, "d.type", "CryptoCurrency:EC2/BitcoinTool.Z", "d.severity", 5)
	of("purpose unknown", "notify", "does not know", mine, "d.type", "Sabotage:EC2/DropPoint")
	of("resource token unknown", "notify", "does not know", mine, "d.type", "Trojan:Bedrock/DropPoint")
	of("type no type at all", "notify", "does not know", mine, "d.type", "weird")
	of("region that is none", "notify", "not the name of a region", mine, "d.region", "moon", "d.arn", nil)
	of("ARN of another account", "notify", "its ARN says account", mine, "d.arn", "arn:aws:guardduty:us-east-1:333333333333:detector/11aabbccddeeff001122334455667788/finding/7a10c2d3e4f5061728394a5b6c7d8e01")
	of("ARN of another region", "notify", "its ARN says account", mine, "d.arn", "arn:aws:guardduty:us-west-2:222222222222:detector/11aabbccddeeff001122334455667788/finding/7a10c2d3e4f5061728394a5b6c7d8e01")
	of("ARN of another finding", "notify", "its ARN ends in", mine, "d.arn", "arn:aws:guardduty:us-east-1:222222222222:detector/11aabbccddeeff001122334455667788/finding/ffffffffffffffffffffffffffffffff")
	of("another service in it", "notify", "serviceName", mine, "s.serviceName", "inspector")
	of("instance id with a wildcard", "notify", "none that can be told", mine, "r.instanceDetails.instanceId", "i-*")
	of("instance id in capitals", "notify", "none that can be told", mine, "r.instanceDetails.instanceId", "I-0ABCDEF1234567890")
	of("instance id missing", "notify", "names none", mine, "r.instanceDetails.instanceId", nil)
	of("resource missing", "notify", "names none", mine, "d.resource", gone{})
	of("resource type in another case", "notify", "", mine, "r.resourceType", "instance")
	of("resource type contradicts", "notify", "", mine, "r.resourceType", "S3Bucket")
	of("probed", "record", "probe", mine, "d.type", "Recon:EC2/PortProbeUnprotectedPort", "d.severity", 2, "s.resourceRole", "TARGET")
	of("brute force against it", "notify", "probe", mine, "d.type", "UnauthorizedAccess:EC2/SSHBruteForce", "s.resourceRole", "TARGET")
	of("brute force by it", isolate, "attacking-instance", mine, "d.type", "UnauthorizedAccess:EC2/SSHBruteForce", "s.resourceRole", "ACTOR")
	of("brute force, nobody says by whom", "notify", "", mine, "d.type", "UnauthorizedAccess:EC2/RDPBruteForce", "s.resourceRole", gone{})
	of("brute force, an invented role", "notify", "", mine, "d.type", "UnauthorizedAccess:EC2/RDPBruteForce", "s.resourceRole", "actor?")
	of("WinRM brute force against it", "notify", "probe", mine, "d.type", "Impact:EC2/WinRMBruteForce", "s.resourceRole", "TARGET")
	of("WinRM brute force by it", isolate, "attacking-instance", mine, "d.type", "Impact:EC2/WinRMBruteForce", "s.resourceRole", "ACTOR")
	of("a port swept by it", isolate, "compromised-instance", mine, "d.type", "Impact:EC2/PortSweep", "s.resourceRole", "TARGET")
	of("malware in an image", "notify", "", mine, "d.type", "Execution:EC2/MaliciousFile!AMI", "d.resource", m{"resourceType": "EC2Image", "ec2ImageDetails": m{"imageArn": "arn:aws:ec2:us-east-1::image/ami-0123456789abcdef0"}})
	of("malware in a snapshot of an instance", "notify", "", mine, "d.type", "Execution:EC2/MaliciousFile!Snapshot", "r.resourceType", "EBSSnapshot", "r.ebsSnapshotDetails", m{"snapshotArn": "arn:aws:ec2:us-east-1::snapshot/snap-0123456789abcdef0"})
	of("mining in a task on an instance", "notify", "", mine, "d.type", "CryptoCurrency:Runtime/BitcoinTool.B", "r.resourceType", "ECSCluster", "r.ecsClusterDetails", m{"name": "clinic", "arn": "arn:aws:ecs:us-east-1:222222222222:cluster/clinic"})
	of("a database of many shards", "notify", "", mine, "d.type", "CredentialAccess:RDS/AnomalousBehavior.SuccessfulLogin", "d.resource", m{"resourceType": "RDSLimitlessDB", "rdsLimitlessDbDetails": m{"dbShardGroupArn": "arn:aws:rds:us-east-1:222222222222:shard-group:x"}})
	of("source of a third party", "ignore", "source is", mine, "source", "com.example.guardduty")
	of("source of a partner", "ignore", "partner", mine, "source", "aws.partner/example.com/feed")
	of("source in another case", "ignore", "source is", mine, "source", "AWS.guardduty")
	of("source missing", "notify", "names no source", mine, "source", gone{})
	of("source another service's", "ignore", "not a finding", mine, "source", "aws.ec2")
	of("another detail-type of it", "ignore", "not a finding", mine, "detail-type", "GuardDuty Malware Protection Object Scan Result")
	of("detail null", "notify", "detail is missing", mine, "detail", nil)
	of("detail a list", "notify", "detail is a list", mine, "detail", l{})

	// Who: the principal.
	of("user key", keys, "", key)
	of("user with a path, which other findings leave out", keys, "", key, "k.userName", "ops/team/bob")
	of("user as an ARN with a path", keys, "", key, "k.userName", "arn:aws:iam::222222222222:user/ops/team/bob")
	of("user as an ARN", keys, "", key, "k.userName", "arn:aws:iam::222222222222:user/bob")
	of("user of another account", "notify", "another account", key, "k.userName", "arn:aws:iam::333333333333:user/bob")
	of("user named with a wildcard", "notify", "user name", key, "k.userName", "bob*")
	of("user whose path climbs", "notify", "user name", key, "k.userName", "../bob")
	of("user type unknown", "notify", "user type", key, "k.userType", "Human")
	of("user type in another case", "notify", "user type", key, "k.userType", "iamuser")
	of("user type missing", "notify", "user type", key, "k.userType", gone{})
	of("a user with a role's id", "notify", "principal id", key, "k.principalId", "AROAEXAMPLEEXAMPLE01:bob")
	of("a user with a session's key", "respond quarantine-principal user/bob", "", key, "k.accessKeyId", "ASIAIOSFODNN7EXAMPLE")
	of("a user without a key", keys, "", key, "k.accessKeyId", nil)
	of("a user with a key that is none", "notify", "long-term key", key, "k.accessKeyId", "ABCD1234")
	of("root", "notify", "root", key, "k.userType", "Root", "k.userName", "Root", "k.principalId", "222222222222")
	of("federated user", "notify", "federated", key, "k.userType", "FederatedUser")
	of("identity center user", "notify", "", key, "k.userType", "IdentityCenterUser")
	of("an AWS service", "notify", "", key, "k.userType", "AWSService", "k.userName", "ec2.amazonaws.com")
	of("another AWS account", "notify", "", key, "k.userType", "AWSAccount")
	of("a low one", "record", "", key, "d.severity", 2)
	of("role session", revoke, "", role)
	of("role type called Role", revoke, "", role, "k.userType", "Role")
	of("role as an assumed-role ARN", "respond revoke-sessions role/clinic-web", "", role, "k.userName", "arn:aws:sts::222222222222:assumed-role/clinic-web/somebody")
	of("role of the identity center", "notify", "", role, "k.userName", "AWSReservedSSO_Admin_0123456789abcdef")
	of("service-linked role", "notify", "", role, "k.userName", "AWSServiceRoleForSupport")
	of("our own role", "notify", "Firebreak itself", role, "k.userName", "SecurityRemediationRole-Network")
	of("a role with a user's key", "notify", "long-term", role, "k.accessKeyId", "AKIAIOSFODNN7EXAMPLE")
	of("a role with its session in the name", "notify", "", role, "k.userName", "clinic-web/somebody", "k.principalId", "AROAEXAMPLEEXAMPLE01:somebody")
	of("no key details", "notify", "", key, "r.accessKeyDetails", gone{})
	of("key details empty", "notify", "", key, "r.accessKeyDetails", m{})
	of("key details all null", "notify", "", key, "k.userName", nil, "k.userType", nil, "k.principalId", nil, "k.accessKeyId", nil)

	// Whose credentials, and who used them.
	const theft = "respond revoke-sessions role/clinic-web, isolate-instance instance/i-0abcdef1234567890, snapshot-volumes instance/i-0abcdef1234567890, terminate-instance instance/i-0abcdef1234567890"
	of("stolen", theft, "", stolen)
	of("stolen, MEDIUM", theft, "", stolen, "d.severity", 5)
	of("stolen, used on another instance", theft, "", stolen, "r.instanceDetails.instanceId", "i-0fedcba9876543210", "d.type", "UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration.InsideAWS")
	of("stolen, the finding names no instance", theft, "", stolen, "r.instanceDetails", gone{})
	of("stolen, the session is no instance", "respond revoke-sessions role/clinic-web", "", stolen, "k.principalId", "AROAEXAMPLEEXAMPLE01:build", "r.instanceDetails", gone{})
	const inside = "UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration.InsideAWS"
	of("stolen, used inside, the session is no instance", "respond revoke-sessions role/clinic-web", "", stolen, "d.type", inside, "k.principalId", "AROAEXAMPLEEXAMPLE01:build")
	of("stolen, used inside, nobody says by which session", "respond revoke-sessions role/clinic-web", "", stolen, "d.type", inside, "k.principalId", nil)
	of("stolen, used outside, the session is no instance", theft, "", stolen, "k.principalId", "AROAEXAMPLEEXAMPLE01:build")
	of("stolen, nobody says whose", "notify", "", stolen, "r.accessKeyDetails", gone{})
	of("stolen from a role of the identity center", "notify", "", stolen, "k.userName", "AWSReservedSSO_Admin_0123456789abcdef")
	of("stolen, the old type", theft, "", stolen, "d.type", "UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration")
	of("a misused role, with an instance beside", revoke, "", role, "r.instanceDetails", m{"instanceId": "i-0fedcba9876543210"})

	// Attack sequences.
	of("sequence", "respond quarantine-principal user/bob, deactivate-keys user/bob, revoke-sessions role/clinic-web, isolate-instance instance/i-0abcdef1234567890, isolate-instance instance/i-0fedcba9876543210, snapshot-volumes instance/i-0abcdef1234567890, snapshot-volumes instance/i-0fedcba9876543210", "", seq)
	of("sequence by an instance's role", "respond revoke-sessions role/clinic-web, isolate-instance instance/i-0abcdef1234567890, isolate-instance instance/i-0fedcba9876543210, snapshot-volumes instance/i-0abcdef1234567890, snapshot-volumes instance/i-0fedcba9876543210", "", seq, "s.detection.sequence.resources", l{m{"uid": "i-0abcdef1234567890", "resourceType": "EC2_INSTANCE", "accountId": "222222222222"}, m{"uid": "i-0fedcba9876543210", "resourceType": "EC2_INSTANCE", "accountId": "222222222222"}})
	of("sequence of nothing", "notify", "names nothing", seq, "s.detection", gone{})
	of("sequence of strangers", "notify", "", seq, "s.detection.sequence.actors", gone{}, "s.detection.sequence.resources", l{m{"uid": "arn:aws:ec2:us-east-1:333333333333:instance/i-0aaaabbbbccccdddd", "resourceType": "EC2_INSTANCE", "accountId": "333333333333"}})
	of("sequence on a cluster", "notify", "", seq, "d.type", "AttackSequence:EKS/CompromisedCluster", "s.detection.sequence.actors", gone{}, "s.detection.sequence.resources", l{m{"uid": "arn:aws:eks:us-east-1:222222222222:cluster/clinic", "resourceType": "EKS_CLUSTER", "accountId": "222222222222"}})
	of("sequence on data", "respond quarantine-principal user/bob, deactivate-keys user/bob", "", seq, "d.type", "AttackSequence:S3/CompromisedData", "s.detection.sequence.actors", gone{}, "s.detection.sequence.resources", l{m{"uid": "arn:aws:s3:::clinic-exports", "resourceType": "S3_BUCKET", "accountId": "222222222222"}, m{"uid": "AKIAIOSFODNN7EXAMPLE", "resourceType": "ACCESS_KEY", "accountId": "222222222222", "data": m{"accessKey": m{"principalId": "AIDAEXAMPLEEXAMPLE01", "userName": "bob", "userType": "IAMUser"}}}})
	of("sequence by root", "notify", "", seq, "d.type", "AttackSequence:IAM/CompromisedCredentials", "s.detection.sequence.resources", gone{}, "s.detection.sequence.actors", l{m{"id": "a", "user": m{"name": "root", "type": "Root", "uid": "222222222222", "account": m{"uid": "222222222222"}}}})
	of("ASFF, sequence by two users", "respond quarantine-principal user/bob, quarantine-principal user/eve, deactivate-keys user/bob, deactivate-keys user/eve", "", asff, "f.Types", l{"TTPs/AttackSequence:S3/CompromisedData"}, "f.Resources", l{
		m{"Type": "AwsS3Bucket", "Id": "arn:aws:s3:::clinic-exports"},
		m{"Type": "AwsIamAccessKey", "Id": "AWS::IAM::AccessKey:AKIAIOSFODNN7EXAMPLE", "Details": m{"AwsIamAccessKey": m{"PrincipalId": "AIDAEXAMPLEEXAMPLE01", "PrincipalName": "bob", "PrincipalType": "IAMUser"}}},
		m{"Type": "AwsIamAccessKey", "Id": "AWS::IAM::AccessKey:AKIAI44QH8DHBEXAMPLE", "Details": m{"AwsIamAccessKey": m{"PrincipalId": "AIDAEXAMPLEEXAMPLE02", "PrincipalName": "eve", "PrincipalType": "IAMUser"}}},
	})
	of("ASFF, sequence whose actor stands in it alone", "respond revoke-sessions role/clinic-web", "", asff, "f.Types", l{"TTPs/AttackSequence:IAM/CompromisedCredentials"}, "f.Resources", l{m{"Type": "AwsAccount", "Id": "AWS::::Account:222222222222"}},
		"f.Detection", m{"Sequence": m{"Uid": "s", "Actors": l{m{"Id": "a", "User": m{"Name": "clinic-web", "Uid": "AROAEXAMPLEEXAMPLE01:build", "Type": "AssumedRole", "CredentialUid": "ASIAIOSFODNN7EXAMPLE", "Account": m{"Uid": "222222222222"}}}}}})
	of("sequence, unknown", "notify", "does not know", seq, "d.type", "AttackSequence:Bedrock/CompromisedModel")
	of("sequence, sample", "record", "sample", seq, "s.additionalInfo.sample", true)
	of("sequence, resources a map", "notify", "", seq, "s.detection.sequence.resources", "x", "s.detection.sequence.actors", 7)

	// Other things that GuardDuty watches.
	of("cluster", "notify", "cluster", mine, "d.type", "Execution:Kubernetes/ExecInKubeSystemPod", "d.resource", m{"resourceType": "EKSCluster", "eksClusterDetails": m{"name": "clinic", "arn": "arn:aws:eks:us-east-1:222222222222:cluster/clinic"}})
	of("runtime on a cluster's node", "notify", "", mine, "d.type", "CryptoCurrency:Runtime/BitcoinTool.B", "r.resourceType", "EKSCluster", "r.eksClusterDetails", m{"name": "clinic"})
	of("runtime on an instance", isolate, "", mine, "d.type", "CryptoCurrency:Runtime/BitcoinTool.B")
	of("task", "notify", "", mine, "d.type", "CryptoCurrency:Runtime/BitcoinTool.B", "d.resource", m{"resourceType": "ECSCluster", "ecsClusterDetails": m{"name": "clinic", "arn": "arn:aws:ecs:us-east-1:222222222222:cluster/clinic"}})
	of("function", "notify", "function", mine, "d.type", "Backdoor:Lambda/C&CActivity.B", "d.resource", m{"resourceType": "Lambda", "lambdaDetails": m{"functionArn": "arn:aws:lambda:us-east-1:222222222222:function:clinic", "functionName": "clinic"}})
	of("database", "notify", "database", mine, "d.type", "CredentialAccess:RDS/AnomalousBehavior.SuccessfulBruteForce", "d.resource", m{"resourceType": "RDSDBInstance", "rdsDbInstanceDetails": m{"dbInstanceIdentifier": "clinic", "dbInstanceArn": "arn:aws:rds:us-east-1:222222222222:db:clinic"}})
	of("bucket read strangely", "notify", "data", mine, "d.type", "Exfiltration:S3/AnomalousBehavior", "d.resource", m{"resourceType": "S3Bucket", "s3BucketDetails": l{m{"name": "clinic-exports"}}})
	of("bucket made public, LOW", "respond block-public-access clinic-exports", "", "guardduty-public-bucket", "d.severity", 2)
	of("bucket made public, as one object", "respond block-public-access clinic-exports", "", "guardduty-public-bucket", "r.s3BucketDetails", m{"name": "clinic-exports"})
	of("bucket whose ARN is another's", "notify", "none that can be told", "guardduty-public-bucket", "r.s3BucketDetails", l{m{"name": "clinic-exports", "arn": "arn:aws:s3:::other"}})
	of("bucket without a name", "notify", "names none", "guardduty-public-bucket", "r.s3BucketDetails", l{m{}})
	of("bucket with a slash", "notify", "none that can be told", "guardduty-public-bucket", "r.s3BucketDetails", l{m{"name": "clinic/exports"}})
	of("a directory bucket by its name", "notify", "none that can be told", "guardduty-public-bucket", "r.s3BucketDetails", l{m{"name": "clinic--use1-az4--x-s3"}})
	of("two buckets, one odd", "notify", "none that can be told", "guardduty-public-bucket", "r.s3BucketDetails", l{m{"name": "clinic-exports"}, m{"name": "a b"}})

	// Other forms of the same.
	add("bare", isolate, "", detail(made(t, mine)))
	add("in SNS", isolate, "", []byte(`{"Type":"Notification","TopicArn":"arn:aws:sns:us-east-1:222222222222:x","Message":`+wrap(made(t, mine))+`}`))
	add("in SNS, bare", isolate, "", []byte(`{"Records":[{"EventSource":"aws:sns","Sns":{"Message":`+wrap(detail(made(t, mine)))+`}}]}`))
	add("SNS in SQS", isolate, "", []byte(`{"Records":[{"body":`+wrap([]byte(`{"Message":`+wrap(made(t, mine))+`}`))+`}]}`))
	add("an SNS message that is no JSON", "ignore", "", []byte(`{"Type":"Notification","Message":"hello"}`))
	add("an SNS message that is cut", "ignore", "", []byte(`{"Type":"Notification","Message":`+wrap(made(t, mine)[:300])+`}`))
	add("only its detail", "notify", "names no source", []byte(`{"detail":`+string(detail(made(t, mine)))+`}`))
	add("only its source and detail", "notify", "not read", []byte(`{"source":"aws.guardduty","detail":`+string(detail(made(t, mine)))+`}`))
	add("detail as text", isolate, "", []byte(`{"source":"aws.guardduty","detail-type":"GuardDuty Finding","detail":`+wrap(detail(made(t, mine)))+`}`))
	add("severity twice", "notify", "twice", []byte(strings.Replace(string(made(t, mine)), `"severity":8`, `"severity":2,"severity":8`, 1)))
	add("type twice, the same", isolate, "", []byte(strings.Replace(string(made(t, mine)), `"type":"CryptoCurrency:EC2/BitcoinTool.B!DNS"`, `"type":"CryptoCurrency:EC2/BitcoinTool.B!DNS","type":"CryptoCurrency:EC2/BitcoinTool.B!DNS"`, 1)))
	add("instance twice, in SNS", "notify", "twice", []byte(`{"Message":`+wrap([]byte(strings.Replace(string(made(t, mine)), `"instanceId":`, `"instanceId":"i-0fedcba9876543210","instanceId":`, 1)))+`}`))
	add("deeply nested beside", isolate, "", made(t, mine, "d.deep", json.RawMessage(strings.Repeat(`{"a":`, 900)+"1"+strings.Repeat("}", 900))))

	// ASFF.
	of("ASFF", isolate, "", asff)
	of("ASFF, label alone", isolate, "", asff, "f.Severity", m{"Label": "HIGH"})
	of("ASFF, label in lower case", isolate, "", asff, "f.Severity", m{"Label": "high"})
	of("ASFF, Normalized alone", isolate, "", asff, "f.Severity", m{"Normalized": 70})
	of("ASFF, Normalized as text", isolate, "", asff, "f.Severity", m{"Normalized": "70", "Product": "8.0"})
	of("ASFF, unknown label, Normalized known", isolate, "", asff, "f.Severity", m{"Label": "SEVERE", "Normalized": 75})
	of("ASFF, unknown label alone", "notify", "severity", asff, "f.Severity", m{"Label": "SEVERE"})
	of("ASFF, severity missing", "notify", "severity", asff, "f.Severity", gone{})
	of("ASFF, severity null, the provider's own", isolate, "", asff, "f.Severity", nil, "f.FindingProviderFields", m{"Severity": m{"Label": "HIGH"}})
	of("ASFF, archived", "record", "archived", asff, "f.RecordState", "ARCHIVED")
	of("ASFF, suppressed in lower case", "record", "suppressed", asff, "f.Workflow", m{"Status": "suppressed"})
	of("ASFF, resolved by the old field", "record", "resolved", asff, "f.Workflow", gone{}, "f.WorkflowState", "RESOLVED")
	of("ASFF, record state a list", "notify", "RecordState is a list", asff, "f.RecordState", l{"ARCHIVED"})
	of("ASFF, record state unknown", "notify", "RecordState is \"DORMANT\"", asff, "f.RecordState", "DORMANT")
	of("ASFF, no record state", isolate, "", asff, "f.RecordState", nil)
	of("ASFF, workflow a word", "notify", "Workflow is a string", asff, "f.Workflow", "SUPPRESSED")
	of("ASFF, workflow status unknown", "notify", "Workflow.Status is \"MUTED\"", asff, "f.Workflow", m{"Status": "MUTED"})
	of("ASFF, old workflow state in progress", isolate, "", asff, "f.Workflow", gone{}, "f.WorkflowState", "IN_PROGRESS")
	of("ASFF, product fields a list", "notify", "ProductFields is a list", asff, "f.ProductFields", l{m{"aws/guardduty/service/archived": "true"}})
	of("ASFF, passed", "record", "did not fail", asff, "f.Compliance", m{"Status": "PASSED"})
	of("ASFF, sample", "record", "sample", asff, "f.Sample", true)
	of("ASFF, a partner's", "notify", "only findings of AWS's own", asff, "f.ProductArn", "arn:aws:securityhub:us-east-1::product/crowdstrike/crowdstrike-falcon")
	of("ASFF, imported by anybody", "notify", "only findings of AWS's own", asff, "f.ProductArn", "arn:aws:securityhub:us-east-1:222222222222:product/222222222222/default")
	of("ASFF, product as GuardDuty's guide writes it", isolate, "", asff, "f.ProductArn", "arn:aws:securityhub:us-east-1:product/aws/guardduty")
	of("ASFF, product of an account alone", "notify", "only findings of AWS's own", asff, "f.ProductArn", "arn:aws:securityhub:222222222222:product/aws/guardduty")
	of("ASFF, a key's type under its purpose", keys, "", asffK, "f.Types", l{"TTPs/Privilege Escalation/IAMUser-AnomalousBehavior"})
	of("ASFF, product no ARN", "notify", "only findings of AWS's own", asff, "f.ProductArn", "aws/guardduty")
	of("ASFF, of two accounts", "notify", "its id is of account", asff, "f.AwsAccountId", "333333333333")
	of("ASFF, account missing", "notify", "account", asff, "f.AwsAccountId", gone{})
	of("ASFF, types missing", "notify", "", asff, "f.Types", gone{})
	of("ASFF, the type among others", isolate, "", asff, "f.Types", l{"Threats", "TTPs/Command and Control/CryptoCurrency:EC2-BitcoinTool.B!DNS"})
	of("ASFF, resources missing", "notify", "names none", asff, "f.Resources", gone{})
	of("ASFF, resources null", "notify", "names none", asff, "f.Resources", nil)
	of("ASFF, instance of another account", "notify", "is of account", asff, "f.Resources.0.Id", "arn:aws:ec2:us-east-1:333333333333:instance/i-0abcdef1234567890")
	of("ASFF, instance of another region", "notify", "is in region", asff, "f.Resources.0.Id", "arn:aws:ec2:eu-west-1:222222222222:instance/i-0abcdef1234567890")
	of("ASFF, instance by its id alone, of another region", "notify", "none that can be told", asff, "f.Resources.0.Id", "i-0abcdef1234567890", "f.Resources.0.Region", "eu-west-1")
	of("ASFF, instance by its id alone", isolate, "", asff, "f.Resources.0.Id", "i-0abcdef1234567890")
	of("ASFF, instance called Other", isolate, "", asff, "f.Resources.0.Type", "Other")
	of("ASFF, mining in a task on the instance", "notify", "", asff, "f.Types", l{"TTPs/Command and Control/CryptoCurrency:Runtime-BitcoinTool.B"}, "f.Resources", l{m{"Type": "AwsEc2Instance", "Id": "arn:aws:ec2:us-east-1:222222222222:instance/i-0abcdef1234567890"}, m{"Type": "AwsEcsTask", "Id": "arn:aws:ecs:us-east-1:222222222222:task/clinic/0123456789abcdef"}})
	of("ASFF, mining in a container on the instance", "notify", "", asff, "f.Types", l{"TTPs/Command and Control/CryptoCurrency:Runtime-BitcoinTool.B"}, "f.Resources", l{m{"Type": "AwsEc2Instance", "Id": "arn:aws:ec2:us-east-1:222222222222:instance/i-0abcdef1234567890"}, m{"Type": "Container", "Id": "0123456789abcdef", "Details": m{"Container": m{"Name": "miner"}}}})
	of("mining in a container on the instance", "notify", "", mine, "d.type", "CryptoCurrency:Runtime/BitcoinTool.B", "r.resourceType", "Container", "r.containerDetails", m{"id": "0123456789abcdef"})
	of("ASFF, mining on the instance itself", isolate, "", asff, "f.Types", l{"TTPs/Command and Control/CryptoCurrency:Runtime-BitcoinTool.B"})
	of("ASFF, no ProductFields", isolate, "", asff, "f.ProductFields", gone{})
	of("ASFF, brute force, the resource is the actor", isolate, "", asff, "f.Types", l{"TTPs/Initial Access/UnauthorizedAccess:EC2-SSHBruteForce"}, "f.ProductFields", gone{}, "f.Resources.0.ResourceRole", "Actor")
	of("ASFF, brute force, the resource is the target", "notify", "", asff, "f.Types", l{"TTPs/Initial Access/UnauthorizedAccess:EC2-SSHBruteForce"}, "f.ProductFields", gone{}, "f.Resources.0.ResourceRole", "Target")
	of("ASFF, key", keys, "", asffK)
	of("ASFF, key null", keys, "", asffK, "f.Resources.0.Id", "AWS::IAM::AccessKey:null")
	of("ASFF, key of root", "notify", "root", asffK, "f.Resources.0.Details.AwsIamAccessKey", m{"PrincipalId": "222222222222", "PrincipalName": "Root", "PrincipalType": "Root"})
	of("ASFF, old form of the key", keys, "", asffK, "f.Resources.0.Details.AwsIamAccessKey", m{"UserName": "bob"})
	add("ASFF, bare", isolate, "", []byte(first(made(t, asff))))
	add("ASFF, an answer of GetFindings", isolate, "", []byte(`{"Findings":[`+first(made(t, asff))+`]}`))
	of("ASFF, findings one object", "notify", "", asff, "d.findings", m{})
	of("ASFF, findings missing", "notify", "not read", asff, "d.findings", gone{})
	of("ASFF, a finding that is a word", "notify", "not an object", asff, "d.findings", l{"x"})
	of("ASFF, an insight", "ignore", "not a finding", asff, "detail-type", "Security Hub Insight Results", "d.findings", gone{}, "d.insightArn", "x")
	of("a control of Security Hub", "notify", "no response is laid down", asff, "f.ProductArn", "arn:aws:securityhub:us-east-1::product/aws/securityhub", "f.Compliance", m{"Status": "FAILED", "SecurityControlId": "S3.8"}, "f.Id", "arn:aws:securityhub:us-east-1:222222222222:security-control/S3.8/finding/1")

	// OCSF.
	of("OCSF", isolate, "", ocsf)
	of("OCSF, severity_id alone", isolate, "", ocsf, "f.severity", gone{})
	of("OCSF, word alone", isolate, "", ocsf, "f.severity_id", gone{})
	of("OCSF, severity_id as text", isolate, "", ocsf, "f.severity_id", "4", "f.severity", gone{})
	of("OCSF, severity other", "notify", "severity", ocsf, "f.severity_id", 99, "f.severity", "Other")
	of("OCSF, fatal", isolate, "", ocsf, "f.severity_id", 6, "f.severity", "Fatal")
	of("OCSF, closed", "record", "closed", ocsf, "f.activity_name", "Close", "f.activity_id", 3)
	of("OCSF, deleted", "record", "deleted", ocsf, "f.status", "Deleted", "f.status_id", 6)
	of("OCSF, suppressed by word", "record", "suppressed", ocsf, "f.status", "Suppressed", "f.status_id", gone{})
	of("OCSF, status a list", "notify", "status is a list", ocsf, "f.status", l{"Suppressed"}, "f.status_id", gone{})
	of("OCSF, status of none of these", isolate, "", ocsf, "f.status", "Other", "f.status_id", 99)
	of("OCSF, coverage", "ignore", "coverage", ocsf, "f.finding_info.types", l{"Coverage"})
	of("OCSF, an incident of somebody", "ignore", "class", ocsf, "f.class_uid", 2005, "f.class_name", "Incident Finding")
	of("OCSF, class as text", isolate, "", ocsf, "f.class_uid", "2004")
	of("OCSF, a call, no finding", "ignore", "class", ocsf, "f.class_uid", 6003, "f.class_name", "API Activity")
	of("OCSF, data a JSON string", isolate, "", ocsf, "f.resources.0.data", `{"instance_id":"i-0abcdef1234567890"}`)
	of("OCSF, no data", isolate, "", ocsf, "f.resources.0.data", gone{})
	of("OCSF, uid a hash, ARN beside", isolate, "", ocsf, "f.resources.0.uid", "a1b2c3", "f.resources.0.uid_alt", "arn:aws:ec2:us-east-1:222222222222:instance/i-0abcdef1234567890")
	of("OCSF, uid a hash", "notify", "", ocsf, "f.resources.0.uid", "a1b2c3", "f.resources.0.name", gone{}, "f.resources.0.data", gone{})
	of("OCSF, instance by its id alone, of another region", "notify", "none that can be told", ocsf, "f.resources.0.uid", "i-0abcdef1234567890", "f.resources.0.region", "eu-west-1")
	of("OCSF, resource of another owner", "notify", "", ocsf, "f.resources.0.owner.account.uid", "333333333333")
	of("OCSF, brute force by role_id", isolate, "", ocsf, "f.finding_info.types", l{"UnauthorizedAccess:EC2/SSHBruteForce"}, "f.resources.0.role", gone{})
	of("OCSF, brute force against it by role_id", "notify", "", ocsf, "f.finding_info.types", l{"UnauthorizedAccess:EC2/SSHBruteForce"}, "f.resources.0.role", gone{}, "f.resources.0.role_id", 1)
	of("OCSF, brute force, the evidence says by whom", isolate, "", ocsf, "f.finding_info.types", l{"UnauthorizedAccess:EC2/SSHBruteForce"}, "f.resources.0.role", gone{}, "f.resources.0.role_id", gone{}, "f.evidences", l{m{"data": m{"resource_role": "ACTOR"}}})
	of("OCSF, brute force, the evidence says against whom", "notify", "", ocsf, "f.finding_info.types", l{"UnauthorizedAccess:EC2/SSHBruteForce"}, "f.resources.0.role", gone{}, "f.resources.0.role_id", gone{}, "f.evidences", l{m{"data": m{"resource_role": "TARGET"}}})
	of("OCSF, trail stopped", "respond restart-trail trail/clinic", "", ocsf, "f.finding_info.types", l{"Stealth:IAMUser/CloudTrailLoggingDisabled"}, "f.evidences", l{m{"api": m{"operation": "StopLogging"}, "data": m{"resource_role": "TARGET", "affected_resource": m{"AWS::CloudTrail::Trail": "clinic"}}}})
	of("OCSF, a key beside its user", keys, "", ocsf, "f.finding_info.types", l{"UnauthorizedAccess:IAMUser/TorIPCaller"}, "f.resources", l{m{"type": "AWS::IAM::AccessKey", "uid": "AKIAIOSFODNN7EXAMPLE", "region": "us-east-1", "owner": m{"account": m{"uid": "222222222222"}}, "user": m{"name": "bob"}}})
	of("OCSF, a key of another account beside its user", "notify", "", ocsf, "f.finding_info.types", l{"UnauthorizedAccess:IAMUser/TorIPCaller"}, "f.resources", l{m{"type": "AWS::IAM::AccessKey", "uid": "AKIAIOSFODNN7EXAMPLE", "owner": m{"account": m{"uid": "333333333333"}}, "user": m{"name": "bob"}}})
	of("OCSF, a session's key beside its user", "notify", "", ocsf, "f.finding_info.types", l{"UnauthorizedAccess:IAMUser/TorIPCaller"}, "f.resources", l{m{"type": "AWS::IAM::AccessKey", "uid": "ASIAIOSFODNN7EXAMPLE", "user": m{"name": "clinic-web"}}})
	of("OCSF, resource of another owner, as a number", "notify", "", ocsf, "f.resources.0.owner.account.uid", 333333333333)
	of("OCSF, finding_info missing", "notify", "finding_info", ocsf, "f.finding_info", gone{})
	of("OCSF, a partner's", "notify", "only findings of AWS's own", ocsf, "f.metadata.product.uid", "arn:aws:securityhub:us-east-1::productv2/wiz-security/wiz")
	add("OCSF, bare", isolate, "", []byte(first(made(t, ocsf))))

	// Config.
	const block = "respond block-public-access clinic-exports"
	of("Config", block, "", config)
	of("Config, first evaluation", block, "", config, "d.oldEvaluationResult", nil)
	of("Config, from compliant", block, "", config, "d.oldEvaluationResult", m{"complianceType": "COMPLIANT"})
	of("Config, not applicable", "record", "NOT_APPLICABLE", config, "d.newEvaluationResult.complianceType", "NOT_APPLICABLE")
	of("Config, still non-compliant", "record", "no change", config, "d.oldEvaluationResult", m{"complianceType": "NON_COMPLIANT"})
	of("Config, what it was is a word", "record", "oldEvaluationResult is a string", config, "d.oldEvaluationResult", "NON_COMPLIANT")
	of("Config, what it was is a list", "record", "oldEvaluationResult.complianceType is a list", config, "d.oldEvaluationResult", m{"complianceType": l{"NON_COMPLIANT"}})
	of("Config, in lower case", "record", "", config, "d.newEvaluationResult.complianceType", "non_compliant")
	of("Config, no result", "notify", "complianceType", config, "d.newEvaluationResult", nil)
	of("Config, ARN in the other spelling", block, "", config, "d.configRuleARN", gone{}, "d.configRuleArn", "arn:aws:config:us-east-1:222222222222:config-rule/config-rule-ex0001")
	of("Config, rule of Security Hub", block, "", config, "d.configRuleName", "securityhub-s3-bucket-public-write-prohibited-791d3b9c")
	of("Config, rule of the organization", block, "", config, "d.configRuleName", "OrgConfigRule-s3-bucket-public-read-prohibited-ab12cd34")
	of("Config, a rule that only begins so", "record", "no response", config, "d.configRuleName", "s3-bucket-public-read-prohibited-but-not")
	of("Config, of two accounts", "record", "its rule is of account", config, "d.awsAccountId", "333333333333")
	of("Config, resource missing", "notify", "", config, "d.resourceId", nil, "d.newEvaluationResult.evaluationResultIdentifier", nil)
	of("Config, not a bucket", "notify", "", config, "d.resourceType", "AWS::::Account", "d.resourceId", "222222222222")
	of("Config, encryption", "respond encrypt-bucket clinic-exports", "", config, "d.configRuleName", "s3-default-encryption-kms")
	of("Config, an item's change", "ignore", "not a finding", config, "detail-type", "Config Configuration Item Change")

	// Access Analyzer.
	of("access from outside", "respond remove-external-access clinic-intake", "", aa)
	of("access, archived", "record", "archived", aa, "d.status", "ARCHIVED")
	of("access, resolved", "record", "resolved", aa, "d.status", "RESOLVED")
	of("access, deleted and active", "record", "deleted", aa, "d.isDeleted", true)
	of("access, status in lower case", "notify", "status", aa, "d.status", "active")
	of("access, error", "notify", "could not analyze", aa, "d.error", "ACCESS_DENIED", "d.principal", gone{})
	of("access, error in another form", "notify", "could not analyze", aa, "d.error", m{"code": "ACCESS_DENIED"})
	of("access, nobody named", "notify", "nobody", aa, "d.principal", nil)
	of("access, of another account's resource", "notify", "", aa, "d.resource", "arn:aws:sqs:us-east-1:333333333333:clinic-intake")
	of("access to a directory bucket", "notify", "no edit can be prepared", aa, "d.resourceType", "AWS::S3Express::DirectoryBucket", "d.resource", "arn:aws:s3express:us-east-1:222222222222:bucket/clinic--use1-az4--x-s3")
	of("access to a stream", "notify", "no edit can be prepared", aa, "d.resourceType", "AWS::DynamoDB::Stream", "d.resource", "arn:aws:dynamodb:us-east-1:222222222222:table/t/stream/2026-01-01T00:00:00.000")
	of("access to a queue of another account", "notify", "its resource is of account", aa, "d.resource", "arn:aws:sqs:us-east-1:333333333333:orders")
	of("access to a role", "respond remove-external-access role/partner", "so people make the edit", aa, "d.resourceType", "AWS::IAM::Role", "d.resource", "arn:aws:iam::222222222222:role/partner", "d.isPublic", false)
	of("access to a key", "respond remove-external-access key/0aaaaaaa-0000-4000-8000-000000000000", "so people make the edit", aa, "d.resourceType", "AWS::KMS::Key", "d.resource", "arn:aws:kms:us-east-1:222222222222:key/0aaaaaaa-0000-4000-8000-000000000000")
	of("access to a bucket", "respond remove-external-access clinic-exports", "", aa, "d.resourceType", "AWS::S3::Bucket", "d.resource", "arn:aws:s3:::clinic-exports")
	of("access to a snapshot", "respond remove-external-access snapshot/snap-0abcdef1234567890", "", aa, "d.resourceType", "AWS::EC2::Snapshot", "d.resource", "arn:aws:ec2:us-east-1::snapshot/snap-0abcdef1234567890", "d.principal", m{"AWS": "333333333333"}, "d.isPublic", false)
	of("access that is not used", "record", "review", aa, "detail-type", "Unused Access Finding for IAM entities", "d.findingType", "UnusedIAMRole", "d.resourceType", "AWS::IAM::Role", "d.resource", "arn:aws:iam::222222222222:role/old")
	of("access from inside", "record", "review", aa, "detail-type", "Internal Access Finding", "d.findingType", "InternalAccess")
	of("preview", "ignore", "", aa, "detail-type", "Access Preview State Change")

	// CloudTrail.
	const close = "respond revoke-ingress security-group/sg-0aaaaaaaaaaaaaaaa"
	open := func(more ...m) m {
		items := l{}
		for _, i := range more {
			items = append(items, i)
		}
		return m{"groupId": "sg-0aaaaaaaaaaaaaaaa", "ipPermissions": m{"items": items}}
	}
	v6 := m{"ipProtocol": "tcp", "fromPort": 22, "toPort": 22, "ipRanges": m{}, "ipv6Ranges": m{"items": l{m{"cidrIpv6": "::/0"}}}}
	of("group opened", close, "", sg)
	of("group opened to IPv6", close, "", sg, "d.requestParameters", open(v6))
	of("group opened, ports as text", close, "", sg, "d.requestParameters", open(m{"ipProtocol": "6", "fromPort": "22", "toPort": "22", "ipRanges": m{"items": l{m{"cidrIp": "10.0.0.0/0"}}}}))
	of("group opened, everything", close, "", sg, "d.requestParameters", open(m{"ipProtocol": "-1", "ipRanges": m{"items": l{m{"cidrIp": "0.0.0.0/0"}}}}))
	of("group opened, the older form", close, "", sg, "d.requestParameters", m{"groupId": "sg-0aaaaaaaaaaaaaaaa", "ipProtocol": "tcp", "fromPort": 3389, "toPort": 3389, "cidrIp": "0.0.0.0/0"})
	of("group opened by name, the answer has its id", close, "", sg, "p.groupId", gone{}, "p.groupName", "default", "d.responseElements", m{"_return": true, "securityGroupRuleSet": m{"items": l{m{"groupId": "sg-0aaaaaaaaaaaaaaaa"}}}})
	of("group opened by name", "notify", "", sg, "p.groupId", gone{}, "p.groupName", "default")
	of("group opened for a web server", "record", "administrative", sg, "d.requestParameters", open(m{"ipProtocol": "tcp", "fromPort": 443, "toPort": 443, "ipRanges": m{"items": l{m{"cidrIp": "0.0.0.0/0"}}}}))
	of("group opened to a network", "ignore", "nowhere", sg, "d.requestParameters", open(m{"ipProtocol": "tcp", "fromPort": 22, "toPort": 22, "ipRanges": m{"items": l{m{"cidrIp": "0.0.0.0/16"}}}}))
	of("group opened by two halves of the world", close, "", sg, "d.requestParameters", open(m{"ipProtocol": "tcp", "fromPort": 22, "toPort": 22, "ipRanges": m{"items": l{m{"cidrIp": "0.0.0.0/1"}, m{"cidrIp": "128.0.0.0/1"}}}}))
	of("group opened, ports that are none", "notify", "fromPort is", sg, "d.requestParameters", open(m{"ipProtocol": "tcp", "fromPort": "https", "toPort": 443, "ipRanges": m{"items": l{m{"cidrIp": "0.0.0.0/0"}}}}))
	of("group opened, ports and no protocol", "notify", "ipProtocol is missing", sg, "d.requestParameters", open(m{"fromPort": 443, "toPort": 443, "ipRanges": m{"items": l{m{"cidrIp": "0.0.0.0/0"}}}}))
	of("group opened over a range with an administrative port", close, "", sg, "d.requestParameters", open(m{"ipProtocol": "tcp", "fromPort": 5900, "toPort": 5990, "ipRanges": m{"items": l{m{"cidrIp": "0.0.0.0/0"}}}}))
	of("group opened for UDP", "record", "administrative", sg, "d.requestParameters", open(m{"ipProtocol": "udp", "fromPort": 22, "toPort": 22, "ipRanges": m{"items": l{m{"cidrIp": "0.0.0.0/0"}}}}))
	of("group opened for pings", "record", "administrative", sg, "d.requestParameters", open(m{"ipProtocol": "icmp", "fromPort": -1, "toPort": -1, "ipRanges": m{"items": l{m{"cidrIp": "0.0.0.0/0"}}}}))
	of("group opened to a prefix list", "ignore", "nowhere", sg, "d.requestParameters", open(m{"ipProtocol": "tcp", "fromPort": 22, "toPort": 22, "ipRanges": m{}, "prefixListIds": m{"items": l{m{"prefixListId": "pl-0aaaaaaaaaaaaaaaa"}}}}))
	of("group, denied", "record", "failed", sg, "d.errorCode", "Client.UnauthorizedOperation")
	of("group, dry run", "record", "dry run", sg, "d.errorCode", "Client.DryRunOperation")
	of("group, dry run by its parameter", "record", "dry run", sg, "p.dryRun", "true")
	of("group, no dry run", close, "", sg, "p.dryRun", false)
	of("group changed, dry run by its parameter", "record", "dry run", sg, "d.eventName", "ModifySecurityGroupRules", "d.requestParameters", m{"ModifySecurityGroupRulesRequest": m{"DryRun": true, "GroupId": "sg-0aaaaaaaaaaaaaaaa", "SecurityGroupRule": m{"SecurityGroupRule": m{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIpv4": "0.0.0.0/0"}}}})
	of("group, throttled", "record", "failed", sg, "d.errorCode", "RequestLimitExceeded", "d.requestParameters", open(v6))
	of("group, error without a code", "record", "failed", sg, "d.errorCode", nil, "d.errorMessage", "it went wrong")
	of("group, no parameters", "ignore", "nowhere", sg, "d.requestParameters", nil)
	of("group, by our own session", "notify", "Firebreak itself", sg, "d.userIdentity", m{"type": "AssumedRole", "principalId": "AROAEXAMPLEEXAMPLE01:INC-X", "arn": "arn:aws:sts::222222222222:assumed-role/SecurityRemediationRole-Network/INC-X", "accountId": "222222222222", "sessionContext": m{"sourceIdentity": "INC-ABCDEFGHIJKLMNOP", "sessionIssuer": m{"type": "Role", "arn": "arn:aws:iam::222222222222:role/SecurityRemediationRole-Network", "userName": "SecurityRemediationRole-Network"}}})
	of("group, by our own session of an unknown kind", "notify", "Firebreak itself", sg, "d.userIdentity", m{"arn": "arn:aws:sts::222222222222:assumed-role/SecurityRemediationRole-Network/INC-X", "sessionContext": m{"sessionIssuer": m{"arn": "arn:aws:iam::222222222222:role/SecurityRemediationRole-Network"}}})
	of("group, by somebody with our session name", close, "", sg, "d.userIdentity", m{"type": "AssumedRole", "principalId": "AROAEXAMPLEEXAMPLE01:INC-X", "arn": "arn:aws:sts::222222222222:assumed-role/ops/INC-X", "accountId": "222222222222", "sessionContext": m{"sourceIdentity": "INC-ABCDEFGHIJKLMNOP", "sessionIssuer": m{"type": "Role", "arn": "arn:aws:iam::222222222222:role/ops", "userName": "ops"}}})
	of("group, by whom is a list", "notify", "userIdentity is a list", sg, "d.userIdentity", l{m{"type": "Root"}})
	of("group, by nobody named", close, "", sg, "d.userIdentity", nil)
	of("group, by a service", close, "", sg, "d.userIdentity", m{"type": "AWSService", "invokedBy": "autoscaling.amazonaws.com"}, "d.sourceIPAddress", "AWS Internal")
	of("group, by a federated user", close, "", sg, "d.userIdentity", m{"type": "FederatedUser", "principalId": "222222222222:guest", "arn": "arn:aws:sts::222222222222:federated-user/guest", "accountId": "222222222222"})
	of("group, by the identity center", close, "", sg, "d.userIdentity", m{"type": "IdentityCenterUser", "accountId": "222222222222", "onBehalfOf": m{"userId": "u"}})
	of("group, event id missing", "notify", "id is missing", sg, "d.eventID", nil)
	of("an insight of CloudTrail", "ignore", "Insights", sg, "d.eventType", "AwsCloudTrailInsight", "detail-type", "AWS Insight via CloudTrail")
	of("trail stopped", "respond restart-trail trail/clinic", "", "cloudtrail-trail-stopped", "p.name", "clinic")
	of("trail stopped by its ARN", "respond restart-trail trail/clinic", "", "cloudtrail-trail-stopped", "p.name", "arn:aws:cloudtrail:us-east-1:222222222222:trail/clinic")
	of("trail changed to one region", "notify", "trail", "cloudtrail-trail-stopped", "d.eventName", "UpdateTrail", "d.requestParameters", m{"name": "clinic", "isMultiRegionTrail": false})
	of("trail changed", "record", "trail", "cloudtrail-trail-stopped", "d.eventName", "UpdateTrail", "d.requestParameters", m{"name": "clinic", "cloudWatchLogsRoleArn": "x"})
	of("root signed in", "notify", "root", "cloudtrail-root-signed-in")
	of("somebody signed in", "ignore", "only root's", "cloudtrail-root-signed-in", "d.userIdentity.type", "IAMUser")
	of("key for another", "notify", "administrators do this", "cloudtrail-key-for-another")
	of("key for oneself", "ignore", "for another", "cloudtrail-key-for-another", "d.requestParameters", nil)
	of("key by root for itself", "notify", "", "cloudtrail-key-for-another", "d.requestParameters", nil, "d.userIdentity", m{"type": "Root", "principalId": "222222222222", "arn": "arn:aws:iam::222222222222:root", "accountId": "222222222222"})
	of("a call nobody watches", "ignore", "nobody watches", sg, "d.eventName", "DescribeInstances")
	of("a call in another case", "ignore", "nobody watches", sg, "d.eventName", "authorizeSecurityGroupIngress")
	add("CloudTrail's file", close, "", []byte(`{"Records":[`+string(detail(made(t, sg)))+`]}`))

	// Health, Inspector, Macie, incident response.
	of("key exposed", "respond deactivate-keys access-key/AKIAIOSFODNN7EXAMPLE, quarantine-principal access-key/AKIAIOSFODNN7EXAMPLE, delete-keys access-key/AKIAIOSFODNN7EXAMPLE", "", health)
	of("key exposed, closed", "record", "closed", health, "d.statusCode", "closed")
	of("key exposed, status in another form", "notify", "statusCode is a list", health, "d.statusCode", l{"closed"})
	of("key exposed, upcoming", "respond deactivate-keys access-key/AKIAIOSFODNN7EXAMPLE, quarantine-principal access-key/AKIAIOSFODNN7EXAMPLE, delete-keys access-key/AKIAIOSFODNN7EXAMPLE", "", health, "d.statusCode", "upcoming")
	of("key exposed, none named", "notify", "", health, "d.affectedEntities", l{})
	of("key exposed, entities null", "notify", "", health, "d.affectedEntities", nil)
	of("key exposed, a session's", "notify", "long-term", health, "d.affectedEntities", l{m{"entityValue": "ASIAIOSFODNN7EXAMPLE"}})
	of("key exposed, a user named", "notify", "", health, "d.affectedEntities", l{m{"entityValue": "bob"}})
	of("key exposed, and made good", "record", "closed", health, "d.affectedEntities", l{m{"entityValue": "AKIAIOSFODNN7EXAMPLE", "status": "RESOLVED"}})
	of("key suspected", "notify", "", health, "d.eventTypeCode", "AWS_RISK_CREDENTIALS_EXPOSURE_SUSPECTED")
	of("key exposed, event in lower case", "notify", "", health, "d.eventTypeCode", "aws_risk_credentials_exposed")
	of("maintenance", "ignore", "not a security event", health, "d.eventTypeCode", "AWS_EC2_INSTANCE_REBOOT_MAINTENANCE_SCHEDULED", "d.service", "EC2")
	of("a change of Security Hub itself", "ignore", "not a security event", health, "d.eventTypeCode", "AWS_SECURITYHUB_PLANNED_LIFECYCLE_EVENT", "d.service", "SECURITYHUB")
	of("a security notice of another service", "notify", "answer", health, "d.eventTypeCode", "AWS_RDS_SECURITY_NOTIFICATION", "d.service", "RDS")
	of("a key compromised", "notify", "answer", health, "d.eventTypeCode", "AWS_RISK_CREDENTIALS_COMPROMISED")
	of("abuse", "notify", "answer", health, "detail-type", "AWS Health Abuse Event", "d.eventTypeCode", "AWS_ABUSE_DOS_REPORT", "d.service", "ABUSE", "d.affectedEntities", l{m{"entityValue": "arn:aws:ec2:us-east-1:222222222222:instance/i-0abcdef1234567890"}})
	add("Health's API", "notify", "", []byte(`{"event":{"arn":"arn:aws:health:us-east-1::event/RISK/AWS_RISK_CREDENTIALS_EXPOSED/x","service":"RISK","eventTypeCode":"AWS_RISK_CREDENTIALS_EXPOSED","statusCode":"open","region":"us-east-1"}}`))
	of("vulnerability", "notify", "update", "inspector-vulnerability")
	of("vulnerability, MEDIUM", "record", "update", "inspector-vulnerability", "d.severity", "MEDIUM")
	of("vulnerability, untriaged", "record", "", "inspector-vulnerability", "d.severity", "UNTRIAGED")
	of("vulnerability, suppressed", "record", "suppressed", "inspector-vulnerability", "d.status", "SUPPRESSED")
	of("vulnerability, closed", "record", "closed", "inspector-vulnerability", "d.status", "CLOSED")
	of("vulnerability, status unknown", "notify", "status", "inspector-vulnerability", "d.status", "OPEN")
	of("Inspector's coverage", "ignore", "not a finding", "inspector-vulnerability", "detail-type", "Inspector2 Coverage")
	of("data in a bucket", "notify", "data", "macie-public-bucket", "d.type", "SensitiveData:S3Object/Personal")
	of("data, archived", "record", "archived", "macie-public-bucket", "d.archived", true)
	of("data, archived a number", "record", "archived", "macie-public-bucket", "d.archived", 1)
	of("data, sample", "record", "sample", "macie-public-bucket", "d.sample", true)
	of("data, score alone", "notify", "data", "macie-public-bucket", "d.severity", m{"score": 3})
	of("a case", "notify", "people work on", "incident-response-case")
	of("a case as it is documented", "notify", "people work on", "incident-response-case", "detail", m{"caseId": "1234567890", "createdBy": "AWS Responder"})
	of("a case, through CloudTrail", "ignore", "nobody watches", "incident-response-case", "detail-type", "AWS API Call via CloudTrail", "detail", m{"eventSource": "security-ir.amazonaws.com", "eventName": "CreateCase", "eventID": "e"})
	of("a case, closed", "record", "closed", "incident-response-case", "detail-type", "Case Closed")
	of("a membership", "ignore", "not a finding", "incident-response-case", "detail-type", "Membership Updated")

	// Whose credentials, in the other forms.
	pascal := func(raw []byte) string { return string(raised(t, raw)) }
	add("the API's form", isolate, "", []byte(pascal(detail(made(t, mine)))))
	add("the API's form, stolen, used on another", theft, "", []byte(pascal(detail(made(t, stolen, "r.instanceDetails.instanceId", "i-0fedcba9876543210")))))
	add("the API's form, sample", "record", "sample", []byte(pascal(detail(made(t, mine, "s.additionalInfo", m{"type": "default", "value": `{"sample":true}`})))))
	add("the API's form in an envelope", isolate, "", made(t, mine, "detail", json.RawMessage(pascal(detail(made(t, mine))))))
	victim := m{"Type": "AwsIamAccessKey", "Id": "AWS::IAM::AccessKey:ASIAIOSFODNN7EXAMPLE", "Details": m{"AwsIamAccessKey": m{"PrincipalId": "AROAEXAMPLEEXAMPLE01:i-0abcdef1234567890", "PrincipalName": "clinic-web", "PrincipalType": "AssumedRole"}}}
	host := m{"Type": "AwsEc2Instance", "Id": "arn:aws:ec2:us-east-1:222222222222:instance/i-0fedcba9876543210"}
	exfiltration := l{"TTPs/UnauthorizedAccess:IAMUser-InstanceCredentialExfiltration.InsideAWS"}
	of("ASFF, stolen, used on another", theft, "", asff, "f.Types", exfiltration, "f.Resources", l{host, victim})
	of("ASFF, stolen, in the other order", theft, "", asff, "f.Types", exfiltration, "f.Resources", l{victim, host})
	of("ASFF, stolen, the key alone", theft, "", asff, "f.Types", exfiltration, "f.Resources", l{victim})
	of("ASFF, stolen, the host alone", "notify", "", asff, "f.Types", exfiltration, "f.Resources", l{host})
	of("OCSF, of two accounts", "notify", "its id is of account", ocsf, "f.cloud.account.uid", "333333333333")
	of("OCSF, stolen, used on another", theft, "", ocsf, "f.finding_info.types", l{"UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration.InsideAWS"}, "f.resources", l{
		m{"type": "AWS::EC2::Instance", "uid": "i-0fedcba9876543210"},
		m{"type": "AWS::IAM::AccessKey", "uid": "AWS::IAM::AccessKey:ASIA…", "data": m{"access_key_id": "ASIAIOSFODNN7EXAMPLE", "principal_id": "AROAEXAMPLEEXAMPLE01:i-0abcdef1234567890", "user_name": "clinic-web", "user_type": "AssumedRole"}},
	})
	fleet := l{}
	for n := range 30 {
		fleet = append(fleet, m{"uid": fmt.Sprintf("i-%017x", n), "resourceType": "EC2_INSTANCE", "accountId": "222222222222"})
	}
	cut := []string{}
	for n := range 24 {
		cut = append(cut, fmt.Sprintf("isolate-instance instance/i-%017x", n))
	}
	of("sequence by a user of another account, of a bucket here", "notify", "names nothing that it contains", seq, "s.detection.sequence.actors", l{m{"id": "a", "user": m{"name": "bob", "uid": "AIDAEXAMPLEEXAMPLE01", "type": "IAMUser", "credentialUid": "AKIAIOSFODNN7EXAMPLE", "account": m{"uid": "333333333333"}}}}, "s.detection.sequence.resources", l{m{"uid": "arn:aws:s3:::clinic-exports", "name": "clinic-exports", "accountId": "222222222222", "resourceType": "S3_BUCKET"}})
	of("sequence with a key of another account", "notify", "names nothing that it contains", seq, "s.detection.sequence.actors", gone{}, "s.detection.sequence.resources", l{m{"uid": "AKIAIOSFODNN7EXAMPLE", "accountId": "333333333333", "resourceType": "ACCESS_KEY", "data": m{"accessKey": m{"userName": "bob", "userType": "IAMUser", "principalId": "AIDAEXAMPLEEXAMPLE01"}}}})
	of("sequence with an instance that is said to be another account's", "notify", "", seq, "s.detection.sequence.actors", gone{}, "s.detection.sequence.resources", l{m{"uid": "i-0aaaabbbbccccdddd", "accountId": "333333333333", "resourceType": "EC2_INSTANCE"}, m{"uid": "arn:aws:ec2:us-east-1:222222222222:instance/i-0aaaabbbbccccddde", "accountId": "333333333333", "resourceType": "EC2_INSTANCE"}})
	of("sequence with an instance of another account, as a number", "notify", "", seq, "s.detection.sequence.actors", gone{}, "s.detection.sequence.resources", l{m{"uid": "i-0aaaabbbbccccdddd", "accountId": 333333333333, "resourceType": "EC2_INSTANCE"}})
	of("sequence with an instance of another region", "notify", "", seq, "s.detection.sequence.actors", gone{}, "s.detection.sequence.resources", l{m{"uid": "i-0aaaabbbbccccdddd", "accountId": "222222222222", "region": "eu-west-1", "resourceType": "EC2_INSTANCE"}})
	of("sequence over a fleet", "respond "+strings.Join(cut, ", "), "36 are left to people", seq, "s.detection.sequence.actors", gone{}, "s.detection.sequence.resources", fleet)
	of("the partition is another's", "notify", "its ARN says partition", mine, "d.arn", "arn:aws-cn:guardduty:us-east-1:222222222222:detector/11aabbccddeeff001122334455667788/finding/7a10c2d3e4f5061728394a5b6c7d8e01")
	of("a partition of tomorrow", isolate, "", mine, "d.region", "mars-north-1", "d.arn", "arn:aws-mars:guardduty:mars-north-1:222222222222:detector/11aabbccddeeff001122334455667788/finding/7a10c2d3e4f5061728394a5b6c7d8e01")
	of("a detail-type in another case", "notify", "not read", mine, "detail-type", "guardduty finding")
	of("a finding of tomorrow", "notify", "not read", mine, "detail-type", "GuardDuty Findings V2")
	add("an answer of ReceiveMessage", isolate, "", []byte(`{"Messages":[{"MessageId":"1","Body":`+wrap(made(t, mine))+`}]}`))
	of("group opened, plain lists", close, "", sg, "d.requestParameters", m{"groupId": "sg-0aaaaaaaaaaaaaaaa", "ipPermissions": l{m{"ipProtocol": "tcp", "fromPort": 22, "toPort": 22, "ipRanges": l{m{"cidrIp": "0.0.0.0/0"}}}}})
	of("a key whose user is not said", "notify", "", key, "k.userName", nil, "k.principalId", nil)
	of("ASFF, access from outside", "respond remove-external-access clinic-exports", "", asff, "f.ProductArn", "arn:aws:securityhub:us-east-1::product/aws/access-analyzer", "f.Id", "arn:aws:access-analyzer:us-east-1:222222222222:analyzer/trust/arn:aws:s3:::clinic-exports", "f.Types", l{"Software and Configuration Checks/AWS Security Best Practices/External Access Granted"}, "f.Resources", l{m{"Type": "AwsS3Bucket", "Id": "arn:aws:s3:::clinic-exports"}}, "f.ProductFields", m{"External Principal": "333333333333", "External Principal Type": "AWS"})
	of("ASFF, Config's", block, "", asff, "f.ProductArn", "arn:aws:securityhub:us-east-1::product/aws/config", "f.Id", "arn:aws:config:us-east-1:222222222222:config-rule/config-rule-ex0001/finding/x", "f.Types", l{"Software and Configuration Checks"}, "f.Title", "s3-bucket-public-read-prohibited", "f.Compliance", m{"Status": "FAILED"}, "f.GeneratorId", "arn:aws:config:us-east-1:222222222222:config-rule/config-rule-ex0001", "f.Resources", l{m{"Type": "AwsS3Bucket", "Id": "arn:aws:s3:::clinic-exports"}}, "f.ProductFields", m{"aws/config/ConfigRuleArn": "arn:aws:config:us-east-1:222222222222:config-rule/config-rule-ex0001", "aws/config/ConfigRuleName": "s3-bucket-public-read-prohibited"})
	of("ASFF, Macie's", "notify", "data", asff, "f.ProductArn", "arn:aws:securityhub:us-east-1::product/aws/macie", "f.Types", l{"Sensitive Data Identifications/Personal"}, "f.Resources", l{m{"Type": "AwsS3Bucket", "Id": "arn:aws:s3:::clinic-exports"}})

	// No findings at all.
	for _, in := range []string{`{}`, `null`, `7`, `"x"`, `true`, `[]`, `[null]`, `{"a":{"b":[]}}`, `{"Findings":[]}`, `{"detail":{}}`, `{"detail-type":"","source":"","detail":{}}`, `{"Records":null}`, `{"type":"x"}`, `{"id":null,"type":null}`, `{"class_name":"Detection Finding"}`} {
		add("no finding: "+in, "ignore", "", []byte(in))
	}
	return out
}

func TestRecordsThatNobodyHasSeen(t *testing.T) {
	b := book(t)
	list := unseen(t)
	seen := map[string]bool{}
	for _, c := range list {
		if seen[c.name] {
			t.Errorf("%s is there twice", c.name)
		}
		seen[c.name] = true
		lines := b.Lines(0, []byte(c.in), 25)
		if len(lines) != 1 {
			t.Errorf("%s: %d lines", c.name, len(lines))
			continue
		}
		got := string(lines[0].Disposition)
		if lines[0].Disposition == Respond {
			steps := []string{}
			for _, s := range append(lines[0].Contain, lines[0].Eradicate...) {
				if s.Action != notify {
					steps = append(steps, s.Action+" "+s.Target[strings.LastIndex(s.Target, ":")+1:])
				}
			}
			got += " " + strings.Join(steps, ", ")
		}
		if got != c.want || !strings.Contains(lines[0].Reason, c.says) {
			t.Errorf("%s:\n  got  %s\n  want %s (%s)\n  because %s", c.name, got, c.want, c.says, lines[0].Reason)
		}
		if testing.Verbose() {
			fmt.Printf("%-45s %s | %s\n", c.name, got, lines[0].Reason)
		}
	}
	t.Logf("%d records", len(list))
}

package cloudformation

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestNoActionHasAWildcard(t *testing.T) {
	for _, tpl := range all(t) {
		for _, s := range statements(tpl.name, tpl.root) {
			if at(s.node, "NotAction") != nil || at(s.node, "NotResource") != nil || at(s.node, "NotPrincipal") != nil {
				t.Errorf("%s: %s says what it does not mean: name what is meant", s.in, s.sid())
			}
			for _, a := range list(at(s.node, "Action")) {
				if s.allows() && strings.Contains(a, "*") {
					t.Errorf("%s: %s has the action %s", s.in, s.sid(), a)
				}
			}
		}
	}
}

func TestEveryWildcardResourceSaysWhy(t *testing.T) {
	for _, tpl := range all(t) {
		for _, s := range statements(tpl.name, tpl.root) {
			res := at(s.node, "Resource")
			if !slices.Contains(list(res), "*") || !s.allows() {
				continue
			}
			keyPolicy := strings.HasPrefix(s.sid(), "Key") && tpl.name == "storage.yaml" // said once, above its statements
			if !keyPolicy && !strings.Contains(tpl.lines[res.Line-1], "#") {
				t.Errorf("%s:%d: %s is for every resource and does not say why", s.in, res.Line, s.sid())
			}
		}
	}
}

// Where everybody may do something, everybody is who belongs to the organization or to the account itself.
func TestNothingIsOpenToStrangers(t *testing.T) {
	bound := 0
	for _, tpl := range all(t) {
		for _, s := range statements(tpl.name, tpl.root) {
			who := at(s.node, "Principal")
			if aws := at(who, "AWS"); aws != nil {
				who = aws
			}
			if !s.allows() || !slices.Contains(list(who), "*") {
				continue
			}
			equal := at(s.node, "Condition", "StringEquals")
			organization, account := text(at(equal, "aws:PrincipalOrgID")), text(at(equal, "aws:PrincipalAccount"))+text(at(equal, "kms:CallerAccount"))
			if bound++; organization != "!Ref OrganizationId" && account != "!Ref AWS::AccountId" {
				t.Errorf("%s:%d: anybody in the world may do this", s.in, s.node.Line)
			}
		}
	}
	if bound == 0 {
		t.Error("no statement is for everybody: this test looks at nothing")
	}
}

// Everything that holds data outlives its stack; RetainExceptOnCreate lets a first try that failed be tried again.
func TestDataIsKept(t *testing.T) {
	data := []string{"AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::KMS::Key", "AWS::SecretsManager::Secret", "AWS::SQS::Queue"}
	for _, tpl := range all(t) {
		for _, r := range tpl.resources() {
			kept := text(at(r.node, "DeletionPolicy")) == "RetainExceptOnCreate" && text(at(r.node, "UpdateReplacePolicy")) == "Retain"
			if slices.Contains(data, r.kind()) && !kept {
				t.Errorf("%s (%s) is deleted with its stack", r, r.kind())
			}
			if r.kind() == "AWS::Logs::LogGroup" && text(r.property("RetentionInDays")) == "" {
				t.Errorf("%s is kept for ever: say for how many days", r)
			}
		}
	}
	if storage := read(t, "root.yaml").resource(t, "Storage"); text(at(storage.node, "DeletionPolicy")) != "RetainExceptOnCreate" {
		t.Error("the hub takes its storage with it")
	}
}

func TestStorageIsRecoverableAndEncrypted(t *testing.T) {
	storage := read(t, "storage.yaml")
	for id, properties := range map[string]map[string]string{
		"Ledger": {
			"PointInTimeRecoverySpecification.PointInTimeRecoveryEnabled": "true",
			"DeletionProtectionEnabled":                                   "true",
			"SSESpecification.SSEEnabled":                                 "true",
			"SSESpecification.KMSMasterKeyId":                             "!GetAtt Key.Arn",
			"TimeToLiveSpecification.AttributeName":                       "expires",
			"TimeToLiveSpecification.Enabled":                             "true",
		},
		"Key": {"EnableKeyRotation": "true"},
		"Evidence": {
			"VersioningConfiguration.Status":                                                                    "Enabled",
			"ObjectLockEnabled":                                                                                 "true",
			"ObjectLockConfiguration.Rule.DefaultRetention.Mode":                                                "GOVERNANCE",
			"ObjectLockConfiguration.Rule.DefaultRetention.Days":                                                "!Ref Retention",
			"PublicAccessBlockConfiguration.BlockPublicAcls":                                                    "true",
			"PublicAccessBlockConfiguration.BlockPublicPolicy":                                                  "true",
			"PublicAccessBlockConfiguration.IgnorePublicAcls":                                                   "true",
			"PublicAccessBlockConfiguration.RestrictPublicBuckets":                                              "true",
			"BucketEncryption.ServerSideEncryptionConfiguration.0.ServerSideEncryptionByDefault.KMSMasterKeyID": "!GetAtt Key.Arn",
		},
		"LinkKey": {"KmsKeyId": "!GetAtt Key.Arn", "GenerateSecretString.SecretStringTemplate": `{"id":"1"}`, "GenerateSecretString.GenerateStringKey": "key"},
	} {
		r := storage.resource(t, id)
		for path, want := range properties {
			if got := text(dig(r.property(), path)); got != want {
				t.Errorf("%s: %s is %q, not %q", id, path, got, want)
			}
		}
	}
	for _, id := range []string{"SecurityTopic", "ApproversTopic"} {
		if got := text(at(read(t, "notify.yaml").resource(t, id).property(), "KmsMasterKeyId")); got != "!Ref KeyArn" {
			t.Errorf("%s is encrypted by %q", id, got)
		}
		// SNS's own policy lets everybody in the account publish and subscribe.
		if got := text(read(t, "notify.yaml").resource(t, id+"Policy").property("Topics").Content[0]); got != "!Ref "+id {
			t.Errorf("the policy of %s is of %q", id, got)
		}
	}
	index := storage.resource(t, "Ledger").property("GlobalSecondaryIndexes").Content[0]
	if text(at(index, "IndexName")) != "open" || text(at(index, "Projection", "ProjectionType")) != "ALL" {
		t.Error("the ledger's index is not open with all attributes")
	}
	for _, tpl := range all(t) {
		for _, r := range tpl.resources() {
			if r.kind() == "AWS::SQS::Queue" && r.property("KmsMasterKeyId") == nil && text(r.property("SqsManagedSseEnabled")) != "true" {
				t.Errorf("%s is not encrypted", r)
			}
		}
	}
}

func TestEveryParameterIsDescribedAndBounded(t *testing.T) {
	for _, tpl := range all(t) {
		for _, p := range pairs(at(tpl.root, "Parameters")) {
			if text(at(p.value, "Description")) == "" {
				t.Errorf("%s: parameter %s has no description", tpl.name, p.key.Value)
			}
			bounded := at(p.value, "AllowedPattern") != nil || at(p.value, "AllowedValues") != nil || at(p.value, "MinValue") != nil && at(p.value, "MaxValue") != nil
			if !bounded {
				t.Errorf("%s: parameter %s takes anything", tpl.name, p.key.Value)
			}
			if tpl.name != "root.yaml" && at(p.value, "Default") != nil {
				t.Errorf("%s: parameter %s has a default: defaults are the root's", tpl.name, p.key.Value)
			}
			if strings.Contains(p.key.Value, "ExternalId") && text(at(p.value, "NoEcho")) != "true" {
				t.Errorf("%s: parameter %s is shown to whoever reads the stack", tpl.name, p.key.Value)
			}
		}
	}
}

// Everything that forwards to the hub bus has a heartbeat beside it, over the same target, which the hub listens to.
func TestEveryForwarderHasAHeartbeat(t *testing.T) {
	for _, name := range []string{"member.yaml", "ingest.yaml"} {
		beats, forwards := map[string]string{}, map[string]string{}
		for _, r := range read(t, name).resources() {
			if r.kind() != "AWS::Events::Rule" {
				continue
			}
			for _, target := range targets(r.property("Targets")) {
				if id := text(at(target, "Id")); id == "hub" || id == "standby" {
					into := forwards
					if r.property("ScheduleExpression") != nil {
						into = beats
					}
					into[id] = text(at(target, "Arn")) + " " + spelled(t, at(target, "RoleArn"))
				}
			}
		}
		if len(forwards) != 2 || !maps.Equal(beats, forwards) {
			t.Errorf("%s forwards to\n%v\nand beats to\n%v", name, forwards, beats)
		}
	}
	suffix := text(dig(read(t, "ingest.yaml").resource(t, "HeartbeatRule").property("EventPattern"), "resources.0.suffix"))
	if name := text(read(t, "member.yaml").resource(t, "ForwarderHeartbeatRule").property("Name")); suffix != ":rule/"+name {
		t.Errorf("the hub listens to %q, and accounts send %q", suffix, name)
	}
}

// Whoever reads the history of a machine needs the key, as with the ledger: task tokens and findings are in it.
func TestHistoriesAreEncrypted(t *testing.T) {
	for _, r := range read(t, "statemachines.yaml").resources() {
		if r.kind() == "AWS::StepFunctions::StateMachine" && text(r.property("EncryptionConfiguration", "KmsKeyId")) != "!Ref KeyArn" {
			t.Errorf("%s keeps its history under a key of AWS's own", r)
		}
	}
}

// The comment of a resource says what fails when it fails. A function's role and log group stand under the function's comment.
func TestEveryResourceSaysWhatFailsWithIt(t *testing.T) {
	for _, tpl := range all(t) {
		for _, r := range tpl.resources() {
			beside := (tpl.name == "functions.yaml" || tpl.name == "config-rules.yaml") && (strings.HasSuffix(r.id, "Role") || strings.HasSuffix(r.id, "Logs"))
			if r.key.HeadComment == "" && !beside {
				t.Errorf("%s:%d: %s does not say what fails when it fails", tpl.name, r.key.Line, r.id)
			}
		}
	}
}

func TestNoTemplateNamesAPartitionOrAnAccount(t *testing.T) {
	fixed := regexp.MustCompile(`arn:aws[:-]|amazonaws\.com/|\bec2\.amazonaws\.com\b|\b\d{12}\b`) // EC2 has another principal in China
	for _, tpl := range all(t) {
		for i, line := range tpl.lines {
			if strings.Contains(line, "/aws-service-role/") {
				continue // the path of a service-linked role is a service's name, the same in every partition
			}
			if m := fixed.FindString(line); m != "" {
				t.Errorf("%s:%d: %s works in one partition or account only", tpl.name, i+1, m)
			}
		}
	}
}

// An event that cannot be delivered goes to a queue, after a number of tries that somebody has thought about.
func TestEveryTargetHasADeadLetterQueue(t *testing.T) {
	for _, tpl := range all(t) {
		for _, r := range tpl.resources() {
			switch r.kind() {
			case "AWS::Events::Rule":
				for _, target := range targets(r.property("Targets")) {
					letters := strings.Contains(text(at(target, "Arn")), "DeadLettersArn") // is itself one
					if !letters && (at(target, "DeadLetterConfig", "Arn") == nil || at(target, "RetryPolicy", "MaximumEventAgeInSeconds") == nil) {
						t.Errorf("%s: what its target does not take is lost", r)
					}
				}
			case "AWS::Scheduler::Schedule":
				if at(r.property("Target"), "DeadLetterConfig", "Arn") == nil {
					t.Errorf("%s: what its target does not take is lost", r)
				}
			}
		}
	}
}

// targets finds every target under n, those of a condition too.
func targets(n *yaml.Node) []*yaml.Node {
	if n == nil || at(n, "Arn") != nil {
		return []*yaml.Node{n}
	}
	var out []*yaml.Node
	for _, c := range n.Content {
		if c.Kind != yaml.ScalarNode {
			out = append(out, targets(c)...)
		}
	}
	return out
}

func TestEveryDeadLetterQueueHasAnAlarm(t *testing.T) {
	var queues, watched, aged []string
	for _, tpl := range all(t) {
		for _, r := range tpl.resources() {
			switch r.kind() {
			case "AWS::SQS::Queue":
				queues = append(queues, text(r.property("QueueName")))
			case "AWS::CloudWatch::Alarm":
				if r.property("AlarmActions") == nil {
					t.Errorf("%s tells nobody", r)
				}
				if text(r.property("Namespace")) != "AWS/SQS" {
					continue
				}
				queue := text(at(r.property("Dimensions").Content[0], "Value"))
				switch metric := text(r.property("MetricName")); metric {
				case "ApproximateNumberOfMessagesVisible":
					watched = append(watched, queue)
				case "ApproximateAgeOfOldestMessage":
					aged = append(aged, queue)
				default:
					t.Errorf("%s watches %s", r, metric)
				}
			}
		}
	}
	if !slices.Equal(sorted(queues), sorted(watched)) {
		t.Errorf("queues %v, but alarms on %v", sorted(queues), sorted(watched))
	}
	for _, r := range read(t, "storage.yaml").resources() {
		if queue := text(r.property("QueueName")); r.kind() == "AWS::SQS::Queue" && !slices.Contains(aged, queue) {
			t.Errorf("nobody is told that the oldest letter in %s is about to be lost", queue)
		}
	}
}

// A nested stack gets exactly the parameters that it declares, from outputs that exist.
func TestRootPassesWhatItsPartsTake(t *testing.T) {
	root := read(t, "root.yaml")
	outputs := map[string][]string{}
	for _, r := range root.resources() {
		outputs[r.id] = keys(at(read(t, text(r.property("TemplateURL"))).root, "Outputs"))
	}
	taken := map[string]bool{}
	note := func(value string) {
		from, output, ok := strings.Cut(strings.TrimPrefix(value, "!GetAtt "), ".Outputs.")
		if !ok {
			return
		}
		if !slices.Contains(outputs[from], output) {
			t.Errorf("root.yaml takes %s, which %s does not give", value, from)
		}
		taken[from+"."+output] = true
	}
	for _, r := range root.resources() {
		part := read(t, text(r.property("TemplateURL")))
		given, declared := sorted(keys(r.property("Parameters"))), sorted(keys(at(part.root, "Parameters")))
		if !slices.Equal(given, declared) {
			t.Errorf("%s gets %v and takes %v", part.name, given, declared)
		}
		for _, p := range pairs(r.property("Parameters")) {
			note(text(p.value))
		}
	}
	for _, p := range pairs(at(root.root, "Outputs")) {
		note(text(at(p.value, "Value")))
	}
	for from, names := range outputs {
		for _, n := range names {
			if !taken[from+"."+n] {
				t.Errorf("nobody takes %s.%s", from, n)
			}
		}
	}
}

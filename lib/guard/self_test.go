package guard

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"firebreak/lib/incident"

	"go.yaml.in/yaml/v3"
)

const (
	hub    = "111111111111"
	member = "222222222222"
)

// arns says, by a resource's type, which property names it and how its ARN looks; parts of others have no ARN of their own.
var arns = map[string]struct{ property, arn string }{
	"AWS::CloudFormation::Stack":       {"", "arn:aws:cloudformation:us-east-1:ACCOUNT:stack/firebreak-NAME-1ABCDEFGHIJKL/0d6d2b3e"},
	"AWS::CloudTrail::Trail":           {"TrailName", "arn:aws:cloudtrail:us-east-1:ACCOUNT:trail/NAME"},
	"AWS::IAM::InstanceProfile":        {"InstanceProfileName", "arn:aws:iam::ACCOUNT:instance-profile/NAME"},
	"AWS::CloudWatch::Alarm":           {"AlarmName", "arn:aws:cloudwatch:us-east-1:ACCOUNT:alarm:NAME"},
	"AWS::DynamoDB::Table":             {"TableName", "arn:aws:dynamodb:us-east-1:ACCOUNT:table/NAME"},
	"AWS::Events::Archive":             {"ArchiveName", "arn:aws:events:us-east-1:ACCOUNT:archive/NAME"},
	"AWS::Events::EventBus":            {"Name", "arn:aws:events:us-east-1:ACCOUNT:event-bus/NAME"},
	"AWS::Events::Rule":                {"Name", "arn:aws:events:us-east-1:ACCOUNT:rule/NAME"},
	"AWS::IAM::Role":                   {"RoleName", "arn:aws:iam::ACCOUNT:role/NAME"},
	"AWS::KMS::Alias":                  {"AliasName", "arn:aws:kms:us-east-1:ACCOUNT:NAME"},
	"AWS::KMS::Key":                    {"", "arn:aws:kms:us-east-1:ACCOUNT:key/0d6d2b3e-0000-4000-8000-000000000000"},
	"AWS::Lambda::Function":            {"FunctionName", "arn:aws:lambda:us-east-1:ACCOUNT:function:NAME"},
	"AWS::Logs::LogGroup":              {"LogGroupName", "arn:aws:logs:us-east-1:ACCOUNT:log-group:NAME:*"},
	"AWS::S3::Bucket":                  {"BucketName", "arn:aws:s3:::NAME"},
	"AWS::SNS::Topic":                  {"TopicName", "arn:aws:sns:us-east-1:ACCOUNT:NAME"},
	"AWS::SQS::Queue":                  {"QueueName", "arn:aws:sqs:us-east-1:ACCOUNT:NAME"},
	"AWS::SSM::Parameter":              {"Name", "arn:aws:ssm:us-east-1:ACCOUNT:parameterNAME"},
	"AWS::Scheduler::Schedule":         {"Name", "arn:aws:scheduler:us-east-1:ACCOUNT:schedule/default/NAME"},
	"AWS::SecretsManager::Secret":      {"Name", "arn:aws:secretsmanager:us-east-1:ACCOUNT:secret:NAME-AbCdEf"},
	"AWS::StepFunctions::StateMachine": {"StateMachineName", "arn:aws:states:us-east-1:ACCOUNT:stateMachine:NAME"},
	"AWS::IAM::ManagedPolicy":          {"ManagedPolicyName", "arn:aws:iam::ACCOUNT:policy/NAME"},
	"AWS::Cognito::UserPool":           {"", "arn:aws:cognito-idp:us-east-1:ACCOUNT:userpool/us-east-1_AbCdEf123"},
	"AWS::ApiGatewayV2::DomainName":    {"", "arn:aws:apigateway:us-east-1::/domainnames/approve.example.com"},
	"AWS::ApiGatewayV2::Api":           {"", "arn:aws:apigateway:us-east-1::/apis/a1b2c3d4e5"},
}

// sources are what makes findings, and what no action can name: nothing that Firebreak does changes them. The network of the forensic
// account is in an account that Firebreak does not act in.
var sources = []string{"AWS::AccessAnalyzer::", "AWS::CloudFormation::StackSet", "AWS::Config::", "AWS::Detective::", "AWS::EC2::", "AWS::GuardDuty::", "AWS::Organizations::", "AWS::SecurityHub::"}

// parts are resources that only exist inside one of those.
var parts = []string{"AWS::ApiGatewayV2::ApiMapping", "AWS::ApiGatewayV2::Integration", "AWS::ApiGatewayV2::Route", "AWS::ApiGatewayV2::Stage", "AWS::Cognito::UserPoolClient", "AWS::Cognito::UserPoolDomain", "AWS::Events::EventBusPolicy", "AWS::Lambda::EventInvokeConfig",
	"AWS::Lambda::Permission", "AWS::S3::BucketPolicy", "AWS::SNS::TopicPolicy", "AWS::SQS::QueuePolicy"}

// Whatever the templates make, a finding may name: Firebreak never acts on it. A resource of a new type is missed here by name.
func TestEveryResourceOfTheTemplatesIsOurs(t *testing.T) {
	files, err := filepath.Glob("../../cloudformation/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no templates: %v", err)
	}
	seen := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var doc struct {
			Resources map[string]struct {
				Type       string               `yaml:"Type"`
				Condition  string               `yaml:"Condition"`
				Properties map[string]yaml.Node `yaml:"Properties"`
			} `yaml:"Resources"`
		}
		if err := yaml.Unmarshal(text, &doc); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		account := hub
		if slices.Contains([]string{"member.yaml", "config-rules.yaml", "recorder.yaml", "forensics.yaml"}, filepath.Base(file)) {
			account = member
		}
		for id, r := range doc.Resources {
			where := account
			if filepath.Base(file) == "organization.yaml" && strings.HasPrefix(r.Condition, "Management") {
				where = member // the management account, which is not the hub
			}
			if slices.Contains(parts, r.Type) || slices.ContainsFunc(sources, func(s string) bool { return strings.HasPrefix(r.Type, s) }) {
				continue
			}
			if filepath.Base(file) == "forensics.yaml" && strings.HasPrefix(r.Type, "AWS::KMS::") {
				continue // has no name, and is in an account that Firebreak does not act in
			}
			form, known := arns[r.Type]
			if !known {
				t.Errorf("%s %s is a %s: how does its ARN look?", filepath.Base(file), id, r.Type)
				continue
			}
			name := id
			if form.property != "" {
				node := r.Properties[form.property]
				if name = node.Value; name == "" {
					t.Errorf("%s %s has no %s: it could not be told from others", filepath.Base(file), id, form.property)
				}
			}
			name = strings.NewReplacer("${AWS::Region}", "us-east-1", "${AWS::AccountId}", where).Replace(name)
			arn := strings.NewReplacer("NAME", name, "ACCOUNT", where).Replace(form.arn)
			target, err := incident.ParseTarget(incident.Step{Action: "isolate-instance", Target: arn}, incident.Ref{Account: where, Region: "us-east-1"})
			if err != nil {
				t.Fatal(err)
			}
			if no := self(target, hub); no == nil || no.Rule != Self || no.Rule.Overridable() {
				t.Errorf("%s %s is not known as ours: %s", filepath.Base(file), id, arn)
			}
			seen++
		}
	}
	if seen < 80 {
		t.Errorf("only %d resources were looked at", seen)
	}
}

func TestWhatIsOnlyNamedLikeUsIsNotOurs(t *testing.T) {
	for _, arn := range []string{
		"arn:aws:sqs:us-east-1:222222222222:firebreak-action-dlq", "arn:aws:iam::222222222222:role/firebreak/evil", "arn:aws:kms:us-east-1:222222222222:key/0d6d2b3e",
		"arn:aws:iam::222222222222:user/SecurityRemediationRole-Readers", "arn:aws:iam::111111111111:role/afirebreak", "arn:aws:ec2:us-east-1:111111111111:instance/i-0abcdef1234567890",
		"arn:aws:cloudtrail:us-east-1:222222222222:trail/firebreak-copy", "arn:aws:s3:::firebreak-evidence-222222222222-us-east-1", "arn:aws:lambda:us-east-1:222222222222:function:firebreak-notify",
		"arn:aws:iam::222222222222:user/firebreak-forwarder", "arn:aws:iam::222222222222:user/SecurityRemediationRole-Read", "arn:aws:s3:::firebreak-heartbeat",
	} {
		account := cmp.Or(strings.Split(arn, ":")[4], "222222222222")
		target, err := incident.ParseTarget(incident.Step{Target: arn}, incident.Ref{Account: account, Region: "us-east-1"})
		if err != nil {
			t.Fatal(err)
		}
		if no := self(target, hub); no != nil {
			t.Errorf("%s is taken for ours", arn)
		}
	}
	for _, arn := range []string{"arn:aws:lambda:us-east-1:111111111111:function:firebreak-notify:7", "arn:aws:dynamodb:us-east-1:111111111111:table/firebreak-ledger/index/open", "arn:aws:secretsmanager:us-east-1:111111111111:secret:firebreak/external-id-AbCdEf"} {
		target, err := incident.ParseTarget(incident.Step{Target: arn}, incident.Ref{Account: hub, Region: "us-east-1"})
		if err != nil {
			t.Fatal(err)
		}
		if no := self(target, hub); no == nil {
			t.Errorf("%s is not known as ours", arn)
		}
	}
}

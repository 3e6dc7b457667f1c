//go:build e2e

package installation

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/lib/compliance"
	"firebreak/lib/compliance/compliancetest"
	"firebreak/scripts/local/world"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	cttypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"go.yaml.in/yaml/v3"
)

// rulesTemplate is config-rules.yaml without the rules themselves, which no engine here has: functions, roles, logs, permissions.
func rulesTemplate(t *testing.T, bucket string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(platform.Root, "cloudformation", "config-rules.yaml"))
	check(t, err)
	var doc yaml.Node
	check(t, yaml.Unmarshal(text, &doc))
	root := doc.Content[0]
	store := s3.NewFromConfig(platform.Config(world.HubAccount), func(o *s3.Options) { o.UsePathStyle = true })
	_, err = store.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket})
	check(t, err)
	for i := 0; i < len(root.Content); i += 2 {
		if root.Content[i].Value != "Resources" {
			continue
		}
		var kept []*yaml.Node
		all := root.Content[i+1].Content
		for j := 0; j < len(all); j += 2 {
			var is struct {
				Type       string    `yaml:"Type"`
				Properties yaml.Node `yaml:"Properties"`
			}
			check(t, all[j+1].Decode(&is))
			if is.Type == "AWS::Config::ConfigRule" {
				continue
			}
			for k := 0; is.Type == "AWS::Lambda::Function" && k < len(is.Properties.Content); k += 2 {
				if is.Properties.Content[k].Value == "Code" {
					name := filepath.Base(is.Properties.Content[k+1].Value)
					zip, err := os.Open(filepath.Join(platform.Root, "dist", world.Arch(), name+".zip"))
					check(t, err)
					_, err = store.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: aws.String(name), Body: zip})
					check(t, err)
					check(t, zip.Close())
					*is.Properties.Content[k+1] = yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{
						{Kind: yaml.ScalarNode, Value: "S3Bucket"}, {Kind: yaml.ScalarNode, Value: bucket}, {Kind: yaml.ScalarNode, Value: "S3Key"}, {Kind: yaml.ScalarNode, Value: name},
					}}
				}
			}
			kept = append(kept, all[j], all[j+1])
		}
		root.Content[i+1].Content = kept
	}
	out, err := yaml.Marshal(&doc)
	check(t, err)
	return string(out)
}

// The two rules of our own, deployed by their template with their roles, judge evaluation events of every type that they know, ask the
// account for what the event does not say, and report to Config.
func TestRulesJudgeAsFunctions(t *testing.T) {
	ctx, cfg := t.Context(), platform.Config(world.HubAccount)
	began := time.Now()
	api := cloudformation.NewFromConfig(cfg)
	parameters := []cfntypes.Parameter{}
	for name, value := range map[string]string{"Architecture": world.Arch(), "TagKey": "data-classification", "TagValues": "phi", "Keys": "customer"} {
		parameters = append(parameters, cfntypes.Parameter{ParameterKey: &name, ParameterValue: &value})
	}
	name := "firebreak-config-rules"
	_, err := api.CreateStack(ctx, &cloudformation.CreateStackInput{StackName: &name, TemplateBody: aws.String(rulesTemplate(t, "rules-under-test")), Parameters: parameters, Capabilities: []cfntypes.Capability{cfntypes.CapabilityCapabilityNamedIam}})
	check(t, err)
	check(t, cloudformation.NewStackCreateCompleteWaiter(api, func(o *cloudformation.StackCreateCompleteWaiterOptions) {
		o.MinDelay, o.MaxDelay = 200*time.Millisecond, time.Second
	}).Wait(ctx, &cloudformation.DescribeStacksInput{StackName: &name}, 3*time.Minute))

	made, err := kms.NewFromConfig(cfg).CreateKey(ctx, &kms.CreateKeyInput{})
	check(t, err)
	ours := *made.KeyMetadata.Arn
	trails := cloudtrail.NewFromConfig(cfg)
	_, err = s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("trail-under-test")})
	check(t, err)
	trail, err := trails.CreateTrail(ctx, &cloudtrail.CreateTrailInput{Name: aws.String("all"), S3BucketName: aws.String("trail-under-test"), IsMultiRegionTrail: aws.Bool(true)})
	check(t, err)
	_, err = trails.StartLogging(ctx, &cloudtrail.StartLoggingInput{Name: trail.TrailARN})
	check(t, err)
	recorded := "arn:aws:s3:::clinic-records/"
	_, err = trails.PutEventSelectors(ctx, &cloudtrail.PutEventSelectorsInput{TrailName: trail.TrailARN, EventSelectors: []cttypes.EventSelector{{
		ReadWriteType: cttypes.ReadWriteTypeAll, DataResources: []cttypes.DataResource{{Type: aws.String("AWS::S3::Object"), Values: []string{recorded}}},
	}}})
	check(t, err)

	encryption, logging := `{"tagKey":"data-classification","values":"phi","keys":"customer"}`, `{"tagKey":"data-classification","values":"phi"}`
	bucket := func(rule string) string {
		return `{"supplementaryConfiguration":{"ServerSideEncryptionConfiguration":{"rules":[{"applyServerSideEncryptionByDefault":` + rule + `}]}}}`
	}
	judged := map[string][]string{}
	for _, c := range []struct{ rule, kind, body, class, want string }{
		{"hipaa-phi-encryption-check", "AWS::S3::Bucket", bucket(`{"sseAlgorithm":"aws:kms","kmsMasterKeyID":"` + ours + `"}`), "phi", "COMPLIANT"},
		{"hipaa-phi-encryption-check", "AWS::S3::Bucket", bucket(`{"sseAlgorithm":"AES256"}`), "phi", "NON_COMPLIANT"},
		{"hipaa-phi-encryption-check", "AWS::S3::Bucket", bucket(`{"sseAlgorithm":"AES256"}`), "public", "NOT_APPLICABLE"},
		{"hipaa-phi-encryption-check", "AWS::EC2::Volume", `{"configuration":{"encrypted":true,"kmsKeyId":"` + ours + `"}}`, "phi", "COMPLIANT"},
		{"hipaa-phi-encryption-check", "AWS::EC2::Volume", `{"configuration":{"encrypted":true,"kmsKeyId":"` + ours[:strings.LastIndex(ours, "/")+1] + `00000000-0000-4000-8000-000000000000"}}`, "phi", "NON_COMPLIANT"},
		{"hipaa-phi-encryption-check", "AWS::EFS::FileSystem", `{"configuration":{"Encrypted":false}}`, "phi", "NON_COMPLIANT"},
		{"hipaa-phi-encryption-check", "AWS::RDS::DBInstance", `{"configuration":{"storageEncrypted":true,"kmsKeyId":"` + ours + `"}}`, "phi", "COMPLIANT"},
		{"hipaa-phi-encryption-check", "AWS::RDS::DBCluster", `{"configuration":{}}`, "phi", "NON_COMPLIANT"},
		{"hipaa-phi-encryption-check", "AWS::RDS::DBSnapshot", `{"configuration":{"encrypted":false}}`, "phi", "NON_COMPLIANT"},
		{"hipaa-phi-encryption-check", "AWS::DynamoDB::Table", `{"configuration":{}}`, "phi", "NON_COMPLIANT"},
		{"hipaa-phi-encryption-check", "AWS::Redshift::Cluster", `{"configuration":{"encrypted":true,"kmsKeyId":"` + ours + `"}}`, "phi", "COMPLIANT"},
		{"hipaa-phi-encryption-check", "AWS::OpenSearch::Domain", `{"configuration":{"EncryptionAtRestOptions":{"Enabled":false}}}`, "phi", "NON_COMPLIANT"},
		{"hipaa-phi-encryption-check", "AWS::Kinesis::Stream", `{"configuration":{"StreamEncryption":{"EncryptionType":"NONE"}}}`, "phi", "NON_COMPLIANT"},
		{"hipaa-phi-encryption-check", "AWS::SQS::Queue", `{"configuration":{"SqsManagedSseEnabled":"true"}}`, "phi", "NON_COMPLIANT"},
		{"hipaa-phi-encryption-check", "AWS::SNS::Topic", `{"configuration":{"KmsMasterKeyId":"` + ours + `"}}`, "phi", "COMPLIANT"},
		{"hipaa-phi-encryption-check", "AWS::SecretsManager::Secret", `{"configuration":{}}`, "phi", "NON_COMPLIANT"},
		{"hipaa-phi-encryption-check", "AWS::Backup::BackupVault", `{"configuration":{"EncryptionKeyArn":"` + ours + `"}}`, "phi", "COMPLIANT"},
		{"patient-data-access-logging", "AWS::S3::Bucket", `{"ARN":"arn:aws:s3:::clinic-records"}`, "phi", "COMPLIANT"}, // by the trail
		{"patient-data-access-logging", "AWS::S3::Bucket", `{"ARN":"arn:aws:s3:::clinic-other"}`, "phi", "NON_COMPLIANT"},
		{"patient-data-access-logging", "AWS::S3::Bucket", `{"ARN":"arn:aws:s3:::clinic-other"}`, "internal", "NOT_APPLICABLE"},
		{"patient-data-access-logging", "AWS::DynamoDB::Table", `{"ARN":"arn:aws:dynamodb:us-east-1:111111111111:table/visits"}`, "phi", "NON_COMPLIANT"},
		{"patient-data-access-logging", "AWS::Kinesis::Stream", `{"ARN":"arn:aws:kinesis:us-east-1:111111111111:stream/vitals"}`, "phi", "NON_COMPLIANT"},
		{"patient-data-access-logging", "AWS::RDS::DBInstance", `{"configuration":{"engine":"mysql","enabledCloudwatchLogsExports":["general","audit"]}}`, "phi", "COMPLIANT"},
		{"patient-data-access-logging", "AWS::RDS::DBCluster", `{"configuration":{"engine":"aurora-mysql"}}`, "phi", "NON_COMPLIANT"},
		{"patient-data-access-logging", "AWS::Redshift::Cluster", `{"supplementaryConfiguration":{"LoggingStatus":{"loggingEnabled":true}}}`, "phi", "COMPLIANT"},
		{"patient-data-access-logging", "AWS::OpenSearch::Domain", `{"configuration":{"LogPublishingOptions":{"AUDIT_LOGS":{"Enabled":true}}}}`, "phi", "COMPLIANT"},
		{"patient-data-access-logging", "AWS::ApiGateway::Stage", `{"configuration":{}}`, "phi", "NON_COMPLIANT"},
		{"patient-data-access-logging", "AWS::ApiGatewayV2::Stage", `{"configuration":{}}`, "phi", "NON_COMPLIANT"},
		{"patient-data-access-logging", "AWS::CloudFront::Distribution", `{"configuration":{"distributionConfig":{"logging":{"enabled":true}}}}`, "phi", "COMPLIANT"},
	} {
		p := encryption
		if c.rule == "patient-data-access-logging" {
			p = logging
		}
		var body map[string]any
		check(t, json.Unmarshal([]byte(c.body), &body))
		body["awsAccountId"] = world.HubAccount
		text, err := json.Marshal(body)
		check(t, err)
		event := compliancetest.Event(t, c.kind, c.class, p, string(text))
		out, err := platform.Hub().Invoke(ctx, "firebreak-"+c.rule, event)
		var got compliance.Evaluation
		if err == nil {
			err = json.Unmarshal(out, &got)
		}
		if err != nil || string(got.Compliance) != c.want || (c.want == "NON_COMPLIANT") != (got.Why != "" && c.want != "NOT_APPLICABLE") {
			t.Errorf("%s of %s %s: %+v (%v), want %s", c.rule, c.kind, c.body, got, err, c.want)
		}
		if c.want != "NOT_APPLICABLE" && !slices.Contains(judged[c.rule], c.kind) {
			judged[c.rule] = append(judged[c.rule], c.kind)
		}
	}
	for rule, kinds := range judged {
		if len(kinds) < 8 {
			t.Errorf("%s has judged %v only", rule, kinds)
		}
		told, err := platform.Decided(began, func(d world.Decision) bool {
			return strings.Contains(d.Principal, "firebreak-"+rule) && d.Action == "config:PutEvaluations" && d.Allowed
		})
		if err != nil || len(told) == 0 {
			t.Errorf("%s has told Config nothing (%v)", rule, err)
		}
	}
	// A rule that is asked what it cannot read reports nothing.
	event := compliancetest.Event(t, "AWS::S3::Bucket", "phi", `{"tagkey":"x"}`, `{}`)
	if out, err := platform.Hub().Invoke(ctx, "firebreak-hipaa-phi-encryption-check", event); err == nil || !strings.Contains(fmt.Sprint(err), "BadInput") {
		t.Errorf("with parameters that it does not know: %s, %v", out, err)
	}
}

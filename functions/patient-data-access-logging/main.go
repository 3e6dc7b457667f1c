// patient-data-access-logging is a custom rule of AWS Config: who reads and writes what a tag classifies as patient data is
// on record (45 CFR 164.312(b)), by the resource's own log or by a trail that records its data events.
//
// Second time: the same resource in the same state gets the same verdict; Config keeps the newest by the time of recording.
//
// Undo: none, it changes nothing. Firebreak acts on its verdicts only where the playbook says so.
package main

import (
	"context"
	"slices"
	"strings"

	"firebreak/lib/boot"
	"firebreak/lib/compliance"

	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/configservice"
)

// trailAPI are the calls that look at what trails record.
type trailAPI interface {
	DescribeTrails(context.Context, *cloudtrail.DescribeTrailsInput, ...func(*cloudtrail.Options)) (*cloudtrail.DescribeTrailsOutput, error)
	GetEventSelectors(context.Context, *cloudtrail.GetEventSelectorsInput, ...func(*cloudtrail.Options)) (*cloudtrail.GetEventSelectorsOutput, error)
	GetTrailStatus(context.Context, *cloudtrail.GetTrailStatusInput, ...func(*cloudtrail.Options)) (*cloudtrail.GetTrailStatusOutput, error)
}

// rule judges the record of access.
type rule struct{ trails *trails }

// records is how a type of resource keeps a record of access, as AWS Config records that
// (awslabs/aws-config-resource-schema).
type records struct {
	// own tells whether the resource's own log is on; nil where it has none.
	own func(compliance.Item) bool
	// data is the type by which a trail names the resource's data events, "" where no trail records them.
	data string
	// missing says what to switch on.
	missing string
}

var stores = map[string]records{
	"AWS::ApiGateway::Stage":        {own: has("configuration.accessLogSettings.destinationArn"), missing: "the stage's access log"},
	"AWS::ApiGatewayV2::Stage":      {own: has("configuration.AccessLogSettings.DestinationArn"), missing: "the stage's access log"},
	"AWS::CloudFront::Distribution": {own: on("configuration.distributionConfig.logging.enabled"), missing: "the distribution's log"},
	"AWS::DynamoDB::Table":          {data: "AWS::DynamoDB::Table", missing: "data events of the table in a trail"},
	"AWS::Kinesis::Stream":          {data: "AWS::Kinesis::Stream", missing: "data events of the stream in a trail"},
	"AWS::OpenSearch::Domain":       {own: on("configuration.LogPublishingOptions.AUDIT_LOGS.Enabled"), missing: "the domain's audit log"},
	"AWS::RDS::DBCluster":           {own: audited, missing: "the engine's audit log in CloudWatch Logs (audit, or postgresql with pgaudit)"},
	"AWS::RDS::DBInstance":          {own: audited, missing: "the engine's audit log in CloudWatch Logs (audit, or postgresql with pgaudit)"},
	"AWS::Redshift::Cluster":        {own: on("supplementaryConfiguration.LoggingStatus.loggingEnabled"), missing: "the cluster's audit log"},
	"AWS::S3::Bucket":               {own: has("supplementaryConfiguration.BucketLoggingConfiguration.destinationBucketName"), data: "AWS::S3::Object", missing: "server access logging, or data events of the bucket in a trail"},
}

func has(path string) func(compliance.Item) bool {
	return func(i compliance.Item) bool { return i.Text(path) != "" }
}

func on(path string) func(compliance.Item) bool {
	return func(i compliance.Item) bool { return i.True(path) }
}

// audited tells whether a database sends the log that names who did what. An engine's general log does not.
func audited(i compliance.Item) bool {
	want := "audit"
	if strings.Contains(i.Text("configuration.engine"), "postgres") {
		want = "postgresql"
	}
	return slices.Contains(i.All("configuration.enabledCloudwatchLogsExports"), want)
}

// judge holds one resource against the rule.
func (r rule) judge(ctx context.Context, i compliance.Item, _ compliance.Parameters) (compliance.Verdict, error) {
	s, known := stores[i.Type]
	if !known {
		return compliance.None("the rule does not know how access to %s is recorded", i.Type), nil
	}
	if s.own != nil && s.own(i) {
		return compliance.Compliant(), nil
	}
	if s.data != "" {
		arn := i.ARN
		if i.Type == "AWS::S3::Bucket" {
			arn += "/" // an object's ARN begins so
		}
		covered, err := r.trails.record(ctx, s.data, arn)
		if covered || err != nil {
			return compliance.Compliant(), err
		}
	}
	return compliance.Violation("nobody can tell who saw the data: switch on %s", s.missing), nil
}

func main() {
	b := boot.Load()
	r := rule{&trails{api: cloudtrail.NewFromConfig(b.AWS)}}
	boot.Start(compliance.Rule{API: configservice.NewFromConfig(b.AWS), Judge: r.judge}.Handle)
}

package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"testing"

	"firebreak/lib/compliance"
	"firebreak/lib/compliance/compliancetest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	config "github.com/aws/aws-sdk-go-v2/service/configservice/types"
)

const (
	parameters = `{"tagKey":"data-classification","values":"phi"}`
	bucket     = "arn:aws:s3:::clinic-records"
	table      = "arn:aws:dynamodb:us-east-1:222222222222:table/visits"
	stream     = "arn:aws:kinesis:us-east-1:222222222222:stream/vitals"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	os.Exit(m.Run())
}

// fake is CloudTrail with one trail.
type fake struct {
	selects cloudtrail.GetEventSelectorsOutput
	stopped bool
	err     error
	calls   int
}

func (f *fake) DescribeTrails(_ context.Context, in *cloudtrail.DescribeTrailsInput, _ ...func(*cloudtrail.Options)) (*cloudtrail.DescribeTrailsOutput, error) {
	f.calls++
	if !aws.ToBool(in.IncludeShadowTrails) {
		return nil, errors.New("the organization's trail would be overlooked")
	}
	return &cloudtrail.DescribeTrailsOutput{TrailList: []types.Trail{{TrailARN: aws.String("arn:aws:cloudtrail:us-east-1:111111111111:trail/all")}}}, f.err
}

func (f *fake) GetTrailStatus(context.Context, *cloudtrail.GetTrailStatusInput, ...func(*cloudtrail.Options)) (*cloudtrail.GetTrailStatusOutput, error) {
	return &cloudtrail.GetTrailStatusOutput{IsLogging: aws.Bool(!f.stopped)}, nil
}

func (f *fake) GetEventSelectors(context.Context, *cloudtrail.GetEventSelectorsInput, ...func(*cloudtrail.Options)) (*cloudtrail.GetEventSelectorsOutput, error) {
	return &f.selects, nil
}

func field(name string, values ...string) types.AdvancedFieldSelector {
	return types.AdvancedFieldSelector{Field: &name, Equals: values}
}

// data selects data events of a kind, narrowed by more.
func data(kind string, more ...types.AdvancedFieldSelector) types.AdvancedEventSelector {
	return types.AdvancedEventSelector{FieldSelectors: append([]types.AdvancedFieldSelector{field("eventCategory", "Data"), field("resources.type", kind)}, more...)}
}

func evaluate(t *testing.T, f *fake, kind, body string) (compliance.Evaluation, error) {
	t.Helper()
	r := rule{&trails{api: f}}
	return compliance.Rule{API: &compliancetest.Config{}, Judge: r.judge}.Handle(t.Context(), compliancetest.Event(t, kind, "phi", parameters, body))
}

// Every type that the rule knows, with its own log and without.
func TestAccessToPatientDataIsOnRecord(t *testing.T) {
	seen := map[string][2]bool{}
	for _, c := range []struct {
		kind, body string
		complies   bool
	}{
		{"AWS::S3::Bucket", `{"ARN":"` + bucket + `","supplementaryConfiguration":{"BucketLoggingConfiguration":{"destinationBucketName":"clinic-logs"}}}`, true},
		{"AWS::S3::Bucket", `{"ARN":"` + bucket + `","supplementaryConfiguration":{"BucketLoggingConfiguration":{"destinationBucketName":null}}}`, false},
		{"AWS::DynamoDB::Table", `{"ARN":"` + table + `"}`, false},
		{"AWS::Kinesis::Stream", `{"ARN":"` + stream + `"}`, true}, // by the trail below
		{"AWS::Kinesis::Stream", `{"ARN":"` + stream + `2"}`, false},
		{"AWS::RDS::DBInstance", `{"configuration":{"engine":"mysql","enabledCloudwatchLogsExports":["general","audit"]}}`, true},
		{"AWS::RDS::DBInstance", `{"configuration":{"engine":"mysql","enabledCloudwatchLogsExports":["general","slowquery"]}}`, false},
		{"AWS::RDS::DBInstance", `{"configuration":{"engine":"postgres","enabledCloudwatchLogsExports":["postgresql"]}}`, true},
		{"AWS::RDS::DBCluster", `{"configuration":{"engine":"aurora-postgresql","enabledCloudwatchLogsExports":["postgresql"]}}`, true},
		{"AWS::RDS::DBCluster", `{"configuration":{"engine":"aurora-mysql"}}`, false},
		{"AWS::Redshift::Cluster", `{"supplementaryConfiguration":{"LoggingStatus":{"loggingEnabled":true}}}`, true},
		{"AWS::Redshift::Cluster", `{"supplementaryConfiguration":{"LoggingStatus":"{\"loggingEnabled\":false}"}}`, false},
		{"AWS::OpenSearch::Domain", `{"configuration":{"LogPublishingOptions":{"AUDIT_LOGS":{"Enabled":true}}}}`, true},
		{"AWS::OpenSearch::Domain", `{"configuration":{"LogPublishingOptions":{"INDEX_SLOW_LOGS":{"Enabled":true}}}}`, false},
		{"AWS::ApiGateway::Stage", `{"configuration":{"accessLogSettings":{"destinationArn":"arn:aws:logs:us-east-1:222222222222:log-group:api"}}}`, true},
		{"AWS::ApiGateway::Stage", `{"configuration":{}}`, false},
		{"AWS::ApiGatewayV2::Stage", `{"configuration":{"AccessLogSettings":{"DestinationArn":"arn:aws:logs:us-east-1:222222222222:log-group:api"}}}`, true},
		{"AWS::ApiGatewayV2::Stage", `{"configuration":{}}`, false},
		{"AWS::CloudFront::Distribution", `{"configuration":{"distributionConfig":{"logging":{"enabled":true}}}}`, true},
		{"AWS::CloudFront::Distribution", `{"configuration":{"distributionConfig":{"logging":{"enabled":false}}}}`, false},
		{"AWS::DynamoDB::Table", `{"ARN":"` + table + `-recorded"}`, true},
	} {
		f := &fake{selects: cloudtrail.GetEventSelectorsOutput{AdvancedEventSelectors: []types.AdvancedEventSelector{
			data("AWS::Kinesis::Stream", field("resources.ARN", stream)), data("AWS::DynamoDB::Table", field("resources.ARN", table+"-recorded")),
		}}}
		got, err := evaluate(t, f, c.kind, c.body)
		if err != nil || c.complies != (got.Compliance == config.ComplianceTypeCompliant) || !c.complies && got.Why == "" {
			t.Errorf("%s %s: %+v, %v", c.kind, c.body, got, err)
		}
		s := seen[c.kind]
		s[0], s[1] = s[0] || c.complies, s[1] || !c.complies
		seen[c.kind] = s
	}
	for _, kind := range slices.Sorted(maps.Keys(stores)) {
		if seen[kind] != [2]bool{true, true} {
			t.Errorf("%s is not tried both ways", kind)
		}
	}
	if got, err := evaluate(t, &fake{}, "AWS::EC2::Instance", `{}`); err != nil || got.Compliance != config.ComplianceTypeNotApplicable {
		t.Errorf("a type that the rule does not know: %+v, %v", got, err)
	}
}

func TestWhatATrailRecords(t *testing.T) {
	object := "AWS::S3::Object"
	not := func(prefix string) types.AdvancedFieldSelector {
		return types.AdvancedFieldSelector{Field: aws.String("resources.ARN"), NotStartsWith: []string{prefix}}
	}
	starts := func(prefix string) types.AdvancedFieldSelector {
		return types.AdvancedFieldSelector{Field: aws.String("resources.ARN"), StartsWith: []string{prefix}}
	}
	basic := func(rw types.ReadWriteType, values ...string) cloudtrail.GetEventSelectorsOutput {
		return cloudtrail.GetEventSelectorsOutput{EventSelectors: []types.EventSelector{{ReadWriteType: rw, DataResources: []types.DataResource{{Type: &object, Values: values}}}}}
	}
	for name, c := range map[string]struct {
		advanced []types.AdvancedEventSelector
		basic    cloudtrail.GetEventSelectorsOutput
		stopped  bool
		want     bool
	}{
		"every object":                    {advanced: []types.AdvancedEventSelector{data(object)}, want: true},
		"every object, trail stopped":     {advanced: []types.AdvancedEventSelector{data(object)}, stopped: true},
		"another bucket left out":         {advanced: []types.AdvancedEventSelector{data(object, not("arn:aws:s3:::logs/"))}, want: true},
		"this bucket left out":            {advanced: []types.AdvancedEventSelector{data(object, not(bucket+"/"))}},
		"a folder of it left out":         {advanced: []types.AdvancedEventSelector{data(object, not(bucket+"/scans/"))}},
		"this bucket":                     {advanced: []types.AdvancedEventSelector{data(object, starts(bucket+"/"))}, want: true},
		"a folder of it":                  {advanced: []types.AdvancedEventSelector{data(object, starts(bucket+"/scans/"))}},
		"another bucket":                  {advanced: []types.AdvancedEventSelector{data(object, starts("arn:aws:s3:::logs/"))}},
		"writes only":                     {advanced: []types.AdvancedEventSelector{data(object, field("readOnly", "false"))}},
		"writes in one, reads in another": {advanced: []types.AdvancedEventSelector{data(object, field("readOnly", "false")), data(object, field("readOnly", "true"))}, want: true},
		"one kind of event":               {advanced: []types.AdvancedEventSelector{data(object, field("eventName", "GetObject"))}},
		"another type":                    {advanced: []types.AdvancedEventSelector{data("AWS::Lambda::Function")}},
		"management events":               {advanced: []types.AdvancedEventSelector{{FieldSelectors: []types.AdvancedFieldSelector{field("eventCategory", "Management")}}}},
		"basic, every bucket":             {basic: basic(types.ReadWriteTypeAll, "arn:aws:s3"), want: true},
		"basic, this bucket":              {basic: basic(types.ReadWriteTypeAll, bucket+"/"), want: true},
		"basic, a folder":                 {basic: basic(types.ReadWriteTypeAll, bucket+"/scans")},
		"basic, reads":                    {basic: basic(types.ReadWriteTypeReadOnly, "arn:aws:s3")},
		"basic, nothing":                  {basic: basic(types.ReadWriteTypeAll)},
		"no trail selects data":           {},
	} {
		f := &fake{selects: c.basic, stopped: c.stopped}
		f.selects.AdvancedEventSelectors = c.advanced
		got, err := evaluate(t, f, "AWS::S3::Bucket", `{"ARN":"`+bucket+`"}`)
		if err != nil || c.want != (got.Compliance == config.ComplianceTypeCompliant) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// A table's ARN is no prefix: visits does not stand for visits-archive.
func TestABasicSelectorOfATableIsWhole(t *testing.T) {
	f := &fake{selects: cloudtrail.GetEventSelectorsOutput{EventSelectors: []types.EventSelector{
		{ReadWriteType: types.ReadWriteTypeAll, DataResources: []types.DataResource{{Type: aws.String("AWS::DynamoDB::Table"), Values: []string{table}}}},
	}}}
	for arn, want := range map[string]bool{table: true, table + "-archive": false} {
		got, err := evaluate(t, f, "AWS::DynamoDB::Table", `{"ARN":"`+arn+`"}`)
		if err != nil || want != (got.Compliance == config.ComplianceTypeCompliant) {
			t.Errorf("%s: %+v, %v", arn, got, err)
		}
	}
}

func TestTrailsThatCannotBeReadAreNoVerdict(t *testing.T) {
	if got, err := evaluate(t, &fake{err: errors.New("denied")}, "AWS::DynamoDB::Table", `{}`); err == nil {
		t.Errorf("%+v", got)
	}
}

func TestTrailsAreReadOnceAMinute(t *testing.T) {
	f := &fake{}
	all := &trails{api: f}
	for range 5 {
		if _, err := all.record(t.Context(), "AWS::DynamoDB::Table", table); err != nil {
			t.Fatal(err)
		}
	}
	if f.calls != 1 {
		t.Errorf("read %d times", f.calls)
	}
}

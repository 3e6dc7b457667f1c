package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	ct "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/configservice"
	cs "github.com/aws/aws-sdk-go-v2/service/configservice/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamotypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
	gd "github.com/aws/aws-sdk-go-v2/service/guardduty/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lt "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	org "github.com/aws/aws-sdk-go-v2/service/organizations/types"
	"github.com/aws/aws-sdk-go-v2/service/securityhub"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
)

// site is an account to look at. A nil field is a service that answers AccessDenied.
type site struct {
	limit    *lt.AccountLimit
	summary  map[string]int32
	in       *org.Organization
	alone    bool
	detector *guardduty.GetDetectorOutput
	hub      string
	recorder []cs.ConfigurationRecorderStatus
	trails   []ct.Trail
	denied   bool
}

func (s site) no() error {
	if s.denied {
		return &smithy.GenericAPIError{Code: "AccessDenied"}
	}
	return nil
}

func (s site) GetAccountSettings(context.Context, *lambda.GetAccountSettingsInput, ...func(*lambda.Options)) (*lambda.GetAccountSettingsOutput, error) {
	return &lambda.GetAccountSettingsOutput{AccountLimit: s.limit}, s.no()
}

func (s site) GetAccountSummary(context.Context, *iam.GetAccountSummaryInput, ...func(*iam.Options)) (*iam.GetAccountSummaryOutput, error) {
	return &iam.GetAccountSummaryOutput{SummaryMap: s.summary}, s.no()
}

func (s site) DescribeOrganization(context.Context, *organizations.DescribeOrganizationInput, ...func(*organizations.Options)) (*organizations.DescribeOrganizationOutput, error) {
	if s.alone {
		return nil, &org.AWSOrganizationsNotInUseException{}
	}
	return &organizations.DescribeOrganizationOutput{Organization: s.in}, s.no()
}

func (s site) ListDetectors(context.Context, *guardduty.ListDetectorsInput, ...func(*guardduty.Options)) (*guardduty.ListDetectorsOutput, error) {
	out := &guardduty.ListDetectorsOutput{}
	if s.detector != nil {
		out.DetectorIds = []string{"12abc34d567e8fa901bc2d34e56789f0"}
	}
	return out, s.no()
}

func (s site) GetDetector(context.Context, *guardduty.GetDetectorInput, ...func(*guardduty.Options)) (*guardduty.GetDetectorOutput, error) {
	return s.detector, nil
}

func (s site) DescribeHub(context.Context, *securityhub.DescribeHubInput, ...func(*securityhub.Options)) (*securityhub.DescribeHubOutput, error) {
	if s.hub == "" && !s.denied {
		return nil, &smithy.GenericAPIError{Code: "InvalidAccessException"}
	}
	return &securityhub.DescribeHubOutput{SubscribedAt: &s.hub}, s.no()
}

func (s site) DescribeConfigurationRecorderStatus(context.Context, *configservice.DescribeConfigurationRecorderStatusInput, ...func(*configservice.Options)) (*configservice.DescribeConfigurationRecorderStatusOutput, error) {
	return &configservice.DescribeConfigurationRecorderStatusOutput{ConfigurationRecordersStatus: s.recorder}, s.no()
}

func (s site) DescribeTrails(context.Context, *cloudtrail.DescribeTrailsInput, ...func(*cloudtrail.Options)) (*cloudtrail.DescribeTrailsOutput, error) {
	return &cloudtrail.DescribeTrailsOutput{TrailList: s.trails}, s.no()
}

// look gives the findings of a site as one text, a line each.
func look(s site, organization string) (string, error) {
	var log bytes.Buffer
	here := &session{account: "111111111111", log: &log}
	found := observer{s, s, s, s, s, s, s}.checks(context.Background(), here, organization, hubRoles)
	err := here.survey(found)
	return log.String(), err
}

func TestChecksSayWhatIsThere(t *testing.T) {
	ready := site{
		limit: &lt.AccountLimit{ConcurrentExecutions: 1000, UnreservedConcurrentExecutions: aws.Int32(900)}, summary: map[string]int32{"Roles": 100, "RolesQuota": 1000},
		in:       &org.Organization{Id: aws.String("o-abcdefghij"), MasterAccountId: aws.String("999999999999")},
		detector: &guardduty.GetDetectorOutput{Status: gd.DetectorStatusEnabled, FindingPublishingFrequency: gd.FindingPublishingFrequencyFifteenMinutes}, hub: "2025-01-02T03:04:05.678Z",
		recorder: []cs.ConfigurationRecorderStatus{{Name: aws.String("default"), Recording: true}},
		trails:   []ct.Trail{{TrailARN: aws.String("arn:aws:cloudtrail:us-east-1:999999999999:trail/all"), IsMultiRegionTrail: aws.Bool(true), LogFileValidationEnabled: aws.Bool(true), KmsKeyId: aws.String("k")}},
	}
	text, err := look(ready, "o-abcdefghij")
	if err != nil || strings.Count(text, "  ok  ") != 7 || !strings.Contains(text, "on since 2025-01-02") {
		t.Errorf("%v\n%s", err, text)
	}
	text, err = look(site{denied: true}, "")
	if err != nil || strings.Count(text, "cannot tell (AccessDenied)") != 7 {
		t.Errorf("an operator who may look at nothing: %v\n%s", err, text)
	}
	text, err = look(site{}, "")
	for _, want := range []string{"GuardDuty     off in this region", "Security Hub  off in this region", "Config        no recorder", "CloudTrail    no trail of all regions", "Lambda        cannot tell"} {
		if err != nil || !strings.Contains(text, want) {
			t.Errorf("an empty account: %v, lacks %q\n%s", err, want, text)
		}
	}
	slow := ready
	slow.detector = &guardduty.GetDetectorOutput{Status: gd.DetectorStatusEnabled, FindingPublishingFrequency: gd.FindingPublishingFrequencySixHours}
	slow.limit = &lt.AccountLimit{ConcurrentExecutions: 10, UnreservedConcurrentExecutions: aws.Int32(10)}
	slow.trails = []ct.Trail{{TrailARN: aws.String("t"), IsMultiRegionTrail: aws.Bool(true)}}
	slow.recorder = []cs.ConfigurationRecorderStatus{{Name: aws.String("default")}}
	text, err = look(slow, "o-abcdefghij")
	for _, want := range []string{"every six hours only", "below 50 a burst of findings waits", "nobody can prove that it is whole", "the recorder default is stopped"} {
		if err != nil || !strings.Contains(text, want) {
			t.Errorf("%v, lacks %q\n%s", err, want, text)
		}
	}
}

// The room that is asked for is the room that the templates need.
func TestRolesAreCounted(t *testing.T) {
	have := 0
	for _, name := range []string{"functions", "statemachines", "ingest", "approval", "storage", "settings", "notify", "alarms"} {
		text, err := os.ReadFile("../../cloudformation/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		have += strings.Count(string(text), "Type: AWS::IAM::Role\n")
	}
	if have != hubRoles {
		t.Errorf("the hub has %d roles, and room for %d is asked for", have, hubRoles)
	}
}

// A table that an earlier installation has left stops a new one before it begins.
func TestAnEarlierLedgerStops(t *testing.T) {
	for want, err := range map[level]error{block: nil, good: &dynamotypes.ResourceNotFoundException{}, note: &smithy.GenericAPIError{Code: "AccessDenied"}} {
		if f := earlier(t.Context(), "us-east-1", left{err}); f.level != want {
			t.Errorf("%v: %+v, want %s", err, f, want)
		}
	}
}

// The same for the letters that a member has left.
// A hub is not begun with a member's credentials.
func TestAnotherHubsMemberIsNoHub(t *testing.T) {
	for hub, want := range map[string]level{"111111111111": good, "222222222222": block} {
		s, _ := of(&former{stack: &types.Stack{StackStatus: types.StackStatusCreateComplete, Parameters: []types.Parameter{{ParameterKey: aws.String("HubAccount"), ParameterValue: &hub}}}})
		s.account = "111111111111"
		if got := s.belongs(t.Context()); got.level != want {
			t.Errorf("hub %s: %+v", hub, got)
		}
	}
	s, _ := of(&former{})
	if got := s.belongs(t.Context()); got.level != good {
		t.Errorf("no member: %+v", got)
	}
}

func TestEarlierLettersStop(t *testing.T) {
	for want, err := range map[level]error{block: nil, good: &sqstypes.QueueDoesNotExist{}, note: &smithy.GenericAPIError{Code: "AccessDenied"}} {
		if f := leftover(t.Context(), left{err}); f.level != want {
			t.Errorf("%v: %+v, want %s", err, f, want)
		}
	}
}

// left is what an earlier installation has left.
type left struct{ err error }

//lint:ignore ST1003 the SDK names it so
func (l left) GetQueueUrl(context.Context, *sqs.GetQueueUrlInput, ...func(*sqs.Options)) (*sqs.GetQueueUrlOutput, error) {
	return &sqs.GetQueueUrlOutput{}, l.err
}

func (l left) DescribeTable(context.Context, *dynamodb.DescribeTableInput, ...func(*dynamodb.Options)) (*dynamodb.DescribeTableOutput, error) {
	return &dynamodb.DescribeTableOutput{}, l.err
}

func TestWhatWouldFailStops(t *testing.T) {
	for want, c := range map[string]struct {
		site         site
		organization string
	}{
		"this account is in no organization": {site{alone: true}, "o-abcdefghij"},
		"and --organization names o-other":   {site{in: &org.Organization{Id: aws.String("o-abcdefghij"), MasterAccountId: aws.String("999999999999")}}, "o-otherother"},
		"990 roles of at most 1000":          {site{summary: map[string]int32{"Roles": 990, "RolesQuota": 1000}}, ""},
	} {
		if text, err := look(c.site, c.organization); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "nothing was changed") {
			t.Errorf("%s: %v\n%s", want, err, text)
		}
	}
	if text, err := look(site{in: &org.Organization{Id: aws.String("o-abcdefghij"), MasterAccountId: aws.String("111111111111")}}, ""); err != nil || !strings.Contains(text, "this is its management account") {
		t.Errorf("%v\n%s", err, text)
	}
}

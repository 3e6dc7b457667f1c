package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/configservice"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
	gd "github.com/aws/aws-sdk-go-v2/service/guardduty/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	org "github.com/aws/aws-sdk-go-v2/service/organizations/types"
	"github.com/aws/aws-sdk-go-v2/service/securityhub"
	"github.com/aws/smithy-go"
)

// observer are the calls that look at an account before anything is deployed into it.
type observer struct {
	functions interface {
		GetAccountSettings(context.Context, *lambda.GetAccountSettingsInput, ...func(*lambda.Options)) (*lambda.GetAccountSettingsOutput, error)
	}
	roles interface {
		GetAccountSummary(context.Context, *iam.GetAccountSummaryInput, ...func(*iam.Options)) (*iam.GetAccountSummaryOutput, error)
	}
	organization interface {
		DescribeOrganization(context.Context, *organizations.DescribeOrganizationInput, ...func(*organizations.Options)) (*organizations.DescribeOrganizationOutput, error)
	}
	detectors interface {
		ListDetectors(context.Context, *guardduty.ListDetectorsInput, ...func(*guardduty.Options)) (*guardduty.ListDetectorsOutput, error)
		GetDetector(context.Context, *guardduty.GetDetectorInput, ...func(*guardduty.Options)) (*guardduty.GetDetectorOutput, error)
	}
	hub interface {
		DescribeHub(context.Context, *securityhub.DescribeHubInput, ...func(*securityhub.Options)) (*securityhub.DescribeHubOutput, error)
	}
	recorders interface {
		DescribeConfigurationRecorderStatus(context.Context, *configservice.DescribeConfigurationRecorderStatusInput, ...func(*configservice.Options)) (*configservice.DescribeConfigurationRecorderStatusOutput, error)
	}
	trails interface {
		DescribeTrails(context.Context, *cloudtrail.DescribeTrailsInput, ...func(*cloudtrail.Options)) (*cloudtrail.DescribeTrailsOutput, error)
	}
}

// observer looks with the session's credentials, once each: a check that has to be repeated is answered "cannot tell".
func (s *session) observer() observer {
	cfg := s.cfg.Copy()
	cfg.RetryMaxAttempts = 1
	return observer{
		functions: lambda.NewFromConfig(cfg), roles: iam.NewFromConfig(cfg), organization: organizations.NewFromConfig(cfg), detectors: guardduty.NewFromConfig(cfg),
		hub: securityhub.NewFromConfig(cfg), recorders: configservice.NewFromConfig(cfg), trails: cloudtrail.NewFromConfig(cfg),
	}
}

// finding is what a check has found.
type finding struct {
	about string
	level level
	text  string
}

type level string

const (
	good  level = "ok"
	note  level = "note" // goes on, and a person should know
	block level = "STOP" // would fail, or would harm
)

// Bounds of the checks. A burst of two hundred findings needs 20 environments at least (measured); IAM's quota counts every role of
// the account.
const (
	leastConcurrency = 50
	hubRoles         = 28
	memberRoles      = 6
)

// checks of the hub account, in the order in which a person would ask.
func (o observer) checks(ctx context.Context, s *session, organizationID string, roles int32) []finding {
	return []finding{
		o.member(ctx, s.account, organizationID), o.concurrency(ctx), o.room(ctx, roles), o.guardDuty(ctx), o.securityHub(ctx), o.recorder(ctx), o.trail(ctx),
	}
}

// survey prints what the checks have found. Errors: something is found that would fail or harm.
func (s *session) survey(found []finding) error {
	var stops []string
	fmt.Fprintln(s.log, "\n  Before anything is changed:")
	for _, f := range found {
		fmt.Fprintf(s.log, "  %-4s  %-13s %s\n", f.level, f.about, f.text)
		if f.level == block {
			stops = append(stops, f.about+": "+f.text)
		}
	}
	fmt.Fprintln(s.log)
	if len(stops) > 0 {
		return fmt.Errorf("nothing was changed: %s", strings.Join(stops, "; "))
	}
	return nil
}

// unknown is a check that could not be made: no reason to stop, since the operator may lack a right that the deployment does not need.
func unknown(about string, err error) finding {
	var api smithy.APIError
	why := err.Error()
	if errors.As(err, &api) {
		why = api.ErrorCode()
	}
	return finding{about, note, "cannot tell (" + why + ")"}
}

func (o observer) member(ctx context.Context, account, want string) finding {
	const about = "organization"
	out, err := o.organization.DescribeOrganization(ctx, &organizations.DescribeOrganizationInput{})
	var none *org.AWSOrganizationsNotInUseException
	switch {
	case errors.As(err, &none) && want != "":
		return finding{about, block, "this account is in no organization, and --organization names " + want}
	case errors.As(err, &none):
		return finding{about, note, "none: findings are taken from the accounts of --members only"}
	case err != nil:
		return unknown(about, err)
	case out.Organization == nil:
		return finding{about, note, "cannot tell (an empty answer)"}
	}
	id, management := aws.ToString(out.Organization.Id), aws.ToString(out.Organization.MasterAccountId)
	switch {
	case want != "" && want != id:
		return finding{about, block, fmt.Sprintf("this account is in %s, and --organization names %s", id, want)}
	case management == account:
		return finding{about, note, id + ", and this is its management account: a security account of its own is safer, since no service control policy binds this one"}
	case want == "":
		return finding{about, note, id + ": its accounts may send findings only if --organization names it, or --members names them"}
	}
	return finding{about, good, id + ", managed by " + management}
}

func (o observer) concurrency(ctx context.Context) finding {
	const about = "Lambda"
	out, err := o.functions.GetAccountSettings(ctx, &lambda.GetAccountSettingsInput{})
	if err != nil || out.AccountLimit == nil {
		return unknown(about, empty(err))
	}
	all, free := out.AccountLimit.ConcurrentExecutions, aws.ToInt32(out.AccountLimit.UnreservedConcurrentExecutions)
	text := fmt.Sprintf("%d concurrent executions, %d of them not reserved for others", all, free)
	if free < leastConcurrency {
		return finding{about, note, fmt.Sprintf("%s; below %d a burst of findings waits: ask for more under Service Quotas, L-B99A9384", text, leastConcurrency)}
	}
	return finding{about, good, text}
}

func (o observer) room(ctx context.Context, need int32) finding {
	const about = "IAM"
	out, err := o.roles.GetAccountSummary(ctx, &iam.GetAccountSummaryInput{})
	if err != nil || out.SummaryMap["RolesQuota"] == 0 {
		return unknown(about, empty(err))
	}
	have, quota := out.SummaryMap["Roles"], out.SummaryMap["RolesQuota"]
	text := fmt.Sprintf("%d roles of at most %d; about %d are added", have, quota, need)
	if have+need > quota {
		return finding{about, block, text}
	}
	return finding{about, good, text}
}

func (o observer) guardDuty(ctx context.Context) finding {
	const about = "GuardDuty"
	list, err := o.detectors.ListDetectors(ctx, &guardduty.ListDetectorsInput{})
	switch {
	case err != nil:
		return unknown(about, err)
	case len(list.DetectorIds) == 0:
		return finding{about, note, "off in this region: without it hardly anything is found (scripts/deploy organization)"}
	}
	d, err := o.detectors.GetDetector(ctx, &guardduty.GetDetectorInput{DetectorId: &list.DetectorIds[0]})
	switch {
	case err != nil:
		return unknown(about, err)
	case d.Status != gd.DetectorStatusEnabled:
		return finding{about, note, "suspended in this region"}
	case d.FindingPublishingFrequency != gd.FindingPublishingFrequencyFifteenMinutes:
		return finding{about, note, fmt.Sprintf("on; findings that repeat come out every %s only (scripts/deploy organization makes it fifteen minutes)",
			strings.ToLower(strings.ReplaceAll(string(d.FindingPublishingFrequency), "_", " ")))}
	}
	return finding{about, good, "on, findings that repeat come out every fifteen minutes"}
}

func (o observer) securityHub(ctx context.Context) finding {
	const about = "Security Hub"
	out, err := o.hub.DescribeHub(ctx, &securityhub.DescribeHubInput{})
	var api smithy.APIError
	switch {
	case errors.As(err, &api) && slices.Contains([]string{"InvalidAccessException", "ResourceNotFoundException"}, api.ErrorCode()):
		return finding{about, note, "off in this region (scripts/deploy organization)"}
	case err != nil:
		return unknown(about, err)
	}
	return finding{about, good, "on since " + day(out.SubscribedAt)}
}

func (o observer) recorder(ctx context.Context) finding {
	const about = "Config"
	out, err := o.recorders.DescribeConfigurationRecorderStatus(ctx, &configservice.DescribeConfigurationRecorderStatusInput{})
	switch {
	case err != nil:
		return unknown(about, err)
	case len(out.ConfigurationRecordersStatus) == 0:
		return finding{about, note, "no recorder in this region (scripts/deploy config)"}
	case !out.ConfigurationRecordersStatus[0].Recording:
		return finding{about, note, fmt.Sprintf("the recorder %s is stopped", aws.ToString(out.ConfigurationRecordersStatus[0].Name))}
	}
	return finding{about, good, fmt.Sprintf("the recorder %s records", aws.ToString(out.ConfigurationRecordersStatus[0].Name))}
}

func (o observer) trail(ctx context.Context) finding {
	const about = "CloudTrail"
	out, err := o.trails.DescribeTrails(ctx, &cloudtrail.DescribeTrailsInput{IncludeShadowTrails: aws.Bool(true)})
	if err != nil {
		return unknown(about, err)
	}
	for _, t := range out.TrailList {
		if !aws.ToBool(t.IsMultiRegionTrail) {
			continue
		}
		text := aws.ToString(t.TrailARN)
		if !aws.ToBool(t.LogFileValidationEnabled) || t.KmsKeyId == nil {
			return finding{about, note, text + ": without validation or a key of its own, nobody can prove that it is whole"}
		}
		return finding{about, good, text}
	}
	return finding{about, note, "no trail of all regions: opened security groups and stopped trails are not seen (scripts/deploy organization)"}
}

// empty is err, or that an answer had nothing in it.
func empty(err error) error {
	if err == nil {
		return errors.New("an empty answer")
	}
	return err
}

// day cuts a time as text to its date.
func day(text *string) string {
	t, err := time.Parse(time.RFC3339, aws.ToString(text))
	if err != nil {
		return "an unknown day"
	}
	return t.Format(time.DateOnly)
}

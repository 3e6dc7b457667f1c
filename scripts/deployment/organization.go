package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cf "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/detective"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
	gd "github.com/aws/aws-sdk-go-v2/service/guardduty/types"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	org "github.com/aws/aws-sdk-go-v2/service/organizations/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/securityhub"
	"github.com/aws/smithy-go"
)

const (
	organizationStack    = "firebreak-organization"
	organizationTemplate = "cloudformation/organization.yaml"
)

const organizationAbout = `Prepares an organization: who administers GuardDuty, Security Hub, Config, Access Analyzer and Detective, what they find in
every account, and the organization's trail. Run it three times:
  with the management account's credentials   delegates the services to the security account
  with the security account's credentials     turns them on for all accounts, and makes the bucket of the trail
  with the management account's credentials   makes the trail, and the fence if asked for
Each run says what it is about to do and does only what is not done yet; --plan says it and does nothing. What you do not give stays
as it is. Once every account has a recorder: once more with the security account's credentials and --posture.

What CloudFormation has no resource for is done by calls, which are listed; the rest is the stack firebreak-organization.`

// delegated are services that AWS Organizations itself delegates; the others have a call of their own.
var delegated = []string{"access-analyzer.amazonaws.com", "config-multiaccountsetup.amazonaws.com", "config.amazonaws.com", stackSetsService}

// stackSetsService is let into the organization by CloudFormation's own call: that of AWS Organizations is accepted for it, and stack sets
// are refused all the same.
const stackSetsService = "member.org.stacksets.cloudformation.amazonaws.com"

// trusted are services that must be let into the organization before they can be delegated or used in it. GuardDuty's call lets itself in,
// and not the scans for malware in the accounts (GuardDuty user guide, GuardDuty-initiated malware scan, trusted access).
var trusted = []string{"access-analyzer.amazonaws.com", "cloudtrail.amazonaws.com", "config-multiaccountsetup.amazonaws.com", "config.amazonaws.com", "malware-protection.guardduty.amazonaws.com"}

// plans are GuardDuty's protection plans, as in cloudformation/organization.yaml.
var plans = []string{"S3_DATA_EVENTS", "EKS_AUDIT_LOGS", "EBS_MALWARE_PROTECTION", "RDS_LOGIN_EVENTS", "LAMBDA_NETWORK_LOGS", "RUNTIME_MONITORING"}

// agents are what GuardDuty installs by itself for runtime monitoring.
var agents = []string{"EKS_ADDON_MANAGEMENT", "ECS_FARGATE_AGENT_MANAGEMENT", "EC2_AGENT_MANAGEMENT"}

// organizationAPI are the calls on AWS Organizations.
type organizationAPI interface {
	DescribeOrganization(context.Context, *organizations.DescribeOrganizationInput, ...func(*organizations.Options)) (*organizations.DescribeOrganizationOutput, error)
	ListRoots(context.Context, *organizations.ListRootsInput, ...func(*organizations.Options)) (*organizations.ListRootsOutput, error)
	ListAWSServiceAccessForOrganization(context.Context, *organizations.ListAWSServiceAccessForOrganizationInput, ...func(*organizations.Options)) (*organizations.ListAWSServiceAccessForOrganizationOutput, error)
	EnableAWSServiceAccess(context.Context, *organizations.EnableAWSServiceAccessInput, ...func(*organizations.Options)) (*organizations.EnableAWSServiceAccessOutput, error)
	ListDelegatedServicesForAccount(context.Context, *organizations.ListDelegatedServicesForAccountInput, ...func(*organizations.Options)) (*organizations.ListDelegatedServicesForAccountOutput, error)
	RegisterDelegatedAdministrator(context.Context, *organizations.RegisterDelegatedAdministratorInput, ...func(*organizations.Options)) (*organizations.RegisterDelegatedAdministratorOutput, error)
	EnablePolicyType(context.Context, *organizations.EnablePolicyTypeInput, ...func(*organizations.Options)) (*organizations.EnablePolicyTypeOutput, error)
}

// accessAPI are the calls on CloudFormation's place in the organization.
type accessAPI interface {
	DescribeOrganizationsAccess(context.Context, *cloudformation.DescribeOrganizationsAccessInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeOrganizationsAccessOutput, error)
	ActivateOrganizationsAccess(context.Context, *cloudformation.ActivateOrganizationsAccessInput, ...func(*cloudformation.Options)) (*cloudformation.ActivateOrganizationsAccessOutput, error)
}

// detectorAPI are the calls on GuardDuty.
type detectorAPI interface {
	ListDetectors(context.Context, *guardduty.ListDetectorsInput, ...func(*guardduty.Options)) (*guardduty.ListDetectorsOutput, error)
	UpdateDetector(context.Context, *guardduty.UpdateDetectorInput, ...func(*guardduty.Options)) (*guardduty.UpdateDetectorOutput, error)
	UpdateOrganizationConfiguration(context.Context, *guardduty.UpdateOrganizationConfigurationInput, ...func(*guardduty.Options)) (*guardduty.UpdateOrganizationConfigurationOutput, error)
	ListOrganizationAdminAccounts(context.Context, *guardduty.ListOrganizationAdminAccountsInput, ...func(*guardduty.Options)) (*guardduty.ListOrganizationAdminAccountsOutput, error)
	EnableOrganizationAdminAccount(context.Context, *guardduty.EnableOrganizationAdminAccountInput, ...func(*guardduty.Options)) (*guardduty.EnableOrganizationAdminAccountOutput, error)
}

// hubAPI are the calls on Security Hub, graphAPI those on Detective.
type hubAPI interface {
	ListOrganizationAdminAccounts(context.Context, *securityhub.ListOrganizationAdminAccountsInput, ...func(*securityhub.Options)) (*securityhub.ListOrganizationAdminAccountsOutput, error)
	EnableOrganizationAdminAccount(context.Context, *securityhub.EnableOrganizationAdminAccountInput, ...func(*securityhub.Options)) (*securityhub.EnableOrganizationAdminAccountOutput, error)
}

type graphAPI interface {
	ListOrganizationAdminAccounts(context.Context, *detective.ListOrganizationAdminAccountsInput, ...func(*detective.Options)) (*detective.ListOrganizationAdminAccountsOutput, error)
	EnableOrganizationAdminAccount(context.Context, *detective.EnableOrganizationAdminAccountInput, ...func(*detective.Options)) (*detective.EnableOrganizationAdminAccountOutput, error)
}

// preparation is one run in one account.
type preparation struct {
	*session
	organizations organizationAPI
	access        accessAPI
	detectors     detectorAPI
	hubs          hubAPI
	graphs        graphAPI
	security      string // account
	detective     bool
	fence         bool
}

// deed is one call that is made unless it is done already.
type deed struct {
	what string
	do   func(context.Context) error
}

func (s *session) organization(ctx context.Context, args []string) error {
	flags := s.options("organization", organizationAbout)
	security := flags.String("security-account", "", "`id` of the security account (needed)")
	home := flags.String("home-region", "", "`region` of the trail and the aggregations (default: this one); run again in every other used region")
	graph := flags.Bool("detective", false, "use Detective too (--detective=false: no longer)")
	fence := flags.Bool("fence", false, "attach a service control policy that keeps quarantines and Firebreak itself from being removed (--fence=false: take it off)")
	posture := flags.Bool("posture", false, "check every account against the conformance pack, once all of them have a recorder in this region: one without makes it fail (--posture=false: no longer)")
	keeper := flags.String("fence-keeper", "", "`name` of the role that may still do so, for repairs (default: OrganizationAccountAccessRole)")
	data := flags.String("data-events", "", "which accesses to objects and tables the trail records: all (the default), write or none")
	days := flags.String("trail-days", "", "`days` that the trail is kept (default: 400, thirteen months)")
	if err := parse(flags, args); err != nil {
		return err
	}
	if !accountID.MatchString(*security) {
		return fmt.Errorf("--security-account: %q is not an account id of 12 digits", *security)
	}
	if err := s.identify(ctx); err != nil {
		return err
	}
	stack := &stack{session: s, api: cloudformation.NewFromConfig(s.cfg), name: organizationStack}
	installed, err := stack.find(ctx)
	if err != nil {
		return err
	}
	choices := map[string]string{"HomeRegion": *home, "FenceKeeper": *keeper, "DataEvents": *data, "TrailDays": *days}
	flags.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "detective":
			choices["Detective"] = yes(*graph)
		case "fence":
			choices["Fence"] = yes(*fence)
		case "posture":
			choices["Posture"] = yes(*posture)
		}
	})
	given := chosen(installed, choices, s.cfg.Region)
	p := preparation{
		session: s, organizations: organizations.NewFromConfig(s.cfg), access: cloudformation.NewFromConfig(s.cfg), detectors: guardduty.NewFromConfig(s.cfg), hubs: securityhub.NewFromConfig(s.cfg),
		graphs: detective.NewFromConfig(s.cfg), security: *security, detective: given["Detective"] == "yes", fence: given["Fence"] == "yes",
	}
	out, err := p.organizations.DescribeOrganization(ctx, &organizations.DescribeOrganizationInput{})
	if err != nil {
		return fmt.Errorf("look at the organization: %w", err)
	}
	management := aws.ToString(out.Organization.MasterAccountId)
	switch {
	case *security == management:
		return fmt.Errorf("--security-account: %s is the management account, which AWS lets delegate to others only, and which no service control policy binds: take an account of its own", management)
	case s.account != management && s.account != *security:
		return fmt.Errorf("account %s is neither the management account %s nor the security account %s", s.account, management, *security)
	}
	roots, err := p.organizations.ListRoots(ctx, &organizations.ListRootsInput{})
	if err != nil || len(roots.Roots) == 0 {
		return fmt.Errorf("look for the organization's root: %w", empty(err))
	}
	root := aws.ToString(roots.Roots[0].Id)
	maps.Copy(given, map[string]string{"ManagementAccount": management, "OrganizationId": aws.ToString(out.Organization.Id), "RootId": root, "SecurityAccount": *security})
	if s.account == management {
		return p.manage(ctx, stack, installed, given)
	}
	return p.secure(ctx, stack, installed, given)
}

// chosen gives what a person may choose: as given, else as installed, else as a new installation begins. Region is this one.
func chosen(installed *installation, choices map[string]string, region string) map[string]string {
	out := map[string]string{}
	for name, standard := range map[string]string{
		"HomeRegion": region, "Detective": "no", "Fence": "no", "FenceKeeper": "OrganizationAccountAccessRole", "Posture": "no", "DataEvents": "all", "TrailDays": "400",
		"Detector": "no", "SecurityHub": "no",
	} {
		out[name] = or(choices[name], or(installed.parameter(name), standard))
	}
	return out
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// manage delegates from the management account and, once there is a bucket, makes the trail.
func (p preparation) manage(ctx context.Context, stack *stack, installed *installation, given map[string]string) error {
	deeds, err := p.delegations(ctx, given["RootId"])
	if err != nil {
		return err
	}
	if err := p.perform(ctx, deeds); err != nil {
		return err
	}
	if given["HomeRegion"] != p.cfg.Region {
		p.say("the trail and the fence are made in %s; next: the same with the security account's credentials", given["HomeRegion"])
		return nil
	}
	bucket := fmt.Sprintf("firebreak-records-%s-%s", p.security, given["HomeRegion"])
	_, err = p.s3().HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &bucket})
	// The bucket is another account's: that it may not be looked at means that it is there.
	if code := status(err); err != nil && code != http.StatusForbidden {
		p.say("next: the same with the security account's credentials; then here once more, for the trail (bucket %s is not there yet)", bucket)
		return nil
	}
	if given["Fence"] == "yes" {
		p.say("the fence: in every account but this one, only the role %s (--fence-keeper) and stack sets can deploy, update or remove Firebreak", given["FenceKeeper"])
	}
	return p.whole(ctx, stack, organizationTemplate, given, installed)
}

// secure turns on for all accounts what was delegated. What the stack has made it keeps: otherwise the next run would find it there and
// take it out of the stack.
func (p preparation) secure(ctx context.Context, stack *stack, installed *installation, given map[string]string) error {
	if found := p.observer(); installed == nil {
		given["Detector"] = yes(strings.HasPrefix(found.guardDuty(ctx).text, "off"))
		given["SecurityHub"] = yes(strings.HasPrefix(found.securityHub(ctx).text, "off"))
	}
	if err := p.whole(ctx, stack, organizationTemplate, given, installed); err != nil {
		return err
	}
	deeds, err := p.settings(ctx)
	if err != nil {
		return err
	}
	return p.perform(ctx, deeds)
}

// perform does what is not done yet, or only says it.
func (p preparation) perform(ctx context.Context, deeds []deed) error {
	for _, d := range deeds {
		if p.plan {
			fmt.Fprintf(p.out, "call     %s\n", d.what)
			continue
		}
		if err := d.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", d.what, err)
		}
		p.say("%s", d.what)
	}
	if len(deeds) == 0 {
		p.say("no call is left to make in this account and region")
	}
	return nil
}

// delegations lists what the management account has to do.
func (p preparation) delegations(ctx context.Context, root string) ([]deed, error) {
	var deeds []deed
	services, err := p.organizations.ListAWSServiceAccessForOrganization(ctx, &organizations.ListAWSServiceAccessForOrganizationInput{})
	if err != nil {
		return nil, fmt.Errorf("list the services that the organization trusts: %w", err)
	}
	for _, service := range trusted {
		if !slices.ContainsFunc(services.EnabledServicePrincipals, func(e org.EnabledServicePrincipal) bool { return aws.ToString(e.ServicePrincipal) == service }) {
			deeds = append(deeds, deed{"let " + service + " into the organization", func(ctx context.Context) error {
				_, err := p.organizations.EnableAWSServiceAccess(ctx, &organizations.EnableAWSServiceAccessInput{ServicePrincipal: &service})
				var input *org.InvalidInputException
				if errors.As(err, &input) && input.Reason == org.InvalidInputExceptionReasonUnrecognizedServicePrincipal {
					p.say("note: there is no %s in this partition", service)
					return nil
				}
				return err
			}})
		}
	}
	sets, err := p.access.DescribeOrganizationsAccess(ctx, &cloudformation.DescribeOrganizationsAccessInput{})
	if err != nil {
		return nil, fmt.Errorf("look whether stack sets may deploy to the organization: %w", err)
	}
	if sets.Status != cf.OrganizationStatusEnabled {
		deeds = append(deeds, deed{"let stack sets deploy to the organization's accounts", func(ctx context.Context) error {
			_, err := p.access.ActivateOrganizationsAccess(ctx, &cloudformation.ActivateOrganizationsAccessInput{})
			return err
		}})
	}
	have, err := p.organizations.ListDelegatedServicesForAccount(ctx, &organizations.ListDelegatedServicesForAccountInput{AccountId: &p.security})
	var none *org.AccountNotRegisteredException
	if err != nil && !errors.As(err, &none) {
		return nil, fmt.Errorf("list what is delegated to %s: %w", p.security, err)
	}
	for _, service := range delegated {
		if have != nil && slices.ContainsFunc(have.DelegatedServices, func(d org.DelegatedService) bool { return aws.ToString(d.ServicePrincipal) == service }) {
			continue
		}
		deeds = append(deeds, deed{"let account " + p.security + " administer " + service, func(ctx context.Context) error {
			_, err := p.organizations.RegisterDelegatedAdministrator(ctx, &organizations.RegisterDelegatedAdministratorInput{AccountId: &p.security, ServicePrincipal: &service})
			return err
		}})
	}
	admins, err := p.detectors.ListOrganizationAdminAccounts(ctx, &guardduty.ListOrganizationAdminAccountsInput{})
	if err != nil {
		return nil, fmt.Errorf("look for GuardDuty's administrator: %w", err)
	}
	if !slices.ContainsFunc(admins.AdminAccounts, func(a gd.AdminAccount) bool { return aws.ToString(a.AdminAccountId) == p.security }) {
		deeds = append(deeds, deed{"let account " + p.security + " administer GuardDuty in " + p.cfg.Region, func(ctx context.Context) error {
			_, err := p.detectors.EnableOrganizationAdminAccount(ctx, &guardduty.EnableOrganizationAdminAccountInput{AdminAccountId: &p.security})
			return err
		}})
	}
	hubs, err := p.hubs.ListOrganizationAdminAccounts(ctx, &securityhub.ListOrganizationAdminAccountsInput{})
	if err != nil {
		return nil, fmt.Errorf("look for Security Hub's administrator: %w", err)
	}
	if len(hubs.AdminAccounts) == 0 || aws.ToString(hubs.AdminAccounts[0].AccountId) != p.security {
		deeds = append(deeds, deed{"let account " + p.security + " administer Security Hub in " + p.cfg.Region, func(ctx context.Context) error {
			_, err := p.hubs.EnableOrganizationAdminAccount(ctx, &securityhub.EnableOrganizationAdminAccountInput{AdminAccountId: &p.security})
			return err
		}})
	}
	if p.detective {
		graphs, err := p.graphs.ListOrganizationAdminAccounts(ctx, &detective.ListOrganizationAdminAccountsInput{})
		if err != nil {
			return nil, fmt.Errorf("look for Detective's administrator: %w", err)
		}
		if len(graphs.Administrators) == 0 || aws.ToString(graphs.Administrators[0].AccountId) != p.security {
			deeds = append(deeds, deed{"let account " + p.security + " administer Detective in " + p.cfg.Region, func(ctx context.Context) error {
				_, err := p.graphs.EnableOrganizationAdminAccount(ctx, &detective.EnableOrganizationAdminAccountInput{AccountId: &p.security})
				return err
			}})
		}
	}
	if p.fence {
		roots, err := p.organizations.ListRoots(ctx, &organizations.ListRootsInput{})
		if err != nil {
			return nil, fmt.Errorf("look at the organization's root: %w", err)
		}
		on := slices.ContainsFunc(roots.Roots, func(r org.Root) bool {
			return slices.ContainsFunc(r.PolicyTypes, func(t org.PolicyTypeSummary) bool {
				return t.Type == org.PolicyTypeServiceControlPolicy && t.Status == org.PolicyTypeStatusEnabled
			})
		})
		if !on {
			deeds = append(deeds, deed{"allow service control policies in the organization", func(ctx context.Context) error {
				_, err := p.organizations.EnablePolicyType(ctx, &organizations.EnablePolicyTypeInput{RootId: &root, PolicyType: org.PolicyTypeServiceControlPolicy})
				return err
			}})
		}
	}
	return deeds, nil
}

// settings lists what GuardDuty's administrator has to do: for itself and for every account, new ones too. They are set again each
// time, since they may be read by pieces only.
func (p preparation) settings(ctx context.Context) ([]deed, error) {
	list, err := p.detectors.ListDetectors(ctx, &guardduty.ListDetectorsInput{})
	switch {
	case err != nil:
		return nil, fmt.Errorf("look for the detector: %w", err)
	case len(list.DetectorIds) == 0 && p.plan: // the stack would make it
		list.DetectorIds = []string{"of the stack"}
	case len(list.DetectorIds) == 0:
		return nil, errors.New("GuardDuty has no detector in this region, although the stack is deployed: run this again")
	}
	id := list.DetectorIds[0]
	var own []gd.DetectorFeatureConfiguration
	var all []gd.OrganizationFeatureConfiguration
	for _, name := range plans {
		mine := gd.DetectorFeatureConfiguration{Name: gd.DetectorFeature(name), Status: gd.FeatureStatusEnabled}
		theirs := gd.OrganizationFeatureConfiguration{Name: gd.OrgFeature(name), AutoEnable: gd.OrgFeatureStatusAll}
		if name == "RUNTIME_MONITORING" {
			for _, agent := range agents {
				mine.AdditionalConfiguration = append(mine.AdditionalConfiguration, gd.DetectorAdditionalConfiguration{Name: gd.FeatureAdditionalConfiguration(agent), Status: gd.FeatureStatusEnabled})
				theirs.AdditionalConfiguration = append(theirs.AdditionalConfiguration, gd.OrganizationAdditionalConfiguration{Name: gd.OrgFeatureAdditionalConfiguration(agent), AutoEnable: gd.OrgFeatureStatusAll})
			}
		}
		own, all = append(own, mine), append(all, theirs)
	}
	return []deed{
		{"GuardDuty: findings that repeat come out every fifteen minutes, and all protection plans are on", func(ctx context.Context) error {
			_, err := p.detectors.UpdateDetector(ctx, &guardduty.UpdateDetectorInput{
				DetectorId: &id, Enable: aws.Bool(true), FindingPublishingFrequency: gd.FindingPublishingFrequencyFifteenMinutes, Features: own,
			})
			return err
		}},
		{"GuardDuty: on, with all protection plans, in every account of the organization, new ones too", func(ctx context.Context) error {
			_, err := p.detectors.UpdateOrganizationConfiguration(ctx, &guardduty.UpdateOrganizationConfigurationInput{
				DetectorId: &id, AutoEnableOrganizationMembers: gd.AutoEnableMembersAll, Features: all,
			})
			var api smithy.APIError
			if errors.As(err, &api) && api.ErrorCode() == "BadRequestException" && strings.Contains(api.ErrorMessage(), "not the GuardDuty delegated administrator") {
				return errors.New("this account does not administer GuardDuty yet: first run this with the management account's credentials")
			}
			return err
		}},
	}, nil
}

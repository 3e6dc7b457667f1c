package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cf "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/detective"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
	gd "github.com/aws/aws-sdk-go-v2/service/guardduty/types"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	org "github.com/aws/aws-sdk-go-v2/service/organizations/types"
	"github.com/aws/aws-sdk-go-v2/service/securityhub"
	sh "github.com/aws/aws-sdk-go-v2/service/securityhub/types"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

const security = "111111111111"

// council is an organization and the services in it.
type council struct {
	trusted, delegated []string
	guardDuty, hub     string
	policies, sets     bool
	missing            string // service that this partition does not have
	detectors          []string
	updated            *guardduty.UpdateDetectorInput
	everywhere         *guardduty.UpdateOrganizationConfigurationInput
}

func (c *council) ListAWSServiceAccessForOrganization(context.Context, *organizations.ListAWSServiceAccessForOrganizationInput, ...func(*organizations.Options)) (*organizations.ListAWSServiceAccessForOrganizationOutput, error) {
	out := &organizations.ListAWSServiceAccessForOrganizationOutput{}
	for _, s := range c.trusted {
		out.EnabledServicePrincipals = append(out.EnabledServicePrincipals, org.EnabledServicePrincipal{ServicePrincipal: &s})
	}
	return out, nil
}

func (c *council) EnableAWSServiceAccess(_ context.Context, in *organizations.EnableAWSServiceAccessInput, _ ...func(*organizations.Options)) (*organizations.EnableAWSServiceAccessOutput, error) {
	if *in.ServicePrincipal == c.missing {
		return nil, &org.InvalidInputException{Reason: org.InvalidInputExceptionReasonUnrecognizedServicePrincipal}
	}
	c.trusted = append(c.trusted, *in.ServicePrincipal)
	return &organizations.EnableAWSServiceAccessOutput{}, nil
}

func (c *council) ListDelegatedServicesForAccount(context.Context, *organizations.ListDelegatedServicesForAccountInput, ...func(*organizations.Options)) (*organizations.ListDelegatedServicesForAccountOutput, error) {
	if len(c.delegated) == 0 {
		return nil, &org.AccountNotRegisteredException{}
	}
	out := &organizations.ListDelegatedServicesForAccountOutput{}
	for _, s := range c.delegated {
		out.DelegatedServices = append(out.DelegatedServices, org.DelegatedService{ServicePrincipal: &s})
	}
	return out, nil
}

func (c *council) RegisterDelegatedAdministrator(_ context.Context, in *organizations.RegisterDelegatedAdministratorInput, _ ...func(*organizations.Options)) (*organizations.RegisterDelegatedAdministratorOutput, error) {
	c.delegated = append(c.delegated, *in.ServicePrincipal)
	return &organizations.RegisterDelegatedAdministratorOutput{}, nil
}

func (c *council) ListRoots(context.Context, *organizations.ListRootsInput, ...func(*organizations.Options)) (*organizations.ListRootsOutput, error) {
	root := org.Root{Id: aws.String("r-abcd")}
	if c.policies {
		root.PolicyTypes = []org.PolicyTypeSummary{{Type: org.PolicyTypeServiceControlPolicy, Status: org.PolicyTypeStatusEnabled}}
	}
	return &organizations.ListRootsOutput{Roots: []org.Root{root}}, nil
}

func (c *council) EnablePolicyType(context.Context, *organizations.EnablePolicyTypeInput, ...func(*organizations.Options)) (*organizations.EnablePolicyTypeOutput, error) {
	c.policies = true
	return &organizations.EnablePolicyTypeOutput{}, nil
}

func (c *council) DescribeOrganizationsAccess(context.Context, *cloudformation.DescribeOrganizationsAccessInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeOrganizationsAccessOutput, error) {
	if c.sets {
		return &cloudformation.DescribeOrganizationsAccessOutput{Status: cf.OrganizationStatusEnabled}, nil
	}
	return &cloudformation.DescribeOrganizationsAccessOutput{Status: cf.OrganizationStatusDisabled}, nil
}

func (c *council) ActivateOrganizationsAccess(context.Context, *cloudformation.ActivateOrganizationsAccessInput, ...func(*cloudformation.Options)) (*cloudformation.ActivateOrganizationsAccessOutput, error) {
	c.sets = true
	return &cloudformation.ActivateOrganizationsAccessOutput{}, nil
}

func (c *council) ListDetectors(context.Context, *guardduty.ListDetectorsInput, ...func(*guardduty.Options)) (*guardduty.ListDetectorsOutput, error) {
	return &guardduty.ListDetectorsOutput{DetectorIds: c.detectors}, nil
}

func (c *council) UpdateDetector(_ context.Context, in *guardduty.UpdateDetectorInput, _ ...func(*guardduty.Options)) (*guardduty.UpdateDetectorOutput, error) {
	c.updated = in
	return &guardduty.UpdateDetectorOutput{}, nil
}

func (c *council) UpdateOrganizationConfiguration(_ context.Context, in *guardduty.UpdateOrganizationConfigurationInput, _ ...func(*guardduty.Options)) (*guardduty.UpdateOrganizationConfigurationOutput, error) {
	c.everywhere = in
	return &guardduty.UpdateOrganizationConfigurationOutput{}, nil
}

func (c *council) ListOrganizationAdminAccounts(context.Context, *guardduty.ListOrganizationAdminAccountsInput, ...func(*guardduty.Options)) (*guardduty.ListOrganizationAdminAccountsOutput, error) {
	return &guardduty.ListOrganizationAdminAccountsOutput{AdminAccounts: []gd.AdminAccount{{AdminAccountId: &c.guardDuty}}}, nil
}

func (c *council) EnableOrganizationAdminAccount(_ context.Context, in *guardduty.EnableOrganizationAdminAccountInput, _ ...func(*guardduty.Options)) (*guardduty.EnableOrganizationAdminAccountOutput, error) {
	c.guardDuty = *in.AdminAccountId
	return &guardduty.EnableOrganizationAdminAccountOutput{}, nil
}

// hubs is the Security Hub of a council.
type hubs struct{ *council }

func (h hubs) ListOrganizationAdminAccounts(context.Context, *securityhub.ListOrganizationAdminAccountsInput, ...func(*securityhub.Options)) (*securityhub.ListOrganizationAdminAccountsOutput, error) {
	return &securityhub.ListOrganizationAdminAccountsOutput{AdminAccounts: []sh.AdminAccount{{AccountId: &h.hub}}}, nil
}

func (h hubs) EnableOrganizationAdminAccount(_ context.Context, in *securityhub.EnableOrganizationAdminAccountInput, _ ...func(*securityhub.Options)) (*securityhub.EnableOrganizationAdminAccountOutput, error) {
	h.hub = *in.AdminAccountId
	return &securityhub.EnableOrganizationAdminAccountOutput{}, nil
}

// graphs is its Detective.
type graphs struct{ admin string }

func (g *graphs) ListOrganizationAdminAccounts(context.Context, *detective.ListOrganizationAdminAccountsInput, ...func(*detective.Options)) (*detective.ListOrganizationAdminAccountsOutput, error) {
	return &detective.ListOrganizationAdminAccountsOutput{}, nil
}

func (g *graphs) EnableOrganizationAdminAccount(_ context.Context, in *detective.EnableOrganizationAdminAccountInput, _ ...func(*detective.Options)) (*detective.EnableOrganizationAdminAccountOutput, error) {
	g.admin = *in.AccountId
	return &detective.EnableOrganizationAdminAccountOutput{}, nil
}

func prepare(c *council, plan bool) (preparation, *bytes.Buffer) {
	out := &bytes.Buffer{}
	s := &session{account: "999999999999", plan: plan, out: out, log: io.Discard, begun: time.Now(), cfg: aws.Config{Region: "us-east-1"}}
	return preparation{session: s, organizations: c, access: c, detectors: c, hubs: hubs{c}, graphs: &graphs{}, security: security, detective: true, fence: true}, out
}

// What is not delegated yet is, once; a plan says it and does nothing.
func TestServicesAreDelegatedOnce(t *testing.T) {
	c := &council{trusted: []string{"config.amazonaws.com"}}
	planned, out := prepare(c, true)
	deeds, err := planned.delegations(t.Context(), "r-abcd")
	if err == nil {
		err = planned.perform(t.Context(), deeds)
	}
	if err != nil || len(c.delegated) > 0 || c.guardDuty != "" || c.policies || c.sets || strings.Count(out.String(), "call     ") != len(deeds) {
		t.Errorf("planned: %v, %+v\n%s", err, c, out)
	}
	p, _ := prepare(c, false)
	if err := p.perform(t.Context(), deeds); err != nil {
		t.Fatal(err)
	}
	want := &council{trusted: []string{"config.amazonaws.com", "access-analyzer.amazonaws.com", "cloudtrail.amazonaws.com", "config-multiaccountsetup.amazonaws.com", "malware-protection.guardduty.amazonaws.com"}, delegated: delegated, guardDuty: security, policies: true, sets: true}
	if diff := cmp.Diff([]any{want.trusted, want.delegated, want.guardDuty, want.policies, want.sets}, []any{c.trusted, c.delegated, c.guardDuty, c.policies, c.sets}); diff != "" {
		t.Error(diff)
	}
	c.hub = security
	p.detective = false
	for _, service := range delegated {
		if service != stackSetsService && !slices.Contains(trusted, service) {
			t.Errorf("%s is delegated and not let in", service)
		}
	}
	if again, err := p.delegations(t.Context(), "r-abcd"); err != nil || len(again) > 0 {
		t.Errorf("again: %d calls, %v", len(again), err)
	}
}

// GuardDuty is on with every plan, for this account and for all others, and says every fifteen minutes what goes on.
func TestGuardDutyIsOnEverywhere(t *testing.T) {
	c := &council{detectors: []string{"12abc34d567e8fa901bc2d34e56789f0"}}
	p, _ := prepare(c, false)
	deeds, err := p.settings(t.Context())
	if err == nil {
		err = p.perform(t.Context(), deeds)
	}
	if err != nil {
		t.Fatal(err)
	}
	if c.updated.FindingPublishingFrequency != gd.FindingPublishingFrequencyFifteenMinutes || len(c.updated.Features) != 6 {
		t.Errorf("detector %+v", c.updated)
	}
	if c.everywhere.AutoEnableOrganizationMembers != gd.AutoEnableMembersAll || len(c.everywhere.Features) != 6 {
		t.Errorf("organization %+v", c.everywhere)
	}
	for _, f := range c.everywhere.Features {
		if f.AutoEnable != gd.OrgFeatureStatusAll || (f.Name == gd.OrgFeatureRuntimeMonitoring) != (len(f.AdditionalConfiguration) == 3) {
			t.Errorf("%s is %s, with %d agents", f.Name, f.AutoEnable, len(f.AdditionalConfiguration))
		}
	}
	none, _ := prepare(&council{}, false)
	if _, err := none.settings(t.Context()); err == nil {
		t.Error("no detector is no error")
	}
}

// Not every partition has every service: the others are delegated all the same.
func TestAServiceThatIsNotHereStopsNothing(t *testing.T) {
	c := &council{missing: "malware-protection.guardduty.amazonaws.com"}
	p, _ := prepare(c, false)
	deeds, err := p.delegations(t.Context(), "r-abcd")
	if err == nil {
		err = p.perform(t.Context(), deeds)
	}
	if err != nil || c.guardDuty != security || len(c.trusted) != len(trusted)-1 {
		t.Errorf("trusted %v, delegated to %q, %v", c.trusted, c.guardDuty, err)
	}
}

// In every other region the management account only delegates: all of the template's resources there would be left out by its conditions.
func TestTheTrailIsMadeInOneRegion(t *testing.T) {
	c := &council{}
	p, _ := prepare(c, false)
	if err := p.manage(t.Context(), nil, nil, map[string]string{"RootId": "r-abcd", "HomeRegion": "eu-west-1"}); err != nil || c.guardDuty != security {
		t.Errorf("delegated to %q, %v", c.guardDuty, err)
	}
}

// What is not given stays as it is: neither the fence falls nor does the trail begin to record everything because an update did not repeat
// what an earlier run was told.
func TestAnUpdateOfTheOrganizationKeepsWhatWasChosen(t *testing.T) {
	fresh := map[string]string{
		"HomeRegion": "eu-west-1", "Detective": "no", "Fence": "no", "FenceKeeper": "OrganizationAccountAccessRole", "Posture": "no", "DataEvents": "all", "TrailDays": "400",
		"Detector": "no", "SecurityHub": "no",
	}
	if diff := cmp.Diff(fresh, chosen(nil, nil, "eu-west-1")); diff != "" {
		t.Errorf("a new one: %s", diff)
	}
	was := map[string]string{
		"HomeRegion": "us-east-1", "Detective": "yes", "Fence": "yes", "FenceKeeper": "repair", "Posture": "yes", "DataEvents": "none", "TrailDays": "800",
		"Detector": "yes", "SecurityHub": "yes",
	}
	if diff := cmp.Diff(was, chosen(&installation{parameters: was}, map[string]string{"DataEvents": ""}, "eu-west-1")); diff != "" {
		t.Errorf("an update: %s", diff)
	}
	if got := chosen(&installation{parameters: was}, map[string]string{"Fence": "no", "DataEvents": "write"}, "eu-west-1"); got["Fence"] != "no" || got["DataEvents"] != "write" || got["Posture"] != "yes" {
		t.Errorf("what is given: %v", got)
	}
}

// The template takes exactly what the program gives.
func TestTheOrganizationGetsItsParameters(t *testing.T) {
	text, err := os.ReadFile("../../cloudformation/organization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Parameters map[string]any `yaml:"Parameters"`
	}
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	given := chosen(nil, nil, "us-east-1")
	for _, found := range []string{"ManagementAccount", "OrganizationId", "RootId", "SecurityAccount"} {
		given[found] = ""
	}
	if diff := cmp.Diff(sorted(given), sorted(doc.Parameters)); diff != "" {
		t.Error(diff)
	}
}

func (c *council) DescribeOrganization(context.Context, *organizations.DescribeOrganizationInput, ...func(*organizations.Options)) (*organizations.DescribeOrganizationOutput, error) {
	return &organizations.DescribeOrganizationOutput{Organization: &org.Organization{MasterAccountId: aws.String("999999999999")}}, nil
}

// The management account cannot act by delegation, and no other account can act without.
func TestStackSetsAreManagedInTheRightName(t *testing.T) {
	for account, want := range map[string]string{"999999999999": "SELF", security: "DELEGATED_ADMIN"} {
		if got := (&session{account: account}).callAs(t.Context(), &council{}); got != want {
			t.Errorf("account %s calls as %s, not as %s", account, got, want)
		}
	}
}

func TestWatchedRegionsHaveTheGlobalOne(t *testing.T) {
	for in, want := range map[[2]string]string{
		{"eu-central-1", "aws"}:         "eu-central-1,us-east-1",
		{"us-east-1, eu-west-1", "aws"}: "eu-west-1,us-east-1",
		{"us-gov-east-1", "aws-us-gov"}: "us-gov-east-1,us-gov-west-1",
		{"cn-northwest-1", "aws-cn"}:    "cn-north-1,cn-northwest-1",
	} {
		if got := watched(in[0], in[1]); got != want {
			t.Errorf("%v: %s", in, got)
		}
	}
}

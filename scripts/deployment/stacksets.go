package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
)

const stackSetsStack = "firebreak-stack-sets"

const stackSetsAbout = `Deploys the member template, and where asked for recorder and Config rules, to every account of organizational units by service-
managed stack sets: new accounts get them by themselves. With the hub's credentials, where scripts/deploy organization has let
the security account manage stack sets, or with the management account's, --hub-account and the external id in the environment,
FIREBREAK_EXTERNAL_ID. The management account itself is left out by AWS: there, scripts/deploy member by hand. Build first where
the rules are deployed: scripts/build.`

// global is the region in which the events of a partition's global services (IAM among them) appear.
var global = map[string]string{"aws": "us-east-1", "aws-us-gov": "us-gov-west-1", "aws-cn": "cn-north-1"}

// stackSets deploys to the accounts of an organization.
func (s *session) stackSets(ctx context.Context, args []string) error {
	flags := s.options("stack-sets", stackSetsAbout)
	accounts := flags.String("accounts", "", "`ids` of the accounts that are watched, separated by commas, instead of units: without an organization, by roles named AWSCloudFormationStackSetAdministrationRole here and AWSCloudFormationStackSetExecutionRole there")
	units := flags.String("units", "", "`organizational units`, or the root, whose accounts are watched, separated by commas (needed, or --accounts)")
	regions := flags.String("regions", "", "`regions` that are watched, separated by commas (default: this one); the one with IAM's events is added")
	hub := flags.String("hub-account", "", "`id` of the security account (default: this one)")
	standby := flags.String("standby-region", "", "`region` of the stand-by hub")
	organization := flags.String("organization", "", "`id` of the organization (o-…), needed with --rules")
	forensic := flags.String("forensic-account", "", "`id` of the account that evidence is copied to")
	recorder := flags.String("recorder", "", "yes: every account gets a recorder of AWS Config")
	bucket := flags.String("records-bucket", "", "`bucket` that takes their records")
	rules := flags.String("rules", "", "yes: every account gets the Config rules")
	arch := flags.String("arch", "", "`architecture` that was built: arm64 (the default of a new installation) or x86_64")
	if err := parse(flags, args); err != nil {
		return err
	}
	if *rules == "yes" && *organization == "" {
		return errors.New("--organization is needed with --rules: its accounts must be able to read the functions")
	}
	if *units != "" && *accounts != "" {
		return errors.New("--units and --accounts: name one of them")
	}
	if err := errors.Join(memberList("--accounts", *accounts), regionList(*regions), architectureName(*arch)); err != nil {
		return err
	}
	for name, value := range map[string]string{"--recorder": *recorder, "--rules": *rules} {
		if !slices.Contains([]string{"", "yes", "no"}, value) {
			return fmt.Errorf("%s: %q is neither yes nor no", name, value)
		}
	}
	if err := s.identify(ctx); err != nil {
		return err
	}
	stack := &stack{session: s, api: cloudformation.NewFromConfig(s.cfg), name: stackSetsStack}
	installed, err := stack.find(ctx)
	if err != nil {
		return err
	}
	if installed == nil && *units == "" && *accounts == "" {
		return errors.New("--units or --accounts is needed: they say who is watched")
	}
	if or(*recorder, installed.parameter("Recorder")) == "yes" && or(*bucket, installed.parameter("RecordsBucket")) == "" {
		return errors.New("--records-bucket is needed with --recorder: a recorder has to write somewhere; it is the output RecordsBucket of scripts/deploy organization")
	}
	id := os.Getenv(externalIDEnv)
	if id == "" {
		if id, err = s.externalID(ctx, false); err != nil {
			return err
		}
	}
	given := optional(installed, map[string]string{
		"Units": *units, "Accounts": *accounts, "HubAccount": or(*hub, s.account), "HubRegion": s.cfg.Region, "StandbyRegion": *standby, "ExternalId": id, "ForensicAccount": *forensic,
		"Recorder": *recorder, "RecordsBucket": *bucket, "Rules": *rules, "Architecture": *arch, "TagKey": "", "TagValues": "", "Keys": "", "CallAs": "", "Regions": "",
	})
	if *regions != "" || installed == nil {
		given["Regions"] = watched(or(*regions, s.cfg.Region), s.partition)
	}
	defaults := map[string]string{"Recorder": "no", "Rules": "no", "Architecture": "arm64", "TagKey": "data-classification", "TagValues": "phi", "Keys": "customer", "CallAs": s.callAs(ctx, organizations.NewFromConfig(s.cfg))}
	for name, value := range defaults {
		if v, ok := given[name]; ok && v == "" {
			given[name] = value
		}
	}
	if or(given["Recorder"], installed.parameter("Recorder")) == "yes" {
		s.say("the recorders need Config's service-linked role in each account; where Config was never used: aws iam create-service-linked-role --aws-service-name config.amazonaws.com")
	}
	home := &artifacts{session: s, api: s.s3()}
	everywhere := spread{}
	for _, region := range strings.Split(or(given["Regions"], installed.parameter("Regions")), ",") {
		there := *s
		there.cfg = s.cfg.Copy()
		there.cfg.Region = region
		bucket := &artifacts{session: &there, api: there.s3()}
		if or(given["Rules"], installed.parameter("Rules")) != "yes" && region != s.cfg.Region {
			continue // only functions have to be in each region
		}
		if err := bucket.open(ctx); err != nil {
			return err
		}
		if *organization != "" {
			if err := bucket.share(ctx, *organization); err != nil {
				return err
			}
		}
		everywhere.buckets = append(everywhere.buckets, bucket)
	}
	if err := home.open(ctx); err != nil {
		return err
	}
	if len(everywhere.buckets) == 0 {
		everywhere.buckets = []*artifacts{home}
	}
	url, err := packer{root: s.root, arch: architecture(given, installed), artifacts: home, spread: everywhere}.template(ctx, "cloudformation/stacksets.yaml")
	if err != nil {
		return err
	}
	if err := stack.deploy(ctx, source{url: url}, given, installed); err != nil || s.plan {
		return err
	}
	s.say("done; the stack sets deploy to the accounts by themselves, see the CloudFormation console. In the management account: scripts/deploy member")
	return nil
}

// callAs says in whose name this account manages stack sets: the management account in its own, every other by delegation.
func (s *session) callAs(ctx context.Context, api organizationAPI) string {
	out, err := api.DescribeOrganization(ctx, &organizations.DescribeOrganizationInput{})
	if err == nil && out.Organization != nil && aws.ToString(out.Organization.MasterAccountId) == s.account {
		return "SELF"
	}
	return "DELEGATED_ADMIN"
}

// watched is a list of regions with the global one of the partition in it, sorted.
func watched(list, partition string) string {
	var out []string
	for _, r := range strings.Split(list+","+global[partition], ",") {
		if r = strings.TrimSpace(r); r != "" && !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

const switchAbout = `Makes the stand-by hub respond, and the one that responded so far a stand-by, with the hub account's credentials: first the old
one stops, then the new one starts. --from-is-down leaves the old region as it is, when it cannot be reached; switch it off as
soon as it can, because two hubs that respond have two ledgers. What is in the old ledger (incidents, holds, approvals) stays
there: it is not copied.`

// switchOver changes which hub responds.
func (s *session) switchOver(ctx context.Context, args []string) error {
	flags := s.options("switch", switchAbout)
	to := flags.String("to", "", "`region` of the hub that is to respond (needed)")
	down := flags.Bool("from-is-down", false, "the other region cannot be reached: leave it")
	if err := parse(flags, args); err != nil {
		return err
	}
	if !regionName.MatchString(*to) {
		return fmt.Errorf("--to: %q is not a region", *to)
	}
	if err := s.identify(ctx); err != nil {
		return err
	}
	there := *s
	there.cfg = s.cfg.Copy()
	there.cfg.Region = *to
	next := &stack{session: &there, api: cloudformation.NewFromConfig(there.cfg), name: hubStack}
	installed, err := next.find(ctx)
	switch {
	case err != nil:
		return err
	case installed == nil:
		return fmt.Errorf("there is no hub in %s: scripts/deploy hub --standby-of makes one", *to)
	}
	from := installed.parameter("StandbyRegion")
	if from == "" && !*down {
		return fmt.Errorf("the hub in %s does not know of another one", *to)
	}
	if !*down {
		here := *s
		here.cfg = s.cfg.Copy()
		here.cfg.Region = from
		last := &stack{session: &here, api: cloudformation.NewFromConfig(here.cfg), name: hubStack}
		was, err := last.find(ctx)
		if err != nil {
			return fmt.Errorf("%w (is the region %s down? --from-is-down goes on without it)", err, from)
		}
		if was != nil {
			s.say("%s: stop responding", from)
			if err := last.set(ctx, was, map[string]string{"Active": "no"}); err != nil {
				return err
			}
		}
	}
	s.say("%s: respond", *to)
	if err := next.set(ctx, installed, map[string]string{"Active": "yes"}); err != nil {
		return err
	}
	if !s.plan {
		s.say("the hub in %s responds. Its mode is its own: scripts/firebreak mode, with AWS_REGION=%s", *to, *to)
	}
	return nil
}

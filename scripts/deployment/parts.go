package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/configservice"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const (
	recorderStack  = "firebreak-recorder"
	rulesStack     = "firebreak-config-rules"
	forensicsStack = "firebreak-forensics"
)

const configAbout = `Deploys AWS Config's rules into an account and region, with that account's credentials, and the recorder where none is
there. Build first: scripts/build. Patient data is what the tag says: resources without it are not judged by the two rules of
Firebreak's own.`

// config deploys recorder and rules.
func (s *session) config(ctx context.Context, args []string) error {
	flags := s.options("config", configAbout)
	bucket := flags.String("records-bucket", "", "`bucket` that takes configuration records (an output of scripts/deploy organization); needed where there is no recorder")
	home := flags.String("home-region", "", "the one `region` of this account in which IAM is recorded (default: this one)")
	key := flags.String("tag-key", "", "`tag` that classifies data (default: data-classification)")
	values := flags.String("tag-values", "", "`values` of it that mean patient data (default: phi)")
	keys := flags.String("keys", "", "customer (the default): patient data must be under a customer key; any: any encryption will do")
	arch := flags.String("arch", "", "`architecture` that was built: arm64 (the default of a new installation) or x86_64")
	if err := parse(flags, args); err != nil {
		return err
	}
	if err := architectureName(*arch); err != nil {
		return err
	}
	if err := s.identify(ctx); err != nil {
		return err
	}
	found := s.observer().recorder(ctx)
	if err := s.survey([]finding{found}); err != nil {
		return err
	}
	api := cloudformation.NewFromConfig(s.cfg)
	recorder := &stack{session: s, api: api, name: recorderStack}
	made, err := recorder.find(ctx)
	if err != nil {
		return err
	}
	status, err := configservice.NewFromConfig(s.cfg).DescribeConfigurationRecorderStatus(ctx, &configservice.DescribeConfigurationRecorderStatusInput{})
	if err != nil {
		return fmt.Errorf("look for a recorder: %w", err)
	}
	if made != nil || len(status.ConfigurationRecordersStatus) == 0 {
		if *bucket == "" && made == nil {
			return errors.New("--records-bucket is needed: there is no recorder in this region, and a new one has to write somewhere")
		}
		if err := s.configRole(ctx); err != nil {
			return err
		}
		given := optional(made, map[string]string{"HomeRegion": or(*home, s.cfg.Region), "RecordsBucket": *bucket})
		if err := s.whole(ctx, recorder, "cloudformation/recorder.yaml", given, made); err != nil {
			return err
		}
	}
	rules := &stack{session: s, api: api, name: rulesStack}
	installed, err := rules.find(ctx)
	if err != nil {
		return err
	}
	given := map[string]string{"TagKey": *key, "TagValues": *values, "Keys": *keys, "Architecture": *arch}
	for name, value := range map[string]string{"TagKey": "data-classification", "TagValues": "phi", "Keys": "customer", "Architecture": "arm64"} {
		if given[name] == "" && (installed == nil || !hasKey(installed.parameters, name)) {
			given[name] = value
		}
	}
	store := &artifacts{session: s, api: s.s3()}
	if err := store.open(ctx); err != nil {
		return err
	}
	given = optional(installed, given)
	url, err := packer{root: s.root, arch: architecture(given, installed), artifacts: store}.template(ctx, "cloudformation/config-rules.yaml")
	if err != nil {
		return err
	}
	return rules.deploy(ctx, source{url: url}, given, installed)
}

// configRole makes Config's service-linked role where Config was never used before.
func (s *session) configRole(ctx context.Context) error {
	if s.plan {
		return nil
	}
	service := "config.amazonaws.com"
	_, err := iam.NewFromConfig(s.cfg).CreateServiceLinkedRole(ctx, &iam.CreateServiceLinkedRoleInput{AWSServiceName: &service})
	var taken *types.InvalidInputException // "has been taken in this account" (AWS: CreateServiceLinkedRole)
	if err != nil && !errors.As(err, &taken) {
		return fmt.Errorf("make Config's service-linked role: %w", err)
	}
	return nil
}

const forensicsAbout = `Deploys the forensic account, with its credentials, in each region whose instances are acted on: the key and the role by
which evidence is copied in and locked, a bucket that nobody can delete from, and a network without the internet to look at it.
Then name the account to the hub and the members: --forensic-account.

The external id comes from the environment, FIREBREAK_EXTERNAL_ID; with the hub's credentials, scripts/deploy external-id
prints it. An update keeps it.`

// forensic deploys the forensic account.
func (s *session) forensic(ctx context.Context, args []string) error {
	flags := s.options("forensics", forensicsAbout)
	hub := flags.String("hub-account", "", "`id` of the security account (needed)")
	region := flags.String("hub-region", "", "`region` of the hub (needed)")
	home := flags.String("home-region", "", "the one `region` of this account that makes the roles (default: the hub's)")
	members := flags.String("members", "", "`accounts` whose evidence is taken, separated by commas")
	organization := flags.String("organization", "", "`id` of the organization whose accounts' evidence is taken (o-…)")
	days := flags.String("retention", "", "`days` that files of evidence cannot be deleted by anybody at all (default: 2192)")
	network := flags.String("network", "", "first two `numbers` of the network's addresses (default: 10.255)")
	topic := flags.String("alarm-topic", "", "`ARN` of a topic here to tell when the hub does not hear of completed copies")
	if err := parse(flags, args); err != nil {
		return err
	}
	switch {
	case !accountID.MatchString(*hub):
		return fmt.Errorf("--hub-account: %q is not an account id of 12 digits", *hub)
	case !regionName.MatchString(*region):
		return fmt.Errorf("--hub-region: %q is not a region", *region)
	}
	if err := memberList("--members", *members); err != nil {
		return err
	}
	if err := s.identify(ctx); err != nil {
		return err
	}
	stack := &stack{session: s, api: cloudformation.NewFromConfig(s.cfg), name: forensicsStack}
	installed, err := stack.find(ctx)
	switch {
	case err != nil:
		return err
	case installed == nil && *members == "" && *organization == "":
		return errors.New("--members or --organization is needed: they say whose evidence is taken")
	case installed == nil && os.Getenv(externalIDEnv) == "":
		return errors.New(externalIDEnv + " is not set: with the hub's credentials, scripts/deploy external-id prints the external id")
	case s.account == *hub:
		s.say("note: this is the hub's own account; whoever owns it can reach the evidence too")
	}
	given := optional(installed, map[string]string{
		"HubAccount": *hub, "HubRegion": *region, "HomeRegion": or(*home, *region), "Members": *members, "OrganizationId": *organization,
		"Retention": *days, "Network": *network, "AlarmTopic": *topic, "ExternalId": os.Getenv(externalIDEnv),
	})
	for name, value := range map[string]string{"Retention": "2192", "Network": "10.255"} {
		if v, ok := given[name]; ok && v == "" {
			given[name] = value
		}
	}
	if err := s.whole(ctx, stack, "cloudformation/forensics.yaml", given, installed); err != nil || s.plan {
		return err
	}
	outputs, err := stack.outputs(ctx)
	if err != nil {
		return err
	}
	s.say("done. Next: scripts/deploy hub and member with --forensic-account %s", s.account)
	return s.report(outputs)
}

// whole deploys a template that stands alone.
func (s *session) whole(ctx context.Context, stack *stack, file string, given map[string]string, installed *installation) error {
	body, err := os.ReadFile(filepath.Join(s.root, file))
	if err != nil {
		return err
	}
	if len(body) <= 51200 { // what CloudFormation takes by value
		return stack.deploy(ctx, source{body: string(body)}, given, installed)
	}
	store := &artifacts{session: s, api: s.s3()}
	if err := store.open(ctx); err != nil {
		return err
	}
	key, err := store.put(ctx, file[:len(file)-len(filepath.Ext(file))], filepath.Ext(file), body)
	if err != nil {
		return err
	}
	return stack.deploy(ctx, source{url: store.url(key)}, given, installed)
}

func (s *session) s3() *s3.Client {
	return s3.NewFromConfig(s.cfg, func(o *s3.Options) { o.UsePathStyle = s.cfg.BaseEndpoint != nil })
}

// optional leaves out what was not given and is installed already, so that it stays as it is.
func optional(installed *installation, given map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range given {
		if v != "" || installed == nil || !hasKey(installed.parameters, k) {
			out[k] = v
		}
	}
	return out
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

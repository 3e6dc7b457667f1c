package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

const (
	memberStack   = "firebreak-member"
	externalIDEnv = "FIREBREAK_EXTERNAL_ID"
)

const memberAbout = `Deploys a member account, with that account's credentials: the five remediation roles (in the home region only, since their
names are global) and the forwarding of findings to the hub (in each region where it is run).

The external id comes from the environment, FIREBREAK_EXTERNAL_ID, so that it stands in no list of processes; with the hub's
credentials, scripts/deploy external-id prints it. An update keeps it.`

var regionName = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-\d$`)

// member deploys one account, in the region of the environment.
func (s *session) member(ctx context.Context, args []string) error {
	flags := s.options("member", memberAbout)
	hub := flags.String("hub-account", "", "`id` of the security account (needed)")
	region := flags.String("hub-region", "", "`region` of the hub (needed)")
	home := flags.String("home-region", "", "the one `region` of this account that makes the roles (default: the hub's)")
	standby := flags.String("standby-region", "", "`region` of the stand-by hub, which then gets every finding too")
	forensic := flags.String("forensic-account", "", "`id` of the account that evidence is copied to")
	topic := flags.String("alarm-topic", "", "`ARN` of a topic here to tell when findings cannot be forwarded")
	if err := parse(flags, args); err != nil {
		return err
	}
	if *home == "" {
		*home = *region
	}
	switch {
	case !accountID.MatchString(*hub):
		return fmt.Errorf("--hub-account: %q is not an account id of 12 digits", *hub)
	case !regionName.MatchString(*region):
		return fmt.Errorf("--hub-region: %q is not a region", *region)
	case !regionName.MatchString(*home):
		return fmt.Errorf("--home-region: %q is not a region", *home)
	case *standby != "" && !regionName.MatchString(*standby):
		return fmt.Errorf("--standby-region: %q is not a region", *standby)
	case *forensic != "" && !accountID.MatchString(*forensic):
		return fmt.Errorf("--forensic-account: %q is not an account id of 12 digits", *forensic)
	}
	if err := s.identify(ctx); err != nil {
		return err
	}
	given := map[string]string{"HubAccount": *hub, "HubRegion": *region, "HomeRegion": *home}
	stack := &stack{session: s, api: cloudformation.NewFromConfig(s.cfg), name: memberStack}
	installed, err := stack.find(ctx)
	if err != nil {
		return err
	}
	if id := os.Getenv(externalIDEnv); id != "" {
		given["ExternalId"] = id
	} else if installed == nil {
		return errors.New(externalIDEnv + " is not set: with the hub's credentials, scripts/deploy external-id prints the external id")
	}
	maps.Copy(given, optional(installed, map[string]string{"AlarmTopic": *topic, "StandbyRegion": *standby, "ForensicAccount": *forensic}))
	if installed == nil {
		if err := s.survey([]finding{s.observer().room(ctx, memberRoles), leftover(ctx, sqs.NewFromConfig(s.cfg))}); err != nil {
			return err
		}
	}
	if err := s.whole(ctx, stack, "cloudformation/member.yaml", given, installed); err != nil || s.plan {
		return err
	}
	outputs, err := stack.outputs(ctx)
	if err != nil {
		return err
	}
	s.say("done")
	return s.report(outputs)
}

// queueAPI is the call that looks for a queue.
type queueAPI interface {
	GetQueueUrl(context.Context, *sqs.GetQueueUrlInput, ...func(*sqs.Options)) (*sqs.GetQueueUrlOutput, error)
}

// leftover looks for the dead letters of an earlier installation of this account and region, which outlive it: CloudFormation makes
// nothing that is there already.
func leftover(ctx context.Context, api queueAPI) finding {
	const about, queue = "letters", "firebreak-forwarder"
	_, err := api.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: aws.String(queue)})
	var none *sqstypes.QueueDoesNotExist
	switch {
	case errors.As(err, &none):
		return finding{about, good, "none of an earlier installation"}
	case err != nil:
		return unknown(about, err)
	}
	return finding{about, block, "the queue " + queue + " of an earlier installation is here: look at what lies in it (findings that never reached the hub), then delete it"}
}

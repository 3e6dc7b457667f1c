package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"firebreak/lib/incident"
	"firebreak/lib/ledger"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const uninstallAbout = `Removes a part of an installation from this account and region: hub, member, config, forensics, organization or stack-sets.
What holds data stays: ledger, evidence, dead letters, keys, the secret of the links, the trail's bucket.

Without --yes it says what would go and what would stay.`

var removable = map[string]string{
	"hub": hubStack, "member": memberStack, "config": rulesStack, "forensics": forensicsStack, "organization": organizationStack, "stack-sets": stackSetsStack,
}

// uninstall removes a stack, and looks whether what is to stay has stayed.
func (s *session) uninstall(ctx context.Context, args []string) error {
	flags := s.options("uninstall PART", uninstallAbout)
	sure := flags.Bool("yes", false, "do it")
	abandon := flags.Bool("abandon", false, "do it although incidents are open or contained: nothing can release them afterwards")
	part := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		part, args = args[0], args[1:]
	}
	if err := parse(flags, args); err != nil {
		return err
	}
	name, ok := removable[part]
	if !ok {
		return fmt.Errorf("%q is no part of an installation: name one of %s", part, strings.Join(sorted(removable), ", "))
	}
	if err := s.identify(ctx); err != nil {
		return err
	}
	stack := &stack{session: s, api: cloudformation.NewFromConfig(s.cfg), name: name}
	now, err := stack.describe(ctx)
	if err != nil {
		return err
	}
	if now == nil {
		s.say("stack %s is not in this account and region", name)
		return nil
	}
	outputs, err := stack.outputs(ctx)
	if err != nil {
		return err
	}
	whole := part == "hub" && outputs["TableName"] != "" // a first try that failed has neither ledger nor outputs
	if whole {
		store := ledger.NewDynamo(dynamodb.NewFromConfig(s.cfg), outputs["TableName"])
		if err := s.left(ctx, store, *abandon || !*sure); err != nil {
			return err
		}
	}
	everything := "everything in it"
	if part == "stack-sets" {
		everything += ", the accounts' stacks and the recorders they made"
	}
	fmt.Fprintf(s.out, "goes     stack %s, with %s, but\n", name, everything)
	for _, line := range stays(part, outputs) {
		fmt.Fprintf(s.out, "stays    %s\n", line)
	}
	if !*sure || s.plan {
		fmt.Fprintln(s.out, "nothing was changed; --yes does it")
		return nil
	}
	if err := stack.remove(ctx, now); err != nil {
		return err
	}
	if !whole {
		return nil
	}
	return s.kept(ctx, outputs)
}

// stays lists what a part leaves behind.
func stays(part string, outputs map[string]string) []string {
	switch part {
	case "hub":
		return []string{
			"ledger      table " + outputs["TableName"], "evidence    bucket " + outputs["EvidenceBucket"], "key         " + outputs["KeyArn"], "links       secret " + outputs["LinkKeyArn"],
			"letters     the five queues firebreak-*-dlq", "installer   secret " + externalIDSecret + ", bucket firebreak-artifacts-…",
		}
	case "member":
		return []string{"letters     queue firebreak-forwarder"}
	case "forensics":
		return []string{"evidence    bucket " + outputs["EvidenceBucket"] + ", and every snapshot", "key         " + outputs["KeyArn"], "letters     queue firebreak-forwarder-evidence"}
	case "organization":
		return []string{"trail       bucket " + or(outputs["TrailBucket"], "of the security account") + " and its key", "records     bucket " + or(outputs["RecordsBucket"], "of the security account"), "delegations and auto-enable: they are other services' now"}
	case "config":
		return []string{"recorder    stack " + recorderStack + ", where it was made"}
	}
	return []string{"letters     queue firebreak-forwarder in each account and region: look and delete it before another installation"}
}

// left says which incidents would be left as they are.
func (s *session) left(ctx context.Context, store ledger.Store, tolerated bool) error {
	open := 0
	for _, band := range incident.Bands() {
		incidents, err := ledger.Open[ledger.Incident](ctx, store, ledger.IncidentGroup(band))
		if err != nil {
			return err
		}
		open += len(incidents)
	}
	switch {
	case open == 0:
	case tolerated:
		s.say("note: %d incidents are open or contained; what Firebreak has changed for them stays changed, and the ledger says how it was", open)
	default:
		return fmt.Errorf("%d incidents are open or contained: release them first (scripts/firebreak incidents), or leave everything as it is with --abandon", open)
	}
	return nil
}

// remove deletes a stack and waits until it is gone.
func (s *stack) remove(ctx context.Context, now *types.Stack) error {
	gone := *s
	gone.name = *now.StackId // a deleted stack is found by its id only
	watch := gone.watch()
	if err := watch.skip(ctx); err != nil {
		return err
	}
	s.say("stack %s: deleting it", s.name)
	if _, err := s.api.DeleteStack(ctx, &cloudformation.DeleteStackInput{StackName: now.StackId}); err != nil {
		return fmt.Errorf("delete stack %s: %w", s.name, err)
	}
	var last types.StackStatus
	err := s.await(ctx, func() (bool, error) {
		is, err := gone.describe(ctx)
		if err != nil || is == nil {
			last = types.StackStatusDeleteComplete
			return is == nil, err
		}
		last = is.StackStatus
		return last == types.StackStatusDeleteComplete || last == types.StackStatusDeleteFailed, watch.look(ctx)
	})
	if err != nil {
		return err
	}
	if last == types.StackStatusDeleteFailed {
		return fmt.Errorf("stack %s could not be deleted: %s", s.name, watch.reasons())
	}
	s.say("stack %s is gone", s.name)
	return nil
}

// kept looks whether ledger and evidence are still there.
func (s *session) kept(ctx context.Context, outputs map[string]string) error {
	table, bucket := outputs["TableName"], outputs["EvidenceBucket"]
	_, err := dynamodb.NewFromConfig(s.cfg).DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &table})
	_, other := s.s3().HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &bucket})
	if err := errors.Join(err, other); err != nil {
		return fmt.Errorf("look whether ledger and evidence are still there: %w", err)
	}
	s.say("ledger %s and evidence %s are still there", table, bucket)
	return nil
}

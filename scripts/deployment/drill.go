package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	events "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
	gd "github.com/aws/aws-sdk-go-v2/service/guardduty/types"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

const drillAbout = `Sends a sample finding through the installation, with the hub's credentials, and waits until it is recorded: GuardDuty makes it
in this account (it takes up to ten minutes to come out), and it is recorded and never acted on, because it is a sample.`

// sampleType is what the drill asks GuardDuty for: harmless to look at, and in every region.
const sampleType = "Recon:EC2/PortProbeUnprotectedPort"

// sampleAPI are the calls on GuardDuty that a drill makes.
type sampleAPI interface {
	ListDetectors(context.Context, *guardduty.ListDetectorsInput, ...func(*guardduty.Options)) (*guardduty.ListDetectorsOutput, error)
	CreateSampleFindings(context.Context, *guardduty.CreateSampleFindingsInput, ...func(*guardduty.Options)) (*guardduty.CreateSampleFindingsOutput, error)
	ListFindings(context.Context, *guardduty.ListFindingsInput, ...func(*guardduty.Options)) (*guardduty.ListFindingsOutput, error)
}

// machineAPI are the calls on Step Functions.
type machineAPI interface {
	ListExecutions(context.Context, *sfn.ListExecutionsInput, ...func(*sfn.Options)) (*sfn.ListExecutionsOutput, error)
	DescribeExecution(context.Context, *sfn.DescribeExecutionInput, ...func(*sfn.Options)) (*sfn.DescribeExecutionOutput, error)
}

// drill sends a sample and waits for its end.
func (s *session) drill(ctx context.Context, args []string) error {
	flags := s.options("drill", drillAbout)
	patience := flags.Duration("wait", 10*time.Minute, "how long to wait")
	if err := parse(flags, args); err != nil {
		return err
	}
	if err := s.identify(ctx); err != nil {
		return err
	}
	stack := &stack{session: s, api: cloudformation.NewFromConfig(s.cfg), name: hubStack}
	outputs, err := stack.outputs(ctx)
	switch {
	case err != nil:
		return err
	case outputs["MachineArn"] == "":
		return errors.New("there is no hub in this account and region: scripts/deploy hub")
	case s.plan:
		fmt.Fprintf(s.out, "call     ask GuardDuty for a sample finding of %s, and wait up to %s for its execution of %s\n", sampleType, *patience, outputs["MachineArn"])
		return nil
	}
	return s.send(ctx, outputs["MachineArn"], *patience)
}

// verify is a drill after a deployment. Without GuardDuty there is nothing to drill with: that is said, and no failure.
func (s *session) verify(ctx context.Context, machine string, patience time.Duration) error {
	err := s.send(ctx, machine, patience)
	if errors.Is(err, errNoDetector) {
		s.say("note: nothing was verified, %v; once it is on: scripts/deploy drill", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("deployed, and not verified: %w", err)
	}
	return nil
}

// errNoDetector says that GuardDuty is off.
var errNoDetector = errors.New("GuardDuty is off in this account and region: there is nothing to send a sample with")

// send has a sample finding made and waits until it is recorded.
func (s *session) send(ctx context.Context, machine string, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := time.Now().Add(-time.Minute) // clocks differ
	var id string
	var err error
	if s.cfg.BaseEndpoint != nil {
		id, err = s.sampleEvent(ctx)
	} else {
		id, err = s.sampleFinding(ctx, guardduty.NewFromConfig(s.cfg), began)
	}
	if err != nil {
		return err
	}
	s.say("sample finding %s is out; waiting for its execution", id)
	ending, arn, err := s.ending(ctx, sfn.NewFromConfig(s.cfg), machine, id, began)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the sample finding did not come through within %s: look at the rule firebreak-findings, its queue firebreak-delivery-dlq and, in a member account, at firebreak-forwarder", patience)
	case err != nil:
		return err
	case ending != "Recorded":
		return fmt.Errorf("the sample finding ended %q, not Recorded: see %s", ending, arn)
	}
	s.say("the sample finding was recorded, and nothing was done: findings reach this installation")
	return nil
}

// sampleFinding asks GuardDuty for a sample and gives its id.
func (s *session) sampleFinding(ctx context.Context, api sampleAPI, began time.Time) (string, error) {
	list, err := api.ListDetectors(ctx, &guardduty.ListDetectorsInput{})
	switch {
	case err != nil:
		return "", fmt.Errorf("look for GuardDuty's detector: %w", err)
	case len(list.DetectorIds) == 0:
		return "", errNoDetector
	}
	detector := list.DetectorIds[0]
	if _, err := api.CreateSampleFindings(ctx, &guardduty.CreateSampleFindingsInput{DetectorId: &detector, FindingTypes: []string{sampleType}}); err != nil {
		return "", fmt.Errorf("ask GuardDuty for a sample finding: %w", err)
	}
	id := ""
	err = s.await(ctx, func() (bool, error) {
		out, err := api.ListFindings(ctx, &guardduty.ListFindingsInput{DetectorId: &detector, FindingCriteria: &gd.FindingCriteria{Criterion: map[string]gd.Condition{
			"type": {Equals: []string{sampleType}}, "service.additionalInfo.sample": {Equals: []string{"true"}}, "updatedAt": {GreaterThanOrEqual: aws.Int64(began.UnixMilli())},
		}}})
		if err != nil {
			return false, fmt.Errorf("look for the sample finding: %w", err)
		}
		if len(out.FindingIds) > 0 {
			id = out.FindingIds[0]
		}
		return id != "", nil
	})
	return id, err
}

// sampleEvent puts a sample on the bus where the account's root may do so, which AWS does not let anybody.
func (s *session) sampleEvent(ctx context.Context) (string, error) {
	text, err := os.ReadFile(filepath.Join(s.root, "events", "guardduty-sample.json"))
	if err != nil {
		return "", err
	}
	var event struct {
		Source string         `json:"source"`
		Type   string         `json:"detail-type"`
		Detail map[string]any `json:"detail"`
	}
	if err := json.Unmarshal(text, &event); err != nil {
		return "", fmt.Errorf("events/guardduty-sample.json: %w", err)
	}
	id := strings.ToLower(rand.Text())
	event.Detail["id"], event.Detail["accountId"], event.Detail["region"] = id, s.account, s.cfg.Region
	detail, err := json.Marshal(event.Detail)
	if err != nil {
		return "", err
	}
	out, err := eventbridge.NewFromConfig(s.cfg).PutEvents(ctx, &eventbridge.PutEventsInput{Entries: []events.PutEventsRequestEntry{
		{Source: &event.Source, DetailType: &event.Type, Detail: aws.String(string(detail))},
	}})
	switch {
	case err != nil:
		return "", fmt.Errorf("put the sample finding on the bus: %w", err)
	case out.FailedEntryCount > 0:
		return "", fmt.Errorf("put the sample finding on the bus: %s", aws.ToString(out.Entries[0].ErrorMessage))
	}
	return id, nil
}

// ending waits for the end of the execution that the finding has started.
func (s *session) ending(ctx context.Context, api machineAPI, machine, id string, began time.Time) (ending, arn string, err error) {
	others := map[string]bool{}
	err = s.await(ctx, func() (bool, error) {
		if arn == "" {
			page, err := api.ListExecutions(ctx, &sfn.ListExecutionsInput{StateMachineArn: &machine, MaxResults: 100})
			if err != nil {
				return false, fmt.Errorf("list the executions of %s: %w", machine, err)
			}
			for _, e := range page.Executions {
				if others[*e.ExecutionArn] || e.StartDate.Before(began) {
					continue
				}
				out, err := api.DescribeExecution(ctx, &sfn.DescribeExecutionInput{ExecutionArn: e.ExecutionArn})
				if err != nil {
					return false, fmt.Errorf("look at %s: %w", *e.ExecutionArn, err)
				}
				if others[*e.ExecutionArn] = true; strings.Contains(aws.ToString(out.Input), id) {
					arn = *e.ExecutionArn
				}
			}
			if arn == "" {
				return false, nil
			}
		}
		out, err := api.DescribeExecution(ctx, &sfn.DescribeExecutionInput{ExecutionArn: &arn})
		if err != nil {
			return false, fmt.Errorf("look at %s: %w", arn, err)
		}
		if out.Status == types.ExecutionStatusRunning {
			return false, nil
		}
		var end struct {
			Ending string `json:"ending"`
		}
		_ = json.Unmarshal([]byte(aws.ToString(out.Output)), &end) // a failed execution has none
		if ending = end.Ending; ending == "" {
			ending = string(out.Status)
		}
		return true, nil
	})
	return ending, arn, err
}

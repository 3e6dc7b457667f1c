package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
)

// former is CloudFormation with one stack. Fields say what it answers; calls what it was told.
type former struct {
	stack    *types.Stack
	needs    []types.ParameterDeclaration
	set      cloudformation.DescribeChangeSetOutput
	after    types.StackStatus // what executing makes of the stack
	events   []types.StackEvent
	calls    []string
	template string
	created  *cloudformation.CreateChangeSetInput
}

func (f *former) DescribeStacks(context.Context, *cloudformation.DescribeStacksInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeStacksOutput, error) {
	if f.stack == nil {
		return nil, &smithy.GenericAPIError{Code: "ValidationError", Message: "Stack with id firebreak does not exist"}
	}
	return &cloudformation.DescribeStacksOutput{Stacks: []types.Stack{*f.stack}}, nil
}

func (f *former) GetTemplateSummary(context.Context, *cloudformation.GetTemplateSummaryInput, ...func(*cloudformation.Options)) (*cloudformation.GetTemplateSummaryOutput, error) {
	return &cloudformation.GetTemplateSummaryOutput{Parameters: f.needs}, nil
}

func (f *former) CreateChangeSet(_ context.Context, in *cloudformation.CreateChangeSetInput, _ ...func(*cloudformation.Options)) (*cloudformation.CreateChangeSetOutput, error) {
	f.calls, f.created = append(f.calls, "create"), in
	return &cloudformation.CreateChangeSetOutput{Id: aws.String("set")}, nil
}

func (f *former) DescribeChangeSet(context.Context, *cloudformation.DescribeChangeSetInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeChangeSetOutput, error) {
	return &f.set, nil
}

func (f *former) ExecuteChangeSet(context.Context, *cloudformation.ExecuteChangeSetInput, ...func(*cloudformation.Options)) (*cloudformation.ExecuteChangeSetOutput, error) {
	f.calls = append(f.calls, "execute")
	f.stack = &types.Stack{StackStatus: f.after}
	f.events = append([]types.StackEvent{event("firebreak", "AWS::CloudFormation::Stack", "UPDATE_IN_PROGRESS", "", "self")}, f.events...)
	return &cloudformation.ExecuteChangeSetOutput{}, nil
}

func (f *former) DeleteChangeSet(context.Context, *cloudformation.DeleteChangeSetInput, ...func(*cloudformation.Options)) (*cloudformation.DeleteChangeSetOutput, error) {
	f.calls = append(f.calls, "discard")
	return &cloudformation.DeleteChangeSetOutput{}, nil
}

func (f *former) DeleteStack(context.Context, *cloudformation.DeleteStackInput, ...func(*cloudformation.Options)) (*cloudformation.DeleteStackOutput, error) {
	f.calls, f.stack = append(f.calls, "delete"), nil
	return &cloudformation.DeleteStackOutput{}, nil
}

func (f *former) GetTemplate(context.Context, *cloudformation.GetTemplateInput, ...func(*cloudformation.Options)) (*cloudformation.GetTemplateOutput, error) {
	return &cloudformation.GetTemplateOutput{TemplateBody: &f.template}, nil
}

func (f *former) DescribeStackResources(context.Context, *cloudformation.DescribeStackResourcesInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeStackResourcesOutput, error) {
	return &cloudformation.DescribeStackResourcesOutput{}, nil
}

func (f *former) DescribeStackEvents(_ context.Context, in *cloudformation.DescribeStackEventsInput, _ ...func(*cloudformation.Options)) (*cloudformation.DescribeStackEventsOutput, error) {
	out := &cloudformation.DescribeStackEventsOutput{}
	for i, e := range f.events {
		e.EventId = aws.String(fmt.Sprint(len(f.events) - i))
		nested := strings.HasPrefix(aws.ToString(e.StackId), "arn:nested")
		if nested == strings.HasPrefix(*in.StackName, "arn:nested") && slices.Contains(f.calls, "execute") {
			out.StackEvents = append(out.StackEvents, e)
		}
	}
	return out, nil
}

func event(id, kind, status, reason, physical string) types.StackEvent {
	return types.StackEvent{StackId: aws.String("self"), LogicalResourceId: &id, ResourceType: &kind, ResourceStatus: types.ResourceStatus(status), ResourceStatusReason: &reason, PhysicalResourceId: &physical}
}

func of(f *former) (*stack, *bytes.Buffer) {
	var out bytes.Buffer
	return &stack{session: &session{out: &out, log: io.Discard, begun: time.Now()}, api: f, name: "firebreak"}, &out
}

var ready = cloudformation.DescribeChangeSetOutput{Status: types.ChangeSetStatusCreateComplete, Changes: []types.Change{
	{ResourceChange: &types.ResourceChange{Action: types.ChangeActionModify, LogicalResourceId: aws.String("Ledger"), ResourceType: aws.String("AWS::DynamoDB::Table"),
		Replacement: types.ReplacementTrue, Details: []types.ResourceChangeDetail{{Target: &types.ResourceTargetDefinition{Name: aws.String("KeySchema")}}}}},
}}

func TestWhatIsNotGivenStaysAsItIs(t *testing.T) {
	f := &former{set: ready, after: types.StackStatusUpdateComplete, needs: []types.ParameterDeclaration{
		{ParameterKey: aws.String("Given")}, {ParameterKey: aws.String("Installed")}, {ParameterKey: aws.String("New"), DefaultValue: aws.String("x")},
	}}
	s, _ := of(f)
	err := s.deploy(t.Context(), source{url: "https://example.com"}, map[string]string{"Given": "1"}, &installation{parameters: map[string]string{"Given": "0", "Installed": "0"}})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, p := range f.created.Parameters {
		got[*p.ParameterKey] = aws.ToString(p.ParameterValue)
		if aws.ToBool(p.UsePreviousValue) {
			got[*p.ParameterKey] = "previous"
		}
	}
	if diff := cmp.Diff(map[string]string{"Given": "1", "Installed": "previous"}, got); diff != "" {
		t.Error(diff)
	}
	if f.created.ChangeSetType != types.ChangeSetTypeUpdate {
		t.Errorf("an installed stack gets a change set of type %s", f.created.ChangeSetType)
	}
}

func TestParametersAreCheckedByName(t *testing.T) {
	for want, given := range map[string]map[string]string{
		"the parameter ExternalId is needed: shared": {},
		"has no parameter Mode; it has ExternalId":   {"ExternalId": "x", "Mode": "act"},
		"ExternalId has 4097 bytes":                  {"ExternalId": strings.Repeat("x", 4097)},
	} {
		f := &former{needs: []types.ParameterDeclaration{{ParameterKey: aws.String("ExternalId"), Description: aws.String("shared")}}}
		s, _ := of(f)
		if err := s.deploy(t.Context(), source{body: "x"}, given, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error %v", given, err)
		}
		if len(f.calls) > 0 {
			t.Errorf("%v: calls %v", given, f.calls)
		}
	}
}

func TestPlanShowsAndChangesNothing(t *testing.T) {
	f := &former{set: ready}
	s, out := of(f)
	s.plan = true
	if err := s.deploy(t.Context(), source{body: "x"}, nil, nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"create", "discard", "delete"}, f.calls); diff != "" {
		t.Error(diff)
	}
	if got, want := out.String(), "CloudFormation: REPLACE Ledger AWS::DynamoDB::Table (KeySchema)\n"; !strings.Contains(got, want) {
		t.Errorf("shown %q", got)
	}
}

// Where CloudFormation cannot look into nested stacks that do not exist yet, the second try goes into the same empty stack: the first one
// may still be on its way out when the second comes.
func TestAPlanIsTriedAgainInTheSameStack(t *testing.T) {
	f := &former{set: cloudformation.DescribeChangeSetOutput{Status: types.ChangeSetStatusFailed, StatusReason: aws.String("Failed to resolve parameters of a nested stack")}}
	s, _ := of(f)
	s.plan = true
	if err := s.deploy(t.Context(), source{body: "x"}, nil, nil); err == nil {
		t.Error("a change set that fails twice is no error")
	}
	if diff := cmp.Diff([]string{"create", "discard", "create", "discard", "delete"}, f.calls); diff != "" {
		t.Error(diff)
	}
}

func TestNothingToChangeIsNoFailure(t *testing.T) {
	f := &former{set: cloudformation.DescribeChangeSetOutput{Status: types.ChangeSetStatusFailed, StatusReason: aws.String("The submitted information didn't contain changes.")}}
	s, _ := of(f)
	if err := s.deploy(t.Context(), source{body: "x"}, nil, &installation{}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"create", "discard"}, f.calls); diff != "" {
		t.Error(diff)
	}
}

func TestAFailureNamesWhatFailedAndWhy(t *testing.T) {
	nested := event("Alias", "AWS::KMS::Alias", "CREATE_FAILED", "it must begin with alias/", "")
	nested.StackId = aws.String("arn:nested/firebreak-Storage-1A/2")
	f := &former{set: ready, after: types.StackStatusRollbackComplete, events: []types.StackEvent{
		event("Topic", "AWS::SNS::Topic", "CREATE_FAILED", "Resource creation cancelled", ""),
		event("Storage", "AWS::CloudFormation::Stack", "CREATE_FAILED", "Embedded stack was not successfully created", "arn:nested/firebreak-Storage-1A/2"),
		nested,
	}}
	s, _ := of(f)
	err := s.deploy(t.Context(), source{body: "x"}, nil, nil)
	want := "stack firebreak ended ROLLBACK_COMPLETE: \n  Storage/Alias (AWS::KMS::Alias) CREATE_FAILED: it must begin with alias/"
	if err == nil || err.Error() != want {
		t.Errorf("error %v", err)
	}
}

func TestFindSaysWhatToDoWithAStackInTrouble(t *testing.T) {
	for status, want := range map[types.StackStatus]string{
		types.StackStatusUpdateComplete:       "installed",
		types.StackStatusRollbackComplete:     "removed",
		types.StackStatusReviewInProgress:     "none",
		types.StackStatusUpdateInProgress:     "stack firebreak is UPDATE_IN_PROGRESS: somebody is changing it: wait",
		types.StackStatusUpdateRollbackFailed: "stack firebreak is UPDATE_ROLLBACK_FAILED: .* continue-update-rollback --stack-name firebreak,",
		types.StackStatusRollbackFailed:       "stack firebreak is ROLLBACK_FAILED: .* --no-deletion-protection-enabled.* delete-stack --stack-name firebreak,",
		types.StackStatusDeleteFailed:         "stack firebreak is DELETE_FAILED: .* delete-stack --stack-name firebreak,",
		types.StackStatusUpdateFailed:         "stack firebreak is UPDATE_FAILED: .* rollback-stack --stack-name firebreak,",
	} {
		f := &former{stack: &types.Stack{StackStatus: status, Parameters: []types.Parameter{{ParameterKey: aws.String("K"), ParameterValue: aws.String("v")}}}}
		s, _ := of(f)
		in, err := s.find(t.Context())
		got := "none"
		switch {
		case err != nil:
			got = err.Error()
		case in != nil:
			got = "installed"
		case len(f.calls) > 0:
			got = "removed"
		}
		if !regexp.MustCompile("^" + want).MatchString(got) {
			t.Errorf("%s: %s", status, got)
		}
	}
}

// A plan removes nothing, not even what is left of a first try that failed.
func TestAPlanLeavesAFailedFirstTryWhereItIs(t *testing.T) {
	f := &former{stack: &types.Stack{StackStatus: types.StackStatusRollbackComplete}}
	s, _ := of(f)
	s.plan = true
	if _, err := s.find(t.Context()); err == nil || !strings.Contains(err.Error(), "delete-stack --stack-name firebreak") || len(f.calls) > 0 {
		t.Errorf("calls %v, error %v", f.calls, err)
	}
}

// What the conditions leave out is not in a plan, in nested stacks neither, and what would be missing is said.
func TestAPlanHasWhatTheConditionsLeaveIn(t *testing.T) {
	f := &former{set: ready, needs: []types.ParameterDeclaration{{ParameterKey: aws.String("Approvers"), DefaultValue: aws.String("[]")}, {ParameterKey: aws.String("Days")}}}
	f.set.Changes = nil
	s, out := of(f)
	s.plan, s.account, s.cfg.Region = true, "111111111111", "us-east-1"
	inner := `Parameters: {Days: {Type: Number}}
Conditions: {Kept: !Not [!Equals [!Ref Days, 0]]}
Resources:
  Bus: {Type: AWS::Events::EventBus, DeletionPolicy: Retain}
  Archive: {Type: AWS::Events::Archive, Condition: Kept}
`
	s.texts = map[string][]byte{"https://inner": []byte(inner), "https://outer": []byte(`Parameters: {Approvers: {Type: String, Default: '[]'}, Days: {Type: Number}}
Resources:
  Ingest: {Type: AWS::CloudFormation::Stack, Properties: {TemplateURL: https://inner, Parameters: {Days: !Ref Days}}}
`)}
	for days, want := range map[string]int{"0": 1, "30": 2} {
		out.Reset()
		if err := s.deploy(t.Context(), source{url: "https://outer"}, map[string]string{"Days": days}, nil); err != nil {
			t.Fatal(err)
		}
		text := out.String()
		if strings.Contains(text, "Archive") != (want == 2) || !strings.Contains(text, fmt.Sprintf("In all: %d to add", want)) {
			t.Errorf("with %s days:\n%s", days, text)
		}
		for _, line := range []string{"by default         Approvers []", "nobody may decide", "Stays when it is uninstalled\n  Bus"} {
			if !strings.Contains(text, line) {
				t.Errorf("it does not say %q:\n%s", line, text)
			}
		}
	}
}

// A plan names what is configured, what changes and which of it deserves a second look; nothing that stays as it is.
func TestAPlanReadsLikeOneForAColleague(t *testing.T) {
	f := &former{set: cloudformation.DescribeChangeSetOutput{Status: types.ChangeSetStatusCreateComplete},
		needs: []types.ParameterDeclaration{{ParameterKey: aws.String("Members")}, {ParameterKey: aws.String("ExternalId")}, {ParameterKey: aws.String("Stays")}},
		template: `Resources:
  Ledger: {Type: AWS::DynamoDB::Table, Properties: {TableName: ledger, BillingMode: PROVISIONED}}
  Old: {Type: AWS::SNS::Topic}
  Same: {Type: AWS::SNS::Topic, Properties: {TopicName: "same"}}
`}
	s, out := of(f)
	s.plan, s.account, s.cfg.Region = true, "111111111111", "us-east-1"
	body := `Resources:
  Ledger: {Type: AWS::DynamoDB::Table, Properties: {TableName: ledger, BillingMode: PAY_PER_REQUEST}, DeletionPolicy: Retain}
  # another comment, another style
  Same:
    Type: AWS::SNS::Topic
    Properties: {TopicName: same}
  Role:
    Type: AWS::IAM::Role
    Properties: {Policies: [{PolicyDocument: {Statement: [{Sid: RoleLogs, Effect: Allow, Action: [logs:A, logs:B], Resource: '*'}, {Sid: RoleOne, Effect: Allow, Action: s3:GetObject, Resource: !Ref Same}]}}]}
`
	err := s.deploy(t.Context(), source{body: body}, map[string]string{"Members": "222222222222,333333333333", "ExternalId": "secret"},
		&installation{parameters: map[string]string{"Members": "222222222222", "Stays": "x"}})
	if err != nil {
		t.Fatal(err)
	}
	want := `Stack firebreak in account 111111111111, region us-east-1: an update
  Members            222222222222,333333333333 (was 222222222222)
  ExternalId         (not shown)

firebreak
  modify   Ledger                             AWS::DynamoDB::Table (BillingMode, DeletionPolicy)
  remove   Old                                AWS::SNS::Topic
  add    1 IAM::Role                          Role

Look twice
  Ledger holds data: modify (BillingMode, DeletionPolicy)
  Role may act on every resource: RoleLogs (logs:A, logs:B)

In all: 1 to add, 1 to modify, 1 to remove, 0 by parameters. Nothing was changed; what a change set needs was uploaded.
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

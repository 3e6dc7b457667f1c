package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/smithy-go"
)

// stackAPI are the calls made on stacks.
type stackAPI interface {
	DescribeStacks(context.Context, *cloudformation.DescribeStacksInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeStacksOutput, error)
	GetTemplateSummary(context.Context, *cloudformation.GetTemplateSummaryInput, ...func(*cloudformation.Options)) (*cloudformation.GetTemplateSummaryOutput, error)
	CreateChangeSet(context.Context, *cloudformation.CreateChangeSetInput, ...func(*cloudformation.Options)) (*cloudformation.CreateChangeSetOutput, error)
	DescribeChangeSet(context.Context, *cloudformation.DescribeChangeSetInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeChangeSetOutput, error)
	ExecuteChangeSet(context.Context, *cloudformation.ExecuteChangeSetInput, ...func(*cloudformation.Options)) (*cloudformation.ExecuteChangeSetOutput, error)
	DeleteChangeSet(context.Context, *cloudformation.DeleteChangeSetInput, ...func(*cloudformation.Options)) (*cloudformation.DeleteChangeSetOutput, error)
	DeleteStack(context.Context, *cloudformation.DeleteStackInput, ...func(*cloudformation.Options)) (*cloudformation.DeleteStackOutput, error)
	DescribeStackResources(context.Context, *cloudformation.DescribeStackResourcesInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeStackResourcesOutput, error)
	GetTemplate(context.Context, *cloudformation.GetTemplateInput, ...func(*cloudformation.Options)) (*cloudformation.GetTemplateOutput, error)
	DescribeStackEvents(context.Context, *cloudformation.DescribeStackEventsInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeStackEventsOutput, error)
}

// stack is one stack by name.
type stack struct {
	*session
	api  stackAPI
	name string
}

// installation is what stands already.
type installation struct {
	parameters map[string]string
}

// parameter gives a parameter's value, "" where there is none.
func (i *installation) parameter(name string) string {
	if i == nil {
		return ""
	}
	return i.parameters[name]
}

// source is a template, by URL or whole, or the one that is installed.
type source struct {
	url, body string
	installed bool
}

func (src source) fields() (body, url *string) {
	switch {
	case src.installed:
		return nil, nil
	case src.url != "":
		return nil, &src.url
	}
	return &src.body, nil
}

// find gives the stack as it is installed, nil when there is none. One that is in the middle of something or broken is an
// error that says what to do; the empty shell of a failed first try is removed.
func (s *stack) find(ctx context.Context) (*installation, error) {
	now, err := s.describe(ctx)
	if err != nil || now == nil {
		return nil, err
	}
	switch state := now.StackStatus; state {
	case types.StackStatusReviewInProgress:
		return nil, nil
	case types.StackStatusRollbackComplete:
		if s.plan {
			return nil, fmt.Errorf("stack %s is the empty shell of a first try that failed, and nothing can be planned over it: deploying removes it first, or aws cloudformation delete-stack --stack-name %s", s.name, s.name)
		}
		s.say("stack %s: removing the empty shell of a first try that failed", s.name)
		if _, err := s.api.DeleteStack(ctx, &cloudformation.DeleteStackInput{StackName: now.StackId}); err != nil {
			return nil, fmt.Errorf("remove stack %s: %w", s.name, err)
		}
		return nil, s.await(ctx, func() (bool, error) {
			now, err := s.describe(ctx)
			return now == nil || now.StackStatus == types.StackStatusDeleteComplete, err
		})
	case types.StackStatusCreateComplete, types.StackStatusUpdateComplete, types.StackStatusUpdateRollbackComplete, types.StackStatusImportComplete:
		in := &installation{parameters: map[string]string{}}
		for _, p := range now.Parameters {
			in.parameters[aws.ToString(p.ParameterKey)] = aws.ToString(p.ParameterValue)
		}
		return in, nil
	default:
		return nil, fmt.Errorf("stack %s is %s: %s", s.name, state, s.wayOut(state))
	}
}

// wayOut says what a person does with a stack that is in the middle of something or broken.
func (s *stack) wayOut(state types.StackStatus) string {
	switch state {
	case types.StackStatusUpdateRollbackFailed:
		return fmt.Sprintf("an update failed, and so did going back. Its events in the CloudFormation console say what stands in the way; mend that, then aws cloudformation continue-update-rollback --stack-name %s, then deploy again", s.name)
	case types.StackStatusCreateFailed, types.StackStatusRollbackFailed, types.StackStatusDeleteFailed:
		return fmt.Sprintf("something in it could not be removed. Its events in the CloudFormation console say what: a ledger is protected (aws dynamodb update-table --table-name firebreak-ledger --no-deletion-protection-enabled, if nothing in it must be kept), a bucket is removed only when it is empty. Then aws cloudformation delete-stack --stack-name %s, and deploy again", s.name)
	case types.StackStatusUpdateFailed:
		return fmt.Sprintf("an update failed and was not taken back: aws cloudformation rollback-stack --stack-name %s, then deploy again", s.name)
	}
	if strings.HasSuffix(string(state), "_IN_PROGRESS") {
		return "somebody is changing it: wait until that has ended, then deploy again"
	}
	return "mend it in the CloudFormation console, then deploy again"
}

// describe gives the stack, nil when there is none.
func (s *stack) describe(ctx context.Context) (*types.Stack, error) {
	out, err := s.api.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &s.name})
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorCode() == "ValidationError" && strings.Contains(api.ErrorMessage(), "does not exist") {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at stack %s: %w", s.name, err)
	}
	if len(out.Stacks) == 0 {
		return nil, nil
	}
	return &out.Stacks[0], nil
}

func (s *stack) outputs(ctx context.Context) (map[string]string, error) {
	now, err := s.describe(ctx)
	if err != nil || now == nil {
		return nil, err
	}
	out := map[string]string{}
	for _, o := range now.Outputs {
		out[aws.ToString(o.OutputKey)] = aws.ToString(o.OutputValue)
	}
	return out, nil
}

// deploy makes a change set of the template, shows it, and, unless only a plan was asked for, carries it out.
func (s *stack) deploy(ctx context.Context, src source, given map[string]string, installed *installation) error {
	parameters, err := s.parameters(ctx, src, given, installed)
	if err != nil {
		return err
	}
	set, changes, err := s.changeSet(ctx, src, parameters, installed, s.plan)
	if err != nil {
		return err
	}
	if set == "" {
		s.say("stack %s: nothing to change", s.name)
		return nil
	}
	if s.plan {
		parts, err := s.outline(ctx, src, parameters, installed)
		if err == nil {
			s.show(s.out, parts, changes, parameters, defaults(or(src.body, string(s.texts[src.url]))), installed)
		}
		return errors.Join(err, s.discard(ctx, set, installed == nil))
	}
	s.say("stack %s: %d changes", s.name, len(changes))
	watch := s.watch()
	if err := watch.skip(ctx); err != nil {
		return err
	}
	if _, err := s.api.ExecuteChangeSet(ctx, &cloudformation.ExecuteChangeSetInput{ChangeSetName: &set}); err != nil {
		return fmt.Errorf("stack %s: carry the change set out: %w", s.name, err)
	}
	return watch.follow(ctx)
}

// set changes parameters of an installed stack and nothing else.
func (s *stack) set(ctx context.Context, installed *installation, values map[string]string) error {
	return s.deploy(ctx, source{installed: true}, values, installed)
}

// longestParameter is CloudFormation's quota for the value of a parameter, in bytes.
const longestParameter = 4096

// parameters sets what was given, keeps what is installed, and leaves the rest to the template's defaults.
func (s *stack) parameters(ctx context.Context, src source, given map[string]string, installed *installation) ([]types.Parameter, error) {
	body, url := src.fields()
	summary, err := s.api.GetTemplateSummary(ctx, s.summary(src, body, url))
	if err != nil {
		return nil, fmt.Errorf("stack %s: the template is not accepted: %s", s.name, said(err))
	}
	var out []types.Parameter
	known := map[string]bool{}
	for _, d := range summary.Parameters {
		key := aws.ToString(d.ParameterKey)
		known[key] = true
		value, ok := given[key]
		switch {
		case ok:
			out = append(out, types.Parameter{ParameterKey: &key, ParameterValue: &value})
		case installed != nil && hasKey(installed.parameters, key):
			out = append(out, types.Parameter{ParameterKey: &key, UsePreviousValue: aws.Bool(true)})
		case d.DefaultValue == nil:
			return nil, fmt.Errorf("stack %s: the parameter %s is needed: %s", s.name, key, aws.ToString(d.Description))
		}
	}
	for _, key := range sorted(given) {
		if len(given[key]) > longestParameter {
			return nil, fmt.Errorf("stack %s: the parameter %s has %d bytes, and CloudFormation takes %d: name fewer, or by shorter names", s.name, key, len(given[key]), longestParameter)
		}
		if !known[key] {
			return nil, fmt.Errorf("stack %s has no parameter %s; it has %s", s.name, key, strings.Join(sorted(known), ", "))
		}
	}
	return out, nil
}

func (s *stack) summary(src source, body, url *string) *cloudformation.GetTemplateSummaryInput {
	if src.installed {
		return &cloudformation.GetTemplateSummaryInput{StackName: &s.name}
	}
	return &cloudformation.GetTemplateSummaryInput{TemplateBody: body, TemplateURL: url}
}

func hasKey(m map[string]string, k string) bool { _, ok := m[k]; return ok }

// changeSet makes a change set and gives its ARN, "" when nothing would change, and what it would change, a line a resource.
// With deep it looks into nested stacks, where CloudFormation can.
func (s *stack) changeSet(ctx context.Context, src source, parameters []types.Parameter, installed *installation, deep bool) (string, []string, error) {
	body, url := src.fields()
	kind := types.ChangeSetTypeUpdate
	if installed == nil {
		kind = types.ChangeSetTypeCreate
	}
	made, err := s.api.CreateChangeSet(ctx, &cloudformation.CreateChangeSetInput{
		StackName: &s.name, ChangeSetName: aws.String(fmt.Sprintf("deploy-%d", time.Now().UnixMilli())),
		ChangeSetType: kind, TemplateBody: body, TemplateURL: url, UsePreviousTemplate: when(src.installed), Parameters: parameters,
		Capabilities: []types.Capability{types.CapabilityCapabilityNamedIam}, IncludeNestedStacks: aws.Bool(deep),
	})
	if err != nil {
		return "", nil, fmt.Errorf("stack %s: the change set is not accepted: %s", s.name, said(err))
	}
	set := aws.ToString(made.Id)
	var now *cloudformation.DescribeChangeSetOutput
	err = s.await(ctx, func() (bool, error) {
		now, err = s.api.DescribeChangeSet(ctx, &cloudformation.DescribeChangeSetInput{ChangeSetName: &set})
		return err == nil && (now.Status == types.ChangeSetStatusCreateComplete || now.Status == types.ChangeSetStatusFailed), err
	})
	if err != nil {
		return "", nil, fmt.Errorf("stack %s: wait for the change set: %w", s.name, err)
	}
	if now.Status == types.ChangeSetStatusFailed {
		reason := aws.ToString(now.StatusReason)
		same := strings.Contains(reason, "didn't contain changes") || strings.Contains(reason, "No updates are to be performed")
		again := deep && !same // into the same empty stack: one that is being deleted takes no change set
		if err := s.discard(ctx, set, installed == nil && !again); err != nil {
			return "", nil, err
		}
		switch {
		case same:
			return "", nil, nil
		case again: // what a nested stack takes from one that does not exist yet cannot always be resolved before it does
			s.say("the change set cannot look into nested stacks (%s): showing the outer one", reason)
			return s.changeSet(ctx, src, parameters, installed, false)
		}
		return "", nil, fmt.Errorf("stack %s: the change set failed: %s", s.name, reason)
	}
	lines, err := s.changes(ctx, set, "")
	return set, lines, err
}

// when is true, or absent.
func when(b bool) *bool {
	if b {
		return &b
	}
	return nil
}

// changes lists what a change set would do, and the sets nested in it.
func (s *stack) changes(ctx context.Context, set, indent string) ([]string, error) {
	var out []string
	var next *string
	for {
		page, err := s.api.DescribeChangeSet(ctx, &cloudformation.DescribeChangeSetInput{ChangeSetName: &set, NextToken: next})
		if err != nil {
			return nil, fmt.Errorf("stack %s: read the change set: %w", s.name, err)
		}
		for _, c := range page.Changes {
			r := c.ResourceChange
			if r == nil {
				continue
			}
			verb := map[types.ChangeAction]string{types.ChangeActionAdd: "add", types.ChangeActionModify: "modify", types.ChangeActionRemove: "remove"}[r.Action]
			if verb == "" {
				verb = strings.ToLower(string(r.Action))
			}
			if r.Replacement == types.ReplacementTrue {
				verb = "REPLACE"
			}
			line := fmt.Sprintf("%s%-8s %-36s %s", indent, verb, aws.ToString(r.LogicalResourceId), aws.ToString(r.ResourceType))
			if what := scopes(r); what != "" {
				line += " (" + what + ")"
			}
			out = append(out, line)
			if nested := aws.ToString(r.ChangeSetId); nested != "" {
				lines, err := s.changes(ctx, nested, indent+"  ")
				if err != nil {
					return nil, err
				}
				out = append(out, lines...)
			}
		}
		if next = page.NextToken; next == nil {
			return out, nil
		}
	}
}

// scopes names the properties that would change.
func scopes(r *types.ResourceChange) string {
	var out []string
	for _, d := range r.Details {
		if d.Target == nil {
			continue
		}
		what := aws.ToString(d.Target.Name)
		if what == "" {
			what = string(d.Target.Attribute)
		}
		if !slices.Contains(out, what) {
			out = append(out, what)
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// discard removes a change set, and the empty stack that a first one leaves behind.
func (s *stack) discard(ctx context.Context, set string, first bool) error {
	if _, err := s.api.DeleteChangeSet(ctx, &cloudformation.DeleteChangeSetInput{ChangeSetName: &set}); err != nil {
		return fmt.Errorf("stack %s: remove the change set: %w", s.name, err)
	}
	if !first {
		return nil
	}
	if _, err := s.api.DeleteStack(ctx, &cloudformation.DeleteStackInput{StackName: &s.name}); err != nil {
		return fmt.Errorf("stack %s: remove the empty stack of the change set: %w", s.name, err)
	}
	return nil
}

// said is what AWS answered, without the SDK's words around it.
func said(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorMessage()
	}
	return err.Error()
}

// await asks until done, first every 0.2 seconds, then ever more rarely.
func (s *session) await(ctx context.Context, done func() (bool, error)) error {
	for pause := 200 * time.Millisecond; ; pause = min(pause*5/4, 5*time.Second) {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

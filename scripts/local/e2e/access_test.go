//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/incident"
	"firebreak/scripts/local/world"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

// Every right that a role has is needed: without it a named step fails, people are told which, and nothing is called contained.
func TestARightTakenAwayFailsANamedStep(t *testing.T) {
	hubRole := func(function string) string { return "firebreak-" + function + "-" + world.Region }
	const ofInstance, ofUser, ofBucket = "instance", "user", "bucket"
	for _, c := range []struct {
		role, action, about, step string
		destroy                   bool
	}{
		{hubRole("classify-finding"), "s3:PutObject", ofBucket, "ClassifyFinding", false},
		{hubRole("classify-finding"), "dynamodb:PutItem", ofBucket, "ClassifyFinding", false},
		{hubRole("notify"), "sns:Publish", ofBucket, "Notify", false},
		{hubRole("block-public-access"), "sts:AssumeRole", ofBucket, "BlockPublicAccess", false},
		{hubRole("deactivate-keys"), "sts:SetSourceIdentity", ofUser, "DeactivateKeys", false},
		{hubRole("deactivate-keys"), "ssm:GetParameters", ofUser, "DeactivateKeys", false},
		{hubRole("request-approval"), "lambda:InvokeFunction", ofInstance, "RequestApproval", false},
		{"SecurityRemediationRole-Read", "ec2:DescribeNetworkInterfaces", ofInstance, "IsolateInstance", false},
		{"SecurityRemediationRole-Network", "ec2:ModifyNetworkInterfaceAttribute", ofInstance, "IsolateInstance", false},
		{"SecurityRemediationRole-Data", "ec2:CreateSnapshots", ofInstance, "SnapshotVolumes", false},
		{"SecurityRemediationRole-Identity", "iam:PutRolePolicy", ofInstance, "RevokeSessions", false},
		{"SecurityRemediationRole-Identity", "iam:UpdateAccessKey", ofUser, "DeactivateKeys", false},
		{"SecurityRemediationRole-Data", "s3:PutBucketPublicAccessBlock", ofBucket, "BlockPublicAccess", false},
		{"SecurityRemediationRole-Identity", "iam:AttachUserPolicy", ofUser, "QuarantinePrincipal", false},
		{"SecurityRemediationRole-Read", "iam:ListAccessKeys", ofUser, "DeactivateKeys", false},
		{"SecurityRemediationRole-Read", "s3:GetBucketPublicAccessBlock", ofBucket, "BlockPublicAccess", false},
		{"SecurityRemediationRole-Read", "iam:GetRolePolicy", ofInstance, "RevokeSessions", false},
		{"SecurityRemediationRole-Read", "ec2:DescribeSnapshots", ofInstance, "SnapshotVolumes", false},
		{hubRole("isolate-instance"), "dynamodb:UpdateItem", ofInstance, "IsolateInstance", false},
		{hubRole("block-public-access"), "dynamodb:PutItem", ofBucket, "BlockPublicAccess", false},
		{"SecurityRemediationRole-Destroy", "ec2:TerminateInstances", ofInstance, "TerminateInstance", true},
	} {
		t.Run(c.step+" without "+c.action, func(t *testing.T) {
			api := hub.IAM
			if strings.HasPrefix(c.role, "Security") {
				api = member.IAM
			}
			var finding world.Event
			var i world.Instance
			var typed string
			switch c.about {
			case ofInstance:
				i = instance(t)
				typed = i.ID
				finding = stolen(t, i)
			case ofUser:
				var user world.User
				user, finding = misused(t)
				typed = user.Name
			case ofBucket:
				_, finding = public(t)
			}
			restore := must(world.TakeAction(t.Context(), api, c.role, c.action))(t)
			t.Cleanup(func() { check(t, restore(context.Background())) })
			kill("firebreak-" + kebab(c.step)) // what it read a moment ago it would keep
			put(t, finding)
			arn := must(hub.Started(t.Context(), finding.ID(), 1))(t)
			var run world.Run
			var asked bool
			check(t, world.Until(t.Context(), 30*time.Second, "an end, or a question to people", func(ctx context.Context) (bool, error) {
				it, err := approval.Load(ctx, hub.Store, finding.Incident(), 1)
				if err != nil {
					return false, err
				}
				asked = it.Exists()
				run, err = hub.Run(ctx, arn)
				return asked || run.Ended(), err
			}))
			if asked {
				decision, people := "reject", []string{"alice"}
				if c.destroy {
					decision, people = "approve", []string{"alice", "bob"}
				}
				decide(t, finding.Incident(), world.ToDestroy, decision, typed, people...)
				run = must(hub.End(t.Context(), arn))(t)
			}
			if run.Ending() != "NeedsPerson" || run.Error != "NeedsPerson" {
				t.Fatalf("it ended without asking for a person: %s", show(run))
			}
			if run.Entered(c.step) == 0 {
				t.Errorf("%s was not entered: %s", c.step, show(run))
			}
			queue := world.Actions
			if c.step == "ClassifyFinding" || c.step == "RequestApproval" {
				queue = world.Incident
			}
			var l incident.DeadLetter
			check(t, json.Unmarshal([]byte(letter(t, queue, run.ARN)), &l))
			if !strings.Contains(l.Cause, "not authorized") && !strings.Contains(l.Cause, "ccess") || l.Error == "" {
				t.Errorf("the dead letter does not say what was denied: %+v", l)
			}
			if queue == world.Actions && (l.Step == nil || state(l.Step.Action) != c.step) {
				t.Errorf("the dead letter is of step %+v, want %s", l.Step, c.step)
			}
			if i.ID != "" {
				running(t, i, true)
			}
			check(t, restore(t.Context()))
		})
	}
	// and with all of them back, all is well
	_, finding := public(t)
	put(t, finding)
	if run := settle(t, finding); run.Ending() != "Contained" {
		t.Errorf("with every right back: %s", show(run))
	}
}

// state is the name of an action's state: isolate-instance is IsolateInstance.
func state(action string) string {
	out := ""
	for _, part := range strings.Split(action, "-") {
		out += strings.ToUpper(part[:1]) + part[1:]
	}
	return out
}

// kebab is the other way round.
func kebab(state string) string {
	out := ""
	for n, r := range state {
		if n > 0 && r >= 'A' && r <= 'Z' {
			out += "-"
		}
		out += strings.ToLower(string(r))
	}
	return out
}

// function acts as a function of the hub would: a role of its name, which may take the remediation roles.
func function(t *testing.T, like string) aws.Config {
	t.Helper()
	role := "firebreak-" + like + "-" + name("test")
	_, err := hub.IAM.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &role, AssumeRolePolicyDocument: aws.String(fmt.Sprintf(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::%s:root"},"Action":"sts:AssumeRole"}]}`, world.HubAccount))})
	check(t, err)
	_, err = hub.IAM.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: &role, PolicyName: aws.String("own"), PolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["sts:AssumeRole","sts:SetSourceIdentity"],"Resource":"*"}]}`)})
	check(t, err)
	return must(platform.Assume(t.Context(), platform.Config(world.HubAccount), &sts.AssumeRoleInput{
		RoleArn: aws.String("arn:aws:iam::" + world.HubAccount + ":role/" + role), RoleSessionName: aws.String("test"),
	}))(t)
}

func externalID(t *testing.T) string {
	return strings.TrimSpace(must(platform.Run(t.Context(), world.HubAccount, "scripts/deploy", "external-id"))(t))
}

// remediation is how a function takes one of the five roles.
func remediation(role, external string) *sts.AssumeRoleInput {
	return &sts.AssumeRoleInput{
		RoleArn:         aws.String("arn:aws:iam::" + world.MemberAccount + ":role/SecurityRemediationRole-" + role),
		RoleSessionName: aws.String("INC-AAAAAAAAAAAAAAAA"), SourceIdentity: aws.String("INC-AAAAAAAAAAAAAAAA"), ExternalId: &external,
	}
}

func TestRemediationRolesAreTakenByTheirFunctionsOnly(t *testing.T) {
	isolate, external := function(t, "isolate-instance"), externalID(t)
	if _, err := platform.Assume(t.Context(), isolate, remediation("Network", external)); err != nil {
		t.Fatalf("the function cannot take its own role: %v", err)
	}
	for what, c := range map[string]struct {
		cfg aws.Config
		in  *sts.AssumeRoleInput
	}{
		"a wrong ExternalId": {isolate, remediation("Network", strings.Repeat("A", len(external)))},
		"no ExternalId":      {isolate, func() *sts.AssumeRoleInput { in := remediation("Network", ""); in.ExternalId = nil; return in }()},
		"no source identity": {isolate, func() *sts.AssumeRoleInput {
			in := remediation("Network", external)
			in.SourceIdentity = nil
			return in
		}()},
		"a source identity of one's own": {isolate, func() *sts.AssumeRoleInput {
			in := remediation("Network", external)
			in.SourceIdentity = aws.String("me")
			return in
		}()},
		"a role that destroys":               {isolate, remediation("Destroy", external)},
		"a role of identities":               {isolate, remediation("Identity", external)},
		"the hub's root":                     {platform.Config(world.HubAccount), remediation("Network", external)},
		"a function that contains nothing":   {function(t, "notify"), remediation("Network", external)},
		"terminate-instance, to change keys": {function(t, "terminate-instance"), remediation("Identity", external)},
	} {
		_, err := platform.Assume(t.Context(), c.cfg, c.in)
		var api smithy.APIError
		if !errors.As(err, &api) || api.ErrorCode() != "AccessDenied" {
			t.Errorf("%s: %v, want AccessDenied", what, err)
		}
	}
}

func TestASessionPolicyNarrowsTheRole(t *testing.T) {
	i := instance(t)
	isolate, external := function(t, "isolate-instance"), externalID(t)
	call := func(policy string) error {
		in := remediation("Network", external)
		in.Policy = &policy
		cfg := must(platform.Assume(t.Context(), isolate, in))(t)
		groups := must(member.Groups(t.Context(), i.ID))(t)
		_, err := ec2.NewFromConfig(cfg).ModifyNetworkInterfaceAttribute(t.Context(), &ec2.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceId: &i.Interfaces[0], Groups: groups[i.Interfaces[0]]})
		return err
	}
	allow := func(action, resource string) string {
		return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":%q,"Resource":%q}]}`, action, resource)
	}
	if err := call(allow("ec2:ModifyNetworkInterfaceAttribute", "*")); err != nil {
		t.Errorf("with the right: %v", err)
	}
	for what, policy := range map[string]string{
		"another action":   allow("ec2:CreateSecurityGroup", "*"),
		"another resource": allow("ec2:ModifyNetworkInterfaceAttribute", "arn:aws:ec2:"+world.Region+":"+world.MemberAccount+":network-interface/eni-0aaaaaaaaaaaaaaaa"),
	} {
		var api smithy.APIError
		if err := call(policy); !errors.As(err, &api) || api.ErrorCode() != "UnauthorizedOperation" {
			t.Errorf("a session for %s: %v, want UnauthorizedOperation", what, err)
		}
	}
}

// The function itself with a wrong ExternalId: its step fails by name, and the instance is as it was.
func TestAFunctionWithAWrongExternalIDIsRefused(t *testing.T) {
	const name = "firebreak-deactivate-keys"
	conf := must(hub.Lambda.GetFunctionConfiguration(t.Context(), &lambda.GetFunctionConfigurationInput{FunctionName: aws.String(name)}))(t)
	variables := func(external string) *lambda.UpdateFunctionConfigurationInput {
		env := map[string]string{}
		for k, v := range conf.Environment.Variables {
			env[k] = v
		}
		env["EXTERNAL_ID"] = external
		return &lambda.UpdateFunctionConfigurationInput{FunctionName: aws.String(name), Environment: &types.Environment{Variables: env}}
	}
	was := conf.Environment.Variables["EXTERNAL_ID"]
	restore := func(ctx context.Context) error {
		_, err := hub.Lambda.UpdateFunctionConfiguration(ctx, variables(was))
		kill(name)
		return err
	}
	t.Cleanup(func() { check(t, restore(context.Background())) })
	must(hub.Lambda.UpdateFunctionConfiguration(t.Context(), variables(strings.Repeat("A", len(was)))))(t)
	kill(name)
	user, finding := misused(t)
	put(t, finding)
	asks(t, finding)
	decide(t, finding.Incident(), world.ToDestroy, "reject", user.Name, "alice")
	run := settle(t, finding)
	if run.Ending() != "NeedsPerson" || !strings.Contains(letter(t, world.Actions, finding.Incident()), "AssumeRole") {
		t.Errorf("with a wrong ExternalId: %s", show(run))
	}
	for key, status := range must(member.Keys(t.Context(), user.Name))(t) {
		if status != "Active" {
			t.Errorf("key %s is %s", key, status)
		}
	}
}

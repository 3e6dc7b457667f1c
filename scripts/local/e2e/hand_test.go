//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"firebreak/lib/finding"
	"firebreak/lib/incident"
	"firebreak/scripts/local/world"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

const (
	partner  = "333333333333"
	outsider = "444455556666"
)

// shared is a finding of Access Analyzer that somebody has access to a resource, and its incident.
func shared(t testing.TB, kind, resource, principal string) (world.Event, string) {
	t.Helper()
	e := sample(t, "access-analyzer-queue").Set(kind, "resourceType").Set(resource, "resource").Set(map[string]any{"AWS": principal}, "principal").Set(false, "isPublic")
	return e, incident.ID(finding.AccessAnalyzer, world.MemberAccount, world.Region, e.ID())
}

// trusting sets whom the installation trusts, for the time of the test.
func trusting(t testing.TB, value string) {
	t.Helper()
	parameter := aws.String("/firebreak/trusted")
	was := must(hub.SSM.GetParameter(t.Context(), &ssm.GetParameterInput{Name: parameter}))(t)
	set := func(ctx context.Context, value string) {
		_, err := hub.SSM.PutParameter(ctx, &ssm.PutParameterInput{Name: parameter, Value: &value, Type: ssmtypes.ParameterTypeString, Overwrite: aws.Bool(true)})
		check(t, err)
		for _, f := range []string{"firebreak-classify-finding", "firebreak-remove-external-access"} { // they keep settings for a minute
			kill(f)
			check(t, world.Until(ctx, 10*time.Second, "no worker of "+f, func(context.Context) (bool, error) { return len(platform.Workers(f)) == 0, nil }))
		}
	}
	t.Cleanup(func() { set(context.Background(), *was.Parameter.Value) })
	set(t.Context(), value)
}

// Outsiders lose their access, whoever is trusted keeps it, and what is about trusted people only is taken down.
func TestOutsidersLoseTheirAccess(t *testing.T) {
	trusting(t, `{"accounts":["`+partner+`"]}`)
	queues := sqs.NewFromConfig(platform.Config(world.MemberAccount))
	queue := name("clinic-intake")
	arn := fmt.Sprintf("arn:aws:sqs:%s:%s:%s", world.Region, world.MemberAccount, queue)
	policy := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Sid":"Shared","Effect":"Allow","Principal":{"AWS":["arn:aws:iam::%s:root","arn:aws:iam::%s:root"]},"Action":"sqs:SendMessage","Resource":%q}]}`, partner, outsider, arn)
	made := must(queues.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &queue, Attributes: map[string]string{"Policy": policy}}))(t)

	friend, id := shared(t, "AWS::SQS::Queue", arn, partner)
	put(t, friend)
	if run := settle(t, friend); run.Ending() != "Recorded" {
		t.Errorf("about a trusted account: %s", show(run))
	}
	if line := must(hub.Timeline(t.Context(), id))(t); len(line) != 1 || !strings.Contains(line[0].What+line[0].Why, "trusted") {
		t.Errorf("timeline %+v", line)
	}
	foe, id := shared(t, "AWS::SQS::Queue", arn, outsider)
	put(t, foe)
	if run := settle(t, foe); run.Ending() != "Contained" {
		explain(t, id)
		t.Fatalf("about an outsider: %s", show(run))
	}
	now := must(queues.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: made.QueueUrl, AttributeNames: []sqstypes.QueueAttributeName{"Policy"}}))(t).Attributes["Policy"]
	if strings.Contains(now, outsider) || !strings.Contains(now, partner) {
		t.Errorf("the policy is %s", now)
	}
}

// What Firebreak never writes is prepared for a person to the letter, told, and shown; whoever has done it closes the incident.
func TestWhatAPersonHasToDo(t *testing.T) {
	role := name("partner-access")
	trust := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Sid":"Own","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::%s:root"},"Action":"sts:AssumeRole"},{"Sid":"Them","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::%s:root"},"Action":"sts:AssumeRole"}]}`, world.MemberAccount, outsider)
	made := must(member.IAM.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &role, AssumeRolePolicyDocument: &trust}))(t)
	e, id := shared(t, "AWS::IAM::Role", *made.Role.Arn, outsider)
	put(t, e)
	if run := settle(t, e); run.Ending() != "NeedsPerson" || !strings.Contains(run.Cause, "aws iam update-assume-role-policy --role-name "+role) {
		explain(t, id)
		t.Fatalf("%s", show(run))
	}
	got := must(member.IAM.GetRole(t.Context(), &iam.GetRoleInput{RoleName: &role}))(t)
	if !strings.Contains(*got.Role.AssumeRolePolicyDocument, outsider) {
		t.Error("the role's trust was changed")
	}
	notices := must(hub.Notices(t.Context(), id+" in "+world.MemberAccount+": a person has to act"))(t)
	if len(notices) != 1 || !strings.Contains(notices[0].Text, "DOCUMENT is then: ") {
		t.Errorf("%d notices: %+v", len(notices), notices)
	}
	shown := must(platform.Run(t.Context(), world.HubAccount, "scripts/firebreak", "show", id))(t)
	_, hand, _ := strings.Cut(shown, "TO BE DONE BY HAND")
	_, rest, found := strings.Cut(hand, "DOCUMENT is then: ")
	line, _, _ := strings.Cut(rest, "\n")
	var doc struct{ Statement []struct{ Sid string } }
	if err := json.Unmarshal([]byte(line), &doc); !found || err != nil || len(doc.Statement) != 1 || doc.Statement[0].Sid != "Own" {
		t.Errorf("the edit that is shown: %s (%v)", line, err)
	}
	out := must(platform.Run(t.Context(), world.HubAccount, "scripts/firebreak", "close", id, "--why", "done by hand, CHG-12", "--yes"))(t)
	if !strings.Contains(out, id+" is closed") {
		t.Errorf("close says %s", out)
	}
	standing(t, id, incident.Closed, incident.EndNeedsPerson)
	all := must(hub.Timeline(t.Context(), id))(t)
	if last := all[len(all)-1]; last.State != "Close" || last.Why != "done by hand, CHG-12" || !strings.HasPrefix(last.Who, "arn:") {
		t.Errorf("on record is %+v", last)
	}
}

// The trail that a finding names is the organization's: whoever has it is told how to start it.
func TestTheOrganizationsTrailIsTold(t *testing.T) {
	const trail = "arn:aws:cloudtrail:eu-west-1:333333333333:trail/organization"
	e := sample(t, "guardduty-named-trail-stopped").Set(map[string]any{"AWS::CloudTrail::Trail": trail}, "service", "action", "awsApiCallAction", "affectedResources")
	put(t, e)
	if run := settle(t, e); run.Ending() != "NeedsPerson" || !strings.Contains(run.Cause, "aws cloudtrail start-logging --name "+trail+" --region eu-west-1") {
		t.Fatalf("%s", show(run))
	}
	if got := must(hub.Notices(t.Context(), e.Incident()+" in "+world.MemberAccount+": a person has to act"))(t); len(got) != 1 || !strings.Contains(got[0].Text, "aws cloudtrail start-logging --name "+trail) {
		t.Errorf("notices %+v", got)
	}
}

// A bucket that is tagged as a website asks, and nobody closes the incident under the hands of those who were asked.
func TestAWebsiteAsks(t *testing.T) {
	bucket, e := public(t)
	must(member.S3.PutBucketTagging(t.Context(), &s3.PutBucketTaggingInput{Bucket: &bucket, Tagging: &s3types.Tagging{TagSet: []s3types.Tag{{Key: aws.String("firebreak:website"), Value: aws.String("true")}}}}))(t)
	put(t, e)
	if run := settle(t, e); run.Ending() != "NeedsPerson" || !strings.Contains(run.Cause, "firebreak:website=true") {
		t.Fatalf("%s", show(run))
	}
	if on := must(member.Blocked(t.Context(), bucket))(t); on != 0 {
		t.Errorf("%d flags are on", on)
	}
	must(hub.Asked(t.Context(), e.Incident(), 1))(t)
	if out, err := platform.Run(t.Context(), world.HubAccount, "scripts/firebreak", "close", e.Incident(), "--why", "done", "--yes"); err == nil {
		t.Errorf("closed while people are asked: %s", out)
	}
	must(platform.Run(t.Context(), world.HubAccount, "scripts/firebreak", "cancel", e.Incident(), "--why", "it is our website"))(t)
	must(platform.Run(t.Context(), world.HubAccount, "scripts/firebreak", "close", e.Incident(), "--why", "it is our website", "--yes"))(t)
	standing(t, e.Incident(), incident.Closed, incident.EndNeedsPerson)
}

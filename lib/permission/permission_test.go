package permission

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecide(t *testing.T) {
	statements := []Statement{
		{Sid: "Read", Allow: true, Actions: []string{"s3:GetObject"}, Resources: []string{"arn:aws:s3:::clinic/*"}},
		{Sid: "Own", Actions: []string{"s3:GetObject", "s3:PutObject"}, Resources: []string{"arn:aws:s3:::clinic/firebreak-*"}},
		{Sid: "Tagged", Allow: true, Actions: []string{"ec2:CreateTags"}, Resources: []string{"*"}, Condition: map[string]map[string][]string{"StringEquals": {"ec2:CreateAction": {"CreateSnapshots", "CopySnapshot"}}}},
		{Sid: "Fence", Actions: []string{"iam:DeleteRole"}, Resources: []string{"*"}, Condition: map[string]map[string][]string{"ArnNotLike": {"aws:PrincipalArn": {"arn:aws:iam::*:role/keeper"}}}},
		{Sid: "Keeper", Allow: true, Actions: []string{"iam:DeleteRole"}, Resources: []string{"*"}},
	}
	for _, c := range []struct {
		action, resource string
		context          map[string][]string
		want             Decision
	}{
		{"s3:GetObject", "arn:aws:s3:::clinic/a/b", map[string][]string{}, Allowed},
		{"s3:getobject", "arn:aws:s3:::clinic/a", map[string][]string{}, Allowed},
		{"s3:GetObject", "arn:aws:s3:::clinic/firebreak-a", map[string][]string{}, Denied},
		{"s3:GetObject", "arn:aws:s3:::other/a", map[string][]string{}, Silent},
		{"s3:PutObject", "arn:aws:s3:::clinic/a", map[string][]string{}, Silent},
		{"ec2:CreateTags", "arn:aws:ec2:us-east-1::snapshot/snap-1", map[string][]string{"ec2:CreateAction": {"CopySnapshot"}}, Allowed},
		{"ec2:CreateTags", "arn:aws:ec2:us-east-1::snapshot/snap-1", map[string][]string{"ec2:CreateAction": {"RunInstances"}}, Silent},
		{"ec2:CreateTags", "arn:aws:ec2:us-east-1::snapshot/snap-1", map[string][]string{}, Silent},
		{"ec2:CreateTags", "arn:aws:ec2:us-east-1::snapshot/snap-1", nil, Allowed},
		{"iam:DeleteRole", "arn:aws:iam::222222222222:role/x", map[string][]string{"aws:PrincipalArn": {"arn:aws:iam::222222222222:role/keeper"}}, Allowed},
		{"iam:DeleteRole", "arn:aws:iam::222222222222:role/x", map[string][]string{"aws:PrincipalArn": {"arn:aws:iam::222222222222:role/admin"}}, Denied},
	} {
		if got := Decide(statements, Request{c.action, c.resource, c.context}); got != c.want {
			t.Errorf("%s on %s with %v: %s, want %s", c.action, c.resource, c.context, got, c.want)
		}
	}
	if left := Granted(Less(statements, "s3:GetObject")); !cmp.Equal(left, []string{"ec2:CreateTags", "iam:DeleteRole"}) {
		t.Errorf("without s3:GetObject it grants %v", left)
	}
}

func TestATemplateIsResolved(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.yaml")
	err := os.WriteFile(file, []byte(`Conditions:
  HasOther: !Not [!Equals [!Ref Other, '']]
Resources:
  Queue: {Type: AWS::SQS::Queue, Properties: {QueueName: !Sub 'letters-${AWS::Region}'}}
  Gone: {Type: AWS::SNS::Topic, Condition: HasOther}
  Role:
    Type: AWS::IAM::Role
    Properties:
      RoleName: one
      Policies:
        - PolicyDocument:
            Statement:
              - {Sid: Send, Effect: Allow, Action: sqs:SendMessage, Resource: [!GetAtt Queue.Arn, !If [HasOther, other, !Ref AWS::NoValue]]}
              - Fn::If: [HasOther, {Sid: No, Effect: Allow, Action: a:B, Resource: '*'}, !Ref AWS::NoValue]
`), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	tpl, err := Read(file, map[string]string{"AWS::Region": "us-east-1", "AWS::AccountId": "111111111111", "AWS::Partition": "aws", "Other": ""})
	if err != nil {
		t.Fatal(err)
	}
	want := []Statement{{Sid: "Send", Allow: true, Actions: []string{"sqs:SendMessage"}, Resources: []string{"arn:aws:sqs:us-east-1:111111111111:letters-us-east-1"}, Condition: map[string]map[string][]string{}}}
	if diff := cmp.Diff(want, tpl.Resources("AWS::IAM::Role")[0].Statements("Policies")); diff != "" {
		t.Error(diff)
	}
	if n := len(tpl.Resources("")); n != 2 {
		t.Errorf("%d resources", n)
	}
}

func TestCodeTellsItsCalls(t *testing.T) {
	code, err := Parse("../..", "functions/preserve-evidence")
	if err != nil {
		t.Fatal(err)
	}
	takes, err := code.Takes()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]Method{
		"Read":     {{"ec2", "DescribeSnapshots"}},
		"Data":     {{"ec2", "CopySnapshot"}, {"ec2", "ModifySnapshotAttribute"}},
		"Evidence": {{"ec2", "CopySnapshot"}, {"ec2", "DescribeSnapshots"}, {"ec2", "LockSnapshot"}},
	}
	if diff := cmp.Diff(want, takes); diff != "" {
		t.Error(diff)
	}
	sweep, err := Parse("../..", "functions/sweep")
	if err != nil {
		t.Fatal(err)
	}
	all, err := sweep.Interfaces()
	if err != nil || !cmp.Equal(all["machines"], []Method{{"sfn", "SendTaskSuccess"}, {"sfn", "StartExecution"}, {"sfn", "DescribeExecution"}}) {
		t.Errorf("machines %v, %v", all["machines"], err)
	}
	if got := slices.Sorted(slices.Values(sweep.Clients())); !cmp.Equal(got, []string{"lambda", "secretsmanager", "sfn", "sns"}) {
		t.Errorf("clients %v", got)
	}
}

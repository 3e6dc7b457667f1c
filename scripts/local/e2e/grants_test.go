//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/scripts/local/world"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// step asks the deployed function of an action for one step, with the role that it has here: to look, to apply, to undo.
func step(t *testing.T, mode incident.Mode, id, action, target string, with map[string]string) incident.Result {
	t.Helper()
	s := incident.Step{Action: action, Target: target, With: with}
	now := time.Now().UTC()
	meta, err := ledger.Update(t.Context(), hub.Store, ledger.IncidentKey(id), func(it *ledger.Item[ledger.Incident]) error {
		if !it.Exists() {
			it.Value = ledger.Incident{
				ID: id, Status: incident.Open, Episode: 1, Band: incident.High, FirstSeen: now, LastSeen: now, Seen: now,
				Finding: ledger.Finding{Product: "aws/guardduty", Account: world.MemberAccount, Region: world.Region},
				Plan:    incident.Plan{Contain: []incident.Step{s}},
			}
		}
		return nil
	})
	check(t, err)
	out, err := hub.Invoke(t.Context(), "firebreak-"+action, incident.Request{
		Mode: mode, Incident: meta.Value.Ref(), Step: s, State: incident.State{Name: "Test"}, Why: "a test",
		Execution: incident.Execution{ARN: "arn:aws:states:" + world.Region + ":" + world.HubAccount + ":execution:firebreak-respond:" + id, Start: now},
	})
	check(t, err)
	var res incident.Result
	check(t, json.Unmarshal(out, &res))
	return res
}

// Each action does and undoes its work with the rights of its own function and of the roles that it takes, on each kind of thing that it
// knows: with one right less it would not (cloudformation holds this run's decisions against the policies).
func TestEveryActionHasTheRightsItNeeds(t *testing.T) {
	ctx, cfg := t.Context(), platform.Config(world.MemberAccount)
	const them = "444455556666"
	own := fmt.Sprintf(`{"Sid":"Owner","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::%s:root"},"Action":"ACTION","Resource":"ARN"}`, world.MemberAccount)
	theirs := fmt.Sprintf(`{"Sid":"Them","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::%s:root"},"Action":"ACTION","Resource":"ARN"}`, them)
	policy := func(action, arn string, statements ...string) *string {
		return aws.String(strings.NewReplacer("ACTION", action, "ARN", arn).Replace(`{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`))
	}
	queues, topics, keys, secrets := sqs.NewFromConfig(cfg), sns.NewFromConfig(cfg), kms.NewFromConfig(cfg), secretsmanager.NewFromConfig(cfg)
	key := must(keys.CreateKey(ctx, &kms.CreateKeyInput{}))(t).KeyMetadata
	outsider := map[string]string{"principal": them}

	for what, c := range map[string]struct {
		action string
		make   func(t *testing.T, name string) (target string)
		with   map[string]string
		undo   bool
	}{
		"a bucket's encryption": {"encrypt-bucket", func(t *testing.T, name string) string {
			check(t, member.Bucket(ctx, name))
			return "arn:aws:s3:::" + name
		}, map[string]string{"key": *key.Arn}, true},
		"a bucket's policy": {"remove-external-access", func(t *testing.T, name string) string {
			check(t, member.Bucket(ctx, name))
			must(member.S3.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &name, Policy: policy("s3:GetObject", "arn:aws:s3:::"+name+"/*", own, theirs)}))(t)
			return "arn:aws:s3:::" + name
		}, outsider, true},
		"a bucket's only statement": {"remove-external-access", func(t *testing.T, name string) string {
			check(t, member.Bucket(ctx, name))
			must(member.S3.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &name, Policy: policy("s3:GetObject", "arn:aws:s3:::"+name+"/*", theirs)}))(t)
			return "arn:aws:s3:::" + name
		}, outsider, true},
		"a queue's policy": {"remove-external-access", func(t *testing.T, name string) string {
			arn := "arn:aws:sqs:" + world.Region + ":" + world.MemberAccount + ":" + name
			must(queues.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name, Attributes: map[string]string{"Policy": *policy("sqs:SendMessage", arn, own, theirs)}}))(t)
			return arn
		}, outsider, true},
		"a topic's policy": {"remove-external-access", func(t *testing.T, name string) string {
			arn := must(topics.CreateTopic(ctx, &sns.CreateTopicInput{Name: &name}))(t).TopicArn
			must(topics.SetTopicAttributes(ctx, &sns.SetTopicAttributesInput{TopicArn: arn, AttributeName: aws.String("Policy"), AttributeValue: policy("sns:Publish", *arn, own, theirs)}))(t)
			return *arn
		}, outsider, true},
		"a snapshot": {"remove-external-access", func(t *testing.T, _ string) string {
			volume := must(member.EC2.CreateVolume(ctx, &ec2.CreateVolumeInput{AvailabilityZone: aws.String(world.Region + "a"), Size: aws.Int32(1)}))(t)
			snapshot := must(member.EC2.CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId}))(t)
			must(member.EC2.ModifySnapshotAttribute(ctx, &ec2.ModifySnapshotAttributeInput{SnapshotId: snapshot.SnapshotId, CreateVolumePermission: &ec2types.CreateVolumePermissionModifications{Add: []ec2types.CreateVolumePermission{{UserId: aws.String(them)}}}}))(t)
			return "arn:aws:ec2:" + world.Region + "::snapshot/" + *snapshot.SnapshotId
		}, outsider, false}, // the engine shares snapshots with nobody
		"an image": {"remove-external-access", func(t *testing.T, name string) string {
			image := must(member.EC2.RegisterImage(ctx, &ec2.RegisterImageInput{Name: &name}))(t)
			must(member.EC2.ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{ImageId: image.ImageId, LaunchPermission: &ec2types.LaunchPermissionModifications{Add: []ec2types.LaunchPermission{{UserId: aws.String(them)}}}}))(t)
			return "arn:aws:ec2:" + world.Region + "::image/" + *image.ImageId
		}, outsider, true},
		"a key, which people have to change": {"remove-external-access", func(t *testing.T, _ string) string { return *key.Arn }, outsider, false},
		"a secret, which people have to change": {"remove-external-access", func(t *testing.T, name string) string {
			secret := must(secrets.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String("x")}))(t)
			must(secrets.PutResourcePolicy(ctx, &secretsmanager.PutResourcePolicyInput{SecretId: secret.ARN, ResourcePolicy: policy("secretsmanager:GetSecretValue", "*", own, theirs)}))(t)
			return *secret.ARN
		}, outsider, false},
		"a role, which people have to change": {"remove-external-access", func(t *testing.T, name string) string {
			return *must(member.IAM.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(strings.Replace(*policy("sts:AssumeRole", "", theirs), `,"Resource":""`, "", 1))}))(t).Role.Arn
		}, outsider, false},
		"a trail": {"restart-trail", func(t *testing.T, name string) string {
			check(t, member.Bucket(ctx, name))
			trails := cloudtrail.NewFromConfig(cfg)
			made := must(trails.CreateTrail(ctx, &cloudtrail.CreateTrailInput{Name: &name, S3BucketName: &name}))(t)
			must(trails.StopLogging(ctx, &cloudtrail.StopLoggingInput{Name: made.TrailARN}))(t)
			return *made.TrailARN
		}, nil, false},
		"a group's rules": {"revoke-ingress", func(t *testing.T, name string) string {
			vpcs := must(member.EC2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{}))(t)
			list := must(member.EC2.CreateManagedPrefixList(ctx, &ec2.CreateManagedPrefixListInput{PrefixListName: &name, AddressFamily: aws.String("IPv4"), MaxEntries: aws.Int32(5), Entries: []ec2types.AddPrefixListEntry{{Cidr: aws.String("0.0.0.0/0")}}}))(t)
			group := must(member.EC2.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: &name, Description: &name, VpcId: vpcs.Vpcs[0].VpcId}))(t)
			open := ec2types.IpPermission{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(22), ToPort: aws.Int32(22), IpRanges: []ec2types.IpRange{{CidrIp: aws.String("0.0.0.0/0"), Description: aws.String("for the vendor")}}}
			listed := ec2types.IpPermission{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(3389), ToPort: aws.Int32(3389), PrefixListIds: []ec2types.PrefixListId{{PrefixListId: list.PrefixList.PrefixListId}}}
			for _, p := range []ec2types.IpPermission{open, listed} {
				must(member.EC2.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: group.GroupId, IpPermissions: []ec2types.IpPermission{p}, TagSpecifications: []ec2types.TagSpecification{
					{ResourceType: ec2types.ResourceTypeSecurityGroupRule, Tags: []ec2types.Tag{{Key: aws.String("owner"), Value: aws.String("clinic")}}}}}))(t)
			}
			return "arn:aws:ec2:" + world.Region + ":" + world.MemberAccount + ":security-group/" + *group.GroupId
		}, nil, true},
		"a role": {"quarantine-principal", func(t *testing.T, name string) string {
			must(member.Role(ctx, name))(t)
			return "arn:aws:iam::" + world.MemberAccount + ":role/" + name
		}, nil, true},
		"a role without room": {"quarantine-principal", func(t *testing.T, name string) string {
			must(member.Role(ctx, name))(t)
			for n := range 10 {
				made := must(member.IAM.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String(fmt.Sprintf("%s-%d", name, n)), PolicyDocument: policy("s3:GetObject", "*", `{"Effect":"Allow","Action":"ACTION","Resource":"ARN"}`)}))(t)
				must(member.IAM.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: &name, PolicyArn: made.Policy.Arn}))(t)
			}
			return "arn:aws:iam::" + world.MemberAccount + ":role/" + name
		}, nil, true},
		"a user": {"quarantine-principal", func(t *testing.T, name string) string { return must(member.User(ctx, name))(t).ARN }, nil, true},
		"a user without room": {"quarantine-principal", func(t *testing.T, name string) string {
			user := must(member.User(ctx, name))(t)
			for n := range 10 {
				made := must(member.IAM.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String(fmt.Sprintf("%s-%d", name, n)), PolicyDocument: policy("s3:GetObject", "*", `{"Effect":"Allow","Action":"ACTION","Resource":"ARN"}`)}))(t)
				must(member.IAM.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: &name, PolicyArn: made.Policy.Arn}))(t)
			}
			return user.ARN
		}, nil, true},
		"an instance of a group, behind a balancer": {"isolate-instance", placed, nil, true},
	} {
		t.Run(what, func(t *testing.T) {
			target, id := c.make(t, name("rights")), "INC-"+strings.ToUpper(strings.NewReplacer("0", "A", "1", "B", "8", "C", "9", "D", "-", "E").Replace(fmt.Sprintf("%016x", time.Now().UnixNano())))[:16]
			if got := step(t, incident.Look, id, c.action, target, c.with); got.Outcome != incident.Planned && got.Outcome != incident.Refused && got.Outcome != incident.Already {
				t.Errorf("it would come to %s (%s)", got.Outcome, got.Reason)
			}
			got := step(t, incident.Apply, id, c.action, target, c.with)
			t.Log(got.Outcome, got.Reason, got.Changes)
			if !c.undo {
				return
			}
			if got.Outcome != incident.Applied {
				t.Fatalf("applied: %s (%s)", got.Outcome, got.Reason)
			}
			if got := step(t, incident.Undo, id, c.action, target, c.with); got.Outcome != incident.Restored {
				t.Errorf("undone: %s (%s)", got.Outcome, got.Reason)
			}
		})
	}
}

// placed is an instance of an Auto Scaling group that has room, behind a target group. (The engine checks classic balancers against "*".)
func placed(t *testing.T, name string) string {
	ctx, cfg := t.Context(), platform.Config(world.MemberAccount)
	machines, scaler, balancer := member.EC2, autoscaling.NewFromConfig(cfg), elb.NewFromConfig(cfg)
	subnets := must(machines.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{}))(t)
	image := must(machines.RegisterImage(ctx, &ec2.RegisterImageInput{Name: &name, RootDeviceName: aws.String("/dev/sda1")}))(t)
	must(scaler.CreateLaunchConfiguration(ctx, &autoscaling.CreateLaunchConfigurationInput{LaunchConfigurationName: &name, ImageId: image.ImageId, InstanceType: aws.String("t3.micro")}))(t)
	group := must(balancer.CreateTargetGroup(ctx, &elb.CreateTargetGroupInput{Name: &name, Protocol: elbtypes.ProtocolEnumHttp, Port: aws.Int32(80), VpcId: subnets.Subnets[0].VpcId, TargetType: elbtypes.TargetTypeEnumInstance}))(t)
	arn := group.TargetGroups[0].TargetGroupArn
	must(scaler.CreateAutoScalingGroup(ctx, &autoscaling.CreateAutoScalingGroupInput{AutoScalingGroupName: &name, LaunchConfigurationName: &name, MinSize: aws.Int32(1), MaxSize: aws.Int32(4), DesiredCapacity: aws.Int32(2),
		VPCZoneIdentifier: subnets.Subnets[0].SubnetId, TargetGroupARNs: []string{*arn}}))(t)
	made := must(scaler.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{name}}))(t)
	id := made.AutoScalingGroups[0].Instances[0].InstanceId
	t.Cleanup(func() {
		_, _ = scaler.DeleteAutoScalingGroup(context.Background(), &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: &name, ForceDelete: aws.Bool(true)})
	})
	return "arn:aws:ec2:" + world.Region + ":" + world.MemberAccount + ":instance/" + *id
}

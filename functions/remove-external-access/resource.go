package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/bucket"
	"firebreak/lib/fault"
	"firebreak/lib/instance"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// kind is a kind of resource that can let outsiders in.
type kind struct {
	// looks and changes are the IAM actions on the resource.
	looks, changes []string
	// document reads the policy, "" where there is none; nil for what is shared by a list. Errors: ErrGone.
	document func(context.Context, reads, action.Call) (string, error)
	// put writes the policy, "" to have none; nil where people have to.
	put func(context.Context, changes, action.Call, string) error
	// command is how people make the edit; of what people have to write.
	command func(action.Call, edit) string
	// tags reads the resource's tags; nil where nothing is ever changed. Errors: ErrGone.
	tags func(context.Context, reads, action.Call) (map[string]string, error)
	// shared reads with whom it is shared. Errors: ErrGone.
	shared func(context.Context, reads, action.Call) ([]string, error)
	// share shares it, or ends that.
	share func(ctx context.Context, api changes, c action.Call, add, remove []string) error
}

// kindOf tells what the target is. Errors: BadInput; a refusal for what no edit can be prepared for.
func kindOf(c action.Call) (kind, error) {
	t := c.Target
	head, _, _ := strings.Cut(t.Resource, "/")
	part, _, _ := strings.Cut(t.Resource, ":")
	switch {
	case t.Service == "s3" && !strings.ContainsAny(t.Resource, "/:*?"):
		return buckets, nil
	case t.Service == "sqs" && !strings.ContainsAny(t.Resource, "/:"):
		return queues, nil
	case t.Service == "sns" && !strings.ContainsAny(t.Resource, "/:"):
		return topics, nil
	case t.Service == "ec2" && head == "snapshot":
		return snapshots, nil
	case t.Service == "ec2" && head == "image":
		return images, nil
	case t.Service == "kms" && head == "key":
		return keys, nil
	case t.Service == "secretsmanager" && part == "secret":
		return secrets, nil
	case t.Service == "lambda" && part == "function":
		return functions, nil
	case t.Service == "iam" && head == "role":
		return roles, nil
	}
	return kind{}, action.Refuse("%s lets %s in, and Firebreak does not know how resources of %s do that: take it out by hand", t.ARN, c.With["principal"], t.Service)
}

// resource is what sessions are narrowed to: snapshots and images carry no account in their ARN.
func resource(c action.Call) string {
	if head, id, ok := strings.Cut(c.Target.Resource, "/"); ok && c.Target.Service == "ec2" {
		return instance.ARN(c.Target, head, id)
	}
	return c.Target.ARN
}

// described reads the tags of a snapshot or an image; one that does not exist has none.
func described(ctx context.Context, api reads, c action.Call) (map[string]string, error) {
	tags := map[string]string{}
	for pages := ec2.NewDescribeTagsPaginator(api, &ec2.DescribeTagsInput{Filters: []types.Filter{{Name: aws.String("resource-id"), Values: []string{c.Target.Name()}}}}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("read the tags of %s: %w", c.Target.ARN, err)
		}
		for _, t := range page.Tags {
			tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
		}
	}
	return tags, nil
}

// looking are the statements of a session that looks.
func looking(c action.Call) []account.Statement {
	k, _ := kindOf(c) // what is of none has been refused before a session is taken
	all := []account.Statement{{Actions: k.looks, Resources: []string{resource(c)}}}
	if c.Target.Service == "s3" {
		all = append(all, account.Statement{Actions: []string{"s3:ListAccessPoints"}, Resources: []string{"*"}}, // no resource level
			account.Statement{Actions: []string{"s3:GetAccessPointPolicy"}, Resources: []string{fmt.Sprintf("arn:%s:s3:%s:%s:accesspoint/*", c.Target.Partition, c.Target.Region, c.Target.Account)}})
	}
	if c.Target.Service == "ec2" {
		all = append(all, account.Statement{Actions: []string{"ec2:DescribeTags"}, Resources: []string{"*"}}) // no resource level
	}
	return all
}

// changing are those of one that changes.
func changing(c action.Call) []account.Statement {
	k, _ := kindOf(c)
	return []account.Statement{{Actions: k.changes, Resources: []string{resource(c)}}}
}

// gone makes action.ErrGone of an answer with one of these codes and says what was being done otherwise.
func gone(err error, c action.Call, doing string, codes ...string) error {
	if err == nil {
		return nil
	}
	if slices.Contains(codes, instance.Code(err)) {
		return action.ErrGone
	}
	return fmt.Errorf("%s of %s: %w", doing, c.Target.ARN, err)
}

var buckets = kind{
	looks:   []string{"s3:GetBucketPolicy", "s3:GetBucketAcl", "s3:GetBucketPublicAccessBlock", "s3:GetBucketTagging"},
	changes: []string{"s3:PutBucketPolicy", "s3:DeleteBucketPolicy"},
	tags: func(ctx context.Context, api reads, c action.Call) (map[string]string, error) {
		return bucket.Tags(ctx, api, c.Target)
	},
	document: func(ctx context.Context, api reads, c action.Call) (string, error) {
		out, err := api.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: &c.Target.Resource, ExpectedBucketOwner: &c.Target.Account})
		if bucket.Answered(err, "NoSuchBucketPolicy") {
			return "", nil
		}
		if err != nil {
			return "", gone(err, c, "read the policy", "NoSuchBucket")
		}
		return aws.ToString(out.Policy), nil
	},
	put: func(ctx context.Context, api changes, c action.Call, doc string) error {
		if doc == "" {
			_, err := api.DeleteBucketPolicy(ctx, &s3.DeleteBucketPolicyInput{Bucket: &c.Target.Resource, ExpectedBucketOwner: &c.Target.Account})
			return gone(err, c, "remove the policy", "NoSuchBucket")
		}
		_, err := api.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &c.Target.Resource, ExpectedBucketOwner: &c.Target.Account, Policy: &doc})
		if _, list, _ := parse(doc); fault.Is(err, fault.Denied) && slices.ContainsFunc(list, public) {
			return fmt.Errorf("write the policy of %s (a public one is not taken while block-public-access holds the bucket: release that first): %w", c.Target.ARN, err)
		}
		return gone(err, c, "write the policy", "NoSuchBucket")
	},
}

const noQueue = "AWS.SimpleQueueService.NonExistentQueue"

var queues = kind{
	looks:   []string{"sqs:GetQueueUrl", "sqs:GetQueueAttributes", "sqs:ListQueueTags"},
	changes: []string{"sqs:GetQueueUrl", "sqs:SetQueueAttributes"},
	tags: func(ctx context.Context, api reads, c action.Call) (map[string]string, error) {
		url, err := queue(ctx, api, c)
		if err != nil {
			return nil, err
		}
		out, err := api.ListQueueTags(ctx, &sqs.ListQueueTagsInput{QueueUrl: &url})
		if err != nil {
			return nil, gone(err, c, "read the tags", noQueue, "QueueDoesNotExist")
		}
		return out.Tags, nil
	},
	document: func(ctx context.Context, api reads, c action.Call) (string, error) {
		url, err := queue(ctx, api, c)
		if err != nil {
			return "", err
		}
		out, err := api.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &url, AttributeNames: []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNamePolicy}})
		if err != nil {
			return "", gone(err, c, "read the policy", noQueue, "QueueDoesNotExist")
		}
		return out.Attributes[string(sqstypes.QueueAttributeNamePolicy)], nil
	},
	put: func(ctx context.Context, api changes, c action.Call, doc string) error {
		url, err := queue(ctx, api, c)
		if err != nil {
			return err
		}
		_, err = api.SetQueueAttributes(ctx, &sqs.SetQueueAttributesInput{QueueUrl: &url, Attributes: map[string]string{string(sqstypes.QueueAttributeNamePolicy): doc}})
		return gone(err, c, "write the policy", noQueue, "QueueDoesNotExist")
	},
}

// queueAPI finds a queue's address.
type queueAPI interface {
	GetQueueUrl(context.Context, *sqs.GetQueueUrlInput, ...func(*sqs.Options)) (*sqs.GetQueueUrlOutput, error)
}

func queue(ctx context.Context, api queueAPI, c action.Call) (string, error) {
	out, err := api.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &c.Target.Resource, QueueOwnerAWSAccountId: &c.Target.Account})
	if err != nil {
		return "", gone(err, c, "find the address", noQueue, "QueueDoesNotExist")
	}
	return aws.ToString(out.QueueUrl), nil
}

var topics = kind{
	looks:   []string{"sns:GetTopicAttributes", "sns:ListTagsForResource"},
	changes: []string{"sns:SetTopicAttributes"},
	tags: func(ctx context.Context, api reads, c action.Call) (map[string]string, error) {
		out, err := api.ListTagsForResource(ctx, &sns.ListTagsForResourceInput{ResourceArn: &c.Target.ARN})
		if err != nil {
			return nil, gone(err, c, "read the tags", "NotFound", "NotFoundException", "ResourceNotFound", "ResourceNotFoundException")
		}
		tags := map[string]string{}
		for _, t := range out.Tags {
			tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
		}
		return tags, nil
	},
	document: func(ctx context.Context, api reads, c action.Call) (string, error) {
		out, err := api.GetTopicAttributes(ctx, &sns.GetTopicAttributesInput{TopicArn: &c.Target.ARN})
		if err != nil {
			return "", gone(err, c, "read the policy", "NotFound", "NotFoundException")
		}
		return out.Attributes["Policy"], nil
	},
	put: func(ctx context.Context, api changes, c action.Call, doc string) error {
		if doc == "" {
			doc = owners(c) // a topic always has a policy
		}
		_, err := api.SetTopicAttributes(ctx, &sns.SetTopicAttributesInput{TopicArn: &c.Target.ARN, AttributeName: aws.String("Policy"), AttributeValue: &doc})
		return gone(err, c, "write the policy", "NotFound", "NotFoundException")
	},
}

// owners is a topic's policy for its own account alone.
func owners(c action.Call) string {
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Sid":"Owner","Effect":"Allow","Principal":{"AWS":"arn:%s:iam::%s:root"},"Action":["SNS:AddPermission","SNS:DeleteTopic","SNS:GetTopicAttributes","SNS:ListSubscriptionsByTopic","SNS:Publish","SNS:RemovePermission","SNS:SetTopicAttributes","SNS:Subscribe"],"Resource":%q}]}`,
		c.Target.Partition, c.Target.Account, c.Target.ARN)
}

// everyone is the group that stands for everybody where something is shared by a list.
const everyone = "all"

var snapshots = kind{
	looks:   []string{"ec2:DescribeSnapshotAttribute"},
	changes: []string{"ec2:ModifySnapshotAttribute"},
	tags:    described,
	shared: func(ctx context.Context, api reads, c action.Call) ([]string, error) {
		out, err := api.DescribeSnapshotAttribute(ctx, &ec2.DescribeSnapshotAttributeInput{SnapshotId: aws.String(c.Target.Name()), Attribute: types.SnapshotAttributeNameCreateVolumePermission})
		if err != nil {
			return nil, gone(err, c, "read the sharing", "InvalidSnapshot.NotFound")
		}
		var list []string
		for _, p := range out.CreateVolumePermissions {
			list = append(list, string(p.Group)+aws.ToString(p.UserId))
		}
		return list, nil
	},
	share: func(ctx context.Context, api changes, c action.Call, add, remove []string) error {
		permissions := func(list []string) (out []types.CreateVolumePermission) {
			for _, who := range list {
				if who == everyone {
					out = append(out, types.CreateVolumePermission{Group: types.PermissionGroupAll})
				} else {
					out = append(out, types.CreateVolumePermission{UserId: &who})
				}
			}
			return out
		}
		_, err := api.ModifySnapshotAttribute(ctx, &ec2.ModifySnapshotAttributeInput{
			SnapshotId: aws.String(c.Target.Name()), Attribute: types.SnapshotAttributeNameCreateVolumePermission,
			CreateVolumePermission: &types.CreateVolumePermissionModifications{Add: permissions(add), Remove: permissions(remove)},
		})
		return gone(err, c, "change the sharing", "InvalidSnapshot.NotFound")
	},
}

var images = kind{
	looks:   []string{"ec2:DescribeImageAttribute"},
	changes: []string{"ec2:ModifyImageAttribute"},
	tags:    described,
	shared: func(ctx context.Context, api reads, c action.Call) ([]string, error) {
		out, err := api.DescribeImageAttribute(ctx, &ec2.DescribeImageAttributeInput{ImageId: aws.String(c.Target.Name()), Attribute: types.ImageAttributeNameLaunchPermission})
		if err != nil {
			return nil, gone(err, c, "read the sharing", "InvalidAMIID.NotFound", "InvalidAMIID.Unavailable")
		}
		var list []string
		for _, p := range out.LaunchPermissions {
			list = append(list, string(p.Group)+aws.ToString(p.UserId)+aws.ToString(p.OrganizationArn)+aws.ToString(p.OrganizationalUnitArn))
		}
		return list, nil
	},
	share: func(ctx context.Context, api changes, c action.Call, add, remove []string) error {
		permissions := func(list []string) (out []types.LaunchPermission) {
			for _, who := range list {
				switch {
				case who == everyone:
					out = append(out, types.LaunchPermission{Group: types.PermissionGroupAll})
				case strings.Contains(who, ":ou/"):
					out = append(out, types.LaunchPermission{OrganizationalUnitArn: &who})
				case strings.Contains(who, ":organization/"):
					out = append(out, types.LaunchPermission{OrganizationArn: &who})
				default:
					out = append(out, types.LaunchPermission{UserId: &who})
				}
			}
			return out
		}
		_, err := api.ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{
			ImageId: aws.String(c.Target.Name()), Attribute: aws.String("launchPermission"),
			LaunchPermission: &types.LaunchPermissionModifications{Add: permissions(add), Remove: permissions(remove)},
		})
		return gone(err, c, "change the sharing", "InvalidAMIID.NotFound", "InvalidAMIID.Unavailable")
	},
}

// A key, a secret, a function or a role that lets an outsider in may do so for what the company lives by, and its policy is
// all that lets its own account in: people decide.
var (
	keys = kind{
		looks: []string{"kms:GetKeyPolicy", "kms:ListGrants"},
		document: func(ctx context.Context, api reads, c action.Call) (string, error) {
			out, err := api.GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: &c.Target.ARN, PolicyName: aws.String("default")})
			if err != nil {
				return "", gone(err, c, "read the policy", "NotFoundException")
			}
			return aws.ToString(out.Policy), nil
		},
		command: func(c action.Call, _ edit) string {
			return fmt.Sprintf("aws kms put-key-policy --region %s --key-id %s --policy-name default --policy DOCUMENT (and look at aws kms list-grants too)", c.Target.Region, c.Target.ARN)
		},
	}
	secrets = kind{
		looks: []string{"secretsmanager:GetResourcePolicy"},
		document: func(ctx context.Context, api reads, c action.Call) (string, error) {
			out, err := api.GetResourcePolicy(ctx, &secretsmanager.GetResourcePolicyInput{SecretId: &c.Target.ARN})
			if err != nil {
				return "", gone(err, c, "read the policy", "ResourceNotFoundException")
			}
			return aws.ToString(out.ResourcePolicy), nil
		},
		command: func(c action.Call, _ edit) string {
			return fmt.Sprintf("aws secretsmanager put-resource-policy --region %s --secret-id %s --resource-policy DOCUMENT", c.Target.Region, c.Target.ARN)
		},
	}
	functions = kind{
		looks: []string{"lambda:GetPolicy"},
		document: func(ctx context.Context, api reads, c action.Call) (string, error) {
			out, err := api.GetPolicy(ctx, &lambda.GetPolicyInput{FunctionName: &c.Target.ARN})
			if instance.Code(err) == "ResourceNotFoundException" {
				return "", nil // no policy, or no function: nobody is let in either way
			}
			if err != nil {
				return "", gone(err, c, "read the policy")
			}
			return aws.ToString(out.Policy), nil
		},
		command: func(c action.Call, e edit) string {
			var all []string
			for _, sid := range e.sids {
				all = append(all, fmt.Sprintf("aws lambda remove-permission --region %s --function-name %s --statement-id %s", c.Target.Region, c.Target.ARN, sid))
			}
			return strings.Join(all, " && ")
		},
	}
	roles = kind{
		looks: []string{"iam:GetRole"},
		document: func(ctx context.Context, api reads, c action.Call) (string, error) {
			out, err := api.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String(c.Target.Name())})
			if err != nil {
				return "", gone(err, c, "read the trust policy", "NoSuchEntity", "NoSuchEntityException")
			}
			return decoded(aws.ToString(out.Role.AssumeRolePolicyDocument)), nil
		},
		command: func(c action.Call, _ edit) string {
			return fmt.Sprintf("aws iam update-assume-role-policy --role-name %s --policy-document DOCUMENT", c.Target.Name())
		},
	}
)

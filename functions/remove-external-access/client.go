package main

import (
	"context"

	"firebreak/lib/bucket"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3control"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// roleAPI is the call that reads a role's trust policy.
type roleAPI interface {
	GetRole(context.Context, *iam.GetRoleInput, ...func(*iam.Options)) (*iam.GetRoleOutput, error)
}

// functionAPI is the call that reads a function's policy.
type functionAPI interface {
	GetPolicy(context.Context, *lambda.GetPolicyInput, ...func(*lambda.Options)) (*lambda.GetPolicyOutput, error)
}

// accessPointAPI are the calls that read a bucket's access points.
type accessPointAPI interface {
	ListAccessPoints(context.Context, *s3control.ListAccessPointsInput, ...func(*s3control.Options)) (*s3control.ListAccessPointsOutput, error)
	GetAccessPointPolicy(context.Context, *s3control.GetAccessPointPolicyInput, ...func(*s3control.Options)) (*s3control.GetAccessPointPolicyOutput, error)
}

type (
	sqsClient     = sqs.Client
	snsClient     = sns.Client
	ec2Client     = ec2.Client
	kmsClient     = kms.Client
	secretsClient = secretsmanager.Client
)

// clients is what a session speaks with.
type clients struct {
	*s3.Client
	*sqsClient
	*snsClient
	*ec2Client
	*kmsClient
	*secretsClient
	roleAPI
	functionAPI
	accessPointAPI
}

func newClients(cfg aws.Config) clients {
	return clients{
		s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = cfg.BaseEndpoint != nil }), sqs.NewFromConfig(cfg), sns.NewFromConfig(cfg),
		ec2.NewFromConfig(cfg), kms.NewFromConfig(cfg), secretsmanager.NewFromConfig(cfg), iam.NewFromConfig(cfg), lambda.NewFromConfig(cfg), bucket.Control(cfg),
	}
}

// ListTagsForResource is SNS's: other services call theirs the same.
func (c clients) ListTagsForResource(ctx context.Context, in *sns.ListTagsForResourceInput, opts ...func(*sns.Options)) (*sns.ListTagsForResourceOutput, error) {
	return c.snsClient.ListTagsForResource(ctx, in, opts...)
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"firebreak/lib/ledger"
	"firebreak/lib/reference"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
)

// The names that the templates give; an account holds one installation.
const (
	table   = "firebreak-ledger"
	machine = "firebreak-respond"
)

// queueAPI, machineAPI, functionAPI are the calls that the verbs make besides the ledger's.
type queueAPI interface {
	GetQueueUrl(context.Context, *sqs.GetQueueUrlInput, ...func(*sqs.Options)) (*sqs.GetQueueUrlOutput, error)
	ReceiveMessage(context.Context, *sqs.ReceiveMessageInput, ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error)
	DeleteMessage(context.Context, *sqs.DeleteMessageInput, ...func(*sqs.Options)) (*sqs.DeleteMessageOutput, error)
	ChangeMessageVisibility(context.Context, *sqs.ChangeMessageVisibilityInput, ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityOutput, error)
}

type machineAPI interface {
	StartExecution(context.Context, *sfn.StartExecutionInput, ...func(*sfn.Options)) (*sfn.StartExecutionOutput, error)
	DescribeExecution(context.Context, *sfn.DescribeExecutionInput, ...func(*sfn.Options)) (*sfn.DescribeExecutionOutput, error)
}

type functionAPI interface {
	Invoke(context.Context, *lambda.InvokeInput, ...func(*lambda.Options)) (*lambda.InvokeOutput, error)
}

// cloud is the installation.
type cloud struct {
	store     ledger.Store
	queues    queueAPI
	machines  machineAPI
	functions functionAPI
	settings  settingAPI
	topics    topicAPI
	secrets   secretAPI
	// inst reads what the installation configures.
	inst *setting.Installation
	// metas lists the ids of all incidents, closed ones too.
	metas func(context.Context) ([]string, error)
	// event reads the event that an incident began with, as it came.
	event func(context.Context, string) ([]byte, error)
	// objects stores events that are too large for a state in the bucket evidence.
	objects  reference.PutAPI
	evidence string
	// keep puts a file into the evidence bucket and gives the bucket and the version.
	keep func(ctx context.Context, key string, data []byte) (bucket, version string, err error)
	// machine is the ARN of the respond machine, where its account and region, who the caller's ARN.
	machine, where, who string
	// topic is the ARN of the topic that personal links go to.
	topic string
}

// connect finds the installation with the operator's own credentials.
func connect(ctx context.Context) (*cloud, error) {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithLogger(logging.Nop{}))
	if err != nil {
		return nil, fmt.Errorf("read your AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return nil, errors.New("no region is set: export AWS_REGION to the region that Firebreak is deployed in, or set it in your AWS profile")
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	me, err := sts.NewFromConfig(cfg).GetCallerIdentity(short, &sts.GetCallerIdentityInput{})
	if err != nil {
		return nil, fmt.Errorf("AWS does not say who you are: set AWS_PROFILE, or sign in again: %w", err)
	}
	who, err := arn.Parse(aws.ToString(me.Arn))
	if err != nil {
		return nil, fmt.Errorf("AWS says that you are %q, which is no ARN", aws.ToString(me.Arn))
	}
	params := ssm.NewFromConfig(cfg)
	db := dynamodb.NewFromConfig(cfg)
	objects := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = cfg.BaseEndpoint != nil })
	evidence := fmt.Sprintf("firebreak-evidence-%s-%s", who.AccountID, cfg.Region)
	return &cloud{
		store: ledger.NewDynamo(db, table), queues: sqs.NewFromConfig(cfg), machines: sfn.NewFromConfig(cfg), functions: lambda.NewFromConfig(cfg),
		settings: params, inst: setting.NewInstallation(params, "/firebreak"), topics: sns.NewFromConfig(cfg), secrets: secretsmanager.NewFromConfig(cfg),
		objects: objects, evidence: evidence,
		topic: fmt.Sprintf("arn:%s:sns:%s:%s:%s", who.Partition, cfg.Region, who.AccountID, topic),
		metas: func(ctx context.Context) ([]string, error) { return scan(ctx, db) },
		event: func(ctx context.Context, id string) ([]byte, error) {
			return keptEvent(ctx, objects, evidence, id)
		},
		keep: func(ctx context.Context, key string, data []byte) (string, string, error) {
			out, err := objects.PutObject(ctx, &s3.PutObjectInput{Bucket: &evidence, Key: &key, Body: bytes.NewReader(data)})
			if err == nil && aws.ToString(out.VersionId) == "" {
				err = errors.New("the bucket keeps no versions")
			}
			if err != nil {
				return "", "", fmt.Errorf("keep s3://%s/%s: %w", evidence, key, err)
			}
			return evidence, *out.VersionId, nil
		},
		machine: fmt.Sprintf("arn:%s:states:%s:%s:stateMachine:%s", who.Partition, cfg.Region, who.AccountID, machine),
		where:   "account " + who.AccountID + ", " + cfg.Region,
		who:     aws.ToString(me.Arn),
	}, nil
}

// keptEvent reads the first event that is kept of an incident.
func keptEvent(ctx context.Context, api *s3.Client, bucket, id string) ([]byte, error) {
	list, err := api.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: aws.String("findings/" + id + "/")})
	if err != nil {
		return nil, fmt.Errorf("look for the event of %s in the bucket %s: %w", id, bucket, err)
	}
	if len(list.Contents) == 0 {
		return nil, fmt.Errorf("the bucket %s has no event of %s", bucket, id)
	}
	first := slices.MinFunc(list.Contents, func(a, b s3types.Object) int { return aws.ToTime(a.LastModified).Compare(aws.ToTime(b.LastModified)) })
	out, err := api.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: first.Key})
	if err != nil {
		return nil, fmt.Errorf("read s3://%s/%s: %w", bucket, aws.ToString(first.Key), err)
	}
	defer out.Body.Close()
	return io.ReadAll(out.Body)
}

// scan lists all incidents. It reads the whole table's keys: for people, now and then.
func scan(ctx context.Context, db *dynamodb.Client) ([]string, error) {
	var out []string
	for pages := dynamodb.NewScanPaginator(db, &dynamodb.ScanInput{
		TableName: aws.String(table), ProjectionExpression: aws.String("pk"), FilterExpression: aws.String("sk = :meta"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":meta": &types.AttributeValueMemberS{Value: "META"}},
	}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			if pk, ok := item["pk"].(*types.AttributeValueMemberS); ok && len(pk.Value) > 4 {
				out = append(out, pk.Value[len("INC#"):])
			}
		}
	}
	return out, nil
}

// explain adds where it was looked for to an error that says that something is not there.
func (k *cloud) explain(err error) error {
	var absent *types.ResourceNotFoundException
	if errors.As(err, &absent) {
		return fmt.Errorf("there is no table %s in %s: is this the security account, and the region that Firebreak is deployed in? (AWS_PROFILE, AWS_REGION)", table, k.where)
	}
	return err
}

//go:build engine

package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/lib/action"
	"firebreak/lib/actiontest"
	"firebreak/lib/incident"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

func TestOnTheEngine(t *testing.T) {
	cfg, ctx := actiontest.Engine(t), t.Context()
	api := newClients(cfg)
	r := removal{
		reads:   func(context.Context, action.Call) (reads, error) { return api, nil },
		changes: func(context.Context, action.Call) (changes, error) { return api, nil },
		seen:    &sync.Map{},
	}
	id := fmt.Sprintf("clinic-%d", time.Now().UnixNano())
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := api.Client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &id})
	must(err)
	_, err = api.sqsClient.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &id})
	must(err)
	_, err = api.snsClient.CreateTopic(ctx, &sns.CreateTopicInput{Name: &id})
	must(err)
	key, err := api.kmsClient.CreateKey(ctx, &kms.CreateKeyInput{Policy: aws.String(policy(own, allow("Them", `{"AWS":"`+theirs+`"}`)))})
	must(err)
	volume, err := api.ec2Client.CreateVolume(ctx, &ec2.CreateVolumeInput{AvailabilityZone: aws.String("us-east-1a"), Size: aws.Int32(1)})
	must(err)
	snapshot, err := api.ec2Client.CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId})
	must(err)
	image, err := api.ec2Client.RegisterImage(ctx, &ec2.RegisterImageInput{Name: &id})
	must(err)

	documents := map[string][]string{
		"one":            {own, allow("Them", `{"AWS":"`+theirs+`"}`)},
		"one of several": {own, allow("Many", `{"AWS":["`+partners+`","`+theirs+`"]}`)},
		"nothing left":   {allow("Them", `{"AWS":"`+theirs+`"}`)},
		"by a condition": {own, `{"Sid":"C","Effect":"Allow","Principal":"*","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalAccount":["` + us + `","` + them + `"]}}}`},
		"not named":      {own, allow("Partner", `{"AWS":"`+partners+`"}`)},
	}
	for _, target := range []string{"arn:aws:s3:::" + id, "arn:aws:sqs:us-east-1:222222222222:" + id, "arn:aws:sns:us-east-1:222222222222:" + id} {
		for name, statements := range documents {
			t.Run(target[:11]+" "+name, func(t *testing.T) {
				c := action.Call{Target: parsed(t, target), With: whom(them)}
				k, err := kindOf(c)
				must(err)
				actions := map[string]string{"s3": "s3:GetBucketLocation", "sqs": "sqs:SendMessage", "sns": "sns:Publish"}
				doc := strings.NewReplacer(`"s3:GetObject"`, `"`+actions[c.Target.Service]+`"`, `"Resource":"*"`, `"Resource":"`+target+`"`, `"Action":"*"`, `"Action":"`+actions[c.Target.Service]+`"`).Replace(policy(statements...))
				must(k.put(ctx, api, c, doc))
				stands := func() any {
					doc, err := k.document(ctx, api, c)
					must(err)
					return label(doc)
				}
				w := actiontest.New(t, "remove-external-access", late{&r})
				r.store = w.Store
				actiontest.RoundTrip(t, w, target, whom(them), stands, func(got incident.Result) {
					doc, err := k.document(ctx, api, c)
					must(err)
					if strings.Contains(doc, them) || (got.Outcome == incident.Applied) != (name != "not named") {
						t.Errorf("%s, %s", got.Outcome, doc)
					}
				})
			})
		}
	}
	for _, target := range []string{"arn:aws:ec2:us-east-1::snapshot/" + *snapshot.SnapshotId, "arn:aws:ec2:us-east-1::image/" + *image.ImageId} {
		for _, shared := range [][]string{{them}, {them, partner}, {everyone}, {everyone, partner}, {partner}} {
			t.Run(target[23:28]+" "+strings.Join(shared, ","), func(t *testing.T) {
				outsider := them
				if shared[0] == everyone {
					outsider = everybody
				}
				c := action.Call{Target: parsed(t, target), With: whom(outsider)}
				k, err := kindOf(c)
				must(err)
				old, err := k.shared(ctx, api, c)
				must(err)
				if len(old) > 0 {
					must(k.share(ctx, api, c, nil, old))
				}
				must(k.share(ctx, api, c, shared, nil))
				stands := func() any {
					list, err := k.shared(ctx, api, c)
					must(err)
					out := map[string]bool{}
					for _, who := range list {
						out[who] = true
					}
					return out
				}
				w := actiontest.New(t, "remove-external-access", late{&r})
				r.store = w.Store
				actiontest.RoundTrip(t, w, target, whom(outsider), stands, func(incident.Result) {
					if left := stands().(map[string]bool); left[them] || left[everyone] {
						t.Errorf("shared with %v", left)
					}
				})
			})
		}
	}
	w := actiontest.New(t, "remove-external-access", late{&r})
	got := w.Must(w.Request(incident.Apply, first, *key.KeyMetadata.Arn, whom(them)))
	if got.Outcome != incident.Refused || !strings.Contains(got.Reason, "aws kms put-key-policy") {
		t.Errorf("a key: %s (%s)", got.Outcome, got.Reason)
	}
}

func parsed(t *testing.T, target string) incident.Target {
	t.Helper()
	out, err := incident.ParseTarget(incident.Step{Target: target}, incident.Ref{Account: us, Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

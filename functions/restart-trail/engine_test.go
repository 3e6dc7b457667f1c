//go:build engine

package main

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"firebreak/lib/action"
	"firebreak/lib/actiontest"
	"firebreak/lib/incident"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

func TestOnTheEngine(t *testing.T) {
	cfg := actiontest.Engine(t)
	api := cloudtrail.NewFromConfig(cfg)
	name := fmt.Sprintf("clinic-%d", time.Now().UnixNano())
	if _, err := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.CreateTrail(t.Context(), &cloudtrail.CreateTrailInput{Name: &name, S3BucketName: &name, IsMultiRegionTrail: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	for _, logging := range []bool{false, true} {
		arn := "arn:aws:cloudtrail:us-east-1:222222222222:trail/" + name
		w := actiontest.New(t, "restart-trail", restart{
			reads:   func(context.Context, action.Call) (reads, error) { return api, nil },
			changes: func(context.Context, action.Call) (changes, error) { return api, nil },
			seen:    &sync.Map{},
		})
		want := incident.Applied
		if logging {
			want = incident.Already
		}
		got := w.Must(w.Request(incident.Apply, first, arn, nil))
		status, err := api.GetTrailStatus(t.Context(), &cloudtrail.GetTrailStatusInput{Name: &arn})
		if err != nil || got.Outcome != want || !*status.IsLogging {
			t.Errorf("%s (%s), want %s, %v", got.Outcome, got.Reason, want, err)
		}
		t.Log(got.Changes)
	}
}

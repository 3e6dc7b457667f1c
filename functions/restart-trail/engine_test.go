//go:build engine

package main

import (
	"fmt"
	"testing"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/actiontest"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

func TestOnTheEngine(t *testing.T) {
	either := []any{false, true}
	actiontest.OnTheEngine(t, actiontest.Suite{
		Action: "restart-trail", NoUndo: true, Gone: incident.Refused,
		Act: func(store ledger.Store, _ *setting.Installation, access account.Access) action.Containment {
			return wired(store, access)
		},
		Factors: []actiontest.Factor{
			{Name: "logging", Levels: either}, {Name: "all regions", Levels: either}, {Name: "global", Levels: either}, {Name: "validation", Levels: either},
			{Name: "selectors", Levels: []any{"as made", "reads", "writes without KMS"}},
		},
		Usual: actiontest.Choice{"logging": false, "all regions": true, "global": true, "validation": true, "selectors": "as made"},
		Make: func(t *testing.T, e *actiontest.Engine, c actiontest.Choice) actiontest.Subject {
			api, ctx, name := cloudtrail.NewFromConfig(e.Owner), t.Context(), actiontest.Name("clinic")
			actiontest.Must(s3.NewFromConfig(e.Owner, func(o *s3.Options) { o.UsePathStyle = true }).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name}))(t)
			arn := *actiontest.Must(api.CreateTrail(ctx, &cloudtrail.CreateTrailInput{
				Name: &name, S3BucketName: &name, IsMultiRegionTrail: aws.Bool(c.Is("all regions")),
				IncludeGlobalServiceEvents: aws.Bool(c.Is("global") || c.Is("all regions")), EnableLogFileValidation: aws.Bool(c.Is("validation")),
			}))(t).TrailARN
			selector := types.EventSelector{ReadWriteType: types.ReadWriteTypeReadOnly, IncludeManagementEvents: aws.Bool(true)}
			switch c.Text("selectors") {
			case "writes without KMS":
				selector.ReadWriteType, selector.ExcludeManagementEventSources = types.ReadWriteTypeWriteOnly, []string{"kms.amazonaws.com"}
				fallthrough
			case "reads":
				actiontest.Must(api.PutEventSelectors(ctx, &cloudtrail.PutEventSelectorsInput{TrailName: &name, EventSelectors: []types.EventSelector{selector}}))(t)
			}
			if c.Is("logging") {
				actiontest.Must(api.StartLogging(ctx, &cloudtrail.StartLoggingInput{Name: &name}))(t)
			}
			logs := func() bool {
				return *actiontest.Must(api.GetTrailStatus(ctx, &cloudtrail.GetTrailStatusInput{Name: &name}))(t).IsLogging
			}
			return actiontest.Subject{
				Target: arn,
				Stands: func() any {
					selectors := actiontest.Must(api.GetEventSelectors(ctx, &cloudtrail.GetEventSelectorsInput{TrailName: &name}))(t)
					return fmt.Sprintf("logging %v, records %s", logs(), digest(selectors))
				},
				Open: func() string {
					if !logs() {
						return "it does not log"
					}
					return ""
				},
				Change: func() {
					actiontest.Must(api.StopLogging(ctx, &cloudtrail.StopLoggingInput{Name: &name}))(t)
				},
				Delete: func() {
					actiontest.Must(api.DeleteTrail(ctx, &cloudtrail.DeleteTrailInput{Name: &name}))(t)
				},
				Role: account.Data, Lacks: []string{"cloudtrail:StartLogging"}, On: []string{arn},
			}
		},
	})
}

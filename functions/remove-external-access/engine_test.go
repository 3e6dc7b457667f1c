//go:build engine

package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/actiontest"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

func act(store ledger.Store, inst *setting.Installation, access account.Access) action.Containment {
	return wired(store, inst, access)
}

func TestDocumentsOnTheEngine(t *testing.T) {
	documents := map[string][]string{
		"one":            {own, allow("Them", `{"AWS":"`+theirs+`"}`)},
		"one of several": {own, allow("Many", `{"AWS":["`+partners+`","`+theirs+`"]}`)},
		"the only":       {allow("Them", `{"AWS":"`+theirs+`"}`)},
		"by a condition": {own, `{"Sid":"C","Effect":"Allow","Principal":"*","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalAccount":["` + us + `","` + them + `"]}}}`},
		"not named":      {own, allow("Partner", `{"AWS":"`+partners+`"}`)},
	}
	actiontest.OnTheEngine(t, actiontest.Suite{
		Action: "remove-external-access", Act: act,
		Factors: []actiontest.Factor{
			{Name: "of a", Levels: []any{"bucket", "queue", "topic"}},
			{Name: "named", Levels: []any{"one", "one of several", "the only", "by a condition", "not named"}},
			{Name: "other statements", Levels: []any{0, 1, 5}},
			{Name: "denies too", Levels: []any{false, true}},
		},
		Usual: actiontest.Choice{"of a": "bucket", "named": "one of several", "other statements": 1, "denies too": false},
		Make: func(t *testing.T, e *actiontest.Engine, c actiontest.Choice) actiontest.Subject {
			api, ctx, name := newClients(e.Owner), t.Context(), actiontest.Name("clinic")
			var target, right, lacks string
			var remove func()
			switch c.Text("of a") {
			case "bucket":
				target, right, lacks = "arn:aws:s3:::"+name, "s3:GetBucketLocation", "s3:PutBucketPolicy"
				actiontest.Must(api.Client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name}))(t)
				remove = func() { actiontest.Must(api.Client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &name}))(t) }
			case "queue":
				target, right, lacks = "arn:aws:sqs:us-east-1:"+us+":"+name, "sqs:SendMessage", "sqs:SetQueueAttributes"
				url := actiontest.Must(api.sqsClient.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name}))(t).QueueUrl
				remove = func() { actiontest.Must(api.sqsClient.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: url}))(t) }
			case "topic":
				target, right, lacks = "arn:aws:sns:us-east-1:"+us+":"+name, "sns:Publish", "sns:SetTopicAttributes"
				actiontest.Must(api.snsClient.CreateTopic(ctx, &sns.CreateTopicInput{Name: &name}))(t)
				remove = func() {
					actiontest.Must(api.snsClient.DeleteTopic(ctx, &sns.DeleteTopicInput{TopicArn: &target}))(t)
				}
			}
			call := action.Call{Target: parsed(t, target), With: whom(them)}
			k, err := kindOf(call)
			if err != nil {
				t.Fatal(err)
			}
			put := func(statements ...string) {
				t.Helper()
				doc := strings.NewReplacer(`"s3:GetObject"`, `"`+right+`"`, `"Resource":"*"`, `"Resource":"`+target+`"`, `"Action":"*"`, `"Action":"`+right+`"`).Replace(policy(statements...))
				if err := k.put(ctx, api, call, doc); err != nil {
					t.Fatal(err)
				}
			}
			statements := slices.Clone(documents[c.Text("named")])
			for n := range c.Number("other statements") {
				statements = append(statements, allow(fmt.Sprintf("Other%d", n), `{"AWS":"`+partners+`"}`))
			}
			if c.Is("denies too") {
				statements = append(statements, `{"Sid":"No","Effect":"Deny","Principal":"*","Action":"*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"false"},"StringEquals":{"aws:PrincipalAccount":"`+partner+`"}}}`)
			}
			put(statements...)
			read := func() string {
				doc, err := k.document(ctx, api, call)
				if err != nil {
					t.Fatal(err)
				}
				return doc
			}
			return actiontest.Subject{
				Target: target, With: whom(them),
				Stands: func() any { return label(read()) },
				Open: func() string {
					if doc := read(); strings.Contains(doc, them) {
						return doc
					}
					return ""
				},
				Change: func() { put(own, allow("New", `{"AWS":"`+partners+`"}`)) },
				Undo:   func() { put(statements...) },
				Delete: remove,
				Role:   account.Data, Lacks: []string{lacks}, On: []string{target},
			}
		},
	})
}

func TestSharesOnTheEngine(t *testing.T) {
	actiontest.OnTheEngine(t, actiontest.Suite{
		Action: "remove-external-access", Act: act,
		Factors: []actiontest.Factor{
			{Name: "of a", Levels: []any{"snapshot", "image"}},
			{Name: "them", Levels: []any{true, false}},
			{Name: "partner", Levels: []any{true, false}},
			{Name: "whom", Levels: []any{them, everybody}},
			{Name: "everybody", Levels: []any{false, true}},
		},
		Usual: actiontest.Choice{"of a": "snapshot", "them": true, "partner": true, "whom": them, "everybody": false},
		Make: func(t *testing.T, e *actiontest.Engine, c actiontest.Choice) actiontest.Subject {
			api, ctx := newClients(e.Owner), t.Context()
			volume := actiontest.Must(api.ec2Client.CreateVolume(ctx, &ec2.CreateVolumeInput{AvailabilityZone: aws.String("us-east-1a"), Size: aws.Int32(1)}))(t).VolumeId
			snapshot := actiontest.Must(api.ec2Client.CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: volume}))(t).SnapshotId
			target, lacks := "arn:aws:ec2:us-east-1::snapshot/"+*snapshot, "ec2:ModifySnapshotAttribute"
			remove := func() {
				actiontest.Must(api.ec2Client.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: snapshot}))(t)
			}
			if c.Text("of a") == "image" {
				image := actiontest.Must(api.ec2Client.RegisterImage(ctx, &ec2.RegisterImageInput{Name: aws.String(actiontest.Name("clinic"))}))(t).ImageId
				target, lacks = "arn:aws:ec2:us-east-1::image/"+*image, "ec2:ModifyImageAttribute"
				remove = func() {
					actiontest.Must(api.ec2Client.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: image}))(t)
				}
			}
			var shared []string
			for who, is := range map[string]bool{them: c.Is("them"), partner: c.Is("partner"), everyone: c.Is("everybody") && c.Text("whom") == everybody} {
				if is {
					shared = append(shared, who)
				}
			}
			call := action.Call{Target: parsed(t, target), With: whom(c.Text("whom"))}
			k, err := kindOf(call)
			if err == nil && len(shared) > 0 {
				err = k.share(ctx, api, call, shared, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			read := func() []string {
				list, err := k.shared(ctx, api, call)
				if err != nil {
					t.Fatal(err)
				}
				return slices.Sorted(slices.Values(list))
			}
			return actiontest.Subject{
				Target: target, With: call.With,
				Stands: func() any { return read() },
				Open: func() string {
					out := map[string]string{them: them, everybody: everyone}[c.Text("whom")]
					if list := read(); slices.Contains(list, out) {
						return fmt.Sprint(list)
					}
					return ""
				},
				Change: func() {
					if err := k.share(ctx, api, call, []string{them}, nil); err != nil {
						t.Fatal(err)
					}
				},
				Delete: remove,
				Role:   account.Data, Lacks: []string{lacks}, On: []string{target},
			}
		},
	})
}

// A key's policy is never changed: people get the exact edit, and the role that looks may look.
func TestAKeyOnTheEngineAsks(t *testing.T) {
	e := actiontest.NewEngine(t, "remove-external-access")
	key := actiontest.Must(kms.NewFromConfig(e.Owner).CreateKey(t.Context(), &kms.CreateKeyInput{Policy: aws.String(strings.ReplaceAll(policy(own, allow("Them", `{"AWS":"`+theirs+`"}`)), "s3:GetObject", "kms:*"))}))(t)
	w := e.World(t, func(store ledger.Store, inst *setting.Installation) action.Containment {
		return act(store, inst, e.Access)
	})
	got := w.Must(w.Request(incident.Apply, first, *key.KeyMetadata.Arn, whom(them)))
	if got.Outcome != incident.Refused || !strings.Contains(got.Reason, "aws kms put-key-policy") {
		t.Errorf("a key: %s (%s)", got.Outcome, got.Reason)
	}
	actiontest.Must(kms.NewFromConfig(e.Owner).CreateGrant(t.Context(), &kms.CreateGrantInput{
		KeyId: key.KeyMetadata.Arn, GranteePrincipal: aws.String(partners), Operations: []kmstypes.GrantOperation{kmstypes.GrantOperationDecrypt},
	}))(t)
	got = w.Must(w.Request(incident.Apply, second, *key.KeyMetadata.Arn, whom(partners)))
	if got.Outcome != incident.Refused || !strings.Contains(got.Reason, "aws kms revoke-grant") {
		t.Errorf("a grant: %s (%s)", got.Outcome, got.Reason)
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

// Package compliancetest has AWS Config for tests of custom rules.
package compliancetest

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/service/configservice"
	"github.com/aws/aws-sdk-go-v2/service/configservice/types"
)

// Token is the result token of every event here.
const Token = "result-token"

// Config takes evaluations.
type Config struct {
	Taken []types.Evaluation
	// History is what is recorded of the resource of an oversized event.
	History []types.ConfigurationItem
	// Refuse makes Config list evaluations as failed.
	Refuse bool
	// Err is the answer to every call.
	Err error
}

func (c *Config) PutEvaluations(_ context.Context, in *configservice.PutEvaluationsInput, _ ...func(*configservice.Options)) (*configservice.PutEvaluationsOutput, error) {
	if c.Err != nil {
		return nil, c.Err
	}
	if *in.ResultToken != Token || in.TestMode {
		return nil, errors.New("a token that Config did not give")
	}
	if c.Refuse {
		return &configservice.PutEvaluationsOutput{FailedEvaluations: in.Evaluations}, nil
	}
	c.Taken = append(c.Taken, in.Evaluations...)
	return &configservice.PutEvaluationsOutput{}, nil
}

func (c *Config) GetResourceConfigHistory(context.Context, *configservice.GetResourceConfigHistoryInput, ...func(*configservice.Options)) (*configservice.GetResourceConfigHistoryOutput, error) {
	return &configservice.GetResourceConfigHistoryOutput{ConfigurationItems: c.History}, c.Err
}

// Event is the evaluation event of a resource; body is the JSON of its configuration and whatever else stands beside it.
func Event(t testing.TB, kind, class, parameters, body string) events.ConfigEvent {
	t.Helper()
	item := map[string]any{}
	if err := json.Unmarshal([]byte(body), &item); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	for k, v := range map[string]any{
		"resourceType": kind, "resourceId": "one", "ARN": "arn:aws:service:us-east-1:222222222222:thing/one", "awsAccountId": "222222222222",
		"configurationItemStatus": "OK", "configurationItemCaptureTime": "2026-01-02T03:04:05.678Z", "tags": map[string]string{"data-classification": class},
	} {
		if _, given := item[k]; !given {
			item[k] = v
		}
	}
	invoking, err := json.Marshal(map[string]any{"messageType": "ConfigurationItemChangeNotification", "configurationItem": item})
	if err != nil {
		t.Fatal(err)
	}
	return events.ConfigEvent{
		AccountID: "222222222222", ConfigRuleName: "rule", ResultToken: Token, InvokingEvent: string(invoking), RuleParameters: parameters,
	}
}

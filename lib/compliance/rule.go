// Package compliance is what the custom rules of AWS Config have in common: what an evaluation event says, which resources hold
// patient data (a tag says so), and how the verdict goes back.
package compliance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"firebreak/lib/fault"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/configservice"
	"github.com/aws/aws-sdk-go-v2/service/configservice/types"
)

// API are the calls on AWS Config that a rule makes.
type API interface {
	GetResourceConfigHistory(context.Context, *configservice.GetResourceConfigHistoryInput, ...func(*configservice.Options)) (*configservice.GetResourceConfigHistoryOutput, error)
	PutEvaluations(context.Context, *configservice.PutEvaluationsInput, ...func(*configservice.Options)) (*configservice.PutEvaluationsOutput, error)
}

// Parameters are what a rule is configured with. Config passes all values as strings.
type Parameters struct {
	// TagKey is the tag that classifies data; Values, separated by commas, are those that mean patient data.
	TagKey string `json:"tagKey"`
	Values string `json:"values"`
	// Keys is customer, when a key that AWS manages is not enough, or any.
	Keys string `json:"keys,omitempty"`
}

// Verdict on one resource.
type Verdict struct {
	Compliance types.ComplianceType `json:"compliance"`
	// Why is what stands beside the resource in the console; empty when it complies.
	Why string `json:"why,omitempty"`
}

// Compliant is a resource as it should be.
func Compliant() Verdict { return Verdict{Compliance: types.ComplianceTypeCompliant} }

// Violation is a resource that breaks the rule.
func Violation(format string, args ...any) Verdict {
	return Verdict{types.ComplianceTypeNonCompliant, fmt.Sprintf(format, args...)}
}

// None is a resource that the rule is not about.
func None(format string, args ...any) Verdict {
	return Verdict{types.ComplianceTypeNotApplicable, fmt.Sprintf(format, args...)}
}

// Rule is a custom rule: Judge is asked about each resource that holds patient data.
type Rule struct {
	API   API
	Judge func(context.Context, Item, Parameters) (Verdict, error)
}

// Evaluation is what one call has found.
type Evaluation struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Verdict
}

// Handle evaluates the resource of an event and reports the verdict to Config. Errors: BadInput for an event or parameters that
// it does not understand. Nothing is reported then: a rule that cannot judge must not call a resource compliant.
func (r Rule) Handle(ctx context.Context, event events.ConfigEvent) (Evaluation, error) {
	p, err := parameters(event.RuleParameters)
	if err != nil {
		return Evaluation{}, fault.Wrap(fault.BadInput, err, "the parameters of rule %s", event.ConfigRuleName)
	}
	item, err := r.item(ctx, event.InvokingEvent)
	if err != nil {
		return Evaluation{}, err
	}
	verdict, err := r.judge(ctx, event, item, p)
	if err != nil {
		return Evaluation{}, fmt.Errorf("judge %s %s: %w", item.Type, item.ID, err)
	}
	slog.InfoContext(ctx, "evaluation", "rule", event.ConfigRuleName, "type", item.Type, "id", item.ID, "compliance", verdict.Compliance, "why", verdict.Why)
	out, err := r.API.PutEvaluations(ctx, &configservice.PutEvaluationsInput{
		ResultToken: &event.ResultToken, TestMode: event.ResultToken == "TESTMODE", // what Config's documentation sends from the console
		Evaluations: []types.Evaluation{{
			ComplianceResourceType: &item.Type, ComplianceResourceId: &item.ID, ComplianceType: verdict.Compliance,
			Annotation: annotation(verdict.Why), OrderingTimestamp: &item.Captured,
		}},
	})
	if err != nil {
		return Evaluation{}, fmt.Errorf("report %s %s: %w", item.Type, item.ID, err)
	}
	if len(out.FailedEvaluations) > 0 {
		return Evaluation{}, fault.New(fault.NotVerified, "Config did not take the verdict on %s %s", item.Type, item.ID)
	}
	return Evaluation{item.Type, item.ID, verdict}, nil
}

func (r Rule) judge(ctx context.Context, event events.ConfigEvent, item Item, p Parameters) (Verdict, error) {
	class := item.Tags[p.TagKey]
	switch {
	case event.EventLeftScope || item.Gone():
		return None("the resource is gone"), nil
	case !slices.ContainsFunc(strings.Split(p.Values, ","), func(v string) bool { return strings.EqualFold(strings.TrimSpace(v), class) }):
		return None("not classified as patient data by the tag %s", p.TagKey), nil
	}
	return r.Judge(ctx, item, p)
}

// parameters reads them strictly: a mistyped name would otherwise make the rule judge nothing.
func parameters(text string) (Parameters, error) {
	var p Parameters
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return p, err
	}
	switch {
	case p.TagKey == "" || strings.TrimSpace(p.Values) == "":
		return p, fmt.Errorf("tagKey and values are needed")
	case p.Keys != "" && p.Keys != "customer" && p.Keys != "any":
		return p, fmt.Errorf("keys is %q, not customer or any", p.Keys)
	}
	return p, nil
}

// item reads the resource of an invoking event, from Config itself where it was too large for the event.
func (r Rule) item(ctx context.Context, text string) (Item, error) {
	var e struct {
		Kind    string `json:"messageType"`
		Item    *wire  `json:"configurationItem"`
		Summary *wire  `json:"configurationItemSummary"`
	}
	if err := json.NewDecoder(bytes.NewReader([]byte(text))).Decode(&e); err != nil {
		return Item{}, fault.Wrap(fault.BadInput, err, "the invoking event")
	}
	switch {
	case e.Kind == "ConfigurationItemChangeNotification" && e.Item != nil:
		return e.Item.item(), nil
	case e.Kind == "OversizedConfigurationItemChangeNotification" && e.Summary != nil:
		return r.fetch(ctx, e.Summary.item())
	}
	return Item{}, fault.New(fault.BadInput, "the invoking event is a %q without a resource: the rule is triggered by changes only", e.Kind)
}

func (r Rule) fetch(ctx context.Context, summary Item) (Item, error) {
	if summary.Gone() {
		return summary, nil
	}
	later := summary.Captured.Add(time.Second) // the end is not included
	out, err := r.API.GetResourceConfigHistory(ctx, &configservice.GetResourceConfigHistoryInput{
		ResourceType: types.ResourceType(summary.Type), ResourceId: &summary.ID, LaterTime: &later, Limit: 1,
	})
	if err != nil {
		return Item{}, fmt.Errorf("read %s %s: %w", summary.Type, summary.ID, err)
	}
	if len(out.ConfigurationItems) == 0 {
		return Item{}, fault.New(fault.NotVerified, "Config has no record of %s %s", summary.Type, summary.ID)
	}
	return recorded(out.ConfigurationItems[0]), nil
}

// annotation cuts a reason to the 256 characters that Config takes.
func annotation(why string) *string {
	if why == "" {
		return nil
	}
	if r := []rune(why); len(r) > 256 {
		why = string(r[:253]) + "..."
	}
	return aws.String(why)
}

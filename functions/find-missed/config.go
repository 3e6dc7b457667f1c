package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"firebreak/lib/ledger"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/configservice"
	"github.com/aws/aws-sdk-go-v2/service/configservice/types"
)

// configAPI are the calls to AWS Config.
type configAPI interface {
	DescribeComplianceByConfigRule(context.Context, *configservice.DescribeComplianceByConfigRuleInput, ...func(*configservice.Options)) (*configservice.DescribeComplianceByConfigRuleOutput, error)
	DescribeConfigRules(context.Context, *configservice.DescribeConfigRulesInput, ...func(*configservice.Options)) (*configservice.DescribeConfigRulesOutput, error)
	GetComplianceDetailsByConfigRule(context.Context, *configservice.GetComplianceDetailsByConfigRuleInput, ...func(*configservice.Options)) (*configservice.GetComplianceDetailsByConfigRuleOutput, error)
}

// readConfig reads one page of rules and all that each of them calls NON_COMPLIANT. Config tells what is, not what has changed, and
// writes a new time at each evaluation: without a memory every bucket that is public on purpose would be a finding that was
// missed. So what a rule said at the last reading is remembered, and what it says at the first is no finding. A rule that
// everything complies with is remembered too. One rule that fails does not keep the others of its page.
func (m missed) readConfig(ctx context.Context, api services, at place, _ time.Time, cursor string) (page, error) {
	list, err := api.config.DescribeComplianceByConfigRule(ctx, &configservice.DescribeComplianceByConfigRuleInput{NextToken: token(cursor)})
	if err != nil || len(list.ComplianceByConfigRules) == 0 {
		return page{}, err
	}
	p := page{next: aws.ToString(list.NextToken)}
	var names []string
	failing := map[string]bool{}
	for _, r := range list.ComplianceByConfigRules {
		names = append(names, aws.ToString(r.ConfigRuleName))
		failing[aws.ToString(r.ConfigRuleName)] = r.Compliance != nil && r.Compliance.ComplianceType == types.ComplianceTypeNonCompliant
	}
	rules, err := describe(ctx, api.config, names)
	if err != nil {
		return page{}, err
	}
	known, err := m.remembered(ctx, at)
	if err != nil {
		return page{}, err
	}
	for _, r := range rules {
		if r.ConfigRuleState == types.ConfigRuleStateDeleting || r.ConfigRuleState == types.ConfigRuleStateDeletingResults {
			continue
		}
		id := aws.ToString(r.ConfigRuleArn)
		id = id[strings.LastIndex(id, "/")+1:]
		it := known[id]
		if it == nil {
			it = &ledger.Item[standing]{Key: ledger.Key{PK: memoryOf(at), SK: "RULE#" + id}, Value: standing{Rule: aws.ToString(r.ConfigRuleName), fresh: true}}
		}
		p.memory = append(p.memory, it)
		it.Value.whole = true
		if !failing[aws.ToString(r.ConfigRuleName)] {
			continue
		}
		events, err := evaluations(ctx, api.config, at, r, types.ComplianceTypeNonCompliant, 0)
		for _, event := range events {
			p.found = append(p.found, found{event: event, rule: it})
		}
		if it.Value.whole = err == nil; err != nil {
			p.failed = append(p.failed, fmt.Errorf("rule %s: %w", aws.ToString(r.ConfigRuleName), err))
		}
	}
	return p, nil
}

// memoryOf is the partition that remembers the rules of an account and region.
func memoryOf(at place) string { return "MISSED#" + at.Account + "#" + at.Region }

// remembered reads what was remembered of each rule, by its id.
func (m missed) remembered(ctx context.Context, at place) (map[string]*ledger.Item[standing], error) {
	all, err := ledger.List[standing](ctx, m.store, memoryOf(at), "RULE#")
	out := map[string]*ledger.Item[standing]{}
	for _, it := range all {
		out[strings.TrimPrefix(it.SK, "RULE#")] = &it
	}
	return out, err
}

// describe gives the rules of those names, 25 at a time: their ARNs are what their findings are known by.
func describe(ctx context.Context, api configAPI, names []string) ([]types.ConfigRule, error) {
	var out []types.ConfigRule
	for len(names) > 0 {
		n := min(25, len(names))
		for pages := configservice.NewDescribeConfigRulesPaginator(api, &configservice.DescribeConfigRulesInput{ConfigRuleNames: names[:n]}); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, err
			}
			out = append(out, page.ConfigRules...)
		}
		names = names[n:]
	}
	return out, nil
}

// evaluations are what a rule calls verdict, each as the event of its change (AWS Config Developer Guide, "Example compliance change
// notification"); not more than most pages of them, where that is not 0.
func evaluations(ctx context.Context, api configAPI, at place, r types.ConfigRule, verdict types.ComplianceType, most int) ([]json.RawMessage, error) {
	var out []json.RawMessage
	pages := configservice.NewGetComplianceDetailsByConfigRulePaginator(api, &configservice.GetComplianceDetailsByConfigRuleInput{
		ConfigRuleName: r.ConfigRuleName, ComplianceTypes: []types.ComplianceType{verdict}, Limit: 100,
	})
	for n := 0; pages.HasMorePages() && (most == 0 || n < most); n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return out, err
		}
		for _, e := range page.EvaluationResults {
			event, err := change(at, r, e)
			if err != nil {
				return out, err
			}
			out = append(out, event)
		}
	}
	return out, nil
}

func change(at place, r types.ConfigRule, e types.EvaluationResult) (json.RawMessage, error) {
	var q types.EvaluationResultQualifier
	if e.EvaluationResultIdentifier != nil && e.EvaluationResultIdentifier.EvaluationResultQualifier != nil {
		q = *e.EvaluationResultIdentifier.EvaluationResultQualifier
	}
	qualifier := map[string]any{"configRuleName": r.ConfigRuleName, "resourceType": q.ResourceType, "resourceId": q.ResourceId}
	detail := map[string]any{
		"resourceType": q.ResourceType, "resourceId": q.ResourceId, "awsAccountId": at.Account, "awsRegion": at.Region, "configRuleName": r.ConfigRuleName, "configRuleARN": r.ConfigRuleArn, "messageType": "ComplianceChangeNotification", "recordVersion": "1.0",
		"newEvaluationResult": map[string]any{
			"annotation": e.Annotation, "complianceType": e.ComplianceType, "configRuleInvokedTime": e.ConfigRuleInvokedTime, "resultRecordedTime": e.ResultRecordedTime,
			"evaluationResultIdentifier": map[string]any{"evaluationResultQualifier": qualifier},
		},
	}
	return envelope(at, "aws.config", "Config Rules Compliance Change", nil, aws.ToTime(e.ResultRecordedTime), detail)
}

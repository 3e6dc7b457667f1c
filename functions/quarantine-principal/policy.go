package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"firebreak/lib/principal"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// policyName is the managed policy that the member template makes, and the inline policy that stands in for it.
const policyName = "FirebreakQuarantine"

// document is the inline policy: everything is denied, on no condition.
const document = `{"Statement":[{"Action":"*","Effect":"Deny","Resource":"*","Sid":"FirebreakQuarantine"}],"Version":"2012-10-17"}`

// denies tells whether a policy document denies everything on no condition, whatever else it says: an explicit deny wins.
func denies(doc string) bool {
	var d struct{ Statement json.RawMessage }
	if json.Unmarshal([]byte(doc), &d) != nil {
		return false
	}
	var list []map[string]json.RawMessage
	if json.Unmarshal(d.Statement, &list) != nil {
		list = make([]map[string]json.RawMessage, 1)
		if json.Unmarshal(d.Statement, &list[0]) != nil {
			return false
		}
	}
	return slices.ContainsFunc(list, func(s map[string]json.RawMessage) bool {
		for key := range s {
			if !slices.Contains([]string{"Sid", "Effect", "Action", "Resource"}, key) {
				return false // a condition or an exception
			}
		}
		return string(s["Effect"]) == `"Deny"` && everything(s["Action"]) && everything(s["Resource"])
	})
}

// everything tells whether a value, or one of a list, is "*".
func everything(raw json.RawMessage) bool {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return one == "*"
	}
	var list []string
	return json.Unmarshal(raw, &list) == nil && slices.Contains(list, "*")
}

// managed says why the managed policy is none to attach: attackers who may change IAM may change it too.
func (w who) managed(ctx context.Context, api reads) (string, error) {
	p, err := api.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: &w.policy})
	if principal.Gone(err) {
		return "the managed policy " + w.policy + " does not exist", nil
	}
	if err != nil {
		return "", fmt.Errorf("read %s: %w", w.policy, err)
	}
	v, err := api.GetPolicyVersion(ctx, &iam.GetPolicyVersionInput{PolicyArn: &w.policy, VersionId: p.Policy.DefaultVersionId})
	if principal.Gone(err) || err == nil && !denies(principal.Canonical(aws.ToString(v.PolicyVersion.Document))) {
		return "the managed policy " + w.policy + " does not deny everything: somebody has changed it", nil
	}
	if err != nil {
		return "", fmt.Errorf("read %s: %w", w.policy, err)
	}
	return "", nil
}

// full says that the principal can hold no more managed policies. The quota is 10 and can be raised (IAM user guide, "IAM and
// AWS STS quotas"); where the account's own cannot be read, it is taken for 10.
func (w who) full(ctx context.Context, api reads, count int) string {
	quota := int32(10)
	if count < int(quota) {
		return ""
	}
	if out, err := api.GetAccountSummary(ctx, &iam.GetAccountSummaryInput{}); err == nil {
		key := "AttachedPoliciesPerUserQuota"
		if w.kind == principal.Role {
			key = "AttachedPoliciesPerRoleQuota"
		}
		quota = max(quota, out.SummaryMap[key])
	}
	if count < int(quota) {
		return ""
	}
	return fmt.Sprintf("%s %s holds %d managed policies, which is the quota", w.kind, w.name, count)
}

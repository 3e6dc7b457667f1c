package main

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/securityhub"
	"github.com/aws/aws-sdk-go-v2/service/securityhub/types"
)

// securityHubAPI is the call to Security Hub.
type securityHubAPI interface {
	GetFindings(context.Context, *securityhub.GetFindingsInput, ...func(*securityhub.Options)) (*securityhub.GetFindingsOutput, error)
}

// securityHubAdministration also tells whose findings the hub has.
type securityHubAdministration interface {
	securityHubAPI
	ListMembers(context.Context, *securityhub.ListMembersInput, ...func(*securityhub.Options)) (*securityhub.ListMembersOutput, error)
}

func equals(values ...string) (out []types.StringFilter) {
	for _, v := range values {
		out = append(out, types.StringFilter{Comparison: types.StringFilterComparisonEquals, Value: aws.String(v)})
	}
	return out
}

// readSecurityHub reads 100 findings that stand. What is INFORMATIONAL is a check that passed, or a finding of Config, which is read
// there. The region is named because an aggregating one has those of the others too.
func readSecurityHub(ctx context.Context, api services, at place, since time.Time, cursor string) (page, error) {
	out, err := api.securityHub.GetFindings(ctx, &securityhub.GetFindingsInput{
		MaxResults: aws.Int32(100), NextToken: token(cursor), SortCriteria: []types.SortCriterion{{Field: aws.String("UpdatedAt"), SortOrder: types.SortOrderAscending}},
		Filters: &types.AwsSecurityFindingFilters{
			UpdatedAt:   []types.DateFilter{{Start: aws.String(since.UTC().Format(time.RFC3339)), End: aws.String(since.AddDate(1, 0, 0).UTC().Format(time.RFC3339))}},
			RecordState: equals("ACTIVE"), WorkflowStatus: equals("NEW", "NOTIFIED"), SeverityLabel: equals("LOW", "MEDIUM", "HIGH", "CRITICAL"), Region: equals(at.Region),
			ComplianceStatus: []types.StringFilter{{Comparison: types.StringFilterComparisonNotEquals, Value: aws.String("PASSED")}},
		},
	})
	if err != nil {
		return page{}, err
	}
	p := page{next: aws.ToString(out.NextToken)}
	for _, f := range out.Findings {
		event, err := hubEvent(at.Region, f)
		if err != nil {
			return page{}, err
		}
		p.found = append(p.found, found{event: event})
	}
	return p, nil
}

// hubEvent is the event of a finding.
func hubEvent(region string, f types.AwsSecurityFinding) (json.RawMessage, error) {
	updated, _ := time.Parse(time.RFC3339, aws.ToString(f.UpdatedAt))
	return envelope(place{Account: aws.ToString(f.AwsAccountId), Region: region}, "aws.securityhub", "Security Hub Findings - Imported", nil, updated, map[string]any{"findings": []any{f}})
}

// securityHubMembers are the accounts whose findings the hub has.
func securityHubMembers(ctx context.Context, api securityHubAdministration) (map[string]bool, error) {
	out := map[string]bool{}
	for pages := securityhub.NewListMembersPaginator(api, &securityhub.ListMembersInput{OnlyAssociated: aws.Bool(true), MaxResults: aws.Int32(50)}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, m := range page.Members {
			if s := aws.ToString(m.MemberStatus); strings.EqualFold(s, "Enabled") || strings.EqualFold(s, "Associated") {
				out[aws.ToString(m.AccountId)] = true
			}
		}
	}
	return out, nil
}

package main

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
	"github.com/aws/aws-sdk-go-v2/service/guardduty/types"
)

// guardDutyAPI are the calls to GuardDuty.
type guardDutyAPI interface {
	ListDetectors(context.Context, *guardduty.ListDetectorsInput, ...func(*guardduty.Options)) (*guardduty.ListDetectorsOutput, error)
	ListFindings(context.Context, *guardduty.ListFindingsInput, ...func(*guardduty.Options)) (*guardduty.ListFindingsOutput, error)
	GetFindings(context.Context, *guardduty.GetFindingsInput, ...func(*guardduty.Options)) (*guardduty.GetFindingsOutput, error)
}

// guardDutyAdministration also tells whose findings the hub has.
type guardDutyAdministration interface {
	guardDutyAPI
	ListMembers(context.Context, *guardduty.ListMembersInput, ...func(*guardduty.Options)) (*guardduty.ListMembersOutput, error)
}

// detector gives the region's only detector, "" where GuardDuty is off.
func detector(ctx context.Context, api guardDutyAPI) (string, error) {
	out, err := api.ListDetectors(ctx, &guardduty.ListDetectorsInput{})
	if err != nil || len(out.DetectorIds) == 0 {
		return "", err
	}
	return out.DetectorIds[0], nil
}

// readGuardDuty reads 50 findings, which is what GetFindings takes. There is no lower bound of severity: a trail that somebody has
// stopped is LOW to GuardDuty, and a rule acts on it. In the order of their updates, so that what is updated meanwhile comes last.
func readGuardDuty(ctx context.Context, api services, at place, since time.Time, cursor string) (page, error) {
	id, next, _ := strings.Cut(cursor, " ")
	if cursor == "" {
		var err error
		if id, err = detector(ctx, api.guardDuty); err != nil || id == "" {
			return page{}, err
		}
	}
	list, err := api.guardDuty.ListFindings(ctx, &guardduty.ListFindingsInput{
		DetectorId: &id, MaxResults: aws.Int32(50), NextToken: token(next), SortCriteria: &types.SortCriteria{AttributeName: aws.String("updatedAt"), OrderBy: types.OrderByAsc},
		FindingCriteria: &types.FindingCriteria{Criterion: map[string]types.Condition{
			"updatedAt": {GreaterThanOrEqual: aws.Int64(since.UnixMilli())}, "service.archived": {Equals: []string{"false"}},
		}},
	})
	if err != nil || len(list.FindingIds) == 0 {
		return page{}, err
	}
	events, err := threatEvents(ctx, api.guardDuty, id, at.Region, list.FindingIds)
	if err != nil {
		return page{}, err
	}
	var p page
	for _, event := range events {
		p.found = append(p.found, found{event: event})
	}
	if next = aws.ToString(list.NextToken); next != "" {
		p.next = id + " " + next
	}
	return p, nil
}

// threatEvents reads findings by their ids, 50 at most, as events.
func threatEvents(ctx context.Context, api guardDutyAPI, detector, region string, ids []string) ([]json.RawMessage, error) {
	got, err := api.GetFindings(ctx, &guardduty.GetFindingsInput{DetectorId: &detector, FindingIds: ids})
	if err != nil {
		return nil, err
	}
	var out []json.RawMessage
	for _, f := range got.Findings {
		updated, _ := time.Parse(time.RFC3339, aws.ToString(f.UpdatedAt))
		event, err := envelope(place{Account: aws.ToString(f.AccountId), Region: region}, "aws.guardduty", "GuardDuty Finding", nil, updated, f)
		if err != nil {
			return nil, err
		}
		out = append(out, event)
	}
	return out, nil
}

// guardDutyMembers are the accounts whose findings the hub has.
func guardDutyMembers(ctx context.Context, api guardDutyAdministration) (map[string]bool, error) {
	id, err := detector(ctx, api)
	if err != nil || id == "" {
		return nil, err
	}
	out := map[string]bool{}
	for pages := guardduty.NewListMembersPaginator(api, &guardduty.ListMembersInput{DetectorId: &id, OnlyAssociated: aws.String("true"), MaxResults: aws.Int32(50)}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, m := range page.Members {
			if strings.EqualFold(aws.ToString(m.RelationshipStatus), "Enabled") {
				out[aws.ToString(m.AccountId)] = true
			}
		}
	}
	return out, nil
}

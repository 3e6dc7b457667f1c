package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/accessanalyzer"
	"github.com/aws/aws-sdk-go-v2/service/accessanalyzer/types"
)

// analyzerAPI are the calls to Access Analyzer.
type analyzerAPI interface {
	ListAnalyzers(context.Context, *accessanalyzer.ListAnalyzersInput, ...func(*accessanalyzer.Options)) (*accessanalyzer.ListAnalyzersOutput, error)
	ListFindingsV2(context.Context, *accessanalyzer.ListFindingsV2Input, ...func(*accessanalyzer.Options)) (*accessanalyzer.ListFindingsV2Output, error)
	GetFindingV2(context.Context, *accessanalyzer.GetFindingV2Input, ...func(*accessanalyzer.Options)) (*accessanalyzer.GetFindingV2Output, error)
}

// analyzers lists those of external access by their ARNs, in order: unused and internal access is acted on by no rule.
func analyzers(ctx context.Context, api analyzerAPI) ([]string, error) {
	var out []string
	for pages := accessanalyzer.NewListAnalyzersPaginator(api, &accessanalyzer.ListAnalyzersInput{}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, a := range page.Analyzers {
			if a.Type == types.TypeAccount || a.Type == types.TypeOrganization {
				out = append(out, aws.ToString(a.Arn))
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

// readAnalyzers reads 100 findings of one analyzer; the API cannot be asked for those of the last hours only. The list leaves out
// who has access: that is read for the findings that are missing, and for no other.
func readAnalyzers(ctx context.Context, api services, at place, since time.Time, cursor string) (page, error) {
	current, next, _ := strings.Cut(cursor, " ")
	if current == "" {
		var err error
		if current, err = following(ctx, api.analyzer, ""); err != nil || current == "" {
			return page{}, err
		}
	}
	out, err := api.analyzer.ListFindingsV2(ctx, &accessanalyzer.ListFindingsV2Input{
		AnalyzerArn: &current, MaxResults: aws.Int32(100), NextToken: token(next), Filter: map[string]types.Criterion{"status": {Eq: []string{string(types.FindingStatusActive)}}},
	})
	if err != nil {
		return page{}, err
	}
	var p page
	for _, f := range out.Findings {
		if f.FindingType != "" && f.FindingType != types.FindingTypeExternalAccess || aws.ToTime(f.UpdatedAt).Before(since) {
			continue
		}
		event, err := exposure(at, current, f, nil)
		if err != nil {
			return page{}, err
		}
		p.found = append(p.found, found{event: event, complete: func(ctx context.Context) (json.RawMessage, error) {
			whole, err := api.analyzer.GetFindingV2(ctx, &accessanalyzer.GetFindingV2Input{AnalyzerArn: &current, Id: f.Id})
			if err != nil {
				return nil, fmt.Errorf("read finding %s of %s: %w", aws.ToString(f.Id), current, err)
			}
			f.Status = whole.Status // it may have been resolved in between
			return exposure(at, current, f, whole.FindingDetails)
		}})
	}
	if next = aws.ToString(out.NextToken); next != "" {
		p.next = current + " " + next
		return p, nil
	}
	after, err := following(ctx, api.analyzer, current)
	if after != "" {
		p.next = after + " "
	}
	return p, err
}

// following is the analyzer after that one, "" after the last.
func following(ctx context.Context, api analyzerAPI, current string) (string, error) {
	all, err := analyzers(ctx, api)
	for _, a := range all {
		if a > current {
			return a, err
		}
	}
	return "", err
}

// exposure is the event of a finding about somebody outside (IAM User Guide, "Monitoring IAM Access Analyzer with Amazon EventBridge").
func exposure(at place, analyzer string, f types.FindingSummaryV2, details []types.FindingDetails) (json.RawMessage, error) {
	detail := map[string]any{
		"version": "1.0", "id": aws.ToString(f.Id), "status": f.Status, "resourceType": f.ResourceType, "resource": aws.ToString(f.Resource), "resourceOwnerAccount": aws.ToString(f.ResourceOwnerAccount),
		"accountId": aws.ToString(f.ResourceOwnerAccount), "region": at.Region, "createdAt": f.CreatedAt, "analyzedAt": f.AnalyzedAt, "updatedAt": f.UpdatedAt, "error": aws.ToString(f.Error), "isDeleted": false,
	}
	for _, d := range details {
		if x, ok := d.(*types.FindingDetailsMemberExternalAccessDetails); ok {
			detail["principal"], detail["action"], detail["condition"], detail["isPublic"] = x.Value.Principal, x.Value.Action, x.Value.Condition, aws.ToBool(x.Value.IsPublic)
			break
		}
	}
	return envelope(at, "aws.access-analyzer", "Access Analyzer Finding", []string{analyzer}, aws.ToTime(f.UpdatedAt), detail)
}

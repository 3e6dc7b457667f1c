// Package origin reads findings again where they were made: an event on a bus proves nothing, and nothing is destroyed on one.
package origin

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"firebreak/lib/action"
	"firebreak/lib/fault"
	"firebreak/lib/instance"
	"firebreak/lib/ledger"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
	"github.com/aws/aws-sdk-go-v2/service/guardduty/types"
)

// API is the call that this package makes, with the role Read.
type API interface {
	GetFindings(context.Context, *guardduty.GetFindingsInput, ...func(*guardduty.Options)) (*guardduty.GetFindingsOutput, error)
}

// Stands reads the incident's finding again at its source. names tells whether a finding is about what the call is about.
// Errors: NotVerified where the finding is not there, is archived, is a sample, or is about something else.
func Stands(ctx context.Context, store ledger.Store, c action.Call, open func(context.Context, action.Call) (API, error), names func(types.Finding) bool) error {
	meta, err := ledger.Load[ledger.Incident](ctx, store, ledger.IncidentKey(c.Incident.ID))
	if err != nil {
		return err
	}
	f := meta.Value.Finding
	switch {
	case !meta.Exists():
		return fault.New(fault.NotVerified, "incident %s is not in the ledger", c.Incident.ID)
	case f.Product != "aws/guardduty":
		return fault.New(fault.NotVerified, "findings of %s cannot be read at their source: a person has to look", f.Product)
	case f.Region != c.Target.Region || f.Account != c.Target.Account:
		return fault.New(fault.NotVerified, "the finding is of account %s in %s, the target is not", f.Account, f.Region)
	case f.Source == "" || f.NativeID == "":
		return fault.New(fault.NotVerified, "the incident does not say where its finding can be read")
	}
	api, err := open(ctx, c)
	if err != nil {
		return err
	}
	out, err := api.GetFindings(ctx, &guardduty.GetFindingsInput{DetectorId: &f.Source, FindingIds: []string{f.NativeID}})
	if instance.Code(err) == "BadRequestException" {
		return fault.Wrap(fault.NotVerified, err, "finding %s cannot be read again: GuardDuty does not know detector %s", f.NativeID, f.Source)
	}
	if err != nil {
		return fmt.Errorf("read finding %s at its source: %w", f.NativeID, err)
	}
	i := slices.IndexFunc(out.Findings, func(g types.Finding) bool { return aws.ToString(g.Id) == f.NativeID })
	if i < 0 {
		return fault.New(fault.NotVerified, "GuardDuty does not have finding %s any more", f.NativeID)
	}
	switch g := out.Findings[i]; {
	case g.Service != nil && aws.ToBool(g.Service.Archived):
		return fault.New(fault.NotVerified, "finding %s is archived", f.NativeID)
	case g.Service != nil && g.Service.AdditionalInfo != nil && strings.Contains(strings.ReplaceAll(aws.ToString(g.Service.AdditionalInfo.Value), " ", ""), `"sample":true`):
		return fault.New(fault.NotVerified, "finding %s is a sample", f.NativeID)
	case aws.ToString(g.AccountId) != c.Target.Account || !names(g):
		return fault.New(fault.NotVerified, "finding %s at its source does not name %s", f.NativeID, c.Target.Name())
	}
	return nil
}

// InSequence tells whether an attack sequence names a resource by one of these ids or ARNs.
func InSequence(g types.Finding, ids ...string) bool {
	if g.Service == nil || g.Service.Detection == nil || g.Service.Detection.Sequence == nil {
		return false
	}
	return slices.ContainsFunc(g.Service.Detection.Sequence.Resources, func(r types.ResourceV2) bool {
		return slices.Contains(ids, aws.ToString(r.Uid))
	})
}

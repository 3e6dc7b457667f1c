// Command restart-trail makes a CloudTrail trail log again.
//
// It starts the trail and reads that it logs. The second time it logs and nothing is changed. It has no undo: stopping a trail
// again would restore an attacker's silence.
//
// What the trail leaves out (event selectors, regions, global services), what of that has changed since it was last seen to log, and
// whether it delivers is said and not changed: an attacker can blind a trail without stopping it. A trail that was deleted is
// refused, not called gone, because nothing logs then; so is an organization's trail in another account, which only that account can
// start: its operator is told how.
package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/boot"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
)

// reads are the calls that look, made as the Read role.
type reads interface {
	GetTrail(context.Context, *cloudtrail.GetTrailInput, ...func(*cloudtrail.Options)) (*cloudtrail.GetTrailOutput, error)
	GetTrailStatus(context.Context, *cloudtrail.GetTrailStatusInput, ...func(*cloudtrail.Options)) (*cloudtrail.GetTrailStatusOutput, error)
	GetEventSelectors(context.Context, *cloudtrail.GetEventSelectorsInput, ...func(*cloudtrail.Options)) (*cloudtrail.GetEventSelectorsOutput, error)
	ListTags(context.Context, *cloudtrail.ListTagsInput, ...func(*cloudtrail.Options)) (*cloudtrail.ListTagsOutput, error)
	DescribeTrails(context.Context, *cloudtrail.DescribeTrailsInput, ...func(*cloudtrail.Options)) (*cloudtrail.DescribeTrailsOutput, error)
}

// changes are the calls that change, made as the Data role.
type changes interface {
	StartLogging(context.Context, *cloudtrail.StartLoggingInput, ...func(*cloudtrail.Options)) (*cloudtrail.StartLoggingOutput, error)
}

// restart is the action. Owned field: "logging", true or false. "selectors", a digest of what the trail records, is kept beside
// it and never changed.
type restart struct {
	store   ledger.Store
	reads   func(context.Context, action.Call) (reads, error)
	changes func(context.Context, action.Call) (changes, error)
	// seen has what there is to say of a target, as the latest Observe read it.
	seen *sync.Map
}

func (r restart) Observe(ctx context.Context, c action.Call) (action.State, error) {
	if err := trail(c); err != nil {
		return nil, err
	}
	name := c.Target.Name()
	api, err := r.reads(ctx, c)
	if err != nil {
		return nil, err
	}
	found, err := find(ctx, api, c, name)
	if err != nil {
		return nil, err
	}
	status, err := api.GetTrailStatus(ctx, &cloudtrail.GetTrailStatusInput{Name: &c.Target.ARN})
	if err != nil {
		return nil, fmt.Errorf("read the status of trail %s: %w", name, err)
	}
	selectors, err := api.GetEventSelectors(ctx, &cloudtrail.GetEventSelectorsInput{TrailName: &c.Target.ARN})
	if err != nil {
		return nil, fmt.Errorf("read the event selectors of trail %s: %w", name, err)
	}
	s := action.State{"logging": strconv.FormatBool(aws.ToBool(status.IsLogging)), "selectors": digest(selectors)}
	notes := append(gaps(found, selectors, s["selectors"], c.With["selectors"]), said(found, status)...)
	known, err := r.before(ctx, c)
	if err != nil {
		return nil, err
	}
	if known != "" && known != s["selectors"] {
		notes = append(notes, fmt.Sprintf("its event selectors (sha256 %s) are not the ones that it had when Firebreak last saw it log (%s): look who has changed what it records", s["selectors"], known))
	}
	r.seen.Store(c.Target.ARN, notes)
	return s, nil
}

// find reads the trail and refuses what cannot be started from its account.
func find(ctx context.Context, api reads, c action.Call, name string) (*types.Trail, error) {
	out, err := api.GetTrail(ctx, &cloudtrail.GetTrailInput{Name: &c.Target.ARN})
	var no *types.TrailNotFoundException
	switch {
	case err == nil && out.Trail == nil:
		return nil, fault.New(fault.Unexpected, "CloudTrail answered without trail %s", name)
	case err == nil:
		return out.Trail, foreign(c, out.Trail)
	case !errors.As(err, &no):
		return nil, fmt.Errorf("read trail %s: %w", name, err)
	}
	all, err := api.DescribeTrails(ctx, &cloudtrail.DescribeTrailsInput{IncludeShadowTrails: aws.Bool(true)})
	if err != nil {
		return nil, fmt.Errorf("look for trail %s among those of other accounts: %w", name, err)
	}
	for _, t := range all.TrailList {
		if err := foreign(c, &t); aws.ToString(t.Name) == name && err != nil {
			return nil, err
		}
	}
	return nil, action.Refuse("the trail %s was deleted, and nothing logs in its place: make it again from its template, then look in the event history who deleted it", c.Target.ARN)
}

// foreign refuses an organization's trail where another account has it: members cannot start one (AWS: StartLogging,
// NotOrganizationMasterAccountException).
func foreign(c action.Call, t *types.Trail) error {
	a, err := arn.Parse(aws.ToString(t.TrailARN))
	if err != nil || a.AccountID == c.Target.Account {
		return nil
	}
	return action.Refuse("%s", elsewhere(a.String(), a.AccountID, aws.ToString(t.HomeRegion)))
}

// elsewhere says what somebody in another account has to do.
func elsewhere(trail, account, region string) string {
	return fmt.Sprintf("%s is the organization's trail, and account %s has it, which members cannot start it in: its operator has to run aws cloudtrail start-logging --name %s --region %s there, then look in that account's event history who stopped it", trail, account, trail, region)
}

// Foreign is for a finding in a member account that names the organization's trail by its own ARN.
func (r restart) Foreign(t incident.Target) string {
	if t.Service != "cloudtrail" || !strings.HasPrefix(t.Resource, "trail/") {
		return ""
	}
	return elsewhere(t.ARN, t.Account, t.Region)
}

// before gives the selectors that the trail had when it was last seen to log, "" where it never was.
func (r restart) before(ctx context.Context, c action.Call) (string, error) {
	hold, err := ledger.Load[ledger.Hold](ctx, r.store, ledger.HoldKey(c.Target.ARN, "restart-trail"))
	return hold.Value.After["selectors"], err
}

func (r restart) Intent(action.Call, action.State) (action.State, error) {
	return action.State{"logging": "true"}, nil
}

func (r restart) Contained(_ action.Call, s action.State) bool { return s["logging"] == "true" }

func (r restart) Apply(ctx context.Context, c action.Call, _, _ action.State) error {
	api, err := r.changes(ctx, c)
	if err != nil {
		return err
	}
	if _, err := api.StartLogging(ctx, &cloudtrail.StartLoggingInput{Name: &c.Target.ARN}); err != nil {
		return fmt.Errorf("start trail %s: %w", c.Target.Name(), err)
	}
	return nil
}

// NoUndo says why there is none.
func (r restart) NoUndo() string {
	return "stopping a trail would restore the attacker's silence, which is nothing to give back"
}

// Restore is never called.
func (r restart) Restore(context.Context, action.Call, action.State, action.State) error {
	return action.Refuse("%s", r.NoUndo())
}

// Tags are the trail's; one that does not exist has none.
func (r restart) Tags(ctx context.Context, c action.Call) (map[string]string, error) {
	if err := trail(c); err != nil {
		return nil, err
	}
	api, err := r.reads(ctx, c)
	if err != nil {
		return nil, err
	}
	out, err := api.ListTags(ctx, &cloudtrail.ListTagsInput{ResourceIdList: []string{c.Target.ARN}})
	var no *types.ResourceNotFoundException
	var none *types.TrailNotFoundException
	if errors.As(err, &no) || errors.As(err, &none) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the tags of trail %s: %w", c.Target.Name(), err)
	}
	tags := map[string]string{}
	for _, r := range out.ResourceTagList {
		for _, t := range r.TagsList {
			tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
		}
	}
	return tags, nil
}

// trail tells that the target is none. Errors: BadInput.
func trail(c action.Call) error {
	if c.Target.Service != "cloudtrail" || !strings.HasPrefix(c.Target.Resource, "trail/") {
		return fault.New(fault.BadInput, "%s is not a trail", c.Target.ARN)
	}
	return nil
}

func (r restart) Notes(c action.Call, _ action.State) []string {
	if said, ok := r.seen.Load(c.Target.ARN); ok {
		return said.([]string)
	}
	return nil
}

// looking are the statements of a session that looks. DescribeTrails has no resource level.
func looking(c action.Call) []account.Statement {
	return []account.Statement{
		{Actions: []string{"cloudtrail:GetTrail", "cloudtrail:GetTrailStatus", "cloudtrail:GetEventSelectors", "cloudtrail:ListTags"}, Resources: []string{c.Target.ARN}},
		{Actions: []string{"cloudtrail:DescribeTrails"}, Resources: []string{"*"}},
	}
}

// changing are those of one that changes.
func changing(c action.Call) []account.Statement {
	return []account.Statement{{Actions: []string{"cloudtrail:StartLogging"}, Resources: []string{c.Target.ARN}}}
}

func main() {
	b := boot.Load()
	boot.Start(action.NewSpine(b.Store(), b.Installation()).Containing("restart-trail", wired(b.Store(), b.Access())))
}

// wired is the action with the roles of accounts that it takes.
func wired(store ledger.Store, access account.Access) restart {
	return restart{
		store: store,
		reads: func(ctx context.Context, c action.Call) (reads, error) {
			cfg, err := access.Config(ctx, account.Read, c.Scope(), looking(c)...)
			return cloudtrail.NewFromConfig(cfg), err
		},
		changes: func(ctx context.Context, c action.Call) (changes, error) {
			cfg, err := access.Config(ctx, account.Data, c.Scope(), changing(c)...)
			return cloudtrail.NewFromConfig(cfg), err
		},
		seen: &sync.Map{},
	}
}

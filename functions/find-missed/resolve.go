package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"firebreak/lib/channel"
	"firebreak/lib/closure"
	"firebreak/lib/fault"
	"firebreak/lib/finding"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/accessanalyzer"
	aatypes "github.com/aws/aws-sdk-go-v2/service/accessanalyzer/types"
	configtypes "github.com/aws/aws-sdk-go-v2/service/configservice/types"
	"github.com/aws/aws-sdk-go-v2/service/securityhub"
	"github.com/aws/aws-sdk-go-v2/service/securityhub/types"
)

// Resolution counts the incidents whose findings were read again at their source.
type Resolution struct {
	Open   int `json:"open"`   // incidents whose turn it was
	Closed int `json:"closed"` // whose finding its source has resolved
	Busy   int `json:"busy"`   // resolved too, and left open: something of them goes on, or somebody has changed them just now
	Unread int `json:"unread"` // whose finding could not be read, or that could not be closed
}

// turn remembers the incident that was looked at last: MISSED / OPEN.
type turn struct {
	After string `json:"after"`
}

// mostOpen is how many incidents are looked at in a run, atATime how many findings of one place are, mostPages how much of one
// control or rule is read for them, share how long all of it may take besides what is missed. The next run goes on.
const (
	mostOpen  = 500
	atATime   = 50 // what GetFindings of GuardDuty takes
	mostPages = 10
	share     = 15 * time.Second
)

// open is an incident that a source may have resolved, and where to ask.
type open struct {
	ledger.Incident
	at place
}

func (o open) order() string { return o.at.String() + " " + o.Finding.Source + " " + o.ID }

// askable are the sources that say of a finding that it is resolved, by product. What another product resolves, people close.
var askable = map[string]string{finding.GuardDuty: guardDuty, finding.SecurityHub: securityHub, finding.Config: config, finding.AccessAnalyzer: accessAnalyzer}

// resolve closes the incidents whose findings their sources have resolved. A source that cannot be read closes nothing and keeps no
// other from being read. Errors: the ledger cannot be read.
func (p *pass) resolve(ctx context.Context) error {
	until := p.now().Add(share)
	queue, last, err := p.queue(ctx)
	if err != nil {
		return err
	}
	was := last.Value.After
	for len(queue) > 0 && p.now().Before(until) {
		n := slices.IndexFunc(queue, func(o open) bool { return o.at != queue[0].at || o.Finding.Source != queue[0].Finding.Source })
		if n < 0 {
			n = len(queue)
		}
		n = min(n, atATime)
		p.ask(ctx, queue[0].at, queue[:n])
		last.Value.After = queue[n-1].order()
		queue = queue[n:]
	}
	if last.Value.After == was {
		return nil
	}
	if err := ledger.Save(ctx, p.store, &last); err != nil && !errors.Is(err, ledger.ErrConflict) {
		return err
	}
	return nil
}

// queue gives the open incidents whose turn it is, those of one detector, control, rule or analyzer next to each other.
func (p *pass) queue(ctx context.Context) ([]open, ledger.Item[turn], error) {
	last, err := ledger.Load[turn](ctx, p.store, ledger.Key{PK: "MISSED", SK: "OPEN"})
	if err != nil {
		return nil, last, err
	}
	var all []open
	for _, band := range incident.Bands() {
		items, err := ledger.Open[ledger.Incident](ctx, p.store, ledger.IncidentGroup(band))
		if err != nil {
			return nil, last, err
		}
		for _, it := range items {
			if at, ok := p.origin(it.Value); ok {
				all = append(all, open{it.Value, at})
			}
		}
	}
	slices.SortFunc(all, func(a, b open) int { return strings.Compare(a.order(), b.order()) })
	from, found := slices.BinarySearchFunc(all, last.Value.After, func(o open, after string) int { return strings.Compare(o.order(), after) })
	if found {
		from++
	}
	all = append(slices.Clone(all[from:]), all[:from]...)
	return all[:min(len(all), mostOpen)], last, nil
}

// origin is where an incident's finding can be read again: in its own account, or where the analyzer is that made it.
func (p *pass) origin(in ledger.Incident) (place, bool) {
	f := in.Finding
	at := place{Source: askable[f.Product], Account: f.Account, Region: f.Region}
	if at.Source == accessAnalyzer {
		if parts := strings.Split(f.Source, ":"); len(parts) == 6 {
			at.Account = parts[4]
		}
	}
	at.own = at.Account == p.hub() && at.Source != config
	a, ok := p.in.Account(at.Account)
	known := at.Source == guardDuty || at.Source != "" && f.Source != ""
	return at, known && (at.own || ok && slices.Contains(a.Regions, at.Region))
}

// ask reads the findings of incidents of one source, and closes those that it has resolved.
func (p *pass) ask(ctx context.Context, at place, list []open) {
	count := &p.report.Resolved
	count.Open += len(list)
	api, err := p.enter(ctx, at)
	var events []json.RawMessage
	if err == nil {
		events, err = again(ctx, api, at, list)
	}
	if err != nil && !off(err) {
		count.Unread += len(list)
		slog.WarnContext(ctx, "whether findings are resolved is not known", "place", at.String(), "incidents", len(list), "error", err.Error())
	}
	for _, event := range events {
		one, err := decoded(event)
		if err != nil || one.Refusal != nil {
			continue
		}
		i := slices.IndexFunc(list, func(o open) bool { return o.ID == one.IncidentID() })
		if i < 0 {
			continue
		}
		switch err := p.settle(ctx, list[i].Incident, one); {
		case err == nil:
		case fault.Is(err, fault.Busy), errors.Is(err, ledger.ErrConflict):
			count.Busy++
			slog.InfoContext(ctx, "resolved at its source, and left open", "incident", list[i].ID, "reason", err.Error())
		default:
			count.Unread++
			slog.ErrorContext(ctx, "an incident whose finding is resolved is not closed", "incident", list[i].ID, "error", err.Error())
		}
	}
}

// settle closes an incident whose finding its source has resolved. It counts as closed from when the finding was last seen, so that
// whatever is seen after that opens the incident again, also when that is on its way already.
func (p *pass) settle(ctx context.Context, in ledger.Incident, one finding.Finding) error {
	why := one.Idle()
	if why == "" || one.Sample || one.Doubt != "" {
		return nil
	}
	meta, err := ledger.Load[ledger.Incident](ctx, p.store, ledger.IncidentKey(in.ID))
	if err != nil {
		return err
	}
	m, now := meta.Value, p.now()
	// A copy that was seen later than what the source tells is not answered by it.
	if m.Status != incident.Open && m.Status != incident.Contained || m.Episode != in.Episode || one.LastSeen.Before(m.LastSeen) && one.Updated.Before(m.LastSeen) {
		return nil
	}
	held, err := p.closing.Held(ctx, p.store, m, now)
	if err != nil {
		return err
	}
	last := one.LastSeen
	if m.LastSeen.After(last) {
		last = m.LastSeen
	}
	if last.After(now) {
		last = now
	}
	if err := p.tellClosing(ctx, m, one, why, held); err != nil {
		return err
	}
	if err := p.forget(ctx, m); err != nil {
		return err
	}
	slog.InfoContext(ctx, "close", "incident", m.ID, "episode", m.Episode, "status", m.Status, "reason", why)
	event := ledger.Event{Time: now, State: "FindMissed", Who: "find-missed", What: "resolved at its source: " + why, Why: "the source has resolved the finding"}
	if err := closure.Close(ctx, p.store, meta, last, held, event); err != nil {
		return err
	}
	p.report.Resolved.Closed++
	return nil
}

// forget takes an incident out of what its rule of Config said at the last reading: that the rule says it again is a change then.
func (p *pass) forget(ctx context.Context, m ledger.Incident) error {
	if m.Finding.Product != finding.Config {
		return nil
	}
	rule, _, _ := strings.Cut(m.Finding.NativeID, "|")
	it, err := ledger.Load[standing](ctx, p.store, ledger.Key{PK: memoryOf(place{Account: m.Finding.Account, Region: m.Finding.Region}), SK: "RULE#" + rule})
	i, stood := slices.BinarySearch(it.Value.Incidents, m.ID)
	if err != nil || !stood {
		return err
	}
	it.Value.Incidents = slices.Delete(it.Value.Incidents, i, i+1)
	return ledger.Save(ctx, p.store, &it)
}

// tellClosing tells people what they would not look for: that an incident is closed that was not contained, and that somebody has archived
// or marked the finding of one that still holds something, which a thief can do too. They are told before: nobody looks at a closed incident again.
func (p *pass) tellClosing(ctx context.Context, m ledger.Incident, one finding.Finding, why string, held []string) error {
	stood, rest := "was not contained", "Not done: "+channel.Line(m.Needs, 1000)
	if m.Status == incident.Contained {
		if !one.Archived && !one.Marked || len(held) == 0 {
			return nil
		}
		stood = "was contained"
		rest = fmt.Sprintf("Still held: %s. Nobody looks any more whether it stays so. To give it back: scripts/firebreak release %s --plan says what that would be. If none of you did that, somebody is hiding it", channel.Line(strings.Join(held, ", "), 1000), m.ID)
	}
	_, err := p.topic.Once(ctx, p.store, m.ID, m.Episode, "resolved", channel.Message{
		Subject: m.ID + " is closed: it was resolved at its source", Severity: m.Band,
		Body: fmt.Sprintf("%s in %s %s, and its source says now: %s.\n\n%s\n\nFirebreak closes it and undoes nothing. Look: scripts/firebreak show %s\n", channel.Plain(m.Finding.Type), m.Finding.Account, stood, why, rest, m.ID),
	})
	return err
}

// again reads findings of one source once more, each as the event that its service would send of it now.
func again(ctx context.Context, api services, at place, list []open) ([]json.RawMessage, error) {
	switch at.Source {
	case guardDuty:
		return threatsAgain(ctx, api.guardDuty, at, list)
	case securityHub:
		return checksAgain(ctx, api.securityHub, at, list[0].Finding.Source)
	case config:
		return ruleAgain(ctx, api.config, at, list[0].Finding.Source)
	}
	return sharesAgain(ctx, api.analyzer, at, list)
}

func threatsAgain(ctx context.Context, api guardDutyAPI, at place, list []open) ([]json.RawMessage, error) {
	id, err := detector(ctx, api)
	if err != nil || id == "" {
		return nil, err
	}
	var ids []string
	for _, o := range list {
		ids = append(ids, o.Finding.NativeID)
	}
	return threatEvents(ctx, api, id, at.Region, ids)
}

// checksAgain reads what a control says in the account: findings cannot be asked for by the id that the ledger keeps.
func checksAgain(ctx context.Context, api securityHubAPI, at place, control string) ([]json.RawMessage, error) {
	var out []json.RawMessage
	pages := securityhub.NewGetFindingsPaginator(api, &securityhub.GetFindingsInput{MaxResults: aws.Int32(100), Filters: &types.AwsSecurityFindingFilters{
		AwsAccountId: equals(at.Account), Region: equals(at.Region), GeneratorId: equals(control),
	}})
	for n := 0; pages.HasMorePages() && n < mostPages; n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return out, err
		}
		for _, f := range page.Findings {
			// What could not be checked is not resolved.
			if c := f.Compliance; c != nil && c.Status != types.ComplianceStatusPassed && c.Status != types.ComplianceStatusFailed {
				continue
			}
			event, err := hubEvent(at.Region, f)
			if err != nil {
				return out, err
			}
			out = append(out, event)
		}
	}
	return out, nil
}

// ruleAgain reads what a rule calls COMPLIANT. What it does not speak of is not resolved: the resource may be deleted, or the rule.
func ruleAgain(ctx context.Context, api configAPI, at place, name string) ([]json.RawMessage, error) {
	rules, err := describe(ctx, api, []string{name})
	if err != nil || len(rules) == 0 {
		return nil, err
	}
	return evaluations(ctx, api, at, rules[0], configtypes.ComplianceTypeCompliant, mostPages)
}

func sharesAgain(ctx context.Context, api analyzerAPI, at place, list []open) ([]json.RawMessage, error) {
	var out []json.RawMessage
	for _, o := range list {
		f, err := api.GetFindingV2(ctx, &accessanalyzer.GetFindingV2Input{AnalyzerArn: &o.Finding.Source, Id: &o.Finding.NativeID})
		var gone *aatypes.ResourceNotFoundException
		if errors.As(err, &gone) {
			continue
		}
		if err != nil {
			return out, err
		}
		event, err := exposure(at, o.Finding.Source, aatypes.FindingSummaryV2{
			Id: f.Id, Status: f.Status, ResourceType: f.ResourceType, Resource: f.Resource, ResourceOwnerAccount: f.ResourceOwnerAccount,
			CreatedAt: f.CreatedAt, AnalyzedAt: f.AnalyzedAt, UpdatedAt: f.UpdatedAt, Error: f.Error,
		}, f.FindingDetails)
		if err != nil {
			return out, err
		}
		out = append(out, event)
	}
	return out, nil
}

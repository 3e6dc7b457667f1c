package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"firebreak/lib/account"
	"firebreak/lib/channel"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
)

// request is what the clock sends, or a person who does not want to wait for the next hour.
type request struct {
	// Again reads all places, those too that were read this hour.
	Again bool `json:"again,omitempty"`
}

// progress is how far a place was read: MISSED / PLACE#<source>#<account>#<region>.
type progress struct {
	place
	// Pass is the hour that the place was last read in to its end, or is being read for.
	Pass time.Time `json:"pass"`
	// Since is what its findings were updated after; it moves when the place was read to its end, and not before.
	Since  time.Time `json:"since"`
	Cursor string    `json:"cursor"`
	Done   bool      `json:"done"`
	// Read is when the reading began that came to the end.
	Read time.Time `json:"read,omitzero"`
	// Began is when this one did.
	Began time.Time `json:"began"`
	// Failures counts the runs on end that got no further, Error says why the last one did not.
	Failures int    `json:"failures,omitempty"`
	Error    string `json:"error,omitempty"`
}

// pass is one run.
type pass struct {
	missed
	in    setting.Installed
	until time.Time

	mu     sync.Mutex
	report Report
	looked map[string]bool // incidents that were looked up in this run
}

// at once is how many places are read at the same time: each is another account's quota, but for the hub's.
const atOnce = 8

// attempts is how often a page is asked for in one run, with a longer pause each time.
const attempts = 5

// handle reads what is due. One place that cannot be read keeps no other waiting: it is told to people, and tried again at the next
// run. Errors: where the settings or the ledger cannot be read, and nothing can be done.
func (m missed) handle(ctx context.Context, r request) (Report, error) {
	in, err := m.settings.Read(ctx)
	if err != nil {
		return Report{}, err
	}
	p := &pass{missed: m, in: in, until: m.now().Add(m.box), report: Report{Sources: map[string]*Count{}}, looked: map[string]bool{}}
	for _, s := range sources {
		p.report.Sources[s] = &Count{}
	}
	due, err := p.due(ctx, r)
	if err != nil {
		return Report{}, err
	}
	work := make(chan *ledger.Item[progress])
	var readers sync.WaitGroup
	for range atOnce {
		readers.Go(func() {
			for it := range work {
				p.walk(ctx, it)
			}
		})
	}
	for _, it := range due {
		work <- it
	}
	close(work)
	readers.Wait()
	err = errors.Join(p.tell(ctx, due), p.resolve(ctx))
	p.measure(ctx)
	return p.report, err
}

// due lists the places that were not read to their end this hour, those first that were longest not.
func (p *pass) due(ctx context.Context, r request) ([]*ledger.Item[progress], error) {
	now := p.now()
	hour := now.Truncate(time.Hour)
	items, err := ledger.List[progress](ctx, p.store, "MISSED", "PLACE#")
	if err != nil {
		return nil, err
	}
	known := map[ledger.Key]*ledger.Item[progress]{}
	for _, it := range items {
		known[it.Key] = &it
	}
	var due []*ledger.Item[progress]
	for _, at := range p.places(ctx) {
		it := known[at.key()]
		if it == nil {
			it = &ledger.Item[progress]{Key: at.key()}
		}
		v := &it.Value
		if v.place = at; v.Done && v.Pass.Equal(hour) && !r.Again {
			continue
		}
		if v.Done || v.Began.IsZero() {
			// What was read before it could not be read for a while is read from there on.
			since := now.Add(-p.in.Sweep.Window())
			if before := v.Read.Add(-2 * grace); !v.Read.IsZero() && before.Before(since) {
				since = before
			}
			v.Since, v.Began, v.Cursor, v.Done = since, now, "", false
		}
		v.Pass = hour
		due = append(due, it)
	}
	slices.SortStableFunc(due, func(a, b *ledger.Item[progress]) int { return a.Value.Read.Compare(b.Value.Read) })
	return due, nil
}

// places lists what there is to read: the hub's own place of a source, where it has the findings of others, and the accounts that
// it does not have. AWS Config is read in each account, and Access Analyzer in the hub for the organization's analyzer, in the
// accounts for theirs.
func (p *pass) places(ctx context.Context) []place {
	var out []place
	covered := map[string]bool{} // source, account, region
	var regions []string
	for _, a := range p.in.Accounts {
		regions = append(regions, a.Regions...)
	}
	slices.Sort(regions)
	for _, region := range slices.Compact(regions) {
		for source, has := range p.administered(ctx, region) {
			out = append(out, place{source, p.hub(), region, true})
			for id := range has {
				covered[source+id+region] = true
			}
		}
	}
	for _, a := range p.in.Accounts {
		for _, region := range a.Regions {
			for _, source := range sources {
				if !covered[source+a.ID+region] {
					out = append(out, place{source, a.ID, region, false})
				}
			}
		}
	}
	return out
}

// administered gives, by source, the accounts whose findings the hub has in a region. Where it does not say, each account is read.
func (p *pass) administered(ctx context.Context, region string) map[string]map[string]bool {
	own := p.own(region)
	out := map[string]map[string]bool{accessAnalyzer: {p.hub(): true}}
	threats, err := guardDutyMembers(ctx, own.guardDuty)
	findings, also := securityHubMembers(ctx, own.securityHub)
	for source, has := range map[string]map[string]bool{guardDuty: threats, securityHub: findings} {
		if len(has) > 0 {
			has[p.hub()] = true
			out[source] = has
		}
	}
	for _, err := range []error{err, also} {
		if err != nil && !off(err) {
			slog.WarnContext(ctx, "the hub does not say whose findings it has", "region", region, "error", err.Error())
		}
	}
	return out
}

// walk reads a place to its end, as far as the time allows. Where a page cannot be read the next run goes on there; a single
// finding or rule that fails keeps no other, and the place is read again at the next run.
func (p *pass) walk(ctx context.Context, it *ledger.Item[progress]) {
	v := &it.Value
	count := p.report.Sources[v.Source]
	tries, pages := 0, 0
	var skipped []error
	for p.now().Before(p.until) {
		passed, err := p.page(ctx, it)
		if err == nil {
			skipped = append(skipped, passed...)
			if v.Cursor == "" && len(skipped) > 0 {
				err = errors.Join(skipped...)
			}
		}
		switch {
		case off(err):
			v.Cursor, err = "", nil
			p.add(&count.Off)
		case err == nil:
		case lost(err) && v.Cursor != "" && tries < attempts:
			v.Cursor, tries = "", tries+1 // from the beginning: what was started stays started
			continue
		case tries < attempts-1 && ctx.Err() == nil && fault.Is(err, fault.Throttled):
			p.wait(ctx, time.Second<<tries)
			tries++
			continue
		default:
			v.Failures, v.Error = v.Failures+1, channel.Line(err.Error(), 500)
			slog.ErrorContext(ctx, "a place cannot be read", "place", v.String(), "failures", v.Failures, "error", err.Error())
			p.add(&count.Unread)
			p.save(ctx, it)
			return
		}
		tries, pages, v.Failures, v.Error = 0, pages+1, 0, ""
		if v.Cursor == "" {
			v.Done, v.Read = true, v.Began
		}
		if !p.save(ctx, it) || v.Done {
			return
		}
	}
	p.add(&count.Waiting)
	if pages == 0 {
		v.Failures, v.Error = v.Failures+1, "there was no time left to begin"
		p.add(&count.Unread)
		p.save(ctx, it)
	}
}

// save keeps how far the place was read, and tells whether it did. Where somebody else has read it meanwhile, they go on with it.
func (p *pass) save(ctx context.Context, it *ledger.Item[progress]) bool {
	err := ledger.Save(ctx, p.store, it)
	if err != nil {
		slog.WarnContext(ctx, "how far a place was read is not kept: it is read again", "place", it.Value.String(), "error", err.Error())
		if !errors.Is(err, ledger.ErrConflict) {
			p.add(&p.report.Sources[it.Value.Source].Unread)
		}
	}
	return err == nil
}

// enter gives the calls for a place.
func (p *pass) enter(ctx context.Context, at place) (services, error) {
	if at.own {
		return p.own(at.Region).services(), nil
	}
	return p.open(ctx, account.Scope{Partition: p.partition(), Account: at.Account, Region: at.Region, Incident: session})
}

// page reads one page and starts what is missing of it, and moves the cursor on. passed are the findings and rules of it that failed
// and may fail for good. Errors: the page cannot be read, or not all of it just now.
func (p *pass) page(ctx context.Context, it *ledger.Item[progress]) (passed []error, err error) {
	v := &it.Value
	api, err := p.enter(ctx, v.place)
	if err != nil {
		return nil, err
	}
	got, err := p.reads()[v.Source](ctx, api, v.place, v.Since, v.Cursor)
	if err != nil {
		return nil, err
	}
	errs := got.failed
	for _, f := range got.found {
		errs = append(errs, p.look(ctx, v.place, f))
	}
	for _, memory := range got.memory {
		errs = append(errs, p.remember(ctx, memory))
	}
	for _, err := range errs {
		switch {
		case fault.Is(err, fault.Throttled):
			return nil, err
		case err != nil:
			passed = append(passed, err)
		}
	}
	v.Cursor = got.next
	return passed, nil
}

// tell says which accounts could not be read twice on end, once a day and account.
func (p *pass) tell(ctx context.Context, due []*ledger.Item[progress]) error {
	why := map[string][]string{}
	for _, it := range due {
		if it.Value.Failures > 1 {
			why[it.Value.Account] = append(why[it.Value.Account], it.Value.String()+": "+it.Value.Error)
		}
	}
	var errs []error
	for _, id := range slices.Sorted(maps.Keys(why)) {
		slices.Sort(why[id])
		_, err := p.topic.Once(ctx, p.store, "FIND-MISSED", int(p.now().Unix()/86400), "unread-"+id, channel.Message{
			Subject: "Firebreak cannot read the findings of account " + id, Severity: incident.High,
			Body: fmt.Sprintf("Whether an event was lost there is not known until they can be read. It is tried again each quarter of an hour.\n\n%s\n\nThe role is SecurityRemediationRole-Read of the account: scripts/deploy member makes it.\n", strings.Join(why[id], "\n")),
		})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

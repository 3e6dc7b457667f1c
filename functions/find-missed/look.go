package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"firebreak/lib/finding"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/reference"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// grace is how long an event may be on its way before it counts as missed: GuardDuty's come within five minutes.
const grace = 10 * time.Minute

// verdict is what a finding at its source is to Firebreak.
type verdict int

const (
	idle     verdict = iota // never acted on: a sample, archived, passed
	foreign                 // of an account or region that Firebreak does not look after
	young                   // its event may be on its way
	known                   // in the ledger
	unmoved                 // stood already at the last reading
	missing                 // nothing is known of it
	renewed                 // known, and more severe or newer than its closed incident
	unlooked                // could not be looked up or started
)

// look finds out what a finding is, and starts the machine for it where nobody has.
func (p *pass) look(ctx context.Context, at place, f found) error {
	count := p.report.Sources[at.Source]
	p.add(&count.Read)
	one, err := decoded(f.event)
	if err != nil {
		return fmt.Errorf("a finding of %s: %w", at, err)
	}
	id := one.IncidentID()
	v, err := p.verdict(ctx, at, one, f, id)
	was := false
	if err == nil && (v == missing || v == renewed) {
		was, err = p.start(ctx, f, one)
	}
	if err != nil {
		p.add(&count.Failed)
		p.disclaim(id)
		return fmt.Errorf("finding %s of %s (%s): %w", one.NativeID, at, id, err)
	}
	switch v {
	case idle:
		p.add(&count.Idle)
	case foreign:
		p.add(&count.Foreign)
	case young:
		p.add(&count.Young)
		return nil // not remembered as standing: the next reading looks again
	case known:
		p.add(&count.Known)
	case unmoved:
		p.add(&count.Standing)
	case missing, renewed:
		switch {
		case was:
			p.add(&count.Known)
		case v == missing:
			p.add(&count.Missing)
			p.add(&count.Started)
		default:
			p.add(&count.Renewed)
			p.add(&count.Started)
		}
	}
	if f.rule != nil {
		f.rule.Value.now = append(f.rule.Value.now, id)
	}
	return nil
}

// decoded reads the event as the machine's first state will. One that it refuses stands for itself there too.
func decoded(event []byte) (finding.Finding, error) {
	list, err := finding.Decode(event)
	if r := finding.Refused(err); r != nil {
		f := r.Finding()
		if !r.Tell {
			f.Settled = r.Reason
		}
		return f, nil
	}
	if err != nil {
		return finding.Finding{}, err
	}
	return list[0], nil
}

func (p *pass) verdict(ctx context.Context, at place, one finding.Finding, f found, id string) (verdict, error) {
	if one.Idle() != "" {
		return idle, nil
	}
	if a, ok := p.in.Account(one.Account); !ok || !slices.Contains(a.Regions, one.Region) {
		return foreign, nil
	}
	if f.rule != nil && f.rule.Value.stood(id) {
		return unmoved, nil
	}
	if p.now().Sub(one.Updated) < grace {
		return young, nil
	}
	if !p.claim(id) {
		return known, nil
	}
	it, err := ledger.Load[ledger.Incident](ctx, p.store, ledger.IncidentKey(id))
	switch m := it.Value; {
	case err != nil:
		return unlooked, err
	case it.Exists() && (one.Band.Above(m.Band) || m.Status == incident.Closed && one.LastSeen.After(m.ClosedAt)):
		return renewed, nil
	case it.Exists():
		return known, nil
	}
	// One that was set aside has no incident, and has arrived all the same; what its source has changed since then has not.
	copies, err := ledger.List[aside](ctx, p.store, "INC#"+id, "COPY#")
	switch {
	case err != nil:
		return unlooked, err
	case slices.ContainsFunc(copies, func(it ledger.Item[aside]) bool { return !it.Value.At.Before(one.Updated) }):
		return known, nil
	}
	return missing, nil
}

// aside is what counts here of a copy that may not act: when it arrived.
type aside struct {
	At time.Time `json:"at"`
}

// claim tells whether nobody has looked after the incident in this run: a finding comes from several sources at once.
func (p *pass) claim(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.looked[id] {
		return false
	}
	p.looked[id] = true
	return true
}

func (p *pass) disclaim(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.looked, id)
}

// start starts the machine with the event that did not come. The execution is named after the incident and the finding's update: a
// second run starts none again, and where the event arrives at the same moment, the machine takes the incident once. was says that
// it was started before.
func (p *pass) start(ctx context.Context, f found, one finding.Finding) (was bool, err error) {
	event := f.event
	if f.complete != nil {
		if event, err = f.complete(ctx); err != nil {
			return false, err
		}
	}
	input, err := reference.Input(ctx, p.evidence, p.bucket, event)
	if err != nil {
		return false, err
	}
	sum := sha256.Sum256([]byte(fmt.Sprint(one.IncidentID(), ledger.Stamp(one.Updated), ledger.Stamp(one.LastSeen), one.Band)))
	name := one.IncidentID() + "-m" + hex.EncodeToString(sum[:8])
	slog.InfoContext(ctx, "start", "incident", one.IncidentID(), "type", one.Type, "account", one.Account, "region", one.Region, "updated", one.Updated, "execution", name, "bytes", len(event))
	_, err = p.machine.StartExecution(ctx, &sfn.StartExecutionInput{StateMachineArn: &p.respond, Name: &name, Input: aws.String(string(input))})
	var there *types.ExecutionAlreadyExists
	if errors.As(err, &there) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("start %s: %w", name, err)
	}
	return false, nil
}

// most is how many findings of one rule are remembered: a record holds 400 KB.
const most = 15_000

// remember keeps what a rule said, when it was read to its end and says something else than before.
func (p *pass) remember(ctx context.Context, it *ledger.Item[standing]) error {
	v := &it.Value
	slices.Sort(v.now)
	v.now = slices.Compact(v.now)
	switch {
	case !v.whole, it.Exists() && slices.Equal(v.now, v.Incidents):
		return nil
	case len(v.now) > most:
		return fmt.Errorf("rule %s has %d findings, more than the %d that can be remembered: what it finds is not looked after", v.Rule, len(v.now), most)
	}
	v.Incidents = append([]string{}, v.now...)
	return ledger.Save(ctx, p.store, it)
}

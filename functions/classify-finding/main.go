// Command classify-finding reads one event, decides by the playbook what it calls for, and takes the incident.
//
// What it does: decodes the event (one that is too large for a state it reads from S3), keeps it raw in S3, and writes the incident
// with its plan in one conditional write. What may not act (samples, archived findings, events that are no findings) is recorded
// beside the incident and never takes it. An input with the key "resume" continues an incident that exists.
// The second time: the execution that owns the incident is told to respond again, with the stored plan; every other execution
// is told that it is a duplicate.
// Its undo: none, it changes nothing but the ledger and the evidence.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"firebreak/lib/account"
	"firebreak/lib/boot"
	"firebreak/lib/fault"
	"firebreak/lib/finding"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/owner"
	"firebreak/lib/playbook"
	"firebreak/lib/reference"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
)

// evidence is the bucket that raw events are kept in.
type evidence interface {
	reference.GetAPI
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
}

// machine starts an execution for each finding of an event that has several.
type machine interface {
	StartExecution(context.Context, *sfn.StartExecutionInput, ...func(*sfn.Options)) (*sfn.StartExecutionOutput, error)
}

// settings are what the installation looks after.
type settings interface {
	Read(context.Context) (setting.Installed, error)
}

type handler struct {
	store    ledger.Store
	settings settings
	evidence evidence
	bucket   string
	machine  machine
	respond  string // ARN of the machine
	decode   func([]byte) ([]finding.Finding, error)
	load     func(context.Context, setting.Playbook) (*playbook.Book, error)
	// keys reads in the finding's account whose keys are.
	keys func(context.Context, finding.Finding) (keys, error)
	now  func() time.Time
}

// input is what the machine's first state passes on. Event is the execution's whole input.
type input struct {
	Event     json.RawMessage    `json:"event"`
	Execution incident.Execution `json:"execution"`
	State     incident.State     `json:"state"`
}

// name of the execution: the last part of its ARN.
func (in input) name() string { return in.Execution.ARN[strings.LastIndex(in.Execution.ARN, ":")+1:] }

// handle gives the decision on one event. Errors: BadInput for what is neither an event nor a resumption, and for a reference to
// anything but the event that was kept; Unreadable or Throttled where settings, playbook or ledger cannot be read or the evidence cannot be kept.
func (h handler) handle(ctx context.Context, in input) (incident.Decision, error) {
	if in.Execution.ARN == "" {
		return incident.Decision{}, fault.New(fault.BadInput, "the input names no execution")
	}
	if r, ok, err := resumption(in.Event); ok || err != nil {
		return h.resume(ctx, in, r, err)
	}
	event, referred, err := reference.Read(ctx, h.evidence, h.bucket, in.Event)
	if err != nil {
		return incident.Decision{}, err
	}
	if referred {
		in.Event = event
	}
	findings, err := h.decode(in.Event)
	if r := finding.Refused(err); r != nil {
		return h.refuse(ctx, in, r)
	}
	if err != nil {
		return incident.Decision{}, err
	}
	if len(findings) > 1 {
		return h.split(ctx, in, findings)
	}
	f := findings[0]
	if err := h.keep(ctx, in, f.IncidentID()); err != nil {
		return incident.Decision{}, err
	}
	reason := f.Idle()
	if ours, err := h.ours(ctx, f); err != nil {
		return incident.Decision{}, err
	} else if ours {
		reason = "Firebreak made this call itself, for " + f.Caller.SourceIdentity
	}
	if reason != "" {
		return h.aside(ctx, in, f, reason)
	}
	c, err := h.decide(ctx, &f)
	if err != nil {
		return incident.Decision{}, fmt.Errorf("decide about finding %s (%s): %w", f.NativeID, f.IncidentID(), err)
	}
	if !c.eligible && c.Disposition == playbook.Record {
		return h.aside(ctx, in, f, c.Reason)
	}
	return h.take(ctx, in, f, c)
}

// ours tells whether Firebreak made the API call that the finding is about: with one of the roles that it has in that very account, and
// for an incident that the ledger knows. The role alone proves little and the session's name nothing: anybody who may take a role
// chooses that; and a role whose name only begins like ours, or one of another account's, is made by whoever likes.
func (h handler) ours(ctx context.Context, f finding.Finding) (bool, error) {
	if !account.IsRoleOf(f.Account, f.Caller.Issuer) || f.Caller.SourceIdentity == "" {
		return false, nil
	}
	it, err := ledger.Load[ledger.Incident](ctx, h.store, ledger.IncidentKey(f.Caller.SourceIdentity))
	return it.Exists(), err
}

// choice is what is to be done about a finding, and who hears of it.
type choice struct {
	playbook.Decision
	told ledger.Told
	// eligible: it may be acted on, by its account, its region and what it says of itself.
	eligible bool
}

// decide asks the settings whether the finding may be acted on, then the playbook. It completes the finding with what the
// installation knows: the account's organizational unit, which account is the hub, and whose the keys are.
func (h handler) decide(ctx context.Context, f *finding.Finding) (choice, error) {
	installed, err := h.settings.Read(ctx)
	if err != nil {
		return choice{}, err
	}
	account, ok := installed.Account(f.Account)
	if !ok {
		return outside(*f, fmt.Sprintf("account %s is not one that Firebreak looks after", f.Account)), nil
	}
	if !slices.Contains(account.Regions, f.Region) {
		return outside(*f, fmt.Sprintf("region %s of account %s is not enabled", f.Region, f.Account)), nil
	}
	if why := f.Within(installed.Trusts); why != "" {
		return choice{Decision: playbook.Decision{Disposition: playbook.Record, Band: f.Band, Reason: why}}, nil
	}
	guard, err := setting.ReadGuard(ctx, h.store)
	if err != nil {
		return choice{}, err
	}
	book, err := h.load(ctx, installed.Playbook)
	if err != nil {
		return choice{}, err
	}
	f.Unit, f.Hub = account.Unit, installed.Hub
	if err := h.own(ctx, f); err != nil {
		return choice{}, err
	}
	c := choice{Decision: book.Decide(*f, guard.Steps), eligible: true}
	if key, open := ownerless(c.Plan); open {
		c.Decision = playbook.Tell(*f, "rule "+c.Name+" cannot act: whose the key "+key+" is, is not known")
	}
	if f.Doubt != "" {
		// It does not stand in the way of a copy that may be acted on.
		c.Rule, c.eligible = outsideRule, false
	}
	c.told = owner.Resolve(c.Audience, *f, account)
	c.told.EscalateMinutes = int(c.Escalate.Minutes())
	return c, nil
}

// refuse records an event that holds no finding that Firebreak reads. People hear of it where it claims to hold one.
func (h handler) refuse(ctx context.Context, in input, r *finding.Refusal) (incident.Decision, error) {
	f := r.Finding()
	if err := h.keep(ctx, in, f.IncidentID()); err != nil {
		return incident.Decision{}, err
	}
	if !r.Tell {
		return h.aside(ctx, in, f, r.Reason)
	}
	return h.take(ctx, in, f, outside(f, r.Reason))
}

// keep puts the raw event into the evidence, under the incident and the execution. A retry puts the same there again.
func (h handler) keep(ctx context.Context, in input, id string) error {
	key := evidenceKey(in, id)
	_, err := h.evidence.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &h.bucket, Key: &key, Body: bytes.NewReader(in.Event), ContentType: aws.String("application/json"),
		ChecksumAlgorithm: s3types.ChecksumAlgorithmCrc32, // a bucket that locks what it gets takes nothing without one (S3 user guide, Object Lock)
	})
	if err == nil {
		return nil
	}
	name := fault.NameOf(err)
	if name == fault.Unexpected {
		name = fault.Unreadable
	}
	return fault.Wrap(name, err, "keep the event as s3://%s/%s", h.bucket, key)
}

func evidenceKey(in input, id string) string {
	return fmt.Sprintf("findings/%s/%s.json", id, in.name())
}

func main() {
	b := boot.Load()
	h := handler{
		store: b.Store(), settings: b.Installation(), evidence: s3.NewFromConfig(b.AWS), bucket: b.Env("EVIDENCE"),
		machine: sfn.NewFromConfig(b.AWS), respond: b.Env("MACHINE"), decode: finding.Decode, load: playbook.NewLibrary(s3.NewFromConfig(b.AWS)).Load,
		keys: keysOf(b.Access()), now: time.Now,
	}
	boot.Start(h.handle)
}

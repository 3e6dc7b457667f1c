// Sweep runs every minute and makes sure of what events make fast: decisions that were not delivered, requests that ran out,
// evidence that has become complete, isolations left in their first phase, executions that ended without closing, people who have
// not heard yet or not answered.
//
// A second run, or two at once, do no harm: every step is a conditional write or a call that may be repeated. It has no undo,
// because it only carries on what was decided elsewhere.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/boot"
	"firebreak/lib/channel"
	"firebreak/lib/incident"
	"firebreak/lib/invocation"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sns"
)

// machines are the calls to Step Functions.
type machines interface {
	approval.MachineAPI
	DescribeExecution(context.Context, *sfn.DescribeExecutionInput, ...func(*sfn.Options)) (*sfn.DescribeExecutionOutput, error)
}

type sweep struct {
	store     ledger.Store
	machines  machines
	functions invocation.API
	courier   approval.Courier
	topic     *channel.Topic
	inst      *setting.Installation
	ask       channel.Invitations
	now       func() time.Time
}

// Report counts what one sweep found.
type Report struct {
	Delivered  int `json:"delivered"`  // decisions taken to their execution
	Expired    int `json:"expired"`    // requests that nobody decided in time
	Waiting    int `json:"waiting"`    // approved, and the evidence is not complete
	Finished   int `json:"finished"`   // isolations brought out of their first phase
	Unfinished int `json:"unfinished"` // isolations that could not be brought out of it
	Orphaned   int `json:"orphaned"`   // executions that ended without closing: a person is told
	Untold     int `json:"untold"`     // requests and incidents that nobody could be told of
	InFlight   int `json:"inFlight"`   // executions that run for more than five minutes and wait for nobody
	Failed     int `json:"failed"`     // what could not be looked after this time
}

// handle sweeps. One thing that fails does not keep the others waiting; the error at the end names them all.
func (s sweep) handle(ctx context.Context, _ any) (Report, error) {
	var r Report
	var errs []error
	for _, part := range []func(context.Context, *Report) error{s.holds, s.approvals, s.owners, s.people} {
		errs = append(errs, part(ctx, &r))
	}
	s.measure(ctx, r)
	return r, errors.Join(errs...)
}

// measure writes the report in CloudWatch's embedded metric format: the alarms read it, and their missing data is the alarm
// that the sweep itself is silent. Source: Amazon CloudWatch user guide, "Specification: Embedded metric format".
func (s sweep) measure(ctx context.Context, r Report) {
	type metric struct{ Name, Unit string }
	slog.InfoContext(ctx, "swept",
		"_aws", map[string]any{
			"Timestamp": s.now().UnixMilli(),
			"CloudWatchMetrics": []map[string]any{{
				"Namespace": "Firebreak", "Dimensions": [][]string{{}},
				"Metrics": []metric{{"Orphaned", "Count"}, {"InFlight", "Count"}, {"Unfinished", "Count"}, {"Failed", "Count"}, {"Waiting", "Count"}, {"Untold", "Count"}},
			}},
		},
		"Orphaned", r.Orphaned, "InFlight", r.InFlight, "Unfinished", r.Unfinished, "Failed", r.Failed, "Waiting", r.Waiting, "Untold", r.Untold,
		"Delivered", r.Delivered, "Expired", r.Expired, "Finished", r.Finished)
}

// approvals expires what nobody decided, looks whether evidence is complete, and delivers what was decided.
func (s sweep) approvals(ctx context.Context, r *Report) error {
	items, err := approval.Pending(ctx, s.store)
	if err != nil {
		return err
	}
	var errs []error
	for _, it := range items {
		if err := s.decision(ctx, it.Value.Incident, it.Value.Number, r); err != nil {
			r.Failed++
			errs = append(errs, fmt.Errorf("approval %d of %s: %w", it.Value.Number, it.Value.Incident, err))
		}
	}
	return errors.Join(errs...)
}

func (s sweep) decision(ctx context.Context, id string, number int, r *Report) error {
	it, err := approval.Load(ctx, s.store, id, number)
	if err != nil {
		return err
	}
	a := it.Value
	if a.Status == approval.StatusOpen && !s.now().Before(a.Expires) {
		if err := approval.Expire(ctx, s.store, id, number, s.now()); err != nil {
			return err
		}
		r.Expired++
		if it, err = approval.Load(ctx, s.store, id, number); err != nil {
			return err
		}
		a = it.Value
	}
	if a.Status == approval.StatusExpired {
		told, err := s.over(ctx, a)
		if err != nil {
			return err
		}
		if !told && a.Kind == approval.KindOverride {
			r.Untold++ // no execution says it: the next sweep tries again
			return nil
		}
	}
	if a.Kind == approval.KindEradicate && a.Evidence != approval.Complete && (a.Status == approval.StatusOpen || a.Status == approval.StatusApproved) {
		if err := s.evidence(ctx, a); err != nil {
			return err
		}
	}
	done, err := s.courier.Deliver(ctx, id, number)
	switch {
	case err != nil:
		return err
	case done:
		r.Delivered++
	case a.Status == approval.StatusApproved:
		r.Waiting++
	}
	return nil
}

// over tells people that a request ran out, and whether they were told: somebody has to look after what it was about.
func (s sweep) over(ctx context.Context, a approval.Approval) (bool, error) {
	meta, err := ledger.Load[ledger.Incident](ctx, s.store, ledger.IncidentKey(a.Incident))
	if err != nil {
		return false, err
	}
	return s.ask.Over(ctx, meta.Value, a), nil
}

// evidence asks the destroying functions what is still missing, and records it.
func (s sweep) evidence(ctx context.Context, a approval.Approval) error {
	meta, err := ledger.Load[ledger.Incident](ctx, s.store, ledger.IncidentKey(a.Incident))
	if err != nil {
		return err
	}
	ask := incident.ApprovalRequest{Incident: meta.Value.Ref(), Execution: owner(meta.Value), State: state}
	for _, step := range a.Steps {
		ask.Steps = append(ask.Steps, step.Step)
	}
	_, now, err := approval.Foresee(ctx, s.functions, ask)
	if err != nil {
		return err
	}
	return approval.Evidence(ctx, s.store, a.Incident, a.Number, now)
}

// state names the sweep in timelines; owner is the execution in whose place it acts.
var state = incident.State{Name: "Sweep"}

func owner(in ledger.Incident) incident.Execution {
	return incident.Execution{ARN: in.Owner, Start: in.OwnerStart}
}

// notice tells people once per incident, episode and kind.
func (s sweep) notice(ctx context.Context, in ledger.Incident, kind, subject, text string) error {
	_, err := s.topic.Once(ctx, s.store, in.ID, in.Episode, kind, channel.Message{Subject: subject, Body: text, Severity: in.Band})
	return err
}

func main() {
	b := boot.Load()
	api := sfn.NewFromConfig(b.AWS)
	now := func() time.Time { return time.Now().UTC() }
	publisher, secrets := sns.NewFromConfig(b.AWS), secretsmanager.NewFromConfig(b.AWS)
	topic := channel.NewTopic(publisher, b.Env("TOPIC"))
	s := sweep{
		store: b.Store(), machines: api, functions: lambda.NewFromConfig(b.AWS), now: now, topic: topic, inst: b.Installation(),
		courier: approval.Courier{Store: b.Store(), API: api, Machine: b.Env("MACHINE"), Now: now},
		ask: channel.Invitations{
			Store: b.Store(), Topic: topic, Personal: channel.NewTopic(publisher, b.Env("APPROVERS")), Slack: channel.NewSlack(secrets, now), Keys: approval.NewKeys(secrets, b.Env("LINK_KEY"), now), API: b.Env("API"), Now: now,
		},
	}
	boot.Start(s.handle)
}

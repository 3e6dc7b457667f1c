// Command request-approval asks people before anything is destroyed, and about containment that the guard refused. Each
// approver gets a link of their own; the waiting execution's task token goes to the ledger and nowhere else.
//
// The second time it finds its own request: the new token replaces the old one, number, links and decisions stay, and nobody
// is told twice.
//
// Its undo is to cancel the request: that ends the wait and every link at once.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/boot"
	"firebreak/lib/channel"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/invocation"
	"firebreak/lib/ledger"
	"firebreak/lib/outcome"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sns"
)

// calls are what this function asks of AWS, besides the ledger and the settings: it asks the eradicating functions in mode
// plan, reads the key of the links, and publishes.
type calls interface {
	invocation.API
	approval.SecretAPI
	channel.Publisher
}

// Asked is what the state machine's history shows of a request.
type Asked struct {
	Approval int      `json:"approval"`
	Override int      `json:"override"` // 0 for none
	Asked    []string `json:"asked"`
}

type handler struct {
	store ledger.Store
	inst  *setting.Installation
	api   calls
	ask   channel.Invitations
	now   func() time.Time
}

// address is where the parts of an installation are.
type address struct{ topic, approvers, key, api string }

func newHandler(store ledger.Store, inst *setting.Installation, api calls, at address, now func() time.Time) handler {
	return handler{store: store, inst: inst, api: api, now: now, ask: channel.Invitations{
		Store: store, Topic: channel.NewTopic(api, at.topic), Personal: channel.NewTopic(api, at.approvers), Slack: channel.NewSlack(api, now), Keys: approval.NewKeys(api, at.key, now), API: at.api, Now: now,
	}}
}

func (h handler) handle(ctx context.Context, in incident.ApprovalRequest) (Asked, error) {
	if in.Token == "" || in.Incident.ID == "" || len(in.Steps) == 0 || in.Round < 1 || in.Execution.ARN == "" || in.Execution.Start.IsZero() {
		return Asked{}, fault.New(fault.BadInput, "a request for approval needs token, incident, steps, round and execution")
	}
	installed, err := h.inst.Deciding(ctx)
	if err != nil {
		return Asked{}, err
	}
	meta, err := outcome.Merge(ctx, h.store, in.Incident, in.Execution, in.Contain, nil)
	if err != nil {
		return Asked{}, err
	}
	steps, evidence, err := approval.Foresee(ctx, h.api, in)
	if err != nil {
		return Asked{}, err
	}
	now := h.now().UTC()
	request := approval.Request{
		Incident: in.Incident, Kind: approval.KindEradicate, Round: in.Round, Steps: steps, Need: meta.Plan.Approvers, Token: in.Token, Execution: in.Execution,
		Evidence: evidence, Now: now, Expires: now.Add(approval.Time(installed, in.Incident.Severity)),
	}
	slog.InfoContext(ctx, "ask", "incident", in.Incident.ID, "episode", in.Incident.Episode, "round", in.Round, "steps", len(steps), "evidence", evidence)
	a, err := approval.Open(ctx, h.store, request)
	if err != nil {
		return Asked{}, err
	}
	out := Asked{Approval: a.Number}
	// A newer episode may have begun while this was asked: then nobody is, and the sweep tells the execution.
	if meta, err = current(ctx, h.store, meta.ID); err != nil {
		return Asked{}, err
	}
	if meta.Episode != in.Incident.Episode {
		out.Asked = []string{}
		return out, approval.Supersede(ctx, h.store, meta.ID, meta.Episode)
	}
	if out.Asked, err = h.ask.Send(ctx, meta, a, installed); err != nil {
		return Asked{}, err
	}
	if held := approval.Refused(meta.Plan.Contain, in.Contain); len(held) > 0 {
		request.Kind, request.Token, request.Steps, request.Need = approval.KindOverride, "", held, 0
		o, err := approval.Open(ctx, h.store, request)
		if err != nil {
			return Asked{}, err
		}
		if _, err := h.ask.Send(ctx, meta, o, installed); err != nil {
			return Asked{}, err
		}
		out.Override = o.Number
	}
	what := fmt.Sprintf("asked %s to approve %s %d by %s", strings.Join(out.Asked, ", "), a.Kind, a.Number, a.Expires.Format(time.RFC3339))
	switch {
	case len(out.Asked) == 0 && a.Status == approval.StatusOpen && len(a.Decisions) == 0:
		what = fmt.Sprintf("%s %d is open, and nobody could be told of it yet", a.Kind, a.Number)
	case len(out.Asked) == 0:
		what = fmt.Sprintf("%s %d is %s, nobody is left to ask", a.Kind, a.Number, a.Status)
	}
	return out, ledger.Append(ctx, h.store, meta.ID, ledger.Event{
		Time: now, State: in.State.Name, Attempt: in.State.Attempt, Who: in.Execution.ARN, What: what, Why: meta.Rule,
	})
}

func current(ctx context.Context, s ledger.Store, id string) (ledger.Incident, error) {
	it, err := ledger.Load[ledger.Incident](ctx, s, ledger.IncidentKey(id))
	return it.Value, err
}

func main() {
	b := boot.Load()
	api := struct {
		invocation.API
		approval.SecretAPI
		channel.Publisher
	}{lambda.NewFromConfig(b.AWS), secretsmanager.NewFromConfig(b.AWS), sns.NewFromConfig(b.AWS)}
	boot.Start(newHandler(b.Store(), b.Installation(), api, address{b.Env("TOPIC"), b.Env("APPROVERS"), b.Env("LINK_KEY"), b.Env("API")}, time.Now).handle)
}

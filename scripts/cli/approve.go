package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"firebreak/lib/approval"
	"firebreak/lib/channel"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

const approveHelp = `Approves what Firebreak asks about an incident, as the approver whose principals (scripts/firebreak approvers list) have your
AWS caller identity: an IAM user, or an assumed role with its session's name. What cannot be undone has the id of each
resource typed by hand.

  --number N     which request, where several are open
  --keep NAME    leave out this resource: nobody destroys it on this request (may be given again)
  --why TEXT     for the record
`

const rejectHelp = `Rejects what Firebreak asks about an incident: one rejection ends the request, what is contained stays contained. Who you are,
and what is typed, as for approve.

  --number N     which request, where several are open
  --why TEXT     for the record
`

const cancelHelp = `Withdraws every request about an incident that is open, or approved and not carried out yet: all links to it are dead at once,
the waiting execution ends without destroying anything. Whoever cancels has had a hand in the incident and does not approve
its destruction later.

  --why TEXT     for the record
`

func approve(ctx context.Context, a *app, c *call) error { return decide(ctx, a, c, true) }

func reject(ctx context.Context, a *app, c *call) error { return decide(ctx, a, c, false) }

// decided is what became of a decision.
type decided struct {
	Incident string          `json:"incident"`
	Number   int             `json:"number"`
	Approver string          `json:"approver"`
	Answer   approval.Answer `json:"answer"`
	Status   approval.Status `json:"status"`
}

func decide(ctx context.Context, a *app, c *call, yes bool) error {
	id, err := c.incident()
	if err != nil {
		return err
	}
	k, err := a.connect(ctx)
	if err != nil {
		return err
	}
	installed, err := k.inst.Deciding(ctx)
	if err != nil {
		return err
	}
	person, ok := approval.Caller(installed, k.who)
	if !ok {
		return fmt.Errorf("you call AWS as %s, and exactly one approver has to have that among their principals: scripts/firebreak approvers list", plain(k.who, 300))
	}
	asked, err := k.open(ctx, id, c.number)
	if err != nil {
		return err
	}
	keep, err := keys(asked, c.keep)
	if err != nil {
		return err
	}
	if err := a.confirm(asked, keep, yes); err != nil {
		return err
	}
	slog.DebugContext(ctx, "decide", "incident", id, "approval", asked.Number, "approver", person.ID)
	answer, now, err := approval.Decide(ctx, k.store, installed, approval.Vote{
		Incident: id, Number: asked.Number, Approver: person.ID, Approve: yes, Keep: keep, Reason: channel.Line(c.why, 500),
		Via: setting.ViaCLI, Hash: asked.Hash, Now: a.now().UTC(),
	})
	if err != nil {
		return k.explain(err)
	}
	if c.json {
		if err := dump(a.out, decided{id, asked.Number, person.ID, answer, now.Status}); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(a.out, became(answer, now, person.ID))
	}
	if !answer.Recorded() {
		return errTold
	}
	k.hurry(ctx, a)
	return nil
}

// became tells in words what became of a decision.
func became(answer approval.Answer, a approval.Approval, who string) string {
	switch answer {
	case approval.Counted:
		return fmt.Sprintf("recorded as %s's: %d of %d have approved", who, len(a.By()), a.Need)
	case approval.Carried:
		if a.Kind == approval.KindEradicate && a.Evidence != approval.Complete {
			return fmt.Sprintf("recorded as %s's: approved; it waits for the evidence (%s)", who, plain(a.Evidence, 300))
		}
		return fmt.Sprintf("recorded as %s's: approved, and carried out within a minute", who)
	case approval.Ended:
		if a.Kind == approval.KindOverride {
			return fmt.Sprintf("recorded as %s's: rejected; what was held back is not contained, somebody has to look after it by hand", who)
		}
		return fmt.Sprintf("recorded as %s's: rejected; what is contained stays contained", who)
	case approval.Repeated, approval.Used:
		return fmt.Sprintf("nothing was recorded: %s has decided before", who)
	case approval.Late:
		return fmt.Sprintf("nothing was recorded: the request is %s, or not what you were shown", a.Status)
	case approval.Barred:
		return fmt.Sprintf("nothing was recorded: %s does not decide this (asked about other incidents, named in the finding, or had a hand in the incident)", who)
	case approval.Unproven:
		return "nothing was recorded: this installation does not take decisions that cannot be undone from the command line"
	}
	return fmt.Sprintf("nothing was recorded: %s", answer)
}

// open gives the incident's open request of that number, or its only one.
func (k *cloud) open(ctx context.Context, id string, number int) (approval.Approval, error) {
	items, err := approval.List(ctx, k.store, id)
	if err != nil {
		return approval.Approval{}, k.explain(err)
	}
	var open []approval.Approval
	for _, it := range items {
		if it.Value.Status == approval.StatusOpen && (number == 0 || it.Value.Number == number) {
			open = append(open, it.Value)
		}
	}
	switch {
	case len(open) == 1:
		return open[0], nil
	case len(open) > 1:
		return approval.Approval{}, wrong("%d requests of %s are open: say which with --number (scripts/firebreak show %s)", len(open), id, id)
	case number > 0:
		return approval.Approval{}, fmt.Errorf("request %d of %s is not open: scripts/firebreak show %s", number, id, id)
	}
	return approval.Approval{}, fmt.Errorf("no request of %s is open: scripts/firebreak show %s", id, id)
}

// keys gives the keys of the steps that are to be kept, by the names of their targets.
func keys(a approval.Approval, names []string) ([]string, error) {
	var out []string
	for _, n := range names {
		i := slices.IndexFunc(a.Steps, func(s approval.Step) bool { return s.Name() == n || s.Target == n })
		if i < 0 {
			return nil, wrong("the request has no resource %q", n)
		}
		for _, s := range a.Steps {
			if s.Name() == n || s.Target == n {
				out = append(out, s.Key())
			}
		}
	}
	if len(out) > 0 && len(out) == len(a.Steps) {
		return nil, wrong("that leaves nothing to approve: reject it instead")
	}
	return out, nil
}

// confirm shows what is decided and, where it cannot be undone, has the id of each target typed. A rejection too: a decision is
// made by somebody who has read what it is about.
func (a *app) confirm(p approval.Approval, keep []string, yes bool) error {
	fmt.Fprintf(a.err, "request %d of %s (%s), until %s\n", p.Number, p.Incident, p.Kind, clock(p.Expires))
	in := bufio.NewReader(a.in)
	for _, s := range p.Steps {
		kept := ""
		if slices.Contains(keep, s.Key()) {
			kept = " (you keep it)"
		}
		fmt.Fprintf(a.err, "  %s %s%s\n", s.Action, plain(s.Target, 300), kept)
		for _, d := range s.Destroys {
			fmt.Fprintf(a.err, "      %s\n", plain(d, 300))
		}
		if s.Refusal != "" {
			fmt.Fprintf(a.err, "      held back: %s\n", plain(s.Refusal, 300))
		}
	}
	if p.Kind != approval.KindEradicate {
		return nil
	}
	fmt.Fprintf(a.err, "  evidence: %s; %d of %d have approved\n", plain(p.Evidence, 300), len(p.By()), p.Need)
	word := "reject"
	if yes {
		word = "approve"
	}
	for _, s := range p.Steps {
		fmt.Fprintf(a.err, "type %s to %s: ", plain(s.Name(), 200), word)
		line, err := in.ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read what you type: %w", err)
		}
		if strings.TrimSpace(line) != s.Name() {
			fmt.Fprintln(a.err)
			return errors.New("that is not its id: nothing was recorded")
		}
	}
	return nil
}

// hurry calls the sweep now: it takes what was decided to the machine. It comes every minute by itself, so a failure only costs
// time; and the operator needs no permission on the machine.
func (k *cloud) hurry(ctx context.Context, a *app) {
	_, err := k.functions.Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String("firebreak-sweep"), InvocationType: lambdatypes.InvocationTypeEvent, Payload: []byte("{}")})
	if err != nil {
		fmt.Fprintf(a.err, "firebreak: the sweep was not called (%s): it comes by itself within a minute\n", plain(err.Error(), 200))
	}
}

func cancel(ctx context.Context, a *app, c *call) error {
	id, err := c.incident()
	if err != nil {
		return err
	}
	k, err := a.connect(ctx)
	if err != nil {
		return err
	}
	items, err := approval.List(ctx, k.store, id)
	if err != nil {
		return k.explain(err)
	}
	if meta, err := ledger.Load[ledger.Incident](ctx, k.store, ledger.IncidentKey(id)); err != nil {
		return k.explain(err)
	} else if !meta.Exists() {
		return fmt.Errorf("there is no incident %s in %s", id, k.where)
	}
	out := []decided{}
	for _, it := range items {
		v := it.Value
		if v.Status != approval.StatusOpen && !(v.Status == approval.StatusApproved && v.Delivered.IsZero()) {
			continue
		}
		if err := approval.Cancel(ctx, k.store, id, v.Number, k.who, channel.Line(c.why, 500)); err != nil {
			return k.explain(err)
		}
		now, err := approval.Load(ctx, k.store, id, v.Number)
		if err != nil {
			return k.explain(err)
		}
		out = append(out, decided{Incident: id, Number: v.Number, Status: now.Value.Status})
	}
	if len(out) > 0 {
		k.hurry(ctx, a)
	}
	if c.json {
		return dump(a.out, out)
	}
	for _, d := range out {
		fmt.Fprintf(a.out, "request %d of %s is %s\n", d.Number, id, d.Status)
	}
	if len(out) == 0 {
		fmt.Fprintf(a.out, "nothing to cancel: no request of %s is open\n", id)
		for _, it := range items {
			if v := it.Value; v.Status == approval.StatusApproved {
				fmt.Fprintf(a.out, "request %d is approved and handed to its execution already: to keep that from changing anything more, scripts/firebreak mode off\n", v.Number)
			}
		}
	}
	return nil
}

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/finding"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/outcome"
	"firebreak/lib/playbook"
	"firebreak/lib/reference"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

const redriveHelp = `Starts again what failed, whatever it was: an event that was not delivered, a step, an incident, an execution. ID is that of
a dead letter (scripts/firebreak dead-letters lists them) or of an incident: then all letters of the incident, and, where it
has none, what the incident still lacks.

  --queue NAME   everything in one queue: delivery, action, incident, function, execution
  --all          everything in all of them

A message leaves its queue only after what it stands for has been started. Doing it twice starts nothing twice: the new
execution is named after the message.
`

// hidden is how long the letters are hidden from others while they are worked on.
const hidden = 5 * time.Minute

// redriven is what became of one letter.
type redriven struct {
	Queue    string `json:"queue,omitempty"`
	ID       string `json:"id,omitempty"`
	Incident string `json:"incident,omitempty"`
	// Outcome is started; settled, where nothing was left to start; or kept, where the letter stays in its queue.
	Outcome   string `json:"outcome"`
	Execution string `json:"execution,omitempty"`
	Reason    string `json:"reason"`
}

const (
	started = "started"
	settled = "settled"
	kept    = "kept"
)

func redrive(ctx context.Context, a *app, c *call) error {
	of, id, err := c.choice()
	if err != nil {
		return err
	}
	k, err := a.connect(ctx)
	if err != nil {
		return err
	}
	list, err := k.gather(ctx, of, hidden)
	if err != nil {
		k.release(ctx, list)
		return err
	}
	var rest []letter
	chosen := slices.DeleteFunc(list, func(l letter) bool {
		no := id != "" && id != l.ID && id != l.Incident
		if no {
			rest = append(rest, l)
		}
		return no
	})
	k.release(ctx, rest)
	slices.SortStableFunc(chosen, func(x, y letter) int {
		return cmp.Or(cmp.Compare(slices.Index(layers, x.Layer), slices.Index(layers, y.Layer)), x.Sent.Compare(y.Sent))
	})
	d := driver{cloud: k, covered: map[string]string{}}
	out := []redriven{}
	for _, l := range chosen {
		out = append(out, d.letter(ctx, l))
	}
	if len(chosen) == 0 && incidentID.MatchString(id) {
		out = append(out, d.incident(ctx, id))
	}
	if len(out) == 0 && id != "" {
		return fmt.Errorf("no dead letter has the id %s: scripts/firebreak dead-letters lists them (one that somebody else works on is hidden for some minutes)", id)
	}
	if c.json {
		err = dump(a.out, out)
	} else {
		report(a, out)
	}
	if err == nil && slices.ContainsFunc(out, func(r redriven) bool { return r.Outcome == kept }) {
		return errTold
	}
	return err
}

var messageID = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// choice reads what is to be started again: exactly one of an id, a queue, or everything.
func (c *call) choice() (of []layer, id string, err error) {
	given := len(c.args)
	if c.queue != "" {
		given++
	}
	if c.all {
		given++
	}
	switch {
	case given == 0:
		return nil, "", wrong("say what: the ID of a dead letter or an incident, --queue NAME, or --all")
	case given > 1:
		return nil, "", wrong("one of ID, --queue and --all at a time")
	case c.all:
		return layers, "", nil
	case c.queue != "":
		l, err := layerOf(c.queue)
		return []layer{l}, "", err
	}
	id = strings.TrimSpace(c.args[0])
	if messageID.MatchString(id) {
		return layers, strings.ToLower(id), nil
	}
	if id, err = named(id); err != nil {
		return nil, "", wrong("%q is the id of neither a dead letter nor an incident: scripts/firebreak dead-letters and scripts/firebreak incidents list them", c.args[0])
	}
	return layers, id, nil
}

func report(a *app, out []redriven) {
	if len(out) == 0 {
		fmt.Fprintln(a.out, "no dead letters: nothing to start again")
		return
	}
	count := map[string]int{}
	for _, r := range out {
		count[r.Outcome]++
		what := cmp.Or(r.ID, r.Incident)
		fmt.Fprintf(a.out, "%-8s %s  %s", r.Outcome, what, plain(r.Reason, 500))
		if r.Execution != "" {
			fmt.Fprintf(a.out, " (%s)", last(r.Execution))
		}
		fmt.Fprintln(a.out)
	}
	fmt.Fprintf(a.out, "\n%d started, %d settled, %d kept in their queues\n", count[started], count[settled], count[kept])
}

// driver starts things again.
type driver struct {
	*cloud
	// covered are the steps that this call has started, incident and key to the execution: their own letters are settled.
	covered map[string]string
}

// letter starts again what a letter stands for, and takes it out of its queue when that has worked.
func (d driver) letter(ctx context.Context, l letter) redriven {
	r, err := d.again(ctx, l)
	if err != nil {
		r = redriven{Outcome: kept, Reason: err.Error()}
	}
	r.Queue, r.ID, r.Incident = l.Queue, l.ID, cmp.Or(r.Incident, l.Incident)
	if r.Outcome == kept {
		d.release(ctx, []letter{l})
		return r
	}
	if _, err := d.queues.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &l.url, ReceiptHandle: &l.receipt}); err != nil {
		r.Reason += fmt.Sprintf("; but the message is still in its queue (%v): redrive it again, that starts nothing twice", err)
		r.Outcome = kept
		d.release(ctx, []letter{l})
	}
	return r
}

func (d driver) again(ctx context.Context, l letter) (redriven, error) {
	switch {
	case l.release && l.Execution != "":
		return d.releaseAgain(ctx, l)
	case l.Layer == ofAction && l.Step != nil:
		return d.step(ctx, l)
	case (l.Layer == ofIncident || l.Layer == ofExecution) && l.Execution != "":
		return d.execution(ctx, l)
	case l.Layer == ofDelivery && l.input != "":
		return d.start(ctx, "redrive-"+l.ID, l.input, "the event starts the machine")
	case l.Layer == ofFunction && l.function != "":
		return d.function(ctx, l)
	case l.Layer == ofFunction && l.input != "":
		return redriven{Outcome: settled, Reason: "the sweep runs every minute: the next run does what this one did not"}, nil
	}
	return redriven{}, errors.New(l.What)
}

// step runs one step again, beside the execution that has the incident: taking the incident over would push aside another
// letter's run of the same incident.
func (d driver) step(ctx context.Context, l letter) (redriven, error) {
	meta, past, err := d.load(ctx, l.Incident, l.Episode)
	if err != nil || past != "" {
		return redriven{Outcome: settled, Reason: past}, err
	}
	if by := d.covered[l.Incident+" "+l.Step.Key()]; by != "" {
		return redriven{Outcome: settled, Execution: by, Reason: "the incident's own run does this step too"}, nil
	}
	if o := meta.Outcomes[l.Step.Key()].Outcome; playbook.Actions()[l.Step.Action].Destroys && o.Contains() {
		return redriven{Outcome: settled, Reason: fmt.Sprintf("%s is %s meanwhile", l.Step.Action, o)}, nil
	}
	input, _, err := d.describe(ctx, l.Execution)
	if err != nil {
		return redriven{}, err
	}
	// A step that people let through once is let through again.
	before, _ := resumption(input)
	return d.resume(ctx, l.ID, incident.Resume{Incident: l.Incident, Episode: l.Episode, Steps: []incident.Step{*l.Step}, Approval: before.Approval})
}

// execution starts again what an execution was to do: its part of an incident, or, where it never got that far, its input.
func (d driver) execution(ctx context.Context, l letter) (redriven, error) {
	input := l.input
	if input == "" {
		var err error
		if input, _, err = d.describe(ctx, l.Execution); err != nil {
			return redriven{}, err
		}
	}
	if r, ok := resumption(input); ok {
		meta, past, err := d.load(ctx, r.Incident, r.Episode)
		if err != nil || past != "" {
			return redriven{Incident: r.Incident, Outcome: settled, Reason: past}, err
		}
		if r.From == "" {
			return d.resume(ctx, l.ID, r)
		}
		return d.takeOver(ctx, l.ID, l.Execution, meta)
	}
	id, classified := l.Incident, l.Layer == ofIncident && l.Incident != ""
	if findings, err := finding.Decode([]byte(input)); id == "" && err == nil && len(findings) == 1 {
		id = findings[0].IncidentID()
	}
	if id != "" {
		meta, err := ledger.Load[ledger.Incident](ctx, d.store, ledger.IncidentKey(id))
		if err != nil {
			return redriven{}, d.explain(err)
		}
		if meta.Exists() && (classified || meta.Value.Owner == l.Execution) {
			if l.Episode > 0 && l.Episode != meta.Value.Episode {
				return redriven{Incident: id, Outcome: settled, Reason: fmt.Sprintf("episode %d took its place", meta.Value.Episode)}, nil
			}
			return d.takeOver(ctx, l.ID, l.Execution, meta.Value)
		}
	}
	if input == "" {
		return redriven{}, fmt.Errorf("the input of execution %s is not known any more (Step Functions keeps it for 90 days)", last(l.Execution))
	}
	return d.start(ctx, "redrive-"+l.ID, input, "the execution's input starts the machine")
}

// incident goes on with an incident that needs a person and has no letter, for instance because its execution was stopped.
func (d driver) incident(ctx context.Context, id string) redriven {
	meta, past, err := d.load(ctx, id, 0)
	var r redriven
	if err == nil && past == "" {
		r, err = d.takeOver(ctx, "OWNER#"+last(meta.Owner), meta.Owner, meta)
	} else if err == nil {
		r = redriven{Outcome: settled, Reason: past}
	}
	switch {
	case err != nil:
		r = redriven{Outcome: kept, Reason: err.Error()}
	case r.Outcome == kept: // there is no letter to keep, and the execution is at work
		r.Outcome = settled
	}
	r.Incident = id
	return r
}

// takeOver does what an incident still lacks, in the place of the execution that has it. cause names the run.
func (d driver) takeOver(ctx context.Context, cause, failed string, meta ledger.Incident) (redriven, error) {
	if meta.Status == incident.Closed {
		return redriven{Incident: meta.ID, Outcome: settled, Reason: "the incident is closed"}, nil
	}
	_, running, err := d.describe(ctx, meta.Owner)
	switch {
	case err != nil:
		return redriven{}, err
	case running && meta.Owner == failed:
		return redriven{Incident: meta.ID, Outcome: kept, Execution: meta.Owner, Reason: "its execution is still at work, or waits for people"}, nil
	case running:
		return redriven{Incident: meta.ID, Outcome: settled, Execution: meta.Owner, Reason: "another execution has taken it over"}, nil
	}
	steps, err := d.left(ctx, meta)
	if err != nil {
		return redriven{}, err
	}
	if len(steps) == 0 {
		return redriven{Incident: meta.ID, Outcome: settled, Reason: "nothing is left to do"}, nil
	}
	r := incident.Resume{Incident: meta.ID, Episode: meta.Episode, Steps: steps, From: meta.Owner}
	if len(steps) == len(meta.Plan.Contain)+len(meta.Plan.Eradicate) {
		r.Steps = []incident.Step{}
	}
	out, err := d.resume(ctx, cause, r)
	if err == nil {
		for _, s := range steps {
			d.covered[meta.ID+" "+s.Key()] = out.Execution
		}
	}
	return out, err
}

// left gives the steps of the plan that are not done. Where people have decided against destroying, or not at all, that is
// not asked again.
func (d driver) left(ctx context.Context, meta ledger.Incident) ([]incident.Step, error) {
	steps := slices.DeleteFunc(outcome.Left(meta.Plan.Contain, meta.Outcomes), func(s incident.Step) bool {
		o := meta.Outcomes[s.Key()].Outcome
		return o == incident.Restored || o == incident.Held || o == incident.Drifted // by a release: a person wants it so
	})
	destroy := outcome.Left(meta.Plan.Eradicate, meta.Outcomes)
	if len(destroy) == 0 {
		return steps, nil
	}
	asked, err := approval.List(ctx, d.store, meta.ID)
	if err != nil {
		return nil, err
	}
	for _, it := range asked {
		if a := it.Value; a.Kind == approval.KindEradicate && a.Episode == meta.Episode && (a.Status == approval.StatusRejected || a.Status == approval.StatusExpired) {
			return steps, nil
		}
	}
	return append(steps, destroy...), nil
}

// load reads an incident. past says why its episode is not to be gone on with; episode 0 is any.
func (d driver) load(ctx context.Context, id string, episode int) (meta ledger.Incident, past string, err error) {
	it, err := ledger.Load[ledger.Incident](ctx, d.store, ledger.IncidentKey(id))
	switch {
	case err != nil:
		return meta, "", d.explain(err)
	case !it.Exists():
		return meta, "", fmt.Errorf("there is no incident %s in %s", id, d.where)
	case episode > 0 && it.Value.Episode != episode:
		return meta, fmt.Sprintf("episode %d took its place", it.Value.Episode), nil
	case it.Value.Status == incident.Closed:
		return meta, "the incident is closed", nil
	}
	return it.Value, "", nil
}

// resumption reads the input of an execution that was itself resumed.
func resumption(input string) (incident.Resume, bool) {
	var in struct {
		Resume *incident.Resume `json:"resume"`
	}
	if json.Unmarshal([]byte(input), &in) != nil || in.Resume == nil {
		return incident.Resume{}, false
	}
	return *in.Resume, true
}

// resume starts an execution for an incident. The same cause always starts the same one.
func (d driver) resume(ctx context.Context, cause string, r incident.Resume) (redriven, error) {
	run, err := ledger.RunNumber(ctx, d.store, r.Incident, cause)
	if err != nil {
		return redriven{}, d.explain(err)
	}
	r.Run = run
	if r.Reason == "" {
		r.Reason = "redriven (" + cause + ")"
	}
	r.Reason += ", by " + d.who
	if r.Steps == nil {
		r.Steps = []incident.Step{}
	}
	input, err := json.Marshal(map[string]incident.Resume{"resume": r})
	if err != nil {
		return redriven{}, err
	}
	what := fmt.Sprintf("%d steps of %s start again", len(r.Steps), r.Incident)
	switch len(r.Steps) {
	case 0:
		what = "the whole plan of " + r.Incident + " starts again"
	case 1:
		what = fmt.Sprintf("%s of %s starts again", r.Steps[0].Action, r.Incident)
	}
	out, err := d.start(ctx, r.Name(), string(input), what)
	out.Incident = r.Incident
	return out, err
}

// start starts the machine, by reference where the input is too large for it. One of that name that was started before counts.
func (d driver) start(ctx context.Context, name, input, what string) (redriven, error) {
	fits, err := reference.Input(ctx, d.objects, d.evidence, []byte(input))
	if err != nil {
		return redriven{}, err
	}
	if len(fits) != len(input) {
		input, what = string(fits), what+", by reference: it is too large for a state"
	}
	r := redriven{Outcome: started, Reason: what, Execution: strings.Replace(d.machine, ":stateMachine:", ":execution:", 1) + ":" + name}
	_, err = d.machines.StartExecution(ctx, &sfn.StartExecutionInput{StateMachineArn: &d.machine, Name: &name, Input: &input})
	var exists *types.ExecutionAlreadyExists
	if errors.As(err, &exists) {
		r.Outcome, r.Reason = settled, "it was started before"
		return r, nil
	}
	if err != nil {
		return redriven{}, fmt.Errorf("start %s: %w", name, err)
	}
	return r, nil
}

// describe gives an execution's input and whether it runs. One that Step Functions has forgotten has ended, without an input.
func (d driver) describe(ctx context.Context, arn string) (input string, running bool, err error) {
	out, err := d.machines.DescribeExecution(ctx, &sfn.DescribeExecutionInput{ExecutionArn: &arn})
	var absent *types.ExecutionDoesNotExist
	if errors.As(err, &absent) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("look at execution %s: %w", last(arn), err)
	}
	return aws.ToString(out.Input), out.Status == types.ExecutionStatusRunning || out.Status == types.ExecutionStatusPendingRedrive, nil
}

// function calls one of Firebreak's functions again, without waiting for it.
func (d driver) function(ctx context.Context, l letter) (redriven, error) {
	name, _, _ := strings.Cut(l.function[strings.Index(l.function, ":function:")+len(":function:"):], ":")
	if !strings.Contains(l.function, ":function:") || !strings.HasPrefix(name, "firebreak-") {
		return redriven{}, fmt.Errorf("%s is no function of Firebreak", plain(l.function, 200))
	}
	_, err := d.functions.Invoke(ctx, &lambda.InvokeInput{FunctionName: &name, InvocationType: lambdatypes.InvocationTypeEvent, Payload: []byte(l.input)})
	if err != nil {
		return redriven{}, fmt.Errorf("call %s: %w", name, err)
	}
	return redriven{Outcome: started, Reason: name + " is called again"}, nil
}

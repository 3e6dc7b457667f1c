package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"firebreak/lib/incident"
	"firebreak/lib/ledger"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

const releaseHelp = `Undoes what the incident contained, step by step, the newest first, reads each step back, and closes the incident when nothing
is left. What another incident holds too stays as it is. What somebody has changed since is left alone and shown. Who asked
and why stands in the record; afterwards people are asked before any of it is contained again (for 24 hours, as installed).

  --plan         say what would be restored, change nothing
  --action NAME  only this action (may be given again); the incident stays open
  --force        restore what somebody has changed since, too
  --why TEXT     the reason, for the record

It waits for the end; stopping it does not stop the release.
`

// releaser is the name of the machine that releases.
const releaser = "firebreak-release"

// patience is how long a release is waited for, beat how often it is looked at.
const (
	patience = 15 * time.Minute
	beat     = 500 * time.Millisecond
)

// released is how a release ended, as the machine says it.
type released struct {
	Execution string            `json:"execution"`
	Incident  string            `json:"incident"`
	Ending    incident.Ending   `json:"ending"`
	Done      int               `json:"done"`
	Summary   string            `json:"summary"`
	Steps     []incident.Result `json:"steps"`
	Kept      []incident.Result `json:"kept"`
}

func release(ctx context.Context, a *app, c *call) error {
	id, err := c.incident()
	if err != nil {
		return err
	}
	k, err := a.connect(ctx)
	if err != nil {
		return err
	}
	meta, err := ledger.Load[ledger.Incident](ctx, k.store, ledger.IncidentKey(id))
	if err != nil {
		return k.explain(err)
	}
	if !meta.Exists() {
		return fmt.Errorf("there is no incident %s in %s", id, k.where)
	}
	ask := incident.Release{Incident: id, Episode: meta.Value.Episode, Actions: append([]string{}, c.actions...), Plan: c.plan, Force: c.force, By: k.who, Why: c.why}
	// A plan writes nothing, so it takes no number either.
	name := fmt.Sprintf("%s-release-plan-%d", id, a.now().UnixMilli())
	if !ask.Plan {
		n, err := ledger.RunNumber(ctx, k.store, id, "RELEASE#"+ledger.Stamp(a.now())+"#"+k.who)
		if err != nil {
			return k.explain(err)
		}
		name = incident.ReleaseName(id, n)
	}
	arn, err := k.startRelease(ctx, name, ask)
	if err != nil && !errors.Is(err, errThere) { // the name is this call's own: there already, after an answer that was lost
		return err
	}
	if !c.json {
		fmt.Fprintf(a.err, "%s runs ...\n", name)
	}
	r, err := k.followRelease(ctx, arn, id)
	if err != nil {
		return err
	}
	if c.json {
		err = dump(a.out, r)
	} else {
		r.print(a.out)
	}
	if err == nil && r.Ending != incident.EndReleased && r.Ending != incident.EndPlanned {
		return errTold
	}
	return err
}

func (r released) print(w io.Writer) {
	for _, s := range r.Steps {
		fmt.Fprintf(w, "%-20s %s  %s", s.Action, short(s.Target), strings.ToUpper(string(s.Outcome)))
		if s.Verified {
			fmt.Fprint(w, ", read back")
		}
		if s.Reason != "" {
			fmt.Fprintf(w, ": %s", plain(s.Reason, 500))
		}
		fmt.Fprintln(w)
		for _, line := range s.Changes {
			fmt.Fprintf(w, "    %s\n", plain(line, 300))
		}
	}
	for _, s := range r.Kept {
		fmt.Fprintf(w, "%-20s %s  KEPT: %s\n", s.Action, short(s.Target), plain(s.Reason, 300))
	}
	fmt.Fprintf(w, "\n%s: %s\n", r.Ending, plain(strings.TrimPrefix(r.Summary, "released: "), 2000))
}

// releaser is the ARN of the machine that releases, beside the one that responds.
func (k *cloud) releaser() string { return strings.TrimSuffix(k.machine, machine) + releaser }

// startRelease starts the machine and gives the execution's ARN. One of that name that was started before counts, as errThere.
func (k *cloud) startRelease(ctx context.Context, name string, ask incident.Release) (string, error) {
	if ask.Actions == nil {
		ask.Actions = []string{}
	}
	input, err := json.Marshal(map[string]incident.Release{"release": ask})
	if err != nil {
		return "", err
	}
	arn := k.releaser()
	_, err = k.machines.StartExecution(ctx, &sfn.StartExecutionInput{StateMachineArn: &arn, Name: &name, Input: aws.String(string(input))})
	execution := strings.Replace(arn, ":stateMachine:", ":execution:", 1) + ":" + name
	var exists *types.ExecutionAlreadyExists
	if errors.As(err, &exists) {
		return execution, errThere
	}
	if err != nil {
		return "", fmt.Errorf("start %s: %w", name, err)
	}
	return execution, nil
}

var errThere = errors.New("it was started before")

// followRelease waits for the end of a release.
func (k *cloud) followRelease(ctx context.Context, arn, id string) (released, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r := released{Execution: arn, Incident: id, Steps: []incident.Result{}, Kept: []incident.Result{}}
	for {
		out, err := k.machines.DescribeExecution(ctx, &sfn.DescribeExecutionInput{ExecutionArn: &arn})
		switch {
		case ctx.Err() != nil:
			return r, fmt.Errorf("%s goes on without you: look with scripts/firebreak show %s", last(arn), id)
		case err != nil:
			return r, fmt.Errorf("look at %s, which goes on: %w", last(arn), err)
		case out.Status == types.ExecutionStatusSucceeded:
			err := json.Unmarshal([]byte(aws.ToString(out.Output)), &r)
			r.Execution = arn
			return r, err
		case out.Status != types.ExecutionStatusRunning && out.Status != types.ExecutionStatusPendingRedrive:
			r.Ending = incident.EndNeedsPerson
			r.Summary = cmp.Or(aws.ToString(out.Cause), fmt.Sprintf("the execution ended %s %s: scripts/firebreak dead-letters", out.Status, aws.ToString(out.Error)))
			return r, nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(beat):
		}
	}
}

// releasing reads the input of an execution that releases.
func releasing(input string) (incident.Release, bool) {
	var in struct {
		Release *incident.Release `json:"release"`
	}
	if json.Unmarshal([]byte(input), &in) != nil || in.Release == nil {
		return incident.Release{}, false
	}
	return *in.Release, true
}

// releaseAgain starts a release again that failed, as it was asked for: what is undone already is found undone. All letters of
// one release start the same one.
func (d driver) releaseAgain(ctx context.Context, l letter) (redriven, error) {
	input := l.input
	if input == "" {
		var err error
		if input, _, err = d.describe(ctx, l.Execution); err != nil {
			return redriven{}, err
		}
	}
	ask, ok := releasing(input)
	switch {
	case input == "":
		return redriven{}, fmt.Errorf("what was to be released is not known any more (Step Functions keeps it for 90 days): scripts/firebreak release %s", l.Incident)
	case !ok:
		return redriven{}, fmt.Errorf("execution %s did not release anything", last(l.Execution))
	case ask.Plan:
		return redriven{Incident: ask.Incident, Outcome: settled, Reason: "it was only a plan: ask again with scripts/firebreak release " + ask.Incident + " --plan"}, nil
	}
	meta, err := ledger.Load[ledger.Incident](ctx, d.store, ledger.IncidentKey(ask.Incident))
	switch {
	case err != nil:
		return redriven{}, d.explain(err)
	case !meta.Exists():
		return redriven{Incident: ask.Incident, Outcome: settled, Reason: "there is no incident " + ask.Incident}, nil
	case slices.ContainsFunc([]int{ask.Episode, l.Episode}, func(e int) bool { return e > 0 && e != meta.Value.Episode }):
		return redriven{Incident: ask.Incident, Outcome: settled, Reason: fmt.Sprintf("episode %d took its place: what it contains is not released by an old request", meta.Value.Episode)}, nil
	}
	n, err := ledger.RunNumber(ctx, d.store, ask.Incident, "RELEASE#"+last(l.Execution))
	if err != nil {
		return redriven{}, d.explain(err)
	}
	ask.Why = strings.TrimPrefix(ask.Why+"; redriven by "+d.who, "; ")
	r := redriven{Incident: ask.Incident, Outcome: started, Reason: "the release of " + ask.Incident + " starts again"}
	r.Execution, err = d.startRelease(ctx, incident.ReleaseName(ask.Incident, n), ask)
	if errors.Is(err, errThere) {
		r.Outcome, r.Reason, err = settled, errThere.Error(), nil
	}
	return r, err
}

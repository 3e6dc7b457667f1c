package main

import (
	"fmt"
	"slices"
	"strings"

	"firebreak/lib/incident"
	"firebreak/lib/ledger"
)

// endings are those that the machine may claim.
var endings = []incident.Ending{
	incident.EndContained, incident.EndEradicated, incident.EndPlanned, incident.EndRecorded,
	incident.EndApprovalRejected, incident.EndApprovalExpired, incident.EndSuperseded,
}

// judgement is how a claimed ending stands against the outcomes. The claim is borne out when nothing is left.
type judgement struct {
	done []string // what counts, in words
	left []string // what is not as the ending claims, in words
	todo []string // what a person has to do about it
	// override is the approval that asks people about what is left, 0 for none.
	override int
}

// judge holds the ending against the whole incident: the latest outcome of every step, whichever execution it is from.
func judge(in incident.CloseRequest, m ledger.Incident) judgement {
	return weigh(in, m.ID, m.Plan, m.Outcomes, m.Status == incident.Closed)
}

// judgePast holds the ending of an episode that is over against this execution's own results: the incident's plan and outcomes
// are of another episode.
func judgePast(in incident.CloseRequest, m ledger.Incident) judgement {
	plan := incident.Plan{}
	own := map[string]incident.Result{}
	for _, part := range []struct {
		steps   *[]incident.Step
		results []incident.Result
	}{{&plan.Contain, in.Contain}, {&plan.Eradicate, in.Eradicate}} {
		for _, r := range part.results {
			s := incident.Step{Action: r.Action, Target: r.Target, With: map[string]string{"of": r.Step}}
			*part.steps = append(*part.steps, s)
			own[s.Key()] = r
		}
	}
	return weigh(in, m.ID, plan, own, false)
}

// weigh does that for any plan. Of an incident that is closed, what a person released is as it should be.
func weigh(in incident.CloseRequest, id string, plan incident.Plan, outcomes map[string]incident.Result, closed bool) judgement {
	var j judgement
	for _, s := range plan.Contain {
		r, known := outcomes[s.Key()]
		switch {
		case counts(in.Ending, s, r.Outcome, known), closed && r.Outcome.Releases():
			j.done = append(j.done, say(s, past(r.Outcome)))
		case known && in.Ending == incident.EndRecorded && s.Action != "notify":
			j.miss(id, s, r, known, "it was to be contained, not only recorded")
		default:
			j.miss(id, s, r, known, "")
		}
	}
	if in.Ending == incident.EndEradicated {
		for _, s := range plan.Eradicate {
			r, known := outcomes[s.Key()]
			if r.Outcome.Contains() {
				j.done = append(j.done, say(s, past(r.Outcome)))
				continue
			}
			j.miss(id, s, r, known, "")
		}
		if len(plan.Eradicate) == 0 {
			j.left = append(j.left, "nothing was to be destroyed")
		}
	}
	return j
}

// counts tells whether a containing step with that outcome may stand behind the ending.
func counts(e incident.Ending, s incident.Step, o incident.Outcome, known bool) bool {
	switch {
	case !known:
		return false
	case s.Action == "notify":
		return o.Contains() || o == incident.Planned
	case e == incident.EndRecorded:
		return false
	case e == incident.EndPlanned:
		return o.Contains() || o == incident.Planned
	}
	return o.Contains()
}

func (j *judgement) miss(id string, s incident.Step, r incident.Result, known bool, why string) {
	if why == "" {
		why = r.Reason
	}
	state := string(r.Outcome)
	if !known {
		state = "nothing is known of it"
	}
	if why != "" {
		state += " (" + why + ")"
	}
	j.left = append(j.left, say(s, state))
	todo := ""
	switch {
	case !known:
		todo = "another execution may still be at it; else scripts/firebreak redrive " + id
	case r.Outcome == incident.Refused && r.Override != "":
		todo = "" // an override asks: see words
	case r.Outcome == incident.Refused:
		todo = "contain it by hand: nobody can set this refusal aside"
	case r.Outcome == incident.Failed:
		todo = "mend the cause in the dead letter, then scripts/firebreak redrive " + id
	case r.Outcome == incident.Changed:
		todo = "look what changed it, then scripts/firebreak redrive " + id + " asks again"
	case r.Outcome == incident.Planned:
		todo = "it was only planned: scripts/firebreak redrive " + id + " in mode act"
	default:
		todo = "look at it: scripts/firebreak show " + id
	}
	if todo != "" && !slices.Contains(j.todo, todo) {
		j.todo = append(j.todo, todo)
	}
}

var summaries = map[incident.Ending]string{
	incident.EndContained:        "contained",
	incident.EndEradicated:       "contained and eradicated",
	incident.EndPlanned:          "planned only, nothing was changed",
	incident.EndRecorded:         "recorded, nothing was to be contained",
	incident.EndApprovalRejected: "people decided against destroying, what is contained stays contained",
	incident.EndApprovalExpired:  "nobody decided in time, nothing was destroyed, what is contained stays contained",
	incident.EndSuperseded:       "a newer episode or a person took over, nothing was destroyed",
}

// words says how the execution ended: its closing's summary, or what the error Incomplete says.
func (j judgement) words(in incident.CloseRequest) string {
	done := "nothing"
	if len(j.done) > 0 {
		done = strings.Join(j.done, ", ")
	}
	if len(j.left) == 0 {
		return fmt.Sprintf("%s: %s", summaries[in.Ending], done)
	}
	todo := slices.Clone(j.todo)
	if j.override > 0 {
		todo = append([]string{fmt.Sprintf("decide override %d, which approvers were asked", j.override)}, todo...)
	}
	if len(todo) == 0 {
		todo = []string{"look at it: scripts/firebreak show " + in.Incident.ID}
	}
	return fmt.Sprintf("%s of %s is not borne out. Done: %s. Not done: %s. To do: %s", in.Ending, in.Incident.ID, done, strings.Join(j.left, ", "), strings.Join(todo, "; "))
}

func say(s incident.Step, what string) string {
	return fmt.Sprintf("%s %s %s", s.Action, s.Target[strings.LastIndexAny(s.Target, ":/")+1:], what)
}

// past makes an outcome that counts a word of its own.
func past(o incident.Outcome) string {
	if o == incident.Already {
		return "already so"
	}
	return string(o)
}

func join(a, b string) string {
	if a == "" || a == b {
		return b
	}
	return a + ". " + b
}

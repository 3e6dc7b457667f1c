package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"firebreak/lib/approval"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/reference"

	"github.com/google/go-cmp/cmp"
)

func lettered(l layer, step *incident.Step) incident.DeadLetter {
	return incident.DeadLetter{Layer: string(l), Incident: id, Episode: 1, Execution: first, Step: step, Error: "Denied", Cause: "not authorized to perform iam:PutRolePolicy"}
}

func failedExecution(w *world, input string) map[string]any {
	return map[string]any{"source": "aws.states", "detail-type": "Step Functions Execution Status Change", "detail": map[string]any{"executionArn": first, "status": "TIMED_OUT", "input": input}}
}

func TestDeadLettersAreSaidInWordsAndStay(t *testing.T) {
	w := newWorld(t)
	w.put(ofAction, lettered(ofAction, &revoke))
	w.put(ofIncident, lettered(ofIncident, nil))
	w.put(ofDelivery, event(t)).attributes["ERROR_CODE"] = "NO_PERMISSIONS"
	w.put(ofExecution, failedExecution(w, event(t)))
	w.put(ofFunction, `{"source":"aws.events","detail-type":"Scheduled Event"}`)
	w.put(ofIncident, "not JSON")
	for range 12 {
		w.put(ofDelivery, event(t))
	}
	for range 2 {
		if code := w.run("dead-letters"); code != 0 {
			t.Fatal(w.err.String())
		}
		for _, want := range []string{
			id + ": revoke-sessions of role/clinic-web failed", "Denied: not authorized to perform iam:PutRolePolicy", id + " was not finished", "NO_PERMISSIONS",
			"execution first ended TIMED_OUT", "a run of the sweep failed", "not Firebreak's", "18 dead letters", "redrive 3f0c2b1e-0000-4000-8000-000000000001",
		} {
			w.has(want)
		}
	}
	if w.waiting() != 18 || len(w.starts) != 0 {
		t.Errorf("%d letters are left and %v started, want all and none", w.waiting(), w.starts)
	}
	var list []letter
	if w.run("dead-letters", "--json"); json.Unmarshal(w.out.Bytes(), &list) != nil || len(list) != 18 {
		t.Errorf("%s", w.out.String())
	}
}

// Each layer starts what its letter stands for, and a second redrive of the same message starts nothing.
func TestRedriveOfEachLayerStartsOnce(t *testing.T) {
	run := id + "-e1-r1"
	for name, c := range map[string]struct {
		layer layer
		body  func(*world) any
		set   func(*world)
		start string
		want  *incident.Resume
	}{
		"a step": {
			layer: ofAction, body: func(*world) any { return lettered(ofAction, &revoke) }, start: run,
			want: &incident.Resume{Incident: id, Episode: 1, Run: 1, Steps: []incident.Step{revoke}},
		},
		"a step of an approved override": {
			layer: ofAction, body: func(*world) any { return lettered(ofAction, &revoke) }, start: run,
			set: func(w *world) {
				w.executions[first].input = `{"resume":{"incident":"` + id + `","episode":1,"run":1,"steps":[],"approval":3,"from":"","reason":""}}`
			},
			want: &incident.Resume{Incident: id, Episode: 1, Run: 1, Steps: []incident.Step{revoke}, Approval: 3},
		},
		"a step while its execution waits for people": {
			layer: ofAction, body: func(*world) any { return lettered(ofAction, &revoke) }, start: run,
			set:  func(w *world) { w.executions[first].running = true },
			want: &incident.Resume{Incident: id, Episode: 1, Run: 1, Steps: []incident.Step{revoke}},
		},
		"an incident": {
			layer: ofIncident, body: func(*world) any { return lettered(ofIncident, nil) }, start: run,
			want: &incident.Resume{Incident: id, Episode: 1, Run: 1, Steps: []incident.Step{revoke}, From: first},
		},
		"an incident of which nothing is known": {
			layer: ofIncident, body: func(*world) any { return lettered(ofIncident, nil) }, start: run,
			set: func(w *world) {
				w.store = ledger.NewMemory()
				w.incident(func(i *ledger.Incident) { i.Outcomes = nil })
			},
			want: &incident.Resume{Incident: id, Episode: 1, Run: 1, Steps: []incident.Step{}, From: first},
		},
		"a finding that was taken and not classified": {
			layer: ofIncident, body: func(*world) any { return incident.DeadLetter{Layer: "incident", Execution: first, Error: "Unreadable"} }, start: run,
			want: &incident.Resume{Incident: id, Episode: 1, Run: 1, Steps: []incident.Step{revoke}, From: first},
		},
		"a finding that was never taken": {
			layer: ofIncident, body: func(*world) any { return incident.DeadLetter{Layer: "incident", Execution: first, Error: "Unreadable"} },
			set: func(w *world) { w.store = ledger.NewMemory() }, start: "redrive-3f0c2b1e-0000-4000-8000-000000000001",
		},
		"a finding that another execution has taken": {
			layer: ofExecution, body: func(w *world) any { return failedExecution(w, event(w.t)) },
			set: func(w *world) {
				w.store = ledger.NewMemory()
				w.incident(func(i *ledger.Incident) { i.Owner = first + "-2" })
			},
			start: "redrive-3f0c2b1e-0000-4000-8000-000000000001",
		},
		"an execution that timed out": {
			layer: ofExecution, body: func(w *world) any { return failedExecution(w, event(w.t)) }, start: run,
			want: &incident.Resume{Incident: id, Episode: 1, Run: 1, Steps: []incident.Step{revoke}, From: first},
		},
		"an execution whose event came without its input": {
			layer: ofExecution, body: func(w *world) any { return failedExecution(w, "") }, start: run,
			want: &incident.Resume{Incident: id, Episode: 1, Run: 1, Steps: []incident.Step{revoke}, From: first},
		},
		"an override's execution": {
			layer: ofExecution, start: run,
			body: func(w *world) any {
				return failedExecution(w, `{"resume":{"incident":"`+id+`","episode":1,"run":7,"steps":[{"action":"revoke-sessions","target":"`+role+`"}],"approval":2,"from":"","reason":"x"}}`)
			},
			want: &incident.Resume{Incident: id, Episode: 1, Run: 1, Steps: []incident.Step{revoke}, Approval: 2},
		},
		"an event that was not delivered": {
			layer: ofDelivery, body: func(w *world) any { return event(w.t) }, start: "redrive-3f0c2b1e-0000-4000-8000-000000000001",
		},
		"news of a failed execution that were not delivered": {
			layer: ofDelivery, body: func(w *world) any { return failedExecution(w, event(w.t)) }, start: run,
			want: &incident.Resume{Incident: id, Episode: 1, Run: 1, Steps: []incident.Step{revoke}, From: first},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.incident(func(*ledger.Incident) {})
			if c.set != nil {
				c.set(w)
			}
			m := w.put(c.layer, c.body(w))
			// The first time the message cannot be deleted: it is redriven again.
			w.keep = errors.New("no connection")
			if code := w.run("redrive", m.id); code != 1 {
				t.Errorf("exit code %d although the message stayed", code)
			}
			w.has("starts nothing twice")
			w.keep = nil
			if code := w.run("redrive", strings.ToUpper(m.id)); code != 0 {
				t.Fatalf("exit code %d: %s%s", code, w.out.String(), w.err.String())
			}
			if diff := cmp.Diff([]string{c.start}, w.starts); diff != "" {
				t.Fatalf("executions (-want +got):\n%s", diff)
			}
			if w.waiting() != 0 {
				t.Error("the message is still in its queue")
			}
			if c.want == nil {
				e := w.executions[strings.Replace(respond, ":stateMachine:", ":execution:", 1)+":"+c.start]
				if e.input != event(t) {
					t.Errorf("the input is not the original event: %s", e.input)
				}
				return
			}
			got := w.resume(c.start)
			if !strings.Contains(got.Reason, "user/alice") {
				t.Errorf("the reason %q does not say who", got.Reason)
			}
			got.Reason = ""
			if diff := cmp.Diff(*c.want, got); diff != "" {
				t.Errorf("resumption (-want +got):\n%s", diff)
			}
		})
	}
}

// A failed step leaves two letters, its own and the incident's: the step is started once.
func TestRedriveOfAllStartsEachStepOnce(t *testing.T) {
	w := newWorld(t)
	w.incident(func(*ledger.Incident) {})
	w.put(ofAction, lettered(ofAction, &revoke))
	w.put(ofIncident, lettered(ofIncident, nil))
	if code := w.run("redrive", "--all"); code != 0 {
		t.Fatalf("%s%s", w.out.String(), w.err.String())
	}
	if diff := cmp.Diff([]string{id + "-e1-r1"}, w.starts); diff != "" || w.waiting() != 0 {
		t.Errorf("executions (-want +got), %d letters left:\n%s", w.waiting(), diff)
	}
	w.has("1 started, 1 settled, 0 kept")
}

// Two steps failed, and only their own letters are there: neither run pushes the other aside.
func TestRedriveOfTwoStepsTakesOverFromNobody(t *testing.T) {
	w := newWorld(t)
	w.incident(func(*ledger.Incident) {})
	w.put(ofAction, lettered(ofAction, &revoke))
	w.put(ofAction, lettered(ofAction, &isolate))
	w.run("redrive", "--queue", "action")
	if len(w.starts) != 2 || w.resume(w.starts[0]).From != "" || w.resume(w.starts[1]).From != "" {
		t.Errorf("started %v", w.starts)
	}
}

func TestRedriveSettlesWhatNeedsNothing(t *testing.T) {
	rejected := func(w *world) {
		it := ledger.Item[approval.Approval]{Key: approval.Key(id, 1), Value: approval.Approval{Incident: id, Number: 1, Episode: 1, Kind: approval.KindEradicate, Status: approval.StatusRejected}}
		if err := ledger.Save(context.Background(), w.store, &it); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		layer  layer
		body   any
		meta   func(*ledger.Incident)
		set    func(*world)
		reason string
	}{
		"a newer episode":     {ofAction, lettered(ofAction, &revoke), func(i *ledger.Incident) { i.Episode = 2 }, nil, "episode 2 took its place"},
		"a closed incident":   {ofIncident, lettered(ofIncident, nil), func(i *ledger.Incident) { i.Status = incident.Closed }, nil, "closed"},
		"destroyed meanwhile": {ofAction, lettered(ofAction, &destroy), func(*ledger.Incident) {}, nil, "terminate-instance is applied meanwhile"},
		"nothing left": {
			ofIncident, lettered(ofIncident, nil),
			func(i *ledger.Incident) { i.Outcomes[revoke.Key()] = incident.Result{Outcome: incident.Already} }, nil, "nothing is left",
		},
		"people decided against destroying": {
			ofIncident, lettered(ofIncident, nil), func(i *ledger.Incident) {
				i.Outcomes[revoke.Key()] = incident.Result{Outcome: incident.Already}
				delete(i.Outcomes, destroy.Key())
			}, rejected, "nothing is left",
		},
		"another execution has it": {
			ofIncident, lettered(ofIncident, nil), func(i *ledger.Incident) { i.Owner = first + "-2" },
			func(w *world) { w.executions[first+"-2"] = &execution{running: true} }, "taken it over",
		},
		"a run of the sweep": {ofFunction, `{"source":"aws.events","detail-type":"Scheduled Event"}`, func(*ledger.Incident) {}, nil, "every minute"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.incident(c.meta)
			if c.set != nil {
				c.set(w)
			}
			w.put(c.layer, c.body)
			if code := w.run("redrive", "--all"); code != 0 || len(w.starts) != 0 || w.waiting() != 0 {
				t.Errorf("exit code %d, started %v, %d left: %s", code, w.starts, w.waiting(), w.out.String())
			}
			w.has(c.reason)
		})
	}
}

func TestRedriveKeepsWhatItCannotStart(t *testing.T) {
	for name, c := range map[string]struct {
		layer  layer
		body   any
		set    func(*world)
		reason string
	}{
		"denied":                   {ofAction, lettered(ofAction, &revoke), func(w *world) { w.deny = errors.New("AccessDenied") }, "AccessDenied"},
		"an unreadable ledger":     {ofAction, lettered(ofAction, &revoke), func(w *world) { w.store.Fail = func(string, ledger.Key) error { return errors.New("no table") } }, "no table"},
		"its execution still ends": {ofIncident, lettered(ofIncident, nil), func(w *world) { w.executions[first].running = true }, "still at work"},
		"an unknown incident": {
			ofAction, incident.DeadLetter{Layer: "action", Incident: other, Episode: 1, Execution: first, Step: &revoke}, nil, "there is no incident " + other,
		},
		"an input that is forgotten": {ofIncident, incident.DeadLetter{Layer: "incident", Execution: first + "-old"}, nil, "90 days"},
		"not JSON":                   {ofIncident, "{", nil, "not Firebreak's"},
		"somebody else's function":   {ofFunction, `{"requestContext":{"functionArn":"arn:aws:lambda:us-east-1:111111111111:function:payroll"},"requestPayload":{}}`, nil, "no function of Firebreak"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.incident(func(*ledger.Incident) {})
			if c.set != nil {
				c.set(w)
			}
			m := w.put(c.layer, c.body)
			if code := w.run("redrive", "--all"); code != 1 || len(w.starts) != 0 || w.waiting() != 1 {
				t.Errorf("exit code %d, started %v, %d left", code, w.starts, w.waiting())
			}
			w.has(c.reason)
			if m.hidden {
				t.Error("the letter is hidden from the next redrive")
			}
		})
	}
}

func TestRedriveOfAnIncidentWithoutLetters(t *testing.T) {
	w := newWorld(t)
	w.incident(func(*ledger.Incident) {})
	for range 2 {
		if code := w.run("redrive", id); code != 0 {
			t.Fatalf("%s%s", w.out.String(), w.err.String())
		}
	}
	if diff := cmp.Diff([]string{id + "-e1-r1"}, w.starts); diff != "" {
		t.Errorf("executions (-want +got):\n%s", diff)
	}
	if got := w.resume(w.starts[0]); got.From != first {
		t.Errorf("it takes over from %q, want %q", got.From, first)
	}
	w.executions[first].running = true
	if code := w.run("redrive", id); code != 0 {
		t.Errorf("exit code %d while its execution works", code)
	}
}

func TestRedriveOfOneLeavesTheOthers(t *testing.T) {
	w := newWorld(t)
	w.incident(func(*ledger.Incident) {})
	one := w.put(ofDelivery, event(t))
	two := w.put(ofDelivery, "{}")
	three := w.put(ofFunction, `{"requestContext":{"functionArn":"arn:aws:lambda:us-east-1:111111111111:function:firebreak-sweep:$LATEST"},"requestPayload":{"a":1}}`)
	w.run("redrive", three.id)
	if diff := cmp.Diff([]string{`firebreak-sweep {"a":1}`}, w.calls); diff != "" || w.waiting() != 2 {
		t.Errorf("calls (-want +got), %d left:\n%s", w.waiting(), diff)
	}
	var out []redriven
	if w.run("redrive", "--json", one.id); json.Unmarshal(w.out.Bytes(), &out) != nil || len(out) != 1 || out[0].Outcome != started || out[0].ID != one.id {
		t.Errorf("%s", w.out.String())
	}
	if w.waiting() != 1 || two.hidden {
		t.Errorf("%d left, hidden %v; want the other one, seen by all", w.waiting(), two.hidden)
	}
}

// An event that no state can take, which is why it was not delivered, is kept and starts the machine by reference.
func TestRedriveOfAnEventThatIsTooLarge(t *testing.T) {
	w := newWorld(t)
	large := strings.TrimSuffix(strings.TrimSpace(event(t)), "}") + `,"padding":"` + strings.Repeat("x", reference.Limit) + `"}`
	m := w.put(ofDelivery, large)
	for range 2 { // the second time the message is there again
		if code := w.run("redrive", "--all"); code != 0 || w.waiting() != 0 {
			t.Fatalf("exit code %d, %d left: %s%s", code, w.waiting(), w.out.String(), w.err.String())
		}
		m.hidden = false
		w.queues["https://"+ofDelivery.queue()] = []*message{m}
	}
	if len(w.starts) != 1 || len(w.objects) != 1 {
		t.Fatalf("started %v, stored %d objects", w.starts, len(w.objects))
	}
	for key, body := range w.objects {
		if !strings.HasPrefix(key, "firebreak-evidence-111111111111-us-east-1 oversize/") || body != large {
			t.Errorf("%s holds %d bytes, want %d", key, len(body), len(large))
		}
	}
	for arn, e := range w.executions {
		if strings.HasSuffix(arn, w.starts[0]) && (len(e.input) > 300 || !strings.Contains(e.input, `{"reference":{"key":"oversize/`)) {
			t.Errorf("it starts with %.200s", e.input)
		}
	}
}

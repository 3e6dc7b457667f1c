//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/scripts/local/world"
)

var (
	killsMu sync.Mutex
	kills   = map[string]int{}
)

// kill ends every environment of a function, whatever it does, and says how many.
func kill(function string) int {
	killsMu.Lock()
	defer killsMu.Unlock()
	n := platform.Kill(function)
	kills[function] += n
	return n
}

// killed is how many environments of a function the tests have ended: so many of its calls may have died without a fault of its own.
func killed(function string) int {
	killsMu.Lock()
	defer killsMu.Unlock()
	return kills[function]
}

// killing waits for a call of the function to begin, then for that long, and ends its worker with SIGKILL, once. What comes
// back ends the waiting and says how many were killed.
func killing(t testing.TB, function string, wait time.Duration) func() int {
	t.Helper()
	kill(function) // no idle worker: the next one is in a call
	check(t, world.Until(t.Context(), 10*time.Second, "no worker of "+function, func(context.Context) (bool, error) {
		return len(platform.Workers(function)) == 0, nil
	}))
	ctx, cancel := context.WithCancel(t.Context())
	var killed atomic.Int64
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			if len(platform.Workers(function)) > 0 {
				time.Sleep(wait) // the moment of death is what is varied
				killed.Store(int64(kill(function)))
				return
			}
			time.Sleep(time.Millisecond) // until the function has a process: the platform tells nobody
		}
	})
	stop := func() int {
		cancel()
		done.Wait()
		return int(killed.Load())
	}
	t.Cleanup(func() { stop() })
	return stop
}

// killingAt kills the function when IAM has let a changing call for an incident through whose number (from 1) is one of at, before
// the function has the answer: the call is made, and nobody knows.
func killingAt(t testing.TB, function, incident string, at func(n int, d world.Decision) bool) func() int {
	t.Helper()
	tail := must(platform.Tail())(t)
	ctx, cancel := context.WithCancel(t.Context())
	var killed atomic.Int64
	var done sync.WaitGroup
	done.Go(func() {
		defer tail.Close()
		for n := 0; ctx.Err() == nil; time.Sleep(200 * time.Microsecond) {
			made, err := tail.Next()
			if err != nil {
				return
			}
			for _, d := range made {
				if !isolates(d, incident) {
					continue
				}
				if n++; at(n, d) {
					killed.Add(int64(kill(function)))
				}
			}
		}
	})
	stop := func() int {
		cancel()
		done.Wait()
		return int(killed.Load())
	}
	t.Cleanup(func() { stop() })
	return stop
}

// isolates tells whether it is a changing call of isolate-instance for that incident.
func isolates(d world.Decision, incident string) bool {
	return d.Session == incident && d.Changes() && strings.Contains(d.Principal, "-Network/")
}

// The exact points, before and after each changing call, are in the unit tests of isolate-instance. Here real processes die:
// during each changing call, and at moments spread over the whole run.
func TestIsolateInstanceKilledEndsTheSame(t *testing.T) {
	const function = "firebreak-isolate-instance"
	member.Leave()
	whole, since := instance(t), time.Now()
	finding := mining(t, whole)
	put(t, finding)
	asks(t, finding)
	made := must(platform.Decided(since, func(d world.Decision) bool { return isolates(d, finding.Incident()) }))(t)
	reject(t, whole, finding)
	if len(made) < 2 {
		t.Fatalf("isolating makes %d changing calls, and the test cannot be right", len(made))
	}
	for n, call := range made {
		dies(t, fmt.Sprintf("at change %d, %s", n+1, call.Action), func(id string) func() int {
			return killingAt(t, function, id, func(m int, _ world.Decision) bool { return m == n+1 })
		})
	}
	for n := range 6 {
		wait := time.Duration(n*40) * time.Millisecond
		dies(t, fmt.Sprintf("%s after it began", wait), func(string) func() int { return killing(t, function, wait) })
	}
}

// dies has isolate-instance killed for a new instance, and looks at what is there afterwards.
func dies(t *testing.T, when string, kill func(incident string) func() int) {
	member.Leave() // a new VPC: the groups for isolation are made anew
	i := instance(t)
	before := must(member.Groups(t.Context(), i.ID))(t)
	finding := mining(t, i)
	stop := kill(finding.Incident())
	put(t, finding)
	asks(t, finding)
	killed := stop()
	if killed != 1 {
		t.Errorf("%s: killed %d times", when, killed)
	}
	isolated(t, i, true)
	hold := must(hub.Hold(t.Context(), i.ARN, "isolate-instance"))(t)
	if hold.Phase != ledger.Held || hold.Part != "" {
		t.Errorf("%s: the hold is %s, part %q", when, hold.Phase, hold.Part)
	}
	for eni, groups := range before {
		found := false
		for field, value := range hold.Before {
			found = found || strings.Contains(field, eni) && value == strings.Join(groups, ",")
		}
		if !found {
			t.Errorf("%s: the state before of %s is not %v: %v", when, eni, groups, hold.Before)
		}
	}
	t.Logf("killed %d %s", killed, when)
	reject(t, i, finding)
	meta := must(hub.Meta(t.Context(), finding.Incident()))(t)
	if got := meta.Outcomes["isolate-instance "+i.ARN].Outcome; !got.Contains() {
		t.Errorf("%s: outcome %q", when, got)
	}
}

// reject has people decide against destroying and holds the ending against that.
func reject(t *testing.T, i world.Instance, finding world.Event) {
	t.Helper()
	decide(t, finding.Incident(), world.ToDestroy, "reject", i.ID, "alice")
	path(t, settle(t, finding), after(asked, "CloseRejected", "ApprovalRejected")...)
	standing(t, finding.Incident(), incident.Contained, incident.EndApprovalRejected)
}

// attack puts the groups of an instance back as they were whenever they are not, that many times (0: for ever), until stopped.
func attack(t testing.TB, i world.Instance, times int) (stop func() int) {
	t.Helper()
	was := must(member.Groups(t.Context(), i.ID))(t)
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	n := 0
	done.Go(func() {
		for ctx.Err() == nil && (times == 0 || n < times) {
			now, err := member.Groups(ctx, i.ID)
			if err != nil || maps.EqualFunc(now, was, slices.Equal) {
				continue
			}
			for eni, groups := range was {
				if member.SetGroups(ctx, eni, groups...) == nil && !slices.Equal(now[eni], groups) {
					n++
					break
				}
			}
		}
	})
	stop = func() int {
		cancel()
		done.Wait()
		return n
	}
	t.Cleanup(func() { stop() })
	return stop
}

func TestAttackerPutsTheGroupBackOnce(t *testing.T) {
	i := instance(t)
	finding := mining(t, i)
	stop := attack(t, i, 1)
	put(t, finding)
	asks(t, finding)
	if n := stop(); n != 1 {
		t.Fatalf("the attacker came %d times, want once", n)
	}
	isolated(t, i, true)
	reject(t, i, finding)
}

func TestAttackerPutsTheGroupBackForEver(t *testing.T) {
	i := instance(t)
	finding := mining(t, i)
	stop := attack(t, i, 0)
	put(t, finding)
	asks(t, finding)
	meta := must(hub.Meta(t.Context(), finding.Incident()))(t)
	if meta.Status == incident.Contained {
		t.Error("the incident is called contained")
	}
	decide(t, finding.Incident(), world.ToDestroy, "reject", i.ID, "alice")
	run := settle(t, finding)
	t.Logf("the attacker came %d times", stop())
	path(t, run, after(asked, "CloseRejected", "DeadLetterIncident", "NeedsPerson")...)
	standing(t, finding.Incident(), incident.Open, incident.EndNeedsPerson)
	if body := letter(t, world.Actions, finding.Incident()); !strings.Contains(body, "NotVerified") {
		t.Errorf("the dead letter says %s", body)
	}
	for _, e := range must(hub.Timeline(t.Context(), finding.Incident()))(t) {
		if e.Result != nil && e.Result.Action == "isolate-instance" && e.Result.Outcome.Contains() {
			t.Errorf("the timeline says %s: %s", e.Result.Outcome, e.What)
		}
	}
}

// The same where nothing has to be approved: the word Contained is not used.
func TestContainedIsNeverSaidOfABucketThatIsOpenedAgain(t *testing.T) {
	bucket, finding := public(t)
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	for range 8 { // so many that one of their calls is always waiting between two of the function's, on a slow machine too
		done.Go(func() {
			for ctx.Err() == nil {
				member.Unblock(ctx, bucket)
			}
		})
	}
	put(t, finding)
	run := settle(t, finding)
	cancel()
	done.Wait()
	path(t, run, "ClassifyFinding", "Disposition?", "Contain", "NeedsApproval?", "CloseContained", "DeadLetterIncident", "NeedsPerson")
	standing(t, finding.Incident(), incident.Open, incident.EndNeedsPerson)
}

// The function dies in the phase in which everything is let through, until nobody tries any more: the sweep goes on to the group
// without rules.
func TestAnIsolationLeftInItsFirstPhaseIsFinishedByTheSweep(t *testing.T) {
	for range 5 {
		if i, finding, left := leave(t); left {
			// instead of waiting for the lease to run out
			_, err := ledger.Update(t.Context(), hub.Store, ledger.HoldKey(i.ARN, "isolate-instance"), func(it *ledger.Item[ledger.Hold]) error {
				it.Value.Lease = time.Now().Add(-time.Second)
				ledger.PlaceHold(it)
				return nil
			})
			check(t, err)
			check(t, hub.Sweep(t.Context()))
			isolated(t, i, true)
			if hold := must(hub.Hold(t.Context(), i.ARN, "isolate-instance"))(t); hold.Phase != ledger.Held || hold.Part != "" {
				t.Errorf("after the sweep the hold is %s, part %q", hold.Phase, hold.Part)
			}
			decide(t, finding.Incident(), world.ToDestroy, "reject", i.ID, "alice")
			settle(t, finding)
			return
		}
	}
	t.Error("five times the function was too quick to be killed in its first phase")
}

// leave has isolate-instance killed in its first phase, and each time it is tried again before it has read anything. It tells
// whether the instance was left in that phase.
func leave(t *testing.T) (world.Instance, world.Event, bool) {
	const function = "firebreak-isolate-instance"
	i := instance(t)
	finding := mining(t, i)
	var begun atomic.Bool
	first := killingAt(t, function, finding.Incident(), func(_ int, d world.Decision) bool {
		return d.Action == "ec2:ModifyNetworkInterfaceAttribute" && !begun.Swap(true)
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	again := 0
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			if begun.Load() {
				again += kill(function)
			}
			time.Sleep(100 * time.Microsecond) // leaves the processor to what is to be killed
		}
	})
	put(t, finding)
	asks(t, finding)
	cancel()
	done.Wait()
	hold := must(hub.Hold(t.Context(), i.ARN, "isolate-instance"))(t)
	closed, words, err := member.Isolated(t.Context(), i.ID)
	check(t, err)
	t.Logf("killed %d and %d: the hold is %s, part %q, %s", first(), again, hold.Phase, hold.Part, words)
	left := hold.Phase == ledger.Applying && hold.Part != "" && !closed
	if !left {
		decide(t, finding.Incident(), world.ToDestroy, "reject", i.ID, "alice")
	}
	return i, finding, left
}

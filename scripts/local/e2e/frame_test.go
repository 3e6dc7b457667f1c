//go:build e2e

package e2e

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"firebreak/lib/incident"
	"firebreak/lib/setting"
	"firebreak/scripts/local/world"

	"github.com/google/go-cmp/cmp"
)

// must stops the test on an error.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var (
	counter atomic.Int64
	letters = strings.ToLower(rand.Text()[:5]) // of this run: an earlier one may have been interrupted
)

// name makes a name that nothing else in the account has.
func name(stem string) string { return fmt.Sprintf("%s-%s%d", stem, letters, counter.Add(1)) }

// sample is a new finding of that file in events.
func sample(t testing.TB, file string) world.Event {
	t.Helper()
	return must(platform.Sample(file))(t)
}

// instance makes an instance with a role of its own.
func instance(t testing.TB) world.Instance {
	t.Helper()
	n := name("clinic")
	return must(member.Instance(t.Context(), n, n, nil))(t)
}

// stolen is a finding of stolen credentials of an instance.
func stolen(t testing.TB, i world.Instance) world.Event {
	return sample(t, "guardduty-stolen-instance-credentials").About(i)
}

// mining is a finding of a compromised instance.
func mining(t testing.TB, i world.Instance) world.Event {
	return sample(t, "guardduty-crypto-mining").About(i)
}

// public makes a public bucket and a finding about it.
func public(t testing.TB) (string, world.Event) {
	t.Helper()
	b := name("clinic-exports")
	check(t, member.Bucket(t.Context(), b))
	return b, sample(t, "guardduty-public-bucket").OfBucket(b)
}

// misused makes a user with two keys and a finding about the first.
func misused(t testing.TB) (world.User, world.Event) {
	t.Helper()
	u := must(member.User(t.Context(), name("bob")))(t)
	return u, sample(t, "guardduty-misused-user-key").OfUser(u, u.Keys[0])
}

// put puts events on the member's bus. When the test fails, what the timelines and dead letters say of them is printed.
func put(t testing.TB, events ...world.Event) {
	t.Helper()
	t.Cleanup(func() {
		for _, e := range events[:min(3, len(events))] {
			if t.Failed() && e.ID() != "" {
				explain(t, e.Incident())
			}
		}
	})
	check(t, member.Put(t.Context(), events...))
}

// settle waits for the end of the first execution about the event.
func settle(t testing.TB, e world.Event) world.Run {
	t.Helper()
	arn := must(hub.Started(t.Context(), e.ID(), 1))(t)
	return must(hub.End(t.Context(), arn))(t)
}

// asks waits until the first execution about the event waits for people.
func asks(t testing.TB, e world.Event) world.Run {
	t.Helper()
	arn := must(hub.Started(t.Context(), e.ID(), 1))(t)
	run := must(hub.Follow(t.Context(), arn, time.Minute, nil, func(r world.Run) bool { return r.Ending() == "RequestApproval" }))(t)
	if run.Ended() {
		t.Fatalf("it did not ask anybody: %s", show(run))
	}
	must(hub.Asked(t.Context(), e.Incident(), 1))(t)
	return run
}

// decide has these approvers decide by their links.
func decide(t testing.TB, id, kind, decision, typed string, people ...string) {
	t.Helper()
	links := must(hub.Links(t.Context(), id, kind, len(people)))(t)
	for _, p := range people {
		must(world.NewWeb().Decide(t.Context(), links[p], decision, typed, "looked at by "+p))(t)
	}
}

func show(r world.Run) string {
	return fmt.Sprintf("%s %s, error %q, cause %q\npath %s", r.Name, r.Status, r.Error, r.Cause, strings.Join(r.Path, " > "))
}

// path holds the top-level states against the want.
func path(t testing.TB, r world.Run, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, r.Path); diff != "" {
		t.Errorf("path (-want +got):\n%s\n%s", diff, show(r))
	}
}

// settings changes the guard's settings for the rest of the test.
func settings(t testing.TB, change func(*setting.Guard)) {
	t.Helper()
	restore := must(hub.Settings(t.Context(), change))(t)
	t.Cleanup(func() { check(t, restore(context.Background())) })
}

// isolated holds the instance, as read in the member account, against what is said of it.
func isolated(t testing.TB, i world.Instance, want bool) {
	t.Helper()
	got, words, err := member.Isolated(t.Context(), i.ID)
	if err != nil || got != want {
		t.Errorf("instance %s isolated %v, want %v: %s (%v)", i.ID, got, want, words, err)
	}
}

// transitions counts the states that were entered.
func transitions(r world.Run) int { return len(r.States) }

func outcomes(t testing.TB, id string) map[string]incident.Outcome {
	t.Helper()
	meta := must(hub.Meta(t.Context(), id))(t)
	out := map[string]incident.Outcome{}
	for _, r := range meta.Outcomes {
		out[r.Action] = r.Outcome
	}
	return out
}

// quiet are the queues that must stay as they were: the test fails when one gets a letter with the needle in it.
func quiet(t testing.TB, needle string, queues ...string) {
	t.Helper()
	for _, q := range queues {
		for _, m := range must(hub.Letters(t.Context(), q))(t) {
			if strings.Contains(m.Body, needle) {
				t.Errorf("%s has a letter: %s", q, m.Body)
			}
		}
	}
}

// letter waits for a letter with the needle in it.
func letter(t testing.TB, queue, needle string) string {
	t.Helper()
	var body string
	check(t, world.Until(t.Context(), 20*time.Second, "a letter about "+needle+" in "+queue, func(ctx context.Context) (bool, error) {
		all, err := hub.Letters(ctx, queue)
		if i := slices.IndexFunc(all, func(m world.Message) bool { return strings.Contains(m.Body, needle) }); i >= 0 {
			body = all[i].Body
		}
		return body != "", err
	}))
	return body
}

// explain prints an incident's timeline and its dead letters.
func explain(t testing.TB, id string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	events, _ := hub.Timeline(ctx, id)
	for _, e := range events {
		t.Logf("%s %s %s %s %s", e.Time.Format("15:04:05.000"), e.State, e.Who[strings.LastIndex(e.Who, ":")+1:], e.What, e.Why)
	}
	for _, q := range world.Queues {
		all, _ := hub.Letters(ctx, q)
		for _, m := range all {
			if strings.Contains(m.Body, id) {
				t.Logf("%s: %s", q, m.Body)
			}
		}
	}
}

func standing(t testing.TB, id string, status incident.Status, ending incident.Ending) {
	t.Helper()
	meta := must(hub.Meta(t.Context(), id))(t)
	if meta.Status != status || meta.Ending != ending {
		t.Errorf("incident is %s, ending %s, want %s, %s; needs: %s", meta.Status, meta.Ending, status, ending, meta.Needs)
	}
}

func running(t testing.TB, i world.Instance, want bool) {
	t.Helper()
	state, err := member.InstanceState(t.Context(), i.ID)
	if err != nil || (state == "running") != want {
		t.Errorf("the instance is %s, want running %v (%v)", state, want, err)
	}
}

// changes are the changing calls that IAM let through for these incidents.
func changes(t testing.TB, since time.Time, ids ...string) []world.Decision {
	t.Helper()
	return must(platform.Decided(since, func(d world.Decision) bool { return d.Changes() && slices.Contains(ids, d.Session) }))(t)
}

// unchanged holds the log of IAM's decisions against the claim that nothing was changed for these incidents.
func unchanged(t testing.TB, since time.Time, ids ...string) {
	t.Helper()
	for _, d := range changes(t, since, ids...) {
		t.Errorf("%s %s by %s", d.Action, d.Resource, d.Principal)
	}
}

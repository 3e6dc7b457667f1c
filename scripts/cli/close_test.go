package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/evidence"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// closing is a world with an incident that a person looks after: its execution has ended, an undo was refused, and it holds something.
func closing(t *testing.T) *world {
	w := newWorld(t)
	w.incident(func(*ledger.Incident) {})
	w.save(&ledger.Item[ledger.Hold]{Key: ledger.HoldKey(instance, isolate.Action), Value: ledger.Hold{Resource: instance, Action: isolate.Action, Phase: ledger.Held, Holders: map[string]map[string]string{id: {}}}})
	return w
}

func (w *world) save(items ...ledger.Saver) {
	w.t.Helper()
	if err := ledger.Save(context.Background(), w.store, items...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) meta() ledger.Item[ledger.Incident] {
	w.t.Helper()
	it, err := ledger.Load[ledger.Incident](context.Background(), w.store, ledger.IncidentKey(id))
	if err != nil {
		w.t.Fatal(err)
	}
	return it
}

func TestCloseByHandIsOnRecord(t *testing.T) {
	w := closing(t)
	w.stdin = strings.ToLower(id) + "\n"
	if code := w.run("close", id, "--why", "rebuilt  by hand,\x1b[2J see CHG-12"); code != 0 {
		t.Fatal(w.err.String())
	}
	w.has("It holds, and that stays so: isolate-instance " + instance)
	w.has("Not done: revoke-sessions of clinic-web is not done")
	m := w.meta()
	if m.Value.Status != incident.Closed || !m.Value.ClosedAt.Equal(now) || m.Value.Needs != "" || m.Group != "" {
		t.Errorf("%+v", m)
	}
	hold, err := ledger.Load[ledger.Hold](t.Context(), w.store, ledger.HoldKey(instance, isolate.Action))
	if err != nil || hold.Value.Phase != ledger.Held || len(hold.Value.Holders) != 1 {
		t.Errorf("the hold was touched: %+v, %v", hold, err)
	}
	line, err := ledger.Timeline(t.Context(), w.store, id)
	if err != nil || len(line) != 1 || line[0].Who != "arn:aws:iam::111111111111:user/alice" || line[0].Why != "rebuilt by hand,[2J see CHG-12" ||
		!strings.Contains(line[0].What, "isolate-instance "+instance) || !strings.Contains(line[0].What, "revoke-sessions of clinic-web is not done") {
		t.Errorf("timeline %+v, %v", line, err)
	}
	version := m.Version
	if code := w.run("close", id, "--why", "again", "--yes"); code != 0 || w.meta().Version != version {
		t.Errorf("the second time: exit code %d, %s", code, w.err.String())
	}
	w.has("is closed already")
}

func TestCloseAsksForTheID(t *testing.T) {
	for _, typed := range []string{"", "\n", "yes\n", "INC-AAAAAAAAAAAAAAAA\n"} {
		w := closing(t)
		w.stdin = typed
		if code := w.run("close", id, "--why", "done"); code != 1 || w.meta().Value.Status != incident.Open {
			t.Errorf("typed %q: exit code %d, %s", typed, code, w.meta().Value.Status)
		}
		w.has("nothing was changed")
	}
	w := closing(t)
	if code := w.run("close", id, "--yes", "--why", "done", "--json"); code != 0 || !strings.Contains(w.out.String(), `"status": "closed"`) {
		t.Errorf("exit code %d: %s%s", code, w.out.String(), w.err.String())
	}
	for _, args := range [][]string{{"close", id, "--yes"}, {"close", id, "--why", " ", "--yes"}, {"close", "--why", "x"}, {"close", "INC-1", "--why", "x"}} {
		if code := w.run(args...); code != 2 {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
}

// Nothing is closed under the hands of whoever still works on it.
func TestCloseIsRefusedWhileSomethingGoesOn(t *testing.T) {
	const respond, release = "arn:aws:states:us-east-1:111111111111:execution:firebreak-respond:", "arn:aws:states:us-east-1:111111111111:execution:firebreak-release:"
	request := func(a approval.Approval) func(*world) {
		return func(w *world) {
			a.Incident, a.Number, a.Episode, a.Steps = id, 1, 1, []approval.Step{{Step: destroy}}
			w.save(&ledger.Item[approval.Approval]{Key: approval.Key(id, 1), Value: a})
		}
	}
	hold := func(change func(*ledger.Hold)) func(*world) {
		return func(w *world) {
			_, err := ledger.Update(context.Background(), w.store, ledger.HoldKey(instance, isolate.Action), func(it *ledger.Item[ledger.Hold]) error { change(&it.Value); return nil })
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	runs := func(arn string) func(*world) {
		return func(w *world) {
			_, err := ledger.Update(context.Background(), w.store, ledger.IncidentKey(id), func(it *ledger.Item[ledger.Incident]) error { it.Value.Runs = 3; return nil })
			if err != nil {
				t.Fatal(err)
			}
			w.executions[arn] = &execution{running: true}
		}
	}
	for name, c := range map[string]struct {
		set  func(*world)
		want string // "" where it is closed
	}{
		"nothing goes on":                  {func(*world) {}, ""},
		"its execution runs":               {func(w *world) { w.executions[first].running = true }, "runs still"},
		"an override's execution runs":     {runs(respond + id + "-e1-r2"), id + "-e1-r2 of " + id + " runs still"},
		"a release runs":                   {runs(release + id + "-release-3"), "release-3"},
		"people are asked":                 {request(approval.Approval{Kind: approval.KindEradicate, Status: approval.StatusOpen, Expires: now.Add(time.Hour)}), "scripts/firebreak cancel " + id},
		"people have approved":             {request(approval.Approval{Kind: approval.KindEradicate, Status: approval.StatusApproved, Expires: now.Add(time.Hour)}), "cancel"},
		"people were asked":                {request(approval.Approval{Kind: approval.KindEradicate, Status: approval.StatusCancelled}), ""},
		"people have approved, it ran":     {request(approval.Approval{Kind: approval.KindEradicate, Status: approval.StatusApproved, Delivered: now}), ""},
		"a change is being made":           {hold(func(h *ledger.Hold) { h.Phase, h.Lease = ledger.Applying, now.Add(time.Minute) }), "in the middle of something"},
		"a change was broken off":          {hold(func(h *ledger.Hold) { h.Phase, h.Lease = ledger.Applying, now.Add(-time.Minute) }), ""},
		"an isolation is half open":        {hold(func(h *ledger.Hold) { h.Phase, h.Part, h.Lease = ledger.Applying, "untracked", now.Add(-time.Minute) }), "untracked"},
		"AWS does not say what is running": {func(w *world) { delete(w.executions, first) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := closing(t)
			c.set(w)
			code := w.run("close", id, "--why", "done", "--yes")
			if status := w.meta().Value.Status; (c.want == "") != (status == incident.Closed) || (c.want == "") != (code == 0) {
				t.Errorf("%s, exit code %d: %s", status, code, w.err.String())
			}
			w.has(c.want)
		})
	}
}

// Whoever changes the incident at the same moment wins: it is looked at again.
func TestCloseLosesARace(t *testing.T) {
	w := closing(t)
	raced := false
	w.store.Fail = func(op string, k ledger.Key) error {
		if op != "put" || k != ledger.IncidentKey(id) || raced {
			return nil
		}
		raced = true
		return ledger.ErrConflict
	}
	if code := w.run("close", id, "--why", "done", "--yes"); code != 1 || w.meta().Value.Status != incident.Open {
		t.Errorf("exit code %d, %s: %s", code, w.meta().Value.Status, w.err.String())
	}
	w.has("look again")
}

func TestShowHasTheManifestAndWhatIsToBeDoneByHand(t *testing.T) {
	w := newWorld(t)
	snapshots := incident.Step{Action: "snapshot-volumes", Target: instance}
	edit := "a person has to take it out. With: aws kms put-key-policy --policy DOCUMENT. DOCUMENT is then: " + strings.Repeat(`{"Sid":"Owner"},`, 60) + "end"
	w.incident(func(in *ledger.Incident) {
		in.Plan.Contain = append(in.Plan.Contain, snapshots)
		in.Outcomes[revoke.Key()] = incident.Result{Action: revoke.Action, Target: role, Outcome: incident.Refused, Reason: edit}
	})
	err := evidence.Note(t.Context(), w.store, evidence.Manifest{Instance: instance, Incident: id}, []ec2types.Snapshot{{SnapshotId: aws.String("snap-0f000000000000001"), VolumeId: aws.String("vol-0aaaaaaaaaaaaaaa1"), VolumeSize: aws.Int32(8), StartTime: &now, State: ec2types.SnapshotStatePending}}, now)
	if err != nil {
		t.Fatal(err)
	}
	if code := w.run("show", id); code != 0 {
		t.Fatal(w.err.String())
	}
	w.has("vol-0aaaaaaaaaaaaaaa1 in snap-0f000000000000001: 8 GiB, not encrypted, begun 2026-03-02T03:20:00Z, not complete yet")
	w.has(edit)
	if w.run("show", id, "--json"); !strings.Contains(w.out.String(), `"gib": 8`) {
		t.Error(w.out.String())
	}
}

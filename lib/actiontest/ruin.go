//go:build engine

package actiontest

import (
	"strings"
	"testing"
	"time"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/approval"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/google/go-cmp/cmp"
)

// Doomed is a resource on an engine that is to be destroyed.
type Doomed struct {
	Target string
	With   map[string]string
	// Finding is GuardDuty's about it, as it stands on the bus; its ids and account are set for it.
	Finding string
	// Keep writes into the ledger what containing left there.
	Keep func(ledger.Store)
	// Stands reads the resource and what is beside it, Lives whether what is to be destroyed is there.
	Stands func() any
	Lives  func() bool
	// Change makes it something else than what people approved; Spoil takes its evidence away. Delete deletes it.
	Change, Spoil, Delete func()
	Lacks                 []string
	On                    []string
}

// Ruination are the tests of an action that destroys on the engines.
type Ruination struct {
	Action  string
	Act     func(ledger.Store, *setting.Installation, account.Access) action.Destruction
	Factors []Factor
	Usual   Choice
	Make    func(*testing.T, *Engine, Choice) Doomed
}

type dooming struct {
	*World
	Doomed
	t  *testing.T
	e  *Engine
	id string
}

func (r Ruination) begin(t *testing.T, e *Engine, c Choice) *dooming {
	t.Helper()
	d := r.Make(t, e, c)
	w := e.Ruin(t, func(store ledger.Store, inst *setting.Installation) action.Destruction {
		return r.Act(store, inst, e.Access)
	})
	y := &dooming{w, d, t, e, newIncident()}
	if d.Keep != nil {
		d.Keep(w.Store)
	}
	// GuardDuty on the platform answers with what was put on the bus of the account.
	finding := strings.NewReplacer("{finding}", Finding+y.id[4:], "{detector}", Detector, "{account}", Account, "{region}", Region).Replace(
		`{"id":"{finding}","accountId":"{account}","region":"{region}","severity":8,"type":"Recon:IAMUser/MaliciousIPCaller","service":{"detectorId":"{detector}","archived":false},"resource":` + d.Finding + `}`)
	put := Must(eventbridge.NewFromConfig(e.Owner).PutEvents(t.Context(), &eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{{
		Source: aws.String("aws.guardduty"), DetailType: aws.String("GuardDuty Finding"), Detail: &finding,
	}}}))(t)
	if put.FailedEntryCount > 0 {
		t.Fatalf("the finding was not put on the bus: %v", *put.Entries[0].ErrorMessage)
	}
	return y
}

func (y *dooming) request() incident.Request {
	y.t.Helper()
	req := y.Request(incident.Look, y.id, y.Target, y.With)
	_, err := ledger.Update(y.t.Context(), y.Store, ledger.IncidentKey(y.id), func(it *ledger.Item[ledger.Incident]) error {
		it.Value.Finding.Source, it.Value.Finding.NativeID = Detector, Finding+y.id[4:]
		return nil
	})
	if err != nil {
		y.t.Fatal(err)
	}
	req.Mode = incident.Apply
	return req
}

// approved is the request with two people's approval of what stands now.
func (y *dooming) approved() incident.Request { return y.Approve(y.request()) }

// destroys sends an approved request, and looks as the owner whether it is gone.
func (y *dooming) destroys(req incident.Request, want ...incident.Outcome) {
	y.t.Helper()
	got := y.Must(req)
	if got.Outcome != want[0] && got.Outcome != want[len(want)-1] || !got.Verified {
		y.t.Fatalf("it is %s, verified %v (%s) %q, want %s", got.Outcome, got.Verified, got.Reason, got.Changes, want)
	}
	if y.Lives() {
		y.t.Errorf("%s, and the owner sees it still", got.Outcome)
	}
}

// spares holds that nothing was destroyed.
func (y *dooming) spares(what string) {
	y.t.Helper()
	if len(y.e.Wire.Changed) > 0 || !y.Lives() {
		y.t.Errorf("%s, and %v was called; it lives: %v", what, y.e.Wire.Changed, y.Lives())
	}
}

// RuinOnTheEngine runs them.
func RuinOnTheEngine(t *testing.T, r Ruination) {
	e := NewEngine(t, r.Action)
	began := time.Now()
	run := e.part(t)
	usual := func(t *testing.T) *dooming { return r.begin(t, e, r.Usual) }

	run("plan, apply, apply again, undo", func(t *testing.T) {
		y := usual(t)
		before := y.Stands()
		look := y.request()
		if got := y.Must(look); got.Outcome == incident.Applied {
			t.Fatal("it destroys without an approval")
		}
		look.Mode = incident.Look
		planned := y.Must(look)
		if planned.Outcome != incident.Planned || planned.Evidence != action.EvidenceComplete || len(planned.Identity) == 0 {
			t.Errorf("the plan is %s, evidence %q, identity %v", planned.Outcome, planned.Evidence, planned.Identity)
		}
		y.spares("it was planned")
		if list := changed(e.decided(t, y.id)); len(list) > 0 {
			t.Errorf("the plan made changing calls: %v", list)
		}
		if now := y.Stands(); !cmp.Equal(before, now) {
			t.Errorf("the plan changed something: %v, then %v", before, now)
		}
		req := y.approved()
		y.destroys(req, incident.Applied)
		if list := changed(e.decided(t, y.id)); len(list) < len(e.Wire.Changed) || len(list) == 0 {
			t.Errorf("IAM decided on %v of %v", list, e.Wire.Changed)
		}
		y.destroys(req, incident.Gone)
		req.Mode = incident.Undo
		if got := y.Must(req); got.Outcome != incident.Refused {
			t.Errorf("the undo is %s", got.Outcome)
		}
	})

	run("crash and retry", func(t *testing.T) {
		for n := 1; ; n++ {
			y := usual(t)
			req := y.approved()
			at, err := e.killedAfter(y.World, req, n)
			if at == "" {
				if err != nil || n == 1 {
					t.Errorf("never killed: %v", err)
				}
				return
			}
			t.Log("killed after", at)
			y.destroys(req, incident.Applied, incident.Gone)
		}
	})

	run("gone", func(t *testing.T) {
		y := usual(t)
		req := y.approved()
		y.Delete()
		y.destroys(req, incident.Gone)
	})

	run("denied, then redriven", func(t *testing.T) {
		y := usual(t)
		req := y.approved()
		restore := e.Deny(t, account.Destroy, y.Lacks, y.On...)
		if got, err := y.Do(req); !fault.Is(err, fault.Denied) || !y.Lives() {
			t.Fatalf("without %v: %s, %v", y.Lacks, got.Outcome, err)
		}
		restore()
		y.destroys(req, incident.Applied)
	})

	run("drifted", func(t *testing.T) {
		y := usual(t)
		req := y.approved()
		y.Change()
		got, err := y.Do(req)
		if err != nil || got.Outcome != incident.Changed || len(got.Changes) == 0 {
			t.Errorf("what people approved is another thing now: %s %q, %v", got.Outcome, got.Changes, err)
		}
		y.spares("it differs")
	})

	run("the evidence is not there", func(t *testing.T) {
		y := usual(t)
		y.Spoil()
		if got, err := y.Do(y.approved()); !fault.Is(err, fault.NotVerified) {
			t.Errorf("%s, %v", got.Outcome, err)
		}
		y.spares("the evidence is gone")
	})

	for _, c := range states(t, r.Factors) {
		run("from "+c.Name(r.Factors), func(t *testing.T) {
			y := r.begin(t, e, c)
			req := y.approved()
			if req.Approval == 0 {
				t.Fatal("nobody approved")
			}
			it := Must(approval.Load(t.Context(), y.Store, y.id, req.Approval))(t)
			if len(it.Value.Steps[0].Identity) == 0 {
				y.destroys(req, incident.Gone)
				return
			}
			y.destroys(req, incident.Applied)
			y.destroys(req, incident.Gone)
		})
	}
	t.Logf("%s: %.1f s", r.Action, time.Since(began).Seconds())
}

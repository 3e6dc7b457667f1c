package main

import (
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"firebreak/lib/actiontest"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
)

const (
	id       = "INC-BWJ4TH5BLF5DYQIG"
	instance = "arn:aws:ec2:us-east-1:222222222222:instance/i-0abcdef1234567890"
	role     = "arn:aws:iam::222222222222:role/clinic-web"
	alice    = "arn:aws:iam::111111111111:user/alice"
)

var start = time.Date(2026, 3, 2, 3, 12, 5, 0, time.UTC)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	os.Exit(m.Run())
}

// newWorld is a contained incident: sessions revoked last, an instance isolated before, its volumes kept.
func newWorld(t *testing.T) (handler, *ledger.Memory) {
	t.Helper()
	store := ledger.NewMemory()
	guard := ledger.Item[setting.Guard]{Key: setting.GuardKey, Value: setting.Defaults()}
	guard.Value.Mode = setting.Act
	meta := ledger.Item[ledger.Incident]{Key: ledger.IncidentKey(id), Value: ledger.Incident{
		ID: id, Status: incident.Contained, Episode: 1, Band: incident.Critical, Ending: incident.EndContained, Seen: start,
		Finding: ledger.Finding{Type: "UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration.OutsideAWS", Account: "222222222222", Region: "us-east-1"},
	}}
	must(t, ledger.Save(t.Context(), store, &guard, &meta))
	for n, s := range []incident.Step{{Action: "snapshot-volumes", Target: instance}, {Action: "isolate-instance", Target: instance}, {Action: "revoke-sessions", Target: role}} {
		hold := ledger.Item[ledger.Hold]{Key: ledger.HoldKey(s.Target, s.Action), Value: ledger.Hold{Resource: s.Target, Action: s.Action, Phase: ledger.Held, Holders: map[string]map[string]string{id: {}}}}
		meta.Value.Plan.Contain = append(meta.Value.Plan.Contain, s)
		must(t, ledger.Save(t.Context(), store, &hold, &meta))
		must(t, ledger.Append(t.Context(), store, id, ledger.Event{Time: start.Add(time.Duration(n) * time.Second), State: "Contain",
			Result: &incident.Result{Action: s.Action, Target: s.Target, Outcome: incident.Applied, Step: s.Key()}}))
	}
	return handler{store: store, now: func() time.Time { return start.Add(time.Hour) }}, store
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ask(change func(*incident.Release)) input {
	in := input{Release: incident.Release{Incident: id, Actions: []string{}, By: alice, Why: "a false alarm"}, State: incident.State{Name: "PlanRelease"},
		Execution: incident.Execution{ARN: "arn:aws:states:us-east-1:111111111111:execution:firebreak-release:" + incident.ReleaseName(id, 1), Start: start.Add(time.Hour)}}
	if change != nil {
		change(&in.Release)
	}
	return in
}

func TestWhatTheMachineIsTold(t *testing.T) {
	for golden, change := range map[string]func(*incident.Release){
		"release": nil,
		"look":    func(r *incident.Release) { r.Plan = true },
		"chosen":  func(r *incident.Release) { r.Actions, r.Force = []string{"isolate-instance"}, true },
		"refuse":  func(r *incident.Release) { r.Actions = []string{"snapshot-volumes"} },
	} {
		t.Run(golden, func(t *testing.T) {
			h, store := newWorld(t)
			var got incident.ReleasePlan
			for range 2 { // the second time is no second entry in the record
				var err error
				got, err = h.handle(t.Context(), ask(change))
				must(t, err)
			}
			actiontest.GoldenOf(t, golden, got)
			events, err := ledger.Timeline(t.Context(), store, id)
			must(t, err)
			want := 3 + 1
			if golden == "look" {
				want = 3
			}
			if len(events) != want || want > 3 && events[3].Why != "asked by "+alice+": a false alarm" {
				t.Errorf("%d entries in the record, want %d: %+v", len(events), want, events)
			}
		})
	}
}

func TestNobodyReleasesWithoutAName(t *testing.T) {
	h, store := newWorld(t)
	_, err := h.handle(t.Context(), ask(func(r *incident.Release) { r.By = "" }))
	if events, _ := ledger.Timeline(t.Context(), store, id); !fault.Is(err, fault.BadInput) || len(events) != 3 {
		t.Errorf("error %v, %d entries in the record", err, len(events))
	}
}

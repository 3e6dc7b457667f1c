package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"firebreak/lib/actiontest"
	"firebreak/lib/channel"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"

	"github.com/aws/aws-sdk-go-v2/service/sns"
)

const (
	id    = "INC-BWJ4TH5BLF5DYQIG"
	topic = "arn:aws:sns:us-east-1:111111111111:firebreak-security"
	why   = "asked by arn:aws:iam::111111111111:user/alice: a false alarm"
)

var (
	start   = time.Date(2026, 3, 2, 3, 12, 5, 0, time.UTC)
	isolate = incident.Step{Action: "isolate-instance", Target: "arn:aws:ec2:us-east-1:222222222222:instance/i-0abcdef1234567890"}
	revoke  = incident.Step{Action: "revoke-sessions", Target: "arn:aws:iam::222222222222:role/clinic-web"}
	both    = []incident.Step{revoke, isolate}
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	os.Exit(m.Run())
}

type world struct {
	handler
	store *ledger.Memory
	sent  []string
	down  error
}

func (w *world) Publish(_ context.Context, in *sns.PublishInput, _ ...func(*sns.Options)) (*sns.PublishOutput, error) {
	if w.down != nil {
		return nil, w.down
	}
	w.sent = append(w.sent, *in.Subject+"\n"+*in.Message)
	return &sns.PublishOutput{}, nil
}

// newWorld is a contained incident, of which the steps in still are held.
func newWorld(t *testing.T, still ...incident.Step) *world {
	t.Helper()
	w := &world{store: ledger.NewMemory()}
	w.handler = handler{store: w.store, topic: channel.NewTopic(w, topic), now: func() time.Time { return start.Add(time.Hour) }}
	meta := ledger.Item[ledger.Incident]{Key: ledger.IncidentKey(id), Value: ledger.Incident{
		ID: id, Status: incident.Contained, Episode: 1, Band: incident.Critical, Ending: incident.EndContained, Plan: incident.Plan{Contain: both},
		Finding: ledger.Finding{Type: "UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration.OutsideAWS", Account: "222222222222", Region: "us-east-1"},
	}}
	ledger.Place(&meta)
	must(t, ledger.Save(t.Context(), w.store, &meta))
	for _, s := range still {
		hold := ledger.Item[ledger.Hold]{Key: ledger.HoldKey(s.Target, s.Action), Value: ledger.Hold{Resource: s.Target, Action: s.Action, Phase: ledger.Held, Holders: map[string]map[string]string{id: {}}}}
		must(t, ledger.Save(t.Context(), w.store, &hold))
	}
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func result(s incident.Step, o incident.Outcome, reason string, changes ...string) incident.Result {
	return incident.Result{Action: s.Action, Target: s.Target, Outcome: o, Changes: append([]string{}, changes...), Reason: reason, Step: s.Key()}
}

func request(mode incident.Mode, results ...incident.Result) incident.ReleaseCloseRequest {
	return incident.ReleaseCloseRequest{
		Release: incident.ReleasePlan{Disposition: incident.ReleaseSteps, Mode: mode, Why: why, Whole: true, Steps: both, Kept: []incident.Result{},
			Incident: incident.Ref{ID: id, Episode: 1, Severity: incident.Critical, Account: "222222222222", Region: "us-east-1"}},
		Results: results, State: incident.State{Name: "CloseRelease"},
		Execution: incident.Execution{ARN: "arn:aws:states:us-east-1:111111111111:execution:firebreak-release:" + incident.ReleaseName(id, 1), Start: start.Add(time.Hour)},
	}
}

func TestClosings(t *testing.T) {
	for golden, c := range map[string]struct {
		still   []incident.Step
		results []incident.Result
		status  incident.Status
		subject string
	}{
		"released": {nil, []incident.Result{result(revoke, incident.Restored, ""), result(isolate, incident.Gone, "")}, incident.Closed, "release Released"},
		"drifted": {[]incident.Step{isolate}, []incident.Result{result(revoke, incident.Restored, ""), result(isolate, incident.Drifted, "", "eni-0aaaaaaaaaaaaaaa1/groups: Firebreak left sg-1, it is sg-2 now")},
			incident.Open, "release Drifted"},
		"failed": {[]incident.Step{isolate}, []incident.Result{result(revoke, incident.Already, ""), {Action: isolate.Action, Target: isolate.Target, Outcome: incident.Failed, Reason: "Denied, see the dead letter"}},
			incident.Open, "release NeedsPerson"},
		"refused": {[]incident.Step{revoke}, []incident.Result{result(revoke, incident.Refused, "its policy was too long to keep"), result(isolate, incident.Held, "still held for INC-VEPYW46KHAZJUHQC")},
			incident.Open, "release NeedsPerson"},
	} {
		t.Run(golden, func(t *testing.T) {
			w := newWorld(t, c.still...)
			var got incident.Closing
			var err error
			for range 2 { // the second time tells nobody again
				got, err = w.handle(t.Context(), request(incident.Undo, c.results...))
			}
			if err != nil {
				actiontest.GoldenOf(t, golden, struct {
					Name    fault.Name `json:"errorType"`
					Message string     `json:"errorMessage"`
				}{fault.NameOf(err), err.Error()})
			} else {
				actiontest.GoldenOf(t, golden, got)
			}
			meta, lerr := ledger.Load[ledger.Incident](t.Context(), w.store, ledger.IncidentKey(id))
			must(t, lerr)
			events, lerr := ledger.Timeline(t.Context(), w.store, id)
			must(t, lerr)
			if meta.Value.Status != c.status || len(events) != 1 || events[0].Why != why {
				t.Errorf("the incident is %s, want %s; record %+v", meta.Value.Status, c.status, events)
			}
			if len(w.sent) != 1 || !strings.Contains(w.sent[0], c.subject) || !strings.Contains(w.sent[0], "a false alarm") {
				t.Errorf("told %d times: %q", len(w.sent), w.sent)
			}
		})
	}
}

func TestAPlanTellsNobody(t *testing.T) {
	w := newWorld(t, both...)
	if _, err := w.handle(t.Context(), request(incident.LookUndo, incident.Result{Action: revoke.Action, Target: revoke.Target, Outcome: incident.Failed, Reason: "Denied"})); !fault.Is(err, fault.Incomplete) || len(w.sent) > 0 {
		t.Errorf("error %v, told %q", err, w.sent)
	}
}

func TestPeopleWhoCannotBeToldAreAFailure(t *testing.T) {
	w := newWorld(t)
	w.down = errors.New("the topic is gone")
	if _, err := w.handle(t.Context(), request(incident.Undo, result(revoke, incident.Restored, ""), result(isolate, incident.Restored, ""))); err == nil {
		t.Error("no error")
	}
	w.down = nil
	if _, err := w.handle(t.Context(), request(incident.Undo, result(revoke, incident.Restored, ""), result(isolate, incident.Restored, ""))); err != nil || len(w.sent) != 1 {
		t.Errorf("the retry: %v, told %d times", err, len(w.sent))
	}
}

package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/lib/actiontest"
	"firebreak/lib/channel"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/smithy-go"
)

const (
	id       = "INC-BWJ4TH5BLF5DYQIG"
	instance = "arn:aws:ec2:us-east-1:222222222222:instance/i-0abcdef1234567890"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	os.Exit(m.Run())
}

// topic is SNS with one topic.
type topic struct {
	mu   sync.Mutex
	sent []*sns.PublishInput
	fail error
	// then is called after a message went out.
	then func()
}

func (f *topic) Publish(_ context.Context, in *sns.PublishInput, _ ...func(*sns.Options)) (*sns.PublishOutput, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return nil, f.fail
	}
	f.sent = append(f.sent, in)
	if f.then != nil {
		f.then()
	}
	return &sns.PublishOutput{MessageId: aws.String("1")}, nil
}

type world struct {
	t     *testing.T
	store *ledger.Memory
	topic *topic
	notice
}

func newWorld(t *testing.T, mode setting.Mode) *world {
	t.Helper()
	w := &world{t: t, store: ledger.NewMemory(), topic: &topic{}}
	w.notice = notice{store: w.store, topic: channel.NewTopic(w.topic, "arn:aws:sns:us-east-1:111111111111:firebreak-security"), now: func() time.Time { return actiontest.Start }}
	guard := ledger.Item[setting.Guard]{Key: setting.GuardKey, Value: setting.Defaults()}
	guard.Value.Mode = mode
	meta := ledger.Item[ledger.Incident]{Key: ledger.IncidentKey(id), Value: ledger.Incident{
		ID: id, Status: incident.Open, Episode: 1, Band: incident.Critical, FirstSeen: actiontest.Start,
		Finding: ledger.Finding{
			Type: "UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration.OutsideAWS", Title: "Credentials \x1b[31mused\n elsewhere, see https://example.com",
			Account: "222222222222", Region: "us-east-1", Resources: []string{instance, "arn:aws:iam::222222222222:role/clinic-web"},
		},
		Rule: "lib/playbook/builtin.yaml:8",
		Plan: incident.Plan{
			Contain:   []incident.Step{{Action: "isolate-instance", Target: instance}, {Action: "notify", Target: instance}},
			Eradicate: []incident.Step{{Action: "terminate-instance", Target: instance}},
		},
	}}
	ledger.Place(&meta)
	if err := ledger.Save(context.Background(), w.store, &guard, &meta); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) request(mode incident.Mode) incident.Request {
	return incident.Request{
		Mode: mode, Incident: incident.Ref{ID: id, Episode: 1, Severity: incident.Critical, Account: "222222222222", Region: "us-east-1"},
		Step:      incident.Step{Action: "notify", Target: instance},
		Execution: incident.Execution{ARN: "arn:aws:states:us-east-1:111111111111:execution:firebreak-respond:e1", Start: actiontest.Start},
		State:     incident.State{Name: "Notify"},
	}
}

func (w *world) must(req incident.Request) incident.Result {
	w.t.Helper()
	res, err := w.handle(context.Background(), req)
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

func TestPeopleAreToldOnceAnEpisode(t *testing.T) {
	w := newWorld(t, setting.Act)
	actiontest.Golden(t, "planned", w.must(w.request(incident.Look)))
	if len(w.topic.sent) != 0 {
		t.Fatal("mode plan sent a message")
	}
	actiontest.Golden(t, "applied", w.must(w.request(incident.Apply)))
	actiontest.Golden(t, "already", w.must(w.request(incident.Apply)))
	if got := w.must(w.request(incident.Look)); got.Outcome != incident.Already {
		t.Errorf("a look afterwards says %s, want already", got.Outcome)
	}
	if len(w.topic.sent) != 1 {
		t.Fatalf("%d messages, want 1", len(w.topic.sent))
	}
	next := w.request(incident.Apply)
	next.Incident.Episode = 2
	if w.must(next); len(w.topic.sent) != 2 {
		t.Errorf("%d messages after the second episode, want 2", len(w.topic.sent))
	}
	if events, err := ledger.Timeline(context.Background(), w.store, id); err != nil || len(events) != 3 {
		t.Errorf("%d events in the timeline (%v), want 3", len(events), err)
	}
	if got := w.must(w.request(incident.Undo)); got.Outcome != incident.Refused {
		t.Errorf("undo is %s, want refused", got.Outcome)
	}
}

func TestTwentyCallsAtOnceTellOnce(t *testing.T) {
	w := newWorld(t, setting.Act)
	w.topic.then = func() { time.Sleep(20 * time.Millisecond) } // long enough for the others to come while one is telling
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			for range 500 {
				_, err := w.handle(context.Background(), w.request(incident.Apply))
				if err == nil {
					return
				}
				if !fault.Is(err, fault.Busy) {
					t.Errorf("%v (%s), want Busy, which the machine tries again", err, fault.NameOf(err))
				}
				time.Sleep(time.Millisecond) // as the machine waits before it tries again
			}
		})
	}
	wait.Wait()
	if len(w.topic.sent) != 1 {
		t.Errorf("%d messages, want 1", len(w.topic.sent))
	}
}

func TestTextSaysWhatATiredPersonNeeds(t *testing.T) {
	for mode, want := range map[setting.Mode]string{setting.Act: "FOUND", setting.Plan: "NOTHING IS CHANGED: Firebreak is in mode plan", setting.Off: "NOTHING IS CHANGED: Firebreak is switched off"} {
		w := newWorld(t, mode)
		w.must(w.request(incident.Apply))
		m := w.topic.sent[0]
		if !strings.HasPrefix(strings.TrimSpace(*m.Message), want) {
			t.Errorf("mode %s: the text begins with %.60q, want %q", mode, *m.Message, want)
		}
		for _, want := range []string{
			"CRITICAL", "UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration.OutsideAWS", "222222222222", "us-east-1",
			"isolate-instance " + instance, "terminate-instance " + instance, "role/clinic-web", "scripts/firebreak show " + id,
		} {
			if !strings.Contains(*m.Message, want) {
				t.Errorf("mode %s: the text lacks %q:\n%s", mode, want, *m.Message)
			}
		}
		if strings.ContainsAny(*m.Message, "\x1b\r") || strings.Contains(*m.Message, "https://") {
			t.Errorf("the title's control characters or link came through:\n%s", *m.Message)
		}
		if got := aws.ToString(m.MessageAttributes["severity"].StringValue); got != "CRITICAL" {
			t.Errorf("attribute severity is %q", got)
		}
	}
}

func TestFailures(t *testing.T) {
	t.Run("unreadable settings do not silence it", func(t *testing.T) {
		w := newWorld(t, setting.Act)
		w.store.Fail = func(op string, k ledger.Key) error {
			if k == setting.GuardKey {
				return errors.New("no table")
			}
			return nil
		}
		w.must(w.request(incident.Apply))
		if !strings.HasPrefix(*w.topic.sent[0].Message, "NOTHING IS CHANGED: the settings cannot be read") {
			t.Errorf("the text does not say so:\n%s", *w.topic.sent[0].Message)
		}
	})
	t.Run("denied", func(t *testing.T) {
		w := newWorld(t, setting.Act)
		w.topic.fail = &smithy.GenericAPIError{Code: "AuthorizationError"}
		if _, err := w.handle(context.Background(), w.request(incident.Apply)); !fault.Is(err, fault.Denied) {
			t.Errorf("error %v, want Denied", err)
		}
		w.topic.fail = nil
		if got := w.must(w.request(incident.Apply)); got.Outcome != incident.Applied {
			t.Errorf("after the mending %s, want applied", got.Outcome)
		}
	})
	t.Run("sent but not recorded is not sent again by a retry", func(t *testing.T) {
		w := newWorld(t, setting.Act)
		w.topic.then = func() {
			w.store.Fail = func(op string, k ledger.Key) error {
				if strings.HasPrefix(k.SK, "NOTICE#") && op == "put" {
					return errors.New("no table")
				}
				return nil
			}
		}
		if got := w.must(w.request(incident.Apply)); got.Outcome != incident.Applied || got.Reason == "" {
			t.Errorf("%s, reason %q; want applied with the reason", got.Outcome, got.Reason)
		}
	})
	t.Run("no such incident", func(t *testing.T) {
		w := newWorld(t, setting.Act)
		req := w.request(incident.Apply)
		req.Incident.ID = "INC-AAAAAAAAAAAAAAAA"
		if _, err := w.handle(context.Background(), req); !fault.Is(err, fault.Unreadable) {
			t.Errorf("error %v, want Unreadable", err)
		}
	})
	t.Run("another action's step", func(t *testing.T) {
		w := newWorld(t, setting.Act)
		req := w.request(incident.Apply)
		req.Step.Action = "isolate-instance"
		if _, err := w.handle(context.Background(), req); !fault.Is(err, fault.BadInput) {
			t.Errorf("error %v, want BadInput", err)
		}
	})
}

package channel

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"firebreak/lib/approval"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
	"firebreak/scripts/local/hostile"
	"firebreak/scripts/local/workspace"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/slack-go/slack"
)

type topic struct {
	sent []sns.PublishInput
	err  error
}

func (f *topic) Publish(_ context.Context, in *sns.PublishInput, _ ...func(*sns.Options)) (*sns.PublishOutput, error) {
	if f.err != nil {
		return nil, f.err
	}
	f.sent = append(f.sent, *in)
	return &sns.PublishOutput{}, nil
}

func TestEachNoticeIsSentOnce(t *testing.T) {
	f, s := &topic{}, ledger.NewMemory()
	to := NewTopic(f, "arn:aws:sns:us-east-1:111111111111:firebreak-security")
	m := Message{Subject: "s", Body: "b", Severity: incident.High, To: "alice"}
	f.err = errors.New("down")
	if sent, err := to.Once(t.Context(), s, "INC-A", 1, "k", m); sent || err == nil {
		t.Fatal(sent, err)
	}
	f.err = nil
	for i, want := range []bool{true, false, false} {
		if sent, err := to.Once(t.Context(), s, "INC-A", 1, "k", m); sent != want || err != nil {
			t.Errorf("call %d: %v %v", i, sent, err)
		}
	}
	for _, other := range []struct {
		episode int
		kind    string
	}{{2, "k"}, {1, "l"}} {
		if sent, err := to.Once(t.Context(), s, "INC-A", other.episode, other.kind, m); !sent || err != nil {
			t.Error(other, sent, err)
		}
	}
	if len(f.sent) != 3 || aws.ToString(f.sent[0].MessageAttributes["approver"].StringValue) != "alice" || aws.ToString(f.sent[0].MessageAttributes["audience"].StringValue) != "approver" {
		t.Errorf("%d sent", len(f.sent))
	}
	s.Fail = func(string, ledger.Key) error { return errors.New("no table") }
	if sent, err := to.Once(t.Context(), s, "INC-A", 3, "k", m); sent || err == nil {
		t.Error("sent without a record", err)
	}
}

func TestTheTeamGetsNoPersonalMessages(t *testing.T) {
	f := &topic{}
	if err := NewTopic(f, "arn").Send(t.Context(), Message{Subject: "s", Body: "b"}); err != nil {
		t.Fatal(err)
	}
	if _, personal := f.sent[0].MessageAttributes["approver"]; personal || aws.ToString(f.sent[0].MessageAttributes["audience"].StringValue) != "security" {
		t.Errorf("%+v", f.sent[0].MessageAttributes)
	}
}

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"":                           "",
		" a\r\n\tb  c ":              "a b c",
		"APPROVED\n\nhttps://evil":   "APPROVED https[:]//evil",
		"see www.evil.example":       "see www[.]evil.example",
		"mailto:x@example.com":       "mailto[:]x@example.com",
		"a\u202eb\u200bc\u0000\x1bd": "abcd",
		"日本":                         "日本",
		"bad\xff":                    "bad",
	} {
		if got := Plain(in); got != want {
			t.Errorf("%q: %q, not %q", in, got, want)
		}
	}
	if got := Plain(strings.Repeat("日", 500)); utf8.RuneCountInString(got) != 200 {
		t.Errorf("%d characters", utf8.RuneCountInString(got))
	}
}

// Whatever is in a finding, a name or a reason: a subject is what SNS takes, a mail has the same lines as with a harmless word
// and no link but ours, and a message in Slack has the same blocks, all of them plain text that Slack takes.
func TestHostileStringsInMessages(t *testing.T) {
	mails := func(s string) (mails []Message, blocks [][]slack.Block) {
		step := approval.Step{Step: incident.Step{Action: "terminate-instance", Target: "arn:aws:ec2:us-east-1:222222222222:instance/" + s}, Destroys: []string{s}, Changed: []string{s}, Refusal: s}
		meta := ledger.Incident{ID: "INC-A", Episode: 1, Band: incident.High, Finding: ledger.Finding{Type: s, Title: s, Account: s, Region: s}, Plan: incident.Plan{Contain: []incident.Step{step.Step}, Eradicate: []incident.Step{step.Step}}}
		meta.Outcomes = map[string]incident.Result{step.Key(): {Outcome: incident.Refused, Reason: s}}
		a := approval.Approval{Incident: "INC-A", Number: 1, Kind: approval.KindEradicate, Need: 2, Status: approval.StatusOpen, Steps: []approval.Step{step, step}, Evidence: s, Decisions: []approval.Decision{{Approver: s, Reason: s, Keep: []string{step.Key()}}}, Token: "secret-token"}
		over := a
		over.Kind, over.Status, over.EndedBy = approval.KindOverride, approval.StatusCancelled, s
		in := setting.Installed{Approvers: []setting.Approver{{ID: s, Name: s}}}
		const link = "https://api.example.com/approve/l"
		mails = []Message{
			Found(meta), Ask(meta, a, "alice", link, time.Now()), Ask(meta, over, "alice", link, time.Now()), Ended(meta, a), Few(meta, a, 1), Remind(meta, a, "alice", link, time.Now()),
			Escalated(meta, a, time.Now()), Attend(meta, "alice", link, 2), Unattended(meta, time.Hour),
		}
		return mails, [][]slack.Block{request(meta, a, in), request(meta, over, in), Modal(a, ActionApprove).Blocks.BlockSet, Modal(over, ActionReject).Blocks.BlockSet, Note(s, s).Blocks.BlockSet}
	}
	harmless, plain := mails("harmless.")
	for _, s := range hostile.Strings() {
		got, blocks := mails(s + ".")
		for i, m := range got {
			if sub := subject(m.Subject); len(sub) >= 100 || strings.ContainsFunc(sub, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("subject %q", sub)
			}
			if have, want := strings.Count(m.Body, "\n"), strings.Count(harmless[i].Body, "\n"); have != want {
				t.Errorf("%q makes %d lines of %d:\n%s", s, have, want, m.Body)
			}
			if strings.Count(m.Body, "://") != strings.Count(harmless[i].Body, "://") || strings.ContainsAny(m.Body, "\r\u202e\u200b\x00\x1b") || strings.Contains(m.Body, "secret-token") || !utf8.ValidString(m.Body) {
				t.Errorf("%q came through:\n%s", s, m.Body)
			}
		}
		for i, b := range blocks {
			data, err := json.Marshal(b)
			if err != nil {
				t.Fatal(err)
			}
			var read []workspace.Block
			if err := json.Unmarshal(data, &read); err != nil {
				t.Fatal(err)
			}
			if len(b) != len(plain[i]) || strings.Contains(string(data), "secret-token") {
				t.Errorf("%q makes %d blocks of %d", s, len(b), len(plain[i]))
			}
			for _, f := range workspace.Check(read, 50) {
				t.Errorf("%q: %.200s", s, f)
			}
		}
	}
}

func TestStanding(t *testing.T) {
	for _, tt := range []struct {
		r     incident.Result
		known bool
		want  string
	}{
		{incident.Result{Outcome: incident.Applied}, true, "contained, read back"},
		{incident.Result{}, false, "not known yet"},
		{incident.Result{Outcome: incident.Refused, Reason: "why"}, true, "NOT DONE, held back: why"},
		{incident.Result{Outcome: incident.Failed}, true, "FAILED: no reason given"},
		{incident.Result{Outcome: incident.Planned}, true, "NOT DONE: only planned"},
		{incident.Result{Outcome: incident.Gone}, true, "the resource does not exist any more"},
	} {
		if got := Standing(tt.r, tt.known); got != tt.want {
			t.Errorf("%q, not %q", got, tt.want)
		}
	}
}

// Package channel tells people: the texts, and the SNS topic that they go through.
package channel

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode"

	"firebreak/lib/incident"
	"firebreak/lib/ledger"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
)

// Message is a text for people. A message with a personal link has To set and is for nobody else.
type Message struct {
	Subject  string
	Body     string
	Severity incident.Band
	// To is the approver whom it is for; empty for an audience.
	To string
	// Audience hears of it where it is for nobody in particular; empty for the security team.
	Audience string
}

// Publisher is the call that this package makes.
type Publisher interface {
	Publish(context.Context, *sns.PublishInput, ...func(*sns.Options)) (*sns.PublishOutput, error)
}

// Topic is one that people subscribe to: the team's, or the approvers'. Messages carry the attributes audience (security, approver,
// escalation), severity and, when they are for one approver, approver: each approver's subscription gets its own by a filter policy,
// {"approver": ["alice"]}. The team's needs no filter: CloudWatch's alarms are there too, and have no attributes to filter by.
type Topic struct {
	api Publisher
	arn string
}

// Escalation is the audience that is told when those who were asked do not answer: {"audience": ["escalation"]}.
const Escalation = "escalation"

// NewTopic gives the topic of that ARN.
func NewTopic(api Publisher, arn string) *Topic { return &Topic{api: api, arn: arn} }

// Send publishes a message. SNS has no idempotency for e-mail: see Once. Errors: as SNS answers.
func (t *Topic) Send(ctx context.Context, m Message) error {
	audience := cmp.Or(m.Audience, "security")
	attributes := map[string]types.MessageAttributeValue{}
	if m.To != "" {
		audience = "approver"
		attributes["approver"] = text(m.To)
	}
	attributes["audience"] = text(audience)
	if m.Severity != "" {
		attributes["severity"] = text(string(m.Severity))
	}
	_, err := t.api.Publish(ctx, &sns.PublishInput{TopicArn: &t.arn, Subject: aws.String(subject(m.Subject)), Message: &m.Body, MessageAttributes: attributes})
	if err != nil {
		return fmt.Errorf("publish to %s: %w", t.arn, err)
	}
	return nil
}

func text(s string) types.MessageAttributeValue {
	return types.MessageAttributeValue{DataType: aws.String("String"), StringValue: &s}
}

// Notice is the record INC#<id> / NOTICE#<episode>#<kind> of a message.
type Notice struct {
	Kind  string    `json:"kind"`
	To    string    `json:"to,omitempty"`
	Begun time.Time `json:"begun"`
	Sent  time.Time `json:"sent,omitzero"`
}

// NoticeKey is the key of a notice.
func NoticeKey(id string, episode int, kind string) ledger.Key {
	return ledger.Key{PK: "INC#" + id, SK: fmt.Sprintf("NOTICE#%d#%s", episode, kind)}
}

// Once sends a message of that kind once in an episode of an incident, and tells whether it did so now. The notice is written
// before, and marked after: only a death between the two may send it again. Errors: Unreadable; as SNS answers.
func (t *Topic) Once(ctx context.Context, s ledger.Store, id string, episode int, kind string, m Message) (bool, error) {
	k := NoticeKey(id, episode, kind)
	it, err := ledger.Load[Notice](ctx, s, k)
	if err != nil || !it.Value.Sent.IsZero() {
		return false, err
	}
	if !it.Exists() {
		it.Value = Notice{Kind: kind, To: m.To, Begun: time.Now().UTC()}
		if err := ledger.Save(ctx, s, &it); err != nil {
			return false, fmt.Errorf("record the notice %s of %s: %w", kind, id, err)
		}
	}
	slog.InfoContext(ctx, "tell", "incident", id, "episode", episode, "kind", kind, "to", m.To)
	if err := t.Send(ctx, m); err != nil {
		return false, err
	}
	it.Value.Sent = time.Now().UTC()
	if err := ledger.Save(ctx, s, &it); err != nil {
		return true, fmt.Errorf("record that the notice %s of %s was sent: %w", kind, id, err)
	}
	return true, nil
}

// subject makes a text fit for SNS: ASCII, one line, under 100 characters.
func subject(s string) string {
	s = strings.Map(func(r rune) rune {
		if r > unicode.MaxASCII {
			return '?'
		}
		return r
	}, Plain(s))
	if len(s) > 99 {
		s = s[:96] + "..."
	}
	return s
}

// Plain makes a text of unknown origin inert in a message: one line, no control, invisible or direction-changing characters,
// nothing that a mail program turns into a link, at most 200 characters. Attackers write names, tags and titles.
func Plain(s string) string { return Line(s, 200) }

// Line is Plain with at most that many characters.
func Line(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), unicode.Is(unicode.Co, r), r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	s = strings.ReplaceAll(s, "://", "[:]//")
	for _, prefix := range []string{"www.", "WWW.", "mailto:", "tel:"} {
		s = strings.ReplaceAll(s, prefix, prefix[:len(prefix)-1]+"["+prefix[len(prefix)-1:]+"]")
	}
	if r := []rune(s); len(r) > most {
		s = string(r[:most-1]) + "…"
	}
	return s
}

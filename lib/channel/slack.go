package channel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/fault"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/slack-go/slack"
)

// Slack shows requests, and incidents to look after, in the installation's Slack channel.
type Slack struct {
	secrets approval.SecretAPI
	now     func() time.Time
	http    *http.Client

	mu   sync.Mutex
	kept slackSecret
	of   string
	read time.Time
}

// slackSecret is the JSON of the secret.
type slackSecret struct {
	Token         string `json:"token"`
	SigningSecret string `json:"signingSecret"`
}

// NewSlack reads its credentials by secrets when they are first needed, and keeps them for five minutes.
func NewSlack(secrets approval.SecretAPI, now func() time.Time) *Slack {
	return &Slack{secrets: secrets, now: now, http: &http.Client{Timeout: 4 * time.Second}}
}

const keepSlack = 5 * time.Minute

func (s *Slack) credentials(ctx context.Context, set setting.Slack) (slackSecret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == set.SecretARN && s.now().Sub(s.read) < keepSlack {
		return s.kept, nil
	}
	out, err := s.secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &set.SecretARN})
	if err != nil {
		return slackSecret{}, fault.Wrap(fault.Unreadable, err, "read the credentials of Slack")
	}
	var got slackSecret
	if json.Unmarshal([]byte(aws.ToString(out.SecretString)), &got) != nil || got.Token == "" || len(got.SigningSecret) < 16 {
		return slackSecret{}, fault.New(fault.Unreadable, "the credentials of Slack are not a JSON object with token and signingSecret")
	}
	s.kept, s.of, s.read = got, set.SecretARN, s.now()
	return got, nil
}

// SigningSecret is what Slack signs its requests with. Errors: Unreadable.
func (s *Slack) SigningSecret(ctx context.Context, set setting.Slack) (string, error) {
	c, err := s.credentials(ctx, set)
	return c.SigningSecret, err
}

func (s *Slack) client(ctx context.Context, set setting.Slack) (*slack.Client, error) {
	c, err := s.credentials(ctx, set)
	if err != nil {
		return nil, err
	}
	options := []slack.Option{slack.OptionHTTPClient(s.http)}
	if set.API != "" {
		options = append(options, slack.OptionAPIURL(strings.TrimRight(set.API, "/")+"/"))
	}
	return slack.New(c.Token, options...), nil
}

// OpenView opens a modal for whoever has just pressed a button. Errors: as Slack answers; the trigger is good for 3 seconds.
func (s *Slack) OpenView(ctx context.Context, set setting.Slack, trigger string, view slack.ModalViewRequest) error {
	api, err := s.client(ctx, set)
	if err != nil {
		return err
	}
	if _, err := api.OpenViewContext(ctx, trigger, view); err != nil {
		return fmt.Errorf("open a view in Slack: %w", err)
	}
	return nil
}

// Posted is the record INC#<id> / SLACK#<n>: the message that shows request n, or, where n is below zero, that somebody has to look
// after episode -n of the incident. While it may still change it is in the index.
type Posted struct {
	Incident string    `json:"incident"`
	Number   int       `json:"number"`
	Channel  string    `json:"channel"`
	TS       string    `json:"ts,omitempty"`
	Shown    string    `json:"shown"` // a fingerprint of what the message says
	Begun    time.Time `json:"begun"`
}

// PostedGroup is the index group of messages that do not show the end of their request yet.
const PostedGroup = "SLACK"

// Show brings a message up to date (see Posted), and posts it where there is none and people are still asked. Any number of callers
// may: what the message says last is how it stands. Without Slack it does nothing. Errors: Unreadable; as Slack answers.
func (s *Slack) Show(ctx context.Context, store ledger.Store, in setting.Installed, id string, number int) error {
	if s == nil || !in.Slack.On() {
		return nil
	}
	for {
		again, err := s.show(ctx, store, in, id, number)
		if err != nil || !again {
			return err
		}
	}
}

// lost is how long a message may be on its way before another caller posts it.
const lost = time.Minute

func (s *Slack) show(ctx context.Context, store ledger.Store, in setting.Installed, id string, number int) (again bool, err error) {
	key := ledger.Key{PK: "INC#" + id, SK: fmt.Sprintf("SLACK#%04d", number)}
	it, err := ledger.Load[Posted](ctx, store, key)
	if err != nil {
		return false, err
	}
	m, err := matterOf(ctx, store, in, id, number)
	if err != nil {
		return false, err
	}
	now := s.now().UTC()
	print, err := fingerprint(m.blocks)
	if err != nil {
		return false, err
	}
	switch {
	case len(m.blocks) == 0, it.Value.TS != "" && it.Value.Shown == print && it.Group == "":
		return false, nil
	case it.Value.TS == "" && !m.open: // never posted, and nothing to ask any more
		if it.Group == "" {
			return false, nil
		}
		it.Group, it.Sort = "", ""
		return false, ledger.Save(ctx, store, &it)
	case it.Exists() && it.Value.TS == "" && now.Sub(it.Value.Begun) < lost:
		return false, nil
	}
	done := it.Value.TS != "" && it.Value.Shown == print
	it.Value.Incident, it.Value.Number, it.Value.Shown = id, number, print
	if it.Value.TS == "" {
		it.Value.Channel, it.Value.Begun = in.Slack.Channel, now
	}
	it.Group, it.Sort = "", ""
	if m.open {
		it.Group, it.Sort = ledger.Group(PostedGroup, id), ledger.Stamp(now)
	}
	if done && it.Group != "" {
		return false, nil
	}
	// The record goes first: whoever finds it changed after the call shows the request anew.
	if err := ledger.Save(ctx, store, &it); errors.Is(err, ledger.ErrConflict) {
		return true, nil
	} else if err != nil || done {
		return false, err
	}
	slog.InfoContext(ctx, "show in Slack", "incident", id, "number", number, "open", m.open)
	if err = s.send(ctx, in.Slack, &it.Value, m.blocks, m.text); err != nil {
		// It has not been shown: in the index again, for the sweep.
		it.Value.Shown = ""
		it.Group, it.Sort = ledger.Group(PostedGroup, id), ledger.Stamp(now)
		return false, errors.Join(fmt.Errorf("show %d of %s in Slack: %w", number, id, err), ledger.Save(ctx, store, &it))
	}
	if err := ledger.Save(ctx, store, &it); errors.Is(err, ledger.ErrConflict) {
		return true, nil
	} else if err != nil {
		return false, err
	}
	return false, nil
}

// matter is what a message is about, as it stands; no blocks where there is nothing.
type matter struct {
	blocks []slack.Block
	text   string // what a notification shows
	open   bool   // people are still asked
}

func matterOf(ctx context.Context, store ledger.Store, in setting.Installed, id string, number int) (matter, error) {
	meta, err := ledger.Load[ledger.Incident](ctx, store, ledger.IncidentKey(id))
	if err != nil || !meta.Exists() {
		return matter{}, err
	}
	if number > 0 {
		asked, err := approval.Load(ctx, store, id, number)
		if err != nil || !asked.Exists() {
			return matter{}, err
		}
		a := asked.Value
		return matter{request(meta.Value, a, in), summary(meta.Value, headline(a)), a.Status == approval.StatusOpen}, nil
	}
	episode := meta.Value
	episode.Episode = -number
	ack, seen, err := approval.Acknowledged(ctx, store, episode)
	if err != nil {
		return matter{}, err
	}
	open := !seen && meta.Value.Episode == -number && approval.Answerable(meta.Value)
	head := "Somebody has to look after this"
	switch {
	case seen:
		head = "Somebody is looking after this"
	case !open:
		head = "Nobody needs to look after this any more"
	}
	return matter{attend(episode, head, ack, open, in), summary(meta.Value, head), open}, nil
}

func (s *Slack) send(ctx context.Context, set setting.Slack, p *Posted, blocks []slack.Block, text string) error {
	api, err := s.client(ctx, set)
	if err != nil {
		return err
	}
	options := []slack.MsgOption{slack.MsgOptionBlocks(blocks...), slack.MsgOptionText(text, false), slack.MsgOptionDisableLinkUnfurl(), slack.MsgOptionDisableMediaUnfurl()}
	if p.TS != "" {
		_, _, _, err = api.UpdateMessageContext(ctx, p.Channel, p.TS, options...)
		return err
	}
	p.Channel, p.TS, err = api.PostMessageContext(ctx, set.Channel, options...)
	return err
}

// Reply says something under a message (see Posted), once of that kind, and to the whole channel. Without Slack, or where nothing
// was posted, it does nothing. Errors: Unreadable; as Slack answers.
func (s *Slack) Reply(ctx context.Context, store ledger.Store, in setting.Installed, id string, episode, number int, kind, text string) error {
	if s == nil || !in.Slack.On() {
		return nil
	}
	posted, err := ledger.Load[Posted](ctx, store, ledger.Key{PK: "INC#" + id, SK: fmt.Sprintf("SLACK#%04d", number)})
	if err != nil || posted.Value.TS == "" {
		return err
	}
	notice := ledger.Item[Notice]{Key: NoticeKey(id, episode, fmt.Sprintf("slack-%s-%04d", kind, number)), Value: Notice{Kind: kind, Begun: s.now().UTC()}}
	if err := ledger.Save(ctx, store, &notice); errors.Is(err, ledger.ErrConflict) {
		return nil // said, or being said: a second time would be worse than none
	} else if err != nil {
		return err
	}
	api, err := s.client(ctx, in.Slack)
	if err != nil {
		return err
	}
	_, _, err = api.PostMessageContext(ctx, posted.Value.Channel, slack.MsgOptionText(escape(text), false), slack.MsgOptionTS(posted.Value.TS), slack.MsgOptionBroadcast(), slack.MsgOptionDisableLinkUnfurl(), slack.MsgOptionDisableMediaUnfurl())
	if err != nil {
		return fmt.Errorf("reply about %d of %s in Slack: %w", number, id, err)
	}
	return nil
}

func fingerprint(blocks []slack.Block) (string, error) {
	data, err := json.Marshal(blocks)
	if err != nil {
		return "", fmt.Errorf("write a message for Slack: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8]), nil
}

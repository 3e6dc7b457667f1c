package world

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"firebreak/lib/finding"
	"firebreak/lib/incident"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	ebtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
)

// Event is an event as an AWS service puts it on the default bus of an account.
type Event struct {
	Source, DetailType string
	Detail             map[string]any
}

// Sample reads events/<name>.json and makes it a new finding of this moment: with an id and times of its own.
func (p *Platform) Sample(name string) (Event, error) {
	text, err := os.ReadFile(filepath.Join(p.Root, "events", name+".json"))
	if err != nil {
		return Event{}, err
	}
	var e struct {
		Source     string         `json:"source"`
		DetailType string         `json:"detail-type"`
		Detail     map[string]any `json:"detail"`
	}
	if err := json.Unmarshal(text, &e); err != nil {
		return Event{}, fmt.Errorf("%s: %w", name, err)
	}
	ev := Event{Source: e.Source, DetailType: e.DetailType, Detail: e.Detail}
	if ev.ID() != "" {
		ev = ev.Named(NewID()).At(time.Now())
	}
	return ev, nil
}

// NewID makes an id as GuardDuty's findings have it.
func NewID() string {
	b := make([]byte, 16)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// ID is the native id of the finding, "" where there is none.
func (e Event) ID() string { return text(e.Detail, "id") }

// Incident is the id of the incident that the finding makes.
func (e Event) Incident() string {
	return incident.ID(finding.GuardDuty, text(e.Detail, "accountId"), text(e.Detail, "region"), e.ID())
}

// Named gives the event another finding id.
func (e Event) Named(id string) Event {
	e = e.Set(id, "id")
	if arn := text(e.Detail, "arn"); arn != "" {
		e = e.Set(arn[:strings.LastIndex(arn, "/")+1]+id, "arn")
	}
	return e
}

// At makes it a finding that was seen at that time.
func (e Event) At(t time.Time) Event {
	stamp := t.UTC().Format("2006-01-02T15:04:05.000Z")
	return e.Set(stamp, "updatedAt").Set(stamp, "createdAt").Set(stamp, "service", "eventFirstSeen").Set(stamp, "service", "eventLastSeen")
}

// About names the instance in it, and its role where the finding is about the instance's credentials.
func (e Event) About(i Instance) Event {
	e = e.Set(i.ID, "resource", "instanceDetails", "instanceId")
	if i.Launched != "" {
		e = e.Set(i.Launched, "resource", "instanceDetails", "launchTime")
	}
	if i.Profile != "" {
		e = e.Set(i.Profile, "resource", "instanceDetails", "iamInstanceProfile", "arn")
	}
	if text(e.Detail, "resource", "accessKeyDetails", "userType") == "AssumedRole" {
		e = e.Set(i.Role, "resource", "accessKeyDetails", "userName").Set("AROAEXAMPLEEXAMPLE01:"+i.ID, "resource", "accessKeyDetails", "principalId")
	}
	return e
}

// OfUser names the user and one key in it.
func (e Event) OfUser(u User, key string) Event {
	return e.Set(u.Name, "resource", "accessKeyDetails", "userName").Set(key, "resource", "accessKeyDetails", "accessKeyId")
}

// OfBucket names the bucket in it.
func (e Event) OfBucket(name string) Event {
	list, _ := dig(e.Detail, "resource")["s3BucketDetails"].([]any)
	if len(list) == 0 {
		return e
	}
	first := maps.Clone(list[0].(map[string]any))
	first["name"], first["arn"] = name, "arn:aws:s3:::"+name
	return e.Set([]any{first}, "resource", "s3BucketDetails")
}

// Set gives a copy with another value at that path of the detail.
func (e Event) Set(value any, path ...string) Event {
	e.Detail = set(e.Detail, value, path)
	return e
}

// Without gives a copy without what is at that path of the detail.
func (e Event) Without(path ...string) Event {
	in := dig(e.Detail, path[:len(path)-1]...)
	in = maps.Clone(in)
	delete(in, path[len(path)-1])
	if len(path) == 1 {
		e.Detail = in
		return e
	}
	return e.Set(in, path[:len(path)-1]...)
}

func set(in map[string]any, value any, path []string) map[string]any {
	out := maps.Clone(in)
	if out == nil {
		out = map[string]any{}
	}
	if len(path) == 1 {
		out[path[0]] = value
		return out
	}
	below, _ := out[path[0]].(map[string]any)
	out[path[0]] = set(below, value, path[1:])
	return out
}

func dig(in map[string]any, path ...string) map[string]any {
	for _, p := range path {
		in, _ = in[p].(map[string]any)
	}
	return in
}

func text(in map[string]any, path ...string) string {
	s, _ := dig(in, path[:len(path)-1]...)[path[len(path)-1]].(string)
	return s
}

// Put puts the events on the member's default bus, as GuardDuty does. Errors: one that the bus did not take.
func (m *Member) Put(ctx context.Context, events ...Event) error {
	return put(ctx, m.Events, nil, events)
}

// Lose has the findings at their sources, and their events lost on the way.
func (m *Member) Lose(ctx context.Context, events ...Event) error {
	return put(ctx, m.Events, []string{"lost"}, events)
}

// Lose is the same in the hub's own account.
func (h *Hub) Lose(ctx context.Context, events ...Event) error {
	return put(ctx, h.Events, []string{"lost"}, events)
}

func put(ctx context.Context, api *eventbridge.Client, resources []string, events []Event) error {
	for len(events) > 0 {
		n := min(10, len(events)) // PutEvents takes ten
		var in eventbridge.PutEventsInput
		for _, e := range events[:n] {
			detail, err := json.Marshal(e.Detail)
			if err != nil {
				return err
			}
			in.Entries = append(in.Entries, ebtypes.PutEventsRequestEntry{Source: &e.Source, DetailType: &e.DetailType, Detail: aws.String(string(detail)), Resources: resources})
		}
		out, err := api.PutEvents(ctx, &in)
		if err != nil {
			return fmt.Errorf("put events: %w", err)
		}
		for _, r := range out.Entries {
			if r.ErrorCode != nil {
				return fmt.Errorf("put events: %s: %s", aws.ToString(r.ErrorCode), aws.ToString(r.ErrorMessage))
			}
		}
		events = events[n:]
	}
	return nil
}

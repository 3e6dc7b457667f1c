package channel

import (
	"context"
	"fmt"
	"strings"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
)

// Invitations ask the approvers of an incident, each by a link of their own.
type Invitations struct {
	Store ledger.Store
	Topic *Topic
	Keys  *approval.Keys
	// API is the base URL of the HTTP API.
	API string
	Now func() time.Time
}

// Send asks everybody who may decide, each once, and gives their ids. Where they are fewer than it takes, the team is told.
// An approval that is not open is nobody's to decide any more: nothing is sent. Errors: Unreadable, as SNS answers; after one,
// a retry sends what is left.
func (i Invitations) Send(ctx context.Context, meta ledger.Incident, a approval.Approval, in setting.Installed) ([]string, error) {
	asked := []string{}
	if a.Status != approval.StatusOpen || a.Number < 1 {
		return asked, nil
	}
	ring, err := i.Keys.Read(ctx)
	if err != nil {
		return nil, err
	}
	people, err := approval.Deciders(ctx, i.Store, in, meta, a.Kind)
	if err != nil {
		return nil, err
	}
	for _, p := range people {
		if _, decided := a.Decided(p.ID); decided {
			continue
		}
		m := Ask(meta, a, p.ID, strings.TrimRight(i.API, "/")+"/approve/"+ring.Link(a, p.ID), i.Now())
		if _, err := i.Topic.Once(ctx, i.Store, meta.ID, a.Episode, fmt.Sprintf("approval-%04d-%s", a.Number, p.ID), m); err != nil {
			return asked, fmt.Errorf("ask %s: %w", p.ID, err)
		}
		asked = append(asked, p.ID)
	}
	if len(people) < a.Need {
		_, err = i.Topic.Once(ctx, i.Store, meta.ID, a.Episode, fmt.Sprintf("too-few-%04d", a.Number), Few(meta, a, len(people)))
	}
	return asked, err
}

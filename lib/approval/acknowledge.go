package approval

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"time"

	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
)

// Acknowledgement is the record INC#<id> / ACK#<episode>: a person has seen the incident and looks after it. It decides nothing;
// it stops the escalation.
type Acknowledgement struct {
	By  string    `json:"by"`
	Via string    `json:"via"`
	At  time.Time `json:"at"`
}

func acknowledgementKey(id string, episode int) ledger.Key {
	return ledger.Key{PK: "INC#" + id, SK: fmt.Sprintf("ACK#%04d", episode)}
}

// Acknowledged gives the acknowledgement of the incident's episode, if there is one. Errors: Unreadable.
func Acknowledged(ctx context.Context, s ledger.Store, meta ledger.Incident) (Acknowledgement, bool, error) {
	it, err := ledger.Load[Acknowledgement](ctx, s, acknowledgementKey(meta.ID, meta.Episode))
	return it.Value, it.Exists(), err
}

// Acknowledge records that a person looks after the incident's episode, with its entry in the timeline. The first one counts: it
// gives whose it is, and whether that is this one. Errors: Unreadable.
func Acknowledge(ctx context.Context, s ledger.Store, meta ledger.Incident, by Acknowledgement) (Acknowledgement, bool, error) {
	it := ledger.Item[Acknowledgement]{Key: acknowledgementKey(meta.ID, meta.Episode), Value: by}
	entry := ledger.Entry(meta.ID, ledger.Event{Time: by.At, State: "Approval", Who: by.By, What: "acknowledged the incident by " + by.Via})
	entry.SK += fmt.Sprintf("#ACK#%04d", meta.Episode)
	for {
		err := ledger.Save(ctx, s, &it, &entry)
		if !errors.Is(err, ledger.ErrConflict) {
			return by, err == nil, err
		}
		// Two at once may both be turned away: then nobody has it yet.
		if was, known, err := Acknowledged(ctx, s, meta); known || err != nil {
			return was, false, err
		}
		if ctx.Err() != nil {
			return Acknowledgement{}, false, ctx.Err()
		}
	}
}

// Answerable tells whether people are asked to acknowledge an incident: from HIGH up, while it is not closed, and where no
// request to destroy asks them for more.
func Answerable(meta ledger.Incident) bool {
	return !incident.High.Above(meta.Band) && meta.Status != incident.Closed && len(meta.Plan.Eradicate) == 0
}

// Watch is the record INC#<id> / WATCH#<episode>: somebody is to look after an incident, and people are called until somebody
// does. It is in the index until then.
type Watch struct {
	Incident string    `json:"incident"`
	Episode  int       `json:"episode"`
	Began    time.Time `json:"began"`
	// Called counts how far it went: 0 nobody yet, 1 the approvers, 2 the next audience, 3 everybody again.
	Called int `json:"called"`
}

// WatchGroup is the index group of incidents that nobody looks after yet.
const WatchGroup = "WATCH"

// BeginWatch has people called to an incident, where it calls for that; once an episode. Errors: Unreadable.
func BeginWatch(ctx context.Context, s ledger.Store, meta ledger.Incident, now time.Time) error {
	if !Answerable(meta) {
		return nil
	}
	it := ledger.Item[Watch]{
		Key:   ledger.Key{PK: "INC#" + meta.ID, SK: fmt.Sprintf("WATCH#%04d", meta.Episode)},
		Group: ledger.Group(WatchGroup, meta.ID), Sort: ledger.Stamp(now), Value: Watch{Incident: meta.ID, Episode: meta.Episode, Began: now},
	}
	if err := ledger.Save(ctx, s, &it); err != nil && !errors.Is(err, ledger.ErrConflict) {
		return err
	}
	return nil
}

// SeenLink makes the personal link by which an approver acknowledges an incident's episode.
func (r Ring) SeenLink(meta ledger.Incident, approver string, expires time.Time) string {
	l := Link{Incident: meta.ID, Number: -meta.Episode, Approver: approver, Expires: expires, KeyID: r.ID}
	return r.encode(l, l.sign([]byte(r.Key), seen))
}

// seen stands in a link to acknowledge where the hash of a plan stands in others; numbers of episodes are negative there, so
// that neither kind is ever taken for the other.
const seen = "acknowledge"

// GenuineSeen tells whether the link was made by this ring to acknowledge an episode of the incident. Which one, and until when, the
// link itself says.
func (r Ring) GenuineSeen(l Link, meta ledger.Incident) bool {
	key := r.key(l.KeyID)
	known := key != nil
	if !known {
		key = []byte(r.Key)
	}
	ok := hmac.Equal(l.mac, l.sign(key, seen))
	return ok && known && l.Incident == meta.ID && l.Number < 0
}

// Watchers gives the people who are asked about an incident of that severity and account and are not named in its finding.
// Errors: Unreadable.
func Watchers(ctx context.Context, s ledger.Store, in setting.Installed, meta ledger.Incident) ([]setting.Approver, error) {
	return Deciders(ctx, s, in, meta, KindOverride)
}

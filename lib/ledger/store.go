// Package ledger keeps all of Firebreak's state in one DynamoDB table.
//
// Keys (pk / sk):
//
//	INC#<id>      / META                          the incident: status, episode, owner, plan, outcomes
//	INC#<id>      / EVENT#<time>#<state>#<n>      the timeline
//	INC#<id>      / APPROVAL#<n>                  a request to people and their decisions; holds the task token
//	INC#<id>      / SLACK#<n>                     the Slack message that shows request n
//	INC#<id>      / ACK#<episode>                 who looks after an incident
//	INC#<id>      / WATCH#<episode>               how far people were called to look after it
//	INC#<id>      / NOTICE#<episode>#<kind>       a message that was sent
//	INC#<id>      / COPY#<execution>              a copy of the finding that may not act
//	INC#<id>      / OUTCOMES#<episode>            which execution told each outcome
//	INC#<id>      / VIEW#APPROVAL#…               who looked at a request, or was refused, once an hour
//	INC#<id>      / RUN#<cause>                   the run number that a redrive or an override was given
//	RES#<arn>     / HOLD#<action>                 what Firebreak holds on a resource: before, intent, after, holders
//	RES#<arn>     / DOCUMENT#<digest>             an earlier document that is too long for a state
//	RES#<arn>     / MANIFEST                      which snapshots keep which volumes of an instance
//	RES#<arn>     / INC#<id>                      the incidents that name a resource
//	BUDGET#<account>#<action>#<hour> / SET        the holds of an hour
//	SLACK#<fingerprint> / SEEN                    a request of Slack that came: a second one is a replay
//	BUDGET#<account>#<action>#<hour> / RAISE      by how much people have raised it, and who
//	MISSED / PLACE#<source>#<account>#<region>    how far a source was read for findings that no event brought
//	MISSED#<account>#<region> / RULE#<rule>       what a rule of Config said at the last reading
//	WATCHED / CONTAINMENT                         which contained incident was looked at last
//	BEAT#<account> / REGION#<region>              when an account was last heard
//	SETTING#guard / SETTING                       mode, protected list, limits: what must take effect at once
//
// Index "open" (gpk / gsk) is sparse: only what still needs work is in it, sharded over four partitions a group:
// INCIDENT#<band>, APPROVAL, SLACK, WATCH, HOLD, EVIDENCE, MANIFEST.
//
// Every write is conditional on the version that was read (0: nothing there yet): two writers never both win.
package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"firebreak/lib/fault"
)

// Key is a record's primary key.
type Key struct{ PK, SK string }

// Record is one item as the store keeps it. Data is a JSON object.
type Record struct {
	Key
	Version int
	// Group and Sort put the record into the index "open"; an empty Group takes it out.
	Group, Sort string
	// Expires is when the store may drop the record; zero for never.
	Expires time.Time
	Data    []byte
}

// ErrConflict says that somebody else wrote the record since it was read.
var ErrConflict = errors.New("the record was changed by somebody else")

// Store is the table. Reads are strongly consistent, except Open's.
type Store interface {
	// Get gives the record, or a zero Version where there is none.
	Get(ctx context.Context, k Key) (Record, error)
	// Put writes all records or none. Each must still have the Version it carries (0: must not exist), and gets the next one.
	// ErrConflict otherwise.
	Put(ctx context.Context, recs ...Record) error
	// Delete removes the record if it still has that version. ErrConflict otherwise.
	Delete(ctx context.Context, k Key, version int) error
	// List gives the records of a partition whose sort key begins with prefix, in order.
	List(ctx context.Context, pk, prefix string) ([]Record, error)
	// Open gives the records of an index group in the order of Sort.
	Open(ctx context.Context, group string) ([]Record, error)
	// AddToSet adds member to the record's set if it is there already or the set has fewer than limit members, in one
	// conditional write. It tells whether member is in the set now.
	AddToSet(ctx context.Context, k Key, member string, limit int, expires time.Time) (bool, error)
}

// Item is a typed record.
type Item[T any] struct {
	Key
	Version     int
	Group, Sort string
	Expires     time.Time
	Value       T
}

// Exists tells whether the item was in the table when it was read.
func (it Item[T]) Exists() bool { return it.Version > 0 }

// Load reads an item. Where there is none, Version is 0 and Value is zero. Errors: Unreadable.
func Load[T any](ctx context.Context, s Store, k Key) (Item[T], error) {
	rec, err := s.Get(ctx, k)
	if err != nil {
		return Item[T]{}, fault.Wrap(unreadable(err), err, "read %s %s of the ledger", k.PK, k.SK)
	}
	it, err := decode[T](rec)
	it.Key = k
	return it, err
}

// Save writes items, all or none, and moves their versions on. Errors: ErrConflict (wrapped) where one was changed meanwhile.
func Save(ctx context.Context, s Store, items ...Saver) error {
	recs := make([]Record, len(items))
	for i, it := range items {
		rec, err := it.record()
		if err != nil {
			return err
		}
		recs[i] = rec
	}
	if err := s.Put(ctx, recs...); err != nil {
		return fmt.Errorf("write %s %s of the ledger: %w", recs[0].PK, recs[0].SK, err)
	}
	for _, it := range items {
		it.saved()
	}
	return nil
}

// Saver is a pointer to an Item.
type Saver interface {
	record() (Record, error)
	saved()
}

func (it *Item[T]) record() (Record, error) {
	data, err := json.Marshal(it.Value)
	if err != nil {
		return Record{}, fmt.Errorf("encode %s %s: %w", it.PK, it.SK, err)
	}
	return Record{Key: it.Key, Version: it.Version, Group: it.Group, Sort: it.Sort, Expires: it.Expires, Data: data}, nil
}

func (it *Item[T]) saved() { it.Version++ }

// List reads the items of a partition whose sort key begins with prefix.
func List[T any](ctx context.Context, s Store, pk, prefix string) ([]Item[T], error) {
	recs, err := s.List(ctx, pk, prefix)
	if err != nil {
		return nil, fault.Wrap(unreadable(err), err, "list %s %s of the ledger", pk, prefix)
	}
	return decodeAll[T](recs)
}

// Open reads the items of one group of the index, over all its shards. The index lags behind the table by moments: what is
// acted upon is loaded again by its key.
func Open[T any](ctx context.Context, s Store, group string) ([]Item[T], error) {
	var out []Item[T]
	for shard := range shards {
		recs, err := s.Open(ctx, fmt.Sprintf("%s#%d", group, shard))
		if err != nil {
			return nil, fault.Wrap(unreadable(err), err, "list the open %s of the ledger", group)
		}
		items, err := decodeAll[T](recs)
		if err != nil {
			return nil, err
		}
		out = append(out, items...)
	}
	return out, nil
}

const shards = 4

// Group names the index partition of a record: the group and a shard chosen by id.
func Group(group, id string) string {
	h := fnv.New32a()
	h.Write([]byte(id))
	return fmt.Sprintf("%s#%d", group, h.Sum32()%shards)
}

// Stamp writes a time so that text order is time order.
func Stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// Update loads an item, lets change work on it and saves it, again if somebody else wrote meanwhile. change may be called
// several times; its error ends the update and comes back as it is.
func Update[T any](ctx context.Context, s Store, k Key, change func(*Item[T]) error) (Item[T], error) {
	for {
		it, err := Load[T](ctx, s, k)
		if err != nil {
			return it, err
		}
		if err := change(&it); err != nil {
			return it, err
		}
		err = Save(ctx, s, &it)
		if err == nil || !errors.Is(err, ErrConflict) {
			return it, err
		}
		if ctx.Err() != nil {
			return it, ctx.Err()
		}
	}
}

func decodeAll[T any](recs []Record) ([]Item[T], error) {
	out := make([]Item[T], 0, len(recs))
	for _, rec := range recs {
		it, err := decode[T](rec)
		if err != nil {
			return nil, err
		}
		out = append(out, it)
	}
	return out, nil
}

func decode[T any](rec Record) (Item[T], error) {
	it := Item[T]{Key: rec.Key, Version: rec.Version, Group: rec.Group, Sort: rec.Sort, Expires: rec.Expires}
	if rec.Version == 0 {
		return it, nil
	}
	if err := json.Unmarshal(rec.Data, &it.Value); err != nil {
		return it, fault.Wrap(fault.Unreadable, err, "decode %s %s of the ledger", rec.PK, rec.SK)
	}
	return it, nil
}

// unreadable keeps a name that the error has already (Throttled is worth a retry) and calls everything else Unreadable.
func unreadable(err error) fault.Name {
	if n := fault.NameOf(err); n != fault.Unexpected {
		return n
	}
	return fault.Unreadable
}

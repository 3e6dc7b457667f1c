package ledger

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"
)

// Memory is a Store in memory that honours versions and conditions as the table does. For tests, and for looking at a plan
// without an installation.
type Memory struct {
	mu   sync.Mutex
	recs map[Key]Record
	sets map[Key][]string
	// Fail, where set, is asked before each call and may fail it (op: get, put, delete, list, open, add).
	Fail func(op string, k Key) error
}

// NewMemory gives an empty store.
func NewMemory() *Memory { return &Memory{recs: map[Key]Record{}, sets: map[Key][]string{}} }

func (m *Memory) fail(op string, k Key) error {
	if m.Fail == nil {
		return nil
	}
	return m.Fail(op, k)
}

func (m *Memory) Get(_ context.Context, k Key) (Record, error) {
	if err := m.fail("get", k); err != nil {
		return Record{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if rec, ok := m.recs[k]; ok {
		return rec, nil
	}
	return Record{Key: k}, nil
}

func (m *Memory) Put(_ context.Context, recs ...Record) error {
	if err := m.fail("put", recs[0].Key); err != nil {
		return err
	}
	if len(recs) > 100 {
		return fmt.Errorf("a transaction of %d items: DynamoDB takes 100", len(recs))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, rec := range recs {
		if m.recs[rec.Key].Version != rec.Version {
			return ErrConflict
		}
	}
	for _, rec := range recs {
		rec.Version++
		rec.Data = slices.Clone(rec.Data)
		m.recs[rec.Key] = rec
	}
	return nil
}

func (m *Memory) Delete(_ context.Context, k Key, version int) error {
	if err := m.fail("delete", k); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.recs[k].Version != version {
		return ErrConflict
	}
	delete(m.recs, k)
	return nil
}

func (m *Memory) List(_ context.Context, pk, prefix string) ([]Record, error) {
	if err := m.fail("list", Key{pk, prefix}); err != nil {
		return nil, err
	}
	return m.pick(func(r Record) (string, bool) { return r.SK, r.PK == pk && strings.HasPrefix(r.SK, prefix) }), nil
}

func (m *Memory) Open(_ context.Context, group string) ([]Record, error) {
	if err := m.fail("open", Key{group, ""}); err != nil {
		return nil, err
	}
	return m.pick(func(r Record) (string, bool) { return r.Sort, r.Group == group }), nil
}

func (m *Memory) pick(want func(Record) (string, bool)) []Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Record
	for _, rec := range m.recs {
		if _, ok := want(rec); ok {
			out = append(out, rec)
		}
	}
	sort.Slice(out, func(i, j int) bool {
		a, _ := want(out[i])
		b, _ := want(out[j])
		return a < b
	})
	return out
}

func (m *Memory) AddToSet(_ context.Context, k Key, member string, limit int, _ time.Time) (bool, error) {
	if err := m.fail("add", k); err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.Contains(m.sets[k], member) {
		return true, nil
	}
	if len(m.sets[k]) >= limit {
		return false, nil
	}
	m.sets[k] = append(m.sets[k], member)
	return true, nil
}

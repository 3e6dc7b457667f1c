package ledger

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"firebreak/lib/incident"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

func TestOneOfManyWritersWins(t *testing.T) {
	s := NewMemory()
	var wins int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			it := Item[Incident]{Key: IncidentKey("INC-A"), Value: Incident{ID: "INC-A"}}
			err := Save(context.Background(), s, &it)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				wins++
			case !errors.Is(err, ErrConflict):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if wins != 1 {
		t.Errorf("%d writers won, want 1", wins)
	}
}

func TestAllOrNone(t *testing.T) {
	s, ctx := NewMemory(), context.Background()
	a := Item[Incident]{Key: IncidentKey("INC-A")}
	if err := Save(ctx, s, &a); err != nil {
		t.Fatal(err)
	}
	stale, b := Item[Incident]{Key: IncidentKey("INC-A")}, Item[Incident]{Key: IncidentKey("INC-B")}
	if err := Save(ctx, s, &b, &stale); !errors.Is(err, ErrConflict) {
		t.Fatalf("got %v, want a conflict", err)
	}
	if got, err := Load[Incident](ctx, s, IncidentKey("INC-B")); err != nil || got.Exists() {
		t.Errorf("half of it was written: %+v, %v", got, err)
	}
}

func TestTheSameCauseGetsTheSameRun(t *testing.T) {
	s, ctx := NewMemory(), context.Background()
	it := Item[Incident]{Key: IncidentKey("INC-A"), Value: Incident{ID: "INC-A"}}
	if err := Save(ctx, s, &it); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		cause string
		want  int
	}{{"message-1", 1}, {"message-2", 2}, {"message-1", 1}} {
		if got, err := RunNumber(ctx, s, "INC-A", c.cause); err != nil || got != c.want {
			t.Errorf("%s: run %d, %v; want %d", c.cause, got, err, c.want)
		}
	}
	if _, err := RunNumber(ctx, s, "INC-Z", "message-1"); err == nil {
		t.Error("an incident that does not exist got a run")
	}
}

func TestOpenHoldsWhatNeedsWork(t *testing.T) {
	s, ctx := NewMemory(), context.Background()
	for id, status := range map[string]incident.Status{"INC-A": incident.Open, "INC-B": incident.Contained, "INC-C": incident.Closed, "INC-D": incident.Recorded} {
		it := Item[Incident]{Key: IncidentKey(id), Value: Incident{ID: id, Status: status, Band: incident.High}}
		Place(&it)
		if err := Save(ctx, s, &it); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Open[Incident](ctx, s, IncidentGroup(incident.High))
	if err != nil || len(got) != 2 {
		t.Fatalf("%d incidents are open (%v), want the open and the contained one", len(got), err)
	}
}

func TestTimelineKeepsOrderAndLosesNothing(t *testing.T) {
	s, ctx, at := NewMemory(), context.Background(), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i, what := range []string{"third", "first", "second", "second again"} {
		offset := []int{2, 0, 1, 1}[i]
		if err := Append(ctx, s, "INC-A", Event{Time: at.Add(time.Duration(offset) * time.Second), State: "Contain", What: what}); err != nil {
			t.Fatal(err)
		}
	}
	events, err := Timeline(ctx, s, "INC-A")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range events {
		got = append(got, e.What)
	}
	want := []string{"first", "second", "second again", "third"}
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			t.Fatalf("timeline %q, want %q", got, want)
		}
	}
}

// A single write meets the transaction of another writer: to be tried again, as any other conflict.
func TestEveryKindOfConflictIsOne(t *testing.T) {
	for _, err := range []error{
		&types.ConditionalCheckFailedException{}, &types.TransactionConflictException{},
		&types.TransactionCanceledException{CancellationReasons: []types.CancellationReason{{Code: aws.String("None")}, {Code: aws.String("TransactionConflict")}}},
	} {
		if !errors.Is(conflict(err), ErrConflict) {
			t.Errorf("%T is no conflict", err)
		}
	}
	if other := errors.New("no table"); conflict(other) != other {
		t.Error(conflict(other))
	}
}

package evidence

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"firebreak/lib/ledger"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Manifest is what was taken of an instance: RES#<arn> / MANIFEST.
type Manifest struct {
	Instance  string `json:"instance"` // ARN
	Incident  string `json:"incident"` // the latest that it was taken for
	Partition string `json:"partition"`
	Account   string `json:"account"`
	Region    string `json:"region"`
	// Snapshots in the order of their volumes and times.
	Snapshots []Entry `json:"snapshots"`
}

// Entry is one snapshot as EC2 describes it.
type Entry struct {
	Volume   string `json:"volume"`
	Snapshot string `json:"snapshot"`
	// GiB is the volume's size.
	GiB       int32  `json:"gib"`
	Encrypted bool   `json:"encrypted"`
	Key       string `json:"key,omitempty"` // ARN
	// Started is the moment that the snapshot shows, Completed when all of it was kept; zero until then.
	Started   time.Time `json:"started"`
	Completed time.Time `json:"completed,omitzero"`
	// Seen says that EC2 gave no time of completion: Completed is when it was first read as complete.
	Seen bool `json:"seen,omitempty"`
	// Problem is what EC2 says of a snapshot that it gave up.
	Problem string `json:"problem,omitempty"`
}

// String says it in one line.
func (e Entry) String() string {
	how := "not encrypted"
	if e.Encrypted {
		how = "encrypted with " + cmp.Or(e.Key, "a key that EC2 does not name")
	}
	when := "not complete yet"
	switch {
	case e.Problem != "":
		when = "FAILED: " + e.Problem
	case e.Seen:
		when = "read as complete " + e.Completed.UTC().Format(time.RFC3339)
	case !e.Completed.IsZero():
		when = "complete " + e.Completed.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("%s in %s: %d GiB, %s, begun %s, %s", e.Volume, e.Snapshot, e.GiB, how, e.Started.UTC().Format(time.RFC3339), when)
}

// Waits tells whether something is still being taken.
func (m Manifest) Waits() bool {
	return slices.ContainsFunc(m.Snapshots, func(e Entry) bool { return e.Completed.IsZero() && e.Problem == "" })
}

// Entry gives that of a snapshot.
func (m Manifest) Entry(snapshot string) (Entry, bool) {
	i := slices.IndexFunc(m.Snapshots, func(e Entry) bool { return e.Snapshot == snapshot })
	if i < 0 {
		return Entry{}, false
	}
	return m.Snapshots[i], true
}

// ManifestKey is the key of an instance's manifest.
func ManifestKey(instance string) ledger.Key {
	return ledger.Key{PK: "RES#" + instance, SK: "MANIFEST"}
}

// ManifestGroup is the index group of manifests in which something is still being taken.
const ManifestGroup = "MANIFEST"

var errSame = errors.New("nothing to write")

// Note writes into an instance's manifest what EC2 says of snapshots; m names the instance. What was complete stays as it was written
// then. It may be called any number of times, and writes nothing where nothing is new. Errors: Unreadable.
func Note(ctx context.Context, s ledger.Store, m Manifest, found []types.Snapshot, now time.Time) error {
	_, err := ledger.Update(ctx, s, ManifestKey(m.Instance), func(it *ledger.Item[Manifest]) error {
		kept := slices.Clone(it.Value.Snapshots)
		for _, snap := range found {
			e := entry(snap, now)
			i := slices.IndexFunc(kept, func(k Entry) bool { return k.Snapshot == e.Snapshot })
			switch {
			case i < 0:
				kept = append(kept, e)
			case kept[i].Completed.IsZero():
				kept[i] = e
			}
		}
		if slices.Equal(kept, it.Value.Snapshots) {
			return errSame
		}
		slices.SortFunc(kept, func(a, b Entry) int {
			return cmp.Or(strings.Compare(a.Volume, b.Volume), a.Started.Compare(b.Started), strings.Compare(a.Snapshot, b.Snapshot))
		})
		it.Value = m
		it.Value.Snapshots = kept
		it.Group, it.Sort = "", ""
		if it.Value.Waits() {
			it.Group, it.Sort = ledger.Group(ManifestGroup, m.Instance), ledger.Stamp(now)
		}
		return nil
	})
	if errors.Is(err, errSame) {
		return nil
	}
	return err
}

func entry(s types.Snapshot, now time.Time) Entry {
	e := Entry{
		Volume: aws.ToString(s.VolumeId), Snapshot: aws.ToString(s.SnapshotId), GiB: aws.ToInt32(s.VolumeSize), Encrypted: aws.ToBool(s.Encrypted), Key: aws.ToString(s.KmsKeyId),
		Started: aws.ToTime(s.StartTime).UTC(),
	}
	switch {
	case s.State == types.SnapshotStateCompleted && s.CompletionTime != nil:
		e.Completed = s.CompletionTime.UTC()
	case s.State == types.SnapshotStateCompleted:
		e.Completed, e.Seen = now.UTC(), true
	case s.State == types.SnapshotStateError:
		e.Problem = cmp.Or(aws.ToString(s.StateMessage), "EC2 gave it up")
	}
	return e
}

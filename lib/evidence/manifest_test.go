package evidence

import (
	"strings"
	"testing"
	"time"

	"firebreak/lib/ledger"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func TestWhatWasCompleteStays(t *testing.T) {
	store, now := ledger.NewMemory(), time.Date(2026, 3, 2, 3, 12, 5, 0, time.UTC)
	m := Manifest{Instance: "arn:aws:ec2:us-east-1:222222222222:instance/i-0abcdef1234567890", Incident: "INC-BWJ4TH5BLF5DYQIG", Account: "222222222222", Region: "us-east-1"}
	snapshot := func(id, volume string, state types.SnapshotState) types.Snapshot {
		return types.Snapshot{SnapshotId: &id, VolumeId: &volume, StartTime: &now, State: state, VolumeSize: aws.Int32(8), StateMessage: aws.String("the key is gone")}
	}
	read := func() ledger.Item[Manifest] {
		t.Helper()
		it, err := ledger.Load[Manifest](t.Context(), store, ManifestKey(m.Instance))
		if err != nil {
			t.Fatal(err)
		}
		return it
	}
	note := func(at time.Time, list ...types.Snapshot) {
		t.Helper()
		if err := Note(t.Context(), store, m, list, at); err != nil {
			t.Fatal(err)
		}
	}
	note(now, snapshot("snap-2", "vol-2", types.SnapshotStatePending), snapshot("snap-1", "vol-1", types.SnapshotStateCompleted))
	it := read()
	if !it.Value.Waits() || it.Group == "" || it.Value.Snapshots[0].Volume != "vol-1" || !strings.Contains(it.Value.Snapshots[1].String(), "not complete yet") {
		t.Errorf("%+v", it)
	}
	note(now.Add(time.Hour), snapshot("snap-1", "vol-1", types.SnapshotStateCompleted), snapshot("snap-2", "vol-2", types.SnapshotStatePending))
	if again := read(); again.Version != it.Version {
		t.Errorf("nothing was new, and it was written: %+v", again)
	}
	note(now.Add(time.Hour), snapshot("snap-2", "vol-2", types.SnapshotStateError))
	it = read()
	if it.Value.Waits() || it.Group != "" || !it.Value.Snapshots[0].Completed.Equal(now) || !strings.Contains(it.Value.Snapshots[1].String(), "FAILED: the key is gone") {
		t.Errorf("%+v", it)
	}
	note(now.Add(time.Hour), snapshot("snap-3", "vol-2", types.SnapshotStatePending))
	if it = read(); len(it.Value.Snapshots) != 3 || it.Group == "" {
		t.Errorf("%+v", it)
	}
}

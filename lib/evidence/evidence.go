// Package evidence is the record of what is kept of an instance out of the reach of whoever owns its account: each snapshot that
// was taken for an incident, its copy under the evidence key, the copy in the forensic account, and the lock on that.
package evidence

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"firebreak/lib/incident"
	"firebreak/lib/ledger"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

// Phase of a snapshot on its way.
type Phase string

const (
	Taken    Phase = "taken"    // begun in the account it belongs to
	Copied   Phase = "copied"   // a copy under the evidence key was begun in that account: a key of AWS's own cannot be shared
	Received Phase = "received" // a copy of that was begun in the forensic account
	Locked   Phase = "locked"   // that copy is complete, read back, and nobody can delete it
)

// Record of one snapshot.
type Record struct {
	Incident  string `json:"incident"`
	Partition string `json:"partition"`
	Account   string `json:"account"`
	Region    string `json:"region"`
	Instance  string `json:"instance"` // ARN
	Volume    string `json:"volume"`
	// Snapshot is the one that was taken, Copy its copy under the evidence key, Received the copy in the forensic account.
	Snapshot string `json:"snapshot"`
	Copy     string `json:"copy,omitempty"`
	Received string `json:"received,omitempty"`
	Phase    Phase  `json:"phase"`
	// Claimed is when a call last said that it begins a copy: for a while no other does.
	Claimed time.Time `json:"claimed,omitzero"`
	// Locked is until when nobody can delete it.
	Locked time.Time `json:"locked,omitzero"`
	// Failed counts copies that AWS gave up; Problem says what is wrong now, "" for nothing.
	Failed  int       `json:"failed,omitempty"`
	Problem string    `json:"problem,omitempty"`
	At      time.Time `json:"at"`
}

// Key of a snapshot's record.
func Key(partition, region, snapshot string) ledger.Key {
	return ledger.Key{PK: "RES#" + ARN(partition, region, snapshot), SK: "EVIDENCE"}
}

// ARN of a snapshot; it names no account (AWS: service authorization reference of EC2).
func ARN(partition, region, snapshot string) string {
	return fmt.Sprintf("arn:%s:ec2:%s::snapshot/%s", partition, region, snapshot)
}

// Group is the index group of records that are not locked yet.
const Group = "EVIDENCE"

// Place puts a record into the index "open" until it is locked.
func Place(it *ledger.Item[Record]) {
	if it.Value.Phase == Locked {
		it.Group, it.Sort = "", ""
		return
	}
	it.Group, it.Sort = ledger.Group(Group, it.Value.Snapshot), ledger.Stamp(it.Value.At)
}

// Wanted lists the snapshots that were taken for incidents which are open or contained, as records in phase taken. Busy tells
// that an account is still at it: what it is taking now is not listed yet.
func Wanted(ctx context.Context, s ledger.Store) (found []Record, busy map[string]bool, err error) {
	busy = map[string]bool{}
	seen := map[string]bool{}
	for _, band := range incident.Bands() {
		incidents, err := ledger.Open[ledger.Incident](ctx, s, ledger.IncidentGroup(band))
		if err != nil {
			return nil, nil, err
		}
		for _, it := range incidents {
			for _, step := range it.Value.Plan.Contain {
				if step.Action != "snapshot-volumes" || seen[step.Target] {
					continue
				}
				seen[step.Target] = true
				hold, err := ledger.Load[ledger.Hold](ctx, s, ledger.HoldKey(step.Target, step.Action))
				if err != nil {
					return nil, nil, err
				}
				if hold.Value.Phase == ledger.Applying {
					busy[it.Value.Finding.Account] = true
				}
				found = append(found, taken(it.Value.ID, step.Target, hold.Value)...)
			}
		}
	}
	return found, busy, nil
}

// taken lists the snapshots of a hold of snapshot-volumes.
func taken(id, target string, hold ledger.Hold) []Record {
	a, err := arn.Parse(target)
	if err != nil {
		return nil
	}
	var out []Record
	for _, field := range slices.Sorted(maps.Keys(hold.After)) {
		volume, ok := strings.CutSuffix(field, "/snapshot")
		if snapshot := hold.After[field]; ok && snapshot != "" {
			out = append(out, Record{
				Incident: id, Partition: a.Partition, Account: a.AccountID, Region: a.Region, Instance: target, Volume: volume, Snapshot: snapshot, Phase: Taken,
			})
		}
	}
	return out
}

// Missing says what is not locked in the forensic account yet, "" when everything is. A copy that Firebreak has given up is an
// error: it will never be there without a person.
func Missing(ctx context.Context, s ledger.Store, partition, region string, snapshots []string) (string, error) {
	var missing []string
	for _, snapshot := range snapshots {
		it, err := ledger.Load[Record](ctx, s, Key(partition, region, snapshot))
		switch {
		case err != nil:
			return "", err
		case it.Value.Phase == Locked:
		case !it.Exists():
			missing = append(missing, snapshot+" is not on its way to the forensic account yet")
		case it.Value.Problem != "":
			missing = append(missing, fmt.Sprintf("%s is not locked in the forensic account: %s", snapshot, it.Value.Problem))
		default:
			missing = append(missing, fmt.Sprintf("%s is not locked in the forensic account yet (%s)", snapshot, it.Value.Phase))
		}
	}
	return strings.Join(missing, ", "), nil
}

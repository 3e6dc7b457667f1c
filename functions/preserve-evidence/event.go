package main

import (
	"slices"
	"strings"

	"firebreak/lib/evidence"
)

// notification is an event of EBS about snapshots (Amazon EBS user guide, EventBridge for EBS), or the clock's, which is empty. It
// says only which snapshots are worth looking at: what became of them is read from EC2.
type notification struct {
	Account string `json:"account"`
	Region  string `json:"region"`
	Detail  struct {
		Event    string `json:"event"` // createSnapshot, createSnapshots, copySnapshot
		Snapshot string `json:"snapshot_id"`
		Source   string `json:"source"` // a volume, or for a copy the snapshot that was copied
		// Snapshots are those of a set.
		Snapshots []struct {
			Snapshot string `json:"snapshot_id"`
		} `json:"snapshots"`
	} `json:"detail"`
}

// taking tells whether new snapshots were taken, not copied.
func (n notification) taking() bool { return strings.HasPrefix(n.Detail.Event, "createSnapshot") }

// about tells whether a record may be a step further for what happened; the clock is about all.
func (n notification) about(r evidence.Record, forensic string) bool {
	switch {
	case n.Detail.Event == "":
		return true
	case n.Region != r.Region || n.Account != r.Account && n.Account != forensic:
		return false
	case n.taking():
		return slices.Contains(n.taken(), r.Snapshot)
	case n.Account == r.Account && r.Snapshot == id(n.Detail.Source):
		return true
	}
	return n.Account == forensic && r.Copy != "" && r.Copy == id(n.Detail.Source)
}

func (n notification) taken() []string {
	out := []string{id(n.Detail.Snapshot)}
	for _, s := range n.Detail.Snapshots {
		out = append(out, id(s.Snapshot))
	}
	return out
}

// id is the last part of what the events call an ARN, which has the region where an account should be.
func id(arn string) string { return arn[strings.LastIndex(arn, "/")+1:] }

package main

import (
	"testing"

	"firebreak/lib/actiontest"
)

func TestUndoneWhileItSettles(t *testing.T) {
	actiontest.Undone(t, func(t *testing.T) actiontest.Adversary {
		w := newWorld(t, vol1, vol2)
		return actiontest.Adversary{
			World: actiontest.New(t, "snapshot-volumes", w.act), Target: target,
			Undo:      func() { w.ec2.DropSnapshot(*w.ec2.Snapshots()[0].SnapshotId) },
			Contained: func() bool { return len(w.ec2.Snapshots()) == 2 },
		}
	})
}

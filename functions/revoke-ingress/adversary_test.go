package main

import (
	"testing"

	"firebreak/lib/actiontest"
)

func TestUndoneWhileItSettles(t *testing.T) {
	actiontest.Undone(t, func(t *testing.T) actiontest.Adversary {
		f := newFake(ssh, ssh6, web)
		return actiontest.Adversary{
			World: newWorld(t, f), Target: group,
			Undo:      func() { f.open(ssh, "", nil) },
			Contained: func() bool { return len(f.rules) == 2 }, // web, and the one outwards
		}
	})
}

package main

import (
	"testing"

	"firebreak/lib/actiontest"
)

func TestUndoneWhileItSettles(t *testing.T) {
	actiontest.Undone(t, func(t *testing.T) actiontest.Adversary {
		w := newWorld(t)
		return actiontest.Adversary{
			World: actiontest.New(t, "isolate-instance", w.act), Target: target,
			Undo:      func() { w.ec2.Wear(eni2, web) },
			Contained: func() bool { return len(w.isolated()) == 0 },
		}
	})
}

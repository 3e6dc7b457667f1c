package main

import (
	"testing"

	"firebreak/lib/actiontest"
)

func TestUndoneWhileItSettles(t *testing.T) {
	actiontest.Undone(t, func(t *testing.T) actiontest.Adversary {
		f := newFake()
		return actiontest.Adversary{
			World: newWorld(t, f), Target: audit, Undo: func() { f.logging = false }, Contained: func() bool { return f.logging },
		}
	})
}

package main

import (
	"slices"
	"testing"

	"firebreak/lib/actiontest"
)

func TestUndoneWhileItSettles(t *testing.T) {
	actiontest.Undone(t, func(t *testing.T) actiontest.Adversary {
		f := newFake(user)
		return actiontest.Adversary{
			World: newWorld(t, f), Target: user,
			Undo:      func() { f.attached = slices.DeleteFunc(f.attached, func(p string) bool { return p == ours }) },
			Contained: func() bool { return slices.Contains(f.attached, ours) },
		}
	})
}

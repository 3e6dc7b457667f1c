package main

import (
	"testing"

	"firebreak/lib/actiontest"
)

func TestUndoneWhileItSettles(t *testing.T) {
	actiontest.Undone(t, func(t *testing.T) actiontest.Adversary {
		f := newFake()
		return actiontest.Adversary{
			World: newWorld(t, f), Target: exports, Undo: func() { f.block = nil },
			Contained: func() bool { return f.block["BlockPublicAcls"] && f.block["RestrictPublicBuckets"] },
		}
	})
}

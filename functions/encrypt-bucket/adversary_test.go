package main

import (
	"testing"

	"firebreak/lib/actiontest"
)

func TestUndoneWhileItSettles(t *testing.T) {
	actiontest.Undone(t, func(t *testing.T) actiontest.Adversary {
		f := newFake()
		return actiontest.Adversary{
			World: newWorld(t, f), Target: exports, With: with("alias/clinic"),
			Undo:      func() { f.config = &config{Algorithm: "AES256"} },
			Contained: func() bool { return managed(f.config.Algorithm) },
		}
	})
}

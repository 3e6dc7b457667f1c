package main

import (
	"strings"
	"testing"

	"firebreak/lib/actiontest"
)

func TestUndoneWhileItSettles(t *testing.T) {
	actiontest.Undone(t, func(t *testing.T) actiontest.Adversary {
		f := newFake(exports, own, allow("Them", `{"AWS":"`+theirs+`"}`))
		before := f.doc
		return actiontest.Adversary{
			World: newWorld(t, f), Target: exports, With: whom(them),
			Undo:      func() { f.doc = before },
			Contained: func() bool { return !strings.Contains(f.doc, them) },
		}
	})
}

package main

import (
	"testing"

	"firebreak/lib/actiontest"
)

func TestUndoneWhileItSettles(t *testing.T) {
	actiontest.Undone(t, func(t *testing.T) actiontest.Adversary {
		f := newFake()
		return actiontest.Adversary{
			World: newWorld(t, f), Target: web,
			Undo:      func() { delete(f.policies, policyName) },
			Contained: func() bool { return f.policies[policyName] != "" },
		}
	})
}

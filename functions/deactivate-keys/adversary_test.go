package main

import (
	"testing"

	"firebreak/lib/actiontest"

	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

func TestUndoneWhileItSettles(t *testing.T) {
	actiontest.Undone(t, func(t *testing.T) actiontest.Adversary {
		f := newFake()
		return actiontest.Adversary{
			World: newWorld(t, f), Target: user,
			Undo:      func() { f.keys[one] = types.StatusTypeActive },
			Contained: func() bool { return f.keys[one] == types.StatusTypeInactive && f.keys[two] == types.StatusTypeInactive },
		}
	})
}

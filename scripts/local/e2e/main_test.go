//go:build e2e

// Package e2e proves the promises on the local platform: the real functions, driven by the real machine, deployed by the real
// templates, IAM enforced. One platform serves all tests; each makes its own resources in the member account.
package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/signal"
	"testing"
	"time"

	"firebreak/lib/setting"
	"firebreak/scripts/local/world"
)

var (
	platform *world.Platform
	hub      *world.Hub
	member   *world.Member
)

func TestMain(m *testing.M) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, m))
}

func run(ctx context.Context, m *testing.M) int {
	began := time.Now()
	root, err := world.Root()
	if err == nil {
		platform, err = world.Start(ctx, root, "e2e", 0)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer platform.Stop()
	go func() { // Ctrl-C leaves nothing behind
		<-ctx.Done()
		platform.Stop()
		os.Exit(130)
	}()
	var printed bytes.Buffer
	err = platform.Install(ctx, &printed, func(step string) { fmt.Fprintf(os.Stderr, "e2e: %5.1f s  %s\n", time.Since(began).Seconds(), step) })
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	fmt.Fprintf(os.Stderr, "e2e: %5.1f s  ready at %s\n", time.Since(began).Seconds(), platform.Endpoint)
	hub, member = platform.Hub(), platform.Member()
	// All tests share an account and an hour: the budget is for its own test.
	if _, err := hub.Settings(ctx, func(g *setting.Guard) { g.Budget = 1000 }); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return m.Run()
}

// Demo tells the story of four findings on the local platform, and holds each claim against what it reads back: from the
// member account, the ledger and the state machine. It exits with 0 only if all was as told.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"firebreak/scripts/local/world"
)

const usage = `usage: scripts/demo [--yes] [--keep] [--port N]

Starts the local platform, deploys Firebreak, makes a small world in the member account, and shows findings being contained.
Then it waits for you to decide in a browser whether the instance is to be destroyed.

  --yes      decide through the same page as two approvers, without waiting
  --keep     leave everything running at the end
  --port N   the platform's port, with the next one (default 4566; 0 takes free ones)
`

func main() {
	var yes, keep bool
	var port int
	flags := flag.NewFlagSet("scripts/demo", flag.ContinueOnError)
	flags.BoolVar(&yes, "yes", false, "")
	flags.BoolVar(&keep, "keep", false, "")
	flags.IntVar(&port, "port", 4566, "")
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	err := flags.Parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil && flags.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "scripts/demo: %q is not an option\n\n%s", flags.Arg(0), usage)
		err = flag.ErrHelp
	}
	if err != nil {
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, yes, keep, port))
}

func run(ctx context.Context, yes, keep bool, port int) int {
	say := newVoice(os.Stdout)
	root, err := world.Root()
	if err != nil {
		fmt.Fprintln(os.Stderr, "scripts/demo:", err)
		return 1
	}
	platform, err := world.Start(ctx, root, "demo", port)
	if err == nil {
		err = tell(ctx, platform, say, yes)
	}
	switch {
	case platform == nil:
	case keep && ctx.Err() == nil:
		say.kept(platform)
	default:
		if serr := platform.Stop(); serr != nil {
			fmt.Fprintln(os.Stderr, "scripts/demo: stop the platform:", serr)
		}
	}
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "\nstopped; nothing is left running")
		return 130
	case err != nil:
		fmt.Fprintln(os.Stderr, "scripts/demo:", err)
		return 1
	case len(say.wrong) > 0:
		fmt.Printf("\nNot as told:\n  %s\n", strings.Join(say.wrong, "\n  "))
		return 1
	}
	fmt.Printf("\nAll was as told: %d claims were read back. It took %.0f s.\n", say.right, time.Since(say.began).Seconds())
	return 0
}

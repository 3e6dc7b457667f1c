// Command demo tells the story of Firebreak while it happens on the local platform: every claim in it is read back, from the
// member account where the resources are, and the exit code says whether all was as told.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"firebreak/lib/setting"
	"firebreak/scripts/local/issuer"
	"firebreak/scripts/local/world"
)

func main() { os.Exit(run()) }

func run() int {
	flags := flag.NewFlagSet("scripts/demo", flag.ExitOnError)
	yes := flags.Bool("yes", false, "sign in and decide through the pages, as two approvers")
	keep := flags.Bool("keep", false, "leave the platform running")
	port := flags.Int("port", 0, "the platform's port; 0 takes a free one")
	flags.Parse(os.Args[1:])
	if flags.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "scripts/demo: %q is no option; see scripts/demo --help\n", flags.Arg(0))
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	began := time.Now()
	d := &demo{voice: newVoice(os.Stdout), yes: *yes}
	err := d.everything(ctx, *port)
	switch {
	case ctx.Err() != nil:
		d.say("\n\n  Stopped.")
	case err != nil:
		d.say("\n  %s %v", d.paint(red, "It went no further:"), err)
		if d.platform != nil {
			d.say("  The platform's logs are in %s.", d.platform.State)
		}
	}
	if d.platform != nil && *keep && ctx.Err() == nil {
		d.kept()
	} else if d.platform != nil {
		// A second Ctrl-C is not to leave anything behind either: it is ignored while this lasts.
		signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
		d.say("")
		if err := d.step("everything is taken down", func(io.Writer) error { return d.platform.Stop() }); err != nil {
			d.say("  %v", err)
			return 1
		}
	}
	switch {
	case ctx.Err() != nil:
		return 130
	case err != nil:
		return 1
	case len(d.broken) > 0:
		d.say("\n  %s", d.paint(red, fmt.Sprintf("%d of %d claims did not hold:", len(d.broken), d.claims)))
		for _, b := range d.broken {
			d.say("  - %s", b)
		}
		return 1
	}
	d.say("\n  %s %d claims were checked, %.0f seconds.", d.paint(green, "All was as told:"), d.claims, time.Since(began).Seconds())
	return 0
}

// demo is one telling.
type demo struct {
	*voice
	yes      bool
	platform *world.Platform
	hub      *world.Hub
	member   *world.Member
	lock     *os.File
	issuer   *issuer.Issuer
	told     []*tale
}

func (d *demo) everything(ctx context.Context, port int) error {
	d.say("%s  Real findings, contained by the real functions, driven by the real machine, deployed by the real templates,\nwith IAM enforced. All of it on this machine, for the accounts %s (hub) and %s (member).", d.paint(bold, "Firebreak."), world.HubAccount, world.MemberAccount)
	if err := d.setUp(ctx, port); err != nil {
		return err
	}
	for _, chapter := range []func(context.Context) error{d.stolen, d.misused, d.public, d.again, d.protected, d.denied, d.people, d.released, d.nothingLost} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return d.summary(ctx)
}

func (d *demo) setUp(ctx context.Context, port int) error {
	root, err := world.Root()
	if err != nil {
		return err
	}
	d.chapter("Setting up")
	if err := d.alone(root); err != nil {
		return err
	}
	if err := d.step("engines: ministack and moto", func(w io.Writer) (err error) {
		if _, err = (&world.Platform{Root: root}).Tell(ctx, w, "", "scripts/local/setup"); err != nil {
			return err
		}
		d.platform, err = world.Start(ctx, root, "demo", port)
		return err
	}); err != nil {
		return err
	}
	d.hub, d.member = d.platform.Hub(), d.platform.Member()
	for _, s := range []struct {
		what string
		do   func(io.Writer) error
	}{
		{"functions, in Go, for Lambda", func(w io.Writer) error { return d.platform.Build(ctx, w) }},
		{"an issuer where people sign in", func(io.Writer) error { return d.issue(ctx) }},
		{"hub: scripts/deploy hub", func(w io.Writer) error {
			return d.platform.DeployHub(ctx, w, approvers(), "SignInIssuer="+d.issuer.URL, "SignInClient="+d.issuer.ClientID)
		}},
		{"member: scripts/deploy member", func(w io.Writer) error { return d.platform.DeployMember(ctx, w) }},
		{"scripts/firebreak mode act", func(w io.Writer) error {
			if err := d.hub.Subscribe(ctx); err != nil {
				return err
			}
			return d.platform.Mode(ctx, setting.Act)
		}},
	} {
		if err := d.step(s.what, s.do); err != nil {
			return err
		}
	}
	return nil
}

// alone makes sure that no other demo uses the same directory.
func (d *demo) alone(root string) error {
	if err := os.MkdirAll(filepath.Join(root, ".cache"), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(root, ".cache", "demo.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return errors.New("another demo is running here: wait for its end, or stop it with Ctrl-C")
	}
	d.lock = f // for as long as this process lives
	return nil
}

func (d *demo) kept() {
	d.chapter("Left running")
	d.say("  Nobody can sign in any more: the issuer ends with this program.")
	d.say("  export AWS_ENDPOINT_URL=%s AWS_REGION=%s AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=test", d.platform.Endpoint, world.Region, world.HubAccount)
	d.say("  scripts/firebreak incidents")
	d.say("  scripts/local/down --state .cache/demo    # the end of it")
}

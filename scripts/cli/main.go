// Command firebreak is the operator's command line: it shows incidents and dead letters, says what would happen to a finding,
// switches the mode, and starts again what failed. It runs with the operator's own AWS credentials in the security account.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"
)

// verb is one thing that the command can do.
type verb struct {
	name, args, what string
	// more explains it, for its own help.
	more string
	run  func(context.Context, *app, *call) error
}

// verbs in the order in which a person needs them.
func verbs() []verb {
	return []verb{
		{"incidents", "", "what is open or contained, most severe and newest first", incidentsHelp, incidents},
		{"show", "ID", "one incident: how it stands, what was done, who was asked, its timeline", showHelp, show},
		{"approve", "ID", "approve what Firebreak asks about an incident, as who you are in AWS", approveHelp, approve},
		{"reject", "ID", "reject it: nothing is destroyed, what is contained stays contained", rejectHelp, reject},
		{"cancel", "ID", "withdraw every request about an incident: all links are dead at once", cancelHelp, cancel},
		{"approvers", "list|add|…", "who may decide, and how they are reached; add, confirm, remove, rotate", approversHelp, approvers},
		{"plan", "FILE...|-", "what would happen to the findings in FILE, and why; changes nothing, needs no AWS", planHelp, plan},
		{"explain", "ID|FILE|-", "which rule and conditions decided, and what would have to differ", explainHelp, explain},
		{"playbook", "check|use FILE", "whether a playbook would be loaded, and what may not be meant in it; or let it decide from now on", playbookHelp, aPlaybook},
		{"release", "ID", "undo what an incident contained, newest first, and close it; --plan only says what that would be", releaseHelp, release},
		{"close", "ID --why TEXT", "close an incident by hand, with the reason; undoes nothing", closeHelp, closeByHand},
		{"mode", "[act|plan|off]", "show or set whether Firebreak acts, only plans, or is switched off", modeHelp, mode},
		{"protect", "[ARN]", "never change what this ARN or pattern names without a person; without ARN: the list", protectHelp, protect},
		{"unprotect", "ARN", "take an ARN or pattern off the protected list", unprotectHelp, unprotect},
		{"limits", "[NAME=N …]", "show or set how much is done before a person is asked: budget, reserve, shared, steps, releasedHours", limitsHelp, limits},
		{"budget", "[ACCOUNT ACTION]", "what waits because too much was changed in an hour; --raise N lets more through and starts it", budgetHelp, budget},
		{"dead-letters", "", "what failed and waits, in words; takes nothing out of the queues", deadLettersHelp, deadLetters},
		{"redrive", "ID|--queue NAME|--all", "start again what failed", redriveHelp, redrive},
	}
}

// app is what the verbs work with.
type app struct {
	in       io.Reader
	out, err io.Writer
	now      func() time.Time
	// connect gives the installation; verbs that need none never call it.
	connect func(context.Context) (*cloud, error)
}

// call is one call of a verb.
type call struct {
	verb verb
	args []string
	json bool
	// queue, all, status, playbook are flags of single verbs.
	queue, status, playbook string
	all                     bool
	// number and keep are of a decision; person of an approver.
	number int
	keep   []string
	person person
	// actions, plan, force are flags of release.
	actions     []string
	plan, force bool
	// why is the reason for the record.
	why string
	// raise is a flag of budget.
	raise int
	// yes is a flag of close.
	yes bool
	// leaked is a flag of approvers rotate.
	leaked bool
}

// misuse is an error of the person who typed: it is answered with the usage.
type misuse struct{ what string }

func (m misuse) Error() string { return m.what }

func wrong(format string, args ...any) error { return misuse{fmt.Sprintf(format, args...)} }

// run does one call and gives the exit code: 0 done, 1 failed, 2 not understood.
func run(ctx context.Context, a *app, args []string) int {
	if len(args) == 0 {
		usage(a.err)
		return 2
	}
	switch args[0] {
	case "help", "-h", "--help", "-help":
		if len(args) > 1 {
			return run(ctx, a, []string{args[1], "--help"})
		}
		usage(a.out)
		return 0
	}
	v, ok := find(args[0])
	if !ok {
		fmt.Fprintf(a.err, "firebreak: there is no verb %q%s\n\n", args[0], suggest(args[0]))
		usage(a.err)
		return 2
	}
	c := &call{verb: v}
	err := c.parse(args[1:])
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(a.out, "%s\n\n%s", v.usage(), v.more)
		return 0
	}
	if err == nil {
		err = v.run(ctx, a, c)
	}
	var m misuse
	switch {
	case err == nil:
		return 0
	case errors.As(err, &m):
		fmt.Fprintf(a.err, "firebreak %s: %s\n%s; --help says more\n", v.name, m.what, v.usage())
		return 2
	case errors.Is(err, errTold):
		return 1
	}
	fmt.Fprintf(a.err, "firebreak %s: %v\n", v.name, err)
	return 1
}

// errTold is a failure that was said already.
var errTold = errors.New("failed")

func find(name string) (verb, bool) {
	for _, v := range verbs() {
		if v.name == name {
			return v, true
		}
	}
	return verb{}, false
}

func (v verb) usage() string {
	return strings.TrimRight("usage: scripts/firebreak "+v.name+" "+v.args, " ") + " [--json]"
}

func usage(w io.Writer) {
	fmt.Fprint(w, "Firebreak's command line. Every verb takes --json, and --help for more.\n\n")
	for _, v := range verbs() {
		fmt.Fprintf(w, "  %-34s %s\n", strings.TrimRight(v.name+" "+v.args, " "), v.what)
	}
	fmt.Fprint(w, "\nIt acts with your own AWS credentials in the security account: set AWS_PROFILE and AWS_REGION.\n")
}

// parse reads flags and arguments in any order.
func (c *call) parse(args []string) error {
	fs := flag.NewFlagSet(c.verb.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.BoolVar(&c.json, "json", false, "")
	switch c.verb.name {
	case "incidents":
		fs.BoolVar(&c.all, "all", false, "")
		fs.StringVar(&c.status, "status", "", "")
	case "plan", "explain":
		fs.StringVar(&c.playbook, "playbook", "", "")
	case "approve", "reject", "cancel":
		fs.IntVar(&c.number, "number", 0, "")
		fs.StringVar(&c.why, "why", "", "")
		fs.Func("keep", "", also(&c.keep))
	case "approvers":
		fs.StringVar(&c.person.name, "name", "", "")
		fs.StringVar(&c.person.email, "email", "", "")
		fs.StringVar(&c.person.slack, "slack", "", "")
		fs.Func("subject", "", also(&c.person.subjects))
		fs.Func("principal", "", also(&c.person.principals))
		fs.Func("account", "", also(&c.person.accounts))
		fs.Func("severity", "", also(&c.person.severities))
		fs.BoolVar(&c.leaked, "leaked", false, "")
	case "redrive":
		fs.BoolVar(&c.all, "all", false, "")
		fs.StringVar(&c.queue, "queue", "", "")
	case "budget":
		fs.IntVar(&c.raise, "raise", 0, "")
		fs.StringVar(&c.why, "why", "", "")
	case "close":
		fs.StringVar(&c.why, "why", "", "")
		fs.BoolVar(&c.yes, "yes", false, "")
	case "release":
		fs.Func("action", "", func(name string) error { c.actions = append(c.actions, strings.Split(name, ",")...); return nil })
		fs.BoolVar(&c.plan, "plan", false, "")
		fs.BoolVar(&c.force, "force", false, "")
		fs.StringVar(&c.why, "why", "", "")
	}
	for {
		if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
			return err
		} else if err != nil {
			return wrong("%v", err)
		}
		if fs.NArg() == 0 {
			return nil
		}
		// After a lone "--" everything is an argument.
		if used := len(args) - fs.NArg(); used > 0 && args[used-1] == "--" {
			c.args = append(c.args, fs.Args()...)
			return nil
		}
		c.args = append(c.args, fs.Arg(0))
		args = fs.Args()[1:]
	}
}

// also takes a flag that may be given again.
func also(list *[]string) func(string) error {
	return func(s string) error {
		*list = append(*list, s)
		return nil
	}
}

// one gives the single argument.
func (c *call) one(what string) (string, error) {
	switch len(c.args) {
	case 0:
		return "", wrong("%s is missing", what)
	case 1:
		return c.args[0], nil
	}
	return "", wrong("one %s at a time, not %d", what, len(c.args))
}

// incident gives the single argument, an incident's id.
func (c *call) incident() (string, error) {
	typed, err := c.one("ID")
	if err != nil {
		return "", err
	}
	return named(typed)
}

// none refuses arguments.
func (c *call) none() error {
	if len(c.args) > 0 {
		return wrong("%q is one argument too many", c.args[0])
	}
	return nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr, now: time.Now, connect: connect}
	code := run(ctx, a, os.Args[1:])
	stop()
	os.Exit(code)
}

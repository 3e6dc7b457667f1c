// Command deployment installs Firebreak: the hub in the security account, the roles and the forwarding in each member account.
// It takes the same steps wherever the credentials and the endpoint of its environment lead.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
)

const usage = `Deploys Firebreak with the AWS credentials of your environment (AWS_PROFILE, AWS_REGION, …).

  scripts/deploy [hub] [options]     the security account: once, and again for each update
  scripts/deploy member [options]    each account that is watched, in each used region, with that account's credentials
  scripts/deploy external-id         prints the installation's external id, which member needs (hub credentials)
  scripts/deploy drill               sends a sample finding through and waits until it is recorded (hub credentials)

  scripts/deploy organization        GuardDuty, Security Hub, Config, Access Analyzer and the trail for all accounts
  scripts/deploy stack-sets          member, and where wanted recorder and Config rules, to all accounts of units
  scripts/deploy config              Config rules, and the recorder where there is none, in one account and region
  scripts/deploy forensics           an account that evidence is copied to and locked in
  scripts/deploy switch              lets the stand-by hub of a second region respond
  scripts/deploy uninstall PART      removes a part; ledger and evidence stay

A new installation starts in mode plan: it says what it would do and changes nothing, until scripts/firebreak mode act.
--plan uploads what a change set needs, shows what would change, and changes nothing else.
scripts/deploy COMMAND --help lists the options.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, os.Getenv("FIREBREAK_ROOT"), os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "deploy: stopped; what CloudFormation has begun goes on without this program")
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, "deploy:", err)
		os.Exit(1)
	}
}

// session is one run of the program.
type session struct {
	root      string // of the repository
	cfg       aws.Config
	account   string
	caller    string
	partition string
	json      bool
	plan      bool
	out, log  io.Writer
	begun     time.Time
	texts     map[string][]byte // of the templates that were packaged, by URL
}

func run(ctx context.Context, root string, args []string, out, log io.Writer) error {
	if len(args) == 0 {
		fmt.Fprint(log, usage)
		return errors.New("say what to deploy: " + names())
	}
	s := &session{root: root, out: out, log: log, begun: time.Now(), texts: map[string][]byte{}}
	for _, c := range commands {
		if c.name == args[0] {
			return c.do(s, ctx, args[1:])
		}
	}
	if slices.Contains([]string{"help", "-h", "-help", "--help"}, args[0]) {
		fmt.Fprint(out, usage)
		return nil
	}
	if strings.HasPrefix(args[0], "-") {
		return s.hub(ctx, args)
	}
	return fmt.Errorf("%q is none of %s; see scripts/deploy --help", args[0], names())
}

// commands are what the program does, by name.
var commands = []struct {
	name string
	do   func(*session, context.Context, []string) error
}{
	{"hub", (*session).hub}, {"member", (*session).member}, {"external-id", (*session).showExternalID}, {"drill", (*session).drill},
	{"organization", (*session).organization}, {"stack-sets", (*session).stackSets}, {"config", (*session).config}, {"forensics", (*session).forensic},
	{"switch", (*session).switchOver}, {"uninstall", (*session).uninstall},
}

func names() string {
	var out []string
	for _, c := range commands {
		out = append(out, c.name)
	}
	return strings.Join(out, ", ")
}

// options makes the flags that all commands have.
func (s *session) options(name, about string) *flag.FlagSet {
	flags := flag.NewFlagSet("scripts/deploy "+name, flag.ContinueOnError)
	flags.SetOutput(s.log)
	flags.BoolVar(&s.json, "json", false, "print the stack's outputs as JSON on standard output; progress stays on standard error")
	flags.BoolVar(&s.plan, "plan", false, "show what would change and change nothing")
	flags.Usage = func() {
		fmt.Fprintf(s.log, "%s\n\nOptions:\n", about)
		flags.PrintDefaults()
	}
	return flags
}

// parse reads the flags and refuses what is none.
func parse(flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is no option; see %s --help", flags.Arg(0), flags.Name())
	}
	return nil
}

// identify finds out who and where we are, before anything else.
func (s *session) identify(ctx context.Context) error {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithLogger(logging.Nop{}))
	if err != nil {
		return fmt.Errorf("read the AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return errors.New("no region is set: set AWS_REGION or the profile's region")
	}
	s.cfg = cfg
	who, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return fmt.Errorf("the AWS credentials of this environment do not work: %w", err)
	}
	s.account, s.caller = aws.ToString(who.Account), aws.ToString(who.Arn)
	if s.partition, _, _ = strings.Cut(strings.TrimPrefix(s.caller, "arn:"), ":"); s.partition == "" {
		return fmt.Errorf("AWS answered with %q as who we are", s.caller)
	}
	s.say("account %s, region %s, as %s", s.account, cfg.Region, s.caller)
	return nil
}

// say prints a line of progress with the seconds since the beginning.
func (s *session) say(format string, args ...any) {
	fmt.Fprintf(s.log, "%6.1f s  %s\n", time.Since(s.begun).Seconds(), fmt.Sprintf(format, args...))
}

// report prints the outputs.
func (s *session) report(outputs map[string]string) error {
	if s.json {
		enc := json.NewEncoder(s.out)
		enc.SetIndent("", "  ")
		return enc.Encode(outputs)
	}
	for _, k := range sorted(outputs) {
		fmt.Fprintf(s.out, "%-16s %s\n", k, outputs[k])
	}
	return nil
}

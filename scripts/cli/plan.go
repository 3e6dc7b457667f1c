package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"firebreak/lib/playbook"
	"firebreak/lib/setting"
)

const planHelp = `Reads events and findings (JSON: one, an array, one a line or one after another, of any size; - is standard input) and says for each finding
what the playbook would do with it, and which rule decides. It changes nothing and asks nobody: whether the account is
looked after, the mode, protection and budgets are the installation's and are not looked at.

  --playbook FILE   another playbook than the built-in one
  --json            one JSON object a finding, one a line

It exits with 0 when all of the input was JSON; otherwise it says where not, after what it could read.
`

func plan(_ context.Context, a *app, c *call) error {
	if len(c.args) == 0 {
		return wrong("FILE is missing (- for standard input)")
	}
	b, err := book(c)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	give := func(l playbook.Line) error {
		if c.json {
			return enc.Encode(l)
		}
		say(a.out, l)
		return nil
	}
	var errs []error
	next := 0
	for _, name := range c.args {
		before := next
		err := open(a, name, func(r io.Reader) (err error) {
			next, err = b.Stream(name, r, next, setting.Defaults().Steps, give)
			return err
		})
		if errs = append(errs, err); err == nil && next == before {
			fmt.Fprintf(a.err, "%s has no event in it\n", name)
		}
	}
	return errors.Join(errs...)
}

// book is the playbook that the call names, or the built-in one.
func book(c *call) (*playbook.Book, error) {
	if c.playbook == "" {
		return playbook.Builtin()
	}
	data, err := os.ReadFile(c.playbook)
	if err != nil {
		return nil, err
	}
	return playbook.Parse(c.playbook, data, playbook.Actions())
}

// open reads a file, or standard input for -.
func open(a *app, name string, do func(io.Reader) error) error {
	if name == "-" {
		return do(a.in)
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return do(f)
}

// say prints a line for people.
func say(w io.Writer, l playbook.Line) {
	what := string(l.Type)
	if what == "" {
		what = "no finding"
	}
	fmt.Fprintf(w, "%s  %s", orDash(string(l.Severity)), plain(what, 120))
	if l.Account != "" {
		fmt.Fprintf(w, "  in %s %s", plain(string(l.Account), 40), plain(string(l.Region), 40))
	}
	fmt.Fprintf(w, "\n  %s: %s\n", map[playbook.Disposition]string{
		playbook.Respond: "would act", playbook.Notify: "would tell people, and act on nothing", playbook.Record: "would be recorded only", playbook.Ignore: "would be set aside",
	}[l.Disposition], plain(l.Reason, 400))
	for _, d := range l.Contain {
		fmt.Fprintf(w, "  contain    %-20s %s\n", d.Action, plain(d.Target, 300))
	}
	for _, d := range l.Eradicate {
		fmt.Fprintf(w, "  after approval of %d people: %s %s\n", max(l.Approvers, 2), d.Action, plain(d.Target, 300))
	}
	if l.Rule != "" {
		fmt.Fprintf(w, "  rule       %s\n", l.Rule)
	}
	if l.IncidentID != "" {
		fmt.Fprintf(w, "  incident   %s\n", l.IncidentID)
	}
	fmt.Fprintln(w)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

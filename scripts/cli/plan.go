package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"firebreak/lib/playbook"
	"firebreak/lib/setting"
)

const planHelp = `Reads events as they stand on a bus (JSON: one, an array, or one a line; - is standard input) and says for each finding
what the playbook would do with it, and which rule decides. It changes nothing and asks nobody: whether the account is
looked after, the mode, protection and budgets are the installation's and are not looked at.

  --playbook FILE   another playbook than the built-in one
  --json            one JSON object a finding, one a line
`

func plan(_ context.Context, a *app, c *call) error {
	if len(c.args) == 0 {
		return wrong("FILE is missing (- for standard input)")
	}
	book, err := playbook.Builtin()
	if c.playbook != "" {
		var data []byte
		if data, err = os.ReadFile(c.playbook); err == nil {
			book, err = playbook.Parse(c.playbook, data, playbook.Actions())
		}
	}
	if err != nil {
		return err
	}
	var all [][]byte
	for _, name := range c.args {
		data, err := read(a, name)
		if err != nil {
			return err
		}
		list := records(data)
		if len(list) == 0 {
			return fmt.Errorf("%s is empty: there is no event in it", name)
		}
		all = append(all, list...)
	}
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	for i, rec := range all {
		for _, l := range book.Lines(i, rec, setting.Defaults().Steps) {
			if c.json {
				if err := enc.Encode(l); err != nil {
					return err
				}
				continue
			}
			say(a.out, l)
		}
	}
	return nil
}

func read(a *app, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(a.in)
	}
	return os.ReadFile(name)
}

// records takes a file apart: an array of events, one event, or one a line. A line that is no JSON is a record too, which the
// playbook answers with the reason.
func records(data []byte) [][]byte {
	data = bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\ufeff")))
	if len(data) == 0 {
		return nil
	}
	if values, ok := stream(data); ok {
		return values
	}
	lines := bytes.Split(data, []byte("\n"))
	if len(lines) == 1 || !json.Valid(lines[0]) && !json.Valid(lines[1]) {
		return [][]byte{data}
	}
	var out [][]byte
	for _, l := range lines {
		if l = bytes.TrimSpace(l); len(l) > 0 {
			out = append(out, l)
		}
	}
	return out
}

// stream reads JSON values one after another, and takes arrays at top level apart.
func stream(data []byte) ([][]byte, bool) {
	var out [][]byte
	for dec := json.NewDecoder(bytes.NewReader(data)); ; {
		var v json.RawMessage
		if err := dec.Decode(&v); err == io.EOF {
			return out, true
		} else if err != nil {
			return nil, false
		}
		var list []json.RawMessage
		if json.Unmarshal(v, &list) == nil && list != nil {
			for _, e := range list {
				out = append(out, e)
			}
			continue
		}
		out = append(out, v)
	}
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
		fmt.Fprintf(w, "  after approval of two people: %s %s\n", d.Action, plain(d.Target, 300))
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

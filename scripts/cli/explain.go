package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"firebreak/lib/finding"
	"firebreak/lib/ledger"
	"firebreak/lib/playbook"
	"firebreak/lib/setting"
)

const explainHelp = `Tells which rule of the playbook decided about a finding, by which of its conditions, and what would have to differ for the
rules that came nearest. ID is an incident: its event is read from the evidence bucket. FILE is as for plan.

  --playbook FILE   another playbook than the built-in one
`

// explained is an explanation with the finding that it is about.
type explained struct {
	Finding string `json:"finding"`
	Type    string `json:"type"`
	playbook.Explanation
}

func explain(ctx context.Context, a *app, c *call) error {
	if len(c.args) != 1 {
		return wrong("one ID or FILE is needed (- for standard input)")
	}
	b, err := book(c)
	if err != nil {
		return err
	}
	name := c.args[0]
	each := func(raw []byte) error {
		found, err := finding.Decode(raw)
		if err != nil { // what plan sets aside, or tells people of, with the same reason
			l := b.Lines(0, raw, setting.Defaults().Steps)[0]
			return a.explained(c, explained{Finding: string(l.FindingID), Type: string(l.Type), Explanation: playbook.Explanation{Disposition: l.Disposition, Reason: l.Reason, Held: []string{}, Others: []playbook.Other{}}})
		}
		for _, f := range found {
			if err := a.explained(c, explained{f.NativeID, f.Type, b.Explain(f, setting.Defaults().Steps)}); err != nil {
				return err
			}
		}
		return nil
	}
	if strings.HasPrefix(name, "INC-") {
		in, err := a.connect(ctx)
		if err != nil {
			return err
		}
		meta, err := ledger.Load[ledger.Incident](ctx, in.store, ledger.IncidentKey(name))
		if err != nil {
			return err
		}
		if !meta.Exists() {
			return fmt.Errorf("there is no incident %s in %s", name, in.where)
		}
		raw, err := in.event(ctx, name)
		if err != nil {
			return err
		}
		if !c.json {
			fmt.Fprintf(a.out, "%s was decided by %s; what follows is the playbook %s.\n\n", name, orDash(meta.Value.Rule), b.File)
		}
		return each(raw)
	}
	return open(a, name, func(r io.Reader) error { return finding.Records(name, r, each) })
}

func (a *app) explained(c *call, e explained) error {
	if c.json {
		enc := json.NewEncoder(a.out)
		enc.SetEscapeHTML(false)
		return enc.Encode(e)
	}
	w := a.out
	fmt.Fprintf(w, "%s  %s\n  %s: %s\n", orDash(plain(e.Type, 120)), plain(e.Finding, 80), e.Disposition, plain(e.Reason, 400))
	if e.Rule != "" {
		fmt.Fprintf(w, "  decided by %s (%s), because\n", e.Name, e.Rule)
	}
	for _, h := range e.Held {
		fmt.Fprintf(w, "    %s\n", plain(h, 300))
	}
	for _, o := range e.Others {
		does := "act on nothing"
		if len(o.Does) > 0 {
			does = strings.Join(o.Does, ", ")
		}
		fmt.Fprintf(w, "  not by %s (%s), which would %s\n", o.Name, o.Rule, does)
		for _, m := range o.Misses {
			fmt.Fprintf(w, "    %s\n", plain(m, 300))
		}
	}
	fmt.Fprintln(w)
	return nil
}

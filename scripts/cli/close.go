package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"firebreak/lib/channel"
	"firebreak/lib/closure"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
)

const closeHelp = `Closes an incident by hand: people have looked after it, and nothing more is to be done. Who did so and why stands in the
record. Nothing is undone and nothing is done: what the incident holds stays as it is, and is shown; scripts/firebreak release
takes it back, also later. A finding that is seen again opens the incident again.

It is refused while an execution of the incident runs, while a change to a resource is half done, and while people are being
asked (scripts/firebreak cancel first).

  --why TEXT   the reason, for the record; needed
  --yes        do not ask for the incident's id to be typed
`

// shut is what closing came to.
type shut struct {
	Incident string          `json:"incident"`
	Status   incident.Status `json:"status"`
	By       string          `json:"by"`
	Why      string          `json:"why"`
	// Held is what the incident holds still: action and resource.
	Held []string `json:"held"`
}

func closeByHand(ctx context.Context, a *app, c *call) error {
	id, err := c.incident()
	if err != nil {
		return err
	}
	why := channel.Line(c.why, 500)
	if why == "" {
		return wrong("--why is missing: the reason stands in the record")
	}
	k, err := a.connect(ctx)
	if err != nil {
		return err
	}
	meta, held, err := k.closable(ctx, id, a.now())
	if err != nil {
		return k.explain(err)
	}
	out := shut{Incident: id, Status: incident.Closed, By: k.who, Why: why, Held: held}
	if meta.Value.Status == incident.Closed {
		if c.json {
			return dump(a.out, out)
		}
		fmt.Fprintf(a.out, "%s is closed already, since %s\n", id, clock(meta.Value.ClosedAt))
		return nil
	}
	if !c.yes {
		if err := a.typed(meta.Value, held); err != nil {
			return err
		}
		// Somebody may have acted while the id was typed.
		if meta, out.Held, err = k.closable(ctx, id, a.now()); err != nil {
			return k.explain(err)
		}
	}
	if err := k.close(ctx, meta, out, a.now()); err != nil {
		return k.explain(err)
	}
	if c.json {
		return dump(a.out, out)
	}
	fmt.Fprintf(a.out, "%s is closed\n", id)
	for _, h := range out.Held {
		fmt.Fprintf(a.out, "  stays: %s\n", h)
	}
	return nil
}

// typed has the person type the incident's id.
func (a *app) typed(in ledger.Incident, held []string) error {
	fmt.Fprintf(a.err, "%s  %s  %s in %s is %s.\n", in.ID, in.Band, plain(in.Finding.Type, 120), plain(in.Finding.Account, 20), in.Status)
	if in.Needs != "" {
		fmt.Fprintf(a.err, "Not done: %s\n", plain(in.Needs, 1000))
	}
	for _, h := range held {
		fmt.Fprintf(a.err, "It holds, and that stays so: %s\n", h)
	}
	fmt.Fprintf(a.err, "Nobody is reminded of it any more. Type %s to close it: ", in.ID)
	line, _ := bufio.NewReader(a.in).ReadString('\n')
	if !strings.EqualFold(strings.TrimSpace(line), in.ID) {
		fmt.Fprintln(a.err)
		return fmt.Errorf("that is not %s: nothing was changed", in.ID)
	}
	return nil
}

// closable reads an incident and what it holds. Errors: there is none; something still runs, is half done or waits for people.
func (k *cloud) closable(ctx context.Context, id string, now time.Time) (ledger.Item[ledger.Incident], []string, error) {
	meta, err := ledger.Load[ledger.Incident](ctx, k.store, ledger.IncidentKey(id))
	if err != nil {
		return meta, nil, err
	}
	if !meta.Exists() {
		return meta, nil, fmt.Errorf("there is no incident %s in %s", id, k.where)
	}
	held, err := k.closing().Held(ctx, k.store, meta.Value, now)
	return meta, held, err
}

func (k *cloud) closing() closure.Machines {
	return closure.Machines{API: k.machines, Respond: k.machine, Release: k.releaser()}
}

// close writes the incident and its last entry of the timeline in one piece. What somebody else wrote since it was looked at stands in the way.
func (k *cloud) close(ctx context.Context, meta ledger.Item[ledger.Incident], s shut, now time.Time) error {
	err := closure.Close(ctx, k.store, meta, now, s.Held, ledger.Event{Time: now, State: "Close", Who: s.By, What: "closed by hand", Why: s.Why})
	if errors.Is(err, ledger.ErrConflict) {
		return fmt.Errorf("%s was changed by somebody else at this very moment, and is not closed: look again with scripts/firebreak show %s", s.Incident, s.Incident)
	}
	return err
}

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"firebreak/lib/incident"
	"firebreak/lib/ledger"
)

const incidentsHelp = `Lists the incidents that are open or contained, by severity, the newest first; what needs a person is said below each.

  --status S   only those of status open, contained, recorded or closed
  --all        recorded and closed ones too (reads the whole table)
`

func incidents(ctx context.Context, a *app, c *call) error {
	if err := c.none(); err != nil {
		return err
	}
	known := []incident.Status{incident.Open, incident.Contained, incident.Recorded, incident.Closed}
	status := incident.Status(strings.ToLower(c.status))
	if c.status != "" && !slices.Contains(known, status) {
		return wrong("there is no status %q: open, contained, recorded or closed", c.status)
	}
	k, err := a.connect(ctx)
	if err != nil {
		return err
	}
	list, err := k.incidents(ctx, c.all || status == incident.Recorded || status == incident.Closed)
	if err != nil {
		return k.explain(err)
	}
	list = slices.DeleteFunc(list, func(i ledger.Incident) bool { return status != "" && i.Status != status })
	slices.SortStableFunc(list, func(x, y ledger.Incident) int {
		switch {
		case x.Band.Above(y.Band):
			return -1
		case y.Band.Above(x.Band):
			return 1
		}
		return began(y).Compare(began(x))
	})
	if c.json {
		return dump(a.out, append([]ledger.Incident{}, list...))
	}
	if len(list) == 0 {
		fmt.Fprintf(a.out, "no incidents (%s)\n", k.where)
		return nil
	}
	needs := 0
	for _, i := range list {
		fmt.Fprintf(a.out, "%-8s  %s  %-9s  %-12s  %s %s  %s\n", i.Band, i.ID, i.Status, ago(a.now(), began(i)), plain(i.Finding.Account, 20), plain(i.Finding.Region, 20), plain(i.Finding.Type, 100))
		if i.Needs != "" {
			needs++
			fmt.Fprintf(a.out, "          NEEDS A PERSON: %s\n", plain(i.Needs, 300))
		}
	}
	fmt.Fprintf(a.out, "\n%d incidents, %d need a person. One of them: scripts/firebreak show %s\n", len(list), needs, list[0].ID)
	return nil
}

// began is when the episode was taken.
func began(i ledger.Incident) time.Time {
	if i.OwnerStart.IsZero() {
		return i.FirstSeen
	}
	return i.OwnerStart
}

func (k *cloud) incidents(ctx context.Context, all bool) ([]ledger.Incident, error) {
	var out []ledger.Incident
	if all {
		ids, err := k.metas(ctx)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			it, err := ledger.Load[ledger.Incident](ctx, k.store, ledger.IncidentKey(id))
			if err != nil {
				return nil, err
			}
			if it.Exists() {
				out = append(out, it.Value)
			}
		}
		return out, nil
	}
	for _, b := range incident.Bands() {
		items, err := ledger.Open[ledger.Incident](ctx, k.store, ledger.IncidentGroup(b))
		if err != nil {
			return nil, err
		}
		for _, it := range items {
			out = append(out, it.Value)
		}
	}
	return out, nil
}

package main

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"firebreak/lib/incident"
	"firebreak/scripts/local/world"
)

// released contains an instance and takes it back at a person's word: field by field as it was.
func (d *demo) released(ctx context.Context) error {
	d.chapter("8  A false alarm is taken back")
	i, err := d.member.Instance(ctx, "clinic-batch", "", nil)
	if err != nil {
		return err
	}
	finding, err := d.platform.Sample("guardduty-crypto-mining")
	if err != nil {
		return err
	}
	t := d.tell("a false alarm, released", finding.About(i))
	before, err := d.member.Groups(ctx, i.ID)
	if err != nil {
		return err
	}
	if err := d.follow(ctx, t, 1, waits); err != nil {
		return err
	}
	isolated, words, err := d.member.Isolated(ctx, i.ID)
	d.claim(isolated, err, "it was isolated, and the execution waits for people: %s", words)
	since := time.Now()
	if _, err := d.platform.Run(ctx, world.HubAccount, "scripts/firebreak", "release", t.id(), "--plan"); err != nil {
		return err
	}
	changed, err := d.platform.Decided(since, func(x world.Decision) bool { return x.Changes() && x.Session == t.id() })
	d.claim(len(changed) == 0, err, "scripts/firebreak release %s --plan said what would be restored, and called nothing that changes anything", t.id())
	out, err := d.platform.Run(ctx, world.HubAccount, "scripts/firebreak", "release", t.id(), "--why", "a load test of ours")
	if err != nil {
		return err
	}
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		d.say("    %s", strings.ReplaceAll(wrap(line, 110), "\n", "\n    "))
	}
	after, err := d.member.Groups(ctx, i.ID)
	d.claim(maps.EqualFunc(before, after, slices.Equal[[]string]), err, "every interface has exactly the groups of before")
	meta, err := d.hub.Meta(ctx, t.id())
	d.claim(meta.Status == incident.Closed, err, "the incident is closed")
	events, err := d.hub.Timeline(ctx, t.id())
	who := ""
	for _, e := range events {
		if who == "" && strings.Contains(e.Why, "a load test of ours") {
			who = e.Why
		}
	}
	d.claim(who != "", err, "on record: %s", who)
	if err := d.hub.Sweep(ctx); err != nil {
		return err
	}
	if t.run, err = d.hub.End(ctx, t.run.ARN); err != nil {
		return err
	}
	d.claim(t.run.Ending() == "Superseded", nil, "nobody is asked about it any more: the execution ended Superseded")
	return nil
}

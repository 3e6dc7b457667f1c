package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/setting"
	"firebreak/scripts/local/issuer"
	"firebreak/scripts/local/world"
)

// approvers are the world's, whom the issuer knows by the same names.
func approvers() []setting.Approver {
	people := slices.Clone(world.Approvers)
	for n := range people {
		people[n].Subjects = []string{people[n].ID}
	}
	return people
}

// issue serves an OpenID Connect issuer on this machine, for as long as the demo runs: it takes people at their word.
func (d *demo) issue(ctx context.Context) error {
	var names []string
	for _, p := range approvers() {
		names = append(names, p.Subjects...)
	}
	i, err := issuer.New("firebreak", names...)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	i.URL = "http://" + l.Addr().String()
	server := &http.Server{Handler: i, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(l)
	context.AfterFunc(ctx, func() { server.Close() })
	d.issuer = i
	return nil
}

// people lets the two approvers decide: a person in a browser, or --yes through the same pages.
func (d *demo) people(ctx context.Context) error {
	d.chapter("7  People decide")
	t := d.told[0]
	links, err := d.hub.Links(ctx, t.id(), world.ToDestroy, 2)
	if err != nil {
		return err
	}
	at, err := url.Parse(links["alice"])
	if err != nil {
		return err
	}
	d.issuer.Redirect = at.Scheme + "://" + at.Host + "/signin/callback"
	d.fact("asked", "terminate %s? Two different people have to approve; one rejection ends it.", t.instance.ID)
	d.fact("alice", "%s", links["alice"])
	d.fact("bob", "%s", links["bob"])
	d.fact("sign-in", "%s, an OpenID Connect issuer on this machine", d.issuer.URL)
	page, err := world.NewWeb().Get(ctx, links["alice"])
	fields, _ := page.Form()
	d.claim(page.Status == http.StatusOK && len(fields) == 0 && strings.Contains(world.Words(page.HTML), "A link alone does not decide this"), err, "a link alone decides nothing: its page has no form, and leads to the sign-in")
	if d.yes {
		err = d.decideAll(ctx, t, links)
	} else {
		d.say("\n  Open a link in a browser, sign in as whom it is for, and decide; you are alice and bob in turn, the issuer\n  takes you at your word. This waits for you (Ctrl-C ends it).\n")
		err = d.wait(ctx, t)
	}
	if err != nil {
		return err
	}
	if err := d.watchEnd(ctx, t); err != nil {
		return err
	}
	state, err := d.member.InstanceState(ctx, t.instance.ID)
	gone := state == "terminated" || state == "shutting-down"
	d.fact("after", "%s is %s", t.instance.ID, state)
	a, aerr := approval.Load(ctx, d.hub.Store, t.id(), 1)
	if a.Value.Status == approval.StatusApproved {
		d.claim(t.run.Ending() == "Eradicated" && gone, errors.Join(err, aerr), "approved by %s: the execution ended Eradicated, the instance is gone", strings.Join(a.Value.By(), " and "))
	} else {
		isolated, _, ierr := d.member.Isolated(ctx, t.instance.ID)
		d.claim(!gone && isolated && t.run.Ending() == "ApprovalRejected", errors.Join(err, aerr, ierr), "not approved: the instance stays, and stays isolated")
	}
	var who []string
	for _, v := range a.Value.Decisions {
		who = append(who, fmt.Sprintf("%s (%s)", v.Approver, v.Via))
	}
	signed := !slices.ContainsFunc(a.Value.Decisions, func(v approval.Decision) bool { return v.Via != setting.ViaSignIn })
	d.claim(signed && len(a.Value.Decisions) > 0, aerr, "on record is who decided, and that each had signed in: %s", strings.Join(who, ", "))
	snaps, err := d.member.Snapshots(ctx, t.instance.Volumes...)
	d.claim(len(snaps) == len(t.instance.Volumes), err, "the evidence stays: a snapshot of each volume")
	if !d.yes {
		return nil
	}
	return d.override(ctx, d.told[3])
}

// watchEnd tells what follows the decision.
func (d *demo) watchEnd(ctx context.Context, t *tale) error {
	known := len(t.run.States)
	run, err := d.hub.Follow(ctx, t.run.ARN, wait, nil, nil)
	if err != nil {
		return err
	}
	for _, s := range run.States[min(known, len(run.States)):] {
		if s.Top {
			d.moment(s.At.Sub(t.put), s.Name)
		} else if s.Name != "WhichEradication?" {
			d.moment(s.At.Sub(t.put), "  "+s.Name)
		}
	}
	t.run = run
	return nil
}

func (d *demo) decideAll(ctx context.Context, t *tale, links map[string]string) error {
	for n, p := range approvers() {
		web := world.NewWeb()
		shown, err := web.SignIn(ctx, links[p.ID], p.Subjects[0])
		if err != nil {
			return err
		}
		_, you, _ := strings.Cut(world.Words(shown.HTML), "You decide as ")
		you, _, _ = strings.Cut(you, ".")
		page, err := web.Decide(ctx, links[p.ID], "approve", t.instance.ID, "decided by scripts/demo --yes")
		if err != nil {
			return fmt.Errorf("%s decides: %w", p.ID, err)
		}
		_, said, _ := strings.Cut(world.Words(page.HTML), "Who decided so far\n")
		count, _, _ := strings.Cut(said, "\n")
		d.fact("", "%s signs in as %s; the page says %q", p.ID, p.Subjects[0], "You decide as "+you)
		d.fact("", "%s types %s and approves; the page says %q", p.ID, t.instance.ID, count)
		if n == 0 {
			state, err := d.member.InstanceState(ctx, t.instance.ID)
			d.claim(state == "running", err, "one is not enough: the instance still runs")
		}
	}
	return nil
}

// wait tells each decision until the request is decided.
func (d *demo) wait(ctx context.Context, t *tale) error {
	seen := 0
	return world.Until(ctx, 24*time.Hour, "a decision", func(ctx context.Context) (bool, error) {
		time.Sleep(300 * time.Millisecond)
		a, err := approval.Load(ctx, d.hub.Store, t.id(), 1)
		for ; err == nil && seen < len(a.Value.Decisions); seen++ {
			v := a.Value.Decisions[seen]
			word := "rejects"
			if v.Approve {
				word = "approves"
			}
			d.fact("", "%s has signed in and %s (%d of %d)", v.Approver, word, len(a.Value.By()), a.Value.Need)
		}
		return err == nil && a.Value.Status != approval.StatusOpen, err
	})
}

// override has one approver contain the protected instance after all, by link alone, and the other, signed in, keep it from being
// terminated.
func (d *demo) override(ctx context.Context, t *tale) error {
	links, err := d.hub.Links(ctx, t.id(), world.ToContain, 2)
	if err != nil {
		return err
	}
	d.say("")
	d.fact("asked", "contain the protected %s all the same? One person decides, and it can be undone: a link is enough.", t.instance.ID)
	first, put := t.run, t.put
	t.put = time.Now()
	if _, err := world.NewWeb().Decide(ctx, links["alice"], "approve", t.instance.ID, "decided by scripts/demo --yes"); err != nil {
		return err
	}
	d.fact("", "alice opens the link, types %s, approves", t.instance.ID)
	arn, err := d.hub.Started(ctx, `"incident":"`+t.id(), 1)
	if err != nil {
		return err
	}
	if err := d.watch(ctx, t, arn, nil); err != nil {
		return err
	}
	t.put = put
	isolated, _, err := d.member.Isolated(ctx, t.instance.ID)
	d.claim(isolated && t.run.Ending() == "Contained", err, "the instance is isolated, and only now")

	if links, err = d.hub.Links(ctx, t.id(), world.ToDestroy, 2); err != nil {
		return err
	}
	web := world.NewWeb()
	if _, err := web.SignIn(ctx, links["bob"], "bob"); err != nil {
		return err
	}
	if _, err := web.Decide(ctx, links["bob"], "reject", t.instance.ID, "it holds the records"); err != nil {
		return err
	}
	d.fact("", "bob is asked whether to terminate it, signs in, and rejects")
	t.run = first
	if err := d.watchEnd(ctx, t); err != nil {
		return err
	}
	state, err := d.member.InstanceState(ctx, t.instance.ID)
	d.claim(state == "running" && t.run.Ending() == "ApprovalRejected", err, "the execution ended ApprovalRejected: the instance stays, isolated")
	return nil
}

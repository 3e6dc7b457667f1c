package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/incident"
	"firebreak/scripts/local/world"
)

// tale is what is told of one finding.
type tale struct {
	title   string
	finding world.Event
	put     time.Time
	run     world.Run
	// contained is how long it took from the bus until every containing step was done; zero where that was never so.
	contained time.Duration
	instance  world.Instance
}

func (t *tale) id() string { return t.finding.Incident() }

const wait = 45 * time.Second

// follow puts the finding on the member's bus and tells each state of the n-th execution about it until stop says so.
func (d *demo) follow(ctx context.Context, t *tale, n int, stop func(world.Run) bool) error {
	d.fact("finding", "%s, severity %v, on the bus of account %s", t.finding.Detail["type"], t.finding.Detail["severity"], world.MemberAccount)
	d.fact("incident", "%s", t.id())
	t.put = time.Now()
	if err := d.member.Put(ctx, t.finding); err != nil {
		return err
	}
	arn, err := d.hub.Started(ctx, t.finding.ID(), n)
	if err != nil {
		return err
	}
	return d.watch(ctx, t, arn, stop)
}

// watch tells the states of one execution. Those of a Map stand indented below it.
func (d *demo) watch(ctx context.Context, t *tale, arn string, stop func(world.Run) bool) error {
	run, err := d.hub.Follow(ctx, arn, wait, func(s world.State) {
		if s.Name == "WhichAction?" || s.Name == "WhichEradication?" {
			return
		}
		text := s.Name
		if !s.Top {
			text = "  " + text
		}
		d.moment(s.At.Sub(t.put), text)
		if s.Name == "NeedsApproval?" && t.contained == 0 {
			t.contained = s.At.Sub(t.put)
		}
	}, stop)
	t.run = run
	return err
}

func waits(r world.Run) bool { return r.Ending() == "RequestApproval" }

// tell makes a tale that the table at the end will have.
func (d *demo) tell(title string, finding world.Event) *tale {
	t := &tale{title: title, finding: finding}
	d.told = append(d.told, t)
	return t
}

// look reads an instance in the member account.
func (d *demo) look(ctx context.Context, when string, i world.Instance) error {
	state, err := d.member.InstanceState(ctx, i.ID)
	if err != nil {
		return err
	}
	_, groups, err := d.member.Isolated(ctx, i.ID)
	if err != nil {
		return err
	}
	snaps, err := d.member.Snapshots(ctx, i.Volumes...)
	if err != nil {
		return err
	}
	d.fact(when, "%s is %s, %d volumes, %d snapshots", i.ID, state, len(i.Volumes), len(snaps))
	for _, line := range strings.Split(groups, "; ") {
		if line != "" {
			d.fact("", "%s", line)
		}
	}
	if i.Role == "" {
		return nil
	}
	policies, err := d.member.RolePolicies(ctx, i.Role)
	if err != nil {
		return err
	}
	d.fact("", "role %s, policies: %s", i.Role, strings.Join(policies, ", "))
	return nil
}

func (d *demo) stolen(ctx context.Context) error {
	var i world.Instance
	var user world.User
	err := d.step("a small world in the member account", func(io.Writer) (err error) {
		if i, err = d.member.Instance(ctx, "clinic-web", "clinic-web", nil); err != nil {
			return err
		}
		if user, err = d.member.User(ctx, "bob"); err != nil {
			return err
		}
		return d.member.Bucket(ctx, "clinic-exports")
	})
	if err != nil {
		return err
	}
	sample, err := d.platform.Sample("guardduty-stolen-instance-credentials")
	if err != nil {
		return err
	}
	d.chapter("1  An instance's credentials are used from outside")
	t := d.tell("stolen instance credentials", sample.About(i))
	t.instance = i
	if err := d.look(ctx, "before", i); err != nil {
		return err
	}
	if err := d.follow(ctx, t, 1, waits); err != nil {
		return err
	}
	if t.run.Ended() {
		return fmt.Errorf("it ended without asking anybody: %s", t.run.Cause)
	}
	if _, err := d.hub.Asked(ctx, t.id(), 1); err != nil {
		return err
	}
	if err := d.look(ctx, "after", i); err != nil {
		return err
	}
	isolated, _, err := d.member.Isolated(ctx, i.ID)
	d.claim(isolated, err, "every interface holds only a group without any rule, IPv4 and IPv6")
	snaps, err := d.member.Snapshots(ctx, i.Volumes...)
	complete := slices.IndexFunc(snaps, func(s world.Snapshot) bool { return s.State != "completed" }) < 0
	d.claim(len(snaps) == len(i.Volumes) && complete, err, "each volume has a completed snapshot")
	denied, err := d.denies(ctx, i.Role)
	d.claim(denied, err, "the role denies every session issued before now")
	state, err := d.member.InstanceState(ctx, i.ID)
	d.claim(state == "running", err, "nothing is destroyed: it asks two people first (see below)")
	notices, err := d.hub.Notices(ctx, t.id())
	team := slices.DeleteFunc(notices, func(n world.Notice) bool { return strings.Contains(n.Text, "/approve/") })
	d.claim(len(team) == 1, err, "the team was told, once")
	return d.others(user)
}

// others keeps what later chapters are about.
func (d *demo) others(u world.User) error {
	sample, err := d.platform.Sample("guardduty-misused-user-key")
	if err != nil {
		return err
	}
	d.told = append(d.told, &tale{title: "misused key", finding: sample.OfUser(u, u.Keys[0])})
	if sample, err = d.platform.Sample("guardduty-public-bucket"); err != nil {
		return err
	}
	d.told = append(d.told, &tale{title: "public bucket", finding: sample.OfBucket("clinic-exports")})
	return nil
}

// denies tells whether a policy of the role denies sessions by their age.
func (d *demo) denies(ctx context.Context, role string) (bool, error) {
	names, err := d.member.RolePolicies(ctx, role)
	if err != nil {
		return false, err
	}
	for _, n := range names {
		doc, err := d.member.RolePolicy(ctx, role, n)
		if err != nil {
			return false, err
		}
		if strings.Contains(doc, `"Deny"`) && strings.Contains(doc, "aws:TokenIssueTime") {
			return true, nil
		}
	}
	return false, nil
}

func (d *demo) misused(ctx context.Context) error {
	d.chapter("2  A user's access key is misused")
	t := d.told[1]
	if err := d.keys(ctx, "before", "bob"); err != nil {
		return err
	}
	if err := d.follow(ctx, t, 1, waits); err != nil {
		return err
	}
	if err := d.keys(ctx, "after", "bob"); err != nil {
		return err
	}
	keys, err := d.member.Keys(ctx, "bob")
	named := t.finding.Detail["resource"].(map[string]any)["accessKeyDetails"].(map[string]any)["accessKeyId"].(string)
	d.claim(keys[named] == "Inactive", err, "the misused key is inactive")
	active := slices.Collect(maps.Values(keys))
	d.claim(slices.Contains(active, "Active"), err, "the other key still works: only what was named is touched")
	d.claim(t.run.Ending() == "RequestApproval", nil, "people are asked whether to delete the inactive key; until two approve, it stays")
	return nil
}

func (d *demo) keys(ctx context.Context, when, user string) error {
	keys, err := d.member.Keys(ctx, user)
	if err != nil {
		return err
	}
	for n, k := range slices.Sorted(maps.Keys(keys)) {
		d.fact([]string{when, ""}[min(n, 1)], "user %s, key %s is %s", user, k, keys[k])
	}
	return nil
}

func (d *demo) public(ctx context.Context) error {
	d.chapter("3  A bucket is open to everybody")
	t := d.told[2]
	on, err := d.member.Blocked(ctx, "clinic-exports")
	if err != nil {
		return err
	}
	d.fact("before", "bucket clinic-exports: everybody may read it, %d of 4 public access flags are on", on)
	if err := d.follow(ctx, t, 1, nil); err != nil {
		return err
	}
	on, err = d.member.Blocked(ctx, "clinic-exports")
	d.fact("after", "bucket clinic-exports: %d of 4 public access flags are on", on)
	d.claim(on == 4, err, "public access is blocked")
	d.claim(t.run.Ending() == "Contained", nil, "the execution ended Contained")
	return nil
}

func (d *demo) again(ctx context.Context) error {
	d.chapter("4  The same finding arrives again")
	since := time.Now()
	t := &tale{finding: d.told[2].finding}
	if err := d.follow(ctx, t, 2, nil); err != nil {
		return err
	}
	d.claim(t.run.Ending() == "AlreadyHandled" && len(t.run.States) == 3, nil, "it ended AlreadyHandled after 3 states")
	changed, err := d.platform.Decided(since, func(x world.Decision) bool { return x.Changes() && x.Session == t.id() })
	d.claim(len(changed) == 0, err, "nothing was called that changes anything (IAM's log of decisions)")
	return nil
}

func (d *demo) protected(ctx context.Context) error {
	d.chapter("5  A finding about a protected instance")
	i, err := d.member.Instance(ctx, "clinic-records", "", nil)
	if err != nil {
		return err
	}
	sample, err := d.platform.Sample("guardduty-protected-instance")
	if err != nil {
		return err
	}
	if _, err := d.platform.Run(ctx, world.HubAccount, "scripts/firebreak", "protect", i.ARN); err != nil {
		return err
	}
	d.fact("operator", "scripts/firebreak protect %s", i.ARN)
	t := d.tell("protected instance", sample.About(i))
	t.instance = i
	since := time.Now()
	if err := d.follow(ctx, t, 1, waits); err != nil {
		return err
	}
	if t.run.Ended() {
		return fmt.Errorf("it ended without asking anybody: %s", t.run.Cause)
	}
	if _, err := d.hub.Asked(ctx, t.id(), 2); err != nil {
		return err
	}
	t.contained = 0
	r, err := d.hub.Result(ctx, t.id(), "isolate-instance")
	d.fact("refused", "%s", r.Reason)
	d.claim(r.Outcome == incident.Refused && r.Override == "protected", err, "isolate-instance was refused by the guard")
	isolated, _, err := d.member.Isolated(ctx, i.ID)
	d.claim(!isolated, err, "the instance is as it was")
	changed, err := d.platform.Decided(since, func(x world.Decision) bool { return x.Changes() && x.Session == t.id() })
	d.claim(len(changed) == 0, err, "nothing was called that changes anything")
	links, err := d.hub.Links(ctx, t.id(), world.ToContain, 2)
	if err != nil {
		return err
	}
	d.claim(len(links) == 2, nil, "alice and bob are asked whether to contain it all the same: one of them decides")
	d.fact("link", "%s", links["alice"])
	return nil
}

func (d *demo) denied(ctx context.Context) error {
	d.chapter("6  A role lacks a permission")
	const role, action, bucket = "SecurityRemediationRole-Data", "s3:PutBucketPublicAccessBlock", "clinic-archive"
	if err := d.member.Bucket(ctx, bucket); err != nil {
		return err
	}
	sample, err := d.platform.Sample("guardduty-public-bucket")
	if err != nil {
		return err
	}
	t := d.tell("public bucket, action denied", sample.OfBucket(bucket))
	restore, err := world.TakeAction(ctx, d.member.IAM, role, action)
	if err != nil {
		return err
	}
	d.fact("mishap", "%s is taken out of the policy of %s", action, role)
	if err := d.follow(ctx, t, 1, nil); err != nil {
		return errors.Join(err, restore(context.WithoutCancel(ctx)))
	}
	d.fact("cause", "%s", wrap(t.run.Cause, 100))
	d.claim(t.run.Ending() == "NeedsPerson", nil, "the execution failed as NeedsPerson: it does not say Contained")
	t.contained = 0
	for _, q := range []string{world.Actions, world.Incident} {
		letters, err := d.hub.Letters(ctx, q)
		has := slices.ContainsFunc(letters, func(m world.Message) bool { return strings.Contains(m.Body, t.id()) })
		d.claim(has, err, "the dead-letter queue %s has it, with the reason", q)
	}
	on, err := d.member.Blocked(ctx, bucket)
	d.claim(on == 0, err, "the bucket is still public, and that is on record")

	if err := restore(ctx); err != nil {
		return err
	}
	d.fact("mended", "the permission is given back")
	d.fact("operator", "scripts/firebreak redrive %s", t.id())
	if _, err := d.platform.Run(ctx, world.HubAccount, "scripts/firebreak", "redrive", t.id()); err != nil {
		return err
	}
	arn, err := d.hub.Started(ctx, `"incident":"`+t.id(), 1)
	if err != nil {
		return err
	}
	if err := d.watch(ctx, t, arn, nil); err != nil {
		return err
	}
	on, err = d.member.Blocked(ctx, bucket)
	d.claim(t.run.Ending() == "Contained" && on == 4, err, "redriven, it ended Contained: all four flags are on")
	return nil
}

func (d *demo) nothingLost(ctx context.Context) error {
	d.chapter("9  Nothing is lost")
	for _, q := range world.Queues {
		letters, err := d.hub.Letters(ctx, q)
		if !d.yes { // whoever looks on may have decided about the protected instance meanwhile, any way they like
			letters = slices.DeleteFunc(letters, func(m world.Message) bool { return strings.Contains(m.Body, d.told[3].id()) })
		}
		d.claim(len(letters) == 0, err, "%s is empty", q)
	}
	all, err := d.hub.Executions(ctx)
	if err != nil {
		return err
	}
	open := 0
	for _, arn := range all {
		run, err := d.hub.Brief(ctx, arn)
		if err != nil {
			return err
		}
		if !run.Ended() {
			open++
		}
	}
	want := 0
	for _, t := range d.told {
		asked, err := approval.List(ctx, d.hub.Store, t.id())
		if err != nil {
			return err
		}
		for _, a := range asked {
			if a.Value.Kind == approval.KindEradicate && a.Value.Status == approval.StatusOpen {
				want++
			}
		}
	}
	d.claim(open == want, nil, "%d executions, %d of them waiting for people", len(all), open)
	return nil
}

func (d *demo) summary(ctx context.Context) error {
	d.chapter("What happened")
	rows := [][]string{{"incident", "severity", "finding", "contained in", "needs a person"}}
	for _, t := range d.told {
		meta, err := d.hub.Meta(ctx, t.id())
		if err != nil {
			return err
		}
		var done []string
		for _, s := range slices.Concat(meta.Plan.Contain, meta.Plan.Eradicate) {
			if meta.Outcomes[s.Key()].Outcome.Contains() && s.Action != "notify" {
				done = append(done, s.Action)
			}
		}
		took := "-"
		if t.contained > 0 {
			took = fmt.Sprintf("%.1f s", t.contained.Seconds())
		}
		all, err := approval.List(ctx, d.hub.Store, t.id())
		if err != nil {
			return err
		}
		var needs []string
		for _, a := range all {
			if a.Value.Status == approval.StatusOpen {
				needs = append(needs, fmt.Sprintf("%s %s?", a.Value.Steps[0].Action, a.Value.Steps[0].Name()))
			}
		}
		slices.Sort(needs)
		if len(needs) == 0 && meta.Ending == incident.EndNeedsPerson {
			needs = []string{meta.Needs}
		}
		rows = append(rows, []string{t.id(), string(meta.Band), t.title, took, orDash(strings.Join(slices.Compact(needs), ", "))})
		rows = append(rows, []string{"  " + orDash(strings.Join(done, ", "))})
	}
	d.table(rows)
	d.say("\n  The whole of an incident: scripts/firebreak show ID (while it runs: --keep).")
	return nil
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// wrap breaks a text into lines of at most n characters, and takes the JSON of a function's error out of it.
func wrap(text string, n int) string {
	if i := strings.Index(text, "{"); i >= 0 {
		var e struct{ ErrorMessage string }
		if json.Unmarshal([]byte(text[i:]), &e) == nil && e.ErrorMessage != "" {
			text = text[:i] + e.ErrorMessage
		}
	}
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > n {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return strings.Join(append(lines, line), "\n")
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"firebreak/lib/incident"
	"firebreak/scripts/local/world"
)

// story is the platform with what was made in it.
type story struct {
	*voice
	platform *world.Platform
	hub      *world.Hub
	member   *world.Member

	clinic, vault world.Instance // the first is attacked, the second protected
	bob           world.User
	reports       string // bucket
	exports       string // bucket, whose containment IAM denies

	stolen asked
}

// asked is the incident that people decide about at the end.
type asked struct {
	event world.Event
	run   world.Run
	put   time.Time
}

func tell(ctx context.Context, p *world.Platform, say *voice, yes bool) error {
	s := &story{voice: say, platform: p, hub: p.Hub(), member: p.Member()}
	say.chapter("Setting up")
	say.step("the platform is up at " + p.Endpoint)
	if err := p.Install(ctx, io.Discard, say.step); err != nil {
		return err
	}
	for _, chapter := range []func(context.Context) error{s.world, s.findings, s.again, s.protected, s.denied} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return s.decide(ctx, yes)
}

func (s *story) world(ctx context.Context) (err error) {
	s.step("make a small world in the member account")
	if s.clinic, err = s.member.Instance(ctx, "clinic-web", "clinic-web", nil); err != nil {
		return err
	}
	if s.vault, err = s.member.Instance(ctx, "patient-records", "", nil); err != nil {
		return err
	}
	if s.bob, err = s.member.User(ctx, "bob"); err != nil {
		return err
	}
	s.reports, s.exports = "clinic-reports-222222222222", "clinic-exports-222222222222"
	return errors.Join(s.member.Bucket(ctx, s.reports), s.member.Bucket(ctx, s.exports))
}

// watch follows an execution about an event and tells its states, until stop or its end.
func (s *story) watch(ctx context.Context, e world.Event, n int, who string, put time.Time, stop func(world.Run) bool) (world.Run, error) {
	arn, err := s.hub.Started(ctx, e.ID(), n)
	if err != nil {
		return world.Run{}, err
	}
	return s.hub.Follow(ctx, arn, time.Minute, func(st world.State) { s.state(who, put, st) }, stop)
}

func waiting(r world.Run) bool { return r.Ending() == "RequestApproval" }

// after is the time from the finding's arrival to the state after Contain, when all of it had been read back.
func after(r world.Run, put time.Time) string {
	for i, st := range r.States {
		if st.Name == "Contain" {
			for _, next := range r.States[i+1:] {
				if next.Top {
					return fmt.Sprintf("%.2f s", next.At.Sub(put).Seconds())
				}
			}
		}
	}
	return "-"
}

func (s *story) findings(ctx context.Context) error {
	s.chapter("Before, as read in the member account")
	_, groups, err := s.member.Isolated(ctx, s.clinic.ID)
	if err != nil {
		return err
	}
	s.line("  instance %s: %s", s.clinic.ID, groups)
	keys, err := s.member.Keys(ctx, s.bob.Name)
	if err != nil {
		return err
	}
	s.line("  user bob: %d keys, %s", len(keys), strings.Join(values(keys), " and "))
	on, err := s.member.Blocked(ctx, s.reports)
	s.claim(on == 0, err, "bucket %s: everybody may read it, %d of 4 public access flags are on", s.reports, on)

	type part struct {
		who, sample string
		event       world.Event
		run         world.Run
		err         error
	}
	parts := []*part{{who: "credentials", sample: "guardduty-stolen-instance-credentials"}, {who: "key", sample: "guardduty-misused-user-key"}, {who: "bucket", sample: "guardduty-public-bucket"}}
	for _, p := range parts {
		if p.event, err = s.platform.Sample(p.sample); err != nil {
			return err
		}
	}
	parts[0].event = parts[0].event.About(s.clinic)
	parts[1].event = parts[1].event.OfUser(s.bob, s.bob.Keys[0])
	parts[2].event = parts[2].event.OfBucket(s.reports)

	s.chapter("Three findings arrive on the member's bus")
	for _, p := range parts {
		s.line("  %-12s %s", p.who, p.event.Incident())
	}
	put := time.Now()
	if err := s.member.Put(ctx, parts[0].event, parts[1].event, parts[2].event); err != nil {
		return err
	}
	var wg sync.WaitGroup
	for _, p := range parts {
		wg.Go(func() { p.run, p.err = s.watch(ctx, p.event, 1, p.who, put, waiting) })
	}
	wg.Wait()
	for _, p := range parts {
		if p.err != nil {
			return p.err
		}
	}
	s.stolen = asked{parts[0].event, parts[0].run, put}

	s.chapter("After, as read in the member account")
	isolated, groups, err := s.member.Isolated(ctx, s.clinic.ID)
	s.claim(isolated, err, "instance %s is isolated: %s", s.clinic.ID, groups)
	snaps, err := s.member.Snapshots(ctx, s.clinic.Volumes...)
	s.claim(len(snaps) == 2, err, "both volumes have a snapshot of this incident (%d)", len(snaps))
	policies, err := s.member.RolePolicies(ctx, s.clinic.Role)
	s.claim(len(policies) == 2, err, "role %s denies earlier sessions: its policies are %s", s.clinic.Role, strings.Join(policies, ", "))
	keys, err = s.member.Keys(ctx, s.bob.Name)
	s.claim(keys[s.bob.Keys[0]] == "Inactive" && keys[s.bob.Keys[1]] == "Active", err, "the misused key of bob is inactive, the other one is as it was")
	on, err = s.member.Blocked(ctx, s.reports)
	s.claim(on == 4, err, "bucket %s: %d of 4 public access flags are on", s.reports, on)
	for _, p := range parts[1:] {
		s.claim(p.run.Ending() == "Contained", nil, "%s ended %s", p.run.Name, p.run.Ending())
	}
	s.claim(waiting(parts[0].run), nil, "the execution about the credentials waits for people at %s", parts[0].run.Ending())
	s.row(parts[1].event.Incident(), "a user's key is misused", "key inactive", after(parts[1].run, put), "-")
	s.row(parts[2].event.Incident(), "a public bucket", "public access blocked", after(parts[2].run, put), "-")
	return nil
}

func (s *story) again(ctx context.Context) error {
	s.chapter("The same finding once more")
	put := time.Now()
	if err := s.member.Put(ctx, s.stolen.event); err != nil {
		return err
	}
	run, err := s.watch(ctx, s.stolen.event, 2, "again", put, nil)
	if err != nil {
		return err
	}
	snaps, err := s.member.Snapshots(ctx, s.clinic.Volumes...)
	s.claim(run.Ending() == "AlreadyHandled" && len(snaps) == 2, err, "it ended %s: nothing was done twice", run.Ending())
	return nil
}

func (s *story) protected(ctx context.Context) error {
	s.chapter("A finding on a protected instance")
	if _, err := s.platform.Run(ctx, world.HubAccount, "scripts/firebreak", "protect", s.vault.ARN); err != nil {
		return err
	}
	e, err := s.platform.Sample("guardduty-crypto-mining")
	if err != nil {
		return err
	}
	e = e.About(s.vault)
	put := time.Now()
	if err := s.member.Put(ctx, e); err != nil {
		return err
	}
	if _, err := s.watch(ctx, e, 1, "protected", put, waiting); err != nil {
		return err
	}
	links, err := s.hub.Links(ctx, e.Incident(), world.ToContain, 2)
	if err != nil {
		return err
	}
	r, err := s.hub.Result(ctx, e.Incident(), "isolate-instance")
	s.claim(r.Outcome == incident.Refused, err, "isolating it was refused: %s", r.Reason)
	isolated, _, err := s.member.Isolated(ctx, s.vault.ID)
	s.claim(!isolated, err, "instance %s is as it was", s.vault.ID)
	s.claim(len(links) == 2, nil, "%d people were asked whether to contain it all the same", len(links))
	s.row(e.Incident(), "mining on a protected instance", "snapshots; isolation refused", "-", "allow isolation, decide on destruction")
	return nil
}

func (s *story) denied(ctx context.Context) error {
	s.chapter("An action that IAM denies")
	const role, action = "SecurityRemediationRole-Data", "s3:PutBucketPublicAccessBlock"
	restore, err := world.TakeAction(ctx, s.member.IAM, role, action)
	if err != nil {
		return err
	}
	s.line("  %s was taken out of %s", action, role)
	e, err := s.platform.Sample("guardduty-public-bucket")
	if err != nil {
		return err
	}
	e = e.OfBucket(s.exports)
	put := time.Now()
	if err := s.member.Put(ctx, e); err != nil {
		return err
	}
	run, err := s.watch(ctx, e, 1, "denied", put, nil)
	if err != nil {
		return err
	}
	s.claim(run.Ending() == "NeedsPerson", nil, "it ended %s", run.Ending())
	s.line("      %s", run.Cause)
	letters, err := s.hub.Letters(ctx, "firebreak-action-dlq")
	s.claim(len(letters) == 1, err, "%d dead letter says what was not done", len(letters))
	on, err := s.member.Blocked(ctx, s.exports)
	s.claim(on == 0, err, "bucket %s: %d of 4 flags are on, and nobody says that it is contained", s.exports, on)

	if err := restore(ctx); err != nil {
		return err
	}
	s.line("  the permission is granted again; scripts/firebreak redrive %s", e.Incident())
	put = time.Now()
	if _, err := s.platform.Run(ctx, world.HubAccount, "scripts/firebreak", "redrive", e.Incident()); err != nil {
		return err
	}
	arn, err := s.hub.Started(ctx, `"incident":"`+e.Incident(), 1)
	if err != nil {
		return err
	}
	run, err = s.hub.Follow(ctx, arn, time.Minute, func(st world.State) { s.state("redriven", put, st) }, nil)
	if err != nil {
		return err
	}
	on, err = s.member.Blocked(ctx, s.exports)
	s.claim(run.Ending() == "Contained" && on == 4, err, "it ended %s, %d of 4 flags are on", run.Ending(), on)
	s.row(e.Incident(), "a public bucket, IAM denied", "public access blocked after redrive", after(run, put), "-")
	return nil
}

func (s *story) decide(ctx context.Context, yes bool) error {
	s.chapter("Destroying the instance is for people to decide")
	id := s.stolen.event.Incident()
	links, err := s.hub.Links(ctx, id, world.ToDestroy, 2)
	if err != nil {
		return err
	}
	if yes {
		for _, who := range []string{"alice", "bob"} {
			if _, err := world.NewWeb().Decide(ctx, links[who], "approve", s.clinic.ID, "looked at the evidence"); err != nil {
				return err
			}
			s.line("  %s opened the link, typed %s and approved", who, s.clinic.ID)
		}
	} else {
		s.line("  Two people must approve. Open each link, read, type %s, and decide:", s.clinic.ID)
		s.line("    Alice: %s", links["alice"])
		s.line("    Bob:   %s", links["bob"])
		s.line("  Waiting for you (Ctrl-C ends the demo) ...")
	}
	begun := s.stolen.run
	run, err := s.hub.Follow(ctx, begun.ARN, 7*24*time.Hour, func(st world.State) {
		if st.At.After(begun.States[len(begun.States)-1].At) {
			s.state("credentials", s.stolen.put, st)
		}
	}, nil)
	if err != nil {
		return err
	}
	state, err := s.member.InstanceState(ctx, s.clinic.ID)
	switch run.Ending() {
	case "Eradicated":
		s.claim(state == "terminated" || state == "shutting-down", err, "it ended Eradicated: instance %s is %s", s.clinic.ID, state)
		snaps, err := s.member.Snapshots(ctx, s.clinic.Volumes...)
		s.claim(len(snaps) == 2, err, "its %d snapshots are kept", len(snaps))
	case "ApprovalRejected":
		isolated, words, ierr := s.member.Isolated(ctx, s.clinic.ID)
		s.claim(!yes && state == "running" && isolated, errors.Join(err, ierr), "it was rejected: the instance stays, isolated: %s", words)
	default:
		s.claim(false, err, "it ended %s: %s", run.Ending(), run.Cause)
	}
	what := map[string]string{"Eradicated": "isolated, snapshots, sessions revoked, terminated", "ApprovalRejected": "isolated, snapshots, sessions revoked"}[run.Ending()]
	s.row(id, "stolen instance credentials", what, after(run, s.stolen.put), "-")
	s.table()
	return nil
}

func values(m map[string]string) []string {
	out := []string{}
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/approval"
	"firebreak/lib/evidence"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/instance"
	"firebreak/lib/instance/instancetest"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
	gd "github.com/aws/aws-sdk-go-v2/service/guardduty/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
)

const (
	id       = "INC-BWJ4TH5BLF5DYQIG"
	name     = "i-0abcdef1234567890"
	target   = "arn:aws:ec2:us-east-1:222222222222:instance/" + name
	vol1     = "vol-0aaaaaaaaaaaaaaa1"
	vol2     = "vol-0aaaaaaaaaaaaaaa2"
	snap1    = "snap-0f000000000000001"
	snap2    = "snap-0f000000000000002"
	iso      = "sg-0f000000000000001"
	detector = "12abc34d567e8fa901bc2d34e56789f0"
	finding  = "16afba5c5c43e07c9e3e5e2e544e95df"
)

// seen is when the finding was seen.
var seen = time.Now().Add(-time.Minute)

// guardDuty answers with its findings.
type guardDuty struct {
	findings []gd.Finding
	err      error
}

func (g *guardDuty) GetFindings(_ context.Context, in *guardduty.GetFindingsInput, _ ...func(*guardduty.Options)) (*guardduty.GetFindingsOutput, error) {
	if *in.DetectorId != detector || !slices.Equal(in.FindingIds, []string{finding}) {
		return &guardduty.GetFindingsOutput{}, nil
	}
	return &guardduty.GetFindingsOutput{Findings: g.findings}, g.err
}

type world struct {
	t         *testing.T
	ec2       *instancetest.EC2
	guardDuty *guardDuty
	store     *ledger.Memory
	run       func(context.Context, incident.Request) (incident.Result, error)
}

// newWorld is an isolated, protected instance with a completed snapshot of each volume, and a finding that stands.
func newWorld(t *testing.T, forensics ...setting.Forensics) *world {
	t.Helper()
	w := &world{t: t, ec2: instancetest.New(), store: ledger.NewMemory(), guardDuty: &guardDuty{findings: []gd.Finding{{
		Id: aws.String(finding), AccountId: aws.String("222222222222"), Service: &gd.Service{Archived: aws.Bool(false)},
		Resource: &gd.Resource{InstanceDetails: &gd.InstanceDetails{InstanceId: aws.String(name)}},
	}}}}
	tags := map[string]string{instance.IncidentTag: id, instance.Tag: name}
	w.ec2.AddGroup(iso, "vpc-1", "firebreak-isolation", nil)
	w.ec2.AddInstance(name, vol1, vol2)
	w.ec2.AddInterface("eni-0aaaaaaaaaaaaaaa1", name, "vpc-1", iso)
	w.ec2.AddInterface("eni-0aaaaaaaaaaaaaaa2", name, "vpc-1", iso)
	w.ec2.AddSnapshot(snap1, vol1, time.Now(), tags)
	w.ec2.AddSnapshot(snap2, vol2, time.Now(), tags)
	session := account.Statement{Actions: []string{"ec2:ModifyInstanceAttribute", "ec2:TerminateInstances"}, Resources: []string{target}}
	_, err := w.ec2.Session(session).ModifyInstanceAttribute(t.Context(), protect())
	w.must(err)
	w.ec2.Calls = nil
	in := setting.Installed{
		Action: setting.Action{SettleMilliseconds: 1, LeaseSeconds: 90}, Approval: setting.Approval{LinkAlone: "none"},
		Approvers: []setting.Approver{{ID: "alice"}, {ID: "bob"}},
	}
	if len(forensics) > 0 {
		in.Forensics = forensics[0]
	}
	act := termination{
		store: w.store, inst: setting.Fixed(in), taken: &sync.Map{},
		reads: func(context.Context, action.Call) (reads, error) {
			return w.ec2.Session(account.Statement{Actions: []string{"ec2:DescribeInstances", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSnapshots"}, Resources: []string{"*"}}), nil
		},
		source:  func(context.Context, action.Call) (source, error) { return w.guardDuty, nil },
		changes: func(context.Context, action.Call) (changes, error) { return w.ec2.Session(session), nil },
	}
	w.run = action.NewSpine(w.store, setting.Fixed(in)).Eradicating("terminate-instance", act)
	guard := ledger.Item[setting.Guard]{Key: setting.GuardKey, Value: setting.Defaults()}
	guard.Value.Mode = setting.Act
	meta := ledger.Item[ledger.Incident]{Key: ledger.IncidentKey(id), Value: ledger.Incident{
		ID: id, Status: incident.Contained, Episode: 1, Band: incident.Critical, Plan: incident.Plan{Eradicate: []incident.Step{step()}},
		Finding: ledger.Finding{Product: "aws/guardduty", NativeID: finding, Source: detector, Account: "222222222222", Region: "us-east-1"},
	}}
	hold := ledger.Item[ledger.Hold]{Key: ledger.HoldKey(target, "snapshot-volumes"), Value: ledger.Hold{
		Resource: target, Action: "snapshot-volumes", Phase: ledger.Held, After: map[string]string{vol1 + "/snapshot": snap1, vol2 + "/snapshot": snap2},
	}}
	w.must(ledger.Save(t.Context(), w.store, &guard, &meta, &hold))
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func step() incident.Step { return incident.Step{Action: "terminate-instance", Target: target} }

func (w *world) do(m incident.Mode) (incident.Result, error) {
	return w.run(w.t.Context(), incident.Request{
		Mode: m, Step: step(), Approval: 1,
		Incident:  incident.Ref{ID: id, Episode: 1, Severity: incident.Critical, Account: "222222222222", Region: "us-east-1", Seen: seen},
		Execution: incident.Execution{ARN: "arn:aws:states:us-east-1:111111111111:execution:firebreak-respond:one", Start: time.Now()},
		State:     incident.State{Name: "TerminateInstance"},
	})
}

// approve writes that two people approved what stands now.
func (w *world) approve() {
	w.t.Helper()
	planned, err := w.do(incident.Look)
	w.must(err)
	steps := []approval.Step{{Step: step(), Identity: planned.Identity, Destroys: planned.Changes}}
	it := ledger.Item[approval.Approval]{Key: approval.Key(id, 1), Value: approval.Approval{
		Incident: id, Number: 1, Episode: 1, Kind: approval.KindEradicate, Steps: steps, Need: 2, Status: approval.StatusApproved,
		Hash:      approval.Hash(approval.KindEradicate, id, 1, steps),
		Decisions: []approval.Decision{{Approver: "alice", Approve: true, Via: setting.ViaSignIn}, {Approver: "bob", Approve: true, Via: setting.ViaCLI}},
	}}
	w.must(ledger.Save(w.t.Context(), w.store, &it))
}

func same(t *testing.T, file string, got incident.Result) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", file+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var want incident.Result
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("result differs from testdata/%s.json (-golden +got):\n%s", file, diff)
	}
}

func TestOutcomes(t *testing.T) {
	w := newWorld(t)
	planned, err := w.do(incident.Look)
	w.must(err)
	same(t, "planned", planned)
	if len(w.ec2.Calls) > 0 {
		t.Errorf("mode plan changed something: %v", w.ec2.Calls)
	}
	w.approve()
	w.ec2.Wear("eni-0aaaaaaaaaaaaaaa2", "sg-0aaaaaaaaaaaaaaa1")
	changed, err := w.do(incident.Apply)
	w.must(err)
	same(t, "changed", changed)
	if len(w.ec2.Calls) > 0 {
		t.Errorf("something was changed: %v", w.ec2.Calls)
	}
	w.ec2.Wear("eni-0aaaaaaaaaaaaaaa2", iso)
	applied, err := w.do(incident.Apply)
	w.must(err)
	same(t, "applied", applied)
	again, err := w.do(incident.Apply)
	w.must(err)
	if again.Outcome != incident.Gone || len(w.ec2.Calls) != 2 {
		t.Errorf("%+v, changed %v", again, w.ec2.Calls)
	}
}

func TestNothingWithoutApproval(t *testing.T) {
	w := newWorld(t)
	got, err := w.do(incident.Apply)
	if err != nil || got.Outcome != incident.Changed || len(w.ec2.Calls) > 0 {
		t.Errorf("%+v, %v, changed %v", got, err, w.ec2.Calls)
	}
}

// What one of the approvers keeps is not destroyed, and that is no change of it; nor is anything whose approvers have left.
func TestKeptOrNotApprovedAnyMore(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*approval.Approval)
		want   incident.Outcome
	}{
		"kept": {func(a *approval.Approval) {
			a.Decisions[1].Keep, a.Decisions[1].Reason = []string{step().Key()}, "needed"
		}, incident.Kept},
		"an approver has left": {func(a *approval.Approval) { a.Decisions[0].Approver = "carol" }, incident.Changed},
		"by link alone":        {func(a *approval.Approval) { a.Decisions[0].Via = setting.ViaLink }, incident.Changed},
	} {
		w := newWorld(t)
		w.approve()
		_, err := ledger.Update(t.Context(), w.store, approval.Key(id, 1), func(it *ledger.Item[approval.Approval]) error {
			c.change(&it.Value)
			return nil
		})
		w.must(err)
		if got, err := w.do(incident.Apply); err != nil || got.Outcome != c.want || len(w.ec2.Calls) > 0 {
			t.Errorf("%s: %+v, %v, changed %v", name, got, err, w.ec2.Calls)
		}
	}
}

func TestVolumeAttachedSince(t *testing.T) {
	w := newWorld(t)
	w.approve()
	w.ec2.AddInstance(name, vol1, vol2, "vol-0aaaaaaaaaaaaaaa3")
	got, err := w.do(incident.Apply)
	if err != nil || got.Outcome != incident.Changed || !strings.Contains(strings.Join(got.Changes, " "), "vol-0aaaaaaaaaaaaaaa3") || len(w.ec2.Calls) > 0 {
		t.Errorf("%+v, %v, changed %v", got, err, w.ec2.Calls)
	}
}

// Nothing is destroyed unless the evidence is complete at that very moment.
func TestEvidence(t *testing.T) {
	for _, c := range []struct {
		name, want string
		spoil      func(*world)
	}{
		{"pending", "pending: snap-0f000000000000002 40%", func(w *world) {
			s := w.ec2.Snapshots()[1]
			s.State, s.Progress = types.SnapshotStatePending, aws.String("40%")
		}},
		{"failed", "is in state error", func(w *world) { w.ec2.Snapshots()[0].State = types.SnapshotStateError }},
		{"in the recycle bin", "is in state recoverable", func(w *world) { w.ec2.Snapshots()[0].State = types.SnapshotStateRecoverable }},
		{"deleted", "does not exist any more", func(w *world) { w.ec2.DropSnapshot(snap1) }},
		{"of another volume", "is a snapshot of vol-9", func(w *world) { w.ec2.Snapshots()[0].VolumeId = aws.String("vol-9") }},
		{"untagged", "has lost its tag", func(w *world) { w.ec2.Snapshots()[0].Tags = nil }},
		{"of an earlier incident", "was begun before the finding was seen", func(w *world) {
			w.ec2.Snapshots()[1].StartTime = aws.Time(seen.Add(-24 * time.Hour))
		}},
		{"detached", "boots from a volume and has none attached", func(w *world) { w.ec2.AddInstance(name) }},
		{"not on record", "no snapshot of " + vol1 + " is on record", func(w *world) {
			_, err := ledger.Update(w.t.Context(), w.store, ledger.HoldKey(target, "snapshot-volumes"), func(it *ledger.Item[ledger.Hold]) error {
				it.Value.After = nil
				return nil
			})
			w.must(err)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			c.spoil(w)
			planned, err := w.do(incident.Look)
			w.must(err)
			if !strings.Contains(planned.Evidence, c.want) {
				t.Errorf("evidence %q, want %q", planned.Evidence, c.want)
			}
			w.approve()
			if got, err := w.do(incident.Apply); !fault.Is(err, fault.NotVerified) || len(w.ec2.Calls) > 0 {
				t.Errorf("%+v, %v, changed %v", got, err, w.ec2.Calls)
			}
		})
	}
}

// Where there is a forensic account, nothing is destroyed before a copy of every snapshot is locked there.
func TestEvidenceIsLockedFirst(t *testing.T) {
	w := newWorld(t, setting.Forensics{Account: "333333333333", LockMode: "governance", LockDays: 30})
	w.approve()
	keep := func(snapshot string, rec evidence.Record) {
		t.Helper()
		_, err := ledger.Update(t.Context(), w.store, evidence.Key("aws", "us-east-1", snapshot), func(it *ledger.Item[evidence.Record]) error {
			it.Value = rec
			return nil
		})
		w.must(err)
	}
	for _, c := range []struct {
		want string
		kept map[string]evidence.Record
	}{
		{"pending: " + snap1 + " is not on its way to the forensic account yet, " + snap2 + " is not on its way to the forensic account yet", nil},
		{"pending: " + snap2 + " is not locked in the forensic account yet (received)", map[string]evidence.Record{snap1: {Phase: evidence.Locked}, snap2: {Phase: evidence.Received}}},
		{"pending: " + snap2 + " is not locked in the forensic account: given up", map[string]evidence.Record{snap2: {Phase: evidence.Received, Problem: "given up"}}},
	} {
		for snapshot, rec := range c.kept {
			keep(snapshot, rec)
		}
		planned, err := w.do(incident.Look)
		w.must(err)
		if planned.Evidence != c.want {
			t.Errorf("evidence %q, want %q", planned.Evidence, c.want)
		}
		if got, err := w.do(incident.Apply); !fault.Is(err, fault.NotVerified) || len(w.ec2.Calls) > 0 {
			t.Errorf("%+v, %v, changed %v", got, err, w.ec2.Calls)
		}
	}
	keep(snap2, evidence.Record{Phase: evidence.Locked})
	if got, err := w.do(incident.Apply); err != nil || got.Outcome != incident.Applied {
		t.Errorf("%+v, %v", got, err)
	}
}

// The finding is read again at its source, and what does not stand there destroys nothing.
func TestFindingReadAgain(t *testing.T) {
	for _, c := range []struct {
		name, want string
		spoil      func(*guardDuty)
	}{
		{"archived", "is archived", func(g *guardDuty) { g.findings[0].Service.Archived = aws.Bool(true) }},
		{"gone", "does not have finding", func(g *guardDuty) { g.findings = nil }},
		{"of a detector that is gone", "does not know detector", func(g *guardDuty) { g.err = &smithy.GenericAPIError{Code: "BadRequestException"} }},
		{"a sample", "is a sample", func(g *guardDuty) {
			g.findings[0].Service.AdditionalInfo = &gd.ServiceAdditionalInfo{Value: aws.String(`{"sample": true}`)}
		}},
		{"about another instance", "does not name", func(g *guardDuty) { g.findings[0].Resource.InstanceDetails.InstanceId = aws.String("i-2") }},
		{"about no instance", "does not name", func(g *guardDuty) { g.findings[0].Resource.InstanceDetails = nil }},
		{"of another account", "does not name", func(g *guardDuty) { g.findings[0].AccountId = aws.String("333333333333") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.approve()
			c.spoil(w.guardDuty)
			got, err := w.do(incident.Apply)
			if !fault.Is(err, fault.NotVerified) || !strings.Contains(err.Error(), c.want) || len(w.ec2.Calls) > 0 || !w.ec2.Protected(name) {
				t.Errorf("%+v, %v, changed %v", got, err, w.ec2.Calls)
			}
		})
	}
}

func TestAttackSequenceNamesTheInstance(t *testing.T) {
	w := newWorld(t)
	w.approve()
	w.guardDuty.findings[0].Resource = nil
	w.guardDuty.findings[0].Service.Detection = &gd.Detection{Sequence: &gd.Sequence{Resources: []gd.ResourceV2{{Uid: aws.String(target)}}}}
	if got, err := w.do(incident.Apply); err != nil || got.Outcome != incident.Applied {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestKilledAnywhere(t *testing.T) {
	for point := 1; point <= 4; point++ {
		w := newWorld(t)
		w.approve()
		passed := 0
		w.ec2.Step = func(int, string, bool) error {
			if passed++; passed == point {
				w.ec2.Dead = true
				return instancetest.ErrDead
			}
			return nil
		}
		if got, err := w.do(incident.Apply); err == nil {
			t.Errorf("point %d: %+v", point, got)
		}
		w.ec2.Dead, w.ec2.Step = false, nil
		got, err := w.do(incident.Apply)
		if err != nil || got.Outcome != incident.Applied && got.Outcome != incident.Gone {
			t.Errorf("point %d, again: %+v, %v", point, got, err)
		}
	}
}

func TestDenied(t *testing.T) {
	for _, act := range []string{"ec2:ModifyInstanceAttribute", "ec2:TerminateInstances"} {
		w := newWorld(t)
		w.approve()
		w.ec2.Denied[act] = true
		if got, err := w.do(incident.Apply); !fault.Is(err, fault.Denied) {
			t.Errorf("without %s: %+v, %v", act, got, err)
		} else if lifted := strings.Contains(err.Error(), "protection is lifted"); lifted != !w.ec2.Protected(name) {
			t.Errorf("without %s it says that the protection is lifted: %v", act, err)
		}
	}
}

func TestGoneInstance(t *testing.T) {
	w := newWorld(t)
	w.ec2.AddInstance(name).State.Name = types.InstanceStateNameTerminated
	got, err := w.do(incident.Apply)
	if err != nil || got.Outcome != incident.Gone || len(w.ec2.Calls) > 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

func protect() *ec2.ModifyInstanceAttributeInput {
	return &ec2.ModifyInstanceAttributeInput{InstanceId: aws.String(name), DisableApiTermination: &types.AttributeBooleanValue{Value: aws.Bool(true)}}
}

// People see what keeps each volume, and before the instance ends the manifest says when it was complete.
func TestTheManifestIsShownAndFinished(t *testing.T) {
	w := newWorld(t)
	started := time.Date(2026, 3, 2, 3, 12, 5, 0, time.UTC)
	w.must(evidence.Note(t.Context(), w.store, evidence.Manifest{Instance: target, Incident: id, Partition: "aws", Account: "222222222222", Region: "us-east-1"}, []types.Snapshot{
		{SnapshotId: aws.String(snap1), VolumeId: aws.String(vol1), VolumeSize: aws.Int32(8), StartTime: &started, State: types.SnapshotStatePending},
		{SnapshotId: aws.String(snap2), VolumeId: aws.String(vol2), VolumeSize: aws.Int32(100), StartTime: &started, State: types.SnapshotStateCompleted, CompletionTime: &started},
	}, started))
	planned, err := w.do(incident.Look)
	w.must(err)
	want := []string{
		"kept: " + vol1 + " in " + snap1 + ": 8 GiB, not encrypted, begun 2026-03-02T03:12:05Z, not complete yet",
		"kept: " + vol2 + " in " + snap2 + ": 100 GiB, not encrypted, begun 2026-03-02T03:12:05Z, complete 2026-03-02T03:12:05Z",
	}
	if diff := cmp.Diff(want, planned.Changes[1:]); diff != "" {
		t.Error(diff)
	}
	w.approve()
	_, err = w.do(incident.Apply)
	w.must(err)
	it, err := ledger.Load[evidence.Manifest](t.Context(), w.store, evidence.ManifestKey(target))
	w.must(err)
	if it.Value.Waits() || it.Group != "" || len(it.Value.Snapshots) != 2 {
		t.Errorf("%+v", it)
	}
}

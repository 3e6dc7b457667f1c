package main

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/lib/action"
	"firebreak/lib/actiontest"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/origin"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
	gdtypes "github.com/aws/aws-sdk-go-v2/service/guardduty/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/google/go-cmp/cmp"
)

const (
	user = "arn:aws:iam::222222222222:user/billing/export"
	one  = "AKIAIOSFODNN7EXAMPLE"
	two  = "AKIAI44QH8DHBEXAMPLE"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	os.Exit(m.Run())
}

// fake is an account with one user, and its GuardDuty.
type fake struct {
	actiontest.Wire
	gone    bool
	userID  string
	keys    map[string]types.StatusType
	used    *types.AccessKeyLastUsed
	finding *gdtypes.Finding
}

func newFake() *fake {
	return &fake{
		userID: "AIDACKCEVSQ6C2EXAMPLE", keys: map[string]types.StatusType{one: types.StatusTypeInactive, two: types.StatusTypeInactive},
		used: &types.AccessKeyLastUsed{LastUsedDate: aws.Time(time.Date(2026, 3, 2, 3, 4, 0, 0, time.UTC)), ServiceName: aws.String("s3"), Region: aws.String("us-east-1")},
		finding: &gdtypes.Finding{
			Id: aws.String(actiontest.Finding), AccountId: aws.String(actiontest.Account), Service: &gdtypes.Service{},
			Resource: &gdtypes.Resource{AccessKeyDetails: &gdtypes.AccessKeyDetails{UserName: aws.String("export"), UserType: aws.String("IAMUser"), AccessKeyId: aws.String(one)}},
		},
	}
}

func (f *fake) look(call string) error {
	if err := f.Read(call, "iam:"+call, user); err != nil {
		return err
	}
	if f.gone {
		return &types.NoSuchEntityException{}
	}
	return nil
}

func (f *fake) GetUser(_ context.Context, in *iam.GetUserInput, _ ...func(*iam.Options)) (*iam.GetUserOutput, error) {
	return &iam.GetUserOutput{User: &types.User{UserName: in.UserName, UserId: &f.userID}}, f.look("GetUser")
}

// ListAccessKeys gives a page a key.
func (f *fake) ListAccessKeys(_ context.Context, in *iam.ListAccessKeysInput, _ ...func(*iam.Options)) (*iam.ListAccessKeysOutput, error) {
	ids, at := slices.Sorted(maps.Keys(f.keys)), 0
	if in.Marker != nil {
		at = slices.Index(ids, *in.Marker)
	}
	out := &iam.ListAccessKeysOutput{}
	if at < len(ids) {
		out.AccessKeyMetadata = []types.AccessKeyMetadata{{AccessKeyId: &ids[at], Status: f.keys[ids[at]], CreateDate: aws.Time(time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC))}}
	}
	if at+1 < len(ids) {
		out.IsTruncated, out.Marker = true, &ids[at+1]
	}
	return out, f.look("ListAccessKeys")
}

func (f *fake) GetAccessKeyLastUsed(context.Context, *iam.GetAccessKeyLastUsedInput, ...func(*iam.Options)) (*iam.GetAccessKeyLastUsedOutput, error) {
	return &iam.GetAccessKeyLastUsedOutput{AccessKeyLastUsed: f.used}, f.look("GetAccessKeyLastUsed")
}

func (f *fake) GetFindings(_ context.Context, in *guardduty.GetFindingsInput, _ ...func(*guardduty.Options)) (*guardduty.GetFindingsOutput, error) {
	out := &guardduty.GetFindingsOutput{}
	if *in.DetectorId == actiontest.Detector && f.finding != nil {
		out.Findings = []gdtypes.Finding{*f.finding}
	}
	return out, nil
}

func (f *fake) DeleteAccessKey(_ context.Context, in *iam.DeleteAccessKeyInput, _ ...func(*iam.Options)) (*iam.DeleteAccessKeyOutput, error) {
	return &iam.DeleteAccessKeyOutput{}, f.Change("DeleteAccessKey", "iam:DeleteAccessKey", user, func() error {
		if _, ok := f.keys[*in.AccessKeyId]; !ok || f.gone {
			return &types.NoSuchEntityException{}
		}
		delete(f.keys, *in.AccessKeyId)
		return nil
	})
}

func newWorld(t *testing.T, f *fake) *actiontest.World {
	return actiontest.NewEradicating(t, "delete-keys", func(store ledger.Store) action.Destruction {
		return deletion{
			store: store,
			reads: func(_ context.Context, c action.Call) (reads, error) {
				return f, actiontest.Session(&f.Looking, looking(c))
			},
			source: func(context.Context, action.Call) (origin.API, error) { return f, nil },
			changes: func(_ context.Context, c action.Call) (changes, error) {
				return f, actiontest.Session(&f.Changing, changing(c))
			},
			used: &sync.Map{},
		}
	})
}

func named(id string) map[string]string { return map[string]string{"keyId": id} }

// ask makes the request of an incident whose finding can be read again.
func ask(w *actiontest.World, m incident.Mode, target string, with map[string]string) incident.Request {
	req := w.Request(m, actiontest.Incident, target, with)
	w.Source(req)
	return req
}

func TestOutcomes(t *testing.T) {
	f := newFake()
	w := newWorld(t, f)
	req := ask(w, incident.Apply, user, named(one))
	look := req
	look.Mode = incident.Look
	actiontest.Golden(t, "planned", w.Must(look))

	if got := w.Must(req); got.Outcome != incident.Changed || len(f.Changed) > 0 {
		t.Errorf("without approval: %s, changed %v", got.Outcome, f.Changed)
	}
	req = w.Approve(req)
	f.keys[one] = types.StatusTypeActive
	actiontest.Golden(t, "changed", w.Must(req))
	f.keys[one] = types.StatusTypeInactive
	if len(f.Changed) > 0 {
		t.Errorf("something was changed: %v", f.Changed)
	}
	actiontest.Golden(t, "applied", w.Must(req))
	if diff := cmp.Diff(map[string]types.StatusType{two: types.StatusTypeInactive}, f.keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	actiontest.Golden(t, "gone", w.Must(req))
	if len(f.Changed) != 1 {
		t.Errorf("changed %v", f.Changed)
	}
	undo := req
	undo.Mode = incident.Undo
	actiontest.Golden(t, "refused", w.Must(undo))
}

func TestWhatTheKeyWasUsedForIsOnRecord(t *testing.T) {
	f := newFake()
	w := newWorld(t, f)
	w.Must(w.Approve(ask(w, incident.Apply, user, named(one))))
	events, err := ledger.Timeline(t.Context(), w.Store, actiontest.Incident)
	if err != nil {
		t.Fatal(err)
	}
	last := events[len(events)-1]
	if want := one + " of user export, made 2024-05-06T07:08:09Z, Inactive, last used 2026-03-02T03:04:00Z for s3 in us-east-1: deleted"; last.Result == nil || !slices.Contains(last.Result.Changes, want) {
		t.Errorf("the record %+v lacks %q", last.Result, want)
	}
	if last.Before["userId"] != "AIDACKCEVSQ6C2EXAMPLE" {
		t.Errorf("the record does not say whose key it was: %v", last.Before)
	}
}

func TestWhatIsRefusedOrGone(t *testing.T) {
	for name, c := range map[string]struct {
		target string
		with   map[string]string
		set    func(*fake)
		want   incident.Outcome
		fault  fault.Name
	}{
		"the user is gone": {set: func(f *fake) { f.gone = true }, want: incident.Gone},
		"the key is gone":  {with: named(one), set: func(f *fake) { delete(f.keys, one) }, want: incident.Gone},
		"no keys":          {set: func(f *fake) { clear(f.keys) }, want: incident.Gone},
		"a session's key":  {with: named("ASIAIOSFODNN7EXAMPLE"), want: incident.Refused},
		"root":             {target: "arn:aws:iam::222222222222:root", want: incident.Refused},
		"a role":           {target: "arn:aws:iam::222222222222:role/clinic-web", fault: fault.BadInput},
		"denied to look":   {set: func(f *fake) { f.Denied = map[string]bool{"ListAccessKeys": true} }, fault: fault.Denied},
		"denied to see what it was used for": {
			set: func(f *fake) { f.Denied = map[string]bool{"GetAccessKeyLastUsed": true} }, fault: fault.Denied,
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			if c.set != nil {
				c.set(f)
			}
			target := c.target
			if target == "" {
				target = user
			}
			w := newWorld(t, f)
			for _, m := range []incident.Mode{incident.Look, incident.Apply} {
				got, err := w.Do(ask(w, m, target, c.with))
				if c.fault != "" && !fault.Is(err, c.fault) || c.fault == "" && (err != nil || got.Outcome != c.want) {
					t.Errorf("%s: %s (%s), %v", m, got.Outcome, got.Reason, err)
				}
			}
			if len(f.Changed) > 0 {
				t.Errorf("changed %v", f.Changed)
			}
		})
	}
}

// Nothing is deleted while a key is active, whoever approved it.
func TestAnActiveKeyKeepsEverything(t *testing.T) {
	f := newFake()
	f.keys[two] = types.StatusTypeActive
	w := newWorld(t, f)
	req := ask(w, incident.Look, user, nil)
	if got := w.Must(req); !strings.HasPrefix(got.Evidence, "failed: "+two+" is Active") {
		t.Errorf("evidence %q", got.Evidence)
	}
	req.Mode = incident.Apply
	if got, err := w.Do(w.Approve(req)); !fault.Is(err, fault.NotVerified) || len(f.keys) != 2 {
		t.Errorf("%+v, %v, keys %v", got, err, f.keys)
	}
}

// Another user of the same name is not the one that people decided about.
func TestAUserMadeAgain(t *testing.T) {
	f := newFake()
	w := newWorld(t, f)
	req := w.Approve(ask(w, incident.Apply, user, named(one)))
	f.userID = "AIDAI44QH8DHBEXAMPLE"
	if got := w.Must(req); got.Outcome != incident.Changed || len(f.Changed) > 0 {
		t.Errorf("%s, changed %v", got.Outcome, f.Changed)
	}
}

func TestAKeyMadeSince(t *testing.T) {
	f := newFake()
	delete(f.keys, two)
	w := newWorld(t, f)
	req := w.Approve(ask(w, incident.Apply, user, nil))
	f.keys[two] = types.StatusTypeInactive
	if got := w.Must(req); got.Outcome != incident.Changed || !strings.Contains(strings.Join(got.Changes, " "), two) || len(f.Changed) > 0 {
		t.Errorf("%s %q, changed %v", got.Outcome, got.Changes, f.Changed)
	}
}

// The finding is read again at its source, and what does not stand there deletes nothing.
func TestFindingReadAgain(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*gdtypes.Finding) *gdtypes.Finding
		want  string
	}{
		"gone":     {func(*gdtypes.Finding) *gdtypes.Finding { return nil }, "does not have finding"},
		"archived": {func(g *gdtypes.Finding) *gdtypes.Finding { g.Service.Archived = aws.Bool(true); return g }, "is archived"},
		"of another user": {func(g *gdtypes.Finding) *gdtypes.Finding {
			g.Resource.AccessKeyDetails.UserName = aws.String("alice")
			return g
		}, "does not name"},
		"of another key": {func(g *gdtypes.Finding) *gdtypes.Finding {
			g.Resource.AccessKeyDetails.AccessKeyId = aws.String(two)
			return g
		}, "does not name"},
		"of a role": {func(g *gdtypes.Finding) *gdtypes.Finding {
			g.Resource.AccessKeyDetails.UserType = aws.String("AssumedRole")
			return g
		}, "does not name"},
		"of no key":          {func(g *gdtypes.Finding) *gdtypes.Finding { g.Resource = nil; return g }, "does not name"},
		"of another account": {func(g *gdtypes.Finding) *gdtypes.Finding { g.AccountId = aws.String("333333333333"); return g }, "does not name"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			w := newWorld(t, f)
			req := w.Approve(ask(w, incident.Apply, user, named(one)))
			f.finding = c.spoil(f.finding)
			got, err := w.Do(req)
			if !fault.Is(err, fault.NotVerified) || !strings.Contains(err.Error(), c.want) || len(f.Changed) > 0 {
				t.Errorf("%+v, %v, changed %v", got, err, f.Changed)
			}
		})
	}
}

func TestAnAttackSequenceNamesTheUser(t *testing.T) {
	f := newFake()
	f.finding.Resource = nil
	f.finding.Service.Detection = &gdtypes.Detection{Sequence: &gdtypes.Sequence{Resources: []gdtypes.ResourceV2{{Uid: aws.String(one)}}}}
	w := newWorld(t, f)
	if got := w.Must(w.Approve(ask(w, incident.Apply, user, named(one)))); got.Outcome != incident.Applied {
		t.Errorf("%s (%s)", got.Outcome, got.Reason)
	}
}

// A function that dies at any call: the next run deletes, or finds deleted, also where one of two keys is gone already.
func TestKilledAnywhere(t *testing.T) {
	t.Run("of one key", func(t *testing.T) { killedAnywhere(t, named(one)) })
	t.Run("of both", func(t *testing.T) { killedAnywhere(t, nil) })
}

func killedAnywhere(t *testing.T, with map[string]string) {
	points := 0
	for {
		f := newFake()
		if with == nil {
			f.keys[two] = types.StatusTypeInactive
			f.finding.Resource.AccessKeyDetails.AccessKeyId = nil
		}
		w := newWorld(t, f)
		req := w.Approve(ask(w, incident.Apply, user, with))
		at, err := actiontest.Kill(w, &f.Wire, req, points+1)
		if at == "" {
			break
		}
		points++
		if err == nil {
			t.Errorf("killed at %s: no error", at)
		}
		if got := w.Must(req); !got.Verified || got.Outcome != incident.Applied && got.Outcome != incident.Gone || f.keys[one] != "" || (f.keys[two] == "") != (with == nil) {
			t.Errorf("killed at %s, again: %s, keys %v", at, got.Outcome, f.keys)
		}
	}
	if points < 8 {
		t.Errorf("only %d points tried", points)
	}
}

// A run that dies between two keys: the next one deletes the other, and says that one was gone. A key that is no part of what was approved,
// or another user, still keeps everything.
func TestKilledBetweenTwoKeys(t *testing.T) {
	points, between := 0, 0
	for {
		f := newFake()
		w := newWorld(t, f)
		req := w.Approve(ask(w, incident.Apply, user, nil))
		at, err := actiontest.Kill(w, &f.Wire, req, points+1)
		if at == "" {
			break
		}
		points++
		if err == nil {
			t.Errorf("killed at %s: no error", at)
		}
		left := len(f.keys)
		got := w.Must(req)
		if !got.Verified || got.Outcome != incident.Applied && got.Outcome != incident.Gone || len(f.keys) > 0 {
			t.Errorf("killed at %s, again: %s (%s) %q, keys %v", at, got.Outcome, got.Reason, got.Changes, f.keys)
		}
		if left == 1 {
			between++
			if said := strings.Join(got.Changes, "; "); !strings.Contains(said, two+": was gone already") || !strings.Contains(said, one+" of user export") || strings.Contains(said, two+" of user export") {
				t.Errorf("killed at %s, it says %q", at, said)
			}
		}
	}
	if points < 10 || between < 2 {
		t.Errorf("only %d points tried, %d of them between the keys", points, between)
	}
	f := newFake()
	w := newWorld(t, f)
	req := w.Approve(ask(w, incident.Apply, user, nil))
	delete(f.keys, one)
	f.keys["AKIAEXAMPLEEXAMPLE03"] = types.StatusTypeInactive
	if got := w.Must(req); got.Outcome != incident.Changed || len(f.keys) != 2 {
		t.Errorf("one gone and another made: %s, keys %v", got.Outcome, f.keys)
	}
	f = newFake()
	w = newWorld(t, f)
	req = w.Approve(ask(w, incident.Apply, user, nil))
	delete(f.keys, one)
	f.userID = "AIDAI44QH8DHBEXAMPLE"
	if got := w.Must(req); got.Outcome != incident.Changed || len(f.keys) != 1 {
		t.Errorf("one gone, and another user: %s, keys %v", got.Outcome, f.keys)
	}
}

// What AWS Health told cannot be read again: people are told so, approve that, and the key is read again in its place.
func TestAnExposedKey(t *testing.T) {
	health := func(w *actiontest.World) {
		_, err := ledger.Update(t.Context(), w.Store, ledger.IncidentKey(actiontest.Incident), func(it *ledger.Item[ledger.Incident]) error {
			it.Value.Finding.Product = "aws/health"
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	held := func(w *actiontest.World, id string, h ledger.Hold) {
		it := ledger.Item[ledger.Hold]{Key: ledger.HoldKey(user, "deactivate-keys"), Value: h}
		it.Value.Holders = map[string]map[string]string{id: {}}
		if err := ledger.Save(t.Context(), w.Store, &it); err != nil {
			t.Fatal(err)
		}
	}
	good := ledger.Hold{Phase: ledger.Held, After: map[string]string{one + status: "Inactive", two + status: "Active"}}
	for name, c := range map[string]struct {
		set  func(*actiontest.World)
		want incident.Outcome
	}{
		"held inactive":        {func(w *actiontest.World) { held(w, actiontest.Incident, good) }, incident.Applied},
		"never deactivated":    {func(*actiontest.World) {}, ""},
		"for another incident": {func(w *actiontest.World) { held(w, "INC-VEPYW46KHAZJUHQC", good) }, ""},
		"released": {func(w *actiontest.World) {
			held(w, actiontest.Incident, ledger.Hold{Phase: ledger.Released, After: good.After})
		}, ""},
		"another key was": {func(w *actiontest.World) {
			held(w, actiontest.Incident, ledger.Hold{Phase: ledger.Held, After: map[string]string{two + status: "Inactive"}})
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			f.finding = nil
			w := newWorld(t, f)
			req := ask(w, incident.Apply, user, named(one))
			health(w)
			c.set(w)
			look := req
			look.Mode = incident.Look
			planned := w.Must(look)
			if planned.Identity[source] == "" || !strings.Contains(planned.Changes[0], "cannot be read again at its source") {
				t.Errorf("people are not told: %v %q", planned.Identity, planned.Changes)
			}
			got, err := w.Do(w.Approve(req))
			switch {
			case c.want == "" && (!fault.Is(err, fault.NotVerified) || len(f.Changed) > 0):
				t.Errorf("%+v, %v, changed %v", got, err, f.Changed)
			case c.want != "" && (err != nil || got.Outcome != c.want || f.keys[one] != "" || f.keys[two] == ""):
				t.Errorf("%+v, %v, keys %v", got, err, f.keys)
			}
		})
	}
	// Whoever was not told has not approved it.
	f := newFake()
	w := newWorld(t, f)
	req := w.Approve(ask(w, incident.Apply, user, named(one)))
	health(w)
	held(w, actiontest.Incident, good)
	if got := w.Must(req); got.Outcome != incident.Changed || len(f.Changed) > 0 {
		t.Errorf("approved without being told: %s, changed %v", got.Outcome, f.Changed)
	}
}

func TestDenied(t *testing.T) {
	f := newFake()
	f.Denied = map[string]bool{"DeleteAccessKey": true}
	w := newWorld(t, f)
	if got, err := w.Do(w.Approve(ask(w, incident.Apply, user, named(one)))); !fault.Is(err, fault.Denied) || len(f.keys) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestTheSecondOfTwoIsDenied(t *testing.T) {
	f := newFake()
	f.After = func(string) { f.Denied = map[string]bool{"DeleteAccessKey": true} }
	w := newWorld(t, f)
	req := w.Approve(ask(w, incident.Apply, user, nil))
	if _, err := w.Do(req); !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), "deleted: "+two+"; not deleted: "+one) {
		t.Errorf("it does not say what is done and what is not: %v", err)
	}
	f.Denied, f.After = nil, nil
	if got := w.Must(req); got.Outcome != incident.Applied || len(f.keys) > 0 {
		t.Errorf("redriven it is %s, keys %v", got.Outcome, f.keys)
	}
}

func TestModes(t *testing.T) {
	for mode, want := range map[setting.Mode]incident.Outcome{setting.Plan: incident.Planned, setting.Off: incident.Refused} {
		f := newFake()
		w := newWorld(t, f)
		req := w.Approve(ask(w, incident.Apply, user, named(one)))
		w.Guard(func(g *setting.Guard) { g.Mode = mode })
		if got := w.Must(req); got.Outcome != want || len(f.Changed) > 0 {
			t.Errorf("mode %s: %s, changed %v", mode, got.Outcome, f.Changed)
		}
	}
}

// Any user with any keys, any wish: only inactive keys that the step means ever go, and only as approved.
func TestOnlyInactiveKeysGo(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 2))
	states := []types.StatusType{types.StatusTypeActive, types.StatusTypeInactive}
	for round := range 1000 {
		f := newFake()
		clear(f.keys)
		for _, id := range []string{one, two}[:random.IntN(3)] {
			f.keys[id] = states[random.IntN(2)]
		}
		with := []map[string]string{nil, named(one), named(two)}[random.IntN(3)]
		f.finding.Resource.AccessKeyDetails.AccessKeyId = nil
		before := maps.Clone(f.keys)
		w := newWorld(t, f)
		req := w.Approve(ask(w, incident.Apply, user, with))
		if random.IntN(3) == 0 && len(f.keys) > 0 { // somebody changes a key in between
			f.keys[one] = states[random.IntN(2)]
		}
		now := maps.Clone(f.keys)
		got, err := w.Do(req)
		for id, was := range now {
			meant := with["keyId"] == "" || with["keyId"] == id
			if _, there := f.keys[id]; !there && (was != types.StatusTypeInactive || !meant || before[id] != was) {
				t.Fatalf("round %d: %s (%s) went: before %v, with %v, %s, %v", round, id, was, before, with, got.Outcome, err)
			}
		}
	}
}

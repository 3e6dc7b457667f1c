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
	"testing"

	"firebreak/lib/action"
	"firebreak/lib/actiontest"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
)

const (
	user  = "arn:aws:iam::222222222222:user/billing/export"
	one   = "AKIAIOSFODNN7EXAMPLE"
	two   = "AKIAI44QH8DHBEXAMPLE"
	first = "INC-BWJ4TH5BLF5DYQIG"
	other = "INC-VEPYW46KHAZJUHQC"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	os.Exit(m.Run())
}

// fake is an account with one user.
type fake struct {
	gone   bool
	keys   map[string]types.StatusType
	tags   map[string]string
	denied string // the key that may not be changed, or the call
	owner  string // the user that has a key which export has not, "" for nobody
	writes int
}

func newFake() *fake {
	return &fake{keys: map[string]types.StatusType{one: types.StatusTypeActive, two: types.StatusTypeActive}}
}

func (f *fake) ListAccessKeys(_ context.Context, in *iam.ListAccessKeysInput, _ ...func(*iam.Options)) (*iam.ListAccessKeysOutput, error) {
	if f.denied == "ListAccessKeys" {
		return nil, &smithy.GenericAPIError{Code: "AccessDenied"}
	}
	if f.gone || *in.UserName != "export" {
		return nil, &types.NoSuchEntityException{}
	}
	ids := slices.Sorted(maps.Keys(f.keys))
	// A page a key, so that the second is seen too.
	at := 0
	if in.Marker != nil {
		at = slices.Index(ids, *in.Marker)
	}
	out := &iam.ListAccessKeysOutput{}
	if at < len(ids) {
		out.AccessKeyMetadata = []types.AccessKeyMetadata{{AccessKeyId: aws.String(ids[at]), Status: f.keys[ids[at]]}}
	}
	if at+1 < len(ids) {
		out.IsTruncated, out.Marker = true, aws.String(ids[at+1])
	}
	return out, nil
}

func (f *fake) GetUser(_ context.Context, in *iam.GetUserInput, _ ...func(*iam.Options)) (*iam.GetUserOutput, error) {
	if f.gone || *in.UserName != "export" {
		return nil, &types.NoSuchEntityException{}
	}
	out := &iam.GetUserOutput{User: &types.User{UserName: in.UserName, Arn: aws.String(user)}}
	for k, v := range f.tags {
		out.User.Tags = append(out.User.Tags, types.Tag{Key: &k, Value: &v})
	}
	return out, nil
}

func (f *fake) GetAccessKeyLastUsed(_ context.Context, in *iam.GetAccessKeyLastUsedInput, _ ...func(*iam.Options)) (*iam.GetAccessKeyLastUsedOutput, error) {
	if f.owner == "" {
		return nil, &smithy.GenericAPIError{Code: "AccessDenied", Message: *in.AccessKeyId}
	}
	return &iam.GetAccessKeyLastUsedOutput{UserName: &f.owner}, nil
}

func (f *fake) UpdateAccessKey(_ context.Context, in *iam.UpdateAccessKeyInput, _ ...func(*iam.Options)) (*iam.UpdateAccessKeyOutput, error) {
	if f.denied == *in.AccessKeyId {
		return nil, &smithy.GenericAPIError{Code: "AccessDenied"}
	}
	if _, ok := f.keys[*in.AccessKeyId]; !ok || *in.UserName != "export" {
		return nil, &types.NoSuchEntityException{}
	}
	f.writes++
	f.keys[*in.AccessKeyId] = in.Status
	return &iam.UpdateAccessKeyOutput{}, nil
}

func newWorld(t *testing.T, f *fake) *actiontest.World {
	return actiontest.New(t, "deactivate-keys", deactivation{
		reads:   func(context.Context, action.Call) (reads, error) { return f, nil },
		changes: func(context.Context, action.Call) (changes, error) { return f, nil },
	})
}

func named(id string) map[string]string { return map[string]string{"keyId": id} }

func TestOutcomes(t *testing.T) {
	const on, off = types.StatusTypeActive, types.StatusTypeInactive
	type keys = map[string]types.StatusType
	for name, c := range map[string]struct {
		mode   incident.Mode
		target string
		with   map[string]string
		user   func(*fake)
		guard  func(*setting.Guard)
		want   incident.Outcome
		fault  fault.Name
		golden string
		keys   keys
	}{
		"happy":                {with: named(one), user: func(f *fake) { delete(f.keys, two) }, want: incident.Applied, golden: "applied", keys: keys{one: off}},
		"the named key only":   {with: named(one), want: incident.Applied, keys: keys{one: off, two: on}},
		"every key":            {want: incident.Applied, keys: keys{one: off, two: off}},
		"a session key":        {with: named("ASIAIOSFODNN7EXAMPLE"), want: incident.Applied, keys: keys{one: off, two: off}},
		"plan":                 {mode: incident.Look, with: named(one), user: func(f *fake) { delete(f.keys, two) }, want: incident.Planned, golden: "planned", keys: keys{one: on}},
		"already":              {with: named(one), user: func(f *fake) { f.keys = keys{one: off} }, want: incident.Already, golden: "already", keys: keys{one: off}},
		"the key is gone":      {with: named(one), user: func(f *fake) { f.keys = keys{two: on} }, want: incident.Already, keys: keys{two: on}},
		"the user was renamed": {with: named(one), user: func(f *fake) { f.gone, f.owner = true, "backup" }, fault: fault.NotVerified, keys: keys{one: on, two: on}},
		"the user was renamed, and another one has its name": {
			with: named(one), user: func(f *fake) { f.keys, f.owner = keys{}, "backup" }, fault: fault.NotVerified, keys: keys{},
		},
		"gone with its key": {with: named(one), user: func(f *fake) { f.gone = true }, want: incident.Gone, keys: keys{one: on, two: on}},
		"no keys":           {user: func(f *fake) { f.keys = keys{} }, want: incident.Already, keys: keys{}},
		"gone":              {user: func(f *fake) { f.gone = true }, want: incident.Gone, keys: keys{one: on, two: on}},
		"denied":            {user: func(f *fake) { f.denied = one }, fault: fault.Denied, keys: keys{one: on, two: off}},
		"denied to look":    {user: func(f *fake) { f.denied = "ListAccessKeys" }, fault: fault.Denied, keys: keys{one: on, two: on}},
		"root":              {target: "arn:aws:iam::222222222222:root", want: incident.Refused, keys: keys{one: on, two: on}},
		"protected by tag":  {user: func(f *fake) { f.tags = map[string]string{"firebreak:protected": "true"} }, want: incident.Refused, keys: keys{one: on, two: on}},
		"a role":            {target: "arn:aws:iam::222222222222:role/clinic-web", fault: fault.BadInput, keys: keys{one: on, two: on}},
		"protected": {
			with: named(one), guard: func(g *setting.Guard) { g.Protected = []string{"arn:aws:iam::222222222222:user/billing/*"} },
			want: incident.Refused, golden: "refused", keys: keys{one: on, two: on},
		},
		"protected by the path, which findings leave out": {
			target: "arn:aws:iam::222222222222:user/export", guard: func(g *setting.Guard) { g.Protected = []string{user} }, want: incident.Refused, keys: keys{one: on, two: on},
		},
		"mode plan": {guard: func(g *setting.Guard) { g.Mode = setting.Plan }, want: incident.Planned, keys: keys{one: on, two: on}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			if c.user != nil {
				c.user(f)
			}
			w := newWorld(t, f)
			w.Guard(c.guard)
			target := c.target
			if target == "" {
				target = user
			}
			w.Expect(w.Request(c.mode, first, target, c.with), c.fault, c.want, "", c.golden)
			if diff := cmp.Diff(c.keys, f.keys); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAKeyThatStaysActiveIsSaid(t *testing.T) {
	f := newFake()
	got := newWorld(t, f)
	res := got.Must(got.Request(incident.Apply, first, user, named(one)))
	if want := "the user's key " + two + " stays active: the finding does not name it"; !slices.Contains(res.Changes, want) {
		t.Errorf("changes %q lack %q", res.Changes, want)
	}
}

func TestADeniedKeyIsFinishedByTheNextRun(t *testing.T) {
	f := newFake()
	f.denied = one
	w := newWorld(t, f)
	if _, err := w.Do(w.Request(incident.Apply, first, user, nil)); !fault.Is(err, fault.Denied) {
		t.Fatalf("error %v, want Denied", err)
	}
	f.denied = ""
	w.Must(w.Request(incident.Apply, first, user, nil))
	w.Must(w.Request(incident.Undo, first, user, nil))
	if f.keys[one] != types.StatusTypeActive || f.keys[two] != types.StatusTypeActive {
		t.Errorf("after the undo %v, want both active: both were when it began", f.keys)
	}
}

// Two incidents name two keys of one user: the last undo gives both back.
func TestUndoOfTwoHolders(t *testing.T) {
	f := newFake()
	w := newWorld(t, f)
	w.Must(w.Request(incident.Apply, first, user, named(one)))
	w.Must(w.Request(incident.Apply, other, user, named(two)))
	if got := w.Must(w.Request(incident.Undo, first, user, named(one))); got.Outcome != incident.Held {
		t.Errorf("first undo is %s, want held", got.Outcome)
	}
	if got := w.Must(w.Request(incident.Undo, other, user, named(two))); got.Outcome != incident.Restored {
		t.Errorf("second undo is %s (%q), want restored", got.Outcome, got.Changes)
	}
	if f.keys[one] != types.StatusTypeActive || f.keys[two] != types.StatusTypeActive {
		t.Errorf("keys %v, want both active", f.keys)
	}
}

func TestUndoOfAnExposedKeyTakesForce(t *testing.T) {
	f := newFake()
	w := newWorld(t, f)
	with := map[string]string{"keyId": one, "exposed": "true"}
	w.Must(w.Request(incident.Apply, first, user, with))
	req := w.Request(incident.Undo, first, user, with)
	if got := w.Must(req); got.Outcome != incident.Drifted || f.keys[one] != types.StatusTypeInactive {
		t.Errorf("undo is %s, key %s: an exposed key came back without force", got.Outcome, f.keys[one])
	}
	req.Force = true
	if got := w.Must(req); got.Outcome != incident.Restored || f.keys[one] != types.StatusTypeActive {
		t.Errorf("forced undo is %s, key %s", got.Outcome, f.keys[one])
	}
}

// Of two incidents the one that knows that the key was exposed may leave first: the key still comes back by force only.
func TestAnExposedKeyStaysDeadWhoeverLeavesLast(t *testing.T) {
	const second = "INC-VEPYW46KHAZJUHQC"
	exposed := map[string]string{"keyId": one, "exposed": "true"}
	f := newFake()
	w := newWorld(t, f)
	w.Must(w.Request(incident.Apply, first, user, exposed))
	w.Must(w.Request(incident.Apply, second, user, named(one)))
	if got := w.Must(w.Request(incident.Undo, first, user, exposed)); got.Outcome != incident.Held {
		t.Fatalf("first undo is %s", got.Outcome)
	}
	for _, mode := range []incident.Mode{incident.LookUndo, incident.Undo} {
		got := w.Must(w.Request(mode, second, user, named(one)))
		if got.Outcome != incident.Drifted || f.keys[one] != types.StatusTypeInactive || !strings.Contains(strings.Join(got.Changes, " "), "publicly exposed") {
			t.Errorf("%s of the last one is %s %q, key %s", mode, got.Outcome, got.Changes, f.keys[one])
		}
	}
	req := w.Request(incident.Undo, second, user, named(one))
	req.Force = true
	if got := w.Must(req); got.Outcome != incident.Restored || f.keys[one] != types.StatusTypeActive {
		t.Errorf("forced, it is %s, key %s", got.Outcome, f.keys[one])
	}
	// What was forced is over: a later incident is released as any other.
	w.Guard(func(g *setting.Guard) { g.ReleasedHours = 0 })
	if got := w.Must(w.Request(incident.Apply, second, user, named(one))); got.Outcome == incident.Applied {
		if got := w.Must(w.Request(incident.Undo, second, user, named(one))); got.Outcome != incident.Restored {
			t.Errorf("later, it is %s %q", got.Outcome, got.Changes)
		}
	}
}

func TestUndoAfterSomebodyReactivatedAKeyIsDrifted(t *testing.T) {
	f := newFake()
	w := newWorld(t, f)
	w.Must(w.Request(incident.Apply, first, user, nil))
	f.keys[one] = types.StatusTypeActive
	writes := f.writes
	if got := w.Must(w.Request(incident.Undo, first, user, nil)); got.Outcome != incident.Drifted || f.writes != writes {
		t.Errorf("undo is %s with %d changes, want drifted with none", got.Outcome, f.writes-writes)
	}
}

// Any user, any named key: undo gives back every status, and no key is made or deleted.
func TestApplyThenUndoIsEqual(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	statuses := []types.StatusType{types.StatusTypeActive, types.StatusTypeInactive}
	for range 1000 {
		f := &fake{keys: map[string]types.StatusType{}}
		for _, id := range []string{one, two}[:random.IntN(3)] {
			f.keys[id] = statuses[random.IntN(2)]
		}
		with := []map[string]string{nil, named(one), named(two), named("ASIAIOSFODNN7EXAMPLE")}[random.IntN(4)]
		before := maps.Clone(f.keys)
		w := newWorld(t, f)
		w.Must(w.Request(incident.Apply, first, user, with))
		w.Must(w.Request(incident.Undo, first, user, with))
		if diff := cmp.Diff(before, f.keys); diff != "" {
			t.Fatalf("with %v (-before +after):\n%s", with, diff)
		}
	}
}

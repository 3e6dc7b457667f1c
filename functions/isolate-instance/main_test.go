package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/instance/instancetest"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"
)

const (
	name   = "i-0abcdef1234567890"
	target = "arn:aws:ec2:us-east-1:222222222222:instance/" + name
	eni1   = "eni-0aaaaaaaaaaaaaaa1"
	eni2   = "eni-0aaaaaaaaaaaaaaa2"
	vpc    = "vpc-0aaaaaaaaaaaaaaa1"
	web    = "sg-0aaaaaaaaaaaaaaa1"
	db     = "sg-0aaaaaaaaaaaaaaa2"
)

// world is an instance with two interfaces and two volumes, and a Firebreak that may act.
type world struct {
	t     *testing.T
	ec2   *instancetest.EC2
	fleet *fleet
	lock  sync.Mutex
	store *ledger.Memory
	run   func(context.Context, incident.Request) (incident.Result, error)
	act   isolation
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, ec2: instancetest.New(), store: ledger.NewMemory()}
	w.fleet = newFleet(w)
	w.ec2.AddGroup(web, vpc, "web", nil, "0.0.0.0/0")
	w.ec2.AddGroup(db, vpc, "db", nil, "10.0.0.0/8")
	w.ec2.AddInstance(name, "vol-0aaaaaaaaaaaaaaa1", "vol-0aaaaaaaaaaaaaaa2")
	w.ec2.AddInterface(eni1, name, vpc, web)
	w.ec2.AddInterface(eni2, name, vpc, db, web)
	w.act = isolation{
		reads: func(context.Context, action.Call) (reads, error) {
			return w.ec2.Session(account.Statement{Actions: []string{
				"ec2:DescribeInstances", "ec2:DescribeInstanceAttribute", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups",
			}, Resources: []string{"*"}}), nil
		},
		changes: func(_ context.Context, _ action.Call, allow ...account.Statement) (changes, error) {
			if _, err := account.Policy(allow...); err != nil {
				return nil, err
			}
			return w.ec2.Session(allow...), nil
		},
		looks: func(context.Context, action.Call) (looks, error) { return w.fleet.looks(), nil },
		moves: func(_ context.Context, _ action.Call, allow ...account.Statement) (moves, error) {
			return w.fleet.moves(allow)
		},
		remarks: &sync.Map{}, found: &sync.Map{},
	}
	in := setting.Installed{Action: setting.Action{SettleMilliseconds: 1, LeaseSeconds: 90}}
	w.run = action.NewSpine(w.store, setting.Fixed(in)).Containing("isolate-instance", w.act)
	guard := ledger.Item[setting.Guard]{Key: setting.GuardKey, Value: setting.Defaults()}
	guard.Value.Mode = setting.Act
	req := request(incident.Apply)
	meta := ledger.Item[ledger.Incident]{Key: ledger.IncidentKey(req.Incident.ID), Value: ledger.Incident{
		ID: req.Incident.ID, Status: incident.Open, Episode: 1, Band: req.Incident.Severity,
		Plan: incident.Plan{Contain: []incident.Step{req.Step}}, Finding: ledger.Finding{Account: req.Incident.Account},
	}}
	w.must(ledger.Save(t.Context(), w.store, &guard, &meta))
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func request(m incident.Mode) incident.Request {
	return incident.Request{
		Mode:     m,
		Incident: incident.Ref{ID: "INC-BWJ4TH5BLF5DYQIG", Episode: 1, Severity: incident.Critical, Account: "222222222222", Region: "us-east-1"},
		Step:     incident.Step{Action: "isolate-instance", Target: target},
		Execution: incident.Execution{
			ARN: "arn:aws:states:us-east-1:111111111111:execution:firebreak-respond:one", Start: time.Now(),
		},
		State: incident.State{Name: "IsolateInstance"},
	}
}

func (w *world) do(m incident.Mode) (incident.Result, error) { return w.run(w.t.Context(), request(m)) }

func (w *world) hold() ledger.Hold {
	w.t.Helper()
	it, err := ledger.Load[ledger.Hold](context.Background(), w.store, ledger.HoldKey(target, "isolate-instance"))
	w.must(err)
	return it.Value
}

// isolated says what of the instance is not as isolation wants it.
func (w *world) isolated() []string {
	var wrong []string
	for _, eni := range []string{eni1, eni2} {
		if w.ec2.Open(eni) {
			wrong = append(wrong, eni+" lets something through")
		}
	}
	if !w.ec2.Protected(name) {
		wrong = append(wrong, "no termination protection")
	}
	return wrong
}

func golden(t *testing.T, file string) incident.Result {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", file+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var r incident.Result
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func same(t *testing.T, file string, got incident.Result) {
	t.Helper()
	if diff := cmp.Diff(golden(t, file), got); diff != "" {
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

	applied, err := w.do(incident.Apply)
	w.must(err)
	same(t, "applied", applied)
	if wrong := w.isolated(); len(wrong) > 0 {
		t.Error(wrong)
	}

	calls := len(w.ec2.Calls)
	already, err := w.do(incident.Apply)
	w.must(err)
	same(t, "already", already)
	if len(w.ec2.Calls) != calls {
		t.Errorf("the second time changed something: %v", w.ec2.Calls[calls:])
	}

	restored, err := w.do(incident.Undo)
	w.must(err)
	if restored.Outcome != incident.Restored || w.ec2.Protected(name) || !slices.Equal(w.ec2.Worn(eni1), []string{web}) || !slices.Equal(w.ec2.Worn(eni2), []string{web, db}) {
		t.Errorf("outcome %s, groups %v and %v, protected %v", restored.Outcome, w.ec2.Worn(eni1), w.ec2.Worn(eni2), w.ec2.Protected(name))
	}
}

func TestProtectedInstanceAsks(t *testing.T) {
	w := newWorld(t)
	_, err := ledger.Update(t.Context(), w.store, setting.GuardKey, func(it *ledger.Item[setting.Guard]) error {
		it.Value.Protected = []string{target}
		return nil
	})
	w.must(err)
	got, err := w.do(incident.Apply)
	w.must(err)
	same(t, "refused", got)
	if len(w.ec2.Calls) > 0 {
		t.Errorf("changed %v", w.ec2.Calls)
	}
}

func TestGoneInstance(t *testing.T) {
	for _, state := range []types.InstanceStateName{types.InstanceStateNameTerminated, types.InstanceStateNameShuttingDown, ""} {
		w := newWorld(t)
		if state == "" {
			w.ec2 = instancetest.New()
		} else {
			w.ec2.AddInstance(name).State.Name = state
		}
		got, err := w.do(incident.Apply)
		w.must(err)
		if got.Outcome != incident.Gone {
			t.Errorf("%q: outcome %s", state, got.Outcome)
		}
	}
}

// A killed function leaves no trace but what it did: at every changing call and every write of the record, before and after.
// The next run ends where an unbroken one ends, the record has the state before the first run, and undo gives exactly that.
// Every instance has an interface: where AWS lists none, nobody knows what it wears.
func TestNoInterfaceListed(t *testing.T) {
	w := newWorld(t)
	w.ec2.DropInterfaces()
	if got, err := w.do(incident.Apply); !fault.Is(err, fault.Throttled) || len(w.ec2.Calls) > 0 {
		t.Errorf("%+v, %v, changed %v", got, err, w.ec2.Calls)
	}
}

func TestKilledAnywhere(t *testing.T) {
	whole := newWorld(t)
	if _, err := whole.do(incident.Apply); err != nil {
		t.Fatal(err)
	}
	before := whole.hold().Before
	after := whole.hold().After
	points := 0
	for point := 1; ; point++ {
		w := newWorld(t)
		passed, killed := 0, ""
		kill := func(what string) error {
			passed++
			if passed == point {
				killed, w.ec2.Dead = what, true
			}
			if w.ec2.Dead {
				return instancetest.ErrDead
			}
			return nil
		}
		w.ec2.Step = func(_ int, call string, done bool) error { return kill(fmt.Sprintf("%s, done %v", call, done)) }
		w.store.Fail = func(op string, k ledger.Key) error {
			if op == "put" {
				return kill("write of " + k.SK)
			}
			if w.ec2.Dead {
				return instancetest.ErrDead
			}
			return nil
		}
		_, err := w.do(incident.Apply)
		w.ec2.Dead, w.ec2.Step, w.store.Fail = false, nil, nil
		if killed == "" {
			w.must(err)
			break
		}
		points++
		if err == nil {
			t.Errorf("killed at %s: no error", killed)
		}
		for _, eni := range []string{eni1, eni2} {
			if worn := w.ec2.Group(w.ec2.Worn(eni)[0]); strings.HasPrefix(*worn.GroupName, transit.name) && w.hold().Part != untracked {
				t.Errorf("killed at %s: %s is open and the record does not say so", killed, eni)
			}
		}
		got, err := w.do(incident.Apply)
		if err != nil || got.Outcome != incident.Applied && got.Outcome != incident.Already {
			t.Errorf("killed at %s, again: %+v, %v", killed, got, err)
			continue
		}
		h := w.hold()
		if wrong := w.isolated(); len(wrong) > 0 || h.Part != "" || h.Phase != ledger.Held {
			t.Errorf("killed at %s, again: %v, part %q, phase %s", killed, wrong, h.Part, h.Phase)
		}
		if diff := cmp.Diff(before, h.Before); diff != "" || len(h.Foreign) > 0 {
			t.Errorf("killed at %s, again: Before is not the first one, foreign %v:\n%s", killed, h.Foreign, diff)
		}
		if diff := cmp.Diff(after, h.After); diff != "" {
			t.Errorf("killed at %s, again: ends elsewhere:\n%s", killed, diff)
		}
		if _, err := w.do(incident.Undo); err != nil || !slices.Equal(w.ec2.Worn(eni2), []string{web, db}) || w.ec2.Protected(name) {
			t.Errorf("killed at %s, undo: %v, %s wears %v", killed, err, eni2, w.ec2.Worn(eni2))
		}
	}
	if points < 30 {
		t.Errorf("only %d points tried", points)
	}
}

// An undo after a crash in the first step also ends in the state before.
func TestUndoOfHalfACut(t *testing.T) {
	w := newWorld(t)
	w.ec2.Step = func(_ int, call string, done bool) error {
		if done && strings.HasPrefix(call, "ModifyNetworkInterfaceAttribute "+eni1) {
			w.ec2.Dead = true
		}
		return nil
	}
	if _, err := w.do(incident.Apply); err == nil {
		t.Fatal("no error")
	}
	w.ec2.Dead, w.ec2.Step = false, nil
	req := request(incident.Undo)
	req.Force = true
	got, err := w.run(t.Context(), req)
	if err != nil || got.Outcome != incident.Restored || !slices.Equal(w.ec2.Worn(eni1), []string{web}) {
		t.Errorf("%+v, %v, wears %v", got, err, w.ec2.Worn(eni1))
	}
}

func TestAttackerPutsTheGroupBack(t *testing.T) {
	for _, c := range []struct {
		name  string
		times int
		held  bool
	}{{"once", 1, true}, {"for ever", 1 << 20, false}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			left := c.times
			w.ec2.Step = func(_ int, call string, done bool) error {
				if done && strings.HasPrefix(call, "ModifyNetworkInterfaceAttribute "+eni2) && !w.ec2.Open(eni2) && left > 0 {
					left--
					w.ec2.Wear(eni2, web)
				}
				return nil
			}
			got, err := w.do(incident.Apply)
			if c.held && (err != nil || got.Outcome != incident.Applied || len(w.isolated()) > 0) {
				t.Errorf("%+v, %v, %v", got, err, w.isolated())
			}
			if !c.held && (!fault.Is(err, fault.NotVerified) || w.hold().Phase != ledger.Applying) {
				t.Errorf("%+v, %v, phase %s", got, err, w.hold().Phase)
			}
		})
	}
}

// An interface that is attached while the others are being isolated is isolated too, and gets its own groups back when a person says so.
func TestAttackerAttachesAnInterfaceMeanwhile(t *testing.T) {
	const eni3 = "eni-0aaaaaaaaaaaaaaa3"
	w := newWorld(t)
	attached := false
	w.ec2.Step = func(_ int, call string, done bool) error {
		if done && strings.HasPrefix(call, "ModifyNetworkInterfaceAttribute "+eni2) && !attached {
			attached = true
			w.ec2.AddInterface(eni3, name, vpc, db)
		}
		return nil
	}
	got, err := w.do(incident.Apply)
	if err != nil || got.Outcome != incident.Applied || len(w.isolated()) > 0 || w.ec2.Open(eni3) {
		t.Fatalf("%+v, %v, %v", got, err, w.isolated())
	}
	if got, err = w.do(incident.Undo); err != nil || got.Outcome != incident.Drifted || !strings.Contains(strings.Join(got.Changes, "; "), eni3+"/groups: somebody else changed it") {
		t.Errorf("%+v, %v", got, err)
	}
	forced := request(incident.Undo)
	forced.Force = true
	if got, err = w.run(t.Context(), forced); err != nil || got.Outcome != incident.Restored || !slices.Equal(w.ec2.Worn(eni3), []string{db}) {
		t.Errorf("%+v, %v, wears %v", got, err, w.ec2.Worn(eni3))
	}
}

func TestAttackerOpensTheIsolationGroup(t *testing.T) {
	w := newWorld(t)
	_, err := w.do(incident.Apply)
	w.must(err)
	before, first := w.hold().Before, w.ec2.Worn(eni1)[0]
	w.ec2.Group(first).IpPermissionsEgress = instancetest.Everything("192.0.2.0/24")
	got, err := w.do(incident.Apply)
	w.must(err)
	if got.Outcome != incident.Applied || len(w.isolated()) > 0 || w.ec2.Worn(eni1)[0] == first {
		t.Errorf("%+v, %v, wears %v", got, w.isolated(), w.ec2.Worn(eni1))
	}
	if diff := cmp.Diff(before, w.hold().Before); diff != "" {
		t.Errorf("the record of the state before was lost:\n%s", diff)
	}
}

func TestAttackerDeletesTheIsolationGroupInBetween(t *testing.T) {
	w := newWorld(t)
	w.ec2.Step = func(_ int, call string, done bool) error {
		if done && strings.HasPrefix(call, "ModifyNetworkInterfaceAttribute "+eni2) {
			for _, id := range w.ec2.Groups() {
				if strings.HasPrefix(*w.ec2.Group(id).GroupName, isolating.name) {
					w.ec2.Delete(id)
				}
			}
		}
		return nil
	}
	got, err := w.do(incident.Apply)
	if err != nil || got.Outcome != incident.Applied || len(w.isolated()) > 0 {
		t.Errorf("%+v, %v, %v", got, err, w.isolated())
	}
}

func TestGroupsFound(t *testing.T) {
	tagged := map[string]string{isolating.tag: "true"}
	for _, c := range []struct {
		name string
		have func(*instancetest.EC2)
		want string // the id that is worn, "" for a new one
	}{
		{"none", func(*instancetest.EC2) {}, ""},
		{"one without rules is used", func(e *instancetest.EC2) { e.AddGroup("sg-x", vpc, "x", tagged).IpPermissionsEgress = nil }, "sg-x"},
		{"tagged, with rules, is not", func(e *instancetest.EC2) { e.AddGroup("sg-x", vpc, "x", tagged, "192.0.2.0/24") }, ""},
		{"tagged, somebody's with the rule it was born with, is not", func(e *instancetest.EC2) { e.AddGroup("sg-x", vpc, "x", tagged) }, ""},
		{"without tag is not", func(e *instancetest.EC2) { e.AddGroup("sg-x", vpc, "x", nil).IpPermissionsEgress = nil }, ""},
		{"of another VPC is not", func(e *instancetest.EC2) { e.AddGroup("sg-x", "vpc-2", "x", tagged).IpPermissionsEgress = nil }, ""},
		{"of another account is not", func(e *instancetest.EC2) {
			g := e.AddGroup("sg-x", vpc, "x", tagged)
			owner := "333333333333"
			g.IpPermissionsEgress, g.OwnerId = nil, &owner
		}, ""},
		{"one that a crash left half made is finished", func(e *instancetest.EC2) { e.AddGroup("sg-x", vpc, isolating.name, tagged) }, "sg-x"},
		{"our name, with rules, is not", func(e *instancetest.EC2) { e.AddGroup("sg-x", vpc, isolating.name, tagged, "192.0.2.0/24") }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			c.have(w.ec2)
			got, err := w.do(incident.Apply)
			w.must(err)
			worn := w.ec2.Worn(eni1)
			if got.Outcome != incident.Applied || len(w.isolated()) > 0 || len(worn) != 1 || c.want != "" && worn[0] != c.want || c.want == "" && worn[0] == "sg-x" {
				t.Errorf("%s, %v, wears %v", got.Outcome, w.isolated(), worn)
			}
		})
	}
}

// Two instances of one VPC at the same moment make one isolation group.
func TestRaceForTheGroup(t *testing.T) {
	w := newWorld(t)
	w.ec2.Step = func(_ int, call string, done bool) error {
		if !done && strings.HasPrefix(call, "CreateSecurityGroup "+isolating.name+" ") && w.ec2.Group("sg-race") == nil {
			w.ec2.AddGroup("sg-race", vpc, isolating.name, map[string]string{isolating.tag: "true"}) // made, its rules not yet revoked
		}
		return nil
	}
	_, err := w.do(incident.Apply)
	w.must(err)
	if worn := w.ec2.Worn(eni1); !slices.Equal(worn, []string{"sg-race"}) || len(w.isolated()) > 0 {
		t.Errorf("wears %v, %v", worn, w.isolated())
	}
}

// Where the first step is not possible the second comes all the same, and the result says what was not cut.
func TestNoFirstStep(t *testing.T) {
	for name, prepare := range map[string]func(*world) (context.Context, context.CancelFunc){
		"no time": func(w *world) (context.Context, context.CancelFunc) {
			return context.WithTimeout(w.t.Context(), 25*time.Second)
		},
		"not allowed to make the transit group": func(w *world) (context.Context, context.CancelFunc) {
			w.ec2.Denied["ec2:AuthorizeSecurityGroupIngress"] = true
			return context.WithCancel(w.t.Context())
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ctx, cancel := prepare(w)
			defer cancel()
			w.ec2.Step = func(_ int, call string, _ bool) error {
				if strings.HasPrefix(call, "ModifyNetworkInterfaceAttribute") && strings.Contains(call, "sg-0f000000000000002") {
					t.Errorf("%s", call)
				}
				return nil
			}
			got, err := w.run(ctx, request(incident.Apply))
			w.must(err)
			if len(w.isolated()) > 0 || !slices.ContainsFunc(got.Changes, func(l string) bool { return strings.Contains(l, "up to five days") }) {
				t.Errorf("%v, %q", w.isolated(), got.Changes)
			}
		})
	}
}

// The end of the call in the middle of the first step still closes every interface.
func TestTimeRunsOutWhileOpen(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	w.ec2.Step = func(_ int, call string, done bool) error {
		if done && strings.HasPrefix(call, "ModifyNetworkInterfaceAttribute "+eni1) {
			cancel()
		}
		return nil
	}
	_, err := w.run(ctx, request(incident.Apply))
	if len(w.isolated()) > 0 || w.hold().Part != "" {
		t.Errorf("%v, part %q, %v", w.isolated(), w.hold().Part, err)
	}
}

// The second of two interfaces is denied: what is done and what not is said, and a redrive finishes it.
func TestDeniedHalfway(t *testing.T) {
	w := newWorld(t)
	w.ec2.Step = func(_ int, call string, done bool) error {
		if !done && strings.HasPrefix(call, "ModifyNetworkInterfaceAttribute "+eni2) {
			return fault.New(fault.Denied, "not authorized")
		}
		return nil
	}
	_, err := w.do(incident.Apply)
	if !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), eni2+"/groups: "+web+","+db+" -> ") || w.ec2.Open(eni1) {
		t.Errorf("%v", err)
	}
	w.ec2.Step = nil
	got, err := w.do(incident.Apply)
	w.must(err)
	if got.Outcome != incident.Applied || len(w.isolated()) > 0 || w.hold().Part != "" {
		t.Errorf("%+v, %v", got, w.isolated())
	}
}

func TestDrifted(t *testing.T) {
	w := newWorld(t)
	_, err := w.do(incident.Apply)
	w.must(err)
	w.ec2.Wear(eni1, db)
	calls := len(w.ec2.Calls)
	got, err := w.do(incident.Undo)
	w.must(err)
	if got.Outcome != incident.Drifted || len(w.ec2.Calls) != calls {
		t.Errorf("%+v, changed %v", got, w.ec2.Calls[calls:])
	}
	req := request(incident.Undo)
	req.Force = true
	got, err = w.run(t.Context(), req)
	w.must(err)
	if got.Outcome != incident.Restored || !slices.Equal(w.ec2.Worn(eni1), []string{web}) {
		t.Errorf("%+v, wears %v", got, w.ec2.Worn(eni1))
	}
}

func TestSpotInstance(t *testing.T) {
	w := newWorld(t)
	w.ec2.AddInstance(name, "vol-0aaaaaaaaaaaaaaa1").InstanceLifecycle = types.InstanceLifecycleTypeSpot
	got, err := w.do(incident.Apply)
	w.must(err)
	if got.Outcome != incident.Applied || w.ec2.Open(eni1) || !slices.ContainsFunc(got.Changes, func(l string) bool { return strings.Contains(l, "Spot") }) {
		t.Errorf("%+v", got)
	}
}

func TestTaggedInstanceAsks(t *testing.T) {
	w := newWorld(t)
	key, yes := "firebreak:protected", "true"
	w.ec2.AddInstance(name).Tags = []types.Tag{{Key: &key, Value: &yes}}
	got, err := w.do(incident.Apply)
	if err != nil || got.Outcome != incident.Refused || got.Override != "protected" || len(w.ec2.Calls) > 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

// The interfaces of an instance may be in several VPCs, and a group belongs to one.
func TestGroupOfEachVPC(t *testing.T) {
	w := newWorld(t)
	w.ec2.AddGroup("sg-other", "vpc-2", "other", nil, "0.0.0.0/0")
	w.ec2.AddInterface("eni-3", name, "vpc-2", "sg-other")
	_, err := w.do(incident.Apply)
	w.must(err)
	if worn := w.ec2.Worn("eni-3"); len(w.isolated()) > 0 || w.ec2.Open("eni-3") || *w.ec2.Group(worn[0]).VpcId != "vpc-2" {
		t.Errorf("wears %v", worn)
	}
}

// A session policy holds 2,048 characters, whatever the instance has.
func TestManyInterfacesAndVolumes(t *testing.T) {
	w := newWorld(t)
	volumes := []string{}
	for n := range 40 {
		volumes = append(volumes, fmt.Sprintf("vol-0%016d", n))
	}
	w.ec2.AddInstance(name, volumes...)
	for n := range 15 {
		w.ec2.AddInterface(fmt.Sprintf("eni-0%016d", n), name, vpc, web)
	}
	got, err := w.do(incident.Apply)
	w.must(err)
	if got.Outcome != incident.Applied || len(w.isolated()) > 0 {
		t.Errorf("%+v", got)
	}
}

func TestRules(t *testing.T) {
	one := func(s string) *string { return &s }
	port := int32(22)
	for name, p := range map[string]types.IpPermission{
		"in tcp 22-22 192.0.2.0/24": {IpProtocol: one("tcp"), FromPort: &port, ToPort: &port, IpRanges: []types.IpRange{{CidrIp: one("192.0.2.0/24")}}},
		"in -1 2001:db8::/32":       {IpProtocol: one("-1"), Ipv6Ranges: []types.Ipv6Range{{CidrIpv6: one("2001:db8::/32")}}},
		"in -1 pl-1":                {IpProtocol: one("-1"), PrefixListIds: []types.PrefixListId{{PrefixListId: one("pl-1")}}},
		"in -1 sg-1":                {IpProtocol: one("-1"), UserIdGroupPairs: []types.UserIdGroupPair{{GroupId: one("sg-1")}}},
		"in -1 unknown":             {IpProtocol: one("-1")},
	} {
		if got := rules(types.SecurityGroup{IpPermissions: []types.IpPermission{p}}); !slices.Equal(got, []string{name}) {
			t.Errorf("%q, want %q", got, name)
		}
	}
	for _, r := range transit.rules {
		g := types.SecurityGroup{IpPermissions: permission(r)}
		if strings.HasPrefix(r, "out") {
			g = types.SecurityGroup{IpPermissionsEgress: permission(r)}
		}
		if got := rules(g); !slices.Equal(got, []string{r}) {
			t.Errorf("%q, want %q", got, r)
		}
	}
}

// Every way of the two steps gives the group that lets everything in for a moment only, and first on the record.
func TestRecordBeforeOpening(t *testing.T) {
	w := newWorld(t)
	opened := map[string]bool{}
	w.ec2.Step = func(_ int, call string, done bool) error {
		f := strings.Fields(call)
		if f[0] != "ModifyNetworkInterfaceAttribute" || done {
			return nil
		}
		if g := w.ec2.Group(f[2]); g != nil && strings.HasPrefix(*g.GroupName, transit.name) {
			opened[f[1]] = true
			if w.hold().Part != untracked {
				t.Errorf("%s without a record", call)
			}
		}
		return nil
	}
	_, err := w.do(incident.Apply)
	w.must(err)
	if got := slices.Sorted(maps.Keys(opened)); !slices.Equal(got, []string{eni1, eni2}) {
		t.Errorf("tracked connections were cut on %v only", got)
	}
}

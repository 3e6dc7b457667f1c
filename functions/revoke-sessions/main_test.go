package main

import (
	"context"
	"io"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"firebreak/lib/action"
	"firebreak/lib/actiontest"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
)

const web = "arn:aws:iam::222222222222:role/clinic-web"

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	os.Exit(m.Run())
}

// fake is an account with one role.
type fake struct {
	gone      bool
	path      string
	policies  map[string]string // inline policies, name to document
	instances int
	denied    string // call that is denied
	meddle    func(*fake)
	puts      int
	tags      map[string]string
}

func newFake() *fake { return &fake{path: "/", policies: map[string]string{"app": "{}"}} }

func (f *fake) call(name string) error {
	if f.denied == name {
		return &smithy.GenericAPIError{Code: "AccessDenied", Message: "not authorized to perform iam:" + name}
	}
	if f.gone {
		return &types.NoSuchEntityException{}
	}
	return nil
}

func (f *fake) GetRole(_ context.Context, in *iam.GetRoleInput, _ ...func(*iam.Options)) (*iam.GetRoleOutput, error) {
	if err := f.call("GetRole"); err != nil {
		return nil, err
	}
	out := &iam.GetRoleOutput{Role: &types.Role{RoleName: in.RoleName, Path: &f.path}}
	for k, v := range f.tags {
		out.Role.Tags = append(out.Role.Tags, types.Tag{Key: &k, Value: &v})
	}
	return out, nil
}

func (f *fake) GetRolePolicy(_ context.Context, in *iam.GetRolePolicyInput, _ ...func(*iam.Options)) (*iam.GetRolePolicyOutput, error) {
	if err := f.call("GetRolePolicy"); err != nil {
		return nil, err
	}
	doc, ok := f.policies[*in.PolicyName]
	if !ok {
		return nil, &types.NoSuchEntityException{}
	}
	return &iam.GetRolePolicyOutput{PolicyName: in.PolicyName, RoleName: in.RoleName, PolicyDocument: aws.String(url.PathEscape(doc))}, nil
}

func (f *fake) ListInstanceProfilesForRole(context.Context, *iam.ListInstanceProfilesForRoleInput, ...func(*iam.Options)) (*iam.ListInstanceProfilesForRoleOutput, error) {
	if err := f.call("ListInstanceProfilesForRole"); err != nil {
		return nil, err
	}
	return &iam.ListInstanceProfilesForRoleOutput{InstanceProfiles: []types.InstanceProfile{{Arn: aws.String("arn:aws:iam::222222222222:instance-profile/clinic-web")}}}, nil
}

func (f *fake) DescribeInstances(context.Context, *ec2.DescribeInstancesInput, ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error) {
	return &ec2.DescribeInstancesOutput{Reservations: []ec2types.Reservation{{Instances: make([]ec2types.Instance, f.instances)}}}, nil
}

func (f *fake) PutRolePolicy(_ context.Context, in *iam.PutRolePolicyInput, _ ...func(*iam.Options)) (*iam.PutRolePolicyOutput, error) {
	if err := f.call("PutRolePolicy"); err != nil {
		return nil, err
	}
	f.puts++
	f.policies[*in.PolicyName] = *in.PolicyDocument
	if f.meddle != nil {
		f.meddle(f)
	}
	return &iam.PutRolePolicyOutput{}, nil
}

func (f *fake) DeleteRolePolicy(_ context.Context, in *iam.DeleteRolePolicyInput, _ ...func(*iam.Options)) (*iam.DeleteRolePolicyOutput, error) {
	if err := f.call("DeleteRolePolicy"); err != nil {
		return nil, err
	}
	if _, ok := f.policies[*in.PolicyName]; !ok {
		return nil, &types.NoSuchEntityException{}
	}
	delete(f.policies, *in.PolicyName)
	return &iam.DeleteRolePolicyOutput{}, nil
}

func newWorld(t *testing.T, f *fake) *actiontest.World {
	return actiontest.New(t, "revoke-sessions", revocation{
		reads:   func(context.Context, action.Call) (reads, error) { return f, nil },
		changes: func(context.Context, action.Call) (changes, error) { return f, nil },
		now:     func() time.Time { return actiontest.Start },
	})
}

func TestOutcomes(t *testing.T) {
	old := document("2025-01-01T00:00:00Z")
	for name, c := range map[string]struct {
		mode   incident.Mode
		role   func(*fake)
		guard  func(*setting.Guard)
		want   incident.Outcome
		fault  fault.Name
		golden string
		policy string
	}{
		"happy": {want: incident.Applied, golden: "applied", policy: document("2026-03-02T03:12:10Z")},
		"plan":  {mode: incident.Look, want: incident.Planned, golden: "planned"},
		"already": {
			role: func(f *fake) { f.policies[policyName] = document("2026-03-02T03:12:10Z") },
			want: incident.Already, golden: "already", policy: document("2026-03-02T03:12:10Z"),
		},
		"a deny from last year does not contain": {
			role: func(f *fake) { f.policies[policyName] = old }, want: incident.Applied, policy: document("2026-03-02T03:12:10Z"),
		},
		"a later date stays": {
			role: func(f *fake) { f.policies[policyName] = document("2027-01-01T00:00:00Z") },
			want: incident.Already, policy: document("2027-01-01T00:00:00Z"),
		},
		"somebody else's policy under our name does not contain": {
			role: func(f *fake) { f.policies[policyName] = `{"Version":"2012-10-17","Statement":[]}` },
			want: incident.Applied, policy: document("2026-03-02T03:12:10Z"),
		},
		"ours with an exception is not ours": {
			role: func(f *fake) {
				f.policies[policyName] = strings.Replace(document("2026-03-02T03:12:10Z"), `"Action":"*"`, `"Action":"s3:*"`, 1)
			},
			want: incident.Applied, policy: document("2026-03-02T03:12:10Z"),
		},
		"gone":             {role: func(f *fake) { f.gone = true }, want: incident.Gone},
		"denied":           {role: func(f *fake) { f.denied = "PutRolePolicy" }, fault: fault.Denied},
		"denied to look":   {role: func(f *fake) { f.denied = "GetRolePolicy" }, fault: fault.Denied},
		"protected by tag": {role: func(f *fake) { f.tags = map[string]string{"firebreak:protected": "true"} }, want: incident.Refused},
		"shared":           {role: func(f *fake) { f.instances = 7 }, want: incident.Refused, golden: "refused"},
		"mode plan":        {guard: func(g *setting.Guard) { g.Mode = setting.Plan }, want: incident.Planned, golden: "planned"},
		"mode off":         {guard: func(g *setting.Guard) { g.Mode = setting.Off }, want: incident.Refused},
		"service-linked": {
			role: func(f *fake) { f.path = "/aws-service-role/autoscaling.amazonaws.com/" }, want: incident.Refused,
		},
		"identity center": {role: func(f *fake) { f.path = "/aws-reserved/sso.amazonaws.com/" }, want: incident.Refused},
		"undone for ever": {
			role: func(f *fake) { f.meddle = func(f *fake) { delete(f.policies, policyName) } }, fault: fault.NotVerified,
		},
		"replaced once": {
			role: func(f *fake) {
				f.meddle = func(f *fake) {
					if f.puts == 1 {
						f.policies[policyName] = old
					}
				}
			},
			want: incident.Applied, policy: document("2026-03-02T03:12:10Z"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			if c.role != nil {
				c.role(f)
			}
			before := f.policies[policyName]
			w := newWorld(t, f)
			w.Guard(c.guard)
			mode := c.mode
			if mode == "" {
				mode = incident.Apply
			}
			got, err := w.Do(w.Request(mode, "INC-BWJ4TH5BLF5DYQIG", web, nil))
			if c.fault != "" {
				if !fault.Is(err, c.fault) {
					t.Fatalf("error %v (%s), want %s", err, fault.NameOf(err), c.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Outcome != c.want {
				t.Errorf("outcome %s (%s), want %s", got.Outcome, got.Reason, c.want)
			}
			if c.golden != "" {
				actiontest.Golden(t, c.golden, got)
			}
			want := c.policy
			if want == "" {
				want = before
			}
			if diff := cmp.Diff(want, f.policies[policyName]); diff != "" {
				t.Errorf("policy (-want +got):\n%s", diff)
			}
			if (got.Outcome == incident.Planned || got.Outcome == incident.Refused) && (f.puts > 0 || w.Writes(web) > 0) {
				t.Errorf("%s wrote something", got.Outcome)
			}
		})
	}
}

func TestUndoGivesBackWhatStoodThere(t *testing.T) {
	for name, before := range map[string]string{
		"nothing":                "",
		"our policy of old":      document("2025-01-01T00:00:00Z"),
		"somebody else's policy": `{"Statement":[{"Action":"s3:*","Effect":"Deny","Resource":"arn:aws:s3:::clinic-exports/+%20"}],"Version":"2012-10-17"}`,
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			if before != "" {
				f.policies[policyName] = before
			}
			w := newWorld(t, f)
			w.Must(w.Request(incident.Apply, "INC-BWJ4TH5BLF5DYQIG", web, nil))
			w.Must(w.Request(incident.Apply, "INC-VEPYW46KHAZJUHQC", web, nil))
			if got := w.Must(w.Request(incident.Undo, "INC-BWJ4TH5BLF5DYQIG", web, nil)); got.Outcome != incident.Held {
				t.Fatalf("the first undo is %s, want held: another incident holds it", got.Outcome)
			}
			if got := w.Must(w.Request(incident.Undo, "INC-VEPYW46KHAZJUHQC", web, nil)); got.Outcome != incident.Restored {
				t.Fatalf("undo is %s: %s", got.Outcome, got.Reason)
			}
			if diff := cmp.Diff(before, f.policies[policyName]); diff != "" {
				t.Errorf("policy (-want +got):\n%s", diff)
			}
			if f.policies["app"] != "{}" {
				t.Error("the role's other policy was touched")
			}
		})
	}
}

func TestUndoOfAPolicyTooLongToKeepIsRefused(t *testing.T) {
	f := newFake()
	f.policies[policyName] = `{"Statement":["` + strings.Repeat("x", 2000) + `"]}`
	w := newWorld(t, f)
	if got := w.Must(w.Request(incident.Apply, "INC-BWJ4TH5BLF5DYQIG", web, nil)); got.Outcome != incident.Applied {
		t.Fatalf("outcome %s, want applied: a long policy under our name does not keep the sessions alive", got.Outcome)
	}
	if got := w.Must(w.Request(incident.Undo, "INC-BWJ4TH5BLF5DYQIG", web, nil)); got.Outcome != incident.Refused {
		t.Errorf("undo is %s, want refused", got.Outcome)
	}
	if f.policies[policyName] != document("2026-03-02T03:12:10Z") {
		t.Error("the refused undo changed the policy")
	}
}

func TestUndoOfAChangedPolicyIsDrifted(t *testing.T) {
	f := newFake()
	w := newWorld(t, f)
	w.Must(w.Request(incident.Apply, "INC-BWJ4TH5BLF5DYQIG", web, nil))
	f.policies[policyName] = `{"Statement":[],"Version":"2012-10-17"}`
	req := w.Request(incident.Undo, "INC-BWJ4TH5BLF5DYQIG", web, nil)
	if got := w.Must(req); got.Outcome != incident.Drifted || f.policies[policyName] != `{"Statement":[],"Version":"2012-10-17"}` {
		t.Fatalf("undo is %s, want drifted and nothing changed", got.Outcome)
	}
	req.Force = true
	if got := w.Must(req); got.Outcome != incident.Restored || f.policies[policyName] != "" {
		t.Errorf("forced undo is %s, policy %q", got.Outcome, f.policies[policyName])
	}
}

func TestDateLiesNeverBeforeTheExecution(t *testing.T) {
	start := actiontest.Start.Add(400 * time.Millisecond)
	for name, clock := range map[string]time.Time{"behind": start.Add(-time.Hour), "exact": start, "ahead": start.Add(time.Minute)} {
		r := revocation{now: func() time.Time { return clock }}
		c := action.Call{Since: start}
		s, err := r.Intent(c, action.State{"policy": ""})
		if err != nil {
			t.Fatal(err)
		}
		if !r.Contained(c, s) {
			t.Errorf("clock %s: %s does not contain what asks for %s", name, s["policy"], start)
		}
	}
}

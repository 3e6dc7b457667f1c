package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"firebreak/lib/action"
	"firebreak/lib/actiontest"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/principal"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/google/go-cmp/cmp"
)

const (
	user   = "arn:aws:iam::222222222222:user/billing/export"
	web    = "arn:aws:iam::222222222222:role/clinic-web"
	ours   = "arn:aws:iam::222222222222:policy/FirebreakQuarantine"
	first  = "INC-BWJ4TH5BLF5DYQIG"
	second = "INC-VEPYW46KHAZJUHQC"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	os.Exit(m.Run())
}

// fake is an account with one principal.
type fake struct {
	actiontest.Wire
	arn       string
	gone      bool
	path      string
	tags      map[string]string
	attached  []string
	inline    map[string]string
	managed   string // the default version of our managed policy, "" where there is none
	quota     int
	instances int
	late      func() // called before each attachment
}

func newFake(arn string) *fake {
	return &fake{arn: arn, path: "/", attached: []string{"arn:aws:iam::aws:policy/ReadOnlyAccess"}, inline: map[string]string{"app": "{}"}, managed: document, quota: 10}
}

// stands is what the principal has.
func (f *fake) stands() any {
	return map[string]any{"attached": append([]string{}, slices.Sorted(slices.Values(f.attached))...), "inline": maps.Clone(f.inline)}
}

func (f *fake) there() error {
	if f.gone {
		return &types.NoSuchEntityException{}
	}
	return nil
}

func (f *fake) look(call, name string) error {
	if err := f.Read(call, "iam:"+call, f.arn); err != nil {
		return err
	}
	if !strings.HasSuffix(f.arn, "/"+name) {
		return &types.NoSuchEntityException{}
	}
	return f.there()
}

func (f *fake) list() (out []types.Tag) {
	for k, v := range f.tags {
		out = append(out, types.Tag{Key: aws.String(k), Value: aws.String(v)})
	}
	return out
}

func (f *fake) GetUser(_ context.Context, in *iam.GetUserInput, _ ...func(*iam.Options)) (*iam.GetUserOutput, error) {
	return &iam.GetUserOutput{User: &types.User{UserName: in.UserName, Tags: f.list()}}, f.look("GetUser", *in.UserName)
}

func (f *fake) GetRole(_ context.Context, in *iam.GetRoleInput, _ ...func(*iam.Options)) (*iam.GetRoleOutput, error) {
	return &iam.GetRoleOutput{Role: &types.Role{RoleName: in.RoleName, Path: &f.path, Tags: f.list()}}, f.look("GetRole", *in.RoleName)
}

func (f *fake) document(name string) (*string, error) {
	doc, ok := f.inline[name]
	if !ok {
		return nil, &types.NoSuchEntityException{}
	}
	return aws.String(url.PathEscape(doc)), nil
}

func (f *fake) GetUserPolicy(_ context.Context, in *iam.GetUserPolicyInput, _ ...func(*iam.Options)) (*iam.GetUserPolicyOutput, error) {
	if err := f.look("GetUserPolicy", *in.UserName); err != nil {
		return nil, err
	}
	doc, err := f.document(*in.PolicyName)
	return &iam.GetUserPolicyOutput{PolicyDocument: doc}, err
}

func (f *fake) GetRolePolicy(_ context.Context, in *iam.GetRolePolicyInput, _ ...func(*iam.Options)) (*iam.GetRolePolicyOutput, error) {
	if err := f.look("GetRolePolicy", *in.RoleName); err != nil {
		return nil, err
	}
	doc, err := f.document(*in.PolicyName)
	return &iam.GetRolePolicyOutput{PolicyDocument: doc}, err
}

// page gives one attached policy a page.
func (f *fake) page(marker *string) (out []types.AttachedPolicy, next *string) {
	at := 0
	if marker != nil {
		fmt.Sscanf(*marker, "%d", &at)
	}
	if at < len(f.attached) {
		out = []types.AttachedPolicy{{PolicyArn: aws.String(f.attached[at])}}
	}
	if at+1 < len(f.attached) {
		next = aws.String(fmt.Sprint(at + 1))
	}
	return out, next
}

func (f *fake) ListAttachedUserPolicies(_ context.Context, in *iam.ListAttachedUserPoliciesInput, _ ...func(*iam.Options)) (*iam.ListAttachedUserPoliciesOutput, error) {
	list, next := f.page(in.Marker)
	return &iam.ListAttachedUserPoliciesOutput{AttachedPolicies: list, Marker: next, IsTruncated: next != nil}, f.look("ListAttachedUserPolicies", *in.UserName)
}

func (f *fake) ListAttachedRolePolicies(_ context.Context, in *iam.ListAttachedRolePoliciesInput, _ ...func(*iam.Options)) (*iam.ListAttachedRolePoliciesOutput, error) {
	list, next := f.page(in.Marker)
	return &iam.ListAttachedRolePoliciesOutput{AttachedPolicies: list, Marker: next, IsTruncated: next != nil}, f.look("ListAttachedRolePolicies", *in.RoleName)
}

func (f *fake) GetPolicy(_ context.Context, in *iam.GetPolicyInput, _ ...func(*iam.Options)) (*iam.GetPolicyOutput, error) {
	if err := f.Read("GetPolicy", "iam:GetPolicy", *in.PolicyArn); err != nil {
		return nil, err
	}
	if f.managed == "" {
		return nil, &types.NoSuchEntityException{}
	}
	return &iam.GetPolicyOutput{Policy: &types.Policy{Arn: in.PolicyArn, DefaultVersionId: aws.String("v3")}}, nil
}

func (f *fake) GetPolicyVersion(_ context.Context, in *iam.GetPolicyVersionInput, _ ...func(*iam.Options)) (*iam.GetPolicyVersionOutput, error) {
	if err := f.Read("GetPolicyVersion", "iam:GetPolicyVersion", *in.PolicyArn); err != nil {
		return nil, err
	}
	return &iam.GetPolicyVersionOutput{PolicyVersion: &types.PolicyVersion{Document: aws.String(url.PathEscape(f.managed)), VersionId: in.VersionId}}, nil
}

func (f *fake) GetAccountSummary(context.Context, *iam.GetAccountSummaryInput, ...func(*iam.Options)) (*iam.GetAccountSummaryOutput, error) {
	return &iam.GetAccountSummaryOutput{SummaryMap: map[string]int32{"AttachedPoliciesPerUserQuota": int32(f.quota), "AttachedPoliciesPerRoleQuota": int32(f.quota)}},
		f.Read("GetAccountSummary", "iam:GetAccountSummary", "*")
}

func (f *fake) ListInstanceProfilesForRole(_ context.Context, in *iam.ListInstanceProfilesForRoleInput, _ ...func(*iam.Options)) (*iam.ListInstanceProfilesForRoleOutput, error) {
	return &iam.ListInstanceProfilesForRoleOutput{InstanceProfiles: []types.InstanceProfile{{Arn: aws.String("arn:aws:iam::222222222222:instance-profile/clinic-web")}}},
		f.look("ListInstanceProfilesForRole", *in.RoleName)
}

func (f *fake) DescribeInstances(context.Context, *ec2.DescribeInstancesInput, ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error) {
	return &ec2.DescribeInstancesOutput{Reservations: []ec2types.Reservation{{Instances: make([]ec2types.Instance, f.instances)}}}, f.Read("DescribeInstances", "ec2:DescribeInstances", "*")
}

func (f *fake) attach(call, policy string) error {
	if f.late != nil {
		f.late()
	}
	return f.Change(call, "iam:"+call, f.arn, func() error {
		switch {
		case f.gone, f.managed == "" && policy == ours:
			return &types.NoSuchEntityException{}
		case slices.Contains(f.attached, policy):
		case len(f.attached) >= f.quota:
			return &types.LimitExceededException{}
		default:
			f.attached = append(f.attached, policy)
		}
		return nil
	})
}

func (f *fake) detach(call, policy string) error {
	return f.Change(call, "iam:"+call, f.arn, func() error {
		if f.gone || !slices.Contains(f.attached, policy) {
			return &types.NoSuchEntityException{}
		}
		f.attached = slices.DeleteFunc(f.attached, func(p string) bool { return p == policy })
		return nil
	})
}

func (f *fake) put(call, name, doc string) error {
	return f.Change(call, "iam:"+call, f.arn, func() error {
		f.inline[name] = doc
		return f.there()
	})
}

func (f *fake) remove(call, name string) error {
	return f.Change(call, "iam:"+call, f.arn, func() error {
		if _, ok := f.inline[name]; !ok {
			return &types.NoSuchEntityException{}
		}
		delete(f.inline, name)
		return f.there()
	})
}

func (f *fake) AttachUserPolicy(_ context.Context, in *iam.AttachUserPolicyInput, _ ...func(*iam.Options)) (*iam.AttachUserPolicyOutput, error) {
	return &iam.AttachUserPolicyOutput{}, f.attach("AttachUserPolicy", *in.PolicyArn)
}

func (f *fake) AttachRolePolicy(_ context.Context, in *iam.AttachRolePolicyInput, _ ...func(*iam.Options)) (*iam.AttachRolePolicyOutput, error) {
	return &iam.AttachRolePolicyOutput{}, f.attach("AttachRolePolicy", *in.PolicyArn)
}

func (f *fake) DetachUserPolicy(_ context.Context, in *iam.DetachUserPolicyInput, _ ...func(*iam.Options)) (*iam.DetachUserPolicyOutput, error) {
	return &iam.DetachUserPolicyOutput{}, f.detach("DetachUserPolicy", *in.PolicyArn)
}

func (f *fake) DetachRolePolicy(_ context.Context, in *iam.DetachRolePolicyInput, _ ...func(*iam.Options)) (*iam.DetachRolePolicyOutput, error) {
	return &iam.DetachRolePolicyOutput{}, f.detach("DetachRolePolicy", *in.PolicyArn)
}

func (f *fake) PutUserPolicy(_ context.Context, in *iam.PutUserPolicyInput, _ ...func(*iam.Options)) (*iam.PutUserPolicyOutput, error) {
	return &iam.PutUserPolicyOutput{}, f.put("PutUserPolicy", *in.PolicyName, *in.PolicyDocument)
}

func (f *fake) PutRolePolicy(_ context.Context, in *iam.PutRolePolicyInput, _ ...func(*iam.Options)) (*iam.PutRolePolicyOutput, error) {
	return &iam.PutRolePolicyOutput{}, f.put("PutRolePolicy", *in.PolicyName, *in.PolicyDocument)
}

func (f *fake) DeleteUserPolicy(_ context.Context, in *iam.DeleteUserPolicyInput, _ ...func(*iam.Options)) (*iam.DeleteUserPolicyOutput, error) {
	return &iam.DeleteUserPolicyOutput{}, f.remove("DeleteUserPolicy", *in.PolicyName)
}

func (f *fake) DeleteRolePolicy(_ context.Context, in *iam.DeleteRolePolicyInput, _ ...func(*iam.Options)) (*iam.DeleteRolePolicyOutput, error) {
	return &iam.DeleteRolePolicyOutput{}, f.remove("DeleteRolePolicy", *in.PolicyName)
}

func newWorld(t *testing.T, f *fake) *actiontest.World {
	return actiontest.New(t, "quarantine-principal", quarantine{
		reads: func(_ context.Context, c action.Call) (reads, error) {
			return f, actiontest.Session(&f.Looking, looking(c))
		},
		changes: func(_ context.Context, c action.Call) (changes, error) {
			return f, actiontest.Session(&f.Changing, changing(c))
		},
		seen: &sync.Map{},
	})
}

// many gives the ARNs of so many managed policies.
func many(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("arn:aws:iam::222222222222:policy/p%02d", i))
	}
	return out
}

func TestOutcomes(t *testing.T) {
	for name, c := range map[string]struct {
		mode     incident.Mode
		target   string
		set      func(*fake)
		guard    func(*setting.Guard)
		want     incident.Outcome
		reason   string
		fault    fault.Name
		golden   string
		attached bool
		inline   string
	}{
		"a user":  {want: incident.Applied, golden: "applied", attached: true},
		"a role":  {target: web, want: incident.Applied, attached: true},
		"plan":    {mode: incident.Look, want: incident.Planned, golden: "planned"},
		"already": {set: func(f *fake) { f.attached = append(f.attached, ours) }, want: incident.Already, golden: "already", attached: true},
		"already, by an inline policy": {
			set: func(f *fake) { f.inline[policyName] = document }, want: incident.Already, inline: document,
		},
		"the quota is full": {
			set: func(f *fake) { f.attached = many(10) }, want: incident.Applied, inline: document,
		},
		"the quota of a role is full": {
			target: web, set: func(f *fake) { f.attached = many(10) }, want: incident.Applied, inline: document,
		},
		"a raised quota has room": {set: func(f *fake) { f.attached, f.quota = many(10), 20 }, want: incident.Applied, attached: true},
		"a quota that nobody reads": {set: func(f *fake) {
			f.attached, f.quota, f.Denied = many(10), 20, map[string]bool{"GetAccountSummary": true}
		}, want: incident.Applied, inline: document},
		"the last place is taken meanwhile": {
			set: func(f *fake) { f.late = func() { f.attached = many(10) } }, want: incident.Applied, inline: document,
		},
		"the managed policy goes meanwhile": {
			set: func(f *fake) { f.late = func() { f.managed = "" } }, want: incident.Applied, inline: document,
		},
		"no managed policy": {set: func(f *fake) { f.managed = "" }, want: incident.Applied, inline: document},
		"a managed policy that somebody made harmless": {
			set: func(f *fake) { f.managed = strings.Replace(document, `"Deny"`, `"Allow"`, 1) }, want: incident.Applied, inline: document,
		},
		"attached, and made harmless": {
			set: func(f *fake) {
				f.attached, f.managed = append(f.attached, ours), strings.Replace(document, `"Action":"*"`, `"Action":"s3:*"`, 1)
			},
			want: incident.Applied, attached: true, inline: document,
		},
		"somebody else's inline policy under our name": {
			set: func(f *fake) { f.inline[policyName], f.managed = `{"Statement":[]}`, "" }, want: incident.Applied, inline: document,
		},
		"gone":        {set: func(f *fake) { f.gone = true }, want: incident.Gone},
		"a role gone": {target: web, set: func(f *fake) { f.gone = true }, want: incident.Gone},
		"denied":      {set: func(f *fake) { f.Denied = map[string]bool{"AttachUserPolicy": true} }, fault: fault.Denied},
		"denied to look": {
			set: func(f *fake) { f.Denied = map[string]bool{"GetPolicyVersion": true} }, fault: fault.Denied,
		},
		"root":             {target: "arn:aws:iam::222222222222:root", want: incident.Refused, reason: "sign in as root"},
		"federated":        {target: "arn:aws:sts::222222222222:federated-user/visitor", want: incident.Refused, reason: "the user that issued it"},
		"a session":        {target: "arn:aws:sts::222222222222:assumed-role/clinic-web/i-0abcdef1234567890", want: incident.Refused, reason: "its role"},
		"a group":          {target: "arn:aws:iam::222222222222:group/admins", fault: fault.BadInput},
		"service-linked":   {target: web, set: func(f *fake) { f.path = "/aws-service-role/autoscaling.amazonaws.com/" }, want: incident.Refused, reason: "service-linked"},
		"identity center":  {target: web, set: func(f *fake) { f.path = "/aws-reserved/sso.amazonaws.com/" }, want: incident.Refused, reason: "Identity Center"},
		"shared":           {target: web, set: func(f *fake) { f.instances = 6 }, want: incident.Refused, golden: "refused"},
		"ours":             {target: "arn:aws:iam::222222222222:role/SecurityRemediationRole-Read", want: incident.Refused, reason: "part of Firebreak"},
		"protected by tag": {set: func(f *fake) { f.tags = map[string]string{"firebreak:protected": "true"} }, want: incident.Refused},
		"mode plan":        {guard: func(g *setting.Guard) { g.Mode = setting.Plan }, want: incident.Planned},
		"mode off":         {guard: func(g *setting.Guard) { g.Mode = setting.Off }, want: incident.Refused},
		"detached once": {
			set: func(f *fake) {
				f.After = func(string) {
					if len(f.Changed) == 1 {
						f.attached = nil
					}
				}
			},
			want: incident.Applied, attached: true,
		},
		"detached for ever": {set: func(f *fake) { f.After = func(string) { f.attached = nil } }, fault: fault.NotVerified},
	} {
		t.Run(name, func(t *testing.T) {
			target := c.target
			if target == "" {
				target = user
			}
			f := newFake(target)
			if c.set != nil {
				c.set(f)
			}
			w := newWorld(t, f)
			w.Guard(c.guard)
			w.Expect(w.Request(c.mode, first, target, nil), c.fault, c.want, c.reason, c.golden)
			if slices.Contains(f.attached, ours) != c.attached || f.inline[policyName] != c.inline || f.inline["app"] != "{}" {
				t.Errorf("attached %q, inline %q", f.attached, f.inline)
			}
			if c.want != incident.Applied && c.fault == "" && len(f.Changed) > 0 {
				t.Errorf("%s, but changed %v", c.want, f.Changed)
			}
		})
	}
}

func TestWhyAnInlinePolicyIsSaid(t *testing.T) {
	f := newFake(user)
	f.attached = many(10)
	w := newWorld(t, f)
	got := w.Must(w.Request(incident.Apply, first, user, nil))
	if want := "by an inline policy: user export holds 10 managed policies, which is the quota"; !slices.Contains(got.Changes, want) {
		t.Errorf("changes %q lack %q", got.Changes, want)
	}
}

func TestNoRoomAtAll(t *testing.T) {
	f := newFake(user)
	f.attached = many(10)
	w := actiontest.New(t, "quarantine-principal", quarantine{
		reads: func(_ context.Context, c action.Call) (reads, error) {
			return f, actiontest.Session(&f.Looking, looking(c))
		},
		changes: func(_ context.Context, c action.Call) (changes, error) { return noRoom{f}, nil },
		seen:    &sync.Map{},
	})
	_, err := w.Do(w.Request(incident.Apply, first, user, nil))
	if err == nil || !strings.Contains(err.Error(), "no room for a policy, neither managed nor inline") {
		t.Errorf("error %v", err)
	}
}

// noRoom is an account in which the user's inline policies are as long as they may be.
type noRoom struct{ *fake }

func (noRoom) PutUserPolicy(context.Context, *iam.PutUserPolicyInput, ...func(*iam.Options)) (*iam.PutUserPolicyOutput, error) {
	return nil, &types.LimitExceededException{}
}

func TestKilledAnywhere(t *testing.T) {
	for name, set := range map[string]func(*fake){
		"managed": func(*fake) {},
		"inline":  func(f *fake) { f.attached = many(10) },
		"instead of somebody else's": func(f *fake) {
			f.managed, f.inline[policyName] = "", `{"Statement":[],"Version":"2012-10-17"}`
		},
		"managed, made harmless": func(f *fake) {
			f.attached, f.managed = append(f.attached, ours), `{"Statement":[],"Version":"2012-10-17"}`
		},
	} {
		for _, target := range []string{user, web} {
			t.Run(name+" "+target, func(t *testing.T) {
				points := actiontest.KilledAnywhere(t, func() actiontest.Trial {
					f := newFake(target)
					set(f)
					return actiontest.Trial{World: newWorld(t, f), Wire: &f.Wire, Action: "quarantine-principal", Target: target, Stands: f.stands}
				})
				if points < 30 {
					t.Errorf("only %d points tried", points)
				}
			})
		}
	}
}

func TestUndoOfTwoHolders(t *testing.T) {
	f := newFake(user)
	before := f.stands()
	w := newWorld(t, f)
	w.Must(w.Request(incident.Apply, first, user, nil))
	w.Must(w.Request(incident.Apply, second, user, nil))
	if got := w.Must(w.Request(incident.Undo, first, user, nil)); got.Outcome != incident.Held || !slices.Contains(f.attached, ours) {
		t.Errorf("first undo is %s", got.Outcome)
	}
	if got := w.Must(w.Request(incident.Undo, second, user, nil)); got.Outcome != incident.Restored {
		t.Errorf("second undo is %s", got.Outcome)
	}
	if diff := cmp.Diff(before, f.stands()); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
}

func TestADenyThatWasThereStays(t *testing.T) {
	f := newFake(user)
	f.attached = append(f.attached, ours)
	w := newWorld(t, f)
	w.Must(w.Request(incident.Apply, first, user, nil))
	if got := w.Must(w.Request(incident.Undo, first, user, nil)); got.Outcome != incident.Restored || !slices.Contains(f.attached, ours) {
		t.Errorf("undo is %s, attached %q: the deny was not ours to take away", got.Outcome, f.attached)
	}
}

func TestDrifted(t *testing.T) {
	for name, change := range map[string]func(*fake){
		"detached":              func(f *fake) { f.attached = nil },
		"made harmless":         func(f *fake) { f.managed = `{"Statement":[]}` },
		"another inline policy": func(f *fake) { f.inline[policyName] = `{"Statement":[]}` },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(user)
			w := newWorld(t, f)
			w.Must(w.Request(incident.Apply, first, user, nil))
			change(f)
			changed := len(f.Changed)
			req := w.Request(incident.Undo, first, user, nil)
			if got := w.Must(req); got.Outcome != incident.Drifted || len(f.Changed) != changed {
				t.Errorf("undo is %s with %d changes, want drifted with none", got.Outcome, len(f.Changed)-changed)
			}
			req.Force = true
			if got := w.Must(req); got.Outcome != incident.Restored || slices.Contains(f.attached, ours) || f.inline[policyName] != "" {
				t.Errorf("forced undo is %s, attached %q, inline %q", got.Outcome, f.attached, f.inline)
			}
		})
	}
}

func TestAPolicyTooLongToKeep(t *testing.T) {
	f := newFake(user)
	long := `{"Statement":["` + strings.Repeat("x", 2000) + `"]}`
	f.managed, f.inline[policyName] = "", long
	w := newWorld(t, f)
	if got := w.Must(w.Request(incident.Apply, first, user, nil)); got.Outcome != incident.Applied {
		t.Fatalf("outcome %s, want applied: a long policy under our name does not keep the principal free", got.Outcome)
	}
	if got := w.Must(w.Request(incident.Undo, first, user, nil)); got.Outcome != incident.Refused || f.inline[policyName] != document {
		t.Errorf("undo is %s, want refused with the deny in place", got.Outcome)
	}
}

func TestDenies(t *testing.T) {
	for doc, want := range map[string]bool{
		document: true,
		`{"Statement":{"Effect":"Deny","Action":["*"],"Resource":["*"]}}`:                                                           true,
		`{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"},{"Effect":"Deny","Action":"*","Resource":"*"}]}`:           true,
		`{"Statement":[{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"Bool":{"aws:MultiFactorAuthPresent":"false"}}}]}`: false,
		`{"Statement":[{"Effect":"Deny","NotAction":"iam:*","Resource":"*"}]}`:                                                      false,
		`{"Statement":[{"Effect":"Deny","Action":"*","NotResource":"arn:aws:s3:::clinic"}]}`:                                        false,
		`{"Statement":[{"Effect":"Deny","Action":"s3:*","Resource":"*"}]}`:                                                          false,
		`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`:                                                            false,
		`{"Statement":[]}`: false,
		`{}`:               false,
		`not JSON`:         false,
	} {
		if got := denies(doc); got != want {
			t.Errorf("%s: %v, want %v", doc, got, want)
		}
	}
}

// Any user or role with any policies, as full as may be: afterwards everything is denied, and undo gives back the very same.
func TestApplyThenUndoIsEqual(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 2))
	users := []string{user, "arn:aws:iam::222222222222:user/export", web, "arn:aws:iam::222222222222:role/a/b/clinic-web"}
	docs := []string{"", document, `{"Statement":[]}`, `{"Statement":[{"Action":"s3:*","Effect":"Deny","Resource":"arn:aws:s3:::clinic-exports/+%20"}],"Version":"2012-10-17"}`}
	for round := range 1000 {
		f := newFake(users[random.IntN(len(users))])
		f.attached = many(random.IntN(11))
		if random.IntN(4) == 0 && len(f.attached) < 10 {
			f.attached = append(f.attached, ours)
		}
		f.managed = []string{"", document, document, `{"Statement":[]}`}[random.IntN(4)]
		if doc := docs[random.IntN(len(docs))]; doc != "" {
			f.inline[policyName] = doc
		}
		before := f.stands()
		w := newWorld(t, f)
		got := w.Must(w.Request(incident.Apply, first, f.arn, nil))
		if !got.Outcome.Contains() || !(slices.Contains(f.attached, ours) && denies(f.managed)) && !denies(f.inline[policyName]) {
			t.Fatalf("round %d: %s with attached %q, managed %s, inline %q", round, got.Outcome, f.attached, f.managed, f.inline)
		}
		if got := w.Must(w.Request(incident.Undo, first, f.arn, nil)); got.Outcome != incident.Restored {
			t.Fatalf("round %d: undo is %s (%s)", round, got.Outcome, got.Reason)
		}
		after := f.stands()
		for _, s := range []any{before, after} {
			for k, doc := range s.(map[string]any)["inline"].(map[string]string) {
				s.(map[string]any)["inline"].(map[string]string)[k] = principal.Canonical(doc)
			}
		}
		if diff := cmp.Diff(before, after); diff != "" {
			t.Fatalf("round %d (-before +after):\n%s", round, diff)
		}
	}
}

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
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/s3control"
	controltypes "github.com/aws/aws-sdk-go-v2/service/s3control/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
)

const (
	exports      = "arn:aws:s3:::clinic-exports"
	wholeAccount = "arn:aws:iam::222222222222:root"
	first        = "INC-VEPYW46KHAZJUHQC"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	os.Exit(m.Run())
}

// fake is one bucket. A nil block is a bucket without a configuration.
type fake struct {
	gone   bool
	owner  string
	block  map[string]bool
	tags   map[string]string
	policy string
	denied string
	writes int
	// sessions that may change something were taken so often.
	sessions int
}

func newFake() *fake { return &fake{owner: actiontest.Account, policy: "{}"} }

func (f *fake) call(name string, owner *string) error {
	switch {
	case f.denied == name, aws.ToString(owner) != f.owner:
		return &smithy.GenericAPIError{Code: "AccessDenied", Message: "Access Denied"}
	case f.gone:
		return &smithy.GenericAPIError{Code: "NoSuchBucket"}
	}
	return nil
}

func (f *fake) GetPublicAccessBlock(_ context.Context, in *s3.GetPublicAccessBlockInput, _ ...func(*s3.Options)) (*s3.GetPublicAccessBlockOutput, error) {
	if err := f.call("GetPublicAccessBlock", in.ExpectedBucketOwner); err != nil {
		return nil, err
	}
	if f.block == nil {
		return nil, &smithy.GenericAPIError{Code: "NoSuchPublicAccessBlockConfiguration"}
	}
	return &s3.GetPublicAccessBlockOutput{PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{
		BlockPublicAcls: aws.Bool(f.block["BlockPublicAcls"]), IgnorePublicAcls: aws.Bool(f.block["IgnorePublicAcls"]),
		BlockPublicPolicy: aws.Bool(f.block["BlockPublicPolicy"]), RestrictPublicBuckets: aws.Bool(f.block["RestrictPublicBuckets"]),
	}}, nil
}

func (f *fake) GetBucketTagging(_ context.Context, in *s3.GetBucketTaggingInput, _ ...func(*s3.Options)) (*s3.GetBucketTaggingOutput, error) {
	if err := f.call("GetBucketTagging", in.ExpectedBucketOwner); err != nil {
		return nil, err
	}
	if len(f.tags) == 0 {
		return nil, &smithy.GenericAPIError{Code: "NoSuchTagSet"}
	}
	out := &s3.GetBucketTaggingOutput{}
	for k, v := range f.tags {
		out.TagSet = append(out.TagSet, types.Tag{Key: aws.String(k), Value: aws.String(v)})
	}
	return out, nil
}

func (f *fake) GetBucketPolicy(_ context.Context, in *s3.GetBucketPolicyInput, _ ...func(*s3.Options)) (*s3.GetBucketPolicyOutput, error) {
	if err := f.call("GetBucketPolicy", in.ExpectedBucketOwner); err != nil {
		return nil, err
	}
	if f.policy == "" {
		return nil, &smithy.GenericAPIError{Code: "NoSuchBucketPolicy"}
	}
	return &s3.GetBucketPolicyOutput{Policy: &f.policy}, nil
}

//lint:ignore ST1003 the SDK names it so
func (f *fake) GetBucketAcl(_ context.Context, in *s3.GetBucketAclInput, _ ...func(*s3.Options)) (*s3.GetBucketAclOutput, error) {
	if err := f.call("GetBucketAcl", in.ExpectedBucketOwner); err != nil {
		return nil, err
	}
	return &s3.GetBucketAclOutput{Grants: []types.Grant{
		{Grantee: &types.Grantee{Type: types.TypeGroup, URI: aws.String("http://acs.amazonaws.com/groups/global/AllUsers")}, Permission: types.PermissionRead},
	}}, nil
}

func (f *fake) PutPublicAccessBlock(_ context.Context, in *s3.PutPublicAccessBlockInput, _ ...func(*s3.Options)) (*s3.PutPublicAccessBlockOutput, error) {
	if err := f.call("PutPublicAccessBlock", in.ExpectedBucketOwner); err != nil {
		return nil, err
	}
	p := in.PublicAccessBlockConfiguration
	f.writes++
	f.block = map[string]bool{
		"BlockPublicAcls": *p.BlockPublicAcls, "IgnorePublicAcls": *p.IgnorePublicAcls,
		"BlockPublicPolicy": *p.BlockPublicPolicy, "RestrictPublicBuckets": *p.RestrictPublicBuckets,
	}
	return &s3.PutPublicAccessBlockOutput{}, nil
}

func (f *fake) DeletePublicAccessBlock(_ context.Context, in *s3.DeletePublicAccessBlockInput, _ ...func(*s3.Options)) (*s3.DeletePublicAccessBlockOutput, error) {
	if err := f.call("DeletePublicAccessBlock", in.ExpectedBucketOwner); err != nil {
		return nil, err
	}
	f.writes++
	f.block = nil
	return &s3.DeletePublicAccessBlockOutput{}, nil
}

// accountFake is the account, with the same block.
type accountFake struct{ *fake }

func (f accountFake) call(name string, id *string) error {
	switch {
	case f.denied == name, aws.ToString(id) != f.owner:
		return &smithy.GenericAPIError{Code: "AccessDenied", Message: "Access Denied"}
	}
	return nil
}

func (f accountFake) GetPublicAccessBlock(_ context.Context, in *s3control.GetPublicAccessBlockInput, _ ...func(*s3control.Options)) (*s3control.GetPublicAccessBlockOutput, error) {
	if err := f.call("GetPublicAccessBlock", in.AccountId); err != nil {
		return nil, err
	}
	if f.block == nil {
		return nil, &controltypes.NoSuchPublicAccessBlockConfiguration{}
	}
	return &s3control.GetPublicAccessBlockOutput{PublicAccessBlockConfiguration: &controltypes.PublicAccessBlockConfiguration{
		BlockPublicAcls: aws.Bool(f.block["BlockPublicAcls"]), IgnorePublicAcls: aws.Bool(f.block["IgnorePublicAcls"]),
		BlockPublicPolicy: aws.Bool(f.block["BlockPublicPolicy"]), RestrictPublicBuckets: aws.Bool(f.block["RestrictPublicBuckets"]),
	}}, nil
}

func (f accountFake) PutPublicAccessBlock(_ context.Context, in *s3control.PutPublicAccessBlockInput, _ ...func(*s3control.Options)) (*s3control.PutPublicAccessBlockOutput, error) {
	if err := f.call("PutPublicAccessBlock", in.AccountId); err != nil {
		return nil, err
	}
	p := in.PublicAccessBlockConfiguration
	f.writes++
	f.block = map[string]bool{
		"BlockPublicAcls": *p.BlockPublicAcls, "IgnorePublicAcls": *p.IgnorePublicAcls,
		"BlockPublicPolicy": *p.BlockPublicPolicy, "RestrictPublicBuckets": *p.RestrictPublicBuckets,
	}
	return &s3control.PutPublicAccessBlockOutput{}, nil
}

func (f accountFake) DeletePublicAccessBlock(_ context.Context, in *s3control.DeletePublicAccessBlockInput, _ ...func(*s3control.Options)) (*s3control.DeletePublicAccessBlockOutput, error) {
	if err := f.call("DeletePublicAccessBlock", in.AccountId); err != nil {
		return nil, err
	}
	f.writes++
	f.block = nil
	return &s3control.DeletePublicAccessBlockOutput{}, nil
}

func newWorld(t *testing.T, f *fake) *actiontest.World {
	b := blocking{
		reads:          func(context.Context, action.Call) (reads, error) { return f, nil },
		changes:        func(context.Context, action.Call) (changes, error) { f.sessions++; return f, nil },
		accountReads:   func(context.Context, action.Call) (accountReads, error) { return accountFake{f}, nil },
		accountChanges: func(context.Context, action.Call) (accountChanges, error) { f.sessions++; return accountFake{f}, nil },
		grants:         &grants{},
	}
	w := actiontest.New(t, "block-public-access", late{&b})
	b.store = w.Store
	return w
}

// late is an action whose ledger is known after it was made.
type late struct{ *blocking }

func set(on ...string) map[string]bool {
	out := map[string]bool{}
	for _, f := range flags {
		out[f] = slices.Contains(on, f)
	}
	return out
}

func TestOutcomes(t *testing.T) {
	for name, c := range map[string]struct {
		mode   incident.Mode
		target string
		bucket func(*fake)
		guard  func(*setting.Guard)
		want   incident.Outcome
		fault  fault.Name
		golden string
		block  map[string]bool
	}{
		"happy":               {want: incident.Applied, golden: "applied", block: set(flags...)},
		"three flags of four": {bucket: func(f *fake) { f.block = set(flags[:3]...) }, want: incident.Applied, block: set(flags...)},
		"plan":                {mode: incident.Look, want: incident.Planned, golden: "planned"},
		"already":             {bucket: func(f *fake) { f.block = set(flags...) }, want: incident.Already, golden: "already", block: set(flags...)},
		"gone":                {bucket: func(f *fake) { f.gone = true }, want: incident.Gone},
		"denied":              {bucket: func(f *fake) { f.denied = "PutPublicAccessBlock" }, fault: fault.Denied},
		"denied to look":      {bucket: func(f *fake) { f.denied = "GetPublicAccessBlock" }, fault: fault.Denied},
		"denied to read the policy": {
			bucket: func(f *fake) { f.denied = "GetBucketPolicy" }, want: incident.Applied, block: set(flags...),
		},
		"another account's bucket": {bucket: func(f *fake) { f.owner = "111111111111" }, fault: fault.Denied},
		"an object":                {target: exports + "/report.csv", fault: fault.BadInput},
		"protected by list": {
			guard: func(g *setting.Guard) { g.Protected = []string{exports} }, want: incident.Refused, golden: "refused",
		},
		"protected by tag":      {bucket: func(f *fake) { f.tags = map[string]string{"firebreak:protected": "true"} }, want: incident.Refused},
		"a website asks":        {bucket: func(f *fake) { f.tags = map[string]string{"firebreak:website": "true"} }, want: incident.Refused, golden: "website"},
		"no website":            {bucket: func(f *fake) { f.tags = map[string]string{"firebreak:website": "no"} }, want: incident.Applied, block: set(flags...)},
		"the account":           {target: wholeAccount, want: incident.Applied, golden: "account", block: set(flags...)},
		"the account, in part":  {target: wholeAccount, bucket: func(f *fake) { f.block = set(flags[:3]...) }, want: incident.Applied, block: set(flags...)},
		"the account, planned":  {target: wholeAccount, mode: incident.Look, want: incident.Planned},
		"the account, already":  {target: wholeAccount, bucket: func(f *fake) { f.block = set(flags...) }, want: incident.Already, block: set(flags...)},
		"the account, denied":   {target: wholeAccount, bucket: func(f *fake) { f.denied = "PutPublicAccessBlock" }, fault: fault.Denied},
		"the account protected": {target: wholeAccount, guard: func(g *setting.Guard) { g.Protected = []string{wholeAccount} }, want: incident.Refused},
		"a role is no account":  {target: "arn:aws:iam::222222222222:role/root", fault: fault.BadInput},
		"other tags":            {bucket: func(f *fake) { f.tags = map[string]string{"owner": "clinic"} }, want: incident.Applied, block: set(flags...)},
		"mode plan":             {guard: func(g *setting.Guard) { g.Mode = setting.Plan }, want: incident.Planned, golden: "planned"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			if c.bucket != nil {
				c.bucket(f)
			}
			w := newWorld(t, f)
			w.Guard(c.guard)
			target := c.target
			if target == "" {
				target = exports
			}
			w.Expect(w.Request(c.mode, first, target, nil), c.fault, c.want, "", c.golden)
			if c.want == incident.Planned && f.sessions > 0 {
				t.Error("a plan took a session that may change something")
			}
			if diff := cmp.Diff(c.block, f.block); diff != "" {
				t.Errorf("block (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatCouldNotBeReadIsSaid(t *testing.T) {
	f := newFake()
	f.denied = "GetBucketPolicy"
	w := newWorld(t, f)
	got := w.Must(w.Request(incident.Apply, first, exports, nil))
	if said := strings.Join(got.Changes, "\n"); !strings.Contains(said, "bucket policy: could not be read (Denied)") {
		t.Errorf("the result does not say that the policy could not be read:\n%s", said)
	}
}

func TestUndoAfterSomebodyChangedAFlagIsDrifted(t *testing.T) {
	f := newFake()
	w := newWorld(t, f)
	w.Must(w.Request(incident.Apply, first, exports, nil))
	f.block["RestrictPublicBuckets"] = false
	f.policy = `{"Statement":[]}`
	req := w.Request(incident.Undo, first, exports, nil)
	writes := f.writes
	got := w.Must(req)
	if got.Outcome != incident.Drifted || f.writes != writes {
		t.Fatalf("undo is %s with %d changes, want drifted with none", got.Outcome, f.writes-writes)
	}
	if want := []string{"RestrictPublicBuckets: Firebreak left true, it is false now"}; !cmp.Equal(want, got.Changes) {
		t.Errorf("changes %q, want %q", got.Changes, want)
	}
	req.Force = true
	if got := w.Must(req); got.Outcome != incident.Restored || f.block != nil {
		t.Errorf("forced undo is %s, block %v, want none", got.Outcome, f.block)
	}
}

func TestAChangedPolicyIsNoDriftOfTheBlock(t *testing.T) {
	f := newFake()
	w := newWorld(t, f)
	w.Must(w.Request(incident.Apply, first, exports, nil))
	f.policy = `{"Statement":[]}`
	if got := w.Must(w.Request(incident.Undo, first, exports, nil)); got.Outcome != incident.Restored {
		t.Errorf("undo is %s, want restored", got.Outcome)
	}
}

// What the bucket's policy and ACL said is in the ledger under the digests that the result has, from before the change on; a plan writes nothing.
func TestPolicyAndGrantsAreOnRecord(t *testing.T) {
	f := newFake()
	f.policy = `{"Statement":[{"Effect":"Allow","Principal":"*"}]}`
	w := newWorld(t, f)
	w.Must(w.Request(incident.Look, first, exports, nil))
	if n := w.Writes(exports); n > 0 {
		t.Errorf("a plan wrote %d records", n)
	}
	f.denied = "PutPublicAccessBlock"
	if _, err := w.Do(w.Request(incident.Apply, first, exports, nil)); !fault.Is(err, fault.Denied) {
		t.Fatal(err)
	}
	f.denied = ""
	got := w.Must(w.Request(incident.Apply, first, exports, nil))
	for _, what := range []string{"policy", "ACL"} {
		i := slices.IndexFunc(got.Changes, func(l string) bool { return strings.HasPrefix(l, "bucket "+what+" as found: sha256 ") })
		if i < 0 {
			t.Fatalf("no digest of the %s in %q", what, got.Changes)
		}
		sum, _, _ := strings.Cut(strings.TrimPrefix(got.Changes[i], "bucket "+what+" as found: sha256 "), ",")
		it, err := ledger.Load[ledger.Document](t.Context(), w.Store, ledger.DocumentKey(exports, sum))
		if err != nil || digest(it.Value.Text) != sum || what == "policy" && it.Value.Text != f.policy {
			t.Errorf("%s: %q, %v", what, it.Value.Text, err)
		}
	}
}

// Any flags, or no configuration at all: undo gives back the very same, of a bucket and of the account.
func TestApplyThenUndoIsEqual(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 2000 {
		f := newFake()
		if i%17 > 0 {
			f.block = map[string]bool{}
			for _, flag := range flags {
				f.block[flag] = random.IntN(2) == 0
			}
		}
		before := maps.Clone(f.block)
		w := newWorld(t, f)
		target := []string{exports, wholeAccount}[i%2]
		w.Must(w.Request(incident.Apply, first, target, nil))
		w.Must(w.Request(incident.Undo, first, target, nil))
		if diff := cmp.Diff(before, f.block); diff != "" {
			t.Fatalf("(-before +after):\n%s", diff)
		}
	}
}

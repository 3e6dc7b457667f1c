package main

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"

	"firebreak/lib/action"
	"firebreak/lib/actiontest"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"
)

const (
	exports = "arn:aws:s3:::clinic-exports"
	first   = "INC-VEPYW46KHAZJUHQC"
	ours    = "arn:aws:kms:us-east-1:222222222222:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	other   = "arn:aws:kms:us-east-1:222222222222:key/0987dcba-09fe-87dc-65ba-ab0987654321"
	foreign = "arn:aws:kms:us-east-1:333333333333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	os.Exit(m.Run())
}

// config is a bucket's default encryption.
type config struct {
	Algorithm, Key string
	BucketKey      bool
	Blocked        string // one at most
}

// fake is one bucket and the keys of its region.
type fake struct {
	actiontest.Wire
	gone   bool
	config *config
	tags   map[string]string
	policy string
	acl    []types.Grant
	keys   map[string]*kmstypes.KeyMetadata // by every name
}

func newFake() *fake {
	f := &fake{config: &config{Algorithm: "AES256"}, keys: map[string]*kmstypes.KeyMetadata{}}
	f.key(ours, "alias/clinic")
	f.key(other, "alias/other")
	return f
}

func (f *fake) key(arn, alias string) *kmstypes.KeyMetadata {
	k := &kmstypes.KeyMetadata{Arn: &arn, KeyState: kmstypes.KeyStateEnabled, KeyUsage: kmstypes.KeyUsageTypeEncryptDecrypt, KeySpec: kmstypes.KeySpecSymmetricDefault}
	f.keys[arn], f.keys[alias], f.keys[arn[strings.LastIndex(arn, "/")+1:]] = k, k, k
	return k
}

func (f *fake) look(call, act string, owner *string) error {
	if err := f.Read(call, act, exports); err != nil {
		return err
	}
	return f.there(owner)
}

func (f *fake) there(owner *string) error {
	switch {
	case aws.ToString(owner) != actiontest.Account:
		return actiontest.Answer("AccessDenied")
	case f.gone:
		return actiontest.Answer("NoSuchBucket")
	}
	return nil
}

func (f *fake) GetBucketEncryption(_ context.Context, in *s3.GetBucketEncryptionInput, _ ...func(*s3.Options)) (*s3.GetBucketEncryptionOutput, error) {
	if err := f.look("GetBucketEncryption", "s3:GetEncryptionConfiguration", in.ExpectedBucketOwner); err != nil {
		return nil, err
	}
	if f.config == nil {
		return nil, actiontest.Answer("ServerSideEncryptionConfigurationNotFoundError")
	}
	rule := types.ServerSideEncryptionRule{BucketKeyEnabled: &f.config.BucketKey}
	if f.config.Algorithm != "" {
		rule.ApplyServerSideEncryptionByDefault = &types.ServerSideEncryptionByDefault{SSEAlgorithm: types.ServerSideEncryption(f.config.Algorithm)}
		if f.config.Key != "" {
			rule.ApplyServerSideEncryptionByDefault.KMSMasterKeyID = aws.String(f.config.Key)
		}
	}
	if f.config.Blocked != "" {
		rule.BlockedEncryptionTypes = &types.BlockedEncryptionTypes{EncryptionType: []types.EncryptionType{types.EncryptionType(f.config.Blocked)}}
	}
	return &s3.GetBucketEncryptionOutput{ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{Rules: []types.ServerSideEncryptionRule{rule}}}, nil
}

func (f *fake) GetBucketTagging(_ context.Context, in *s3.GetBucketTaggingInput, _ ...func(*s3.Options)) (*s3.GetBucketTaggingOutput, error) {
	if err := f.look("GetBucketTagging", "s3:GetBucketTagging", in.ExpectedBucketOwner); err != nil {
		return nil, err
	}
	out := &s3.GetBucketTaggingOutput{}
	for k, v := range f.tags {
		out.TagSet = append(out.TagSet, types.Tag{Key: aws.String(k), Value: aws.String(v)})
	}
	return out, nil
}

func (f *fake) GetBucketPolicy(_ context.Context, in *s3.GetBucketPolicyInput, _ ...func(*s3.Options)) (*s3.GetBucketPolicyOutput, error) {
	if err := f.look("GetBucketPolicy", "s3:GetBucketPolicy", in.ExpectedBucketOwner); err != nil {
		return nil, err
	}
	if f.policy == "" {
		return nil, actiontest.Answer("NoSuchBucketPolicy")
	}
	return &s3.GetBucketPolicyOutput{Policy: &f.policy}, nil
}

//lint:ignore ST1003 the SDK names it so
func (f *fake) GetBucketAcl(_ context.Context, in *s3.GetBucketAclInput, _ ...func(*s3.Options)) (*s3.GetBucketAclOutput, error) {
	if err := f.look("GetBucketAcl", "s3:GetBucketAcl", in.ExpectedBucketOwner); err != nil {
		return nil, err
	}
	return &s3.GetBucketAclOutput{Grants: f.acl}, nil
}

func (f *fake) DescribeKey(_ context.Context, in *kms.DescribeKeyInput, _ ...func(*kms.Options)) (*kms.DescribeKeyOutput, error) {
	k := f.keys[*in.KeyId]
	arn := *in.KeyId
	if k != nil {
		arn = *k.Arn
	}
	if strings.HasPrefix(arn, "arn:aws:kms:us-east-1:") {
		if err := f.Read("DescribeKey", "kms:DescribeKey", arn); err != nil {
			return nil, err
		}
	}
	if k == nil {
		return nil, actiontest.Answer("NotFoundException")
	}
	return &kms.DescribeKeyOutput{KeyMetadata: k}, nil
}

func (f *fake) PutBucketEncryption(_ context.Context, in *s3.PutBucketEncryptionInput, _ ...func(*s3.Options)) (*s3.PutBucketEncryptionOutput, error) {
	return &s3.PutBucketEncryptionOutput{}, f.Change("PutBucketEncryption", "s3:PutEncryptionConfiguration", exports, func() error {
		if err := f.there(in.ExpectedBucketOwner); err != nil {
			return err
		}
		r := in.ServerSideEncryptionConfiguration.Rules[0]
		c := &config{BucketKey: aws.ToBool(r.BucketKeyEnabled)}
		if d := r.ApplyServerSideEncryptionByDefault; d != nil {
			c.Algorithm, c.Key = string(d.SSEAlgorithm), aws.ToString(d.KMSMasterKeyID)
		}
		if b := r.BlockedEncryptionTypes; b != nil {
			c.Blocked = string(b.EncryptionType[0])
		}
		f.config = c
		return nil
	})
}

func (f *fake) DeleteBucketEncryption(_ context.Context, in *s3.DeleteBucketEncryptionInput, _ ...func(*s3.Options)) (*s3.DeleteBucketEncryptionOutput, error) {
	return &s3.DeleteBucketEncryptionOutput{}, f.Change("DeleteBucketEncryption", "s3:PutEncryptionConfiguration", exports, func() error {
		f.config = nil
		return f.there(in.ExpectedBucketOwner)
	})
}

func newWorld(t *testing.T, f *fake) *actiontest.World {
	return actiontest.New(t, "encrypt-bucket", encryption{
		reads: func(_ context.Context, c action.Call) (reads, error) {
			return f, actiontest.Session(&f.Looking, looking(c))
		},
		changes: func(_ context.Context, c action.Call) (changes, error) {
			return f, actiontest.Session(&f.Changing, changing(c))
		},
		seen: &sync.Map{},
	})
}

func with(key string) map[string]string {
	if key == "" {
		return nil
	}
	return map[string]string{"key": key}
}

func TestOutcomes(t *testing.T) {
	aes := config{Algorithm: "AES256"}
	clinic := config{Algorithm: "aws:kms", Key: ours, BucketKey: true}
	for name, c := range map[string]struct {
		mode   incident.Mode
		target string
		key    string
		bucket func(*fake)
		guard  func(*setting.Guard)
		want   incident.Outcome
		reason string
		fault  fault.Name
		golden string
		config config
	}{
		"happy":         {key: "alias/clinic", want: incident.Applied, golden: "applied", config: clinic},
		"key by ARN":    {key: ours, want: incident.Applied, config: clinic},
		"AWS's key":     {want: incident.Applied, config: config{Algorithm: "aws:kms", BucketKey: true}},
		"AWS's by name": {key: "alias/aws/s3", want: incident.Applied, config: config{Algorithm: "aws:kms", BucketKey: true}},
		"plan":          {mode: incident.Look, key: "alias/clinic", want: incident.Planned, golden: "planned", config: aes},
		"already":       {key: "alias/clinic", bucket: func(f *fake) { f.config = &clinic }, want: incident.Already, golden: "already", config: clinic},
		"already, by another name of the key": {
			key: ours, bucket: func(f *fake) { f.config = &config{Algorithm: "aws:kms", Key: "alias/clinic"} },
			want: incident.Already, config: config{Algorithm: "aws:kms", Key: "alias/clinic"},
		},
		"any KMS key will do where none is named": {
			bucket: func(f *fake) { f.config = &config{Algorithm: "aws:kms:dsse", Key: foreign} },
			want:   incident.Already, config: config{Algorithm: "aws:kms:dsse", Key: foreign},
		},
		"another key": {
			key: "alias/clinic", bucket: func(f *fake) { f.config = &config{Algorithm: "aws:kms", Key: other} },
			want: incident.Applied, config: config{Algorithm: "aws:kms", Key: ours},
		},
		"another account's key, hidden from us": {
			key: "alias/clinic", bucket: func(f *fake) { f.config = &config{Algorithm: "aws:kms:dsse", Key: foreign} },
			want: incident.Applied, config: config{Algorithm: "aws:kms:dsse", Key: ours},
		},
		"AWS's key where another is wanted": {
			key: "alias/clinic", bucket: func(f *fake) { f.config = &config{Algorithm: "aws:kms"} },
			want: incident.Applied, config: config{Algorithm: "aws:kms", Key: ours},
		},
		"blocked kinds stay": {
			bucket: func(f *fake) { f.config = &config{Algorithm: "AES256", Blocked: "SSE-C"} },
			want:   incident.Applied, config: config{Algorithm: "aws:kms", BucketKey: true, Blocked: "SSE-C"},
		},
		"no such key":           {key: "alias/none", want: incident.Refused, reason: "does not exist", config: aes},
		"disabled key":          {key: "alias/clinic", bucket: func(f *fake) { f.keys[ours].KeyState = kmstypes.KeyStateDisabled }, want: incident.Refused, reason: "Disabled", config: aes},
		"signing key":           {key: "alias/clinic", bucket: func(f *fake) { f.keys[ours].KeyUsage = kmstypes.KeyUsageTypeSignVerify }, want: incident.Refused, reason: "SIGN_VERIFY", config: aes},
		"key of another region": {key: strings.Replace(ours, "us-east-1", "eu-west-1", 1), want: incident.Refused, reason: "does not exist in us-east-1", config: aes},
		"access logs of S3": {
			bucket: func(f *fake) { f.policy = `{"Statement":[{"Principal":{"Service":"logging.s3.amazonaws.com"}}]}` },
			want:   incident.Refused, reason: "logging.s3.amazonaws.com delivers", config: aes,
		},
		"access logs by ACL": {
			bucket: func(f *fake) {
				f.acl = []types.Grant{{Grantee: &types.Grantee{Type: types.TypeGroup, URI: aws.String(logGroup)}, Permission: types.PermissionWrite}}
			},
			want: incident.Refused, reason: "log delivery group", config: aes,
		},
		"other policies": {bucket: func(f *fake) { f.policy = `{"Statement":[]}` }, want: incident.Applied, config: config{Algorithm: "aws:kms", BucketKey: true}},
		"gone":           {bucket: func(f *fake) { f.gone = true }, want: incident.Gone, config: aes},
		"denied":         {bucket: func(f *fake) { f.Denied = map[string]bool{"PutBucketEncryption": true} }, fault: fault.Denied, config: aes},
		"denied to look": {bucket: func(f *fake) { f.Denied = map[string]bool{"GetBucketEncryption": true} }, fault: fault.Denied, config: aes},
		"denied to see whether logs come": {
			bucket: func(f *fake) { f.Denied = map[string]bool{"GetBucketPolicy": true} }, fault: fault.Denied, config: aes,
		},
		"denied to see the key": {key: "alias/clinic", bucket: func(f *fake) { f.Denied = map[string]bool{"DescribeKey": true} }, fault: fault.Denied, config: aes},
		"an object":             {target: exports + "/report.csv", fault: fault.BadInput, config: aes},
		"protected": {
			key: "alias/clinic", guard: func(g *setting.Guard) { g.Protected = []string{exports} }, want: incident.Refused, golden: "refused", config: aes,
		},
		"protected by tag": {bucket: func(f *fake) { f.tags = map[string]string{"firebreak:protected": "true"} }, want: incident.Refused, config: aes},
		"mode plan":        {guard: func(g *setting.Guard) { g.Mode = setting.Plan }, want: incident.Planned, config: aes},
		"undone for ever": {
			bucket: func(f *fake) { f.After = func(string) { f.config = &config{Algorithm: "AES256"} } }, fault: fault.NotVerified, config: aes,
		},
		"undone once": {
			bucket: func(f *fake) {
				f.After = func(string) {
					if len(f.Changed) == 1 {
						f.config = &config{Algorithm: "AES256"}
					}
				}
			},
			want: incident.Applied, config: config{Algorithm: "aws:kms", BucketKey: true},
		},
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
			w.Expect(w.Request(c.mode, first, target, with(c.key)), c.fault, c.want, c.reason, c.golden)
			if diff := cmp.Diff(c.config, *f.config); diff != "" {
				t.Errorf("configuration (-want +got):\n%s", diff)
			}
			if c.want != incident.Applied && c.fault == "" && (len(f.Changed) > 0 || c.want != incident.Already && w.Writes(target) > 0) {
				t.Errorf("%s, but changed %v and wrote %d records", c.want, f.Changed, w.Writes(target))
			}
		})
	}
}

func TestKilledAnywhere(t *testing.T) {
	points := actiontest.KilledAnywhere(t, func() actiontest.Trial {
		f := newFake()
		f.config = &config{Algorithm: "aws:kms", Key: other, Blocked: "SSE-C"}
		return actiontest.Trial{
			World: newWorld(t, f), Wire: &f.Wire, Action: "encrypt-bucket", Target: exports, With: with("alias/clinic"),
			Stands: func() any { return *f.config },
		}
	})
	if points < 20 {
		t.Errorf("only %d points tried", points)
	}
}

func TestUndoAfterSomebodyChangedItIsDrifted(t *testing.T) {
	f := newFake()
	w := newWorld(t, f)
	w.Must(w.Request(incident.Apply, first, exports, with(ours)))
	f.config.Key = other
	req := w.Request(incident.Undo, first, exports, with(ours))
	changed := len(f.Changed)
	got := w.Must(req)
	if want := []string{"key: Firebreak left " + ours + ", it is " + other + " now"}; got.Outcome != incident.Drifted || !cmp.Equal(want, got.Changes) || len(f.Changed) != changed {
		t.Errorf("undo is %s with %q and %d changes, want drifted with %q and none", got.Outcome, got.Changes, len(f.Changed)-changed, want)
	}
	req.Force = true
	if got := w.Must(req); got.Outcome != incident.Restored || *f.config != (config{Algorithm: "AES256"}) {
		t.Errorf("forced undo is %s, configuration %+v", got.Outcome, f.config)
	}
}

func TestTwoHolders(t *testing.T) {
	f := newFake()
	w := newWorld(t, f)
	const second = "INC-BWJ4TH5BLF5DYQIG"
	w.Must(w.Request(incident.Apply, first, exports, nil))
	w.Must(w.Request(incident.Apply, second, exports, with(ours)))
	if got := w.Must(w.Request(incident.Undo, first, exports, nil)); got.Outcome != incident.Held {
		t.Errorf("first undo is %s, want held", got.Outcome)
	}
	if got := w.Must(w.Request(incident.Undo, second, exports, with(ours))); got.Outcome != incident.Restored || *f.config != (config{Algorithm: "AES256"}) {
		t.Errorf("second undo is %s (%q), configuration %+v", got.Outcome, got.Changes, f.config)
	}
}

// Any configuration, or none at all, and any wish: undo gives back the very same.
func TestApplyThenUndoIsEqual(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 2))
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	for range 1000 {
		f := newFake()
		f.config = nil
		if random.IntN(10) > 0 {
			f.config = &config{Algorithm: pick("AES256", "aws:kms", "aws:kms:dsse"), BucketKey: random.IntN(2) == 0, Blocked: pick("", "SSE-C", "NONE")}
			if managed(f.config.Algorithm) {
				f.config.Key = pick("", ours, other, "alias/clinic", foreign, "0987dcba-09fe-87dc-65ba-ab0987654321")
			}
		}
		before := f.config
		key := with(pick("", "alias/aws/s3", ours, "alias/clinic"))
		w := newWorld(t, f)
		if got := w.Must(w.Request(incident.Apply, first, exports, key)); !got.Outcome.Contains() {
			t.Fatalf("%+v with %v: %s", before, key, got.Outcome)
		}
		if !managed(f.config.Algorithm) {
			t.Fatalf("%+v with %v is contained as %+v", before, key, f.config)
		}
		w.Must(w.Request(incident.Undo, first, exports, key))
		if diff := cmp.Diff(before, f.config); diff != "" {
			t.Fatalf("with %v (-before +after):\n%s", key, diff)
		}
	}
}

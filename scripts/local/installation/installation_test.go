//go:build e2e

// Package installation proves, on the local platform, that an installation comes, changes and goes as scripts/deploy says: what a plan
// changes (nothing), what an update replaces, what an uninstall leaves, who is heard, and what the Config rules judge as functions.
package installation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/lib/setting"
	"firebreak/scripts/local/world"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"
)

var platform *world.Platform

func TestMain(m *testing.M) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, m))
}

func run(ctx context.Context, m *testing.M) int {
	root, err := world.Root()
	if err == nil {
		platform, err = world.Start(ctx, root, "installation", 0)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "installation:", err)
		return 1
	}
	defer platform.Stop()
	go func() { // Ctrl-C leaves nothing behind
		<-ctx.Done()
		platform.Stop()
		os.Exit(130)
	}()
	var printed bytes.Buffer
	if err := platform.Build(ctx, &printed); err != nil {
		fmt.Fprintln(os.Stderr, "installation:", err)
		return 1
	}
	return m.Run()
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// deploy runs scripts/deploy as a person in that account would, and gives everything that it printed.
func deploy(t testing.TB, p *world.Platform, account string, args ...string) (string, error) {
	t.Helper()
	var told bytes.Buffer
	_, err := p.Tell(t.Context(), &told, account, "scripts/deploy", args...)
	return told.String(), err
}

// must is deploy that succeeds and says these things.
func must(t testing.TB, p *world.Platform, account string, says []string, args ...string) string {
	t.Helper()
	told, err := deploy(t, p, account, args...)
	check(t, err)
	for _, s := range says {
		if !strings.Contains(told, s) {
			t.Errorf("scripts/deploy %v does not say %q:\n%s", args, s, told)
		}
	}
	return told
}

func hubArgs(more ...string) []string {
	return append([]string{"--arch", world.Arch(), "--members", world.MemberAccount + "=clinic", "--set", "ArchiveDays=0"}, more...)
}

// stacks lists what is deployed in an account, by name and status.
func stacks(t testing.TB, account string) (out []string) {
	t.Helper()
	all, err := cloudformation.NewFromConfig(platform.Config(account)).DescribeStacks(t.Context(), &cloudformation.DescribeStacksInput{})
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorCode() == "ValidationError" {
		return nil
	}
	check(t, err)
	for _, s := range all.Stacks {
		if !strings.HasPrefix(string(s.StackStatus), "DELETE") {
			out = append(out, *s.StackName)
		}
	}
	return out
}

func functions(t testing.TB) map[string]string {
	t.Helper()
	out := map[string]string{}
	pages := lambda.NewListFunctionsPaginator(lambda.NewFromConfig(platform.Config(world.HubAccount)), &lambda.ListFunctionsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		check(t, err)
		for _, f := range page.Functions {
			out[*f.FunctionName] = aws.ToString(f.LastModified) + " " + aws.ToString(f.RevisionId)
		}
	}
	return out
}

// kept names what holds data in the hub account and is there.
func kept(t testing.TB) (out []string) {
	t.Helper()
	ctx, cfg := t.Context(), platform.Config(world.HubAccount)
	tables, err := dynamodb.NewFromConfig(cfg).ListTables(ctx, &dynamodb.ListTablesInput{})
	check(t, err)
	out = append(out, tables.TableNames...)
	buckets, err := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }).ListBuckets(ctx, &s3.ListBucketsInput{})
	check(t, err)
	for _, b := range buckets.Buckets {
		if strings.HasPrefix(*b.Name, "firebreak-evidence") {
			out = append(out, *b.Name)
		}
	}
	secrets, err := secretsmanager.NewFromConfig(cfg).ListSecrets(ctx, &secretsmanager.ListSecretsInput{})
	check(t, err)
	for _, s := range secrets.SecretList {
		out = append(out, *s.Name)
	}
	queues, err := sqs.NewFromConfig(cfg).ListQueues(ctx, &sqs.ListQueuesInput{})
	check(t, err)
	for _, q := range queues.QueueUrls {
		out = append(out, q[strings.LastIndex(q, "/")+1:])
	}
	key, err := kms.NewFromConfig(cfg).DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String("alias/firebreak")})
	if err == nil && key.KeyMetadata.KeyState == kmstypes.KeyStateEnabled {
		out = append(out, "alias/firebreak")
	}
	slices.Sort(out)
	return out
}

// From a plan that changes nothing to an uninstall that keeps ledger and evidence.
func TestAnInstallationComesChangesAndGoes(t *testing.T) {
	ctx := t.Context()

	must(t, platform, world.HubAccount, []string{"Stack firebreak in account 111111111111", "In all: ", "Nothing was changed", "mode plan", "nobody may decide", "Stays when it is uninstalled"}, hubArgs("--plan")...)
	if s, k := stacks(t, world.HubAccount), kept(t); len(s) > 0 || len(k) > 0 {
		t.Fatalf("a plan has made the stacks %v and %v", s, k)
	}

	must(t, platform, world.HubAccount, []string{"first settings written: mode plan", "the sample finding was recorded, and nothing was done"}, hubArgs()...)
	hub := platform.Hub()
	guard, err := setting.ReadGuard(ctx, hub.Store)
	if check(t, err); guard.Mode != setting.Plan {
		t.Errorf("a new installation is in mode %s", guard.Mode)
	}

	// An update that touches one setting replaces no function, and takes no mode back.
	check(t, platform.Mode(ctx, setting.Act))
	before := functions(t)
	must(t, platform, world.HubAccount, []string{"CriticalHours", "5 (was 4)"}, hubArgs("--plan", "--set", "CriticalHours=5")...)
	must(t, platform, world.HubAccount, []string{"0 of them new", "settings stay: mode act", "was recorded"}, hubArgs("--set", "CriticalHours=5")...)
	after := functions(t)
	if len(before) < 20 || len(after) != len(before) {
		t.Errorf("%d functions, and after the update %d", len(before), len(after))
	}
	for name, was := range before {
		if after[name] != was {
			t.Errorf("%s was replaced, and its code is the same", name)
		}
	}
	must(t, platform, world.HubAccount, []string{"nothing to change"}, hubArgs("--drill=false")...)
	must(t, platform, world.HubAccount, []string{"was recorded"}, "drill")

	t.Run("a member comes", member)
	t.Run("an account falls silent", heartbeat)
	t.Run("a member goes", leave)

	// Without --yes it only says what would be.
	must(t, platform, world.HubAccount, []string{"stays    ledger", "stays    evidence", "nothing was changed"}, "uninstall", "hub")
	if got := functions(t); len(got) != len(before) {
		t.Fatalf("of %d functions %d are left, and nobody said yes", len(before), len(got))
	}
	want := kept(t)
	must(t, platform, world.HubAccount, []string{"are still there"}, "uninstall", "hub", "--yes")
	if got := kept(t); !slices.Equal(got, want) || len(got) < 10 {
		t.Errorf("of\n%v\nthe uninstall has left\n%v", want, got)
	}
	if got := functions(t); len(got) > 0 {
		t.Errorf("functions are left: %v", got)
	}
	if slices.Contains(stacks(t, world.HubAccount), "firebreak") {
		t.Error("the stack is still there")
	}

	// A new one does not begin over the old ledger.
	if told, err := deploy(t, platform, world.HubAccount, hubArgs()...); err == nil || !strings.Contains(told, "STOP  ledger") {
		t.Errorf("over an old ledger: %v\n%s", err, told)
	}
	if slices.Contains(stacks(t, world.HubAccount), "firebreak") {
		t.Error("something was begun over the old ledger")
	}
}

// hubIs is how a member names its hub.
var hubIs = []string{"--hub-account", world.HubAccount, "--hub-region", world.Region}

// member comes and changes.
func member(t *testing.T) {
	id, err := platform.Run(t.Context(), world.HubAccount, "scripts/deploy", "external-id")
	check(t, err)
	at := platform.With("FIREBREAK_EXTERNAL_ID=" + strings.TrimSpace(id))
	args := append([]string{"member"}, hubIs...)
	must(t, at, world.MemberAccount, []string{"Nothing was changed", "ReadRole may act on every resource"}, append(args, "--plan")...)
	if got := stacks(t, world.MemberAccount); len(got) > 0 {
		t.Fatalf("a plan has made %v", got)
	}
	must(t, at, world.MemberAccount, nil, args...)
	must(t, platform, world.MemberAccount, nil, append(args, "--alarm-topic", "arn:aws:sns:us-east-1:"+world.MemberAccount+":alarms")...) // an update keeps the external id
	check(t, errors.Join(letters(t), role(t)))
}

// leave takes the member away: its dead letters stay, its roles go, and what stayed is not built over.
func leave(t *testing.T) {
	must(t, platform, world.MemberAccount, []string{"stays    letters", "is gone"}, "uninstall", "member", "--yes")
	if err := letters(t); err != nil {
		t.Errorf("the dead letters went with the stack: %v", err)
	}
	if err := role(t); err == nil {
		t.Error("the role that destroys stayed")
	}
	at := platform.With("FIREBREAK_EXTERNAL_ID=" + strings.Repeat("A", 52))
	if told, err := deploy(t, at, world.MemberAccount, append([]string{"member"}, hubIs...)...); err == nil || !strings.Contains(told, "STOP  letters") {
		t.Errorf("over old letters: %v\n%s", err, told)
	}
}

func letters(t testing.TB) error {
	_, err := sqs.NewFromConfig(platform.Config(world.MemberAccount)).GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String("firebreak-forwarder")})
	return err
}

func role(t testing.TB) error {
	_, err := iam.NewFromConfig(platform.Config(world.MemberAccount)).GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("SecurityRemediationRole-Destroy")})
	return err
}

// heartbeat rings the member's clock each minute instead of each five: the account is heard over its rule, its role, the hub's bus and
// the hub's rule.
func heartbeat(t *testing.T) {
	ctx, hub := t.Context(), platform.Hub()
	silent := func(ctx context.Context) (bool, error) {
		out, err := hub.Invoke(ctx, "firebreak-watch-accounts", map[string]any{})
		return strings.Contains(string(out), world.MemberAccount+"/"+world.Region), err
	}
	if is, err := silent(ctx); err != nil || !is {
		t.Fatalf("before its first heartbeat the account is not silent (%v)", err)
	}
	rules := eventbridge.NewFromConfig(platform.Config(world.MemberAccount))
	_, err := rules.PutRule(ctx, &eventbridge.PutRuleInput{Name: aws.String("firebreak-heartbeat"), ScheduleExpression: aws.String("rate(1 minute)")})
	check(t, err)
	check(t, world.Until(ctx, 4*time.Minute, "a heartbeat of the member", func(ctx context.Context) (bool, error) {
		is, err := silent(ctx)
		return !is, err
	}))
	sent, err := platform.Decided(time.Time{}, func(d world.Decision) bool {
		return d.Action == "events:PutEvents" && d.Allowed && strings.Contains(d.Principal, world.MemberAccount+":") && strings.Contains(d.Principal, "firebreak-forwarder")
	})
	if err != nil || len(sent) == 0 {
		t.Errorf("it did not come by the forwarding role (%v)", err)
	}
}

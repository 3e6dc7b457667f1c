//go:build e2e

// Package organization proves, on the local platform, an installation over many accounts and two regions: who is watched, who is
// refused, that findings are contained where they belong, and that the second hub takes over.
package organization

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
	"firebreak/scripts/local/world"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

var (
	platform     *world.Platform
	hub          *world.Hub
	members      []string
	organization string
	printed      bytes.Buffer
	regions      = []string{world.Region, "eu-west-1"}
)

// stranger is in no organization of ours, and knows how to deploy the member template.
const stranger = "999999999999"

func TestMain(m *testing.M) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, m))
}

func run(ctx context.Context, m *testing.M) int {
	root, err := world.Root()
	if err == nil {
		platform, err = world.Start(ctx, root, "organization", 0)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "organization:", err)
		return 1
	}
	defer platform.Stop()
	go func() { // Ctrl-C leaves nothing behind
		<-ctx.Done()
		platform.Stop()
		os.Exit(130)
	}()
	began := time.Now()
	for _, s := range []struct {
		step string
		do   func() error
	}{
		{"build the functions", func() error { return platform.Build(ctx, &printed) }},
		{"deploy the hub", func() error { return deploy(ctx) }},
		{"deploy five accounts and a stranger, in two regions each", func() error {
			return platform.DeployMembers(ctx, &printed, append([]string{stranger}, members...), regions)
		}},
		{"switch from plan to act", func() error { return platform.Mode(ctx, setting.Act) }},
	} {
		fmt.Fprintf(os.Stderr, "organization: %5.1f s  %s\n", time.Since(began).Seconds(), s.step)
		if err := s.do(); err != nil {
			fmt.Fprintf(os.Stderr, "organization: %s: %v\n", s.step, err)
			return 1
		}
	}
	hub = platform.Hub()
	return m.Run()
}

// deploy makes the organization and installs the hub for it; no account is named to the bus, the organization is.
func deploy(ctx context.Context) error {
	id, accounts, err := platform.Organization(ctx, 5)
	if err != nil {
		return err
	}
	members, organization = accounts, id
	return hubIn(ctx, platform, "--organization", id, "--set", "Members=", "--set", "Accounts="+list(members))
}

func hubIn(ctx context.Context, p *world.Platform, args ...string) error {
	args = append([]string{"hub", "--arch", world.Arch(), "--drill=false", "--set", "ArchiveDays=0", "--set", "LinkAlone=destructive", "--set", "SettleMilliseconds=50"}, args...)
	_, err := p.Tell(ctx, &printed, world.HubAccount, "scripts/deploy", args...)
	return err
}

// list is the setting of the accounts that are acted in; the stranger is in it, so that only the bus keeps it out.
func list(accounts []string) string {
	var out []string
	for _, a := range append([]string{stranger}, accounts...) {
		out = append(out, fmt.Sprintf(`{"id":%q,"name":%q,"regions":["%s"]}`, a, a, strings.Join(regions, `","`)))
	}
	return "[" + strings.Join(out, ",") + "]"
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// place is an instance in an account and region, and a finding about it.
type place struct {
	account, region string
	member          *world.Member
	instance        world.Instance
	event           world.Event
}

func (p place) String() string { return p.account + " in " + p.region }

var made atomic.Int64

func at(ctx context.Context, t testing.TB, account, region string) place {
	t.Helper()
	p := place{account: account, region: region, member: platform.MemberIn(account, region)}
	var err error
	name := fmt.Sprintf("clinic-%d", made.Add(1)) // of a role, whose name is its account's, not its region's
	if p.instance, err = p.member.Instance(ctx, name, name, nil); err != nil {
		t.Fatalf("%s: %v", p, err)
	}
	event, err := platform.Sample("guardduty-crypto-mining")
	check(t, err)
	p.event = event.About(p.instance).From(account, region)
	return p
}

// contained waits until the incident's plan was carried out, and gives what the ledger says of the step on the instance.
func (p place) contained(ctx context.Context, store ledger.Store) (meta ledger.Incident, err error) {
	id := world.IncidentIn(p.account, p.region, p.event.ID())
	err = world.Until(ctx, time.Minute, "the containment of "+p.String(), func(ctx context.Context) (bool, error) {
		it, err := ledger.Load[ledger.Incident](ctx, store, ledger.IncidentKey(id))
		meta = it.Value
		return len(meta.Outcomes) >= len(meta.Plan.Contain) && len(meta.Plan.Contain) > 0, err
	})
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, p.explain(ctx))
	}
	return meta, err
}

// explain says what the hub made of the finding.
func (p place) explain(ctx context.Context) string {
	found, err := hub.About(ctx, p.event.ID())
	if err != nil || len(found) == 0 {
		return fmt.Sprintf("no execution (%v)", err)
	}
	run, err := hub.Run(ctx, found[0])
	line, _ := hub.Timeline(ctx, world.IncidentIn(p.account, p.region, p.event.ID()))
	words := ""
	for _, e := range line {
		words += "\n" + e.State + ": " + e.What + " " + e.Why
	}
	return fmt.Sprintf("%s %s, error %q, cause %q, path %v, output %s (%v)%s", run.Name, run.Status, run.Error, run.Cause, run.Path, run.Output, err, words)
}

// Findings of five accounts in two regions, at once: each is contained in its own account and region, and nowhere else.
func TestFindingsAreContainedWhereTheyBelong(t *testing.T) {
	ctx := t.Context()
	var places, quiet []place
	for _, account := range members {
		for _, region := range regions {
			places = append(places, at(ctx, t, account, region))
		}
	}
	for _, region := range regions {
		quiet = append(quiet, at(ctx, t, members[0], region))
	}
	var all sync.WaitGroup
	for _, p := range places {
		all.Go(func() {
			if err := p.member.Put(ctx, p.event); err != nil {
				t.Errorf("%s: %v", p, err)
			}
		})
	}
	all.Wait()
	for _, p := range places {
		meta, err := p.contained(ctx, hub.Store)
		check(t, err)
		for _, step := range meta.Plan.Contain {
			// "already" is what a retry finds whose first try did all and whose answer came too late
			if got := meta.Outcomes[step.Key()]; !got.Verified || got.Outcome != incident.Applied && got.Outcome != incident.Already {
				t.Errorf("%s: %s is %s (%s)", p, step.Action, got.Outcome, got.Reason)
			}
			if want := ":" + p.region + ":" + p.account + ":"; step.Action == "isolate-instance" && !strings.Contains(step.Target, want) {
				t.Errorf("%s: the target is %s", p, step.Target)
			}
		}
		if is, words, err := p.member.Isolated(ctx, p.instance.ID); err != nil || !is {
			t.Errorf("%s: not isolated, %s (%v)", p, words, err)
		}
	}
	for _, p := range quiet {
		if is, _, err := p.member.Isolated(ctx, p.instance.ID); err != nil || is {
			t.Errorf("%s: an instance that nobody named is isolated (%v)", p, err)
		}
	}
}

// An account outside the organization has deployed everything, external id and all: its findings do not get in.
func TestAStrangerIsRefused(t *testing.T) {
	ctx := t.Context()
	p := at(ctx, t, stranger, world.Region)
	began := time.Now()
	check(t, p.member.Put(ctx, p.event))
	err := world.Until(ctx, 20*time.Second, "the refusal of the hub bus", func(context.Context) (bool, error) {
		refused, err := platform.Decided(began, func(d world.Decision) bool {
			return strings.Contains(d.Principal, stranger) && d.Action == "events:PutEvents" && strings.Contains(d.Resource, world.HubAccount) && !d.Allowed
		})
		return len(refused) > 0, err
	})
	check(t, err)
	if found, err := hub.About(ctx, p.event.ID()); err != nil || len(found) > 0 {
		t.Errorf("started %v (%v)", found, err)
	}
	if is, _, err := p.member.Isolated(ctx, p.instance.ID); err != nil || is {
		t.Errorf("a stranger's instance was isolated (%v)", err)
	}
}

// The member template is deployed in two regions of an account: the roles are made once, and each region forwards.
func TestTwoRegionsOfAnAccountDoNotClash(t *testing.T) {
	ctx := t.Context()
	for _, account := range members {
		for i, region := range regions {
			out, err := cloudformation.NewFromConfig(platform.In(account, region)).ListStackResources(ctx, &cloudformation.ListStackResourcesInput{StackName: ptr("firebreak-member")})
			check(t, err)
			roles, rules := 0, 0
			for _, r := range out.StackResourceSummaries {
				switch *r.ResourceType {
				case "AWS::IAM::Role":
					roles++
				case "AWS::Events::Rule":
					rules++
				}
			}
			if want := 6 * (1 - i); roles != want || rules != 4 {
				t.Errorf("account %s, %s: %d roles, not %d, and %d rules", account, region, roles, want, rules)
			}
		}
	}
	// Deploying again changes nothing, and taking the second region away leaves the roles.
	id, err := platform.Run(ctx, world.HubAccount, "scripts/deploy", "external-id")
	check(t, err)
	there := platform.With("AWS_REGION="+regions[1], "FIREBREAK_EXTERNAL_ID="+strings.TrimSpace(id))
	var told bytes.Buffer
	_, err = there.Tell(ctx, &told, members[4], "scripts/deploy", "member", "--hub-account", world.HubAccount, "--hub-region", world.Region)
	if err != nil || !strings.Contains(told.String(), "nothing to change") {
		t.Errorf("again: %v\n%s", err, told.String())
	}
	_, err = there.Tell(ctx, &told, members[4], "scripts/deploy", "uninstall", "member", "--yes")
	check(t, err)
	if _, err := iam.NewFromConfig(platform.In(members[4], regions[0])).GetRole(ctx, &iam.GetRoleInput{RoleName: ptr("SecurityRemediationRole-Network")}); err != nil {
		t.Errorf("the roles went with the second region: %v", err)
	}
	letters := sqs.NewFromConfig(platform.In(members[4], regions[1])) // what it left is looked at, and goes, before it comes again
	queue, err := letters.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: ptr("firebreak-forwarder")})
	check(t, err)
	_, err = letters.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: queue.QueueUrl})
	check(t, err)
	check(t, platform.DeployMembers(ctx, &printed, members[4:], regions[1:2]))
}

func ptr(s string) *string { return &s }

// The second hub gets every finding and does nothing, until people let it respond; then the first does nothing any more.
func TestTheStandbyTakesOver(t *testing.T) {
	ctx := t.Context()
	there := platform.With("AWS_REGION=" + regions[1])
	check(t, hubIn(ctx, there, "--standby-of", regions[0], "--organization", organization, "--set", "Members=", "--set", "Accounts="+list(members)))
	_, err := there.Run(ctx, world.HubAccount, "scripts/firebreak", "mode", "act")
	check(t, err)
	check(t, hubIn(ctx, platform, "--set", "StandbyRegion="+regions[1]))
	check(t, platform.DeployMembers(ctx, &printed, members[:1], regions[:1], "--standby-region", regions[1]))
	second := ledger.NewDynamo(dynamodb.NewFromConfig(platform.In(world.HubAccount, regions[1])), "firebreak-ledger")
	knows := func(store ledger.Store, p place) bool {
		t.Helper()
		it, err := ledger.Load[ledger.Incident](ctx, store, ledger.IncidentKey(world.IncidentIn(p.account, p.region, p.event.ID())))
		check(t, err)
		return it.Exists()
	}
	for _, c := range []struct {
		name           string
		responds, idle ledger.Store
	}{{"before", hub.Store, second}, {"after", second, hub.Store}} {
		if c.name == "after" {
			_, err := platform.Run(ctx, world.HubAccount, "scripts/deploy", "switch", "--to", regions[1])
			check(t, err)
		}
		p := at(ctx, t, members[0], regions[0])
		check(t, p.member.Put(ctx, p.event))
		_, err := p.contained(ctx, c.responds)
		check(t, err)
		if is, words, err := p.member.Isolated(ctx, p.instance.ID); err != nil || !is {
			t.Errorf("%s the switch: not isolated, %s (%v)", c.name, words, err)
		}
		if knows(c.idle, p) {
			t.Errorf("%s the switch: both hubs responded", c.name)
		}
	}
	_, err = platform.Run(ctx, world.HubAccount, "scripts/deploy", "switch", "--to", regions[0])
	check(t, err)
}

// Command find-missed reads findings where they are made and starts the machine for those that no event brought: EventBridge
// delivers some sources' events at its best effort only, and an event that is too large it does not deliver at all. It closes the
// incidents whose findings their sources have resolved.
//
// What it does: once an hour it reads GuardDuty, Security Hub, AWS Config and Access Analyzer in each account and region, as the
// administrator where the hub is one and with the role Read elsewhere, looks each finding up in the ledger, and starts an execution
// for what is not there. Each quarter of an hour it goes on with what it had no time for, or what refused to be read, and reads the
// findings of the incidents that stand open once more.
// The second time: executions are named after the finding and its update, and the machine takes an incident once; what is closed
// stays closed.
// Its undo: none, it changes nothing but the ledger; a finding that is seen again opens its incident again.
package main

import (
	"context"
	"strings"
	"time"

	"firebreak/lib/account"
	"firebreak/lib/boot"
	"firebreak/lib/channel"
	"firebreak/lib/closure"
	"firebreak/lib/ledger"
	"firebreak/lib/reference"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/service/accessanalyzer"
	"github.com/aws/aws-sdk-go-v2/service/configservice"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/securityhub"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sns"
)

// machine starts executions.
type machine interface {
	StartExecution(context.Context, *sfn.StartExecutionInput, ...func(*sfn.Options)) (*sfn.StartExecutionOutput, error)
}

// settings are what the installation looks after.
type settings interface {
	Read(context.Context) (setting.Installed, error)
}

type missed struct {
	store    ledger.Store
	settings settings
	topic    *channel.Topic
	evidence reference.PutAPI
	bucket   string
	machine  machine
	respond  string // ARN of the machine
	closing  closure.Machines
	// open reads an account with its role Read; own reads the hub's own account, as the administrator of others where it is.
	open func(context.Context, account.Scope) (services, error)
	own  func(region string) administration
	now  func() time.Time
	// box is how long one run may begin pages, wait what passes the time after a throttle.
	box  time.Duration
	wait func(context.Context, time.Duration)
}

// partition and hub account are those of the machine.
func (m missed) partition() string { return strings.Split(m.respond, ":")[1] }
func (m missed) hub() string       { return strings.Split(m.respond, ":")[4] }

// session names what is read and is no incident: the source identity of a remediation role begins with INC-.
const session = "INC-FINDMISSEDEVENTS"

func main() {
	b := boot.Load()
	access, machine, executions := b.Access(), b.Env("MACHINE"), sfn.NewFromConfig(b.AWS)
	boot.Start(missed{
		store: b.Store(), settings: b.Installation(), topic: channel.NewTopic(sns.NewFromConfig(b.AWS), b.Env("TOPIC")),
		evidence: s3.NewFromConfig(b.AWS), bucket: b.Env("EVIDENCE"), machine: executions, respond: machine,
		closing: closure.Machines{API: executions, Respond: machine, Release: b.Env("RELEASE_MACHINE")},
		open: func(ctx context.Context, in account.Scope) (services, error) {
			cfg, err := access.Config(ctx, account.Read, in, account.Statement{Resources: []string{"*"}, Actions: []string{ // lists and reads, of all that there is
				"access-analyzer:GetFinding", "access-analyzer:ListAnalyzers", "access-analyzer:ListFindings",
				"config:DescribeComplianceByConfigRule", "config:DescribeConfigRules", "config:GetComplianceDetailsByConfigRule",
				"guardduty:GetFindings", "guardduty:ListDetectors", "guardduty:ListFindings", "securityhub:GetFindings",
			}})
			return services{guardduty.NewFromConfig(cfg), securityhub.NewFromConfig(cfg), configservice.NewFromConfig(cfg), accessanalyzer.NewFromConfig(cfg)}, err
		},
		own: func(region string) administration {
			return administration{
				guardduty.NewFromConfig(b.AWS, func(o *guardduty.Options) { o.Region = region }),
				securityhub.NewFromConfig(b.AWS, func(o *securityhub.Options) { o.Region = region }),
				accessanalyzer.NewFromConfig(b.AWS, func(o *accessanalyzer.Options) { o.Region = region }),
			}
		},
		now: func() time.Time { return time.Now().UTC() }, box: 85 * time.Second,
		wait: func(ctx context.Context, d time.Duration) {
			select {
			case <-ctx.Done():
			case <-time.After(d):
			}
		},
	}.handle)
}

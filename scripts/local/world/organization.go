package world

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"firebreak/lib/finding"
	"firebreak/lib/incident"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// With is the platform with more in the environment of its commands, for instance another AWS_REGION.
func (p *Platform) With(env ...string) *Platform {
	more := *p
	more.extra = append(slices.Clone(p.extra), env...)
	return &more
}

// In acts as the root of an account, in a region.
func (p *Platform) In(account, region string) aws.Config {
	cfg := p.Config(account)
	cfg.Region = region
	return cfg
}

// MemberIn gives a member account in a region.
func (p *Platform) MemberIn(account, region string) *Member {
	cfg := p.In(account, region)
	return &Member{
		EC2: ec2.NewFromConfig(cfg), IAM: iam.NewFromConfig(cfg), Events: eventbridge.NewFromConfig(cfg),
		S3: s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }),
	}
}

// Organization makes the hub account's organization, with so many accounts, and gives its id and theirs.
func (p *Platform) Organization(ctx context.Context, accounts int) (id string, members []string, err error) {
	api := organizations.NewFromConfig(p.Config(HubAccount))
	out, err := api.DescribeOrganization(ctx, &organizations.DescribeOrganizationInput{})
	if err != nil {
		return "", nil, err
	}
	for i := range accounts {
		made, err := api.CreateAccount(ctx, &organizations.CreateAccountInput{AccountName: aws.String(fmt.Sprintf("clinic-%d", i)), Email: aws.String(fmt.Sprintf("clinic-%d@example.com", i))})
		if err != nil {
			return "", nil, err
		}
		members = append(members, aws.ToString(made.CreateAccountStatus.AccountId))
	}
	return aws.ToString(out.Organization.Id), members, nil
}

// DeployMembers deploys the member template to accounts, in each region, with more options; the hub's region is their home.
func (p *Platform) DeployMembers(ctx context.Context, w io.Writer, accounts, regions []string, more ...string) error {
	id, err := p.Run(ctx, HubAccount, "scripts/deploy", "external-id")
	if err != nil {
		return err
	}
	for _, account := range accounts {
		for _, region := range regions {
			there := p.With("FIREBREAK_EXTERNAL_ID="+strings.TrimSpace(id), "AWS_REGION="+region)
			args := append([]string{"member", "--hub-account", HubAccount, "--hub-region", Region, "--home-region", Region}, more...)
			if _, err := there.Tell(ctx, w, account, "scripts/deploy", args...); err != nil {
				return fmt.Errorf("account %s in %s: %w", account, region, err)
			}
		}
	}
	return nil
}

// From makes the event a finding of an account and region.
func (e Event) From(account, region string) Event {
	e = e.Set(account, "accountId").Set(region, "region")
	parts := strings.Split(text(e.Detail, "arn"), ":")
	if len(parts) > 4 {
		parts[3], parts[4] = region, account
		e = e.Set(strings.Join(parts, ":"), "arn")
	}
	return e
}

// IncidentIn is the id of the incident that a GuardDuty finding of an account and region makes.
func IncidentIn(account, region, id string) string {
	return incident.ID(finding.GuardDuty, account, region, id)
}

package account

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
)

type fakeSTS struct {
	calls []*sts.AssumeRoleInput
	lasts time.Duration
	err   error
}

func (f *fakeSTS) AssumeRole(_ context.Context, in *sts.AssumeRoleInput, _ ...func(*sts.Options)) (*sts.AssumeRoleOutput, error) {
	f.calls = append(f.calls, in)
	if f.err != nil {
		return nil, f.err
	}
	return &sts.AssumeRoleOutput{Credentials: &types.Credentials{AccessKeyId: aws.String("ASIAIOSFODNN7EXAMPLE"), SecretAccessKey: aws.String("s"),
		SessionToken: aws.String("t"), Expiration: aws.Time(time.Now().Add(f.lasts))}}, nil
}

var (
	scope = Scope{Partition: "aws-us-gov", Account: "222222222222", Region: "us-gov-west-1", Incident: "INC-A"}
	one   = Statement{Actions: []string{"ec2:DescribeInstances"}, Resources: []string{"*"}}
)

func TestASessionIsBoundToIncidentExternalIDAndPolicy(t *testing.T) {
	api := &fakeSTS{lasts: 15 * time.Minute}
	cfg, err := NewSessions(aws.Config{Region: "us-east-1"}, api, "external").Config(context.Background(), Network, scope, one)
	if err != nil {
		t.Fatal(err)
	}
	in := api.calls[0]
	if got := aws.ToInt32(in.DurationSeconds); got != 900 {
		t.Errorf("the session lasts %d seconds, and STS gives none shorter than 900", got)
	}
	for _, c := range []struct{ what, got, want string }{
		{"role", aws.ToString(in.RoleArn), "arn:aws-us-gov:iam::222222222222:role/SecurityRemediationRole-Network"},
		{"session name", aws.ToString(in.RoleSessionName), "INC-A"}, {"source identity", aws.ToString(in.SourceIdentity), "INC-A"},
		{"external id", aws.ToString(in.ExternalId), "external"}, {"region", cfg.Region, "us-gov-west-1"},
		{"policy", aws.ToString(in.Policy), `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ec2:DescribeInstances"],"Resource":["*"]}]}`},
	} {
		if c.got != c.want {
			t.Errorf("%s is %q, want %q", c.what, c.got, c.want)
		}
	}
}

func TestSessionsAreKeptPerIncidentRoleAndPolicy(t *testing.T) {
	api := &fakeSTS{lasts: 15 * time.Minute}
	s, ctx, other := NewSessions(aws.Config{}, api, "external"), context.Background(), scope
	other.Incident = "INC-B"
	for range 3 {
		for _, take := range []func() error{
			func() error { _, err := s.Config(ctx, Read, scope, one); return err },
			func() error { _, err := s.Config(ctx, Network, scope, one); return err },
			func() error { _, err := s.Config(ctx, Read, other, one); return err },
			func() error {
				_, err := s.Config(ctx, Read, scope, one, Statement{Actions: []string{"ec2:DescribeVolumes"}, Resources: []string{"*"}})
				return err
			},
		} {
			if err := take(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(api.calls) != 4 {
		t.Errorf("%d sessions were taken, want 4", len(api.calls))
	}
	api.lasts = time.Minute
	fresh := NewSessions(aws.Config{}, api, "external")
	for range 2 {
		if _, err := fresh.Config(ctx, Read, scope, one); err != nil {
			t.Fatal(err)
		}
	}
	if len(api.calls) < 6 {
		t.Error("a session about to end was used again")
	}
}

func TestNoSessionWithoutPolicy(t *testing.T) {
	api := &fakeSTS{}
	long := Statement{Actions: []string{"ec2:DescribeInstances"}, Resources: []string{strings.Repeat("x", 2048)}}
	for name, allow := range map[string][]Statement{"none": nil, "no resource": {{Actions: []string{"a:B"}}}, "no action": {{Resources: []string{"*"}}}, "too long": {long}} {
		if _, err := NewSessions(aws.Config{}, api, "e").Config(context.Background(), Read, scope, allow...); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if len(api.calls) != 0 {
		t.Errorf("STS was called %d times", len(api.calls))
	}
}

func TestARefusedRoleIsNamed(t *testing.T) {
	_, err := NewSessions(aws.Config{}, &fakeSTS{err: errors.New("AccessDenied")}, "wrong").Config(context.Background(), Read, scope, one)
	if err == nil || !strings.Contains(err.Error(), "SecurityRemediationRole-Read") || strings.Contains(err.Error(), "wrong") {
		t.Errorf("error %v", err)
	}
}

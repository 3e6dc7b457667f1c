// Package account takes the remediation roles of member accounts: one that reads and four that change, each with the
// installation's ExternalId, the incident as session name and source identity, and a session policy that narrows the role to
// what one step needs. The session policy is not the boundary, the role is.
package account

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"firebreak/lib/fault"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Role is one of the five roles of an account, by the last part of its name.
type Role string

const (
	Read     Role = "Read"
	Network  Role = "Network"
	Identity Role = "Identity"
	Data     Role = "Data"
	Destroy  Role = "Destroy"
	// Evidence is the forensic account's, which has none of the others.
	Evidence Role = "Evidence"
)

// RolePrefix begins the name of each role: SecurityRemediationRole-Read and so on.
const RolePrefix = "SecurityRemediationRole-"

// Roles lists the five.
func Roles() []Role { return []Role{Read, Network, Identity, Data, Destroy} }

// IsRole tells whether that is the name of one of the five, or of the forensic account's. A name that only begins so is anybody's.
func IsRole(name string) bool {
	suffix, ok := strings.CutPrefix(name, RolePrefix)
	return ok && slices.Contains(append(Roles(), Evidence), Role(suffix))
}

// IsRoleOf tells whether that ARN is one of these roles in that account. They have no path: one of such a name that has is somebody else's.
func IsRoleOf(account, role string) bool {
	a, err := arn.Parse(role)
	name, isRole := strings.CutPrefix(a.Resource, "role/")
	return err == nil && isRole && a.Service == "iam" && a.AccountID == account && IsRole(name)
}

// Scope says where a session is taken and for which incident.
type Scope struct {
	Partition, Account, Region, Incident string
}

// Statement is one Allow of a session policy. Condition is operator, key, value.
type Statement struct {
	Actions   []string
	Resources []string
	Condition map[string]map[string]string
}

// Access gives a configuration that acts in an account.
type Access interface {
	// Config takes the role with a session policy of these statements; at least one is required. Errors: Denied, Throttled.
	Config(ctx context.Context, role Role, in Scope, allow ...Statement) (aws.Config, error)
}

// STSAPI is the call that this package makes.
type STSAPI interface {
	AssumeRole(context.Context, *sts.AssumeRoleInput, ...func(*sts.Options)) (*sts.AssumeRoleOutput, error)
}

// Roles of member accounts, taken by AssumeRole. Sessions last 15 minutes and are kept for as long as they are good.
type Sessions struct {
	base       aws.Config
	api        STSAPI
	externalID string

	mu   sync.Mutex
	kept map[string]aws.Credentials
}

// NewSessions gives an Access over base, whose credentials take the roles.
func NewSessions(base aws.Config, api STSAPI, externalID string) *Sessions {
	return &Sessions{base: base, api: api, externalID: externalID, kept: map[string]aws.Credentials{}}
}

// policyLimit is what AssumeRole takes as an inline session policy, in characters (AWS: AssumeRole, Policy). The packed-size
// limit comes on top and is answered by AWS itself.
const policyLimit = 2048

func (s *Sessions) Config(ctx context.Context, role Role, in Scope, allow ...Statement) (aws.Config, error) {
	policy, err := Policy(allow...)
	if err != nil {
		return aws.Config{}, fmt.Errorf("session policy for %s in %s: %w", role, in.Account, err)
	}
	arn := fmt.Sprintf("arn:%s:iam::%s:role/%s%s", in.Partition, in.Account, RolePrefix, role)
	cfg := s.base.Copy()
	cfg.Region = in.Region
	key := arn + "|" + in.Incident + "|" + policy
	cfg.Credentials = aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		return s.take(ctx, key, arn, in.Incident, policy)
	}))
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		return aws.Config{}, fmt.Errorf("take role %s for %s: %w", arn, in.Incident, err)
	}
	return cfg, nil
}

func (s *Sessions) take(ctx context.Context, key, role, incident, policy string) (aws.Credentials, error) {
	s.mu.Lock()
	kept, ok := s.kept[key]
	s.mu.Unlock()
	if ok && time.Until(kept.Expires) > 2*time.Minute {
		return kept, nil
	}
	out, err := s.api.AssumeRole(ctx, &sts.AssumeRoleInput{
		RoleArn: &role, RoleSessionName: &incident, SourceIdentity: &incident, ExternalId: &s.externalID,
		Policy: &policy, DurationSeconds: aws.Int32(900),
	})
	if err != nil {
		return aws.Credentials{}, err
	}
	if out.Credentials == nil {
		return aws.Credentials{}, fault.New(fault.Denied, "STS answered without credentials")
	}
	cred := aws.Credentials{
		AccessKeyID: aws.ToString(out.Credentials.AccessKeyId), SecretAccessKey: aws.ToString(out.Credentials.SecretAccessKey),
		SessionToken: aws.ToString(out.Credentials.SessionToken), CanExpire: true, Expires: aws.ToTime(out.Credentials.Expiration),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, c := range s.kept {
		if time.Until(c.Expires) <= 0 {
			delete(s.kept, k)
		}
	}
	s.kept[key] = cred
	return cred, nil
}

// Policy writes a session policy document. Errors: no statement, an empty one, or a document over AssumeRole's limit.
func Policy(allow ...Statement) (string, error) {
	type statement struct {
		Effect    string
		Action    []string
		Resource  []string
		Condition map[string]map[string]string `json:",omitempty"`
	}
	doc := struct {
		Version   string
		Statement []statement
	}{Version: "2012-10-17"}
	for _, a := range allow {
		if len(a.Actions) == 0 || len(a.Resources) == 0 {
			return "", fmt.Errorf("a statement without action or resource")
		}
		doc.Statement = append(doc.Statement, statement{"Allow", a.Actions, a.Resources, a.Condition})
	}
	if len(doc.Statement) == 0 {
		return "", fmt.Errorf("no statement: a session without a policy would have the whole role")
	}
	out, err := json.Marshal(doc)
	if err != nil {
		return "", err
	}
	if len(out) > policyLimit {
		return "", fmt.Errorf("%d characters, more than the %d that AssumeRole takes", len(out), policyLimit)
	}
	return string(out), nil
}

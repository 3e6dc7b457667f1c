package setting

import (
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"firebreak/lib/fault"
	"firebreak/lib/incident"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

// Installed is what an installation configures in SSM, one parameter a field under the prefix.
type Installed struct {
	Accounts  []Account  // <prefix>/accounts
	Approvers []Approver // <prefix>/approvers
	Approval  Approval   // <prefix>/approval
	Playbook  Playbook   // <prefix>/playbook
	Action    Action     // <prefix>/action
	Forensics Forensics  // <prefix>/forensics
}

// Account is a member account that Firebreak may act in.
type Account struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Regions []string `json:"regions"`
	// Unit is the organizational unit, for instance ou-ab12-34cd56ef or a name: what the playbook's conditions call it.
	Unit string `json:"organizationalUnit,omitempty"`
	// Owners are who is told, by audience: {"data-owner": "data@example.com"}. An audience without an entry is the default's.
	Owners map[string]string `json:"owners,omitempty"`
}

// Approver is a person who may decide. Empty lists mean all.
type Approver struct {
	ID         string          `json:"id"`
	Name       string          `json:"name"`
	Email      string          `json:"email"`
	Severities []incident.Band `json:"severities"`
	Accounts   []string        `json:"accounts"`
	// Principals are the approver's own AWS principals: a finding that names one of them is decided by others.
	Principals []string `json:"principals"`
}

// Decides tells whether the approver is asked about incidents of that band in that account.
func (a Approver) Decides(b incident.Band, account string) bool {
	return (len(a.Severities) == 0 || slices.Contains(a.Severities, b)) && (len(a.Accounts) == 0 || slices.Contains(a.Accounts, account))
}

// Approval says how people decide.
type Approval struct {
	// LinkAlone is what a personal link decides without a sign-in: none, reversible (overrides) or destructive (everything).
	LinkAlone string `json:"linkAlone"`
	// Hours until a request expires, by band; "" is the default.
	Hours map[string]int `json:"hours"`
}

// Playbook names the playbook that decides: the built-in one, or a version of a file in S3 with its SHA-256 in hexadecimal.
type Playbook struct {
	Source  string `json:"source"` // builtin or s3
	Bucket  string `json:"bucket,omitempty"`
	Key     string `json:"key,omitempty"`
	Version string `json:"version,omitempty"`
	SHA256  string `json:"sha256,omitempty"`
}

// Sources of playbooks.
const (
	Builtin = "builtin"
	S3      = "s3"
)

var hash = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)

func (p Playbook) check() error {
	own := Playbook{Source: p.Source}
	switch {
	case p.Source == "":
		return fault.New(fault.Unreadable, "the setting playbook: source is missing")
	case p.Source == Builtin && p != own:
		return fault.New(fault.Unreadable, "the setting playbook: with source builtin nothing else is set")
	case p.Source == S3 && (p.Bucket == "" || p.Key == "" || p.Version == ""):
		return fault.New(fault.Unreadable, "the setting playbook: source s3 needs bucket, key and version")
	case p.Source == S3 && !hash.MatchString(p.SHA256):
		return fault.New(fault.Unreadable, "the setting playbook: sha256 is not 64 hexadecimal digits")
	case p.Source != Builtin && p.Source != S3:
		return fault.New(fault.Unreadable, "the setting playbook: source is %q, not builtin or s3", p.Source)
	}
	return nil
}

// Action holds the times of the spine.
type Action struct {
	SettleMilliseconds int `json:"settleMilliseconds"`
	LeaseSeconds       int `json:"leaseSeconds"`
}

// Forensics says where evidence is kept out of the reach of whoever owns the account it comes from.
type Forensics struct {
	// Account takes in copies of snapshots; "" keeps evidence where it was taken.
	Account string `json:"account"`
	// LockMode is governance (a few principals can unlock) or compliance (nobody can); LockDays how long a copy stays locked.
	LockMode string `json:"lockMode"`
	LockDays int    `json:"lockDays"`
}

// Account gives the account of that id.
func (i Installed) Account(id string) (Account, bool) {
	for _, a := range i.Accounts {
		if a.ID == id {
			return a, true
		}
	}
	return Account{}, false
}

// SSMAPI is the call that this package makes.
type SSMAPI interface {
	GetParameters(context.Context, *ssm.GetParametersInput, ...func(*ssm.Options)) (*ssm.GetParametersOutput, error)
}

// Installation reads and keeps Installed for a minute: 40 reads a second are SSM's default for a whole account.
type Installation struct {
	api    SSMAPI
	prefix string

	mu   sync.Mutex
	kept Installed
	read time.Time
}

// NewInstallation reads the parameters under prefix, for instance /firebreak.
func NewInstallation(api SSMAPI, prefix string) *Installation {
	return &Installation{api: api, prefix: prefix}
}

// Fixed gives an Installation that always reads as in. For tests and for looking at plans without an installation.
func Fixed(in Installed) *Installation {
	return &Installation{kept: in, read: time.Now().Add(100 * 365 * 24 * time.Hour)}
}

const keep = time.Minute

// Read gives the settings, at most a minute old. Errors: Unreadable where one is missing, malformed or out of bounds.
func (i *Installation) Read(ctx context.Context) (Installed, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.read.IsZero() && time.Since(i.read) < keep {
		return i.kept, nil
	}
	var in Installed
	fields := map[string]any{"accounts": &in.Accounts, "approvers": &in.Approvers, "approval": &in.Approval, "playbook": &in.Playbook, "action": &in.Action, "forensics": &in.Forensics}
	names := make([]string, 0, len(fields))
	for f := range fields {
		names = append(names, i.prefix+"/"+f)
	}
	slices.Sort(names)
	out, err := i.api.GetParameters(ctx, &ssm.GetParametersInput{Names: names})
	if err != nil {
		name := fault.Unreadable
		if fault.Is(err, fault.Throttled) {
			name = fault.Throttled
		}
		return Installed{}, fault.Wrap(name, err, "read the settings %s in SSM", strings.Join(names, ", "))
	}
	if len(out.InvalidParameters) > 0 {
		return Installed{}, fault.New(fault.Unreadable, "the settings %s are missing in SSM: deploy the stack settings again", strings.Join(out.InvalidParameters, ", "))
	}
	for _, p := range out.Parameters {
		field, ok := fields[strings.TrimPrefix(aws.ToString(p.Name), i.prefix+"/")]
		if !ok {
			continue
		}
		dec := json.NewDecoder(strings.NewReader(aws.ToString(p.Value)))
		dec.DisallowUnknownFields()
		if err := dec.Decode(field); err != nil {
			return Installed{}, fault.Wrap(fault.Unreadable, err, "the setting %s in SSM", aws.ToString(p.Name))
		}
	}
	if err := in.check(); err != nil {
		return Installed{}, err
	}
	i.kept, i.read = in, time.Now()
	return in, nil
}

func (i Installed) check() error {
	switch {
	case !slices.Contains([]string{"none", "reversible", "destructive"}, i.Approval.LinkAlone):
		return fault.New(fault.Unreadable, "the setting approval: linkAlone is %q, not one of none, reversible, destructive", i.Approval.LinkAlone)
	case i.Approval.Hours[""] < 1:
		return fault.New(fault.Unreadable, `the setting approval: hours has no default (the entry "") of at least 1`)
	case i.Action.SettleMilliseconds < 1 || i.Action.LeaseSeconds < 1:
		return fault.New(fault.Unreadable, "the setting action: settleMilliseconds and leaseSeconds must be at least 1")
	case i.Forensics.Account != "" && (i.Forensics.LockDays < 1 || i.Forensics.LockMode != "governance" && i.Forensics.LockMode != "compliance"):
		return fault.New(fault.Unreadable, "the setting forensics: lockMode is %q, not governance or compliance, or lockDays is %d, less than 1", i.Forensics.LockMode, i.Forensics.LockDays)
	}
	return i.Playbook.check()
}

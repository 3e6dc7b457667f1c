package setting

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"firebreak/lib/fault"
	"firebreak/lib/incident"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

// Installed is what an installation configures in SSM, one parameter a field under the prefix.
type Installed struct {
	Accounts  []Account  // <prefix>/accounts
	Approvers []Approver // <prefix>/approvers
	Approval  Approval   // <prefix>/approval
	Playbook  Playbook   // <prefix>/playbook
	Action    Action     // <prefix>/action
	SignIn    SignIn     // <prefix>/signin; may be missing: then nobody signs in
	Slack     Slack      // <prefix>/slack; may be missing: then nothing goes to Slack
	Forensics Forensics  // <prefix>/forensics
	Sweep     Sweep      // <prefix>/sweep; may be missing: then the default
	Trusted   Trusted    // <prefix>/trusted; may be missing: then nobody but the installation's own accounts is trusted
	// Hub is the account that the parameters are in; empty where SSM does not say.
	Hub string
	// Authors are who changed lately what decisions depend on. Only Deciding fills it in.
	Authors []Author
}

// Author is somebody who changed a setting: the AWS principal, as SSM keeps it, and when.
type Author struct {
	Setting string
	Who     string
	At      time.Time
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
	// On the command line they are who the approver is; an assumed role counts there with its session's name only.
	Principals []string `json:"principals"`
	// Subjects are what the issuer of the sign-in calls the approver: the claim sub.
	Subjects []string `json:"subjects,omitempty"`
	// Slack is the approver's member id in the Slack workspace.
	Slack string `json:"slack,omitempty"`
}

// Decides tells whether the approver is asked about incidents of that band in that account.
func (a Approver) Decides(b incident.Band, account string) bool {
	return (len(a.Severities) == 0 || slices.Contains(a.Severities, b)) && (len(a.Accounts) == 0 || slices.Contains(a.Accounts, account))
}

// Approval says how people decide.
type Approval struct {
	// LinkAlone is what a personal link decides without a sign-in: none, reversible (overrides) or destructive (everything).
	LinkAlone string `json:"linkAlone"`
	// Destructive says how a person may prove who they are when they decide what cannot be undone: oidc, slack, cli. Absent
	// means all three, an empty list none of them. A link counts only as LinkAlone says.
	Destructive []string `json:"destructive"`
	// Hours until a request expires, by band; "" is the default.
	Hours map[string]int `json:"hours"`
}

// The ways in which a person proves who they are.
const (
	ViaLink   = "link"  // had the personal link
	ViaSignIn = "oidc"  // signed in with the installation's issuer
	ViaSlack  = "slack" // pressed a button as a member of the Slack workspace
	ViaCLI    = "cli"   // called with AWS credentials of their own
)

// Accepts tells whether a decision that was proven in that way counts; destructive tells whether it is one that cannot be
// undone.
func (a Approval) Accepts(via string, destructive bool) bool {
	switch via {
	case ViaLink:
		return a.LinkAlone == "destructive" || a.LinkAlone == "reversible" && !destructive
	case ViaSignIn, ViaSlack, ViaCLI:
		return !destructive || a.Destructive == nil || slices.Contains(a.Destructive, via)
	}
	return false
}

// SignIn is the OpenID Connect issuer that approvers sign in with.
type SignIn struct {
	Issuer   string `json:"issuer,omitempty"`
	ClientID string `json:"clientId,omitempty"`
	// SecretARN is the secret with the client's secret, as it is; empty for a public client (PKCE protects both).
	SecretARN string `json:"secretArn,omitempty"`
}

// On tells whether people can sign in.
func (s SignIn) On() bool { return s.Issuer != "" && s.ClientID != "" }

// Slack is the workspace that requests are shown in.
type Slack struct {
	// Channel is the id of the channel, Team that of the workspace.
	Channel string `json:"channel,omitempty"`
	Team    string `json:"team,omitempty"`
	// SecretARN is the secret with {"token": "xoxb-…", "signingSecret": "…"}.
	SecretARN string `json:"secretArn,omitempty"`
	// API is where Slack's API is; empty for Slack's own.
	API string `json:"api,omitempty"`
}

// On tells whether Slack is set up.
func (s Slack) On() bool { return s.Channel != "" && s.SecretARN != "" }

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

// Sweep says how far back findings are looked for that no event brought.
type Sweep struct {
	Hours int `json:"hours"`
}

// Window is that time; six hours where nothing is set.
func (s Sweep) Window() time.Duration {
	if s.Hours == 0 {
		return 6 * time.Hour
	}
	return time.Duration(s.Hours) * time.Hour
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
	// fixed never reads; changed has when each parameter was changed last.
	fixed   bool
	changed map[string]time.Time
	authors []Author
	asked   time.Time
}

// NewInstallation reads the parameters under prefix, for instance /firebreak.
func NewInstallation(api SSMAPI, prefix string) *Installation {
	return &Installation{api: api, prefix: prefix}
}

// Fixed gives an Installation that always reads as in. For tests and for looking at plans without an installation.
func Fixed(in Installed) *Installation {
	return &Installation{kept: in, fixed: true, read: time.Now().Add(100 * 365 * 24 * time.Hour)}
}

const keep = time.Minute

// Read gives the settings, at most a minute old. Errors: Unreadable where one is missing, malformed or out of bounds.
func (i *Installation) Read(ctx context.Context) (Installed, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.settings(ctx)
}

func (i *Installation) settings(ctx context.Context) (Installed, error) {
	if !i.read.IsZero() && time.Since(i.read) < keep {
		return i.kept, nil
	}
	var in Installed
	fields := map[string]any{
		"accounts": &in.Accounts, "approvers": &in.Approvers, "approval": &in.Approval, "playbook": &in.Playbook, "action": &in.Action,
		"signin": &in.SignIn, "slack": &in.Slack, "forensics": &in.Forensics, "sweep": &in.Sweep,
		"trusted": &in.Trusted,
	}
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
	missing := slices.DeleteFunc(slices.Clone(out.InvalidParameters), func(n string) bool {
		// Without signin and slack there are fewer ways to decide, and none is easier; without trusted fewer are trusted; sweep has a default.
		return slices.Contains([]string{i.prefix + "/signin", i.prefix + "/slack", i.prefix + "/sweep", i.prefix + "/trusted"}, n)
	})
	if len(missing) > 0 {
		return Installed{}, fault.New(fault.Unreadable, "the settings %s are missing in SSM: deploy the stack settings again", strings.Join(missing, ", "))
	}
	changed := map[string]time.Time{}
	for _, p := range out.Parameters {
		changed[aws.ToString(p.Name)] = aws.ToTime(p.LastModifiedDate)
		if a, err := arn.Parse(aws.ToString(p.ARN)); err == nil {
			in.Hub = a.AccountID
		}
		field, ok := fields[strings.TrimPrefix(aws.ToString(p.Name), i.prefix+"/")]
		if !ok {
			continue
		}
		dec := json.NewDecoder(strings.NewReader(aws.ToString(p.Value)))
		dec.DisallowUnknownFields()
		if err := dec.Decode(field); err != nil {
			return Installed{}, fault.Wrap(fault.Unreadable, err, "the setting %s in SSM", aws.ToString(p.Name))
		}
		if _, err := dec.Token(); !errors.Is(err, io.EOF) {
			return Installed{}, fault.New(fault.Unreadable, "the setting %s in SSM has something behind its end", aws.ToString(p.Name))
		}
	}
	if err := in.check(); err != nil {
		return Installed{}, err
	}
	i.kept, i.changed, i.read, i.asked = in, changed, time.Now(), time.Time{}
	return in, nil
}

// HistoryAPI is the call that says who changed a setting.
type HistoryAPI interface {
	GetParameterHistory(context.Context, *ssm.GetParameterHistoryInput, ...func(*ssm.Options)) (*ssm.GetParameterHistoryOutput, error)
}

// lately is longer than anything waits for a decision.
const lately = 8 * 24 * time.Hour

// Deciding is Read for those who ask people, take their decisions or carry them out: with who has changed the playbook, the
// list of approvers, how they decide or who vouches for them, lately. SSM itself keeps that (LastModifiedUser). Errors: Unreadable.
func (i *Installation) Deciding(ctx context.Context) (Installed, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	in, err := i.settings(ctx)
	if err != nil || i.fixed {
		return in, err
	}
	if i.asked.IsZero() {
		api, ok := i.api.(HistoryAPI)
		if !ok {
			return Installed{}, fault.New(fault.Unreadable, "nobody can say who has changed the settings")
		}
		i.authors = nil
		for _, f := range []string{"playbook", "approvers", "approval", "signin", "slack"} {
			if time.Since(i.changed[i.prefix+"/"+f]) > lately {
				continue // the usual case, and no call
			}
			if err := i.history(ctx, api, f); err != nil {
				return Installed{}, err
			}
		}
		i.asked = time.Now()
	}
	in.Authors = slices.Clone(i.authors)
	return in, nil
}

func (i *Installation) history(ctx context.Context, api HistoryAPI, field string) error {
	for pages := ssm.NewGetParameterHistoryPaginator(api, &ssm.GetParameterHistoryInput{Name: aws.String(i.prefix + "/" + field), MaxResults: aws.Int32(50)}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fault.Wrap(fault.Unreadable, err, "who has changed the setting %s/%s", i.prefix, field)
		}
		for _, v := range page.Parameters {
			if at := aws.ToTime(v.LastModifiedDate); time.Since(at) <= lately {
				i.authors = append(i.authors, Author{Setting: field, Who: aws.ToString(v.LastModifiedUser), At: at})
			}
		}
	}
	return nil
}

// secure tells whether what is read at the address is its owner's word: by TLS, or on this very machine.
func secure(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "127.0.0.1" || u.Hostname() == "localhost"))
}

func (i Installed) check() error {
	switch {
	case !slices.Contains([]string{"none", "reversible", "destructive"}, i.Approval.LinkAlone):
		return fault.New(fault.Unreadable, "the setting approval: linkAlone is %q, not one of none, reversible, destructive", i.Approval.LinkAlone)
	case slices.ContainsFunc(i.Approval.Destructive, func(via string) bool { return !slices.Contains([]string{ViaSignIn, ViaSlack, ViaCLI}, via) }):
		return fault.New(fault.Unreadable, "the setting approval: destructive is %q, and may have oidc, slack and cli", i.Approval.Destructive)
	case i.SignIn.Issuer != "" && !secure(i.SignIn.Issuer):
		return fault.New(fault.Unreadable, "the setting signin: the issuer %q does not begin with https://", i.SignIn.Issuer)
	case i.Slack.API != "" && !secure(i.Slack.API):
		return fault.New(fault.Unreadable, "the setting slack: the address %q does not begin with https://", i.Slack.API)
	case i.Approval.Hours[""] < 1:
		return fault.New(fault.Unreadable, `the setting approval: hours has no default (the entry "") of at least 1`)
	case i.Action.SettleMilliseconds < 1 || i.Action.LeaseSeconds < 1:
		return fault.New(fault.Unreadable, "the setting action: settleMilliseconds and leaseSeconds must be at least 1")
	case i.Forensics.Account != "" && (i.Forensics.LockDays < 1 || i.Forensics.LockMode != "governance" && i.Forensics.LockMode != "compliance"):
		return fault.New(fault.Unreadable, "the setting forensics: lockMode is %q, not governance or compliance, or lockDays is %d, less than 1", i.Forensics.LockMode, i.Forensics.LockDays)
	case i.Sweep.Hours < 0 || i.Sweep.Hours > 168:
		return fault.New(fault.Unreadable, "the setting sweep: hours is %d, not between 1 and 168", i.Sweep.Hours)
	}
	if err := i.Trusted.check(); err != nil {
		return err
	}
	return i.Playbook.check()
}

// Package finding turns what arrives into one shape, or refuses it with a reason.
//
// What decides is read strictly (product, type, severity, account, region, resource, principal, sample, archived), the rest
// leniently. A format is a file of its own: guardduty.go reads GuardDuty as EventBridge delivers it.
package finding

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"firebreak/lib/incident"
)

// GuardDuty is the product of native GuardDuty findings, the same that Security Hub uses in its product ARN.
const GuardDuty = "aws/guardduty"

// Finding is one finding, whatever it came as.
type Finding struct {
	Product  string // aws/guardduty
	NativeID string // the id within the product; with product, account and region it makes the incident
	Source   string // where to read it again: for GuardDuty the detector id
	Type     string // the native spelling, ThreatPurpose:Resource/Detail
	Title    string
	Account  string // the finding's own, 12 digits, whoever's event carried it
	Region   string
	// Partition of Region: aws, aws-cn, aws-us-gov and so on.
	Partition string
	Score     float64 // as found
	Band      incident.Band
	// Updated is when the source last changed the finding, LastSeen when what it reports was last seen. Zero where unknown.
	FirstSeen, LastSeen, Updated time.Time
	// About is the kind of resource that the finding itself says it is about, in GuardDuty's words: Instance, AccessKey,
	// S3Bucket and so on. Resources may hold others besides: an AccessKey finding often carries an instance.
	About     string
	Resources []Resource
	Principal Principal
	Count     int
	// Sample and Archived findings are never acted on.
	Sample, Archived bool
	// Raw is an event that decodes to this finding alone.
	Raw json.RawMessage
}

// IncidentID is the id of the incident that every copy of this finding belongs to.
func (f Finding) IncidentID() string {
	return incident.ID(f.Product, f.Account, f.Region, f.NativeID)
}

// Idle says why the finding is never acted on by anybody's rule; empty for one that may be.
func (f Finding) Idle() string {
	switch {
	case f.Sample:
		return "a sample finding: nothing happened"
	case f.Archived:
		return "the finding is archived: people or a suppression rule have set it aside"
	}
	return ""
}

// Of gives the resources of that kind, in the finding's order.
func (f Finding) Of(k Kind) []Resource {
	var out []Resource
	for _, r := range f.Resources {
		if r.Type == k {
			out = append(out, r)
		}
	}
	return out
}

// Instances gives the instances that an action may be aimed at. Where the credentials of an instance are misused, that is
// the instance that they were made for, not the host that used them.
func (f Finding) Instances() []Resource {
	all := f.Of(Instance)
	if f.Principal.Kind != WhoRole || !instanceID.MatchString(f.Principal.Session) {
		return all
	}
	for _, r := range all {
		if r.ID == f.Principal.Session {
			return []Resource{r}
		}
	}
	return all
}

// AccountARN stands for the whole account where a finding names no resource that has an ARN.
func (f Finding) AccountARN() string {
	return fmt.Sprintf("arn:%s:iam::%s:root", f.Partition, f.Account)
}

// Kind of a resource: the type name that CloudFormation, Config and OCSF use.
type Kind string

const (
	Instance  Kind = "AWS::EC2::Instance"
	Bucket    Kind = "AWS::S3::Bucket"
	User      Kind = "AWS::IAM::User"
	Role      Kind = "AWS::IAM::Role"
	AccessKey Kind = "AWS::IAM::AccessKey"
)

// Part is what a resource plays in a finding.
type Part string

const (
	Actor  Part = "actor"
	Target Part = "target"
)

// Resource is one resource that a finding names. ARN is empty where the finding says too little for one: no action is
// possible then.
type Resource struct {
	Type    Kind
	ID      string
	ARN     string
	Account string
	Region  string // empty for global ones
	Part    Part   // only of the resource that the finding is about, where it says so
}

// Who is the kind of a principal.
type Who string

const (
	WhoUser      Who = "user"
	WhoRole      Who = "role" // a session of a role
	WhoRoot      Who = "root"
	WhoFederated Who = "federated" // a federation token of a user
	WhoService   Who = "service"
	WhoAccount   Who = "account"
	WhoOther     Who = "other" // named, but not in a way that is safe to act on; Principal.Doubt says why
)

// Principal is the identity that an IAM finding names.
type Principal struct {
	Kind    Who    // empty where the finding names none
	Name    string // of the user or role, without its path
	ARN     string // of the user, role or root; with the path where the finding gives one
	Session string // the role session's name, where the finding gives it
	KeyID   string // as found
	Doubt   string
}

var longTermKey = regexp.MustCompile(`^AKIA[A-Z0-9]{12,124}$`)

// LongTerm tells whether the key that the finding names is a user's or root's long-term key. The prefix says so (AKIA,
// against ASIA for a session's): IAM User Guide, "IAM identifiers", unique ID prefixes.
func (p Principal) LongTerm() bool { return longTermKey.MatchString(p.KeyID) }

// BandOf is the severity band of a GuardDuty score. The bands are GuardDuty's; CRITICAL begins at 9.0.
func BandOf(score float64) incident.Band {
	switch {
	case score >= 9:
		return incident.Critical
	case score >= 7:
		return incident.High
	case score >= 4:
		return incident.Medium
	}
	return incident.Low
}

// Refusal says why something that arrived is no finding that Firebreak reads. It is recorded; nothing is acted on.
type Refusal struct {
	Reason string
	// Tell: it claims to be a security finding, so a person hears of it. Otherwise it is something else altogether.
	Tell bool
	// What the envelope says, as far as it says something. Nothing here is trusted.
	ID, Source, DetailType, Account, Region string
}

func (r *Refusal) Error() string { return r.Reason }

// Finding stands for the refused event where it is recorded: the same for each delivery of the same event. Nobody can say how
// severe it is, so one that people hear of is HIGH.
func (r *Refusal) Finding() Finding {
	f := Finding{
		Product: "refused " + r.Source + " " + r.DetailType, NativeID: r.ID, Type: r.DetailType, Title: r.Reason,
		Account: r.Account, Region: r.Region, Partition: partitionOf(r.Region), Band: incident.Info,
	}
	if r.Tell {
		f.Band = incident.High
	}
	return f
}

var (
	accountID  = regexp.MustCompile(`^\d{12}$`)
	regionName = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+)+-\d{1,2}$`)
	instanceID = regexp.MustCompile(`^i-([0-9a-f]{8}|[0-9a-f]{17})$`)
	bucketName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{1,253}[a-zA-Z0-9]$`)
	iamName    = regexp.MustCompile(`^[\w+=,.@-]{1,128}$`)
	iamPath    = regexp.MustCompile(`^([\w+=,.@-]+/)*$`)
)

// partitionOf tells a region's partition by its prefix: AWS General Reference, "Partitions".
func partitionOf(region string) string {
	for prefix, partition := range map[string]string{
		"cn-": "aws-cn", "us-gov-": "aws-us-gov", "us-iso-": "aws-iso", "us-isob-": "aws-iso-b", "eu-isoe-": "aws-iso-e",
		"us-isof-": "aws-iso-f", "eu-isof-": "aws-iso-f", "eusc-": "aws-eusc",
	} {
		if strings.HasPrefix(region, prefix) {
			return partition
		}
	}
	return "aws"
}

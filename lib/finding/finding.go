// Package finding turns what arrives into one shape, or refuses it with a reason.
//
// What decides is read strictly (product, type, severity, account, resource, principal, and whether it may be acted on at all),
// the rest leniently. A format is a file of its own; event.go finds out which one it is.
package finding

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"firebreak/lib/incident"
)

// Products, as Security Hub names them in product ARNs. A finding has the same product whether its source sent it or Security
// Hub did, so that all copies make one incident.
const (
	GuardDuty        = "aws/guardduty"
	SecurityHub      = "aws/securityhub"
	Config           = "aws/config"
	AccessAnalyzer   = "aws/access-analyzer"
	CloudTrail       = "aws/cloudtrail"
	Health           = "aws/health"
	Inspector        = "aws/inspector"
	Macie            = "aws/macie"
	IncidentResponse = "aws/security-ir"
)

// Products that findings are read of by this version; Security Hub passes on those of others.
func Products() []string {
	return []string{GuardDuty, SecurityHub, Config, AccessAnalyzer, CloudTrail, Health, Inspector, Macie, IncidentResponse}
}

// Finding is one finding, whatever it came as.
type Finding struct {
	Product  string // aws/guardduty
	NativeID string // the id within the product; with product, account and region it makes the incident
	Source   string // where to read it again: for GuardDuty the detector id, otherwise what the source is called by
	// Type is what rules match: for GuardDuty the native spelling ThreatPurpose:Resource/Detail, for Config the base name of the
	// rule, for Security Hub's own checks the control, for CloudTrail the API call, for Health the event type code.
	Type    string
	Title   string
	Account string // the finding's own, 12 digits, whoever's event carried it
	Region  string
	// Partition of Region: aws, aws-cn, aws-us-gov and so on.
	Partition string
	// Score is the number that the source gives (GuardDuty 0 to 10, Security Hub's Normalized 0 to 100), where Scored.
	Score  float64
	Scored bool
	Band   incident.Band
	// Assumed: the source grades nothing, Band is what Firebreak takes such a finding for.
	Assumed bool
	// Updated is when the source last changed the finding, LastSeen when what it reports was last seen. Zero where unknown.
	FirstSeen, LastSeen, Updated time.Time
	// About is the kind of resource that the finding itself says it is about: for GuardDuty in its words (Instance, AccessKey,
	// S3Bucket and so on), otherwise the Kind. Resources may hold others besides: an AccessKey finding often carries an instance.
	About     string
	Resources []Resource
	Principal Principal
	// Caller is the session that made an API call, CloudTrail only.
	Caller Caller
	// External are the principals outside that have access, Access Analyzer only: account ids, ARNs, or *.
	External []string
	// Only says by which of a policy's conditions they have it, key to value, Access Analyzer only.
	Only map[string]string
	// Unit is the organizational unit of Account, Hub the account that Firebreak is in. No format carries them: whoever knows sets them.
	Unit, Hub string
	Count     int
	// Sample and Archived findings are never acted on; neither is one that no longer stands, where Settled says why: resolved,
	// suppressed, closed, passed, an API call that failed.
	Sample, Archived bool
	Settled          string
	// Marked: Settled is somebody's word in Security Hub, not what the check says of the resource.
	Marked bool
	// Doubt says why the finding may not be acted on although it stands: people are told by its severity.
	Doubt string
	// Unknown: a GuardDuty type that this version does not know. Only a rule that names it to the letter acts on it.
	Unknown bool
	// Raw is an event that decodes to this finding alone.
	Raw json.RawMessage
	// Refusal is set on one of several in an event that cannot be read; the rest of the Finding stands for it.
	Refusal *Refusal
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
	return f.Settled
}

// Within leaves of External those whom trusts says nothing of. Where nobody is left it says why instead: everybody who has access is
// meant to. Everybody (*) is nobody to trust, unless a condition lets in those of an organization or an account only that is.
func (f *Finding) Within(trusts func(principal string) string) string {
	if f.Product != AccessAnalyzer || len(f.External) == 0 {
		return ""
	}
	only := ""
	for key, value := range f.Only {
		if slices.Contains([]string{"aws:principalorgid", "aws:sourceorgid", "aws:principalaccount", "aws:sourceaccount", "aws:sourceowner"}, strings.ToLower(key)) && only == "" {
			only = trusts(value)
		}
	}
	var left, why []string
	for _, who := range f.External {
		said := trusts(strings.TrimPrefix(who, "CanonicalUser:"))
		if who == "*" {
			said = only
		}
		if said == "" {
			left = append(left, who)
			continue
		}
		why = append(why, said)
	}
	if f.External = left; len(left) > 0 {
		return ""
	}
	slices.Sort(why)
	return "whoever has access is trusted: " + strings.Join(slices.Compact(why), "; ")
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
// the instance that they were made for, not the host that used them: none, where that host may be the one that the finding names.
// An attack sequence is about all that it names.
func (f Finding) Instances() []Resource {
	all := f.Of(Instance)
	switch {
	case f.Principal.Kind != WhoRole || f.About == attackSequence:
		return all
	case !instanceID.MatchString(f.Principal.Session):
		if strings.HasSuffix(f.Type, "/InstanceCredentialExfiltration.InsideAWS") {
			return nil
		}
		return all
	}
	for _, r := range all {
		if r.ID == f.Principal.Session {
			return []Resource{r}
		}
	}
	return all
}

// AccountARN stands for the whole account where a finding names no resource that has an ARN. Empty where the account is none.
func (f Finding) AccountARN() string {
	if !accountID.MatchString(f.Account) {
		return ""
	}
	partition := f.Partition
	if partition == "" {
		partition = "aws"
	}
	return fmt.Sprintf("arn:%s:iam::%s:root", partition, f.Account)
}

// People are the ARNs of the principals that the finding names: they do not approve what is done about it. A principal that is not
// acted on is named all the same; where the finding does not say whether it is a user or a role, as both.
func (f Finding) People() []string {
	out, seen := []string{}, map[string]bool{"": true}
	add := func(arn string) {
		if !seen[arn] {
			out, seen[arn] = append(out, arn), true
		}
	}
	p, partition := f.Principal, cmp.Or(f.Partition, "aws")
	add(p.ARN)
	add(p.Elsewhere)
	if p.Name != "" && p.Kind != WhoRoot && p.Kind != WhoService && p.Kind != WhoAccount {
		if p.ARN == "" && p.Kind == WhoFederated {
			add(fmt.Sprintf("arn:%s:sts::%s:federated-user/%s", partition, f.Account, p.Name))
		} else if p.ARN == "" {
			add(fmt.Sprintf("arn:%s:iam::%s:user/%s", partition, f.Account, p.Name))
			add(fmt.Sprintf("arn:%s:iam::%s:role/%s", partition, f.Account, p.Name))
		}
		if p.Session != "" {
			add(fmt.Sprintf("arn:%s:sts::%s:assumed-role/%s/%s", partition, f.Account, p.Name, p.Session))
		}
	}
	for _, r := range f.Resources {
		if r.Type == User || r.Type == Role {
			add(r.ARN)
		}
	}
	return out
}

// ARNs of the resources that have one, without repetition, in order.
func (f Finding) ARNs() []string {
	out, seen := []string{}, map[string]bool{}
	for _, r := range f.Resources {
		if r.ARN != "" && !seen[r.ARN] {
			out, seen[r.ARN] = append(out, r.ARN), true
		}
	}
	return out
}

// Caller is the session behind an API call.
type Caller struct {
	// Issuer is the ARN of the role whose session it is; empty for anybody else.
	Issuer string
	// Session is the role session's name. Anybody who may take a role chooses it: it proves nothing.
	Session string
	// SourceIdentity was set when the role was taken and cannot be changed by who took it.
	SourceIdentity string
}

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

// normalized is the band of Security Hub's Severity.Normalized, 0 to 100: Security Hub User Guide, "Severity".
func normalized(n float64) incident.Band {
	switch {
	case n >= 90:
		return incident.Critical
	case n >= 70:
		return incident.High
	case n >= 40:
		return incident.Medium
	case n >= 1:
		return incident.Low
	}
	return incident.Info
}

// bandNamed is the band that a source gives in a word, "" for a word that is none.
func bandNamed(word string) incident.Band {
	switch strings.ToUpper(strings.TrimSpace(word)) {
	case "CRITICAL", "FATAL":
		return incident.Critical
	case "HIGH":
		return incident.High
	case "MEDIUM", "MODERATE":
		return incident.Medium
	case "LOW":
		return incident.Low
	case "INFORMATIONAL", "INFO", "INFORMATION", "UNTRIAGED":
		return incident.Info
	}
	return ""
}

// Refusal says why something that arrived is no finding that Firebreak reads. It is recorded; nothing is acted on.
type Refusal struct {
	Reason string
	// Tell: it claims to be a security finding, so a person hears of it. Otherwise it is something else altogether.
	Tell bool
	// What the envelope says, as far as it says something. Nothing here is trusted. ID is the hash of the content, because envelope
	// ids repeat, or of what the finding is known by where that could be read.
	ID, Source, DetailType, Account, Region string
	// Read is what could be read of a finding before it made no sense; nil where it is none.
	Read *Finding
}

func (r *Refusal) Error() string { return r.Reason }

// Finding stands for the refused event where it is recorded: the same for each delivery of the same event. Nobody can say how
// severe it is, so one that people hear of is HIGH.
func (r *Refusal) Finding() Finding {
	f := Finding{Type: r.DetailType, Account: r.Account, Region: r.Region, Band: incident.Info, Refusal: r}
	if r.Read != nil {
		f.Type, f.Account, f.Region = r.Read.Type, r.Read.Account, r.Read.Region
	}
	f.Product, f.NativeID, f.Title, f.Partition = "refused "+r.Source+" "+r.DetailType, r.ID, r.Reason, partitionOf(r.Region)
	if r.Tell {
		f.Band = incident.High
	}
	return f
}

var (
	accountID = regexp.MustCompile(`^\d{12}$`)
	// regionName is what a region can be called, wider than what exists: whether it is one that is looked after, the
	// installation's settings say.
	regionName = regexp.MustCompile(`^[a-z]{2,8}(-[a-z]+)+-\d{1,2}[a-z]?$`)
	partition  = regexp.MustCompile(`^aws(-[a-z]+)*$`)
)

// partitions by what the names of their regions begin with: AWS General Reference, "Partitions".
var partitions = map[string]string{
	"cn-": "aws-cn", "us-gov-": "aws-us-gov", "us-iso-": "aws-iso", "us-isob-": "aws-iso-b", "eu-isoe-": "aws-iso-e",
	"us-isof-": "aws-iso-f", "eu-isof-": "aws-iso-f", "eusc-": "aws-eusc",
}

// partitionOf tells a region's partition.
func partitionOf(region string) string {
	for prefix, partition := range partitions {
		if strings.HasPrefix(region, prefix) {
			return partition
		}
	}
	return "aws"
}

// foreign tells whether a region cannot be of a partition. One that this version does not know may have regions of any name.
func foreign(region, partition string) bool {
	own := partitionOf(region)
	return own != partition && (own != "aws" || slices.Contains(slices.Collect(maps.Values(partitions)), partition))
}

// place sets account and region; home is the ARN that the record itself carries, which knows the partition best.
func (f *Finding) place(account, region, home string) {
	f.Account, f.Region, f.Partition = account, region, partitionOf(region)
	if parts := strings.SplitN(home, ":", 3); len(parts) == 3 && parts[0] == "arn" && partition.MatchString(parts[1]) {
		f.Partition = parts[1]
	}
}

package finding

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

// isGuardDuty claims GuardDuty's findings in EventBridge's form. Other detail-types of the service (scan results, health of
// the agents) are no findings.
func isGuardDuty(e event) bool {
	return e.source == "aws.guardduty" && e.detailType == "GuardDuty Finding"
}

// decodeGuardDuty reads a finding as EventBridge delivers it: camelCase, one an event (GuardDuty User Guide, "Processing
// GuardDuty findings with EventBridge"). GetFindings answers in PascalCase, which this is not.
func decodeGuardDuty(e event) ([]Finding, error) {
	d := e.detail
	if d.text("id") == "" && d.text("Id") != "" {
		return nil, e.refuse(true, "unsupported form: the detail is in the form of GuardDuty's API (PascalCase), not of its events")
	}
	f := Finding{
		Product:   GuardDuty,
		NativeID:  d.text("id"),
		Source:    d.text("service", "detectorId"),
		Type:      d.text("type"),
		Title:     words(d.text("title"), 256),
		Account:   d.text("accountId"),
		Region:    d.text("region"),
		About:     d.text("resource", "resourceType"),
		FirstSeen: d.time("service", "eventFirstSeen"),
		LastSeen:  d.time("service", "eventLastSeen"),
		Updated:   d.time("updatedAt"),
		Raw:       json.RawMessage(e.raw),
	}
	if n, ok := d.number("service", "count"); ok && n >= 0 && n < math.MaxInt32 {
		f.Count = int(n)
	}
	if f.LastSeen.IsZero() {
		f.LastSeen = f.Updated
	}
	if f.FirstSeen.IsZero() {
		f.FirstSeen = d.time("createdAt")
	}
	if err := f.decides(e, d); err != nil {
		return nil, err
	}
	part := map[string]Part{"ACTOR": Actor, "TARGET": Target}[d.text("service", "resourceRole")]
	r := d.object("resource")
	f.Principal = principal(f, r.object("accessKeyDetails"))
	f.Resources = f.resources(r, part)
	f.Sample = f.isSample(d)
	return []Finding{f}, nil
}

// decides fills and checks what decides. A finding that contradicts itself here is refused: nobody can say whom it is about.
func (f *Finding) decides(e event, d tree) error {
	doubt := func(format string, args ...any) error {
		return e.refuse(true, "a GuardDuty finding that cannot be read: "+format, args...)
	}
	if name := d.text("service", "serviceName"); name != "" && name != "guardduty" {
		return doubt("service.serviceName is %q", words(name, 40))
	}
	if a, err := arn.Parse(d.text("arn")); err == nil {
		// The envelope is not asked: the administrator account's copy carries the administrator's account.
		if f.Region == "" {
			f.Region = a.Region
		}
		parts := strings.Split(a.Resource, "/")
		switch last := parts[len(parts)-1]; {
		case a.AccountID != f.Account || a.Region != f.Region:
			return doubt("its ARN says account %q and region %q, its detail %q and %q", words(a.AccountID, 20), words(a.Region, 30), words(f.Account, 20), words(f.Region, 30))
		case len(parts) == 4 && parts[0] == "detector" && last != f.NativeID:
			return doubt("its ARN ends in %q, its id is %q", words(last, 80), words(f.NativeID, 80))
		case f.Source == "" && len(parts) == 4:
			f.Source = parts[1]
		}
	}
	switch {
	case f.NativeID == "" || len(f.NativeID) > 256:
		return doubt("id is missing or longer than 256 characters")
	case f.Type == "" || len(f.Type) > 256 || words(f.Type, 256) != f.Type:
		return doubt("type is %s", shown(d.at("type")))
	case !accountID.MatchString(f.Account):
		return doubt("accountId is %s, not a string of 12 digits", shown(d.at("accountId")))
	case !regionName.MatchString(f.Region):
		return doubt("region is %s, not the name of a region", shown(d.at("region")))
	}
	f.Partition = partitionOf(f.Region)
	score, ok := d.number("severity")
	if !ok || score < 0 || score > 10 {
		return doubt("severity is %s, not a number from 0 to 10", shown(d.at("severity")))
	}
	f.Score, f.Band = score, BandOf(score)
	archived, ok := d.flag("service", "archived")
	if !ok {
		return doubt("service.archived is %s, neither true nor false", shown(d.at("service", "archived")))
	}
	f.Archived = archived
	return nil
}

func shown(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("%q", words(v, 60))
	case json.Number:
		return words(v.String(), 60)
	}
	return kindOf(v)
}

// resources lists what the finding names: instance, buckets, principal, key. What a finding is about comes first.
func (f *Finding) resources(r tree, part Part) []Resource {
	var out []Resource
	add := func(about string, res Resource) {
		res.Account = f.Account
		if about == f.About {
			res.Part = part
		}
		for _, have := range out {
			if have.Type == res.Type && have.ID == res.ID {
				return
			}
		}
		out = append(out, res)
	}
	instance := func() {
		if id := r.text("instanceDetails", "instanceId"); id != "" {
			add("Instance", f.instance(id))
		}
	}
	buckets := func() {
		for _, v := range r.list("s3BucketDetails") {
			if b, ok := v.(map[string]any); ok {
				if res, ok := f.bucket(tree(b)); ok {
					add("S3Bucket", res)
				}
			}
		}
	}
	identity := func() {
		p := f.Principal
		switch {
		case p.Kind == WhoUser:
			add("AccessKey", Resource{Type: User, ID: p.Name, ARN: p.ARN})
		case p.Kind == WhoRole:
			add("AccessKey", Resource{Type: Role, ID: p.Name, ARN: p.ARN})
		}
		if p.KeyID != "" {
			add("AccessKey", Resource{Type: AccessKey, ID: words(p.KeyID, 128)})
		}
	}
	switch f.About {
	case "AccessKey":
		identity()
		instance()
		buckets()
	case "S3Bucket":
		buckets()
		identity()
		instance()
	default:
		instance()
		identity()
		buckets()
	}
	// EC2 names the role sessions of an instance after it (IAM User Guide, "Using an IAM role to grant permissions to
	// applications running on Amazon EC2"): the session tells whose credentials these are, also where the finding does not.
	if f.Principal.Kind == WhoRole && instanceID.MatchString(f.Principal.Session) {
		add("Instance", f.instance(f.Principal.Session))
	}
	return out
}

func (f *Finding) instance(id string) Resource {
	res := Resource{Type: Instance, ID: words(id, 64), Region: f.Region}
	if instanceID.MatchString(id) {
		res.ARN = fmt.Sprintf("arn:%s:ec2:%s:%s:instance/%s", f.Partition, f.Region, f.Account, id)
	}
	return res
}

// bucket gives no ARN when name and ARN disagree, and for what is no general purpose bucket.
func (f *Finding) bucket(b tree) (Resource, bool) {
	name, given := b.text("name"), b.text("arn")
	a, err := arn.Parse(given)
	if name == "" && err == nil && a.Service == "s3" {
		name = a.Resource
	}
	if name == "" {
		return Resource{}, false
	}
	res := Resource{Type: Bucket, ID: words(name, 255), Region: f.Region}
	if want := fmt.Sprintf("arn:%s:s3:::%s", f.Partition, name); bucketName.MatchString(name) && (given == "" || given == want) {
		res.ARN = want
	}
	return res, true
}

// principal reads accessKeyDetails. userType, the unique id's prefix and the key's prefix must tell the same story; where they
// do not, the principal is named but not acted on.
func principal(f Finding, k tree) Principal {
	name, kind, unique := k.text("userName"), k.text("userType"), k.text("principalId")
	p := Principal{KeyID: k.text("accessKeyId"), Kind: WhoOther}
	if name == "" && kind == "" && unique == "" && p.KeyID == "" {
		return Principal{}
	}
	unique, p.Session, _ = strings.Cut(unique, ":")
	doubt := func(format string, args ...any) Principal {
		p.Kind, p.ARN, p.Doubt = WhoOther, "", fmt.Sprintf(format, args...)
		return p
	}
	resource := ""
	switch kind {
	case "IAMUser":
		p.Kind, resource = WhoUser, "user"
	case "AssumedRole", "Role":
		p.Kind, resource = WhoRole, "role"
	case "Root":
		p.Kind, p.Name, p.ARN = WhoRoot, "root", f.AccountARN()
		return p
	case "FederatedUser":
		p.Kind = WhoFederated
	case "AWSService":
		p.Kind = WhoService
	case "AWSAccount":
		p.Kind = WhoAccount
	default:
		p.Name = words(name, 128)
		return doubt("the user type is %q", words(kind, 40))
	}
	if resource == "" {
		p.Name = words(name, 128)
		return p
	}
	path := ""
	if a, err := arn.Parse(name); err == nil {
		given, rest, _ := strings.Cut(a.Resource, "/")
		switch {
		case a.AccountID != f.Account:
			return doubt("the principal %s is of another account", words(name, 200))
		case given == "assumed-role" && p.Kind == WhoRole:
			rest, p.Session, _ = strings.Cut(rest, "/")
		case given != resource:
			return doubt("the user type is %s and the name %s", kind, words(name, 200))
		}
		name = rest
	}
	if i := strings.LastIndex(name, "/"); i >= 0 {
		path, name = strings.TrimPrefix(name[:i+1], "/"), name[i+1:]
	}
	p.Name = words(name, 128)
	switch {
	case !iamName.MatchString(name) || !iamPath.MatchString(path) || strings.Contains(path, ".."):
		return doubt("the user name is %q", words(k.text("userName"), 80))
	case p.Kind == WhoUser && (strings.HasPrefix(unique, "AROA") || unique == f.Account):
		return doubt("the user type is %s and the principal id %s", kind, words(unique, 40))
	case p.Kind == WhoRole && (strings.HasPrefix(unique, "AIDA") || unique == f.Account):
		return doubt("the user type is %s and the principal id %s", kind, words(unique, 40))
	case p.Kind == WhoRole && p.LongTerm():
		return doubt("the user type is %s and the key %s a long-term one, which roles do not have", kind, p.KeyID)
	}
	p.ARN = fmt.Sprintf("arn:%s:iam::%s:%s/%s%s", f.Partition, f.Account, resource, path, name)
	return p
}

// isSample recognizes findings that GuardDuty made up (CreateSampleFindings). Only marks count that nobody in the account can
// choose: a user may be called GeneratedFindingUserName, its unique id and its key never are.
func (f *Finding) isSample(d tree) bool {
	if said, ok := d.flag("service", "additionalInfo", "sample"); said || !ok {
		return true
	}
	if value, err := parse([]byte(d.text("service", "additionalInfo", "value"))); err == nil {
		if m, ok := value.(map[string]any); ok {
			if said, ok := tree(m).flag("sample"); said || !ok {
				return true
			}
		}
	}
	k := d.object("resource", "accessKeyDetails")
	unique, made := k.text("principalId"), "GeneratedFinding"
	return strings.HasPrefix(d.text("title"), "[SAMPLE]") ||
		d.text("resource", "instanceDetails", "instanceId") == "i-99999999" ||
		strings.HasPrefix(unique, made) || strings.HasPrefix(f.Principal.KeyID, made) ||
		unique == "" && f.Principal.KeyID == "" && strings.HasPrefix(k.text("userName"), made)
}

// People are the ARNs of the principals that the finding names.
func (f Finding) People() []string {
	if f.Principal.ARN == "" {
		return []string{}
	}
	return []string{f.Principal.ARN}
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

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

// isGuardDutyRecord claims a finding without its envelope, as an event carries it or as GetFindings answers it: by the service
// that it says it is of, its ARN, or a type that looks like one.
func isGuardDutyRecord(t tree) bool {
	t = camel(t)
	purpose, _, _ := strings.Cut(t.text("type"), ":")
	return t.text("service", "serviceName") == "guardduty" || strings.Contains(t.text("arn"), ":guardduty:") ||
		purpose != "" && strings.Contains(t.text("type"), ":") && strings.Contains(t.text("type"), "/") && t.at("resourcesAffected") == nil &&
			(t.object("resource") != nil || t.object("service") != nil)
}

// camel gives a finding in the form of its events: the API writes the same names with a capital. Names of resource types,
// which stand as keys too, have colons and stay.
func camel(t tree) tree {
	if t.at("type") != nil || t.at("id") != nil || t.at("Type") == nil && t.at("Id") == nil {
		return t
	}
	return lowered(map[string]any(t)).(map[string]any)
}

func lowered(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, item := range v {
			if k != "" && k[0] >= 'A' && k[0] <= 'Z' && !strings.Contains(k, ":") {
				k = string(k[0]+'a'-'A') + k[1:]
			}
			out[k] = lowered(item)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = lowered(item)
		}
		return out
	}
	return v
}

// decodeGuardDuty reads a finding as EventBridge delivers it (camelCase, one an event: GuardDuty User Guide, "Processing
// GuardDuty findings with EventBridge") and as GetFindings answers it (the same with capitals).
func decodeGuardDuty(e event) []reading {
	d := camel(e.detail)
	f := Finding{
		Product:   GuardDuty,
		NativeID:  d.text("id"),
		Source:    d.text("service", "detectorId"),
		Type:      d.text("type"),
		Title:     words(d.text("title"), 256),
		Account:   d.text("accountId"),
		Region:    d.text("region"),
		About:     d.text("resource", "resourceType"),
		FirstSeen: first(d.time("service", "eventFirstSeen"), d.time("createdAt")),
		LastSeen:  first(d.time("service", "eventLastSeen"), d.time("updatedAt")),
		Updated:   d.time("updatedAt"),
		Unknown:   !Known(d.text("type")),
	}
	if n, ok := d.number("service", "count"); ok && n >= 0 && n < math.MaxInt32 {
		f.Count = int(n)
	}
	refusal := f.decides(e, d)
	r := d.object("resource")
	switch f.About {
	case "":
		f.About = aboutOf(f.Type)
	case "S3Object":
		f.About = "S3Bucket" // as in Security Hub's forms, whose types do not tell
	}
	part := parts[d.text("service", "resourceRole")]
	f.Principal = principal(f, r.object("accessKeyDetails"))
	found := map[string][]Resource{"AccessKey": f.identities(f.Principal)}
	if id := r.text("instanceDetails", "instanceId"); id != "" {
		i := f.named(Instance, id)
		i.Tags = tagsOf(r.at("instanceDetails", "tags"))
		found["Instance"] = append(found["Instance"], i)
	}
	for _, b := range r.items("s3BucketDetails") {
		if res, ok := f.bucket(b); ok {
			found["S3Bucket"] = append(found["S3Bucket"], res)
		}
	}
	for about, res := range f.others(r) {
		found[about] = append(found[about], res)
	}
	if f.About == attackSequence || aboutOf(f.Type) == attackSequence {
		f.sequence(d.object("service", "detection", "sequence"))
	}
	f.arrange(found, part)
	f.scanned(r, part)
	if f.Type == trailStopped {
		f.trails(d.at("service", "action", "awsApiCallAction", "affectedResources", string(Trail)))
	}
	f.Sample = f.isSample(d)
	if refusal != nil {
		return []reading{{refusal: refusal.has(f), alone: map[string]any(e.whole)}}
	}
	return read1(f, map[string]any(e.whole))
}

// decides fills and checks what decides. A finding that contradicts itself here is refused: nobody can say whom it is about.
func (f *Finding) decides(e event, d tree) *Refusal {
	doubt := func(format string, args ...any) *Refusal {
		return e.refuse(true, "a GuardDuty finding that cannot be read: "+format, args...)
	}
	score, graded := d.number("severity")
	if graded = graded && score >= 0 && score <= 10; graded {
		f.Score, f.Scored, f.Band = score, true, BandOf(score)
	}
	if name := d.text("service", "serviceName"); name != "" && name != "guardduty" {
		return doubt("service.serviceName is %q", words(name, 40))
	}
	f.place(f.Account, f.Region, d.text("arn"))
	archived, said := d.flag("service", "archived")
	f.Archived = archived
	if !accountID.MatchString(f.Account) {
		return doubt("accountId is %s, not a string of 12 digits", shown(d.at("accountId")))
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
		case foreign(f.Region, a.Partition):
			return doubt("its ARN says partition %s, which region %s is not of", words(a.Partition, 20), words(f.Region, 30))
		case len(parts) == 4 && parts[0] == "detector" && last != f.NativeID:
			return doubt("its ARN ends in %q, its id is %q", words(last, 80), words(f.NativeID, 80))
		case f.Source == "" && len(parts) == 4:
			f.Source = parts[1]
		}
	}
	if f.Region == "" {
		// GuardDuty is regional: each copy is sent in the finding's region.
		f.Region = e.region
	}
	switch {
	case f.NativeID == "" || len(f.NativeID) > 256:
		return doubt("id is missing or longer than 256 characters")
	case f.Type == "" || len(f.Type) > 256 || words(f.Type, 256) != f.Type:
		return doubt("type is %s", shown(d.at("type")))
	case !regionName.MatchString(f.Region):
		return doubt("region is %s, not the name of a region", shown(d.at("region")))
	case !graded:
		return doubt("severity is %s, not a number from 0 to 10", shown(d.at("severity")))
	}
	f.place(f.Account, f.Region, d.text("arn"))
	for _, path := range [][]string{{"service"}, {"service", "additionalInfo"}, {"resource"}, {"resource", "accessKeyDetails"}, {"resource", "instanceDetails"}} {
		if v := d.at(path...); v != nil && d.object(path...) == nil {
			return doubt("%s is %s, not an object", strings.Join(path, "."), formOf(v))
		}
	}
	if v := d.at("resource", "accessKeyDetails", "accessKeyId"); v != nil && formOf(v) != "a string" {
		return doubt("resource.accessKeyDetails.accessKeyId is %s, not a string", formOf(v))
	}
	if !said {
		return doubt("service.archived is %s, neither true nor false", shown(d.at("service", "archived")))
	}
	return nil
}

func shown(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("%q", words(v, 60))
	case json.Number:
		return words(tree{"n": v}.digits("n"), 60)
	}
	return formOf(v)
}

// arrange puts the resources into the finding, what it is about first and with its part.
func (f *Finding) arrange(found map[string][]Resource, part Part) {
	order := []string{f.About, "Instance", "AccessKey", "S3Bucket", "EKSCluster", "ECSCluster", "Container", "RDSDBInstance", "Lambda"}
	if f.About == "S3Bucket" {
		order = []string{"S3Bucket", "AccessKey", "Instance"}
	}
	for i, about := range order {
		if i > 0 && about == f.About {
			continue
		}
		for _, r := range found[about] {
			if about == f.About {
				r.Part = part
			}
			f.add(r)
		}
	}
	// EC2 names the role sessions of an instance after it (IAM User Guide, "Using an IAM role to grant permissions to
	// applications running on Amazon EC2"): the session tells whose credentials these are, also where the finding does not. Only of these
	// types has GuardDuty made sure that an instance's they are: whoever else takes a role chooses the session's name.
	if f.Principal.Kind == WhoRole && instanceID.MatchString(f.Principal.Session) && strings.Contains(f.Type, "/InstanceCredentialExfiltration") {
		f.add(f.named(Instance, f.Principal.Session))
	}
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
	res := Resource{Type: Bucket, ID: words(name, 255), Account: f.Account, Region: f.Region, Tags: tagsOf(b.at("tags"))}
	if want := fmt.Sprintf("arn:%s:s3:::%s", f.Partition, name); shapes[Bucket].fits(name) && (given == "" || given == want) {
		res.ARN = want
	}
	return res, true
}

// others are the kinds of resources that no action is aimed at yet, for people to see.
func (f *Finding) others(r tree) map[string]Resource {
	out := map[string]Resource{}
	put := func(about string, k Kind, given ...string) {
		for _, g := range given {
			if g != "" {
				out[about] = f.named(k, g)
				return
			}
		}
	}
	put("EKSCluster", EKSCluster, r.text("eksClusterDetails", "arn"), r.text("eksClusterDetails", "name"))
	put("ECSCluster", ECSCluster, r.text("ecsClusterDetails", "arn"), r.text("ecsClusterDetails", "name"))
	put("RDSLimitlessDB", "AWS::RDS::DBShardGroup", r.text("rdsLimitlessDbDetails", "dbShardGroupArn"), r.text("rdsLimitlessDbDetails", "dbShardGroupIdentifier"))
	put("Lambda", Function, r.text("lambdaDetails", "functionArn"), r.text("lambdaDetails", "functionName"))
	for _, db := range r.items("rdsDbInstanceDetails") {
		put("RDSDBInstance", Database, db.text("dbInstanceArn"), db.text("dbInstanceIdentifier"))
	}
	return out
}

// scanned adds what malware was found in that is neither instance nor bucket: backups, and objects beside their bucket.
func (f *Finding) scanned(r tree, part Part) {
	for _, backup := range []Resource{
		f.named(Snapshot, r.text("ebsSnapshotDetails", "snapshotArn")), f.named(Image, r.text("ec2ImageDetails", "imageArn")),
		f.named("AWS::Backup::RecoveryPoint", r.text("recoveryPointDetails", "recoveryPointArn")),
	} {
		backup.Part = part
		f.add(backup)
	}
	for _, b := range r.items("s3BucketDetails") {
		for _, o := range b.items("s3ObjectDetails") {
			f.add(f.named(Object, firstText(o.text("objectArn"), o.text("key"))))
		}
	}
}

// trailStopped is the type whose remedy is in its action rather than in its resource.
const trailStopped = "Stealth:IAMUser/CloudTrailLoggingDisabled"

// trails adds the trails that an API call affected: one as a string, or several as a list.
func (f *Finding) trails(v any) {
	list, _ := v.([]any)
	if v, ok := v.(string); ok {
		list = []any{v}
	}
	for _, item := range list {
		if name, ok := item.(string); ok && name != "" {
			f.add(f.named(Trail, name))
		}
	}
}

// isSample recognizes findings that GuardDuty made up (CreateSampleFindings). Only marks count that nobody in the account can
// choose: a user may be called GeneratedFindingUserName, its unique id and its key never are.
func (f *Finding) isSample(d tree) bool {
	if said, ok := d.flag("service", "additionalInfo", "sample"); said || !ok {
		return true
	}
	if sampled(d.text("service", "additionalInfo", "value")) {
		return true
	}
	return f.looksMade(d.text("title"), d.text("resource", "instanceDetails", "instanceId"), d.text("resource", "accessKeyDetails", "principalId"), d.text("resource", "accessKeyDetails", "userName"))
}

// sampled tells whether the JSON of additionalInfo.value says sample.
func sampled(value string) bool {
	v, err := parse([]byte(value))
	if t := asTree(v); err == nil && t != nil {
		said, ok := t.flag("sample")
		return said || !ok
	}
	return false
}

// looksMade knows the ids that sample findings have instead of real ones.
func (f *Finding) looksMade(title, instance, unique, user string) bool {
	const made = "GeneratedFinding"
	return strings.HasPrefix(title, "[SAMPLE]") || instance == "i-99999999" ||
		strings.HasPrefix(unique, made) || strings.HasPrefix(f.Principal.KeyID, made) ||
		unique == "" && f.Principal.KeyID == "" && strings.HasPrefix(user, made)
}

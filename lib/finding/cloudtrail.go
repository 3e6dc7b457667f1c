package finding

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"firebreak/lib/incident"
)

// isCloudTrail claims API calls, sign-ins and console actions that CloudTrail delivers.
func isCloudTrail(e event) bool {
	return strings.HasSuffix(e.detailType, "via CloudTrail") && e.detail.at("eventName") != nil
}

// isCloudTrailRecord claims a record as CloudTrail's files have it. S3, SQS and CodeCommit call their records' fields the same;
// their eventSource is aws:s3.
func isCloudTrailRecord(t tree) bool {
	return t.at("eventName") != nil && strings.Contains(t.text("eventSource"), ".amazonaws.com")
}

// call is one API call that is watched.
type call struct {
	f *Finding
	d tree
	p tree // requestParameters
}

// watch says what a call would be if it succeeded: it grades the finding, names its resources and says in words what it did.
// "" for a call that harms nothing.
type watch func(call) string

// watched are the calls that are findings, by eventSource and eventName (CloudTrail User Guide, "CloudTrail record contents";
// Lambda and others append a version to names, none of these do).
var watched = map[string]watch{
	"ec2 AuthorizeSecurityGroupIngress":    opensGroup,
	"ec2 ModifySecurityGroupRules":         opensGroup,
	"ec2 ModifySnapshotAttribute":          sharesSnapshot,
	"ec2 ModifyImageAttribute":             sharesImage,
	"rds ModifyDBSnapshotAttribute":        sharesDBSnapshot,
	"rds ModifyDBClusterSnapshotAttribute": sharesDBSnapshot,
	"rds CreateDBInstance":                 publishesDatabase,
	"rds ModifyDBInstance":                 publishesDatabase,
	"rds RestoreDBInstanceFromDBSnapshot":  publishesDatabase,
	"rds CreateDBCluster":                  publishesDatabase,
	"rds ModifyDBCluster":                  publishesDatabase,
	"cloudtrail StopLogging":               stopsTrail,
	"cloudtrail DeleteTrail":               stopsTrail,
	"cloudtrail PutEventSelectors":         narrowsTrail,
	"cloudtrail UpdateTrail":               changesTrail,
	"s3 PutBucketAcl":                      publishesByACL,
	"s3 PutObjectAcl":                      publishesByACL,
	"s3 PutBucketPolicy":                   publishesByPolicy,
	"signin ConsoleLogin":                  signsInAsRoot,
	"iam CreateAccessKey":                  makesKey,
}

// Calls are those that are watched, as service and name, in no order: the event rules let them through.
func Calls() []string { return slices.Collect(maps.Keys(watched)) }

// only says what is watched for in a call, where that is not plain.
var only = map[string]string{
	"ConsoleLogin": " (only root's sign-ins are)", "CreateAccessKey": " (only keys that one makes for another are)",
	"AuthorizeSecurityGroupIngress": " (it lets the world in nowhere)", "ModifySecurityGroupRules": " (it lets the world in nowhere)",
	"PutBucketAcl": " (it grants nothing to everybody)", "PutObjectAcl": " (it grants nothing to everybody)", "PutBucketPolicy": " (it lets not everybody in)",
}

// decodeCloudTrail reads a record (CloudTrail User Guide, "CloudTrail record contents"). Calls that nobody watches, and calls that
// harm nothing, are no findings; a watched call that failed is recorded.
func decodeCloudTrail(e event) []reading {
	d := e.detail
	service, _, _ := strings.Cut(d.text("eventSource"), ".")
	name := d.text("eventName")
	w := watched[service+" "+name]
	if strings.Contains(d.text("eventType")+d.text("eventCategory"), "Insight") {
		return e.refused(false, "not a finding: CloudTrail Insights counts calls of %s", words(name, 80))
	}
	if w == nil {
		return e.refused(false, "not a finding: nobody watches for the call %s of %s", words(name, 80), words(service, 40))
	}
	f := Finding{
		Product: CloudTrail, Assumed: true, NativeID: d.text("eventID"), Source: service, Type: words(name, 128),
		FirstSeen: d.time("eventTime"), LastSeen: d.time("eventTime"), Updated: d.time("eventTime"), Band: incident.Low,
	}
	f.object(d, "userIdentity")
	who := d.object("userIdentity")
	f.place(firstText(d.digits("recipientAccountId"), who.digits("accountId"), e.account), firstText(d.text("awsRegion"), e.region), who.text("arn"))
	f.Caller = Caller{Issuer: who.text("sessionContext", "sessionIssuer", "arn"), SourceIdentity: who.text("sessionContext", "sourceIdentity")}
	f.Principal = identity(f, who)
	f.Caller.Session = f.Principal.Session
	p := d.object("requestParameters")
	did := w(call{&f, d, p})
	if did == "" {
		return e.refused(false, "not a finding: this %s does nothing that is watched for%s", words(name, 80), only[name])
	}
	f.Title = words(by(f.Principal)+" "+did, 256)
	f.aboutTheFirst()
	for i := range f.Resources {
		f.Resources[i].Part = Target
		f.owned(&f.Resources[i], d)
	}
	for _, r := range f.identities(f.Principal) {
		if r.Part = Actor; r.Type != AccessKey {
			f.add(r)
		}
	}
	code := d.text("errorCode")
	if d.at("errorCode") != nil && formOf(d.at("errorCode")) != "a string" {
		f.doubt("errorCode is %s: nobody can say whether the call failed", formOf(d.at("errorCode")))
	}
	switch {
	case strings.Contains(code, "DryRun"), dry(p), dry(p.object("ModifySecurityGroupRulesRequest")):
		f.Settled = "the call was a dry run: nothing changed"
	case d.at("errorCode") != nil && code != "", d.at("errorCode") == nil && d.text("errorMessage") != "":
		f.Settled = "the call failed (" + words(firstText(code, d.text("errorMessage")), 80) + "): nothing changed"
	case name == "ConsoleLogin" && d.text("responseElements", "ConsoleLogin") != "Success":
		f.Settled = "the sign-in did not succeed"
	}
	return e.done(f, "a CloudTrail record", map[string]any(e.whole))
}

// dry tells whether the parameters ask for a dry run, or say of it what cannot be read.
func dry(p tree) bool {
	for _, key := range []string{"dryRun", "DryRun"} {
		if asked, ok := p.flag(key); asked || !ok {
			return true
		}
	}
	return false
}

// owned drops the ARN of a resource that the record itself says is another account's: the caller's copy of a call across
// accounts has it.
func (f *Finding) owned(r *Resource, d tree) {
	for _, named := range d.items("resources") {
		owner := named.digits("accountId")
		if arn := named.any("ARN", "arn"); arn != "" && arn == r.ARN && owner != "" && owner != f.Account {
			r.Account, r.ARN = words(owner, 20), ""
		}
	}
}

// identity reads userIdentity: userName stands for IAM users only, an assumed role's name with its session's issuer (CloudTrail
// User Guide, "CloudTrail userIdentity element").
func identity(f Finding, who tree) Principal {
	k := tree{"userType": who.text("type"), "userName": who.text("userName"), "principalId": who.text("principalId"), "accessKeyId": who.text("accessKeyId")}
	issuer := who.object("sessionContext", "sessionIssuer")
	switch who.text("type") {
	case "AssumedRole":
		k["userName"] = firstText(issuer.text("arn"), who.text("arn"), issuer.text("userName"))
	case "IAMUser":
		k["userName"] = firstText(who.text("arn"), who.text("userName"))
	case "FederatedUser":
		k["userName"] = firstText(who.text("userName"), who.text("arn")[strings.LastIndex(who.text("arn"), "/")+1:])
	case "", "Unknown":
		if who.text("invokedBy") != "" || strings.HasSuffix(who.text("principalId"), ".amazonaws.com") {
			k["userType"] = "AWSService"
		}
	}
	return principal(f, k)
}

// by says who did it.
func by(p Principal) string {
	if p.Kind == "" || p.Kind == WhoOther && p.Name == "" {
		return "somebody"
	}
	if p.Kind == WhoRoot {
		return "root"
	}
	return strings.TrimSpace(string(p.Kind) + " " + p.Name)
}

func opensGroup(c call) string {
	group := firstText(c.p.text("groupId"), c.p.text("ModifySecurityGroupRulesRequest", "GroupId"))
	open := openings(c.p)
	if len(open) == 0 {
		return ""
	}
	// The call by name, in a default VPC: the answer has the group's id.
	for _, rule := range c.d.items("responseElements", "securityGroupRuleSet", "items") {
		group = firstText(group, rule.text("groupId"))
	}
	group = firstText(group, c.p.text("groupName"))
	c.f.add(c.f.named(SecurityGroup, group))
	for _, o := range open {
		if o.odd != "" {
			c.f.doubt("of a rule of the group %s", o.odd)
		}
		if o.administrative() {
			c.f.Band = incident.High
			return fmt.Sprintf("opened %s of security group %s to the world, an administrative port", o, group)
		}
	}
	return fmt.Sprintf("opened %s of security group %s to the world", open[0], group)
}

func stopsTrail(c call) string {
	name := c.p.text("name")
	c.f.Band = incident.High
	c.f.add(c.f.named(Trail, name))
	if c.f.Type == "DeleteTrail" {
		return "deleted the trail " + name
	}
	return "stopped the trail " + name
}

// narrowsTrail: a trail that leaves out management events, or half of them, sees no attacker.
func narrowsTrail(c call) string {
	name := c.p.text("trailName")
	c.f.add(c.f.named(Trail, name))
	c.f.Band = incident.Medium
	for _, s := range c.p.items("eventSelectors") {
		if on, ok := s.flag("includeManagementEvents"); s.at("includeManagementEvents") != nil && (!on || !ok) || s.text("readWriteType") != "" && s.text("readWriteType") != "All" {
			c.f.Band = incident.High
			return "narrowed what the trail " + name + " records of management events"
		}
	}
	if advanced := c.p.items("advancedEventSelectors"); len(advanced) > 0 && !slices.ContainsFunc(advanced, allManagement) {
		c.f.Band = incident.High
		return "narrowed what the trail " + name + " records of management events"
	}
	return "changed what the trail " + name + " records"
}

// allManagement tells whether an advanced selector takes every management event. Leaving out single sources is common: KMS's are many.
func allManagement(selector tree) bool {
	category := false
	for _, f := range selector.items("fieldSelectors") {
		switch field := f.text("field"); {
		case field == "eventCategory" && slices.Contains(f.list("equals"), any("Management")):
			category = true
		case field == "eventSource" && f.at("notEquals") != nil && len(f) == 2:
		default:
			return false
		}
	}
	return category
}

// changesTrail: a trail of one region, without global services or without digests, or that writes elsewhere, hides what comes next.
func changesTrail(c call) string {
	name := c.p.text("name")
	c.f.add(c.f.named(Trail, name))
	c.f.Band = incident.Medium
	for _, part := range []string{"isMultiRegionTrail", "includeGlobalServiceEvents", "enableLogFileValidation", "isOrganizationTrail"} {
		if on, ok := c.p.flag(part); c.p.at(part) != nil && (!on || !ok) {
			c.f.Band = incident.High
			return "switched " + part + " of the trail " + name + " off"
		}
	}
	if bucket := c.p.text("s3BucketName"); bucket != "" {
		c.f.Band = incident.High
		return "made the trail " + name + " write to bucket " + bucket
	}
	return "changed the trail " + name
}

func signsInAsRoot(c call) string {
	if c.d.text("userIdentity", "type") != "Root" {
		return ""
	}
	c.f.Band = incident.High
	c.f.add(Resource{Type: Account, ID: c.f.Account, Account: c.f.Account})
	return "signed in to the console"
}

// makesKey: a key for oneself has no userName in its parameters, or one's own.
func makesKey(c call) string {
	user, who := c.p.text("userName"), c.d.object("userIdentity")
	own := user == "" || who.text("type") == "IAMUser" && who.text("userName") == user
	if own && who.text("type") != "Root" {
		return ""
	}
	c.f.Band = incident.High
	made := c.d.text("responseElements", "accessKey", "accessKeyId")
	if user == "" {
		c.f.add(Resource{Type: Account, ID: c.f.Account, Account: c.f.Account})
		return "made itself an access key"
	}
	c.f.add(c.f.named(User, user))
	if made != "" {
		c.f.add(Resource{Type: AccessKey, ID: words(made, 128), Account: c.f.Account})
	}
	return "made an access key for user " + user
}

func publishesDatabase(c call) string {
	public, sure := c.p.flag("publiclyAccessible")
	if !public && sure {
		return ""
	}
	c.f.Band = incident.High
	name, k := c.p.text("dBInstanceIdentifier"), Database
	if name == "" {
		name, k = c.p.text("dBClusterIdentifier"), DBCluster
	}
	c.f.add(c.f.named(k, name))
	return "made the database " + name + " public"
}

func sharesSnapshot(c call) string {
	return c.shares(Snapshot, c.p.text("snapshotId"), c.p.items("createVolumePermission", "add", "items"))
}

func sharesImage(c call) string {
	return c.shares(Image, c.p.text("imageId"), c.p.items("launchPermission", "add", "items"))
}

func (c call) shares(k Kind, id string, with []tree) string {
	var who []string
	for _, t := range with {
		if t.text("group") == "all" {
			who = append(who, "all")
		} else if u := t.digits("userId"); u != "" {
			who = append(who, u)
		}
	}
	return c.shared(k, id, who)
}

func sharesDBSnapshot(c call) string {
	id, k := c.p.text("dBSnapshotIdentifier"), DBSnapshot
	if id == "" {
		id, k = c.p.text("dBClusterSnapshotIdentifier"), DBClusterSnap
	}
	var who []string
	for _, v := range c.p.list("valuesToAdd") {
		if s, ok := v.(string); ok {
			who = append(who, s)
		}
	}
	if c.p.text("attributeName") != "restore" {
		return ""
	}
	return c.shared(k, id, who)
}

// shared grades sharing: with everybody HIGH, with a named account MEDIUM, because accounts of one organization do that.
func (c call) shared(k Kind, id string, who []string) string {
	if len(who) == 0 {
		return ""
	}
	c.f.add(c.f.named(k, id))
	c.f.Band = incident.Medium
	for _, w := range who {
		if w == "all" {
			c.f.Band = incident.High
			return "shared " + id + " with everybody"
		}
	}
	return "shared " + id + " with " + strings.Join(who, ", ")
}

func publishesByACL(c call) string {
	if !publicACL(map[string]any(c.p)) {
		return ""
	}
	return c.publishes("by its ACL")
}

func publishesByPolicy(c call) string {
	if !publicPolicy(c.p.at("bucketPolicy")) {
		return ""
	}
	return c.publishes("by its policy")
}

func (c call) publishes(how string) string {
	name := c.p.text("bucketName")
	c.f.Band = incident.High
	c.f.add(c.f.named(Bucket, name))
	if key := c.p.text("key"); c.f.Type == "PutObjectAcl" {
		c.f.Resources = append([]Resource{{Type: Object, ID: words(name+"/"+key, 512), Account: c.f.Account}}, c.f.Resources...)
		return "made the object " + key + " of bucket " + name + " public " + how
	}
	return "made bucket " + name + " public " + how
}

package finding

import (
	"regexp"
	"strings"

	"firebreak/lib/incident"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

// isSecurityHub claims the events that carry findings: ASFF (imported, and sent by a person's custom action, which has several)
// and OCSF (Findings Imported V2). Insight results are counts, not findings.
func isSecurityHub(e event) bool {
	return e.source == "aws.securityhub" && e.detail.at("findings") != nil
}

// isSecurityHubRecord claims a finding in one of Security Hub's formats.
func isSecurityHubRecord(t tree) bool { return isASFF(t) || isOCSF(t) }

// decodeSecurityHub reads all findings of an event, or a bare one.
func decodeSecurityHub(e event) []reading {
	if !e.enveloped {
		return []reading{decodeHub(e, e.detail, map[string]any(e.whole))}
	}
	list, ok := e.detail.at("findings").([]any)
	if !ok || len(list) == 0 {
		return e.refused(true, "a Security Hub event without findings: detail.findings is %s", formOf(e.detail.at("findings")))
	}
	out := make([]reading, 0, len(list))
	for _, item := range list {
		alone := map[string]any(e.whole)
		if len(list) > 1 {
			alone = e.whole.with([]any{item}, "detail", "findings")
			if e.whole.at("detail-type") == nil { // as PutEvents takes it
				alone = map[string]any{"detail-type": e.detailType, "source": e.source, "detail": map[string]any{"findings": []any{item}}}
			}
		}
		one := e
		one.whole = alone
		out = append(out, decodeHub(one, asTree(item), alone))
	}
	return out
}

func decodeHub(e event, t tree, alone any) reading {
	switch {
	case t == nil:
		return reading{refusal: e.refuse(true, "a Security Hub finding that cannot be read: it is not an object"), alone: alone}
	case isOCSF(t):
		return decodeOCSF(e, t, alone)
	case isASFF(t):
		return decodeASFF(e, t, alone)
	}
	return reading{refusal: e.refuse(true, "a Security Hub finding that is neither in ASFF (no ProductArn) nor in OCSF (no class_uid)"), alone: alone}
}

// productARN is how Security Hub names who made a finding. Only AWS's own have no account and begin with aws/: what anybody may
// import goes under <account>/default or a partner's name (Security Hub User Guide, "BatchImportFindings"). GuardDuty's guide writes its
// own without the colon of the account ("Typical finding from GuardDuty").
var productARN = regexp.MustCompile(`^arn:aws[a-z-]*::?securityhub:([a-z][a-z0-9-]*)?(?::(\d*))?:product(?:v2)?/([\w.-]+/[\w.-]+)$`)

// product takes a product ARN apart. The finding is in doubt unless AWS made it.
func (f *Finding) product(given string) (region string) {
	m := productARN.FindStringSubmatch(given)
	switch {
	case m == nil:
		f.Product = "unknown"
		f.doubt("its product is %s: only findings of AWS's own services are acted on", quoted(given))
		return ""
	case m[2] != "" || !strings.HasPrefix(m[3], "aws/"):
		f.doubt("it was imported as a finding of %s: only findings of AWS's own services are acted on", words(m[3], 80))
	}
	f.Product = m[3]
	return m[1]
}

// native gives the id within the product: what all copies of a finding have in common. AWS services put it at the end of their
// finding's ARN.
func native(id string) string {
	for _, mark := range []string{"/finding/", ":finding/"} {
		if i := strings.LastIndex(id, mark); i >= 0 && strings.HasPrefix(id, "arn:") {
			return id[i+len(mark):]
		}
	}
	return id
}

// home takes account and region of the ARN that a finding is called by; a malformed one (arn:aws::guardduty:…) gives none.
func home(id string) (account, region string) {
	if a, err := arn.Parse(id); err == nil && wellFormed(a) {
		return a.AccountID, a.Region
	}
	return "", ""
}

// detector is the id of the GuardDuty detector in the ARN of a finding.
func detector(id string) string {
	_, rest, ok := strings.Cut(id, ":detector/")
	if !ok {
		return ""
	}
	d, _, _ := strings.Cut(rest, "/")
	return d
}

// isASFF claims a finding in AWS's own format: PascalCase, with the ARN of its product.
func isASFF(t tree) bool {
	return t.at("ProductArn") != nil || t.text("SchemaVersion") == "2018-10-08" && t.at("AwsAccountId") != nil
}

// decodeASFF reads one finding (Security Hub User Guide, "AWS Security Finding Format").
func decodeASFF(e event, t tree, alone any) reading {
	id := t.text("Id")
	f := Finding{
		NativeID: native(id), Title: words(t.text("Title"), 256),
		FirstSeen: first(t.time("FirstObservedAt"), t.time("CreatedAt")),
		LastSeen:  first(t.time("LastObservedAt"), t.time("UpdatedAt")),
		Updated:   t.time("UpdatedAt"),
	}
	region := f.product(t.text("ProductArn"))
	account, at := home(id)
	f.place(t.text("AwsAccountId"), firstText(t.text("Region"), at, region, e.region), firstText(t.text("ProductArn"), id))
	if account != "" && account != f.Account {
		f.doubt("it says account %s, its id is of account %s", quoted(f.Account), account)
	}
	fields := asffFields{t.object("ProductFields")}
	f.asffType(t, fields)
	f.asffSeverity(t, fields)
	f.asffState(t, fields)
	f.asffResources(t, fields)
	if f.Band == "" {
		return reading{refusal: e.unreadable(f, "a Security Hub finding", "its severity is %s", formOf(t.at("Severity"))), alone: alone}
	}
	f.configured(t, fields)
	if f.Product == Health && !f.hubHealth(t) {
		return reading{refusal: e.refuse(false, notThreatening, words(f.Type, 120)), alone: alone}
	}
	if r := e.check(f, "a Security Hub finding"); r != nil {
		return reading{refusal: r, alone: alone}
	}
	return reading{finding: f, alone: alone}
}

func firstText(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

// asffFields are ProductFields: a flat map of strings. GuardDuty writes aws/guardduty/service/archived, and wrote archived.
type asffFields struct{ tree }

func (p asffFields) guardDuty(name string) string {
	return firstText(p.text("aws/guardduty/service/"+name), p.text(name))
}

// asffType says what rules match: GuardDuty's own type, the control of a check, otherwise the first of Types. As the provider wrote
// them, where that is there: at top level BatchUpdateFindings changes them, which anybody in the account may be allowed to call.
func (f *Finding) asffType(t tree, fields asffFields) {
	list := t.list("FindingProviderFields", "Types")
	if len(list) == 0 {
		list = t.list("Types")
	}
	f.Type = words(typeOf(list), 256)
	switch f.Product {
	case GuardDuty:
		f.Unknown = !Known(f.Type)
		f.Source = firstText(detector(t.text("Id")), fields.guardDuty("detectorId"))
	case SecurityHub:
		generator := t.text("GeneratorId")
		f.Source = words(generator, 256)
		control := firstText(t.text("Compliance", "SecurityControlId"), fields.text("ControlId"), fields.text("RuleId"), generator[strings.LastIndex(generator, "/")+1:])
		if control != "" {
			f.Type = words(control, 128)
		}
	case AccessAnalyzer:
		if strings.Contains(f.Type, "External Access Granted") {
			f.Type = externalAccess
		}
		if who := fields.text("External Principal"); who != "" {
			f.External = []string{words(who, 256)}
		}
	}
}

// asffSeverity takes the label; findings from before there was one have Normalized and Product only. ProductFields may say
// something else again and is not asked.
func (f *Finding) asffSeverity(t tree, _ asffFields) {
	s := t.object("Severity")
	if s == nil {
		s = t.object("FindingProviderFields", "Severity")
	}
	n, ok := s.number("Normalized")
	if ok = ok && n >= 0 && n <= 100; ok {
		f.Score, f.Scored = n, true
	}
	if own, has := s.number("Product"); has && f.Product == GuardDuty && own >= 0 && own <= 10 {
		f.Score, f.Scored = own, true
	}
	f.Band = bandNamed(s.text("Label"))
	if f.Band == "" && ok {
		f.Band = normalized(n)
	}
}

// asffState says whether the finding still stands.
func (f *Finding) asffState(t tree, fields asffFields) {
	for _, key := range []string{"Workflow", "Compliance", "ProductFields"} {
		f.object(t, key)
	}
	state := f.word(t, []string{"ACTIVE", "ARCHIVED"}, "RecordState")
	steps := []string{"NEW", "ASSIGNED", "IN_PROGRESS", "DEFERRED", "NOTIFIED", "SUPPRESSED", "RESOLVED"}
	workflow := firstText(f.word(t, steps, "Workflow", "Status"), f.word(t, steps, "WorkflowState"))
	archived, ok := fields.flag("aws/guardduty/service/archived")
	if fields.at("aws/guardduty/service/archived") == nil {
		archived, ok = fields.flag("archived")
	}
	sample, sure := t.flag("Sample")
	made, said := fields.flag("aws/guardduty/service/additionalInfo/sample")
	f.Sample = sample || !sure || made || !said || sampled(fields.guardDuty("additionalInfo/value")) || sampled(fields.guardDuty("additionalInfo"))
	compliance := f.word(t, []string{"PASSED", "WARNING", "FAILED", "NOT_AVAILABLE"}, "Compliance", "Status")
	switch {
	case state == "ARCHIVED", archived, !ok && f.Product == GuardDuty:
		f.Archived = true
	case workflow == "RESOLVED", workflow == "SUPPRESSED":
		f.Settled = "the finding is " + strings.ToLower(workflow) + " in Security Hub"
		// Security Hub itself resolves what a check passes (Security Hub User Guide, "Setting the workflow status of findings").
		f.Marked = workflow == "SUPPRESSED" || compliance == "FAILED"
	case compliance != "" && compliance != "FAILED":
		f.Settled = "the check did not fail: its compliance status is " + words(compliance, 40)
	case f.Product == Inspector && strings.EqualFold(fields.text("aws/inspector/FindingStatus"), "CLOSED"):
		f.Settled = "the finding is closed"
	}
}

// asffResources reads Resources, and for GuardDuty the principal and what the finding is about.
func (f *Finding) asffResources(t tree, fields asffFields) {
	list := t.items("Resources")
	found := map[string][]Resource{}
	var rest []Resource
	var unique, user string
	part := parts[fields.guardDuty("resourceRole")]
	for _, r := range list {
		k, id := kindNamed(r.text("Type")), r.text("Id")
		if part == "" {
			part = parts[r.text("ResourceRole")]
		}
		switch k {
		case AccessKey:
			d := asffKey(r)
			unique, user = d.text("principalId"), d.text("userName")
			f.holder(d)
			continue
		case Account:
			id = id[strings.LastIndex(id, ":")+1:]
		case "Other":
			if guessed := kindOfARN(id); guessed != "" {
				k = guessed
			}
		}
		res := f.placed("", r.text("Region"), f.named(k, id))
		res.Tags = tagsOf(r.at("Tags"))
		if about := words2about[k]; f.Product == GuardDuty && about != "" {
			found[about] = append(found[about], res)
			continue
		}
		rest = append(rest, res)
	}
	if f.Product != GuardDuty {
		for _, r := range append(f.identities(f.Principal), rest...) {
			f.add(r)
		}
		f.aboutTheFirst()
		return
	}
	f.guardDutyResources(found, rest, part)
	if f.About == attackSequence {
		f.sequence(asTree(lowered(map[string]any(t.object("Detection", "Sequence")))))
	}
	if f.Type == trailStopped {
		f.trails(fields.guardDuty("action/awsApiCallAction/affectedResources/" + string(Trail)))
	}
	instance := ""
	if i := f.Of(Instance); len(i) > 0 {
		instance = i[0].ID
	}
	f.Sample = f.Sample || f.looksMade(t.text("Title"), instance, unique, user)
}

// words2about are GuardDuty's words for what a finding is about.
var words2about = map[Kind]string{
	Instance: "Instance", Bucket: "S3Bucket", EKSCluster: "EKSCluster", ECSCluster: "ECSCluster", "AWS::ECS::Task": "ECSCluster", "Container": "Container", Database: "RDSDBInstance", Function: "Lambda",
}

// guardDutyResources arranges a GuardDuty finding that came through Security Hub as the native one would be.
func (f *Finding) guardDutyResources(found map[string][]Resource, rest []Resource, part Part) {
	found["AccessKey"] = f.identities(f.Principal)
	f.About = aboutOf(f.Type)
	switch {
	case f.About == "S3Bucket" && len(found["S3Bucket"]) == 0:
		f.About = "AccessKey"
	case f.About == "":
		for _, about := range []string{"EKSCluster", "ECSCluster", "Container", "Instance", "AccessKey", "S3Bucket", "Lambda", "RDSDBInstance"} {
			if len(found[about]) > 0 {
				f.About = about
				break
			}
		}
	}
	f.arrange(found, part)
	for _, r := range rest {
		f.add(r)
	}
}

// holder reads whose a key is: the finding's principal, or one of several that an attack sequence names.
func (f *Finding) holder(k tree) {
	switch {
	case aboutOf(f.Type) == attackSequence:
		f.credential(k, "", "")
	case f.Principal.Kind == "":
		f.Principal = principal(*f, k)
	}
}

// asffKey brings AwsIamAccessKey into GuardDuty's words. The id is AWS::IAM::AccessKey:<key>, with "null" where there is none;
// findings from before PrincipalType existed have the user's name alone.
func asffKey(r tree) tree {
	d := r.object("Details", "AwsIamAccessKey")
	id := strings.TrimPrefix(r.text("Id"), "AWS::IAM::AccessKey:")
	if i := strings.LastIndexAny(id, ":/"); i >= 0 {
		id = id[i+1:]
	}
	if id == "null" {
		id = ""
	}
	out := tree{
		"accessKeyId": firstText(d.text("AccessKeyId"), id), "principalId": d.text("PrincipalId"),
		"userName": firstText(d.text("UserName"), d.text("PrincipalName")), "userType": d.text("PrincipalType"),
	}
	if out["userType"] == "" && longTermKey.MatchString(out.text("accessKeyId")) && !strings.EqualFold(out.text("userName"), "root") {
		out["userType"] = "IAMUser"
	}
	return out
}

// kindOfARN tells the kind of what Security Hub calls Other by its ARN.
func kindOfARN(given string) Kind {
	a, err := arn.Parse(given)
	if err != nil || !wellFormed(a) {
		return ""
	}
	for k, sh := range shapes {
		if sh.prefix != "" && a.Service == sh.service && strings.HasPrefix(a.Resource, sh.prefix) {
			return k
		}
	}
	return ""
}

// configured gives a finding of AWS Config that came through Security Hub the type and the id that Config's own event has.
func (f *Finding) configured(t tree, fields asffFields) {
	if f.Product != Config {
		return
	}
	rule := firstText(fields.text("aws/config/ConfigRuleArn"), t.text("GeneratorId"))
	name := firstText(fields.text("aws/config/ConfigRuleName"), t.text("Title"))
	if !strings.Contains(rule, ":config-rule/") || len(f.Resources) != 1 {
		return
	}
	f.Source = words(name, 256)
	f.Type, f.NativeID = baseRule(name), configID(rule, f.Resources[0].ID)
	if f.Band == incident.Info {
		f.Band = incident.Medium
	}
}

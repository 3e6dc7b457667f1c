package finding

import (
	"strings"

	"firebreak/lib/incident"
)

// isOCSF claims a finding in the Open Cybersecurity Schema Framework: classes of the category Findings.
func isOCSF(t tree) bool {
	category, _ := t.number("category_uid")
	return t.at("class_uid") != nil && (t.object("finding_info") != nil || t.object("finding") != nil || category == 2)
}

// classes that are read: vulnerability, compliance, detection and data security findings, and the security findings of before
// 1.1 (OCSF schema, category Findings). Incident findings (2005) are somebody's case about findings.
var classes = map[float64]bool{2001: true, 2002: true, 2003: true, 2004: true, 2006: true}

// decodeOCSF reads one finding as Security Hub sends it since its second version, and as Security Lake stores it.
func decodeOCSF(e event, t tree, alone any) reading {
	refuse := func(tell bool, reason string, args ...any) reading {
		return reading{refusal: e.refuse(tell, reason, args...), alone: alone}
	}
	class, _ := t.number("class_uid")
	info := t.object("finding_info")
	if info == nil {
		info = t.object("finding")
	}
	switch {
	case isCoverage(t, info):
		return refuse(false, "not a finding: it says how far Security Hub's coverage reaches")
	case !classes[class]:
		return refuse(false, "not a finding in a class that is read: class_uid is %s", shown(t.at("class_uid")))
	case info == nil:
		return refuse(true, "a Security Hub finding that cannot be read: finding_info is missing")
	}
	uid := info.text("uid")
	f := Finding{
		NativeID: firstText(native(uid), info.text("uid_alt"), t.text("metadata", "uid")), Title: words(info.text("title"), 256),
		FirstSeen: first(info.time("first_seen_time_dt"), info.time("first_seen_time"), info.time("created_time_dt"), info.time("created_time")),
		LastSeen:  first(info.time("last_seen_time_dt"), info.time("last_seen_time"), info.time("modified_time_dt"), info.time("modified_time"), t.time("time_dt"), t.time("time")),
		Updated:   first(info.time("modified_time_dt"), info.time("modified_time"), t.time("time_dt"), t.time("time")),
	}
	region := f.product(t.text("metadata", "product", "uid"))
	account, at := home(uid)
	f.place(firstText(t.text("cloud", "account", "uid"), t.text("cloud", "account_uid")), firstText(t.text("cloud", "region"), at, region, e.region), firstText(t.text("metadata", "product", "uid"), uid))
	if account != "" && account != f.Account {
		f.doubt("it says account %s, its id is of account %s", quoted(f.Account), account)
	}
	f.ocsfType(t, info, uid)
	if f.Band = ocsfBand(t); f.Band == "" {
		return reading{refusal: e.unreadable(f, "a Security Hub finding", "its severity is %s, severity_id %s", quoted(t.text("severity")), quoted(t.digits("severity_id"))), alone: alone}
	}
	f.ocsfState(t)
	f.ocsfResources(t)
	if r := e.check(f, "a Security Hub finding"); r != nil {
		return reading{refusal: r, alone: alone}
	}
	return reading{finding: f, alone: alone}
}

// isCoverage recognizes findings about what Security Hub itself covers: which accounts and resources have a service enabled.
func isCoverage(t, info tree) bool {
	said := []string{t.text("class_name"), t.text("category_name"), t.text("metadata", "product", "feature", "name"), t.text("metadata", "product", "feature", "uid"), info.text("analytic", "name"), info.text("analytic", "category"), info.text("analytic", "uid")}
	for _, v := range info.list("types") {
		if s, ok := v.(string); ok {
			said = append(said, s)
		}
	}
	if strings.HasSuffix(t.text("metadata", "product", "uid"), "/"+SecurityHub) {
		said = append(said, info.text("title"))
	}
	for _, s := range said {
		if strings.Contains(strings.ToLower(s), "coverage") {
			return true
		}
	}
	return false
}

func (f *Finding) ocsfType(t, info tree, uid string) {
	f.Type = words(typeOf(info.list("types")), 256)
	switch f.Product {
	case GuardDuty:
		f.Unknown = !Known(f.Type)
		f.Source = firstText(detector(uid), info.text("product", "uid"))
	case SecurityHub:
		f.Source = words(firstText(t.text("metadata", "product", "feature", "uid"), info.text("analytic", "uid")), 256)
		if control := firstText(t.text("compliance", "control"), t.text("unmapped", "ProductFields.ControlId")); control != "" {
			f.Type = words(control, 128)
		}
	}
	if f.Type == "" {
		f.Type = words(t.text("class_name"), 128)
	}
}

// ocsfBand reads severity_id (1 informational to 5 critical, 6 fatal), else the word.
func ocsfBand(t tree) incident.Band {
	if n, ok := t.number("severity_id"); ok {
		if b := map[float64]incident.Band{1: incident.Info, 2: incident.Low, 3: incident.Medium, 4: incident.High, 5: incident.Critical, 6: incident.Critical}[n]; b != "" {
			return b
		}
	}
	return bandNamed(t.text("severity"))
}

// ocsfState says whether the finding still stands: by what happened to it (activity 3 is Close), by its status (3 suppressed, 4
// resolved, 5 archived, 6 deleted), and for a check by its outcome.
func (f *Finding) ocsfState(t tree) {
	activity, _ := t.number("activity_id")
	id, _ := t.number("status_id")
	if id == 0 {
		id, _ = t.number("state_id")
	}
	status := strings.ToLower(firstText(t.text("status"), t.text("state")))
	fields := asffFields{t.object("unmapped")}
	archived, ok := fields.flag("ProductFields.aws/guardduty/service/archived")
	sample, sure := fields.flag("ProductFields.aws/guardduty/service/additionalInfo/sample")
	f.Sample = sample || !sure || sampled(fields.text("ProductFields.aws/guardduty/service/additionalInfo/value"))
	compliance := t.object("compliance")
	outcome, judged := compliance.number("status_id")
	word := strings.ToLower(compliance.text("status"))
	if v := t.at("status"); v != nil && formOf(v) != "a string" && id == 0 {
		f.doubt("status is %s, not a string", formOf(v))
	}
	switch {
	case archived, !ok, strings.EqualFold(fields.text("RecordState"), "ARCHIVED"), id == 5, status == "archived":
		f.Archived = true
	case activity == 3, strings.EqualFold(t.text("activity_name"), "Close"):
		f.Settled = "the finding was closed"
	case id == 3, status == "suppressed":
		f.Settled = "the finding is suppressed in Security Hub"
	case id == 4, status == "resolved":
		f.Settled = "the finding is resolved in Security Hub"
	case id == 6, status == "deleted":
		f.Settled = "the finding was deleted"
	case strings.HasPrefix(word, "pass"), word == "warning", strings.HasPrefix(word, "not"), word == "" && judged && outcome != 3:
		f.Settled = "the check did not fail: its compliance status is " + words(firstText(compliance.text("status"), compliance.digits("status_id")), 40)
	}
}

// ocsfResources reads resources (one object before 1.2), whose data is an object, a JSON string or absent, and whose uid may be
// an ARN, a bare id, a hash or a URL with the ARN beside it.
func (f *Finding) ocsfResources(t tree) {
	list := append(t.items("resources"), t.items("resource")...)
	found := map[string][]Resource{}
	var rest []Resource
	var part Part
	var unique, user string
	for _, r := range list {
		k := kindNamed(r.text("type"))
		data := ocsfData(r)
		if part == "" {
			part = parts[r.text("role")]
		}
		if id, _ := r.number("role_id"); part == "" {
			part = map[float64]Part{1: Target, 2: Actor}[id]
		}
		if k == AccessKey {
			d := ocsfKey(r, data)
			unique, user = d.text("principalId"), d.text("userName")
			if owner := r.digits("owner", "account", "uid"); owner != "" && owner != f.Account {
				rest = append(rest, Resource{Type: AccessKey, ID: words(d.text("accessKeyId"), 128), Account: words(owner, 20)})
				continue
			}
			f.holder(d)
			continue
		}
		res := f.placed(r.digits("owner", "account", "uid"), r.text("region"), f.named(k, ocsfID(k, r, data)))
		res.Tags = tagsOf(r.at("tags"))
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
	// The second mapping has GuardDuty's action among the evidence, the first flat.
	affected := []any{}
	for _, e := range t.items("evidences") {
		d := ocsfData(e)
		if p := parts[d.text("resource_role")]; part == "" {
			part = p
		}
		affected = append(affected, d.at("affected_resource", string(Trail)))
	}
	unmapped := t.object("unmapped")
	if p := parts[unmapped.text("ProductFields.aws/guardduty/service/resourceRole")]; p != "" {
		part = p
	}
	f.guardDutyResources(found, rest, part)
	if f.Type == trailStopped {
		for _, v := range append(affected, unmapped.at("ProductFields.aws/guardduty/service/action/awsApiCallAction/affectedResources/"+string(Trail))) {
			f.trails(v)
		}
	}
	instance := ""
	if i := f.Of(Instance); len(i) > 0 {
		instance = i[0].ID
	}
	f.Sample = f.Sample || f.looksMade(t.text("finding_info", "title"), instance, unique, user)
}

// ocsfData is a resource's details.
func ocsfData(r tree) tree {
	for _, key := range []string{"data", "details"} {
		if d := r.object(key); d != nil {
			return d
		}
		if v, err := parse([]byte(r.text(key))); err == nil && asTree(v) != nil {
			return asTree(v)
		}
	}
	return nil
}

// ocsfID is what a resource is called by: the ARN where one is given, else the id.
func ocsfID(k Kind, r, data tree) string {
	for _, s := range []string{r.text("uid"), r.text("uid_alt")} {
		if strings.HasPrefix(s, "arn:") {
			return s
		}
	}
	if k == Bucket {
		return firstText(r.text("name"), r.text("uid"))
	}
	if sh, ok := shapes[k]; ok {
		for _, s := range []string{r.text("uid"), data.text("instance_id"), r.text("name"), data.text("arn")} {
			if sh.fits(s) || strings.HasPrefix(s, "arn:") {
				return s
			}
		}
	}
	return firstText(r.text("uid"), r.text("name"))
}

// ocsfKey brings an access key into GuardDuty's words. Security Hub's first mapping puts ASFF's details into data as a JSON
// string; its second writes them in snake case and shortens the key in uid, or has the key there and the user's name beside it.
func ocsfKey(r, data tree) tree {
	if d := data.object("AwsIamAccessKey"); d != nil {
		return asffKey(tree{"Id": r.text("uid"), "Details": map[string]any{"AwsIamAccessKey": map[string]any(d)}})
	}
	out := asffKey(tree{"Id": r.text("uid"), "Details": map[string]any{"AwsIamAccessKey": map[string]any{
		"AccessKeyId": data.any("access_key_id", "accessKeyId"), "PrincipalId": data.any("principal_id", "principalId"),
		"UserName": firstText(data.any("user_name", "userName"), r.text("user", "name")), "PrincipalType": data.any("user_type", "userType", "principal_type"),
	}}})
	if id := out.text("accessKeyId"); !longTermKey.MatchString(id) && !sessionKey.MatchString(id) && data.any("access_key_id", "accessKeyId") == "" {
		// A shortened or hashed key names none.
		out["accessKeyId"] = ""
	}
	return out
}

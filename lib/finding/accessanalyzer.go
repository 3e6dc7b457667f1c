package finding

import (
	"slices"
	"strings"

	"firebreak/lib/incident"
)

// externalAccess is the type of a finding about somebody outside; events do not carry it, the API does.
const externalAccess = "ExternalAccess"

// isAccessAnalyzer claims the three kinds of findings. A preview's change of state says something about a policy that nobody has
// put in force.
func isAccessAnalyzer(e event) bool {
	return e.source == "aws.access-analyzer" && strings.Contains(e.detailType, "Finding")
}

// isAccessAnalyzerRecord claims a finding as ListFindings answers it.
func isAccessAnalyzerRecord(t tree) bool {
	return t.at("analyzedAt") != nil && t.at("resourceType") != nil && t.at("status") != nil && t.at("ProductArn") == nil
}

// decodeAccessAnalyzer reads a finding of IAM Access Analyzer (IAM User Guide, "Monitoring IAM Access Analyzer with Amazon
// EventBridge"). It grades nothing: what is public is HIGH, access from outside MEDIUM, unused access LOW.
func decodeAccessAnalyzer(e event) []reading {
	d := e.detail
	resource := d.text("resource")
	owner, at := home(resource)
	f := Finding{
		Product: AccessAnalyzer, Assumed: true, NativeID: firstText(d.text("id"), d.text("findingId")), Type: words(d.text("findingType"), 128), Band: incident.Medium,
		FirstSeen: d.time("createdAt"), LastSeen: first(d.time("analyzedAt"), d.time("updatedAt")), Updated: d.time("updatedAt"),
	}
	if list, _ := e.whole.at("resources").([]any); len(list) == 1 {
		if analyzer, ok := list[0].(string); ok {
			f.Source = words(analyzer, 256)
		}
	}
	// Three accounts can differ: the envelope's is the analyzer's, accountId the finding's, and the resource has one of its own.
	f.place(firstText(d.text("resourceOwnerAccount"), d.digits("accountId"), owner, e.account), firstText(d.text("region"), at, e.region), resource)
	if owner != "" && owner != f.Account {
		f.doubt("it says account %s, its resource is of account %s", quoted(f.Account), owner)
	}
	// GetFindingV2 has what was granted one level down.
	granted := d
	for _, detail := range d.items("findingDetails") {
		if g := detail.object("externalAccessDetails"); g != nil {
			granted = g
			break
		}
	}
	public, sure := granted.flag("isPublic")
	switch {
	case f.Type == "" && strings.HasPrefix(e.detailType, "Unused"):
		f.Type = "UnusedAccess"
	case f.Type == "" && strings.HasPrefix(e.detailType, "Internal"):
		f.Type = "InternalAccess"
	case f.Type == "":
		f.Type = externalAccess
	}
	switch {
	case f.Type == externalAccess && public:
		f.Band = incident.High
	case strings.HasPrefix(f.Type, "Unused"):
		f.Band = incident.Low
	}
	k := kindNamed(d.text("resourceType"))
	f.About = string(k)
	r := f.named(k, resource)
	if r.ARN == "" && owner != "" && f.Doubt == "" {
		f.doubt("its resource %s is not the ARN of a %s", quoted(resource), k)
	}
	f.add(r)
	f.External = outsiders(granted.at("principal"))
	for key := range granted.object("condition") {
		if f.Only == nil {
			f.Only = map[string]string{}
		}
		f.Only[words(key, 128)] = words(granted.object("condition").text(key), 256)
	}
	if public { // the finding leaves out the operator: one with IfExists, or a negation, keeps nobody out
		f.Only = nil
	}
	f.Title = words(string(k)+" "+r.ID+": "+f.Type+" by "+strings.Join(f.External, ", "), 256)
	if len(f.External) == 0 {
		f.Title = words(string(k)+" "+r.ID+": "+f.Type, 256)
	}
	deleted, known := d.flag("isDeleted")
	status := d.text("status")
	switch {
	case deleted:
		f.Settled = "the resource or the access was deleted"
	case status == "ARCHIVED":
		f.Archived = true
	case status == "RESOLVED":
		f.Settled = "the finding is resolved: the access is gone"
	case status != "ACTIVE":
		f.doubt("its status is %s, not ACTIVE, ARCHIVED or RESOLVED", shown(d.at("status")))
	case !known || !sure:
		f.doubt("isDeleted or isPublic is neither true nor false")
	case d.at("error") != nil && d.at("error") != "":
		f.doubt("Access Analyzer could not analyze the resource: %s", words(firstText(d.text("error"), formOf(d.at("error"))), 80))
	case f.Type == externalAccess && len(f.External) == 0:
		f.doubt("it names nobody who has access")
	}
	return e.done(f, "an Access Analyzer finding", map[string]any(e.whole))
}

// outsiders are the principals of a finding: a map from their kind to who they are, or one of them alone.
func outsiders(v any) []string {
	if s, ok := v.(string); ok && s != "" {
		return []string{words(s, 256)}
	}
	var out []string
	t := asTree(v)
	for kind := range t {
		who := words(t.text(kind), 256)
		if who == "" {
			continue
		}
		if kind != "AWS" {
			who = words(kind, 40) + ":" + who
		}
		out = append(out, who)
	}
	slices.Sort(out)
	return out
}

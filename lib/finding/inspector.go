package finding

import "strings"

// isInspector claims Inspector's findings; its scans and coverage are none.
func isInspector(e event) bool {
	return e.source == "aws.inspector2" && e.detailType == "Inspector2 Finding"
}

// isInspectorRecord claims a finding as ListFindings answers it.
func isInspectorRecord(t tree) bool {
	return strings.Contains(t.text("findingArn"), ":inspector2:") && t.at("awsAccountId") != nil
}

// decodeInspector reads a vulnerability or a reachable port (Amazon Inspector User Guide, "EventBridge event schema").
func decodeInspector(e event) []reading {
	d := e.detail
	id := d.text("findingArn")
	account, region := home(id)
	_, native, ok := strings.Cut(id, ":finding/")
	if !ok {
		native = id
	}
	f := Finding{
		Product: Inspector, NativeID: native, Source: id, Type: words(d.text("type"), 128), Title: words(d.text("title"), 256), Band: bandNamed(d.text("severity")),
		FirstSeen: d.time("firstObservedAt"), LastSeen: first(d.time("lastObservedAt"), d.time("updatedAt")), Updated: d.time("updatedAt"),
	}
	if n, ok := d.number("inspectorScore"); ok {
		f.Score, f.Scored = n, true
	}
	f.place(firstText(d.digits("awsAccountId"), account, e.account), firstText(region, e.region), id)
	if account != "" && account != f.Account {
		f.doubt("it says account %s, its ARN is of account %s", quoted(f.Account), account)
	}
	for _, r := range d.items("resources") {
		res := f.named(kindNamed(r.text("type")), r.text("id"))
		res.Tags = tagsOf(r.at("tags"))
		f.add(res)
	}
	f.aboutTheFirst()
	switch status := d.text("status"); status {
	case "ACTIVE":
	case "SUPPRESSED", "CLOSED":
		f.Settled = "the finding is " + strings.ToLower(status)
	default:
		f.doubt("its status is %s, not ACTIVE, SUPPRESSED or CLOSED", shown(d.at("status")))
	}
	if f.Band == "" {
		return []reading{{refusal: e.unreadable(f, "an Inspector finding", "severity is %s", shown(d.at("severity"))), alone: map[string]any(e.whole)}}
	}
	return e.done(f, "an Inspector finding", map[string]any(e.whole))
}

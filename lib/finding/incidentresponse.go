package finding

import (
	"strings"

	"firebreak/lib/incident"
)

// isIncidentResponse claims the cases of AWS Security Incident Response; memberships are no findings.
func isIncidentResponse(e event) bool {
	return e.source == "aws.security-ir" && strings.HasPrefix(e.detailType, "Case ")
}

// isIncidentResponseRecord claims a case as ListCases answers it.
func isIncidentResponseRecord(t tree) bool {
	return strings.Contains(t.text("caseArn"), ":security-ir:") || t.at("caseId") != nil && t.at("caseStatus") != nil
}

// decodeIncidentResponse reads a case: people of AWS or of the installation already work on it, so it is told and never acted on
// (Amazon EventBridge Events Reference, "AWS Security Incident Response events"). One incident a case, whatever happens to it.
func decodeIncidentResponse(e event) []reading {
	d := e.detail
	id := d.text("caseArn")
	account, region := home(id)
	f := Finding{
		Product: IncidentResponse, Assumed: true, NativeID: firstText(d.digits("caseId"), id[strings.LastIndex(id, "/")+1:]), Source: words(id, 256),
		Type: firstText(words(e.detailType, 128), "Case"), Title: words(d.text("title"), 256), Band: incident.High,
		FirstSeen: d.time("createdDate"), LastSeen: first(d.time("lastUpdatedDate"), e.whole.time("time")), Updated: d.time("lastUpdatedDate"),
	}
	f.place(firstText(account, e.account), firstText(region, e.region), id)
	f.Title = firstText(f.Title, "AWS Security Incident Response: case "+words(f.NativeID, 64))
	if e.detailType == "Case Closed" || strings.EqualFold(d.any("caseStatus", "status"), "Closed") {
		f.Settled = "the case is closed"
	}
	f.doubt("people work on the case already")
	return e.done(f, "a case of AWS Security Incident Response", map[string]any(e.whole))
}

package finding

// isMacie claims Macie's findings.
func isMacie(e event) bool { return e.source == "aws.macie" && e.detailType == "Macie Finding" }

// isMacieRecord claims a finding as GetFindings answers it.
func isMacieRecord(t tree) bool { return t.object("resourcesAffected") != nil && t.at("type") != nil }

// decodeMacie reads a policy finding or a sensitive data finding (Amazon Macie User Guide, "EventBridge event schema").
func decodeMacie(e event) []reading {
	d := e.detail
	f := Finding{
		Product: Macie, NativeID: d.text("id"), Type: words(d.text("type"), 128), Title: words(d.text("title"), 256),
		FirstSeen: d.time("createdAt"), LastSeen: d.time("updatedAt"), Updated: d.time("updatedAt"), Band: bandNamed(d.text("severity", "description")),
	}
	f.place(firstText(d.digits("accountId"), e.account), firstText(d.text("region"), e.region), d.text("resourcesAffected", "s3Bucket", "arn"))
	if n, ok := d.number("severity", "score"); ok {
		f.Score, f.Scored = n, true
		if f.Band == "" {
			// 1 is low, 2 medium, 3 high: Macie User Guide, "Severity scoring for findings".
			f.Band = normalized(map[float64]float64{1: 1, 2: 40, 3: 70}[n])
		}
	}
	if b, ok := f.bucket(d.object("resourcesAffected", "s3Bucket")); ok {
		f.add(b)
	}
	if key := firstText(d.text("resourcesAffected", "s3Object", "path"), d.text("resourcesAffected", "s3Object", "key")); key != "" {
		f.add(Resource{Type: Object, ID: words(key, 256), Account: f.Account})
	}
	f.aboutTheFirst()
	archived, ok := d.flag("archived")
	sample, sure := d.flag("sample")
	f.Archived, f.Sample = archived || !ok, sample || !sure
	if f.Band == "" {
		return []reading{{refusal: e.unreadable(f, "a Macie finding", "severity is %s", shown(d.at("severity", "description"))), alone: map[string]any(e.whole)}}
	}
	return e.done(f, "a Macie finding", map[string]any(e.whole))
}

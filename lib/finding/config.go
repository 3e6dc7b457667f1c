package finding

import (
	"regexp"
	"strings"

	"firebreak/lib/incident"
)

// isConfig claims the change of a rule's verdict on a resource. Config's other events (configuration items, snapshots, rules
// that begin to evaluate) are no findings.
func isConfig(e event) bool {
	return e.source == "aws.config" && e.detailType == "Config Rules Compliance Change"
}

// isConfigRecord claims the same without its envelope, as Config sends it to its topic.
func isConfigRecord(t tree) bool {
	return t.object("newEvaluationResult") != nil && t.at("configRuleName") != nil
}

// decodeConfig reads a change of compliance (AWS Config Developer Guide, "Example compliance change notification"). Config grades
// nothing: a failed rule is MEDIUM until the playbook says otherwise.
func decodeConfig(e event) []reading {
	d := e.detail
	name := d.text("configRuleName")
	rule := d.any("configRuleARN", "configRuleArn")
	of := d.object("newEvaluationResult", "evaluationResultIdentifier", "evaluationResultQualifier")
	kind, id := firstText(d.text("resourceType"), of.text("resourceType")), firstText(d.text("resourceId"), of.text("resourceId"))
	account, region := home(rule)
	f := Finding{
		Product: Config, Assumed: true, Source: words(name, 256), Type: baseRule(name), Band: incident.Medium,
		FirstSeen: d.time("newEvaluationResult", "resultRecordedTime"), LastSeen: first(d.time("newEvaluationResult", "resultRecordedTime"), d.time("notificationCreationTime")),
		Title: words(d.text("newEvaluationResult", "annotation"), 256),
	}
	f.Updated = f.LastSeen
	f.place(firstText(d.text("awsAccountId"), account, e.account), firstText(d.text("awsRegion"), region, e.region), rule)
	if account != "" && account != f.Account {
		f.doubt("it says account %s, its rule is of account %s", quoted(f.Account), account)
	}
	k := kindNamed(kind)
	f.About = string(k)
	if k == Account && accountID.MatchString(id) {
		// The account is the finding's own whatever the rule's qualifier calls it.
		f.add(Resource{Type: Account, ID: id, Account: f.Account})
	} else if id != "" {
		f.add(f.configResource(k, id))
	}
	if f.Title == "" {
		f.Title = words("Config rule "+name+" on "+kind+" "+id, 256)
	}
	if rule == "" {
		rule = name
	}
	if id != "" && name != "" {
		f.NativeID = configID(rule, id)
	}
	f.object(d, "oldEvaluationResult")
	before := f.word(d, []string{"COMPLIANT", "NON_COMPLIANT", "NOT_APPLICABLE", "INSUFFICIENT_DATA"}, "oldEvaluationResult", "complianceType")
	now := d.text("newEvaluationResult", "complianceType")
	switch {
	case now == "":
		return []reading{{refusal: e.unreadable(f, "a Config compliance change", "newEvaluationResult.complianceType is %s", shown(d.at("newEvaluationResult", "complianceType"))), alone: map[string]any(e.whole)}}
	case now != "NON_COMPLIANT":
		f.Settled = "the resource is " + words(now, 40) + " with the rule"
	case before == "NON_COMPLIANT":
		f.Settled = "no change: the resource was NON_COMPLIANT before"
	}
	return e.done(f, "a Config compliance change", map[string]any(e.whole))
}

// configResource takes what Config calls resources by. For IAM that is a unique id (AIDA…, AROA…), for RDS another one: no ARN
// can be made of those.
func (f *Finding) configResource(k Kind, id string) Resource {
	switch {
	case strings.HasPrefix(id, "arn:"), k == Instance, k == Volume, k == SecurityGroup, k == Bucket, k == Snapshot, k == Image:
		return f.named(k, id)
	}
	r := Resource{Type: k, ID: words(id, 256), Account: f.Account, Region: f.Region}
	if sh, ok := shapes[k]; ok && sh.global {
		r.Region = ""
	}
	return r
}

// configID is rule and resource: the two that make an incident of Config. Rules are known by the last part of their ARN.
func configID(rule, resource string) string {
	return words(rule[strings.LastIndex(rule, "/")+1:], 256) + "|" + words(resource, 512)
}

// suffixes that conformance packs, organizations and Security Hub put on the names of the rules that they make.
var suffixes = []*regexp.Regexp{
	regexp.MustCompile(`^(.+)-conformance-pack-[a-z0-9]+$`),
	regexp.MustCompile(`^OrgConfigRule-(.+)-[a-z0-9]{8}$`),
	regexp.MustCompile(`^securityhub-(.+)-[a-z0-9]{6,8}$`),
}

// guardrail is how AWS Control Tower calls the managed rules behind its detective controls: AWS Control Tower Controls Reference Guide,
// "Strongly recommended controls".
var guardrail = regexp.MustCompile(`^AWSControlTower_AWS-GR_([A-Z0-9_]+)$`)

// baseRule is a rule's name without what its maker put round it.
func baseRule(name string) string {
	if m := guardrail.FindStringSubmatch(name); m != nil {
		return words(strings.ToLower(strings.ReplaceAll(m[1], "_", "-")), 128)
	}
	for _, s := range suffixes {
		if m := s.FindStringSubmatch(name); m != nil {
			return words(m[1], 128)
		}
	}
	return words(name, 128)
}

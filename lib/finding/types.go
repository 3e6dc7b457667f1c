package finding

import (
	_ "embed"
	"slices"
	"strings"
	"sync"
)

//go:embed guardduty_types.txt
var guarddutyTypes string

// known are GuardDuty's types.
var known = sync.OnceValue(func() map[string]bool {
	out := map[string]bool{}
	for line := range strings.Lines(guarddutyTypes) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			out[line] = true
		}
	}
	return out
})

// Known tells whether this version knows that GuardDuty type.
func Known(t string) bool { return known()[t] }

// Types are the GuardDuty types that this version knows, retired ones too, in no order.
func Types() []string {
	out := make([]string, 0, len(known()))
	for t := range known() {
		out = append(out, t)
	}
	return out
}

// nativeType gives GuardDuty's spelling of a type that Security Hub writes as
// "TTPs/Defense Evasion/Stealth:IAMUser-CloudTrailLoggingDisabled". What stands before the purpose follows no rule, so all of it
// goes, but where a part of the type stands there only (GuardDuty User Guide, "Interpreting GuardDuty finding names in AWS Security
// Hub CSPM"). What is no such type comes back as it is.
func nativeType(s string) string {
	colon := strings.Index(s, ":")
	if colon < 0 {
		// TTPs/Initial Access/IAMUser-AnomalousBehavior
		if part := strings.Split(s, "/"); len(part) == 3 {
			if t := strings.ReplaceAll(part[1], " ", "") + ":" + strings.Replace(part[2], "-", "/", 1); Known(t) {
				return t
			}
		}
		return s
	}
	slash := strings.LastIndex(s[:colon], "/") + 1
	heading := strings.TrimPrefix(s[:slash], "TTPs/")
	purpose, rest, _ := strings.Cut(s[slash:], ":")
	if !strings.Contains(rest, "/") {
		rest = strings.Replace(rest, "-", "/", 1)
	}
	t := purpose + ":" + rest
	switch {
	case t == "Trojan:EC2/DNSDataExfiltration!DNS":
		// The one name that differs in more than its punctuation.
		return "Trojan:EC2/DNSDataExfiltration"
	case heading == "AnomalousBehavior/":
		// TTPs/AnomalousBehavior/CredentialAccess:Kubernetes-SecretsAccessed
		if behavior := strings.Replace(t, "/", "/AnomalousBehavior.", 1); Known(behavior) {
			return behavior
		}
	case heading == "DefenseEvasion/" && purpose == "EC2":
		// TTPs/DefenseEvasion/EC2:Unusual-DNS-Resolver
		if evasion := "DefenseEvasion:EC2/" + strings.NewReplacer("-", "", "/", "").Replace(rest); Known(evasion) {
			return evasion
		}
	}
	return t
}

// typeOf picks the GuardDuty type among the types that Security Hub lists: the first that is known, else the first that has a
// purpose, else the first.
func typeOf(list []any) string {
	var all []string
	for _, v := range list {
		if s, ok := v.(string); ok && s != "" {
			all = append(all, nativeType(s))
		}
	}
	for _, t := range all {
		if Known(t) {
			return t
		}
	}
	for _, t := range all {
		if strings.Contains(t, ":") && strings.Contains(t, "/") {
			return t
		}
	}
	if len(all) > 0 {
		return all[0]
	}
	return ""
}

// Abouts are the kinds of resource that a finding can be about: GuardDuty's words, and Kinds.
func Abouts() []string {
	out := []string{attackSequence, "Instance", "AccessKey", "S3Bucket", "EKSCluster", "ECSCluster", "Container", "RDSDBInstance", "Lambda"}
	for _, k := range kinds {
		if !slices.Contains(out, string(k)) {
			out = append(out, string(k))
		}
	}
	slices.Sort(out)
	return out
}

// attackSequence is the purpose of a finding about several signals, and what such a finding is about.
const attackSequence = "AttackSequence"

// aboutOf says what kind of resource a GuardDuty type is about, for forms that do not say it, in GuardDuty's words. Empty where
// the type alone does not tell: a runtime finding can be about an instance, a task, a cluster.
func aboutOf(t string) string {
	purpose, rest, _ := strings.Cut(t, ":")
	if purpose == attackSequence {
		return purpose
	}
	token, _, _ := strings.Cut(rest, "/")
	return map[string]string{
		"EC2": "Instance", "IAMUser": "AccessKey", "S3": "S3Bucket", "Kubernetes": "EKSCluster", "EKS": "EKSCluster", "ECS": "ECSCluster",
		"Lambda": "Lambda", "RDS": "RDSDBInstance", "Container": "Container",
	}[token]
}

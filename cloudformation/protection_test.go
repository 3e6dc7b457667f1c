package cloudformation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"firebreak/lib/account"
	"firebreak/lib/permission"
)

// owned is a resource with the alias of its key, where it is one.
type owned struct {
	permission.Resource
	alias string
}

// own lists every resource of the project that has an ARN, as deployed in one account: the hub's, a member's, the forensic account's and
// the organization's, as if all of them were one. Remediation roles of that account could reach any of them.
func own(t *testing.T, id string) []owned {
	t.Helper()
	var out []owned
	for _, tpl := range all(t) {
		parameters := given(id)
		parameters["ManagementAccount"], parameters["SecurityAccount"] = id, id
		r, err := permission.Read(tpl.name, parameters)
		if err != nil {
			t.Fatal(err)
		}
		aliases := map[string]string{}
		for _, a := range r.Resources("AWS::KMS::Alias") {
			aliases[a.Text("TargetKeyId")] = a.Text("AliasName")
		}
		for _, one := range r.Resources("") {
			out = append(out, owned{one, aliases[one.ID]})
		}
	}
	return out
}

// favourable is a context in which the conditions of an Allow hold, as far as a caller can bring that about.
func favourable(r owned) map[string][]string {
	return map[string][]string{
		"ec2:CreateAction":          {"CopySnapshot", "CreateSecurityGroup", "CreateSnapshots"},
		"ec2:Add/userId":            {forensicID},
		"kms:GrantIsForAWSResource": {"true"},
		"kms:ViaService":            {"ec2." + region + ".amazonaws.com"},
		"kms:ResourceAliases":       {r.alias},
	}
}

// No remediation role may change anything that Firebreak is made of, not even in the hub's own account, whatever a finding names. The
// evidence key is there to be used by those that copy evidence.
func TestFirebreakCannotBeTurnedAgainstItself(t *testing.T) {
	mutations := load[map[string][]string](t, "mutations.yaml")
	resources, granted := own(t, hubID), roles(t, hubID)
	boundary := rendered(t, "member.yaml", hubID).Resources("AWS::IAM::ManagedPolicy")[0].Statements("PolicyDocument")
	tried := 0
	for _, role := range append(account.Roles(), account.Evidence) {
		name := account.RolePrefix + string(role)
		policies := [][]permission.Statement{granted[name], boundary}
		if role == account.Evidence {
			policies = policies[:1]
		}
		for _, r := range resources {
			for _, action := range mutations[r.Type] {
				for _, on := range []string{r.ARN(), r.ARN() + "/object"} { // of a bucket, its objects
					if on != r.ARN() && r.Type != "AWS::S3::Bucket" || r.alias == "alias/firebreak-evidence" {
						continue
					}
					tried++
					ask := permission.Request{Action: action, Resource: on, Context: favourable(r)}
					if !slices.ContainsFunc(policies, func(s []permission.Statement) bool { return permission.Decide(s, ask) != permission.Allowed }) {
						t.Errorf("%s may %s on %s (%s)", name, action, on, r.alias)
					}
				}
			}
		}
	}
	if tried < 5000 {
		t.Errorf("only %d combinations of role, action and resource were tried", tried)
	}
	var missing []string
	for _, r := range resources {
		if r.ARN() != "" && len(mutations[r.Type]) == 0 && !slices.Contains(missing, r.Type) {
			missing = append(missing, r.Type)
		}
	}
	if slices.Sort(missing); !slices.Equal(missing, []string{"AWS::ApiGatewayV2::Api"}) { // API Gateway's actions are HTTP verbs, and no role has any
		t.Errorf("nothing is known of what changes %v", missing)
	}
}

// The boundary has what the roles have, each action once, and denies every one that changes something on what is Firebreak's own.
func TestTheBoundaryFitsTheRoles(t *testing.T) {
	boundary := rendered(t, "member.yaml", memberID).Resources("AWS::IAM::ManagedPolicy")[0]
	granted, sid := roles(t, memberID), map[string][]string{}
	for _, s := range boundary.Statements("PolicyDocument") {
		sid[s.Sid] = s.Actions
	}
	var union, changing, keys []string
	for _, role := range account.Roles() {
		union = append(union, permission.Granted(granted[account.RolePrefix+string(role)])...)
		if got := text(read(t, "member.yaml").resource(t, string(role)+"Role").property("PermissionsBoundary")); got != "!Ref Boundary" {
			t.Errorf("%s has the boundary %q", role, got)
		}
	}
	slices.Sort(union)
	union = slices.Compact(union)
	for _, a := range union {
		if verb := a[strings.Index(a, ":")+1:]; strings.HasPrefix(verb, "Get") || strings.HasPrefix(verb, "List") || strings.HasPrefix(verb, "Describe") {
			continue
		}
		if changing = append(changing, a); strings.HasPrefix(a, "kms:") {
			keys = append(keys, a)
		}
	}
	for name, want := range map[string][]string{"BoundaryAllow": union, "BoundaryOwn": changing, "BoundaryKeys": keys} {
		if !slices.Equal(sid[name], want) {
			t.Errorf("%s has\n%v\nand the roles call for\n%v", name, sid[name], want)
		}
	}
}

// A role of an account is taken by its functions, with the external id, for an incident; by nobody else.
func TestOnlyTheFunctionsOfARoleTakeIt(t *testing.T) {
	for _, name := range []string{"member.yaml", "forensics.yaml"} {
		for _, r := range rendered(t, name, memberID).Resources("AWS::IAM::Role") {
			if !strings.HasPrefix(r.Text("RoleName"), account.RolePrefix) {
				continue
			}
			trust := r.Statements("AssumeRolePolicyDocument")
			var allowed string
			for _, s := range trust {
				if len(s.Condition["ArnLike"]["aws:PrincipalArn"]) > 0 && slices.Contains(s.Actions, "sts:AssumeRole") {
					allowed = strings.Replace(s.Condition["ArnLike"]["aws:PrincipalArn"][0], "*", region, 1)
				}
			}
			good := map[string][]string{"sts:ExternalId": {secret}, "sts:SourceIdentity": {"INC-BWJ4TH5BLF5DYQIG"}, "aws:PrincipalArn": {allowed}}
			take := func(change map[string][]string) permission.Decision {
				context := maps.Clone(good)
				maps.Copy(context, change)
				return permission.Decide(trust, permission.Request{Action: "sts:AssumeRole", Context: context})
			}
			if take(nil) != permission.Allowed {
				t.Errorf("%s: %s cannot take it", r.ID, allowed)
			}
			for what, change := range map[string]map[string][]string{
				"without the external id":       {"sts:ExternalId": nil},
				"with a wrong external id":      {"sts:ExternalId": {"BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"}},
				"for no incident":               {"sts:SourceIdentity": nil},
				"for something else":            {"sts:SourceIdentity": {"alice"}},
				"as the hub's root":             {"aws:PrincipalArn": {fmt.Sprintf("arn:aws:iam::%s:root", hubID)}},
				"as an administrator":           {"aws:PrincipalArn": {fmt.Sprintf("arn:aws:iam::%s:role/admin", hubID)}},
				"as another function":           {"aws:PrincipalArn": {fmt.Sprintf("arn:aws:iam::%s:role/firebreak-notify-%s", hubID, region)}},
				"as the function of elsewhere":  {"aws:PrincipalArn": {strings.Replace(allowed, hubID, "999999999999", 1)}},
				"as a role that is called like": {"aws:PrincipalArn": {strings.Replace(allowed, ":role/", ":role/team/", 1)}},
			} {
				if got := take(change); got == permission.Allowed {
					t.Errorf("%s can be taken %s", r.ID, what)
				}
			}
		}
	}
}

// Nobody in an account of the organization takes away what Firebreak is made of there, its administrators included; the keeper can.
func TestTheFenceKeepsOut(t *testing.T) {
	parameters := given("999999999999")
	tpl, err := permission.Read("organization.yaml", parameters)
	if err != nil {
		t.Fatal(err)
	}
	fence := tpl.Resources("AWS::Organizations::Policy")[0].Statements("Content")
	denied := func(who, action, resource string, more map[string][]string) bool {
		context := map[string][]string{"aws:PrincipalArn": {"arn:aws:iam::" + memberID + ":" + who}}
		maps.Copy(context, more)
		return permission.Decide(fence, permission.Request{Action: action, Resource: resource, Context: context}) == permission.Denied
	}
	for _, c := range []struct {
		action, resource string
		more             map[string][]string
	}{
		{"iam:DeleteRole", "arn:aws:iam::" + memberID + ":role/SecurityRemediationRole-Network", nil},
		{"iam:UpdateAssumeRolePolicy", "arn:aws:iam::" + memberID + ":role/firebreak-forwarder", nil},
		{"iam:CreateRole", "arn:aws:iam::" + memberID + ":role/ops/SecurityRemediationRole-Evidence", nil},
		{"iam:CreateRole", "arn:aws:iam::" + memberID + ":role/ops/firebreak-aggregator", nil},
		{"iam:CreateRole", "arn:aws:iam::" + memberID + ":role/stacksets-exec-0123456789abcdef", nil},
		{"iam:UpdateAssumeRolePolicy", "arn:aws:iam::" + memberID + ":role/keeper", nil},
		{"events:DisableRule", "arn:aws:events:us-east-1:" + memberID + ":rule/firebreak-forwarder", nil},
		{"sqs:PurgeQueue", "arn:aws:sqs:us-east-1:" + memberID + ":firebreak-forwarder", nil},
		{"guardduty:DeleteDetector", "arn:aws:guardduty:us-east-1:" + memberID + ":detector/1", nil},
		{"iam:DetachUserPolicy", "arn:aws:iam::" + memberID + ":user/bob", map[string][]string{"iam:PolicyARN": {"arn:aws:iam::" + memberID + ":policy/FirebreakQuarantine"}}},
		{"iam:DeletePolicy", "arn:aws:iam::" + memberID + ":policy/FirebreakQuarantine", nil},
		{"ec2:DeleteSnapshot", "arn:aws:ec2:us-east-1::snapshot/snap-1", map[string][]string{"aws:ResourceTag/firebreak:incident": {"INC-BWJ4TH5BLF5DYQIG"}}},
	} {
		if !denied("role/admin", c.action, c.resource, c.more) {
			t.Errorf("an administrator may %s on %s", c.action, c.resource)
		}
		if denied("role/keeper", c.action, c.resource, c.more) {
			t.Errorf("the keeper may not %s on %s: nothing could be repaired", c.action, c.resource)
		}
	}
	for action, resource := range map[string]string{
		"iam:DeleteRole": "arn:aws:iam::" + memberID + ":role/clinic-web", "events:DisableRule": "arn:aws:events:us-east-1:" + memberID + ":rule/billing", "ec2:DeleteSnapshot": "arn:aws:ec2:us-east-1::snapshot/snap-2",
		"iam:DetachUserPolicy": "arn:aws:iam::" + memberID + ":user/bob",
	} {
		if denied("role/admin", action, resource, map[string][]string{"iam:PolicyARN": {"arn:aws:iam::aws:policy/ReadOnlyAccess"}}) {
			t.Errorf("an administrator may not %s on %s, which is none of Firebreak's", action, resource)
		}
	}
	undo := map[string][]string{"iam:PolicyARN": {"arn:aws:iam::" + memberID + ":policy/FirebreakQuarantine"}}
	if denied("role/SecurityRemediationRole-Identity", "iam:DetachUserPolicy", "arn:aws:iam::"+memberID+":user/bob", undo) {
		t.Error("Firebreak itself cannot release a quarantine")
	}
}

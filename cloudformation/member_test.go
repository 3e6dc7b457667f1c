package cloudformation

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"firebreak/lib/account"
	"firebreak/lib/permission"
)

const hubRoot = "!Sub arn:${AWS::Partition}:iam::${HubAccount}:root"

// takers lists, by remediation role, the functions whose own roles may take it.
func takers(t *testing.T) map[string][]string {
	out := map[string][]string{}
	for _, f := range folders(t) {
		for _, s := range statements(f, home(t, f).resource(t, stem(f)+"Role").property("Policies")) {
			if !slices.Contains(list(at(s.node, "Action")), "sts:AssumeRole") {
				continue
			}
			if !slices.Equal(list(at(s.node, "Action")), []string{"sts:AssumeRole", "sts:SetSourceIdentity"}) {
				t.Errorf("%s takes roles without setting its incident as source identity", f)
			}
			for _, r := range list(at(s.node, "Resource")) {
				role, ok := strings.CutPrefix(r, "!Sub arn:${AWS::Partition}:iam::*:role/"+account.RolePrefix)
				if !ok {
					t.Errorf("%s may take %s, which is no remediation role", f, r)
				}
				out[role] = append(out[role], f)
			}
		}
	}
	return out
}

// remediation lists the roles that functions take: five in each account, and the one in the forensic account.
func remediation(t *testing.T) []resource {
	t.Helper()
	var out []resource
	for _, role := range account.Roles() {
		out = append(out, read(t, "member.yaml").resource(t, string(role)+"Role"))
	}
	return append(out, read(t, "forensics.yaml").resource(t, string(account.Evidence)+"Role"))
}

// Each remediation role trusts exactly the functions that may take it, with the external id and an incident as source identity.
func TestRemediationRolesTrustTheirFunctionsOnly(t *testing.T) {
	functions := takers(t)
	var names []string
	for _, r := range remediation(t) {
		role := strings.TrimSuffix(r.id, "Role")
		names = append(names, role)
		if got := text(r.property("RoleName")); got != account.RolePrefix+role {
			t.Errorf("%s is called %q", r, got)
		}
		if text(at(r.node, "Condition")) != "Home" {
			t.Errorf("%s is made in every region, and its name is global", r)
		}
		trust := statements(r.String(), r.property("AssumeRolePolicyDocument"))
		if len(trust) != 2 {
			t.Fatalf("%s has %d trust statements", r, len(trust))
		}
		for _, s := range trust {
			if got := list(at(s.node, "Principal", "AWS")); !slices.Equal(got, []string{hubRoot}) || len(pairs(at(s.node, "Principal"))) != 1 {
				t.Errorf("%s: %s trusts %v", r, s.sid(), got)
			}
			if got := text(at(s.node, "Condition", "StringLike", "sts:SourceIdentity")); got != "INC-*" {
				t.Errorf("%s: %s takes the source identity %q", r, s.sid(), got)
			}
		}
		take, identity := trust[0], trust[1]
		if !slices.Equal(list(at(take.node, "Action")), []string{"sts:AssumeRole"}) || text(at(take.node, "Condition", "StringEquals", "sts:ExternalId")) != "!Ref ExternalId" {
			t.Errorf("%s can be taken without the external id", r)
		}
		var want []string
		for _, f := range functions[role] {
			want = append(want, "!Sub arn:${AWS::Partition}:iam::${HubAccount}:role/firebreak-"+f+"-*")
		}
		if got := list(at(take.node, "Condition", "ArnLike", "aws:PrincipalArn")); !slices.Equal(sorted(got), sorted(want)) {
			t.Errorf("%s trusts\n%v\nand is taken by\n%v", r, sorted(got), sorted(want))
		}
		if !slices.Equal(list(at(identity.node, "Action")), []string{"sts:SetSourceIdentity"}) || len(list(at(identity.node, "Condition", "ArnLike", "aws:PrincipalArn"))) != 1 {
			t.Errorf("%s: the second statement is not about the source identity of our functions", r)
		}
		for _, s := range statements(r.String(), r.property("Policies")) {
			if !strings.HasPrefix(s.sid(), role) {
				t.Errorf("%s: the statement %q does not begin with %s", r, s.sid(), role)
			}
		}
	}
	for role := range functions {
		if !slices.Contains(names, role) {
			t.Errorf("functions take a role %s, which is not there", role)
		}
	}
}

// ownable are the changes that could be made to what Firebreak is made of: it has roles, buckets, topics and queues, and no
// users, trails or instances.
var ownable = regexp.MustCompile(`^(iam:(Attach|Delete|Detach|Put)Role|s3:|sns:|sqs:Set)`)

// The role that reads changes nothing, and no role can change what Firebreak is made of.
func TestRemediationRolesKeepTheirPlace(t *testing.T) {
	tpl := read(t, "member.yaml")
	for _, s := range statements("Read", tpl.resource(t, "ReadRole").property("Policies")) {
		for _, a := range list(at(s.node, "Action")) {
			if verb := a[strings.Index(a, ":")+1:]; !strings.HasPrefix(verb, "Describe") && !strings.HasPrefix(verb, "Get") && !strings.HasPrefix(verb, "List") {
				t.Errorf("the role Read may %s", a)
			}
		}
	}
	for _, role := range account.Roles() {
		var allowed, denied []string
		for _, s := range statements(string(role), tpl.resource(t, string(role)+"Role").property("Policies")) {
			for _, a := range list(at(s.node, "Action")) {
				switch {
				case !s.allows():
					denied = append(denied, a)
				case role != account.Read && ownable.MatchString(a):
					allowed = append(allowed, a)
				}
			}
		}
		if !slices.Equal(sorted(allowed), sorted(denied)) {
			t.Errorf("%s may %v, and on Firebreak's own it is denied %v", role, sorted(allowed), sorted(denied))
		}
	}
}

// Every account forwards from each of its regions, the hub's account too, but for where a hub is: its own rules do so there, under the
// same names. The role that delivers is made in the home region, whatever forwards there.
func TestEveryRegionForwardsOnce(t *testing.T) {
	for _, at := range []struct {
		account, region string
		role, rules     int
	}{
		{memberID, "us-east-1", 1, 4}, {memberID, "eu-west-1", 0, 4}, {memberID, "eu-central-1", 0, 4},
		{hubID, "us-east-1", 1, 0}, {hubID, "eu-west-1", 0, 0}, {hubID, "eu-central-1", 0, 4},
	} {
		tpl, err := permission.Read("member.yaml", map[string]string{
			"AWS::AccountId": at.account, "AWS::Region": at.region, "AWS::Partition": "aws", "HubAccount": hubID, "HubRegion": "us-east-1", "StandbyRegion": "eu-west-1", "HomeRegion": "us-east-1",
		})
		if err != nil {
			t.Fatal(err)
		}
		role := 0
		for _, r := range tpl.Resources("AWS::IAM::Role") {
			if r.ID == "ForwarderRole" {
				role++
			}
		}
		if rules := len(tpl.Resources("AWS::Events::Rule")); role != at.role || rules != at.rules {
			t.Errorf("account %s, region %s: %d rules and %d roles to deliver for them, not %d and %d", at.account, at.region, rules, role, at.rules, at.role)
		}
	}
}

// action is an IAM action in a session policy; a string that a colon follows is a condition's key.
var action = regexp.MustCompile(`"((?:access-analyzer|autoscaling|cloudtrail|config|ec2|elasticloadbalancing|guardduty|iam|kms|lambda|s3|secretsmanager|securityhub|sns|sqs):[A-Z][A-Za-z]+)"(:?)`)

// The roles grant what the functions' session policies ask for: with less a step is denied, and more is of no use to anybody
// but a thief.
func TestRemediationRolesGrantWhatSessionsAsk(t *testing.T) {
	asked, granted := map[string]bool{}, map[string]bool{}
	for _, f := range folders(t) {
		files, _ := filepath.Glob("../functions/" + f + "/*.go")
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			code, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range action.FindAllStringSubmatch(string(code), -1) {
				if m[2] == "" {
					asked[m[1]] = true
				}
			}
		}
	}
	for _, role := range remediation(t) {
		for _, s := range statements(role.id, role.property("Policies")) {
			for _, a := range list(at(s.node, "Action")) {
				if s.allows() {
					granted[a] = true
					if !asked[a] {
						t.Errorf("%s grants %s, which no session asks for", role, a)
					}
				}
			}
		}
	}
	for a := range asked {
		if !granted[a] {
			t.Errorf("a session asks for %s, which no role grants", a)
		}
	}
}

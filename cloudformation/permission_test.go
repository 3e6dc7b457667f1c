package cloudformation

import (
	"bufio"
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"firebreak/lib/account"
	"firebreak/lib/permission"

	"go.yaml.in/yaml/v3"
)

const (
	hubID      = "111111111111"
	memberID   = "222222222222"
	forensicID = "333333333333"
	region     = "us-east-1"
	secret     = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)

// given are the parameters of every template of an installation in which everything is switched on. A parameter of one name means the
// same in every template.
func given(id string) map[string]string {
	at := func(service, rest string) string {
		return "arn:aws:" + service + ":" + region + ":" + hubID + ":" + rest
	}
	return map[string]string{
		"AWS::AccountId": id, "AWS::Region": region, "AWS::Partition": "aws", "AWS::URLSuffix": "amazonaws.com",
		"HubAccount": hubID, "HubRegion": region, "HomeRegion": region, "ExternalId": secret, "StandbyRegion": "eu-west-1", "ForensicAccount": forensicID,
		"Active": "yes", "Members": memberID, "OrganizationId": "o-abcdefghij", "AlarmTopic": "",
		"ManagementAccount": "999999999999", "SecurityAccount": hubID, "RootId": "r-abcd", "Detector": "yes", "SecurityHub": "yes", "Detective": "yes", "DataEvents": "all", "Fence": "yes", "FenceKeeper": "keeper",
		"TableName": "firebreak-ledger", "TableArn": at("dynamodb", "table/firebreak-ledger"), "KeyArn": at("kms", "key/1234abcd-12ab-34cd-56ef-1234567890ab"),
		"EvidenceBucket": "firebreak-evidence-" + hubID + "-" + region, "LinkKeyArn": at("secretsmanager", "secret:firebreak/link-key-AbCdEf"), "TopicArn": at("sns", "firebreak-security"), "ApproversTopicArn": at("sns", "firebreak-approvers"),
		"FunctionDeadLettersArn": at("sqs", "firebreak-function-dlq"), "ActionDeadLettersArn": at("sqs", "firebreak-action-dlq"), "IncidentDeadLettersArn": at("sqs", "firebreak-incident-dlq"),
		"DeliveryDeadLettersArn": at("sqs", "firebreak-delivery-dlq"), "ExecutionDeadLettersArn": at("sqs", "firebreak-execution-dlq"),
		"MachineArn": at("states", "stateMachine:firebreak-respond"), "SweepFunctionArn": at("lambda", "function:firebreak-sweep"), "FindMissedFunctionArn": at("lambda", "function:firebreak-find-missed"), "WatchAccountsFunctionArn": at("lambda", "function:firebreak-watch-accounts"), "WatchContainmentFunctionArn": at("lambda", "function:firebreak-watch-containment"), "ArchiveDays": "30",
		"DomainName": "approve.example.com", "CertificateArn": at("acm", "certificate/1234abcd-12ab-34cd-56ef-1234567890ab"), "PreserveEvidenceFunctionArn": at("lambda", "function:firebreak-preserve-evidence"),
	}
}

// rendered is a template as it is deployed in an account.
func rendered(t *testing.T, name, id string) *permission.Template {
	t.Helper()
	tpl, err := permission.Read(name, given(id))
	if err != nil {
		t.Fatal(err)
	}
	return tpl
}

// roles maps the name of each role of the project to its statements, as deployed in an account.
func roles(t *testing.T, id string) map[string][]permission.Statement {
	t.Helper()
	out := map[string][]permission.Statement{}
	for _, tpl := range all(t) {
		for _, r := range rendered(t, tpl.name, id).Resources("AWS::IAM::Role") {
			out[r.Text("RoleName")] = r.Statements("Policies")
		}
	}
	return out
}

// needed is an entry of the table of calls.
type needed struct {
	Needs   []string `yaml:"needs"`
	Implied []string `yaml:"implied"`
	Source  string   `yaml:"source"`
}

// ledger is what cannot be proven, with its reasons.
type ledger struct {
	Wildcards map[string]string `yaml:"wildcards"`
	Unscoped  []string          `yaml:"unscoped"`
	Runtime   map[string]string `yaml:"runtime"`
	Unshown   map[string]string `yaml:"unshown"`
}

func load[T any](t *testing.T, name string) T {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var out T
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&out); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return out
}

func source(t *testing.T, dir string) *permission.Code {
	t.Helper()
	c, err := permission.Parse("..", dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func interfaces(t *testing.T, c *permission.Code) []permission.Method {
	t.Helper()
	own, err := c.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var out []permission.Method
	for _, name := range slices.Sorted(maps.Keys(own)) {
		out = append(out, own[name]...)
	}
	return out
}

// actions are those that calls need, implied ones too.
func actions(t *testing.T, table map[string]needed, calls []permission.Method) []string {
	t.Helper()
	var out []string
	for _, m := range calls {
		n, ok := table[m.String()]
		if !ok {
			t.Errorf("testdata/permissions.yaml does not say what %s needs", m)
		}
		out = append(append(out, n.Needs...), n.Implied...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// The table has every call that an interface names, and no other; what is not obvious in it has a source.
func TestTheTableOfCallsIsComplete(t *testing.T) {
	table := load[map[string]needed](t, "permissions.yaml")
	used, seen := map[string]bool{}, map[string]bool{}
	files, _ := filepath.Glob("../*/*/*.go")
	for _, file := range files {
		rel, _ := filepath.Rel("..", filepath.Dir(file))
		if !strings.HasPrefix(rel, "functions/") && !strings.HasPrefix(rel, "lib/") {
			continue
		}
		if seen[rel] {
			continue
		}
		seen[rel] = true
		for _, m := range interfaces(t, source(t, rel)) {
			if used[m.String()] = true; len(table[m.String()].Needs) == 0 {
				t.Errorf("%s: the table does not say what %s needs", rel, m)
			}
		}
	}
	for name, n := range table {
		_, call, _ := strings.Cut(name, ".")
		plain := len(n.Needs) == 1 && strings.HasSuffix(n.Needs[0], ":"+call) && len(n.Implied) == 0
		if !used[name] || !plain && n.Source == "" {
			t.Errorf("%s: nobody calls it (%v), or its needs have no source", name, !used[name])
		}
	}
}

// A remediation role may do exactly what the functions that take it call: with less, a step is denied; more is of use to thieves only.
func TestARemediationRoleIsTheUnionOfItsFunctions(t *testing.T) {
	table := load[map[string]needed](t, "permissions.yaml")
	calls := map[string][]permission.Method{}
	for _, f := range folders(t) {
		takes, err := source(t, "functions/"+f).Takes()
		if err != nil {
			t.Fatal(err)
		}
		for role, methods := range takes {
			if len(methods) == 0 {
				t.Errorf("%s takes %s for nothing that the test can see", f, role)
			}
			calls[role] = append(calls[role], methods...)
		}
	}
	granted := roles(t, memberID)
	maps.Copy(granted, roles(t, forensicID))
	for _, role := range append(account.Roles(), account.Evidence) {
		want, have := actions(t, table, calls[string(role)]), permission.Granted(granted[account.RolePrefix+string(role)])
		if !slices.Equal(want, have) {
			t.Errorf("%s: its functions call for\n%v\nand it may\n%v", role, want, have)
		}
	}
}

// A hub role may do what the interfaces of its function name, and what the runtime does in its name; all calls of the function's own
// interfaces are granted.
func TestAHubRoleHasWhatItsInterfacesName(t *testing.T) {
	table, book := load[map[string]needed](t, "permissions.yaml"), load[ledger](t, "ledger.yaml")
	granted := roles(t, hubID)
	for _, f := range folders(t) {
		c := source(t, "functions/"+f)
		text, services := code(t, f), c.Clients()
		for call, service := range map[string]string{"b.Store()": "dynamodb", "b.Access()": "sts", "b.Installation()": "ssm"} {
			if strings.Contains(text, call) {
				services = append(services, service)
			}
		}
		mine := func(all []permission.Method) []permission.Method {
			return slices.DeleteFunc(all, func(m permission.Method) bool { return !slices.Contains(services, m.Service) })
		}
		may := mine(interfaces(t, c))
		must := actions(t, table, may)
		for _, lib := range libraries(t, c) {
			may = append(may, mine(interfaces(t, source(t, lib)))...)
		}
		could := actions(t, table, may)
		have := permission.Granted(granted["firebreak-"+f+"-"+region])
		for _, a := range have {
			if !slices.Contains(could, a) && book.Runtime[a] == "" {
				t.Errorf("%s may %s, which none of its interfaces names", f, a)
			}
		}
		for _, a := range must {
			if !slices.Contains(have, a) && !strings.HasPrefix(a, "kms:") { // a key is asked only where there is one: the templates' tests know
				t.Errorf("%s calls for %s and may not", f, a)
			}
		}
	}
}

// libraries lists the project's packages that one imports, and theirs.
func libraries(t *testing.T, c *permission.Code) []string {
	t.Helper()
	var out []string
	todo := c.Libraries()
	for len(todo) > 0 {
		lib := todo[0]
		todo = todo[1:]
		if !slices.Contains(out, lib) {
			out = append(out, lib)
			todo = append(todo, source(t, lib).Libraries()...)
		}
	}
	return out
}

// Every grant for all resources stands in the ledger, and is of actions that have no resource to name.
func TestEveryWildcardStandsInTheLedger(t *testing.T) {
	book := load[ledger](t, "ledger.yaml")
	found := map[string]bool{}
	for _, tpl := range all(t) {
		for _, r := range tpl.resources() {
			if r.kind() != "AWS::IAM::Role" && r.kind() != "AWS::IAM::ManagedPolicy" {
				continue
			}
			for _, s := range statements(r.String(), r.property()) {
				if !s.allows() || !slices.Contains(list(at(s.node, "Resource")), "*") || strings.Contains(r.id, "Boundary") {
					continue
				}
				found[s.sid()] = true
				for _, a := range list(at(s.node, "Action")) {
					if !slices.Contains(book.Unscoped, a) {
						t.Errorf("%s: %s is for every resource, and has a resource type", r, a)
					}
				}
			}
		}
	}
	if want, have := slices.Sorted(maps.Keys(book.Wildcards)), slices.Sorted(maps.Keys(found)); !slices.Equal(want, have) {
		t.Errorf("the ledger has %v, the templates %v", want, have)
	}
}

var (
	keyID     = regexp.MustCompile(`:key/[0-9a-f-]{36}$`)
	accountID = regexp.MustCompile(`:\d{12}:`)
	secretID  = regexp.MustCompile(`:secret:(.*)-[A-Za-z0-9]{6}$`)
)

// decision is a line of the local platform's log of IAM decisions.
type decision struct {
	Principal, Action, Resource, Via string
	Allowed                          bool
}

// decisions reads the logs of end-to-end runs, by role; FIREBREAK_DECISIONS lists them, scripts/test e2e sets it.
func decisions(t *testing.T) map[string][]decision {
	t.Helper()
	file := os.Getenv("FIREBREAK_DECISIONS")
	if file == "" {
		t.Skip("FIREBREAK_DECISIONS names no log of IAM decisions: scripts/test e2e makes one and runs this after it")
	}
	var text []byte
	for _, one := range filepath.SplitList(file) {
		log, err := os.ReadFile(one)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, log...)
	}
	out := map[string][]decision{}
	seen := map[decision]bool{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		var d decision
		if err := json.Unmarshal(lines.Bytes(), &d); err != nil {
			t.Fatal(err)
		}
		who := d.Principal
		if _, name, ok := strings.Cut(who, ":assumed-role/"); ok {
			who, _, _ = strings.Cut(name, "/")
		} else if _, name, ok := strings.Cut(who, ":role/"); ok {
			who = name
		} else {
			continue
		}
		// what the platform makes up, as given writes it
		d.Resource = keyID.ReplaceAllString(d.Resource, ":key/1234abcd-12ab-34cd-56ef-1234567890ab")
		d.Resource = secretID.ReplaceAllString(d.Resource, ":secret:$1-AbCdEf")
		d.Resource = accountID.ReplaceAllStringFunc(d.Resource, func(id string) string {
			if id == ":"+hubID+":" {
				return id
			}
			return ":" + memberID + ":" // all members have the same roles
		})
		if d.Principal = who; d.Allowed && !seen[d] {
			seen[d] = true
			out[who] = append(out[who], d)
		}
	}
	return out
}

// replay says whether the statements allow a decision that was allowed.
func replay(s []permission.Statement, d decision) bool {
	return permission.Decide(s, permission.Request{Action: d.Action, Resource: d.Resource}) == permission.Allowed
}

// Whatever was allowed in an end-to-end run, the templates' policies allow; and without any one action that they grant, at least one of
// those decisions is another: nothing is granted that nobody uses. What no run can show stands in the ledger.
func TestEveryGrantIsUsed(t *testing.T) {
	log, book := decisions(t), load[ledger](t, "ledger.yaml")
	granted := roles(t, hubID)
	for name, s := range roles(t, memberID) {
		if strings.HasPrefix(name, account.RolePrefix) || name == "firebreak-forwarder" {
			granted[name] = s
		}
	}
	unshown := func(role, action string) (pattern string) {
		for p := range book.Unshown {
			r, a, _ := strings.Cut(p, " ")
			if permission.Glob(r, role) && permission.Glob(a, action) {
				return p
			}
		}
		return ""
	}
	replayed, flipped, kept := 0, 0, 0
	for _, role := range slices.Sorted(maps.Keys(granted)) {
		s := granted[role]
		for _, d := range log[role] {
			if replayed++; !replay(s, d) {
				t.Errorf("%s was allowed %s on %s, and its policies do not allow it", role, d.Action, d.Resource)
			}
		}
		for _, a := range permission.Granted(s) {
			less := permission.Less(s, a)
			flips := slices.ContainsFunc(log[role], func(d decision) bool { return !replay(less, d) })
			switch p := unshown(role, a); {
			case flips && p == strings.Replace(role, region, "*", 1)+" "+a:
				t.Errorf("the ledger says that no run shows %s: this one does", p)
			case flips:
				flipped++
			case p == "":
				t.Errorf("%s is granted %s, and nothing in the run needed it", role, a)
			default:
				kept++
			}
		}
	}
	t.Logf("%d decisions replayed; %d grants that at least one of them needs, %d that the ledger has with a reason", replayed, flipped, kept)
}

package cloudformation

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"firebreak/functions"
	"firebreak/lib/asl"

	"github.com/google/go-cmp/cmp"
)

// folders lists the functions, in their order.
func folders(t *testing.T) []string {
	t.Helper()
	mains, err := filepath.Glob("../functions/*/main.go")
	if err != nil || len(mains) == 0 {
		t.Fatalf("no functions: %v", err)
	}
	var out []string
	for _, m := range mains {
		out = append(out, filepath.Base(filepath.Dir(m)))
	}
	return sorted(out)
}

// code is the text of a function, without its tests.
func code(t *testing.T, folder string) string {
	t.Helper()
	files, _ := filepath.Glob("../functions/" + folder + "/*.go")
	var out strings.Builder
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(text)
	}
	return out.String()
}

// stem spells a folder's name as templates and machines do: deactivate-keys, DeactivateKeys.
func stem(folder string) string {
	var out string
	for _, p := range strings.Split(folder, "-") {
		out += strings.ToUpper(p[:1]) + p[1:]
	}
	return out
}

func arn(folder string) string {
	return "!Sub arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:firebreak-" + folder
}

// rules are the functions that AWS Config asks, in each account; all others are the hub's.
var rules = []string{"hipaa-phi-encryption-check", "patient-data-access-logging"}

// home is the template that a function stands in.
func home(t *testing.T, folder string) template {
	t.Helper()
	if slices.Contains(rules, folder) {
		return read(t, "config-rules.yaml")
	}
	return read(t, "functions.yaml")
}

// A function is its folder, its name, its role and its log group, spelled alike, side by side and in the order of the folders.
func TestFunctionsAreTheirFolders(t *testing.T) {
	for _, name := range []string{"functions.yaml", "config-rules.yaml"} {
		var want, have []string
		for _, f := range folders(t) {
			if home(t, f).name == name {
				want = append(want, stem(f)+"Function", stem(f)+"Role", stem(f)+"Logs")
			}
		}
		for _, r := range read(t, name).resources() {
			if slices.Contains([]string{"AWS::Lambda::Function", "AWS::IAM::Role", "AWS::Logs::LogGroup"}, r.kind()) {
				have = append(have, r.id)
			}
		}
		if !slices.Equal(want, have) {
			t.Fatalf("the folders call for\n%v\nand %s has\n%v", want, name, have)
		}
	}
	for _, f := range folders(t) {
		tpl := home(t, f)
		function, role, logs := tpl.resource(t, stem(f)+"Function"), tpl.resource(t, stem(f)+"Role"), tpl.resource(t, stem(f)+"Logs")
		for what, pair := range map[string][2]string{
			"name":      {text(function.property("FunctionName")), "firebreak-" + f},
			"code":      {text(function.property("Code")), "../functions/" + f},
			"role":      {text(function.property("Role")), "!GetAtt " + stem(f) + "Role.Arn"},
			"logs":      {text(function.property("LoggingConfig", "LogGroup")), "!Ref " + stem(f) + "Logs"},
			"role name": {text(role.property("RoleName")), "!Sub firebreak-" + f + "-${AWS::Region}"},
			"log group": {text(logs.property("LogGroupName")), "/aws/lambda/firebreak-" + f},
			"runtime":   {text(function.property("Runtime")), "provided.al2023"},
		} {
			if pair[0] != pair[1] {
				t.Errorf("%s: %s is %q, not %q", f, what, pair[0], pair[1])
			}
		}
		for _, s := range statements(f, role.property("Policies")) {
			if !strings.HasPrefix(s.sid(), stem(f)) {
				t.Errorf("%s: the statement %q does not begin with %s", f, s.sid(), stem(f))
			}
		}
	}
}

// needs maps what a main asks lib/boot for to the variable behind it.
var needs = regexp.MustCompile(`\bb\.(?:(Store|Access|Installation)\(\)|Env\("([A-Z_]+)"\))`)

// A function's environment has what its code reads and nothing else.
func TestEnvironmentIsWhatTheCodeReads(t *testing.T) {
	behind := map[string]string{"Store": "TABLE", "Access": "EXTERNAL_ID", "Installation": "SETTINGS"}
	for _, f := range folders(t) {
		tpl := home(t, f)
		var want []string
		files, _ := filepath.Glob("../functions/" + f + "/*.go")
		for _, file := range files {
			code, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range needs.FindAllStringSubmatch(string(code), -1) {
				name := m[2]
				if name == "" {
					name = behind[m[1]]
				}
				if !slices.Contains(want, name) {
					want = append(want, name)
				}
			}
		}
		have := keys(tpl.resource(t, stem(f)+"Function").property("Environment", "Variables"))
		if !slices.Equal(sorted(want), sorted(have)) {
			t.Errorf("%s reads %v and is given %v", f, sorted(want), sorted(have))
		}
	}
}

var placeholder = regexp.MustCompile(`\$\{([A-Za-z]+)\}`)

// Every placeholder of a machine is supplied, nothing is supplied that it does not use, and its role may invoke exactly the
// functions that it names.
func TestMachinesGetWhatTheyName(t *testing.T) {
	tpl := read(t, "statemachines.yaml")
	var defined []string
	for _, r := range tpl.resources() {
		if r.kind() != "AWS::StepFunctions::StateMachine" {
			continue
		}
		file := text(r.property("DefinitionS3Location"))
		defined = append(defined, file)
		code, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var used, functions []string
		for _, m := range placeholder.FindAllStringSubmatch(string(code), -1) {
			if !slices.Contains(used, m[1]) {
				used = append(used, m[1])
			}
		}
		given := r.property("DefinitionSubstitutions")
		if !slices.Equal(sorted(used), sorted(keys(given))) {
			t.Errorf("%s uses %v and is given %v", file, sorted(used), sorted(keys(given)))
		}
		for _, f := range folders(t) {
			if value := at(given, stem(f)+"Function"); value != nil {
				functions = append(functions, arn(f))
				if text(value) != arn(f) {
					t.Errorf("%s is %q, not %q", stem(f)+"Function", text(value), arn(f))
				}
			}
		}
		role := tpl.resource(t, strings.TrimSuffix(strings.TrimPrefix(text(r.property("RoleArn")), "!GetAtt "), ".Arn"))
		for _, s := range statements(file, role.property("Policies")) {
			if slices.Contains(list(at(s.node, "Action")), "lambda:InvokeFunction") && !slices.Equal(sorted(list(at(s.node, "Resource"))), sorted(functions)) {
				t.Errorf("%s: its role may invoke\n%v\nand it names\n%v", file, sorted(list(at(s.node, "Resource"))), sorted(functions))
			}
		}
		if text(r.property("LoggingConfiguration", "IncludeExecutionData")) != "false" {
			t.Errorf("%s: its log would carry the task token", file)
		}
	}
	files, _ := filepath.Glob("../statemachines/*.asl.json")
	if !slices.Equal(sorted(files), sorted(defined)) {
		t.Errorf("machines %v, but the template deploys %v", files, defined)
	}
}

// The watch asks each action that contains, and no other function: what it may not ask stays called contained for ever.
func TestTheWatchAsksEachActionThatContains(t *testing.T) {
	known, err := functions.Actions()
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for name, a := range known {
		if !a.Tells() && !a.Destroys && a.Unwatched == "" {
			want = append(want, arn(name))
		}
	}
	var have []string
	for _, s := range statements("functions.yaml", read(t, "functions.yaml").resource(t, "WatchContainmentRole").property("Policies")) {
		if slices.Contains(list(at(s.node, "Action")), "lambda:InvokeFunction") {
			have = append(have, list(at(s.node, "Resource"))...)
		}
	}
	if !slices.Equal(sorted(want), sorted(have)) {
		t.Errorf("it may ask\n%v\nand should\n%v", sorted(have), sorted(want))
	}
}

// No execution loses its lease on a resource while its function may still be changing it.
func TestALeaseOutlastsEveryFunction(t *testing.T) {
	least, err := strconv.Atoi(text(at(read(t, "settings.yaml").root, "Parameters", "LeaseSeconds", "MinValue")))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range folders(t) {
		tpl := home(t, f)
		limit, err := strconv.Atoi(text(tpl.resource(t, stem(f)+"Function").property("Timeout")))
		if err != nil || limit >= least {
			t.Errorf("%s may run for %d seconds, and a lease may last only %d (%v)", f, limit, least, err)
		}
	}
}

// People's time to decide runs out in the ledger, by the sweep. The task waits seven days, which is longer than any of it.
func TestTheWaitOutlastsEveryDecision(t *testing.T) {
	m, err := asl.Load("../statemachines/respond.asl.json")
	if err != nil {
		t.Fatal(err)
	}
	s, _ := m.State("RequestApproval")
	if s.TimeoutSeconds != 7*24*3600.0 {
		t.Errorf("RequestApproval waits %v seconds, not seven days", s.TimeoutSeconds)
	}
	for _, parameter := range []string{"DecisionHours", "CriticalHours"} {
		if most, err := strconv.Atoi(text(at(read(t, "settings.yaml").root, "Parameters", parameter, "MaxValue"))); err != nil || most >= 7*24 {
			t.Errorf("%s may be %d hours (%v): the task would end before people have decided", parameter, most, err)
		}
	}
}

// What nobody has chosen is what the documents say: five seconds of staying contained, 24 hours to decide, four where it is CRITICAL, six
// years of evidence (45 CFR 164.316(b)(2)(i)).
func TestDefaultsAreTheDocuments(t *testing.T) {
	root := read(t, "root.yaml")
	for parameter, want := range map[string]string{
		"SettleMilliseconds": "5000", "DecisionHours": "24", "CriticalHours": "4", "SweepHours": "6", "Retention": "2192",
		"LinkAlone": "reversible", "LockMode": "governance", "LockDays": "2192",
	} {
		if got := text(at(root.root, "Parameters", parameter, "Default")); got != want {
			t.Errorf("%s is %q unless somebody sets it, not %q", parameter, got, want)
		}
	}
}

// How often each clock rings, as the comments of the functions and the README say it.
func TestTheClocksKeepTheirTime(t *testing.T) {
	want := map[string]string{
		"SweepSchedule": "rate(1 minute)", "FindMissedSchedule": "rate(15 minutes)", "EvidenceSchedule": "rate(15 minutes)",
		"WatchSchedule": "rate(5 minutes)", "WatchContainmentSchedule": "rate(15 minutes)",
		"ForwardHeartbeatRule": "rate(5 minutes)", "ForwarderHeartbeatRule": "rate(5 minutes)",
	}
	got := map[string]string{}
	for _, tpl := range all(t) {
		for _, r := range tpl.resources() {
			if rate := text(r.property("ScheduleExpression")); rate != "" {
				got[r.id] = rate
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("clocks (-want +got):\n%s", diff)
	}
}

// Link holders come through the front door: the log of who came has neither path nor query, where a link would stand.
func TestAccessLogHasNoPath(t *testing.T) {
	format := text(read(t, "approval.yaml").resource(t, "Stage").property("AccessLogSettings", "Format"))
	for _, secret := range []string{"path", "rawPath", "queryString", "$context.authorizer"} {
		if strings.Contains(format, secret) {
			t.Errorf("the access log would keep %s", secret)
		}
	}
}

// Who asks people, takes their decisions or carries them out reads who has changed the settings, and nobody else does. What destroys
// also reads who has changed the incident: without these rights it destroys nothing.
func TestWhoDecidesMayReadWhoHadAHandInIt(t *testing.T) {
	destroying := 0
	for _, f := range folders(t) {
		var may []string
		for _, s := range statements(f, home(t, f).resource(t, stem(f)+"Role").property("Policies")) {
			may = append(may, list(at(s.node, "Action"))...)
		}
		destroys := strings.Contains(code(t, f), ".Eradicating(")
		decides := destroys || strings.Contains(code(t, f), ".Deciding(")
		if slices.Contains(may, "ssm:GetParameterHistory") != decides {
			t.Errorf("%s reads who has changed the settings (%v), and may ask SSM (%v)", f, decides, !decides)
		}
		if !destroys {
			continue
		}
		if destroying++; !slices.Contains(may, "dynamodb:Query") {
			t.Errorf("%s may not read who has changed the incident", f)
		}
	}
	if destroying == 0 {
		t.Error("nothing destroys")
	}
}

// Package statemachines holds tests of the machines: what can be read from their text, and the paths that they take.
package statemachines

import (
	"bytes"
	"encoding/json"
	"iter"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"firebreak/lib/asl"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/permission"

	"github.com/google/go-cmp/cmp"
)

// What a machine may name in ErrorEquals besides the names of lib/fault: the language's own, and what services answer.
var (
	languageErrors = []string{"States.ALL", "States.Timeout"}
	// lambdaTransients are worth another try: nothing ran, or it broke off; the spine makes a second run harmless.
	lambdaTransients = []string{"Lambda.ServiceException", "Lambda.AWSLambdaException", "Lambda.SdkClientException",
		"Lambda.TooManyRequestsException", "Lambda.Unknown", "Sandbox.Timedout", "Runtime.ExitError"}
	ownTransients = []string{string(fault.Busy), string(fault.Throttled)}
	// sqsTransients: a dead letter that is sent twice is redriven once.
	sqsTransients = []string{"SQS.SdkClientException", "SQS.SqsException", "SQS.AmazonSQSException"}
)

// outsideTheMachine are the functions that no state invokes: people, clocks, EBS and AWS Config do.
var outsideTheMachine = []string{"approvals", "find-missed", "hipaa-phi-encryption-check", "patient-data-access-logging", "preserve-evidence", "sweep", "watch-accounts", "watch-containment"}

func load(t *testing.T) asl.Machine {
	t.Helper()
	m, err := asl.Load("respond.asl.json")
	must(t, err)
	return m
}

// machines are all of them, by file.
func machines(t *testing.T) map[string]asl.Machine {
	t.Helper()
	files, err := filepath.Glob("*.asl.json")
	must(t, err)
	out := map[string]asl.Machine{}
	for _, f := range files {
		out[f], err = asl.Load(f)
		must(t, err)
	}
	return out
}

// states are those of all machines.
func states(t *testing.T) iter.Seq[asl.State] {
	all := machines(t)
	return func(yield func(asl.State) bool) {
		for _, m := range all {
			for s := range m.All() {
				if !yield(s) {
					return
				}
			}
		}
	}
}

// levels are those of all machines.
func levels(t *testing.T) (out []asl.Machine) {
	for _, m := range machines(t) {
		out = append(out, m.Levels()...)
	}
	return out
}

func isTask(s asl.State) bool   { return s.Type == "Task" }
func isInvoke(s asl.State) bool { return strings.Contains(s.Resource, ":lambda:invoke") }
func isLetter(s asl.State) bool { return strings.HasSuffix(s.Resource, ":sqs:sendMessage") }

func TestEveryStateIsReachable(t *testing.T) {
	for file, m := range machines(t) {
		names := map[string]bool{}
		for _, level := range m.Levels() {
			reached, err := level.Reachable()
			must(t, err)
			for _, s := range level.States {
				if !reached[s.Name] {
					t.Errorf("%s: %s cannot be reached", file, s.Name)
				}
				if names[s.Name] {
					t.Errorf("%s: %s is there at two levels", file, s.Name)
				}
				names[s.Name] = true
			}
		}
	}
}

// Whoever reads a machine from the top meets each state after those that lead to it. One way leads back: what is not as it was approved
// is asked again.
func TestStatesStandInTheOrderInWhichTheyHappen(t *testing.T) {
	back := map[string]string{"Changed?": "RequestApproval"}
	for _, level := range levels(t) {
		place := map[string]int{}
		for i, s := range level.States {
			place[s.Name] = i
		}
		for _, s := range level.States {
			for _, e := range s.Edges() {
				if place[e.To] <= place[s.Name] && back[s.Name] != e.To {
					t.Errorf("%s leads back to %s", s.Name, e.To)
				}
			}
		}
	}
}

func TestMachineIsJSONata(t *testing.T) {
	for file, m := range machines(t) {
		if m.QueryLanguage != "JSONata" {
			t.Errorf("%s: QueryLanguage is %q", file, m.QueryLanguage)
		}
	}
}

func TestTasksEndInTime(t *testing.T) {
	for s := range states(t) {
		if !isTask(s) {
			continue
		}
		if seconds, constant := s.TimeoutSeconds.(float64); !constant || seconds <= 0 {
			t.Errorf("%s has the TimeoutSeconds %v, not a constant", s.Name, s.TimeoutSeconds)
		}
	}
}

var timeout = regexp.MustCompile(`FunctionName: firebreak-([a-z-]+)\n(?:.*\n)*?\s+Timeout: (\d+)`)

// A task waits a little longer than its function may run, so that the function's own time-out is what shows.
func TestTasksOutliveTheirFunctions(t *testing.T) {
	template, err := os.ReadFile("../cloudformation/functions.yaml")
	must(t, err)
	limits := map[string]float64{}
	for _, m := range timeout.FindAllStringSubmatch(string(template), -1) {
		seconds, err := strconv.Atoi(m[2])
		must(t, err)
		limits[m[1]] = float64(seconds)
	}
	for s := range states(t) {
		if !isInvoke(s) {
			continue
		}
		limit := limits[asl.Folder(strings.TrimSuffix(function(s), "Function"))]
		seconds, _ := s.TimeoutSeconds.(float64)
		waits := strings.HasSuffix(s.Resource, ".waitForTaskToken")
		if limit == 0 || seconds < limit+5 || seconds > limit+15 && !waits {
			t.Errorf("%s waits %v seconds, its function may run %v", s.Name, seconds, limit)
		}
	}
}

func TestTasksRetryNamedTransientsOnly(t *testing.T) {
	for s := range states(t) {
		if !isTask(s) {
			continue
		}
		want := slices.Concat(lambdaTransients, ownTransients)
		if isLetter(s) {
			want = sqsTransients
		}
		var got []string
		for _, r := range s.Retry {
			got = append(got, r.ErrorEquals...)
			if r.JitterStrategy != "FULL" || r.IntervalSeconds != 1 || r.MaxDelaySeconds == 0 {
				t.Errorf("%s retries %v without full jitter from 1 second to a limit", s.Name, r.ErrorEquals)
			}
		}
		slices.Sort(got)
		want = slices.Clone(want)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s retries (-want +got):\n%s", s.Name, diff)
		}
	}
}

// An execution that dies leaves a lease behind. Others ask for the resource until it is over. Full jitter waits any part of a delay, half
// of it on average: the lease has to be over but for three standard deviations, which is one time in a thousand.
func TestBusyIsRetriedLongerThanALease(t *testing.T) {
	root, err := permission.Read("../cloudformation/root.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	lease, err := strconv.ParseFloat(root.Default("LeaseSeconds"), 64)
	if err != nil {
		t.Fatal(err)
	}
	busy := 0
	for s := range states(t) {
		for _, r := range s.Retry {
			if !slices.Contains(r.ErrorEquals, string(fault.Busy)) {
				continue
			}
			busy++
			delay, mean, variance := float64(r.IntervalSeconds), 0.0, 0.0
			for range r.MaxAttempts {
				d := min(delay, float64(r.MaxDelaySeconds))
				mean, variance = mean+d/2, variance+d*d/12
				delay *= 2
			}
			if least := mean - 3*math.Sqrt(variance); least < lease {
				t.Errorf("%s may give up on a busy resource after %.0f seconds (%.0f on average), and a lease lasts %.0f", s.Name, least, mean, lease)
			}
		}
	}
	if busy == 0 {
		t.Error("no state retries Busy")
	}
}

// All steps start together: none waits for another.
func TestStepsStartTogether(t *testing.T) {
	for _, name := range []string{"Contain", "Eradicate"} {
		s, _ := load(t).State(name)
		if s.Type != "Map" || s.ItemProcessor.ProcessorConfig.Mode != "INLINE" || s.MaxConcurrency != nil {
			t.Errorf("%s is a %s that runs %v steps at once", name, s.Type, s.MaxConcurrency)
		}
	}
}

func TestCatchersAreNamedFirstAndCatchAllLast(t *testing.T) {
	for s := range states(t) {
		if !isTask(s) && s.Type != "Map" {
			continue
		}
		if len(s.Catch) == 0 {
			t.Errorf("%s catches nothing", s.Name)
			continue
		}
		for i, c := range s.Catch {
			isLast := i == len(s.Catch)-1
			if hasAll := slices.Contains(c.ErrorEquals, "States.ALL"); hasAll != isLast || hasAll && len(c.ErrorEquals) != 1 {
				t.Errorf("%s: States.ALL must stand alone and last, catcher %d has %v", s.Name, i+1, c.ErrorEquals)
			}
		}
	}
}

// Whatever fails ends in a dead letter. A dead letter that cannot be sent ends the same way without it, and says so.
func TestFailuresEndInADeadLetter(t *testing.T) {
	for _, level := range levels(t) {
		for _, s := range level.States {
			for _, c := range s.Catch {
				next := at(level, c.Next)
				if isLetter(s) {
					if isLetter(next) || next.Type != "Pass" && next.Type != "Fail" {
						t.Errorf("%s, when it fails, leads to %s", s.Name, next.Name)
					}
				} else if !isLetter(next) {
					t.Errorf("%s, when it fails, leads to %s and not to a dead letter", s.Name, next.Name)
				}
			}
		}
	}
}

func at(level asl.Machine, name string) asl.State {
	i := slices.IndexFunc(level.States, func(s asl.State) bool { return s.Name == name })
	if i < 0 {
		return asl.State{}
	}
	return level.States[i]
}

func TestErrorNamesExist(t *testing.T) {
	known := slices.Concat(languageErrors, lambdaTransients, sqsTransients)
	for _, n := range fault.Names() {
		known = append(known, string(n))
	}
	for s := range states(t) {
		var names []string
		for _, r := range s.Retry {
			names = append(names, r.ErrorEquals...)
		}
		for _, c := range s.Catch {
			names = append(names, c.ErrorEquals...)
		}
		for _, n := range names {
			if !slices.Contains(known, n) {
				t.Errorf("%s names the error %s, which nothing answers", s.Name, n)
			}
		}
	}
}

func TestPlaceholdersAreKnownAndInsideStrings(t *testing.T) {
	for file, m := range machines(t) {
		text, err := os.ReadFile(file)
		must(t, err)
		var tree any
		must(t, json.Unmarshal(text, &tree)) // valid before substitution: none stands outside a string
		known := []string{"Partition", "ActionDeadLetters", "IncidentDeadLetters"}
		for s := range m.All() {
			if isInvoke(s) {
				known = append(known, function(s))
			}
		}
		var inside []string
		asl.Walk(tree, func(_, v string) { inside = append(inside, asl.Placeholders([]byte(v))...) })
		slices.Sort(inside)
		inside = slices.Compact(inside)
		if diff := cmp.Diff(inside, asl.Placeholders(text)); diff != "" {
			t.Errorf("%s: placeholders that are keys:\n%s", file, diff)
		}
		for _, p := range inside {
			if !slices.Contains(known, p) {
				t.Errorf("%s: ${%s} is not a known placeholder", file, p)
			}
		}
	}
}

// function is the placeholder of the function that a state invokes.
func function(s asl.State) string {
	name, _ := s.Arguments["FunctionName"].(string)
	return strings.TrimSuffix(strings.TrimPrefix(name, "${"), "}")
}

// A state is named after its function's folder; the closing states, one for each ending, share one.
func TestStatesAreNamedAfterTheirFunctions(t *testing.T) {
	invoked := map[string]bool{}
	for s := range states(t) {
		if !isTask(s) {
			continue
		}
		if !isInvoke(s) && !isLetter(s) {
			t.Errorf("%s is a task of another kind: %s", s.Name, s.Resource)
		}
		if !isInvoke(s) {
			continue
		}
		want := s.Name
		if payload, _ := s.Arguments["Payload"].(map[string]any); payload["ending"] != nil {
			want = "CloseIncident"
		}
		if got := function(s); got != want+"Function" {
			t.Errorf("%s invokes ${%s}, want ${%sFunction}", s.Name, got, want)
		}
		folder := asl.Folder(want)
		invoked[folder] = true
		if _, err := os.Stat(filepath.Join("../functions", folder, "main.go")); err != nil {
			t.Errorf("%s has no function: %v", s.Name, err)
		}
	}
	mains, err := filepath.Glob("../functions/*/main.go")
	must(t, err)
	for _, path := range mains {
		folder := filepath.Base(filepath.Dir(path))
		if !invoked[folder] && !slices.Contains(outsideTheMachine, folder) {
			t.Errorf("functions/%s is in no state", folder)
		}
	}
}

func TestActionsAreChosenByTheirFolder(t *testing.T) {
	for s := range states(t) {
		if !strings.HasPrefix(s.Name, "Which") {
			continue
		}
		for _, r := range s.Choices {
			if want := "{% $states.input.action = '" + asl.Folder(r.Next) + "' %}"; r.Condition != want {
				t.Errorf("%s is chosen by %s, want %s", r.Next, r.Condition, want)
			}
		}
	}
}

// The end states are exactly the endings, and what a closing state claims is where it leads.
func TestEndingsAreTheVocabulary(t *testing.T) {
	want := []string{}
	for _, e := range []incident.Ending{incident.EndContained, incident.EndEradicated, incident.EndAlreadyHandled, incident.EndRecorded, incident.EndPlanned,
		incident.EndSuperseded, incident.EndApprovalRejected, incident.EndApprovalExpired, incident.EndNeedsPerson} {
		want = append(want, string(e))
	}
	m := load(t)
	var got []string
	for _, s := range m.States {
		switch s.Type {
		case "Succeed", "Fail":
			got = append(got, s.Name)
		}
		if s.End {
			t.Errorf("%s ends the machine without an ending", s.Name)
		}
		if payload, ok := s.Arguments["Payload"].(map[string]any); ok && payload["ending"] != nil && payload["ending"] != s.Next {
			t.Errorf("%s claims %v and leads to %s", s.Name, payload["ending"], s.Next)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("endings (-want +got):\n%s", diff)
	}
	if last := m.States[len(m.States)-1]; last.Type != "Fail" || last.Name != string(incident.EndNeedsPerson) {
		t.Errorf("the last state is %s, a %s", last.Name, last.Type)
	}
}

// What no rule of a Choice knows is a dead letter, or a closing that looks at the outcomes itself; never an ending.
func TestChoicesDefaultToWhatIsSafe(t *testing.T) {
	for _, level := range levels(t) {
		for _, s := range level.States {
			if s.Type != "Choice" {
				continue
			}
			if !strings.HasSuffix(s.Name, "?") {
				t.Errorf("%s is a Choice and no question", s.Name)
			}
			next := at(level, s.Default)
			unknown := next.Type == "Pass" && isLetter(at(level, next.Next))
			closing := isInvoke(next) && strings.HasPrefix(function(next), "Close")
			if !isLetter(next) && !unknown && !closing {
				t.Errorf("%s leads by default to %q", s.Name, s.Default)
			}
		}
	}
}

var (
	called    = regexp.MustCompile(`\$(\w+)\(`)
	filter    = regexp.MustCompile(`[\w)]\[`)
	forbidden = regexp.MustCompile(`\n|~>|:=|;|\bfunction\b|λ|\^\(|\$\$|\*\*|\$(uuid|now|millis|random|eval)\b`)
)

func TestExpressionsKeepToTheDialect(t *testing.T) {
	functions := []string{"count", "exists", "merge", "not", "string"}
	for s := range states(t) {
		for _, e := range s.Expressions() {
			if len(e.Text) > 80 {
				t.Errorf("%s %s has %d characters: %s", s.Name, e.Where, len(e.Text), e.Text)
			}
			for _, c := range called.FindAllStringSubmatch(e.Text, -1) {
				if !slices.Contains(functions, c[1]) {
					t.Errorf("%s %s calls $%s: %s", s.Name, e.Where, c[1], e.Text)
				}
			}
			if len(filter.FindAllString(e.Text, -1)) > 1 || forbidden.MatchString(e.Text) {
				t.Errorf("%s %s is more than the dialect has: %s", s.Name, e.Where, e.Text)
			}
		}
	}
}

// The task token goes from the context to request-approval, and the task's result to no variable and no output as a whole.
func TestTaskTokenGoesToOneFunction(t *testing.T) {
	m := load(t)
	seen := 0
	for s := range m.All() {
		for _, e := range s.Expressions() {
			if strings.Contains(e.Text, "Token") || strings.Contains(e.Text, "Context.Task") || e.Text == "$states.context" || e.Text == "$states.context.Task" || e.Text == "$states" {
				seen++
				if s.Name != "RequestApproval" || e.Where != "Arguments.Payload.token" {
					t.Errorf("%s %s has the task token: %s", s.Name, e.Where, e.Text)
				}
			}
			whole := e.Text == "$states.result" || e.Text == "$states.result.Payload"
			if whole && s.Name == "RequestApproval" {
				t.Errorf("%s %s keeps the whole result", s.Name, e.Where)
			}
			if e.Text == "$states.result" && s.Type != "Map" {
				t.Errorf("%s %s keeps a service's whole answer", s.Name, e.Where)
			}
		}
		if s.Name == "RequestApproval" && s.Output == nil {
			t.Error("RequestApproval has no Output: its result would flow on")
		}
	}
	if seen != 1 {
		t.Errorf("the task token is taken %d times", seen)
	}
}

// Only ClassifyFinding sees the event: its output is made anew, its failure too, and nobody reads the execution's input.
func TestFindingStaysWithClassifyFinding(t *testing.T) {
	m := load(t)
	if m.StartAt != "ClassifyFinding" {
		t.Fatalf("StartAt is %s", m.StartAt)
	}
	for s := range m.All() {
		for _, e := range s.Expressions() {
			if strings.Contains(e.Text, "Execution.Input") {
				t.Errorf("%s %s reads the execution's input", s.Name, e.Where)
			}
			if s.Name == m.StartAt && strings.Contains(e.Text, "$states.input") && e.Where != "Arguments.Payload.event" {
				t.Errorf("%s %s passes the event on", s.Name, e.Where)
			}
		}
	}
	if s, _ := m.State(m.StartAt); s.Output == nil || s.Output == "{% $states.result.Payload %}" {
		t.Error("the output of ClassifyFinding is not made anew")
	}
}

func TestCleanOutcomesAreThoseThatCount(t *testing.T) {
	var want, undone []any
	for _, o := range []incident.Outcome{incident.Applied, incident.Already, incident.Planned, incident.Gone, incident.Refused,
		incident.Restored, incident.Held, incident.Drifted, incident.Changed, incident.Failed} {
		if o.Contains() {
			want = append(want, string(o))
		}
		if o.Releases() {
			undone = append(undone, string(o))
		}
	}
	for file, want := range map[string][]any{"respond.asl.json": want, "release.asl.json": undone} {
		m := machines(t)[file]
		s, _ := m.State(m.StartAt)
		if diff := cmp.Diff(any(want), s.Assign["clean"]); diff != "" {
			t.Errorf("$clean of %s (-want +got):\n%s", file, diff)
		}
	}
}

// A golden result is the contract between a function and the machine: nothing in it that the type does not have.
func TestGoldenResultsAreOfTheirTypes(t *testing.T) {
	files, err := filepath.Glob("../functions/*/testdata/*.json")
	must(t, err)
	for _, path := range files {
		folder := filepath.Base(filepath.Dir(filepath.Dir(path)))
		text, err := os.ReadFile(path)
		must(t, err)
		var into any
		switch {
		case bytes.Contains(text, []byte(`"errorType"`)): // as a failed function shows
			into = &struct {
				Name    fault.Name `json:"errorType"`
				Message string     `json:"errorMessage"`
			}{}
		case folder == "classify-finding":
			into = &incident.Decision{}
		case folder == "request-approval":
			if strings.HasPrefix(filepath.Base(path), "asked") {
				continue // what it keeps in the ledger
			}
			into = &incident.Verdict{}
		case folder == "close-incident", folder == "close-release":
			into = &incident.Closing{}
		case folder == "plan-release":
			into = &incident.ReleasePlan{}
		case slices.Contains(outsideTheMachine, folder):
			continue
		default:
			into = &incident.Result{}
		}
		if err := strict(text, into); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

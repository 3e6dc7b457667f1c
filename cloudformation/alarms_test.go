package cloudformation

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// promises are the eight that Firebreak makes; alarms.yaml has their words.
var promises = []string{"P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8"}

// Each promise has an alarm that is there, or a reason why none can watch it; and no alarm watches over nothing.
func TestEveryPromiseHasAnAlarm(t *testing.T) {
	tpl := read(t, "alarms.yaml")
	kept := at(tpl.root, "Metadata", "Promises")
	if got := keys(kept); !slices.Equal(got, promises) {
		t.Errorf("alarms.yaml speaks of the promises %v, not of %v", got, promises)
	}
	var there, used []string
	for _, r := range tpl.resources() {
		if r.kind() == "AWS::CloudWatch::Alarm" {
			there = append(there, r.id)
		}
	}
	for _, p := range pairs(kept) {
		alarms, why := list(at(p.value, "Alarms")), text(at(p.value, "Why"))
		if (len(alarms) > 0) == (len(why) >= 40) {
			t.Errorf("%s has %d alarms and the reason %q: it needs one of them", p.key.Value, len(alarms), why)
		}
		for _, a := range alarms {
			if !slices.Contains(there, a) {
				t.Errorf("%s is watched by %s, which is no alarm of the template", p.key.Value, a)
			}
		}
		used = append(used, alarms...)
	}
	for _, a := range there {
		if !slices.Contains(used, a) {
			t.Errorf("%s watches over no promise", a)
		}
	}
}

// Whoever budgets by the README counts on as many alarms as there are.
func TestTheGuideCountsTheAlarms(t *testing.T) {
	alarms := 0
	for _, r := range read(t, "alarms.yaml").resources() {
		if r.kind() == "AWS::CloudWatch::Alarm" {
			alarms++
		}
	}
	guide, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("| hub, idle | %d alarms at 0.10,", alarms); !strings.Contains(string(guide), want) {
		t.Errorf("the README does not say %q", want)
	}
}

// aws are the metrics of AWS's own that alarms use, with the dimension that picks the resource. Sources: the CloudWatch pages of the
// developer guides of SQS, Step Functions and Lambda.
var aws = map[string]string{
	"AWS/SQS ApproximateAgeOfOldestMessage":      "QueueName",
	"AWS/SQS ApproximateNumberOfMessagesVisible": "QueueName",
	"AWS/States ExecutionsFailed":                "StateMachineArn",
	"AWS/States ExecutionsTimedOut":              "StateMachineArn",
	"AWS/States ExecutionsAborted":               "StateMachineArn",
	"AWS/Lambda Invocations":                     "FunctionName",
	"AWS/Lambda Errors":                          "FunctionName",
}

// An alarm on a metric that nobody writes, or of a resource that is not there, is silent for ever.
func TestEveryAlarmReadsAMetricThatIsWritten(t *testing.T) {
	written := emitted(t)
	names := map[string][]string{"StateMachineArn": {"!Ref MachineArn", "!Ref ReleaseMachineArn"}}
	for _, tpl := range all(t) {
		for _, r := range tpl.resources() {
			switch r.kind() {
			case "AWS::SQS::Queue":
				names["QueueName"] = append(names["QueueName"], text(r.property("QueueName")))
			case "AWS::Lambda::Function":
				names["FunctionName"] = append(names["FunctionName"], text(r.property("FunctionName")))
			}
		}
	}
	read := map[string]bool{}
	for _, tpl := range all(t) {
		for _, r := range tpl.resources() {
			if r.kind() != "AWS::CloudWatch::Alarm" {
				continue
			}
			metric := text(r.property("MetricName"))
			if text(r.property("Namespace")) == "Firebreak" {
				if read[metric] = true; !slices.Contains(written, metric) || r.property("Dimensions") != nil {
					t.Errorf("%s reads Firebreak's %s, which no function writes for all it sees; written are %v", r, metric, written)
				}
				continue
			}
			dimension, known := aws[text(r.property("Namespace"))+" "+metric]
			if of := text(dig(r.property(), "Dimensions.0.Name")); !known || of != dimension {
				t.Errorf("%s reads %s %s by %s, which AWS does not write", r, text(r.property("Namespace")), metric, of)
			}
			if of := text(dig(r.property(), "Dimensions.0.Value")); !slices.Contains(names[dimension], of) {
				t.Errorf("%s watches %s %q, which no template makes", r, dimension, of)
			}
		}
	}
	for _, m := range []string{"Orphaned", "InFlight", "Unfinished", "Untold", "Missing", "Unread", "Silent", "Undone", "Unseen"} {
		if !read[m] {
			t.Errorf("no alarm reads %s, which counts what a person must see", m)
		}
	}
}

// emitted lists the metrics without a dimension that functions write in the embedded metric format: in a function that spells
// CloudWatchMetrics, the names that are both announced and given a value.
func emitted(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../functions/*/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no functions: %v", err)
	}
	var out []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			said := map[string]int{}
			ast.Inspect(d, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					s, _ := strconv.Unquote(lit.Value)
					said[s]++
				}
				return true
			})
			if said["CloudWatchMetrics"] == 0 || said["Firebreak"] == 0 {
				continue
			}
			for s, n := range said {
				if n >= 2 && s != "Count" && s != "Source" {
					out = append(out, s)
				}
			}
		}
	}
	return sorted(out)
}

package statemachines

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"firebreak/lib/asl"
	"firebreak/lib/permission"
)

// validator is the path of AWS Labs' asl-validator, which is installed where it is not yet.
func validator(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("asl-validator is left out of -short; scripts/test paths runs it")
	}
	setup := exec.Command("../scripts/local/validator/setup")
	var trouble bytes.Buffer
	setup.Stderr = &trouble
	path, err := setup.Output()
	if err != nil {
		t.Fatalf("asl-validator cannot be installed (%v): %s", err, &trouble)
	}
	return strings.TrimSpace(string(path))
}

// verdict is what the validator says of a definition: "" when it accepts it.
func verdict(t *testing.T, program, definition string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "machine.asl.json")
	must(t, os.WriteFile(file, []byte(definition), 0o600))
	out, err := exec.Command(program, "--json-path", file).CombinedOutput()
	if err == nil {
		return ""
	}
	return string(out) + err.Error()
}

// render gives the machines of the template by name, with what its stack puts in the place of the placeholders.
func render(t *testing.T, partition, region, suffix string) map[string]string {
	t.Helper()
	const account = "111111111111"
	queue := func(name string) string {
		return "https://sqs." + region + "." + suffix + "/" + account + "/firebreak-" + name + "-dlq"
	}
	tpl, err := permission.Read("../cloudformation/statemachines.yaml", map[string]string{
		"AWS::AccountId": account, "AWS::Region": region, "AWS::Partition": partition, "AWS::URLSuffix": suffix,
		"ActionDeadLettersUrl": queue("action"), "IncidentDeadLettersUrl": queue("incident"),
	})
	must(t, err)
	out := map[string]string{}
	for _, r := range tpl.Resources("AWS::StepFunctions::StateMachine") {
		source, err := os.ReadFile(filepath.Join("../cloudformation", r.Text("DefinitionS3Location")))
		must(t, err)
		values := map[string]string{}
		for _, p := range asl.Placeholders(source) {
			if v := r.Text("DefinitionSubstitutions", p); v != "" {
				values[p] = v
			}
		}
		text, err := asl.Substitute(source, values)
		if err != nil {
			t.Fatalf("%s: %v", r.ID, err)
		}
		out[r.Text("StateMachineName")] = string(text)
	}
	return out
}

// What Step Functions is given is what AWS Labs' validator accepts, in each partition.
func TestTheValidatorAcceptsTheRenderedMachines(t *testing.T) {
	program := validator(t)
	for _, at := range [][3]string{{"aws", "us-east-1", "amazonaws.com"}, {"aws-us-gov", "us-gov-west-1", "amazonaws.com"}, {"aws-cn", "cn-north-1", "amazonaws.com.cn"}} {
		machines := render(t, at[0], at[1], at[2])
		if len(machines) != 2 {
			t.Errorf("%s: %d machines, not respond and release", at[0], len(machines))
		}
		for name, text := range machines {
			if said := verdict(t, program, text); said != "" {
				t.Errorf("%s in %s is refused:\n%s", name, at[0], said)
			}
		}
	}
}

// The validator refuses what is wrong, so that its silence means something.
func TestTheValidatorRefusesBrokenMachines(t *testing.T) {
	program := validator(t)
	for machine, text := range render(t, "aws", "us-east-1", "amazonaws.com") {
		for what, broken := range map[string]string{
			"a start that is no state": strings.Replace(text, `"StartAt": "`, `"StartAt": "No`, 1),
			"a next that is no state":  strings.Replace(text, `"Next": "`, `"Next": "No`, 1),
			"a field that is unknown":  strings.Replace(text, `"ErrorEquals"`, `"ErrorEqual"`, 1),
			"JSON that breaks off":     text[:len(text)/2],
		} {
			if broken == text || verdict(t, program, broken) == "" {
				t.Errorf("%s: %s is accepted", machine, what)
			}
		}
	}
}

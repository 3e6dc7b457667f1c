//go:build e2e

package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"firebreak/lib/approval"
	"firebreak/scripts/local/world"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// This file's tests look at what all the others have left behind, so it comes last.

// spellings are the ways in which a secret may stand in a text.
func spellings(secret string) []string {
	out := []string{secret, url.QueryEscape(secret), url.PathEscape(secret), base64.RawStdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret))}
	// inside a longer text that was encoded as a whole, the secret begins at any of three offsets
	for shift := 1; shift < 3; shift++ {
		padded := strings.Repeat("x", shift) + secret
		enc := base64.RawStdEncoding.EncodeToString([]byte(padded))
		out = append(out, enc[4:len(enc)-2])
	}
	quoted, err := json.Marshal(secret)
	if err == nil {
		out = append(out, strings.Trim(string(quoted), `"`))
	}
	return out
}

// places are the texts that Firebreak wrote, logged or sent, by name. What AWS itself keeps of a task's parameters is not among
// them.
func places(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for group, lines := range must(hub.Logs.All(t.Context()))(t) {
		found["log "+group] = strings.Join(lines, "\n")
		for _, line := range lines { // metrics are lines of a log (embedded metric format)
			if strings.Contains(line, `"_aws"`) {
				found["metrics "+group] += line + "\n"
			}
		}
	}
	for _, q := range append([]string{world.Inbox}, world.Queues...) {
		for n, m := range must(hub.Letters(t.Context(), q))(t) {
			found[fmt.Sprintf("queue %s message %d", q, n)] = m.Body
		}
	}
	for _, arn := range must(hub.Executions(t.Context()))(t) {
		run := must(hub.Run(t.Context(), arn))(t)
		found["output and cause of "+run.Name] = run.Output + run.Cause
		found["input of "+run.Name] = run.Input
		found["states of "+run.Name] = states(t, run)
	}
	for _, i := range invitations(t) {
		p := must(world.NewWeb().Get(t.Context(), i.Link))(t)
		found["page of "+i.Approver+" "+i.Link] = p.HTML + fmt.Sprint(p.Header)
		found["link of "+i.Approver] = i.Link
	}
	return found
}

func invitations(t *testing.T) []world.Invitation {
	t.Helper()
	all := must(hub.Invitations(t.Context(), ""))(t)
	return all[max(0, len(all)-40):]
}

// states are the inputs and outputs of the states of an execution, and the variables, without what tasks are called with.
func states(t *testing.T, run world.Run) string {
	t.Helper()
	var events []map[string]any
	check(t, json.Unmarshal(run.Raw, &events))
	var out strings.Builder
	for _, e := range events {
		for _, k := range []string{"StateEnteredEventDetails", "StateExitedEventDetails", "TaskSucceededEventDetails", "TaskFailedEventDetails", "ExecutionSucceededEventDetails", "ExecutionFailedEventDetails"} {
			if e[k] != nil {
				text, err := json.Marshal(e[k])
				check(t, err)
				out.Write(text)
			}
		}
	}
	return out.String()
}

var request = regexp.MustCompile(`pk=INC#(\S+) sk=APPROVAL#(\d+)`)

func TestTheTaskTokenIsNowhere(t *testing.T) {
	i := instance(t)
	finding := mining(t, i)
	put(t, finding)
	asks(t, finding)
	tokens := map[string]bool{}
	for _, m := range request.FindAllStringSubmatch(must(hub.Dump(t.Context()))(t), -1) {
		number, err := strconv.Atoi(m[2])
		check(t, err)
		if a := must(approval.Load(t.Context(), hub.Store, m[1], number))(t); a.Value.Token != "" {
			tokens[a.Value.Token] = true
		}
	}
	decide(t, finding.Incident(), world.ToDestroy, "reject", i.ID, "alice")
	settle(t, finding)
	check(t, hub.Sweep(t.Context())) // it writes metrics
	if len(tokens) == 0 {
		t.Fatal("no token in the ledger: the search cannot be right")
	}
	all := places(t)
	kinds := map[string]int{}
	for name := range all {
		kind, _, _ := strings.Cut(name, " ")
		kinds[kind]++
	}
	t.Logf("%d tokens, searched in %v", len(tokens), kinds)
	for _, kind := range []string{"log", "metrics", "queue", "output", "states", "page", "link"} {
		if kinds[kind] == 0 {
			t.Errorf("there was no %s to search", kind)
		}
	}
	// the search finds what is there: the incident in logs, messages, pages and states, the token in the ledger
	for _, kind := range []string{"log", "queue", "output", "states", "page"} {
		found := false
		for name, text := range all {
			found = found || strings.HasPrefix(name, kind) && strings.Contains(text, finding.Incident())
		}
		if !found {
			t.Errorf("no %s names %s: the search cannot be right", kind, finding.Incident())
		}
	}
	for token := range tokens {
		for _, spelling := range spellings(token) {
			for name, text := range all {
				if strings.Contains(text, spelling) {
					t.Errorf("a task token stands in the %s", name)
				}
			}
		}
	}
}

func TestNoSecretsInStateData(t *testing.T) {
	external := externalID(t)
	secrets := secretsmanager.NewFromConfig(platform.Config(world.HubAccount))
	key := must(secrets.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("firebreak/link-key")}))(t)
	var ring struct{ Key string }
	if json.Unmarshal([]byte(aws.ToString(key.SecretString)), &ring) != nil || ring.Key == "" {
		ring.Key = aws.ToString(key.SecretString)
	}
	patterns := map[string]*regexp.Regexp{
		"a session token":    regexp.MustCompile(`(?i)session_?token"?\s*[:=]\s*"?[A-Za-z0-9+/=]{16,}`),
		"a secret key":       regexp.MustCompile(`(?i)secret_?access_?key"?\s*[:=]\s*"?[A-Za-z0-9+/=]{16,}`),
		"a temporary key id": regexp.MustCompile(`"ASIA[A-Z0-9]{16}"`),
	}
	for name, text := range places(t) {
		for what, secret := range map[string]string{"the external id": external, "the key of the links": ring.Key} {
			for _, s := range spellings(secret) {
				if strings.Contains(text, s) {
					t.Errorf("%s stands in the %s", what, name)
				}
			}
		}
		if strings.HasPrefix(name, "input ") {
			continue // GuardDuty's own finding names the key that was misused
		}
		for what, pattern := range patterns {
			if m := pattern.FindString(text); m != "" && !strings.Contains(m, "ASIAIOSFODNN7EXAMPLE") {
				t.Errorf("%s stands in the %s: %s", what, name, m)
			}
		}
	}
}

// dead is the letter of a call whose environment was ended under it.
var dead = regexp.MustCompile(`:function:(firebreak-[a-z-]+)".*"Runtime exited before returning a response"`)

// Every event that was put has come to something: what is delivered ends, and nothing lies where nobody looks.
func TestNothingIsLost(t *testing.T) {
	for _, arn := range must(hub.Executions(t.Context()))(t) {
		run := must(hub.Run(t.Context(), arn))(t)
		if run.Ended() || run.Ending() == "RequestApproval" {
			continue
		}
		t.Errorf("neither ended nor waiting for people: %s", show(run))
	}
	died := map[string]int{} // calls that lie in the queue because a test killed the function
	for _, q := range []string{world.Delivery, world.Function, world.Deaths} {
		for _, m := range must(hub.Letters(t.Context(), q))(t) {
			if f := dead.FindStringSubmatch(m.Body); q == world.Function && f != nil && died[f[1]] < killed(f[1]) {
				died[f[1]]++
				continue
			}
			t.Errorf("%s has %s", q, m.Body)
		}
	}
	text, err := os.ReadFile(platform.State + "/ministack.log")
	check(t, err)
	if n := strings.Count(string(text), "Traceback"); n > 0 {
		t.Logf("the platform's log has %d tracebacks", n)
	}
}

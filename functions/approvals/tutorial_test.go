package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/channel"
	"firebreak/lib/setting"
)

// The nine tests below are named after what AWS's own tutorial of an approval by e-mail does ("Deploying a workflow that waits
// for human approval", Step Functions Developer Guide), and show that it is not so here.

func TestTutorialGetDecides(t *testing.T) {
	d := newDoor(t, approval.KindEradicate)
	before := d.dump()
	for _, query := range []string{"", "action=approve", "action=approve&ex=" + running + "&sm=m&taskToken=" + url.QueryEscape(token), "decision=approve&typed-0=" + instance} {
		var req request
		req.RawPath, req.RawQueryString = "/approve/"+d.link("alice"), query
		req.RequestContext.HTTP.Method = "GET"
		if res, err := d.h.handle(t.Context(), req); err != nil || res.StatusCode != http.StatusOK {
			t.Fatal(res.StatusCode, err)
		}
	}
	if d.dump() != before || len(d.sent) != 0 {
		t.Error("GET has decided")
	}
}

func TestTutorialHasNoAuthorization(t *testing.T) {
	d := newDoor(t, approval.KindEradicate)
	d.installed.Approval.LinkAlone = "none"
	d.serve()
	before := d.dump()
	for _, path := range []string{"/approve", "/approve/", "/approve/INC-AAAABBBBCCCCDDDD", "/execution?action=approve", "/approve/" + d.link("alice")} {
		res := d.ask("POST", path, sameOrigin, url.Values{"nonce": {ringNonce(d, "alice")}, "decision": {"approve"}, "typed-0": {instance}}.Encode())
		if res.StatusCode != http.StatusNotFound && res.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
	if d.dump() != before {
		t.Error("nobody in particular has decided")
	}
}

// spellings are the ways in which a secret could be written down.
func spellings(secret string) []string {
	out := []string{secret, url.QueryEscape(secret), url.PathEscape(secret), fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret)}
	for shift := range 3 { // base64 at each alignment, without the edges that depend on what is beside it
		for _, enc := range []string{b64(strings.Repeat("x", shift)+secret, false), b64(strings.Repeat("x", shift)+secret, true)} {
			out = append(out, enc[4:len(enc)-4])
		}
	}
	quoted, _ := json.Marshal(secret)
	return append(out, strings.Trim(string(quoted), `"`), url.QueryEscape(url.QueryEscape(secret)), secret[:len(secret)/2+4])
}

func b64(s string, urls bool) string {
	if urls {
		return base64.RawURLEncoding.EncodeToString([]byte(s))
	}
	return base64.RawStdEncoding.EncodeToString([]byte(s))
}

// story is an approval from the request to the delivery, by every way there is, with everything that anybody sees or reads.
func story(t *testing.T) (said map[string]string, d *door) {
	t.Helper()
	d, w := newChannel(t, approval.KindEradicate)
	said = map[string]string{}
	d.installed.Approval.LinkAlone = "destructive"
	d.serve()
	meta, err := d.meta()
	if err != nil {
		t.Fatal(err)
	}
	keep := func(name string, res response) {
		said[name] += fmt.Sprint(res.StatusCode, res.Headers, res.Cookies, res.Body)
	}
	for _, who := range []string{"alice", "bob", "carol"} {
		link := d.link(who)
		said["link of "+who] = link
		for _, lang := range []string{"en", "ja"} {
			keep("page of "+who+" in "+lang, d.ask("GET", "/approve/"+link, map[string]string{"accept-language": lang}, ""))
		}
		for _, m := range []channel.Message{channel.Ask(meta, d.approval(1), who, front+"/approve/"+link, d.now), channel.Remind(meta, d.approval(1), who, front+"/approve/"+link, d.now), channel.Escalated(meta, d.approval(1), d.now), channel.Ended(meta, d.approval(1))} {
			said["mail"] += m.Subject + m.Body
		}
	}
	keep("refused", d.post("alice", url.Values{"nonce": {"x"}}))
	d.fail = fmt.Errorf("Invalid Token: '%s'", token)
	keep("approved by link", d.post("alice", d.form("alice", "approve", instance)))
	keep("approved in Slack", d.slack(w.Submit("U2", d.presses(w, "U2", "approve"), map[string]any{"typed-0": instance})))
	d.fail = nil
	if _, err := d.h.courier.Deliver(t.Context(), id, 1); err != nil {
		t.Fatal(err)
	}
	keep("done", d.get("bob"))
	for _, m := range w.Messages() {
		data, _ := json.Marshal(m)
		said["Slack"] += string(data)
	}
	for _, v := range w.Views() {
		data, _ := json.Marshal(v)
		said["Slack"] += string(data)
	}
	for _, v := range d.sent {
		data, _ := json.Marshal(v)
		said["state output"] += string(data)
	}
	said["log"] = d.log.String()
	recs, err := d.mem.List(t.Context(), "INC#"+id, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range recs {
		if r.SK != "APPROVAL#0001" {
			said["ledger"] += r.SK + string(r.Data) + r.Group + r.Sort
		}
	}
	return said, d
}

func TestTutorialPutsTheTokenIntoTheLink(t *testing.T) {
	said, _ := story(t)
	for name, text := range said {
		if name == "log" {
			continue
		}
		for _, s := range spellings(token) {
			if strings.Contains(text, s) {
				t.Errorf("%s has the task token, as %s", name, s)
			}
		}
	}
	if len(said) < 12 || said["state output"] == "" || said["Slack"] == "" {
		t.Errorf("the story is not whole: %d parts", len(said))
	}
}

func TestTutorialLogsTheToken(t *testing.T) {
	said, d := story(t)
	links := []string{d.link("alice"), d.link("bob")}
	for _, s := range append(spellings(token), append(links, strings.Split(links[0], ".")[1], "0123456789abcdefghij")...) {
		if strings.Contains(said["log"], s) {
			t.Errorf("the log has %s", s)
		}
	}
	if !strings.Contains(said["log"], "not delivered yet") {
		t.Error("the error that has the token in it was not logged")
	}
	for i, line := range strings.Split(strings.TrimSpace(said["log"]), "\n") {
		if !json.Valid([]byte(line)) {
			t.Errorf("line %d of the log is not JSON: %s", i, line)
		}
	}
}

func TestTutorialTakesRejectionForSuccess(t *testing.T) {
	d := newDoor(t, approval.KindEradicate)
	d.post("alice", d.form("alice", "reject", instance))
	if len(d.sent) != 1 || d.sent[0].Decision != "rejected" {
		t.Fatalf("the machine is told %+v", d.sent)
	}
	var m struct {
		States map[string]struct {
			Choices []struct{ Condition, Next string }
			Default string
		}
	}
	readJSON(t, "../../statemachines/respond.asl.json", &m)
	after := map[string]string{}
	for _, c := range m.States["Approved?"].Choices {
		for _, word := range regexp.MustCompile(`'(\w+)'`).FindAllStringSubmatch(c.Condition, -1) {
			after[word[1]] = c.Next
		}
	}
	for decision, next := range after {
		if (next == "Eradicate") != (decision == "approved") {
			t.Errorf("%s leads to %s", decision, next)
		}
	}
	if after["rejected"] != "CloseRejected" || after["approved"] != "Eradicate" || m.States["Approved?"].Default == "Eradicate" {
		t.Errorf("%v, else %s", after, m.States["Approved?"].Default)
	}
}

func TestTutorialSendsSuccessToEverything(t *testing.T) {
	files, err := filepath.Glob("../../cloudformation/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	grants := 0
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(text), "\n")
		for i, line := range lines {
			if !strings.Contains(line, "states:SendTask") {
				continue
			}
			grants++
			if strings.TrimSpace(line) != "Action: states:SendTaskSuccess" || !strings.HasSuffix(lines[i+1], ":stateMachine:firebreak-respond'") {
				t.Errorf("%s:%d: %s %s", f, i+1, line, lines[i+1])
			}
		}
	}
	if grants != 2 { // this function and the sweep
		t.Errorf("%d roles may send a task's success", grants)
	}
}

func TestTutorialHasAConstantForAnApprover(t *testing.T) {
	d, _ := newSigned(t, approval.KindEradicate)
	for who, subject := range map[string]string{"alice": "a-1", "bob": "b-2"} {
		d.decides(d.link(who), "approve", instance, d.signs(d.link(who), subject))
	}
	if by := d.approval(1).By(); len(by) != 2 || by[0] == by[1] || len(d.sent[0].By) != 2 {
		t.Errorf("approved by %v, told %v", by, d.sent)
	}
}

func TestTutorialApprovesUnknownActions(t *testing.T) {
	for _, decision := range []string{"", "Approve", "APPROVE", "approved", "ok", "yes", "true", "1", "approve ", "approve\x00", "delete", "rejected"} {
		d := newDoor(t, approval.KindEradicate)
		form := d.form("alice", decision, instance)
		before := d.dump()
		if res := d.post("alice", form); res.StatusCode != http.StatusUnprocessableEntity || d.dump() != before {
			t.Errorf("%q: %d", decision, res.StatusCode)
		}
	}
}

func TestTutorialHasNoTimeout(t *testing.T) {
	var m struct {
		States map[string]struct{ TimeoutSeconds int }
	}
	readJSON(t, "../../statemachines/respond.asl.json", &m)
	limit := time.Duration(m.States["RequestApproval"].TimeoutSeconds) * time.Second
	longest := approval.Time(setting.Installed{Approval: setting.Approval{Hours: map[string]int{"": 160}}}, "LOW") // the most that the template takes
	if limit <= longest || limit > 8*24*time.Hour {
		t.Errorf("the machine waits for %s, people have up to %s", limit, longest)
	}
	d := newDoor(t, approval.KindEradicate)
	form := d.form("alice", "approve", instance)
	d.now = d.now.Add(4 * time.Hour)
	form.Set("nonce", ringNonce(d, "alice"))
	if res := d.post("alice", form); res.StatusCode != http.StatusConflict || len(d.approval(1).Decisions) != 0 {
		t.Errorf("after the time: %d", res.StatusCode)
	}
}

func readJSON(t *testing.T, file string, v any) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

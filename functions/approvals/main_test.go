package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"flag"
	"fmt"
	"html"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
	"firebreak/scripts/local/hostile"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	gocmp "github.com/google/go-cmp/cmp"
)

var pagesDir = flag.String("pages", "", "write the pages to this folder, to look at them")

const (
	id       = "INC-AAAABBBBCCCCDDDD"
	instance = "i-0abcdef1234567890"
	target   = "arn:aws:ec2:us-east-1:222222222222:instance/" + instance
	token    = "AQCEAAAAKgAAAAMAAAAA+task/token=="
	running  = "arn:aws:states:us-east-1:111111111111:execution:firebreak-respond:e1"
	front    = "https://abc.execute-api.us-east-1.amazonaws.com"
	secret   = `{"id":"1","key":"0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqr"}`
)

// door is the whole function over fakes.
type door struct {
	t         *testing.T
	h         handler
	mem       *ledger.Memory
	log       *bytes.Buffer
	installed setting.Installed
	secrets   map[string]string // by ARN; the key of the links for every other
	now       time.Time
	front     string // where the API is; front unless set

	mu      sync.Mutex
	sent    []incident.Verdict
	started []string
	inputs  []string
	fail    error
}

func (d *door) GetSecretValue(_ context.Context, in *secretsmanager.GetSecretValueInput, _ ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error) {
	if s, ok := d.secrets[*in.SecretId]; ok {
		return &secretsmanager.GetSecretValueOutput{SecretString: &s}, nil
	}
	return &secretsmanager.GetSecretValueOutput{SecretString: aws.String(secret)}, nil
}

func (d *door) SendTaskSuccess(_ context.Context, in *sfn.SendTaskSuccessInput, _ ...func(*sfn.Options)) (*sfn.SendTaskSuccessOutput, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return nil, d.fail
	}
	if *in.TaskToken != token {
		return nil, &types.InvalidToken{Message: aws.String("Invalid Token: " + *in.TaskToken)}
	}
	var v incident.Verdict
	if err := json.Unmarshal([]byte(*in.Output), &v); err != nil {
		return nil, err
	}
	d.sent = append(d.sent, v)
	return &sfn.SendTaskSuccessOutput{}, nil
}

func (d *door) StartExecution(_ context.Context, in *sfn.StartExecutionInput, _ ...func(*sfn.Options)) (*sfn.StartExecutionOutput, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.started, d.inputs = append(d.started, *in.Name), append(d.inputs, *in.Input)
	return &sfn.StartExecutionOutput{}, d.fail
}

// newDoor has two approvers, an instance contained, and one request open.
func newDoor(t *testing.T, kind approval.Kind) *door {
	t.Helper()
	d := &door{t: t, mem: ledger.NewMemory(), log: &bytes.Buffer{}, now: time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)}
	old := slog.Default()
	slog.SetDefault(slog.New(slog.NewJSONHandler(d.log, nil)))
	t.Cleanup(func() { slog.SetDefault(old) })
	d.installed = setting.Installed{
		Approvers: []setting.Approver{{ID: "alice", Name: "Alice"}, {ID: "bob", Name: "Bob"}, {ID: "carol", Name: "Carol", Principals: []string{"arn:aws:iam::222222222222:role/clinic-web"}}},
		Approval:  setting.Approval{LinkAlone: "destructive", Hours: map[string]int{"": 24}},
	}
	d.serve()
	plan := incident.Plan{
		Contain:   []incident.Step{{Action: "isolate-instance", Target: target}, {Action: "revoke-sessions", Target: "arn:aws:iam::222222222222:role/clinic-web"}, {Action: "notify", Target: target}},
		Eradicate: []incident.Step{{Action: "terminate-instance", Target: target}},
	}
	meta := ledger.Item[ledger.Incident]{Key: ledger.IncidentKey(id), Value: ledger.Incident{
		ID: id, Status: incident.Open, Episode: 1, Band: incident.Critical, Owner: running, OwnerStart: d.now, FirstSeen: d.now.Add(-12 * time.Minute), Rule: "builtin.yaml:12", Plan: plan,
		Finding: ledger.Finding{
			Type: "UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration.OutsideAWS", Account: "222222222222", Region: "us-east-1",
			Title:  "Credentials that were made for an EC2 instance are used from outside of AWS",
			People: []string{"arn:aws:sts::222222222222:assumed-role/clinic-web/i-0abcdef1234567890"},
		},
		Outcomes: map[string]incident.Result{
			plan.Contain[0].Key(): {Action: "isolate-instance", Target: target, Outcome: incident.Applied, Verified: true},
			plan.Contain[1].Key(): {Action: "revoke-sessions", Target: plan.Contain[1].Target, Outcome: incident.Refused, Reason: "7 resources use the role clinic-web, more than the 5 that are changed without asking", Override: "shared"},
		},
	}}
	ledger.Place(&meta)
	if err := ledger.Save(t.Context(), d.mem, &meta); err != nil {
		t.Fatal(err)
	}
	d.open(kind, approval.Complete)
	return d
}

func (d *door) serve() {
	d.h = newHandler(d.mem, setting.Fixed(d.installed), d, address{"arn:aws:secretsmanager:us-east-1:111111111111:secret:k", "arn:aws:states:us-east-1:111111111111:stateMachine:firebreak-respond", cmp.Or(d.front, front)}, func() time.Time { return d.now })
}

func (d *door) open(kind approval.Kind, evidence string) approval.Approval {
	d.t.Helper()
	r := approval.Request{
		Incident: incident.Ref{ID: id, Episode: 1, Severity: incident.Critical, Account: "222222222222", Region: "us-east-1"}, Kind: kind, Round: 1,
		Token: token, Execution: incident.Execution{ARN: running, Start: d.now}, Evidence: evidence, Now: d.now, Expires: d.now.Add(4 * time.Hour),
		Steps: []approval.Step{{
			Step:     incident.Step{Action: "terminate-instance", Target: target},
			Identity: map[string]string{"launched": "2026-11-01T08:00:00Z", "volumes": "vol-0aaaaaaaaaaaaaaaa=snap-0aaaaaaaaaaaaaaaa,vol-0bbbbbbbbbbbbbbbb=snap-0bbbbbbbbbbbbbbbb"},
			Destroys: []string{"the instance i-0abcdef1234567890 (clinic-web-3, m7i.large), launched 2026-11-01", "its root volume vol-0aaaaaaaaaaaaaaaa, kept as snap-0aaaaaaaaaaaaaaaa", "what is on its instance store: in no snapshot"},
		}},
	}
	if kind == approval.KindOverride {
		r.Token = ""
		r.Steps = []approval.Step{{Step: incident.Step{Action: "revoke-sessions", Target: "arn:aws:iam::222222222222:role/clinic-web"}, Refusal: "7 resources use the role clinic-web, more than the 5 that are changed without asking", Rule: "shared"}}
	}
	a, err := approval.Open(d.t.Context(), d.mem, r)
	if err != nil {
		d.t.Fatal(err)
	}
	return a
}

func (d *door) approval(n int) approval.Approval {
	d.t.Helper()
	it, err := approval.Load(d.t.Context(), d.mem, id, n)
	if err != nil {
		d.t.Fatal(err)
	}
	return it.Value
}

func (d *door) link(approver string) string {
	d.t.Helper()
	ring, err := approval.ParseRing([]byte(secret))
	if err != nil {
		d.t.Fatal(err)
	}
	return ring.Link(d.approval(1), approver)
}

func (d *door) ask(method, path string, headers map[string]string, body string) response {
	d.t.Helper()
	var req request
	req.RawPath, req.Body, req.Headers = path, body, headers
	req.RequestContext.HTTP.Method, req.RequestContext.DomainName = method, "abc.execute-api.us-east-1.amazonaws.com"
	res, err := d.h.handle(d.t.Context(), req)
	if err != nil {
		d.t.Fatalf("%s: %v", method, err)
	}
	if strings.Contains(res.Body+fmt.Sprint(res.Headers), token) {
		d.t.Error("the task token is on the page")
	}
	return res
}

func (d *door) get(approver string) response {
	return d.ask("GET", "/approve/"+d.link(approver), nil, "")
}

var nonceField = regexp.MustCompile(`name="nonce" value="([^"]*)"`)

func nonceOf(t *testing.T, res response) string {
	t.Helper()
	m := nonceField.FindStringSubmatch(res.Body)
	if m == nil {
		t.Fatalf("no form on the page (%d): %s", res.StatusCode, res.Body)
	}
	return html.UnescapeString(m[1])
}

var sameOrigin = map[string]string{"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin", "origin": "null"}

func (d *door) form(approver, choice, typed string) url.Values {
	return url.Values{"nonce": {nonceOf(d.t, d.get(approver))}, "decision": {choice}, "typed-0": {typed}, "reason": {"miner found"}}
}

func (d *door) post(approver string, form url.Values) response {
	return d.ask("POST", "/approve/"+d.link(approver), sameOrigin, form.Encode())
}

// dump is everything in the store but what a view may write.
func (d *door) dump() string {
	d.t.Helper()
	recs, err := d.mem.List(d.t.Context(), "INC#"+id, "")
	if err != nil {
		d.t.Fatal(err)
	}
	var b strings.Builder
	for _, r := range recs {
		if !strings.HasPrefix(r.SK, "VIEW#") && !strings.HasPrefix(r.SK, "EVENT#") {
			fmt.Fprintf(&b, "%s %s %d %s %s %s\n", r.PK, r.SK, r.Version, r.Group, r.Sort, r.Data)
		}
	}
	return b.String()
}

func (d *door) count(prefix string) int {
	d.t.Helper()
	recs, err := d.mem.List(d.t.Context(), "INC#"+id, prefix)
	if err != nil {
		d.t.Fatal(err)
	}
	return len(recs)
}

func (d *door) keep(name string, res response) {
	if *pagesDir != "" {
		if err := os.WriteFile(filepath.Join(*pagesDir, name+".html"), []byte(res.Body), 0o600); err != nil {
			d.t.Fatal(err)
		}
	}
}

func TestTwoPeopleDestroy(t *testing.T) {
	d := newDoor(t, approval.KindEradicate)
	page := d.get("alice")
	d.keep("open", page)
	for _, want := range []string{"Your decision is needed", instance, "its root volume", "Contained, and read back.", "7 resources use the role", "console.aws.amazon.com", "0 of 2 approved"} {
		if !strings.Contains(page.Body, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	res := d.post("alice", d.form("alice", "approve", instance))
	if res.StatusCode != http.StatusSeeOther || res.Headers["location"] != d.link("alice") {
		t.Fatalf("after deciding: %d %v", res.StatusCode, res.Headers)
	}
	if a := d.approval(1); a.Status != approval.StatusOpen || len(d.sent) != 0 {
		t.Fatalf("one person was enough: %v, sent %v", a, d.sent)
	}
	d.keep("decided", d.get("alice"))
	if res := d.post("bob", d.form("bob", "approve", instance)); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("second approval: %d", res.StatusCode)
	}
	a := d.approval(1)
	if a.Status != approval.StatusApproved || a.Delivered.IsZero() || len(d.sent) != 1 || d.sent[0].Decision != "approved" || len(d.sent[0].By) != 2 {
		t.Errorf("approval %v, sent %v", a, d.sent)
	}
	done := d.get("bob")
	d.keep("approved", done)
	if !strings.Contains(done.Body, "As many people have approved") || nonceField.MatchString(done.Body) {
		t.Error("the page after the decision still has a form, or does not say what happened")
	}
}

// Where the playbook asks for three, the page says three, and two destroy nothing.
func TestThreePeopleDestroyWhereThePlaybookAsksForThree(t *testing.T) {
	d := newDoor(t, approval.KindEradicate)
	d.installed.Approvers[2].Principals = nil
	d.serve()
	if _, err := ledger.Update(t.Context(), d.mem, approval.Key(id, 1), func(it *ledger.Item[approval.Approval]) error {
		it.Value.Need = 3
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if page := d.get("alice").Body; !strings.Contains(page, "0 of 3 approved") || !strings.Contains(page, "3 different people have to approve") {
		t.Errorf("the page says %s", page)
	}
	for n, who := range []string{"alice", "bob", "carol"} {
		if a := d.approval(1); a.Status != approval.StatusOpen || len(d.sent) != 0 {
			t.Fatalf("%d people were enough: %v, sent %v", n, a, d.sent)
		}
		if res := d.post(who, d.form(who, "approve", instance)); res.StatusCode != http.StatusSeeOther {
			t.Fatalf("%s: %d", who, res.StatusCode)
		}
	}
	if a := d.approval(1); a.Status != approval.StatusApproved || len(d.sent) != 1 || len(d.sent[0].By) != 3 {
		t.Errorf("%v, sent %v", a, d.sent)
	}
}

func TestOneRejectionEndsIt(t *testing.T) {
	d := newDoor(t, approval.KindEradicate)
	bobs := d.form("bob", "approve", instance)
	if res := d.post("alice", d.form("alice", "reject", instance)); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("rejection: %d", res.StatusCode)
	}
	if len(d.sent) != 1 || d.sent[0].Decision != "rejected" {
		t.Fatalf("sent %v", d.sent)
	}
	d.keep("rejected", d.get("alice"))
	late := d.post("bob", bobs)
	d.keep("late", late)
	if late.StatusCode != http.StatusConflict || !strings.Contains(late.Body, "too late") {
		t.Errorf("late click: %d", late.StatusCode)
	}
	if a := d.approval(1); a.Status != approval.StatusRejected || len(a.Decisions) != 1 {
		t.Errorf("%v with %d decisions", a, len(a.Decisions))
	}
}

func TestOneOverrides(t *testing.T) {
	d := newDoor(t, approval.KindOverride)
	d.installed.Approval.LinkAlone = "reversible"
	d.serve()
	d.keep("override", d.get("alice"))
	if res := d.post("alice", d.form("alice", "approve", "clinic-web")); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("override: %d %s", res.StatusCode, res.Body)
	}
	if len(d.started) != 1 || d.started[0] != id+"-e1-r1" || !strings.Contains(d.inputs[0], `"approval":1`) || !strings.HasPrefix(d.inputs[0], `{"resume":`) {
		t.Fatalf("started %v with %v", d.started, d.inputs)
	}
	if a := d.approval(1); a.Delivered.IsZero() {
		t.Error("the override is not delivered")
	}
}

func TestAnExecutionThatExistsIsStarted(t *testing.T) {
	d := newDoor(t, approval.KindOverride)
	d.fail = &types.ExecutionAlreadyExists{Message: aws.String("Execution Already Exists")}
	d.post("alice", d.form("alice", "approve", "clinic-web"))
	if a := d.approval(1); a.Status != approval.StatusApproved || a.Delivered.IsZero() {
		t.Errorf("%v, delivered %v", a, a.Delivered)
	}
}

func TestApprovalWaitsForEvidence(t *testing.T) {
	d := newDoor(t, approval.KindEradicate)
	if err := approval.Evidence(t.Context(), d.mem, id, 1, "pending: snap-0aaaaaaaaaaaaaaaa is at 40 %"); err != nil {
		t.Fatal(err)
	}
	d.keep("pending", d.get("alice"))
	d.post("alice", d.form("alice", "approve", instance))
	d.post("bob", d.form("bob", "approve", instance))
	if a := d.approval(1); a.Status != approval.StatusApproved || !a.Delivered.IsZero() || len(d.sent) != 0 {
		t.Errorf("%v, delivered %v, sent %v", a, a.Delivered, d.sent)
	}
}

func TestAFailedDeliveryLeavesTheDecision(t *testing.T) {
	d := newDoor(t, approval.KindEradicate)
	d.fail = fmt.Errorf("cannot send %s", token)
	if res := d.post("alice", d.form("alice", "reject", instance)); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("%d", res.StatusCode)
	}
	if a := d.approval(1); a.Status != approval.StatusRejected || !a.Delivered.IsZero() {
		t.Errorf("%v, delivered %v", a, a.Delivered)
	}
	if strings.Contains(d.log.String(), token) || !strings.Contains(d.log.String(), "not delivered yet") {
		t.Errorf("log: %s", d.log)
	}
}

func TestLookingChangesNothing(t *testing.T) {
	d := newDoor(t, approval.KindEradicate)
	before := d.dump()
	for range 50 {
		d.now = d.now.Add(time.Second)
		if res := d.get("alice"); res.StatusCode != http.StatusOK {
			t.Fatalf("GET: %d", res.StatusCode)
		}
		if res := d.ask("HEAD", "/approve/"+d.link("bob"), nil, ""); res.StatusCode != http.StatusOK || res.Body != "" {
			t.Fatalf("HEAD: %d %q", res.StatusCode, res.Body)
		}
		for _, m := range []string{"OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", ""} {
			if res := d.ask(m, "/approve/"+d.link("alice"), nil, ""); res.StatusCode != http.StatusMethodNotAllowed {
				t.Fatalf("%s: %d", m, res.StatusCode)
			}
		}
	}
	if after := d.dump(); after != before {
		t.Errorf("looking changed the ledger:\n%s\n%s", before, after)
	}
	if n := d.count("EVENT#"); n != 1 {
		t.Errorf("50 views of one approver in an hour made %d events, not 1", n)
	}
	if n := d.count("VIEW#"); n != 1 {
		t.Errorf("%d view records", n)
	}
	if len(d.sent)+len(d.started) != 0 {
		t.Error("looking delivered something")
	}
	d.now = d.now.Add(time.Hour)
	d.get("alice")
	if n := d.count("EVENT#"); n != 2 {
		t.Errorf("a view in the next hour: %d events, not 2", n)
	}
}

func TestOneWinnerOf64(t *testing.T) {
	for range 20 {
		d := newDoor(t, approval.KindEradicate)
		alice, bob := d.form("alice", "approve", instance), d.form("bob", "approve", instance)
		codes := make(chan int, 128)
		var wg sync.WaitGroup
		for i := range 128 {
			wg.Go(func() {
				who, form := "alice", alice
				if i%2 == 1 {
					who, form = "bob", bob
				}
				codes <- d.post(who, form).StatusCode
			})
		}
		wg.Wait()
		close(codes)
		won := 0
		for c := range codes {
			switch c {
			case http.StatusSeeOther:
				won++
			case http.StatusConflict:
			default:
				t.Errorf("status %d", c)
			}
		}
		a := d.approval(1)
		// Both winners deliver: when the second has decided before the first gets to it, the machine is told twice, and the same.
		told := len(d.sent) > 0 && !slices.ContainsFunc(d.sent, func(v incident.Verdict) bool { return v.Decision != "approved" || len(v.By) != 2 })
		if won != 2 || len(a.Decisions) != 2 || a.Status != approval.StatusApproved || !told {
			t.Fatalf("%d winners, %d decisions, %v, sent %d times", won, len(a.Decisions), a, len(d.sent))
		}
	}
}

func TestEveryBitOfALinkCounts(t *testing.T) {
	d := newDoor(t, approval.KindEradicate)
	link := d.link("alice")
	wrong := d.ask("GET", "/approve/nonsense", nil, "")
	d.keep("wrong", wrong)
	for i := range len(link) {
		for bit := range 8 {
			b := []byte(link)
			b[i] ^= 1 << bit
			if res := d.ask("GET", "/approve/"+string(b), nil, ""); res.StatusCode != http.StatusNotFound || res.Body != wrong.Body {
				t.Fatalf("link with bit %d of character %d flipped: %d", bit, i, res.StatusCode)
			}
		}
	}
	for name, path := range map[string]string{
		"cut": "/approve/" + link[:len(link)-1], "longer": "/approve/" + link + "A", "line break": "/approve/" + link[:20] + "\n" + link[20:], "slash": "/approve/" + link + "/", "elsewhere": "/" + link, "root": "/",
		"padded": "/approve/" + link + "=", "huge": "/approve/" + strings.Repeat("A", 1<<16) + ".AAAA", "no signature": "/approve/" + strings.Split(link, ".")[0] + ".",
		"claims that no key hides": "/approve/" + base64.RawURLEncoding.EncodeToString([]byte(`["`+id+`", 1,"alice",1,"1"]`)) + "." + strings.Split(link, ".")[1],
	} {
		if res := d.ask("GET", path, nil, ""); res.StatusCode != http.StatusNotFound || res.Body != wrong.Body {
			t.Errorf("%s: %d", name, res.StatusCode)
		}
	}
}

func TestALinkOpensOnlyItsOwnRequest(t *testing.T) {
	d := newDoor(t, approval.KindEradicate)
	ring, _ := approval.ParseRing([]byte(secret))
	other, _ := approval.ParseRing([]byte(strings.Replace(secret, "0123", "9123", 1)))
	a := d.approval(1)
	for name, change := range map[string]func(*approval.Approval){
		"another incident": func(a *approval.Approval) { a.Incident = "INC-EEEEFFFFGGGGHHHH" },
		"another number":   func(a *approval.Approval) { a.Number = 2 },
		"another plan":     func(a *approval.Approval) { a.Hash = strings.Repeat("0", 64) },
		"number 0":         func(a *approval.Approval) { a.Number = 0 },
	} {
		b := a
		change(&b)
		if res := d.ask("GET", "/approve/"+ring.Link(b, "alice"), nil, ""); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", name, res.StatusCode)
		}
	}
	if res := d.ask("GET", "/approve/"+other.Link(a, "alice"), nil, ""); res.StatusCode != http.StatusNotFound {
		t.Errorf("another key: %d", res.StatusCode)
	}
	for _, who := range []string{"mallory", "carol", ""} { // not listed; named in the finding; nobody
		res := d.ask("GET", "/approve/"+ring.Link(a, who), nil, "")
		d.keep("barred", res)
		if res.StatusCode != http.StatusForbidden || strings.Contains(res.Body, instance) {
			t.Errorf("%q: %d", who, res.StatusCode)
		}
	}
}

// Each of these forms is refused, and leaves everything as it was.
func TestFormsThatDecideNothing(t *testing.T) {
	with := func(changes map[string]string) map[string]string {
		h := map[string]string{}
		for k, v := range sameOrigin {
			h[k] = v
		}
		for k, v := range changes {
			if v == "" {
				delete(h, k)
				continue
			}
			h[k] = v
		}
		return h
	}
	tests := []struct {
		name    string
		headers map[string]string
		change  func(d *door, f url.Values)
		raw     string
		status  int
		says    string
	}{
		{name: "nothing typed", change: func(_ *door, f url.Values) { f.Del("typed-0") }, status: 422, says: "not the id"},
		{name: "wrong id typed", change: func(_ *door, f url.Values) { f.Set("typed-0", "i-0abcdef1234567891") }, status: 422, says: "not the id"},
		{name: "id in other letters", change: func(_ *door, f url.Values) { f.Set("typed-0", strings.ToUpper(instance)) }, status: 422, says: "not the id"},
		{name: "rejection without the id", change: func(_ *door, f url.Values) { f.Set("decision", "reject"); f.Set("typed-0", "") }, status: 422, says: "not the id"},
		{name: "no decision", change: func(_ *door, f url.Values) { f.Del("decision") }, status: 422, says: "Choose to approve"},
		{name: "unknown decision", change: func(_ *door, f url.Values) { f.Set("decision", "Approve") }, status: 422, says: "Choose to approve"},
		{name: "no nonce", change: func(_ *door, f url.Values) { f.Del("nonce") }, status: 409, says: "open for too long"},
		{name: "made-up nonce", change: func(_ *door, f url.Values) { f.Set("nonce", strings.Repeat("A", 70)) }, status: 409, says: "open for too long"},
		{name: "another person's nonce", change: func(d *door, f url.Values) { f.Set("nonce", nonceOf(d.t, d.get("bob"))) }, status: 409, says: "open for too long"},
		{name: "old nonce", change: func(d *door, _ url.Values) { d.now = d.now.Add(31 * time.Minute) }, status: 409, says: "open for too long"},
		{name: "expired", change: func(d *door, f url.Values) { d.now = d.now.Add(4 * time.Hour); f.Set("nonce", ringNonce(d, "alice")) }, status: 409, says: "too late"},
		{name: "field twice", change: func(_ *door, f url.Values) { f.Add("decision", "reject") }, status: 400, says: "could not be read"},
		{name: "from another site", headers: with(map[string]string{"sec-fetch-site": "cross-site"}), status: 403, says: "not from this page"},
		{name: "from a sister site", headers: with(map[string]string{"sec-fetch-site": "same-site"}), status: 403, says: "not from this page"},
		{name: "other origin", headers: with(map[string]string{"sec-fetch-site": "", "origin": "https://evil.example.com"}), status: 403, says: "not from this page"},
		{name: "origin null and no word of the site", headers: with(map[string]string{"sec-fetch-site": ""}), status: 403, says: "not from this page"},
		{name: "JSON", headers: with(map[string]string{"content-type": "application/json"}), status: 415, says: "could not be read"},
		{name: "no content type", headers: with(map[string]string{"content-type": ""}), status: 415, says: "could not be read"},
		{name: "multipart", headers: with(map[string]string{"content-type": "multipart/form-data; boundary=x"}), status: 415, says: "could not be read"},
		{name: "huge", change: func(_ *door, f url.Values) { f.Set("reason", strings.Repeat("x", maxBody)) }, status: 413, says: "could not be read"},
		{name: "bad encoding", raw: "decision=%zz", status: 400, says: "could not be read"},
		{name: "superseded", change: func(d *door, _ url.Values) { d.supersede() }, status: 409, says: "too late"},
		{name: "a newer episode that has not told the request yet", change: func(d *door, _ url.Values) { d.episode(2) }, status: 409, says: "too late"},
		{name: "cancelled", change: func(d *door, _ url.Values) { d.cancel() }, status: 409, says: "too late"},
		{name: "approver taken off the list", change: func(d *door, _ url.Values) { d.installed.Approvers = d.installed.Approvers[1:]; d.serve() }, status: 403, says: "not asked about this"},
		{name: "approver of other accounts", change: func(d *door, _ url.Values) { d.installed.Approvers[0].Accounts = []string{"333333333333"}; d.serve() }, status: 403, says: "not asked about this"},
		{name: "link alone does not destroy here", change: func(d *door, _ url.Values) { d.installed.Approval.LinkAlone = "reversible"; d.serve() }, status: 403, says: "Sign-in"},
		{name: "link alone does nothing here", change: func(d *door, _ url.Values) { d.installed.Approval.LinkAlone = "none"; d.serve() }, status: 403, says: "Sign-in"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDoor(t, approval.KindEradicate)
			link, form := d.link("alice"), d.form("alice", "approve", instance)
			if tt.change != nil {
				tt.change(d, form)
			}
			body, headers := form.Encode(), sameOrigin
			if tt.raw != "" {
				body = tt.raw
			}
			if tt.headers != nil {
				headers = tt.headers
			}
			before := d.dump()
			res := d.ask("POST", "/approve/"+link, headers, body)
			d.keep("refused-"+strings.ReplaceAll(tt.name, " ", "-"), res)
			if res.StatusCode != tt.status || !strings.Contains(res.Body, tt.says) {
				t.Errorf("%d, wanted %d and %q:\n%s", res.StatusCode, tt.status, tt.says, res.Body)
			}
			if after := d.dump(); after != before {
				t.Errorf("it changed the ledger:\n%s\n%s", before, after)
			}
			if len(d.sent)+len(d.started) != 0 {
				t.Error("it delivered something")
			}
		})
	}
}

func ringNonce(d *door, approver string) string {
	ring, _ := approval.ParseRing([]byte(secret))
	l, err := ring.Parse(d.link(approver))
	if err != nil {
		d.t.Fatal(err)
	}
	return ring.Nonce(l, "", d.now)
}

func (d *door) episode(n int) {
	d.t.Helper()
	_, err := ledger.Update(d.t.Context(), d.mem, ledger.IncidentKey(id), func(it *ledger.Item[ledger.Incident]) error { it.Value.Episode = n; return nil })
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *door) supersede() {
	d.episode(2)
	if err := approval.Supersede(d.t.Context(), d.mem, id, 2); err != nil {
		d.t.Fatal(err)
	}
}

func (d *door) cancel() {
	if err := approval.Cancel(d.t.Context(), d.mem, id, 1, "alice", "false alarm"); err != nil {
		d.t.Fatal(err)
	}
}

func TestAFormCountsOnce(t *testing.T) {
	d := newDoor(t, approval.KindEradicate)
	form := d.form("alice", "approve", instance)
	second := d.form("alice", "reject", instance)
	if res := d.post("alice", form); res.StatusCode != http.StatusSeeOther {
		t.Fatal(res.StatusCode)
	}
	before := d.dump()
	for _, f := range []url.Values{form, second} {
		if res := d.post("alice", f); res.StatusCode != http.StatusConflict || !strings.Contains(res.Body, "decided before") {
			t.Errorf("sent again: %d", res.StatusCode)
		}
	}
	if d.dump() != before {
		t.Error("a form that was sent again changed the ledger")
	}
}

func TestBodiesAsAPIGatewaySendsThem(t *testing.T) {
	d := newDoor(t, approval.KindEradicate)
	form := d.form("alice", "approve", instance)
	var req request
	req.RawPath, req.IsBase64Encoded, req.Body = "/approve/"+d.link("alice"), true, base64.StdEncoding.EncodeToString([]byte(form.Encode()))
	req.Headers = map[string]string{"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8", "Origin": "https://abc.execute-api.us-east-1.amazonaws.com"}
	req.RequestContext.HTTP.Method, req.RequestContext.DomainName = "POST", "abc.execute-api.us-east-1.amazonaws.com"
	if res, err := d.h.handle(t.Context(), req); err != nil || res.StatusCode != http.StatusSeeOther {
		t.Errorf("%v %d", err, res.StatusCode)
	}
}

// shape is the markup of a page without its text: element and attribute names in order, and the values of those attributes
// that could lead somewhere or run something.
func shape(t *testing.T, page string) string {
	t.Helper()
	dec := xml.NewDecoder(strings.NewReader(page))
	dec.Strict, dec.AutoClose, dec.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	var b strings.Builder
	for {
		tok, err := dec.Token()
		if err == io.EOF {
			return b.String()
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, page)
		}
		switch e := tok.(type) {
		case xml.StartElement:
			if e.Name.Local == "wbr" {
				continue
			}
			fmt.Fprintf(&b, "<%s", e.Name.Local)
			for _, a := range e.Attr {
				fmt.Fprintf(&b, " %s", a.Name.Local)
				if a.Name.Local == "href" || a.Name.Local == "name" || a.Name.Local == "type" {
					fmt.Fprintf(&b, "=%s", a.Value)
				}
			}
			b.WriteString(">\n")
		case xml.Comment:
			b.WriteString("comment\n")
		}
	}
}

// Whatever is written into a finding, a refusal, a name, a tag or a form, every page has the same markup as with a harmless
// word, no header has it, and the log has a line of JSON for each entry.
func TestHostileStringsAreInert(t *testing.T) {
	pagesWith := func(s string) (out []response, log string) {
		d := newDoor(t, approval.KindEradicate)
		d.installed.Approvers[1].Name = s
		d.installed.Accounts = []setting.Account{{ID: "222222222222", Name: s + "."}}
		d.serve()
		_, err := ledger.Update(t.Context(), d.mem, ledger.IncidentKey(id), func(it *ledger.Item[ledger.Incident]) error {
			f := &it.Value.Finding
			f.Title, f.Type, f.Region, it.Value.Rule = s+".", s, s, s+"."
			f.Resources, it.Value.Told.Name = []string{"arn:aws:s3:::" + s}, s+"."
			for k, r := range it.Value.Outcomes {
				r.Reason = s + "."
				it.Value.Outcomes[k] = r
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = ledger.Update(t.Context(), d.mem, approval.Key(id, 1), func(it *ledger.Item[approval.Approval]) error {
			a := &it.Value
			a.Evidence = "pending: " + s
			a.Steps[0].Destroys, a.Steps[0].Changed, a.Steps[0].Identity, a.Steps[0].Refusal = []string{s}, []string{s}, map[string]string{s: s}, s+"."
			a.Decisions = []approval.Decision{{Approver: "bob", Approve: true, Reason: s + ".", Via: "link", At: d.now}}
			a.Execution = s
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		cut := s[:min(len(s), 700)] // a form has its limit
		form := url.Values{"nonce": {ringNonce(d, "alice")}, "decision": {cut}, "typed-0": {cut}, "reason": {cut + "."}}
		meta, err := d.meta()
		if err != nil {
			t.Fatal(err)
		}
		ring, _ := approval.ParseRing([]byte(secret))
		return []response{
			d.get("alice"), d.post("alice", form), d.ask("GET", "/seen/"+ring.SeenLink(meta, "alice", d.now.Add(time.Hour)), nil, ""),
			d.ask("GET", "/approve/"+d.link("alice"), map[string]string{"Accept-Language": "ja", "User-Agent": s, "Cookie": s, "Referer": s}, ""),
			d.post("alice", url.Values{"nonce": {ringNonce(d, "alice")}, "decision": {"reject"}, "typed-0": {instance}, "reason": {cut}}),
			d.get("alice"),
		}, d.log.String()
	}
	harmless, _ := pagesWith("harmless")
	shapes := []string{}
	for _, res := range harmless {
		shapes = append(shapes, shape(t, res.Body))
	}
	reasoned, _ := pagesWith("")
	bare := shape(t, reasoned[5].Body) // a decision without a reason has none on the page
	for _, s := range hostile.Strings() {
		pages, log := pagesWith(s)
		for i, res := range pages {
			if got := shape(t, res.Body); got != shapes[i] && !(i == 5 && got == bare) {
				t.Errorf("%q changed the markup of page %d:\n%s", s, i, gocmp.Diff(shapes[i], got))
			}
			if strings.ContainsAny(res.Body, "\u202e\u2066\u200b\u00ad\ufeff\x00\x1b\x07\x08\x7f") {
				t.Errorf("%q: invisible characters are on page %d", s, i)
			}
			if !gocmp.Equal(res.Headers["content-security-policy"], harmless[i].Headers["content-security-policy"]) || len(res.Headers) != len(harmless[i].Headers) || res.StatusCode != harmless[i].StatusCode {
				t.Errorf("%q is in a header or a status: %d %v", s, res.StatusCode, res.Headers)
			}
		}
		for _, line := range strings.Split(strings.TrimSpace(log), "\n") {
			var entry struct{ Time, Level, Msg string }
			if err := json.Unmarshal([]byte(line), &entry); line != "" && (err != nil || entry.Msg == "" || entry.Level == "") {
				t.Errorf("%q broke a line of the log: %s", s, line)
			}
		}
	}
}

func TestHeadersAreStrict(t *testing.T) {
	d := newDoor(t, approval.KindEradicate)
	for _, res := range []response{d.get("alice"), d.ask("GET", "/", nil, ""), d.ask("PUT", "/", nil, ""), d.post("alice", d.form("alice", "approve", instance))} {
		csp := res.Headers["content-security-policy"]
		for _, want := range []string{"default-src 'none'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("policy %q lacks %q", csp, want)
			}
		}
		if strings.Contains(csp, "unsafe") || strings.Contains(csp, "script-src") {
			t.Errorf("policy %q", csp)
		}
		for k, want := range map[string]string{"cache-control": "no-store", "referrer-policy": "no-referrer", "x-content-type-options": "nosniff", "x-frame-options": "DENY"} {
			if res.Headers[k] != want {
				t.Errorf("%s is %q", k, res.Headers[k])
			}
		}
		if strings.Contains(strings.ToLower(res.Body), "<script") {
			t.Error("there is a script on the page")
		}
	}
}

func TestPanicsShowNothing(t *testing.T) {
	d := newDoor(t, approval.KindEradicate)
	link := d.link("alice")
	d.mem.Fail = func(string, ledger.Key) error { panic("inner detail") }
	res := d.ask("GET", "/approve/"+link, nil, "")
	d.keep("broken", res)
	if res.StatusCode != http.StatusInternalServerError || strings.Contains(res.Body, "inner detail") || !strings.Contains(d.log.String(), "inner detail") {
		t.Errorf("%d %s", res.StatusCode, res.Body)
	}
	d.mem.Fail = func(string, ledger.Key) error { return fmt.Errorf("inner detail") }
	if res := d.ask("GET", "/approve/"+link, nil, ""); res.StatusCode != http.StatusInternalServerError || strings.Contains(res.Body, "inner detail") {
		t.Errorf("%d %s", res.StatusCode, res.Body)
	}
}

func TestNothingSecretIsWrittenDown(t *testing.T) {
	d := newDoor(t, approval.KindEradicate)
	link := d.link("alice")
	d.post("alice", d.form("alice", "approve", instance))
	d.post("bob", d.form("bob", "approve", instance))
	recs, err := d.mem.List(t.Context(), "INC#"+id, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range recs {
		if strings.Contains(string(r.Data), link) {
			t.Errorf("the link is in %s", r.SK)
		}
		if strings.Contains(string(r.Data), token) != (r.SK == "APPROVAL#0001") {
			t.Errorf("the task token and %s", r.SK)
		}
	}
	for _, secret := range []string{token, link, strings.Split(link, ".")[1], base64.StdEncoding.EncodeToString([]byte(token)), url.QueryEscape(token), "0123456789abcdefghij"} {
		if strings.Contains(d.log.String(), secret) {
			t.Errorf("%s is in the log", secret)
		}
	}
}

// Every text that a template or a page asks for is in the table of every language, with the same arguments.
func TestTextsAreComplete(t *testing.T) {
	needed := []string{}
	for _, m := range regexp.MustCompile(`\{\{t "([^"]+)"\}\}`).FindAllStringSubmatch(pageHTML, -1) {
		needed = append(needed, m[1])
	}
	for _, o := range []incident.Outcome{incident.Applied, incident.Already, incident.Planned, incident.Gone, incident.Refused, incident.Restored, incident.Held, incident.Drifted, incident.Changed, incident.Kept, incident.Failed} {
		needed = append(needed, "standing."+string(o))
	}
	for _, k := range []approval.Kind{approval.KindEradicate, approval.KindOverride} {
		for _, s := range []approval.Status{approval.StatusOpen, approval.StatusApproved, approval.StatusRejected, approval.StatusExpired, approval.StatusSuperseded, approval.StatusCancelled} {
			needed = append(needed, string(s)+"."+string(k)+".text")
			if english[string(s)+"."+string(k)]+english[string(s)] == "" {
				t.Errorf("an %s that is %s has no title", k, s)
			}
		}
		needed = append(needed, "approve."+string(k), "reject."+string(k), "will."+string(k), "form.keep."+string(k)+"%")
	}
	for _, l := range []language{english, japanese} {
		for _, key := range needed {
			if l[key] == "" && key != "space" {
				t.Errorf("%s: the text %s is missing", l["lang"], key)
			}
		}
	}
	verbs := regexp.MustCompile(`%(\[\d\])?[sd]`)
	for key, text := range english {
		other, ok := japanese[key]
		if !ok || (other == "") != (text == "") && key != "space" {
			t.Errorf("ja: the text %s is missing", key)
		}
		if len(verbs.FindAllString(text, -1)) != len(verbs.FindAllString(other, -1)) {
			t.Errorf("%s: %q and %q take different arguments", key, text, other)
		}
	}
	for key := range japanese {
		if _, ok := english[key]; !ok {
			t.Errorf("ja: nobody needs the text %s", key)
		}
	}
}

// Readers get the language that they like best, English where there is none of theirs.
func TestLanguages(t *testing.T) {
	d := newDoor(t, approval.KindEradicate)
	for accept, want := range map[string]string{
		"": "en", "ja": "ja", "ja-JP,ja;q=0.9,en;q=0.8": "ja", "en-US,en;q=0.9,ja;q=0.8": "en", "de,fr;q=0.8": "en", "de, ja;q=0.3": "ja", "JA": "ja",
		"ja;q=0": "en", "en;q=0.1,ja;q=0.2": "ja", "ja;q=2": "en", "ja;q=x": "en", "*": "en", strings.Repeat("ja,", 3000): "ja",
	} {
		res := d.ask("GET", "/approve/"+d.link("alice"), map[string]string{"Accept-Language": accept}, "")
		if res.StatusCode != http.StatusOK || res.Headers["content-language"] != want || !strings.Contains(res.Body, `<html lang="`+want+`">`) {
			t.Errorf("%.40q: %s, not %s", accept, res.Headers["content-language"], want)
		}
	}
}

func TestConsoleLinks(t *testing.T) {
	for execution, want := range map[string]string{
		running: "https://console.aws.amazon.com/states/home?region=us-east-1#/v2/executions/details/" + running,
		"arn:aws-cn:states:cn-north-1:111111111111:execution:m:e": "https://console.amazonaws.cn/states/home?region=cn-north-1#/v2/executions/details/arn:aws-cn:states:cn-north-1:111111111111:execution:m:e",
		"javascript:alert(1)": "", "": "", "arn:aws:s3:::bucket": "",
	} {
		if got := console(execution); got != want {
			t.Errorf("%s: %s", execution, got)
		}
	}
}

func (d *door) meta() (ledger.Incident, error) {
	it, err := ledger.Load[ledger.Incident](d.t.Context(), d.mem, ledger.IncidentKey(id))
	return it.Value, err
}

func (d *door) timeline() ([]ledger.Event, error) { return ledger.Timeline(d.t.Context(), d.mem, id) }

// seen is the link by which an approver acknowledges the incident.
func (d *door) seen(approver string) string {
	d.t.Helper()
	ring, err := approval.ParseRing([]byte(secret))
	if err != nil {
		d.t.Fatal(err)
	}
	meta, err := d.meta()
	if err != nil {
		d.t.Fatal(err)
	}
	return ring.SeenLink(meta, approver, d.now.Add(time.Hour))
}

// Whoever sends a form that was shown and is turned away stands in the timeline, once an hour; what machines send does not.
func TestRefusalsAreOnRecord(t *testing.T) {
	for why, turn := range map[string]func(*door){
		"barred": func(d *door) {
			_, err := ledger.Update(d.t.Context(), d.mem, ledger.IncidentKey(id), func(it *ledger.Item[ledger.Incident]) error {
				it.Value.Finding.People = append(it.Value.Finding.People, "arn:aws:iam::222222222222:user/alice")
				return nil
			})
			if err != nil {
				d.t.Fatal(err)
			}
			d.installed.Approvers[0].Principals = []string{"arn:aws:iam::222222222222:user/alice"}
		},
		"unproven": func(d *door) { d.installed.Approval.LinkAlone = "none" },
		"late":     func(d *door) { d.cancel() },
		"again":    func(d *door) { d.post("alice", d.form("alice", "approve", instance)) },
	} {
		d := newDoor(t, approval.KindEradicate)
		form := d.form("alice", "approve", instance)
		turn(d)
		d.serve()
		before := d.dump()
		for range 3 {
			d.post("alice", form)
		}
		forged := maps.Clone(form)
		forged.Set("nonce", "x")
		d.post("alice", forged)
		events, err := d.timeline()
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, e := range events {
			if e.Who == "alice" && strings.HasSuffix(e.What, "refused a decision on eradicate 1 by link: "+why) {
				n++
			}
		}
		if n != 1 || d.dump() != before {
			t.Errorf("%s: %d entries in %+v", why, n, events)
		}
	}
}

//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
	"firebreak/scripts/local/browser"
	"firebreak/scripts/local/issuer"
	"firebreak/scripts/local/scanner"
	"firebreak/scripts/local/workspace"
	"firebreak/scripts/local/world"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// configure changes a setting for the rest of the test, everywhere at once.
func configure(t testing.TB, parameter string, value any) {
	t.Helper()
	name := aws.String("/firebreak/" + parameter)
	was := must(hub.SSM.GetParameter(t.Context(), &ssm.GetParameterInput{Name: name}))(t)
	put := func(ctx context.Context, text string) {
		_, err := hub.SSM.PutParameter(ctx, &ssm.PutParameterInput{Name: name, Value: &text, Type: ssmtypes.ParameterTypeString, Overwrite: aws.Bool(true)})
		check(t, err)
		for _, f := range []string{"firebreak-approvals", "firebreak-request-approval", "firebreak-sweep", "firebreak-terminate-instance"} {
			kill(f)
			check(t, world.Until(ctx, 10*time.Second, "no worker of "+f, func(context.Context) (bool, error) { return len(platform.Workers(f)) == 0, nil }))
		}
	}
	text := must(json.Marshal(value))(t)
	put(t.Context(), string(text))
	t.Cleanup(func() { put(context.Background(), aws.ToString(was.Parameter.Value)) })
}

// visitor is a browser without scripts, with the cookies of one person.
type visitor struct {
	t       testing.TB
	cookies map[string]string
	client  http.Client
}

func newVisitor(t testing.TB) *visitor {
	return &visitor{t: t, cookies: map[string]string{}, client: http.Client{
		Timeout: 20 * time.Second, Transport: &http.Transport{DialContext: world.Loopback}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// ask sends one request and gives status, where it leads, the cookies that were set, and the body.
func (v *visitor) ask(method, address string, header map[string]string, body string) (status int, to string, set []string, text string) {
	v.t.Helper()
	req := must(http.NewRequestWithContext(v.t.Context(), method, address, strings.NewReader(body)))(v.t)
	for k, val := range header {
		req.Header.Set(k, val)
	}
	for k, val := range v.cookies {
		req.Header.Add("Cookie", k+"="+val)
	}
	res := must(v.client.Do(req))(v.t)
	defer res.Body.Close()
	data := must(io.ReadAll(res.Body))(v.t)
	set = res.Header.Values("Set-Cookie")
	for _, line := range set {
		if c, err := http.ParseSetCookie(line); err == nil && c.MaxAge < 0 {
			delete(v.cookies, c.Name)
		} else if err == nil {
			v.cookies[c.Name] = c.Value
		}
	}
	if l, err := res.Location(); err == nil {
		to = l.String()
	}
	return res.StatusCode, to, set, string(data)
}

// Nobody decides by a link alone here: two people sign in with an issuer, and the instance is destroyed.
func TestPeopleSignInOnThePlatform(t *testing.T) {
	op := must(issuer.New("firebreak", "a-1", "b-2", "mallory"))(t)
	srv := httptest.NewServer(op)
	t.Cleanup(srv.Close)
	op.URL = srv.URL
	people := slices.Clone(world.Approvers)
	people[0].Subjects, people[1].Subjects = []string{"a-1"}, []string{"b-2"}
	configure(t, "approvers", people)
	configure(t, "signin", setting.SignIn{Issuer: srv.URL, ClientID: "firebreak"})
	configure(t, "approval", setting.Approval{LinkAlone: "none", Destructive: []string{"oidc"}, Hours: map[string]int{"": 24}})

	i := instance(t)
	finding := mining(t, i)
	put(t, finding)
	asks(t, finding)
	links := must(hub.Links(t.Context(), finding.Incident(), world.ToDestroy, 2))(t)
	if _, err := world.NewWeb().Decide(t.Context(), links["alice"], "approve", i.ID, "by link alone"); err == nil {
		t.Fatal("a link alone decides")
	}
	at := must(url.Parse(links["alice"]))(t)
	op.Redirect = at.Scheme + "://" + at.Host + "/signin/callback"
	for who, subject := range map[string]string{"alice": "a-1", "bob": "b-2"} {
		web := world.NewWeb()
		if page, err := web.SignIn(t.Context(), links[who], "mallory"); err == nil || page.Status != http.StatusForbidden {
			t.Errorf("mallory, who is no approver, is signed in: %d", page.Status)
		}
		must(web.SignIn(t.Context(), links[who], subject))(t)
		must(web.Decide(t.Context(), links[who], "approve", i.ID, "looked at by "+who))(t)
	}
	path(t, settle(t, finding), after(asked, "Eradicate", "Changed?", "CloseEradicated", "Eradicated")...)
	running(t, i, false)
	a := must(approval.Load(t.Context(), hub.Store, finding.Incident(), 1))(t).Value
	if len(a.Decisions) != 2 || a.Decisions[0].Via != "oidc" || a.Decisions[1].Via != "oidc" {
		t.Errorf("%+v", a.Decisions)
	}
}

// Two people decide in Slack, on the platform.
func TestPeopleDecideInSlackOnThePlatform(t *testing.T) {
	w := workspace.New()
	srv := httptest.NewServer(w)
	t.Cleanup(srv.Close)
	secrets := secretsmanager.NewFromConfig(platform.Config(world.HubAccount))
	made := must(secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("firebreak/channel/" + name("slack")), SecretString: aws.String(w.Secret())}))(t)
	people := slices.Clone(world.Approvers)
	people[0].Slack, people[1].Slack = "U1", "U2"
	configure(t, "approvers", people)
	configure(t, "slack", setting.Slack{Channel: w.Channel, Team: w.Team, SecretARN: aws.ToString(made.ARN), API: srv.URL})
	configure(t, "approval", setting.Approval{LinkAlone: "none", Destructive: []string{"slack"}, Hours: map[string]int{"": 24}})

	i := instance(t)
	finding := mining(t, i)
	put(t, finding)
	asks(t, finding)
	links := must(hub.Links(t.Context(), finding.Incident(), world.ToDestroy, 2))(t)
	at := must(url.Parse(links["alice"]))(t)
	check(t, world.Until(t.Context(), 10*time.Second, "a message in Slack", func(context.Context) (bool, error) { return len(w.Messages()) == 1, nil }))
	v := newVisitor(t)
	send := func(r workspace.Request) string {
		status, _, _, text := v.ask("POST", at.Scheme+"://"+at.Host+"/slack/interactions", r.Header, r.Body)
		if status != http.StatusOK {
			t.Fatalf("Slack gets %d %s", status, text)
		}
		return text
	}
	for n, member := range []string{"U1", "U2"} {
		send(w.Press(member, w.Messages()[0], "approve"))
		if views := w.Views(); len(views) != n+1 {
			t.Fatalf("%d views", len(views))
		}
		if said := send(w.Submit(member, w.Views()[n], map[string]any{"typed-0": i.ID})); !strings.Contains(said, "recorded") {
			t.Fatalf("%s", said)
		}
	}
	path(t, settle(t, finding), after(asked, "Eradicate", "Changed?", "CloseEradicated", "Eradicated")...)
	running(t, i, false)
	waiting := must(approval.Load(t.Context(), hub.Store, finding.Incident(), 1))(t).Value.Token
	shown := fmt.Sprint(w.Messages(), w.Views())
	for _, spelling := range spellings(waiting) {
		if waiting == "" || strings.Contains(shown, spelling) {
			t.Error("the task token is in Slack")
		}
	}
	if words := workspace.Words(w.Messages()[0].Blocks); !strings.Contains(words, "APPROVED") || len(w.Faults()) != 0 {
		t.Errorf("Slack shows\n%s\nand refuses %v", words, w.Faults())
	}
}

// Twenty of each kind of scanner, on the real door: nothing is decided.
func TestScannersOnThePlatformDecideNothing(t *testing.T) {
	i := instance(t)
	finding := mining(t, i)
	put(t, finding)
	asks(t, finding)
	links := must(hub.Links(t.Context(), finding.Incident(), world.ToDestroy, 2))(t)
	before := must(hub.Dump(t.Context()))(t)
	at := must(url.Parse(links["alice"]))(t)
	asked, mu, wait := 0, sync.Mutex{}, sync.WaitGroup{}
	gate := make(chan struct{}, 4)
	for _, k := range scanner.Kinds() {
		wait.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			v := newVisitor(t)
			s := scanner.Scanner{Origin: at.Scheme + "://" + at.Host, Typed: i.ID, Rand: rand.New(rand.NewSource(1)), Ask: func(method, path string, header map[string]string, body string) scanner.Answer {
				if method == "" || method == "CONNECT" || !strings.HasPrefix(path, "/") || strings.ContainsAny(path, " \n") { // Go's client sends none of these
					return scanner.Answer{}
				}
				_, _, set, text := v.ask(method, at.Scheme+"://"+at.Host+path, header, body)
				return scanner.Answer{Cookies: set, Body: text}
			}}
			for n := range 20 {
				link := must(url.Parse(links[[]string{"alice", "bob"}[n%2]]))(t)
				s.Visit(k, link.Path)
			}
			mu.Lock()
			asked += s.Asked
			mu.Unlock()
		})
	}
	wait.Wait()
	for _, line := range difference(before, must(hub.Dump(t.Context()))(t)) {
		// The sweep goes on calling people to what earlier tests have left open.
		called := !strings.Contains(line, finding.Incident()) && (strings.Contains(line, "WATCH#") || strings.Contains(line, "NOTICE#"))
		if !called && !strings.Contains(line, "VIEW#") && !strings.Contains(line, "looked at") {
			t.Errorf("changed: %s", line)
		}
	}
	if a := must(approval.Load(t.Context(), hub.Store, finding.Incident(), 1))(t).Value; a.Status != approval.StatusOpen || len(a.Decisions) != 0 {
		t.Errorf("%v with %d decisions", a, len(a.Decisions))
	}
	running(t, i, true)
	t.Logf("%d requests of %d kinds", asked, len(scanner.Kinds()))
	must(world.NewWeb().Decide(t.Context(), links["alice"], "reject", i.ID, "tidy up"))(t)
	settle(t, finding)
}

// Of 64 forms of one person that are sent at once one counts, on the platform's door and table: FIREBREAK_ROUNDS times over, 50
// in scripts/test long.
func TestOneWinnerOf64OnTheTable(t *testing.T) {
	rounds := 5
	if n, err := strconv.Atoi(os.Getenv("FIREBREAK_ROUNDS")); err == nil && n > 0 {
		rounds = n
	}
	i := instance(t)
	finding := mining(t, i)
	put(t, finding)
	asks(t, finding)
	link := must(hub.Links(t.Context(), finding.Incident(), world.ToDestroy, 2))(t)["alice"]
	base, _, _ := strings.Cut(link, "/approve/")
	secret := must(secretsmanager.NewFromConfig(platform.Config(world.HubAccount)).GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("firebreak/link-key")}))(t)
	ring := must(approval.ParseRing([]byte(aws.ToString(secret.SecretString))))(t)
	statuses := map[int]int{}
	for round := range rounds {
		// a request of its own for each round, as request-approval would write it
		id := "INC-" + strings.NewReplacer("0", "A", "1", "B", "8", "C", "9", "D").Replace(fmt.Sprintf("RACE%012d", round))
		meta := ledger.Item[ledger.Incident]{Key: ledger.IncidentKey(id), Value: ledger.Incident{ID: id, Status: incident.Closed, Episode: 1, Band: incident.Low}}
		check(t, ledger.Save(t.Context(), hub.Store, &meta))
		a := must(approval.Open(t.Context(), hub.Store, approval.Request{
			Incident: incident.Ref{ID: id, Episode: 1}, Kind: approval.KindEradicate, Round: 1, Token: name("the-token-of-nobody"), Evidence: approval.Complete, Now: time.Now(), Expires: time.Now().Add(time.Hour),
			Steps: []approval.Step{{Step: incident.Step{Action: "terminate-instance", Target: "arn:aws:ec2:us-east-1:222222222222:instance/i-0abcdef1234567890"}}}, Execution: incident.Execution{ARN: "none", Start: time.Now()},
		}))(t)
		address := base + "/approve/" + ring.Link(a, "alice")
		var forms [4]string // some have the page open in several windows
		for n := range forms {
			_, _, _, page := newVisitor(t).ask("GET", address, nil, "")
			forms[n] = url.Values{"nonce": {world.Field(page, "nonce")}, "decision": {[]string{"approve", "reject"}[n%2]}, "typed-0": {"i-0abcdef1234567890"}}.Encode()
		}
		counts, mu, wait, gate := map[int]int{}, sync.Mutex{}, sync.WaitGroup{}, make(chan struct{})
		for n := range 64 {
			v := newVisitor(t)
			wait.Go(func() {
				<-gate
				for {
					status, _, _, _ := v.ask("POST", address, map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Origin": base}, forms[n%4])
					mu.Lock()
					statuses[status]++
					mu.Unlock()
					if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable { // the platform runs twenty functions at once
						time.Sleep(20 * time.Millisecond) // as a browser that is told to come again
						continue
					}
					mu.Lock()
					defer mu.Unlock()
					counts[status]++
					return
				}
			})
		}
		close(gate)
		wait.Wait()
		now := must(approval.Load(t.Context(), hub.Store, id, 1))(t).Value
		if counts[http.StatusSeeOther] != 1 || counts[http.StatusConflict] != 63 || len(now.Decisions) != 1 {
			t.Fatalf("round %d: %v, %d decisions", round, counts, len(now.Decisions))
		}
		_, err := ledger.Update(t.Context(), hub.Store, approval.Key(id, 1), func(it *ledger.Item[approval.Approval]) error {
			it.Value.Delivered, it.Group, it.Sort = time.Now(), "", "" // the sweep has nothing to do with it
			return nil
		})
		check(t, err)
	}
	t.Logf("%d rounds, answers %v", rounds, statuses)
	decide(t, finding.Incident(), world.ToDestroy, "reject", i.ID, "bob")
	settle(t, finding)
}

// What waits for people outlives an update of the whole installation, and ends right.
func TestAPendingApprovalSurvivesAnUpdate(t *testing.T) {
	i := instance(t)
	finding := mining(t, i)
	put(t, finding)
	asks(t, finding)
	links := must(hub.Links(t.Context(), finding.Incident(), world.ToDestroy, 2))(t)
	must(world.NewWeb().Decide(t.Context(), links["alice"], "approve", i.ID, "before the update"))(t)
	check(t, platform.Update(t.Context(), io.Discard, "SettleMilliseconds=60"))
	must(world.NewWeb().Decide(t.Context(), links["bob"], "approve", i.ID, "after the update"))(t)
	path(t, settle(t, finding), after(asked, "Eradicate", "Changed?", "CloseEradicated", "Eradicated")...)
	running(t, i, false)
}

// Cancelling kills every link at once, and ends the wait without destroying anything.
func TestCancelledOnTheCommandLine(t *testing.T) {
	i := instance(t)
	finding := mining(t, i)
	put(t, finding)
	asks(t, finding)
	links := must(hub.Links(t.Context(), finding.Incident(), world.ToDestroy, 2))(t)
	must(world.NewWeb().Decide(t.Context(), links["alice"], "approve", i.ID, "too soon"))(t)
	out := must(platform.Run(t.Context(), world.HubAccount, "scripts/firebreak", "cancel", finding.Incident(), "--why", "it is a test of ours"))(t)
	if !strings.Contains(out, "cancelled") {
		t.Errorf("cancel says %s", out)
	}
	if _, err := world.NewWeb().Decide(t.Context(), links["bob"], "approve", i.ID, "too late"); err == nil {
		t.Error("a link decides after the request was cancelled")
	}
	path(t, settle(t, finding), after(asked, "CloseSuperseded", "Superseded")...)
	running(t, i, true)
	isolated(t, i, true)
}

// An approver who is taken off the list in the middle: what they said counts no more, and without two who count the request
// runs out. Nothing is destroyed.
func TestAnApproverLeaves(t *testing.T) {
	i := instance(t)
	finding := mining(t, i)
	put(t, finding)
	asks(t, finding)
	links := must(hub.Links(t.Context(), finding.Incident(), world.ToDestroy, 2))(t)
	must(world.NewWeb().Decide(t.Context(), links["alice"], "approve", i.ID, "the last thing that alice does here"))(t)
	configure(t, "approvers", world.Approvers[1:])
	if p := must(world.NewWeb().Get(t.Context(), links["alice"]))(t); p.Status != http.StatusForbidden {
		t.Errorf("the link of somebody who has left answers %d", p.Status)
	}
	must(world.NewWeb().Decide(t.Context(), links["bob"], "approve", i.ID, "and bob"))(t)
	if a := must(approval.Load(t.Context(), hub.Store, finding.Incident(), 1))(t).Value; a.Status != approval.StatusOpen {
		t.Fatalf("%v", a)
	}
	_, err := ledger.Update(t.Context(), hub.Store, approval.Key(finding.Incident(), 1), func(it *ledger.Item[approval.Approval]) error {
		it.Value.Asked, it.Value.Expires = time.Now().Add(-2*time.Hour), time.Now().Add(time.Hour)
		return nil
	})
	check(t, err)
	check(t, hub.Sweep(t.Context()))
	if told := must(hub.Notices(t.Context(), finding.Incident()))(t); !slices.ContainsFunc(told, func(n world.Notice) bool { return strings.Contains(n.Subject, "too few approvers") }) {
		t.Errorf("nobody was told that too few are left: %d notices", len(told))
	}
	_, err = ledger.Update(t.Context(), hub.Store, approval.Key(finding.Incident(), 1), func(it *ledger.Item[approval.Approval]) error {
		it.Value.Expires = time.Now().Add(-time.Minute)
		return nil
	})
	check(t, err)
	check(t, hub.Sweep(t.Context()))
	path(t, settle(t, finding), after(asked, "CloseExpired", "ApprovalExpired")...)
	running(t, i, true)
}

// While nobody can be told, the incident waits and its containment stays; told when the channel is back, people decide in a browser.
func TestTheChannelIsDown(t *testing.T) {
	restores := []func(context.Context) error{}
	for _, f := range []string{"request-approval", "sweep"} {
		restore := must(world.TakeAction(t.Context(), hub.IAM, "firebreak-"+f+"-"+world.Region, "sns:Publish"))(t)
		restores = append(restores, restore)
		t.Cleanup(func() { check(t, restore(context.Background())) })
	}
	i := instance(t)
	finding := mining(t, i)
	put(t, finding)
	asks(t, finding)
	isolated(t, i, true)
	if all := must(hub.Invitations(t.Context(), finding.Incident()))(t); len(all) != 0 {
		t.Fatalf("%d invitations by a channel that is down", len(all))
	}
	_, err := ledger.Update(t.Context(), hub.Store, approval.Key(finding.Incident(), 1), func(it *ledger.Item[approval.Approval]) error {
		it.Value.Asked = it.Value.Asked.Add(-time.Minute)
		return nil
	})
	check(t, err)
	out := must(hub.Invoke(t.Context(), "firebreak-sweep", map[string]any{}))(t)
	if !strings.Contains(string(out), `"untold":`) || strings.Contains(string(out), `"untold":0`) {
		t.Errorf("the sweep reports %s", out)
	}
	for _, restore := range restores {
		check(t, restore(t.Context()))
	}
	check(t, hub.Sweep(t.Context()))
	links := must(hub.Links(t.Context(), finding.Incident(), world.ToDestroy, 2))(t)
	b := must(browser.Start(t.Context()))(t)
	t.Cleanup(func() { b.Close() })
	pictures := filepath.Join(platform.State, "pictures")
	check(t, os.MkdirAll(pictures, 0o755))
	for _, who := range []string{"alice", "bob"} {
		p := must(b.Open(t.Context(), links[who], 390, 844))(t)
		check(t, p.Type(t.Context(), `input[name="typed-0"]`, i.ID))
		check(t, p.Press(t.Context(), `button[value="approve"]`))
		check(t, p.Screenshot(t.Context(), filepath.Join(pictures, "channel-down-"+who+".png")))
	}
	path(t, settle(t, finding), after(asked, "Eradicate", "Changed?", "CloseEradicated", "Eradicated")...)
	running(t, i, false)
}

// Two people approve with AWS identities of their own, on the command line; who has none of the list's does not.
func TestPeopleDecideOnTheCommandLineOnThePlatform(t *testing.T) {
	people := slices.Clone(world.Approvers)
	as := map[string][]string{}
	for n, who := range []string{"alice", "bob", "eve"} {
		user := name(who)
		made := must(hub.IAM.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &user}))(t)
		must(hub.IAM.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: &user, PolicyName: aws.String("operator"), PolicyDocument: aws.String(operator)}))(t)
		key := must(hub.IAM.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: &user}))(t)
		as[who] = []string{"AWS_ACCESS_KEY_ID=" + aws.ToString(key.AccessKey.AccessKeyId), "AWS_SECRET_ACCESS_KEY=" + aws.ToString(key.AccessKey.SecretAccessKey)}
		if n < len(people) {
			people[n].Principals = []string{aws.ToString(made.User.Arn)}
		}
	}
	configure(t, "approvers", people)
	configure(t, "approval", setting.Approval{LinkAlone: "none", Destructive: []string{"cli"}, Hours: map[string]int{"": 24}})
	i := instance(t)
	finding := mining(t, i)
	put(t, finding)
	asks(t, finding)
	approve := func(who, typed string) (string, error) {
		cmd := exec.CommandContext(t.Context(), filepath.Join(platform.Root, "scripts/firebreak"), "approve", finding.Incident(), "--why", "looked at by "+who)
		cmd.Env, cmd.Stdin = append(platform.Environment(world.HubAccount), as[who]...), strings.NewReader(typed+"\n")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := approve("eve", i.ID); err == nil {
		t.Errorf("eve approves: %s", out)
	}
	if out, err := approve("alice", i.ID+"0"); err == nil {
		t.Errorf("alice approves without typing what it is: %s", out)
	}
	for _, who := range []string{"alice", "bob"} {
		if out, err := approve(who, i.ID); err != nil || !strings.Contains(out, "recorded as "+who) {
			t.Fatalf("%s: %v %s", who, err, out)
		}
	}
	path(t, settle(t, finding), after(asked, "Eradicate", "Changed?", "CloseEradicated", "Eradicated")...)
	running(t, i, false)
}

// operator is what somebody needs who decides on the command line.
const operator = `{"Version":"2012-10-17","Statement":[
	{"Effect":"Allow","Action":["dynamodb:GetItem","dynamodb:PutItem","dynamodb:Query"],"Resource":["arn:aws:dynamodb:us-east-1:111111111111:table/firebreak-ledger","arn:aws:dynamodb:us-east-1:111111111111:table/firebreak-ledger/index/*"]},
	{"Effect":"Allow","Action":["ssm:GetParameters","ssm:GetParameterHistory"],"Resource":"arn:aws:ssm:us-east-1:111111111111:parameter/firebreak/*"},
	{"Effect":"Allow","Action":["kms:Decrypt"],"Resource":"*"},
	{"Effect":"Allow","Action":["lambda:InvokeFunction"],"Resource":"arn:aws:lambda:us-east-1:111111111111:function:firebreak-sweep"}]}`

package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

const personal = "arn:aws:sns:us-east-1:111111111111:firebreak-approvers"

// desk is an installation's settings and topic.
type desk struct {
	people  []setting.Approver
	written string
	subs    []types.Subscription
	asked   []sns.SubscribeInput
	ended   []string
	confirm *sns.ConfirmSubscriptionInput
	secret  string
}

func (d *desk) GetSecretValue(context.Context, *secretsmanager.GetSecretValueInput, ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error) {
	return &secretsmanager.GetSecretValueOutput{SecretString: &d.secret}, nil
}

func (d *desk) PutSecretValue(_ context.Context, in *secretsmanager.PutSecretValueInput, _ ...func(*secretsmanager.Options)) (*secretsmanager.PutSecretValueOutput, error) {
	d.secret = *in.SecretString
	return &secretsmanager.PutSecretValueOutput{}, nil
}

func (d *desk) PutParameter(_ context.Context, in *ssm.PutParameterInput, _ ...func(*ssm.Options)) (*ssm.PutParameterOutput, error) {
	d.written = *in.Name + " " + *in.Value
	if *in.Name != approversSetting {
		return &ssm.PutParameterOutput{}, nil
	}
	return &ssm.PutParameterOutput{}, json.Unmarshal([]byte(*in.Value), &d.people)
}

func (d *desk) Subscribe(_ context.Context, in *sns.SubscribeInput, _ ...func(*sns.Options)) (*sns.SubscribeOutput, error) {
	for _, s := range d.subs {
		if *s.Endpoint == *in.Endpoint {
			return nil, &types.InvalidParameterException{Message: aws.String("Invalid parameter: Attributes Reason: Subscription already exists with different attributes")}
		}
	}
	d.asked = append(d.asked, *in)
	d.subs = append(d.subs, types.Subscription{Protocol: in.Protocol, Endpoint: in.Endpoint, SubscriptionArn: aws.String("PendingConfirmation")})
	return &sns.SubscribeOutput{SubscriptionArn: aws.String("pending confirmation")}, nil
}

func (d *desk) Unsubscribe(_ context.Context, in *sns.UnsubscribeInput, _ ...func(*sns.Options)) (*sns.UnsubscribeOutput, error) {
	d.ended = append(d.ended, *in.SubscriptionArn)
	return &sns.UnsubscribeOutput{}, nil
}

func (d *desk) ConfirmSubscription(_ context.Context, in *sns.ConfirmSubscriptionInput, _ ...func(*sns.Options)) (*sns.ConfirmSubscriptionOutput, error) {
	d.confirm = in
	d.subs[0].SubscriptionArn = aws.String(personal + ":1")
	return &sns.ConfirmSubscriptionOutput{SubscriptionArn: d.subs[0].SubscriptionArn}, nil
}

func (d *desk) ListSubscriptionsByTopic(context.Context, *sns.ListSubscriptionsByTopicInput, ...func(*sns.Options)) (*sns.ListSubscriptionsByTopicOutput, error) {
	return &sns.ListSubscriptionsByTopicOutput{Subscriptions: d.subs}, nil
}

// ask opens a request to destroy the instance, and one more step where there is one.
func (w *world) ask(more ...approval.Step) approval.Approval {
	w.t.Helper()
	it := ledger.Item[ledger.Incident]{Key: ledger.IncidentKey(id), Value: ledger.Incident{ID: id, Status: incident.Contained, Episode: 1, Band: incident.Critical, Finding: ledger.Finding{Account: "222222222222"}}}
	if err := ledger.Save(context.Background(), w.store, &it); err != nil {
		w.t.Fatal(err)
	}
	a, err := approval.Open(context.Background(), w.store, approval.Request{
		Incident: incident.Ref{ID: id, Episode: 1}, Kind: approval.KindEradicate, Round: 1, Token: token, Evidence: approval.Complete, Now: now, Expires: now.Add(time.Hour),
		Execution: incident.Execution{ARN: first, Start: now}, Steps: append([]approval.Step{{Step: destroy, Destroys: []string{"the instance"}}}, more...),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func (w *world) request(n int) approval.Approval {
	w.t.Helper()
	it, err := approval.Load(context.Background(), w.store, id, n)
	if err != nil {
		w.t.Fatal(err)
	}
	return it.Value
}

func TestApproveAndReject(t *testing.T) {
	const me = "arn:aws:iam::111111111111:user/alice"
	tests := []struct {
		name   string
		args   []string
		stdin  string
		who    string // as AWS says; alice's user unless given
		change func(*world)
		code   int
		says   string
		status approval.Status
		counts int
	}{
		{name: "approve", args: []string{"approve", id, "--why", "miner found"}, stdin: "i-0abcdef1234567890\n", says: "recorded as alice's: 1 of 2", status: approval.StatusOpen, counts: 1},
		{name: "reject", args: []string{"reject", id}, stdin: "i-0abcdef1234567890", says: "rejected", status: approval.StatusRejected},
		{name: "nothing typed", args: []string{"approve", id}, code: 1, says: "nothing was recorded", status: approval.StatusOpen},
		{name: "another id typed", args: []string{"approve", id}, stdin: "i-0abcdef1234567891\n", code: 1, says: "nothing was recorded", status: approval.StatusOpen},
		{name: "reject without typing", args: []string{"reject", id}, stdin: "yes\n", code: 1, says: "nothing was recorded", status: approval.StatusOpen},
		{name: "nobody's principal", args: []string{"approve", id}, stdin: "i-0abcdef1234567890\n", who: "arn:aws:iam::111111111111:user/eve", code: 1, says: "exactly one approver", status: approval.StatusOpen},
		{name: "the role without its session", args: []string{"approve", id}, stdin: "i-0abcdef1234567890\n", who: "arn:aws:sts::111111111111:assumed-role/ops/eve", code: 1, says: "exactly one approver", status: approval.StatusOpen},
		{name: "a command line that does not count here", args: []string{"approve", id}, stdin: "i-0abcdef1234567890\n", change: func(w *world) { w.approval.Destructive = []string{"oidc"} }, code: 1, says: "command line", status: approval.StatusOpen},
		{name: "no such number", args: []string{"approve", id, "--number", "7"}, code: 1, says: "request 7", status: approval.StatusOpen},
		{name: "keep what is not there", args: []string{"approve", id, "--keep", "x"}, code: 2, says: "has no resource", status: approval.StatusOpen},
		{name: "keep all", args: []string{"approve", id, "--keep", "i-0abcdef1234567890"}, code: 2, says: "reject it instead", status: approval.StatusOpen},
		{name: "had a hand in it", args: []string{"approve", id}, stdin: "i-0abcdef1234567890\n", change: func(w *world) {
			if err := ledger.Append(context.Background(), w.store, id, ledger.Event{Time: now, State: "Release", Who: me, What: "released something"}); err != nil {
				w.t.Fatal(err)
			}
		}, code: 1, says: "had a hand", status: approval.StatusOpen},
		{name: "too late", args: []string{"approve", id}, stdin: "i-0abcdef1234567890\n", change: func(w *world) { w.at = now.Add(2 * time.Hour) }, code: 1, says: "nothing was recorded", status: approval.StatusOpen},
		{name: "no incident", args: []string{"approve", other}, code: 1, says: "no request of", status: approval.StatusOpen},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.stdin, w.who = tt.stdin, tt.who
			w.people = []setting.Approver{{ID: "alice", Principals: []string{me}}, {ID: "bob", Principals: []string{"arn:aws:iam::111111111111:role/ops"}}}
			w.ask()
			if tt.change != nil {
				tt.change(w)
			}
			code := w.run(tt.args...)
			if code != tt.code || !strings.Contains(w.out.String()+w.err.String(), tt.says) {
				t.Errorf("%d\n%s\n%s", code, &w.out, &w.err)
			}
			a := w.request(1)
			if a.Status != tt.status || len(a.By()) != tt.counts {
				t.Errorf("%v by %v", a, a.By())
			}
			if hurried := len(w.calls) > 0; hurried != (code == 0) {
				t.Errorf("the sweep: %v", w.calls)
			}
			if strings.Contains(w.out.String()+w.err.String(), token) {
				t.Error("the task token is printed")
			}
		})
	}
}

func TestTwoPeopleApproveOnTheCommandLine(t *testing.T) {
	w := newWorld(t)
	other := approval.Step{Step: incident.Step{Action: "terminate-instance", Target: instance + "1"}}
	w.people = []setting.Approver{{ID: "alice", Principals: []string{"arn:aws:iam::111111111111:user/alice"}}, {ID: "bob", Principals: []string{"arn:aws:sts::111111111111:assumed-role/sso/bob"}}}
	w.ask(other)
	w.stdin = "i-0abcdef1234567890\ni-0abcdef12345678901\n"
	if code := w.run("approve", id, "--keep", "i-0abcdef12345678901", "--json"); code != 0 || !strings.Contains(w.out.String(), `"counted"`) {
		t.Fatalf("%s %s", &w.out, &w.err)
	}
	if code := w.run("approve", id); code != 1 || !strings.Contains(w.out.String(), "decided before") {
		t.Fatalf("%s %s", &w.out, &w.err)
	}
	w.who = "arn:aws:sts::111111111111:assumed-role/sso/bob"
	if code := w.run("approve", id); code != 0 || !strings.Contains(w.out.String(), "approved, and carried out") {
		t.Fatalf("%s %s", &w.out, &w.err)
	}
	a := w.request(1)
	if _, kept := a.Kept(other.Key()); a.Status != approval.StatusApproved || !kept || a.Decisions[0].Via != "cli" {
		t.Errorf("%v %+v", a, a.Decisions)
	}
}

func TestCancel(t *testing.T) {
	w := newWorld(t)
	w.ask()
	if code := w.run("cancel", id, "--why", "false alarm"); code != 0 || !strings.Contains(w.out.String(), "request 1 of "+id+" is cancelled") {
		t.Fatalf("%s %s", &w.out, &w.err)
	}
	if a := w.request(1); a.Status != approval.StatusCancelled || a.EndedBy != "arn:aws:iam::111111111111:user/alice" {
		t.Errorf("%v by %s", a, a.EndedBy)
	}
	if code := w.run("cancel", id); code != 0 || !strings.Contains(w.out.String(), "nothing to cancel") {
		t.Errorf("%s", &w.out)
	}
	if _, err := ledger.Update(t.Context(), w.store, approval.Key(id, 1), func(it *ledger.Item[approval.Approval]) error {
		it.Value.Status, it.Value.Delivered = approval.StatusApproved, now
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if code := w.run("cancel", id); code != 0 || !strings.Contains(w.out.String(), "handed to its execution already") {
		t.Errorf("%s", &w.out)
	}
	if code := w.run("cancel", other); code != 1 {
		t.Errorf("%s %s", &w.out, &w.err)
	}
}

func TestApprovers(t *testing.T) {
	w := newWorld(t)
	w.people = []setting.Approver{{ID: "bob", Email: "bob@example.com"}}
	if code := w.run("approvers", "add", "alice", "--name", "Alice", "--email", "alice@example.com", "--subject", "a-1", "--subject", "a-2", "--slack", "U012AB3CD", "--principal", "arn:aws:iam::111111111111:user/alice", "--severity", "critical", "--account", "222222222222"); code != 0 {
		t.Fatalf("%s %s", &w.out, &w.err)
	}
	alice := w.people[1]
	if alice.ID != "alice" || len(alice.Subjects) != 2 || alice.Slack != "U012AB3CD" || alice.Severities[0] != incident.Critical || !strings.HasPrefix(w.written, "/firebreak/approvers [") {
		t.Errorf("%+v", alice)
	}
	if len(w.desk.asked) != 1 || w.desk.asked[0].Attributes["FilterPolicy"] != `{"approver":["alice"]}` || *w.desk.asked[0].TopicArn != personal {
		t.Errorf("%+v", w.desk.asked)
	}
	if code := w.run("approvers", "list"); code != 0 || !strings.Contains(w.out.String(), "e-mail pending; proves who it is by sign-in, Slack, command line") || !strings.Contains(w.out.String(), "nothing but the link") {
		t.Errorf("%s", &w.out)
	}
	link := "https://sns.us-east-1.amazonaws.com/confirmation.html?TopicArn=" + personal + "&Token=2336412f37fb&Endpoint=alice@example.com"
	if code := w.run("approvers", "confirm", link); code != 0 || *w.desk.confirm.AuthenticateOnUnsubscribe != "true" || *w.desk.confirm.Token != "2336412f37fb" {
		t.Errorf("%s %s %+v", &w.out, &w.err, w.desk.confirm)
	}
	if code := w.run("approvers", "list", "--json"); code != 0 || !strings.Contains(w.out.String(), `"mail": "confirmed"`) {
		t.Errorf("%s", &w.out)
	}
	if code := w.run("approvers", "add", "alice", "--name", "Alice B."); code != 0 || w.people[1].Name != "Alice B." || w.people[1].Email != "alice@example.com" || len(w.desk.asked) != 1 {
		t.Errorf("%s %+v", &w.err, w.people[1])
	}
	if code := w.run("approvers", "remove", "alice"); code != 0 || len(w.people) != 1 || len(w.desk.ended) != 1 {
		t.Errorf("%s %v", &w.err, w.desk.ended)
	}
	if code := w.run("approvers", "remove", "alice"); code != 0 || !strings.Contains(w.out.String(), "not on the list") {
		t.Errorf("%s", &w.out)
	}
	for _, bad := range [][]string{
		{"approvers"}, {"approvers", "eject", "alice"}, {"approvers", "add"}, {"approvers", "add", "Alice"}, {"approvers", "add", "a", "--email", "Alice <alice@example.com>"},
		{"approvers", "add", "a", "--principal", "arn:aws:iam::111111111111:role/ops"}, {"approvers", "add", "a", "--principal", "arn:aws:iam::111111111111:root"}, {"approvers", "add", "a", "--slack", "alice"},
		{"approvers", "add", "a", "--severity", "WORST"}, {"approvers", "confirm", "https://example.com/"}, {"approvers", "list", "x"},
	} {
		before := w.written
		if code := w.run(bad...); code != 2 || w.written != before {
			t.Errorf("%v: %d %s", bad, code, &w.err)
		}
	}
	if code := w.run("approvers", "confirm", strings.Replace(link, "firebreak-approvers", "other", 1)); code != 1 || !strings.Contains(w.err.String(), "not for") {
		t.Errorf("%s", &w.err)
	}
	if code := w.run("approvers", "add", "carol", "--email", "alice@example.com"); code != 1 || !strings.Contains(w.err.String(), "another filter") {
		t.Errorf("%s", &w.err)
	}
	if code := w.run("approvers", "add", "big", "--name", strings.Repeat("x", 5000)); code != 1 || !strings.Contains(w.err.String(), "SSM keeps") {
		t.Errorf("%s", &w.err)
	}
}

// After a rotation links that are out are still good, and new ones are signed by the new key; a second one waits for the first
// one's links to expire.
func TestRotate(t *testing.T) {
	w := newWorld(t)
	w.desk.secret = `{"id":"1","key":"0123456789abcdefghijklmnopqrstuvwxyz0123456789"}`
	before, err := approval.ParseRing([]byte(w.desk.secret))
	if err != nil {
		t.Fatal(err)
	}
	a := approval.Approval{Incident: id, Number: 1, Hash: "h", Expires: now.Add(time.Hour)}
	old, err := before.Parse(before.Link(a, "alice"))
	if err != nil {
		t.Fatal(err)
	}
	if code := w.run("approvers", "rotate"); code != 0 || strings.Contains(w.out.String()+w.err.String(), "0123456789") {
		t.Fatalf("%s %s", &w.out, &w.err)
	}
	after, err := approval.ParseRing([]byte(w.desk.secret))
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := after.Parse(after.Link(a, "alice"))
	if err != nil || !after.Genuine(old, a) || !after.Genuine(fresh, a) || before.Genuine(fresh, a) {
		t.Error("the old links are dead, or the new ones are signed by the old key", err)
	}
	kept := w.desk.secret
	if code := w.run("approvers", "rotate"); code != 1 || w.desk.secret != kept || !strings.Contains(w.err.String(), "rotate again after") {
		t.Errorf("%s", &w.err)
	}
	w.at = now.Add(9 * 24 * time.Hour)
	if code := w.run("approvers", "rotate"); code != 0 || w.desk.secret == kept {
		t.Errorf("%s", &w.err)
	}
	kept = w.desk.secret
	if code := w.run("approvers", "rotate", "--leaked"); code != 0 || w.desk.secret == kept || strings.Contains(w.desk.secret, "previous") {
		t.Errorf("%s, %s", &w.err, &w.out)
	}
}

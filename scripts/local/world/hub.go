package world

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	sfntypes "github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

// Hub is the security account, seen by its own root: a person who reads what Firebreak did.
type Hub struct {
	SFN    *sfn.Client
	SQS    *sqs.Client
	SNS    *sns.Client
	SSM    *ssm.Client
	IAM    *iam.Client
	Lambda *lambda.Client
	Events *eventbridge.Client
	Table  *dynamodb.Client
	Store  ledger.Store
	Logs   *Logs

	mu     sync.Mutex
	inputs map[string]string // execution ARN to its input
	top    map[string]bool   // the machine's top-level states
}

// Names of what the templates make in the hub.
const (
	Machine  = "arn:aws:states:" + Region + ":" + HubAccount + ":stateMachine:firebreak-respond"
	Ledger   = "firebreak-ledger"
	Topic    = "arn:aws:sns:" + Region + ":" + HubAccount + ":firebreak-security"
	Personal = "arn:aws:sns:" + Region + ":" + HubAccount + ":firebreak-approvers"
	Delivery = "firebreak-delivery-dlq"
	Actions  = "firebreak-action-dlq"
	Incident = "firebreak-incident-dlq"
	Function = "firebreak-function-dlq"
	Deaths   = "firebreak-execution-dlq"
)

// Queues are the dead-letter queues, outermost first.
var Queues = []string{Delivery, Actions, Incident, Function, Deaths}

// Hub gives the hub account.
func (p *Platform) Hub() *Hub {
	cfg := p.Config(HubAccount)
	table := dynamodb.NewFromConfig(cfg)
	return &Hub{
		SFN: sfn.NewFromConfig(cfg), SQS: sqs.NewFromConfig(cfg), SNS: sns.NewFromConfig(cfg), SSM: ssm.NewFromConfig(cfg), IAM: iam.NewFromConfig(cfg),
		Lambda: lambda.NewFromConfig(cfg), Events: eventbridge.NewFromConfig(cfg), Table: table, Store: ledger.NewDynamo(table, Ledger), Logs: &Logs{cfg}, inputs: map[string]string{},
	}
}

// Run is one execution of the machine.
type Run struct {
	ARN, Name, Status, Error, Cause, Input, Output string
	Start, Stop                                    time.Time
	// States are all that were entered, in order, those inside a Map too.
	States []State
	// Path are the top-level ones by name.
	Path []string
	// Raw is the history as JSON.
	Raw []byte
}

// State that an execution entered.
type State struct {
	Name string
	At   time.Time
	// Top tells whether it is a state of the machine itself, not of a Map.
	Top bool
}

// Ended tells whether the execution is over.
func (r Run) Ended() bool {
	return r.Status != "" && r.Status != string(sfntypes.ExecutionStatusRunning)
}

// Entered counts how often a state was entered.
func (r Run) Entered(name string) int {
	n := 0
	for _, s := range r.States {
		if s.Name == name {
			n++
		}
	}
	return n
}

// Ending is the name of the last state.
func (r Run) Ending() string {
	if len(r.Path) == 0 {
		return ""
	}
	return r.Path[len(r.Path)-1]
}

// Executions lists the ARNs of all executions, oldest first.
func (h *Hub) Executions(ctx context.Context) ([]string, error) {
	var out []sfntypes.ExecutionListItem
	for pages := sfn.NewListExecutionsPaginator(h.SFN, &sfn.ListExecutionsInput{StateMachineArn: aws.String(Machine), MaxResults: 1000}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		out = append(out, page.Executions...)
	}
	slices.SortStableFunc(out, func(a, b sfntypes.ExecutionListItem) int { return a.StartDate.Compare(*b.StartDate) })
	arns := make([]string, len(out))
	for i, e := range out {
		arns[i] = aws.ToString(e.ExecutionArn)
	}
	return arns, nil
}

// Ended lists the ARNs of the executions that started since a time and have ended.
func (h *Hub) Ended(ctx context.Context, since time.Time) ([]string, error) {
	var arns []string
	for pages := sfn.NewListExecutionsPaginator(h.SFN, &sfn.ListExecutionsInput{StateMachineArn: aws.String(Machine), MaxResults: 1000}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, e := range page.Executions {
			if e.Status != sfntypes.ExecutionStatusRunning && !e.StartDate.Before(since.Truncate(time.Second)) {
				arns = append(arns, aws.ToString(e.ExecutionArn))
			}
		}
	}
	return arns, nil
}

// About lists the executions whose input has that text (a finding's id, an incident's id), oldest first.
func (h *Hub) About(ctx context.Context, needle string) ([]string, error) {
	all, err := h.Executions(ctx)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, arn := range all {
		input, err := h.input(ctx, arn)
		if err != nil {
			return nil, err
		}
		if strings.Contains(input, needle) {
			found = append(found, arn)
		}
	}
	return found, nil
}

func (h *Hub) input(ctx context.Context, arn string) (string, error) {
	h.mu.Lock()
	in, ok := h.inputs[arn]
	h.mu.Unlock()
	if ok {
		return in, nil
	}
	d, err := h.SFN.DescribeExecution(ctx, &sfn.DescribeExecutionInput{ExecutionArn: &arn})
	if err != nil {
		return "", err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inputs[arn] = aws.ToString(d.Input)
	return h.inputs[arn], nil
}

// Started waits for the n-th execution (from 1) whose input has that text.
func (h *Hub) Started(ctx context.Context, needle string, n int) (arn string, err error) {
	err = Until(ctx, 20*time.Second, fmt.Sprintf("execution %d about %s", n, needle), func(ctx context.Context) (bool, error) {
		found, err := h.About(ctx, needle)
		if len(found) >= n {
			arn = found[n-1]
		}
		return arn != "", err
	})
	return arn, err
}

// Brief reads an execution without its history; its path has the last state only, as its status tells.
func (h *Hub) Brief(ctx context.Context, arn string) (Run, error) {
	d, err := h.SFN.DescribeExecution(ctx, &sfn.DescribeExecutionInput{ExecutionArn: &arn})
	if err != nil {
		return Run{}, err
	}
	r := Run{
		ARN: arn, Name: aws.ToString(d.Name), Status: string(d.Status), Error: aws.ToString(d.Error), Cause: aws.ToString(d.Cause),
		Input: aws.ToString(d.Input), Output: aws.ToString(d.Output), Start: aws.ToTime(d.StartDate), Stop: aws.ToTime(d.StopDate),
	}
	var out struct{ Ending string }
	switch {
	case r.Status == string(sfntypes.ExecutionStatusFailed):
		r.Path = []string{r.Error}
	case json.Unmarshal([]byte(r.Output), &out) == nil && out.Ending != "":
		r.Path = []string{out.Ending}
	}
	return r, nil
}

// Run reads an execution with its history.
func (h *Hub) Run(ctx context.Context, arn string) (Run, error) {
	top, err := h.states(ctx)
	if err != nil {
		return Run{}, err
	}
	// The description first: what the history then has is at least as new.
	r, err := h.Brief(ctx, arn)
	if err != nil {
		return Run{}, err
	}
	r.Path = nil
	var events []sfntypes.HistoryEvent
	for pages := sfn.NewGetExecutionHistoryPaginator(h.SFN, &sfn.GetExecutionHistoryInput{ExecutionArn: &arn, MaxResults: 1000}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return r, err
		}
		events = append(events, page.Events...)
	}
	for _, e := range events {
		if e.StateEnteredEventDetails == nil {
			continue
		}
		s := State{Name: aws.ToString(e.StateEnteredEventDetails.Name), At: aws.ToTime(e.Timestamp)}
		if s.Top = top[s.Name]; s.Top {
			r.Path = append(r.Path, s.Name)
		}
		r.States = append(r.States, s)
	}
	r.Raw, err = json.Marshal(events)
	return r, err
}

// states reads the names of the machine's top-level states from the deployed definition.
func (h *Hub) states(ctx context.Context) (map[string]bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.top != nil {
		return h.top, nil
	}
	d, err := h.SFN.DescribeStateMachine(ctx, &sfn.DescribeStateMachineInput{StateMachineArn: aws.String(Machine)})
	if err != nil {
		return nil, err
	}
	var def struct{ States map[string]any }
	if err := json.Unmarshal([]byte(aws.ToString(d.Definition)), &def); err != nil {
		return nil, fmt.Errorf("the deployed definition: %w", err)
	}
	h.top = map[string]bool{}
	for name := range def.States {
		h.top[name] = true
	}
	return h.top, nil
}

// Follow tells each state of an execution as it is entered, until stop says so of the run as far as it is, or it ended.
func (h *Hub) Follow(ctx context.Context, arn string, limit time.Duration, tell func(State), stop func(Run) bool) (Run, error) {
	var run Run
	told := 0
	err := Until(ctx, limit, "the end of "+arn[strings.LastIndex(arn, ":")+1:], func(ctx context.Context) (bool, error) {
		r, err := h.Run(ctx, arn)
		if err != nil {
			return false, err
		}
		run = r
		for ; told < len(r.States); told++ {
			if tell != nil {
				tell(r.States[told])
			}
		}
		return r.Ended() || stop != nil && stop(r), nil
	})
	return run, err
}

// End waits until the execution ended.
func (h *Hub) End(ctx context.Context, arn string) (Run, error) {
	return h.Follow(ctx, arn, 60*time.Second, nil, nil)
}

// Meta reads an incident.
func (h *Hub) Meta(ctx context.Context, id string) (ledger.Incident, error) {
	it, err := ledger.Load[ledger.Incident](ctx, h.Store, ledger.IncidentKey(id))
	if err == nil && !it.Exists() {
		err = fmt.Errorf("incident %s: %w", id, ErrAbsent)
	}
	return it.Value, err
}

// Timeline reads what happened in an incident.
func (h *Hub) Timeline(ctx context.Context, id string) ([]ledger.Event, error) {
	return ledger.Timeline(ctx, h.Store, id)
}

// Hold reads what Firebreak holds on a resource.
func (h *Hub) Hold(ctx context.Context, resource, action string) (ledger.Hold, error) {
	it, err := ledger.Load[ledger.Hold](ctx, h.Store, ledger.HoldKey(resource, action))
	return it.Value, err
}

// Asked waits until people are asked about an incident for the n-th time (from 1).
func (h *Hub) Asked(ctx context.Context, id string, n int) (approval.Approval, error) {
	var a approval.Approval
	err := Until(ctx, 30*time.Second, fmt.Sprintf("approval %d of %s", n, id), func(ctx context.Context) (bool, error) {
		it, err := approval.Load(ctx, h.Store, id, n)
		a = it.Value
		return it.Exists(), err
	})
	return a, err
}

// Dump is every item of the ledger as text, in the order of the keys.
func (h *Hub) Dump(ctx context.Context) (string, error) {
	var lines []string
	for pages := dynamodb.NewScanPaginator(h.Table, &dynamodb.ScanInput{TableName: aws.String(Ledger), ConsistentRead: aws.Bool(true)}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return "", err
		}
		for _, item := range page.Items {
			lines = append(lines, plain(item))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n"), nil
}

// Message of a queue.
type Message struct {
	Queue, Body string
	Attributes  map[string]string
	receipt     string
}

// queue gives a queue's URL; ministack answers with the host that it knows itself by, which the client's endpoint replaces.
func (h *Hub) queue(ctx context.Context, name string) (*string, error) {
	q, err := h.SQS.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &name})
	if err != nil {
		return nil, fmt.Errorf("queue %s: %w", name, err)
	}
	return q.QueueUrl, nil
}

// Letters reads every message of a queue without taking one.
func (h *Hub) Letters(ctx context.Context, name string) ([]Message, error) {
	url, err := h.queue(ctx, name)
	if err != nil {
		return nil, err
	}
	found, err := h.receive(ctx, url, name)
	if err != nil {
		return nil, err
	}
	for _, m := range found {
		if _, err := h.SQS.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{QueueUrl: url, ReceiptHandle: &m.receipt, VisibilityTimeout: 0}); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// Take reads every message of a queue and deletes them.
func (h *Hub) Take(ctx context.Context, name string) ([]Message, error) {
	url, err := h.queue(ctx, name)
	if err != nil {
		return nil, err
	}
	found, err := h.receive(ctx, url, name)
	if err != nil {
		return nil, err
	}
	for _, m := range found {
		if _, err := h.SQS.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: url, ReceiptHandle: &m.receipt}); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (h *Hub) receive(ctx context.Context, url *string, name string) ([]Message, error) {
	var found []Message
	for {
		out, err := h.SQS.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: url, MaxNumberOfMessages: 10, VisibilityTimeout: 10, MessageAttributeNames: []string{"All"}, MessageSystemAttributeNames: []sqstypes.MessageSystemAttributeName{sqstypes.MessageSystemAttributeNameAll}})
		if err != nil {
			return nil, err
		}
		if len(out.Messages) == 0 {
			return found, nil
		}
		for _, m := range out.Messages {
			attributes := map[string]string{}
			for k, v := range m.MessageAttributes {
				attributes[k] = aws.ToString(v.StringValue)
			}
			found = append(found, Message{Queue: name, Body: aws.ToString(m.Body), Attributes: attributes, receipt: aws.ToString(m.ReceiptHandle)})
		}
	}
}

// Inbox is where this person reads what the team and every approver are sent: a queue that is subscribed to both topics.
const Inbox = "inbox"

// Subscribe makes the inbox.
func (h *Hub) Subscribe(ctx context.Context) error {
	arn := fmt.Sprintf("arn:aws:sqs:%s:%s:%s", Region, HubAccount, Inbox)
	policy := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"sns.amazonaws.com"},"Action":"sqs:SendMessage","Resource":%q,"Condition":{"ArnEquals":{"aws:SourceArn":[%q,%q]}}}]}`, arn, Topic, Personal)
	if _, err := h.SQS.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String(Inbox), Attributes: map[string]string{"Policy": policy}}); err != nil {
		return err
	}
	for _, topic := range []string{Topic, Personal} {
		if _, err := h.SNS.Subscribe(ctx, &sns.SubscribeInput{TopicArn: &topic, Protocol: aws.String("sqs"), Endpoint: &arn}); err != nil {
			return err
		}
	}
	return nil
}

// Notice is a message of the security topic.
type Notice struct{ Subject, Text string }

// Notices reads every message of the inbox whose text has the needle, without taking one.
func (h *Hub) Notices(ctx context.Context, needle string) ([]Notice, error) {
	all, err := h.Letters(ctx, Inbox)
	if err != nil {
		return nil, err
	}
	var found []Notice
	for _, m := range all {
		var n struct{ Subject, Message string }
		if err := json.Unmarshal([]byte(m.Body), &n); err != nil {
			return nil, fmt.Errorf("a notice: %w", err)
		}
		if strings.Contains(n.Subject+n.Message, needle) {
			found = append(found, Notice{n.Subject, n.Message})
		}
	}
	return found, nil
}

// RolePolicy reads an inline policy of a hub role.
func (h *Hub) RolePolicy(ctx context.Context, role, policy string) (string, error) {
	out, err := h.IAM.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: &role, PolicyName: &policy})
	if err != nil {
		return "", err
	}
	return unescape(aws.ToString(out.PolicyDocument)), nil
}

// Result finds the outcome of a step in the incident's timeline, the latest one.
func (h *Hub) Result(ctx context.Context, id, action string) (incident.Result, error) {
	events, err := h.Timeline(ctx, id)
	if err != nil {
		return incident.Result{}, err
	}
	for _, e := range slices.Backward(events) {
		if e.Result != nil && e.Result.Action == action {
			return *e.Result, nil
		}
	}
	return incident.Result{}, fmt.Errorf("a result of %s in %s: %w", action, id, ErrAbsent)
}

// Start starts an execution by hand, with any input. name "" leaves the name to the machine.
func (h *Hub) Start(ctx context.Context, name, input string) (string, error) {
	in := &sfn.StartExecutionInput{StateMachineArn: aws.String(Machine), Input: &input}
	if name != "" {
		in.Name = &name
	}
	out, err := h.SFN.StartExecution(ctx, in)
	if err != nil {
		return "", err
	}
	return aws.ToString(out.ExecutionArn), nil
}

// Invoke calls a function and gives its answer. Errors: the function's own too, with its name.
func (h *Hub) Invoke(ctx context.Context, function string, payload any) ([]byte, error) {
	in, err := json.Marshal(payload)
	if err != nil {
		return nil, err
	}
	out, err := h.Lambda.Invoke(ctx, &lambda.InvokeInput{FunctionName: &function, Payload: in})
	if err != nil {
		return nil, err
	}
	if out.FunctionError != nil {
		return nil, fmt.Errorf("%s: %s", function, out.Payload)
	}
	return out.Payload, nil
}

// Sweep runs the sweep now instead of within a minute.
func (h *Hub) Sweep(ctx context.Context) error {
	_, err := h.Invoke(ctx, "firebreak-sweep", map[string]any{})
	return err
}

// FindMissed looks at the sources now instead of within an hour, and gives the function's report.
func (h *Hub) FindMissed(ctx context.Context) ([]byte, error) {
	return h.Invoke(ctx, "firebreak-find-missed", map[string]any{"again": true})
}

// WatchContainment looks now instead of within an hour whether what is contained still is, and gives the function's report.
func (h *Hub) WatchContainment(ctx context.Context) ([]byte, error) {
	return h.Invoke(ctx, "firebreak-watch-containment", map[string]any{"again": true})
}

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"firebreak/lib/finding"
	"firebreak/lib/incident"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

const deadLettersHelp = `Lists what waits in the five dead-letter queues, in words. The messages stay where they are; for a moment nobody else sees
them. Each is started again with scripts/firebreak redrive ID.
`

// layer says where something failed. Each has its own queue.
type layer string

const (
	ofDelivery  layer = "delivery"  // EventBridge could not start the machine
	ofAction    layer = "action"    // one step of an incident
	ofIncident  layer = "incident"  // the incident as a whole
	ofFunction  layer = "function"  // a function that nobody waits for
	ofExecution layer = "execution" // an execution that no Catch could save
)

// layers in the order in which they are started again: an incident as a whole covers its steps.
var layers = []layer{ofIncident, ofExecution, ofAction, ofDelivery, ofFunction}

// queue is the name of the layer's queue.
func (l layer) queue() string { return "firebreak-" + string(l) + "-dlq" }

// layerOf reads a queue's name as a person types it: action, or firebreak-action-dlq.
func layerOf(typed string) (layer, error) {
	for _, l := range layers {
		if typed == string(l) || typed == l.queue() {
			return l, nil
		}
	}
	return "", wrong("there is no queue %q: delivery, action, incident, function or execution", typed)
}

// letter is a message in a dead-letter queue.
type letter struct {
	Queue     string         `json:"queue"`
	ID        string         `json:"id"`
	Layer     layer          `json:"layer"`
	Sent      time.Time      `json:"sent"`
	Incident  string         `json:"incident,omitempty"`
	Episode   int            `json:"episode,omitempty"`
	Execution string         `json:"execution,omitempty"`
	Step      *incident.Step `json:"step,omitempty"`
	Error     string         `json:"error"`
	Cause     string         `json:"cause"`
	// What failed, in words.
	What string `json:"what"`

	// release says that it is a release that failed, whatever its queue.
	release bool

	url, receipt string
	// input is what to start again with, where the letter itself has it; function the one to call with it.
	input, function string
}

func deadLetters(ctx context.Context, a *app, c *call) error {
	if err := c.none(); err != nil {
		return err
	}
	k, err := a.connect(ctx)
	if err != nil {
		return err
	}
	list, err := k.gather(ctx, layers, 30*time.Second)
	k.release(ctx, list)
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(x, y letter) int {
		return cmp.Or(cmp.Compare(slices.Index(layers, x.Layer), slices.Index(layers, y.Layer)), y.Sent.Compare(x.Sent))
	})
	if c.json {
		return dump(a.out, append([]letter{}, list...))
	}
	if len(list) == 0 {
		fmt.Fprintf(a.out, "no dead letters (%s)\n", k.where)
		return nil
	}
	queue := ""
	for _, l := range list {
		if l.Queue != queue {
			queue = l.Queue
			fmt.Fprintf(a.out, "%s\n", queue)
		}
		fmt.Fprintf(a.out, "  %s  (%s)\n", l.What, ago(a.now(), l.Sent))
		if l.Error != "" || l.Cause != "" {
			fmt.Fprintf(a.out, "      %s\n", strings.Trim(plain(l.Error, 80)+": "+plain(l.Cause, 400), ": "))
		}
		fmt.Fprintf(a.out, "      mend that, then: scripts/firebreak redrive %s\n", l.ID)
	}
	fmt.Fprintf(a.out, "\n%d dead letters. All of them at once: scripts/firebreak redrive --all\n", len(list))
	return nil
}

// gather receives all messages of the layers' queues and hides them from others for a while.
func (k *cloud) gather(ctx context.Context, of []layer, hide time.Duration) ([]letter, error) {
	var mu sync.Mutex
	var wait sync.WaitGroup
	var out []letter
	var errs []error
	for _, l := range of {
		wait.Go(func() {
			list, err := k.receive(ctx, l, hide)
			mu.Lock()
			defer mu.Unlock()
			out, errs = append(out, list...), append(errs, err)
		})
	}
	wait.Wait()
	return out, errors.Join(errs...)
}

func (k *cloud) receive(ctx context.Context, l layer, hide time.Duration) ([]letter, error) {
	q, err := k.queues.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: aws.String(l.queue())})
	var absent *types.QueueDoesNotExist
	if errors.As(err, &absent) {
		return nil, fmt.Errorf("there is no queue %s in %s: is this the security account, and the region that Firebreak is deployed in?", l.queue(), k.where)
	}
	if err != nil {
		return nil, fmt.Errorf("find queue %s: %w", l.queue(), err)
	}
	var out []letter
	seen := map[string]bool{}
	for {
		page, err := k.queues.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
			QueueUrl: q.QueueUrl, MaxNumberOfMessages: 10, VisibilityTimeout: int32(hide.Seconds()), WaitTimeSeconds: 1,
			MessageAttributeNames: []string{"All"}, MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameSentTimestamp},
		})
		if err != nil {
			return out, fmt.Errorf("read queue %s: %w", l.queue(), err)
		}
		fresh := false
		for _, m := range page.Messages {
			if id := aws.ToString(m.MessageId); !seen[id] {
				seen[id], fresh = true, true
				out = append(out, decode(l, aws.ToString(q.QueueUrl), m))
			}
		}
		if !fresh {
			return out, nil
		}
	}
}

// release lets others see the letters again. What cannot be released is seen again by itself.
func (k *cloud) release(ctx context.Context, list []letter) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	for _, l := range list {
		_, _ = k.queues.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{QueueUrl: &l.url, ReceiptHandle: &l.receipt, VisibilityTimeout: 0})
	}
}

// decode makes a letter of a message.
func decode(of layer, url string, m types.Message) letter {
	l := letter{Queue: of.queue(), ID: aws.ToString(m.MessageId), Layer: of, url: url, receipt: aws.ToString(m.ReceiptHandle)}
	if ms, err := strconv.ParseInt(m.Attributes[string(types.MessageSystemAttributeNameSentTimestamp)], 10, 64); err == nil {
		l.Sent = time.UnixMilli(ms).UTC()
	}
	attribute := func(name string) string { return aws.ToString(m.MessageAttributes[name].StringValue) }
	body := aws.ToString(m.Body)
	switch of {
	case ofAction, ofIncident:
		l.work(body)
	case ofFunction:
		l.Error, l.Cause = cmp.Or(attribute("ErrorCode"), attribute("ERROR_CODE")), cmp.Or(attribute("ErrorMessage"), attribute("ERROR_MESSAGE"))
		l.call(body)
	default:
		l.Error, l.Cause = attribute("ERROR_CODE"), attribute("ERROR_MESSAGE")
		l.event(body)
	}
	return l
}

// work reads what the machine wrote.
func (l *letter) work(body string) {
	var d incident.DeadLetter
	if err := json.Unmarshal([]byte(body), &d); err != nil || d.Execution == "" {
		l.What = "a message that is not Firebreak's: look at it in the console"
		return
	}
	l.Incident, l.Episode, l.Execution, l.Step, l.Error, l.Cause = d.Incident, d.Episode, d.Execution, d.Step, d.Error, d.Cause
	l.release = d.Layer == "release"
	switch {
	case l.release && d.Step != nil:
		l.What = fmt.Sprintf("%s: the undo of %s of %s failed", d.Incident, plain(d.Step.Action, 60), short(d.Step.Target))
	case l.release:
		l.What = d.Incident + " was not released, or not in full"
	case d.Step != nil:
		l.What = fmt.Sprintf("%s: %s of %s failed", d.Incident, plain(d.Step.Action, 60), short(d.Step.Target))
	case d.Incident != "":
		l.What = d.Incident + " was not finished"
	default:
		l.What = "a finding that could not be classified, in execution " + last(d.Execution)
	}
}

// event reads an event that EventBridge could not deliver, or the news of an execution that failed.
func (l *letter) event(body string) {
	var e struct {
		Source     string `json:"source"`
		DetailType string `json:"detail-type"`
		Detail     struct {
			ExecutionARN string `json:"executionArn"`
			Status       string `json:"status"`
			Input        string `json:"input"`
			Error        string `json:"error"`
			Cause        string `json:"cause"`
		} `json:"detail"`
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil || e.Source == "" {
		l.What = "a message that is no event: look at it in the console"
		return
	}
	if e.Source == "aws.states" {
		l.Layer = ofExecution
		l.Execution, l.input = e.Detail.ExecutionARN, e.Detail.Input
		l.Error, l.Cause = cmp.Or(e.Detail.Error, e.Detail.Status), e.Detail.Cause
		l.What = fmt.Sprintf("execution %s ended %s", last(l.Execution), plain(e.Detail.Status, 20))
	} else {
		l.input = body
		l.What = fmt.Sprintf("an event (%s, %s) that did not reach the machine", plain(e.Source, 60), plain(e.DetailType, 100))
	}
	if ask, ok := releasing(l.input); ok {
		l.release, l.Incident = true, ask.Incident
		l.What = l.Incident + ": " + l.What
		return
	}
	if findings, err := finding.Decode([]byte(l.input)); err == nil && len(findings) == 1 {
		l.Incident = findings[0].IncidentID()
		l.What = l.Incident + ": " + l.What
	}
}

// call reads the call of a function that nobody waited for: the event itself, or AWS's record of the failed call.
func (l *letter) call(body string) {
	var r struct {
		Source  string `json:"source"`
		Request struct {
			Function string `json:"functionArn"`
		} `json:"requestContext"`
		Payload  json.RawMessage `json:"requestPayload"`
		Response struct {
			Type    string `json:"errorType"`
			Message string `json:"errorMessage"`
		} `json:"responsePayload"`
	}
	switch err := json.Unmarshal([]byte(body), &r); {
	case err == nil && r.Request.Function != "":
		l.function, l.input = r.Request.Function, string(r.Payload)
		l.Error, l.Cause = cmp.Or(l.Error, r.Response.Type), cmp.Or(l.Cause, r.Response.Message)
		l.What = "a call of " + short(r.Request.Function) + " failed"
	case err == nil && r.Source == "aws.events":
		l.input = body
		l.What = "a run of the sweep failed"
	default:
		l.What = "a call of a function that the message does not name: look at it in the console"
	}
	l.What = strings.TrimSpace(l.What)
}

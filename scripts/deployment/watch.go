package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
)

// watcher follows what happens to a stack and to the stacks nested in it.
type watcher struct {
	*stack
	stacks []string        // the stack's name and the ARNs of nested ones
	seen   map[string]bool // event ids
	done   map[string]bool // resources that are complete
	begun  bool
	failed []failure
}

// failure is a resource that failed; outer is a nested stack, which fails because of what is in it.
type failure struct {
	line  string
	outer bool
}

func (s *stack) watch() *watcher {
	return &watcher{stack: s, stacks: []string{s.name}, seen: map[string]bool{}, done: map[string]bool{}}
}

// skip takes note of everything that happened before.
func (w *watcher) skip(ctx context.Context) error {
	for i := 0; i < len(w.stacks); i++ {
		events, err := w.news(ctx, w.stacks[i])
		if err != nil {
			return err
		}
		for _, e := range events {
			w.nest(e)
		}
	}
	return nil
}

// follow reports until the stack has come to rest. Its error lists the resources that failed, with CloudFormation's reasons.
func (w *watcher) follow(ctx context.Context) error {
	var last types.StackStatus
	err := w.await(ctx, func() (bool, error) {
		now, err := w.describe(ctx)
		if err != nil {
			return false, err
		}
		if now == nil {
			return false, fmt.Errorf("stack %s is gone", w.name)
		}
		if err := w.look(ctx); err != nil {
			return false, err
		}
		last = now.StackStatus
		// Until the first event of its own, the status can still be that of before.
		return w.begun && !strings.HasSuffix(string(last), "_IN_PROGRESS"), nil
	})
	if err != nil {
		return err
	}
	if last == types.StackStatusCreateComplete || last == types.StackStatusUpdateComplete {
		w.say("stack %s: %s, %d resources made or changed", w.name, last, len(w.done))
		return nil
	}
	return fmt.Errorf("stack %s ended %s: %s", w.name, last, w.reasons())
}

// reasons lists what failed: resources, or nested stacks where nothing is known of what failed in them.
func (w *watcher) reasons() string {
	inner := slices.ContainsFunc(w.failed, func(f failure) bool { return !f.outer })
	out := ""
	for _, f := range w.failed {
		if !f.outer || !inner {
			out += "\n  " + f.line
		}
	}
	if out == "" {
		return "CloudFormation gives no reason"
	}
	return out
}

// look reports what is new.
func (w *watcher) look(ctx context.Context) error {
	for i := 0; i < len(w.stacks); i++ {
		events, err := w.news(ctx, w.stacks[i])
		if err != nil {
			return err
		}
		for _, e := range events {
			w.nest(e)
			w.tell(w.stacks[i], e)
		}
	}
	return nil
}

// news gives a stack's events that were not seen yet, oldest first.
func (w *watcher) news(ctx context.Context, name string) ([]types.StackEvent, error) {
	var out []types.StackEvent
	var next *string
	for {
		page, err := w.api.DescribeStackEvents(ctx, &cloudformation.DescribeStackEventsInput{StackName: &name, NextToken: next})
		if err != nil {
			return nil, fmt.Errorf("read the events of stack %s: %w", name, err)
		}
		known := false
		for _, e := range page.StackEvents {
			if id := aws.ToString(e.EventId); w.seen[id] {
				known = true
			} else {
				w.seen[id] = true
				out = append(out, e)
			}
		}
		if next = page.NextToken; next == nil || known {
			slices.Reverse(out)
			return out, nil
		}
	}
}

// nest adds a nested stack to those that are followed, once it has an ARN.
func (w *watcher) nest(e types.StackEvent) {
	id := aws.ToString(e.PhysicalResourceId)
	if aws.ToString(e.ResourceType) == "AWS::CloudFormation::Stack" && id != "" && id != aws.ToString(e.StackId) && !slices.Contains(w.stacks, id) {
		w.stacks = append(w.stacks, id)
	}
}

// tell reports one event: failures as they are, of the rest only nested stacks, since there are hundreds.
func (w *watcher) tell(of string, e types.StackEvent) {
	what, status := aws.ToString(e.LogicalResourceId), string(e.ResourceStatus)
	if of != w.name {
		what = short(of) + "/" + what
	}
	nested := aws.ToString(e.ResourceType) == "AWS::CloudFormation::Stack"
	self := nested && aws.ToString(e.PhysicalResourceId) == aws.ToString(e.StackId)
	reason := aws.ToString(e.ResourceStatusReason)
	switch {
	case self:
		w.begun = w.begun || of == w.name
	case strings.HasSuffix(status, "_FAILED") && strings.Contains(reason, "cancelled"): // did not fail, was stopped by what did
	case strings.HasSuffix(status, "_FAILED"):
		w.failed = append(w.failed, failure{fmt.Sprintf("%s (%s) %s: %s", what, aws.ToString(e.ResourceType), status, reason), nested})
		w.say("%-44s %s", what, status)
	case strings.HasSuffix(status, "_COMPLETE"):
		w.done[what] = true
		if nested {
			w.say("%-44s %s, %d resources so far", what, status, len(w.done))
		}
	}
}

// short gives a stack's name without what CloudFormation adds to nested ones.
func short(arn string) string {
	parts := strings.Split(arn, "/")
	if len(parts) < 2 {
		return arn
	}
	name := strings.TrimPrefix(parts[1], hubStack+"-")
	if i := strings.LastIndex(name, "-"); i > 0 {
		name = name[:i]
	}
	return name
}

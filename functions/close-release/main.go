// Command close-release writes what came of a release. It reads again what the incident holds, and closes the incident only
// where nothing is left that could be undone; else it says what is not undone and what to do. People are told either way.
//
// The second time it writes the same again: the record gets no second entry, people no second message.
//
// It has no undo: a newer copy of the finding opens the incident again.
package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"firebreak/lib/boot"
	"firebreak/lib/channel"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/release"

	"github.com/aws/aws-sdk-go-v2/service/sns"
)

type handler struct {
	store ledger.Store
	topic *channel.Topic
	now   func() time.Time
}

// handle gives the closing, or the error Incomplete with what is done, what is not and what to do. Other errors: BadInput,
// Unreadable, as SNS answers.
func (h handler) handle(ctx context.Context, in incident.ReleaseCloseRequest) (incident.Closing, error) {
	slog.InfoContext(ctx, "close the release", "incident", in.Release.Incident.ID, "execution", in.Execution.ARN)
	closing, meta, err := release.Close(ctx, h.store, in, h.now().UTC())
	if in.Release.Mode.Looks() || err != nil && !fault.Is(err, fault.Incomplete) {
		return closing, err
	}
	ending, words := closing.Ending, closing.Summary
	if err != nil {
		ending, words = incident.EndNeedsPerson, err.Error()
	}
	kind := "release-" + in.Execution.ARN[strings.LastIndex(in.Execution.ARN, ":")+1:]
	_, told := h.topic.Once(ctx, h.store, meta.ID, in.Release.Incident.Episode, kind, channel.Released(meta, ending, words, in.Release.Why))
	return closing, errors.Join(err, told)
}

func main() {
	b := boot.Load()
	boot.Start(handler{store: b.Store(), topic: channel.NewTopic(sns.NewFromConfig(b.AWS), b.Env("TOPIC")), now: time.Now}.handle)
}

//go:build engine

package actiontest

import (
	"context"
	"os"
	"testing"

	"firebreak/lib/incident"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/go-cmp/cmp"
)

// Engine gives a configuration that acts as the root of Account on the local platform, whose address is in ENGINE:
//
//	ENGINE=$(scripts/local/up --port 0 --json | jq -r .endpoint) go test -tags engine ./functions/...
func Engine(t *testing.T) aws.Config {
	t.Helper()
	endpoint := os.Getenv("ENGINE")
	if endpoint == "" {
		t.Fatal("ENGINE does not say where the local platform is: scripts/local/up tells")
	}
	return aws.Config{
		Region: Region, BaseEndpoint: &endpoint, RetryMaxAttempts: 3,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: Account, SecretAccessKey: "test"}, nil
		}),
	}
}

// RoundTrip applies a step on an engine, applies it again, undoes it, and holds the resource against what it was. stands reads
// the resource; check looks at it while it is contained.
func RoundTrip(t *testing.T, w *World, target string, with map[string]string, stands func() any, check func(incident.Result)) {
	t.Helper()
	before := stands()
	planned := w.Must(w.Request(incident.Look, Incident, target, with))
	if diff := cmp.Diff(before, stands()); diff != "" {
		t.Errorf("mode plan changed something (-before +after):\n%s", diff)
	}
	applied := w.Must(w.Request(incident.Apply, Incident, target, with))
	if !applied.Outcome.Contains() || !applied.Verified || applied.Outcome == incident.Applied && planned.Outcome != incident.Planned {
		t.Errorf("planned %s, then %s (%s)", planned.Outcome, applied.Outcome, applied.Reason)
	}
	check(applied)
	contained := stands()
	if again := w.Must(w.Request(incident.Apply, Incident, target, with)); again.Outcome != incident.Already {
		t.Errorf("the second time is %s", again.Outcome)
	}
	if diff := cmp.Diff(contained, stands()); diff != "" {
		t.Errorf("the second time changed something (-first +second):\n%s", diff)
	}
	if undone := w.Must(w.Request(incident.Undo, Incident, target, with)); undone.Outcome != incident.Restored {
		t.Errorf("undo is %s (%s) %q", undone.Outcome, undone.Reason, undone.Changes)
	}
	if diff := cmp.Diff(before, stands()); diff != "" {
		t.Errorf("undo (-before +after):\n%s", diff)
	}
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"firebreak/lib/fault"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/google/go-cmp/cmp"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func watcher(store ledger.Store) watch {
	accounts := []setting.Account{{ID: "222222222222", Name: "clinic", Regions: []string{"us-east-1", "eu-west-1"}}, {ID: "333333333333", Name: "lab", Regions: []string{"us-east-1"}}}
	return watch{store: store, inst: setting.Fixed(setting.Installed{Accounts: accounts}), now: func() time.Time { return now }}
}

func heartbeat(account, region string, age time.Duration) string {
	return fmt.Sprintf(`{"source":"aws.events","detail-type":"Scheduled Event","account":%q,"region":%q,"time":%q,"resources":["arn:aws:events:%s:%s:rule/firebreak-heartbeat"],"detail":{}}`,
		account, region, now.Add(-age).Format(time.RFC3339), region, account)
}

func silent(t *testing.T, w watch) []string {
	t.Helper()
	r, err := w.handle(t.Context(), json.RawMessage(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	return r.Silent
}

// Each account and region that is listed is heard, or is named.
func TestSilenceIsNoticed(t *testing.T) {
	w := watcher(ledger.NewMemory())
	beat := func(account, region string, age time.Duration) {
		t.Helper()
		if _, err := w.handle(t.Context(), json.RawMessage(heartbeat(account, region, age))); err != nil {
			t.Fatal(err)
		}
	}
	if got := silent(t, w); len(got) != 3 {
		t.Errorf("before any heartbeat only %v are silent", got)
	}
	beat("222222222222", "us-east-1", time.Minute)
	beat("222222222222", "eu-west-1", 20*time.Minute) // then somebody took its role away
	beat("333333333333", "us-east-1", 15*time.Minute)
	if diff := cmp.Diff([]string{"222222222222/eu-west-1"}, silent(t, w)); diff != "" {
		t.Error(diff)
	}
	for range 2 { // a copy, and one that comes late, change nothing
		beat("222222222222", "us-east-1", time.Minute)
		beat("222222222222", "us-east-1", time.Hour)
	}
	beat("222222222222", "eu-west-1", 0)
	if got := silent(t, w); len(got) != 0 {
		t.Errorf("all beat, and %v are silent", got)
	}
}

// The alarm reads what CloudWatch makes of this line: how many are silent, over all of them.
func TestSilenceIsAMetric(t *testing.T) {
	var log bytes.Buffer
	was := slog.Default()
	slog.SetDefault(slog.New(slog.NewJSONHandler(&log, nil)))
	defer slog.SetDefault(was)
	silent(t, watcher(ledger.NewMemory()))
	for _, want := range []string{`"Namespace":"Firebreak"`, `"Dimensions":[[]]`, `"Name":"Silent"`, `"Silent":3`, `"Timestamp":1767323045000`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %s: %s", want, &log)
		}
	}
}

// What is no heartbeat is refused, and counts for nobody.
func TestWhatIsNoHeartbeat(t *testing.T) {
	w := watcher(ledger.NewMemory())
	good := heartbeat("222222222222", "us-east-1", 0)
	for what, text := range map[string]string{
		"a rule of another name": strings.Replace(good, "firebreak-heartbeat", "mine", 1),
		"another source":         strings.Replace(good, "aws.events", "my.events", 1),
		"no account":             strings.Replace(good, `"account":"222222222222"`, `"account":""`, 1),
		"not an event":           `[]`,
	} {
		if _, err := w.handle(t.Context(), json.RawMessage(text)); !fault.Is(err, fault.BadInput) {
			t.Errorf("%s: %v, want BadInput", what, err)
		}
	}
	if got := silent(t, w); len(got) != 3 {
		t.Errorf("silent are %v", got)
	}
}

// broken is a ledger that cannot be read.
type broken struct{ ledger.Store }

func (broken) Get(context.Context, ledger.Key) (ledger.Record, error) {
	return ledger.Record{}, errors.New("denied")
}

// Without a ledger nobody is called silent, and nobody is called heard: the function fails, and the alarm on its own silence says so.
func TestALedgerThatCannotBeReadIsNoVerdict(t *testing.T) {
	if r, err := watcher(broken{}).handle(t.Context(), json.RawMessage(`{}`)); err == nil || len(r.Silent) != 0 {
		t.Errorf("%v, %v", r, err)
	}
}

// The sample is what EventBridge sends.
func TestTheSampleIsAHeartbeat(t *testing.T) {
	text, err := os.ReadFile("../../events/heartbeat.json")
	if err != nil {
		t.Fatal(err)
	}
	w := watcher(ledger.NewMemory())
	if _, err := w.handle(t.Context(), text); err != nil {
		t.Error(err)
	}
}

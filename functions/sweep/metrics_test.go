package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The alarms read what CloudWatch makes of this line: each metric that it announces has its value beside it, without a dimension.
func TestTheReportIsMetrics(t *testing.T) {
	var log bytes.Buffer
	was := slog.Default()
	slog.SetDefault(slog.New(slog.NewJSONHandler(&log, nil)))
	defer slog.SetDefault(was)
	s := sweep{now: func() time.Time { return time.UnixMilli(1767323045000) }}
	s.measure(t.Context(), Report{Orphaned: 1, InFlight: 2, Unfinished: 3, Untold: 4, Failed: 5, Waiting: 6})

	var line map[string]any
	var frame struct {
		AWS struct {
			Timestamp         int64
			CloudWatchMetrics []struct {
				Namespace  string
				Dimensions [][]string
				Metrics    []struct{ Name, Unit string }
			}
		} `json:"_aws"`
	}
	for _, into := range []any{&line, &frame} {
		if err := json.Unmarshal(log.Bytes(), into); err != nil {
			t.Fatalf("%v: %s", err, &log)
		}
	}
	if frame.AWS.Timestamp != 1767323045000 || len(frame.AWS.CloudWatchMetrics) != 1 {
		t.Fatalf("frame %+v", frame)
	}
	all := frame.AWS.CloudWatchMetrics[0]
	if all.Namespace != "Firebreak" || !cmp.Equal(all.Dimensions, [][]string{{}}) {
		t.Errorf("namespace %s, dimensions %v", all.Namespace, all.Dimensions)
	}
	got := map[string]any{}
	for _, m := range all.Metrics {
		got[m.Name] = line[m.Name]
	}
	want := map[string]any{"Orphaned": 1.0, "InFlight": 2.0, "Unfinished": 3.0, "Untold": 4.0, "Failed": 5.0, "Waiting": 6.0}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

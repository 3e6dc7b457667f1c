package main

import (
	"context"
	"log/slog"
)

// Count is what one run found of a source.
type Count struct {
	Read     int `json:"read"`     // findings that were read
	Idle     int `json:"idle"`     // never acted on
	Foreign  int `json:"foreign"`  // of accounts and regions that Firebreak does not look after
	Young    int `json:"young"`    // whose event may be on its way
	Known    int `json:"known"`    // that had arrived
	Standing int `json:"standing"` // that stood at the last reading
	Missing  int `json:"missing"`  // that no event brought
	Renewed  int `json:"renewed"`  // that are known, and whose update no event brought yet
	Started  int `json:"started"`  // executions
	Failed   int `json:"failed"`   // that could not be looked up or started
	Unread   int `json:"unread"`   // places that could not be read
	Waiting  int `json:"waiting"`  // places that there was no time for to the end
	Off      int `json:"off"`      // places where the service is not turned on
}

// Report counts by source, and what its source has resolved.
type Report struct {
	Sources  map[string]*Count `json:"sources"`
	Resolved Resolution        `json:"resolved"`
}

func (p *pass) add(n *int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*n++
}

// measure writes the report in CloudWatch's embedded metric format: what each source gave, and what the alarms read over all of
// them. A run that had nothing to read writes the latter only.
func (p *pass) measure(ctx context.Context) {
	type metric struct{ Name, Unit string }
	line := func(dimensions []string, metrics []metric, values ...any) {
		slog.InfoContext(ctx, "looked for missed findings", append(values, "_aws", map[string]any{
			"Timestamp":         p.now().UnixMilli(),
			"CloudWatchMetrics": []map[string]any{{"Namespace": "Firebreak", "Dimensions": [][]string{dimensions}, "Metrics": metrics}},
		})...)
	}
	var all Count
	for _, s := range sources {
		c := p.report.Sources[s]
		all.Missing, all.Failed, all.Unread = all.Missing+c.Missing, all.Failed+c.Failed, all.Unread+c.Unread
		if *c == (Count{}) {
			continue
		}
		line([]string{"Source"}, []metric{{"Read", "Count"}, {"Missing", "Count"}, {"Started", "Count"}, {"MissedFailed", "Count"}},
			"Source", s, "Read", c.Read, "Missing", c.Missing, "Started", c.Started, "MissedFailed", c.Failed,
			"Idle", c.Idle, "Foreign", c.Foreign, "Young", c.Young, "Known", c.Known, "Standing", c.Standing, "Renewed", c.Renewed, "Off", c.Off)
	}
	line([]string{}, []metric{{"Missing", "Count"}, {"Unread", "Count"}}, "Missing", all.Missing, "Unread", all.Unread+all.Failed, "Resolved", p.report.Resolved)
}

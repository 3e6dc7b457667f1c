package playbook

import (
	"encoding/json"

	"firebreak/lib/finding"
	"firebreak/lib/incident"
)

// Line is what would happen to one finding, as `firebreak plan --json` prints it, one a line. Unknown is null; lists never are.
type Line struct {
	Record      int         `json:"record"`  // 0-based, over the whole input
	Finding     int         `json:"finding"` // 0-based, in its record
	IncidentID  text        `json:"incidentId"`
	Product     text        `json:"product"`
	FindingID   text        `json:"findingId"`
	Type        text        `json:"type"`
	Title       text        `json:"title"`
	Account     text        `json:"account"`
	Region      text        `json:"region"`
	Severity    text        `json:"severity"` // the band as found
	Score       *float64    `json:"score"`
	Resources   []Named     `json:"resources"`
	Disposition Disposition `json:"disposition"`
	Reason      string      `json:"reason"`
	Playbook    text        `json:"playbook"`
	Rule        text        `json:"rule"`
	Contain     []Doing     `json:"contain"`
	Eradicate   []Doing     `json:"eradicate"`
}

// Named is a resource that a finding names.
type Named struct {
	Type    text `json:"type"`
	ID      text `json:"id"`
	ARN     text `json:"arn"`
	Account text `json:"account"`
	Region  text `json:"region"`
	Role    text `json:"role"`
}

// Doing is a step of a plan.
type Doing struct {
	Action string `json:"action"`
	Target string `json:"target"`
}

// text is null where it is empty.
type text string

func (t text) MarshalJSON() ([]byte, error) {
	if t == "" {
		return []byte("null"), nil
	}
	return json.Marshal(string(t))
}

func (t *text) UnmarshalJSON(data []byte) error { return json.Unmarshal(data, (*string)(t)) }

// Lines says what would happen to each finding of one record (an event, as JSON), without an installation: which accounts
// are looked after is not asked. A record without a finding gives one line with the reason; there is no error.
func (b *Book) Lines(record int, raw []byte, limit int) []Line {
	findings, err := finding.Decode(raw)
	if err != nil {
		l := Line{Record: record, Disposition: Ignore, Reason: err.Error(), Resources: []Named{}, Contain: []Doing{}, Eradicate: []Doing{}}
		if r := finding.Refused(err); r != nil && r.Tell {
			l.Disposition = Notify
		}
		return []Line{l}
	}
	out := make([]Line, 0, len(findings))
	for i, f := range findings {
		d := b.Decide(f, limit)
		l := Line{
			Record: record, Finding: i, IncidentID: text(f.IncidentID()), Product: text(f.Product), FindingID: text(f.NativeID),
			Type: text(f.Type), Title: text(f.Title), Account: text(f.Account), Region: text(f.Region), Severity: text(f.Band),
			Score: &f.Score, Resources: []Named{}, Disposition: d.Disposition, Reason: d.Reason, Playbook: text(b.File),
			Rule: text(d.Rule), Contain: doings(d.Plan.Contain), Eradicate: doings(d.Plan.Eradicate),
		}
		for _, r := range f.Resources {
			l.Resources = append(l.Resources, Named{text(r.Type), text(r.ID), text(r.ARN), text(r.Account), text(r.Region), text(r.Part)})
		}
		out = append(out, l)
	}
	return out
}

func doings(steps []incident.Step) []Doing {
	out := make([]Doing, len(steps))
	for i, s := range steps {
		out[i] = Doing{s.Action, s.Target}
	}
	return out
}

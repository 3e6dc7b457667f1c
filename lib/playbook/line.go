package playbook

import (
	"encoding/json"
	"io"

	"firebreak/lib/finding"
	"firebreak/lib/incident"
)

// Line is what would happen to one finding, as `firebreak plan --json` prints it, one a line. Unknown is null; lists never are.
type Line struct {
	Record     int  `json:"record"`  // 0-based, over the whole input
	Finding    int  `json:"finding"` // 0-based, in its record
	IncidentID text `json:"incidentId"`
	Product    text `json:"product"`
	FindingID  text `json:"findingId"`
	Type       text `json:"type"`
	Title      text `json:"title"`
	Account    text `json:"account"`
	Region     text `json:"region"`
	// Severity is the band as found, or what the playbook takes it for where the source grades nothing. Score is the number that
	// the source gives: GuardDuty's from 0 to 10, otherwise Security Hub's from 0 to 100.
	Severity    text        `json:"severity"`
	Score       *float64    `json:"score"`
	Resources   []Named     `json:"resources"`
	Disposition Disposition `json:"disposition"`
	Reason      string      `json:"reason"`
	Playbook    text        `json:"playbook"`
	Rule        text        `json:"rule"`
	Contain     []Doing     `json:"contain"`
	Eradicate   []Doing     `json:"eradicate"`
	// Approvers is how many people have to approve what is eradicated, where that is more than two.
	Approvers int `json:"approvers,omitempty"`
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

// Doing is a step of a plan. Target is empty, and null in JSON, where people are told of something in no known account.
type Doing struct {
	Action string `json:"action"`
	Target string `json:"target"`
}

// MarshalJSON writes an unknown target as null.
func (d Doing) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Action string `json:"action"`
		Target text   `json:"target"`
	}{d.Action, text(d.Target)})
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

// Stream reads records of any size and number from r (JSON, JSON Lines, arrays, one value after another) and gives a line for
// each finding in them, in order. from is the number of the first record, the result that of the next. Errors: where the input is
// no JSON, by file, line and column, after the lines of all that is; give's own.
func (b *Book) Stream(file string, r io.Reader, from, limit int, give func(Line) error) (next int, err error) {
	next = from
	err = finding.Records(file, r, func(raw []byte) error {
		for _, l := range b.Lines(next, raw, limit) {
			if err := give(l); err != nil {
				return err
			}
		}
		next++
		return nil
	})
	return next, err
}

// Lines says what would happen to each finding of one record (an event, as JSON), without an installation: which accounts
// are looked after is not asked. A record without a finding gives one line with the reason; there is no error.
func (b *Book) Lines(record int, raw []byte, limit int) []Line {
	findings, err := finding.Decode(raw)
	if r := finding.Refused(err); r != nil {
		return []Line{b.refused(record, 0, r)}
	}
	if err != nil {
		return []Line{{Record: record, Disposition: Ignore, Reason: err.Error(), Resources: []Named{}, Contain: []Doing{}, Eradicate: []Doing{}}}
	}
	out := make([]Line, 0, len(findings))
	for i, f := range findings {
		if f.Refusal != nil {
			out = append(out, b.refused(record, i, f.Refusal))
			continue
		}
		d := b.Decide(f, limit)
		l := Line{
			Record: record, Finding: i, IncidentID: text(f.IncidentID()), Disposition: d.Disposition, Reason: d.Reason, Playbook: text(b.File),
			Rule: text(d.Rule), Contain: doings(d.Plan.Contain), Eradicate: doings(d.Plan.Eradicate), Approvers: d.Plan.Approvers,
		}
		if l.says(f); f.Assumed {
			l.Severity = text(d.Band)
		}
		out = append(out, l)
	}
	return out
}

// says fills in what the finding says of itself.
func (l *Line) says(f finding.Finding) {
	l.Product, l.FindingID, l.Type, l.Title = text(f.Product), text(f.NativeID), text(f.Type), text(f.Title)
	l.Account, l.Region, l.Severity, l.Resources = text(f.Account), text(f.Region), text(f.Band), []Named{}
	if f.Scored {
		l.Score = &f.Score
	}
	for _, r := range f.Resources {
		l.Resources = append(l.Resources, Named{text(r.Type), text(r.ID), text(r.ARN), text(r.Account), text(r.Region), text(r.Part)})
	}
}

// refused is the line of what is no finding. What claims to be one goes to people.
func (b *Book) refused(record, i int, r *finding.Refusal) Line {
	l := Line{Record: record, Finding: i, Disposition: Ignore, Reason: r.Reason, Resources: []Named{}, Contain: []Doing{}, Eradicate: []Doing{}}
	if r.Read != nil {
		l.Disposition = Record
		l.says(*r.Read)
	}
	if r.Tell {
		f := r.Finding()
		l.IncidentID, l.Disposition, l.Contain = text(f.IncidentID()), Notify, doings(Tell(f, r.Reason).Plan.Contain)
	}
	return l
}

func doings(steps []incident.Step) []Doing {
	out := make([]Doing, len(steps))
	for i, s := range steps {
		out[i] = Doing{s.Action, s.Target}
	}
	return out
}

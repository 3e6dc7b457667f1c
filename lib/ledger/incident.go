package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"firebreak/lib/incident"
)

// Incident is the META record.
type Incident struct {
	ID      string          `json:"id"`
	Status  incident.Status `json:"status"`
	Episode int             `json:"episode"`
	Band    incident.Band   `json:"band"`
	// Owner is the ARN of the execution that works on this episode.
	Owner string `json:"owner"`
	// OwnerStart is when that execution started; an owner without an end is looked for by the sweep.
	OwnerStart time.Time `json:"ownerStart"`
	FirstSeen  time.Time `json:"firstSeen"`
	LastSeen   time.Time `json:"lastSeen"`
	// Seen is LastSeen as it was when this episode began; it does not move with later copies.
	Seen     time.Time `json:"seen"`
	ClosedAt time.Time `json:"closedAt,omitzero"`
	Finding  Finding   `json:"finding"`
	// Rule is the playbook rule that decided, as file:line.
	Rule string        `json:"rule"`
	Plan incident.Plan `json:"plan"`
	// Told is who hears of the incident, and when somebody else does.
	Told Told `json:"told,omitzero"`
	// Outcomes has the latest result of each step, by Step.Key, over all executions of this episode.
	Outcomes map[string]incident.Result `json:"outcomes"`
	// Ending of the latest execution that closed, and what a person has to do where it is NeedsPerson.
	Ending incident.Ending `json:"ending,omitempty"`
	Needs  string          `json:"needs,omitempty"`
	// Runs counts the resumed executions of this incident.
	Runs int `json:"runs"`
}

// Told is who hears of an incident besides the security team.
type Told struct {
	// Audience is the playbook's word: security, owner, data-owner, bucket-owner, account-owner.
	Audience string `json:"audience"`
	// Name is an address, a team or a person, Said where it comes from. Both come from tags and settings: untrusted text.
	Name string `json:"name"`
	Said string `json:"said"`
	// Missing says that nobody is named as that audience; the security team stands in.
	Missing string `json:"missing,omitempty"`
	// EscalateMinutes is after how long without a decision somebody else is told; 0 for at once.
	EscalateMinutes int `json:"escalateMinutes"`
}

// Finding is what the ledger keeps of a finding: enough to show it and to read it again at its source.
type Finding struct {
	Product   string   `json:"product"`  // aws/guardduty
	NativeID  string   `json:"nativeId"` // the id within the product
	Source    string   `json:"source"`   // where to read it again, for GuardDuty the detector id
	Type      string   `json:"type"`
	Title     string   `json:"title"`
	Account   string   `json:"account"`
	Region    string   `json:"region"`
	Score     float64  `json:"score"`
	Resources []string `json:"resources"` // ARNs
	People    []string `json:"people"`    // ARNs of principals that the finding names: they do not approve
}

// Ref gives what the states carry.
func (i Incident) Ref() incident.Ref {
	return incident.Ref{ID: i.ID, Episode: i.Episode, Severity: i.Band, Account: i.Finding.Account, Region: i.Finding.Region, Type: i.Finding.Type, Seen: i.Seen}
}

// IncidentKey is the key of an incident's META.
func IncidentKey(id string) Key { return Key{"INC#" + id, "META"} }

// IncidentGroup is the index group in which incidents of that band stay while they are open or contained.
func IncidentGroup(b incident.Band) string { return "INCIDENT#" + string(b) }

// Place puts the incident into the index "open" or takes it out, by its status. To be called before each save.
func Place(it *Item[Incident]) {
	switch it.Value.Status {
	case incident.Open, incident.Contained:
		it.Group, it.Sort = Group(IncidentGroup(it.Value.Band), it.Value.ID), Stamp(it.Value.FirstSeen)
	default:
		it.Group, it.Sort = "", ""
	}
}

// Event is one entry of an incident's timeline.
type Event struct {
	Time time.Time `json:"time"`
	// State is the machine's state, or the function where no state was involved.
	State   string `json:"state"`
	Attempt int    `json:"attempt"`
	// Who did it: an execution ARN, an approver, an operator.
	Who string `json:"who"`
	// What happened, in words, without secrets.
	What   string           `json:"what"`
	Result *incident.Result `json:"result,omitempty"`
	// Before and After are the owned fields of the resource, where something was changed.
	Before map[string]string `json:"before,omitempty"`
	After  map[string]string `json:"after,omitempty"`
	// Why is the playbook rule by file and line, or the person's reason.
	Why string `json:"why,omitempty"`
}

// Entry is an event as an item of the timeline, to be written together with something else.
func Entry(id string, e Event) Item[Event] {
	return Item[Event]{Key: Key{"INC#" + id, fmt.Sprintf("EVENT#%s#%s#%d", Stamp(e.Time), e.State, e.Attempt)}, Value: e}
}

// Append adds an event to the incident's timeline. Two events of one state and attempt in the same microsecond are told
// apart by a counter.
func Append(ctx context.Context, s Store, id string, e Event) error {
	first := Entry(id, e)
	for n := 0; ; n++ {
		it := first
		if n > 0 {
			it.SK += fmt.Sprintf("#%d", n)
		}
		err := Save(ctx, s, &it)
		if err == nil || !errors.Is(err, ErrConflict) || n == 100 {
			return err
		}
	}
}

// Timeline reads an incident's events in the order of time.
func Timeline(ctx context.Context, s Store, id string) ([]Event, error) {
	items, err := List[Event](ctx, s, "INC#"+id, "EVENT#")
	if err != nil {
		return nil, err
	}
	out := make([]Event, len(items))
	for i, it := range items {
		out[i] = it.Value
	}
	return out, nil
}

// RunNumber gives the number of the resumed execution that cause stands for: the same cause always gets the same number, so
// that redriving a message twice starts one execution.
func RunNumber(ctx context.Context, s Store, id, cause string) (int, error) {
	type run struct {
		Number int    `json:"number"`
		Cause  string `json:"cause"`
	}
	for {
		it, err := Load[run](ctx, s, Key{"INC#" + id, "RUN#" + cause})
		if err != nil || it.Exists() {
			return it.Value.Number, err
		}
		meta, err := Load[Incident](ctx, s, IncidentKey(id))
		if err != nil {
			return 0, err
		}
		if !meta.Exists() {
			return 0, fmt.Errorf("there is no incident %s", id)
		}
		meta.Value.Runs++
		it.Value = run{meta.Value.Runs, cause}
		if err = Save(ctx, s, &meta, &it); err == nil {
			return it.Value.Number, nil
		}
		if !errors.Is(err, ErrConflict) {
			return 0, err
		}
	}
}

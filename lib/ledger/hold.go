package ledger

import "time"

// Phase of a hold.
type Phase string

const (
	Applying Phase = "applying" // Before and Intent are stored, the change may be half done
	Held     Phase = "held"     // contained, After is stored
	Undoing  Phase = "undoing"  // being restored
	Released Phase = "released" // restored; Until keeps the guard asking before it is contained again
)

// Hold is what Firebreak keeps of its change to a resource. It belongs to the resource, not to an incident.
type Hold struct {
	Resource string `json:"resource"` // ARN
	Action   string `json:"action"`
	Account  string `json:"account"`
	Region   string `json:"region"`
	Phase    Phase  `json:"phase"`
	// Part is a step inside Applying that must not last, recorded before it starts (for instance "untracked": all traffic
	// is let through for a moment so that tracked connections die). Empty otherwise.
	Part string `json:"part,omitempty"`
	// Before is the owned state as first observed, Intent what it should become, After what it became. Field to value.
	Before map[string]string `json:"before"`
	Intent map[string]string `json:"intent"`
	After  map[string]string `json:"after"`
	// Tried are the values that broken runs intended before Intent: any of them may stand there, and is ours.
	Tried map[string][]string `json:"tried,omitempty"`
	// Foreign are the fields that somebody else changed while we did not look: restoring them takes a person's force.
	Foreign []string `json:"foreign,omitempty"`
	// Holders are the incidents that want the containment, with the parameters each asked for.
	Holders map[string]map[string]string `json:"holders"`
	// Wary are reasons why a restoration takes a person's force, of incidents that held it and have left: the last one to leave must not
	// bring back what another one had closed for good.
	Wary []string `json:"wary,omitempty"`
	// Lease: until then, the execution Lessee alone may work on the resource.
	Lessee string    `json:"lessee,omitempty"`
	Lease  time.Time `json:"lease,omitzero"`
	// Until, once released: the guard asks a person instead of containing it again before this time.
	Until time.Time `json:"until,omitzero"`
}

// HoldKey is the key of a hold.
func HoldKey(resource, action string) Key { return Key{"RES#" + resource, "HOLD#" + action} }

// HoldGroup is the index group of the holds that are in the middle of something.
const HoldGroup = "HOLD"

// PlaceHold puts a hold in the middle of something into the index "open", and takes it out otherwise.
func PlaceHold(it *Item[Hold]) {
	if it.Value.Phase == Applying || it.Value.Phase == Undoing {
		it.Group, it.Sort = Group(HoldGroup, it.Value.Resource), Stamp(it.Value.Lease)
		return
	}
	it.Group, it.Sort = "", ""
}

// Package approval keeps what people are asked and what they decide. A request lives in the ledger with the task token that
// waits for it; the token is nowhere else. A decision is recorded first and delivered afterwards, by whoever gets to it.
package approval

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
)

// Kind of a request.
type Kind string

const (
	KindEradicate Kind = "eradicate" // destroy something; an execution waits for it
	KindOverride  Kind = "override"  // contain what the guard refused; approving starts an execution
)

// need is how many different people have to approve. It is no setting: nothing lowers it.
func (k Kind) need() int {
	if k == KindOverride {
		return 1
	}
	return 2
}

// Status of a request.
type Status string

const (
	StatusOpen       Status = "open"
	StatusApproved   Status = "approved"
	StatusRejected   Status = "rejected"
	StatusExpired    Status = "expired"
	StatusSuperseded Status = "superseded"
	StatusCancelled  Status = "cancelled"
)

// Complete is the Evidence of a request that nothing is missing for.
const Complete = "complete"

// Step is one step that people decide about.
type Step struct {
	incident.Step
	// Identity is what makes the target this very thing (launch time, volumes and their snapshots).
	Identity map[string]string `json:"identity,omitempty"`
	// Destroys says in words what approval destroys.
	Destroys []string `json:"destroys,omitempty"`
	// Changed says, a line a field, what is different from what was asked before in the episode.
	Changed []string `json:"changed,omitempty"`
	// Refusal is why the guard refused, Rule the rule that approval sets aside (budget, protected, shared, released).
	Refusal string `json:"refusal,omitempty"`
	Rule    string `json:"rule,omitempty"`
}

// Name is the target's id as a person types it: the last part of the ARN's resource.
func (s Step) Name() string {
	return s.Target[strings.LastIndexAny(s.Target, ":/")+1:]
}

// Decision is what one person decided.
type Decision struct {
	Approver string `json:"approver"`
	Approve  bool   `json:"approve"`
	// Keep has the keys of the steps that an approving person leaves out.
	Keep   []string `json:"keep,omitempty"`
	Reason string   `json:"reason"`
	// Via is how the person proved who they are: link, oidc, slack, cli.
	Via string    `json:"via"`
	At  time.Time `json:"at"`
}

// Approval is the record INC#<id> / APPROVAL#<n>.
type Approval struct {
	Incident string `json:"incident"`
	Number   int    `json:"number"`
	Episode  int    `json:"episode"`
	Kind     Kind   `json:"kind"`
	// Round of an eradication: 2 when a step found something different from what was approved. Overrides count through.
	Round int    `json:"round"`
	Steps []Step `json:"steps"`
	// Hash is over everything that people approve, and nothing that progresses: see Hash.
	Hash      string     `json:"hash"`
	Need      int        `json:"need"`
	Status    Status     `json:"status"`
	Decisions []Decision `json:"decisions"`
	// Token is the task token of the waiting execution. It is written here and nowhere else.
	Token     string `json:"token,omitempty"`
	Execution string `json:"execution"`
	// Evidence is complete, or says what is missing.
	Evidence string    `json:"evidence"`
	Asked    time.Time `json:"asked"`
	Expires  time.Time `json:"expires"`
	Ended    time.Time `json:"ended,omitzero"`
	// EndedBy is who cancelled it.
	EndedBy   string    `json:"endedBy,omitempty"`
	Delivered time.Time `json:"delivered,omitzero"`
	// Nonces are fingerprints of the form nonces that were used up.
	Nonces []string `json:"nonces,omitempty"`
}

// By lists who approved.
func (a Approval) By() []string {
	by := []string{}
	for _, d := range a.Decisions {
		if d.Approve && !slices.Contains(by, d.Approver) {
			by = append(by, d.Approver)
		}
	}
	return by
}

// Verdict is what the waiting execution is told: the decision, and who it was that decided so.
func (a Approval) Verdict() incident.Verdict {
	v := incident.Verdict{Decision: string(a.Status), Approval: a.Number, By: []string{}}
	switch a.Status {
	case StatusApproved:
		v.By = a.By()
	case StatusRejected:
		for _, d := range a.Decisions {
			if !d.Approve || len(d.Keep) > 0 {
				v.By = append(v.By, d.Approver)
			}
		}
	case StatusCancelled:
		v.By = append(v.By, a.EndedBy)
	}
	return v
}

// Kept tells whether somebody decided to keep the step of that key, and gives that decision: one is enough.
func (a Approval) Kept(key string) (Decision, bool) {
	for _, d := range a.Decisions {
		if slices.Contains(d.Keep, key) {
			return d, true
		}
	}
	return Decision{}, false
}

// Decided gives the decision of one approver.
func (a Approval) Decided(approver string) (Decision, bool) {
	for _, d := range a.Decisions {
		if d.Approver == approver {
			return d, true
		}
	}
	return Decision{}, false
}

// String keeps the token out of logs and messages that print the record by mistake.
func (a Approval) String() string {
	return fmt.Sprintf("approval %d of %s (%s, %s)", a.Number, a.Incident, a.Kind, a.Status)
}

// GoString is String, for %#v.
func (a Approval) GoString() string { return a.String() }

// LogValue is String, for slog.
func (a Approval) LogValue() slog.Value { return slog.StringValue(a.String()) }

// Hash gives sha256 over kind, incident, episode and, for each step in the order of their keys, action, target, parameters,
// identity and the rule that is set aside. What changes while people decide (evidence, decisions, times) is not in it.
func Hash(kind Kind, id string, episode int, steps []Step) string {
	type step struct {
		Action, Target, Rule string
		With, Identity       map[string]string
	}
	bound := struct {
		Kind     Kind
		Incident string
		Episode  int
		Steps    []step
	}{kind, id, episode, make([]step, len(steps))}
	sorted := slices.SortedFunc(slices.Values(steps), func(a, b Step) int { return strings.Compare(a.Key(), b.Key()) })
	for i, s := range sorted {
		bound.Steps[i] = step{s.Action, s.Target, s.Rule, clone(s.With), clone(s.Identity)}
	}
	data, _ := json.Marshal(bound) // strings and maps of strings, keys sorted by encoding/json: cannot fail, always the same
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// clone makes no difference between an empty and an absent map.
func clone(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return maps.Clone(m)
}

// Group is the index group in which requests stay while they are open, or decided and not delivered.
const Group = "APPROVAL"

// Key is the key of an approval.
func Key(id string, number int) ledger.Key {
	return ledger.Key{PK: "INC#" + id, SK: fmt.Sprintf("APPROVAL#%04d", number)}
}

// Load reads one approval. Version is 0 where there is none. Errors: Unreadable.
func Load(ctx context.Context, s ledger.Store, id string, number int) (ledger.Item[Approval], error) {
	return ledger.Load[Approval](ctx, s, Key(id, number))
}

// List reads the approvals of an incident, oldest first. Errors: Unreadable.
func List(ctx context.Context, s ledger.Store, id string) ([]ledger.Item[Approval], error) {
	return ledger.List[Approval](ctx, s, "INC#"+id, "APPROVAL#")
}

// Pending reads the approvals that are open, or decided and not delivered, over all incidents. Errors: Unreadable.
func Pending(ctx context.Context, s ledger.Store) ([]ledger.Item[Approval], error) {
	return ledger.Open[Approval](ctx, s, Group)
}

// place keeps the record in the index for as long as it needs work.
func place(it *ledger.Item[Approval]) {
	it.Group, it.Sort = "", ""
	if it.Value.Delivered.IsZero() {
		it.Group, it.Sort = ledger.Group(Group, it.Value.Incident), ledger.Stamp(it.Value.Expires)
	}
}

// Verify tells whether people approved destroying exactly this: the approval is approved by as many different people as it
// takes, all of whom may decide it even now, is an eradication, and has the step with equal identity. Where not, difference
// says why, a line a field. Errors: Unreadable.
func Verify(ctx context.Context, s ledger.Store, in setting.Installed, id string, number int, step incident.Step, identity map[string]string) (ok bool, difference []string, err error) {
	if number < 1 {
		return false, []string{"no approval was given"}, nil
	}
	it, err := Load(ctx, s, id, number)
	if err != nil {
		return false, nil, err
	}
	meta, err := ledger.Load[ledger.Incident](ctx, s, ledger.IncidentKey(id))
	if err != nil {
		return false, nil, err
	}
	a := it.Value
	switch {
	case !it.Exists() || !meta.Exists():
		return false, []string{fmt.Sprintf("there is no approval %d", number)}, nil
	case a.Status != StatusApproved:
		return false, []string{fmt.Sprintf("approval %d is %s, not approved", number, a.Status)}, nil
	case a.Kind != KindEradicate:
		return false, []string{fmt.Sprintf("approval %d is an %s: it lets nothing be destroyed", number, a.Kind)}, nil
	case a.Incident != id || a.Hash != Hash(a.Kind, id, a.Episode, a.Steps):
		return false, []string{fmt.Sprintf("approval %d is not what people were shown", number)}, nil
	case a.Episode != meta.Value.Episode:
		return false, []string{fmt.Sprintf("approval %d is of episode %d, and episode %d has begun", number, a.Episode, meta.Value.Episode)}, nil
	}
	hands, err := Hands(ctx, s, in, meta.Value)
	if err != nil {
		return false, nil, err
	}
	if by := (counting{in, meta.Value, hands, a.Kind}).by(a); len(by) < max(a.Need, KindEradicate.need()) {
		return false, []string{fmt.Sprintf("approval %d has %d approvers who count, %d are needed", number, len(by), max(a.Need, KindEradicate.need()))}, nil
	}
	if d, kept := a.Kept(step.Key()); kept {
		return false, []string{d.Approver + " decided to keep it"}, nil
	}
	for _, have := range a.Steps {
		if have.Key() == step.Key() {
			difference = differences("approved", have.Identity, identity)
			return len(difference) == 0, difference, nil
		}
	}
	return false, []string{fmt.Sprintf("approval %d does not have the step %s", number, step.Key())}, nil
}

// Identity gives what people were shown of a step besides action and target; nil where there is no such approval. It says nothing of
// whether they approved. Errors: Unreadable.
func Identity(ctx context.Context, s ledger.Store, id string, number int, step incident.Step) (map[string]string, error) {
	if number < 1 {
		return nil, nil
	}
	it, err := Load(ctx, s, id, number)
	if err != nil {
		return nil, err
	}
	for _, have := range it.Value.Steps {
		if have.Key() == step.Key() {
			return have.Identity, nil
		}
	}
	return nil, nil
}

// Keeper tells who decided to keep a step of an approval, with the reason; "" where nobody did. Errors: Unreadable.
func Keeper(ctx context.Context, s ledger.Store, id string, number int, step incident.Step) (who, why string, err error) {
	if number < 1 {
		return "", "", nil
	}
	it, err := Load(ctx, s, id, number)
	if err != nil {
		return "", "", err
	}
	d, _ := it.Value.Kept(step.Key())
	return d.Approver, d.Reason, nil
}

func differences(word string, approved, now map[string]string) []string {
	fields := map[string]bool{}
	for _, m := range []map[string]string{approved, now} {
		for f := range m {
			fields[f] = true
		}
	}
	var out []string
	for _, f := range slices.Sorted(maps.Keys(fields)) {
		was, had := approved[f]
		is, has := now[f]
		if was != is || had != has {
			out = append(out, fmt.Sprintf("%s: %s %s, now %s", f, word, shown(was, had), shown(is, has)))
		}
	}
	return out
}

func shown(v string, there bool) string {
	switch {
	case !there:
		return "absent"
	case v == "":
		return "present"
	}
	return v
}

// Override gives the guard's rules that people have set aside for this step; none where the number is not an approved
// override of it. Errors: Unreadable.
func Override(ctx context.Context, s ledger.Store, id string, number int, step incident.Step) ([]string, error) {
	if number < 1 {
		return nil, nil
	}
	it, err := Load(ctx, s, id, number)
	if err != nil {
		return nil, err
	}
	a := it.Value
	if !it.Exists() || a.Status != StatusApproved || a.Kind != KindOverride || a.Incident != id || a.Hash != Hash(a.Kind, id, a.Episode, a.Steps) {
		return nil, nil
	}
	if _, kept := a.Kept(step.Key()); kept {
		return nil, nil
	}
	var rules []string
	for _, have := range a.Steps {
		if have.Key() == step.Key() && have.Rule != "" && !slices.Contains(rules, have.Rule) {
			rules = append(rules, have.Rule)
		}
	}
	return rules, nil
}

// Evidence records what is missing for an approval, or Complete. It never changes a decision. Errors: Unreadable.
func Evidence(ctx context.Context, s ledger.Store, id string, number int, evidence string) error {
	_, _, err := update(ctx, s, id, number, func(a *Approval) (bool, *ledger.Event) {
		same := a.Evidence == evidence
		a.Evidence = evidence
		return !same, nil
	})
	return err
}

// update changes an existing approval by a conditional write; change may be called several times and tells whether there is
// anything to write, and what goes into the timeline by the same write, if anything. It gives the record as it is afterwards, and
// whether it was written.
func update(ctx context.Context, s ledger.Store, id string, number int, change func(*Approval) (bool, *ledger.Event)) (Approval, bool, error) {
	for {
		it, err := Load(ctx, s, id, number)
		if err != nil {
			return Approval{}, false, err
		}
		if !it.Exists() {
			return Approval{}, false, fault.New(fault.BadInput, "there is no approval %d of %s", number, id)
		}
		write, event := change(&it.Value)
		if !write {
			return it.Value, false, nil
		}
		if err := save(ctx, s, &it, event); !errors.Is(err, ledger.ErrConflict) {
			return it.Value, err == nil, err
		}
		if ctx.Err() != nil {
			return Approval{}, false, ctx.Err()
		}
	}
}

// save writes an approval and what its timeline says of that, both or neither. Errors: ErrConflict.
func save(ctx context.Context, s ledger.Store, it *ledger.Item[Approval], event *ledger.Event) error {
	place(it)
	if event == nil {
		return ledger.Save(ctx, s, it)
	}
	entry := ledger.Entry(it.Value.Incident, *event)
	entry.SK += fmt.Sprintf("#%04d#%d", it.Value.Number, it.Version) // two in one microsecond are two
	return ledger.Save(ctx, s, it, &entry)
}

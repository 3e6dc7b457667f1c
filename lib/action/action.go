// Package action is the spine that every containing and every eradicating action runs on: guard, hold, apply, read back,
// undo, record. An action says only what is its own.
package action

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"firebreak/lib/account"
	"firebreak/lib/incident"
)

// State is the part of a resource that an action owns, field to value. Values are canonical text (sorted, comma-joined lists;
// "true", "false"; "" for absent), so that equal text means equal state. No two actions own the same field of a resource.
type State map[string]string

// ErrGone says that the target does not exist. Observe returns it, wrapped or not.
var ErrGone = errors.New("the resource does not exist")

// Call is one call of an action for one target.
type Call struct {
	Incident incident.Ref
	Target   incident.Target
	// With are the step's parameters.
	With map[string]string
	// Since is when this execution started: what is older does not contain.
	Since time.Time
	// Part records in the ledger that a part of the change begins which must not last ("" that it is over). Apply calls it
	// before the part starts; the sweep finishes what a crash leaves in it.
	Part func(ctx context.Context, part string) error
	// Instead records that something else is done than was intended. Apply calls it before it does so: what a crash leaves is
	// then known as ours.
	Instead func(ctx context.Context, intent State) error
}

// Scope is where the call's sessions are taken.
func (c Call) Scope() account.Scope {
	return account.Scope{Partition: c.Target.Partition, Account: c.Target.Account, Region: c.Target.Region, Incident: c.Incident.ID}
}

// Containment is a containing action. None of its methods logs, records or checks the guard: the spine does.
type Containment interface {
	// Observe reads the owned state. Errors: ErrGone.
	Observe(ctx context.Context, c Call) (State, error)
	// Intent says what now should become, for this call's parameters. Fields that stay as they are may be left out.
	// It is pure: mode plan calls it too.
	Intent(c Call, now State) (State, error)
	// Apply changes the resource from now to intent. It may be called again at any point of an earlier, broken Apply.
	Apply(ctx context.Context, c Call, now, intent State) error
	// Contained tells whether s is contained for this call's parameters.
	Contained(c Call, s State) bool
	// Restore changes the resource from now back to before.
	Restore(ctx context.Context, c Call, now, before State) error
}

// Preparer is a Containment that needs something made before it can say its intent (for instance a security group without
// rules). Prepare makes it and gives the intent, which then stands in place of Intent's; it is idempotent and changes nothing
// of the target. It is not called in mode plan, where Intent names what would be made.
type Preparer interface {
	Prepare(ctx context.Context, c Call, now State) (State, error)
}

// Foreigner is an action that people are told of where its target is another account's, in which Firebreak does nothing. Foreign says
// what somebody there has to do; an empty answer means that no finding can name such a target.
type Foreigner interface {
	Foreign(t incident.Target) string
}

// Irreversible is a Containment without an undo; NoUndo is the reason, told to whoever asks for one.
type Irreversible interface{ NoUndo() string }

// Forcible is a Containment whose undo may need a person's force even when nothing has drifted; an empty answer means no.
type Forcible interface{ NeedsForce(c Call) string }

// Sharer is a Containment whose target may be used by several resources. Shared counts them; above the limit people are asked.
type Sharer interface {
	Shared(ctx context.Context, c Call) (int, error)
}

// Tagger is an action whose target has tags. The tag firebreak:protected=true asks people instead of acting, and the result
// says so, because an attacker can set a tag too.
type Tagger interface {
	Tags(ctx context.Context, c Call) (map[string]string, error)
}

// Named is an action whose target's ARN in a plan may be shorter than what people know it by: IAM users and roles stand in plans without
// their path. FullARN gives the ARN that the protected list may name. Errors: ErrGone.
type Named interface {
	FullARN(ctx context.Context, c Call) (string, error)
}

// Asker is a Tagger whose target's tags may say something that a person has to decide; an empty answer means no.
type Asker interface {
	Asks(c Call, tags map[string]string) string
}

// Follower is a Containment after which something else is to be done that is no part of it, for instance giving the owner a new
// credential in the place of a dead one. Follow is called once the resource has been read back as contained, by every retry again, and
// says in words what it did. What it cannot do it says too: that does not make the containment fail.
type Follower interface {
	Follow(ctx context.Context, c Call) []string
}

// Noter is an action that has something to say of what it cannot cut or keep; the notes go into the result's changes.
type Noter interface {
	Notes(c Call, s State) []string
}

// Destruction is an eradicating action: it runs only on approval of exactly what it observed.
type Destruction interface {
	// Identity reads what people approve besides action and target: launch time, volumes and their snapshots. Errors: ErrGone.
	Identity(ctx context.Context, c Call) (State, error)
	// Destroys says in words what approval would destroy, for the approval page.
	Destroys(c Call, identity State) []string
	// Evidence tells whether what must be kept is complete. When it is not, missing says what is still to come; an error means
	// that it never will be.
	Evidence(ctx context.Context, c Call, identity State) (missing string, err error)
	// Destroy destroys the target. It may be called again at any point of an earlier, broken Destroy.
	Destroy(ctx context.Context, c Call, identity State) error
	// Destroyed tells whether the target is gone or on its irrevocable way. ErrGone counts too.
	Destroyed(ctx context.Context, c Call) (bool, error)
}

// Divisible is a Destruction of several parts, of which a broken run may have destroyed some. Whole gives the identity now, completed by
// what was approved of the parts that do not exist any more, and says in words which these are: what is left is then compared, and
// destroyed, as it was approved.
type Divisible interface {
	Whole(approved, now State) (whole State, gone []string)
}

// diff says in words what differs between two states, a line a field, in the order of the fields.
func diff(before, after State) []string {
	var out []string
	for _, f := range fields(before, after) {
		if b, a := before[f], after[f]; b != a {
			out = append(out, fmt.Sprintf("%s: %s -> %s", f, show(b), show(a)))
		}
	}
	return out
}

func show(v string) string {
	if v == "" {
		return "none"
	}
	return v
}

func fields(states ...State) []string {
	seen := map[string]bool{}
	for _, s := range states {
		for f := range s {
			seen[f] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// over lays the fields of top over base.
func over(base, top State) State {
	out := maps.Clone(base)
	if out == nil {
		out = State{}
	}
	maps.Copy(out, top)
	return out
}

// maxChanges caps the lines of a result, because results travel in the machine's state (256 KiB in all).
const maxChanges = 20

func capped(lines []string) []string {
	if len(lines) > maxChanges {
		more := len(lines) - maxChanges + 1
		lines = append(slices.Clone(lines[:maxChanges-1]), fmt.Sprintf("and %d more, see the timeline", more))
	}
	if lines == nil {
		return []string{}
	}
	return lines
}

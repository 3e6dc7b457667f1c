// Package incident holds the words that cross a process: what the state machines carry, what functions take and give.
// State data holds ids and references; whole findings stay in the ledger and in S3.
package incident

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

// Status of an incident. Only a person, a release, or the source resolving the finding closes one; contained is not closed.
type Status string

const (
	Recorded  Status = "recorded"  // taken down, nothing was to be contained
	Open      Status = "open"      // being worked on, or in need of a person
	Contained Status = "contained" // every contain step was read back as contained
	Closed    Status = "closed"
)

// Band is a severity band.
type Band string

const (
	Critical Band = "CRITICAL"
	High     Band = "HIGH"
	Medium   Band = "MEDIUM"
	Low      Band = "LOW"
	Info     Band = "INFORMATIONAL"
)

var bandRank = map[Band]int{Critical: 4, High: 3, Medium: 2, Low: 1, Info: 0}

// Above tells whether b is more severe than other.
func (b Band) Above(other Band) bool { return bandRank[b] > bandRank[other] }

// Bands lists all, most severe first.
func Bands() []Band { return []Band{Critical, High, Medium, Low, Info} }

// ID gives an incident's id: INC- and 16 characters of base32(sha256(product, account, region, native finding id)).
// Account and region are the finding's own, not the envelope's, so that all copies of a finding agree.
func ID(product, account, region, native string) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{product, account, region, native}, "\x00")))
	return "INC-" + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:])[:16]
}

// Ref is what every state carries of an incident.
type Ref struct {
	ID       string `json:"id"`
	Episode  int    `json:"episode"`
	Severity Band   `json:"severity"`
	Account  string `json:"account"`
	Region   string `json:"region"`
	Type     string `json:"type"`
	// Seen is when the source last updated the finding that opened this episode: evidence counts from then on.
	Seen time.Time `json:"seen"`
}

// Step is one thing to do to one resource. Target is an ARN; With holds the action's parameters (for instance keyId).
type Step struct {
	Action string            `json:"action"`
	Target string            `json:"target"`
	With   map[string]string `json:"with,omitempty"`
}

// Key names a step within an incident: equal keys are the same step.
func (s Step) Key() string {
	k := s.Action + " " + s.Target
	for _, name := range sortedKeys(s.With) {
		k += " " + name + "=" + s.With[name]
	}
	return k
}

// Plan is what an incident calls for. Contain is a set: all start together. Eradicate waits for approval.
type Plan struct {
	Contain   []Step `json:"contain"`
	Eradicate []Step `json:"eradicate"`
	// Approvers is how many different people have to approve Eradicate, where that is more than always.
	Approvers int `json:"approvers,omitempty"`
}

// Outcome of a step, a closed vocabulary.
type Outcome string

const (
	Applied  Outcome = "applied"  // changed, read back, stayed
	Already  Outcome = "already"  // was so before, read back
	Planned  Outcome = "planned"  // mode plan: nothing was written
	Gone     Outcome = "gone"     // the resource does not exist
	Refused  Outcome = "refused"  // the guard said no, the reason says why
	Restored Outcome = "restored" // undone, read back
	Held     Outcome = "held"     // not undone: other incidents hold the same containment
	Drifted  Outcome = "drifted"  // not undone: somebody changed the resource since
	Changed  Outcome = "changed"  // not destroyed: the resource is not what people approved
	Kept     Outcome = "kept"     // not destroyed: people approved the rest and decided to keep this
	Failed   Outcome = "failed"   // gave up; the reason is in the dead letter
)

// Contains tells whether a contain step with this outcome may count towards "contained".
func (o Outcome) Contains() bool { return o == Applied || o == Already || o == Gone }

// Releases tells whether a step of a release with this outcome counts as undone: restored, or not this incident's any more.
func (o Outcome) Releases() bool { return o == Restored || o == Already || o == Gone || o == Held }

// Result is what an action gives. Changes say in words what differs ("eni-1 groups: sg-a -> sg-b"), at most 20 lines.
type Result struct {
	Action   string   `json:"action"`
	Target   string   `json:"target"`
	Outcome  Outcome  `json:"outcome"`
	Verified bool     `json:"verified"`
	Changes  []string `json:"changes"`
	Reason   string   `json:"reason,omitempty"`
	Step     string   `json:"step,omitempty"` // Step.Key
	// Override is the rule that refused, when a person may set it aside: budget, protected, shared, released.
	Override string `json:"override,omitempty"`
	// Evidence is the state of an eradicating step's evidence (complete, pending); mode plan only.
	Evidence string `json:"evidence,omitempty"`
	// Identity is what people approve besides action and target; mode plan of eradicating steps only.
	Identity map[string]string `json:"identity,omitempty"`
}

// Mode of one call of an action.
type Mode string

const (
	Apply Mode = "apply"
	Look  Mode = "plan"
	Undo  Mode = "undo"
	// LookUndo is to Undo what Look is to Apply: it says what would be restored, and writes nothing.
	LookUndo Mode = "plan-undo"
)

// Looks tells whether the mode only looks: no call of an action in it changes or records anything.
func (m Mode) Looks() bool { return m == Look || m == LookUndo }

// Undoes tells whether the mode is about taking a change back.
func (m Mode) Undoes() bool { return m == Undo || m == LookUndo }

// Execution names the run of the machine that asks. Start is its start time.
type Execution struct {
	ARN   string    `json:"arn"`
	Start time.Time `json:"start"`
}

// State names the state of the machine that asks, and which retry this is (0 for the first).
type State struct {
	Name    string `json:"name"`
	Attempt int    `json:"attempt"`
}

// Request is what an action's function takes.
type Request struct {
	Mode      Mode      `json:"mode"`
	Incident  Ref       `json:"incident"`
	Step      Step      `json:"step"`
	Execution Execution `json:"execution"`
	State     State     `json:"state"`
	// Approval is the number of the approval behind the step: an override of the guard for a containing step, the
	// decision to destroy for an eradicating one. 0 for none.
	Approval int `json:"approval,omitempty"`
	// Force restores although the resource has changed since; undo only, by a person.
	Force bool `json:"force,omitempty"`
	// Why is who asked for the undo and why, for the record.
	Why string `json:"why,omitempty"`
}

// Target is a step's target, taken apart.
type Target struct {
	ARN       string
	Partition string
	Service   string
	Account   string
	Region    string
	Resource  string // what follows the account in the ARN, for instance instance/i-1 or user/path/name
}

// ErrForeign says that a target is in another account than its finding's.
var ErrForeign = errors.New("another account's")

// ParseTarget takes a step's ARN apart. S3 ARNs carry neither account nor region, IAM ARNs no region: they are the finding's
// own then, because Firebreak acts only in the finding's account. Errors: not an ARN; ErrForeign (wrapped), with the target.
func ParseTarget(s Step, r Ref) (Target, error) {
	a, err := arn.Parse(s.Target)
	if err != nil {
		return Target{}, fmt.Errorf("target %q of %s is not an ARN", s.Target, s.Action)
	}
	if a.AccountID == "" {
		a.AccountID = r.Account
	}
	if a.Region == "" {
		a.Region = r.Region
	}
	t := Target{ARN: s.Target, Partition: a.Partition, Service: a.Service, Account: a.AccountID, Region: a.Region, Resource: a.Resource}
	if t.Account != r.Account {
		return t, fmt.Errorf("target %s is not in account %s of the finding: %w", s.Target, r.Account, ErrForeign)
	}
	return t, nil
}

// Name is the last part of the resource: i-1 of instance/i-1, name of user/path/name, bucket of an S3 ARN.
func (t Target) Name() string { return t.Resource[strings.LastIndex(t.Resource, "/")+1:] }

// Disposition is what ClassifyFinding tells the machine.
type Disposition string

const (
	Respond   Disposition = "respond"   // go on with the plan
	Duplicate Disposition = "duplicate" // another execution has it
	Record    Disposition = "record"    // taken down, nothing to do
	Supersede Disposition = "supersede" // a newer episode took over
)

// Decision is what ClassifyFinding gives. Plan's lists are never null.
type Decision struct {
	Disposition Disposition `json:"disposition"`
	Reason      string      `json:"reason"`
	Incident    Ref         `json:"incident"`
	Plan        Plan        `json:"plan"`
	// Approval is the override behind this run, 0 for none.
	Approval int `json:"approval"`
	// Split counts the executions that were started for the findings of one event, 0 for none.
	Split int `json:"split,omitempty"`
}

// Resume is the input of an execution that Firebreak or an operator starts for an incident that exists already: after an
// approved override, or to redrive what failed. It stands alone under the key "resume"; events from a bus never carry that key
// at top level, since a rule passes the whole envelope.
type Resume struct {
	Incident string `json:"incident"`
	Episode  int    `json:"episode"`
	Run      int    `json:"run"`
	// Steps to do; empty means the whole plan, taking the incident over from the execution From.
	Steps []Step `json:"steps"`
	// Approval is the number of the approved override, 0 for none.
	Approval int `json:"approval"`
	// From is the execution whose place this one takes; empty when that one goes on.
	From   string `json:"from"`
	Reason string `json:"reason"`
}

// Name is the name of a resumed execution: INC-…-e<episode>-r<run>.
func (r Resume) Name() string { return fmt.Sprintf("%s-e%d-r%d", r.Incident, r.Episode, r.Run) }

// Ending is how an execution ends, a closed vocabulary: the names of the machine's end states.
type Ending string

const (
	EndContained        Ending = "Contained"
	EndEradicated       Ending = "Eradicated"
	EndAlreadyHandled   Ending = "AlreadyHandled"
	EndRecorded         Ending = "Recorded"
	EndPlanned          Ending = "Planned"
	EndSuperseded       Ending = "Superseded"
	EndApprovalRejected Ending = "ApprovalRejected"
	EndApprovalExpired  Ending = "ApprovalExpired"
	EndNeedsPerson      Ending = "NeedsPerson"
)

// The endings of the machine that releases, which shares Planned and NeedsPerson.
const (
	EndReleased Ending = "Released" // everything that was asked for is undone, or was not held any more
	EndDrifted  Ending = "Drifted"  // something was left as it is, because somebody has changed it since
	EndRefused  Ending = "Refused"  // nothing was undone: the reason says why
)

// CloseRequest is what close-incident takes: the ending that the machine claims and the outcomes it bears on.
type CloseRequest struct {
	Ending    Ending    `json:"ending"`
	Incident  Ref       `json:"incident"`
	Execution Execution `json:"execution"`
	State     State     `json:"state"`
	Contain   []Result  `json:"contain"`
	Eradicate []Result  `json:"eradicate"`
}

// Closing is what close-incident gives: the summary that an execution ends with.
type Closing struct {
	Incident string `json:"incident"`
	Ending   Ending `json:"ending"`
	Done     int    `json:"done"`
	Summary  string `json:"summary"`
}

// ApprovalRequest is what request-approval takes. Token is the task token; it goes to the ledger and nowhere else.
type ApprovalRequest struct {
	Token     string    `json:"token"`
	Incident  Ref       `json:"incident"`
	Steps     []Step    `json:"steps"`
	Contain   []Result  `json:"contain"`
	Execution Execution `json:"execution"`
	State     State     `json:"state"`
	// Round is 1, or 2 when a step found something different from what was approved.
	Round int `json:"round"`
}

// Verdict is the output of a decided approval, sent with SendTaskSuccess.
type Verdict struct {
	Decision string   `json:"decision"` // approved, rejected, expired, superseded, cancelled
	Approval int      `json:"approval"`
	By       []string `json:"by"`
}

// DeadLetter is the body of a message in a dead-letter queue that the machine or Firebreak wrote.
type DeadLetter struct {
	Layer     string `json:"layer"` // action, incident, release
	Incident  string `json:"incident,omitempty"`
	Episode   int    `json:"episode,omitempty"`
	Execution string `json:"execution"`
	Step      *Step  `json:"step,omitempty"`
	Error     string `json:"error"`
	Cause     string `json:"cause"`
}

func sortedKeys(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

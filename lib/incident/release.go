package incident

import "fmt"

// Release is the input of the machine release: what a person asks to be undone. It stands alone under the key "release".
type Release struct {
	Incident string `json:"incident"`
	// Episode that is meant; 0 for whichever is the latest. What a later one contained is not undone by an old request.
	Episode int `json:"episode,omitempty"`
	// Actions to undo, by name; empty for all that the incident holds, which also closes the incident.
	Actions []string `json:"actions"`
	// Plan says what would be restored, and changes nothing.
	Plan bool `json:"plan"`
	// Force restores what somebody has changed since, too.
	Force bool `json:"force"`
	// By is the ARN of who asks, Why the reason in their words.
	By  string `json:"by"`
	Why string `json:"why"`
}

// ReleaseName is the name of an execution that releases: INC-…-release-<run>.
func ReleaseName(id string, run int) string { return fmt.Sprintf("%s-release-%d", id, run) }

// ReleaseDisposition is what PlanRelease tells the machine.
type ReleaseDisposition string

const (
	ReleaseSteps   ReleaseDisposition = "release" // undo the steps, which may be none
	ReleaseNothing ReleaseDisposition = "refuse"  // nothing of what was asked for may be undone
)

// ReleasePlan is what plan-release gives. Lists are never null.
type ReleasePlan struct {
	Disposition ReleaseDisposition `json:"disposition"`
	Reason      string             `json:"reason"`
	Incident    Ref                `json:"incident"`
	// Mode of the actions' calls: undo or plan-undo.
	Mode  Mode   `json:"mode"`
	Force bool   `json:"force"`
	Why   string `json:"why"` // by whom and why, as every step records it
	// Whole says that nothing was chosen: the incident is closed when everything is undone.
	Whole bool `json:"whole"`
	// Steps to undo, the newest first.
	Steps []Step `json:"steps"`
	// Kept is what the incident holds and nobody can undo, with the reason. It does not stand in the way of closing.
	Kept []Result `json:"kept"`
}

// ReleaseCloseRequest is what close-release takes.
type ReleaseCloseRequest struct {
	Release   ReleasePlan `json:"release"`
	Results   []Result    `json:"results"`
	Execution Execution   `json:"execution"`
	State     State       `json:"state"`
}

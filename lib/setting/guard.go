// Package setting reads what an installation has set: in the ledger what must take effect at once, in SSM parameters what
// rarely changes. What cannot be read stops acting: every error here is Unreadable (or Throttled, worth a retry).
package setting

import (
	"context"
	"fmt"
	"time"

	"firebreak/lib/fault"
	"firebreak/lib/ledger"
)

// Mode of the installation.
type Mode string

const (
	Act  Mode = "act"  // contain
	Plan Mode = "plan" // say what would be done, change nothing
	Off  Mode = "off"  // the kill switch
)

// Guard is the ledger item SETTING#guard: read consistently before each change.
type Guard struct {
	Mode Mode `json:"mode"`
	// Protected are ARNs or ARN globs (* only) that are never changed without a person.
	Protected []string `json:"protected"`
	// Budget is how many resources one action may change in one account in an hour; Reserve of them are kept for CRITICAL.
	Budget  int `json:"budget"`
	Reserve int `json:"reserve"`
	// Shared is how many resources may use a role or group that is to be changed without asking.
	Shared int `json:"shared"`
	// Steps is how many containing steps a plan may have.
	Steps int `json:"steps"`
	// ReleasedHours is how long after a release a person is asked instead of containing again.
	ReleasedHours int `json:"releasedHours"`
	// By and At: who changed it last, and when.
	By string    `json:"by"`
	At time.Time `json:"at"`
}

// GuardKey is where the guard's settings are.
var GuardKey = ledger.Key{PK: "SETTING#guard", SK: "SETTING"}

// Defaults are the settings of a new installation: it plans and changes nothing until people switch it to act.
func Defaults() Guard {
	return Guard{Mode: Plan, Protected: []string{}, Budget: 20, Reserve: 5, Shared: 5, Steps: 25, ReleasedHours: 24}
}

// ReadGuard reads the guard's settings. A missing item is an error like an unreadable one: no settings, no change.
func ReadGuard(ctx context.Context, s ledger.Store) (Guard, error) {
	it, err := ledger.Load[Guard](ctx, s, GuardKey)
	if err != nil {
		return Guard{}, err
	}
	if !it.Exists() {
		return Guard{}, fault.New(fault.Unreadable, "the settings (%s) are missing from the ledger: write them with scripts/firebreak mode act|plan|off", GuardKey.PK)
	}
	if err := it.Value.Check(); err != nil {
		return Guard{}, fault.Wrap(fault.Unreadable, err, "the settings (%s) in the ledger", GuardKey.PK)
	}
	return it.Value, nil
}

// Check says what is wrong with the settings.
func (g Guard) Check() error {
	switch {
	case g.Mode != Act && g.Mode != Plan && g.Mode != Off:
		return fmt.Errorf("mode is %q, not one of act, plan, off", g.Mode)
	case g.Budget < 0 || g.Reserve < 0 || g.Reserve > g.Budget:
		return fmt.Errorf("budget %d with reserve %d: the reserve must lie between 0 and the budget", g.Budget, g.Reserve)
	case g.Shared < 1 || g.Steps < 1:
		return fmt.Errorf("shared %d and steps %d must be at least 1", g.Shared, g.Steps)
	case g.ReleasedHours < 0:
		return fmt.Errorf("releasedHours is %d, less than 0", g.ReleasedHours)
	}
	return nil
}

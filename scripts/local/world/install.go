package world

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"firebreak/lib/ledger"
	"firebreak/lib/setting"
)

// Approvers of the local installation.
var Approvers = []setting.Approver{
	{ID: "alice", Name: "Alice", Email: "alice@example.com"},
	{ID: "bob", Name: "Bob", Email: "bob@example.com"},
}

// Build builds the functions for this machine.
func (p *Platform) Build(ctx context.Context, w io.Writer) error {
	_, err := p.Tell(ctx, w, "", "scripts/build", "--arch", "host")
	return err
}

// DeployHub installs the hub: one member account, these approvers, a settle time short enough for engines that answer at once,
// and parameters as Name=value.
func (p *Platform) DeployHub(ctx context.Context, w io.Writer, approvers []setting.Approver, parameters ...string) error {
	people, err := json.Marshal(approvers)
	if err != nil {
		return err
	}
	file := filepath.Join(p.State, "approvers.json")
	if err := os.WriteFile(file, people, 0o644); err != nil {
		return err
	}
	// ArchiveDays: the engine has no archives
	args := []string{"hub", "--arch", arch(), "--members", MemberAccount + "=clinic", "--approvers", file, "--drill=false"}
	for _, set := range append([]string{"SettleMilliseconds=50", "ArchiveDays=0"}, parameters...) {
		args = append(args, "--set", set)
	}
	_, err = p.Tell(ctx, w, HubAccount, "scripts/deploy", args...)
	return err
}

// DeployMember installs the member account.
func (p *Platform) DeployMember(ctx context.Context, w io.Writer) error {
	id, err := p.Run(ctx, HubAccount, "scripts/deploy", "external-id")
	if err != nil {
		return err
	}
	member := *p
	member.extra = []string{"FIREBREAK_EXTERNAL_ID=" + strings.TrimSpace(id)}
	_, err = member.Tell(ctx, w, MemberAccount, "scripts/deploy", "member", "--hub-account", HubAccount, "--hub-region", Region)
	return err
}

// Mode switches Firebreak with the operator's tool: act, plan or off.
func (p *Platform) Mode(ctx context.Context, mode setting.Mode) error {
	_, err := p.Run(ctx, HubAccount, "scripts/firebreak", "mode", string(mode))
	return err
}

// Settings changes the guard's settings; what comes back puts them as they were.
func (h *Hub) Settings(ctx context.Context, change func(*setting.Guard)) (restore func(context.Context) error, err error) {
	var was setting.Guard
	write := func(ctx context.Context, to func(*setting.Guard)) error {
		_, err := ledger.Update(ctx, h.Store, setting.GuardKey, func(it *ledger.Item[setting.Guard]) error {
			if !it.Exists() {
				return fmt.Errorf("no settings: %w", ErrAbsent)
			}
			was = it.Value
			to(&it.Value)
			return nil
		})
		return err
	}
	if err := write(ctx, change); err != nil {
		return nil, err
	}
	before := was
	return func(ctx context.Context) error {
		return write(ctx, func(g *setting.Guard) { *g = before })
	}, nil
}

// Install does all of it, with two approvers whose links decide everything: build, hub, member, inbox, mode act. say hears each
// step before it begins; w what the commands print.
func (p *Platform) Install(ctx context.Context, w io.Writer, say func(step string)) error {
	for _, s := range []struct {
		step string
		do   func() error
	}{
		{"build the functions", func() error { return p.Build(ctx, w) }},
		{"deploy the hub", func() error { return p.DeployHub(ctx, w, Approvers, "LinkAlone=destructive") }},
		{"deploy the member account", func() error { return p.DeployMember(ctx, w) }},
		{"subscribe to the notices", func() error { return p.Hub().Subscribe(ctx) }},
		{"switch from plan to act", func() error { return p.Mode(ctx, setting.Act) }},
	} {
		say(s.step)
		if err := s.do(); err != nil {
			return fmt.Errorf("%s: %w", s.step, err)
		}
	}
	return nil
}

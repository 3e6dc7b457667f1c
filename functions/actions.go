// Package functions says which actions there are. It reads action.yaml of each action's folder, so that a new folder is a new
// action wherever actions are listed: in playbooks, in resumptions, in releases, in the README.
package functions

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"path"
	"sync"

	"go.yaml.in/yaml/v3"
)

// Action is what the rest of Firebreak knows of an action. What it does stands in its folder's Go code.
type Action struct {
	// Name is the folder's.
	Name string `yaml:"-"`
	// Targets are the kinds of resource that it takes, in the playbook's words (instance, role, user, bucket, …). Empty for an
	// action that changes no resource: it tells people.
	Targets []string `yaml:"targets"`
	// With are the parameters that it takes.
	With []string `yaml:"with"`
	// Destroys says that it runs only after approval.
	Destroys bool `yaml:"destroys"`
	// NoUndo is why it has no undo; empty where it has one.
	NoUndo string `yaml:"noUndo"`
	// Unwatched is why nobody is told when what the action did is undone by somebody; empty where people are.
	Unwatched string `yaml:"unwatched"`
}

// Tells tells whether the action changes no resource.
func (a Action) Tells() bool { return len(a.Targets) == 0 }

// Undoable tells whether a release can take back what the action did.
func (a Action) Undoable() bool { return a.NoUndo == "" }

//go:embed */action.yaml
var files embed.FS

// Actions gives every action by its name. An action.yaml that cannot be read is an error, and no action is known then.
var Actions = sync.OnceValues(func() (map[string]Action, error) {
	folders, err := files.ReadDir(".")
	if err != nil {
		return nil, err
	}
	out := map[string]Action{}
	for _, f := range folders {
		file := path.Join(f.Name(), "action.yaml")
		text, err := files.ReadFile(file)
		if err != nil {
			return nil, err
		}
		a, err := Parse(f.Name(), text)
		if err != nil {
			return nil, fmt.Errorf("functions/%s: %w", file, err)
		}
		out[a.Name] = a
	}
	return out, nil
})

// Parse reads one action.yaml, strictly. Errors: an unknown key; no target; an undo of what destroys.
func Parse(name string, text []byte) (Action, error) {
	a := Action{Name: name}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&a); err != nil && !errors.Is(err, io.EOF) {
		return Action{}, err
	}
	switch {
	case a.Targets == nil:
		return Action{}, errors.New("targets is missing: the kinds of resource that the action takes, [] for one that tells people")
	case a.Destroys && a.NoUndo == "":
		return Action{}, errors.New("what destroys has no undo: noUndo says why")
	}
	return a, nil
}

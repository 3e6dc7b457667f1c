// Package asl reads state machines in Amazon States Language, for tests and for the picture in the README. It reads the part
// of the language that this project uses; a field that it does not know is an error, so that nothing stays unchecked.
package asl

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Machine is a definition, or what a Map runs for each of its items.
type Machine struct {
	Comment         string          `json:"Comment"`
	QueryLanguage   string          `json:"QueryLanguage"`
	ProcessorConfig ProcessorConfig `json:"ProcessorConfig"`
	StartAt         string          `json:"StartAt"`
	States          States          `json:"States"`
}

// ProcessorConfig says how a Map runs its items.
type ProcessorConfig struct {
	Mode string `json:"Mode"`
}

// States are a machine's states in the order of the file.
type States []State

// State is one state. Arguments, Output and Assign are JSON as it stands, expressions in it unevaluated.
type State struct {
	Name           string         `json:"-"`
	Comment        string         `json:"Comment"`
	Type           string         `json:"Type"`
	Resource       string         `json:"Resource"`
	Arguments      map[string]any `json:"Arguments"`
	TimeoutSeconds any            `json:"TimeoutSeconds"` // a float64, unless somebody made it an expression
	Items          any            `json:"Items"`
	MaxConcurrency any            `json:"MaxConcurrency"` // a float64; nil for as many at once as there are items
	ItemProcessor  *Machine       `json:"ItemProcessor"`
	Retry          []Retrier      `json:"Retry"`
	Catch          []Catcher      `json:"Catch"`
	Choices        []Rule         `json:"Choices"`
	Default        string         `json:"Default"`
	Assign         map[string]any `json:"Assign"`
	Output         any            `json:"Output"`
	Error          string         `json:"Error"`
	Cause          string         `json:"Cause"`
	Next           string         `json:"Next"`
	End            bool           `json:"End"`
}

// Retrier is an entry of Retry.
type Retrier struct {
	ErrorEquals     []string `json:"ErrorEquals"`
	IntervalSeconds int      `json:"IntervalSeconds"`
	MaxAttempts     int      `json:"MaxAttempts"`
	BackoffRate     float64  `json:"BackoffRate"` // 0 when left out: the language's 2
	MaxDelaySeconds int      `json:"MaxDelaySeconds"`
	JitterStrategy  string   `json:"JitterStrategy"`
}

// Catcher is an entry of Catch.
type Catcher struct {
	ErrorEquals []string       `json:"ErrorEquals"`
	Assign      map[string]any `json:"Assign"`
	Output      any            `json:"Output"`
	Next        string         `json:"Next"`
}

// Rule is an entry of a Choice state.
type Rule struct {
	Comment   string         `json:"Comment"`
	Condition string         `json:"Condition"`
	Assign    map[string]any `json:"Assign"`
	Output    any            `json:"Output"`
	Next      string         `json:"Next"`
}

// Load reads a definition from a file. Errors: what Parse gives, and the file's own.
func Load(path string) (Machine, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Machine{}, err
	}
	m, err := Parse(text)
	if err != nil {
		return Machine{}, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// Parse reads a definition. Errors: not JSON; a field, at any level, that this package does not know; a state named twice.
func Parse(text []byte) (Machine, error) {
	var m Machine
	if err := strict(text, &m); err != nil {
		return Machine{}, err
	}
	return m, nil
}

// UnmarshalJSON keeps the order of the states, which a map would lose.
func (s *States) UnmarshalJSON(text []byte) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("States is not an object: %v", err)
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return err
		}
		state := State{Name: name.(string)}
		if err := strict(raw, &state); err != nil {
			return fmt.Errorf("state %s: %w", state.Name, err)
		}
		if slices.ContainsFunc(*s, func(o State) bool { return o.Name == state.Name }) {
			return fmt.Errorf("state %s is there twice", state.Name)
		}
		*s = append(*s, state)
	}
	return nil
}

func strict(text []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the definition")
	}
	return nil
}

// All gives every state, those inside Maps right after their Map.
func (m Machine) All() iter.Seq[State] {
	return func(yield func(State) bool) { m.walk(yield) }
}

func (m Machine) walk(yield func(State) bool) bool {
	for _, s := range m.States {
		if !yield(s) || s.ItemProcessor != nil && !s.ItemProcessor.walk(yield) {
			return false
		}
	}
	return true
}

// Levels gives the machine itself and what its Maps run: states refer only to states of their own level.
func (m Machine) Levels() []Machine {
	out := []Machine{m}
	for _, s := range m.States {
		if s.ItemProcessor != nil {
			out = append(out, s.ItemProcessor.Levels()...)
		}
	}
	return out
}

// State finds a state by its name, also inside Maps.
func (m Machine) State(name string) (State, bool) {
	for s := range m.All() {
		if s.Name == name {
			return s, true
		}
	}
	return State{}, false
}

// Kind of an edge: why one state follows another.
type Kind string

const (
	Next    Kind = "next"
	Chosen  Kind = "chosen"  // by a rule of a Choice
	Default Kind = "default" // by no rule of a Choice
	Caught  Kind = "caught"  // by a Catch
)

// Edge leads from a state to one that may follow it. Label is the comment or else the condition of a rule, or the
// errors of a Catch.
type Edge struct {
	To    string
	Kind  Kind
	Label string
}

// Edges lists what may follow a state, in the order of the file.
func (s State) Edges() []Edge {
	var out []Edge
	for _, r := range s.Choices {
		out = append(out, Edge{r.Next, Chosen, cmp.Or(r.Comment, r.Condition)})
	}
	if s.Default != "" {
		out = append(out, Edge{s.Default, Default, ""})
	}
	if s.Next != "" {
		out = append(out, Edge{s.Next, Next, ""})
	}
	for _, c := range s.Catch {
		out = append(out, Edge{c.Next, Caught, strings.Join(c.ErrorEquals, ", ")})
	}
	return out
}

// Reachable lists the states of this level that can be reached from StartAt. Errors: an edge to a state that is not there.
func (m Machine) Reachable() (map[string]bool, error) {
	byName := map[string]State{}
	for _, s := range m.States {
		byName[s.Name] = s
	}
	seen := map[string]bool{}
	var visit func(from, name string) error
	visit = func(from, name string) error {
		s, ok := byName[name]
		if !ok {
			return fmt.Errorf("%s leads to %q, which is not a state of its level", from, name)
		}
		if seen[name] {
			return nil
		}
		seen[name] = true
		for _, e := range s.Edges() {
			if err := visit(name, e.To); err != nil {
				return err
			}
		}
		return nil
	}
	return seen, visit("StartAt", m.StartAt)
}

// Expression is a JSONata expression, without its {% %}, and where it stands (for instance Catch[1].Assign.problem.error).
type Expression struct {
	Where string
	Text  string
}

// Expressions lists the expressions of a state, those of states inside a Map left out.
func (s State) Expressions() []Expression {
	s.ItemProcessor = nil
	text, _ := json.Marshal(s)
	var tree any
	_ = json.Unmarshal(text, &tree)
	var out []Expression
	Walk(tree, func(where, v string) {
		if body, ok := strings.CutPrefix(v, "{%"); ok {
			out = append(out, Expression{where, strings.TrimSpace(strings.TrimSuffix(body, "%}"))})
		}
	})
	return out
}

// Walk calls visit for every string of a JSON value, with its path, in the order of the keys.
func Walk(value any, visit func(where, text string)) { walk("", value, visit) }

func walk(where string, value any, visit func(where, text string)) {
	switch v := value.(type) {
	case string:
		visit(where, v)
	case []any:
		for i, e := range v {
			walk(fmt.Sprintf("%s[%d]", where, i), e, visit)
		}
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			walk(strings.TrimPrefix(where+"."+k, "."), v[k], visit)
		}
	}
}

var placeholder = regexp.MustCompile(`\$\{([^}]*)\}`)

// Placeholders lists the names in ${…} of a text, each once, sorted.
func Placeholders(text []byte) []string {
	var out []string
	for _, m := range placeholder.FindAllSubmatch(text, -1) {
		out = append(out, string(m[1]))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Substitute puts values in place of placeholders, as CloudFormation's DefinitionSubstitutions do. Errors: a placeholder
// without a value.
func Substitute(text []byte, values map[string]string) ([]byte, error) {
	var missing []string
	out := placeholder.ReplaceAllFunc(text, func(m []byte) []byte {
		name := string(m[2 : len(m)-1])
		v, ok := values[name]
		if !ok {
			missing = append(missing, name)
		}
		return []byte(v)
	})
	if missing != nil {
		return nil, fmt.Errorf("no value for %s", strings.Join(missing, ", "))
	}
	return out, nil
}

// Folder is the folder under functions/ of the function that a state is named after: isolate-instance of IsolateInstance.
func Folder(state string) string {
	var b strings.Builder
	for i, r := range state {
		if i > 0 && unicode.IsUpper(r) {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

package playbook

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"firebreak/lib/fault"
	"firebreak/lib/finding"
	"firebreak/lib/incident"

	"go.yaml.in/yaml/v3"
)

// document is the whole file.
type document struct {
	Rules []rule `yaml:"rules"`
}

// Parse reads a playbook. known are the actions that rules may use. Errors: Unreadable, with file and line, for the first
// thing that is wrong; a misspelt key or word comes with the one that was probably meant.
func Parse(file string, data []byte, known map[string]Use) (*Book, error) {
	b := &Book{File: file}
	if err := b.parse(data, known); err != nil {
		return nil, fault.New(fault.Unreadable, "playbook %s:%v", file, err)
	}
	return b, nil
}

func (b *Book) parse(data []byte, known map[string]Use) error {
	var root, more yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&root); errors.Is(err, io.EOF) {
		return at(1, "the file is empty: it would act on nothing")
	} else if err != nil {
		return yamlError(err)
	}
	if err := dec.Decode(&more); err == nil {
		return at(more.Line, "a second document: a playbook is one")
	} else if !errors.Is(err, io.EOF) {
		return yamlError(err)
	}
	if err := strict(root.Content[0], reflect.TypeFor[document]()); err != nil {
		return err
	}
	var doc document
	if err := root.Decode(&doc); err != nil {
		return yamlError(err)
	}
	if len(doc.Rules) == 0 {
		return at(root.Line, "there are no rules: it would act on nothing")
	}
	nodes := value(root.Content[0], "rules").Content
	names := map[string]int{}
	for i := range doc.Rules {
		r := &doc.Rules[i]
		r.line = nodes[i].Line
		if first := names[r.Name]; first > 0 {
			return at(r.line, "rule %s is there already, in line %d", r.Name, first)
		}
		names[r.Name] = r.line
		if err := r.check(nodes[i], known); err != nil {
			return err
		}
		r.conditions = r.When.conditions()
		if reflect.ValueOf(r.When).IsZero() && i < len(doc.Rules)-1 {
			return at(r.line, "rule %s has no condition, so the %d rules after it never decide", r.Name, len(doc.Rules)-1-i)
		}
	}
	b.rules = doc.Rules
	return nil
}

func at(line int, format string, args ...any) error {
	return fmt.Errorf("%d: %s", line, fmt.Sprintf(format, args...))
}

var yamlLine = regexp.MustCompile(`line (\d+): ((?s).*)`)

// yamlError brings the parser's "yaml: line 3: …" into the form 3: ….
func yamlError(err error) error {
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("%s: %s", m[1], strings.TrimSpace(m[2]))
	}
	return at(1, "%s", strings.TrimPrefix(err.Error(), "yaml: "))
}

// strict holds a YAML tree against a Go type: unknown keys, repeated keys, a list where an object should be. The decoder
// alone would take "null" and an empty value for anything.
func strict(n *yaml.Node, t reflect.Type) error {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return at(n.Line, "anchors and aliases are not read: write it out")
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		if n.Kind != yaml.MappingNode {
			return at(n.Line, "there should be keys and values here")
		}
		return strictKeys(n, t)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			return at(n.Line, "there should be a list here")
		}
		if len(n.Content) == 0 {
			return at(n.Line, "the list is empty: leave the key out")
		}
		for _, item := range n.Content {
			if err := strict(item, t.Elem()); err != nil {
				return err
			}
		}
	default:
		if n.Kind != yaml.ScalarNode {
			return at(n.Line, "there should be a single value here")
		}
		if n.Tag == "!!null" || n.Value == "" {
			return at(n.Line, "there is no value here")
		}
	}
	return nil
}

func strictKeys(n *yaml.Node, t reflect.Type) error {
	fields := map[string]reflect.Type{}
	if t.Kind() == reflect.Struct {
		for f := range t.Fields() {
			if key := f.Tag.Get("yaml"); key != "" {
				fields[key] = f.Type
			}
		}
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			return at(key.Line, "a key should be a word")
		}
		if seen[key.Value] {
			return at(key.Line, "the key %s is there twice", key.Value)
		}
		seen[key.Value] = true
		want, ok := fields[key.Value]
		if t.Kind() == reflect.Map {
			want, ok = t.Elem(), true
		}
		if !ok {
			return at(key.Line, "unknown key %q%s", key.Value, meant(key.Value, slices.Sorted(maps.Keys(fields))))
		}
		if err := strict(val, want); err != nil {
			return err
		}
	}
	return nil
}

// value gives the node under a key of a mapping, an empty one where there is none.
func value(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return &yaml.Node{Line: n.Line}
}

// check says what is wrong with a rule that YAML alone does not show.
func (r *rule) check(n *yaml.Node, known map[string]Use) error {
	cond := value(n, "when")
	if r.Name == "" {
		return at(r.line, "the rule has no name")
	}
	words := func(n *yaml.Node, what string, given []string, allowed []string) error {
		for i, w := range given {
			line := n.Line
			if i < len(n.Content) {
				line = n.Content[i].Line
			}
			if !slices.Contains(allowed, w) {
				return at(line, "unknown %s %q%s", what, w, meant(w, allowed))
			}
		}
		return nil
	}
	var from []string
	if r.When.Severity != nil {
		if r.When.Severity.From == "" {
			return at(value(cond, "severity").Line, "severity says no from")
		}
		from = []string{string(r.When.Severity.From)}
	}
	checks := []error{
		words(value(cond, "severity"), "severity", from, texts(incident.Bands())),
		words(value(n, "severity"), "severity", given(string(r.Severity)), texts(incident.Bands())),
		words(value(cond, "role"), "role", given(string(r.When.Role)), []string{string(finding.Actor), string(finding.Target)}),
		words(value(cond, "principal"), "principal", r.When.Principal, append(texts(finding.Whos()), aUserSession)),
		words(value(cond, "names"), "resource", texts(r.When.Names), texts(resourceNames)),
		checkSteps(value(n, "contain"), r.Contain, known, false),
		checkSteps(value(n, "eradicate"), r.Eradicate, known, true),
	}
	if r.Notify != nil {
		told := value(n, "notify")
		checks = append(checks,
			words(value(told, "audience"), "audience", given(r.Notify.Audience), audiences()),
			words(value(told, "from"), "severity", given(string(r.Notify.From)), texts(incident.Bands())))
	}
	for _, err := range checks {
		if err != nil {
			return err
		}
	}
	asked := value(n, "approvers")
	switch {
	case r.FanOut && len(r.Contain) == 0:
		return at(value(n, "fanOut").Line, "rule %s fans out and contains nothing", r.Name)
	case r.Notify != nil && r.Notify.Audience == "":
		return at(value(n, "notify").Line, "notify says no audience")
	case r.Notify != nil && (r.Notify.Escalate < 0 || r.Notify.Escalate > 30*24*time.Hour):
		return at(value(n, "notify").Line, "escalate is %s, not between 0 and 30 days", r.Notify.Escalate)
	case r.Notify != nil && r.Notify.Escalate%time.Minute != 0:
		return at(value(n, "notify").Line, "escalate is %s: it is counted in whole minutes", r.Notify.Escalate)
	case r.Notify != nil && r.Notify.From != "" && len(r.Contain)+len(r.Eradicate) > 0:
		return at(value(n, "notify").Line, "rule %s acts: people are told at any severity, so from has no place here", r.Name)
	case asked.Value != "" && (r.Approvers < fewest || r.Approvers > most):
		return at(asked.Line, "approvers is %d, not between %d and %d: what cannot be undone takes %d people, never fewer", r.Approvers, fewest, most, fewest)
	case asked.Value != "" && len(r.Eradicate) == 0:
		return at(asked.Line, "rule %s eradicates nothing, so nobody is asked and approvers has no place here", r.Name)
	case len(r.Eradicate) > 0 && len(r.Contain) == 0:
		return at(value(n, "eradicate").Line, "rule %s destroys what it does not contain", r.Name)
	case r.Notify == nil && len(r.Contain)+len(r.Eradicate) > 0:
		return at(r.line, "rule %s acts and tells nobody: give it a notify", r.Name)
	}
	return nil
}

// A rule may ask for as many approvers as that: no setting and no rule asks for fewer, and more than a team has never decide.
const fewest, most = 2, 20

var resourceNames = []resourceName{anInstance, aRole, aUser, aKey, aBucket, aGroup, aTrail, anAccount, aResource}

func checkSteps(n *yaml.Node, list []step, known map[string]Use, eradicate bool) error {
	for i, s := range list {
		line := n.Content[i].Line
		use, ok := known[s.Action]
		switch {
		case !ok:
			return at(line, "unknown action %q%s", s.Action, meant(s.Action, slices.Sorted(maps.Keys(known))))
		case s.Action == notify:
			return at(line, "notify is a key of the rule, not a step")
		case use.Destroys && !eradicate:
			return at(line, "%s destroys: it stands under eradicate, where it waits for approval", s.Action)
		case !use.Destroys && eradicate:
			return at(line, "%s contains: it stands under contain", s.Action)
		case s.Target == "":
			return at(line, "%s has no target", s.Action)
		case !slices.Contains(resourceNames, s.Target):
			return at(line, "unknown target %q%s", s.Target, meant(string(s.Target), texts(resourceNames)))
		case len(use.Targets) > 0 && !slices.Contains(use.Targets, string(s.Target)):
			return at(line, "%s takes a target of kind %s, not %s", s.Action, strings.Join(use.Targets, " or "), s.Target)
		}
		for _, p := range slices.Sorted(maps.Keys(s.With)) {
			line := value(value(n.Content[i], "with"), p).Line
			if !slices.Contains(use.With, p) {
				return at(line, "%s has no parameter %q%s", s.Action, p, meant(p, use.With))
			}
			if v := s.With[p]; strings.HasPrefix(v, "finding.") && values[v] == nil {
				return at(line, "a finding has no value %q%s", v, meant(v, slices.Sorted(maps.Keys(values))))
			}
		}
	}
	return nil
}

func texts[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	return out
}

func given(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// meant suggests the allowed word that is nearest, or lists them all where none is near.
func meant(word string, allowed []string) string {
	best, least := "", len(word)/2+1
	for _, a := range allowed {
		if d := distance(strings.ToLower(word), strings.ToLower(a)); d < least {
			best, least = a, d
		}
	}
	if best != "" {
		return fmt.Sprintf(": %s is probably meant", best)
	}
	if len(allowed) == 0 {
		return ""
	}
	return fmt.Sprintf(": it can be %s", strings.Join(allowed, ", "))
}

// distance is the number of characters to insert, delete, change or swap with their neighbour.
func distance(a, b string) int {
	before, last := []int(nil), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		now := make([]int, len(b)+1)
		now[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			now[j] = min(last[j]+1, now[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				now[j] = min(now[j], before[j-2]+1)
			}
		}
		before, last = last, now
	}
	return last[len(b)]
}

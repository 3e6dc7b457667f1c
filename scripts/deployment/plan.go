package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"firebreak/lib/permission"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"go.yaml.in/yaml/v3"
)

// part is what would happen in one stack, the outer one or one that it nests.
type part struct {
	name    string
	changes []change
}

// change of one resource.
type change struct {
	verb, id, kind string
	what           []string // properties that differ
	node           *yaml.Node
}

// data are the kinds of resources that hold what cannot be made again.
var data = []string{"AWS::DynamoDB::Table", "AWS::KMS::Key", "AWS::S3::Bucket", "AWS::SecretsManager::Secret", "AWS::SQS::Queue"}

// outline compares templates, nested ones too, with what is installed. CloudFormation's own change set cannot look into nested
// stacks that do not exist yet; what it says of replacements is shown beside this.
func (s *stack) outline(ctx context.Context, src source, parameters []types.Parameter, installed *installation) ([]part, error) {
	text := src.body
	if src.url != "" {
		text = string(s.texts[src.url])
	}
	if text == "" {
		return nil, nil // the installed template, with other parameters
	}
	name := s.name
	if installed == nil {
		name = ""
	}
	values := map[string]string{"AWS::AccountId": s.account, "AWS::Region": s.cfg.Region, "AWS::Partition": s.partition, "AWS::URLSuffix": "amazonaws.com"}
	maps.Copy(values, defaults(text))
	for _, p := range parameters {
		key := aws.ToString(p.ParameterKey)
		if values[key] = aws.ToString(p.ParameterValue); aws.ToBool(p.UsePreviousValue) {
			values[key] = installed.parameter(key)
		}
	}
	return s.compare(ctx, s.name, text, name, values)
}

// defaults gives the parameters of a template that have a default.
func defaults(text string) map[string]string {
	var doc yaml.Node
	out := map[string]string{}
	if yaml.Unmarshal([]byte(text), &doc) != nil || doc.Kind != yaml.DocumentNode {
		return out
	}
	all := child(doc.Content[0], "Parameters")
	for i := 0; all != nil && i+1 < len(all.Content); i += 2 {
		if d := child(all.Content[i+1], "Default"); d != nil {
			out[all.Content[i].Value] = d.Value
		}
	}
	return out
}

// compare gives the parts of one template and, after them, of those that it nests. old is the installed stack, "" for none. What the
// conditions leave out, with these values of parameters, is not there.
func (s *stack) compare(ctx context.Context, title, text, old string, values map[string]string) ([]part, error) {
	want, err := resources(text)
	if err != nil {
		return nil, fmt.Errorf("template of %s: %w", title, err)
	}
	tpl, err := permission.Resolve([]byte(text), values)
	if err != nil {
		return nil, fmt.Errorf("template of %s: %w", title, err)
	}
	live := map[string]permission.Resource{}
	for _, r := range tpl.Resources("") {
		live[r.ID] = r
	}
	maps.DeleteFunc(want, func(id string, _ *yaml.Node) bool { _, is := live[id]; return !is })
	have, ids := map[string]*yaml.Node{}, map[string]string{}
	if old != "" {
		out, err := s.api.GetTemplate(ctx, &cloudformation.GetTemplateInput{StackName: &old, TemplateStage: types.TemplateStageOriginal})
		if err != nil {
			return nil, fmt.Errorf("read the installed template of %s: %w", title, err)
		}
		if have, err = resources(aws.ToString(out.TemplateBody)); err != nil {
			return nil, fmt.Errorf("installed template of %s: %w", title, err)
		}
		made, err := s.api.DescribeStackResources(ctx, &cloudformation.DescribeStackResourcesInput{StackName: &old})
		if err != nil {
			return nil, fmt.Errorf("read the resources of %s: %w", title, err)
		}
		for _, r := range made.StackResources {
			ids[aws.ToString(r.LogicalResourceId)] = aws.ToString(r.PhysicalResourceId)
		}
		maps.DeleteFunc(have, func(id string, _ *yaml.Node) bool { return ids[id] == "" && len(ids) > 0 })
	}
	here, nested := part{name: title}, []part(nil)
	for _, id := range slices.Sorted(maps.Keys(want)) {
		node, before := want[id], have[id]
		kind := value(child(node, "Type"))
		if inner := value(child(child(node, "Properties"), "TemplateURL")); kind == "AWS::CloudFormation::Stack" && s.texts[inner] != nil {
			passed := map[string]string{}
			for name, v := range values {
				if strings.HasPrefix(name, "AWS::") {
					passed[name] = v
				}
			}
			maps.Copy(passed, live[id].Passed())
			parts, err := s.compare(ctx, id, string(s.texts[inner]), ids[id], passed)
			if err != nil {
				return nil, err
			}
			nested = append(nested, parts...)
		}
		switch what := differing(before, node); {
		case before == nil:
			here.changes = append(here.changes, change{verb: "add", id: id, kind: kind, node: node})
		case len(what) > 0:
			here.changes = append(here.changes, change{verb: "modify", id: id, kind: kind, what: what, node: node})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(have)) {
		if want[id] == nil {
			here.changes = append(here.changes, change{verb: "remove", id: id, kind: value(child(have[id], "Type")), node: have[id]})
		}
	}
	return append([]part{here}, nested...), nil
}

// resources gives the resources of a template by id.
func resources(text string) (map[string]*yaml.Node, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		return nil, err
	}
	out := map[string]*yaml.Node{}
	if doc.Kind != yaml.DocumentNode {
		return out, nil
	}
	if all := child(doc.Content[0], "Resources"); all != nil {
		for i := 0; i+1 < len(all.Content); i += 2 {
			out[all.Content[i].Value] = all.Content[i+1]
		}
	}
	return out, nil
}

// differing names the properties of a resource, and its attributes such as DeletionPolicy, that differ. Where a nested stack's
// template lies is none: what is in it is compared by itself.
func differing(before, after *yaml.Node) []string {
	var out []string
	for _, level := range []struct{ b, a *yaml.Node }{{child(before, "Properties"), child(after, "Properties")}, {before, after}} {
		names := map[string]bool{}
		for _, n := range []*yaml.Node{level.b, level.a} {
			for i := 0; n != nil && i+1 < len(n.Content); i += 2 {
				names[n.Content[i].Value] = true
			}
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			if name != "Properties" && name != "TemplateURL" && spelled(child(level.b, name)) != spelled(child(level.a, name)) {
				out = append(out, name)
			}
		}
	}
	return out
}

// spelled writes a node without style and comments, so that only its meaning counts.
func spelled(n *yaml.Node) string {
	if n == nil {
		return ""
	}
	var out strings.Builder
	if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
		out.WriteString(n.Tag + " ")
	}
	fmt.Fprintf(&out, "%d %q", n.Kind, n.Value)
	for _, c := range n.Content {
		out.WriteString("(" + spelled(c) + ")")
	}
	return out.String()
}

func value(n *yaml.Node) string {
	if n == nil {
		return ""
	}
	return n.Value
}

// show prints a plan as one would show it to a colleague: what is configured, what changes, and what of it deserves a second look.
func (s *stack) show(w io.Writer, parts []part, lines []string, parameters []types.Parameter, standard map[string]string, installed *installation) {
	state := "an update"
	if installed == nil {
		state = "new"
	}
	fmt.Fprintf(w, "Stack %s in account %s, region %s: %s\n", s.name, s.account, s.cfg.Region, state)
	s.showParameters(w, parameters, installed)
	if installed == nil {
		for _, p := range parameters {
			delete(standard, aws.ToString(p.ParameterKey))
		}
		var rest []string
		for _, name := range slices.Sorted(maps.Keys(standard)) {
			rest = append(rest, name+" "+or(standard[name], "-"))
		}
		if len(rest) > 0 {
			wrap(w, "  by default         ", ", ", rest)
		}
	}
	bounds := map[string]bool{} // a boundary grants nothing, however wide it is
	for _, p := range parts {
		for _, c := range p.changes {
			if b := child(child(c.node, "Properties"), "PermissionsBoundary"); b != nil {
				bounds[b.Value] = true
			}
		}
	}
	count := map[string]int{}
	looks, stays := lacks(parameters, standard, installed), []string(nil)
	for _, p := range parts {
		if len(p.changes) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s\n", p.name)
		added := map[string][]string{} // by type: of a hundred lines that all say add, nobody reads one
		for _, c := range p.changes {
			if c.kind != "AWS::CloudFormation::Stack" {
				count[c.verb]++
			}
			if !bounds[c.id] {
				looks = append(looks, second(c)...)
			}
			if strings.HasPrefix(value(child(c.node, "DeletionPolicy")), "Retain") && c.verb == "add" && c.kind != "AWS::CloudFormation::Stack" {
				stays = append(stays, c.id)
			}
			if c.verb == "add" {
				added[c.kind] = append(added[c.kind], c.id)
				continue
			}
			line := fmt.Sprintf("  %-8s %-34s %s", c.verb, c.id, c.kind)
			if len(c.what) > 0 {
				line += " (" + strings.Join(c.what, ", ") + ")"
			}
			fmt.Fprintln(w, strings.TrimRight(line, " "))
		}
		for _, kind := range slices.Sorted(maps.Keys(added)) {
			wrap(w, fmt.Sprintf("  add %4d %-34s ", len(added[kind]), strings.TrimPrefix(kind, "AWS::")), ", ", added[kind])
		}
	}
	var more []string // what changes because a parameter does: only CloudFormation knows
	for _, line := range lines {
		words := strings.Fields(line)
		if words[0] == "REPLACE" || words[0] == "remove" {
			looks = append(looks, "CloudFormation: "+strings.Join(words, " "))
		}
		listed := func(p part) bool {
			return slices.ContainsFunc(p.changes, func(c change) bool { return c.id == words[1] })
		}
		if installed != nil && !slices.ContainsFunc(parts, listed) {
			more = append(more, "  "+line)
		}
	}
	if len(more) > 0 {
		fmt.Fprintf(w, "\nBy parameters\n%s\n", strings.Join(more, "\n"))
	}
	if len(looks) > 0 {
		fmt.Fprintf(w, "\nLook twice\n")
		for _, l := range looks {
			wrap(w, "  ", " ", strings.Fields(l))
		}
	}
	if len(stays) > 0 {
		fmt.Fprintln(w, "\nStays when it is uninstalled")
		wrap(w, "  ", ", ", stays)
	}
	fmt.Fprintf(w, "\nIn all: %d to add, %d to modify, %d to remove, %d by parameters. Nothing was changed; what a change set needs was uploaded.\n", count["add"], count["modify"], count["remove"], len(more))
}

// wrap prints words after a beginning, with something between them, in lines of 130 columns at most, indented like the first.
func wrap(w io.Writer, begin, between string, words []string) {
	line := begin
	for i, word := range words {
		if i > 0 {
			line += between
		}
		if len(line)+len(word) > 130 && len(line) > len(begin) {
			fmt.Fprintln(w, strings.TrimRight(line, " "))
			line = strings.Repeat(" ", len(begin))
		}
		line += word
	}
	fmt.Fprintln(w, strings.TrimRight(line, " "))
}

// lacks says what would be missing in an installation as it is configured.
func lacks(parameters []types.Parameter, standard map[string]string, installed *installation) []string {
	values := maps.Clone(standard)
	if installed != nil {
		maps.Copy(values, installed.parameters)
	}
	known := map[string]bool{}
	for _, p := range parameters {
		key := aws.ToString(p.ParameterKey)
		if known[key] = true; !aws.ToBool(p.UsePreviousValue) {
			values[key] = aws.ToString(p.ParameterValue)
		}
	}
	for key := range values {
		known[key] = true
	}
	var out []string
	if known["Approvers"] && values["Approvers"] == "[]" {
		out = append(out, "nobody may decide: what needs approval expires undone, until scripts/firebreak approvers add")
	}
	if known["Accounts"] && values["Accounts"] == "[]" {
		out = append(out, "no account is acted in (Accounts): every finding is recorded only")
	}
	if known["Members"] && known["OrganizationId"] && values["Members"] == "" && values["OrganizationId"] == "" {
		out = append(out, "no account may send findings (Members, OrganizationId): only this account's own come in")
	}
	if values["LinkAlone"] == "destructive" {
		out = append(out, "a link alone decides what cannot be undone (LinkAlone): whoever reads an approver's mail can destroy")
	}
	if values["Fence"] == "yes" {
		out = append(out, fmt.Sprintf("in every account but this one, only the role %s (FenceKeeper) and stack sets can deploy, update or remove Firebreak from now on: hub and members are deployed before the fence, or as that role", values["FenceKeeper"]))
	}
	if values["LockMode"] == "compliance" && values["ForensicAccount"] != "" {
		out = append(out, "copies of evidence are locked in mode compliance: nobody at all can delete them for LockDays days")
	}
	return out
}

// showParameters prints what is configured, and what it was.
func (s *stack) showParameters(w io.Writer, parameters []types.Parameter, installed *installation) {
	for _, p := range parameters {
		name, now := aws.ToString(p.ParameterKey), aws.ToString(p.ParameterValue)
		was, known := installed.parameter(name), installed != nil && hasKey(installed.parameters, name)
		switch {
		case name == "ExternalId" && !aws.ToBool(p.UsePreviousValue):
			now = "(not shown)"
			if known {
				continue
			}
		case aws.ToBool(p.UsePreviousValue), known && was == now:
			continue
		case known:
			now = fmt.Sprintf("%s (was %s)", now, was)
		}
		fmt.Fprintf(w, "  %-18s %s\n", name, now)
	}
}

// second says why a change deserves a second look, if it does.
func second(c change) []string {
	var out []string
	if slices.Contains(data, c.kind) && c.verb != "add" {
		out = append(out, fmt.Sprintf("%s holds data: %s (%s)", c.id, c.verb, strings.Join(c.what, ", ")))
	}
	if c.verb == "remove" {
		return out
	}
	for _, sid := range unbounded(child(c.node, "Properties")) {
		if c.kind == "AWS::IAM::Role" || c.kind == "AWS::IAM::ManagedPolicy" {
			out = append(out, fmt.Sprintf("%s may act on every resource: %s", c.id, sid))
		}
	}
	return out
}

// unbounded names the Allow statements under n that are for every resource.
func unbounded(n *yaml.Node) []string {
	if n == nil {
		return nil
	}
	if value(child(n, "Effect")) == "Allow" && value(child(n, "Resource")) == "*" {
		actions := child(n, "Action")
		names := []string{value(actions)}
		if actions != nil && actions.Kind == yaml.SequenceNode {
			names = nil
			for _, a := range actions.Content {
				names = append(names, a.Value)
			}
		}
		return []string{fmt.Sprintf("%s (%s)", value(child(n, "Sid")), strings.Join(names, ", "))}
	}
	var out []string
	for _, c := range n.Content {
		out = append(out, unbounded(c)...)
	}
	return out
}

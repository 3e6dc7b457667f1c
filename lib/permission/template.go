package permission

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Template is a CloudFormation template with its functions resolved for one account and region: !Ref, !Sub, !GetAtt, !If, !Equals,
// !Not, !And, !Join and !Select, as far as policies need them.
type Template struct {
	parameters map[string]string
	resources  map[string]*yaml.Node
	conditions map[string]*yaml.Node
	order      []string
}

// Read reads a template file. Pseudo parameters are parameters too: AWS::AccountId, AWS::Region, AWS::Partition, AWS::URLSuffix.
func Read(file string, parameters map[string]string) (*Template, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	t, err := Resolve(text, parameters)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return t, nil
}

// Resolve is Read for the text of a template.
func Resolve(text []byte, parameters map[string]string) (*Template, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	t := &Template{parameters: parameters, resources: map[string]*yaml.Node{}, conditions: map[string]*yaml.Node{}}
	if doc.Kind != yaml.DocumentNode {
		return t, nil
	}
	each(field(doc.Content[0], "Conditions"), func(k string, v *yaml.Node) { t.conditions[k] = v })
	each(field(doc.Content[0], "Resources"), func(k string, v *yaml.Node) {
		if c := field(v, "Condition"); c == nil || t.holds(c.Value) {
			t.resources[k] = v
			t.order = append(t.order, k)
		}
	})
	return t, nil
}

// Resource is one resource of a template that its conditions leave in.
type Resource struct {
	ID, Type string
	template *Template
	node     *yaml.Node
}

// Resources lists those of a type, "" for all, in the template's order.
func (t *Template) Resources(kind string) []Resource {
	var out []Resource
	for _, id := range t.order {
		if r := (Resource{id, text(field(t.resources[id], "Type")), t, t.resources[id]}); kind == "" || r.Type == kind {
			out = append(out, r)
		}
	}
	return out
}

// Passed gives the parameters that a nested stack is passed, lists with commas.
func (r Resource) Passed() map[string]string {
	out := map[string]string{}
	each(r.property("Parameters"), func(k string, v *yaml.Node) { out[k] = strings.Join(list(r.template.value(v)), ",") })
	return out
}

// Text gives a property as text, "" when it is absent or no text.
func (r Resource) Text(keys ...string) string {
	v, _ := r.template.value(r.property(keys...)).(string)
	return v
}

func (r Resource) property(keys ...string) *yaml.Node {
	n := field(r.node, "Properties")
	for _, k := range keys {
		n = field(n, k)
	}
	return n
}

// ARN is the resource's, made of its type and name.
func (r Resource) ARN() string { return r.template.arn(r.ID) }

// Statements lists the statements of every policy under a property ("Policies", "AssumeRolePolicyDocument", …).
func (r Resource) Statements(property string) []Statement {
	var out []Statement
	collect(r.template.value(r.property(property)), &out)
	return out
}

// collect finds every statement: whatever has an Effect.
func collect(v any, out *[]Statement) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			collect(e, out)
		}
	case map[string]any:
		if v["Effect"] == nil {
			for _, e := range v {
				collect(e, out)
			}
			return
		}
		s := Statement{Allow: v["Effect"] == "Allow", Actions: list(v["Action"]), Resources: list(v["Resource"]), Condition: map[string]map[string][]string{}}
		s.Sid, _ = v["Sid"].(string)
		conditions, _ := v["Condition"].(map[string]any)
		for operator, keys := range conditions {
			s.Condition[operator] = map[string][]string{}
			for key, values := range keys.(map[string]any) {
				s.Condition[operator][key] = list(values)
			}
		}
		*out = append(*out, s)
	}
}

func list(v any) []string {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		var out []string
		for _, e := range v {
			out = append(out, list(e)...)
		}
		return out
	}
	return []string{fmt.Sprint(v)}
}

// none is what !Ref AWS::NoValue leaves out.
type none struct{}

// value resolves a node to strings, lists and maps.
func (t *Template) value(n *yaml.Node) any {
	if n == nil {
		return nil
	}
	switch n.Tag {
	case "!Ref":
		return t.ref(n.Value)
	case "!Sub":
		return t.sub(n.Value)
	case "!GetAtt":
		return t.attribute(n.Value)
	case "!If":
		return t.choose(n)
	case "!Join":
		return strings.Join(list(t.value(n.Content[1])), t.value(n.Content[0]).(string))
	case "!Select":
		var i int
		fmt.Sscan(n.Content[0].Value, &i)
		if all := list(t.value(n.Content[1])); i < len(all) {
			return all[i]
		}
		return ""
	}
	switch n.Kind {
	case yaml.ScalarNode:
		return n.Value
	case yaml.SequenceNode:
		out := []any{}
		for _, c := range n.Content {
			if v := t.value(c); v != (none{}) {
				out = append(out, v)
			}
		}
		return out
	case yaml.MappingNode:
		if len(n.Content) == 2 && n.Content[0].Value == "Fn::If" {
			return t.choose(n.Content[1])
		}
		out := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if v := t.value(n.Content[i+1]); v != (none{}) {
				out[n.Content[i].Value] = v
			}
		}
		return out
	}
	return nil
}

func (t *Template) choose(n *yaml.Node) any {
	if t.holds(n.Content[0].Value) {
		return t.value(n.Content[1])
	}
	return t.value(n.Content[2])
}

func (t *Template) holds(condition string) bool { return t.truth(t.conditions[condition]) }

func (t *Template) truth(n *yaml.Node) bool {
	switch n.Tag {
	case "!Equals":
		return fmt.Sprint(t.value(n.Content[0])) == fmt.Sprint(t.value(n.Content[1]))
	case "!Not":
		return !t.truth(n.Content[0])
	case "!And":
		return t.truth(n.Content[0]) && t.truth(n.Content[1])
	case "!Or":
		return t.truth(n.Content[0]) || t.truth(n.Content[1])
	case "!Condition":
		return t.holds(n.Value)
	}
	panic("permission: unknown condition " + n.Tag)
}

func (t *Template) ref(name string) any {
	if name == "AWS::NoValue" {
		return none{}
	}
	if v, ok := t.parameters[name]; ok {
		if strings.Contains(v, ",") && !strings.HasPrefix(v, "[") {
			var out []any
			for _, p := range strings.Split(v, ",") {
				out = append(out, p)
			}
			return out
		}
		return v
	}
	if n := t.resources[name]; n != nil {
		switch text(field(n, "Type")) {
		case "AWS::StepFunctions::StateMachine", "AWS::SNS::Topic":
			return t.arn(name)
		}
		return t.name(name)
	}
	return "" // a parameter that does not matter to policies
}

var braces = regexp.MustCompile(`\$\{([A-Za-z0-9:.]+)\}`)

func (t *Template) sub(in string) string {
	return braces.ReplaceAllStringFunc(in, func(m string) string {
		name := m[2 : len(m)-1]
		if strings.Contains(name, ".") {
			return t.attribute(name)
		}
		return fmt.Sprint(t.ref(name))
	})
}

func (t *Template) attribute(in string) string {
	id, what, _ := strings.Cut(in, ".")
	if t.resources[id] == nil {
		return ""
	}
	if what == "Arn" {
		return t.arn(id)
	}
	return t.name(id)
}

// names are the properties that name a resource.
var names = []string{"RoleName", "FunctionName", "LogGroupName", "TableName", "BucketName", "QueueName", "TopicName", "StateMachineName", "AliasName", "AlarmName",
	"ManagedPolicyName", "InstanceProfileName", "ConfigRuleName", "TrailName", "AnalyzerName", "Name"}

// name is what people call the resource; where it has no name of its own, its id.
func (t *Template) name(id string) string {
	for _, property := range names {
		if n := field(field(t.resources[id], "Properties"), property); n != nil {
			if v, ok := t.value(n).(string); ok {
				return v
			}
		}
	}
	return id
}

// forms are the ARNs of types, after the service authorization reference; %s are partition, region, account and name.
var forms = map[string]string{
	"AWS::ApiGatewayV2::Api":           "arn:%[1]s:apigateway:%[2]s::/apis/%[4]s",
	"AWS::CloudTrail::Trail":           "arn:%[1]s:cloudtrail:%[2]s:%[3]s:trail/%[4]s",
	"AWS::CloudWatch::Alarm":           "arn:%[1]s:cloudwatch:%[2]s:%[3]s:alarm:%[4]s",
	"AWS::Config::ConfigRule":          "arn:%[1]s:config:%[2]s:%[3]s:config-rule/config-rule-%[4]s",
	"AWS::DynamoDB::Table":             "arn:%[1]s:dynamodb:%[2]s:%[3]s:table/%[4]s",
	"AWS::Events::EventBus":            "arn:%[1]s:events:%[2]s:%[3]s:event-bus/%[4]s",
	"AWS::Events::Rule":                "arn:%[1]s:events:%[2]s:%[3]s:rule/%[4]s",
	"AWS::IAM::InstanceProfile":        "arn:%[1]s:iam::%[3]s:instance-profile/%[4]s",
	"AWS::IAM::ManagedPolicy":          "arn:%[1]s:iam::%[3]s:policy/%[4]s",
	"AWS::IAM::Role":                   "arn:%[1]s:iam::%[3]s:role/%[4]s",
	"AWS::KMS::Alias":                  "arn:%[1]s:kms:%[2]s:%[3]s:%[4]s",
	"AWS::KMS::Key":                    "arn:%[1]s:kms:%[2]s:%[3]s:key/1234abcd-12ab-34cd-56ef-1234567890ab",
	"AWS::Lambda::Function":            "arn:%[1]s:lambda:%[2]s:%[3]s:function:%[4]s",
	"AWS::Logs::LogGroup":              "arn:%[1]s:logs:%[2]s:%[3]s:log-group:%[4]s:*",
	"AWS::S3::Bucket":                  "arn:%[1]s:s3:::%[4]s",
	"AWS::SNS::Topic":                  "arn:%[1]s:sns:%[2]s:%[3]s:%[4]s",
	"AWS::SQS::Queue":                  "arn:%[1]s:sqs:%[2]s:%[3]s:%[4]s",
	"AWS::SSM::Parameter":              "arn:%[1]s:ssm:%[2]s:%[3]s:parameter%[4]s",
	"AWS::Scheduler::Schedule":         "arn:%[1]s:scheduler:%[2]s:%[3]s:schedule/default/%[4]s",
	"AWS::SecretsManager::Secret":      "arn:%[1]s:secretsmanager:%[2]s:%[3]s:secret:%[4]s-AbCdEf",
	"AWS::StepFunctions::StateMachine": "arn:%[1]s:states:%[2]s:%[3]s:stateMachine:%[4]s",
}

// arn is a resource's ARN, "" for a type that has none here.
func (t *Template) arn(id string) string {
	form := forms[text(field(t.resources[id], "Type"))]
	if form == "" {
		return ""
	}
	name := t.name(id)
	if bus := field(field(t.resources[id], "Properties"), "EventBusName"); bus != nil {
		name = fmt.Sprint(t.value(bus)) + "/" + name
	}
	return fmt.Sprintf(form, t.parameters["AWS::Partition"], t.parameters["AWS::Region"], t.parameters["AWS::AccountId"], name)
}

func field(n *yaml.Node, key string) (out *yaml.Node) {
	each(n, func(k string, v *yaml.Node) {
		if k == key {
			out = v
		}
	})
	return out
}

func each(n *yaml.Node, do func(string, *yaml.Node)) {
	for i := 0; n != nil && n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		do(n.Content[i].Value, n.Content[i+1])
	}
}

func text(n *yaml.Node) string {
	if n == nil {
		return ""
	}
	return n.Value
}

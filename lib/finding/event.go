package finding

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"firebreak/lib/fault"
)

// event is an EventBridge envelope, or a bare record, whose envelope is empty and whose detail is the record.
type event struct {
	whole                                   tree
	id, source, detailType, account, region string
	enveloped                               bool
	detail                                  tree
}

// format reads one form of findings. claims is asked in turn; the first that says yes decodes.
type format struct {
	// envelope claims by source and detail-type, bare by what a record alone looks like.
	envelope func(event) bool
	bare     func(tree) bool
	decode   func(event) []reading
}

// formats that are read. A further one is a further file and a line here. Bare forms are asked in this order: those with a mark
// of their own first, GuardDuty's last.
var formats = []format{
	{envelope: isSecurityHub, bare: isSecurityHubRecord, decode: decodeSecurityHub},
	{envelope: isConfig, bare: isConfigRecord, decode: decodeConfig},
	{envelope: isAccessAnalyzer, bare: isAccessAnalyzerRecord, decode: decodeAccessAnalyzer},
	{envelope: isInspector, bare: isInspectorRecord, decode: decodeInspector},
	{envelope: isMacie, bare: isMacieRecord, decode: decodeMacie},
	{envelope: isHealth, bare: isHealthRecord, decode: decodeHealth},
	{envelope: isIncidentResponse, bare: isIncidentResponseRecord, decode: decodeIncidentResponse},
	{envelope: isCloudTrail, bare: isCloudTrailRecord, decode: decodeCloudTrail},
	{envelope: isGuardDuty, bare: isGuardDutyRecord, decode: decodeGuardDuty},
}

// reading is one finding of an event, or the reason why it cannot be read.
type reading struct {
	finding Finding
	refusal *Refusal
	// alone is an event or record that decodes to this finding alone.
	alone any
}

func read1(f Finding, alone any) []reading { return []reading{{finding: f, alone: alone}} }

func (e event) refused(tell bool, reason string, args ...any) []reading {
	return []reading{{refusal: e.refuse(tell, reason, args...), alone: map[string]any(e.whole)}}
}

// security sources send findings: what looks like one and is not read, people hear of. The values are words that the
// detail-types of findings have.
var security = map[string][]string{
	"aws.guardduty":       {"GuardDuty Finding"},
	"aws.securityhub":     {"Findings", "Finding"},
	"aws.access-analyzer": {"Finding"},
	"aws.inspector2":      {"Finding"},
	"aws.macie":           {"Finding"},
	"aws.config":          {"Config Rules Compliance Change"},
	"aws.health":          {"AWS Health"},
	"aws.security-ir":     {"Case"},
}

// Decode reads one record: an event in its envelope, a bare finding, either of them wrapped in SNS, SQS or the answer of an API,
// or a list of them. Findings of a record that has several carry a Raw each, and where one of them cannot be read, a Refusal.
// Errors: *Refusal for a record that holds no finding that Firebreak reads; BadInput for what is no JSON object or list at all,
// with the place where it stops making sense.
func Decode(raw []byte) ([]Finding, error) {
	v, err := parse(raw)
	if err != nil {
		return nil, fault.Wrap(fault.BadInput, err, "the event is not JSON")
	}
	switch v.(type) {
	case map[string]any, []any:
	default:
		return nil, fault.New(fault.BadInput, "the event is not a JSON object but %s", valueOf(v))
	}
	list := read(v, 0)
	if len(list) == 1 {
		if list[0].refusal != nil {
			return nil, list[0].refusal
		}
		list[0].finding.Raw = raw
		return []Finding{list[0].finding}, nil
	}
	out := make([]Finding, len(list))
	for i, r := range list {
		if out[i] = r.finding; r.refusal != nil {
			out[i] = r.refusal.Finding()
		}
		if out[i].Raw, err = json.Marshal(r.alone); err != nil {
			return nil, fault.Wrap(fault.BadInput, err, "finding %d of the event cannot be written out alone", i)
		}
	}
	return out, nil
}

// maxDepth is how many wrappers may lie around a finding: an answer of SQS in SNS in a list is three.
const maxDepth = 8

// read gives what a value holds, one reading at least.
func read(v any, depth int) []reading {
	e := event{whole: asTree(v)}
	switch v := v.(type) {
	case []any:
		if len(v) == 0 {
			return e.refused(false, "not a finding: the list is empty")
		}
		if depth >= maxDepth {
			return e.refused(false, "not a finding: it is wrapped more than %d times", maxDepth)
		}
		var out []reading
		for _, item := range v {
			out = append(out, read(item, depth+1)...)
		}
		return out
	case map[string]any:
		if e, ok := enveloped(v); ok {
			return e.read(depth)
		}
		return readRecord(v, depth)
	}
	return []reading{{refusal: event{whole: tree{"value": v}}.refuse(false, "not an event: it is %s", valueOf(v)), alone: v}}
}

// enveloped recognizes an EventBridge event, also as PutEvents takes it.
func enveloped(t tree) (event, bool) {
	e := event{whole: t, id: t.text("id"), source: t.text("source"), detailType: t.text("detail-type"), account: t.digits("account"), region: t.text("region"), detail: t.object("detail"), enveloped: true}
	if t.at("detail-type") != nil {
		e.opened("detail")
		return e, true
	}
	if t.at("DetailType") == nil {
		return e, false
	}
	e.source, e.detailType = t.text("Source"), t.text("DetailType")
	e.detail = t.object("Detail")
	e.opened("Detail")
	return e, true
}

// opened reads a detail that is a string.
func (e *event) opened(key string) {
	if e.detail == nil {
		v, _ := parse([]byte(e.whole.text(key)))
		e.detail = asTree(v)
	}
}

// read reads an event in its envelope. Only what the source aws.* sends is acted on: any principal that may put events on a bus
// can send other sources, and none can send those (EventBridge API Reference, PutEvents).
func (e event) read(depth int) []reading {
	tell := security[e.source] != nil
	switch {
	case e.source != "" && !strings.HasPrefix(e.source, "aws."), strings.HasPrefix(e.source, "aws.partner/"):
		return e.refused(false, "not a finding of an AWS service: the source is %q", words(e.source, 80))
	case e.detail == nil:
		return e.refused(tell, "not a finding: its detail is %s", formOf(e.whole.at("detail")))
	}
	if e.source == "" {
		return e.sourceless(depth)
	}
	for _, f := range formats {
		if f.envelope(e) {
			return f.read(e)
		}
	}
	for _, word := range security[e.source] {
		if strings.Contains(strings.ToLower(e.detailType), strings.ToLower(word)) || e.detailType == "" {
			return e.refused(true, "a finding that is not read: %s %q", words(e.source, 80), words(e.detailType, 80))
		}
	}
	return e.refused(false, "not a finding: %s %q", words(e.source, 80), words(e.detailType, 80))
}

// sourceless reads an envelope that does not say whose it is. What lies in it may be a finding, which nobody vouches for; each of
// several keeps such an envelope.
func (e event) sourceless(depth int) []reading {
	var out []reading
	if depth < maxDepth {
		out = readRecord(e.detail, depth+1)
	}
	if len(out) == 0 || len(out) == 1 && out[0].refusal != nil && !out[0].refusal.Tell && out[0].refusal.Read == nil {
		return e.refused(false, "not an event of EventBridge: it has no source")
	}
	for i := range out {
		out[i].finding.doubt("its envelope names no source")
		out[i].alone = map[string]any{"detail": out[i].alone}
	}
	return out
}

// read decodes, and refuses what says two things at once: another reader of the same JSON would take the other one.
func (f format) read(e event) []reading {
	out := f.decode(e)
	key := twice(map[string]any(e.whole))
	if key == "" {
		key = twice(map[string]any(e.detail))
	}
	for i := range out {
		if r := &out[i]; key != "" && r.refusal == nil {
			one := e
			one.whole = tree{"": r.alone}
			r.refusal = one.unreadable(r.finding, "a finding", "the key %q stands twice in it, with different values", words(key, 80))
		}
	}
	return out
}

// wrappers are the keys under which records lie in what carries them: CloudTrail's files, Lambda's events of SNS and SQS,
// notifications of SNS, the answers of ReceiveMessage, GetFindings and ListFindings, recordings of those.
var wrappers = []string{"Records", "Sns", "Messages", "body", "Body", "Message", "Findings", "findings", "finding", "data", "logEvents", "message", "Entries", "events", "event", "event_payload"}

// readRecord reads a record without envelope: one of the formats, or something that carries some.
func readRecord(t tree, depth int) []reading {
	e := event{whole: t, detail: t}
	for _, f := range formats {
		if f.bare(t) {
			return f.read(e)
		}
	}
	if t.object("detail") != nil {
		e.source, e.account, e.region, e.detail = t.text("source"), t.digits("account"), t.text("region"), t.object("detail")
		return e.read(depth)
	}
	for _, key := range wrappers {
		inner := t[key]
		if s, ok := inner.(string); ok {
			v, err := parse([]byte(s))
			if err != nil {
				continue
			}
			inner = v
		}
		switch inner.(type) {
		case map[string]any, []any:
			if depth >= maxDepth {
				return e.refused(false, "not a finding: it is wrapped more than %d times", maxDepth)
			}
			return read(inner, depth+1)
		}
	}
	if t.at("invokingEvent") != nil {
		return e.refused(false, "not a finding: AWS Config asks a rule of its own to evaluate")
	}
	return e.refused(false, "not an event of EventBridge: it has no source and no detail-type, and not a finding in a form that is read")
}

func (e event) refuse(tell bool, reason string, args ...any) *Refusal {
	// Keys come out sorted: the same event has the same hash however it was written.
	canonical, _ := json.Marshal(map[string]any(e.whole))
	sum := sha256.Sum256(canonical)
	return &Refusal{
		Reason: fmt.Sprintf(reason, args...), Tell: tell, ID: hex.EncodeToString(sum[:]),
		Source: words(e.source, 80), DetailType: words(e.detailType, 80), Account: words(e.account, 20), Region: words(e.region, 30),
	}
}

// unreadable refuses what claims to be a finding, with what could be read of it. People hear of it, unless it would not be acted
// on by anybody's rule anyway.
func (e event) unreadable(f Finding, what, format string, args ...any) *Refusal {
	r := e.refuse(true, what+" that cannot be read: "+format, args...)
	return r.has(f)
}

// has says what could be read. Nothing in it is a target. Where that tells which finding it is, all copies and updates of it are
// one refusal: people hear of it once.
func (r *Refusal) has(f Finding) *Refusal {
	if accountID.MatchString(f.Account) && f.NativeID != "" && len(f.NativeID) <= 2048 {
		sum := sha256.Sum256([]byte(strings.Join([]string{f.Product, f.Account, f.Region, f.NativeID}, "\x00")))
		r.ID = hex.EncodeToString(sum[:])
	}
	f.Resources = slices.Clone(f.Resources)
	for i := range f.Resources {
		f.Resources[i].ARN = ""
	}
	f.Principal = Principal{}
	r.Read = &f
	if idle := f.Idle(); idle != "" {
		r.Tell, r.Reason = false, r.Reason+"; "+idle
	}
	return r
}

// doubt keeps the first reason why a finding may not be acted on.
func (f *Finding) doubt(reason string, args ...any) {
	if f.Doubt == "" {
		f.Doubt = fmt.Sprintf(reason, args...)
	}
}

// word reads what is one of these words, in capitals, or missing. Where it is anything else the finding is in doubt.
func (f *Finding) word(t tree, words []string, path ...string) string {
	v, word := t.at(path...), strings.ToUpper(strings.TrimSpace(t.text(path...)))
	if v != nil && v != "" && !slices.Contains(words, word) {
		f.doubt("%s is %s, which says nothing", strings.Join(path, "."), shown(v))
	}
	return word
}

// object doubts what should be an object, or missing, and is neither.
func (f *Finding) object(t tree, path ...string) {
	if v := t.at(path...); v != nil && formOf(v) != "an object" {
		f.doubt("%s is %s, not an object", strings.Join(path, "."), formOf(v))
	}
}

// check refuses a finding whose account or id is none.
func (e event) check(f Finding, what string) *Refusal {
	switch {
	case f.NativeID == "" || len(f.NativeID) > 2048:
		return e.unreadable(f, what, "its id is missing or longer than 2,048 characters")
	case !accountID.MatchString(f.Account):
		return e.unreadable(f, what, "its account is %s, not a string of 12 digits", quoted(f.Account))
	case f.Region != "" && !regionName.MatchString(f.Region):
		return e.unreadable(f, what, "its region is %s, not the name of a region", quoted(f.Region))
	case f.Type == "":
		return e.unreadable(f, what, "its type is missing")
	}
	return nil
}

// done ends a decoder: the finding, or the reason why it is none.
func (e event) done(f Finding, what string, alone any) []reading {
	if r := e.check(f, what); r != nil {
		return []reading{{refusal: r, alone: alone}}
	}
	return read1(f, alone)
}

func quoted(s string) string {
	if s == "" {
		return "missing"
	}
	return fmt.Sprintf("%q", words(s, 60))
}

// Refused gives the refusal in err, nil where there is none.
func Refused(err error) *Refusal {
	var r *Refusal
	errors.As(err, &r)
	return r
}

// valueOf is formOf for what is there, and may be null.
func valueOf(v any) string {
	if v == nil {
		return "null"
	}
	return formOf(v)
}

// formOf says in words what a JSON value is.
func formOf(v any) string {
	switch v.(type) {
	case nil:
		return "missing"
	case []any:
		return "a list"
	case string:
		return "a string"
	case bool:
		return "true or false"
	case map[string]any:
		return "an object"
	}
	return "a number"
}

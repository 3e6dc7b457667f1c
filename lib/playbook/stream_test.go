package playbook

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/lib/fault"
	"firebreak/lib/finding"
	"firebreak/lib/findingtest"
	"firebreak/lib/incident"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"
)

func TestAStreamGivesALineAFindingInOrder(t *testing.T) {
	b := book(t)
	in := string(event(t, "guardduty-crypto-mining")) + "\n[" + string(event(t, "securityhub-custom-action")) + ",{}]\nnonsense\n" + string(event(t, "guardduty-sample"))
	var got []string
	next, err := b.Stream("in.json", strings.NewReader(in), 5, 25, func(l Line) error {
		got = append(got, fmt.Sprint(l.Record, " ", l.Finding, " ", l.Disposition))
		return nil
	})
	want := []string{"5 0 respond", "6 0 notify", "6 1 record", "7 0 ignore", "8 0 record"}
	if diff := cmp.Diff(want, got); diff != "" || next != 9 {
		t.Errorf("next %d, lines (-want +got):\n%s", next, diff)
	}
	var m *finding.Misread
	if !errors.As(err, &m) || m.File != "in.json" || m.Column != 2 || !strings.Contains(err.Error(), "in.json:") {
		t.Errorf("error %v", err)
	}
	stop := errors.New("stop")
	if _, err := b.Stream("in.json", strings.NewReader(in), 0, 25, func(Line) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("error %v", err)
	}
}

// The contract of plan --json: every key, null for what is unknown, never a null list, whatever comes in.
func TestEveryLineHasTheWholeShape(t *testing.T) {
	b := book(t)
	files, _ := filepath.Glob("../../events/*.json")
	keys := []string{"account", "contain", "disposition", "eradicate", "finding", "findingId", "incidentId", "playbook", "product", "reason", "record", "region", "resources", "rule", "score", "severity", "title", "type"}
	inputs := [][]byte{[]byte("null"), []byte("7"), []byte(`"x"`), []byte("true"), []byte("{}"), []byte("[]"), []byte("[null]"), []byte(`{"detail-type":"GuardDuty Finding","source":"aws.guardduty","detail":{}}`)}
	for _, f := range files {
		inputs = append(inputs, event(t, strings.TrimSuffix(filepath.Base(f), ".json")))
	}
	for _, in := range inputs {
		lines := b.Lines(0, in, 25)
		if len(lines) == 0 {
			t.Errorf("%.60s gives no line", in)
		}
		for i, l := range lines {
			out, err := json.Marshal(l)
			if err != nil {
				t.Fatal(err)
			}
			var m map[string]any
			if err := json.Unmarshal(out, &m); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(keys, slices.Sorted(maps.Keys(m))); diff != "" {
				t.Errorf("%s: %s", out, diff)
			}
			for k, v := range m {
				if list := k == "contain" || k == "eradicate" || k == "resources"; list && v == nil || v == "" {
					t.Errorf("%s is %v in %s", k, v, out)
				}
			}
			if l.Finding != i || !slices.Contains([]Disposition{Respond, Notify, Record, Ignore}, l.Disposition) {
				t.Errorf("finding %d, disposition %q", l.Finding, l.Disposition)
			}
			if acts := len(l.Contain) + len(l.Eradicate); l.Disposition == Record && acts > 0 || l.Disposition == Ignore && (acts > 0 || l.Rule != "") {
				t.Errorf("%s with %v", l.Disposition, l.Contain)
			}
		}
	}
}

func TestAnExplanationSaysWhatDecidedAndWhatWouldHaveToDiffer(t *testing.T) {
	b := book(t)
	explain := func(name string) Explanation {
		fs, err := finding.Decode(event(t, name))
		if err != nil {
			t.Fatal(err)
		}
		return b.Explain(fs[0], 25)
	}
	e := explain("guardduty-brute-force-target")
	if e.Name != "instance-findings" || len(e.Others) == 0 || e.Others[0].Name != "attacking-instance" || !e.Others[0].Before {
		t.Fatalf("%+v", e)
	}
	if diff := cmp.Diff([]string{"severity would have to be HIGH or above; it is LOW", "role would have to be actor; it is target"}, e.Others[0].Misses); diff != "" {
		t.Errorf("%s in\n%s", diff, e)
	}
	for _, want := range []string{"decided by rule instance-findings (lib/playbook/builtin.yaml:", "type is UnauthorizedAccess:EC2/SSHBruteForce, and the rule is for *:EC2/*", "rule attacking-instance", "does isolate-instance, snapshot-volumes, terminate-instance"} {
		if !strings.Contains(e.String(), want) {
			t.Errorf("%q is missing in\n%s", want, e)
		}
	}
	if e := explain("guardduty-sample"); e.Name != "" || !strings.Contains(e.Held[0], "a sample finding") || len(e.Others) != 0 {
		t.Errorf("%+v", e)
	}
	if e := explain("guardduty-unknown-type"); e.Rule != "" || e.Disposition != Notify || !strings.Contains(e.String(), "to the letter") {
		t.Errorf("%s", e)
	}
	out, err := json.Marshal(explain("guardduty-crypto-mining"))
	if err != nil || !strings.Contains(string(out), `"rule":"lib/playbook/builtin.yaml:`) || strings.Contains(string(out), "null") {
		t.Errorf("%s %v", out, err)
	}
}

func TestACheckRemarksWhatIsPerhapsNotMeant(t *testing.T) {
	const text = `rules:
  - name: narrow
    when: {product: [aws/guardduty], type: ["Trojan:EC2/DropPont"], severity: {from: HIGH}}
    contain: [{action: isolate-instance, target: instance}]
    notify: {audience: security}
  - name: wide
    when: {type: ["Trojan:*"]}
    contain: [{action: isolate-instance, target: instance}]
    notify: {audience: security}
  - name: hidden
    when: {type: ["Trojan:EC2/DropPoint"], region: [us-east-1]}
    notify: {audience: security}
  - name: tagged
    when: {tags: {ignore: ["*"]}}
  - name: misspelt
    when: {product: [aws/gaurdduty], resourceType: [instance], account: ["22222222222"], region: ["us-[ew]*"]}
`
	remarks, err := Check("own.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`own.yaml:2: rule narrow: "Trojan:EC2/DropPont" is none of the GuardDuty types that this version knows: Trojan:EC2/DropPoint is probably meant`,
		"own.yaml:6: rule wide: it acts and names no product: a finding of another one with such a type would be acted on too",
		"own.yaml:10: rule hidden: rule wide in line 6 decides before it, whatever this one is for",
		"own.yaml:13: rule tagged: whoever may tag a resource can bring its findings here, where nothing is contained",
		`own.yaml:15: rule misspelt: "aws/gaurdduty" is none of the products that this version knows: aws/guardduty is probably meant`,
		`own.yaml:15: rule misspelt: "instance" is none of the kinds of resource that this version knows: Instance is probably meant`,
		`own.yaml:15: rule misspelt: "22222222222" is no account: an account has 12 digits`,
		`own.yaml:15: rule misspelt: in "us-[ew]*" only * stands for something else than itself`,
	}
	if diff := cmp.Diff(want, remarks); diff != "" {
		t.Error(diff)
	}
	if remarks, err := Check("builtin.yaml", builtin); err != nil || len(remarks) > 0 {
		t.Errorf("the built-in playbook: %v %v", remarks, err)
	}
	if _, err := Check("own.yaml", []byte("rules:\n  - nam: a\n")); !fault.Is(err, fault.Unreadable) || !strings.Contains(err.Error(), `own.yaml:2: unknown key "nam": name is probably meant`) {
		t.Errorf("got %v", err)
	}
}

// objects is a bucket with versions.
type objects struct {
	bodies map[string]string
	err    error
	reads  int
}

func (o *objects) GetObject(_ context.Context, in *s3.GetObjectInput, _ ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	o.reads++
	if o.err != nil {
		return nil, o.err
	}
	return &s3.GetObjectOutput{Body: io.NopCloser(strings.NewReader(o.bodies[aws.ToString(in.Bucket)+"/"+aws.ToString(in.Key)+"?"+aws.ToString(in.VersionId)]))}, nil
}

// P6: a playbook that is not exactly the one that the settings name decides nothing.
func TestAnInstallationsOwnPlaybookIsThePinnedOne(t *testing.T) {
	const text = "rules:\n  - name: own\n    when: {type: [\"Trojan:*\"]}\n    notify: {audience: security}\n"
	sum := sha256.Sum256([]byte(text))
	own := setting.Playbook{Source: "s3", Bucket: "playbooks", Key: "own.yaml", Version: "v1", SHA256: hex.EncodeToString(sum[:])}
	bucket := &objects{bodies: map[string]string{"playbooks/own.yaml?v1": text, "playbooks/own.yaml?v2": text + "# changed\n", "playbooks/long.yaml?v1": text + strings.Repeat("#\n", maxBytes)}}
	l := NewLibrary(bucket)
	for range 3 {
		b, err := l.Load(t.Context(), own)
		if err != nil || b.File != "s3://playbooks/own.yaml?versionId=v1" {
			t.Fatalf("%v %v", b, err)
		}
		if d := b.Decide(plain("Trojan:EC2/DropPoint", "Instance", "HIGH", "-"), 25); d.Rule != "s3://playbooks/own.yaml?versionId=v1:2" {
			t.Errorf("rule %q", d.Rule)
		}
	}
	if bucket.reads != 1 {
		t.Errorf("it was read %d times", bucket.reads)
	}
	with := func(change func(*setting.Playbook)) setting.Playbook { p := own; change(&p); return p }
	for name, c := range map[string]struct {
		of   setting.Playbook
		says string
	}{
		"another version": {with(func(p *setting.Playbook) { p.Version = "v2" }), "has the hash"},
		"another hash":    {with(func(p *setting.Playbook) { p.SHA256 = strings.Repeat("0", 64) }), "the settings say 0000"},
		"no such version": {with(func(p *setting.Playbook) { p.Version = "v9" }), "has the hash"},
		"too long":        {with(func(p *setting.Playbook) { p.Key = "long.yaml" }), "longer than"},
		"unknown source":  {setting.Playbook{Source: "elsewhere"}, `the playbook "elsewhere"`},
	} {
		if b, err := l.Load(t.Context(), c.of); b != nil || !fault.Is(err, fault.Unreadable) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v %v", name, b, err)
		}
	}
	bucket.err = errors.New("no bucket")
	if b, err := l.Load(t.Context(), with(func(p *setting.Playbook) { p.Key = "other.yaml" })); b != nil || !fault.Is(err, fault.Unreadable) {
		t.Errorf("the bucket is gone: %v %v", b, err)
	}
	if b, err := l.Load(t.Context(), setting.Playbook{Source: "builtin"}); err != nil || b.File != "lib/playbook/builtin.yaml" {
		t.Errorf("the built-in one: %v %v", b, err)
	}
}

// Order of keys, fields that nobody knows and forms of numbers never change a decision: over events/, the corpus where it lies
// beside the repository, and the records that nobody has seen.
func TestWhatSaysNothingChangesNoDecision(t *testing.T) {
	b, rnd := book(t), rand.New(rand.NewPCG(3, 4))
	records, _ := findingtest.Records(t, "../..")
	for _, c := range unseen(t) {
		if !strings.Contains(c.name, "twice") { // scrambling reads the last of two
			records = append(records, findingtest.Record{File: c.name, Raw: []byte(c.in)})
		}
	}
	for _, r := range records {
		want := b.Lines(0, r.Raw, 25)
		dec := json.NewDecoder(bytes.NewReader(r.Raw))
		dec.UseNumber()
		var v any
		if err := dec.Decode(&v); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		for range 3 {
			out.Reset()
			scramble(&out, v, rnd)
			got := b.Lines(0, out.Bytes(), 25)
			for i := range got {
				if i < len(want) && (want[i].FindingID == "" || !twelve.MatchString(string(want[i].Account))) {
					got[i].IncidentID = want[i].IncidentID // what is no finding of anybody is known by its content
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%s %d: %.3000s\nfrom %.3000s", r.File, r.Number, diff, out.String())
			}
		}
	}
	t.Logf("%d records, three times each", len(records))
}

var twelve = regexp.MustCompile(`^\d{12}$`)

// scramble writes JSON in another order, with more fields and other forms of numbers.
func scramble(b *bytes.Buffer, v any, rnd *rand.Rand) {
	switch v := v.(type) {
	case map[string]any:
		keys := slices.Sorted(maps.Keys(v))
		if rnd.IntN(4) == 0 && v["AWS"] == nil && len(keys) > 4 {
			keys = append(keys, fmt.Sprintf("neverHeardOf%d", rnd.IntN(9)))
		}
		rnd.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		b.WriteByte('{')
		for i, k := range keys {
			if i > 0 {
				b.WriteString(", ")
			}
			name, _ := json.Marshal(k)
			b.Write(name)
			b.WriteString(" : ")
			if val, ok := v[k]; ok {
				scramble(b, val, rnd)
			} else {
				b.WriteString([]string{`"odd"`, "1", "null", "{}", "[true]"}[rnd.IntN(5)])
			}
		}
		b.WriteByte('}')
	case []any:
		b.WriteByte('[')
		for i, item := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			scramble(b, item, rnd)
		}
		b.WriteByte(']')
	case json.Number:
		s := v.String()
		if !strings.ContainsAny(s, ".eE") && len(s) < 15 {
			s += []string{"", ".0", "e0", ".00E+0"}[rnd.IntN(4)]
		}
		b.WriteString(s)
	default:
		out, _ := json.Marshal(v)
		b.Write(out)
	}
}

// inTime ends the process where one input takes longer than three seconds, until what it gives is called: a worker that still
// hangs when -fuzztime is up is killed by Go, and the run counts as passed.
func inTime() (read func() bool) {
	return time.AfterFunc(3*time.Second, func() { panic("one input takes longer than three seconds") }).Stop
}

func FuzzParse(f *testing.F) {
	f.Add(builtin)
	f.Add([]byte("rules:\n  - name: a\n    when: {severity: {from: HIGH}, tags: {a: [\"b*\"]}, organizationalUnit: [x]}\n    notify: {audience: security, escalate: 1h, from: LOW}\n"))
	f.Add([]byte("rules:\n  - name: a\n    fanOut: true\n    contain: [{action: deactivate-keys, target: key, with: {exposed: \"true\", keyId: finding.keyId}}]\n    notify: {audience: owner}\n"))
	finds := []finding.Finding{
		{Product: finding.GuardDuty, Type: "Trojan:EC2/DropPoint", Account: "222222222222", Band: incident.High},
		plain("Trojan:EC2/DropPoint", "Instance", "HIGH", "user"),
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		defer inTime()()
		b, err := Parse("p.yaml", data, Actions())
		if (b == nil) == (err == nil) {
			t.Fatalf("book %v with error %v", b, err)
		}
		if err != nil && (!fault.Is(err, fault.Unreadable) || !strings.HasPrefix(err.Error(), "playbook p.yaml:")) {
			t.Fatalf("an error without its place: %v", err)
		}
		if b == nil {
			return
		}
		for _, f := range finds {
			d := b.Decide(f, 25)
			if d.Disposition != Respond && len(d.Plan.Eradicate) > 0 || len(d.Plan.Contain) > 25 {
				t.Fatalf("%+v", d)
			}
			_ = b.Explain(f, 25).String()
		}
		if _, err := Check("p.yaml", data); err != nil {
			t.Fatalf("Parse takes it and Check does not: %v", err)
		}
	})
}

// A glob agrees with its meaning, spelt out slowly.
func FuzzGlob(f *testing.F) {
	for _, s := range [][2]string{{"Trojan:*", "Trojan:EC2/DropPoint"}, {"*a*b*", "xaxb"}, {"a*a", "a"}, {"**", ""}, {"*:IAMUser/*", "x:IAMUser/"}, {"", ""}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 40 || len(s) > 60 {
			return
		}
		defer inTime()()
		if got, want := glob(pattern, s), slowGlob(pattern, s); got != want {
			t.Fatalf("glob(%q, %q) = %v, want %v", pattern, s, got, want)
		}
	})
}

func slowGlob(pattern, s string) bool {
	match := make([]bool, len(s)+1)
	match[0] = true
	for i := range len(pattern) {
		next := make([]bool, len(s)+1)
		if pattern[i] == '*' {
			seen := false
			for j := range next {
				seen = seen || match[j]
				next[j] = seen
			}
		} else {
			for j := range len(s) {
				next[j+1] = match[j] && s[j] == pattern[i]
			}
		}
		match = next
	}
	return match[len(s)]
}

// BenchmarkDecide reads and decides each record of the corpus, or of events/ where there is no corpus: one operation is one record.
func BenchmarkDecide(b *testing.B) {
	records, corpus := findingtest.Records(b, "../..")
	records = slices.DeleteFunc(records, func(r findingtest.Record) bool { return strings.HasPrefix(r.File, "corpus/") != corpus })
	bk := book(b)
	findings := 0
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; b.Loop(); n++ {
		findings += len(bk.Lines(0, records[n%len(records)].Raw, 25))
	}
	b.ReportMetric(float64(findings)/b.Elapsed().Seconds(), "findings/s")
	b.ReportMetric(float64(findings)/float64(b.N), "findings/op")
}

// BenchmarkDecideOne is the same for one GuardDuty finding in its envelope.
func BenchmarkDecideOne(b *testing.B) {
	raw, bk := event(b, "guardduty-crypto-mining"), book(b)
	b.ReportAllocs()
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		bk.Lines(0, raw, 25)
	}
}

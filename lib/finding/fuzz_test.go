package finding

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"firebreak/lib/fault"
	"firebreak/lib/incident"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

// seeds gives every event of events/, and every record of the corpus where it lies beside the repository.
func seeds(f *testing.F, add func(raw []byte)) {
	f.Helper()
	files, err := filepath.Glob("../../events/*.json")
	if err != nil || len(files) == 0 {
		f.Fatalf("no events: %v", err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		add(raw)
	}
	dir := os.Getenv("FIREBREAK_CORPUS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "corpus")
	}
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(filepath.Ext(path), ".json") {
			return nil
		}
		in, err := os.Open(path)
		if err != nil {
			return nil
		}
		defer in.Close()
		n := 0
		return Records(path, in, func(raw []byte) error {
			if n++; len(raw) < 32<<10 && n <= 3 {
				add(bytes.Clone(raw))
			}
			return nil
		})
	})
}

// inTime ends the process where one input takes longer than three seconds, until what it gives is called: a worker that still
// hangs when -fuzztime is up is killed by Go, and the run counts as passed.
func inTime() (read func() bool) {
	return time.AfterFunc(3*time.Second, func() { panic("one input takes longer than three seconds") }).Stop
}

// sound fails the test where what Decode gives cannot be relied on: findings or an error, never both and never neither; a
// finding has a type, an id and an account; an ARN is one, is of the account that the resource says, and is of the kind.
func sound(t *testing.T, raw []byte) {
	t.Helper()
	defer inTime()()
	fs, err := Decode(raw)
	var r *Refusal
	switch {
	case err != nil && (len(fs) > 0 || !errors.As(err, &r) && !fault.Is(err, fault.BadInput)):
		t.Fatalf("%d findings with %v", len(fs), err)
	case err != nil:
		if r != nil && (r.Reason == "" || len(r.ID) != 64) {
			t.Fatalf("a refusal without a reason or an id: %q %q", r.Reason, r.ID)
		}
		return
	case len(fs) == 0:
		t.Fatal("neither findings nor an error")
	}
	for _, f := range fs {
		if f.Refusal != nil {
			if len(fs) == 1 {
				t.Fatal("a refusal that is no error")
			}
			continue
		}
		if !accountID.MatchString(f.Account) || f.Region != "" && !regionName.MatchString(f.Region) || f.Type == "" || f.NativeID == "" || f.Product == "" || f.Band == "" {
			t.Fatalf("account %q, region %q, type %q, id %q, product %q, band %q", f.Account, f.Region, f.Type, f.NativeID, f.Product, f.Band)
		}
		for _, res := range f.Resources {
			if res.ARN == "" {
				continue
			}
			a, err := arn.Parse(res.ARN)
			if err != nil || !wellFormed(a) || a.AccountID != "" && a.AccountID != res.Account {
				t.Fatalf("%s %q of %q: %v", res.Type, res.ARN, res.Account, err)
			}
			if sh, ok := shapes[res.Type]; ok && (a.Service != sh.service || !strings.HasPrefix(a.Resource, sh.prefix) || !sh.global && a.Region == "") {
				t.Fatalf("%s is no ARN of a %s", res.ARN, res.Type)
			}
			if _, err := incident.ParseTarget(incident.Step{Action: "notify", Target: res.ARN}, incident.Ref{Account: res.Account, Region: f.Region}); err != nil {
				t.Fatal(err)
			}
		}
		if p := f.Principal; p.ARN != "" && !strings.Contains(p.ARN, ":"+f.Account+":") {
			t.Fatalf("the principal %s is not of account %s", p.ARN, f.Account)
		}
	}
	again, err := Decode(raw)
	if err != nil || len(again) != len(fs) || again[0].IncidentID() != fs[0].IncidentID() {
		t.Fatal("it reads differently the second time")
	}
}

// Whatever comes: findings that can be relied on, a refusal, or BadInput; never a panic.
func FuzzDecode(f *testing.F) {
	seeds(f, func(raw []byte) { f.Add(raw) })
	f.Fuzz(sound)
}

// fuzzDetail fuzzes what lies in the envelope of one source, so that every run reaches its decoder.
func fuzzDetail(f *testing.F, source string, types ...string) {
	seeds(f, func(raw []byte) {
		var e map[string]json.RawMessage
		if json.Unmarshal(raw, &e) != nil {
			return
		}
		var s string
		if _ = json.Unmarshal(e["source"], &s); s == source || source == "" && strings.Contains(string(e["detail-type"]), "CloudTrail") {
			f.Add([]byte(e["detail"]))
		} else if e["detail-type"] == nil {
			f.Add(raw)
		}
	})
	f.Fuzz(func(t *testing.T, detail []byte) {
		if !json.Valid(detail) {
			return
		}
		for _, kind := range types {
			envelope, err := json.Marshal(map[string]any{
				"source": source, "detail-type": kind, "account": "222222222222", "region": "us-east-1", "id": "1", "detail": json.RawMessage(detail),
			})
			if err != nil {
				t.Fatal(err)
			}
			sound(t, envelope)
		}
		sound(t, detail)
	})
}

func FuzzGuardDuty(f *testing.F) { fuzzDetail(f, "aws.guardduty", "GuardDuty Finding") }
func FuzzSecurityHub(f *testing.F) {
	fuzzDetail(f, "aws.securityhub", "Security Hub Findings - Imported", "Findings Imported V2")
}
func FuzzConfig(f *testing.F) { fuzzDetail(f, "aws.config", "Config Rules Compliance Change") }
func FuzzAccessAnalyzer(f *testing.F) {
	fuzzDetail(f, "aws.access-analyzer", "Access Analyzer Finding", "Unused Access Finding for IAM entities")
}
func FuzzCloudTrail(f *testing.F) { fuzzDetail(f, "aws.ec2", "AWS API Call via CloudTrail") }
func FuzzHealth(f *testing.F) {
	fuzzDetail(f, "aws.health", "AWS Health Event", "AWS Health Abuse Event")
}
func FuzzInspector(f *testing.F)        { fuzzDetail(f, "aws.inspector2", "Inspector2 Finding") }
func FuzzMacie(f *testing.F)            { fuzzDetail(f, "aws.macie", "Macie Finding") }
func FuzzIncidentResponse(f *testing.F) { fuzzDetail(f, "aws.security-ir", "Case Created") }

// Security Hub's two formats, each alone in its event: one finding that the fuzzer changes.
func FuzzASFF(f *testing.F) { fuzzHubFinding(f, `"ProductArn"`) }
func FuzzOCSF(f *testing.F) { fuzzHubFinding(f, `"class_uid"`) }

func fuzzHubFinding(f *testing.F, mark string) {
	seeds(f, func(raw []byte) {
		v, err := parse(raw)
		if err != nil {
			return
		}
		for _, item := range append(asTree(v).items("detail", "findings"), asTree(v)) {
			if one, err := json.Marshal(map[string]any(item)); err == nil && bytes.Contains(one, []byte(mark)) {
				f.Add(one)
			}
		}
	})
	f.Fuzz(func(t *testing.T, one []byte) {
		if !json.Valid(one) {
			return
		}
		sound(t, append(append([]byte(`{"source":"aws.securityhub","detail-type":"Findings Imported V2","account":"222222222222","region":"us-east-1","detail":{"findings":[`), one...), "]}}"...))
	})
}

// Records agrees with encoding/json: what that reads to the end, this reads to the end, and every record is JSON.
func FuzzRecords(f *testing.F) {
	for _, s := range []string{"", "{}", "[{},{}]", "{}\n{}", "{\"a\":\n{\"b\":1}\n{\"c\":2}", "[1,[2],\"\\u00e9\"]x", "\ufeff{}", "01", "[,]", "{\"a\":1e5,\"b\":-0.5}", "[", "\"\\x\"", "tru", "nulll", "[]\n[]"} {
		f.Add([]byte(s))
	}
	seeds(f, func(raw []byte) { f.Add(raw) })
	f.Fuzz(func(t *testing.T, data []byte) {
		defer inTime()()
		var got int
		err := Records("f", bytes.NewReader(data), func(raw []byte) error {
			if got++; !json.Valid(raw) {
				t.Fatalf("%q is given as a record", raw)
			}
			return nil
		})
		want, fine := 0, true
		for dec := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(data, []byte("\ufeff")))); ; {
			var v json.RawMessage
			if e := dec.Decode(&v); e == io.EOF {
				break
			} else if e != nil {
				fine = false
				break
			}
			var list []json.RawMessage
			if json.Unmarshal(v, &list) == nil && list != nil {
				want += len(list)
			} else {
				want++
			}
		}
		if fine && adjacent(data) || bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
			return
		}
		if fine != (err == nil) || fine && got != want {
			t.Fatalf("encoding/json reads all: %v, %d records; this: %v, %d records", fine, want, err, got)
		}
	})
}

// adjacent tells whether values that need something between them may stand without: encoding/json takes 1"a" for two values.
func adjacent(data []byte) bool {
	for i := 1; i < len(data); i++ {
		word := func(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c == '-' || c == '"' }
		if word(data[i-1]) && word(data[i]) {
			return true
		}
	}
	return false
}

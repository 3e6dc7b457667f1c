package finding

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestRecordsOfAFile(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     []string
		wrong    string
	}{
		{"one", `{"a":1}`, []string{`{"a":1}`}, ""},
		{"none", " \n", nil, ""},
		{"a list", `[{"a":1}, {"b":2}]`, []string{`{"a":1}`, `{"b":2}`}, ""},
		{"an empty list", `[]`, nil, ""},
		{"JSON Lines", "{\"a\":1}\n{\"b\":2}\n", []string{`{"a":1}`, `{"b":2}`}, ""},
		{"one after another", `{"a":1}{"b":2}[3,4]`, []string{`{"a":1}`, `{"b":2}`, "3", "4"}, ""},
		{"other values", `"x" 7 null true`, []string{`"x"`, "7", "null", "true"}, ""},
		{"a mark at the beginning", "\ufeff{}", []string{"{}"}, ""},
		{"lists in lists", `[[{}],[]]`, []string{"[{}]", "[]"}, ""},
		{"broken in a list on one line", `[{"a":1}, {"b": tru}, {"c":3}] {"d":4}`, []string{`{"a":1}`, `{"c":3}`, `{"d":4}`}, `f:1:20: '}' stands where true should follow`},
		{"broken in an indented list", "[\n  {\n    \"a\": {\n      \"x\": 1\n    }\n  },\n  {\n    \"b\": {\n      \"y\": tru\n    }\n  },\n  {\n    \"c\": 3\n  }\n]", []string{"{\n    \"a\": {\n      \"x\": 1\n    }\n  }", "{\n    \"c\": 3\n  }"}, `f:9:15: the byte 0x0a stands where true should follow`},
		{"not finished in an indented list", "[\n  {\"a\": 1},\n  {\"b\": {\"x\": 1},\n  {\"c\": 3}\n]", []string{`{"a": 1}`, `{"c": 3}`}, `f:4:3: '{' stands where a key in quotes should follow`},
		{"a comma is missing", `[{"a":1} {"b":2}]`, []string{`{"a":1}`, `{"b":2}`}, `f:1:10: '{' stands where a comma or the end of the list should follow`},
		{"two commas", `[{"a":1},,{"b":2}]`, []string{`{"a":1}`, `{"b":2}`}, `f:1:10: ',' stands where a value should follow`},
		{"commas between records", `{"a":1},{"b":2}`, []string{`{"a":1}`, `{"b":2}`}, `f:1:8: ',' stands where a value should follow`},
		{"a brace too many", `{"a":1}}{"b":2}`, []string{`{"a":1}`, `{"b":2}`}, `f:1:8: '}' stands where a value should follow`},
		{"a brace too many in a list", `[{"a":1}},{"b":2}]`, []string{`{"a":1}`, `{"b":2}`}, `f:1:9: '}' stands where a comma or the end of the list should follow`},
		{"a word in a list", `[{"a":1},oops,{"b":2}]`, []string{`{"a":1}`, `{"b":2}`}, `f:1:10: 'o' stands where a value should follow`},
		{"the wrong bracket", `[{"a":[1,2},{"b":2}]`, []string{`{"b":2}`}, `f:1:11: '}' stands where a comma or ']' should follow`},
		{"a list after what is broken", "{\"a\": tru}[{\"b\":2}]\n", []string{`{"b":2}`}, `f:1:10: '}' stands where true should follow`},
		{"a brace in a text of what is broken", `[{"a":"}","b":tru},{"c":3}]`, []string{`{"c":3}`}, `f:1:18: '}' stands where true should follow`},
		{"a line that is none", "{\"a\":1}\nhello\n{\"b\":2}\n", []string{`{"a":1}`, `{"b":2}`}, `f:2:1: 'h' stands where a value should follow`},
		{"a line that is not finished", "{\"a\":1}\n{\"b\":\n{\"c\":3}\n{\"d\":4}\n", []string{`{"a":1}`, `{"c":3}`, `{"d":4}`}, `f:2:6: the record is not finished when the next one begins`},
		{"the last line is not finished", "{\"a\":1}\n{\"b\":2", []string{`{"a":1}`}, `f:2:7: it ends where a comma or '}' should follow`},
		{"broken in the middle of a list", "[\n{\"a\":1},\n{\"b\":},\n{\"c\":3}\n]", []string{`{"a":1}`, `{"c":3}`}, `f:3:6: '}' stands where a value should follow`},
		{"broken over lines", "{\n  \"a\": 1,\n  \"b\" 2\n}\n{\"c\":3}", []string{`{"c":3}`}, `f:3:7: '2' stands where a colon should follow`},
		{"a list that does not end", `[{"a":1}`, []string{`{"a":1}`}, `f:1:9: it ends in the middle of a list`},
		{"a comma too many", `[{"a":1},]`, []string{`{"a":1}`}, `f:1:10: ']' stands where a value should follow`},
		{"a comma in an object", `{"a":1,}`, nil, `f:1:8: '}' stands where a key in quotes should follow`},
		{"single quotes", `{'a':1}`, nil, `f:1:2: '\'' stands where a key in quotes should follow`},
		{"a number that is none", `{"a":01}`, nil, `f:1:7: '1' stands where the end of the number should follow`},
		{"NaN", `{"a":NaN}`, nil, `f:1:6: 'N' stands where a value should follow`},
		{"a new line in a text", "{\"a\":\"x\ny\"}", nil, `f:1:8: the control character 0x0a stands in a text in quotes`},
		{"an escape that is none", `{"a":"\x"}`, nil, `f:1:8: 'x' stands where one of "\/bfnrtu should follow`},
		{"columns are characters", `{"日本":x}`, nil, `f:1:7: 'x' stands where a value should follow`},
		{"UTF-16 of a PowerShell", "\xff\xfe[\x00{\x00\"\x00\xe9\x00\"\x00:\x00\"\x00\x3d\xd8\x25\xdd\"\x00}\x00]\x00\r\x00\n\x00", []string{`{"é":"🔥"}`}, ""},
		{"UTF-16, the other way round", "\xfe\xff\x00{\x00}\x00\n\x00[", []string{`{}`}, `f:2:2: it ends in the middle of a list`},
		{"UTF-16, half a character", "\xff\xfe{\x00}", nil, `f:1:2: the byte 0xef stands where a key in quotes should follow`},
		{"not text at all", "\xff{", nil, `f:1:1: the byte 0xff stands where a value should follow`},
		{"too deep", strings.Repeat("[", 20000), nil, "nested deeper than 10000 levels"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in))} {
				var got []string
				err := Records("f", r, func(raw []byte) error { got = append(got, string(raw)); return nil })
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("records (-want +got):\n%s", diff)
				}
				if c.wrong == "" && err != nil || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
					t.Errorf("error %v, want %s", err, c.wrong)
				}
			}
		})
	}
}

func TestAFileThatIsNoJSONAtAllEnds(t *testing.T) {
	n := 0
	err := Records("f", strings.NewReader(strings.Repeat("{\"a\":\n", 20000)), func([]byte) error { n++; return nil })
	if n != 0 || !strings.HasSuffix(err.Error(), "f: too much of it is no JSON: the rest is not read") {
		t.Errorf("%d records, %.300s", n, err)
	}
}

// However much is broken, what is not is read; a hundred places are named.
func TestEachRecordBetweenBrokenOnesIsRead(t *testing.T) {
	n := 0
	err := Records("f", strings.NewReader(strings.Repeat("{\"a\": tru}\nnonsense\n{\"a\": 1}\n", 5000)), func([]byte) error { n++; return nil })
	if lines := strings.Split(err.Error(), "\n"); n != 5000 || len(lines) != maxMisread+1 || lines[maxMisread] != "f: 9900 more places are no JSON" {
		t.Errorf("%d records, %d lines of errors, the last %s", n, len(lines), lines[len(lines)-1])
	}
}

// A list of any length is never held as a whole.
func TestRecordsAreStreamed(t *testing.T) {
	const each, many = `{"k":"0123456789012345678901234567890123456789"},`, 200000
	in := io.MultiReader(strings.NewReader("["), &repeated{text: each, left: many}, strings.NewReader(`{"last":true}]`))
	n, last := 0, ""
	allocs := testing.AllocsPerRun(1, func() {
		if n > 0 {
			return
		}
		if err := Records("f", in, func(raw []byte) error { n++; last = string(raw); return nil }); err != nil {
			t.Fatal(err)
		}
	})
	if n != many+1 || last != `{"last":true}` {
		t.Errorf("%d records, the last %s (%v allocations)", n, last, allocs)
	}
}

type repeated struct {
	text string
	left int
	rest string
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.rest == "" {
		if r.left == 0 {
			return 0, io.EOF
		}
		r.left, r.rest = r.left-1, r.text
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func TestReadingFailsWhereTheReaderDoes(t *testing.T) {
	boom := errors.New("no such disk")
	err := Records("f", io.MultiReader(strings.NewReader("{}\n{"), iotest.ErrReader(boom)), func([]byte) error { return nil })
	if !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	stop := fmt.Errorf("enough")
	if err := Records("f", strings.NewReader("{}{}"), func([]byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
}

// BenchmarkRecords reads a list of findings: bytes per second are what counts.
func BenchmarkRecords(b *testing.B) {
	one := string(event1(b, "guardduty-crypto-mining"))
	const many = 100
	b.SetBytes(int64(len(one)+1) * many)
	for b.Loop() {
		n := 0
		in := io.MultiReader(strings.NewReader("["), &repeated{text: one + ",", left: many}, strings.NewReader("{}]"))
		if err := Records("f", in, func([]byte) error { n++; return nil }); err != nil || n != many+1 {
			b.Fatal(n, err)
		}
	}
}

package finding

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// tree is a JSON object. Keys are compared exactly: encoding/json's structs would take "Type" and "TYPE" for "type", and a
// finding with an odd extra field would decide differently.
type tree map[string]any

// parse reads one JSON value; numbers stay as they are written.
func parse(raw []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("it ends after %d bytes in the middle of the JSON", len(raw))
		}
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("there is more after the JSON value, at byte %d", dec.InputOffset())
	}
	if colons(raw) != keys(v) {
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
		return marked(dec)
	}
	return v, nil
}

// twiceKey marks an object in which a key stands twice with different values; its value is that key. JSON leaves open which of
// them counts (RFC 8259, section 4).
const twiceKey = "\x00twice"

// twice gives a key that stands twice somewhere in a value, "" where none does.
func twice(v any) string {
	switch v := v.(type) {
	case map[string]any:
		if key, ok := v[twiceKey].(string); ok {
			return key
		}
		for _, item := range v {
			if key := twice(item); key != "" {
				return key
			}
		}
	case []any:
		for _, item := range v {
			if key := twice(item); key != "" {
				return key
			}
		}
	}
	return ""
}

// colons counts the keys that are written in a JSON text.
func colons(raw []byte) (n int) {
	quoted := false
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '"':
			quoted = !quoted
		case '\\':
			i++
		case ':':
			if !quoted {
				n++
			}
		}
	}
	return n
}

// keys counts the keys of a value.
func keys(v any) (n int) {
	switch v := v.(type) {
	case map[string]any:
		n = len(v)
		for _, item := range v {
			n += keys(item)
		}
	case []any:
		for _, item := range v {
			n += keys(item)
		}
	}
	return n
}

// marked reads one value like encoding/json, and marks what stands twice.
func marked(dec *json.Decoder) (any, error) {
	t, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		out := map[string]any{}
		for dec.More() {
			key, err := dec.Token()
			if err != nil {
				return nil, err
			}
			v, err := marked(dec)
			if err != nil {
				return nil, err
			}
			if before, ok := out[key.(string)]; ok && !reflect.DeepEqual(before, v) {
				out[twiceKey] = key
			}
			out[key.(string)] = v
		}
		_, err := dec.Token()
		return out, err
	case json.Delim('['):
		out := []any{}
		for dec.More() {
			v, err := marked(dec)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		_, err := dec.Token()
		return out, err
	}
	return t, nil
}

// at walks down objects; nil where the path ends early.
func (t tree) at(path ...string) any {
	var v any = map[string]any(t)
	for _, key := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return v
}

func (t tree) object(path ...string) tree {
	m, _ := t.at(path...).(map[string]any)
	return m
}

func (t tree) list(path ...string) []any {
	l, _ := t.at(path...).([]any)
	return l
}

// text gives a string, "" for anything else.
func (t tree) text(path ...string) string {
	s, _ := t.at(path...).(string)
	return s
}

// number gives a finite number, also from a string that holds one.
func (t tree) number(path ...string) (float64, bool) {
	var s string
	switch v := t.at(path...).(type) {
	case json.Number:
		s = v.String()
	case string:
		s = strings.TrimSpace(v)
		if strings.Trim(s, "0123456789.eE+-") != "" {
			return 0, false
		}
	default:
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}

// flag gives true or false, also from the strings. A missing or null value is false; ok is false for anything else.
func (t tree) flag(path ...string) (value, ok bool) {
	switch v := t.at(path...).(type) {
	case nil:
		return false, true
	case bool:
		return v, true
	case string:
		switch strings.ToLower(strings.TrimSpace(v)) {
		case "true":
			return true, true
		case "false", "":
			return false, true
		}
	}
	return false, false
}

// asTree is v as an object, nil for anything else.
func asTree(v any) tree {
	m, _ := v.(map[string]any)
	return m
}

// items gives the objects of a list, or the one object where the list was left out: XML-born APIs write either.
func (t tree) items(path ...string) []tree {
	switch v := t.at(path...).(type) {
	case map[string]any:
		return []tree{v}
	case []any:
		var out []tree
		for _, item := range v {
			if o := asTree(item); o != nil {
				out = append(out, o)
			}
		}
		return out
	}
	return nil
}

// any gives the first of these keys that holds a non-empty string.
func (t tree) any(keys ...string) string {
	for _, k := range keys {
		if s := t.text(k); s != "" {
			return s
		}
	}
	return ""
}

// digits gives a string or a whole number as it is written, "" for anything else.
func (t tree) digits(path ...string) string {
	switch v := t.at(path...).(type) {
	case string:
		return v
	case json.Number:
		if n, err := v.Float64(); err == nil && n == math.Trunc(n) && math.Abs(n) < 1<<53 {
			return strconv.FormatInt(int64(n), 10)
		}
		return v.String()
	}
	return ""
}

// with gives a copy in which the value at the path is another; what lies beside the path is shared.
func (t tree) with(value any, path ...string) tree {
	out := maps.Clone(t)
	if out == nil {
		out = tree{}
	}
	if len(path) == 1 {
		out[path[0]] = value
	} else {
		out[path[0]] = map[string]any(t.object(path[0]).with(value, path[1:]...))
	}
	return out
}

// layouts of the times that services write, besides RFC 3339: Health (RFC 1123), Inspector, Security Hub's API in Python.
var layouts = []string{
	time.RFC3339Nano, time.RFC1123, time.RFC1123Z, "Mon, 2 Jan 2006 15:04:05 MST", "Mon Jan 02 15:04:05.000 MST 2006", "Mon Jan _2 15:04:05 MST 2006",
	"2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00", "Jan 2, 2006 3:04:05 PM",
}

// time gives a time, zero for what is none. Numbers are seconds or milliseconds since 1970, by their size.
func (t tree) time(path ...string) time.Time {
	var out time.Time
	switch v := t.at(path...).(type) {
	case string:
		for _, layout := range layouts {
			if parsed, err := time.Parse(layout, v); err == nil {
				out = parsed
				break
			}
		}
	case json.Number:
		n, err := v.Float64()
		if err == nil && n > 1e11 {
			n /= 1000
		}
		if err == nil && n > 0 && n < 1e11 {
			out = time.UnixMicro(int64(math.Round(n * 1e6)))
		}
	}
	if out.Year() < 2000 || out.Year() > 9000 {
		return time.Time{}
	}
	return out.UTC()
}

// first gives the first of these times that is known.
func first(times ...time.Time) time.Time {
	for _, t := range times {
		if !t.IsZero() {
			return t
		}
	}
	return time.Time{}
}

// words cuts text to one line of at most n characters.
func words(s string, n int) string {
	s = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)), " ")
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

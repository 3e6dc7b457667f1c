package finding

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	return v, nil
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

// time gives an RFC 3339 time, zero for anything else.
func (t tree) time(path ...string) time.Time {
	v, err := time.Parse(time.RFC3339Nano, t.text(path...))
	if err != nil || v.Year() < 2000 || v.Year() > 9000 {
		return time.Time{}
	}
	return v.UTC()
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

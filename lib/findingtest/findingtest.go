// Package findingtest gives tests the findings to try: those of events/, and those of public projects where they lie beside the
// repository (they are not part of it; FIREBREAK_CORPUS says where else).
package findingtest

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"firebreak/lib/finding"
)

// Record is one record of a file.
type Record struct {
	// File is events/… or corpus/…, Number counts from 0 in it.
	File   string
	Number int
	Raw    []byte
}

// Records gives the records of events/ and of the corpus, in order; root is the repository. corpus tells whether there is one.
func Records(t testing.TB, root string) (list []Record, corpus bool) {
	t.Helper()
	dir := os.Getenv("FIREBREAK_CORPUS")
	if dir == "" {
		dir = filepath.Join(root, "..", "shared", "corpus")
	}
	var names []string
	paths := map[string]string{}
	for prefix, dir := range map[string]string{"events/": filepath.Join(root, "events"), "corpus/": dir} {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && strings.Contains(filepath.Ext(path), ".json") {
				rel, _ := filepath.Rel(dir, path)
				name := prefix + filepath.ToSlash(rel)
				names, paths[name], corpus = append(names, name), path, corpus || prefix == "corpus/"
			}
			return nil
		})
	}
	slices.Sort(names)
	for _, name := range names {
		data, err := os.ReadFile(paths[name])
		if err != nil {
			t.Fatal(err)
		}
		number := 0
		if err := finding.Records(name, bytes.NewReader(data), func(raw []byte) error {
			list = append(list, Record{name, number, bytes.Clone(raw)})
			number++
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	return list, corpus
}

// OnBus gives a record as EventBridge delivers it: as it is, or a bare record of CloudTrail or GuardDuty in its envelope. ok is
// false for what no bus carries.
func OnBus(raw []byte) (out []byte, ok bool) {
	var m map[string]any
	if json.Unmarshal(raw, &m) != nil {
		return nil, false
	}
	arn, _ := m["arn"].(string)
	service, _ := m["eventSource"].(string)
	kind, source := "", ""
	switch from, isAWS := strings.CutSuffix(service, ".amazonaws.com"); {
	case m["detail-type"] != nil && m["source"] != nil && m["detail"] != nil:
		return raw, true
	case isAWS && m["eventName"] != nil:
		kind, source = "AWS API Call via CloudTrail", "aws."+from
		if from == "signin" {
			kind = "AWS Console Sign In via CloudTrail"
		}
	case m["type"] != nil && strings.Contains(arn, ":guardduty:"):
		kind, source = "GuardDuty Finding", "aws.guardduty"
	default:
		return nil, false
	}
	out, err := json.Marshal(map[string]any{
		"version": "0", "id": "00000000-0000-4000-8000-000000000000", "detail-type": kind, "source": source, "account": "111111111111",
		"time": "2026-01-15T10:00:00Z", "region": "us-east-1", "resources": []any{}, "detail": m,
	})
	return out, err == nil
}

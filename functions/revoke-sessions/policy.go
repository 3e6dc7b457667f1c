package main

import (
	"encoding/json"
	"time"

	"firebreak/lib/action"
	"firebreak/lib/principal"
)

// policyName is the one inline policy that this action owns on a role.
const policyName = "FirebreakRevokeSessions"

// document writes our deny: every session issued before date (RFC 3339, UTC) may do nothing. Long-term keys carry no
// aws:TokenIssueTime and do not match (IAM user guide, "Revoking IAM role temporary security credentials").
func document(date string) string {
	doc, _ := json.Marshal(map[string]any{
		"Version": "2012-10-17",
		"Statement": []any{map[string]any{
			"Sid": policyName, "Effect": "Deny", "Action": "*", "Resource": "*",
			"Condition": map[string]any{"DateLessThan": map[string]any{"aws:TokenIssueTime": date}},
		}},
	})
	return string(doc)
}

// state reads the document under our name, as IAM gives it.
func state(encoded string) action.State {
	doc := principal.Canonical(encoded)
	if date := dateOf(doc); date != "" {
		return action.State{"policy": date}
	}
	value, kept := principal.Other(doc)
	s := action.State{"policy": value}
	if kept != "" {
		s["document"] = kept
	}
	return s
}

// dateOf gives the date of a canonical document that is exactly ours, or "".
func dateOf(doc string) string {
	var d struct {
		Statement []struct {
			Condition struct {
				DateLessThan map[string]string
			}
		}
	}
	if json.Unmarshal([]byte(doc), &d) != nil || len(d.Statement) != 1 {
		return ""
	}
	date := d.Statement[0].Condition.DateLessThan["aws:TokenIssueTime"]
	if _, err := time.Parse(time.RFC3339, date); err != nil || doc != document(date) {
		return ""
	}
	return date
}

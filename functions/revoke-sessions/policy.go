package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"time"

	"firebreak/lib/action"
)

// policyName is the one inline policy that this action owns on a role.
const policyName = "FirebreakRevokeSessions"

// foreign begins the value of a policy under our name that is not ours.
const foreign = "other:"

// kept is how many characters of somebody else's document are kept: states travel through the ledger and into results.
const kept = 2000

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

// state reads the document under our name, as IAM gives it: JSON, percent-encoded by RFC 3986.
func state(encoded string) action.State {
	doc, err := url.PathUnescape(encoded)
	if err != nil {
		doc = encoded
	}
	doc = canonical(doc)
	if date := dateOf(doc); date != "" {
		return action.State{"policy": date}
	}
	sum := sha256.Sum256([]byte(doc))
	s := action.State{"policy": foreign + hex.EncodeToString(sum[:])}
	if len(doc) <= kept {
		s["document"] = doc
	}
	return s
}

// canonical writes JSON with sorted keys and without space; what is not JSON stays as it is.
func canonical(doc string) string {
	var v any
	if json.Unmarshal([]byte(doc), &v) != nil {
		return doc
	}
	out, err := json.Marshal(v)
	if err != nil {
		return doc
	}
	return string(out)
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

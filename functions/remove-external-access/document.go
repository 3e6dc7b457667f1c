package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"firebreak/lib/fault"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

// edit is what takes a principal out of a policy document.
type edit struct {
	// doc is the document without the principal, "" where no statement is left.
	doc string
	// out says what goes, a line a statement; sids are those statements' names.
	out, sids []string
	// open says which statements let the principal in together with others: they name everybody, nobody, or its whole account.
	open []string
}

// without takes principals out of a document: from the Allow statements that name one, in Principal or, where that is
// everybody, in a condition on who asks. Statements for others stay as they are, and so does every Deny. An empty document
// has nothing to take out. Errors: Unexpected where it is no policy.
func without(doc string, principals ...string) (edit, error) {
	if doc == "" {
		return edit{}, nil
	}
	d, list, err := parse(doc)
	if err != nil {
		return edit{}, err
	}
	e := edit{}
	kept := []any{}
	for i, s := range list {
		name := nameOf(i, s)
		if s["Effect"] == "Allow" {
			for _, p := range principals {
				left, taken := take(s, p)
				if taken != "" {
					if sid, _ := list[i]["Sid"].(string); sid != "" && !slices.Contains(e.sids, sid) {
						e.sids = append(e.sids, sid)
					}
					e.out = append(e.out, fmt.Sprintf("%s out of %s (%s)", taken, name, actions(s)))
				}
				if s = left; s == nil {
					break
				}
			}
			if s == nil {
				continue
			}
			account := ""
			for _, p := range principals {
				account = cmp.Or(account, wholly(s, p))
			}
			switch _, except := s["NotPrincipal"]; {
			case except || public(s):
				e.open = append(e.open, "everybody in by "+name)
			case account != "":
				e.open = append(e.open, "all of account "+account+" in by "+name)
			}
		}
		kept = append(kept, s)
	}
	if len(e.out) == 0 {
		e.doc = doc
		return e, nil
	}
	if len(kept) == 0 {
		return e, nil
	}
	d["Statement"] = kept
	text, err := json.Marshal(d)
	e.doc = string(text)
	return e, err
}

// parse reads a document and its statements; numbers stay as they are written.
func parse(doc string) (map[string]any, []map[string]any, error) {
	var d map[string]any
	dec := json.NewDecoder(strings.NewReader(doc))
	dec.UseNumber()
	if err := dec.Decode(&d); err != nil {
		return nil, nil, fault.Wrap(fault.Unexpected, err, "the resource's policy is no JSON")
	}
	all, ok := d["Statement"].([]any)
	if !ok {
		all = []any{d["Statement"]}
	}
	var list []map[string]any
	for _, s := range all {
		m, ok := s.(map[string]any)
		if !ok {
			return nil, nil, fault.New(fault.Unexpected, "the resource's policy has a statement that is none")
		}
		list = append(list, m)
	}
	return d, list, nil
}

func nameOf(i int, s map[string]any) string {
	if sid, _ := s["Sid"].(string); sid != "" {
		return "statement " + sid
	}
	return fmt.Sprintf("statement %d", i+1)
}

func actions(s map[string]any) string {
	list := texts(s["Action"])
	if s["NotAction"] != nil {
		list = []string{"everything but " + strings.Join(texts(s["NotAction"]), ", ")}
	}
	if len(list) > 5 {
		list = append(list[:5:5], fmt.Sprintf("and %d more", len(list)-5))
	}
	return strings.Join(list, ", ")
}

// texts gives a value that may be one text or a list of them.
func texts(v any) []string {
	if one, ok := v.(string); ok {
		return []string{one}
	}
	var out []string
	list, _ := v.([]any)
	for _, item := range list {
		if one, ok := item.(string); ok {
			out = append(out, one)
		}
	}
	return out
}

// label stands for a document in states: equal labels mean equal meaning. Order, white space, lists of one and the two ways to
// write an account make no difference, because AWS changes those when it stores a document.
func label(doc string) string {
	if doc == "" {
		return ""
	}
	d, list, err := parse(doc)
	if err != nil {
		sum := sha256.Sum256([]byte(doc))
		return hex.EncodeToString(sum[:16])
	}
	var names []string
	statements := make([]string, len(list))
	for i, s := range list {
		names = append(names, strings.TrimPrefix(nameOf(i, s), "statement "))
		text, _ := json.Marshal(plain(s)) // read from JSON: cannot fail
		statements[i] = string(text)
	}
	slices.Sort(statements)
	head, _ := json.Marshal(d["Version"])
	sum := sha256.Sum256(append(head, strings.Join(statements, "\n")...))
	if len(names) > 8 {
		names = append(names[:8:8], fmt.Sprintf("and %d more", len(names)-8))
	}
	return fmt.Sprintf("%s (%s)", hex.EncodeToString(sum[:16]), strings.Join(names, ", "))
}

// plain writes a value in one of the ways that mean the same.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, item := range v {
			out[k] = plain(item)
		}
		return out
	case []any:
		items := make([]json.RawMessage, len(v))
		for i, item := range v {
			items[i], _ = json.Marshal(plain(item)) // read from JSON: cannot fail
		}
		slices.SortFunc(items, func(a, b json.RawMessage) int { return bytes.Compare(a, b) })
		items = slices.CompactFunc(items, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) })
		if len(items) == 1 {
			return items[0]
		}
		return items
	case string:
		return canonical(v)
	}
	return v
}

var rootARN = regexp.MustCompile(`^arn:[\w-]+:iam::(\d{12}):root$`)

// canonical gives the account's id for the ARN of its root, which means the same in a policy, and any other text as it is.
func canonical(principal string) string {
	if m := rootARN.FindStringSubmatch(principal); m != nil {
		return m[1]
	}
	return principal
}

var accountID = regexp.MustCompile(`^\d{12}$`)

// accountOf gives the account that a principal belongs to, "" where it does not say.
func accountOf(principal string) string {
	if a, err := arn.Parse(principal); err == nil && a.Service != "iam" && a.Service != "sts" {
		return ""
	}
	return ownerOf(principal)
}

// ownerOf gives the account of an id, or of an ARN of any service; "" where it does not say.
func ownerOf(value string) string {
	if id := canonical(value); accountID.MatchString(id) {
		return id
	}
	a, err := arn.Parse(value)
	if err != nil || !accountID.MatchString(a.AccountID) {
		return ""
	}
	return a.AccountID
}

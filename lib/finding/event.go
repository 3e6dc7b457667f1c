package finding

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"firebreak/lib/fault"
)

// event is an EventBridge envelope.
type event struct {
	raw                                     []byte
	id, source, detailType, account, region string
	detail                                  tree
}

// format reads one form of findings. claims is asked in turn; the first that says yes decodes.
type format struct {
	claims func(event) bool
	decode func(event) ([]Finding, error)
}

// formats that are read. A further one is a further file and a line here.
var formats = []format{
	{claims: isGuardDuty, decode: decodeGuardDuty},
}

// unread are the event sources whose events hold findings that no format reads: a person is told of them. The value is a
// word that the detail-type has.
var unread = map[string]string{
	"aws.securityhub":      "Finding",
	"aws.access-analyzer":  "Finding",
	"aws.inspector2":       "Finding",
	"aws.macie":            "Finding",
	"aws.config":           "Compliance Change",
	"aws.health":           "Health",
	"aws.securityincident": "Case",
}

// Decode reads one event. Errors: *Refusal for an event that holds no finding that Firebreak reads; BadInput for what is no
// event at all, with the place where it stops making sense.
func Decode(raw []byte) ([]Finding, error) {
	v, err := parse(raw)
	if err != nil {
		return nil, fault.Wrap(fault.BadInput, err, "the event is not JSON")
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fault.New(fault.BadInput, "the event is not a JSON object but %s", kindOf(v))
	}
	t := tree(m)
	e := event{raw: raw, id: t.text("id"), source: t.text("source"), detailType: t.text("detail-type"), account: t.text("account"), region: t.text("region"), detail: t.object("detail")}
	if e.id == "" || len(e.id) > 128 {
		sum := sha256.Sum256(raw)
		e.id = hex.EncodeToString(sum[:])
	}
	switch {
	case e.source == "" || e.detailType == "":
		return nil, e.refuse(false, "not an event of EventBridge: it has no source or no detail-type")
	case e.detail == nil:
		return nil, e.refuse(strings.HasPrefix(e.source, "aws."), "not a finding: its detail is %s", kindOf(t.at("detail")))
	}
	for _, f := range formats {
		if f.claims(e) {
			return f.decode(e)
		}
	}
	if !strings.HasPrefix(e.source, "aws.") {
		return nil, e.refuse(false, "not a finding of an AWS service: the source is %q", words(e.source, 80))
	}
	if word := unread[e.source]; word != "" && strings.Contains(e.detailType, word) {
		return nil, e.refuse(true, "unsupported source: %s %q is not read by this version", e.source, words(e.detailType, 80))
	}
	return nil, e.refuse(false, "not a finding: %s %q", words(e.source, 80), words(e.detailType, 80))
}

func (e event) refuse(tell bool, reason string, args ...any) *Refusal {
	return &Refusal{
		Reason: fmt.Sprintf(reason, args...), Tell: tell, ID: e.id,
		Source: words(e.source, 80), DetailType: words(e.detailType, 80), Account: words(e.account, 20), Region: words(e.region, 30),
	}
}

// Refused gives the refusal in err, nil where there is none.
func Refused(err error) *Refusal {
	var r *Refusal
	errors.As(err, &r)
	return r
}

func kindOf(v any) string {
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

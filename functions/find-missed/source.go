package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"firebreak/lib/ledger"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
)

// services are what is read in an account, with its role Read.
type services struct {
	guardDuty   guardDutyAPI
	securityHub securityHubAPI
	config      configAPI
	analyzer    analyzerAPI
}

// administration is what is read in the hub's own account.
type administration struct {
	guardDuty   guardDutyAdministration
	securityHub securityHubAdministration
	analyzer    analyzerAPI
}

func (a administration) services() services {
	return services{guardDuty: a.guardDuty, securityHub: a.securityHub, analyzer: a.analyzer}
}

// place is one source in one account and region. That of the hub's own account may hold the findings of all accounts.
type place struct {
	Source  string `json:"source"`
	Account string `json:"account"`
	Region  string `json:"region"`
	own     bool
}

func (p place) String() string { return p.Source + " of account " + p.Account + " in " + p.Region }

func (p place) key() ledger.Key {
	who := p.Account
	if p.own {
		who += "#own"
	}
	return ledger.Key{PK: "MISSED", SK: "PLACE#" + p.Source + "#" + who + "#" + p.Region}
}

// page is part of what a source has.
type page struct {
	found []found
	// next is where the next page begins, "" at the end.
	next string
	// memory has, for a source that tells states and no changes, what is remembered of each rule that was read to its end.
	memory []*ledger.Item[standing]
	// failed are the rules that could not be read.
	failed []error
}

// found is one finding.
type found struct {
	// event is the event that its service would have put on the bus.
	event json.RawMessage
	// complete gives the event with what a list leaves out; nil where it leaves nothing out.
	complete func(context.Context) (json.RawMessage, error)
	// rule is what remembers it; nil for a source that tells changes.
	rule *ledger.Item[standing]
}

// standing are the findings of one rule that the last reading found: those are no changes. MISSED#<account>#<region> / RULE#<rule>.
type standing struct {
	Rule      string   `json:"rule"`
	Incidents []string `json:"incidents"`

	now   []string // those of this reading
	fresh bool     // never read before
	whole bool     // read to its end
}

// stood tells whether a finding is no change.
func (s standing) stood(incident string) bool {
	_, ok := slices.BinarySearch(s.Incidents, incident)
	return s.fresh || ok
}

// read gives one page of a source. since is what its findings were updated after, cursor what the page before gave.
type read func(ctx context.Context, api services, at place, since time.Time, cursor string) (page, error)

// The sources, by the names that they have in metrics and in the ledger.
const (
	guardDuty      = "guardduty"
	securityHub    = "securityhub"
	config         = "config"
	accessAnalyzer = "access-analyzer"
)

var sources = []string{guardDuty, securityHub, config, accessAnalyzer}

func (m missed) reads() map[string]read {
	return map[string]read{guardDuty: readGuardDuty, securityHub: readSecurityHub, config: m.readConfig, accessAnalyzer: readAnalyzers}
}

// envelope makes the event that a service would have put on the bus. Its id is the same for the same content.
func envelope(at place, source, detailType string, resources []string, when time.Time, detail any) (json.RawMessage, error) {
	body, err := json.Marshal(detail)
	if err != nil {
		return nil, fmt.Errorf("write a finding of %s as an event: %w", at, err)
	}
	var tree any
	if err := json.Unmarshal(body, &tree); err != nil {
		return nil, fmt.Errorf("write a finding of %s as an event: %w", at, err)
	}
	sum := sha256.Sum256(body)
	return json.Marshal(map[string]any{
		"version": "0", "id": hex.EncodeToString(sum[:16]), "source": source, "detail-type": detailType, "account": at.Account, "region": at.Region,
		"time": when.UTC().Format(time.RFC3339), "resources": append([]string{}, resources...), "detail": pruned(tree),
	})
}

// pruned leaves out what an SDK's types write for what is not there.
func pruned(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			if e = pruned(e); e != nil && e != "" {
				out[k] = e
			}
		}
		return out
	case []any:
		for i, e := range v {
			v[i] = pruned(e)
		}
	}
	return v
}

// off tells whether a service says that nobody has turned it on in this account and region: there is nothing to read then.
func off(err error) bool {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return false
	}
	switch api.ErrorCode() {
	case "InvalidAccessException", "NoSuchConfigurationRecorderException", "NoAvailableConfigurationRecorderException":
		return true
	}
	return false
}

// lost tells whether a source does not know any more where a page begins: tokens run out.
func lost(err error) bool {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return false
	}
	switch api.ErrorCode() {
	case "InvalidNextTokenException", "BadRequestException", "InvalidInputException", "ValidationException", "InvalidParameterException", "ResourceNotFoundException":
		return true
	}
	return false
}

// token is a page's token as the SDK takes it: none for the first page.
func token(s string) *string {
	if s == "" {
		return nil
	}
	return aws.String(s)
}

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
)

// digest stands for what a trail records: equal selectors give equal text.
func digest(s *cloudtrail.GetEventSelectorsOutput) string {
	var lines []string
	for _, e := range s.EventSelectors {
		line, _ := json.Marshal(e) // plain data: cannot fail
		lines = append(lines, string(line))
	}
	for _, e := range s.AdvancedEventSelectors {
		slices.SortFunc(e.FieldSelectors, func(a, b types.AdvancedFieldSelector) int {
			return strings.Compare(aws.ToString(a.Field), aws.ToString(b.Field))
		})
		line, _ := json.Marshal(e)
		lines = append(lines, string(line))
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(sum[:])
}

// coverage is what a trail records of management events.
type coverage struct {
	reads, writes bool
	without       []string
}

// management adds up the selectors. Recording is the sum of all selectors, leaving out is each one's own.
func management(s *cloudtrail.GetEventSelectorsOutput) coverage {
	var out coverage
	record := func(reads, writes bool, without []string) {
		out.reads, out.writes = out.reads || reads, out.writes || writes
		out.without = append(out.without, without...)
	}
	for _, e := range s.EventSelectors {
		if e.IncludeManagementEvents == nil || *e.IncludeManagementEvents { // AWS: true by default
			record(e.ReadWriteType != types.ReadWriteTypeWriteOnly, e.ReadWriteType != types.ReadWriteTypeReadOnly, e.ExcludeManagementEventSources)
		}
	}
	for _, e := range s.AdvancedEventSelectors {
		reads, writes, category := true, true, false
		var without []string
		for _, f := range e.FieldSelectors {
			switch field := aws.ToString(f.Field); {
			case field == "eventCategory":
				category = slices.Contains(f.Equals, "Management")
			case field == "readOnly":
				reads, writes = slices.Contains(f.Equals, "true"), slices.Contains(f.Equals, "false")
			case field == "eventSource" && len(f.NotEquals) > 0:
				without = append(without, f.NotEquals...)
			default:
				without = append(without, "what its selector for "+field+" does not take")
			}
		}
		if category {
			record(reads, writes, without)
		}
	}
	slices.Sort(out.without)
	out.without = slices.Compact(out.without)
	return out
}

// gaps says what a trail leaves out. expected is the digest that the playbook has of the selectors, "" for none.
func gaps(t *types.Trail, s *cloudtrail.GetEventSelectorsOutput, have, expected string) []string {
	var out []string
	switch m := management(s); {
	case !m.reads && !m.writes:
		out = append(out, "it records no management events at all: its event selectors leave them out")
	case !m.writes:
		out = append(out, "it records no management events that change something: its event selectors leave them out")
	case !m.reads:
		out = append(out, "it leaves out management events that only read")
		fallthrough
	default:
		if len(m.without) > 0 {
			out = append(out, "it leaves out management events of "+strings.Join(m.without, ", "))
		}
	}
	if expected != "" && have != expected {
		out = append(out, fmt.Sprintf("its event selectors (sha256 %s) are not the ones that the playbook expects (%s)", have, expected))
	}
	if !aws.ToBool(t.IsMultiRegionTrail) {
		out = append(out, "it records one region only")
	}
	if !aws.ToBool(t.IncludeGlobalServiceEvents) {
		out = append(out, "it leaves out global services such as IAM and STS")
	}
	if !aws.ToBool(t.LogFileValidationEnabled) {
		out = append(out, "its log files are not validated: a changed one cannot be told from a true one")
	}
	return out
}

// said says how long it was silent and whether it delivers.
func said(t *types.Trail, s *cloudtrail.GetTrailStatusOutput) []string {
	var out []string
	if stop := s.StopLoggingTime; stop != nil {
		until := "and still is"
		if start := s.StartLoggingTime; aws.ToBool(s.IsLogging) && start != nil {
			until = "until " + start.UTC().Format(time.RFC3339)
		}
		if !aws.ToBool(s.IsLogging) || s.StartLoggingTime != nil && s.StartLoggingTime.After(*stop) {
			out = append(out, fmt.Sprintf("it was silent from %s %s; management events of that time are in the account's event history for 90 days", stop.UTC().Format(time.RFC3339), until))
		}
	}
	if e := aws.ToString(s.LatestDeliveryError); e != "" {
		out = append(out, fmt.Sprintf("its latest delivery to bucket %s failed (%s): it may log and nobody can read it", aws.ToString(t.S3BucketName), e))
	}
	if e := aws.ToString(s.LatestCloudWatchLogsDeliveryError); e != "" {
		out = append(out, "its latest delivery to CloudWatch Logs failed: "+e)
	}
	return out
}

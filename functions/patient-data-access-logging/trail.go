package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
)

// trails are the account's trails that log now, the organization's among them, with what they select. They are read at most
// once a minute: a change of many resources at once would otherwise run into CloudTrail's limit of calls.
type trails struct {
	api trailAPI

	mu   sync.Mutex
	kept []cloudtrail.GetEventSelectorsOutput
	read time.Time
}

const keep = time.Minute

// record tells whether a trail records reads and writes of everything under that ARN. kind is the trail's name of the data
// events, for instance AWS::S3::Object.
func (t *trails) record(ctx context.Context, kind, arn string) (bool, error) {
	selectors, err := t.selectors(ctx)
	if err != nil {
		return false, err
	}
	reads, writes := false, false
	for _, s := range selectors {
		for _, a := range s.AdvancedEventSelectors {
			r, w := advanced(a, kind, arn)
			reads, writes = reads || r, writes || w
		}
		for _, b := range s.EventSelectors {
			r, w := basic(b, kind, arn)
			reads, writes = reads || r, writes || w
		}
	}
	return reads && writes, nil
}

func (t *trails) selectors(ctx context.Context) ([]cloudtrail.GetEventSelectorsOutput, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.read) < keep {
		return t.kept, nil
	}
	all, err := t.api.DescribeTrails(ctx, &cloudtrail.DescribeTrailsInput{IncludeShadowTrails: aws.Bool(true)})
	if err != nil {
		return nil, fmt.Errorf("list trails: %w", err)
	}
	var found []cloudtrail.GetEventSelectorsOutput
	for _, trail := range all.TrailList {
		status, err := t.api.GetTrailStatus(ctx, &cloudtrail.GetTrailStatusInput{Name: trail.TrailARN})
		if err != nil {
			return nil, fmt.Errorf("look at trail %s: %w", aws.ToString(trail.TrailARN), err)
		}
		if !aws.ToBool(status.IsLogging) {
			continue
		}
		out, err := t.api.GetEventSelectors(ctx, &cloudtrail.GetEventSelectorsInput{TrailName: trail.TrailARN})
		if err != nil {
			return nil, fmt.Errorf("look at what trail %s selects: %w", aws.ToString(trail.TrailARN), err)
		}
		found = append(found, *out)
	}
	t.kept, t.read = found, time.Now()
	return found, nil
}

// advanced tells whether an advanced selector takes reads and writes of everything under arn. A field that is not looked at
// here (an event's name, a user) narrows the selector, so that it does not take everything.
func advanced(a types.AdvancedEventSelector, kind, arn string) (reads, writes bool) {
	reads, writes = true, true
	data, typed := false, false
	for _, f := range a.FieldSelectors {
		switch aws.ToString(f.Field) {
		case "eventCategory":
			data = slices.Contains(f.Equals, "Data")
		case "resources.type":
			typed = slices.Contains(f.Equals, kind)
		case "readOnly":
			reads, writes = reads && slices.Contains(f.Equals, "true"), writes && slices.Contains(f.Equals, "false")
		case "resources.ARN":
			if !takes(f, arn) {
				return false, false
			}
		default:
			return false, false
		}
	}
	return data && typed && reads, data && typed && writes
}

// takes tells whether a selector of ARNs takes everything under arn.
func takes(f types.AdvancedFieldSelector, arn string) bool {
	begins := func(prefix string) bool { return strings.HasPrefix(arn, prefix) }
	overlaps := func(prefix string) bool { return begins(prefix) || strings.HasPrefix(prefix, arn) }
	wanted := len(f.StartsWith) == 0 && len(f.Equals) == 0 || slices.ContainsFunc(f.StartsWith, begins) || slices.Contains(f.Equals, arn)
	excluded := slices.ContainsFunc(f.NotStartsWith, overlaps) || slices.ContainsFunc(f.NotEquals, overlaps) || len(f.NotEndsWith) > 0
	return wanted && !excluded && len(f.EndsWith) == 0
}

// basic tells whether a basic selector takes reads and writes of everything under arn. A value without a resource stands for
// all ("arn:aws:s3"); of buckets it is a prefix, of anything else the whole ARN.
func basic(s types.EventSelector, kind, arn string) (reads, writes bool) {
	for _, d := range s.DataResources {
		if aws.ToString(d.Type) != kind || !slices.ContainsFunc(d.Values, func(v string) bool {
			return v == arn || strings.HasPrefix(arn, v) && (kind == "AWS::S3::Object" || !strings.Contains(v, "/"))
		}) {
			continue
		}
		reads = reads || s.ReadWriteType != types.ReadWriteTypeWriteOnly
		writes = writes || s.ReadWriteType != types.ReadWriteTypeReadOnly
	}
	return reads, writes
}

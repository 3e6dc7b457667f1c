package main

import (
	"context"

	"firebreak/lib/action"
	"firebreak/lib/origin"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/guardduty/types"
)

// source is the call, with the role Read, that reads a finding where it was made.
type source = origin.API

// stands reads the incident's finding again at its source. Errors: NotVerified where it does not stand, or is not about this
// instance.
func (t termination) stands(ctx context.Context, c action.Call) error {
	return origin.Stands(ctx, t.store, c, t.source, func(g types.Finding) bool { return names(g, c) })
}

// names tells whether a finding is about the call's instance; an attack sequence names resources by id or ARN.
func names(g types.Finding, c action.Call) bool {
	if g.Resource != nil && g.Resource.InstanceDetails != nil {
		return aws.ToString(g.Resource.InstanceDetails.InstanceId) == c.Target.Name()
	}
	return origin.InSequence(g, c.Target.ARN, c.Target.Name())
}

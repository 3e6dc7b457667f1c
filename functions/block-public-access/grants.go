package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"firebreak/lib/action"
	"firebreak/lib/bucket"
	"firebreak/lib/fault"
	"firebreak/lib/ledger"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// grants keeps what was said of the latest bucket's policy and grants, so that one call reads them once. They are no owned
// field: a change of theirs is no drift of the block.
type grants struct {
	mu    sync.Mutex
	of    string
	lines []string
	// texts are the policy and the grants themselves.
	texts []string
}

func (g *grants) key(c action.Call) string {
	return c.Target.ARN + " " + c.Incident.ID + " " + c.Since.String()
}

// read digests the bucket's policy and grants. What cannot be read is said and does not stop the containment.
func (g *grants) read(ctx context.Context, api reads, c action.Call) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.of == g.key(c) {
		return
	}
	g.of, g.lines, g.texts = g.key(c), nil, nil
	name, owner := c.Target.Name(), c.Target.Account
	policy, err := api.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: &name, ExpectedBucketOwner: &owner})
	switch {
	case bucket.Answered(err, "NoSuchBucketPolicy"):
		g.lines = append(g.lines, "bucket policy: none")
	case err != nil:
		g.lines = append(g.lines, fmt.Sprintf("bucket policy: could not be read (%s)", fault.NameOf(err)))
	default:
		g.lines = append(g.lines, "bucket policy as found: sha256 "+digest(aws.ToString(policy.Policy)))
		g.texts = append(g.texts, aws.ToString(policy.Policy))
	}
	acl, err := api.GetBucketAcl(ctx, &s3.GetBucketAclInput{Bucket: &name, ExpectedBucketOwner: &owner})
	if err != nil {
		g.lines = append(g.lines, fmt.Sprintf("bucket ACL: could not be read (%s)", fault.NameOf(err)))
		return
	}
	g.lines = append(g.lines, "bucket ACL as found: sha256 "+digest(list(acl.Grants))+public(acl.Grants))
	g.texts = append(g.texts, list(acl.Grants))
}

// keep writes policy and grants into the ledger under their digests, before the block is changed.
func (g *grants) keep(ctx context.Context, s ledger.Store, c action.Call) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.of != g.key(c) {
		return nil
	}
	for _, text := range g.texts {
		if err := ledger.Keep(ctx, s, ledger.DocumentKey(c.Target.ARN, digest(text)), text); err != nil {
			return err
		}
	}
	return nil
}

func (g *grants) notes(c action.Call) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.of != g.key(c) {
		return nil
	}
	return slices.Clone(g.lines)
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// list writes grants so that equal text means equal grants.
func list(grants []types.Grant) string {
	var out []string
	for _, g := range grants {
		line, _ := json.Marshal(g)
		out = append(out, string(line))
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// public says which of S3's two open groups the grants name (S3 user guide, "Amazon S3 predefined groups").
func public(grants []types.Grant) string {
	var open []string
	for _, g := range grants {
		if g.Grantee == nil {
			continue
		}
		switch aws.ToString(g.Grantee.URI) {
		case "http://acs.amazonaws.com/groups/global/AllUsers":
			open = append(open, string(g.Permission)+" for everyone")
		case "http://acs.amazonaws.com/groups/global/AuthenticatedUsers":
			open = append(open, string(g.Permission)+" for every AWS account")
		}
	}
	if len(open) == 0 {
		return ""
	}
	slices.Sort(open)
	return ", open: " + strings.Join(open, ", ")
}

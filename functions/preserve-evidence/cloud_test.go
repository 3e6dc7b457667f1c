package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"firebreak/lib/account"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
)

const (
	clinic   = "222222222222"
	forensic = "333333333333"
	region   = "us-east-1"
	evKey    = "arn:aws:kms:us-east-1:333333333333:alias/firebreak-evidence"
)

var errDead = errors.New("the function was killed")

// cloud is EBS over two accounts. As on AWS, a snapshot under a key of AWS's own cannot be shared, and one that is not shared cannot
// be copied by another account. moto knows neither copies between accounts nor locks.
type cloud struct {
	mu        sync.Mutex
	snapshots map[string]*snapshot
	made      int
	calls     []string
	// kill is asked before and after each changing call; an error ends everything.
	kill func(call string, done bool) error
	dead bool
	// slow leaves what is copied pending, until finish.
	slow bool
}

type snapshot struct {
	types.Snapshot
	shared []string
	key    string
	lock   *ec2.LockSnapshotInput
}

func (c *cloud) add(id, owner, volume string) *snapshot {
	s := &snapshot{Snapshot: types.Snapshot{SnapshotId: &id, OwnerId: &owner, VolumeId: &volume, State: types.SnapshotStateCompleted, Encrypted: aws.Bool(true)}, key: "alias/aws/ebs"}
	c.snapshots[id] = s
	return s
}

// finish completes what is pending.
func (c *cloud) finish(state types.SnapshotState) {
	for _, s := range c.snapshots {
		if s.State == types.SnapshotStatePending {
			s.State = state
		}
	}
}

// session is a client of one account within a session policy.
type session struct {
	*cloud
	account string
	allow   []account.Statement
}

// change runs a changing call, if the session may make it.
func (s session) change(action, call string, do func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return errDead
	}
	if !slices.ContainsFunc(s.allow, func(a account.Statement) bool { return slices.Contains(a.Actions, action) }) {
		return &smithy.GenericAPIError{Code: "UnauthorizedOperation", Message: action}
	}
	if s.kill != nil {
		if err := s.kill(call, false); err != nil {
			s.dead = true
			return err
		}
	}
	if err := do(); err != nil {
		return err
	}
	s.calls = append(s.calls, call)
	if s.kill != nil {
		if err := s.kill(call, true); err != nil {
			s.dead = true
			return err
		}
	}
	return nil
}

func (s session) DescribeSnapshots(_ context.Context, in *ec2.DescribeSnapshotsInput, _ ...func(*ec2.Options)) (*ec2.DescribeSnapshotsOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return nil, errDead
	}
	out := &ec2.DescribeSnapshotsOutput{}
	for _, id := range slices.Sorted(maps.Keys(s.snapshots)) {
		snap, matches := s.snapshots[id], true
		for _, f := range in.Filters {
			switch name := *f.Name; {
			case name == "snapshot-id":
				matches = matches && slices.Contains(f.Values, id)
			case strings.HasPrefix(name, "tag:"):
				matches = matches && slices.ContainsFunc(snap.Tags, func(t types.Tag) bool { return *t.Key == name[4:] && slices.Contains(f.Values, *t.Value) })
			}
		}
		if matches && *snap.OwnerId == s.account && slices.Equal(in.OwnerIds, []string{"self"}) {
			out.Snapshots = append(out.Snapshots, snap.Snapshot)
		}
	}
	return out, nil
}

func (s session) CopySnapshot(_ context.Context, in *ec2.CopySnapshotInput, opts ...func(*ec2.Options)) (*ec2.CopySnapshotOutput, error) {
	var o ec2.Options
	for _, f := range opts {
		f(&o)
	}
	if _, never := o.Retryer.(aws.NopRetryer); !never {
		return nil, errors.New("a copy that may be begun twice")
	}
	out := &ec2.CopySnapshotOutput{}
	return out, s.change("ec2:CopySnapshot", "copy "+*in.SourceSnapshotId+" in "+s.account, func() error {
		src := s.snapshots[*in.SourceSnapshotId]
		switch {
		case src == nil || *src.OwnerId != s.account && !slices.Contains(src.shared, s.account):
			return &smithy.GenericAPIError{Code: "InvalidSnapshot.NotFound"}
		case *in.SourceRegion != region || !aws.ToBool(in.Encrypted) || *in.KmsKeyId != evKey:
			return errors.New("not under the evidence key")
		}
		s.made++
		id := fmt.Sprintf("snap-0c%015d", s.made)
		made := s.add(id, s.account, "vol-ffffffff")
		made.key, made.Tags, made.Description = *in.KmsKeyId, in.TagSpecifications[0].Tags, in.Description
		made.KmsKeyId = aws.String("arn:aws:kms:us-east-1:333333333333:key/0d6d2b3e")
		if s.slow {
			made.State = types.SnapshotStatePending
		}
		out.SnapshotId = &id
		return nil
	})
}

func (s session) ModifySnapshotAttribute(_ context.Context, in *ec2.ModifySnapshotAttributeInput, _ ...func(*ec2.Options)) (*ec2.ModifySnapshotAttributeOutput, error) {
	return &ec2.ModifySnapshotAttributeOutput{}, s.change("ec2:ModifySnapshotAttribute", "share "+*in.SnapshotId, func() error {
		snap := s.snapshots[*in.SnapshotId]
		if snap == nil || *snap.OwnerId != s.account || snap.key != evKey {
			return &smithy.GenericAPIError{Code: "InvalidParameter", Message: "Encrypted snapshots with EBS default key cannot be shared"}
		}
		snap.shared = append(snap.shared, in.UserIds...)
		return nil
	})
}

func (s session) LockSnapshot(_ context.Context, in *ec2.LockSnapshotInput, _ ...func(*ec2.Options)) (*ec2.LockSnapshotOutput, error) {
	until := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	return &ec2.LockSnapshotOutput{LockExpiresOn: &until}, s.change("ec2:LockSnapshot", "lock "+*in.SnapshotId, func() error {
		snap := s.snapshots[*in.SnapshotId]
		if snap == nil || *snap.OwnerId != s.account || snap.State != types.SnapshotStateCompleted {
			return &smithy.GenericAPIError{Code: "IncorrectState"}
		}
		snap.lock = in
		return nil
	})
}

// Command remove-external-access takes an outsider out of what a resource shares.
//
// From the policy of a bucket, a queue or a topic it takes exactly the statements, principals and conditions that name the
// outsider (parameter principal: accounts, ARNs or *, separated by commas), from a snapshot or an image its place in the list of those that it
// is shared with. The second time nothing names it and nothing is changed. Its undo puts the earlier document or list back,
// unless somebody has changed it since.
//
// Nobody is locked out: what names the resource's own account, or anybody whom the installation trusts (its own accounts, and the
// setting trusted), stays. Keys, secrets, functions and roles are never changed: people get the exact edit, ready to be made. So
// they do where a statement lets everybody in, or a whole account, and the finding names somebody of them, or an organization that is not
// trusted, and where it is a bucket's ACL, its access point or a grant of a key that lets somebody in.
package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/boot"
	"firebreak/lib/bucket"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// reads are the calls that look, made as the Read role.
type reads interface {
	bucket.API
	queueAPI
	roleAPI
	functionAPI
	accessPointAPI
	GetBucketPolicy(context.Context, *s3.GetBucketPolicyInput, ...func(*s3.Options)) (*s3.GetBucketPolicyOutput, error)
	GetBucketAcl(context.Context, *s3.GetBucketAclInput, ...func(*s3.Options)) (*s3.GetBucketAclOutput, error)
	GetPublicAccessBlock(context.Context, *s3.GetPublicAccessBlockInput, ...func(*s3.Options)) (*s3.GetPublicAccessBlockOutput, error)
	GetQueueAttributes(context.Context, *sqs.GetQueueAttributesInput, ...func(*sqs.Options)) (*sqs.GetQueueAttributesOutput, error)
	GetTopicAttributes(context.Context, *sns.GetTopicAttributesInput, ...func(*sns.Options)) (*sns.GetTopicAttributesOutput, error)
	ListQueueTags(context.Context, *sqs.ListQueueTagsInput, ...func(*sqs.Options)) (*sqs.ListQueueTagsOutput, error)
	ListTagsForResource(context.Context, *sns.ListTagsForResourceInput, ...func(*sns.Options)) (*sns.ListTagsForResourceOutput, error)
	DescribeTags(context.Context, *ec2.DescribeTagsInput, ...func(*ec2.Options)) (*ec2.DescribeTagsOutput, error)
	DescribeSnapshotAttribute(context.Context, *ec2.DescribeSnapshotAttributeInput, ...func(*ec2.Options)) (*ec2.DescribeSnapshotAttributeOutput, error)
	DescribeImageAttribute(context.Context, *ec2.DescribeImageAttributeInput, ...func(*ec2.Options)) (*ec2.DescribeImageAttributeOutput, error)
	GetKeyPolicy(context.Context, *kms.GetKeyPolicyInput, ...func(*kms.Options)) (*kms.GetKeyPolicyOutput, error)
	ListGrants(context.Context, *kms.ListGrantsInput, ...func(*kms.Options)) (*kms.ListGrantsOutput, error)
	GetResourcePolicy(context.Context, *secretsmanager.GetResourcePolicyInput, ...func(*secretsmanager.Options)) (*secretsmanager.GetResourcePolicyOutput, error)
}

// changes are the calls that change, made as the Data role.
type changes interface {
	queueAPI
	PutBucketPolicy(context.Context, *s3.PutBucketPolicyInput, ...func(*s3.Options)) (*s3.PutBucketPolicyOutput, error)
	DeleteBucketPolicy(context.Context, *s3.DeleteBucketPolicyInput, ...func(*s3.Options)) (*s3.DeleteBucketPolicyOutput, error)
	SetQueueAttributes(context.Context, *sqs.SetQueueAttributesInput, ...func(*sqs.Options)) (*sqs.SetQueueAttributesOutput, error)
	SetTopicAttributes(context.Context, *sns.SetTopicAttributesInput, ...func(*sns.Options)) (*sns.SetTopicAttributesOutput, error)
	ModifySnapshotAttribute(context.Context, *ec2.ModifySnapshotAttributeInput, ...func(*ec2.Options)) (*ec2.ModifySnapshotAttributeOutput, error)
	ModifyImageAttribute(context.Context, *ec2.ModifyImageAttributeInput, ...func(*ec2.Options)) (*ec2.ModifyImageAttributeOutput, error)
}

// settings say whom the installation trusts.
type settings interface {
	Read(context.Context) (setting.Installed, error)
}

// removal is the action. Owned fields: "policy", which stands for the resource's policy document (label), or "shared with
// <who>", true for each that a snapshot or image is shared with. The documents themselves are kept in the ledger.
type removal struct {
	store   ledger.Store
	inst    settings
	reads   func(context.Context, action.Call) (reads, error)
	changes func(context.Context, action.Call) (changes, error)
	// seen has the latest view of a target.
	seen *sync.Map
}

func (r removal) Observe(ctx context.Context, c action.Call) (action.State, error) {
	v, err := r.look(ctx, c)
	if err != nil {
		return nil, err
	}
	if old := r.view(c); old.run == run(c) {
		v.taken = old.taken
	}
	r.seen.Store(c.Target.ARN, v)
	if v.kind.document != nil {
		return action.State{"policy": label(v.doc)}, nil
	}
	s := action.State{}
	for _, who := range v.shared {
		s[with+who] = "true"
	}
	return s, nil
}

func (r removal) Intent(c action.Call, now action.State) (action.State, error) {
	v := r.view(c)
	whom := strings.Join(v.outsiders, " and ")
	if v.kind.document == nil {
		if !slices.Contains(v.outsiders, everybody) && now[with+everyone] == "true" {
			return nil, action.Refuse("%s is shared with everybody, %s among them: that is for the finding about everybody", c.Target.ARN, whom)
		}
		intent := action.State{}
		for f := range now {
			if meant(strings.TrimPrefix(f, with), v.outsiders) {
				intent[f] = ""
			}
		}
		return intent, nil
	}
	switch {
	case len(v.listed) > 0 && c.Target.Service == "kms":
		text := fmt.Sprintf("%s lets %s in by grants, which are no policy: %s", c.Target.ARN, whom, strings.Join(v.listed, "; "))
		if len(v.edit.out) > 0 {
			text += ". And " + v.prepared(c)
		}
		return nil, action.Refuse("%s", text)
	case len(v.listed) > 0:
		return nil, action.Refuse("%s lets %s in by its ACL, which is no policy: %s. Take that out, best by giving up ACLs altogether. With: aws s3api put-bucket-ownership-controls --bucket %s --ownership-controls Rules=[{ObjectOwnership=BucketOwnerEnforced}]", c.Target.ARN, whom, strings.Join(v.listed, "; "), c.Target.Resource)
	case len(v.edit.open) > 0:
		return nil, action.Refuse("%s lets %s, and no condition says whom: decide whom it is meant for, and name them there; taking out %s alone would change nothing", c.Target.ARN, strings.Join(v.edit.open, " and "), whom)
	case len(v.narrow) > 0:
		return nil, action.Refuse("%s lets %s in, which the installation does not trust: decide whether it is meant, and put it on the trusted list (scripts/deploy hub --trusted) or take it out there", c.Target.ARN, strings.Join(v.narrow, " and "))
	case len(v.points) > 0 && len(v.edit.out) == 0:
		return nil, action.Refuse("the policy of %s leaves it to its access points whom to let in, and they let %s in: %s", c.Target.ARN, whom, strings.Join(v.points, "; "))
	case v.unread != "" && len(v.edit.out) == 0:
		return nil, action.Refuse("the policy of %s does not let %s in, but %s, so nobody can tell whether that does. Look: aws s3api get-bucket-acl --bucket %s", c.Target.ARN, whom, v.unread, c.Target.Resource)
	case v.kind.put == nil:
		return nil, action.Refuse("%s", v.prepared(c))
	case v.edit.doc == "" && c.Target.Service == "sns":
		return action.State{"policy": label(owners(c))}, nil
	}
	return action.State{"policy": label(v.edit.doc)}, nil
}

func (r removal) Contained(c action.Call, s action.State) bool {
	v := r.view(c)
	if v.kind.document != nil {
		return s["policy"] == label(v.doc) && len(v.edit.out)+len(v.edit.open)+len(v.narrow)+len(v.listed)+len(v.points) == 0 && v.unread == ""
	}
	for f, value := range s {
		if who := strings.TrimPrefix(f, with); value == "true" && (meant(who, v.outsiders) || who == everyone) {
			return false
		}
	}
	return true
}

// Apply takes the principal out of what stands now. Where that is not what was observed it changes nothing: the next round
// sees it.
func (r removal) Apply(ctx context.Context, c action.Call, now, _ action.State) error {
	v, err := r.look(ctx, c)
	if err != nil {
		return err
	}
	api, err := r.changes(ctx, c)
	if err != nil {
		return err
	}
	if v.kind.document == nil {
		remove := slices.DeleteFunc(v.shared, func(who string) bool { return !meant(who, v.outsiders) || now[with+who] == "" })
		if len(remove) == 0 {
			return nil
		}
		return v.kind.share(ctx, api, c, nil, remove)
	}
	if label(v.doc) != now["policy"] || len(v.edit.out) == 0 {
		return nil
	}
	if err := r.keep(ctx, c, v.doc); err != nil {
		return err
	}
	r.view(c).taken = v.edit.out
	return v.kind.put(ctx, api, c, v.edit.doc)
}

// Restore puts the earlier document or list back.
func (r removal) Restore(ctx context.Context, c action.Call, now, before action.State) error {
	k, err := kindOf(c)
	if err != nil {
		return err
	}
	api, err := r.changes(ctx, c)
	if err != nil {
		return err
	}
	if k.document == nil {
		return r.reshare(ctx, c, k, api, before)
	}
	if now["policy"] == before["policy"] {
		return nil
	}
	doc, err := r.kept(ctx, c, before["policy"])
	if err != nil {
		return err
	}
	return k.put(ctx, api, c, doc)
}

// Tags are the resource's. Of what people change themselves none are read.
func (r removal) Tags(ctx context.Context, c action.Call) (map[string]string, error) {
	k, err := kindOf(c)
	if err != nil || k.tags == nil {
		return nil, err
	}
	api, err := r.reads(ctx, c)
	if err != nil {
		return nil, err
	}
	return k.tags(ctx, api, c)
}

func (r removal) Notes(c action.Call, _ action.State) []string {
	v := r.view(c)
	out := v.taken
	if len(out) == 0 {
		out = v.edit.out
	}
	v.taken = nil
	out = append(slices.Clone(out), v.notes...)
	if c.Target.Service == "sns" { // a policy says who may subscribe, and is not asked again
		out = append(out, "who has subscribed already may go on receiving: look at aws sns list-subscriptions-by-topic --region "+c.Target.Region+" --topic-arn "+c.Target.ARN)
	}
	if v.kind.share != nil {
		out = append(out, "who has copied it keeps the copy")
	}
	return out
}

func main() {
	b := boot.Load()
	boot.Start(action.NewSpine(b.Store(), b.Installation()).Containing("remove-external-access", wired(b.Store(), b.Installation(), b.Access())))
}

// wired is the action with the roles of accounts that it takes.
func wired(store ledger.Store, inst *setting.Installation, access account.Access) removal {
	return removal{
		store: store, inst: inst,
		reads: func(ctx context.Context, c action.Call) (reads, error) {
			cfg, err := access.Config(ctx, account.Read, c.Scope(), looking(c)...)
			return newClients(cfg), err
		},
		changes: func(ctx context.Context, c action.Call) (changes, error) {
			cfg, err := access.Config(ctx, account.Data, c.Scope(), changing(c)...)
			return newClients(cfg), err
		},
		seen: &sync.Map{},
	}
}

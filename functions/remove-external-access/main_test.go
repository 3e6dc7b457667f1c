package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"firebreak/lib/action"
	"firebreak/lib/actiontest"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/s3control"
	s3controltypes "github.com/aws/aws-sdk-go-v2/service/s3control/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"
)

const (
	exports  = "arn:aws:s3:::clinic-exports"
	jobs     = "arn:aws:sqs:us-east-1:222222222222:clinic-jobs"
	alerts   = "arn:aws:sns:us-east-1:222222222222:clinic-alerts"
	snap     = "arn:aws:ec2:us-east-1::snapshot/snap-0f000000000000001"
	ami      = "arn:aws:ec2:us-east-1::image/ami-0f000000000000001"
	key      = "arn:aws:kms:us-east-1:222222222222:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	secret   = "arn:aws:secretsmanager:us-east-1:222222222222:secret:clinic/db-AbCdEf"
	function = "arn:aws:lambda:us-east-1:222222222222:function:clinic-report"
	role     = "arn:aws:iam::222222222222:role/partner-access"

	first  = "INC-VEPYW46KHAZJUHQC"
	second = "INC-BWJ4TH5BLF5DYQIG"

	us       = "222222222222"
	them     = "444455556666"
	theirs   = "arn:aws:iam::444455556666:root"
	partner  = "333333333333"
	partners = "arn:aws:iam::333333333333:role/reader"
	trusted  = "arn:aws:iam::777788889999:role/reader"
	stranger = "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be"
	friend   = "c1daexampleaaf850ea79cf0430f33d72579fd1611c97f7ded193374c0b163b6"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	os.Exit(m.Run())
}

// fake is one resource of any kind.
type fake struct {
	actiontest.Wire
	arn    string
	gone   bool
	doc    string
	shared []string
	acl    []s3types.Grant
	grants []kmstypes.GrantListEntry
	points []string // the policies of its access points
	block  bool     // the public access block ignores what the ACL gives everybody
	tags   map[string]string
}

// allow is a statement that lets somebody in.
func allow(sid, principal string) string {
	return fmt.Sprintf(`{"Sid":%q,"Effect":"Allow","Principal":%s,"Action":["s3:GetObject"],"Resource":"*"}`, sid, principal)
}

func policy(statements ...string) string {
	return `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
}

func newFake(arn string, statements ...string) *fake {
	f := &fake{arn: arn}
	if len(statements) > 0 {
		f.doc = policy(statements...)
	}
	return f
}

func (f *fake) look(call, act, code string) error {
	if err := f.Read(call, act, f.arn); err != nil {
		return err
	}
	return f.there(code)
}

func (f *fake) there(code string) error {
	if f.gone {
		return actiontest.Answer(code)
	}
	return nil
}

var bare = regexp.MustCompile(`"(\d{12})"`)

// write keeps a document as AWS does: accounts become the ARNs of their roots.
func (f *fake) write(call, act, code, doc string) error {
	return f.Change(call, act, f.arn, func() error {
		if f.gone {
			return actiontest.Answer(code)
		}
		f.doc = bare.ReplaceAllString(doc, `"arn:aws:iam::$1:root"`)
		return nil
	})
}

func (f *fake) GetBucketPolicy(context.Context, *s3.GetBucketPolicyInput, ...func(*s3.Options)) (*s3.GetBucketPolicyOutput, error) {
	if err := f.look("GetBucketPolicy", "s3:GetBucketPolicy", "NoSuchBucket"); err != nil {
		return nil, err
	}
	if f.doc == "" {
		return nil, actiontest.Answer("NoSuchBucketPolicy")
	}
	return &s3.GetBucketPolicyOutput{Policy: &f.doc}, nil
}

//lint:ignore ST1003 the SDK names it so
func (f *fake) GetBucketAcl(context.Context, *s3.GetBucketAclInput, ...func(*s3.Options)) (*s3.GetBucketAclOutput, error) {
	return &s3.GetBucketAclOutput{Owner: &s3types.Owner{ID: aws.String("owner")}, Grants: f.acl}, f.look("GetBucketAcl", "s3:GetBucketAcl", "NoSuchBucket")
}

func (f *fake) GetBucketTagging(context.Context, *s3.GetBucketTaggingInput, ...func(*s3.Options)) (*s3.GetBucketTaggingOutput, error) {
	out := &s3.GetBucketTaggingOutput{}
	for k, v := range f.tags {
		out.TagSet = append(out.TagSet, s3types.Tag{Key: aws.String(k), Value: aws.String(v)})
	}
	return out, f.look("GetBucketTagging", "s3:GetBucketTagging", "NoSuchBucket")
}

func (f *fake) GetPublicAccessBlock(context.Context, *s3.GetPublicAccessBlockInput, ...func(*s3.Options)) (*s3.GetPublicAccessBlockOutput, error) {
	return &s3.GetPublicAccessBlockOutput{PublicAccessBlockConfiguration: &s3types.PublicAccessBlockConfiguration{IgnorePublicAcls: &f.block}}, f.look("GetPublicAccessBlock", "s3:GetBucketPublicAccessBlock", "NoSuchBucket")
}

func (f *fake) ListAccessPoints(context.Context, *s3control.ListAccessPointsInput, ...func(*s3control.Options)) (*s3control.ListAccessPointsOutput, error) {
	out := &s3control.ListAccessPointsOutput{}
	for n := range f.points {
		out.AccessPointList = append(out.AccessPointList, s3controltypes.AccessPoint{Name: aws.String(fmt.Sprint("point", n))})
	}
	return out, f.Read("ListAccessPoints", "s3:ListAccessPoints", "*")
}

func (f *fake) GetAccessPointPolicy(_ context.Context, in *s3control.GetAccessPointPolicyInput, _ ...func(*s3control.Options)) (*s3control.GetAccessPointPolicyOutput, error) {
	if err := f.Read("GetAccessPointPolicy", "s3:GetAccessPointPolicy", "arn:aws:s3:us-east-1:222222222222:accesspoint/"+*in.Name); err != nil {
		return nil, err
	}
	n, _ := strconv.Atoi(strings.TrimPrefix(*in.Name, "point"))
	if f.points[n] == "" {
		return nil, actiontest.Answer("NoSuchAccessPointPolicy")
	}
	return &s3control.GetAccessPointPolicyOutput{Policy: &f.points[n]}, nil
}

func (f *fake) PutBucketPolicy(_ context.Context, in *s3.PutBucketPolicyInput, _ ...func(*s3.Options)) (*s3.PutBucketPolicyOutput, error) {
	return &s3.PutBucketPolicyOutput{}, f.write("PutBucketPolicy", "s3:PutBucketPolicy", "NoSuchBucket", *in.Policy)
}

func (f *fake) DeleteBucketPolicy(context.Context, *s3.DeleteBucketPolicyInput, ...func(*s3.Options)) (*s3.DeleteBucketPolicyOutput, error) {
	return &s3.DeleteBucketPolicyOutput{}, f.write("DeleteBucketPolicy", "s3:DeleteBucketPolicy", "NoSuchBucket", "")
}

//lint:ignore ST1003 the SDK names it so
func (f *fake) GetQueueUrl(_ context.Context, in *sqs.GetQueueUrlInput, _ ...func(*sqs.Options)) (*sqs.GetQueueUrlOutput, error) {
	if f.gone {
		return nil, &sqstypes.QueueDoesNotExist{ErrorCodeOverride: aws.String(noQueue)}
	}
	return &sqs.GetQueueUrlOutput{QueueUrl: aws.String("https://sqs.example.com/" + *in.QueueName)}, f.look("GetQueueUrl", "sqs:GetQueueUrl", "")
}

func (f *fake) GetQueueAttributes(context.Context, *sqs.GetQueueAttributesInput, ...func(*sqs.Options)) (*sqs.GetQueueAttributesOutput, error) {
	out := &sqs.GetQueueAttributesOutput{Attributes: map[string]string{}}
	if f.doc != "" {
		out.Attributes["Policy"] = f.doc
	}
	return out, f.look("GetQueueAttributes", "sqs:GetQueueAttributes", "")
}

func (f *fake) SetQueueAttributes(_ context.Context, in *sqs.SetQueueAttributesInput, _ ...func(*sqs.Options)) (*sqs.SetQueueAttributesOutput, error) {
	return &sqs.SetQueueAttributesOutput{}, f.write("SetQueueAttributes", "sqs:SetQueueAttributes", "", in.Attributes["Policy"])
}

func (f *fake) GetTopicAttributes(context.Context, *sns.GetTopicAttributesInput, ...func(*sns.Options)) (*sns.GetTopicAttributesOutput, error) {
	return &sns.GetTopicAttributesOutput{Attributes: map[string]string{"Policy": f.doc}}, f.look("GetTopicAttributes", "sns:GetTopicAttributes", "NotFound")
}

func (f *fake) SetTopicAttributes(_ context.Context, in *sns.SetTopicAttributesInput, _ ...func(*sns.Options)) (*sns.SetTopicAttributesOutput, error) {
	if *in.AttributeValue == "" {
		return nil, actiontest.Answer("InvalidParameter")
	}
	return &sns.SetTopicAttributesOutput{}, f.write("SetTopicAttributes", "sns:SetTopicAttributes", "NotFound", *in.AttributeValue)
}

func (f *fake) ListQueueTags(context.Context, *sqs.ListQueueTagsInput, ...func(*sqs.Options)) (*sqs.ListQueueTagsOutput, error) {
	return &sqs.ListQueueTagsOutput{Tags: f.tags}, f.look("ListQueueTags", "sqs:ListQueueTags", "")
}

func (f *fake) ListTagsForResource(context.Context, *sns.ListTagsForResourceInput, ...func(*sns.Options)) (*sns.ListTagsForResourceOutput, error) {
	out := &sns.ListTagsForResourceOutput{}
	for k, v := range f.tags {
		out.Tags = append(out.Tags, snstypes.Tag{Key: &k, Value: &v})
	}
	return out, f.look("ListTagsForResource", "sns:ListTagsForResource", "ResourceNotFound")
}

func (f *fake) DescribeTags(context.Context, *ec2.DescribeTagsInput, ...func(*ec2.Options)) (*ec2.DescribeTagsOutput, error) {
	out := &ec2.DescribeTagsOutput{}
	for k, v := range f.tags {
		out.Tags = append(out.Tags, ec2types.TagDescription{Key: &k, Value: &v})
	}
	return out, f.Read("DescribeTags", "ec2:DescribeTags", "*")
}

func (f *fake) DescribeSnapshotAttribute(context.Context, *ec2.DescribeSnapshotAttributeInput, ...func(*ec2.Options)) (*ec2.DescribeSnapshotAttributeOutput, error) {
	out := &ec2.DescribeSnapshotAttributeOutput{}
	for _, who := range f.shared {
		if who == "all" {
			out.CreateVolumePermissions = append(out.CreateVolumePermissions, ec2types.CreateVolumePermission{Group: ec2types.PermissionGroupAll})
		} else {
			out.CreateVolumePermissions = append(out.CreateVolumePermissions, ec2types.CreateVolumePermission{UserId: &who})
		}
	}
	return out, f.look("DescribeSnapshotAttribute", "ec2:DescribeSnapshotAttribute", "InvalidSnapshot.NotFound")
}

func (f *fake) DescribeImageAttribute(context.Context, *ec2.DescribeImageAttributeInput, ...func(*ec2.Options)) (*ec2.DescribeImageAttributeOutput, error) {
	out := &ec2.DescribeImageAttributeOutput{}
	for _, who := range f.shared {
		p := ec2types.LaunchPermission{}
		switch {
		case who == "all":
			p.Group = ec2types.PermissionGroupAll
		case strings.Contains(who, ":ou/"):
			p.OrganizationalUnitArn = &who
		case strings.Contains(who, ":organization/"):
			p.OrganizationArn = &who
		default:
			p.UserId = &who
		}
		out.LaunchPermissions = append(out.LaunchPermissions, p)
	}
	return out, f.look("DescribeImageAttribute", "ec2:DescribeImageAttribute", "InvalidAMIID.NotFound")
}

// share changes the list; adding who is there already and removing who is not are no errors.
func (f *fake) share(call, act string, add, remove []string) error {
	return f.Change(call, act, f.arn, func() error {
		f.shared = slices.DeleteFunc(f.shared, func(who string) bool { return slices.Contains(remove, who) })
		for _, who := range add {
			if !slices.Contains(f.shared, who) {
				f.shared = append(f.shared, who)
			}
		}
		return nil
	})
}

func (f *fake) ModifySnapshotAttribute(_ context.Context, in *ec2.ModifySnapshotAttributeInput, _ ...func(*ec2.Options)) (*ec2.ModifySnapshotAttributeOutput, error) {
	names := func(list []ec2types.CreateVolumePermission) (out []string) {
		for _, p := range list {
			out = append(out, string(p.Group)+aws.ToString(p.UserId))
		}
		return out
	}
	return &ec2.ModifySnapshotAttributeOutput{}, f.share("ModifySnapshotAttribute", "ec2:ModifySnapshotAttribute", names(in.CreateVolumePermission.Add), names(in.CreateVolumePermission.Remove))
}

func (f *fake) ModifyImageAttribute(_ context.Context, in *ec2.ModifyImageAttributeInput, _ ...func(*ec2.Options)) (*ec2.ModifyImageAttributeOutput, error) {
	names := func(list []ec2types.LaunchPermission) (out []string) {
		for _, p := range list {
			out = append(out, string(p.Group)+aws.ToString(p.UserId)+aws.ToString(p.OrganizationArn)+aws.ToString(p.OrganizationalUnitArn))
		}
		return out
	}
	return &ec2.ModifyImageAttributeOutput{}, f.share("ModifyImageAttribute", "ec2:ModifyImageAttribute", names(in.LaunchPermission.Add), names(in.LaunchPermission.Remove))
}

func (f *fake) GetKeyPolicy(context.Context, *kms.GetKeyPolicyInput, ...func(*kms.Options)) (*kms.GetKeyPolicyOutput, error) {
	return &kms.GetKeyPolicyOutput{Policy: &f.doc}, f.look("GetKeyPolicy", "kms:GetKeyPolicy", "NotFoundException")
}

// ListGrants has an empty page before each grant.
func (f *fake) ListGrants(_ context.Context, in *kms.ListGrantsInput, _ ...func(*kms.Options)) (*kms.ListGrantsOutput, error) {
	out := &kms.ListGrantsOutput{}
	at, _ := strconv.Atoi(aws.ToString(in.Marker))
	if at < 2*len(f.grants) {
		out.Truncated, out.NextMarker = true, aws.String(strconv.Itoa(at+1))
		if at%2 == 1 {
			out.Grants = f.grants[at/2 : at/2+1]
		}
	}
	return out, f.look("ListGrants", "kms:ListGrants", "NotFoundException")
}

func (f *fake) GetResourcePolicy(context.Context, *secretsmanager.GetResourcePolicyInput, ...func(*secretsmanager.Options)) (*secretsmanager.GetResourcePolicyOutput, error) {
	return &secretsmanager.GetResourcePolicyOutput{ResourcePolicy: &f.doc}, f.look("GetResourcePolicy", "secretsmanager:GetResourcePolicy", "ResourceNotFoundException")
}

func (f *fake) GetPolicy(context.Context, *lambda.GetPolicyInput, ...func(*lambda.Options)) (*lambda.GetPolicyOutput, error) {
	return &lambda.GetPolicyOutput{Policy: &f.doc}, f.look("GetPolicy", "lambda:GetPolicy", "ResourceNotFoundException")
}

func (f *fake) GetRole(context.Context, *iam.GetRoleInput, ...func(*iam.Options)) (*iam.GetRoleOutput, error) {
	return &iam.GetRoleOutput{Role: &iamtypes.Role{AssumeRolePolicyDocument: aws.String(url.PathEscape(f.doc))}}, f.look("GetRole", "iam:GetRole", "NoSuchEntity")
}

// stands is the resource as it is; a document by its meaning.
func (f *fake) stands() any {
	list := append([]string{}, slices.Sorted(slices.Values(f.shared))...)
	return map[string]any{"policy": label(f.doc), "shared": list}
}

// installed looks after one account, and trusts another account, an organization and a canonical user.
var installed = setting.Installed{
	Accounts: []setting.Account{{ID: us, Name: "clinic"}}, Hub: "111111111111",
	Trusted: setting.Trusted{Accounts: []string{"777788889999"}, Organization: "o-trustedtrusted", CanonicalUsers: []string{friend}},
}

func newWorld(t *testing.T, f *fake) *actiontest.World { return newWorldOf(t, f, installed) }

func newWorldOf(t *testing.T, f *fake, installed setting.Installed) *actiontest.World {
	r := removal{
		reads: func(_ context.Context, c action.Call) (reads, error) {
			return f, actiontest.Session(&f.Looking, looking(c))
		},
		changes: func(_ context.Context, c action.Call) (changes, error) {
			return f, actiontest.Session(&f.Changing, changing(c))
		},
		inst: setting.Fixed(installed), seen: &sync.Map{},
	}
	w := actiontest.New(t, "remove-external-access", late{&r})
	r.store = w.Store
	return w
}

// late is an action whose ledger is known after it was made.
type late struct{ *removal }

func whom(principal string) map[string]string { return map[string]string{"principal": principal} }

// own is a statement for the resource's own account.
var own = allow("Owner", `{"AWS":"arn:aws:iam::222222222222:root"}`)

// everybodyOf is a statement for everybody whom a condition takes.
func everybodyOf(key, value string) string {
	return fmt.Sprintf(`{"Sid":"Of","Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"*","Condition":{"StringLike":{%q:%q}}}`, key, value)
}

// byPoints is a statement that leaves it to the account's access points whom to let in.
var byPoints = everybodyOf("s3:DataAccessPointAccount", us)

// grantTo has the key granted to somebody.
func grantTo(to string) func(*fake) {
	return func(f *fake) {
		f.grants = []kmstypes.GrantListEntry{
			{GrantId: aws.String("1"), GranteePrincipal: aws.String("arn:aws:iam::222222222222:role/app"), Operations: []kmstypes.GrantOperation{kmstypes.GrantOperationDecrypt}},
			{
				GrantId: aws.String("0c237476b39f8bc44e45212e08498fbe3151305030726c0590dd8d3e9f3d6a60"), GranteePrincipal: &to, Operations: []kmstypes.GrantOperation{kmstypes.GrantOperationDecrypt},
			},
		}
	}
}

func tagged(f *fake) { f.tags = map[string]string{"firebreak:protected": "true"} }

func grant(user string) []s3types.Grant {
	return []s3types.Grant{{Permission: s3types.PermissionRead, Grantee: &s3types.Grantee{Type: s3types.TypeCanonicalUser, ID: &user}}}
}

var world = []s3types.Grant{{Permission: s3types.PermissionRead, Grantee: &s3types.Grantee{Type: s3types.TypeGroup, URI: aws.String("http://acs.amazonaws.com/groups/global/AllUsers")}}}

func TestOutcomes(t *testing.T) {
	for name, c := range map[string]struct {
		mode   incident.Mode
		target string
		with   map[string]string
		doc    []string
		shared []string
		set    func(*fake)
		guard  func(*setting.Guard)
		want   incident.Outcome
		reason string
		fault  fault.Name
		golden string
		after  []string // statements, nil for those of before
		left   []string // sharing, nil for that of before
	}{
		"bucket":       {doc: []string{own, allow("Them", `{"AWS":"`+theirs+`"}`)}, want: incident.Applied, golden: "applied", after: []string{own}},
		"plan":         {mode: incident.Look, doc: []string{own, allow("Them", `{"AWS":"`+theirs+`"}`)}, want: incident.Planned, golden: "planned"},
		"already":      {doc: []string{own}, want: incident.Already, golden: "already"},
		"no policy":    {want: incident.Already},
		"nothing left": {doc: []string{allow("Them", `{"AWS":"`+theirs+`"}`)}, want: incident.Applied, after: []string{}},
		"queue":        {target: jobs, doc: []string{own, allow("Them", `{"AWS":"`+them+`"}`)}, want: incident.Applied, after: []string{own}},
		"queue, nothing left": {
			target: jobs, doc: []string{allow("Them", `{"AWS":"`+theirs+`"}`)}, want: incident.Applied, after: []string{},
		},
		"topic": {target: alerts, doc: []string{own, allow("Them", `{"AWS":"`+theirs+`"}`)}, want: incident.Applied, after: []string{own}},
		"topic, nothing left": {
			target: alerts, doc: []string{allow("Them", `{"AWS":"`+theirs+`"}`)}, want: incident.Applied,
			after: []string{strings.TrimSuffix(strings.TrimPrefix(owners(action.Call{Target: incident.Target{Partition: "aws", Account: us, ARN: alerts}}), `{"Version":"2012-10-17","Statement":[`), `]}`)},
		},
		"snapshot":             {target: snap, shared: []string{partner, them}, want: incident.Applied, left: []string{partner}},
		"snapshot, a role's":   {target: snap, with: whom("arn:aws:iam::444455556666:role/copy"), shared: []string{partner, them}, want: incident.Applied, left: []string{partner}},
		"snapshot, everybody":  {target: snap, with: whom("*"), shared: []string{partner, "all"}, want: incident.Applied, left: []string{partner}},
		"snapshot, already":    {target: snap, shared: []string{partner}, want: incident.Already},
		"snapshot, and all":    {target: snap, shared: []string{them, "all"}, want: incident.Refused, reason: "shared with everybody"},
		"image":                {target: ami, shared: []string{partner, them}, want: incident.Applied, left: []string{partner}},
		"image, organization":  {target: ami, with: whom("arn:aws:organizations::444455556666:organization/o-abcdefghij"), shared: []string{"arn:aws:organizations::444455556666:organization/o-abcdefghij", them}, want: incident.Applied, left: []string{them}},
		"everybody":            {with: whom("*"), doc: []string{own, allow("World", `"*"`)}, want: incident.Applied, after: []string{own}},
		"everybody, as AWS":    {with: whom("*"), doc: []string{allow("World", `{"AWS":["*","`+partners+`"]}`)}, want: incident.Applied, after: []string{allow("World", `{"AWS":"`+partners+`"}`)}},
		"one of several":       {doc: []string{allow("Many", `{"AWS":["`+partners+`","`+theirs+`","arn:aws:iam::222222222222:root"]}`)}, want: incident.Applied, after: []string{allow("Many", `{"AWS":["`+partners+`","arn:aws:iam::222222222222:root"]}`)}},
		"the world stays open": {doc: []string{allow("World", `"*"`), allow("Them", `{"AWS":"`+theirs+`"}`)}, want: incident.Refused, reason: "everybody in by statement World"},
		"everybody but one":    {doc: []string{`{"Effect":"Allow","NotPrincipal":{"AWS":"` + partners + `"},"Action":"*","Resource":"*"}`}, want: incident.Refused, reason: "statement 1"},
		"our own account":      {with: whom("arn:aws:iam::222222222222:role/app"), doc: []string{own}, want: incident.Refused, reason: "nobody is locked out"},
		"trusted":              {with: whom(trusted), doc: []string{allow("Trusted", `{"AWS":"`+trusted+`"}`)}, want: incident.Refused, reason: "trusted list"},
		"our hub":              {with: whom("111111111111"), doc: []string{allow("Hub", `{"AWS":"111111111111"}`)}, want: incident.Refused, reason: "Firebreak's own"},
		"image, trusted organization": {
			target: ami, with: whom("arn:aws:organizations::444455556666:organization/o-trustedtrusted"), shared: []string{"arn:aws:organizations::444455556666:organization/o-trustedtrusted"}, want: incident.Refused, reason: "trusted list",
		},
		"everybody of an organization that is trusted": {with: whom("*"), doc: []string{own, everybodyOf("aws:PrincipalOrgID", "o-trustedtrusted")}, want: incident.Already},
		"everybody of another organization":            {with: whom("*"), doc: []string{own, everybodyOf("aws:PrincipalOrgID", "o-otherother1")}, want: incident.Refused, reason: "everybody of o-otherother1 by statement Of"},
		"everybody of a unit of another":               {with: whom("*"), doc: []string{own, everybodyOf("aws:PrincipalOrgPaths", "o-otherother1/r-ab12/*")}, want: incident.Refused, reason: "o-otherother1"},
		"everybody of an account that is not trusted":  {with: whom("*"), doc: []string{own, everybodyOf("aws:SourceAccount", them)}, want: incident.Refused, reason: "everybody of 444455556666"},
		"everybody of our account":                     {with: whom("*"), doc: []string{own, everybodyOf("aws:SourceAccount", us)}, want: incident.Already},
		"a federation":                                 {with: whom("Federated:accounts.google.com"), target: jobs, doc: []string{own, allow("Web", `{"Federated":"accounts.google.com"}`)}, want: incident.Applied, after: []string{own}},
		"a federation by a provider of our own":        {with: whom("Federated:arn:aws:iam::222222222222:saml-provider/clinic"), target: role, doc: []string{own, allow("Web", `{"Federated":"arn:aws:iam::222222222222:saml-provider/clinic"}`)}, want: incident.Refused, reason: "Take arn:aws:iam::222222222222:saml-provider/clinic out of statement Web"},
		"a canonical user":                             {with: whom("CanonicalUser:" + stranger), doc: []string{own, allow("User", `{"CanonicalUser":"`+stranger+`"}`)}, want: incident.Applied, after: []string{own}},
		"a canonical user by ACL":                      {with: whom("CanonicalUser:" + stranger), doc: []string{own}, set: func(f *fake) { f.acl = grant(stranger) }, want: incident.Refused, reason: "READ for the canonical user " + stranger},
		"a trusted canonical user":                     {with: whom("CanonicalUser:" + friend), doc: []string{own}, set: func(f *fake) { f.acl = grant(friend) }, want: incident.Refused, reason: "trusted list"},
		"everybody by ACL":                             {with: whom("*"), doc: []string{own}, set: func(f *fake) { f.acl = world }, want: incident.Refused, reason: "READ for everybody"},
		"an ACL that nobody may read":                  {with: whom("*"), doc: []string{own}, set: func(f *fake) { f.Denied = map[string]bool{"GetBucketAcl": true} }, want: incident.Refused, reason: "nobody can tell"},
		"an ACL that nobody may read, and a policy": {
			with: whom("*"), doc: []string{own, allow("World", `"*"`)}, set: func(f *fake) { f.Denied = map[string]bool{"GetBucketAcl": true} },
			fault: fault.NotVerified, after: []string{own},
		},
		"an ACL that nobody may read, which names no accounts": {doc: []string{own, allow("Them", `{"AWS":"`+theirs+`"}`)}, set: func(f *fake) { f.Denied = map[string]bool{"GetBucketAcl": true} }, want: incident.Applied, after: []string{own}},
		"everybody by ACL, out of force":                       {with: whom("*"), doc: []string{own}, set: func(f *fake) { f.acl, f.block = world, true }, want: incident.Already},
		"several": {
			with: whom(them + ", " + partners + ",arn:aws:iam::222222222222:role/app"), doc: []string{own, allow("Both", `{"AWS":["`+partners+`","`+theirs+`"]}`)}, want: incident.Applied, after: []string{own},
		},
		"everybody and somebody": {
			with: whom(them + ",*"), doc: []string{own, allow("World", `"*"`), allow("Them", `{"AWS":"`+theirs+`"}`)}, want: incident.Applied, after: []string{own},
		},
		"one of them trusted": {
			with: whom(trusted + "," + them), doc: []string{own, allow("Both", `{"AWS":["`+trusted+`","`+theirs+`"]}`)},
			want: incident.Applied, after: []string{own, allow("Both", `{"AWS":"`+trusted+`"}`)},
		},
		"nobody named":   {with: map[string]string{}, fault: fault.BadInput},
		"key":            {target: key, doc: []string{own, allow("Them", `{"AWS":"`+theirs+`"}`)}, want: incident.Refused, golden: "refused", reason: "aws kms put-key-policy"},
		"key, not named": {target: key, doc: []string{own}, want: incident.Already},
		"key, by a grant": {
			target: key, doc: []string{own}, set: grantTo(theirs), want: incident.Refused, reason: "Decrypt for " + theirs + " by grant 0c237476b39f8bc44e45212e08498fbe3151305030726c0590dd8d3e9f3d6a60. Take that out with: aws kms revoke-grant --region us-east-1 --key-id " + key + " --grant-id",
		},
		"key, by a grant to somebody of the account": {target: key, doc: []string{own}, set: grantTo("arn:aws:iam::444455556666:role/copy"), want: incident.Refused, reason: "arn:aws:iam::444455556666:role/copy"},
		"key, by a grant to a partner":               {target: key, doc: []string{own}, set: grantTo(partners), want: incident.Already},
		"key, whose grants nobody may read":          {target: key, doc: []string{own}, set: func(f *fake) { f.Denied = map[string]bool{"ListGrants": true} }, fault: fault.Denied},
		"bucket, by an access point": {
			doc: []string{own, byPoints}, set: func(f *fake) { f.points = []string{"", policy(allow("Them", `{"AWS":"`+theirs+`"}`))} },
			want: incident.Refused, reason: "access point point1: " + theirs + " out of statement Them",
		},
		"bucket, by an access point and its policy": {
			doc: []string{own, byPoints, allow("Them", `{"AWS":"`+theirs+`"}`)}, set: func(f *fake) { f.points = []string{policy(allow("Them", `{"AWS":"`+theirs+`"}`))} },
			fault: fault.NotVerified, after: []string{own, byPoints},
		},
		"bucket, access points of others": {doc: []string{own, byPoints}, set: func(f *fake) { f.points = []string{policy(allow("Partner", `{"AWS":"`+partners+`"}`))} }, want: incident.Already},
		"bucket, an access point in vain": {doc: []string{own}, set: func(f *fake) { f.points = []string{policy(allow("Them", `{"AWS":"`+theirs+`"}`))} }, want: incident.Already},
		"bucket, hidden access points":    {doc: []string{own, byPoints}, set: func(f *fake) { f.Denied = map[string]bool{"ListAccessPoints": true} }, fault: fault.Denied},
		"secret":                          {target: secret, doc: []string{allow("Them", `{"AWS":"`+theirs+`"}`)}, want: incident.Refused, reason: "No statement is left then"},
		"function":                        {target: function, doc: []string{allow("Them", `{"AWS":"`+theirs+`"}`)}, want: incident.Refused, reason: "aws lambda remove-permission --region us-east-1 --function-name " + function + " --statement-id Them"},
		"role": {
			target: role, doc: []string{allow("Them", `{"AWS":"`+theirs+`"}`), own}, want: incident.Refused, reason: "aws iam update-assume-role-policy --role-name partner-access",
		},
		"something else":              {target: "arn:aws:rds:us-east-1:222222222222:snapshot:clinic", want: incident.Refused, reason: "does not know how resources of rds"},
		"gone":                        {set: func(f *fake) { f.gone = true }, want: incident.Gone},
		"queue gone":                  {target: jobs, set: func(f *fake) { f.gone = true }, want: incident.Gone},
		"topic gone":                  {target: alerts, set: func(f *fake) { f.gone = true }, want: incident.Gone},
		"snapshot gone":               {target: snap, set: func(f *fake) { f.gone = true }, want: incident.Gone},
		"image gone":                  {target: ami, set: func(f *fake) { f.gone = true }, want: incident.Gone},
		"role gone":                   {target: role, set: func(f *fake) { f.gone = true }, want: incident.Gone},
		"denied":                      {doc: []string{allow("Them", `{"AWS":"`+theirs+`"}`)}, set: func(f *fake) { f.Denied = map[string]bool{"DeleteBucketPolicy": true} }, fault: fault.Denied},
		"denied to look":              {set: func(f *fake) { f.Denied = map[string]bool{"GetBucketPolicy": true} }, fault: fault.Denied},
		"denied to share":             {target: snap, shared: []string{them}, set: func(f *fake) { f.Denied = map[string]bool{"ModifySnapshotAttribute": true} }, fault: fault.Denied},
		"no policy at all":            {set: func(f *fake) { f.doc = "not JSON" }, fault: fault.Unexpected},
		"protected":                   {doc: []string{allow("Them", `{"AWS":"`+theirs+`"}`)}, guard: func(g *setting.Guard) { g.Protected = []string{exports} }, want: incident.Refused},
		"protected by tag":            {doc: []string{allow("Them", `{"AWS":"`+theirs+`"}`)}, set: func(f *fake) { f.tags = map[string]string{"firebreak:protected": "true"} }, want: incident.Refused},
		"a queue protected by tag":    {target: jobs, doc: []string{allow("Them", `{"AWS":"`+theirs+`"}`)}, set: tagged, want: incident.Refused, reason: "firebreak:protected=true"},
		"a topic protected by tag":    {target: alerts, doc: []string{allow("Them", `{"AWS":"`+theirs+`"}`)}, set: tagged, want: incident.Refused, reason: "firebreak:protected=true"},
		"a snapshot protected by tag": {target: snap, shared: []string{them}, set: tagged, want: incident.Refused, reason: "firebreak:protected=true"},
		"an image protected by tag":   {target: ami, shared: []string{them}, set: tagged, want: incident.Refused, reason: "firebreak:protected=true"},
		"tags that cannot be read":    {target: jobs, doc: []string{allow("Them", `{"AWS":"`+theirs+`"}`)}, set: func(f *fake) { f.Denied = map[string]bool{"ListQueueTags": true} }, fault: fault.Denied},
		"mode plan":                   {doc: []string{allow("Them", `{"AWS":"`+theirs+`"}`)}, guard: func(g *setting.Guard) { g.Mode = setting.Plan }, want: incident.Planned},
		"put back once": {
			doc: []string{own, allow("Them", `{"AWS":"`+theirs+`"}`)},
			set: func(f *fake) {
				doc := f.doc
				f.After = func(string) {
					if len(f.Changed) == 1 {
						f.doc = doc
					}
				}
			},
			want: incident.Applied, after: []string{own},
		},
		"put back for ever": {
			doc: []string{own, allow("Them", `{"AWS":"`+theirs+`"}`)}, set: func(f *fake) { doc := f.doc; f.After = func(string) { f.doc = doc } }, fault: fault.NotVerified,
		},
	} {
		t.Run(name, func(t *testing.T) {
			target := c.target
			if target == "" {
				target = exports
			}
			f := newFake(target, c.doc...)
			f.shared = slices.Clone(c.shared)
			if c.set != nil {
				c.set(f)
			}
			before := f.doc
			w := newWorld(t, f)
			w.Guard(c.guard)
			with := c.with
			if with == nil {
				with = whom(them)
			}
			w.Expect(w.Request(c.mode, first, target, with), c.fault, c.want, c.reason, c.golden)
			want := before
			if c.after != nil {
				want = ""
			}
			if len(c.after) > 0 {
				want = policy(c.after...)
			}
			if diff := cmp.Diff(label(want), label(f.doc)); diff != "" {
				t.Errorf("policy (-want +got):\n%s\n%s", diff, f.doc)
			}
			left := c.left
			if left == nil {
				left = c.shared
			}
			if diff := cmp.Diff(left, f.shared); diff != "" {
				t.Errorf("shared (-want +got):\n%s", diff)
			}
			if c.want != incident.Applied && c.fault == "" && (len(f.Changed) > 0 || c.want != incident.Already && w.Writes(target) > 0) {
				t.Errorf("%s, but changed %v and wrote %d records", c.want, f.Changed, w.Writes(target))
			}
		})
	}
}

// The exact edit is there for the person: the document without the outsider, and nobody else missing.
func TestThePreparedEditIsExact(t *testing.T) {
	f := newFake(key, own, allow("Both", `{"AWS":["`+partners+`","`+theirs+`"]}`))
	w := newWorld(t, f)
	got := w.Must(w.Request(incident.Apply, first, key, whom(them)))
	_, doc, found := strings.Cut(got.Reason, "DOCUMENT is then: ")
	if !found || label(doc) != label(policy(own, allow("Both", `{"AWS":"`+partners+`"}`))) {
		t.Errorf("reason %q", got.Reason)
	}
}

// Whoever is not to be taken out can do afterwards what they could before: in random documents over every kind of resource, for random
// findings, also ones that name the resource's own account and trusted ones. What asks people instead changes nothing.
func TestNobodyIsLockedOut(t *testing.T) {
	const states = 1000
	rnd := rand.New(rand.NewPCG(17, 4))
	names := []string{us, "arn:aws:iam::222222222222:root", "arn:aws:iam::222222222222:role/app", trusted, "111111111111", theirs, them, partners, "*"}
	targets := []string{exports, jobs, alerts, key, secret, function, role}
	pick := func(most int) []string {
		var out []string
		for range 1 + rnd.IntN(most) {
			out = append(out, names[rnd.IntN(len(names))])
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	// may lists who may do what by a document: statement by statement, since actions and conditions are theirs.
	may := func(doc string) map[string]bool {
		out := map[string]bool{}
		if doc == "" {
			return out
		}
		_, list, err := parse(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range list {
			kinds, _ := s["Principal"].(map[string]any)
			who := texts(kinds["AWS"])
			if one, ok := s["Principal"].(string); ok {
				who = []string{one}
			}
			for _, p := range who {
				out[fmt.Sprintf("%v %v %s", s["Sid"], s["Effect"], canonical(p))] = true
			}
		}
		return out
	}
	changed := 0
	for n := range states {
		var statements []string
		for i := range 1 + rnd.IntN(4) {
			list, _ := json.Marshal(pick(3))
			statements = append(statements, allow(fmt.Sprintf("S%d", i), `{"AWS":`+string(list)+`}`))
		}
		target, named := targets[rnd.IntN(len(targets))], pick(3)
		f := newFake(target, statements...)
		w := newWorld(t, f)
		before := may(f.doc)
		_, err := w.Do(w.Request(incident.Apply, first, target, whom(strings.Join(named, ","))))
		if err != nil {
			t.Fatalf("state %d: %v", n, err)
		}
		if len(f.Changed) > 0 {
			changed++
		}
		out := slices.DeleteFunc(slices.Clone(named), func(p string) bool { return accountOf(p) == us || installed.Trusts(p) != "" })
		after := may(f.doc)
		for right := range before {
			who := right[strings.LastIndex(right, " ")+1:]
			meant := slices.ContainsFunc(out, func(p string) bool { return canonical(p) == who })
			if !after[right] && !meant {
				t.Errorf("state %d: %q lost its place in %s, named were %q\nbefore %s\nafter  %s", n, right, target, named, policy(statements...), f.doc)
			}
		}
		if !slices.Contains([]string{exports, jobs, alerts}, target) && len(f.Changed) > 0 {
			t.Errorf("state %d: %s was changed", n, target)
		}
	}
	t.Logf("%d states, %d changed", states, changed)
	if changed < states/10 {
		t.Errorf("only %d of %d states were changed: the test proves little", changed, states)
	}
}

func TestConditions(t *testing.T) {
	public := func(condition string) string {
		return `{"Sid":"S","Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"*","Condition":` + condition + `}`
	}
	for name, c := range map[string]struct {
		principal, statement string
		out                  bool   // it names the principal
		open                 bool   // it lets it in with everybody
		left                 string // what is left of the statement, "" for nothing
	}{
		"the principal's account":        {them, public(`{"StringEquals":{"aws:PrincipalAccount":"444455556666"}}`), true, false, ""},
		"one of several accounts":        {them, public(`{"StringEquals":{"aws:PrincipalAccount":["222222222222","444455556666"]}}`), true, false, public(`{"StringEquals":{"aws:PrincipalAccount":"222222222222"}}`)},
		"somebody of the account":        {them, public(`{"ArnLike":{"aws:PrincipalArn":["arn:aws:iam::444455556666:role/*","arn:aws:iam::222222222222:role/*"]}}`), true, false, public(`{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::222222222222:role/*"}}`)},
		"somebody else":                  {them, public(`{"StringEquals":{"aws:PrincipalAccount":"333333333333"}}`), false, false, "same"},
		"the organization":               {them, public(`{"StringEquals":{"aws:PrincipalOrgID":"o-abcdefghij"}}`), false, false, "same"},
		"a network":                      {them, public(`{"IpAddress":{"aws:SourceIp":["198.51.100.0/24","203.0.113.7"]}}`), false, false, "same"},
		"every network":                  {them, public(`{"IpAddress":{"aws:SourceIp":"0.0.0.0/1"}}`), false, true, "same"},
		"encryption in transit":          {them, public(`{"Bool":{"aws:SecureTransport":"true"}}`), false, true, "same"},
		"where the key is absent too":    {them, public(`{"StringEqualsIfExists":{"aws:PrincipalOrgID":"o-abcdefghij"}}`), false, true, "same"},
		"everybody but one":              {them, public(`{"StringNotEquals":{"aws:PrincipalAccount":"444455556666"}}`), false, true, "same"},
		"any account":                    {them, public(`{"StringLike":{"aws:PrincipalAccount":"*"}}`), false, true, "same"},
		"a variable":                     {them, public(`{"StringEquals":{"aws:userid":"${aws:userid}"}}`), false, true, "same"},
		"AWS's services":                 {them, public(`{"Bool":{"aws:PrincipalIsAWSService":"true"}}`), false, false, "same"},
		"a topic's own account":          {"*", public(`{"StringEquals":{"AWS:SourceOwner":"222222222222"}}`), false, false, "same"},
		"everybody, in transit":          {"*", public(`{"Bool":{"aws:SecureTransport":"true"}}`), true, false, ""},
		"everybody, of the organization": {"*", public(`{"StringEquals":{"aws:PrincipalOrgID":"o-abcdefghij"}}`), false, false, "same"},
		"a deny stays":                   {"*", `{"Sid":"S","Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*"}`, false, false, "same"},
		"a service stays":                {them, `{"Sid":"S","Effect":"Allow","Principal":{"Service":"cloudtrail.amazonaws.com"},"Action":"s3:PutObject","Resource":"*"}`, false, false, "same"},
		"beside a service":               {them, `{"Sid":"S","Effect":"Allow","Principal":{"Service":"cloudtrail.amazonaws.com","AWS":"444455556666"},"Action":"s3:PutObject","Resource":"*"}`, true, false, `{"Sid":"S","Effect":"Allow","Principal":{"Service":"cloudtrail.amazonaws.com"},"Action":"s3:PutObject","Resource":"*"}`},
		"the account is not its roles":   {them, allow("S", `{"AWS":"arn:aws:iam::444455556666:role/reader"}`), false, false, "same"},
		"a role is not its account":      {"arn:aws:iam::444455556666:role/reader", allow("S", `{"AWS":"444455556666"}`), false, true, "same"},
		"a role":                         {"arn:aws:iam::444455556666:role/reader", allow("S", `{"AWS":"arn:aws:iam::444455556666:role/reader"}`), true, false, ""},
		"a federated principal":          {"accounts.google.com", allow("S", `{"Federated":"accounts.google.com"}`), true, false, ""},
		"a canonical user":               {"79a59df900b949e5", allow("S", `{"CanonicalUser":"79a59df900b949e5"}`), true, false, ""},
		"everybody beside it":            {them, allow("S", `{"AWS":["*","444455556666"]}`), true, true, allow("S", `{"AWS":"*"}`)},
		"numbers stay":                   {them, public(`{"NumericLessThan":{"s3:max-keys":1000000000000000000001},"StringEquals":{"aws:PrincipalAccount":["444455556666","333333333333"]}}`), true, false, public(`{"NumericLessThan":{"s3:max-keys":1000000000000000000001},"StringEquals":{"aws:PrincipalAccount":"333333333333"}}`)},
	} {
		t.Run(name, func(t *testing.T) {
			doc := policy(own, c.statement)
			e, err := without(doc, c.principal)
			if err != nil {
				t.Fatal(err)
			}
			if (len(e.out) > 0) != c.out || (len(e.open) > 0) != c.open {
				t.Errorf("out %q, open %q", e.out, e.open)
			}
			want := policy(own)
			switch {
			case c.left == "same":
				want = doc
			case c.left != "":
				want = policy(own, c.left)
			}
			if label(want) != label(e.doc) {
				t.Errorf("left\n%s\nwant\n%s", e.doc, want)
			}
		})
	}
}

func TestLabel(t *testing.T) {
	same := []string{
		`{"Version":"2012-10-17","Statement":[{"Sid":"A","Effect":"Allow","Principal":{"AWS":["444455556666","arn:aws:iam::333333333333:root"]},"Action":"s3:GetObject","Resource":"*"}]}`,
		`{ "Statement": {"Effect":"Allow","Sid":"A","Principal":{"AWS":["arn:aws:iam::333333333333:root","arn:aws:iam::444455556666:root"]},"Action":["s3:GetObject"],"Resource":["*"]}, "Version": "2012-10-17" }`,
	}
	if label(same[0]) != label(same[1]) {
		t.Errorf("%s\n%s", label(same[0]), label(same[1]))
	}
	if other := strings.Replace(same[0], "GetObject", "PutObject", 1); label(other) == label(same[0]) {
		t.Error("another action has the same label")
	}
	if !strings.HasSuffix(label(policy(own, allow("", `"*"`))), " (Owner, 2)") {
		t.Error(label(policy(own, allow("", `"*"`))))
	}
}

func TestGrantsByACLAreSaid(t *testing.T) {
	f := newFake(exports)
	f.acl = []s3types.Grant{
		{Permission: s3types.PermissionFullControl, Grantee: &s3types.Grantee{Type: s3types.TypeCanonicalUser, ID: aws.String("owner")}},
		{Permission: s3types.PermissionRead, Grantee: &s3types.Grantee{Type: s3types.TypeGroup, URI: aws.String("http://acs.amazonaws.com/groups/global/AllUsers")}},
		{Permission: s3types.PermissionWrite, Grantee: &s3types.Grantee{Type: s3types.TypeCanonicalUser, ID: aws.String("79a59df900b949e5")}},
		{Permission: s3types.PermissionRead, Grantee: &s3types.Grantee{Type: s3types.TypeCanonicalUser, ID: aws.String(friend)}},
	}
	w := newWorld(t, f)
	want := []string{
		"the bucket's ACL gives everybody READ: block-public-access takes that out of force",
		"the bucket's ACL gives WRITE to the canonical user 79a59df900b949e5, whose account nobody can tell: look whose it is",
	}
	if got := w.Must(w.Request(incident.Apply, first, exports, whom(them))); !slices.Equal(got.Changes, want) {
		t.Errorf("changes %q, want %q", got.Changes, want)
	}
}

// A subscription can outlive the policy that let it be made, as a copy outlives the sharing.
func TestWhatOutlivesTheEditIsSaid(t *testing.T) {
	for target, want := range map[string]string{alerts: "who has subscribed already may go on receiving", snap: "who has copied it keeps the copy"} {
		f := newFake(target, own, allow("Them", `{"AWS":"`+theirs+`"}`))
		f.shared = []string{them}
		w := newWorld(t, f)
		if got := w.Must(w.Request(incident.Apply, first, target, whom(them))); got.Outcome != incident.Applied || !strings.Contains(strings.Join(got.Changes, "\n"), want) {
			t.Errorf("%s: %+v", target, got)
		}
	}
}

func TestKilledAnywhere(t *testing.T) {
	statements := []string{own, allow("Both", `{"AWS":["`+partners+`","`+theirs+`"]}`)}
	for _, target := range []string{exports, jobs, alerts, snap, ami} {
		t.Run(target, func(t *testing.T) {
			points := actiontest.KilledAnywhere(t, func() actiontest.Trial {
				f := newFake(target, statements...)
				f.shared = []string{partner, them}
				if target != snap && target != ami {
					f.shared = nil
				} else {
					f.doc = ""
				}
				return actiontest.Trial{World: newWorld(t, f), Wire: &f.Wire, Action: "remove-external-access", Target: target, With: whom(them), Stands: f.stands}
			})
			if points < 18 {
				t.Errorf("only %d points tried", points)
			}
		})
	}
}

func TestUndoAfterSomebodyChangedThePolicyIsDrifted(t *testing.T) {
	f := newFake(exports, own, allow("Them", `{"AWS":"`+theirs+`"}`))
	before := f.stands()
	w := newWorld(t, f)
	w.Must(w.Request(incident.Apply, first, exports, whom(them)))
	f.doc = policy(own, allow("Partner", `{"AWS":"`+partners+`"}`))
	req := w.Request(incident.Undo, first, exports, whom(them))
	changed := len(f.Changed)
	if got := w.Must(req); got.Outcome != incident.Drifted || len(f.Changed) != changed {
		t.Errorf("undo is %s with %d changes, want drifted with none", got.Outcome, len(f.Changed)-changed)
	}
	req.Force = true
	if got := w.Must(req); got.Outcome != incident.Restored {
		t.Errorf("forced undo is %s", got.Outcome)
	}
	if diff := cmp.Diff(before, f.stands()); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
}

func TestSharedWithSomebodyElseSinceIsDrifted(t *testing.T) {
	f := newFake(snap)
	f.shared = []string{them}
	w := newWorld(t, f)
	w.Must(w.Request(incident.Apply, first, snap, whom(them)))
	f.shared = []string{partner}
	req := w.Request(incident.Undo, first, snap, whom(them))
	if got := w.Must(req); got.Outcome != incident.Drifted || !slices.Equal(f.shared, []string{partner}) {
		t.Errorf("undo is %s, shared with %q", got.Outcome, f.shared)
	}
	req.Force = true
	if got := w.Must(req); got.Outcome != incident.Restored || !slices.Contains(f.shared, them) {
		t.Errorf("forced undo is %s, shared with %q", got.Outcome, f.shared)
	}
}

// Two incidents take two outsiders out of one policy: the last release gives both back.
func TestTwoHolders(t *testing.T) {
	f := newFake(exports, own, allow("Them", `{"AWS":"`+theirs+`"}`), allow("Partner", `{"AWS":"`+partners+`"}`))
	before := f.stands()
	w := newWorld(t, f)
	w.Must(w.Request(incident.Apply, first, exports, whom(them)))
	w.Must(w.Request(incident.Apply, second, exports, whom(partners)))
	if label(f.doc) != label(policy(own)) {
		t.Fatalf("policy %s", f.doc)
	}
	if got := w.Must(w.Request(incident.Undo, first, exports, whom(them))); got.Outcome != incident.Held {
		t.Errorf("first undo is %s, want held", got.Outcome)
	}
	if got := w.Must(w.Request(incident.Undo, second, exports, whom(partners))); got.Outcome != incident.Restored {
		t.Errorf("second undo is %s (%q)", got.Outcome, got.Changes)
	}
	if diff := cmp.Diff(before, f.stands()); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
}

func TestADocumentThatIsNotOnRecord(t *testing.T) {
	f := newFake(exports, own, allow("Them", `{"AWS":"`+theirs+`"}`))
	w := newWorld(t, f)
	w.Must(w.Request(incident.Apply, first, exports, whom(them)))
	recs, err := w.Store.List(t.Context(), "RES#"+exports, "DOCUMENT#")
	if err != nil || len(recs) != 1 {
		t.Fatalf("%d documents on record, %v", len(recs), err)
	}
	if err := w.Store.Delete(t.Context(), recs[0].Key, recs[0].Version); err != nil {
		t.Fatal(err)
	}
	changed := len(f.Changed)
	if got := w.Must(w.Request(incident.Undo, first, exports, whom(them))); got.Outcome != incident.Refused || len(f.Changed) != changed {
		t.Errorf("undo is %s", got.Outcome)
	}
	it, err := ledger.Load[ledger.Hold](t.Context(), w.Store, ledger.HoldKey(exports, "remove-external-access"))
	if err != nil || it.Value.Phase != ledger.Held {
		t.Errorf("phase %s, %v: what was refused is still held", it.Value.Phase, err)
	}
}

// A document of any length leaves no more than a label in states and results.
func TestALongDocumentDoesNotTravel(t *testing.T) {
	var list []string
	for i := range 150 {
		list = append(list, allow(fmt.Sprintf("Statement%03d", i), `{"AWS":"`+partners+`"}`))
	}
	f := newFake(exports, append(list, allow("Them", `{"AWS":"`+theirs+`"}`))...)
	w := newWorld(t, f)
	got := w.Must(w.Request(incident.Apply, first, exports, whom(them)))
	if text, _ := json.Marshal(got); len(f.doc) < 15000 || len(text) > 2000 {
		t.Errorf("a document of %d characters makes a result of %d", len(f.doc), len(text))
	}
	w.Must(w.Request(incident.Undo, first, exports, whom(them)))
	if !strings.Contains(f.doc, theirs) {
		t.Error("the undo did not bring the document back")
	}
}

// Any policy or list, any outsider: afterwards nothing names it, nobody else is missing, and undo gives back the very same.
func TestApplyThenUndoIsEqual(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 2))
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	people := []string{us, "arn:aws:iam::222222222222:role/app", them, theirs, "arn:aws:iam::444455556666:role/copy", partner, partners}
	for round, undone := 0, 0; undone < 1000; round++ {
		target := pick(exports, jobs, alerts, snap, ami)
		f := newFake(target)
		outsider := pick(them, theirs, partners, "arn:aws:iam::444455556666:role/copy")
		if target == snap || target == ami {
			for _, who := range []string{them, partner, "123456789012"} {
				if random.IntN(2) == 0 {
					f.shared = append(f.shared, who)
				}
			}
		} else {
			list := []string{own}
			for i := range random.IntN(8) {
				var who []string
				for range 1 + random.IntN(4) {
					who = append(who, fmt.Sprintf("%q", pick(people...)))
				}
				s := allow(pick("", fmt.Sprintf("S%d", i)), `{"AWS":[`+strings.Join(who, ",")+`]}`)
				switch random.IntN(6) {
				case 0:
					s = strings.Replace(s, `"Allow"`, `"Deny"`, 1)
				case 1:
					s = `{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalAccount":[` + strings.Join(who, ",") + `]}}}`
				case 2:
					s = allow("", `{"Service":"cloudtrail.amazonaws.com"}`)
				}
				list = append(list, s)
			}
			f.doc = policy(list...)
		}
		before, doc := f.stands(), f.doc
		w := newWorld(t, f)
		got := w.Must(w.Request(incident.Apply, first, target, whom(outsider)))
		if e, err := without(doc, outsider); err == nil && len(e.open) > 0 { // its whole account is let in: that is for people
			if diff := cmp.Diff(before, f.stands()); got.Outcome != incident.Refused || diff != "" {
				t.Fatalf("round %d: %s (%s)\n%s\n%s", round, got.Outcome, got.Reason, doc, diff)
			}
			continue
		}
		undone++
		if !got.Outcome.Contains() {
			t.Fatalf("round %d: %s (%s)\n%s", round, got.Outcome, got.Reason, doc)
		}
		if e, err := without(f.doc, outsider); err != nil || len(e.out) > 0 {
			t.Fatalf("round %d: %s is still named: %q, %v", round, outsider, e.out, err)
		}
		if was, is := count(doc, outsider), count(f.doc, outsider); was != is {
			t.Fatalf("round %d: of the others %d were named before, %d are now\n%s\n%s", round, was, is, doc, f.doc)
		}
		if got := w.Must(w.Request(incident.Undo, first, target, whom(outsider))); got.Outcome != incident.Restored {
			t.Fatalf("round %d: undo is %s", round, got.Outcome)
		}
		if diff := cmp.Diff(before, f.stands()); diff != "" {
			t.Fatalf("round %d (-before +after):\n%s", round, diff)
		}
	}
}

// count counts the different others that each Allow statement names in its principal.
func count(doc, outsider string) int {
	if doc == "" {
		return 0
	}
	_, list, _ := parse(doc)
	n := 0
	for _, s := range list {
		kinds, _ := s["Principal"].(map[string]any)
		if s["Effect"] != "Allow" {
			continue
		}
		seen := map[string]bool{}
		for _, who := range texts(kinds["AWS"]) {
			if who = canonical(who); who != canonical(outsider) {
				seen[who] = true
			}
		}
		n += len(seen)
	}
	return n
}

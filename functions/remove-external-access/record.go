package main

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"firebreak/lib/action"
	"firebreak/lib/bucket"
	"firebreak/lib/fault"
	"firebreak/lib/ledger"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/s3control"
)

// documentKey is where a policy document stands in the ledger. States carry its label, since documents are too long for them.
func documentKey(c action.Call, label string) ledger.Key {
	digest, _, _ := strings.Cut(label, " ")
	return ledger.DocumentKey(c.Target.ARN, digest)
}

// keep writes a document down before it is changed.
func (r removal) keep(ctx context.Context, c action.Call, doc string) error {
	if doc == "" {
		return nil
	}
	return ledger.Keep(ctx, r.store, documentKey(c, label(doc)), doc)
}

// kept gives the document of a label. Errors: a refusal where it is not on record.
func (r removal) kept(ctx context.Context, c action.Call, of string) (string, error) {
	if of == "" {
		return "", nil
	}
	it, err := ledger.Load[ledger.Document](ctx, r.store, documentKey(c, of))
	if err != nil {
		return "", err
	}
	if !it.Exists() || label(it.Value.Text) != of {
		return "", action.Refuse("the earlier policy of %s (%s) is not on record: put it back from its template", c.Target.ARN, of)
	}
	return it.Value.Text, nil
}

// grants says whom a bucket's ACL lets in besides its owner, which no policy does: listed are those who are among the outsiders, notes is
// the rest of it that other actions or people are for. unread is why nobody can tell whether it lets one of the outsiders in: an ACL names
// everybody and canonical users.
func grants(ctx context.Context, api reads, c action.Call, outsiders []string, trusts func(string) string) (listed, notes []string, unread string) {
	acl, err := api.GetBucketAcl(ctx, &s3.GetBucketAclInput{Bucket: &c.Target.Resource, ExpectedBucketOwner: &c.Target.Account})
	if err != nil {
		why := fmt.Sprintf("the bucket's ACL could not be read (%s)", fault.NameOf(err))
		if slices.ContainsFunc(outsiders, func(p string) bool { return p == everybody || ownerOf(p) == "" }) {
			unread = why
		}
		return nil, []string{why}, unread
	}
	for _, g := range acl.Grants {
		switch {
		case g.Grantee == nil:
		case strings.HasSuffix(aws.ToString(g.Grantee.URI), "/global/AllUsers"), strings.HasSuffix(aws.ToString(g.Grantee.URI), "/global/AuthenticatedUsers"):
			if slices.Contains(outsiders, everybody) && !ignored(ctx, api, c) {
				listed = append(listed, fmt.Sprintf("%s for everybody (block-public-access takes that out of force)", g.Permission))
				continue
			}
			notes = append(notes, fmt.Sprintf("the bucket's ACL gives everybody %s: block-public-access takes that out of force", g.Permission))
		case g.Grantee.Type == types.TypeCanonicalUser && (acl.Owner == nil || aws.ToString(g.Grantee.ID) != aws.ToString(acl.Owner.ID)):
			switch user := aws.ToString(g.Grantee.ID); {
			case slices.Contains(outsiders, user):
				listed = append(listed, fmt.Sprintf("%s for the canonical user %s", g.Permission, user))
			case trusts(user) == "":
				notes = append(notes, fmt.Sprintf("the bucket's ACL gives %s to the canonical user %s, whose account nobody can tell: look whose it is", g.Permission, user))
			}
		}
	}
	return listed, notes, ""
}

// granted says what the key's grants give the outsiders, and how people take it out. A grant lets somebody in whom no policy names, and
// Access Analyzer finds it as it finds a policy (AWS: IAM user guide, "IAM Access Analyzer resource types for external access").
func granted(ctx context.Context, api reads, c action.Call, outsiders []string) ([]string, error) {
	var out []string
	for pages := kms.NewListGrantsPaginator(api, &kms.ListGrantsInput{KeyId: &c.Target.ARN}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, gone(err, c, "list the grants", "NotFoundException")
		}
		for _, g := range page.Grants {
			who := aws.ToString(g.GranteePrincipal)
			if !slices.ContainsFunc(outsiders, func(p string) bool { return belongs(who, p) }) {
				continue
			}
			var may []string
			for _, o := range g.Operations {
				may = append(may, string(o))
			}
			out = append(out, fmt.Sprintf("%s for %s by grant %s. Take that out with: aws kms revoke-grant --region %s --key-id %s --grant-id %[3]s",
				strings.Join(may, ", "), who, aws.ToString(g.GrantId), c.Target.Region, c.Target.ARN))
		}
	}
	return out, nil
}

// points says which of a bucket's access points let an outsider in, where its policy leaves that to them. Access Analyzer finds that
// under the bucket's name (AWS: IAM user guide, "IAM Access Analyzer resource types for external access"); without such a statement the
// bucket's own policy has to let in as much as an access point's (AWS: Amazon S3 user guide, "Configuring IAM policies for using access
// points").
func points(ctx context.Context, api reads, c action.Call, doc string, outsiders []string) ([]string, error) {
	if !delegates(doc) {
		return nil, nil
	}
	var out []string
	for pages := s3control.NewListAccessPointsPaginator(api, &s3control.ListAccessPointsInput{AccountId: &c.Target.Account, Bucket: &c.Target.Resource}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, gone(err, c, "list the access points", "NoSuchBucket")
		}
		for _, p := range page.AccessPointList {
			got, err := api.GetAccessPointPolicy(ctx, &s3control.GetAccessPointPolicyInput{AccountId: &c.Target.Account, Name: p.Name})
			if bucket.Answered(err, "NoSuchAccessPointPolicy") || bucket.Answered(err, "NoSuchAccessPoint") {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("read the policy of access point %s: %w", aws.ToString(p.Name), err)
			}
			e, err := without(aws.ToString(got.Policy), outsiders...)
			if err != nil {
				return nil, err
			}
			if found := slices.Concat(e.out, e.open); len(found) > 0 {
				out = append(out, fmt.Sprintf("access point %s: %s. Edit it with: aws s3control put-access-point-policy --region %s --account-id %s --name %[1]s --policy DOCUMENT",
					aws.ToString(p.Name), strings.Join(found, ", "), c.Target.Region, c.Target.Account))
			}
		}
	}
	return out, nil
}

// ignored tells whether the bucket's public access block takes what its ACL gives everybody out of force. What cannot be read does not.
func ignored(ctx context.Context, api reads, c action.Call) bool {
	out, err := api.GetPublicAccessBlock(ctx, &s3.GetPublicAccessBlockInput{Bucket: &c.Target.Resource, ExpectedBucketOwner: &c.Target.Account})
	return err == nil && out.PublicAccessBlockConfiguration != nil && aws.ToBool(out.PublicAccessBlockConfiguration.IgnorePublicAcls)
}

// decoded gives a document as IAM writes it: percent-encoded.
func decoded(doc string) string {
	if out, err := url.PathUnescape(doc); err == nil {
		return out
	}
	return doc
}

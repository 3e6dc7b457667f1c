package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"firebreak/lib/action"
	"firebreak/lib/fault"
	"firebreak/lib/instance"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// view is a group as it was read.
type view struct {
	group   types.SecurityGroup
	rules   []rule // inbound
	remarks []string
}

// look reads the group with its rules, and the prefix lists that let somebody in on an administrative port.
func (r revocation) look(ctx context.Context, c action.Call) (*view, error) {
	id, ok := strings.CutPrefix(c.Target.Resource, "security-group/")
	if c.Target.Service != "ec2" || !ok {
		return nil, fault.New(fault.BadInput, "%s is not a security group", c.Target.ARN)
	}
	api, err := r.reads(ctx, c)
	if err != nil {
		return nil, err
	}
	// A filter, unlike an id, answers with nothing where there is no such group.
	out, err := api.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: []types.Filter{{Name: aws.String("group-id"), Values: []string{id}}}})
	if err != nil {
		return nil, fmt.Errorf("read group %s: %w", id, err)
	}
	if len(out.SecurityGroups) == 0 {
		return nil, fmt.Errorf("%s: %w", id, action.ErrGone)
	}
	v := &view{group: out.SecurityGroups[0]}
	for pages := ec2.NewDescribeSecurityGroupRulesPaginator(api, &ec2.DescribeSecurityGroupRulesInput{
		Filters: []types.Filter{{Name: aws.String("group-id"), Values: []string{id}}},
	}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("read the rules of group %s: %w", id, err)
		}
		for _, have := range page.SecurityGroupRules {
			if !aws.ToBool(have.IsEgress) {
				v.rules = append(v.rules, newRule(have))
			}
		}
	}
	slices.SortFunc(v.rules, func(a, b rule) int { return strings.Compare(a.key, b.key) })
	for i := range v.rules {
		if err := v.list(ctx, api, &v.rules[i]); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// list reads the ranges of a rule's prefix list. One that cannot be read is said, not passed over.
func (v *view) list(ctx context.Context, api reads, r *rule) error {
	if !strings.HasPrefix(r.source, "pl-") || !slices.ContainsFunc(ports, r.covers) {
		return nil
	}
	for pages := ec2.NewGetManagedPrefixListEntriesPaginator(api, &ec2.GetManagedPrefixListEntriesInput{PrefixListId: &r.source}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if instance.Code(err) == "InvalidPrefixListID.NotFound" || fault.Is(err, fault.Denied) {
			v.remarks = append(v.remarks, fmt.Sprintf("%s: the prefix list could not be read (%s), so nobody knows whom it lets in", r.key, instance.Code(err)))
			return nil
		}
		if err != nil {
			return fmt.Errorf("read prefix list %s: %w", r.source, err)
		}
		for _, e := range page.Entries {
			if p, err := netip.ParsePrefix(aws.ToString(e.Cidr)); err == nil {
				r.ranges = append(r.ranges, p.Masked())
			}
		}
	}
	return nil
}

// said says of the rules for administrative ports that stay which ones people should look at.
func (v *view) said() []string {
	goes, out := opening(v.rules), slices.Clone(v.remarks)
	for _, r := range v.rules {
		if !slices.ContainsFunc(ports, r.covers) || slices.ContainsFunc(goes, func(g rule) bool { return g.key == r.key }) {
			continue
		}
		switch four, six := r.broadest(false), r.broadest(true); {
		case strings.HasPrefix(r.source, "pl-") && len(r.ranges) > 0:
			out = append(out, fmt.Sprintf("%s: stays, a prefix list with %d ranges", r.key, len(r.ranges)))
		case four >= 0 && four < 8, six >= 0 && six < 16:
			out = append(out, r.key+": stays, a very wide range that is not the world")
		}
	}
	return out
}

// value gives the value of the rule of that key, "" where there is none.
func (v *view) value(key string) string {
	for _, r := range v.rules {
		if r.key == key {
			return r.value
		}
	}
	return ""
}

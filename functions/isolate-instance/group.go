package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/fault"
	"firebreak/lib/instance"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// kind is a kind of security group that Firebreak makes, one to a VPC.
type kind struct {
	name  string // the group's name begins with it; nobody can rename a group
	tag   string // set to "true"
	about string
	rules []string // exactly these, as rules gives them
}

var (
	// isolating has no rule at all.
	isolating = kind{"firebreak-isolation", "firebreak:isolation", "Firebreak: no traffic. Do not add rules.", nil}
	// transit lets everything through: flows under such rules are not tracked, so that the change to the isolation group ends
	// them at once instead of after up to five days (AWS: Amazon EC2 security group connection tracking).
	transit = kind{"firebreak-transit", "firebreak:transit", "Firebreak: all traffic, worn for a moment so that tracked connections end.",
		[]string{"in -1 0.0.0.0/0", "in -1 ::/0", "out -1 0.0.0.0/0", "out -1 ::/0"}}
)

// born are the rules that AWS gives a new group (the second in a VPC with IPv6).
var born = []string{"out -1 0.0.0.0/0", "out -1 ::/0"}

// is tells whether g may be used as a group of that kind: tagged, the account's own, with exactly the kind's rules. The tag
// alone proves nothing, attackers tag too.
func (k kind) is(g types.SecurityGroup, owner string) bool {
	return k.tagged(g, owner) && slices.Equal(rules(g), k.rules)
}

func (k kind) tagged(g types.SecurityGroup, owner string) bool {
	return aws.ToString(g.OwnerId) == owner && slices.ContainsFunc(g.Tags, func(t types.Tag) bool {
		return aws.ToString(t.Key) == k.tag && aws.ToString(t.Value) == "true"
	})
}

// ours tells whether g was made as a group of that kind, whatever its rules are now.
func (k kind) ours(g types.SecurityGroup, owner string) bool {
	return k.tagged(g, owner) && strings.HasPrefix(aws.ToString(g.GroupName), k.name)
}

// begun tells whether g is one of ours whose making was broken off: it has no rule but those it was born with and its own.
func (k kind) begun(g types.SecurityGroup, owner string) bool {
	return k.ours(g, owner) && !slices.ContainsFunc(rules(g), func(r string) bool {
		return !slices.Contains(born, r) && !slices.Contains(k.rules, r)
	})
}

// rules lists a group's rules, sorted: direction, protocol, ports, the other side.
func rules(g types.SecurityGroup) []string {
	var out []string
	add := func(way string, ps []types.IpPermission) {
		for _, p := range ps {
			head := way + " " + aws.ToString(p.IpProtocol)
			if p.FromPort != nil && aws.ToString(p.IpProtocol) != "-1" {
				head += fmt.Sprintf(" %d-%d", *p.FromPort, aws.ToInt32(p.ToPort))
			}
			n := len(out)
			for _, r := range p.IpRanges {
				out = append(out, head+" "+aws.ToString(r.CidrIp))
			}
			for _, r := range p.Ipv6Ranges {
				out = append(out, head+" "+aws.ToString(r.CidrIpv6))
			}
			for _, r := range p.PrefixListIds {
				out = append(out, head+" "+aws.ToString(r.PrefixListId))
			}
			for _, r := range p.UserIdGroupPairs {
				out = append(out, head+" "+aws.ToString(r.GroupId))
			}
			if len(out) == n {
				out = append(out, head+" unknown") // a kind of rule that this SDK does not show is a rule all the same
			}
		}
	}
	add("in", g.IpPermissions)
	add("out", g.IpPermissionsEgress)
	slices.Sort(out)
	return out
}

// names is how many names are tried when somebody has made something else of the groups that have them.
const names = 20

// group finds or makes the group of that kind in a VPC and gives its id. Two runs that make it at once meet in the name, which
// is unique in a VPC. Errors: Throttled where AWS does not show yet what was made.
func (i isolation) group(ctx context.Context, c action.Call, vpc string, k kind) (string, error) {
	api, err := i.reads(ctx, c)
	if err != nil {
		return "", err
	}
	found, err := groups(ctx, api, "vpc-id", []string{vpc}, "tag:"+k.tag, []string{"true"})
	if err != nil {
		return "", err
	}
	for _, g := range found {
		if k.is(g, c.Target.Account) {
			return aws.ToString(g.GroupId), nil
		}
	}
	for _, g := range found {
		if k.begun(g, c.Target.Account) {
			return i.finish(ctx, c, g, k)
		}
	}
	maker, err := i.changes(ctx, c, account.Statement{Actions: []string{"ec2:CreateSecurityGroup"}, Resources: []string{
		instance.ARN(c.Target, "vpc", vpc), instance.ARN(c.Target, "security-group", "*"),
	}}, account.Statement{
		Actions: []string{"ec2:CreateTags"}, Resources: []string{instance.ARN(c.Target, "security-group", "*")},
		Condition: map[string]map[string]string{"StringEquals": {"ec2:CreateAction": "CreateSecurityGroup"}},
	})
	if err != nil {
		return "", err
	}
	for n := range names {
		name := k.name
		if n > 0 {
			name += fmt.Sprintf("-%d", n+1)
		}
		_, err := maker.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{
			GroupName: &name, Description: &k.about, VpcId: &vpc,
			TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeSecurityGroup, Tags: []types.Tag{{Key: &k.tag, Value: aws.String("true")}}}},
		})
		if err != nil && instance.Code(err) != "InvalidGroup.Duplicate" {
			return "", fmt.Errorf("make group %s in %s: %w", name, vpc, err)
		}
		made, err := groups(ctx, api, "vpc-id", []string{vpc}, "group-name", []string{name})
		if err != nil {
			return "", err
		}
		if len(made) == 0 {
			return "", fault.New(fault.Throttled, "group %s in %s was made, but AWS does not show it yet: look again", name, vpc)
		}
		if k.is(made[0], c.Target.Account) {
			return aws.ToString(made[0].GroupId), nil
		}
		if k.begun(made[0], c.Target.Account) {
			return i.finish(ctx, c, made[0], k)
		}
	}
	return "", fault.New(fault.NotVerified, "%d groups named %s… in %s have rules that Firebreak did not give them: look who changes them, and delete them", names, k.name, vpc)
}

// finish gives a group exactly its kind's rules, and reads that it has them.
func (i isolation) finish(ctx context.Context, c action.Call, g types.SecurityGroup, k kind) (string, error) {
	id := aws.ToString(g.GroupId)
	fail := func(err error) (string, error) { return "", fmt.Errorf("give group %s its rules: %w", id, err) }
	api, err := i.changes(ctx, c, account.Statement{Actions: []string{
		"ec2:RevokeSecurityGroupEgress", "ec2:AuthorizeSecurityGroupEgress", "ec2:AuthorizeSecurityGroupIngress",
	}, Resources: []string{instance.ARN(c.Target, "security-group", id)}})
	if err != nil {
		return "", err
	}
	// Another run may do the same at once: what it did already is an answer here, not a failure.
	done := func(err error) bool {
		code := instance.Code(err)
		return err == nil || code == "InvalidPermission.NotFound" || code == "InvalidPermission.Duplicate"
	}
	have := rules(g)
	for _, r := range born {
		if slices.Contains(have, r) && !slices.Contains(k.rules, r) {
			if _, err := api.RevokeSecurityGroupEgress(ctx, &ec2.RevokeSecurityGroupEgressInput{GroupId: &id, IpPermissions: permission(r)}); !done(err) {
				return fail(err)
			}
		}
	}
	for _, r := range k.rules {
		if slices.Contains(have, r) {
			continue
		}
		if strings.HasPrefix(r, "in ") {
			_, err = api.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &id, IpPermissions: permission(r)})
		} else {
			_, err = api.AuthorizeSecurityGroupEgress(ctx, &ec2.AuthorizeSecurityGroupEgressInput{GroupId: &id, IpPermissions: permission(r)})
		}
		if !done(err) {
			return fail(err)
		}
	}
	read, err := i.reads(ctx, c)
	if err != nil {
		return "", err
	}
	now, err := groups(ctx, read, "group-id", []string{id})
	if err != nil {
		return "", err
	}
	if len(now) == 0 || !k.is(now[0], c.Target.Account) {
		return "", fault.New(fault.Throttled, "group %s does not read yet as it was made: look again", id)
	}
	return id, nil
}

// permission is the rule for all traffic with the other side that r ends with.
func permission(r string) []types.IpPermission {
	p := types.IpPermission{IpProtocol: aws.String("-1")}
	if side := r[strings.LastIndex(r, " ")+1:]; strings.Contains(side, ":") {
		p.Ipv6Ranges = []types.Ipv6Range{{CidrIpv6: &side}}
	} else {
		p.IpRanges = []types.IpRange{{CidrIp: &side}}
	}
	return []types.IpPermission{p}
}

// groups reads the groups that pass filters (name, values, name, values…), sorted by id. A filter on ids, unlike a list of
// ids, passes over those that do not exist.
func groups(ctx context.Context, api reads, filters ...any) ([]types.SecurityGroup, error) {
	in := &ec2.DescribeSecurityGroupsInput{}
	for n := 0; n < len(filters); n += 2 {
		in.Filters = append(in.Filters, types.Filter{Name: aws.String(filters[n].(string)), Values: filters[n+1].([]string)})
	}
	out, err := api.DescribeSecurityGroups(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("read security groups: %w", err)
	}
	slices.SortFunc(out.SecurityGroups, func(a, b types.SecurityGroup) int {
		return strings.Compare(aws.ToString(a.GroupId), aws.ToString(b.GroupId))
	})
	return out.SecurityGroups, nil
}

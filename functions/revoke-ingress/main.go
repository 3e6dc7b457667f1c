// Command revoke-ingress closes a security group's administrative ports to the world.
//
// It revokes exactly the inbound rules that open one: 0.0.0.0/0, ::/0, halves of the world, ranges and prefix lists that
// together reach everybody, in both families, for ranges of ports that cover one and for all traffic. The second time there is
// none and it changes nothing. Its undo gives back the same rules with their descriptions and tags; their ids are new.
//
// Other rules stay as they are, wide ones are said. Connections that were open before may go on: a changed group does not cut
// what it tracks.
package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/boot"
	"firebreak/lib/fault"
	"firebreak/lib/instance"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// reads are the calls that look, made as the Read role.
type reads interface {
	DescribeSecurityGroups(context.Context, *ec2.DescribeSecurityGroupsInput, ...func(*ec2.Options)) (*ec2.DescribeSecurityGroupsOutput, error)
	DescribeSecurityGroupRules(context.Context, *ec2.DescribeSecurityGroupRulesInput, ...func(*ec2.Options)) (*ec2.DescribeSecurityGroupRulesOutput, error)
	DescribeNetworkInterfaces(context.Context, *ec2.DescribeNetworkInterfacesInput, ...func(*ec2.Options)) (*ec2.DescribeNetworkInterfacesOutput, error)
	GetManagedPrefixListEntries(context.Context, *ec2.GetManagedPrefixListEntriesInput, ...func(*ec2.Options)) (*ec2.GetManagedPrefixListEntriesOutput, error)
}

// changes are the calls that change, made as the Network role.
type changes interface {
	RevokeSecurityGroupIngress(context.Context, *ec2.RevokeSecurityGroupIngressInput, ...func(*ec2.Options)) (*ec2.RevokeSecurityGroupIngressOutput, error)
	AuthorizeSecurityGroupIngress(context.Context, *ec2.AuthorizeSecurityGroupIngressInput, ...func(*ec2.Options)) (*ec2.AuthorizeSecurityGroupIngressOutput, error)
}

// revocation is the action. Owned fields: the rules that open an administrative port to the world, by what they let in. A
// rule that is not there has no field.
type revocation struct {
	reads   func(context.Context, action.Call) (reads, error)
	changes func(context.Context, action.Call) (changes, error)
	// seen has the latest view of a target, for what is no owned field.
	seen *sync.Map
}

func (r revocation) Observe(ctx context.Context, c action.Call) (action.State, error) {
	v, err := r.look(ctx, c)
	if err != nil {
		return nil, err
	}
	r.seen.Store(c.Target.ARN, v)
	s := action.State{}
	for _, o := range opening(v.rules) {
		s[o.key] = o.value
	}
	return s, nil
}

func (r revocation) view(c action.Call) *view {
	if v, ok := r.seen.Load(c.Target.ARN); ok {
		return v.(*view)
	}
	return &view{}
}

// transit begins the name of the group that isolate-instance puts an interface into for a moment.
const transit = "firebreak-transit"

func (r revocation) Intent(c action.Call, now action.State) (action.State, error) {
	if g := r.view(c).group; strings.HasPrefix(aws.ToString(g.GroupName), transit) && aws.ToString(g.OwnerId) == c.Target.Account {
		return nil, action.Refuse("%s is named like the group of Firebreak that interfaces wear for a moment while tracked connections are cut: nothing may wear it for longer, look who does", aws.ToString(g.GroupId))
	}
	intent := action.State{}
	for key := range now {
		intent[key] = ""
	}
	return intent, nil
}

func (r revocation) Contained(_ action.Call, s action.State) bool {
	for _, value := range s {
		if value != "" {
			return false
		}
	}
	return true
}

// Apply revokes the rules that were observed. What was opened since is not on record yet: it is the next round's.
func (r revocation) Apply(ctx context.Context, c action.Call, now, _ action.State) error {
	return r.revoke(ctx, c, func(have rule) bool { return now[have.key] != "" })
}

// revoke takes rules away by their ids. AWS takes none away where one of them is gone: look again then.
func (r revocation) revoke(ctx context.Context, c action.Call, meant func(rule) bool) error {
	api, err := r.changes(ctx, c)
	if err != nil {
		return err
	}
	for try := 0; ; try++ {
		v, err := r.look(ctx, c)
		if err != nil {
			return err
		}
		var ids []string
		for _, have := range v.rules {
			if meant(have) {
				ids = append(ids, have.id)
			}
		}
		if len(ids) == 0 {
			return nil
		}
		_, err = api.RevokeSecurityGroupIngress(ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: aws.String(c.Target.Name()), SecurityGroupRuleIds: ids})
		switch code := instance.Code(err); {
		case err == nil:
			return nil
		case code == "InvalidGroup.NotFound":
			return action.ErrGone
		case code == "InvalidSecurityGroupRuleId.NotFound" && try < 3:
		default:
			return fmt.Errorf("revoke %s of group %s: %w", strings.Join(ids, ","), c.Target.Name(), err)
		}
	}
}

// Restore puts the rules of before back, each in a call of its own: AWS takes none of several where one is there already.
func (r revocation) Restore(ctx context.Context, c action.Call, _, before action.State) error {
	v, err := r.look(ctx, c)
	if err != nil {
		return err
	}
	api, err := r.changes(ctx, c)
	if err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(before)) {
		have := v.value(key)
		if before[key] == "" || before[key] == have {
			continue
		}
		if have != "" {
			if err := r.revoke(ctx, c, func(h rule) bool { return h.key == key }); err != nil {
				return err
			}
		}
		in, err := call(c.Target.Name(), key, before[key])
		if err != nil {
			return err
		}
		_, err = api.AuthorizeSecurityGroupIngress(ctx, in)
		if err != nil && instance.Code(err) != "InvalidPermission.Duplicate" {
			return fmt.Errorf("put %s back into group %s: %w", key, c.Target.Name(), err)
		}
	}
	if v, err = r.look(ctx, c); err != nil {
		return err
	}
	for key, value := range before {
		if value != "" && v.value(key) != value {
			return fault.New(fault.Throttled, "%s was put back into group %s, but AWS does not show it so yet: look again", key, c.Target.Name())
		}
	}
	return nil
}

// Tags are the group's.
func (r revocation) Tags(ctx context.Context, c action.Call) (map[string]string, error) {
	v, err := r.look(ctx, c)
	if err != nil {
		return nil, err
	}
	tags := map[string]string{}
	for _, t := range v.group.Tags {
		tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return tags, nil
}

// Shared counts the network interfaces that wear the group: people may work through each of them.
func (r revocation) Shared(ctx context.Context, c action.Call) (int, error) {
	api, err := r.reads(ctx, c)
	if err != nil {
		return 0, err
	}
	count := 0
	for pages := ec2.NewDescribeNetworkInterfacesPaginator(api, &ec2.DescribeNetworkInterfacesInput{
		Filters: []types.Filter{{Name: aws.String("group-id"), Values: []string{c.Target.Name()}}},
	}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return 0, fmt.Errorf("list interfaces that wear %s: %w", c.Target.Name(), err)
		}
		count += len(page.NetworkInterfaces)
	}
	return count, nil
}

func (r revocation) Notes(c action.Call, _ action.State) []string {
	return append(r.view(c).said(), "connections that were open before may go on for up to five days: isolate the instance where one is hostile")
}

// looking are the statements of a session that looks. EC2 has no resource level for Describe.
func looking(c action.Call) []account.Statement {
	return []account.Statement{
		{Actions: []string{"ec2:DescribeSecurityGroups", "ec2:DescribeSecurityGroupRules", "ec2:DescribeNetworkInterfaces"}, Resources: []string{"*"}},
		{Actions: []string{"ec2:GetManagedPrefixListEntries"}, Resources: []string{fmt.Sprintf("arn:%s:ec2:%s:*:prefix-list/*", c.Target.Partition, c.Target.Region)}},
	}
}

// changing are those of one that changes: this group, and tags only on rules that are being made.
func changing(c action.Call) []account.Statement {
	rules := instance.ARN(c.Target, "security-group-rule", "*")
	return []account.Statement{
		{Actions: []string{"ec2:RevokeSecurityGroupIngress", "ec2:AuthorizeSecurityGroupIngress"}, Resources: []string{c.Target.ARN, rules}},
		{Actions: []string{"ec2:CreateTags"}, Resources: []string{rules}, Condition: map[string]map[string]string{
			"StringEquals": {"ec2:CreateAction": "AuthorizeSecurityGroupIngress"},
		}},
	}
}

func main() {
	b := boot.Load()
	boot.Start(action.NewSpine(b.Store(), b.Installation()).Containing("revoke-ingress", wired(b.Access())))
}

// wired is the action with the roles of accounts that it takes.
func wired(access account.Access) revocation {
	return revocation{
		reads: func(ctx context.Context, c action.Call) (reads, error) {
			cfg, err := access.Config(ctx, account.Read, c.Scope(), looking(c)...)
			return ec2.NewFromConfig(cfg), err
		},
		changes: func(ctx context.Context, c action.Call) (changes, error) {
			cfg, err := access.Config(ctx, account.Network, c.Scope(), changing(c)...)
			return ec2.NewFromConfig(cfg), err
		},
		seen: &sync.Map{},
	}
}

//go:build engine

package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/actiontest"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func TestOnTheEngine(t *testing.T) {
	opened := map[string][]string{
		"nothing":     nil,
		"SSH":         {ssh},
		"both":        {ssh, ssh6},
		"halves":      {"tcp 22-22 from 0.0.0.0/1", "tcp 20-23 from 128.0.0.0/1", "tcp 3389-3389 from 8000::/1", "tcp 3389-3389 from ::/1"},
		"all traffic": {"-1 from 0.0.0.0/0", "-1 from ::/0"},
	}
	either := []any{false, true}
	actiontest.OnTheEngine(t, actiontest.Suite{
		Action: "revoke-ingress",
		Act: func(_ ledger.Store, _ *setting.Installation, access account.Access) action.Containment {
			return wired(access)
		},
		Factors: []actiontest.Factor{
			{Name: "opened", Levels: []any{"nothing", "SSH", "both", "halves", "all traffic"}},
			{Name: "other rules", Levels: []any{0, 3, 20, 56}},
			{Name: "a list", Levels: either}, {Name: "described", Levels: either}, {Name: "tagged", Levels: either},
		},
		Usual: actiontest.Choice{"opened": "both", "other rules": 3, "a list": false, "described": true, "tagged": true},
		Make: func(t *testing.T, e *actiontest.Engine, c actiontest.Choice) actiontest.Subject {
			api, ctx := ec2.NewFromConfig(e.Owner), t.Context()
			vpc := actiontest.Must(api.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{}))(t).Vpcs[0].VpcId
			id := *actiontest.Must(api.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String(actiontest.Name("clinic")), Description: aws.String("x"), VpcId: vpc}))(t).GroupId
			rules := slices.Clone(opened[c.Text("opened")])
			if c.Is("a list") {
				list := actiontest.Must(api.CreateManagedPrefixList(ctx, &ec2.CreateManagedPrefixListInput{
					PrefixListName: aws.String("everybody"), AddressFamily: aws.String("IPv4"), MaxEntries: aws.Int32(5), Entries: []types.AddPrefixListEntry{{Cidr: aws.String("0.0.0.0/0")}},
				}))(t)
				rules = append(rules, "tcp 5432-5432 from "+*list.PrefixList.PrefixListId)
			}
			for n := range c.Number("other rules") {
				rules = append(rules, []string{
					fmt.Sprintf("tcp 22-22 from 10.%d.0.0/16", n), fmt.Sprintf("udp %d-%d from 0.0.0.0/0", 5000+n, 5000+n), fmt.Sprintf("tcp 443-443 from 2001:db8:%x::/48", n),
				}[n%3])
			}
			put := func(keys ...string) {
				for i, key := range keys {
					value := open
					switch {
					case c.Is("described") && c.Is("tagged") && i < 2:
						value += ` {"description":"for the vendor","tags":{"owner":"clinic","until":"2027"}}`
					case c.Is("described"):
						value += ` {"description":"for the vendor"}`
					}
					in, err := call(id, key, value)
					if err != nil {
						t.Fatal(err)
					}
					actiontest.Must(api.AuthorizeSecurityGroupIngress(ctx, in))(t)
				}
			}
			put(rules...)
			read := func() (keys, all []string) {
				for pages := ec2.NewDescribeSecurityGroupRulesPaginator(api, &ec2.DescribeSecurityGroupRulesInput{Filters: []types.Filter{{Name: aws.String("group-id"), Values: []string{id}}}}); pages.HasMorePages(); {
					for _, r := range actiontest.Must(pages.NextPage(ctx))(t).SecurityGroupRules {
						have := newRule(r)
						keys = append(keys, have.key)
						all = append(all, fmt.Sprintf("out %v %s %s", *r.IsEgress, have.key, have.value))
					}
				}
				slices.Sort(all)
				return keys, all
			}
			if _, all := read(); len(all) != len(rules)+1 {
				t.Fatalf("the engine has %d rules of %d: %q", len(all), len(rules)+1, all)
			}
			return actiontest.Subject{
				Target: "arn:aws:ec2:us-east-1:" + actiontest.Account + ":security-group/" + id,
				Stands: func() any { _, all := read(); return all },
				Open: func() string {
					keys, all := read()
					for _, key := range keys {
						if slices.Contains(opened[c.Text("opened")], key) && !slices.ContainsFunc(all, func(s string) bool { return strings.HasPrefix(s, "out true "+key) }) {
							return "there is " + key
						}
					}
					if n := c.Number("other rules"); len(keys) != n+1 {
						return fmt.Sprintf("%d rules are left, want the %d others and the one outwards: %q", len(keys), n, keys)
					}
					return ""
				},
				Change: func() { put(ssh) },
				Delete: func() {
					actiontest.Must(api.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: &id}))(t)
				},
				Role: account.Network, Lacks: []string{"ec2:RevokeSecurityGroupIngress"}, On: []string{"arn:aws:ec2:us-east-1:" + actiontest.Account + ":security-group/" + id},
			}
		},
	})
}

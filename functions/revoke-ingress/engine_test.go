//go:build engine

package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"firebreak/lib/action"
	"firebreak/lib/actiontest"
	"firebreak/lib/incident"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func TestOnTheEngine(t *testing.T) {
	cfg := actiontest.Engine(t)
	api := ec2.NewFromConfig(cfg)
	vpcs, err := api.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{})
	if err != nil || len(vpcs.Vpcs) == 0 {
		t.Fatal(err)
	}
	list, err := api.CreateManagedPrefixList(t.Context(), &ec2.CreateManagedPrefixListInput{
		PrefixListName: aws.String("everybody"), AddressFamily: aws.String("IPv4"), MaxEntries: aws.Int32(5), Entries: []types.AddPrefixListEntry{{Cidr: aws.String("0.0.0.0/0")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, rules := range map[string][]string{
		"one":         {ssh},
		"both":        {ssh, ssh6, web, lan},
		"halves":      {"tcp 22-22 from 0.0.0.0/1", "tcp 20-23 from 128.0.0.0/1", lan},
		"all traffic": {"-1 from 0.0.0.0/0", "-1 from ::/0", "-1 from 10.0.0.0/8"},
		"ranges":      {"tcp 0-65535 from 0.0.0.0/0", "udp 0-65535 from 0.0.0.0/0", "tcp 5980-5990 from ::/0"},
		"a list":      {"tcp 3389-3389 from " + *list.PrefixList.PrefixListId, lan},
		"none":        {web, lan},
	} {
		t.Run(name, func(t *testing.T) {
			made, err := api.CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{
				GroupName: aws.String(fmt.Sprintf("clinic-%d", time.Now().UnixNano())), Description: aws.String("x"), VpcId: vpcs.Vpcs[0].VpcId,
			})
			if err != nil {
				t.Fatal(err)
			}
			for i, key := range rules {
				value := open
				if i == 0 {
					value += ` {"description":"for the vendor","tags":{"owner":"clinic"}}`
				}
				in, err := call(*made.GroupId, key, value)
				if err == nil {
					_, err = api.AuthorizeSecurityGroupIngress(t.Context(), in)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			r := revocation{
				reads:   func(context.Context, action.Call) (reads, error) { return api, nil },
				changes: func(context.Context, action.Call) (changes, error) { return api, nil },
				seen:    &sync.Map{},
			}
			arn := "arn:aws:ec2:us-east-1:222222222222:security-group/" + *made.GroupId
			stands := func() any {
				v, err := r.look(t.Context(), action.Call{Target: incident.Target{ARN: arn, Service: "ec2", Resource: "security-group/" + *made.GroupId, Account: actiontest.Account}})
				if err != nil {
					t.Fatal(err)
				}
				var out []string
				for _, have := range v.rules {
					out = append(out, have.key+" "+have.value)
				}
				return slices.Sorted(slices.Values(out))
			}
			before := len(stands().([]string))
			if before != len(rules) {
				t.Fatalf("the engine has %q", stands())
			}
			actiontest.RoundTrip(t, actiontest.New(t, "revoke-ingress", r), arn, nil, stands, func(got incident.Result) {
				if left := len(stands().([]string)); (left < before) != (name != "none") {
					t.Errorf("%s: %d rules, then %d", got.Outcome, before, left)
				}
			})
		})
	}
}

package main

import (
	"fmt"
	"strings"
	"testing"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/incident"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Wherever an instance stands, a session's policy fits: the longest names that AWS allows, in the partition with the longest ARNs, with
// any number of volumes, interfaces, groups and balancers.
func TestTheWidestSessionFits(t *testing.T) {
	const home = "arn:aws-us-gov:ec2:us-gov-west-1:222222222222:instance/i-0abcdef1234567890"
	target, err := incident.ParseTarget(incident.Step{Action: "isolate-instance", Target: home}, incident.Ref{Account: "222222222222", Region: "us-gov-west-1"})
	if err != nil {
		t.Fatal(err)
	}
	longest := 0
	for _, n := range []int{0, 1, 3, 6, 7, 8, 9, 40} {
		for _, m := range []int{0, 1, 3, 6, 7, 8, 9, 40} {
			v := &view{call: action.Call{Target: target}}
			for i := range n {
				v.interfaces = append(v.interfaces, iface{id: fmt.Sprintf("eni-%017d", i)})
			}
			for i := range m {
				v.instance.BlockDeviceMappings = append(v.instance.BlockDeviceMappings, types.InstanceBlockDeviceMapping{Ebs: &types.EbsInstanceBlockDevice{VolumeId: aws.String(fmt.Sprintf("vol-%017d", i))}})
			}
			p := &place{scaling: scaling{group: strings.Repeat("g", 255)}}
			for i := range n {
				p.targets = append(p.targets, registration{group: balancing(v, fmt.Sprintf("%s%032d/%016d", targetPrefix, i, i)), id: "i-0abcdef1234567890", port: 65535})
			}
			for i := range m {
				p.classics = append(p.classics, fmt.Sprintf("%032d", i))
			}
			for what, allow := range map[string][]account.Statement{"instance": v.allow(), "place": p.allow(v)} {
				text, err := account.Policy(allow...)
				if err != nil {
					t.Errorf("%s with %d and %d: %v", what, n, m, err)
				}
				longest = max(longest, len(text))
			}
		}
	}
	t.Logf("the longest has %d of 2,048 characters", longest)
}

package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"firebreak/lib/fault"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// rule is an inbound rule. Its key names it by what it lets in ("tcp 22-22 from 0.0.0.0/0", "-1 from ::/0"): the id is
// another one after an undo, and no two rules of a group have the same key.
type rule struct {
	id, key  string
	protocol string
	from, to int32
	source   string // an IPv4 or IPv6 range, or a prefix list
	value    string // "open", and what else an undo has to give back
	ranges   []netip.Prefix
}

// marks are what a rule carries besides what it lets in.
type marks struct {
	Description string            `json:"description,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
}

const open = "open"

func newRule(r types.SecurityGroupRule) rule {
	out := rule{
		id: aws.ToString(r.SecurityGroupRuleId), protocol: aws.ToString(r.IpProtocol), to: 65535,
		source: aws.ToString(r.CidrIpv4) + aws.ToString(r.CidrIpv6) + aws.ToString(r.PrefixListId),
	}
	if out.protocol == "6" {
		out.protocol = "tcp"
	}
	if r.FromPort != nil && r.ToPort != nil {
		out.from, out.to = *r.FromPort, *r.ToPort
	}
	out.key = fmt.Sprintf("%s %d-%d from %s", out.protocol, out.from, out.to, out.source)
	if out.protocol == "-1" {
		out.key = "-1 from " + out.source
	}
	if p, err := netip.ParsePrefix(out.source); err == nil {
		out.ranges = []netip.Prefix{p.Masked()}
	}
	m := marks{Description: aws.ToString(r.Description), Tags: map[string]string{}}
	for _, t := range r.Tags {
		// AWS's own tags cannot be set by anybody else.
		if k := aws.ToString(t.Key); !strings.HasPrefix(k, "aws:") {
			m.Tags[k] = aws.ToString(t.Value)
		}
	}
	out.value = open
	if m.Description != "" || len(m.Tags) > 0 {
		text, _ := json.Marshal(m) // strings only: cannot fail
		out.value += " " + string(text)
	}
	return out
}

// covers tells whether the rule lets the port in. Administrative services are spoken to by TCP.
func (r rule) covers(port int32) bool {
	return r.protocol == "-1" || r.protocol == "tcp" && r.from <= port && port <= r.to
}

// broadest is the length of the shortest prefix of that family, -1 where there is none.
func (r rule) broadest(six bool) int {
	out := -1
	for _, p := range r.ranges {
		if p.Addr().Is6() == six && (out < 0 || p.Bits() < out) {
			out = p.Bits()
		}
	}
	return out
}

// call makes the call that puts a rule back. Errors: Unreadable where key or value are none of ours.
func call(group, key, value string) (*ec2.AuthorizeSecurityGroupIngressInput, error) {
	head, source, found := strings.Cut(key, " from ")
	p := types.IpPermission{IpProtocol: aws.String("-1")}
	if head != "-1" {
		var from, to int32
		protocol, span, _ := strings.Cut(head, " ")
		if _, err := fmt.Sscanf(span, "%d-%d", &from, &to); err != nil || !found {
			return nil, fault.New(fault.Unreadable, "%q on record is no rule", key)
		}
		p = types.IpPermission{IpProtocol: &protocol, FromPort: &from, ToPort: &to}
	}
	var m marks
	if text, more := strings.CutPrefix(value, open+" "); more {
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			return nil, fault.Wrap(fault.Unreadable, err, "%s on record", key)
		}
	}
	var said *string
	if m.Description != "" {
		said = &m.Description
	}
	switch {
	case strings.HasPrefix(source, "pl-"):
		p.PrefixListIds = []types.PrefixListId{{PrefixListId: &source, Description: said}}
	case strings.Contains(source, ":"):
		p.Ipv6Ranges = []types.Ipv6Range{{CidrIpv6: &source, Description: said}}
	default:
		p.IpRanges = []types.IpRange{{CidrIp: &source, Description: said}}
	}
	in := &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &group, IpPermissions: []types.IpPermission{p}}
	if len(m.Tags) > 0 {
		spec := types.TagSpecification{ResourceType: types.ResourceTypeSecurityGroupRule}
		for k, v := range m.Tags {
			spec.Tags = append(spec.Tags, types.Tag{Key: &k, Value: &v})
		}
		in.TagSpecifications = []types.TagSpecification{spec}
	}
	return in, nil
}

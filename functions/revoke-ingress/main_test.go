package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"firebreak/lib/action"
	"firebreak/lib/actiontest"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"
)

const (
	id    = "sg-0aaaaaaaaaaaaaaa1"
	group = "arn:aws:ec2:us-east-1:222222222222:security-group/" + id
	first = "INC-VEPYW46KHAZJUHQC"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	os.Exit(m.Run())
}

// fake is a security group.
type fake struct {
	actiontest.Wire
	gone  bool
	name  string
	tags  map[string]string
	rules map[string]types.SecurityGroupRule // by id
	lists map[string][]string                // prefix lists
	worn  int
	made  int
	// looked, where set, is called after each look at the rules.
	looked func()
}

// newFake has a group with these inbound rules, written as their keys are, and one outbound rule for everything.
func newFake(rules ...string) *fake {
	f := &fake{name: "web", rules: map[string]types.SecurityGroupRule{}, lists: map[string][]string{}, worn: 2}
	for _, key := range rules {
		f.open(key, "", nil)
	}
	f.rules["sgr-out"] = types.SecurityGroupRule{SecurityGroupRuleId: aws.String("sgr-out"), IsEgress: aws.Bool(true), IpProtocol: aws.String("-1"), CidrIpv4: aws.String("0.0.0.0/0")}
	return f
}

// open makes a rule as anybody with the permission could.
func (f *fake) open(key, description string, tags map[string]string) {
	f.made++
	head, source, _ := strings.Cut(key, " from ")
	protocol, span, ported := strings.Cut(head, " ")
	from, to := int32(-1), int32(-1)
	if ported {
		fmt.Sscanf(span, "%d-%d", &from, &to)
	}
	r := types.SecurityGroupRule{
		SecurityGroupRuleId: aws.String(fmt.Sprintf("sgr-%017d", f.made)), IsEgress: aws.Bool(false), IpProtocol: &protocol, FromPort: &from, ToPort: &to,
	}
	if description != "" {
		r.Description = &description
	}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		r.Tags = append(r.Tags, types.Tag{Key: &k, Value: aws.String(tags[k])})
	}
	switch {
	case strings.HasPrefix(source, "pl-"):
		r.PrefixListId = &source
	case strings.HasPrefix(source, "sg-"):
		r.ReferencedGroupInfo = &types.ReferencedSecurityGroup{GroupId: &source}
	case strings.Contains(source, ":"):
		r.CidrIpv6 = &source
	default:
		r.CidrIpv4 = &source
	}
	f.rules[*r.SecurityGroupRuleId] = r
}

// stands lists the rules by everything but their ids.
func (f *fake) stands() []string {
	var out []string
	for _, r := range f.rules {
		line := newRule(r)
		if r.ReferencedGroupInfo != nil {
			line.key += *r.ReferencedGroupInfo.GroupId
		}
		out = append(out, fmt.Sprintf("%s %s %v", line.key, line.value, *r.IsEgress))
	}
	slices.Sort(out)
	return out
}

// keys lists the inbound rules.
func (f *fake) keys() []string {
	out := []string{}
	for _, r := range f.rules {
		if !*r.IsEgress {
			out = append(out, newRule(r).key)
		}
	}
	slices.Sort(out)
	return out
}

func (f *fake) DescribeSecurityGroups(_ context.Context, in *ec2.DescribeSecurityGroupsInput, _ ...func(*ec2.Options)) (*ec2.DescribeSecurityGroupsOutput, error) {
	if err := f.Read("DescribeSecurityGroups", "ec2:DescribeSecurityGroups", "*"); err != nil {
		return nil, err
	}
	if f.gone || in.Filters[0].Values[0] != id {
		return &ec2.DescribeSecurityGroupsOutput{}, nil
	}
	g := types.SecurityGroup{GroupId: aws.String(id), GroupName: &f.name, OwnerId: aws.String(actiontest.Account)}
	for k, v := range f.tags {
		g.Tags = append(g.Tags, types.Tag{Key: aws.String(k), Value: aws.String(v)})
	}
	return &ec2.DescribeSecurityGroupsOutput{SecurityGroups: []types.SecurityGroup{g}}, nil
}

// DescribeSecurityGroupRules gives a page of ten.
func (f *fake) DescribeSecurityGroupRules(_ context.Context, in *ec2.DescribeSecurityGroupRulesInput, _ ...func(*ec2.Options)) (*ec2.DescribeSecurityGroupRulesOutput, error) {
	if err := f.Read("DescribeSecurityGroupRules", "ec2:DescribeSecurityGroupRules", "*"); err != nil {
		return nil, err
	}
	ids, at := slices.Sorted(maps.Keys(f.rules)), 0
	if in.NextToken != nil {
		fmt.Sscanf(*in.NextToken, "%d", &at)
	}
	out := &ec2.DescribeSecurityGroupRulesOutput{}
	for ; at < len(ids) && len(out.SecurityGroupRules) < 10; at++ {
		out.SecurityGroupRules = append(out.SecurityGroupRules, f.rules[ids[at]])
	}
	if at < len(ids) {
		out.NextToken = aws.String(fmt.Sprint(at))
	}
	if f.looked != nil {
		f.looked()
	}
	return out, nil
}

func (f *fake) DescribeNetworkInterfaces(context.Context, *ec2.DescribeNetworkInterfacesInput, ...func(*ec2.Options)) (*ec2.DescribeNetworkInterfacesOutput, error) {
	return &ec2.DescribeNetworkInterfacesOutput{NetworkInterfaces: make([]types.NetworkInterface, f.worn)}, f.Read("DescribeNetworkInterfaces", "ec2:DescribeNetworkInterfaces", "*")
}

func (f *fake) GetManagedPrefixListEntries(_ context.Context, in *ec2.GetManagedPrefixListEntriesInput, _ ...func(*ec2.Options)) (*ec2.GetManagedPrefixListEntriesOutput, error) {
	if err := f.Read("GetManagedPrefixListEntries", "ec2:GetManagedPrefixListEntries", "arn:aws:ec2:us-east-1:222222222222:prefix-list/"+*in.PrefixListId); err != nil {
		return nil, err
	}
	list, ok := f.lists[*in.PrefixListId]
	if !ok {
		return nil, actiontest.Answer("InvalidPrefixListID.NotFound")
	}
	out := &ec2.GetManagedPrefixListEntriesOutput{}
	for _, cidr := range list {
		out.Entries = append(out.Entries, types.PrefixListEntry{Cidr: &cidr})
	}
	return out, nil
}

func (f *fake) RevokeSecurityGroupIngress(_ context.Context, in *ec2.RevokeSecurityGroupIngressInput, _ ...func(*ec2.Options)) (*ec2.RevokeSecurityGroupIngressOutput, error) {
	return &ec2.RevokeSecurityGroupIngressOutput{}, f.Change("RevokeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress", group, func() error {
		for _, rule := range in.SecurityGroupRuleIds {
			if r, ok := f.rules[rule]; !ok || *r.IsEgress {
				return actiontest.Answer("InvalidSecurityGroupRuleId.NotFound")
			}
		}
		for _, rule := range in.SecurityGroupRuleIds {
			delete(f.rules, rule)
		}
		return nil
	})
}

func (f *fake) AuthorizeSecurityGroupIngress(_ context.Context, in *ec2.AuthorizeSecurityGroupIngressInput, _ ...func(*ec2.Options)) (*ec2.AuthorizeSecurityGroupIngressOutput, error) {
	return &ec2.AuthorizeSecurityGroupIngressOutput{}, f.Change("AuthorizeSecurityGroupIngress", "ec2:AuthorizeSecurityGroupIngress", group, func() error {
		p := in.IpPermissions[0]
		var source, description string
		for _, r := range p.IpRanges {
			source, description = *r.CidrIp, aws.ToString(r.Description)
		}
		for _, r := range p.Ipv6Ranges {
			source, description = *r.CidrIpv6, aws.ToString(r.Description)
		}
		for _, r := range p.PrefixListIds {
			source, description = *r.PrefixListId, aws.ToString(r.Description)
		}
		key := *p.IpProtocol + " from " + source
		if p.FromPort != nil {
			key = fmt.Sprintf("%s %d-%d from %s", *p.IpProtocol, *p.FromPort, *p.ToPort, source)
		}
		if slices.Contains(f.keys(), key) {
			return actiontest.Answer("InvalidPermission.Duplicate")
		}
		tags := map[string]string{}
		for _, s := range in.TagSpecifications {
			for _, t := range s.Tags {
				tags[*t.Key] = *t.Value
			}
		}
		f.open(key, description, tags)
		return nil
	})
}

func newWorld(t *testing.T, f *fake) *actiontest.World {
	return actiontest.New(t, "revoke-ingress", revocation{
		reads: func(_ context.Context, c action.Call) (reads, error) {
			return f, actiontest.Session(&f.Looking, looking(c))
		},
		changes: func(_ context.Context, c action.Call) (changes, error) {
			return f, actiontest.Session(&f.Changing, changing(c))
		},
		seen: &sync.Map{},
	})
}

const (
	ssh  = "tcp 22-22 from 0.0.0.0/0"
	ssh6 = "tcp 22-22 from ::/0"
	web  = "tcp 443-443 from 0.0.0.0/0"
	lan  = "tcp 22-22 from 10.0.0.0/8"
)

func TestOutcomes(t *testing.T) {
	for name, c := range map[string]struct {
		mode   incident.Mode
		target string
		group  func(*fake)
		guard  func(*setting.Guard)
		want   incident.Outcome
		fault  fault.Name
		golden string
		left   []string
	}{
		"happy":   {want: incident.Applied, golden: "applied", left: []string{lan, web}},
		"plan":    {mode: incident.Look, want: incident.Planned, golden: "planned", left: []string{lan, ssh, ssh6, web}},
		"already": {group: func(f *fake) { *f = *newFake(lan, web) }, want: incident.Already, golden: "already", left: []string{lan, web}},
		"gone":    {group: func(f *fake) { f.gone = true }, want: incident.Gone, left: []string{lan, ssh, ssh6, web}},
		"denied": {
			group: func(f *fake) { f.Denied = map[string]bool{"RevokeSecurityGroupIngress": true} }, fault: fault.Denied, left: []string{lan, ssh, ssh6, web},
		},
		"denied to look": {
			group: func(f *fake) { f.Denied = map[string]bool{"DescribeSecurityGroupRules": true} }, fault: fault.Denied, left: []string{lan, ssh, ssh6, web},
		},
		"shared": {group: func(f *fake) { f.worn = 6 }, want: incident.Refused, golden: "refused", left: []string{lan, ssh, ssh6, web}},
		"protected by tag": {
			group: func(f *fake) { f.tags = map[string]string{"firebreak:protected": "true"} }, want: incident.Refused, left: []string{lan, ssh, ssh6, web},
		},
		"the transit group": {group: func(f *fake) { f.name = "firebreak-transit" }, want: incident.Refused, left: []string{lan, ssh, ssh6, web}},
		"no group":          {target: "arn:aws:ec2:us-east-1:222222222222:instance/i-0abcdef1234567890", fault: fault.BadInput, left: []string{lan, ssh, ssh6, web}},
		"mode plan":         {guard: func(g *setting.Guard) { g.Mode = setting.Plan }, want: incident.Planned, left: []string{lan, ssh, ssh6, web}},
		"mode off":          {guard: func(g *setting.Guard) { g.Mode = setting.Off }, want: incident.Refused, left: []string{lan, ssh, ssh6, web}},
		"opened again once": {
			group: func(f *fake) {
				f.After = func(string) {
					if len(f.Changed) == 1 {
						f.open(ssh, "", nil)
					}
				}
			},
			want: incident.Applied, left: []string{lan, web},
		},
		"opened again for ever": {
			group: func(f *fake) { f.After = func(string) { f.open(ssh, "", nil) } }, fault: fault.NotVerified, left: []string{lan, ssh, web},
		},
		"a prefix list that nobody can read stays": {
			group: func(f *fake) { f.open("tcp 22-22 from pl-0aaaaaaaaaaaaaaa1", "", nil) },
			want:  incident.Applied, left: []string{lan, "tcp 22-22 from pl-0aaaaaaaaaaaaaaa1", web},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(ssh, ssh6, web, lan)
			if c.group != nil {
				c.group(f)
			}
			w := newWorld(t, f)
			w.Guard(c.guard)
			target := c.target
			if target == "" {
				target = group
			}
			w.Expect(w.Request(c.mode, first, target, nil), c.fault, c.want, "", c.golden)
			slices.Sort(c.left)
			if diff := cmp.Diff(c.left, f.keys()); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
			if c.want != incident.Applied && c.fault == "" && len(f.Changed) > 0 {
				t.Errorf("%s, but changed %v", c.want, f.Changed)
			}
		})
	}
}

func TestWhatOpensToTheWorld(t *testing.T) {
	// hole is the world less <first>.0.0.0/<bits>, in as few ranges as there are.
	hole := func(first byte, bits int) []string {
		var out []string
		for bit := range bits {
			p := [4]byte{first}
			p[bit/8] ^= 1 << (7 - bit%8)
			out = append(out, "tcp 22-22 from "+netip.PrefixFrom(netip.AddrFrom4(p), bit+1).Masked().String())
		}
		return out
	}
	for name, c := range map[string]struct{ rules, opening []string }{
		"nothing":                  {[]string{web, lan, "tcp 22-22 from 0.0.0.0/16", "tcp 22-22 from 2001:db8::/32", "udp 22-22 from 0.0.0.0/0", "icmp -1--1 from 0.0.0.0/0"}, nil},
		"every port by itself":     {[]string{"tcp 22-22 from 0.0.0.0/0", "tcp 3389-3389 from 0.0.0.0/0", "tcp 5986-5986 from 0.0.0.0/0", "tcp 27017-27017 from ::/0"}, []string{"tcp 22-22 from 0.0.0.0/0", "tcp 27017-27017 from ::/0", "tcp 3389-3389 from 0.0.0.0/0", "tcp 5986-5986 from 0.0.0.0/0"}},
		"a range over a port":      {[]string{"tcp 20-30 from 0.0.0.0/0", "tcp 0-65535 from 0.0.0.0/0", "tcp 23-1432 from 0.0.0.0/0"}, []string{"tcp 0-65535 from 0.0.0.0/0", "tcp 20-30 from 0.0.0.0/0"}},
		"all traffic":              {[]string{"-1 from 0.0.0.0/0", "-1 from sg-0bbbbbbbbbbbbbbb1"}, []string{"-1 from 0.0.0.0/0"}},
		"any address with /0":      {[]string{"tcp 22-22 from 203.0.113.7/0"}, []string{"tcp 22-22 from 203.0.113.7/0"}},
		"halves":                   {[]string{"tcp 22-22 from 0.0.0.0/1", "tcp 22-22 from 128.0.0.0/1", lan}, []string{"tcp 22-22 from 0.0.0.0/1", "tcp 22-22 from 128.0.0.0/1"}},
		"halves of IPv6":           {[]string{"tcp 22-22 from ::/1", "tcp 22-22 from 8000::/1"}, []string{"tcp 22-22 from 8000::/1", "tcp 22-22 from ::/1"}},
		"one half":                 {[]string{"tcp 22-22 from 0.0.0.0/1"}, []string{"tcp 22-22 from 0.0.0.0/1"}},
		"all of IPv6 that is":      {[]string{"tcp 22-22 from 2000::/3", "tcp 3389-3389 from 2001:db8::/32"}, []string{"tcp 22-22 from 2000::/3"}},
		"quarters":                 {[]string{"tcp 22-22 from 0.0.0.0/2", "tcp 20-23 from 64.0.0.0/2", "-1 from 128.0.0.0/2", "tcp 22-22 from 192.0.0.0/2", "tcp 22-22 from 198.51.100.0/24"}, []string{"-1 from 128.0.0.0/2", "tcp 20-23 from 64.0.0.0/2", "tcp 22-22 from 0.0.0.0/2", "tcp 22-22 from 192.0.0.0/2"}},
		"half of it in pieces":     {[]string{"tcp 22-22 from 0.0.0.0/2", "tcp 22-22 from 64.0.0.0/2", "tcp 22-22 from 198.51.100.0/24", "tcp 22-22 from 203.0.113.0/24"}, []string{"tcp 22-22 from 0.0.0.0/2", "tcp 22-22 from 64.0.0.0/2"}},
		"a quarter is not":         {[]string{"tcp 22-22 from 0.0.0.0/2"}, nil},
		"a partner's /8 beside":    {[]string{ssh, "tcp 22-22 from 12.0.0.0/8"}, []string{ssh}},
		"a half and quarters":      {[]string{"tcp 22-22 from 0.0.0.0/2", "tcp 22-22 from 64.0.0.0/2", "tcp 22-22 from 128.0.0.0/1"}, []string{"tcp 22-22 from 0.0.0.0/2", "tcp 22-22 from 128.0.0.0/1", "tcp 22-22 from 64.0.0.0/2"}},
		"half of IPv6":             {[]string{"tcp 22-22 from 2000::/4"}, []string{"tcp 22-22 from 2000::/4"}},
		"quarters of two ports":    {[]string{"tcp 22-22 from 0.0.0.0/2", "tcp 3389-3389 from 64.0.0.0/2", "tcp 3306-3306 from 128.0.0.0/2", "tcp 1433-1433 from 192.0.0.0/2"}, nil},
		"the world twice":          {[]string{ssh, "tcp 22-22 from 0.0.0.0/2", "tcp 22-22 from 64.0.0.0/2", "tcp 22-22 from 128.0.0.0/2", "tcp 22-22 from 192.0.0.0/2"}, []string{"tcp 22-22 from 0.0.0.0/0", "tcp 22-22 from 0.0.0.0/2", "tcp 22-22 from 128.0.0.0/2", "tcp 22-22 from 192.0.0.0/2", "tcp 22-22 from 64.0.0.0/2"}},
		"all but what is nobody's": {hole(10, 8), hole(10, 8)},
		"all but somebody's /16": {hole(12, 16), slices.DeleteFunc(hole(12, 16), func(k string) bool {
			return strings.Contains(k, "/1") && !strings.HasSuffix(k, "/1")
		})},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(c.rules...)
			var rules []rule
			for _, r := range f.rules {
				if !*r.IsEgress {
					rules = append(rules, newRule(r))
				}
			}
			var got []string
			for _, r := range opening(rules) {
				got = append(got, r.key)
			}
			slices.Sort(got)
			slices.Sort(c.opening)
			if diff := cmp.Diff(c.opening, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPrefixLists(t *testing.T) {
	const list = "tcp 22-22 from pl-0aaaaaaaaaaaaaaa1"
	for name, c := range map[string]struct {
		ranges []string
		want   incident.Outcome
		said   string
	}{
		"a partner's":    {[]string{"198.51.100.0/24", "2001:db8::/32"}, incident.Already, list + ": stays, a prefix list with 2 ranges"},
		"the world":      {[]string{"198.51.100.0/24", "0.0.0.0/0"}, incident.Applied, ""},
		"halves":         {[]string{"128.0.0.0/1", "0.0.0.0/1"}, incident.Applied, ""},
		"nobody's to us": {nil, incident.Already, list + ": the prefix list could not be read (InvalidPrefixListID.NotFound), so nobody knows whom it lets in"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(list)
			if c.ranges != nil {
				f.lists["pl-0aaaaaaaaaaaaaaa1"] = c.ranges
			}
			before := f.stands()
			w := newWorld(t, f)
			got := w.Must(w.Request(incident.Apply, first, group, nil))
			if got.Outcome != c.want || c.said != "" && !slices.Contains(got.Changes, c.said) {
				t.Errorf("%s with %q, want %s with %q", got.Outcome, got.Changes, c.want, c.said)
			}
			w.Must(w.Request(incident.Undo, first, group, nil))
			if diff := cmp.Diff(before, f.stands()); diff != "" {
				t.Errorf("undo (-before +after):\n%s", diff)
			}
		})
	}
}

func TestAWideRangeThatStaysIsSaid(t *testing.T) {
	f := newFake(ssh, "tcp 22-22 from 64.0.0.0/2")
	w := newWorld(t, f)
	got := w.Must(w.Request(incident.Apply, first, group, nil))
	if want := "tcp 22-22 from 64.0.0.0/2: stays, a very wide range that is not the world"; !slices.Contains(got.Changes, want) {
		t.Errorf("changes %q lack %q", got.Changes, want)
	}
}

func TestKilledAnywhere(t *testing.T) {
	points := actiontest.KilledAnywhere(t, func() actiontest.Trial {
		f := newFake(lan, web, ssh6, "tcp 3389-3389 from 0.0.0.0/2", "tcp 3389-3389 from 64.0.0.0/2", "tcp 3389-3389 from 128.0.0.0/2", "tcp 3389-3389 from 192.0.0.0/2")
		f.open(ssh, "vendor", map[string]string{"owner": "clinic"})
		return actiontest.Trial{
			World: newWorld(t, f), Wire: &f.Wire, Action: "revoke-ingress", Target: group, Stands: func() any { return f.stands() },
		}
	})
	if points < 40 {
		t.Errorf("only %d points tried", points)
	}
}

// Somebody takes a rule away between our look and our call: AWS takes none of them then.
func TestARuleThatGoesMeanwhile(t *testing.T) {
	f := newFake(ssh, ssh6)
	looks := 0
	f.looked = func() {
		if looks++; looks == 3 { // for the tags, for the state, for the ids
			maps.DeleteFunc(f.rules, func(_ string, r types.SecurityGroupRule) bool { return newRule(r).key == ssh6 })
		}
	}
	w := newWorld(t, f)
	if got := w.Must(w.Request(incident.Apply, first, group, nil)); got.Outcome != incident.Applied || len(f.keys()) > 0 || looks < 4 {
		t.Errorf("%s after %d looks, left %q", got.Outcome, looks, f.keys())
	}
}

func TestDrifted(t *testing.T) {
	f := newFake()
	f.open(ssh, "vendor", nil)
	before := f.stands()
	w := newWorld(t, f)
	w.Must(w.Request(incident.Apply, first, group, nil))
	f.open(ssh, "mine now", nil)
	req := w.Request(incident.Undo, first, group, nil)
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

func TestOtherRulesAreNoDrift(t *testing.T) {
	f := newFake(ssh)
	w := newWorld(t, f)
	w.Must(w.Request(incident.Apply, first, group, nil))
	f.open("tcp 22-22 from 198.51.100.0/24", "", nil)
	if got := w.Must(w.Request(incident.Undo, first, group, nil)); got.Outcome != incident.Restored || !slices.Equal(f.keys(), []string{ssh, "tcp 22-22 from 198.51.100.0/24"}) {
		t.Errorf("undo is %s, rules %q", got.Outcome, f.keys())
	}
}

// A port that is opened again is another incident's; the last release gives everything back.
func TestTwoHolders(t *testing.T) {
	const second, mysql = "INC-BWJ4TH5BLF5DYQIG", "tcp 3306-3306 from 0.0.0.0/0"
	f := newFake(ssh)
	w := newWorld(t, f)
	w.Must(w.Request(incident.Apply, first, group, nil))
	f.open(mysql, "", nil)
	w.Must(w.Request(incident.Apply, second, group, nil))
	if got := w.Must(w.Request(incident.Undo, first, group, nil)); got.Outcome != incident.Held {
		t.Errorf("first undo is %s, want held", got.Outcome)
	}
	if got := w.Must(w.Request(incident.Undo, second, group, nil)); got.Outcome != incident.Restored || !slices.Equal(f.keys(), []string{ssh, mysql}) {
		t.Errorf("second undo is %s, rules %q", got.Outcome, f.keys())
	}
}

// Any group of up to 60 rules: afterwards no administrative port reaches the world, no rule for another port is touched, and
// undo gives back the very same rules.
func TestApplyThenUndoIsEqual(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 2))
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	ranges := []string{
		"0.0.0.0/0", "::/0", "0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1", "2000::/3", "0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/2", "192.0.0.0/2",
		"2000::/4", "3000::/4", "10.0.0.0/8", "198.51.100.0/24", "2001:db8::/32", "203.0.113.7/32", "pl-0aaaaaaaaaaaaaaa1", "pl-0aaaaaaaaaaaaaaa2", "sg-0bbbbbbbbbbbbbbb1",
	}
	heads := []string{"tcp 22-22", "tcp 3389-3389", "tcp 0-65535", "tcp 80-80", "tcp 443-443", "tcp 20-25", "tcp 5980-5990", "udp 22-22", "-1"}
	for round := range 1000 {
		f := newFake()
		f.lists = map[string][]string{"pl-0aaaaaaaaaaaaaaa1": {"198.51.100.0/24"}, "pl-0aaaaaaaaaaaaaaa2": {"0.0.0.0/1", "128.0.0.0/1"}}
		for range random.IntN(61) {
			key := pick(heads...) + " from " + pick(ranges...)
			if slices.Contains(f.keys(), key) {
				continue
			}
			var tags map[string]string
			if random.IntN(4) == 0 {
				tags = map[string]string{"owner": pick("clinic", "vendor")}
			}
			f.open(key, pick("", "for the vendor", `with "quotes" & from 1-2`), tags)
		}
		before := f.stands()
		w := newWorld(t, f)
		got := w.Must(w.Request(incident.Apply, first, group, nil))
		if !got.Outcome.Contains() {
			t.Fatalf("round %d: %s (%s)", round, got.Outcome, got.Reason)
		}
		for _, port := range ports {
			for _, six := range []bool{false, true} {
				if !f.keepsOut(port, six) {
					t.Fatalf("round %d: port %d is open to everybody (IPv6 %v):\n%s", round, port, six, strings.Join(f.keys(), "\n"))
				}
			}
		}
		for _, line := range before {
			if (strings.HasPrefix(line, "udp") || strings.HasPrefix(line, "tcp 80-") || strings.Contains(line, " sg-") || strings.Contains(line, "/32")) && !slices.Contains(f.stands(), line) {
				t.Fatalf("round %d: %s was revoked", round, line)
			}
		}
		w.Must(w.Request(incident.Undo, first, group, nil))
		if diff := cmp.Diff(before, f.stands()); diff != "" {
			t.Fatalf("round %d (-before +after):\n%s", round, diff)
		}
	}
}

// keepsOut tells whether there is an address of the internet that may not speak to the port: it tries the neighbours of every
// range.
func (f *fake) keepsOut(port int32, six bool) bool {
	var let []netip.Prefix
	for _, r := range f.rules {
		if *r.IsEgress || !newRule(r).covers(port) {
			continue
		}
		let = append(let, newRule(r).ranges...)
		for _, cidr := range f.lists[aws.ToString(r.PrefixListId)] {
			let = append(let, netip.MustParsePrefix(cidr))
		}
	}
	try := []netip.Addr{netip.MustParseAddr("8.8.8.8")}
	if six {
		try = []netip.Addr{netip.MustParseAddr("2600::1")}
	}
	for _, p := range slices.Concat(let, nobodys[six]) {
		try = append(try, p.Masked().Addr().Prev(), last(p).Next())
	}
	return slices.ContainsFunc(try, func(a netip.Addr) bool {
		in := func(p netip.Prefix) bool { return p.Contains(a) }
		return a.IsValid() && a.Is6() == six && !slices.ContainsFunc(let, in) && !slices.ContainsFunc(nobodys[six], in)
	})
}

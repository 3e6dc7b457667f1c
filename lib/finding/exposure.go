package finding

import (
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// opening is a range of ports that a call opened to the world.
type opening struct {
	protocol string
	from, to int
	// odd says what of it makes no sense; whether it is an administrative port then nobody can say.
	odd string
}

func (o opening) String() string {
	switch {
	case o.protocol == "-1":
		return "every port"
	case o.protocol != "tcp" && o.protocol != "udp":
		return "protocol " + words(o.protocol, 20)
	case o.from == 0 && o.to == 65535:
		return "every " + o.protocol + " port"
	case o.from == o.to:
		return fmt.Sprintf("%s port %d", o.protocol, o.from)
	}
	return fmt.Sprintf("%s ports %d to %d", o.protocol, o.from, o.to)
}

// AdministrativePorts let people in who administrate: SSH, RDP, WinRM, SQL Server, MySQL, PostgreSQL, Redis, Elasticsearch, MongoDB.
// What is called opened by them is closed by them. They are no setting: whoever decodes an event reads none.
func AdministrativePorts() []int32 {
	return []int32{22, 3389, 5985, 5986, 1433, 3306, 5432, 6379, 9200, 27017}
}

func (o opening) administrative() bool {
	if o.protocol != "-1" && o.protocol != "tcp" {
		return false
	}
	return slices.ContainsFunc(AdministrativePorts(), func(p int32) bool { return o.protocol == "-1" || o.from <= int(p) && int(p) <= o.to })
}

// openings reads the permissions of AuthorizeSecurityGroupIngress (ipPermissions.items, or at top level in the older form) and of
// ModifySecurityGroupRules, and gives those that let the world in. Ranges of one permission count together: two halves are the
// whole.
func openings(p tree) []opening {
	var out []opening
	check := func(rule tree, cidrs []string) {
		if !worldwide(cidrs) {
			return
		}
		out = append(out, openingOf(rule.digits("ipProtocol"), rule, "fromPort", "toPort"))
	}
	check(p, []string{p.text("cidrIp"), p.text("cidrIpv6")})
	// CloudTrail puts the lists of EC2 into an object with the key items.
	under := func(t tree, key string) []tree {
		if _, ok := t[key].([]any); ok {
			return t.items(key)
		}
		return t.items(key, "items")
	}
	for _, rule := range under(p, "ipPermissions") {
		var cidrs []string
		for _, r := range under(rule, "ipRanges") {
			cidrs = append(cidrs, r.text("cidrIp"))
		}
		for _, r := range under(rule, "ipv6Ranges") {
			cidrs = append(cidrs, r.text("cidrIpv6"))
		}
		check(rule, cidrs)
	}
	for _, update := range p.items("ModifySecurityGroupRulesRequest", "SecurityGroupRule") {
		rule := update.object("SecurityGroupRule")
		if cidrs := []string{rule.text("CidrIpv4"), rule.text("CidrIpv6")}; worldwide(cidrs) {
			out = append(out, openingOf(rule.digits("IpProtocol"), rule, "FromPort", "ToPort"))
		}
	}
	return out
}

// openingOf reads protocol and ports; ports are numbers or strings, and where they are missing, all.
func openingOf(protocol string, rule tree, from, to string) opening {
	o := opening{protocol: strings.ToLower(protocol), to: 65535}
	switch o.protocol {
	case "6":
		o.protocol = "tcp"
	case "17":
		o.protocol = "udp"
	case "", "all":
		if o.protocol == "" && rule.at(from) != nil {
			o.odd = "ipProtocol is missing"
		}
		o.protocol = "-1"
	}
	for _, key := range []string{from, to} {
		if _, ok := rule.number(key); !ok && rule.at(key) != nil {
			o.odd = key + " is " + shown(rule.at(key))
		}
	}
	if n, ok := rule.number(from); ok && n >= 0 {
		o.from = int(min(n, 65535))
		o.to = o.from
	}
	if n, ok := rule.number(to); ok && n >= 0 {
		o.to = int(min(n, 65535))
	}
	return o
}

// worldwide tells whether the ranges let in the world: half of all IPv4 addresses, or half of the IPv6 addresses that are in use
// (2000::/3). x.x.x.x/0 is the world whatever stands before the slash.
func worldwide(cidrs []string) bool {
	var ranges []netip.Prefix
	for _, c := range cidrs {
		c = strings.TrimSpace(c)
		if address, bits, _ := strings.Cut(c, "/"); bits == "0" && address != "" {
			return true
		}
		if p, err := netip.ParsePrefix(c); err == nil {
			ranges = append(ranges, p.Masked())
		}
	}
	// The widest first: what lies in a range that counts already does not count again.
	slices.SortFunc(ranges, func(a, b netip.Prefix) int { return a.Bits() - b.Bits() })
	v4, v6 := 0.0, 0.0
	for i, p := range ranges {
		if slices.ContainsFunc(ranges[:i], func(wider netip.Prefix) bool { return wider.Contains(p.Addr()) }) {
			continue
		}
		if p.Addr().Is4() {
			v4 += math.Ldexp(1, -p.Bits())
		} else if global := netip.MustParsePrefix("2000::/3"); p.Overlaps(global) {
			if p.Bits() <= 3 {
				return true
			}
			v6 += math.Ldexp(8, -p.Bits())
		}
	}
	return v4 >= 0.5 || v6 >= 0.5
}

// publicACL tells whether the parameters of PutBucketAcl or PutObjectAcl grant to everybody, as a canned ACL, as a grant header or
// as a policy (S3 User Guide, "Access control list overview").
func publicACL(v any) bool {
	switch v := v.(type) {
	case string:
		return strings.Contains(v, "/groups/global/AllUsers") || strings.Contains(v, "/groups/global/AuthenticatedUsers")
	case []any:
		for _, item := range v {
			if publicACL(item) {
				return true
			}
		}
	case map[string]any:
		for k, item := range v {
			if k == "bucketName" || k == "key" || k == "Host" {
				continue
			}
			if publicACL(item) || strings.HasSuffix(strings.ToLower(k), "acl") && canned(item) {
				return true
			}
		}
	}
	return false
}

func canned(v any) bool {
	switch v := v.(type) {
	case string:
		return v == "public-read" || v == "public-read-write" || v == "authenticated-read"
	case []any:
		for _, item := range v {
			if canned(item) {
				return true
			}
		}
	}
	return false
}

// publicPolicy tells whether a policy lets everybody in: a statement that allows *, or everybody but some, under no condition that
// names who may come (S3 User Guide, "The meaning of public").
func publicPolicy(v any) bool {
	if s, ok := v.(string); ok {
		v, _ = parse([]byte(s))
	}
	for _, s := range asTree(v).items("Statement") {
		if !strings.EqualFold(s.text("Effect"), "Allow") || s.at("NotPrincipal") == nil && !anybody(s.at("Principal")) {
			continue
		}
		if !narrowed(s.object("Condition")) {
			return true
		}
	}
	return false
}

func anybody(v any) bool {
	switch v := v.(type) {
	case string:
		return v == "*"
	case []any:
		for _, item := range v {
			if anybody(item) {
				return true
			}
		}
	case map[string]any:
		return anybody(v["AWS"]) || anybody(v["CanonicalUser"])
	}
	return false
}

// narrowing are the condition keys with which S3 does not take a policy for public, if their values are fixed: the same page.
var narrowing = []string{
	"aws:sourceip", "aws:sourcearn", "aws:sourcevpc", "aws:sourcevpce", "aws:sourceowner", "aws:sourceaccount", "aws:userid", "aws:principalorgid",
	"aws:principalorgpaths", "aws:principalaccount", "aws:principalarn", "s3:dataaccesspointarn", "s3:dataaccesspointaccount", "s3:x-amz-server-side-encryption-aws-kms-key-id",
}

func narrowed(condition tree) bool {
	for operator := range condition {
		if strings.Contains(operator, "Not") || strings.Contains(operator, "IfExists") || strings.HasPrefix(operator, "Null") {
			continue
		}
		for key, v := range condition.object(operator) {
			for _, n := range narrowing {
				if strings.EqualFold(key, n) && fixed(v, n) {
					return true
				}
			}
		}
	}
	return false
}

// fixed tells whether the values say who may come. All ranges count together.
func fixed(v any, key string) bool {
	list, _ := v.([]any)
	if s, ok := v.(string); ok {
		list = []any{s}
	}
	var values []string
	for _, item := range list {
		s, _ := item.(string)
		if s == "" || loose(s) {
			return false
		}
		values = append(values, s)
	}
	return len(values) > 0 && !(key == "aws:sourceip" && worldwide(values))
}

// certain begins a value that is of one account, organization or role whatever follows.
var certain = regexp.MustCompile(`^(arn:[\w-]+:[\w-]+:[\w-]*:\d{12}:|o-[a-z0-9]+/|AROA[A-Z0-9]+:)`)

// loose tells whether a value stands for anybody: a wildcard or a variable, which S3 does not take for fixed (the same page).
func loose(s string) bool { return strings.ContainsAny(s, "*?$") && !certain.MatchString(s) }

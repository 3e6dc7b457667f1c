package main

import (
	"net/netip"
	"slices"

	"firebreak/lib/finding"
)

var ports = finding.AdministrativePorts()

// nobodys are the addresses that nobody on the internet has, by family: leaving them out of a rule does not make it narrow.
// IANA: IPv4 Special-Purpose Address Registry; Internet Protocol Version 6 Address Space (2000::/3 is all that is assigned).
var nobodys = map[bool][]netip.Prefix{
	false: prefixes("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
		"192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3"),
	true: prefixes("::/3", "4000::/2", "8000::/1"),
}

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, p := range list {
		out[i] = netip.MustParsePrefix(p)
	}
	return out
}

// opening gives the rules that open an administrative port to the world. For each port and family of addresses those are
//   - rules, the broadest first, that together reach every address that anybody has, as often as there are such: a rule for a
//     partner's range stays where a broader one opens the port without it;
//   - where they reach half of them or more with holes left on purpose, all but the narrow ones;
//   - each range that is a half by itself.
func opening(rules []rule) []rule {
	picked := map[string]bool{}
	for _, six := range []bool{false, true} {
		var before []rule
		for _, port := range ports {
			left := slices.DeleteFunc(slices.Clone(rules), func(r rule) bool { return !r.covers(port) || r.broadest(six) < 0 })
			same := slices.EqualFunc(left, before, func(a, b rule) bool { return a.key == b.key })
			if before = slices.Clone(left); same {
				continue // as for the port before
			}
			slices.SortStableFunc(left, func(a, b rule) int { return a.broadest(six) - b.broadest(six) })
			for share(left, six) >= 0.5 {
				together := cover(left, six)
				if together == nil {
					together = broad(left, six)
				}
				left = slices.DeleteFunc(left, func(r rule) bool { return slices.Contains(together, r.key) })
				for _, key := range together {
					picked[key] = true
				}
			}
			for _, r := range left {
				if r.broadest(six) <= 1 {
					picked[r.key] = true
				}
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(rules), func(r rule) bool { return !picked[r.key] })
}

// cover gives the keys of rules, the broadest first, that together reach every address that anybody has; nil where they do
// not. The rules are in order.
func cover(rules []rule, six bool) []string {
	reach := reached(nil, six)
	var out []string
	for _, r := range rules {
		more := r.widen(reach, six)
		if slices.Equal(more, reach) {
			continue
		}
		reach, out = more, append(out, r.key)
		if len(reach) == 1 && !reach[0].first.Prev().IsValid() && !reach[0].last.Next().IsValid() {
			return out
		}
	}
	return nil
}

// broad gives the keys of the broadest rules, so many that the others reach less than one 256th.
func broad(rules []rule, six bool) []string {
	var out []string
	for i, r := range rules {
		out = append(out, r.key)
		if share(rules[i+1:], six) < 1.0/256 {
			break
		}
	}
	return out
}

// share tells which part the rules reach of the addresses that anybody has.
func share(rules []rule, six bool) float64 {
	none := size(reached(nil, six))
	return (size(reached(rules, six)) - none) / (1 - none)
}

// reached gives what rules reach and what nobody has, together.
func reached(rules []rule, six bool) []span {
	var out []span
	for _, p := range nobodys[six] {
		out = add(out, p)
	}
	for _, r := range rules {
		out = r.widen(out, six)
	}
	return out
}

// widen adds the rule's ranges of a family.
func (r rule) widen(reach []span, six bool) []span {
	for _, p := range r.ranges {
		if p.Addr().Is6() == six {
			reach = add(reach, p)
		}
	}
	return reach
}

// span is a run of addresses, both ends included.
type span struct{ first, last netip.Addr }

// size is the part of all addresses of the family that spans have.
func size(list []span) float64 {
	out := 0.0
	for _, s := range list {
		out += at(s.last) - at(s.first)
	}
	return out
}

// at is where an address lies between 0, the first of its family, and 1.
func at(a netip.Addr) float64 {
	out, weight := 0.0, 1.0/256
	for _, b := range a.AsSlice() {
		out += float64(b) * weight
		weight /= 256
	}
	return out
}

// add puts a range into sorted spans that do not touch each other; list stays as it is.
func add(list []span, p netip.Prefix) []span {
	s := span{p.Masked().Addr(), last(p)}
	var out []span
	for _, have := range list {
		switch {
		case have.last.Compare(s.first) < 0 && have.last.Next() != s.first:
			out = append(out, have)
		case s.last.Compare(have.first) < 0 && s.last.Next() != have.first:
			out = append(out, s)
			s = have
		default:
			if have.first.Less(s.first) {
				s.first = have.first
			}
			if s.last.Less(have.last) {
				s.last = have.last
			}
		}
	}
	return append(out, s)
}

// last is the last address of a range.
func last(p netip.Prefix) netip.Addr {
	bytes := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 1 << (7 - bit%8)
	}
	addr, _ := netip.AddrFromSlice(bytes)
	return addr
}

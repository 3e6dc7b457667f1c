package main

import (
	"fmt"
	"net/url"
	"strings"

	"firebreak/lib/approval"
	"firebreak/lib/channel"
)

// Person is who decides, and how that was proven.
type Person struct {
	Approver string
	Via      string
}

// Identity turns a request into the person behind it. It answers false where the request proves nobody who may decide this.
type Identity interface {
	Identify(req request, v visit) (Person, bool)
}

// linkAlone takes a personal link for its approver, as far as the installation has accepted that.
type linkAlone struct{}

func (linkAlone) Identify(_ request, v visit) (Person, bool) {
	accepted := v.installed.Approval.LinkAlone
	ok := accepted == "destructive" || accepted == "reversible" && v.approval.Kind == approval.KindOverride
	return Person{Approver: v.link.Approver, Via: "link"}, ok
}

// entry is what a form says. Trouble names what is wrong with it, in the table of texts.
type entry struct {
	Decision string
	Reason   string
	Typed    []string
	Wrong    []bool
	Trouble  string
}

// read takes the form's fields. Whoever destroys, and whoever decides by a link alone, has each target's id typed by hand;
// rejections too, so that nothing that presses buttons decides anything.
func read(form url.Values, v visit, p Person) entry {
	in := entry{Decision: form.Get("decision"), Reason: channel.Line(form.Get("reason"), maxReason)}
	typing := p.Via == "link" || v.approval.Kind == approval.KindEradicate
	for i, s := range v.approval.Steps {
		typed := strings.TrimSpace(form.Get(fmt.Sprintf("typed-%d", i)))
		wrong := typing && typed != s.Name()
		in.Typed, in.Wrong = append(in.Typed, typed), append(in.Wrong, wrong)
		if wrong {
			in.Trouble = "typed"
		}
	}
	if in.Decision != "approve" && in.Decision != "reject" {
		in.Trouble = "undecided"
	}
	return in
}

// closed tells whether there is nothing left for this person to decide.
func closed(v visit) bool {
	_, decided := v.approval.Decided(v.link.Approver)
	return decided || v.approval.Status != approval.StatusOpen || !v.now.Before(v.approval.Expires) || v.approval.Episode != v.meta.Episode
}

// after names why a decision comes too late: the person has decided before, or it is over.
func after(v visit, p Person) string {
	if _, decided := v.approval.Decided(p.Approver); decided {
		return "again"
	}
	return "late"
}

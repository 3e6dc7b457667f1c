package main

import (
	"firebreak/lib/approval"
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

package main

import (
	"net/http"

	"firebreak/lib/approval"
	"firebreak/lib/setting"
)

// Person is who decides, and how that was proven.
type Person struct {
	Approver string
	Via      string
	// Session is the id of the signed-in session, empty for a link alone. Forms are bound to it.
	Session string
}

// identity is what a request says about who sends it.
type identity struct {
	person Person
	// ok tells whether this person may decide this, here and now.
	ok bool
	// other tells that somebody is signed in whom this link is not for.
	other bool
}

// session is what the cookie of a signed-in person says.
type session struct {
	Issuer  string `json:"issuer"`
	Client  string `json:"client"`
	Subject string `json:"subject"`
	ID      string `json:"id"`
}

// identify turns a request into the person behind it. Whoever is signed in is that person and no other: the link then only
// names the request. Without a session the link speaks for its approver, as far as the installation has accepted that.
func identify(req request, v visit) identity {
	accepts := func(via string) bool {
		return v.installed.Approval.Accepts(via, v.approval.Kind == approval.KindEradicate)
	}
	if s, ok := readSession(req, v); ok {
		p, known := approval.Subject(v.installed, s.Subject)
		if !known || p.ID != v.link.Approver {
			return identity{other: true}
		}
		return identity{person: Person{Approver: p.ID, Via: setting.ViaSignIn, Session: s.ID}, ok: accepts(setting.ViaSignIn)}
	}
	return identity{person: Person{Approver: v.link.Approver, Via: setting.ViaLink}, ok: accepts(setting.ViaLink)}
}

// readSession gives the session that the request's cookie holds: signed by us, not over, and of the issuer that the
// installation has now.
func readSession(req request, v visit) (session, bool) {
	var s session
	text, ok := cookie(req, sessionCookie)
	if !ok || !v.ring.Open(sessionCookie, text, &s, v.now) {
		return session{}, false
	}
	set := v.installed.SignIn
	return s, set.On() && s.Issuer == set.Issuer && s.Client == set.ClientID && s.Subject != ""
}

// cookie reads one cookie; API Gateway gives cookies in a list of their own, other front doors in the header. One that comes
// twice is none: somebody else may have set it.
func cookie(req request, name string) (string, bool) {
	lines := req.Cookies
	if len(lines) == 0 {
		lines = []string{header(req, "cookie")}
	}
	var found []string
	for _, line := range lines {
		parsed, err := http.ParseCookie(line)
		if err != nil {
			continue
		}
		for _, c := range parsed {
			if c.Name == name {
				found = append(found, c.Value)
			}
		}
	}
	if len(found) != 1 {
		return "", false
	}
	return found[0], true
}

// setCookie writes a cookie that only this host gets back, only by TLS, and that no script reads. SameSite=Lax: it comes along
// when a link in a message or the issuer leads here, and never with a form from elsewhere. An empty value removes it.
func setCookie(name, value string, seconds int) string {
	c := http.Cookie{Name: name, Value: value, Path: "/", MaxAge: seconds, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if value == "" {
		c.MaxAge = -1
	}
	return c.String()
}

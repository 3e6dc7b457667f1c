package main

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
	"firebreak/scripts/local/issuer"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/coreos/go-oidc/v3/oidc/oidctest"
)

// newSigned is a door of an installation where nobody decides by a link alone and people sign in with a local issuer. alice is
// its subject a-1, bob b-2, carol (whom the finding names) c-3; mallory is known to the issuer only.
func newSigned(t *testing.T, kind approval.Kind) (*door, *issuer.Issuer) {
	t.Helper()
	d := newDoor(t, kind)
	op, err := issuer.New("firebreak", "a-1", "b-2", "c-3", "mallory")
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(op)
	t.Cleanup(srv.Close)
	op.URL, op.Redirect, op.Now = srv.URL, front+"/signin/callback", func() time.Time { return d.now }
	for i, subject := range []string{"a-1", "b-2", "c-3"} {
		d.installed.Approvers[i].Subjects = []string{subject}
	}
	d.installed.Approval.LinkAlone = "none"
	d.installed.SignIn = setting.SignIn{Issuer: srv.URL, ClientID: "firebreak"}
	d.serve()
	return d, op
}

// jar is the cookies of one browser.
type jar map[string]string

func (j jar) take(t *testing.T, res response) {
	t.Helper()
	for _, line := range res.Cookies {
		c, err := http.ParseSetCookie(line)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
			t.Errorf("a cookie that others could read or set: %s", line)
		}
		if c.MaxAge < 0 {
			delete(j, c.Name)
		} else if j[c.Name] = c.Value; c.MaxAge == 0 || c.MaxAge > 3600 || len(line) > 4096 {
			t.Errorf("a cookie that lives for long, or is too long to be kept: %s", line)
		}
	}
}

func (j jar) header() map[string]string {
	var all []string
	for k, v := range j {
		all = append(all, k+"="+v)
	}
	slices.Sort(all)
	return map[string]string{"Cookie": strings.Join(all, "; ")}
}

// begin follows the page's button to the issuer and gives the address there.
func (d *door) begin(link string, j jar) *url.URL {
	d.t.Helper()
	res := d.ask("GET", "/signin/"+link, j.header(), "")
	if res.StatusCode != http.StatusSeeOther {
		d.t.Fatalf("sign-in begins with %d: %s", res.StatusCode, d.log)
	}
	j.take(d.t, res)
	to, err := url.Parse(res.Headers["location"])
	if err != nil {
		d.t.Fatal(err)
	}
	return to
}

// answer signs in at the issuer as that subject and gives the query that it sends the browser back with.
func answer(t *testing.T, at *url.URL, subject string) string {
	t.Helper()
	q := at.Query()
	q.Set("as", subject)
	to := *at
	to.RawQuery = q.Encode()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Get(to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	back, err := res.Location()
	if err != nil || back.Scheme+"://"+back.Host != front {
		t.Fatalf("the issuer sends %d to %v (%v)", res.StatusCode, back, err)
	}
	return back.RawQuery
}

func (d *door) callback(query string, j jar) response {
	d.t.Helper()
	var req request
	req.RawPath, req.RawQueryString, req.Headers = "/signin/callback", query, j.header()
	req.RequestContext.HTTP.Method, req.RequestContext.DomainName = "GET", "abc.execute-api.us-east-1.amazonaws.com"
	res, err := d.h.handle(d.t.Context(), req)
	if err != nil {
		d.t.Fatal(err)
	}
	j.take(d.t, res)
	return res
}

// signs signs in on the way to a link, in a fresh browser.
func (d *door) signs(link, subject string) jar {
	d.t.Helper()
	j := jar{}
	res := d.callback(answer(d.t, d.begin(link, j), subject), j)
	if res.StatusCode != http.StatusSeeOther || res.Headers["location"] != "../approve/"+link {
		d.t.Fatalf("after signing in as %s: %d %v: %s", subject, res.StatusCode, res.Headers["location"], d.log)
	}
	if len(j) != 1 || j[sessionCookie] == "" {
		d.t.Fatalf("cookies after signing in: %v", j)
	}
	return j
}

func (d *door) decides(link, choice, typed string, j jar) response {
	d.t.Helper()
	page := d.ask("GET", "/approve/"+link, j.header(), "")
	form := url.Values{"nonce": {nonceOf(d.t, page)}, "decision": {choice}, "typed-0": {typed}}
	return d.send(link, form, j)
}

func (d *door) send(link string, form url.Values, j jar) response {
	d.t.Helper()
	headers := j.header()
	for k, v := range sameOrigin {
		headers[k] = v
	}
	return d.ask("POST", "/approve/"+link, headers, form.Encode())
}

func TestTwoPeopleSignInAndDestroy(t *testing.T) {
	d, _ := newSigned(t, approval.KindEradicate)
	page := d.get("alice")
	d.keep("signin", page)
	if nonceField.MatchString(page.Body) || !strings.Contains(page.Body, `href="../signin/`+d.link("alice")+`"`) {
		t.Fatal("the link alone shows a form, or no way to sign in")
	}
	for who, subject := range map[string]string{"alice": "a-1", "bob": "b-2"} {
		j := d.signs(d.link(who), subject)
		if res := d.decides(d.link(who), "approve", instance, j); res.StatusCode != http.StatusSeeOther {
			t.Fatalf("%s: %d %s", who, res.StatusCode, res.Body)
		}
	}
	a := d.approval(1)
	if a.Status != approval.StatusApproved || len(d.sent) != 1 || a.Decisions[0].Via != "oidc" || a.Decisions[1].Via != "oidc" {
		t.Errorf("%v: %+v", a, a.Decisions)
	}
}

// A confidential client's secret is read from Secrets Manager; the fake holds one text for every secret.
func TestASecretClientSignsIn(t *testing.T) {
	d, op := newSigned(t, approval.KindEradicate)
	op.Secret = secret
	d.installed.SignIn.SecretARN = "arn:aws:secretsmanager:us-east-1:111111111111:secret:firebreak/channel/signin"
	d.serve()
	d.signs(d.link("alice"), "a-1")
	if strings.Contains(d.log.String(), "abcdefghij") {
		t.Error("the secret is in the log")
	}
}

// Signing in on somebody else's link decides nothing: whoever is signed in is that person.
func TestALinkIsItsApproversOnly(t *testing.T) {
	for _, linkAlone := range []string{"none", "destructive"} {
		d, _ := newSigned(t, approval.KindEradicate)
		d.installed.Approval.LinkAlone = linkAlone
		d.serve()
		j := d.signs(d.link("alice"), "b-2")
		page := d.ask("GET", "/approve/"+d.link("alice"), j.header(), "")
		d.keep("signin-other", page)
		if nonceField.MatchString(page.Body) || !strings.Contains(page.Body, "signed in as somebody else") {
			t.Errorf("link alone %s: bob decides by the link of alice", linkAlone)
		}
		before := d.dump()
		if res := d.send(d.link("alice"), url.Values{"nonce": {ringNonce(d, "alice")}, "decision": {"approve"}, "typed-0": {instance}}, j); res.StatusCode != http.StatusForbidden || d.dump() != before {
			t.Errorf("link alone %s: %d", linkAlone, res.StatusCode)
		}
		if res := d.decides(d.link("bob"), "approve", instance, j); res.StatusCode != http.StatusSeeOther {
			t.Errorf("bob's session does not decide by his own link: %d", res.StatusCode)
		}
	}
}

// A form that was shown to one session is nobody else's, the same person's next one included.
func TestAFormIsItsSessions(t *testing.T) {
	d, _ := newSigned(t, approval.KindEradicate)
	first, second := d.signs(d.link("alice"), "a-1"), d.signs(d.link("alice"), "a-1")
	nonce := nonceOf(t, d.ask("GET", "/approve/"+d.link("alice"), first.header(), ""))
	form := url.Values{"nonce": {nonce}, "decision": {"approve"}, "typed-0": {instance}}
	before := d.dump()
	for _, j := range []jar{second, {}} {
		if res := d.send(d.link("alice"), form, j); res.StatusCode == http.StatusSeeOther || d.dump() != before {
			t.Errorf("the form of another session is taken: %d", res.StatusCode)
		}
	}
	form.Set("nonce", ringNonce(d, "alice")) // as a link alone would have had it
	if res := d.send(d.link("alice"), form, first); res.StatusCode != http.StatusConflict || d.dump() != before {
		t.Errorf("a form without a session is taken: %d", res.StatusCode)
	}
}

// None of these sign-ins ends in a session, and none changes anything.
func TestSignInsThatSignNobodyIn(t *testing.T) {
	claim := func(name string, value any) func(*door, *issuer.Issuer) {
		return func(_ *door, op *issuer.Issuer) {
			op.Claims = func(c map[string]any) {
				if c[name] = value; value == nil {
					delete(c, name)
				}
			}
		}
	}
	tests := []struct {
		name    string
		subject string
		before  func(d *door, op *issuer.Issuer)                 // the issuer gives its token
		between func(t *testing.T, d *door, q url.Values, j jar) // the browser comes back
		status  int
	}{
		{name: "nobody's subject", subject: "mallory", status: 403},
		{name: "a subject that the issuer does not know", subject: "eve", status: 403},
		{name: "another issuer's word", before: claim("iss", "https://login.example.com"), status: 403},
		{name: "a token for another client", before: claim("aud", "other"), status: 403},
		{name: "a token for several clients, made for none", before: claim("aud", []string{"firebreak", "other"}), status: 403},
		{name: "a token that another client asked for", before: claim("azp", "other"), status: 403},
		{name: "a token that is over", before: claim("exp", 1), status: 403},
		{name: "a token without an end", before: claim("exp", nil), status: 403},
		{name: "a token of another sign-in", before: claim("nonce", "x"), status: 403},
		{name: "a token without a nonce", before: claim("nonce", nil), status: 403},
		{name: "a token without a subject", before: claim("sub", ""), status: 403},
		{name: "not signed", before: func(_ *door, op *issuer.Issuer) {
			op.Sign = func(claims string) string {
				return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + "."
			}
		}, status: 403},
		{name: "signed by another key", before: func(_ *door, op *issuer.Issuer) {
			key := newKey(t)
			op.Sign = func(claims string) string { return oidctest.SignIDToken(key, "local-1", oidc.RS256, claims) }
		}, status: 403},
		{name: "no token", before: func(_ *door, op *issuer.Issuer) { op.Sign = func(string) string { return "" } }, status: 403},
		{name: "another state", between: func(_ *testing.T, _ *door, q url.Values, _ jar) { q.Set("state", "x") }, status: 403},
		{name: "no state", between: func(_ *testing.T, _ *door, q url.Values, _ jar) { q.Del("state") }, status: 403},
		{name: "two states", between: func(_ *testing.T, _ *door, q url.Values, _ jar) { q.Add("state", q.Get("state")) }, status: 403},
		{name: "no code", between: func(_ *testing.T, _ *door, q url.Values, _ jar) { q.Del("code") }, status: 403},
		{name: "a made-up code", between: func(_ *testing.T, _ *door, q url.Values, _ jar) { q.Set("code", "x") }, status: 403},
		{name: "a browser that did not begin", between: func(_ *testing.T, _ *door, _ url.Values, j jar) { delete(j, pendingCookie) }, status: 403},
		{name: "a browser that began another", between: func(_ *testing.T, d *door, _ url.Values, j jar) { d.begin(d.link("alice"), j) }, status: 403},
		{name: "a forged beginning", between: func(_ *testing.T, _ *door, _ url.Values, j jar) {
			j[pendingCookie] = strings.Split(j[pendingCookie], ".")[0] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 32))
		}, status: 403},
		{name: "a session in place of the beginning", between: func(_ *testing.T, d *door, _ url.Values, j jar) {
			j[pendingCookie] = d.signs(d.link("alice"), "a-1")[sessionCookie]
		}, status: 403},
		{name: "too late", between: func(_ *testing.T, d *door, _ url.Values, _ jar) { d.now = d.now.Add(pendingLife) }, status: 403},
		{name: "the issuer was changed meanwhile", between: func(_ *testing.T, d *door, _ url.Values, _ jar) {
			d.installed.SignIn = setting.SignIn{}
			d.serve()
		}, status: 403},
		{name: "another issuer took its place meanwhile", between: func(t *testing.T, d *door, _ url.Values, _ jar) {
			op := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("the other issuer is asked: %s", r.URL.Path) }))
			t.Cleanup(op.Close)
			d.installed.SignIn.Issuer = op.URL
			d.serve()
		}, status: 403},
		{name: "another issuer answers", between: func(_ *testing.T, _ *door, q url.Values, _ jar) { q.Set("iss", "https://login.example.com") }, status: 403},
		{name: "the approver was removed meanwhile", between: func(_ *testing.T, d *door, _ url.Values, _ jar) {
			d.installed.Approvers = d.installed.Approvers[1:]
			d.serve()
		}, status: 403},
		{name: "two approvers with one subject", between: func(_ *testing.T, d *door, _ url.Values, _ jar) {
			d.installed.Approvers[1].Subjects = []string{"a-1"}
			d.serve()
		}, status: 403},
		{name: "the code was used before", between: func(t *testing.T, d *door, q url.Values, j jar) {
			again := jar{pendingCookie: j[pendingCookie]}
			if res := d.callback(q.Encode(), again); res.StatusCode != http.StatusSeeOther {
				t.Fatal(res.StatusCode)
			}
		}, status: 403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, op := newSigned(t, approval.KindEradicate)
			if tt.before != nil {
				tt.before(d, op)
			}
			if tt.subject == "" {
				tt.subject = "a-1"
			}
			j := jar{}
			q, err := url.ParseQuery(answer(t, d.begin(d.link("alice"), j), tt.subject))
			if err != nil {
				t.Fatal(err)
			}
			if tt.between != nil {
				tt.between(t, d, q, j)
			}
			before := d.dump()
			res := d.callback(q.Encode(), j)
			d.keep("refused-signin-"+strings.ReplaceAll(tt.name, " ", "-"), res)
			if res.StatusCode != tt.status || j[sessionCookie] != "" {
				t.Errorf("%d, and a session %q", res.StatusCode, j[sessionCookie])
			}
			if d.dump() != before {
				t.Error("it changed the ledger")
			}
		})
	}
}

// None of these sessions lets anybody decide.
func TestSessionsThatDecideNothing(t *testing.T) {
	seal := func(d *door, purpose string, s session, until time.Time) string {
		ring, _ := approval.ParseRing([]byte(secret))
		text, err := ring.Seal(purpose, s, until)
		if err != nil {
			d.t.Fatal(err)
		}
		return text
	}
	good := func(d *door) session {
		return session{Issuer: d.installed.SignIn.Issuer, Client: "firebreak", Subject: "a-1", ID: "x"}
	}
	for name, change := range map[string]func(*door, jar){
		"over":               func(d *door, j jar) { d.now = d.now.Add(sessionLife) },
		"none":               func(_ *door, j jar) { delete(j, sessionCookie) },
		"of another purpose": func(d *door, j jar) { j[sessionCookie] = seal(d, pendingCookie, good(d), d.now.Add(time.Hour)) },
		"of another issuer": func(d *door, j jar) {
			s := good(d)
			s.Issuer = "https://login.example.com"
			j[sessionCookie] = seal(d, sessionCookie, s, d.now.Add(time.Hour))
		},
		"of another client": func(d *door, j jar) {
			s := good(d)
			s.Client = "other"
			j[sessionCookie] = seal(d, sessionCookie, s, d.now.Add(time.Hour))
		},
		"of no subject": func(d *door, j jar) {
			s := good(d)
			s.Subject = ""
			j[sessionCookie] = seal(d, sessionCookie, s, d.now.Add(time.Hour))
		},
		"of a removed person": func(d *door, _ jar) { d.installed.Approvers[0].Subjects = nil; d.serve() },
		"not accepted here":   func(d *door, _ jar) { d.installed.Approval.Destructive = []string{"slack"}; d.serve() },
		"of another key": func(d *door, j jar) {
			ring, _ := approval.ParseRing([]byte(strings.Replace(secret, "0123", "9999", 1)))
			j[sessionCookie], _ = ring.Seal(sessionCookie, good(d), d.now.Add(time.Hour))
		},
	} {
		d, _ := newSigned(t, approval.KindEradicate)
		j := d.signs(d.link("alice"), "a-1")
		form := url.Values{"nonce": {nonceOf(t, d.ask("GET", "/approve/"+d.link("alice"), j.header(), ""))}, "decision": {"approve"}, "typed-0": {instance}}
		change(d, j)
		before := d.dump()
		res := d.send(d.link("alice"), form, j)
		if res.StatusCode != http.StatusForbidden || d.dump() != before {
			t.Errorf("a session %s: %d", name, res.StatusCode)
		}
	}
	d, _ := newSigned(t, approval.KindEradicate)
	j := d.signs(d.link("alice"), "a-1")
	twice := map[string]string{"Cookie": sessionCookie + "=x; " + sessionCookie + "=" + j[sessionCookie]}
	if page := d.ask("GET", "/approve/"+d.link("alice"), twice, ""); nonceField.MatchString(page.Body) {
		t.Error("one of two cookies of that name was believed")
	}
	for i := range j[sessionCookie] {
		for bit := range 8 {
			b := []byte(j[sessionCookie])
			if b[i] ^= 1 << bit; b[i] < 0x21 || b[i] > 0x7e || strings.ContainsRune(`",;\`, rune(b[i])) {
				continue // no cookie has it
			}
			var req request
			req.Cookies = []string{sessionCookie + "=" + string(b)}
			ring, _ := approval.ParseRing([]byte(secret))
			if _, ok := readSession(req, visit{ring: ring, installed: d.installed, now: d.now}); ok {
				t.Fatalf("bit %d of character %d does not count", bit, i)
			}
		}
	}
}

// The issuer gets no link, no cookie says what is secret, and a scanner that follows the button gets to the issuer's page and
// no further.
func TestSigningInTellsNobodyElse(t *testing.T) {
	d, _ := newSigned(t, approval.KindEradicate)
	before := d.dump()
	for range 20 {
		j := jar{}
		to := d.begin(d.link("alice"), j)
		for _, hidden := range []string{d.link("alice"), token, "0123456789abcdefghij"} {
			if strings.Contains(to.String()+j.header()["Cookie"], hidden) {
				t.Errorf("%s is told to the issuer or kept in a cookie", hidden)
			}
		}
		q := to.Query()
		if q.Get("code_challenge_method") != "S256" || len(q.Get("state")) < 20 || len(q.Get("nonce")) < 20 || q.Get("scope") != "openid" || q.Get("redirect_uri") != front+"/signin/callback" {
			t.Errorf("it asks the issuer for %v", q)
		}
	}
	if res := d.ask("HEAD", "/signin/"+d.link("alice"), nil, ""); res.StatusCode != http.StatusOK || len(res.Cookies) != 0 {
		t.Errorf("HEAD: %d %v", res.StatusCode, res.Cookies)
	}
	for _, path := range []string{"/signin/", "/signin/x", "/signin/" + d.link("alice") + "x", "/signin/" + d.link("alice") + "/x"} {
		if res := d.ask("GET", path, nil, ""); res.StatusCode != http.StatusNotFound || len(res.Cookies) != 0 {
			t.Errorf("GET %s: %d %v", path, res.StatusCode, res.Cookies)
		}
	}
	if res := d.ask("POST", "/signin/"+d.link("alice"), nil, ""); res.StatusCode != http.StatusNotFound {
		t.Errorf("POST: %d", res.StatusCode)
	}
	if d.dump() != before || d.count("EVENT#") != 0 {
		t.Error("it changed the ledger")
	}
}

func TestAnIssuerThatIsDownSaysSo(t *testing.T) {
	d, _ := newSigned(t, approval.KindEradicate)
	d.installed.SignIn.Issuer = "http://127.0.0.1:1"
	d.serve()
	res := d.ask("GET", "/signin/"+d.link("alice"), nil, "")
	d.keep("signin-down", res)
	if res.StatusCode != http.StatusBadGateway || !strings.Contains(res.Body, "does not answer") {
		t.Errorf("%d", res.StatusCode)
	}
}

// Whoever has changed the incident since, or works for its attacker, does not count: neither now nor after having approved.
func TestWhoHadAHandInItDoesNotCount(t *testing.T) {
	alice := "arn:aws:iam::111111111111:user/alice"
	d, _ := newSigned(t, approval.KindEradicate)
	d.installed.Approvers[0].Principals = []string{alice}
	d.installed.Approvers = append(d.installed.Approvers, setting.Approver{ID: "dave", Subjects: []string{"mallory"}})
	d.serve()
	if res := d.decides(d.link("alice"), "approve", instance, d.signs(d.link("alice"), "a-1")); res.StatusCode != http.StatusSeeOther {
		t.Fatal(res.StatusCode)
	}
	if err := ledger.Append(t.Context(), d.mem, id, ledger.Event{Time: d.now, State: "Release", Who: alice, What: "released isolate-instance"}); err != nil {
		t.Fatal(err)
	}
	if page := d.ask("GET", "/approve/"+d.link("alice"), nil, ""); page.StatusCode != http.StatusForbidden || !strings.Contains(page.Body, "changed the incident") {
		t.Errorf("alice: %d", page.StatusCode)
	}
	if res := d.decides(d.link("bob"), "approve", instance, d.signs(d.link("bob"), "b-2")); res.StatusCode != http.StatusSeeOther {
		t.Fatal(res.StatusCode)
	}
	if a := d.approval(1); a.Status != approval.StatusOpen || len(d.sent) != 0 {
		t.Fatalf("alice, who changed the incident, counted: %v", a)
	}
	if res := d.decides(d.link("dave"), "approve", instance, d.signs(d.link("dave"), "mallory")); res.StatusCode != http.StatusSeeOther {
		t.Fatal(res.StatusCode)
	}
	if a := d.approval(1); a.Status != approval.StatusApproved || len(d.sent) != 1 {
		t.Errorf("bob and dave do not count: %v", a)
	}
	if got := fmt.Sprint(d.approval(1).By()); got != "[alice bob dave]" {
		t.Errorf("on record are %s", got)
	}
}
func newKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// An incident that needs no decision: looking changes nothing, typing what it is about and saying so stops the calling, once.
func TestAcknowledge(t *testing.T) {
	d := newDoor(t, approval.KindOverride)
	_, err := ledger.Update(t.Context(), d.mem, ledger.IncidentKey(id), func(it *ledger.Item[ledger.Incident]) error {
		it.Value.Finding.Resources = []string{target}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	path := "/seen/" + d.seen("alice")
	page := d.ask("GET", path, nil, "")
	if page.StatusCode != http.StatusOK || !strings.Contains(page.Body, "Somebody has to look after this") {
		t.Fatalf("%d", page.StatusCode)
	}
	before := d.dump()
	send := func(path string, f url.Values) response { return d.ask("POST", path, sameOrigin, f.Encode()) }
	for name, f := range map[string]url.Values{
		"nothing typed": {"nonce": {nonceOf(t, page)}}, "something else typed": {"nonce": {nonceOf(t, page)}, "typed-0": {"yes"}}, "no nonce": {"typed-0": {instance}},
		"the nonce of a request": {"nonce": {ringNonce(d, "alice")}, "typed-0": {instance}},
	} {
		if res := send(path, f); res.StatusCode < 400 || d.dump() != before {
			t.Errorf("%s: %d", name, res.StatusCode)
		}
	}
	if res := send("/seen/"+d.link("alice"), url.Values{"nonce": {ringNonce(d, "alice")}, "typed-0": {instance}}); res.StatusCode != http.StatusNotFound {
		t.Errorf("a link to decide acknowledges: %d", res.StatusCode)
	}
	good := url.Values{"nonce": {nonceOf(t, page)}, "typed-0": {instance}}
	if res := send(path, good); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("%d %s", res.StatusCode, res.Body)
	}
	after := d.dump()
	if res := send(path, good); res.StatusCode != http.StatusSeeOther || d.dump() != after {
		t.Errorf("a second time: %d", res.StatusCode)
	}
	if page := d.ask("GET", "/seen/"+d.seen("bob"), nil, ""); !strings.Contains(page.Body, "Alice") || nonceField.MatchString(page.Body) {
		t.Error("bob does not see that alice looks after it")
	}
	for name, path := range map[string]string{"carol, whom it names": "/seen/" + d.seen("carol"), "nobody": "/seen/" + d.seen("mallory")} {
		if res := d.ask("GET", path, nil, ""); res.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d", name, res.StatusCode)
		}
	}
}

// Whoever comes too late to acknowledge something reads why, and nothing is recorded.
func TestLateAcknowledgements(t *testing.T) {
	for says, turn := range map[string]func(*door, *ledger.Incident){
		"This link is too old":                     func(d *door, _ *ledger.Incident) { d.now = d.now.Add(2 * time.Hour) },
		"A newer message took its place":           func(_ *door, m *ledger.Incident) { m.Episode++ },
		"Nobody needs to look after this any more": func(_ *door, m *ledger.Incident) { m.Status = incident.Closed },
	} {
		d := newDoor(t, approval.KindOverride)
		path := "/seen/" + d.seen("alice")
		form := url.Values{"nonce": {nonceOf(t, d.ask("GET", path, nil, ""))}, "typed-0": {"222222222222"}}
		if _, err := ledger.Update(t.Context(), d.mem, ledger.IncidentKey(id), func(it *ledger.Item[ledger.Incident]) error { turn(d, &it.Value); return nil }); err != nil {
			t.Fatal(err)
		}
		before := d.dump()
		for method, want := range map[string]int{"GET": http.StatusOK, "POST": http.StatusConflict} {
			if res := d.ask(method, path, sameOrigin, form.Encode()); res.StatusCode != want || !strings.Contains(res.Body, says) || nonceField.MatchString(res.Body) || d.dump() != before {
				t.Errorf("%s, %s: %d\n%s", says, method, res.StatusCode, res.Body)
			}
		}
	}
}

// Each step is decided by itself: what one person leaves out of the approval is kept.
func TestStepsAreDecidedOneByOneOnThePage(t *testing.T) {
	d := newDoor(t, approval.KindEradicate)
	other := target + "abc"
	_, err := ledger.Update(t.Context(), d.mem, approval.Key(id, 1), func(it *ledger.Item[approval.Approval]) error {
		a := &it.Value
		a.Steps = append(a.Steps, approval.Step{Step: incident.Step{Action: "terminate-instance", Target: other}})
		a.Hash = approval.Hash(a.Kind, a.Incident, a.Episode, a.Steps)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	form := func(who string, change func(url.Values)) url.Values {
		f := d.form(who, "approve", instance)
		f.Set("typed-1", instance+"abc")
		change(f)
		return f
	}
	if res := d.post("alice", form("alice", func(f url.Values) { f.Del("typed-1"); f.Set("keep-1", "yes") })); res.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("what is kept was not typed: %d", res.StatusCode)
	}
	if res := d.post("alice", form("alice", func(f url.Values) { f.Set("keep-0", "yes"); f.Set("keep-1", "yes") })); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(res.Body, "left everything out") {
		t.Errorf("everything kept: %d", res.StatusCode)
	}
	if res := d.post("alice", form("alice", func(f url.Values) { f.Set("keep-1", "yes") })); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("%d %s", res.StatusCode, res.Body)
	}
	if page := d.get("bob"); !strings.Contains(page.Body, "keeps "+instance+"abc") {
		t.Error("bob does not see what alice keeps")
	}
	if res := d.post("bob", form("bob", func(url.Values) {})); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("%d", res.StatusCode)
	}
	a := d.approval(1)
	if _, kept := a.Kept((incident.Step{Action: "terminate-instance", Target: other}).Key()); !kept || a.Status != approval.StatusApproved {
		t.Errorf("%v %+v", a, a.Decisions)
	}
}

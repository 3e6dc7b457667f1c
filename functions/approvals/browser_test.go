//go:build e2e

package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
	"firebreak/scripts/local/browser"
	"firebreak/scripts/local/hostile"
	"firebreak/scripts/local/issuer"
	"firebreak/scripts/local/scanner"

	"github.com/aws/aws-lambda-go/events"
)

var shots = flag.String("shots", filepath.Join("..", "..", ".cache", "pages"), "write pictures of the pages to this folder")

// front door of a handler for a real browser, as API Gateway would be.
func gateway(t *testing.T, d *door) string {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		req := events.APIGatewayV2HTTPRequest{RawPath: r.URL.EscapedPath(), RawQueryString: r.URL.RawQuery, Headers: map[string]string{"host": r.Host}, Body: string(body)}
		for k := range r.Header {
			if k == "Cookie" {
				req.Cookies = append(req.Cookies, strings.Split(r.Header.Get(k), "; ")...)
				continue
			}
			req.Headers[strings.ToLower(k)] = strings.Join(r.Header.Values(k), ", ")
		}
		req.RequestContext.HTTP.Method, req.RequestContext.DomainName = r.Method, r.Host
		res, err := d.h.handle(r.Context(), req)
		if err != nil {
			t.Error(err)
		}
		for k, v := range res.Headers {
			w.Header().Set(k, v)
		}
		for _, c := range res.Cookies {
			w.Header().Add("Set-Cookie", c)
		}
		w.WriteHeader(res.StatusCode)
		io.WriteString(w, res.Body)
	}))
	t.Cleanup(srv.Close)
	return strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)
}

func chromium(t *testing.T) *browser.Browser {
	t.Helper()
	b, err := browser.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func ok[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// signedDoor is an installation with sign-in whose API and issuer a real browser can reach.
func signedDoor(t *testing.T, kind approval.Kind) (*door, string) {
	t.Helper()
	d := newDoor(t, kind)
	op := ok(issuer.New("firebreak", "a-1", "b-2", "mallory"))(t)
	srv := httptest.NewServer(op)
	t.Cleanup(srv.Close)
	at := gateway(t, d)
	op.URL, op.Redirect, op.Now = srv.URL, at+"/signin/callback", func() time.Time { return d.now }
	d.now = time.Now().UTC() // a browser keeps cookies by its own clock
	d.installed.Approvers[0].Subjects, d.installed.Approvers[1].Subjects = []string{"a-1"}, []string{"b-2"}
	d.installed.Approval.LinkAlone, d.installed.SignIn = "none", setting.SignIn{Issuer: srv.URL, ClientID: "firebreak"}
	d.front = at
	d.serve()
	if _, err := ledger.Update(t.Context(), d.mem, approval.Key(id, 1), func(it *ledger.Item[approval.Approval]) error {
		it.Value.Asked, it.Value.Expires = d.now, d.now.Add(4*time.Hour)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return d, at
}

func shoot(t *testing.T, p *browser.Page, name string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(*shots, 0o755), p.Screenshot(t.Context(), filepath.Join(*shots, name+".png"))); err != nil {
		t.Fatal(err)
	}
}

// Two people sign in with a real browser, in two languages, and destroy; a third click is late.
func TestPeopleSignInAndDecideInABrowser(t *testing.T) {
	d, at := signedDoor(t, approval.KindEradicate)
	for _, who := range []struct{ entry, subject, language, sign, done string }{{"alice", "a-1", "en-GB,en;q=0.9", "Sign in to decide", "Your decision is recorded"}, {"bob", "b-2", "ja-JP,ja;q=0.9", "サインインして判断する", "承認されました"}} {
		b := chromium(t)
		p := ok(b.Tab(t.Context(), 1280, 900))(t)
		do := func(err error) {
			t.Helper()
			if err != nil {
				text, _ := p.Text(t.Context())
				t.Fatalf("%s: %v on\n%s\n%s", who.entry, err, text, d.log)
			}
		}
		do(p.Prefer(t.Context(), false, who.language))
		do(p.Go(t.Context(), at+"/approve/"+d.link(who.entry)))
		if text := ok(p.Text(t.Context()))(t); !strings.Contains(text, who.sign) {
			t.Fatalf("%s reads\n%s", who.entry, text)
		}
		shoot(t, p, "signin-"+who.entry)
		do(p.Press(t.Context(), "a.button"))
		do(p.Press(t.Context(), "#"+who.subject))
		shoot(t, p, "form-"+who.entry)
		do(p.Type(t.Context(), "#typed-0", instance))
		do(p.Type(t.Context(), "#reason", "miner, and nothing on it is needed"))
		do(p.Press(t.Context(), "button[value=approve]"))
		text := ok(p.Text(t.Context()))(t)
		if !strings.Contains(text, who.done) {
			t.Fatalf("%s reads after deciding\n%s", who.entry, text)
		}
		shoot(t, p, "done-"+who.entry)
		b.Close()
	}
	if a := d.approval(1); a.Status != approval.StatusApproved || len(d.sent) != 1 || a.Decisions[0].Via != "oidc" {
		t.Errorf("%v, %+v", a, a.Decisions)
	}
}

// A browser that presses whatever can be pressed, with and without the session of somebody who may decide, decides nothing.
func TestABrowserThatPressesEverythingDecidesNothing(t *testing.T) {
	for _, linkAlone := range []string{"none", "destructive"} {
		d, at := signedDoor(t, approval.KindEradicate)
		d.installed.Approval.LinkAlone = linkAlone
		d.serve()
		b := chromium(t)
		before := d.dump()
		for _, path := range []string{"/approve/" + d.link("alice"), "/seen/" + d.seen("alice")} {
			for i := range 12 {
				p := ok(b.Tab(t.Context(), 1000, 800))(t)
				if err := p.Go(t.Context(), at+path); err != nil {
					t.Fatal(err)
				}
				// A click by script needs nobody to see the button, and skips what the browser itself would ask for.
				script := fmt.Sprintf(`(() => {
					const all = [...document.querySelectorAll("a, button, input[type=submit], summary, input[type=checkbox]")];
					const f = document.querySelector("form");
					if (f && %d %% 2) f.noValidate = true;
					if (f && %d %% 3 == 2) for (const e of f.querySelectorAll("input[type=text], textarea")) e.value = "test";
					const e = all[%d %% Math.max(all.length, 1)];
					if (e) { e.disabled = false; e.click(); }
					return all.length;
				})()`, i, i, i)
				if err := p.Eval(t.Context(), script, nil); err != nil && !strings.Contains(err.Error(), "navigat") {
					t.Fatal(err)
				}
				time.Sleep(50 * time.Millisecond) // a click that sends nothing has no end to wait for
				p.Close(t.Context())
			}
		}
		if d.dump() != before || len(d.sent)+len(d.started) != 0 {
			t.Errorf("link alone %s: something was decided", linkAlone)
		}
		b.Close()
	}
}

// Hostile strings run nothing in a real browser, and lead nowhere.
func TestHostileStringsRunNothingInABrowser(t *testing.T) {
	all := hostile.Strings()
	b := chromium(t)
	p := ok(b.Tab(t.Context(), 1000, 800))(t)
	for from := 0; from < len(all); from += 25 {
		d, at := signedDoor(t, approval.KindEradicate)
		d.installed.Approval.LinkAlone = "destructive"
		d.installed.Approvers[1].Name = all[from]
		d.serve()
		part := all[from:min(from+25, len(all))]
		if _, err := ledger.Update(t.Context(), d.mem, ledger.IncidentKey(id), func(it *ledger.Item[ledger.Incident]) error {
			it.Value.Finding.Title, it.Value.Finding.Type, it.Value.Finding.Region, it.Value.Rule = part[0], part[len(part)/2], part[len(part)-1], part[len(part)/3]
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := ledger.Update(t.Context(), d.mem, approval.Key(id, 1), func(it *ledger.Item[approval.Approval]) error {
			a := &it.Value
			a.Steps[0].Destroys, a.Steps[0].Changed, a.Steps[0].Identity, a.Evidence = part, part, map[string]string{}, "pending: "+part[0]
			for i, s := range part {
				a.Steps[0].Identity[fmt.Sprint(i)] = s
				a.Decisions = append(a.Decisions, approval.Decision{Approver: "x" + s, Reason: s, At: d.now})
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if err := p.Go(t.Context(), at+"/approve/"+d.link("alice")); err != nil {
			t.Fatal(err)
		}
		var found struct {
			Scripts, Frames, Forms, Elsewhere, Handlers int
			Title                                       string
		}
		script := `({Scripts: document.scripts.length, Frames: document.querySelectorAll("iframe,object,embed,img,video,svg svg,base,meta[http-equiv],link").length, Forms: document.forms.length,
			Elsewhere: [...document.links].filter(a => a.host !== location.host && !a.host.endsWith("console.aws.amazon.com")).length,
			Handlers: [...document.querySelectorAll("*")].filter(e => [...e.attributes].some(a => a.name.startsWith("on"))).length, Title: document.title})`
		if err := p.Eval(t.Context(), script, &found); err != nil {
			t.Fatal(err)
		}
		if found.Scripts+found.Frames+found.Elsewhere+found.Handlers != 0 || found.Forms != 1 || p.Dialogs() != 0 {
			t.Errorf("strings %d to %d: %+v, %d dialogs", from, from+len(part), found, p.Dialogs())
		}
		if from == 0 {
			shoot(t, p, "hostile")
		}
	}
}

// One of each kind of scanner, with a real browser's page, session and script: nothing is decided, although the link alone may
// decide everything.
func TestEveryScannerInABrowserDecidesNothing(t *testing.T) {
	d := newDoor(t, approval.KindEradicate)
	d.installed.Slack, d.now = setting.Slack{}, time.Now().UTC()
	d.serve()
	at := gateway(t, d)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<!doctype html><title>elsewhere</title>")
	}))
	t.Cleanup(elsewhere.Close)
	b := chromium(t)
	before, asked := d.dump(), 0
	for _, k := range scanner.Kinds() {
		p := ok(b.Tab(t.Context(), 1000, 800))(t)
		path := "/approve/" + d.link("alice")
		show := func(address string) {
			if err := p.Go(t.Context(), address); err != nil {
				t.Fatalf("%s: %v", k.Name, err)
			}
		}
		s := scanner.Scanner{Origin: at, Typed: instance, Rand: rand.New(rand.NewSource(1)), Ask: func(method, path string, header map[string]string, body string) scanner.Answer {
			if err := p.Pretend(t.Context(), header["User-Agent"]); err != nil {
				t.Fatal(err)
			}
			if from := header["Origin"]; from != "" && from != at { // a form on another site, which a browser sends from there
				show(elsewhere.URL)
				fields := ok(url.ParseQuery(body))(t)
				script := fmt.Sprintf(`(() => { const f = document.createElement("form"); f.method = "post"; f.action = %q;
					for (const [k, v] of Object.entries(%s)) { const i = document.createElement("input"); i.name = k; i.value = v[0]; f.append(i); } document.body.append(f); f.submit(); })()`, at+path, ok(json.Marshal(fields))(t))
				if err := p.Eval(t.Context(), script, nil); err != nil {
					t.Fatal(err)
				}
				time.Sleep(100 * time.Millisecond) // whether the browser sends it at all is the browser's: there may be no answer to wait for
				return scanner.Answer{}
			}
			show(at + "/approve/" + d.link("alice"))
			delete(header, "Cookie") // the browser has its own
			ask := map[string]any{"method": method, "headers": header, "redirect": "manual", "cache": "no-store"}
			if method != "GET" && method != "HEAD" && body != "" {
				ask["body"] = body
			}
			var text string
			script := fmt.Sprintf(`fetch(%s, %s).then(r => r.text()).catch(() => "")`, ok(json.Marshal(path))(t), ok(json.Marshal(ask))(t))
			if err := p.Eval(t.Context(), script, &text); err != nil {
				t.Fatalf("%s %s %s: %v", k.Name, method, path, err)
			}
			return scanner.Answer{Body: text}
		}}
		s.Visit(k, path)
		asked += s.Asked
		if d.dump() != before || len(d.sent)+len(d.started) != 0 {
			t.Fatalf("%s has decided something", k.Name)
		}
		p.Close(t.Context())
	}
	t.Logf("%d requests of %d kinds", asked, len(scanner.Kinds()))
}

// reader is how a page is looked at.
type reader struct {
	language string
	width    int
	dark     bool
}

var readers = []reader{{"en", 360, false}, {"en", 1280, false}, {"ja", 360, false}, {"ja", 1280, false}, {"en", 390, true}, {"ja", 1280, true}}

// pageDoor is an installation whose links alone decide everything, with a name for the account, and where a browser finds it.
func pageDoor(t *testing.T) (*door, string) {
	t.Helper()
	d := newDoor(t, approval.KindEradicate)
	d.installed.Accounts = []setting.Account{{ID: "222222222222", Name: "clinic"}}
	d.serve()
	return d, gateway(t, d)
}

// looks shows what everybody is held against who reads a page, and takes its picture: it does not scroll sideways, runs nothing,
// has a name for everything that is typed into or pressed, and says what it has to say in the reader's language.
func looks(t *testing.T, p *browser.Page, name string, r reader, want ...string) {
	t.Helper()
	var found struct {
		Wide    bool
		Scripts int
		Unnamed []string
		Faint   []string
		Lang    string
	}
	if err := p.Eval(t.Context(), `(() => {
		const lum = c => { const [r, g, b] = c.map(v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
		const rgba = s => (s.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
		const behind = e => { for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0.99) return c.slice(0, 3); } return matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255]; };
		const faint = [];
		const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
		for (let n; n = walk.nextNode();) {
			const e = n.parentElement, s = getComputedStyle(e);
			if (!n.data.trim() || e.closest(".unseen") || s.visibility == "hidden" || !e.getClientRects().length || s.color.includes("oklch")) continue;
			const a = lum(rgba(s.color).slice(0, 3)), b = lum(behind(e)), ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
			if (ratio < 4.5) faint.push(n.data.trim().slice(0, 30) + " " + ratio.toFixed(1));
		}
		const unnamed = [...document.querySelectorAll("input:not([type=hidden]), textarea, button:not([hidden]), a, summary")].filter(e =>
			!(e.labels && e.labels.length) && !e.textContent.trim() && !e.getAttribute("aria-label")).map(e => e.outerHTML.slice(0, 60));
		return {Wide: document.documentElement.scrollWidth > document.documentElement.clientWidth, Scripts: document.scripts.length, Unnamed: unnamed, Faint: faint, Lang: document.documentElement.lang};
	})()`, &found); err != nil {
		t.Fatal(err)
	}
	if found.Wide || found.Scripts > 0 || len(found.Unnamed) > 0 || len(found.Faint) > 0 || found.Lang != r.language {
		t.Errorf("%s for %+v: %+v", name, r, found)
	}
	text := ok(p.Text(t.Context()))(t)
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%s for %+v does not say %q:\n%s", name, r, w, text)
		}
	}
	dark := ""
	if r.dark {
		dark = "-dark"
	}
	if err := p.Screenshot(t.Context(), filepath.Join(*shots, fmt.Sprintf("%s-%s-%d%s.png", name, r.language, r.width, dark))); err != nil {
		t.Fatal(err)
	}
}

// as opens a tab of that reader.
func as(t *testing.T, b *browser.Browser, r reader) *browser.Page {
	t.Helper()
	p := ok(b.Tab(t.Context(), r.width, 900))(t)
	if err := p.Prefer(t.Context(), r.dark, r.language); err != nil {
		t.Fatal(err)
	}
	return p
}

// Every page that people meet, narrow and wide, in both languages, light and dark. The pictures are for people to look at.
func TestPagesInABrowser(t *testing.T) {
	if err := os.MkdirAll(*shots, 0o755); err != nil {
		t.Fatal(err)
	}
	b := chromium(t)
	open := func(d *door) string { return "/approve/" + d.link("alice") }
	yes := func(d *door, people ...string) {
		for _, who := range people {
			d.post(who, d.form(who, "approve", instance))
		}
	}
	for name, scene := range map[string]struct {
		path   func(*door) string
		en, ja string
	}{
		"open":     {open, "Your decision is needed", "あなたの判断が必要です"},
		"steps":    {func(d *door) string { d.more(); return open(d) }, "leave it out of my approval", "承認から除く"},
		"evidence": {func(d *door) string { d.evidence("pending: snap-0aaaaaaaaaaaaaaaa is 40% done"); return open(d) }, "Not complete yet", "snap-0aaaaaaaaaaaaaaaa"},
		"decided":  {func(d *door) string { yes(d, "alice"); return open(d) }, "1 of 2 approved", "判断を記録しました"},
		"approved": {func(d *door) string { yes(d, "alice", "bob"); return open(d) }, "As many people have approved", "承認されました"},
		"destroyed": {func(d *door) string {
			yes(d, "alice", "bob")
			d.becomes(incident.Applied)
			return open(d)
		}, "Destroyed, and read back.", "削除済み (確認済み)"},
		"not-destroyed": {func(d *door) string {
			yes(d, "alice", "bob")
			d.becomes(incident.Changed)
			return open(d)
		}, "Not done: it was something else than approved", "未実行"},
		"rejected": {func(d *door) string { d.post("bob", d.form("bob", "reject", instance)); return open(d) }, "Rejected", "却下されました"},
		"asked-again": {func(d *door) string {
			d.change()
			ring, _ := approval.ParseRing([]byte(secret))
			return "/approve/" + ring.Link(d.approval(2), "alice")
		}, "launched: was 2026-11-01T08:00:00Z, now 2026-11-23T02:00:00Z", "前回の依頼から変わった点"},
		"signin": {func(d *door) string {
			d.installed.Approval.LinkAlone, d.installed.SignIn = "none", setting.SignIn{Issuer: "https://login.example.com", ClientID: "firebreak"}
			d.serve()
			return open(d)
		}, "Sign in to decide", "サインインして判断する"},
		"override":         {func(d *door) string { d.overrides(); return open(d) }, "Can be released again: scripts/firebreak release.", "あとで解除できます"},
		"override-expired": {func(d *door) string { d.overrides(); d.now = d.now.Add(5 * time.Hour); return open(d) }, "What was held back is not contained", "見合わせていた封じ込めは実行されません"},
		"seen-late":        {func(d *door) string { at := "/seen/" + d.seen("alice"); d.now = d.now.Add(2 * time.Hour); return at }, "This link is too old", "このリンクの有効期間は過ぎています"},
		"seen":             {func(d *door) string { return "/seen/" + d.seen("alice") }, "Somebody has to look after this", "対応する人が必要です"},
		"seen-done": {func(d *door) string {
			d.ask("POST", "/seen/"+d.seen("bob"), sameOrigin, url.Values{"nonce": {nonceOf(d.t, d.ask("GET", "/seen/"+d.seen("bob"), nil, ""))}, "typed-0": {"222222222222"}}.Encode())
			return "/seen/" + d.seen("alice")
		}, "Bob looks after it", "対応中"},
		"nowhere": {func(*door) string { return "/approve/x" }, "This link leads nowhere", "このリンクは無効です"},
	} {
		d, at := pageDoor(t)
		path := scene.path(d)
		for _, r := range readers {
			p := as(t, b, r)
			if err := p.Go(t.Context(), at+path); err != nil {
				t.Fatal(err)
			}
			looks(t, p, name, r, map[string]string{"en": scene.en, "ja": scene.ja}[r.language])
			p.Close(t.Context())
		}
	}
}

// Without a mouse: the keyboard gets to everything in the order of reading, shows where it is, sends nothing by accident, and decides.
func TestTheKeyboardAloneDecides(t *testing.T) {
	b := chromium(t)
	d, at := pageDoor(t)
	d.more()
	p := as(t, b, readers[1])
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(p.Go(t.Context(), at+"/approve/"+d.link("alice")))
	var order []string
	before := d.dump()
	for range 11 {
		do(p.Key(t.Context(), "Tab"))
		var on struct{ Name, Ring string }
		do(p.Eval(t.Context(), `(() => { const e = document.activeElement, s = getComputedStyle(e); return {Name: e.value && e.tagName == "BUTTON" ? e.value : e.name || e.localName, Ring: s.outlineStyle + " " + parseFloat(s.outlineWidth)}; })()`, &on))
		order = append(order, on.Name)
		if on.Ring != "solid 3" {
			t.Errorf("%s shows that it has the focus by %q", on.Name, on.Ring)
		}
		switch on.Name {
		case "typed-0", "typed-1":
			name := map[string]string{"typed-0": instance, "typed-1": instance + "abc"}[on.Name]
			do(p.Eval(t.Context(), fmt.Sprintf("document.execCommand('insertText', false, %q)", name), nil))
			do(p.Key(t.Context(), "Enter"))
		case "keep-1":
			do(p.Key(t.Context(), "Space"))
		case "reject":
			if d.dump() != before {
				t.Fatal("something was sent on the way")
			}
		}
		if on.Name == "approve" {
			break
		}
	}
	if want := []string{"summary", "typed-0", "keep-0", "typed-1", "keep-1", "reason", "reject", "approve"}; !slices.Equal(order, want) {
		t.Fatalf("the keyboard gets to %v, want %v", order, want)
	}
	do(p.Enter(t.Context()))
	if a := d.approval(1); len(a.Decisions) != 1 || !a.Decisions[0].Approve || !slices.Equal(a.Decisions[0].Keep, []string{a.Steps[1].Key()}) {
		t.Errorf("%+v", a.Decisions)
	}
}

// However a request ends while somebody has its page open: whoever presses a button afterwards reads what happened, and nothing
// is recorded.
func TestLateClicksInABrowser(t *testing.T) {
	if err := os.MkdirAll(*shots, 0o755); err != nil {
		t.Fatal(err)
	}
	b := chromium(t)
	for name, ending := range map[string]struct {
		end    func(*door)
		en, ja []string
	}{
		"approved": {func(d *door) {
			d.post("bob", d.form("bob", "approve", instance))
			d.post("carol", d.form("carol", "approve", instance))
		}, []string{"Approved", "Your decision came too late"}, []string{"承認されました", "判断が間に合いませんでした"}},
		"rejected":      {func(d *door) { d.post("bob", d.form("bob", "reject", instance)) }, []string{"Rejected", "Nothing is destroyed", "Your decision came too late"}, []string{"却下されました", "判断が間に合いませんでした"}},
		"expired":       {func(d *door) { d.now = d.now.Add(5 * time.Hour) }, []string{"The time to decide is over", "Your decision came too late"}, []string{"判断の期限が過ぎました", "判断が間に合いませんでした"}},
		"changed":       {func(d *door) { d.change() }, []string{"A newer request took its place", "Your decision came too late"}, []string{"新しい依頼に置き換えられました", "判断が間に合いませんでした"}},
		"cancelled":     {func(d *door) { d.cancel() }, []string{"The request was cancelled", "Your decision came too late"}, []string{"依頼は取り消されました", "判断が間に合いませんでした"}},
		"approver-gone": {func(d *door) { d.installed.Approvers = d.installed.Approvers[1:]; d.serve() }, []string{"You are not asked about this", "Nothing was recorded"}, []string{"この件はあなたの判断の対象ではありません"}},
		"twice":         {func(d *door) { d.post("alice", d.form("alice", "approve", instance)) }, []string{"You have decided before", "1 of 2 approved"}, []string{"すでに判断を記録しています"}},
		"wrong-id":      {func(*door) {}, []string{"What you typed is not the id", "Nothing was recorded"}, []string{"入力した ID が一致しません"}},
	} {
		for _, r := range readers {
			d, at := pageDoor(t)
			d.installed.Approvers[2].Principals = nil // carol is a third who may decide
			d.serve()
			p := as(t, b, r)
			do := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			typed := instance
			if name == "wrong-id" {
				typed += "0"
			}
			do(p.Go(t.Context(), at+"/approve/"+d.link("alice")))
			do(p.Type(t.Context(), "#typed-0", typed))
			ending.end(d)
			before := d.dump()
			do(p.Press(t.Context(), "button[value=approve]"))
			looks(t, p, "late-"+name, r, map[string][]string{"en": ending.en, "ja": ending.ja}[r.language]...)
			if d.dump() != before {
				t.Errorf("%s: a late click was recorded", name)
			}
			p.Close(t.Context())
		}
	}
}

// becomes is what the execution makes of the step afterwards.
func (d *door) becomes(outcome incident.Outcome) {
	_, err := ledger.Update(d.t.Context(), d.mem, ledger.IncidentKey(id), func(it *ledger.Item[ledger.Incident]) error {
		step := it.Value.Plan.Eradicate[0]
		it.Value.Outcomes[step.Key()] = incident.Result{Action: step.Action, Target: step.Target, Outcome: outcome}
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
}

// overrides makes of the request one to contain what the guard refused.
func (d *door) overrides() {
	_, err := ledger.Update(d.t.Context(), d.mem, approval.Key(id, 1), func(it *ledger.Item[approval.Approval]) error {
		a := &it.Value
		a.Kind, a.Need, a.Token = approval.KindOverride, 1, ""
		a.Steps = []approval.Step{{Step: incident.Step{Action: "revoke-sessions", Target: "arn:aws:iam::222222222222:role/clinic-web"}, Rule: "shared", Refusal: "7 resources use the role clinic-web, more than the 5 that are changed without asking"}}
		a.Hash = approval.Hash(a.Kind, a.Incident, a.Episode, a.Steps)
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
}

// evidence makes what is missing for the request this.
func (d *door) evidence(text string) {
	if err := approval.Evidence(d.t.Context(), d.mem, id, 1, text); err != nil {
		d.t.Fatal(err)
	}
}

// change asks anew, because the target is not what it was.
func (d *door) change() {
	a := d.approval(1)
	a.Steps[0].Identity = map[string]string{"launched": "2026-11-23T02:00:00Z"}
	_, err := approval.Open(d.t.Context(), d.mem, approval.Request{
		Incident: incident.Ref{ID: id, Episode: 1}, Kind: a.Kind, Round: a.Round, Steps: a.Steps, Token: "another", Execution: incident.Execution{ARN: running, Start: d.now}, Evidence: a.Evidence, Now: d.now, Expires: d.now.Add(4 * time.Hour),
	})
	if err != nil {
		d.t.Fatal(err)
	}
}

// more adds a second step to the request.
func (d *door) more() {
	_, err := ledger.Update(d.t.Context(), d.mem, approval.Key(id, 1), func(it *ledger.Item[approval.Approval]) error {
		a := &it.Value
		a.Steps = append(a.Steps, approval.Step{Step: incident.Step{Action: "terminate-instance", Target: target + "abc"}, Destroys: []string{"the instance i-0abcdef1234567890abc (clinic-web-4, m7i.large), launched 2026-11-02"}})
		a.Hash = approval.Hash(a.Kind, a.Incident, a.Episode, a.Steps)
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
}

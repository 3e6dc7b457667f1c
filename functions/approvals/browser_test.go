//go:build e2e

package main

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
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

	"github.com/aws/aws-lambda-go/events"
)

var shots = flag.String("shots", "", "write pictures of the pages to this folder")

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
	if *shots != "" {
		if err := p.Screenshot(t.Context(), filepath.Join(*shots, name+".png")); err != nil {
			t.Fatal(err)
		}
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
				time.Sleep(50 * time.Millisecond)
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
			a.Steps[0].Destroys, a.Steps[0].Identity, a.Evidence = part, map[string]string{}, "pending: "+part[0]
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

// Pictures of every page that people meet, narrow and wide, in both languages, light and dark. They are looked at by people.
func TestPictures(t *testing.T) {
	if *shots == "" {
		t.Skip("-shots says where to")
	}
	if err := os.MkdirAll(*shots, 0o755); err != nil {
		t.Fatal(err)
	}
	b := chromium(t)
	scenes := map[string]func(d *door) string{
		"open": func(d *door) string { return "/approve/" + d.link("alice") },
		"steps": func(d *door) string {
			d.more()
			return "/approve/" + d.link("alice")
		},
		"wrong-id": func(d *door) string { return "" },
		"late": func(d *door) string {
			d.now = d.now.Add(5 * time.Hour)
			return "/approve/" + d.link("alice")
		},
		"rejected": func(d *door) string {
			d.post("bob", d.form("bob", "reject", instance))
			return "/approve/" + d.link("alice")
		},
		"approved": func(d *door) string {
			d.post("alice", d.form("alice", "approve", instance))
			d.post("bob", d.form("bob", "approve", instance))
			return "/approve/" + d.link("alice")
		},
		"seen":   func(d *door) string { return "/seen/" + d.seen("alice") },
		"nobody": func(d *door) string { return "/approve/x" },
	}
	for name, make := range scenes {
		if name == "wrong-id" {
			continue
		}
		d := newDoor(t, approval.KindEradicate)
		d.installed.Accounts = []setting.Account{{ID: "222222222222", Name: "clinic"}}
		d.serve()
		at := gateway(t, d)
		path := make(d)
		for _, language := range []string{"en", "ja"} {
			for _, dark := range []bool{false, true} {
				for _, width := range []int{390, 1280} {
					if dark && name != "open" {
						continue
					}
					p := ok(b.Tab(t.Context(), width, 900))(t)
					if err := p.Prefer(t.Context(), dark, language); err != nil {
						t.Fatal(err)
					}
					if err := p.Go(t.Context(), at+path); err != nil {
						t.Fatal(err)
					}
					shoot(t, p, fmt.Sprintf("%s-%s-%d-%t", name, language, width, dark))
					var wide bool
					if err := p.Eval(t.Context(), "document.documentElement.scrollWidth > document.documentElement.clientWidth", &wide); err != nil || wide {
						t.Errorf("%s in %s at %d scrolls sideways (%v)", name, language, width, err)
					}
					p.Close(t.Context())
				}
			}
		}
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

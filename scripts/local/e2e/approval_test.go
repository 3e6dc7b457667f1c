//go:build e2e

package e2e

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/ledger"
	"firebreak/scripts/local/browser"
	"firebreak/scripts/local/world"
)

// Scanners follow links, some of them many times: whatever they do, nothing is decided.
func TestFiftyGetsAndHeadsChangeNothing(t *testing.T) {
	i := instance(t)
	finding := mining(t, i)
	put(t, finding)
	asks(t, finding)
	links := must(hub.Links(t.Context(), finding.Incident(), world.ToDestroy, 2))(t)
	web := world.NewWeb()
	before := must(hub.Dump(t.Context()))(t)
	for n := range 50 {
		link := links["alice"]
		method := []string{http.MethodGet, http.MethodHead}[n%2]
		if n%5 == 0 {
			link += "?decision=approve&typed-0=" + i.ID
		}
		p := must(web.Do(t.Context(), method, link, nil))(t)
		if p.Status != http.StatusOK {
			t.Errorf("%s answers %d", method, p.Status)
		}
		if c := p.Header.Get("Cache-Control"); !strings.Contains(c, "no-store") {
			t.Errorf("the page may be kept: Cache-Control is %q", c)
		}
	}
	after := must(hub.Dump(t.Context()))(t)
	for _, line := range difference(before, after) {
		if !strings.Contains(line, "#VIEW#") && !strings.Contains(line, "sk=VIEW#") && !strings.Contains(line, "looked at") {
			t.Errorf("changed: %s", line)
		}
	}
	if views := strings.Count(after, "looked at") - strings.Count(before, "looked at"); views != 1 {
		t.Errorf("%d views in the timeline, want one in the hour", views)
	}
	running(t, i, true)

	// nor does a form that is not the page's own, or that a machine filled in
	shown := must(web.Get(t.Context(), links["alice"]))(t)
	fields, typed := shown.Form()
	if fields.Get("nonce") == "" || len(typed) != 1 {
		t.Fatalf("the form has fields %v and %v", fields, typed)
	}
	nonce := fields.Get("nonce")
	other := must(web.Get(t.Context(), links["bob"]))(t)
	bobs, _ := other.Form()
	before = must(hub.Dump(t.Context()))(t)
	for what, form := range map[string]url.Values{
		"no nonce":             {"decision": {"approve"}, "typed-0": {i.ID}},
		"a nonce of one's own": {"decision": {"approve"}, "typed-0": {i.ID}, "nonce": {strings.Repeat("A", len(nonce))}},
		"the nonce of another": {"decision": {"approve"}, "typed-0": {i.ID}, "nonce": {bobs.Get("nonce")}},
		"no id":                {"decision": {"approve"}, "nonce": {nonce}},
		"another id":           {"decision": {"approve"}, "typed-0": {"i-0123456789abcdef0"}, "nonce": {nonce}},
		"no decision":          {"typed-0": {i.ID}, "nonce": {nonce}},
		"two decisions":        {"decision": {"approve", "reject"}, "typed-0": {i.ID}, "nonce": {nonce}},
	} {
		if p := must(web.Do(t.Context(), http.MethodPost, links["alice"], form))(t); p.Status < 400 {
			t.Errorf("%s: status %d", what, p.Status)
		}
	}
	forged := links["alice"][:len(links["alice"])-4] + "AAAA"
	if p := must(web.Get(t.Context(), forged))(t); p.Status != http.StatusNotFound {
		t.Errorf("a forged link answers %d", p.Status)
	}
	for _, line := range difference(before, must(hub.Dump(t.Context()))(t)) {
		if !strings.Contains(line, "VIEW#") && !strings.Contains(line, "looked at") {
			t.Errorf("changed by a form that does not count: %s", line)
		}
	}
	// the same form twice is one decision, and one person is not two
	good := url.Values{"decision": {"approve"}, "typed-0": {i.ID}, "nonce": {nonce}}
	must(web.Do(t.Context(), http.MethodPost, links["alice"], good))(t)
	must(web.Do(t.Context(), http.MethodPost, links["alice"], good))(t)
	a := must(approval.Load(t.Context(), hub.Store, finding.Incident(), 1))(t).Value
	if a.Status != approval.StatusOpen || len(a.Decisions) != 1 {
		t.Errorf("after alice twice: %s with %d decisions", a.Status, len(a.Decisions))
	}
	running(t, i, true)
	reject2 := must(web.Decide(t.Context(), links["bob"], "reject", i.ID, "not this one"))(t)
	if !strings.Contains(world.Words(reject2.HTML), "Rejected") {
		t.Errorf("after the rejection the page says %s", world.Words(reject2.HTML))
	}
	settle(t, finding)
	running(t, i, true)
}

// difference gives the lines that stand in one text only.
func difference(a, b string) []string {
	count := map[string]int{}
	for _, l := range strings.Split(a, "\n") {
		count[l]++
	}
	for _, l := range strings.Split(b, "\n") {
		count[l]--
	}
	var out []string
	for l, n := range count {
		if n != 0 {
			out = append(out, l)
		}
	}
	return out
}

// People decide in a real browser, on a phone and at a desk. The pictures are kept in .cache/e2e/pictures for people to look at.
func TestApprovalPageInABrowser(t *testing.T) {
	b, err := browser.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	i := instance(t)
	finding := stolen(t, i)
	put(t, finding)
	asks(t, finding)
	links := must(hub.Links(t.Context(), finding.Incident(), world.ToDestroy, 2))(t)
	pictures := filepath.Join(platform.State, "pictures")
	check(t, os.MkdirAll(pictures, 0o755))
	shot := func(p *browser.Page, name string) {
		t.Helper()
		check(t, p.Screenshot(t.Context(), filepath.Join(pictures, name+".png")))
	}
	const typed, yes = `input[name="typed-0"]`, `button[value="approve"]`

	alice := must(b.Open(t.Context(), links["alice"], 360, 740))(t)
	shot(alice, "narrow-open")
	text := must(alice.Text(t.Context()))(t)
	for _, want := range []string{i.ID, "222222222222", "cannot be undone", i.Volumes[0], i.Volumes[1], "InstanceCredentialExfiltration"} {
		if !strings.Contains(strings.ReplaceAll(text, "\u200b", ""), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	var wide, scripts bool
	check(t, alice.Eval(t.Context(), "document.documentElement.scrollWidth > innerWidth", &wide))
	check(t, alice.Eval(t.Context(), "document.scripts.length > 0", &scripts))
	if wide || scripts {
		t.Errorf("on a phone: scrolls sideways %v, has scripts %v", wide, scripts)
	}
	// a wrong id is refused and said so; the reason stays
	check(t, alice.Type(t.Context(), typed, "i-0123456789abcdef0"))
	check(t, alice.Type(t.Context(), "#reason", "looked at the snapshots"))
	check(t, alice.Press(t.Context(), yes))
	shot(alice, "narrow-wrong-id")
	if text := must(alice.Text(t.Context()))(t); !strings.Contains(text, "Nothing was recorded") || !strings.Contains(must(alice.Source(t.Context()))(t), "looked at the snapshots") {
		t.Errorf("after a wrong id the page says %s", text)
	}
	running(t, i, true)
	check(t, alice.Eval(t.Context(), `document.querySelector('input[name="typed-0"]').value = ""`, nil))
	check(t, alice.Type(t.Context(), typed, i.ID))
	check(t, alice.Press(t.Context(), yes))
	shot(alice, "narrow-decided")
	if text := must(alice.Text(t.Context()))(t); !strings.Contains(text, "1 of 2") {
		t.Errorf("after the first approval the page says %s", text)
	}
	running(t, i, true)

	bob := must(b.Open(t.Context(), links["bob"], 1280, 900))(t)
	shot(bob, "wide-open")
	if text := must(bob.Text(t.Context()))(t); !strings.Contains(text, "1 of 2") {
		t.Errorf("bob does not see alice's decision: %s", text)
	}
	check(t, bob.Type(t.Context(), typed, i.ID))
	check(t, bob.Press(t.Context(), yes))
	shot(bob, "wide-approved")
	run := settle(t, finding)
	path(t, run, after(asked, "Eradicate", "Changed?", "CloseEradicated", "Eradicated")...)
	running(t, i, false)
	late := must(b.Open(t.Context(), links["alice"], 1280, 900))(t)
	shot(late, "wide-over")
	if text := must(late.Text(t.Context()))(t); !strings.Contains(text, "Destroyed, and read back.") {
		t.Errorf("when it is over the page does not say what became of it: %s", text)
	}
	var forms int
	check(t, late.Eval(t.Context(), "document.forms.length", &forms))
	if forms != 0 {
		t.Error("there is still a form when all is decided")
	}
	broken := must(b.Open(t.Context(), links["alice"]+"A", 360, 740))(t)
	shot(broken, "narrow-broken-link")
	if text := must(broken.Text(t.Context()))(t); !strings.Contains(text, "nowhere") || strings.Contains(text, i.ID) {
		t.Errorf("a broken link shows %s", text)
	}
}

// However a request ends while alice has its page open in a real browser, the execution gets to its end, and she reads what
// happened when she presses the button.
func TestEveryEndingInABrowser(t *testing.T) {
	b, err := browser.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	pictures := filepath.Join(platform.State, "pictures")
	check(t, os.MkdirAll(pictures, 0o755))
	const typed, yes, no = `input[name="typed-0"]`, `button[value="approve"]`, `button[value="reject"]`
	press := func(p *browser.Page, i world.Instance, button string) {
		t.Helper()
		check(t, p.Type(t.Context(), typed, i.ID))
		check(t, p.Press(t.Context(), button))
	}
	for _, ending := range []struct {
		name string
		end  func(t *testing.T, finding world.Event, i world.Instance, links map[string]string)
		path []string
		late []string
	}{
		{"rejected", func(t *testing.T, _ world.Event, i world.Instance, links map[string]string) {
			press(must(b.Open(t.Context(), links["bob"], 1280, 900))(t), i, no)
		}, []string{"CloseRejected", "ApprovalRejected"}, []string{"Rejected", "Your decision came too late", "What is contained stays contained"}},
		{"expired", func(t *testing.T, finding world.Event, _ world.Instance, _ map[string]string) {
			_, err := ledger.Update(t.Context(), hub.Store, approval.Key(finding.Incident(), 1), func(it *ledger.Item[approval.Approval]) error {
				it.Value.Expires = time.Now().Add(-time.Minute)
				return nil
			})
			check(t, err)
			check(t, hub.Sweep(t.Context()))
		}, []string{"CloseExpired", "ApprovalExpired"}, []string{"The time to decide is over", "Your decision came too late"}},
		{"cancelled", func(t *testing.T, finding world.Event, _ world.Instance, _ map[string]string) {
			must(platform.Run(t.Context(), world.HubAccount, "scripts/firebreak", "cancel", finding.Incident(), "--why", "a test of ours"))(t)
		}, []string{"CloseSuperseded", "Superseded"}, []string{"The request was cancelled", "Your decision came too late"}},
		{"superseded", func(t *testing.T, finding world.Event, i world.Instance, _ map[string]string) {
			put(t, finding.Set(9.5, "severity").At(time.Now()))
			must(hub.Asked(t.Context(), finding.Incident(), 2))(t)
			check(t, hub.Sweep(t.Context()))
			decide(t, finding.Incident(), "CRITICAL", "reject", i.ID, "bob")
		}, []string{"CloseSuperseded", "Superseded"}, []string{"A newer request took its place", "Your decision came too late"}},
		{"approver gone", func(t *testing.T, finding world.Event, i world.Instance, links map[string]string) {
			configure(t, "approvers", world.Approvers[1:])
			decide(t, finding.Incident(), world.ToDestroy, "reject", i.ID, "bob")
		}, []string{"CloseRejected", "ApprovalRejected"}, []string{"You are not asked about this", "Nothing was recorded"}},
	} {
		t.Run(ending.name, func(t *testing.T) {
			i := instance(t)
			finding := mining(t, i)
			put(t, finding)
			asks(t, finding)
			links := must(hub.Links(t.Context(), finding.Incident(), world.ToDestroy, 2))(t)
			alice := must(b.Open(t.Context(), links["alice"], 390, 844))(t)
			check(t, alice.Type(t.Context(), typed, i.ID))
			ending.end(t, finding, i, links)
			path(t, settle(t, finding), after(asked, ending.path...)...)
			check(t, alice.Press(t.Context(), yes))
			check(t, alice.Screenshot(t.Context(), filepath.Join(pictures, "late-"+strings.ReplaceAll(ending.name, " ", "-")+".png")))
			text := must(alice.Text(t.Context()))(t)
			for _, want := range ending.late {
				if !strings.Contains(text, want) {
					t.Errorf("alice does not read %q:\n%s", want, text)
				}
			}
			if a := must(approval.Load(t.Context(), hub.Store, finding.Incident(), 1))(t).Value; slices.Contains(a.By(), "alice") {
				t.Error("a late click was recorded")
			}
			running(t, i, true)
			isolated(t, i, true)
		})
	}
	t.Run("changed", func(t *testing.T) {
		i := instance(t)
		finding := mining(t, i)
		put(t, finding)
		asks(t, finding)
		links := must(hub.Links(t.Context(), finding.Incident(), world.ToDestroy, 2))(t)
		check(t, member.AddVolume(t.Context(), i.ID))
		for _, who := range []string{"alice", "bob"} {
			press(must(b.Open(t.Context(), links[who], 1280, 900))(t), i, yes)
		}
		must(hub.Asked(t.Context(), finding.Incident(), 2))(t)
		running(t, i, true)
		again := ""
		check(t, world.Until(t.Context(), 20*time.Second, "a second link", func(ctx context.Context) (bool, error) {
			now, err := hub.Links(ctx, finding.Incident(), world.ToDestroy, 2)
			again = now["alice"]
			return again != links["alice"], err
		}))
		p := must(b.Open(t.Context(), again, 390, 844))(t)
		check(t, p.Screenshot(t.Context(), filepath.Join(pictures, "changed.png")))
		if text := must(p.Text(t.Context()))(t); !strings.Contains(text, "Different from what was asked before") || !strings.Contains(text, "0 of 2 approved") {
			t.Errorf("the second request shows\n%s", text)
		}
		press(p, i, no)
		path(t, settle(t, finding), after(asked, "Eradicate", "Changed?", "RequestApproval", "Approved?", "CloseRejected", "ApprovalRejected")...)
		running(t, i, true)
	})
}

// Approved and not delivered, because the function could not tell the machine: the sweep does.
func TestADecisionThatWasNotDeliveredIsDeliveredByTheSweep(t *testing.T) {
	i := instance(t)
	finding := mining(t, i)
	put(t, finding)
	asks(t, finding)
	restore := must(world.TakeAction(t.Context(), hub.IAM, "firebreak-approvals-"+world.Region, "states:SendTaskSuccess"))(t)
	t.Cleanup(func() { check(t, restore(context.Background())) })
	decide(t, finding.Incident(), world.ToDestroy, "approve", i.ID, "alice", "bob")
	time.Sleep(200 * time.Millisecond) // nothing is to happen: there is no condition to wait for
	running(t, i, true)
	check(t, restore(t.Context()))
	check(t, hub.Sweep(t.Context()))
	path(t, settle(t, finding), after(asked, "Eradicate", "Changed?", "CloseEradicated", "Eradicated")...)
	running(t, i, false)
}

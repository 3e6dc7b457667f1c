package main

import (
	"encoding/json"
	"fmt"
	"html"
	"math/rand"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/lib/approval"
)

// long tells whether to run what takes too long for every change: scripts/test long.
var long = os.Getenv("FIREBREAK_LONG") != ""

// machine is something that follows links by itself: it has a browser's headers and cookies, and counts what it asks.
type machine struct {
	d      *door
	rnd    *rand.Rand
	agent  string
	cookie string
	asked  int
}

func (m *machine) ask(method, path string, headers map[string]string, body string) response {
	m.asked++
	h := map[string]string{"User-Agent": m.agent, "Accept": "*/*"}
	if m.cookie != "" {
		h["Cookie"] = m.cookie
	}
	for k, v := range headers {
		h[k] = v
	}
	res := m.d.ask(method, path, h, body)
	for _, c := range res.Cookies {
		if parsed, err := http.ParseSetCookie(c); err == nil {
			m.cookie = parsed.Name + "=" + parsed.Value
		}
	}
	return res
}

func (m *machine) get(path string) response { return m.ask("GET", path, nil, "") }

var (
	hrefs  = regexp.MustCompile(`href="([^"]*)"`)
	inputs = regexp.MustCompile(`<(?:input|textarea)[^>]*name="([^"]*)"[^>]*?(?:value="([^"]*)")?[^>]*>`)
)

// follow asks for every link of a page that leads here.
func (m *machine) follow(path string, res response) {
	base, _ := url.Parse(front + path)
	for _, l := range hrefs.FindAllStringSubmatch(res.Body, -1) {
		if to, err := base.Parse(html.UnescapeString(l[1])); err == nil && strings.HasPrefix(to.String(), front) {
			m.get(to.Path)
		}
	}
}

// form is a page's form as it is found, with what is in its fields.
func form(res response) url.Values {
	f := url.Values{}
	for _, i := range inputs.FindAllStringSubmatch(res.Body, -1) {
		f.Set(i[1], html.UnescapeString(i[2]))
	}
	return f
}

func (m *machine) submit(path string, f url.Values, headers map[string]string) response {
	h := map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Origin": front, "Sec-Fetch-Site": "same-origin"}
	for k, v := range headers {
		h[k] = v
	}
	return m.ask("POST", path, h, f.Encode())
}

// guesses are what programs put into a field whose meaning they do not know.
var guesses = []string{"", "test", "1", "admin@example.com", "https://example.com", "approve", "yes", "alice", "Type i-", "i-00000000000000000", "typed-0", "on", "2026-01-01", "password", "\u00a0", strings.Repeat("A", 300)}

// kinds are what opens links before people do, as far as it is known of them. None of them reads what a page asks to be typed
// and types it: that is a person's part.
var kinds = []struct {
	name, agent string
	visit       func(m *machine, path string)
}{
	{"Slack's unfurler", "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", func(m *machine, p string) { m.ask("GET", p, map[string]string{"Range": "bytes=0-32768"}, "") }},
	{"Slack's image proxy", "Slack-ImgProxy (+https://api.slack.com/robots)", func(m *machine, p string) { m.ask("HEAD", p, nil, ""); m.get(p) }},
	{"Outlook Safe Links", "Mozilla/5.0 (Windows NT 10.0; Win64; x64)", func(m *machine, p string) { m.ask("HEAD", p, nil, ""); m.get(p); m.get(p) }},
	{"Defender's detonation", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/120 Edg/120", func(m *machine, p string) {
		res := m.get(p)
		m.follow(p, res)
		m.submit(p, form(res), nil)
	}},
	{"Proofpoint", "Mozilla/5.0 (compatible; Proofpoint URL Defense)", func(m *machine, p string) { m.get(p); m.agent = "Mozilla/5.0 (Macintosh)"; m.get(p) }},
	{"Mimecast", "Mozilla/5.0 (Mimecast)", func(m *machine, p string) { res := m.get(p); m.follow(p, res); m.get(p) }},
	{"Barracuda", "BarracudaCentral", func(m *machine, p string) { m.follow(p, m.get(p)) }},
	{"IronPort", "IronPort URL scanner", func(m *machine, p string) { m.ask("HEAD", p, nil, ""); m.ask("HEAD", p, nil, ""); m.get(p) }},
	{"Gmail's proxy", "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)", func(m *machine, p string) { m.get(p) }},
	{"a browser's prefetch", "Mozilla/5.0 (X11; Linux x86_64) Chrome/120", func(m *machine, p string) {
		m.ask("GET", p, map[string]string{"Purpose": "prefetch", "Sec-Purpose": "prefetch;prerender", "Sec-Fetch-Site": "none"}, "")
	}},
	{"iMessage's preview", "Mozilla/5.0 facebookexternalhit/1.1 Facebot Twitterbot/1.0", func(m *machine, p string) { m.get(p) }},
	{"Facebook", "facebookexternalhit/1.1", func(m *machine, p string) { m.ask("GET", p, map[string]string{"Range": "bytes=0-524287"}, "") }},
	{"X", "Twitterbot/1.0", func(m *machine, p string) { m.get("/robots.txt"); m.get(p) }},
	{"LinkedIn", "LinkedInBot/1.0", func(m *machine, p string) { m.get(p); m.follow(p, m.get(p)) }},
	{"WhatsApp", "WhatsApp/2.23", func(m *machine, p string) { m.get(p) }},
	{"Teams", "Mozilla/5.0 SkypeUriPreview Preview/0.5", func(m *machine, p string) { m.ask("HEAD", p, nil, ""); m.get(p) }},
	{"Discord", "Mozilla/5.0 (compatible; Discordbot/2.0)", func(m *machine, p string) { m.get(p) }},
	{"Telegram", "TelegramBot (like TwitterBot)", func(m *machine, p string) { m.get(p) }},
	{"a virus scanner at the desk", "Mozilla/5.0 (Windows NT 10.0) Kaspersky", func(m *machine, p string) {
		res := m.get(p)
		m.ask("GET", p, map[string]string{"If-None-Match": `"x"`, "Cache-Control": "no-cache"}, "")
		m.follow(p, res)
	}},
	{"a company's proxy", "BlueCoat", func(m *machine, p string) {
		m.ask("OPTIONS", p, map[string]string{"Access-Control-Request-Method": "POST", "Origin": "https://proxy.example.com"}, "")
		m.ask("CONNECT", p, nil, "")
		m.get(p)
	}},
	{"a browser that presses every button", "Mozilla/5.0 HeadlessChrome/120", func(m *machine, p string) {
		res := m.get(p)
		for _, choice := range []string{"reject", "approve", "seen", ""} {
			f := form(res)
			f.Set("decision", choice)
			res = m.submit(p, f, nil)
		}
	}},
	{"a filler of forms", "Mozilla/5.0 (compatible; FormFiller)", func(m *machine, p string) {
		f := form(m.get(p))
		for k := range f {
			if k != "nonce" {
				f.Set(k, guesses[m.rnd.Intn(len(guesses))])
			}
		}
		f.Set("decision", []string{"approve", "reject"}[m.rnd.Intn(2)])
		m.submit(p, f, nil)
	}},
	{"a poster without nonce", "python-requests/2.31", func(m *machine, p string) {
		m.submit(p, url.Values{"decision": {"approve"}, "typed-0": {instance}, "reason": {"automatic"}}, nil)
		f := form(m.get(p))
		f.Set("decision", "approve")
		f.Set("typed-0", instance)
		f.Set("nonce", guesses[m.rnd.Intn(len(guesses))])
		m.submit(p, f, nil)
	}},
	{"a page elsewhere that posts here", "Mozilla/5.0 (X11; Linux x86_64) Firefox/120", func(m *machine, p string) {
		f := form(m.get(p))
		f.Set("decision", "approve")
		f.Set("typed-0", instance)
		m.submit(p, f, map[string]string{"Origin": "https://evil.example.com", "Sec-Fetch-Site": "cross-site"})
		m.submit(p, f, map[string]string{"Origin": "null", "Sec-Fetch-Site": "cross-site"})
	}},
	{"a crawler that mangles links", "Mozilla/5.0 (compatible; crawler)", func(m *machine, p string) {
		for _, q := range []string{p + "/", strings.ToLower(p), strings.ToUpper(p), p + "%20", p + ".", p + "/approve", "/" + p, p + "?decision=approve", strings.Replace(p, "approve", "reject", 1), p + "#approve", url.PathEscape(p)} {
			m.get(q)
		}
	}},
	{"a prober of methods", "nuclei", func(m *machine, p string) {
		for _, method := range []string{"PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "LINK", "get", "post", ""} {
			m.ask(method, p, nil, "decision=approve&typed-0="+instance)
		}
	}},
	{"a decider by GET", "curl/8.0", func(m *machine, p string) {
		m.get(p + "?decision=approve&typed-0=" + instance)
		m.ask("GET", p, map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, "decision=approve&typed-0="+instance)
		m.ask("GET", p, map[string]string{"X-HTTP-Method-Override": "POST", "X-HTTP-Method": "POST"}, "decision=approve")
		m.ask("GET", p+"?_method=POST&decision=approve", nil, "")
	}},
	{"a speaker of JSON", "axios/1.6", func(m *machine, p string) {
		body, _ := json.Marshal(map[string]string{"decision": "approve", "action": "approve", "typed-0": instance, "nonce": form(m.get(p)).Get("nonce")})
		m.ask("POST", p, map[string]string{"Content-Type": "application/json"}, string(body))
		m.ask("POST", p, map[string]string{"Content-Type": "multipart/form-data; boundary=x"}, "--x\r\nContent-Disposition: form-data; name=\"decision\"\r\n\r\napprove\r\n--x--")
		m.ask("POST", p, nil, string(body))
	}},
	{"a replayer of forms", "Mozilla/5.0 (compatible; sandbox)", func(m *machine, p string) {
		f := form(m.get(p))
		f.Set("decision", "reject")
		for range 4 {
			m.submit(p, f, nil)
		}
	}},
}

// Whatever follows links, renders pages, presses buttons and fills forms by itself changes nothing, also where a link alone may
// decide everything: 100,000 requests in the long run, and the ledger is what it was, but for who looked.
func TestMachinesDecideNothing(t *testing.T) {
	total := 6000
	if long {
		total = 100000
	}
	if len(kinds) < 25 {
		t.Fatalf("%d kinds", len(kinds))
	}
	asked := map[string]int{}
	sum, began := 0, time.Now()
	for _, kind := range []approval.Kind{approval.KindEradicate, approval.KindOverride} {
		d := newDoor(t, kind)
		ring, _ := approval.ParseRing([]byte(secret))
		meta, err := d.meta()
		if err != nil {
			t.Fatal(err)
		}
		paths := []string{"/approve/" + d.link("alice"), "/approve/" + d.link("bob"), "/approve/" + d.link("carol"), "/seen/" + ring.SeenLink(meta, "alice", d.now.Add(time.Hour)), "/signin/" + d.link("alice")}
		before := d.dump()
		rnd := rand.New(rand.NewSource(1))
		for done := 0; done < total/2; {
			for _, k := range kinds {
				m := &machine{d: d, rnd: rnd, agent: k.agent}
				k.visit(m, paths[rnd.Intn(len(paths))])
				asked[k.name] += m.asked
				done += m.asked
			}
			d.log.Reset()
		}
		if after := d.dump(); after != before {
			t.Errorf("something has changed:\n%s\n%s", before, after)
		}
		if len(d.sent)+len(d.started) != 0 {
			t.Errorf("something was decided: %v %v", d.sent, d.started)
		}
		events, err := d.timeline()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if !strings.HasPrefix(e.What, "looked at") {
				t.Errorf("the timeline has: %s %s", e.Who, e.What)
			}
		}
	}
	names := []string{}
	for name, n := range asked {
		sum += n
		names = append(names, fmt.Sprintf("%s %d", name, n))
	}
	slices.Sort(names)
	t.Logf("%d requests of %d kinds in %s: %s", sum, len(asked), time.Since(began).Round(time.Millisecond), strings.Join(names, ", "))
}

// A million random forgeries open nothing: links that are well formed in every way but the signature, nonces, and seals.
func TestRandomForgeriesOpenNothing(t *testing.T) {
	n := 50000
	if long {
		n = 1000000
	}
	d := newDoor(t, approval.KindEradicate)
	ring, err := approval.ParseRing([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	a := d.approval(1)
	link := d.link("alice")
	l, err := approval.ParseLink(link)
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(link, ".")
	nonce := ring.Nonce(l, "", d.now)
	rnd := rand.New(rand.NewSource(2))
	alphabet := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	text := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = alphabet[rnd.Intn(64)]
		}
		return string(b)
	}
	mac := func() string { return text(42) + string(alphabet[4*rnd.Intn(16)]) } // 32 bytes: four bits are left for the last character
	parsed := 0
	for i := range n {
		forged := head + "." + mac()
		if i%4 == 3 {
			forged = text(1+rnd.Intn(len(head)+20)) + "." + mac()
		}
		if forged == link {
			continue
		}
		if f, err := approval.ParseLink(forged); err == nil {
			if parsed++; ring.Genuine(f, a) {
				t.Fatalf("a forged link opens: %s", forged)
			}
		}
		body := nonce
		if i%2 == 0 {
			body = text(len(nonce))
		} else { // the right beginning, another signature
			body = nonce[:27] + text(len(nonce)-27)
		}
		if _, ok := ring.Spend(l, "", body, d.now); ok && body != nonce {
			t.Fatalf("a forged nonce is taken: %s", body)
		}
		if i%100 == 0 { // through the whole door
			if res := d.ask("GET", "/approve/"+forged, nil, ""); res.StatusCode != http.StatusNotFound {
				t.Fatalf("a forged link opens: %s", forged)
			}
		}
		var s session
		if i%10 == 0 && ring.Open(sessionCookie, text(80)+"."+mac(), &s, d.now) {
			t.Fatal("a forged session is taken")
		}
	}
	if parsed < n/2 {
		t.Errorf("only %d of %d forgeries were well formed", parsed, n)
	}
	t.Logf("%d forged links (%d well formed), %d nonces, %d sessions", n, parsed, n, n/10)
}

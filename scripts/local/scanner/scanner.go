// Package scanner has what opens links before people do: unfurlers, mail scanners, prefetchers, crawlers, sandboxes that render
// pages and press buttons.
package scanner

import (
	"encoding/json"
	"html"
	"math/rand"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// Answer is what a server gives.
type Answer struct {
	Cookies []string
	Body    string
}

// Scanner is something that follows links by itself: it has a browser's headers and cookies, and counts what it asks.
type Scanner struct {
	// Ask sends a request.
	Ask func(method, path string, headers map[string]string, body string) Answer
	// Origin is where the pages are, Typed an id that somebody could have read.
	Origin, Typed string
	Rand          *rand.Rand
	Asked         int

	agent  string
	cookie string
}

func (m *Scanner) ask(method, path string, headers map[string]string, body string) Answer {
	m.Asked++
	h := map[string]string{"User-Agent": m.agent, "Accept": "*/*"}
	if m.cookie != "" {
		h["Cookie"] = m.cookie
	}
	for k, v := range headers {
		h[k] = v
	}
	res := m.Ask(method, path, h, body)
	for _, c := range res.Cookies {
		if parsed, err := http.ParseSetCookie(c); err == nil {
			m.cookie = parsed.Name + "=" + parsed.Value
		}
	}
	return res
}

// Visit has a scanner of that kind visit a link, by its path.
func (m *Scanner) Visit(k Kind, path string) {
	m.agent, m.cookie = k.agent, ""
	k.visit(m, path)
}

func (m *Scanner) get(path string) Answer { return m.ask("GET", path, nil, "") }

var (
	hrefs  = regexp.MustCompile(`href="([^"]*)"`)
	inputs = regexp.MustCompile(`<(?:input|textarea)[^>]*name="([^"]*)"[^>]*?(?:value="([^"]*)")?[^>]*>`)
)

// follow asks for every link of a page that leads here.
func (m *Scanner) follow(path string, res Answer) {
	base, _ := url.Parse(m.Origin + path)
	for _, l := range hrefs.FindAllStringSubmatch(res.Body, -1) {
		if to, err := base.Parse(html.UnescapeString(l[1])); err == nil && strings.HasPrefix(to.String(), m.Origin) {
			m.get(to.Path)
		}
	}
}

// form is a page's form as it is found, with what is in its fields.
func form(res Answer) url.Values {
	f := url.Values{}
	for _, i := range inputs.FindAllStringSubmatch(res.Body, -1) {
		f.Set(i[1], html.UnescapeString(i[2]))
	}
	return f
}

func (m *Scanner) submit(path string, f url.Values, headers map[string]string) Answer {
	h := map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Origin": m.Origin, "Sec-Fetch-Site": "same-origin"}
	for k, v := range headers {
		h[k] = v
	}
	return m.ask("POST", path, h, f.Encode())
}

// guesses are what programs put into a field whose meaning they do not know.
var guesses = []string{"", "test", "1", "admin@example.com", "https://example.com", "approve", "yes", "alice", "Type i-", "i-00000000000000000", "typed-0", "on", "2026-01-01", "password", "\u00a0", strings.Repeat("A", 300)}

// Kind is one of them.
type Kind struct {
	Name, agent string
	visit       func(m *Scanner, path string)
}

// Kinds gives them all.
func Kinds() []Kind { return kinds }

// kinds are what opens links before people do, as far as it is known of them. None of them reads what a page asks to be typed
// and types it: that is a person's part.
var kinds = []Kind{
	{"Slack's unfurler", "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", func(m *Scanner, p string) { m.ask("GET", p, map[string]string{"Range": "bytes=0-32768"}, "") }},
	{"Slack's image proxy", "Slack-ImgProxy (+https://api.slack.com/robots)", func(m *Scanner, p string) { m.ask("HEAD", p, nil, ""); m.get(p) }},
	{"Outlook Safe Links", "Mozilla/5.0 (Windows NT 10.0; Win64; x64)", func(m *Scanner, p string) { m.ask("HEAD", p, nil, ""); m.get(p); m.get(p) }},
	{"Defender's detonation", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/120 Edg/120", func(m *Scanner, p string) {
		res := m.get(p)
		m.follow(p, res)
		m.submit(p, form(res), nil)
	}},
	{"Proofpoint", "Mozilla/5.0 (compatible; Proofpoint URL Defense)", func(m *Scanner, p string) { m.get(p); m.agent = "Mozilla/5.0 (Macintosh)"; m.get(p) }},
	{"Mimecast", "Mozilla/5.0 (Mimecast)", func(m *Scanner, p string) { res := m.get(p); m.follow(p, res); m.get(p) }},
	{"Barracuda", "BarracudaCentral", func(m *Scanner, p string) { m.follow(p, m.get(p)) }},
	{"IronPort", "IronPort URL scanner", func(m *Scanner, p string) { m.ask("HEAD", p, nil, ""); m.ask("HEAD", p, nil, ""); m.get(p) }},
	{"Gmail's proxy", "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)", func(m *Scanner, p string) { m.get(p) }},
	{"a browser's prefetch", "Mozilla/5.0 (X11; Linux x86_64) Chrome/120", func(m *Scanner, p string) {
		m.ask("GET", p, map[string]string{"Purpose": "prefetch", "Sec-Purpose": "prefetch;prerender", "Sec-Fetch-Site": "none"}, "")
	}},
	{"iMessage's preview", "Mozilla/5.0 facebookexternalhit/1.1 Facebot Twitterbot/1.0", func(m *Scanner, p string) { m.get(p) }},
	{"Facebook", "facebookexternalhit/1.1", func(m *Scanner, p string) { m.ask("GET", p, map[string]string{"Range": "bytes=0-524287"}, "") }},
	{"X", "Twitterbot/1.0", func(m *Scanner, p string) { m.get("/robots.txt"); m.get(p) }},
	{"LinkedIn", "LinkedInBot/1.0", func(m *Scanner, p string) { m.get(p); m.follow(p, m.get(p)) }},
	{"WhatsApp", "WhatsApp/2.23", func(m *Scanner, p string) { m.get(p) }},
	{"Teams", "Mozilla/5.0 SkypeUriPreview Preview/0.5", func(m *Scanner, p string) { m.ask("HEAD", p, nil, ""); m.get(p) }},
	{"Discord", "Mozilla/5.0 (compatible; Discordbot/2.0)", func(m *Scanner, p string) { m.get(p) }},
	{"Telegram", "TelegramBot (like TwitterBot)", func(m *Scanner, p string) { m.get(p) }},
	{"a virus scanner at the desk", "Mozilla/5.0 (Windows NT 10.0) Kaspersky", func(m *Scanner, p string) {
		res := m.get(p)
		m.ask("GET", p, map[string]string{"If-None-Match": `"x"`, "Cache-Control": "no-cache"}, "")
		m.follow(p, res)
	}},
	{"a company's proxy", "BlueCoat", func(m *Scanner, p string) {
		m.ask("OPTIONS", p, map[string]string{"Access-Control-Request-Method": "POST", "Origin": "https://proxy.example.com"}, "")
		m.ask("CONNECT", p, nil, "")
		m.get(p)
	}},
	{"a browser that presses every button", "Mozilla/5.0 HeadlessChrome/120", func(m *Scanner, p string) {
		res := m.get(p)
		for _, choice := range []string{"reject", "approve", "seen", ""} {
			f := form(res)
			f.Set("decision", choice)
			res = m.submit(p, f, nil)
		}
	}},
	{"a filler of forms", "Mozilla/5.0 (compatible; FormFiller)", func(m *Scanner, p string) {
		f := form(m.get(p))
		for k := range f {
			if k != "nonce" {
				f.Set(k, guesses[m.Rand.Intn(len(guesses))])
			}
		}
		f.Set("decision", []string{"approve", "reject"}[m.Rand.Intn(2)])
		m.submit(p, f, nil)
	}},
	{"a poster without nonce", "python-requests/2.31", func(m *Scanner, p string) {
		m.submit(p, url.Values{"decision": {"approve"}, "typed-0": {m.Typed}, "reason": {"automatic"}}, nil)
		f := form(m.get(p))
		f.Set("decision", "approve")
		f.Set("typed-0", m.Typed)
		f.Set("nonce", guesses[m.Rand.Intn(len(guesses))])
		m.submit(p, f, nil)
	}},
	{"a page elsewhere that posts here", "Mozilla/5.0 (X11; Linux x86_64) Firefox/120", func(m *Scanner, p string) {
		f := form(m.get(p))
		f.Set("decision", "approve")
		f.Set("typed-0", m.Typed)
		m.submit(p, f, map[string]string{"Origin": "https://evil.example.com", "Sec-Fetch-Site": "cross-site"})
		m.submit(p, f, map[string]string{"Origin": "null", "Sec-Fetch-Site": "cross-site"})
	}},
	{"a crawler that mangles links", "Mozilla/5.0 (compatible; crawler)", func(m *Scanner, p string) {
		for _, q := range []string{p + "/", strings.ToLower(p), strings.ToUpper(p), p + "%20", p + ".", p + "/approve", "/" + p, p + "?decision=approve", strings.Replace(p, "approve", "reject", 1), p + "#approve", url.PathEscape(p)} {
			m.get(q)
		}
	}},
	{"a prober of methods", "nuclei", func(m *Scanner, p string) {
		for _, method := range []string{"PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "LINK", "get", "post", ""} {
			m.ask(method, p, nil, "decision=approve&typed-0="+m.Typed)
		}
	}},
	{"a decider by GET", "curl/8.0", func(m *Scanner, p string) {
		m.get(p + "?decision=approve&typed-0=" + m.Typed)
		m.ask("GET", p, map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, "decision=approve&typed-0="+m.Typed)
		m.ask("GET", p, map[string]string{"X-HTTP-Method-Override": "POST", "X-HTTP-Method": "POST"}, "decision=approve")
		m.ask("GET", p+"?_method=POST&decision=approve", nil, "")
	}},
	{"a speaker of JSON", "axios/1.6", func(m *Scanner, p string) {
		body, _ := json.Marshal(map[string]string{"decision": "approve", "action": "approve", "typed-0": m.Typed, "nonce": form(m.get(p)).Get("nonce")})
		m.ask("POST", p, map[string]string{"Content-Type": "application/json"}, string(body))
		m.ask("POST", p, map[string]string{"Content-Type": "multipart/form-data; boundary=x"}, "--x\r\nContent-Disposition: form-data; name=\"decision\"\r\n\r\napprove\r\n--x--")
		m.ask("POST", p, nil, string(body))
	}},
	{"a replayer of forms", "Mozilla/5.0 (compatible; sandbox)", func(m *Scanner, p string) {
		f := form(m.get(p))
		f.Set("decision", "reject")
		for range 4 {
			m.submit(p, f, nil)
		}
	}},
}

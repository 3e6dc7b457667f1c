package world

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// Arch is the architecture of this machine, as Lambda names it.
func Arch() string { return arch() }

func arch() string {
	if runtime.GOARCH == "arm64" {
		return "arm64"
	}
	return "x86_64"
}

// Invitation is what an approver got: the text, and the personal link in it.
type Invitation struct {
	Approver, Link, Text string
}

var linkText = regexp.MustCompile(`https?://\S+/approve/\S+`)

// Invitations reads what approvers got about an incident, oldest first.
func (h *Hub) Invitations(ctx context.Context, id string) ([]Invitation, error) {
	all, err := h.Letters(ctx, Inbox)
	if err != nil {
		return nil, err
	}
	var found []Invitation
	for _, m := range all {
		var n struct {
			Message           string
			MessageAttributes map[string]struct{ Value string }
		}
		if err := json.Unmarshal([]byte(m.Body), &n); err != nil {
			return nil, fmt.Errorf("a notice: %w", err)
		}
		if link := linkText.FindString(n.Message); link != "" && strings.Contains(n.Message, id) {
			found = append(found, Invitation{Approver: n.MessageAttributes["approver"].Value, Link: link, Text: n.Message})
		}
	}
	return found, nil
}

// Links waits until this many approvers were invited to decide on an approval whose text has the needle, and gives the link
// of each.
func (h *Hub) Links(ctx context.Context, id, needle string, people int) (map[string]string, error) {
	links := map[string]string{}
	err := Until(ctx, 20*time.Second, fmt.Sprintf("%d invitations about %s (%s)", people, id, needle), func(ctx context.Context) (bool, error) {
		all, err := h.Invitations(ctx, id)
		for _, i := range all {
			if strings.Contains(i.Text, needle) {
				links[i.Approver] = i.Link
			}
		}
		return len(links) >= people, err
	})
	return links, err
}

// What an invitation to destroy, and one to set the guard aside, say.
const (
	ToDestroy = "APPROVAL DESTROYS"
	ToContain = "APPROVAL CONTAINS WHAT WAS HELD BACK"
)

// Page is what a browser shows of an address.
type Page struct {
	Status int
	HTML   string
	Header http.Header
	// Address is where it ended, after redirects.
	Address string
	form    form
}

type form struct {
	action string
	fields url.Values
	typed  []string
}

// Web is a browser without scripts: it follows redirects, keeps cookies and sends forms as browsers do.
type Web struct{ client *http.Client }

// NewWeb gives one.
func NewWeb() *Web {
	return &Web{&http.Client{Timeout: 30 * time.Second, Jar: &jar{kept: map[string]map[string]string{}}, Transport: &http.Transport{DialContext: Loopback, MaxIdleConnsPerHost: 16}}}
}

// jar keeps cookies by host. Like browsers, it holds a name below localhost for as good as TLS: Go's own jar does not.
type jar struct {
	mu   sync.Mutex
	kept map[string]map[string]string
}

func (j *jar) SetCookies(u *url.URL, cookies []*http.Cookie) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, c := range cookies {
		if j.kept[u.Host] == nil {
			j.kept[u.Host] = map[string]string{}
		}
		if j.kept[u.Host][c.Name] = c.Value; c.MaxAge < 0 {
			delete(j.kept[u.Host], c.Name)
		}
	}
}

func (j *jar) Cookies(u *url.URL) []*http.Cookie {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []*http.Cookie
	for _, name := range slices.Sorted(maps.Keys(j.kept[u.Host])) {
		out = append(out, &http.Cookie{Name: name, Value: j.kept[u.Host][name]})
	}
	return out
}

// Do sends a request and reads the page.
func (w *Web) Do(ctx context.Context, method, address string, body url.Values) (Page, error) {
	var r io.Reader
	if body != nil {
		r = strings.NewReader(body.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, method, address, r)
	if err != nil {
		return Page{}, err
	}
	req.Header.Set("Accept", "text/html")
	if body != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", req.URL.Scheme+"://"+req.URL.Host)
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	res, err := w.client.Do(req)
	if err != nil {
		return Page{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	p := Page{Status: res.StatusCode, HTML: string(text), Header: res.Header, Address: res.Request.URL.String()}
	p.form = readForm(p.HTML)
	return p, err
}

// Get opens an address.
func (w *Web) Get(ctx context.Context, address string) (Page, error) {
	return w.Do(ctx, http.MethodGet, address, nil)
}

// Decide opens a personal link, types the id of the resource into every field that asks for one, and sends the form with
// decision (approve or reject) and reason. The page after it comes back; an error means that there was no form, or that it was
// not taken.
func (w *Web) Decide(ctx context.Context, link, decision, typed, reason string) (Page, error) {
	shown, err := w.Get(ctx, link)
	if err != nil {
		return shown, err
	}
	if shown.Status != http.StatusOK || shown.form.fields.Get("nonce") == "" {
		return shown, fmt.Errorf("the page shows no form (status %d): %s", shown.Status, tail(Words(shown.HTML), 20))
	}
	values := url.Values{}
	for k, v := range shown.form.fields {
		values[k] = v
	}
	for _, name := range shown.form.typed {
		values.Set(name, typed)
	}
	values.Set("decision", decision)
	values.Set("reason", reason)
	to, err := url.Parse(shown.Address)
	if err == nil {
		to, err = to.Parse(shown.form.action)
	}
	if err != nil {
		return shown, err
	}
	after, err := w.Do(ctx, http.MethodPost, to.String(), values)
	if err == nil && after.Status != http.StatusOK {
		err = fmt.Errorf("the form was not taken (status %d): %s", after.Status, tail(Words(after.HTML), 20))
	}
	return after, err
}

// SignIn opens a personal link, goes from there to the local issuer, and says there who it is. The page that it comes back to
// is given; an error means that it did not come back to one.
func (w *Web) SignIn(ctx context.Context, link, subject string) (Page, error) {
	p, err := w.Get(ctx, link)
	for _, step := range []*regexp.Regexp{signInLink, regexp.MustCompile(`<a id="` + regexp.QuoteMeta(subject) + `" href="([^"]*)"`)} {
		if err != nil {
			return p, err
		}
		m := step.FindStringSubmatch(p.HTML)
		if m == nil {
			return p, fmt.Errorf("%s signs in: there is no way on from %s (status %d): %s", subject, p.Address, p.Status, tail(Words(p.HTML), 20))
		}
		var at, to *url.URL
		if at, err = url.Parse(p.Address); err == nil {
			to, err = at.Parse(html.UnescapeString(m[1]))
		}
		if err == nil {
			p, err = w.Get(ctx, to.String())
		}
	}
	if err == nil && p.Status != http.StatusOK {
		err = fmt.Errorf("%s is not signed in (status %d): %s", subject, p.Status, tail(Words(p.HTML), 20))
	}
	return p, err
}

var signInLink = regexp.MustCompile(`<a class="button" href="([^"]*)"`)

// Form gives the fields that the page's form would send before anything is typed, and the names of those to type into.
func (p Page) Form() (fields url.Values, typed []string) { return p.form.fields, p.form.typed }

var (
	formTag   = regexp.MustCompile(`(?is)<form\b[^>]*>.*?</form>`)
	openTag   = regexp.MustCompile(`(?is)<(form|input|textarea)\b([^>]*)>`)
	attribute = regexp.MustCompile(`(?is)([a-z-]+)\s*=\s*"([^"]*)"`)
	tag       = regexp.MustCompile(`(?s)<style.*?</style>|<script.*?</script>|<[^>]*>`)
	blank     = regexp.MustCompile(`\s*\n\s*`)
)

// readForm reads the page's form: hidden fields with their values, and the names of the fields for a resource's id.
func readForm(page string) form {
	f := form{fields: url.Values{}}
	for _, m := range openTag.FindAllStringSubmatch(formTag.FindString(page), -1) {
		a := map[string]string{}
		for _, kv := range attribute.FindAllStringSubmatch(m[2], -1) {
			a[strings.ToLower(kv[1])] = html.UnescapeString(kv[2])
		}
		switch {
		case strings.EqualFold(m[1], "form"):
			f.action = a["action"]
		case strings.HasPrefix(a["name"], "typed-"):
			f.typed = append(f.typed, a["name"])
		case a["type"] == "hidden":
			f.fields.Set(a["name"], a["value"])
		}
	}
	return f
}

// Words is the text of a page.
func Words(page string) string {
	return strings.TrimSpace(blank.ReplaceAllString(html.UnescapeString(tag.ReplaceAllString(page, "\n")), "\n"))
}

// Package workspace is a Slack workspace for the local platform and for tests: it takes the calls that Firebreak makes, refuses
// what Slack would refuse and what could be read as anything but text, and sends what Slack sends when a member presses a
// button or submits a view, signed as Slack signs. The shapes are those of Slack's documentation (Block Kit reference; Handling
// user interaction; Verifying requests from Slack).
package workspace

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Workspace is one. Set its fields before serving.
type Workspace struct {
	Team, Channel        string
	Token, SigningSecret string
	Now                  func() time.Time
	// Down makes every call fail.
	Down bool

	mu       sync.Mutex
	messages []Message
	views    []View
	faults   []string
	calls    int
}

// Message is a message as it stands now.
type Message struct {
	TS, Thread, Text string
	Blocks           []Block
	// Edits counts how often it was changed.
	Edits int
}

// View is a modal that was opened.
type View struct {
	ID, Trigger string
	Body        map[string]any
	Blocks      []Block
}

// Block is one block, as JSON.
type Block map[string]any

// New gives a workspace with credentials of its own.
func New() *Workspace {
	return &Workspace{Team: "T0123456789", Channel: "C0123456789", Token: "xoxb-" + rand.Text(), SigningSecret: rand.Text(), Now: time.Now}
}

// Secret is the JSON that the installation keeps of it.
func (w *Workspace) Secret() string {
	return fmt.Sprintf(`{"token":%q,"signingSecret":%q}`, w.Token, w.SigningSecret)
}

// Messages gives what was posted, oldest first; Views the modals that were opened; Faults what Slack would have refused.
func (w *Workspace) Messages() []Message {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Message(nil), w.messages...)
}

// Views gives the modals that were opened, oldest first.
func (w *Workspace) Views() []View {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]View(nil), w.views...)
}

// Faults gives what Slack would have refused, or could have read as more than text.
func (w *Workspace) Faults() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.faults...)
}

// Calls counts the calls.
func (w *Workspace) Calls() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls
}

// ServeHTTP is Slack's Web API.
func (w *Workspace) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls++
	rw.Header().Set("content-type", "application/json")
	if w.Down {
		rw.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		fmt.Fprint(rw, `{"ok":false,"error":"request_timeout"}`)
		return
	}
	in, token := map[string]string{}, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		var fields map[string]json.RawMessage
		if json.Unmarshal(body, &fields) != nil {
			fmt.Fprint(rw, `{"ok":false,"error":"invalid_json"}`)
			return
		}
		for k, v := range fields {
			var s string
			if json.Unmarshal(v, &s) != nil {
				s = string(v)
			}
			in[k] = s
		}
	} else {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			fmt.Fprint(rw, `{"ok":false,"error":"invalid_form_data"}`)
			return
		}
		for k := range form {
			in[k] = form.Get(k)
		}
		if token == "" {
			token = form.Get("token")
		}
	}
	if token != w.Token {
		fmt.Fprint(rw, `{"ok":false,"error":"invalid_auth"}`)
		return
	}
	switch strings.Trim(r.URL.Path, "/") {
	case "chat.postMessage", "chat.update":
		w.message(rw, strings.HasSuffix(r.URL.Path, "update"), in)
	case "views.open":
		w.view(rw, in)
	default:
		fmt.Fprint(rw, `{"ok":false,"error":"unknown_method"}`)
	}
}

func (w *Workspace) message(rw http.ResponseWriter, update bool, in map[string]string) {
	var blocks []Block
	if in["blocks"] != "" && json.Unmarshal([]byte(in["blocks"]), &blocks) != nil {
		fmt.Fprint(rw, `{"ok":false,"error":"invalid_blocks_format"}`)
		return
	}
	if in["channel"] != w.Channel {
		fmt.Fprint(rw, `{"ok":false,"error":"channel_not_found"}`)
		return
	}
	faults := Check(blocks, 50)
	if marked.MatchString(in["text"]) || in["text"] == "" || utf8.RuneCountInString(in["text"]) > 4000 {
		faults = append(faults, "the text is empty, long or marked up: "+in["text"])
	}
	if in["unfurl_links"] != "false" || in["unfurl_media"] != "false" {
		faults = append(faults, "links are unfurled")
	}
	if w.faults = append(w.faults, faults...); len(faults) > 0 {
		fmt.Fprint(rw, `{"ok":false,"error":"invalid_blocks"}`)
		return
	}
	if update {
		for i := range w.messages {
			if m := &w.messages[i]; m.TS == in["ts"] {
				m.Text, m.Blocks, m.Edits = in["text"], blocks, m.Edits+1
				fmt.Fprintf(rw, `{"ok":true,"channel":%q,"ts":%q,"text":""}`, w.Channel, m.TS)
				return
			}
		}
		fmt.Fprint(rw, `{"ok":false,"error":"message_not_found"}`)
		return
	}
	ts := fmt.Sprintf("%d.%06d", w.Now().Unix(), len(w.messages)+1)
	w.messages = append(w.messages, Message{TS: ts, Thread: in["thread_ts"], Text: in["text"], Blocks: blocks})
	fmt.Fprintf(rw, `{"ok":true,"channel":%q,"ts":%q,"message":{"text":""}}`, w.Channel, ts)
}

func (w *Workspace) view(rw http.ResponseWriter, in map[string]string) {
	var view map[string]any
	var typed struct{ Blocks []Block }
	if json.Unmarshal([]byte(in["view"]), &view) != nil || json.Unmarshal([]byte(in["view"]), &typed) != nil {
		fmt.Fprint(rw, `{"ok":false,"error":"invalid_arguments"}`)
		return
	}
	faults := Check(typed.Blocks, 100)
	faults = append(faults, title(view)...)
	if w.faults = append(w.faults, faults...); len(faults) > 0 || in["trigger_id"] == "" {
		fmt.Fprint(rw, `{"ok":false,"error":"invalid_arguments"}`)
		return
	}
	id := fmt.Sprintf("V%09d", len(w.views)+1)
	w.views = append(w.views, View{ID: id, Trigger: in["trigger_id"], Body: view, Blocks: typed.Blocks})
	fmt.Fprintf(rw, `{"ok":true,"view":{"id":%q,"type":"modal"}}`, id)
}

// CheckView says what Slack would refuse in a view that answers a submission.
func CheckView(text string) []string {
	var view map[string]any
	var typed struct{ Blocks []Block }
	if json.Unmarshal([]byte(text), &view) != nil || json.Unmarshal([]byte(text), &typed) != nil {
		return []string{"not JSON"}
	}
	return append(Check(typed.Blocks, 100), title(view)...)
}

func title(view map[string]any) []string {
	var out []string
	for _, k := range []string{"title", "submit", "close"} {
		if o, ok := view[k].(map[string]any); ok {
			s, _ := o["text"].(string)
			if n := utf8.RuneCountInString(s); n == 0 || n > 24 || marked.MatchString(s) {
				out = append(out, k+" is empty, long or marked up: "+s)
			}
		} else if k == "title" {
			out = append(out, "a view without a title")
		}
	}
	if meta, _ := view["private_metadata"].(string); len(meta) > 3000 {
		out = append(out, "private_metadata is too long")
	}
	return out
}

// marked finds what Slack would read as a link, a mention or a command.
var marked = regexp.MustCompile(`[<>]|&(?:[^aglt]|a[^m]|g[^t]|l[^t]|$)`)

// limits of a text by the block that it is in.
var limits = map[string]int{"header": 150, "section": 3000, "context": 2000, "input": 2000, "button": 75, "option": 75}

// check says what Slack would refuse.
func Check(blocks []Block, most int) []string {
	var faults []string
	if len(blocks) > most {
		faults = append(faults, fmt.Sprintf("%d blocks", len(blocks)))
	}
	var walk func(v any, within string)
	walk = func(v any, within string) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e, within)
			}
		case map[string]any:
			kind, _ := v["type"].(string)
			if kind == "mrkdwn" {
				faults = append(faults, "formatted text: "+fmt.Sprint(v["text"]))
			}
			if s, ok := v["text"].(string); ok {
				if n := utf8.RuneCountInString(s); n == 0 || n > limits[within] {
					faults = append(faults, fmt.Sprintf("a text of %d characters in %s", n, within))
				}
				if marked.MatchString(s) {
					faults = append(faults, "marked up: "+s)
				}
			}
			if value, ok := v["value"].(string); ok && len(value) > 2000 {
				faults = append(faults, "a value that is too long")
			}
			if _, known := limits[kind]; known {
				within = kind
			}
			if _, option := v["value"]; option && kind == "" {
				within = "option"
			}
			for k, e := range v {
				if k != "value" {
					walk(e, within)
				}
			}
		}
	}
	for _, b := range blocks {
		walk(map[string]any(b), "")
	}
	return faults
}

// Words is everything that a person reads in blocks.
func Words(blocks []Block) string {
	var b strings.Builder
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			if s, ok := v["text"].(string); ok {
				b.WriteString(strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&").Replace(s) + "\n")
			}
			for _, k := range []string{"text", "label", "elements", "element", "options"} {
				walk(v[k])
			}
		}
	}
	for _, block := range blocks {
		walk(map[string]any(block))
	}
	return b.String()
}

// Buttons gives the value of each button by its action.
func Buttons(blocks []Block) map[string]string {
	out := map[string]string{}
	for _, b := range blocks {
		elements, _ := b["elements"].([]any)
		for _, e := range elements {
			if m, ok := e.(map[string]any); ok && m["type"] == "button" {
				action, _ := m["action_id"].(string)
				out[action], _ = m["value"].(string)
			}
		}
	}
	return out
}

// Request is what Slack sends.
type Request struct {
	Header map[string]string
	Body   string
}

// Press is what Slack sends when a member presses a button of a message.
func (w *Workspace) Press(member string, m Message, action string) Request {
	return w.Send(map[string]any{
		"type": "block_actions", "user": map[string]any{"id": member, "username": "someone", "name": "someone", "team_id": w.Team}, "api_app_id": "A0123456789", "token": "deprecated",
		"container": map[string]any{"type": "message", "message_ts": m.TS, "channel_id": w.Channel, "is_ephemeral": false}, "trigger_id": "1." + rand.Text(),
		"team": map[string]any{"id": w.Team, "domain": "clinic"}, "enterprise": nil, "is_enterprise_install": false, "channel": map[string]any{"id": w.Channel, "name": "security"},
		"message": map[string]any{"type": "message", "ts": m.TS, "text": m.Text, "blocks": m.Blocks}, "state": map[string]any{"values": map[string]any{}}, "response_url": "https://hooks.slack.com/actions/T0123456789/1/x",
		"actions": []any{map[string]any{"action_id": action, "block_id": "decide", "text": map[string]any{"type": "plain_text", "text": action, "emoji": false}, "value": Buttons(m.Blocks)[action], "type": "button", "action_ts": "1.2"}},
	})
}

// Submit is what Slack sends when a member submits a view: values by block, for inputs a string, for checkboxes a []string.
func (w *Workspace) Submit(member string, v View, values map[string]any) Request {
	state := map[string]any{}
	for _, b := range v.Blocks {
		if b["type"] != "input" {
			continue
		}
		block, _ := b["block_id"].(string)
		element, _ := b["element"].(map[string]any)
		action, _ := element["action_id"].(string)
		value := map[string]any{"type": element["type"], "value": nil}
		switch given := values[block].(type) {
		case string:
			value["value"] = given
		case []string:
			options := []any{}
			for _, o := range given {
				options = append(options, map[string]any{"text": map[string]any{"type": "plain_text", "text": o, "emoji": false}, "value": o})
			}
			value = map[string]any{"type": element["type"], "selected_options": options}
		}
		state[block] = map[string]any{action: value}
	}
	return w.Send(map[string]any{
		"type": "view_submission", "team": map[string]any{"id": w.Team, "domain": "clinic"}, "user": map[string]any{"id": member, "username": "someone", "name": "someone", "team_id": w.Team},
		"api_app_id": "A0123456789", "token": "deprecated", "trigger_id": "1." + rand.Text(), "response_urls": []any{}, "is_enterprise_install": false, "enterprise": nil,
		"view": map[string]any{
			"id": v.ID, "team_id": w.Team, "type": "modal", "blocks": v.Blocks, "private_metadata": v.Body["private_metadata"], "callback_id": v.Body["callback_id"],
			"state": map[string]any{"values": state}, "hash": "1.x", "title": v.Body["title"], "root_view_id": v.ID, "app_id": "A0123456789", "external_id": "", "bot_id": "B0123456789",
		},
	})
}

// Send signs a payload as Slack does, now.
func (w *Workspace) Send(payload map[string]any) Request {
	text, err := json.Marshal(payload)
	if err != nil {
		panic(err) // a payload of this file
	}
	return w.Sign(url.Values{"payload": {string(text)}}.Encode(), w.Now())
}

// Sign signs a body as Slack does at that time.
func (w *Workspace) Sign(body string, at time.Time) Request {
	stamp := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(w.SigningSecret))
	fmt.Fprintf(mac, "v0:%s:%s", stamp, body)
	return Request{Body: body, Header: map[string]string{
		"Content-Type": "application/x-www-form-urlencoded", "X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": "v0=" + hex.EncodeToString(mac.Sum(nil)), "User-Agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
	}}
}

package main

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"firebreak/functions"
	"firebreak/lib/approval"
	"firebreak/lib/channel"
	"firebreak/lib/incident"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

//go:embed page.html
var pageHTML string

//go:embed style.css
var styleCSS string

// pages renders, in one language. There is no script in them, and nothing from elsewhere.
type pages struct {
	words    language
	template *template.Template
	policy   string
}

func newPages(words language) pages {
	style := strings.TrimSpace(styleCSS)
	sum := sha256.Sum256([]byte(style))
	p := pages{words: words, policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"}
	p.template = template.Must(template.New("").Funcs(template.FuncMap{
		"t":     p.text,
		"style": func() template.CSS { return template.CSS(style) }, // our own file, named by its hash in the policy
	}).Parse(pageHTML))
	return p
}

func (p pages) text(key string, args ...any) string {
	if len(args) > 0 {
		return fmt.Sprintf(p.words[key+"%"], args...)
	}
	return p.words[key]
}

// headers of every answer. Nothing is kept, framed, sniffed or told to other sites.
func (p pages) headers() map[string]string {
	return map[string]string{
		"content-type":                 "text/html; charset=utf-8",
		"content-language":             p.words["lang"],
		"vary":                         "accept-language, cookie",
		"content-security-policy":      p.policy,
		"cache-control":                "no-store",
		"referrer-policy":              "no-referrer",
		"x-content-type-options":       "nosniff",
		"x-frame-options":              "DENY",
		"x-robots-tag":                 "noindex, nofollow",
		"cross-origin-opener-policy":   "same-origin",
		"cross-origin-resource-policy": "same-origin",
		"permissions-policy":           "camera=(), geolocation=(), microphone=()",
		"strict-transport-security":    "max-age=63072000",
	}
}

// message is a page of a title and a sentence: nothing of any incident is on it.
func (p pages) message(status int, key string) response {
	var b bytes.Buffer
	if err := p.template.ExecuteTemplate(&b, "message", map[string]string{"Title": p.text(key), "Text": p.text(key + ".text"), "Tag": ""}); err != nil {
		slog.Error("failed", "page", key, "error", err.Error())
	}
	return response{StatusCode: status, Headers: p.headers(), Body: b.String()}
}

// sheet is what the page of a request shows. Strings of unknown origin come through channel.Plain, and the template escapes
// all of them.
type sheet struct {
	Title, Tag, Text, Mood, Trouble             string
	ClockLabel, Expires, ExpiresISO, Left       string
	Band, BandClass, Heading                    string
	Type                                        []string // in parts: a line may break between them
	Account, AccountName, Region, Seen, SeenISO string
	Incident, Owner, Rule, Kind                 string
	Contained                                   []standing
	WillTitle, WillNote                         string
	Steps                                       []step
	Evidence, EvidenceMissing                   string
	EvidenceGood                                bool
	Count, DecisionsTitle, DecisionsNone        string
	Decisions                                   []decision
	Form, SignIn                                bool
	SignInText, SignInLabel, SignInTo           string
	FormTitle, You, FormRule, Nonce, Reason     string
	Reasoned                                    bool
	Fields                                      []field
	ApproveLabel, RejectLabel, SeenLabel        string
	Console, Foot                               string
}

type standing struct {
	Action, Name, Standing, Reason string
	Good                           bool
}

type step struct {
	Action, Name, Target, Refusal string
	Undo                          string // whether what is contained can be released again
	Destroys, Changed             []string
	Outcome                       string // what became of it, where that is known
	Good                          bool
	Identity                      []pair
}

type pair struct{ Field, Value string }

type decision struct {
	Who, Word, At, Reason, Kept string
	You, Approve                bool
}

// field is what the form asks about one step: its id typed by hand, and, where there are several, whether to leave it out.
type field struct {
	Field, Before, Name, After, Value string
	Typed, Wrong                      bool
	Keep, KeepBefore, KeepAfter       string
	Kept                              bool
}

// approval shows a request as it stands, with the form where this visitor can decide.
func (p pages) approval(status int, v visit, who identity, in entry) (response, error) {
	a := v.approval
	actions, err := functions.Actions()
	if err != nil {
		return response{}, err
	}
	s := p.head(v)
	if a.Kind == approval.KindEradicate && slices.ContainsFunc(s.Contained, func(row standing) bool { return !row.Good }) {
		s.Text += p.text("space") + p.text("uncontained")
	}
	for _, st := range a.Steps {
		row := step{Action: st.Action, Name: channel.Plain(st.Name()), Target: channel.Plain(st.Target), Refusal: channel.Plain(st.Refusal)}
		for _, d := range st.Destroys {
			row.Destroys = append(row.Destroys, channel.Plain(d))
		}
		for _, c := range st.Changed {
			row.Changed = append(row.Changed, channel.Line(c, maxReason))
		}
		if r, known := v.meta.Outcomes[st.Key()]; known && a.Kind == approval.KindEradicate && a.Status == approval.StatusApproved && !a.Delivered.IsZero() {
			row.Good = r.Outcome.Contains()
			if row.Outcome = p.words["destroyed."+string(r.Outcome)]; row.Outcome == "" {
				row.Outcome = p.text("standing." + string(r.Outcome))
			}
			s.Text = p.text("approved.known")
		}
		if does, known := actions[st.Action]; known && a.Kind == approval.KindOverride && !closed(v) {
			if row.Undo = p.text("undo"); !does.Undoable() {
				row.Undo = p.text("undo.none", does.NoUndo)
			}
		}
		for _, f := range slices.Sorted(maps.Keys(st.Identity)) {
			row.Identity = append(row.Identity, pair{channel.Plain(f), channel.Plain(st.Identity[f])})
		}
		s.Steps = append(s.Steps, row)
	}
	if a.Kind == approval.KindEradicate {
		switch {
		case a.Evidence == approval.Complete:
			s.Evidence, s.EvidenceGood = p.text("evidence.complete"), true
		case strings.Contains(a.Evidence, "failed: "):
			s.Evidence, s.EvidenceMissing = p.text("evidence.failed"), channel.Plain(a.Evidence)
		default:
			s.Evidence, s.EvidenceMissing = p.text("evidence.pending"), channel.Plain(a.Evidence)
		}
	}
	for _, d := range a.Decisions {
		word := "decision.rejected"
		if d.Approve {
			word = "decision.approved"
		}
		s.Decisions = append(s.Decisions, decision{Who: name(v.installed, d.Approver), Word: p.text(word), At: p.clock(d.At), Reason: channel.Line(d.Reason, maxReason), Kept: p.kept(a, d), You: d.Approver == v.link.Approver, Approve: d.Approve})
	}
	s.Count = p.text("decisions.need", len(a.By()), a.Need)
	if in.Trouble != "" {
		s.Trouble = p.text("trouble." + in.Trouble)
	}
	s.FormTitle = p.text("form")
	switch {
	case closed(v):
	case who.ok:
		p.form(&s, v, who.person, in)
	default:
		p.signIn(&s, v, who)
	}
	var b bytes.Buffer
	if err := p.template.ExecuteTemplate(&b, "approval", s); err != nil {
		return response{}, fmt.Errorf("render approval %d of %s: %w", a.Number, a.Incident, err)
	}
	return response{StatusCode: status, Headers: p.headers(), Body: b.String()}, nil
}

// head says how the request stands, and what was found.
func (p pages) head(v visit) sheet {
	a := v.approval
	state, kind := string(a.Status), "."+string(a.Kind)
	_, decided := a.Decided(v.link.Approver)
	switch {
	case a.Status == approval.StatusOpen && a.Episode != v.meta.Episode:
		state = string(approval.StatusSuperseded)
	case a.Status == approval.StatusOpen && !v.now.Before(a.Expires):
		state = string(approval.StatusExpired)
	case a.Status == approval.StatusOpen && decided:
		state, kind = "decided", ""
	}
	s := p.finding(v)
	s.Tag, s.Mood, s.Title, s.Text, s.Kind = fmt.Sprintf("%s · %d", a.Incident, a.Number), state, p.text(state+kind), p.text(state+kind+".text"), string(a.Kind)
	s.ClockLabel, s.Expires, s.ExpiresISO, s.Left = p.text("expires"), p.clock(a.Expires), a.Expires.UTC().Format(time.RFC3339), p.left(a.Expires.Sub(v.now))
	s.WillTitle, s.Console = p.text("will."+string(a.Kind)), console(a.Execution)
	if a.Kind == approval.KindEradicate {
		s.WillNote = p.text("will.eradicate.note")
	}
	s.DecisionsTitle, s.DecisionsNone = p.text("decisions"), p.text("decisions.none")
	if s.Title == "" {
		s.Title = p.text(state)
	}
	if state != string(approval.StatusOpen) && state != "decided" {
		s.Left, s.ClockLabel, s.WillTitle, s.WillNote = "", "", p.text("was"), ""
		if state == string(approval.StatusExpired) {
			s.ClockLabel = p.text("expired.at")
		}
	}
	return s
}

func bandClass(b incident.Band) string {
	switch b {
	case incident.Critical:
		return "hot"
	case incident.High:
		return "warm"
	}
	return ""
}

// kept says which steps an approving person left out.
func (p pages) kept(a approval.Approval, d approval.Decision) string {
	var names []string
	for _, s := range a.Steps {
		if slices.Contains(d.Keep, s.Key()) {
			names = append(names, channel.Plain(s.Name()))
		}
	}
	if len(names) == 0 {
		return ""
	}
	return p.text("decision.kept", strings.Join(names, ", "))
}

// signIn says how somebody who may not decide yet gets to where they may.
func (p pages) signIn(s *sheet, v visit, who identity) {
	set := v.installed
	s.SignIn, s.SignInText = true, p.text("signin.needed")
	if set.SignIn.On() && set.Approval.Accepts(setting.ViaSignIn, v.approval.Kind == approval.KindEradicate) {
		s.SignInText, s.SignInLabel, s.SignInTo = p.text("signin.first", name(set, v.link.Approver)), p.text("signin.button"), "../signin/"+v.link.String()
		if who.other {
			s.SignInText = p.text("signin.other", name(set, v.link.Approver))
		}
	}
}

func (p pages) form(s *sheet, v visit, by Person, in entry) {
	kind := string(v.approval.Kind)
	s.Form, s.Nonce, s.Reason, s.You = true, v.ring.Nonce(v.link, by.Session, v.now), in.Reason, p.text("form.you", name(v.installed, v.link.Approver))
	s.Reasoned = true
	s.FormRule = p.text("form.rule."+kind, v.approval.Need)
	s.ApproveLabel, s.RejectLabel = p.text("approve."+kind), p.text("reject."+kind)
	for i, st := range s.Steps {
		f := field{Field: fmt.Sprintf("typed-%d", i), Name: st.Name, Typed: typed(v.approval, by)}
		f.Before, f.After, _ = strings.Cut(p.words["form.type%"], "%s")
		if len(s.Steps) > 1 {
			f.Keep = fmt.Sprintf("keep-%d", i)
			f.KeepBefore, f.KeepAfter, _ = strings.Cut(p.words["form.keep."+kind+"%"], "%s")
		}
		if i < len(in.Typed) {
			f.Value, f.Wrong, f.Kept = channel.Plain(in.Typed[i]), in.Wrong[i], in.Keep[i]
		}
		s.Fields = append(s.Fields, f)
	}
}

func (p pages) left(d time.Duration) string {
	switch {
	case d <= 0:
		return ""
	case d < 2*time.Hour:
		return p.text("left.minutes", int(d.Minutes()))
	}
	return p.text("left.hours", int(d.Hours()))
}

// parts cuts a finding type after its separators.
func parts(s string) []string {
	var out []string
	for {
		i := strings.IndexAny(s, ":/.")
		if i < 0 {
			return append(out, s)
		}
		out, s = append(out, s[:i+1]), s[i+1:]
	}
}

func name(in setting.Installed, id string) string {
	for _, p := range in.Approvers {
		if p.ID == id && p.Name != "" {
			return channel.Plain(p.Name)
		}
	}
	return channel.Plain(id)
}

func (p pages) clock(t time.Time) string { return t.UTC().Format(p.words["clock"]) }

// console is where the execution is shown. Source: AWS Step Functions Developer Guide, links of the form
// /states/home?region=…#/v2/executions/details/<ARN>.
func console(execution string) string {
	a, err := arn.Parse(execution)
	if err != nil || a.Service != "states" {
		return ""
	}
	host := map[string]string{"aws": "console.aws.amazon.com", "aws-cn": "console.amazonaws.cn", "aws-us-gov": "console.amazonaws-us-gov.com"}[a.Partition]
	if host == "" {
		return ""
	}
	return fmt.Sprintf("https://%s/states/home?region=%s#/v2/executions/details/%s", host, a.Region, execution)
}

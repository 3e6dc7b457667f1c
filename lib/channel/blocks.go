package channel

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"firebreak/lib/approval"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/slack-go/slack"
)

// What buttons and views are called.
const (
	ActionApprove = "approve"
	ActionReject  = "reject"
	ActionSeen    = "seen"
	ViewDecide    = "decide"
)

// Ref says in a button or a view which request it is about, and which plan was shown; in a button to acknowledge, which episode
// of the incident, as a number below zero, and no plan.
type Ref struct {
	Incident string `json:"i"`
	Number   int    `json:"n"`
	Hash     string `json:"h,omitempty"`
	// Action is what a view was opened for.
	Action string `json:"a,omitempty"`
}

// String is the JSON of a Ref.
func (r Ref) String() string {
	data, _ := json.Marshal(r) // strings and an integer: cannot fail
	return string(data)
}

// ReadRef reads what a button or a view says.
func ReadRef(text string) (Ref, bool) {
	var r Ref
	err := json.Unmarshal([]byte(text), &r)
	return r, err == nil && r.Incident != "" && (r.Number > 0 && r.Hash != "" || r.Number < 0 && r.Hash == "")
}

// escape keeps Slack from reading anything into a text: links, mentions, commands. (Slack: Formatting text for app surfaces,
// "Escaping text": these three characters, and no others.)
func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

// words is a text object that Slack formats nothing in, at most n characters long.
func words(s string, n int) *slack.TextBlockObject {
	if r := []rune(s); len(r) > n {
		s = string(r[:n-1]) + "…"
	}
	// Escaping lengthens the text, and Slack counts what it is sent.
	for len([]rune(escape(s))) > n {
		r := []rune(s)
		s = string(r[:len(r)-max(1, len(r)/20)])
	}
	if strings.TrimSpace(s) == "" {
		s = "-" // Slack takes no empty text
	}
	return slack.NewTextBlockObject(slack.PlainTextType, escape(s), false, false)
}

// Lengths that Slack takes, in characters. (Slack: Block Kit reference.)
const (
	headerLimit  = 150
	sectionLimit = 3000
	contextLimit = 2000
	labelLimit   = 2000
	titleLimit   = 24
)

func section(lines ...string) slack.Block {
	return slack.NewSectionBlock(words(strings.Join(lines, "\n"), sectionLimit), nil, nil)
}

func remark(s string) slack.Block { return slack.NewContextBlock("", words(s, contextLimit)) }

// request is the message about a request, as it stands.
func request(meta ledger.Incident, a approval.Approval, in setting.Installed) []slack.Block {
	f := meta.Finding
	blocks := []slack.Block{
		slack.NewHeaderBlock(words(headline(a), headerLimit)),
		section(fmt.Sprintf("%s  %s", meta.Band, Plain(f.Type)), Plain(f.Title), fmt.Sprintf("account %s, %s, first seen %s", Plain(f.Account), Plain(f.Region), clock(meta.FirstSeen))),
		section(contained(meta)...),
	}
	blocks = append(blocks, steps(a)...)
	if a.Kind == approval.KindEradicate {
		blocks = append(blocks, remark("Evidence: "+evidence(a)))
	}
	for _, d := range a.Decisions {
		blocks = append(blocks, remark(decision(a, d, in)))
	}
	switch a.Status {
	case approval.StatusOpen:
		blocks = append(blocks, remark(fmt.Sprintf("%d of %d approved. One rejection ends it. Decide before %s.", len(a.By()), a.Need, clock(a.Expires))), slack.NewActionBlock("decide", buttons(a)...))
	default:
		blocks = append(blocks, remark(fmt.Sprintf("%s, %s", outcome(a), clock(a.Ended))))
	}
	return append(blocks, remark(fmt.Sprintf("Incident %s, request %d. All of it: scripts/firebreak show %s", meta.ID, a.Number, meta.ID)))
}

// attend is the message about an incident that needs no decision, but somebody.
func attend(meta ledger.Incident, head string, ack approval.Acknowledgement, open bool, in setting.Installed) []slack.Block {
	f := meta.Finding
	blocks := []slack.Block{
		slack.NewHeaderBlock(words(head, headerLimit)),
		section(fmt.Sprintf("%s  %s", meta.Band, Plain(f.Type)), Plain(f.Title), fmt.Sprintf("account %s, %s, first seen %s", Plain(f.Account), Plain(f.Region), clock(meta.FirstSeen))),
		section(contained(meta)...),
	}
	if ack.By != "" {
		blocks = append(blocks, remark(fmt.Sprintf("%s looks after it, since %s", called(in, ack.By), clock(ack.At))))
	}
	if open {
		ref := Ref{Incident: meta.ID, Number: -meta.Episode}.String()
		blocks = append(blocks, remark("No decision is needed. Whoever looks after it stops the calls to others."), slack.NewActionBlock("seen", slack.NewButtonBlockElement(ActionSeen, ref, words("I am looking after it", 75))))
	}
	return append(blocks, remark(fmt.Sprintf("Incident %s, episode %d. All of it: scripts/firebreak show %s", meta.ID, meta.Episode, meta.ID)))
}

// called is what people call an approver.
func called(in setting.Installed, id string) string {
	for _, p := range in.Approvers {
		if p.ID == id && p.Name != "" {
			return Plain(p.Name)
		}
	}
	return Plain(id)
}

func buttons(a approval.Approval) []slack.BlockElement {
	ref := Ref{Incident: a.Incident, Number: a.Number, Hash: a.Hash}.String()
	no := slack.NewButtonBlockElement(ActionReject, ref, words("Reject…", 75))
	yes := slack.NewButtonBlockElement(ActionApprove, ref, words("Approve…", 75))
	if a.Kind == approval.KindEradicate {
		yes = yes.WithStyle(slack.StyleDanger)
	}
	return []slack.BlockElement{no, yes}
}

func headline(a approval.Approval) string {
	what := "contain what was held back"
	if a.Kind == approval.KindEradicate {
		what = "destroy (cannot be undone)"
	}
	if a.Status != approval.StatusOpen {
		return fmt.Sprintf("%s: %s", strings.ToUpper(string(a.Status)), what)
	}
	return "Your decision is needed: " + what
}

// outcome says what became of a request that is over.
func outcome(a approval.Approval) string {
	switch {
	case a.Status == approval.StatusApproved && a.Kind == approval.KindEradicate:
		return "Approved: it is destroyed as soon as the evidence is complete and it is still what was shown"
	case a.Status == approval.StatusApproved:
		return "Approved: it is being contained"
	case a.Status == approval.StatusCancelled:
		return "Cancelled by " + Plain(a.EndedBy)
	case a.Kind == approval.KindEradicate:
		return strings.ToUpper(string(a.Status[:1])) + string(a.Status[1:]) + ": nothing is destroyed, what is contained stays contained"
	}
	return strings.ToUpper(string(a.Status[:1])) + string(a.Status[1:]) + ": what was held back is not contained"
}

func contained(meta ledger.Incident) []string {
	out := []string{"Contained:"}
	for _, s := range meta.Plan.Contain {
		if s.Action != "notify" {
			r, known := meta.Outcomes[s.Key()]
			out = append(out, fmt.Sprintf("• %s %s: %s", s.Action, Plain(s.Target), Standing(r, known)))
		}
	}
	if len(out) == 1 {
		return []string{"Nothing was to be contained."}
	}
	return out
}

// steps has a section for each step: what approval would do to it. Slack takes 50 blocks a message; plans are capped below.
func steps(a approval.Approval) []slack.Block {
	var out []slack.Block
	for _, s := range a.Steps {
		lines := []string{fmt.Sprintf("%s %s", s.Action, Plain(s.Name())), Plain(s.Target)}
		for _, c := range s.Changed {
			lines = append(lines, "different from what was asked before: "+Line(c, 500))
		}
		for _, d := range s.Destroys {
			lines = append(lines, "• "+Plain(d))
		}
		if s.Refusal != "" {
			lines = append(lines, "held back: "+Plain(s.Refusal))
		}
		out = append(out, section(lines...))
	}
	if len(out) > 35 {
		out = append(out[:34], section(fmt.Sprintf("and %d more: open your link to see all of them", len(a.Steps)-34)))
	}
	return out
}

func decision(a approval.Approval, d approval.Decision, in setting.Installed) string {
	word := "rejected"
	if d.Approve {
		word = "approved"
	}
	line := fmt.Sprintf("%s %s, %s", called(in, d.Approver), word, clock(d.At))
	for _, s := range a.Steps {
		if slices.Contains(d.Keep, s.Key()) {
			line += ", keeps " + Plain(s.Name())
		}
	}
	if d.Reason != "" {
		line += ": " + Plain(d.Reason)
	}
	return line
}

// summary is what a notification shows.
func summary(meta ledger.Incident, head string) string {
	return escape(fmt.Sprintf("%s %s in %s: %s", meta.Band, meta.ID, Plain(meta.Finding.Account), head))
}

// Modal asks, before a decision is recorded, for what a person who has read the request knows: where it cannot be undone, the id
// of each resource, typed by hand.
func Modal(a approval.Approval, action string) slack.ModalViewRequest {
	title, submit := "Approve", "Approve"
	if action == ActionReject {
		title, submit = "Reject", "Reject"
	}
	blocks := steps(a)
	lead := "One rejection ends the request. What is contained stays contained."
	if action == ActionReject && a.Kind == approval.KindOverride {
		lead = "One rejection ends the request. What was held back stays uncontained: somebody has to look after it by hand."
	} else if action == ActionApprove && a.Kind == approval.KindEradicate {
		lead = fmt.Sprintf("Approval destroys this, and that cannot be undone. %d different people have to approve. Evidence: %s", a.Need, evidence(a))
	} else if action == ActionApprove {
		lead = "Approval contains what was held back."
	}
	blocks = append([]slack.Block{section(lead)}, blocks...)
	for i, s := range a.Steps {
		if a.Kind == approval.KindEradicate {
			blocks = append(blocks, slack.NewInputBlock(fmt.Sprintf("typed-%d", i), words("Type "+Plain(s.Name())+" by hand", labelLimit), nil, slack.NewPlainTextInputBlockElement(nil, "typed")))
		}
	}
	if action == ActionApprove && len(a.Steps) > 1 && len(a.Steps) <= 10 { // Slack takes ten options
		var options []*slack.OptionBlockObject
		for i, s := range a.Steps {
			options = append(options, slack.NewOptionBlockObject(fmt.Sprint(i), words(s.Name(), 75), nil))
		}
		keep := slack.NewInputBlock("keep", words("Keep these: leave them out of my approval", labelLimit), nil, slack.NewCheckboxGroupsBlockElement("keep", options...))
		keep.Optional = true
		blocks = append(blocks, keep)
	}
	reason := slack.NewInputBlock("reason", words("Reason", labelLimit), nil, slack.NewPlainTextInputBlockElement(nil, "reason").WithMultiline(true).WithMaxLength(500))
	reason.Optional = true
	return slack.ModalViewRequest{
		Type: slack.VTModal, Title: words(title, titleLimit), Submit: words(submit, titleLimit), Close: words("Back", titleLimit), CallbackID: ViewDecide,
		PrivateMetadata: Ref{a.Incident, a.Number, a.Hash, action}.String(), Blocks: slack.Blocks{BlockSet: append(blocks, reason)},
	}
}

// Note is a modal that only says something.
func Note(title, text string) slack.ModalViewRequest {
	return slack.ModalViewRequest{Type: slack.VTModal, Title: words(title, titleLimit), Close: words("Close", titleLimit), Blocks: slack.Blocks{BlockSet: []slack.Block{section(text)}}}
}

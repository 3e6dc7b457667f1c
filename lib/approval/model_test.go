package approval

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"pgregory.net/rapid"
)

// protocol is what the model drives: the real functions, or those with a bug seeded into one of them.
type protocol struct {
	store   func(ledger.Store) ledger.Store
	decide  func(context.Context, ledger.Store, setting.Installed, Vote) (Answer, Approval, error)
	cancel  func(context.Context, ledger.Store, string, int) error
	deliver func(context.Context, Courier, string, int) (bool, error)
	verify  func(context.Context, ledger.Store, setting.Installed, string, int, incident.Step, map[string]string) (bool, error)
}

func real() protocol {
	return protocol{
		store:  func(s ledger.Store) ledger.Store { return s },
		decide: Decide,
		cancel: func(ctx context.Context, s ledger.Store, id string, n int) error {
			return Cancel(ctx, s, id, n, "operator", "")
		},
		deliver: func(ctx context.Context, c Courier, id string, n int) (bool, error) {
			return c.Deliver(ctx, id, n)
		},
		verify: func(ctx context.Context, s ledger.Store, in setting.Installed, id string, n int, step incident.Step, identity map[string]string) (bool, error) {
			ok, _, err := Verify(ctx, s, in, id, n, step, identity)
			return ok, err
		},
	}
}

// human is somebody of flesh and blood, with the entries of the list that are this person's.
type human struct {
	name    string
	entries []setting.Approver
	named   bool // in the finding
	touched bool // has changed the incident
}

// paper is what the model knows of a request: what people were shown, and what they validly said.
type paper struct {
	plan     map[string]string // the identity of each step's target when it was asked, by step
	hash     string
	episode  int
	need     int
	expires  time.Time
	yes      []ballot
	keep     map[string]bool
	over     bool // rejected, expired, superseded or cancelled
	approved bool
	told     bool // the machine was told that it is approved
}

type ballot struct{ who, entry, via string }

// model is the protocol with people, a machine and an attacker around it. What it believes is written here anew and shares
// nothing with what it tests but the words.
type model struct {
	t     *rapid.T
	p     protocol
	s     ledger.Store
	mem   *ledger.Memory
	now   time.Time
	is    map[string]string // the identity of each target as it is now
	humen []*human
	gone  map[string]bool // entries that are off the list
	vias  []string        // what counts for destruction
	alone string
	// evidence is complete in truth.
	evidence bool
	episode  int
	papers   map[int]*paper
	forms    []Vote // forms that were shown and may still be sent, some for the second time
	tokens   int
	waiting  map[string]bool // tokens of tasks that wait
	deaths   int             // how much was destroyed
}

var steps2 = []incident.Step{{Action: "terminate-instance", Target: target}, {Action: "terminate-instance", Target: target + "1"}}

func newModel(t *rapid.T, p protocol) *model {
	mem := ledger.NewMemory()
	m := &model{
		t: t, p: p, mem: mem, s: p.store(mem), now: now, is: map[string]string{}, gone: map[string]bool{}, papers: map[int]*paper{}, waiting: map[string]bool{}, episode: 1, evidence: true, alone: "none",
		humen: []*human{
			{name: "alice", entries: []setting.Approver{{ID: "alice", Email: "alice@example.com", Principals: []string{person("alice")}}, {ID: "alice-2", Email: "Alice@example.com", Principals: []string{person("alice")}}}},
			{name: "bob", entries: []setting.Approver{{ID: "bob", Email: "bob@example.com", Principals: []string{person("bob")}}}},
			{name: "carol", entries: []setting.Approver{{ID: "carol", Subjects: []string{"c"}, Principals: []string{person("carol")}}, {ID: "carol-2", Subjects: []string{"c"}}}},
			{name: "mallory", entries: []setting.Approver{{ID: "mallory", Principals: []string{person("mallory")}}}, named: true},
		},
	}
	for _, s := range steps2 {
		m.is[s.Key()] = "born"
	}
	meta := ledger.Item[ledger.Incident]{Key: ledger.IncidentKey(id), Value: ledger.Incident{ID: id, Status: incident.Open, Episode: 1, Band: incident.Critical, Finding: ledger.Finding{Account: "222222222222", People: []string{person("mallory")}}}}
	if err := ledger.Save(context.Background(), mem, &meta); err != nil {
		t.Fatal(err)
	}
	return m
}

func person(name string) string { return "arn:aws:iam::222222222222:user/" + name }

// list is the list of approvers as it is now.
func (m *model) list() setting.Installed {
	in := setting.Installed{Approval: setting.Approval{LinkAlone: m.alone, Destructive: m.vias}}
	for _, h := range m.humen {
		for _, e := range h.entries {
			if !m.gone[e.ID] {
				in.Approvers = append(in.Approvers, e)
			}
		}
	}
	return in
}

func (m *model) human(entry string) *human {
	for _, h := range m.humen {
		for _, e := range h.entries {
			if e.ID == entry {
				return h
			}
		}
	}
	return &human{name: entry, named: true} // nobody
}

// counts tells whether what somebody says by an entry counts now. (An entry without a principal does not show whose hands they
// were; the list says that for the other entries of the same person only. That is the list's matter, and known.)
func (m *model) counts(b ballot) bool {
	h := m.human(b.entry)
	owns := false
	for _, e := range h.entries {
		owns = owns || e.ID == b.entry && len(e.Principals) > 0
	}
	via := m.alone == "destructive"
	if b.via != "link" {
		via = len(m.vias) == 0 || slices.Contains(m.vias, b.via)
	}
	return !h.named && !m.gone[b.entry] && !(h.touched && owns) && via
}

// people counts the different people behind the ballots that count now.
func (m *model) people(p *paper) int {
	names := map[string]bool{}
	for _, b := range p.yes {
		if m.counts(b) {
			names[b.who] = true
		}
	}
	return len(names)
}

// cast is what the model makes of a vote, at the moment at which it is recorded.
func (m *model) cast(v Vote) {
	p := m.papers[v.Number]
	if p == nil || p.over || p.approved || p.episode != m.episode || !m.now.Before(p.expires) || v.Hash != p.hash {
		return
	}
	b := ballot{m.human(v.Approver).name, v.Approver, v.Via}
	// Who has decided does not decide again; who has by an entry that is off the list since, may: that one counts no more.
	again := func(o ballot) bool { return o.entry == b.entry || o.who == b.who && !m.gone[o.entry] }
	if !m.counts(b) || slices.ContainsFunc(p.yes, again) {
		return
	}
	if !v.Approve {
		p.over = true
		return
	}
	p.yes = append(p.yes, b)
	for _, k := range v.Keep {
		p.keep[k] = true
	}
	if len(p.keep) == len(p.plan) {
		p.over = true
	} else if m.people(p) >= p.need {
		p.approved = true
	}
}

func (m *model) must(err error) {
	if err != nil {
		m.t.Fatal(err)
	}
}

// SendTaskSuccess is the machine: it holds that nobody is told of an approval that is none.
func (m *model) SendTaskSuccess(_ context.Context, in *sfn.SendTaskSuccessInput, _ ...func(*sfn.Options)) (*sfn.SendTaskSuccessOutput, error) {
	var n int
	if strings.Contains(*in.Output, `"decision":"approved"`) {
		if _, err := fmt.Sscanf((*in.Output)[strings.Index(*in.Output, `"approval":`):], `"approval":%d`, &n); err != nil {
			m.t.Fatal(err)
		}
		p := m.papers[n]
		if p == nil || !p.approved || p.over || p.episode != m.episode {
			m.t.Fatalf("the machine is told that request %d is approved, and it is not: %+v", n, p)
		}
		if !m.evidence {
			m.t.Fatalf("the machine is told that request %d is approved before the evidence is complete", n)
		}
		p.told = true
	}
	delete(m.waiting, *in.TaskToken)
	return &sfn.SendTaskSuccessOutput{}, nil
}

func (m *model) StartExecution(context.Context, *sfn.StartExecutionInput, ...func(*sfn.Options)) (*sfn.StartExecutionOutput, error) {
	return nil, errors.New("an override was started")
}

func (m *model) courier() Courier {
	return Courier{Store: m.s, API: m, Machine: "machine", Now: func() time.Time { return m.now }}
}

// number is one of a request: mostly of the last one, now and then of one that there is not.
func (m *model) number(label string) int {
	return max(0, len(m.papers)+1-rapid.SampledFrom([]int{1, 1, 1, 1, 1, 1, 2, 2, 3, 4, 5, 0}).Draw(m.t, label))
}

// numbers lists the requests in order: a history must be the same when it is played again.
func (m *model) numbers() []int { return slices.Sorted(maps.Keys(m.papers)) }

// seldom lets an action happen only now and then: most histories should get somewhere.
func seldom(t *rapid.T) {
	if rapid.IntRange(0, 4).Draw(t, "seldom") > 0 {
		t.Skip("not now") // rapid draws another step: no test is left out
	}
}

func (m *model) entry() string {
	ids := []string{"nobody", ""}
	for _, h := range m.humen {
		for _, e := range h.entries {
			ids = append(ids, e.ID)
		}
	}
	return rapid.SampledFrom(ids).Draw(m.t, "entry")
}

// actions are everything that can happen, one at a time.
func (m *model) actions() map[string]func(*rapid.T) {
	ctx := context.Background()
	all := map[string]func(*rapid.T){
		// An execution asks, for the first time or again, for what stands there now.
		"ask": func(t *rapid.T) {
			m.tokens++
			token := fmt.Sprintf("token-%d", m.tokens)
			r := Request{
				Incident: incident.Ref{ID: id, Episode: m.episode}, Kind: KindEradicate, Round: rapid.IntRange(1, 2).Draw(t, "round"), Token: token, Evidence: Complete,
				Execution: incident.Execution{ARN: rapid.SampledFrom([]string{"first", "second"}).Draw(t, "execution"), Start: m.now}, Now: m.now, Expires: m.now.Add(4 * time.Hour),
				Need: rapid.SampledFrom([]int{0, 0, 0, 1, 3}).Draw(t, "the playbook asks for"),
			}
			if !m.evidence {
				r.Evidence = "pending: snapshot"
			}
			plan := map[string]string{}
			for _, s := range steps2 {
				r.Steps = append(r.Steps, Step{Step: s, Identity: map[string]string{"is": m.is[s.Key()]}})
				plan[s.Key()] = m.is[s.Key()]
			}
			a, err := Open(ctx, m.s, r)
			m.must(err)
			m.waiting[token] = true
			if m.papers[a.Number] == nil {
				m.papers[a.Number] = &paper{plan: plan, need: max(2, r.Need), hash: a.Hash, episode: m.episode, expires: a.Expires, keep: map[string]bool{}}
			}
			m.superseded(ctx)
		},
		// Somebody opens the page: the form remembers the plan that it showed.
		"show": func(t *rapid.T) {
			it, err := Load(ctx, m.s, id, m.number("request"))
			m.must(err)
			if !it.Exists() {
				t.Skip("no such request") // rapid draws another step
			}
			m.forms = append(m.forms, Vote{Incident: id, Number: it.Value.Number, Hash: it.Value.Hash, Approver: m.entry(), Nonce: fmt.Sprintf("n%d", len(m.forms))})
		},
		// Somebody sends a form: the one shown, one for another request, for another person, or one that was sent before.
		"vote": m.vote,
		// Two send at once: the second is recorded between what the first one reads and what it writes.
		"race": func(t *rapid.T) { m.race(t, func() { m.vote(t) }) },
		// People look at the request that stands there, and agree.
		"agree": func(t *rapid.T) {
			for range rapid.IntRange(1, 3).Draw(t, "people") {
				n := m.number("request")
				it, err := Load(ctx, m.s, id, n)
				m.must(err)
				if m.papers[n] == nil {
					continue
				}
				v := Vote{Incident: id, Number: n, Hash: it.Value.Hash, Approver: m.entry(), Approve: true, Via: "oidc", Nonce: fmt.Sprintf("n%d", len(m.forms)), Now: m.now}
				m.forms = append(m.forms, v)
				m.send(ctx, v)
			}
		},
		"cancel": func(t *rapid.T) {
			seldom(t)
			n := m.number("request")
			p := m.papers[n]
			if p == nil {
				t.Skip("no such request") // rapid draws another step
			}
			m.must(m.p.cancel(ctx, m.s, id, n))
			if !p.told {
				p.over = true
			}
		},
		// The sweep: what ran out ends, what was decided is delivered.
		"sweep": func(*rapid.T) {
			for _, n := range m.numbers() {
				p := m.papers[n]
				m.must(Expire(ctx, m.s, id, n, m.now))
				if !p.approved && !m.now.Before(p.expires) {
					p.over = true
				}
				if m.evidence {
					m.must(Evidence(ctx, m.s, id, n, Complete))
				}
			}
			for _, n := range m.numbers() {
				_, err := m.p.deliver(ctx, m.courier(), id, n)
				m.must(err)
			}
		},
		"time passes": func(t *rapid.T) {
			m.now = m.now.Add(time.Duration(rapid.IntRange(1, 360).Draw(t, "minutes")) * time.Minute)
		},
		// Somebody puts another resource in the place of the one that people saw.
		"replace": func(t *rapid.T) {
			seldom(t)

			m.is[rapid.SampledFrom(steps2).Draw(t, "step").Key()] = rapid.SampledFrom([]string{"born", "reborn"}).Draw(t, "identity")
		},
		"evidence": func(t *rapid.T) {
			m.evidence = rapid.Bool().Draw(t, "complete")
			for _, n := range m.numbers() {
				text := "pending: snapshot"
				if m.evidence {
					text = Complete
				}
				m.must(Evidence(ctx, m.s, id, n, text))
			}
		},
		"next episode": func(t *rapid.T) {
			seldom(t)

			m.episode++
			_, err := ledger.Update(ctx, m.mem, ledger.IncidentKey(id), func(it *ledger.Item[ledger.Incident]) error { it.Value.Episode = m.episode; return nil })
			m.must(err)
			if rapid.Bool().Draw(t, "superseded at once") {
				m.must(Supersede(ctx, m.s, id, m.episode))
			}
		},
		"change the incident": func(t *rapid.T) {
			seldom(t)

			h := rapid.SampledFrom(m.humen).Draw(t, "who")
			m.must(ledger.Append(ctx, m.mem, id, ledger.Event{Time: m.now, State: "Release", Who: person(h.name), What: "released something"}))
			h.touched = true
		},
		"edit the list": func(t *rapid.T) {
			seldom(t)
			e := m.entry()
			m.gone[e] = !m.gone[e]
		},
		"edit the settings": func(t *rapid.T) {
			seldom(t)

			m.vias = rapid.SampledFrom([][]string{nil, {"oidc"}, {"cli", "slack"}}).Draw(t, "counts")
			m.alone = rapid.SampledFrom([]string{"none", "destructive"}).Draw(t, "link alone")
		},
		// The destroying function runs, called as the machine would, or by whoever can call it with any number.
		"destroy": func(t *rapid.T) {
			m.destroy(ctx, t, m.number("request"), rapid.SampledFrom(steps2).Draw(t, "step"))
		},
		"": func(*rapid.T) {},
	}
	// What makes sense next happens as often as everything that gets in its way.
	for i := range len(all) {
		all[fmt.Sprintf("go on %d", i)] = func(t *rapid.T) { m.goOn(ctx, t, all) }
	}
	return all
}

// goOn does with the newest request what people and machines of good will would do next, now and then with one of the steps
// kept: most histories should get to where something is destroyed, and past it.
func (m *model) goOn(ctx context.Context, t *rapid.T, all map[string]func(*rapid.T)) {
	n := len(m.papers)
	p := m.papers[n]
	switch {
	case p == nil, p.over, p.episode != m.episode, !p.approved && !m.now.Before(p.expires) && rapid.Bool().Draw(t, "again"):
		all["ask"](t)
	case !p.approved:
		var able []ballot
		for _, h := range m.humen {
			for _, e := range h.entries {
				for _, via := range []string{"oidc", "cli", "slack", "link"} {
					b := ballot{h.name, e.ID, via}
					if m.counts(b) && !slices.ContainsFunc(p.yes, func(o ballot) bool { return o.who == b.who }) {
						able = append(able, b)
					}
				}
			}
		}
		if len(able) == 0 {
			t.Skip("nobody can") // rapid draws another step
		}
		b := rapid.SampledFrom(able).Draw(t, "who")
		v := Vote{Incident: id, Number: n, Hash: p.hash, Approver: b.entry, Approve: true, Via: b.via, Nonce: fmt.Sprintf("n%d", len(m.forms)), Now: m.now}
		if rapid.IntRange(0, 5).Draw(t, "keeps") == 0 {
			v.Keep = []string{rapid.SampledFrom(steps2).Draw(t, "what").Key()}
		}
		m.forms = append(m.forms, v)
		if rapid.IntRange(0, 3).Draw(t, "race") == 0 {
			m.race(t, func() { m.send(ctx, v) })
		} else {
			m.send(ctx, v)
		}
	case !m.evidence:
		all["evidence"](t)
	case !p.told:
		all["sweep"](t)
	default:
		m.destroy(ctx, t, n, rapid.SampledFrom(steps2).Draw(t, "step"))
	}
}

// race does something, with a form sent by another between what it reads and what it writes.
func (m *model) race(t *rapid.T, do func()) {
	raced := false
	m.mem.Fail = func(op string, k ledger.Key) error {
		if op == "put" && strings.HasPrefix(k.SK, "APPROVAL#") && !raced {
			raced = true
			m.vote(t)
		}
		return nil
	}
	defer func() { m.mem.Fail = nil }()
	do()
}

// send has a vote decided, and holds what is recorded against the model.
func (m *model) send(ctx context.Context, v Vote) {
	answer, _, err := m.p.decide(ctx, m.s, m.list(), v)
	m.must(err)
	if answer.Recorded() {
		m.recorded(v)
	}
}

// destroy is the destroying function, for a request and a step.
func (m *model) destroy(ctx context.Context, t *rapid.T, n int, step incident.Step) {
	ok, err := m.p.verify(ctx, m.s, m.list(), id, n, step, map[string]string{"is": m.is[step.Key()]})
	m.must(err)
	if !ok {
		return
	}
	p := m.papers[n]
	switch {
	case p == nil:
		t.Fatalf("destroyed by request %d, which there is not", n)
	case !p.approved || p.over && !p.told:
		t.Fatalf("destroyed by request %d, which is not approved: %+v", n, p)
	case p.episode != m.episode:
		t.Fatalf("destroyed by request %d of episode %d, in episode %d", n, p.episode, m.episode)
	case p.plan[step.Key()] != m.is[step.Key()]:
		t.Fatalf("destroyed %q, and people approved destroying %q", m.is[step.Key()], p.plan[step.Key()])
	case p.keep[step.Key()]:
		t.Fatalf("destroyed what somebody keeps")
	case m.people(p) < p.need:
		t.Fatalf("destroyed with %d people who count: %+v", m.people(p), p.yes)
	}
	m.deaths++
}

// superseded notes which requests another one has taken the place of.
func (m *model) superseded(ctx context.Context) {
	for _, n := range m.numbers() {
		p := m.papers[n]
		it, err := Load(ctx, m.mem, id, n)
		m.must(err)
		if it.Value.Status == StatusSuperseded {
			p.over = true
		}
	}
}

func (m *model) vote(t *rapid.T) {
	if len(m.forms) == 0 {
		return
	}
	v := rapid.SampledFrom(m.forms).Draw(t, "form")
	if rapid.IntRange(0, 9).Draw(t, "crooked") == 0 {
		v.Number = m.number("request")
	}
	v.Approve, v.Via, v.Now = rapid.IntRange(0, 4).Draw(t, "no") > 0, rapid.SampledFrom([]string{"oidc", "cli", "slack", "link", "oidc"}).Draw(t, "via"), m.now
	if v.Approve && rapid.IntRange(0, 5).Draw(t, "keeps") == 0 {
		v.Keep = []string{rapid.SampledFrom(steps2).Draw(t, "what").Key()}
	}
	if m.papers[v.Number] == nil {
		return
	}
	m.send(context.Background(), v)
}

// recorded is called for what the protocol says is recorded; the model decides for itself whether it may be.
func (m *model) recorded(v Vote) {
	p := m.papers[v.Number]
	before := fmt.Sprintf("%+v", *p)
	m.cast(v)
	if after := fmt.Sprintf("%+v", *p); after == before {
		m.t.Fatalf("recorded what does not count: %+v by %+v on %s", v, m.human(v.Approver), before)
	}
}

// bug is a mistake that the protocol could have.
type bug struct {
	name string
	seed func(p *protocol)
}

// inEpisode makes the incident look as if it were in that episode.
func inEpisode(n int) func(ledger.Record) ledger.Record {
	return func(r ledger.Record) ledger.Record {
		if r.SK == "META" {
			for e := range 40 {
				r.Data = []byte(strings.Replace(string(r.Data), fmt.Sprintf(`"episode":%d,`, e), fmt.Sprintf(`"episode":%d,`, n), 1))
			}
		}
		return r
	}
}

// hidden gives a store that hides records, or shows others.
type hidden struct {
	ledger.Store
	get  func(ledger.Record) ledger.Record
	list func([]ledger.Record) []ledger.Record
	put  func(context.Context, ...ledger.Record) error
}

func (h hidden) Get(ctx context.Context, k ledger.Key) (ledger.Record, error) {
	r, err := h.Store.Get(ctx, k)
	if h.get != nil {
		r = h.get(r)
	}
	return r, err
}

func (h hidden) List(ctx context.Context, pk, prefix string) ([]ledger.Record, error) {
	r, err := h.Store.List(ctx, pk, prefix)
	if h.list != nil {
		r = h.list(r)
	}
	return r, err
}

func (h hidden) Put(ctx context.Context, recs ...ledger.Record) error {
	if h.put != nil {
		return h.put(ctx, recs...)
	}
	return h.Store.Put(ctx, recs...)
}

var bugs = []bug{
	{"one approval is enough", func(p *protocol) {
		p.decide = func(ctx context.Context, s ledger.Store, in setting.Installed, v Vote) (Answer, Approval, error) {
			answer, a, err := Decide(ctx, s, in, v)
			if answer == Counted {
				a, _, err = update(ctx, s, id, v.Number, func(a *Approval) (bool, *ledger.Event) { a.end(StatusApproved, v.Now); return true, nil })
				answer = Carried
			}
			return answer, a, err
		}
	}},
	{"one person with two entries counts twice", func(p *protocol) {
		p.decide = func(ctx context.Context, s ledger.Store, in setting.Installed, v Vote) (Answer, Approval, error) {
			return Decide(ctx, s, strangers(in), v)
		}
		p.verify = func(ctx context.Context, s ledger.Store, in setting.Installed, id string, n int, step incident.Step, identity map[string]string) (bool, error) {
			ok, _, err := Verify(ctx, s, strangers(in), id, n, step, identity)
			return ok, err
		}
	}},
	{"a form for another plan is taken", func(p *protocol) {
		p.decide = func(ctx context.Context, s ledger.Store, in setting.Installed, v Vote) (Answer, Approval, error) {
			it, err := Load(ctx, s, id, v.Number)
			if err != nil {
				return "", Approval{}, err
			}
			v.Hash = it.Value.Hash
			return Decide(ctx, s, in, v)
		}
	}},
	{"what is destroyed is not compared with what was approved", func(p *protocol) {
		p.verify = func(ctx context.Context, s ledger.Store, in setting.Installed, id string, n int, step incident.Step, _ map[string]string) (bool, error) {
			it, err := Load(ctx, s, id, n)
			if err != nil {
				return false, err
			}
			identity := map[string]string{}
			for _, have := range it.Value.Steps {
				if have.Key() == step.Key() {
					identity = have.Identity
				}
			}
			ok, _, err := Verify(ctx, s, in, id, n, step, identity)
			return ok, err
		}
	}},
	{"decisions after the time count", func(p *protocol) {
		p.decide = func(ctx context.Context, s ledger.Store, in setting.Installed, v Vote) (Answer, Approval, error) {
			it, err := Load(ctx, s, id, v.Number)
			if err != nil {
				return "", Approval{}, err
			}
			v.Now = it.Value.Asked
			return Decide(ctx, s, in, v)
		}
	}},
	{"a rejection ends nothing", func(p *protocol) {
		p.decide = func(ctx context.Context, s ledger.Store, in setting.Installed, v Vote) (Answer, Approval, error) {
			if !v.Approve {
				it, err := Load(ctx, s, id, v.Number)
				return Ended, it.Value, err
			}
			return Decide(ctx, s, in, v)
		}
	}},
	{"what is approved cannot be cancelled", func(p *protocol) {
		p.cancel = func(ctx context.Context, s ledger.Store, id string, n int) error {
			it, err := Load(ctx, s, id, n)
			if err != nil || it.Value.Status == StatusApproved {
				return err
			}
			return Cancel(ctx, s, id, n, "operator", "")
		}
	}},
	{"who was taken off the list counts", func(p *protocol) {
		everybody := newModel(nil, real()).list().Approvers
		p.verify = func(ctx context.Context, s ledger.Store, in setting.Installed, id string, n int, step incident.Step, identity map[string]string) (bool, error) {
			in.Approvers = everybody
			ok, _, err := Verify(ctx, s, in, id, n, step, identity)
			return ok, err
		}
	}},
	{"whom the finding names decides", func(p *protocol) {
		p.store = func(s ledger.Store) ledger.Store {
			return hidden{Store: s, get: func(r ledger.Record) ledger.Record {
				r.Data = []byte(strings.ReplaceAll(string(r.Data), `["`+person("mallory")+`"]`, `[]`))
				return r
			}}
		}
	}},
	{"who changed the incident decides", func(p *protocol) {
		p.store = func(s ledger.Store) ledger.Store {
			return hidden{Store: s, list: func(r []ledger.Record) []ledger.Record {
				return slices.DeleteFunc(r, func(r ledger.Record) bool { return strings.HasPrefix(r.SK, "EVENT#") })
			}}
		}
	}},
	{"how a person proved who it is does not matter", func(p *protocol) {
		p.decide = func(ctx context.Context, s ledger.Store, in setting.Installed, v Vote) (Answer, Approval, error) {
			in.Approval = setting.Approval{LinkAlone: "destructive"}
			return Decide(ctx, s, in, v)
		}
	}},
	{"the last writer wins", func(p *protocol) {
		p.store = func(s ledger.Store) ledger.Store {
			return hidden{Store: s, put: func(ctx context.Context, recs ...ledger.Record) error {
				err := s.Put(ctx, recs...)
				for errors.Is(err, ledger.ErrConflict) {
					for i := range recs {
						now, err := s.Get(ctx, recs[i].Key)
						if err != nil {
							return err
						}
						recs[i].Version = now.Version
					}
					err = s.Put(ctx, recs...)
				}
				return err
			}}
		}
	}},
	{"an approval does not wait for the evidence", func(p *protocol) {
		p.deliver = func(ctx context.Context, c Courier, id string, n int) (bool, error) {
			if err := Evidence(ctx, c.Store, id, n, Complete); err != nil {
				return false, err
			}
			return c.Deliver(ctx, id, n)
		}
	}},
	{"an approval of an earlier episode is carried out", func(p *protocol) {
		p.deliver = func(ctx context.Context, c Courier, id string, n int) (bool, error) {
			it, err := Load(ctx, c.Store, id, n)
			if err != nil {
				return false, err
			}
			c.Store = hidden{Store: c.Store, get: inEpisode(it.Value.Episode)}
			return c.Deliver(ctx, id, n)
		}
	}},
	{"an approval that was delivered outlives its episode", func(p *protocol) {
		p.verify = func(ctx context.Context, s ledger.Store, in setting.Installed, id string, n int, step incident.Step, identity map[string]string) (bool, error) {
			it, err := Load(ctx, s, id, n)
			if err != nil {
				return false, err
			}
			ok, _, err := Verify(ctx, hidden{Store: s, get: inEpisode(it.Value.Episode)}, in, id, n, step, identity)
			return ok, err
		}
	}},
	{"any approval of the incident will do", func(p *protocol) {
		p.verify = func(ctx context.Context, s ledger.Store, in setting.Installed, id string, _ int, step incident.Step, identity map[string]string) (bool, error) {
			all, err := List(ctx, s, id)
			if err != nil {
				return false, err
			}
			for _, it := range all {
				if ok, _, err := Verify(ctx, s, in, id, it.Value.Number, step, identity); ok || err != nil {
					return ok, err
				}
			}
			return false, nil
		}
	}},
	{"more people than two are never asked for", func(p *protocol) {
		two := func(r ledger.Record) ledger.Record {
			r.Data = []byte(strings.Replace(string(r.Data), `"need":3`, `"need":2`, 1))
			return r
		}
		p.store = func(s ledger.Store) ledger.Store { return hidden{Store: s, get: two} }
	}},
	{"what somebody keeps is destroyed with the rest", func(p *protocol) {
		p.verify = func(ctx context.Context, s ledger.Store, in setting.Installed, id string, n int, step incident.Step, identity map[string]string) (bool, error) {
			ok, why, err := Verify(ctx, s, in, id, n, step, identity)
			return ok || len(why) == 1 && strings.HasSuffix(why[0], "decided to keep it") && identity["is"] == "born", err
		}
	}},
}

// strangers is the list with nothing in it that shows which entries are one person's.
func strangers(in setting.Installed) setting.Installed {
	in.Approvers = slices.Clone(in.Approvers)
	for i := range in.Approvers {
		a := &in.Approvers[i]
		a.Email, a.Subjects, a.Slack = "", nil, ""
		if strings.HasSuffix(a.ID, "-2") {
			a.Principals = nil
		}
	}
	return in
}

// rule sets how long rapid looks, with -short too: rapid then takes a fifth of the checks and half the steps.
func rule(t *testing.T, checks, steps int) {
	t.Helper()
	if testing.Short() {
		checks, steps = 5*checks, 2*steps
	}
	for name, value := range map[string]string{"rapid.checks": fmt.Sprint(checks), "rapid.steps": fmt.Sprint(steps), "rapid.nofailfile": "true", "rapid.shrinktime": "200ms"} {
		was := flag.Lookup(name).Value.String()
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { flag.Set(name, was) })
	}
}

// tally counts what came of the histories.
type tally struct{ histories, deadly, deaths int }

func history(p protocol, all *tally) func(*rapid.T) {
	return func(t *rapid.T) {
		m := newModel(t, p)
		t.Repeat(m.actions())
		all.histories++
		all.deaths += m.deaths
		if m.deaths > 0 {
			all.deadly++
		}
	}
}

// In no history of asking, showing, deciding, cancelling, expiring, replacing, changing hands and settings, racing and replaying
// is anything destroyed without two people who count and have approved that very plan.
func TestNothingIsDestroyedWithoutTwoValidApprovals(t *testing.T) {
	checks := 400
	if os.Getenv("FIREBREAK_LONG") != "" {
		checks = 20000
	}
	rule(t, checks, 60)
	quiet(t)
	var all tally
	rapid.Check(t, history(real(), &all))
	t.Logf("%d histories; in %d of them %d things were destroyed as approved", all.histories, all.deadly, all.deaths)
	if all.histories < checks || all.deadly < checks/5 {
		t.Errorf("only %d of %d histories came to anything: the model looks where nothing happens", all.deadly, all.histories)
	}
}

// The model is worth something only if it finds bugs: each of these is found, and told as a short history.
func TestTheModelFindsEveryBug(t *testing.T) {
	for _, b := range bugs {
		t.Run(b.name, func(t *testing.T) {
			rule(t, 20000, 60)
			quiet(t)
			p := real()
			b.seed(&p)
			r := &listener{name: t.Name()}
			done := make(chan struct{})
			go func() {
				defer close(done)
				rapid.Check(r, history(p, new(tally)))
			}()
			<-done
			if !r.failed {
				t.Fatal("it was not found")
			}
			if testing.Verbose() {
				t.Log(strings.Join(r.said, "\n"))
			}
		})
	}
}

// quiet keeps the courier's log lines out of thousands of histories.
func quiet(t *testing.T) {
	old := slog.Default()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	t.Cleanup(func() { slog.SetDefault(old) })
}

// listener is a test that is expected to fail.
type listener struct {
	name   string
	failed bool
	said   []string
}

func (l *listener) Helper()                   {}
func (l *listener) Name() string              { return l.name }
func (l *listener) Logf(f string, a ...any)   { l.said = append(l.said, fmt.Sprintf(f, a...)) }
func (l *listener) Log(a ...any)              { l.said = append(l.said, fmt.Sprint(a...)) }
func (l *listener) Skipf(string, ...any)      { runtime.Goexit() }
func (l *listener) Skip(...any)               { runtime.Goexit() }
func (l *listener) SkipNow()                  { runtime.Goexit() }
func (l *listener) Errorf(f string, a ...any) { l.Logf(f, a...); l.failed = true }
func (l *listener) Error(a ...any)            { l.Log(a...); l.failed = true }
func (l *listener) Fatalf(f string, a ...any) { l.Errorf(f, a...); runtime.Goexit() }
func (l *listener) Fatal(a ...any)            { l.Error(a...); runtime.Goexit() }
func (l *listener) FailNow()                  { l.failed = true; runtime.Goexit() }
func (l *listener) Fail()                     { l.failed = true }
func (l *listener) Failed() bool              { return l.failed }

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"firebreak/scripts/local/world"
)

// voice tells the story, and keeps count of what was true in it.
type voice struct {
	mu    sync.Mutex
	w     io.Writer
	color bool
	began time.Time
	right int
	wrong []string
	rows  [][]string
}

func newVoice(f *os.File) *voice {
	info, err := f.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return &voice{w: f, color: terminal, began: time.Now()}
}

func (v *voice) paint(code, s string) string {
	if !v.color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (v *voice) line(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	fmt.Fprintf(v.w, format+"\n", args...)
}

// chapter begins a part of the story.
func (v *voice) chapter(title string) { v.line("\n%s", v.paint("1", title)) }

// step tells a step of the set-up, with the seconds so far.
func (v *voice) step(what string) { v.line("%6.1f s  %s", time.Since(v.began).Seconds(), what) }

// state tells a state as it is entered.
func (v *voice) state(who string, since time.Time, s world.State) {
	indent := ""
	if !s.Top {
		indent = "  "
	}
	v.line("  %6.2f s  %-12s %s%s", max(0, s.At.Sub(since).Seconds()), who, indent, s.Name)
}

// claim says something that was read back, and remembers whether it was so.
func (v *voice) claim(ok bool, err error, format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	if err != nil {
		ok, what = false, what+": "+err.Error()
	}
	mark := v.paint("32", "ok ")
	v.mu.Lock()
	if v.right++; !ok {
		v.right--
		v.wrong = append(v.wrong, what)
		mark = v.paint("31", "NOT")
	}
	v.mu.Unlock()
	v.line("  %s %s", mark, what)
}

// row keeps a line of the table at the end.
func (v *voice) row(cells ...string) { v.rows = append(v.rows, cells) }

func (v *voice) table() {
	v.chapter("What happened")
	t := tabwriter.NewWriter(v.w, 0, 0, 2, ' ', 0)
	for _, r := range append([][]string{{"incident", "finding", "what was done", "contained after", "what needs a person"}}, v.rows...) {
		fmt.Fprintln(t, "  "+strings.Join(r, "\t"))
	}
	t.Flush()
}

func (v *voice) kept(p *world.Platform) {
	v.line("\nEverything is left running at %s. To look around as the hub's operator:", p.Endpoint)
	v.line("  export AWS_ENDPOINT_URL=%s AWS_REGION=%s AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=test", p.Endpoint, world.Region, world.HubAccount)
	v.line("  scripts/firebreak incidents")
	v.line("To end it: scripts/local/down --state .cache/demo")
}

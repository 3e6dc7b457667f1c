package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// voice tells the story: calm lines, colour only for a person who wants it.
type voice struct {
	w        io.Writer
	terminal bool
	colour   bool
	claims   int
	broken   []string
}

func newVoice(f *os.File) *voice {
	info, err := f.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
	return &voice{w: f, terminal: terminal, colour: terminal && os.Getenv("NO_COLOR") == ""}
}

const (
	bold  = "1"
	faint = "2"
	green = "32"
	red   = "31"
)

func (v *voice) paint(code, text string) string {
	if !v.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (v *voice) say(format string, args ...any) { fmt.Fprintf(v.w, format+"\n", args...) }

func (v *voice) chapter(title string) { v.say("\n%s\n", v.paint(bold, title)) }

// fact is a line with a name before it.
func (v *voice) fact(name, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	v.say("  %-10s%s", name, strings.ReplaceAll(text, "\n", "\n            "))
}

// moment is a state at its time since the finding was put on the bus.
func (v *voice) moment(at time.Duration, text string) {
	v.say("  %s  %s", v.paint(faint, fmt.Sprintf("%6.2f s", at.Seconds())), text)
}

// claim says what was checked, and remembers it when it was not so.
func (v *voice) claim(ok bool, err error, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	v.claims++
	if ok && err == nil {
		v.say("  %s %s", v.paint(green, "✓"), text)
		return
	}
	if err != nil {
		text += ": " + err.Error()
	}
	v.broken = append(v.broken, text)
	v.say("  %s NOT AS TOLD: %s", v.paint(red, "✗"), text)
}

// step does something that takes a while. On a terminal its latest word stands beside it while it lasts; elsewhere a word
// comes every ten seconds.
func (v *voice) step(what string, do func(io.Writer) error) error {
	began := time.Now()
	p := &progress{voice: v, what: what, shown: began}
	err := do(p)
	if v.terminal {
		fmt.Fprint(v.w, "\r\x1b[K")
	}
	if err == nil {
		v.say("  %-34s%6.1f s", what, time.Since(began).Seconds())
	}
	return err
}

type progress struct {
	*voice
	what  string
	shown time.Time
}

func (p *progress) Write(text []byte) (int, error) {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	switch {
	case last == "":
	case p.terminal:
		if r := []rune(last); len(r) > 70 {
			last = string(r[:69]) + "…"
		}
		fmt.Fprintf(p.w, "\r\x1b[K  %s  %s", p.what, p.paint(faint, last))
	case time.Since(p.shown) >= 10*time.Second:
		p.shown = time.Now()
		p.say("  %s: %s", p.what, last)
	}
	return len(text), nil
}

// table writes rows in columns, the first one as their heads; a row of one cell stands by itself.
func (v *voice) table(rows [][]string) {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			if len(row) == 1 {
				break // a line of its own
			}
			width[i] = max(width[i], len([]rune(cell)))
		}
	}
	for n, row := range rows {
		line := ""
		for i, cell := range row {
			if i < len(row)-1 {
				cell += strings.Repeat(" ", width[i]-len([]rune(cell))+2)
			}
			line += cell
		}
		switch {
		case n == 0:
			line = v.paint(bold, line)
		case len(row) == 1:
			line = v.paint(faint, line)
		}
		v.say("  %s", line)
	}
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"firebreak/lib/channel"
)

// told is what the timeline says, made harmless. What a broken step has done and what not comes last and is what people need: a long
// error in front of it must not cost it.
func told(what string) string {
	head, rest, found := strings.Cut(what, " (done: ")
	if !found {
		return plain(what, 500)
	}
	return plain(head, 500) + " (done: " + plain(rest, 2000)
}

// plain makes a text of unknown origin harmless on a terminal and no longer than n characters.
func plain(s string, n int) string {
	// channel.Plain ends texts at 200 characters, so longer ones are made harmless by parts.
	var b strings.Builder
	for _, part := range split(s, 150) {
		b.WriteString(channel.Plain(part))
		if strings.HasSuffix(part, " ") {
			b.WriteByte(' ')
		}
	}
	r := []rune(strings.TrimSpace(b.String()))
	if len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return string(r)
}

// split cuts a text into parts of at most n runes, after a space where there is one.
func split(s string, n int) []string {
	var out []string
	for r := []rune(s); len(r) > 0; {
		cut := min(n, len(r))
		if cut < len(r) {
			for i := cut; i > cut/2; i-- {
				if r[i-1] == ' ' {
					cut = i
					break
				}
			}
		}
		out, r = append(out, string(r[:cut])), r[cut:]
	}
	return out
}

// clock writes a time as people read it in a log.
func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

// ago says how long ago t was.
func ago(now, t time.Time) string {
	d := now.Sub(t)
	switch {
	case t.IsZero():
		return "at an unknown time"
	case d < time.Minute:
		return "just now"
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d days ago", int(d.Hours())/24)
}

// short is the part of an ARN that a person knows it by: account and partition are said elsewhere.
func short(arn string) string {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) < 6 || parts[0] != "arn" {
		return plain(arn, 200)
	}
	if parts[2] == "s3" {
		return "bucket " + plain(parts[5], 200)
	}
	return plain(parts[5], 200)
}

// last is what follows the last colon of an execution's ARN: its name.
func last(arn string) string { return arn[strings.LastIndex(arn, ":")+1:] }

// dump prints v as JSON.
func dump(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// suggest names the verb that was probably meant.
func suggest(typed string) string {
	best, least := "", 3
	for _, v := range verbs() {
		d := distance(strings.ToLower(typed), v.name)
		if strings.HasPrefix(v.name, strings.ToLower(typed)) && typed != "" {
			d = 0
		}
		if d < least {
			best, least = v.name, d
		}
	}
	if alias := map[string]string{"list": "incidents", "ls": "incidents", "status": "incidents", "get": "show", "incident": "show", "dlq": "dead-letters", "letters": "dead-letters", "retry": "redrive", "simulate": "plan"}[strings.ToLower(typed)]; alias != "" {
		best = alias
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(": did you mean %q?", best)
}

// distance counts the letters to change, add or leave out to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := slices.Clone(row)
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(before[j]+cost, before[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}

package main

import (
	"strconv"
	"strings"
)

// language is a table of the texts of one language, by key. A key that ends in % takes arguments.
type language map[string]string

// language gives the pages in the language that the reader likes best of those there are (RFC 9110, Accept-Language).
func (h handler) language(req request) pages {
	best, most := h.pages[0], 0.0
	for _, part := range strings.Split(header(req, "accept-language"), ",") {
		tag, rest, _ := strings.Cut(strings.TrimSpace(part), ";")
		weight := 1.0
		if q, ok := strings.CutPrefix(strings.TrimSpace(rest), "q="); ok {
			var err error
			if weight, err = strconv.ParseFloat(q, 64); err != nil || weight > 1 {
				continue
			}
		}
		primary, _, _ := strings.Cut(strings.ToLower(tag), "-")
		for _, p := range h.pages {
			if p.words["lang"] == primary && weight > most {
				best, most = p, weight
			}
		}
	}
	return best
}

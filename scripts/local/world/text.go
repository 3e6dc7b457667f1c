package world

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// unescape decodes IAM's policy documents, which come URL-encoded (RFC 3986); text that is not stays as it is.
func unescape(text string) string {
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		return text
	}
	if plain, err := url.PathUnescape(text); err == nil {
		return plain
	}
	return text
}

// plain writes an item of a table as one line.
func plain(item map[string]types.AttributeValue) string {
	parts := []string{}
	for _, k := range slices.Sorted(maps.Keys(item)) {
		v := ""
		switch a := item[k].(type) {
		case *types.AttributeValueMemberS:
			v = a.Value
		case *types.AttributeValueMemberN:
			v = a.Value
		case *types.AttributeValueMemberB:
			v = string(a.Value)
		case *types.AttributeValueMemberSS:
			v = strings.Join(slices.Sorted(slices.Values(a.Value)), ",")
		default:
			text, _ := json.Marshal(a) // for looking at only
			v = fmt.Sprintf("%T%s", a, text)
		}
		parts = append(parts, k+"="+v)
	}
	return strings.Join(parts, " ")
}

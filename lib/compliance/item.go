package compliance

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/configservice/types"
)

// Item is a resource as AWS Config recorded it.
type Item struct {
	Type, ID, ARN, Account string
	// Status is OK, ResourceDiscovered, ResourceDeleted, ResourceNotRecorded or ResourceDeletedNotRecorded.
	Status   string
	Captured time.Time
	Tags     map[string]string
	// body has "configuration" and "supplementaryConfiguration".
	body map[string]any
}

// wire is the JSON of a configuration item in an invoking event.
type wire struct {
	Type     string            `json:"resourceType"`
	ID       string            `json:"resourceId"`
	ARN      string            `json:"ARN"`
	Account  string            `json:"awsAccountId"`
	Status   string            `json:"configurationItemStatus"`
	Captured time.Time         `json:"configurationItemCaptureTime"`
	Tags     map[string]string `json:"tags"`
	Body     any               `json:"configuration"`
	More     any               `json:"supplementaryConfiguration"`
}

func (w wire) item() Item {
	return Item{w.Type, w.ID, w.ARN, w.Account, w.Status, w.Captured, w.Tags, map[string]any{"configuration": w.Body, "supplementaryConfiguration": w.More}}
}

// recorded is an item as the API gives it.
func recorded(c types.ConfigurationItem) Item {
	more := map[string]any{}
	for k, v := range c.SupplementaryConfiguration {
		more[k] = v
	}
	return Item{
		Type: string(c.ResourceType), ID: aws.ToString(c.ResourceId), ARN: aws.ToString(c.Arn), Account: aws.ToString(c.AccountId),
		Status: string(c.ConfigurationItemStatus), Captured: aws.ToTime(c.ConfigurationItemCaptureTime), Tags: c.Tags,
		body: map[string]any{"configuration": aws.ToString(c.Configuration), "supplementaryConfiguration": more},
	}
}

// Gone tells whether the resource is deleted or not recorded any more.
func (i Item) Gone() bool {
	return strings.Contains(i.Status, "Deleted") || strings.Contains(i.Status, "NotRecorded")
}

// Text gives the first value at a path such as "configuration.kmsKeyId", "" when there is none.
func (i Item) Text(path string) string {
	if all := i.All(path); len(all) > 0 {
		return all[0]
	}
	return ""
}

// True tells whether the value at path is true, or the text "true".
func (i Item) True(path string) bool { return strings.EqualFold(i.Text(path), "true") }

// All gives every value at a path, through lists. Config spells keys differently by resource type and time (kmsMasterKeyID,
// kMSMasterKeyID) and keeps some values as JSON inside a string: neither matters here.
func (i Item) All(path string) []string {
	var out []string
	for _, v := range walk(i.body, strings.Split(path, ".")) {
		switch v := v.(type) {
		case string:
			out = append(out, v)
		case bool:
			out = append(out, strconv.FormatBool(v))
		case float64:
			out = append(out, fmt.Sprint(v))
		}
	}
	return out
}

func walk(at any, path []string) []any {
	if s, ok := at.(string); ok && (strings.HasPrefix(s, "{") || strings.HasPrefix(s, "[")) {
		var inner any
		if json.Unmarshal([]byte(s), &inner) == nil {
			at = inner
		}
	}
	var out []any
	switch v := at.(type) {
	case []any:
		for _, e := range v {
			out = append(out, walk(e, path)...)
		}
		return out
	case map[string]any:
		if len(path) == 0 {
			return nil
		}
		for k, e := range v {
			if strings.EqualFold(k, path[0]) {
				out = append(out, walk(e, path[1:])...)
			}
		}
		return out
	}
	if len(path) > 0 || at == nil {
		return nil
	}
	return []any{at}
}

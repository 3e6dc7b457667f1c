// Package principal knows the IAM principals that findings name.
package principal

import (
	"cmp"
	"fmt"
	"strings"

	"firebreak/lib/fault"
	"firebreak/lib/incident"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// Kind is the first part of an IAM resource.
type Kind string

const (
	Role Kind = "role"
	User Kind = "user"
)

// Of gives the name of the target if it is of that kind. Errors: BadInput where it is something else.
func Of(t incident.Target, k Kind) (string, error) {
	if t.Service != "iam" || !strings.HasPrefix(t.Resource, string(k)+"/") || t.Name() == "" {
		return "", fault.New(fault.BadInput, "%s is not an IAM %s", t.ARN, k)
	}
	return t.Name(), nil
}

// ARNs gives the resources of a session policy that covers the principal. GuardDuty names principals without their paths,
// and the name alone is unique in an account: an ARN without a path stands for the principal under any path, one with a
// path for itself.
func ARNs(t incident.Target) []string {
	kind, rest, _ := strings.Cut(t.Resource, "/")
	if strings.Contains(rest, "/") {
		return []string{t.ARN}
	}
	return []string{t.ARN, fmt.Sprintf("arn:%s:iam::%s:%s/*/%s", t.Partition, t.Account, kind, rest)}
}

// Looking gives the resources of a session policy that looks at the principal. IAM knows no path of one that does not exist (any more)
// and asks for the name alone, as its denials show: without that, a principal that is gone would seem denied.
func Looking(t incident.Target) []string {
	kind, _, _ := strings.Cut(t.Resource, "/")
	out := ARNs(t)
	if len(out) == 1 {
		out = append(out, fmt.Sprintf("arn:%s:iam::%s:%s/%s", t.Partition, t.Account, kind, t.Name()))
	}
	return out
}

// FullARN is a target's as IAM knows it: with its path. IAM always says it; where it does not, the target's own stands.
func FullARN(t incident.Target, said *string) string { return cmp.Or(aws.ToString(said), t.ARN) }

// Tags are those of a principal by their keys.
func Tags(list []types.Tag) map[string]string {
	out := map[string]string{}
	for _, t := range list {
		out[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return out
}

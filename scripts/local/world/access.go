package world

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// TakeAction takes the action out of every inline policy of a role; the function that comes back puts the policies back as they were. An
// error says that no policy of the role had it.
func TakeAction(ctx context.Context, api *iam.Client, role, action string) (restore func(context.Context) error, err error) {
	names, err := api.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: &role})
	if err != nil {
		return nil, err
	}
	was := map[string]string{}
	restore = func(ctx context.Context) error {
		var errs []error
		for name, doc := range was {
			_, err := api.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &role, PolicyName: &name, PolicyDocument: &doc})
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
	for _, name := range names.PolicyNames {
		out, err := api.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: &role, PolicyName: &name})
		if err != nil {
			return restore, err
		}
		doc := unescape(aws.ToString(out.PolicyDocument))
		less, found, err := without(doc, action)
		if err != nil {
			return restore, fmt.Errorf("policy %s of %s: %w", name, role, err)
		}
		if !found {
			continue
		}
		was[name] = doc
		if _, err := api.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &role, PolicyName: &name, PolicyDocument: &less}); err != nil {
			return restore, err
		}
	}
	if len(was) == 0 {
		return restore, fmt.Errorf("no policy of role %s has the action %s", role, action)
	}
	return restore, nil
}

// without takes an action out of a policy document; a statement that would have none left goes.
func without(doc, action string) (string, bool, error) {
	var d map[string]any
	if err := json.Unmarshal([]byte(doc), &d); err != nil {
		return "", false, err
	}
	found := false
	var keep []any
	statements, _ := d["Statement"].([]any)
	if one, ok := d["Statement"].(map[string]any); ok {
		statements = []any{one}
	}
	for _, s := range statements {
		st := s.(map[string]any)
		actions, _ := st["Action"].([]any)
		if one, ok := st["Action"].(string); ok {
			actions = []any{one}
		}
		left := slices.DeleteFunc(slices.Clone(actions), func(a any) bool { return a == action })
		found = found || len(left) < len(actions)
		if st["Action"] = left; len(left) > 0 {
			keep = append(keep, st)
		}
	}
	d["Statement"] = keep
	out, err := json.Marshal(d)
	return string(out), found, err
}

// Assume takes a role as the caller of cfg.
func (p *Platform) Assume(ctx context.Context, cfg aws.Config, in *sts.AssumeRoleInput) (aws.Config, error) {
	out, err := sts.NewFromConfig(cfg).AssumeRole(ctx, in)
	if err != nil {
		return aws.Config{}, err
	}
	return p.As(aws.Credentials{
		AccessKeyID: aws.ToString(out.Credentials.AccessKeyId), SecretAccessKey: aws.ToString(out.Credentials.SecretAccessKey),
		SessionToken: aws.ToString(out.Credentials.SessionToken),
	}), nil
}

// Decision is one decision of IAM.
type Decision struct {
	T         float64 `json:"t"`
	Principal string  `json:"principal"`
	Action    string  `json:"action"`
	Resource  string  `json:"resource"`
	Allowed   bool    `json:"allowed"`
	// Session is the name of the caller's session: in the member account an incident.
	Session string `json:"session"`
}

// Changes reports whether it let one of the four changing roles do something.
func (d Decision) Changes() bool {
	_, role, ok := strings.Cut(d.Principal, ":assumed-role/SecurityRemediationRole-")
	_, call, _ := strings.Cut(d.Action, ":")
	look := strings.HasPrefix(call, "Describe") || strings.HasPrefix(call, "Get") || strings.HasPrefix(call, "List")
	return ok && d.Allowed && !look && !strings.HasPrefix(role, "Read/")
}

// Decided reads the decisions since a time that keep accepts.
func (p *Platform) Decided(since time.Time, keep func(Decision) bool) ([]Decision, error) {
	f, err := os.Open(p.Decisions)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []Decision
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var d Decision
		if json.Unmarshal(lines.Bytes(), &d) != nil {
			continue // the last line may be half written
		}
		if d.T >= float64(since.UnixMilli())/1000-0.001 && keep(d) {
			out = append(out, d)
		}
	}
	return out, lines.Err()
}

// Tail gives the decisions as they come, from when it was made.
type Tail struct {
	file *os.File
	rest []byte
}

// Tail begins at the end of what has been decided.
func (p *Platform) Tail() (*Tail, error) {
	f, err := os.Open(p.Decisions)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Tail{file: f}, nil
}

// Next gives what has come since the last time.
func (t *Tail) Next() ([]Decision, error) {
	more, err := io.ReadAll(t.file)
	if err != nil {
		return nil, err
	}
	lines := bytes.Split(append(t.rest, more...), []byte("\n"))
	t.rest = lines[len(lines)-1]
	var out []Decision
	for _, line := range lines[:len(lines)-1] {
		var d Decision
		if json.Unmarshal(line, &d) == nil {
			out = append(out, d)
		}
	}
	return out, nil
}

// Close ends it.
func (t *Tail) Close() error { return t.file.Close() }

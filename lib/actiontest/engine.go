//go:build engine

package actiontest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
)

// settling is the settle time on engines, which show a change at once.
const settling = 50 * time.Millisecond

const hub = "111111111111"

// Engine is the local platform with the member template's roles, for one action. scripts/local/engines starts it and says
// where it is:
//
//	scripts/local/engines go test -tags engine -run OnTheEngine ./functions/isolate-instance
type Engine struct {
	// Owner acts as the root of Account: whose the resources are, and at times somebody else.
	Owner aws.Config
	// Access takes the remediation roles as the action's function does; each call passes the wire.
	Access account.Access
	Wire   *Wire

	name, decisions string
}

// NewEngine makes a role in the hub that is named like the action's function: the remediation roles trust no other. What it may do
// there is left to the end-to-end tests; what it may do in the account is the member template's.
func NewEngine(t *testing.T, name string) *Engine {
	t.Helper()
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	endpoint, external := os.Getenv("ENGINE"), os.Getenv("FIREBREAK_EXTERNAL_ID")
	e := &Engine{name: name, Wire: &Wire{}, decisions: os.Getenv("ENGINE_DECISIONS")}
	if endpoint == "" || external == "" || e.decisions == "" {
		t.Fatal("ENGINE, ENGINE_DECISIONS and FIREBREAK_EXTERNAL_ID do not say where the local platform is: run this by scripts/local/engines")
	}
	client := whole{&http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}}
	as := func(c aws.Credentials) aws.Config {
		return aws.Config{Region: Region, BaseEndpoint: &endpoint, HTTPClient: client, RetryMaxAttempts: 3, Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return c, nil })}
	}
	e.Owner = as(aws.Credentials{AccessKeyID: Account, SecretAccessKey: "test"})
	e.Owner.Retryer = func() aws.Retryer { return heard{retry.NewStandard(), t} }
	root, role := as(aws.Credentials{AccessKeyID: hub, SecretAccessKey: "test"}), "firebreak-"+name+"-engines"
	roles := iam.NewFromConfig(root)
	Must(roles.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &role, AssumeRolePolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + hub + `:root"},"Action":"sts:AssumeRole"}]}`)}))(t)
	t.Cleanup(func() {
		roles.DeleteRolePolicy(context.Background(), &iam.DeleteRolePolicyInput{RoleName: &role, PolicyName: aws.String("own")})
		roles.DeleteRole(context.Background(), &iam.DeleteRoleInput{RoleName: &role})
	})
	Must(roles.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: &role, PolicyName: aws.String("own"), PolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["sts:AssumeRole","sts:SetSourceIdentity"],"Resource":"arn:aws:iam::*:role/` + account.RolePrefix + `*"}]}`)}))(t)
	out := Must(sts.NewFromConfig(root).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::" + hub + ":role/" + role), RoleSessionName: &name}))(t)
	function := as(aws.Credentials{
		AccessKeyID: *out.Credentials.AccessKeyId, SecretAccessKey: *out.Credentials.SecretAccessKey, SessionToken: *out.Credentials.SessionToken,
	})
	e.Access = &tapped{account.NewSessions(function, sts.NewFromConfig(function), external), e.Wire, sync.Mutex{}}
	return e
}

// whole reads each answer before the SDK does: about once in 20,000 answers (measured) the SDK found the connection closed that it was
// reading from, and made the call again, which a call that makes something does not bear.
type whole struct{ client *http.Client }

func (w whole) Do(req *http.Request) (*http.Response, error) {
	res, err := w.client.Do(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res, nil
}

// heard says what a call of the owner is repeated for: one that took effect and lost its answer fails when it is made again.
type heard struct {
	aws.Retryer
	t *testing.T
}

func (h heard) IsErrorRetryable(err error) bool {
	again := h.Retryer.IsErrorRetryable(err)
	if again {
		h.t.Log("the engine is asked again:", err)
	}
	return again
}

// Must gives what a call of the owner answers; the test ends where it fails.
func Must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

var names atomic.Int64

// Name makes a name that nothing else on the platform has.
func Name(stem string) string {
	return fmt.Sprintf("%s-%d-%d", stem, time.Now().UnixNano()%1e9, names.Add(1))
}

// tapped is an Access whose calls pass a wire.
type tapped struct {
	account.Access
	wire *Wire
	lock sync.Mutex
}

func (a *tapped) Config(ctx context.Context, role account.Role, in account.Scope, allow ...account.Statement) (aws.Config, error) {
	if err := a.pass("session"); err != nil {
		return aws.Config{}, err
	}
	cfg, err := a.Access.Config(ctx, role, in, allow...)
	if err != nil {
		return cfg, err
	}
	cfg.APIOptions = append(slices.Clone(cfg.APIOptions), func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("wire", a.call), middleware.After)
	})
	return cfg, nil
}

func (a *tapped) pass(point string) error {
	a.lock.Lock()
	defer a.lock.Unlock()
	return a.wire.pass(point)
}

func (a *tapped) call(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (out middleware.InitializeOutput, md middleware.Metadata, err error) {
	name := middleware.GetOperationName(ctx)
	if err := a.pass(name); err != nil {
		return out, md, err
	}
	out, md, err = next.HandleInitialize(ctx, in)
	if err != nil || looks(name) {
		return out, md, err
	}
	a.lock.Lock()
	a.wire.Changed = append(a.wire.Changed, name)
	a.lock.Unlock()
	return out, md, a.pass(name + done)
}

const done = ", done"

// looks tells whether an operation, or an IAM action after its service, changes nothing.
func looks(operation string) bool {
	return strings.HasPrefix(operation, "Describe") || strings.HasPrefix(operation, "Get") || strings.HasPrefix(operation, "List")
}

// decision is one of IAM's on the platform.
type decision struct {
	Principal, Action, Resource, Session string
	Allowed                              bool
}

// decided reads what IAM decided for an incident's sessions.
func (e *Engine) decided(t *testing.T, id string) []decision {
	t.Helper()
	text := Must(os.ReadFile(e.decisions))(t)
	var out []decision
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var d decision
		if json.Unmarshal(lines.Bytes(), &d) == nil && d.Session == id {
			out = append(out, d)
		}
	}
	return out
}

// changed are the decisions that let a changing call through.
func changed(all []decision) []decision {
	return slices.DeleteFunc(slices.Clone(all), func(d decision) bool {
		_, call, _ := strings.Cut(d.Action, ":")
		return !d.Allowed || looks(call)
	})
}

// Deny takes a right on resources from one of the remediation roles; what comes back gives it back. It names resources, because the tests
// of other actions use the same roles at the same time.
func (e *Engine) Deny(t *testing.T, role account.Role, actions []string, resources ...string) (restore func()) {
	t.Helper()
	api, name, policy := iam.NewFromConfig(e.Owner), account.RolePrefix+string(role), Name("deny")
	doc, _ := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": []any{map[string]any{"Effect": "Deny", "Action": actions, "Resource": resources}}})
	Must(api.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: &name, PolicyName: &policy, PolicyDocument: aws.String(string(doc))}))(t)
	give := sync.OnceFunc(func() {
		if _, err := api.DeleteRolePolicy(context.Background(), &iam.DeleteRolePolicyInput{RoleName: &name, PolicyName: &policy}); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(give)
	return give
}

// part runs parts of a test by their names, each with a wire that has counted nothing.
func (e *Engine) part(t *testing.T) func(name string, test func(*testing.T)) {
	return func(name string, test func(*testing.T)) {
		t.Run(name, func(t *testing.T) {
			e.Wire.Changed = nil
			test(t)
		})
	}
}

// newIncident makes the id of an incident of its own, by which the log of decisions tells its calls from others.
func newIncident() string { return "INC-" + rand.Text()[:16] }

// World gives a world in which the action acts on the engine.
func (e *Engine) World(t *testing.T, act func(ledger.Store, *setting.Installation) action.Containment) *World {
	w := empty(t, e.name)
	w.do = w.spine(settling).Containing(e.name, act(w.Store, installation(settling)))
	return w
}

// Ruin gives a world in which an action that destroys acts on the engine.
func (e *Engine) Ruin(t *testing.T, act func(ledger.Store, *setting.Installation) action.Destruction) *World {
	w := empty(t, e.name)
	w.do = w.spine(settling).Eradicating(e.name, act(w.Store, installation(settling)))
	return w
}

// killedAfter kills the function right after its changing call of that number took effect; it tells which that was, "" for none.
func (e *Engine) killedAfter(w *World, req incident.Request, number int) (at string, err error) {
	e.Wire.Changed = nil
	err = kill(w, e.Wire, req, func(point string) bool {
		if !strings.HasSuffix(point, done) {
			return false
		}
		if number--; number == 0 {
			at = point
		}
		return number == 0
	})
	return at, err
}

// Code is how AWS calls an error, "" for none.
func Code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

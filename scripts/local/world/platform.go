// Package world drives the local platform from outside, as people, AWS's services and attackers would: it starts and deploys
// with the scripts that users call, makes resources in the member account, puts findings on the member's bus, and reads back.
// Nothing in it is known to the product.
package world

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// The accounts and the region of the platform.
const (
	HubAccount    = "111111111111"
	MemberAccount = "222222222222"
	Region        = "us-east-1"
)

// Platform is a running local platform.
type Platform struct {
	Endpoint string `json:"endpoint"`
	// Decisions is the file with every IAM decision, a JSON object a line.
	Decisions string `json:"decisions"`
	// State is the directory of logs and temporary files.
	State string `json:"state"`
	// Root is the project's directory.
	Root  string `json:"-"`
	http  aws.HTTPClient
	extra []string // more of the environment of commands
}

// Root finds the project's directory: the one with go.mod, here or above.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("no go.mod in %s or above", dir)
		}
	}
}

// Start starts a platform whose files lie in .cache/<name>; what an earlier one of that name left is ended first. Port 0
// takes a free one.
func Start(ctx context.Context, root, name string, port int) (*Platform, error) {
	state := filepath.Join(root, ".cache", name)
	if err := os.MkdirAll(state, 0o755); err != nil {
		return nil, err
	}
	p := &Platform{Root: root, State: state}
	if err := p.Stop(); err != nil {
		return nil, err
	}
	out, err := p.Run(ctx, "", "scripts/local/up", "--json", "--port", strconv.Itoa(port), "--state", state)
	if err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	if err := json.Unmarshal([]byte(out), p); err != nil {
		return nil, errors.Join(fmt.Errorf("read what scripts/local/up says: %w", err), p.Stop())
	}
	p.http = client()
	return p, nil
}

// Stop ends the platform and everything it started. It works after a crash too, and when nothing runs.
func (p *Platform) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, err := p.Run(ctx, "", "scripts/local/down", "--state", p.State)
	return err
}

// client answers many calls at once over kept connections: two hundred findings in a burst would otherwise wait for sockets.
func client() aws.HTTPClient {
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConnsPerHost, t.MaxIdleConns = 64, 64
	})
}

// Config acts as the root of an account.
func (p *Platform) Config(account string) aws.Config {
	return p.As(aws.Credentials{AccessKeyID: account, SecretAccessKey: "test"})
}

// As acts with these credentials.
func (p *Platform) As(cred aws.Credentials) aws.Config {
	return aws.Config{
		Region: Region, BaseEndpoint: &p.Endpoint, HTTPClient: p.http, RetryMaxAttempts: 5,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return cred, nil }),
	}
}

// Environment is what a person's shell has who works in that account of the platform.
func (p *Platform) Environment(account string) []string {
	env := []string{}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "AWS_") {
			env = append(env, kv)
		}
	}
	if account == "" {
		return env
	}
	return append(env, "AWS_ENDPOINT_URL="+p.Endpoint, "AWS_REGION="+Region, "AWS_DEFAULT_REGION="+Region,
		"AWS_ACCESS_KEY_ID="+account, "AWS_SECRET_ACCESS_KEY=test")
}

// Run runs one of the project's commands as a person in that account would ("" without any account), and gives its standard
// output. An error has the end of what it printed.
func (p *Platform) Run(ctx context.Context, account, name string, args ...string) (string, error) {
	return p.Tell(ctx, io.Discard, account, name, args...)
}

// Tell is Run, with what the command prints copied to w while it runs.
func (p *Platform) Tell(ctx context.Context, w io.Writer, account, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(p.Root, name), args...)
	cmd.Dir, cmd.Env = p.Root, append(p.Environment(account), p.extra...)
	var out, all bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, &all, w), io.MultiWriter(&all, w)
	// A group of its own: Ctrl-C is for whoever called, who ends this one through ctx and then still has to clean up.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		return out.String(), ctx.Err()
	}
	if err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, tail(all.String(), 30))
	}
	return out.String(), nil
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return strings.Join(all, "\n")
}

// Until asks every 20 ms until ready says yes, an error comes, or the time is over; what names the thing that was waited for.
func Until(ctx context.Context, limit time.Duration, what string, ready func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not within %s: %s", limit, what))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := ready(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// Loopback is a dialer for addresses below execute-api.localhost, which browsers resolve to this machine and Go does not.
func Loopback(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		address = net.JoinHostPort("127.0.0.1", port)
	}
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

// ErrAbsent says that there is no such thing.
var ErrAbsent = errors.New("not found")

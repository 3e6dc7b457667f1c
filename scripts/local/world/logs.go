package world

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Logs reads CloudWatch Logs: two calls, for which the service's module is not worth its weight.
type Logs struct{ cfg aws.Config }

// All reads every line of every log group, by group.
func (l *Logs) All(ctx context.Context) (map[string][]string, error) {
	lines := map[string][]string{}
	for token := ""; ; {
		var groups struct {
			LogGroups []struct {
				LogGroupName string `json:"logGroupName"`
			} `json:"logGroups"`
			NextToken string `json:"nextToken"`
		}
		if err := l.call(ctx, "DescribeLogGroups", page(map[string]any{}, token), &groups); err != nil {
			return nil, err
		}
		for _, g := range groups.LogGroups {
			read, err := l.Group(ctx, g.LogGroupName)
			if err != nil {
				return nil, err
			}
			lines[g.LogGroupName] = read
		}
		if token = groups.NextToken; token == "" {
			return lines, nil
		}
	}
}

// Group reads every line of one group.
func (l *Logs) Group(ctx context.Context, name string) ([]string, error) {
	lines := []string{}
	for token := ""; ; {
		var events struct {
			Events []struct {
				Message string `json:"message"`
			} `json:"events"`
			NextToken string `json:"nextToken"`
		}
		if err := l.call(ctx, "FilterLogEvents", page(map[string]any{"logGroupName": name, "limit": 10000}, token), &events); err != nil {
			return nil, err
		}
		for _, e := range events.Events {
			lines = append(lines, e.Message)
		}
		if token = events.NextToken; token == "" {
			return lines, nil
		}
	}
}

func page(in map[string]any, token string) map[string]any {
	if token != "" {
		in["nextToken"] = token
	}
	return in
}

func (l *Logs) call(ctx context.Context, operation string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, aws.ToString(l.cfg.BaseEndpoint)+"/", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "Logs_20140328."+operation)
	cred, err := l.cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(ctx, cred, req, hex.EncodeToString(sum[:]), "logs", l.cfg.Region, time.Now()); err != nil {
		return err
	}
	res, err := l.cfg.HTTPClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", operation, res.Status, tail(string(text), 3))
	}
	return json.Unmarshal(text, out)
}

// Package boot starts a function: configuration from the environment, clients of the hub account, the one lambda.Start.
package boot

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"strings"

	"firebreak/lib/account"
	"firebreak/lib/fault"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Boot is what a function starts with.
type Boot struct {
	// AWS acts as the function's own role in the hub account.
	AWS aws.Config
	env map[string]string
}

// Load reads the environment that Lambda gives. It makes the aws.Config itself: LoadDefaultConfig costs 7 ms and 5 MiB at
// each cold start for sources (files, SSO, instance metadata) that a function does not have (measured).
func Load() *Boot {
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stdout, nil)))
	env := map[string]string{}
	for _, kv := range os.Environ() {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	cfg := aws.Config{
		Region: env["AWS_REGION"],
		// Lambda renews the credentials of an environment by starting a new one: reading them at each call is enough.
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: env["AWS_ACCESS_KEY_ID"], SecretAccessKey: env["AWS_SECRET_ACCESS_KEY"], SessionToken: env["AWS_SESSION_TOKEN"], Source: "environment"}, nil
		}),
		RetryMaxAttempts: 4,
	}
	if endpoint := env["AWS_ENDPOINT_URL"]; endpoint != "" {
		cfg.BaseEndpoint = &endpoint
	}
	return &Boot{AWS: cfg, env: env}
}

// Env gives a variable of the function's template, or "".
func (b *Boot) Env(name string) string { return b.env[name] }

// Store is the ledger's table.
func (b *Boot) Store() ledger.Store {
	return ledger.NewDynamo(dynamodb.NewFromConfig(b.AWS), b.Env("TABLE"))
}

// Access takes the remediation roles of accounts.
func (b *Boot) Access() account.Access {
	return account.NewSessions(b.AWS, sts.NewFromConfig(b.AWS), b.Env("EXTERNAL_ID"))
}

// Installation reads the settings in SSM.
func (b *Boot) Installation() *setting.Installation {
	return setting.NewInstallation(ssm.NewFromConfig(b.AWS), b.Env("SETTINGS"))
}

// Start serves the function. A failed call is logged once, here, and leaves under its fault name.
func Start[In, Out any](handle func(context.Context, In) (Out, error)) {
	lambda.Start(edge(handle))
}

// edge is handle with its input decoded and its error exposed, as Start serves it.
func edge[In, Out any](handle func(context.Context, In) (Out, error)) func(context.Context, json.RawMessage) (Out, error) {
	return func(ctx context.Context, raw json.RawMessage) (Out, error) {
		var in In
		var out Out
		err := json.Unmarshal(raw, &in)
		if err != nil {
			err = fault.Wrap(fault.BadInput, err, "the function's input is not what it takes")
		} else {
			out, err = handle(ctx, in)
		}
		if err != nil {
			slog.ErrorContext(ctx, "failed", "name", fault.NameOf(err), "error", err.Error())
		}
		return out, fault.Expose(err)
	}
}

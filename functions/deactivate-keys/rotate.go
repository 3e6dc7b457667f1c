package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/channel"
	"firebreak/lib/ledger"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// secretTag of a secret names the user, by ARN or name, whose key the secret holds.
const secretTag = "firebreak:principal"

// secretReads are the calls that look for the user's secrets, made as the Read role. None of them reads what is in a secret.
type secretReads interface {
	ListSecrets(context.Context, *secretsmanager.ListSecretsInput, ...func(*secretsmanager.Options)) (*secretsmanager.ListSecretsOutput, error)
}

// secretChanges is the call that starts a rotation, made as the Identity role.
type secretChanges interface {
	RotateSecret(context.Context, *secretsmanager.RotateSecretInput, ...func(*secretsmanager.Options)) (*secretsmanager.RotateSecretOutput, error)
}

// teller tells people once in an episode.
type teller interface {
	Once(ctx context.Context, s ledger.Store, id string, episode int, kind string, m channel.Message) (bool, error)
}

// rotation is what follows: where a dead key lives in a secret that rotates, its rotation starts, so that whoever needs the key gets
// another one from whoever may make it. Firebreak makes none. It has no undo: the old key is the one that was stolen.
type rotation struct {
	reads   func(context.Context, action.Call) (secretReads, error)
	changes func(ctx context.Context, c action.Call, secret, function string) (secretChanges, error)
	people  teller
	store   ledger.Store
}

// Follow starts the rotation of every secret that holds a key of the user, and tells people which secret and whose.
func (d deactivation) Follow(ctx context.Context, c action.Call) []string {
	if d.rotation == nil {
		return nil
	}
	return d.rotation.follow(ctx, c)
}

func (r rotation) follow(ctx context.Context, c action.Call) []string {
	found, err := r.find(ctx, c)
	if err != nil {
		slog.ErrorContext(ctx, "secrets", "incident", c.Incident.ID, "target", c.Target.ARN, "error", err.Error())
		return []string{"not known whether a secret holds the key: " + err.Error()}
	}
	var said []string
	for _, s := range found {
		said = append(said, r.rotate(ctx, c, s))
	}
	if len(said) == 0 {
		return nil
	}
	message := channel.Message{
		Subject: fmt.Sprintf("Firebreak: a key of %s is dead, and its secrets", c.Target.Name()), Severity: c.Incident.Severity,
		Body: fmt.Sprintf("%s\n\nKeys of %s were deactivated for %s.\n\n%s\n\nWhoever reads the secret gets the new key once its rotation is complete. Firebreak neither made nor saw a key.\n",
			c.Incident.ID, c.Target.ARN, c.Incident.ID, strings.Join(said, "\n")),
	}
	if _, err := r.people.Once(ctx, r.store, c.Incident.ID, c.Incident.Episode, "rotation", message); err != nil {
		slog.ErrorContext(ctx, "tell", "incident", c.Incident.ID, "error", err.Error())
		said = append(said, "nobody could be told of that: "+err.Error())
	}
	return said
}

// find lists the secrets of the finding's region that name the user.
func (r rotation) find(ctx context.Context, c action.Call) ([]types.SecretListEntry, error) {
	api, err := r.reads(ctx, c)
	if err != nil {
		return nil, err
	}
	names := []string{c.Target.ARN, c.Target.Name()}
	var out []types.SecretListEntry
	for pages := secretsmanager.NewListSecretsPaginator(api, &secretsmanager.ListSecretsInput{Filters: []types.Filter{
		{Key: types.FilterNameStringTypeTagKey, Values: []string{secretTag}}, {Key: types.FilterNameStringTypeTagValue, Values: names},
	}}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list secrets: %w", err)
		}
		for _, s := range page.SecretList {
			// The filter matches beginnings, and keys and values of different tags.
			mine := slices.ContainsFunc(s.Tags, func(t types.Tag) bool {
				return aws.ToString(t.Key) == secretTag && slices.Contains(names, aws.ToString(t.Value))
			})
			if mine && s.DeletedDate == nil {
				out = append(out, s)
			}
		}
	}
	return out, nil
}

// rotate starts the rotation of one secret, if one is configured, and says what became of it.
func (r rotation) rotate(ctx context.Context, c action.Call, s types.SecretListEntry) string {
	name := fmt.Sprintf("secret %s (owner: %s)", aws.ToString(s.Name), owner(s))
	if !aws.ToBool(s.RotationEnabled) || s.RotationLambdaARN == nil {
		return name + " holds the key and does not rotate by itself: its owner has to put another key in"
	}
	api, err := r.changes(ctx, c, aws.ToString(s.ARN), aws.ToString(s.RotationLambdaARN))
	if err == nil {
		slog.InfoContext(ctx, "rotate", "incident", c.Incident.ID, "target", c.Target.ARN, "secret", aws.ToString(s.ARN))
		// The token makes a second call of this incident the same rotation.
		sum := sha256.Sum256([]byte(c.Incident.ID + aws.ToString(s.ARN)))
		_, err = api.RotateSecret(ctx, &secretsmanager.RotateSecretInput{SecretId: s.ARN, ClientRequestToken: aws.String(hex.EncodeToString(sum[:])), RotateImmediately: aws.Bool(true)})
	}
	var under *types.InvalidRequestException // "a previous rotation isn't complete" (AWS: RotateSecret)
	switch {
	case errors.As(err, &under):
		return name + ": a rotation is under way already: " + aws.ToString(under.Message)
	case err != nil:
		slog.ErrorContext(ctx, "rotate", "incident", c.Incident.ID, "secret", aws.ToString(s.ARN), "error", err.Error())
		return name + ": its rotation could not be started, so its owner has to: " + err.Error()
	}
	return name + ": its rotation was started"
}

// owner is who the secret's tags say is responsible for it.
func owner(s types.SecretListEntry) string {
	for _, t := range s.Tags {
		if strings.EqualFold(aws.ToString(t.Key), "owner") && aws.ToString(t.Value) != "" {
			return aws.ToString(t.Value)
		}
	}
	return "not named by a tag"
}

// rotating are the statements of a session that rotates one secret. The role may call functions whose names begin with SecretsManager, as
// those of AWS's templates do; with another one the rotation is not started, and the result says so.
func rotating(secret, function string) []account.Statement {
	return []account.Statement{
		{Actions: []string{"secretsmanager:RotateSecret"}, Resources: []string{secret}},
		{Actions: []string{"lambda:InvokeFunction"}, Resources: []string{function}}, // RotateSecret asks for it (AWS: RotateSecret, required permissions)
	}
}

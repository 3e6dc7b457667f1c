package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/actiontest"
	"firebreak/lib/channel"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
)

const rotator = "arn:aws:lambda:us-east-1:222222222222:function:SecretsManagerExport"

// vault is Secrets Manager. Rotations counts, by secret, the tokens of rotations that were started.
type vault struct {
	secrets   []types.SecretListEntry
	rotations map[string][]string
	err       error // of every call
	busy      bool
	told      []channel.Message
}

func (v *vault) add(name, tag string, rotates bool) {
	s := types.SecretListEntry{
		Name: &name, ARN: aws.String("arn:aws:secretsmanager:us-east-1:222222222222:secret:" + name + "-AbCdEf"), RotationEnabled: &rotates,
		Tags: []types.Tag{{Key: aws.String(secretTag), Value: &tag}, {Key: aws.String("Owner"), Value: aws.String("billing-team")}},
	}
	if rotates {
		s.RotationLambdaARN = aws.String(rotator)
	}
	v.secrets = append(v.secrets, s)
}

// ListSecrets gives everything: the real filter is looser than what is wanted, too.
func (v *vault) ListSecrets(_ context.Context, in *secretsmanager.ListSecretsInput, _ ...func(*secretsmanager.Options)) (*secretsmanager.ListSecretsOutput, error) {
	if in.NextToken == nil && len(v.secrets) > 1 {
		return &secretsmanager.ListSecretsOutput{SecretList: v.secrets[:1], NextToken: aws.String("2")}, v.err
	}
	return &secretsmanager.ListSecretsOutput{SecretList: v.secrets[min(1, max(0, len(v.secrets)-1)):]}, v.err
}

func (v *vault) RotateSecret(_ context.Context, in *secretsmanager.RotateSecretInput, _ ...func(*secretsmanager.Options)) (*secretsmanager.RotateSecretOutput, error) {
	if v.busy {
		return nil, &types.InvalidRequestException{Message: aws.String("A previous rotation isn't complete.")}
	}
	if v.rotations == nil {
		v.rotations = map[string][]string{}
	}
	if len(*in.ClientRequestToken) != 64 || in.RotationLambdaARN != nil || in.RotationRules != nil {
		return nil, errors.New("a rotation that changes how the secret rotates, or that is not idempotent")
	}
	if !slices.Contains(v.rotations[*in.SecretId], *in.ClientRequestToken) {
		v.rotations[*in.SecretId] = append(v.rotations[*in.SecretId], *in.ClientRequestToken)
	}
	return &secretsmanager.RotateSecretOutput{}, nil
}

func (v *vault) Once(_ context.Context, _ ledger.Store, _ string, _ int, kind string, m channel.Message) (bool, error) {
	if kind != "rotation" {
		return false, errors.New("told under another kind")
	}
	v.told = append(v.told, m)
	return true, nil
}

func withVault(t *testing.T, f *fake, v *vault) *actiontest.World {
	t.Helper()
	return actiontest.New(t, "deactivate-keys", deactivation{
		reads:   func(context.Context, action.Call) (reads, error) { return f, nil },
		changes: func(context.Context, action.Call) (changes, error) { return f, nil },
		rotation: &rotation{
			people: v, reads: func(context.Context, action.Call) (secretReads, error) { return v, nil },
			changes: func(_ context.Context, _ action.Call, secret, function string) (secretChanges, error) {
				if _, err := account.Policy(rotating(secret, function)...); err != nil {
					return nil, err
				}
				if !strings.Contains(function, ":function:SecretsManager") {
					return nil, &smithy.GenericAPIError{Code: "AccessDenied", Message: "not a rotator"}
				}
				return v, nil
			},
		},
	})
}

// A dead key's secret rotates, once for an incident, and people hear which secret and whose.
func TestSecretsOfTheUserRotate(t *testing.T) {
	f, v := newFake(), &vault{}
	v.add("export/key", user, true)
	v.add("export/other", "export", true) // by name
	v.add("web/key", "arn:aws:iam::222222222222:user/billing/exporter", true)
	v.add("export/old", user, false)
	w := withVault(t, f, v)
	done := w.Must(w.Request(incident.Apply, first, user, nil))
	for _, want := range []string{
		"secret export/key (owner: billing-team): its rotation was started", "secret export/other (owner: billing-team): its rotation was started",
		"secret export/old (owner: billing-team) holds the key and does not rotate by itself: its owner has to put another key in",
	} {
		if !slices.Contains(done.Changes, want) {
			t.Errorf("%q lacks %q", done.Changes, want)
		}
	}
	again := w.Must(w.Request(incident.Apply, first, user, nil))
	if again.Outcome != incident.Already || len(v.rotations) != 2 {
		t.Errorf("again %s, rotations %v", again.Outcome, v.rotations)
	}
	for secret, tokens := range v.rotations {
		if len(tokens) != 1 {
			t.Errorf("%s was rotated %d times for one incident", secret, len(tokens))
		}
	}
	if len(v.told) == 0 || !strings.Contains(v.told[0].Body, "export/key (owner: billing-team)") || strings.Contains(v.told[0].Body, "web/key") {
		t.Errorf("told %+v", v.told)
	}
}

// What cannot be rotated is said, and the keys are dead all the same.
func TestARotationThatFailsDoesNotSpoilTheContainment(t *testing.T) {
	for want, spoil := range map[string]func(*vault){
		"could not be started, so its owner has to": func(v *vault) {
			v.secrets[0].RotationLambdaARN = aws.String("arn:aws:lambda:us-east-1:222222222222:function:mine")
		},
		"a rotation is under way already":          func(v *vault) { v.busy = true },
		"not known whether a secret holds the key": func(v *vault) { v.err = &smithy.GenericAPIError{Code: "AccessDenied"} },
	} {
		f, v := newFake(), &vault{}
		v.add("export/key", user, true)
		spoil(v)
		w := withVault(t, f, v)
		got := w.Must(w.Request(incident.Apply, first, user, nil))
		if got.Outcome != incident.Applied || !strings.Contains(strings.Join(got.Changes, "\n"), want) {
			t.Errorf("%s: %+v", want, got)
		}
	}
}

// A function that died behind its containment, or a rotation that was turned down: the next run starts it, and once only.
func TestARotationThatWasNotStartedIsStartedByTheNextRun(t *testing.T) {
	f, v := newFake(), &vault{busy: true}
	v.add("export/key", user, true)
	w := withVault(t, f, v)
	w.Must(w.Request(incident.Apply, first, user, nil))
	v.busy = false
	for range 2 {
		if got := w.Must(w.Request(incident.Apply, first, user, nil)); got.Outcome != incident.Already {
			t.Fatalf("again %s", got.Outcome)
		}
	}
	if len(v.rotations) != 1 {
		t.Errorf("rotations %v", v.rotations)
	}
	for secret, tokens := range v.rotations {
		if len(tokens) != 1 {
			t.Errorf("%s was rotated %d times for one incident", secret, len(tokens))
		}
	}
}

// Nothing rotates before the keys are dead, in mode plan, or on an undo.
func TestNothingRotatesWithoutADeadKey(t *testing.T) {
	for name, do := range map[string]func(*actiontest.World, *fake){
		"plan": func(w *actiontest.World, _ *fake) { w.Must(w.Request(incident.Look, first, user, nil)) },
		"mode plan": func(w *actiontest.World, _ *fake) {
			w.Guard(func(g *setting.Guard) { g.Mode = setting.Plan })
			w.Must(w.Request(incident.Apply, first, user, nil))
		},
		"denied": func(w *actiontest.World, f *fake) {
			f.denied = one
			_, _ = w.Do(w.Request(incident.Apply, first, user, nil))
		},
		"no secret": func(w *actiontest.World, _ *fake) {
			w.Must(w.Request(incident.Apply, first, "arn:aws:iam::222222222222:user/other/export", nil))
		},
	} {
		f, v := newFake(), &vault{}
		v.add("export/key", user, true)
		if name == "no secret" {
			v.secrets = nil
		}
		do(withVault(t, f, v), f)
		if len(v.rotations) > 0 || len(v.told) > 0 {
			t.Errorf("%s: rotated %v, told %v", name, v.rotations, v.told)
		}
	}
}

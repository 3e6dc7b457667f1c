package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"firebreak/lib/compliance"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// customer is whose keys are wanted; any other answer of owner says in words what is wrong with a key.
const customer = "customer"

// owner says whose key it is. The resource's own account is asked only about its own keys: AWS keeps its keys in the account
// that uses them, so a key of another account is a customer's.
func (r rule) owner(ctx context.Context, i compliance.Item, key string) (string, error) {
	switch at, err := arn.Parse(key); {
	case strings.HasPrefix(key, "the key"), strings.Contains(key, "alias/aws/"):
		return "AWS manages", nil
	case key != "" && err == nil && at.AccountID != i.Account:
		return customer, nil
	case key == "":
		return "Config did not record", nil
	}
	out, err := r.keys.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &key})
	var none *types.NotFoundException
	switch {
	case errors.As(err, &none):
		return "does not exist", nil
	case err != nil:
		return "", fmt.Errorf("look at key %s: %w", key, err)
	case out.KeyMetadata == nil || out.KeyMetadata.KeyManager == types.KeyManagerTypeAws:
		return "AWS manages", nil
	case out.KeyMetadata.KeyState == types.KeyStatePendingDeletion:
		return "is about to be deleted", nil
	}
	return customer, nil
}

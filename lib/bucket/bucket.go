// Package bucket knows the S3 buckets that steps name.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"firebreak/lib/action"
	"firebreak/lib/fault"
	"firebreak/lib/incident"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
)

// API is the call that this package makes.
type API interface {
	GetBucketTagging(context.Context, *s3.GetBucketTaggingInput, ...func(*s3.Options)) (*s3.GetBucketTaggingOutput, error)
}

// Name gives the bucket's name. Errors: BadInput for an object or anything else.
func Name(t incident.Target) (string, error) {
	if t.Service != "s3" || t.Resource == "" || strings.ContainsAny(t.Resource, "/*?") {
		return "", fault.New(fault.BadInput, "%s is not an S3 bucket", t.ARN)
	}
	return t.Resource, nil
}

// Tags reads the bucket's tags, none where it has none. Errors: ErrGone.
func Tags(ctx context.Context, api API, t incident.Target) (map[string]string, error) {
	name, err := Name(t)
	if err != nil {
		return nil, err
	}
	out, err := api.GetBucketTagging(ctx, &s3.GetBucketTaggingInput{Bucket: &name, ExpectedBucketOwner: &t.Account})
	if Answered(err, "NoSuchTagSet") {
		return map[string]string{}, nil
	}
	if err != nil {
		return nil, Said(err, "read the tags of bucket %s", name)
	}
	tags := map[string]string{}
	for _, tag := range out.TagSet {
		tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	return tags, nil
}

// Answered tells whether S3 answered with that error code.
func Answered(err error, code string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == code
}

// Said makes action.ErrGone of a bucket that does not exist and says what was being done otherwise. A nil err stays nil.
func Said(err error, format string, args ...any) error {
	switch {
	case err == nil:
		return nil
	case Answered(err, "NoSuchBucket"):
		return action.ErrGone
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}

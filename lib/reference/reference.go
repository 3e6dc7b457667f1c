// Package reference stands in for an event that is too large for a state: the event lies in the evidence bucket, and the execution
// starts with where it lies and its hash. Such an input stands alone under the key "reference"; an event from a bus never carries
// that key at top level, since a rule passes the whole envelope.
package reference

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"regexp"

	"firebreak/lib/fault"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Limit is how many bytes an execution's input may have. A state holds 256 KiB (Step Functions developer guide, "Quotas"), the first
// one passes the input on within more, and quoting may lengthen it; beyond it ends as States.DataLimitExceeded, which no Catch takes.
const Limit = 200_000

// Largest is what is read back: four times what a bus carries.
const Largest = 4 << 20

// folder is where the events lie in the bucket.
const folder = "oversize/"

// Reference says where an event lies, and what it must be.
type Reference struct {
	Key     string `json:"key"`
	Version string `json:"version"`
	SHA256  string `json:"sha256"`
}

// PutAPI is the call that stores.
type PutAPI interface {
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
}

// GetAPI is the call that reads.
type GetAPI interface {
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
}

// Input makes an execution's input of an event: the event itself where a state can take it, otherwise it is stored and the
// input refers to it. The same event always lies under the same key. Errors: BadInput for one that nobody would read back;
// Unreadable or Throttled where it cannot be stored.
func Input(ctx context.Context, api PutAPI, bucket string, event []byte) ([]byte, error) {
	if len(event) <= Limit {
		return event, nil
	}
	if len(event) > Largest {
		return nil, fault.New(fault.BadInput, "the event has %d bytes, more than the %d that are read back", len(event), Largest)
	}
	sum := sha256.Sum256(event)
	r := Reference{SHA256: hex.EncodeToString(sum[:])}
	r.Key = folder + r.SHA256 + ".json"
	out, err := api.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &r.Key, Body: bytes.NewReader(event), ContentType: aws.String("application/json"), ChecksumAlgorithm: types.ChecksumAlgorithmSha256})
	if err != nil {
		return nil, fault.Wrap(unreadable(err), err, "keep an event of %d bytes as s3://%s/%s", len(event), bucket, r.Key)
	}
	if r.Version = aws.ToString(out.VersionId); r.Version == "" {
		return nil, fault.New(fault.Unreadable, "s3://%s keeps no versions: an event in it could be changed before it is read", bucket)
	}
	return json.Marshal(map[string]Reference{"reference": r})
}

var hash = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Read gives the event that an input refers to; ok is false for an input that is no reference. The bucket is the caller's, never
// the input's. Errors: BadInput where the reference is not one that Input makes, or what lies there is not what it says; Unreadable
// or Throttled where it cannot be read.
func Read(ctx context.Context, api GetAPI, bucket string, input []byte) (event []byte, ok bool, err error) {
	var top map[string]json.RawMessage
	if json.Unmarshal(input, &top) != nil || top["reference"] == nil {
		return nil, false, nil
	}
	r, err := parse(top)
	if err != nil {
		return nil, true, err
	}
	where := fmt.Sprintf("s3://%s/%s", bucket, r.Key)
	out, err := api.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &r.Key, VersionId: &r.Version})
	if err != nil {
		return nil, true, fault.Wrap(unreadable(err), err, "read the event %s", where)
	}
	defer out.Body.Close()
	event, err = io.ReadAll(io.LimitReader(out.Body, Largest+1))
	if err != nil {
		return nil, true, fault.Wrap(fault.Throttled, err, "read the event %s", where)
	}
	if len(event) > Largest {
		return nil, true, fault.New(fault.BadInput, "%s has more than %d bytes", where, Largest)
	}
	if sum := sha256.Sum256(event); hex.EncodeToString(sum[:]) != r.SHA256 {
		return nil, true, fault.New(fault.BadInput, "%s is not the event that the execution was started for: its hash differs", where)
	}
	return event, true, nil
}

func parse(top map[string]json.RawMessage) (Reference, error) {
	var r Reference
	dec := json.NewDecoder(bytes.NewReader(top["reference"]))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return r, fault.Wrap(fault.BadInput, err, "the reference is not what it should be")
	}
	if len(top) > 1 || !hash.MatchString(r.SHA256) || r.Key != folder+r.SHA256+".json" || r.Version == "" {
		return r, fault.New(fault.BadInput, "the reference is not what it should be: it names no version of an event under %s", folder)
	}
	return r, nil
}

// unreadable keeps a name that the error has already.
func unreadable(err error) fault.Name {
	if n := fault.NameOf(err); n != fault.Unexpected {
		return n
	}
	return fault.Unreadable
}

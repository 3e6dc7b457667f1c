package reference

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"firebreak/lib/fault"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// bucket keeps objects by key and version.
type bucket struct {
	objects map[string][]byte
	version string
	asked   []string
	err     error
}

func (b *bucket) PutObject(_ context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	if b.err != nil {
		return nil, b.err
	}
	body, err := io.ReadAll(in.Body)
	b.objects[*in.Bucket+" "+*in.Key+" "+b.version] = body
	return &s3.PutObjectOutput{VersionId: aws.String(b.version)}, err
}

func (b *bucket) GetObject(_ context.Context, in *s3.GetObjectInput, _ ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	name := *in.Bucket + " " + *in.Key + " " + aws.ToString(in.VersionId)
	b.asked = append(b.asked, name)
	body, ok := b.objects[name]
	if b.err != nil || !ok {
		return nil, errors.Join(b.err, errors.New("NoSuchKey"))
	}
	return &s3.GetObjectOutput{Body: io.NopCloser(bytes.NewReader(body))}, nil
}

func large() []byte {
	return []byte(`{"source":"aws.guardduty","detail":"` + strings.Repeat("x", Limit) + `"}`)
}

func TestAnEventThatFitsIsItsOwnInput(t *testing.T) {
	b := &bucket{objects: map[string][]byte{}, version: "v1"}
	event := bytes.Repeat([]byte("x"), Limit)
	input, err := Input(context.Background(), b, "evidence", event)
	if err != nil || !bytes.Equal(input, event) || len(b.objects) != 0 {
		t.Errorf("%d bytes, %d objects, %v", len(input), len(b.objects), err)
	}
	for _, no := range []string{`{"source":"aws.guardduty"}`, `[]`, `"reference"`, `{`} {
		if _, ok, err := Read(context.Background(), b, "evidence", []byte(no)); ok || err != nil {
			t.Errorf("%s is taken for a reference (%v)", no, err)
		}
	}
}

func TestALargeEventComesBackByReference(t *testing.T) {
	b := &bucket{objects: map[string][]byte{}, version: "v1"}
	input, err := Input(context.Background(), b, "evidence", large())
	if err != nil || len(input) > 300 {
		t.Fatalf("%d bytes: %v", len(input), err)
	}
	event, ok, err := Read(context.Background(), b, "evidence", input)
	if !ok || err != nil || !bytes.Equal(event, large()) {
		t.Errorf("%v, %d bytes, %v", ok, len(event), err)
	}
	if again, _ := Input(context.Background(), b, "evidence", large()); !bytes.Equal(again, input) {
		t.Error("the same event has another input")
	}
}

// A reference that was written by hand reads nothing but what Input has stored in the caller's own bucket.
func TestAReferenceReadsNothingElse(t *testing.T) {
	sum := strings.Repeat("a", 64)
	for what, input := range map[string]string{
		"another folder":   `{"reference":{"key":"findings/` + sum + `.json","version":"v1","sha256":"` + sum + `"}}`,
		"a way out":        `{"reference":{"key":"oversize/../` + sum + `.json","version":"v1","sha256":"` + sum + `"}}`,
		"another bucket":   `{"reference":{"bucket":"mine","key":"oversize/` + sum + `.json","version":"v1","sha256":"` + sum + `"}}`,
		"no hash":          `{"reference":{"key":"oversize/` + sum + `.json","version":"v1"}}`,
		"no version":       `{"reference":{"key":"oversize/` + sum + `.json","sha256":"` + sum + `"}}`,
		"something beside": `{"source":"aws.guardduty","reference":{"key":"oversize/` + sum + `.json","version":"v1","sha256":"` + sum + `"}}`,
		"text":             `{"reference":"oversize/` + sum + `.json"}`,
	} {
		b := &bucket{}
		if _, ok, err := Read(context.Background(), b, "evidence", []byte(input)); !ok || !fault.Is(err, fault.BadInput) || len(b.asked) != 0 {
			t.Errorf("%s: %v, %v, read %v", what, ok, err, b.asked)
		}
	}
}

func TestWhatWasChangedOrCannotBeReadIsNoEvent(t *testing.T) {
	b := &bucket{objects: map[string][]byte{}, version: "v1"}
	input, err := Input(context.Background(), b, "evidence", large())
	if err != nil {
		t.Fatal(err)
	}
	kept := b.objects
	for what, c := range map[string]struct {
		body []byte
		err  error
		want fault.Name
	}{
		"changed":   {append(large(), ' '), nil, fault.BadInput},
		"too large": {bytes.Repeat([]byte(" "), Largest+1), nil, fault.BadInput},
		"gone":      {nil, nil, fault.Unreadable},
		"denied":    {nil, errors.New("AccessDenied"), fault.Unreadable},
	} {
		b.objects, b.err = map[string][]byte{}, c.err
		for name := range kept {
			if c.body != nil {
				b.objects[name] = c.body
			}
		}
		if event, ok, err := Read(context.Background(), b, "evidence", input); !ok || !fault.Is(err, c.want) || event != nil {
			t.Errorf("%s: %d bytes, %v, want %s", what, len(event), err, c.want)
		}
	}
	b.err = nil
	if _, err := Input(context.Background(), b, "evidence", make([]byte, Largest+1)); !fault.Is(err, fault.BadInput) {
		t.Errorf("an event that nobody would read back: %v", err)
	}
	b.version = ""
	if _, err := Input(context.Background(), b, "evidence", large()); !fault.Is(err, fault.Unreadable) {
		t.Errorf("a bucket without versions: %v", err)
	}
}

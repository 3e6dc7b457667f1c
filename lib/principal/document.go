package principal

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	"firebreak/lib/action"

	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// Foreign begins the value of a policy under our name that is not ours.
const Foreign = "other:"

// kept is how many characters of somebody else's document are kept: states travel through the ledger and into results.
const kept = 2000

// Other gives the value that stands for somebody else's document, and the document itself where it is short enough to keep.
func Other(doc string) (value, keep string) {
	sum := sha256.Sum256([]byte(doc))
	if len(doc) <= kept {
		keep = doc
	}
	return Foreign + hex.EncodeToString(sum[:]), keep
}

// Canonical reads a policy document as IAM gives it (JSON, percent-encoded by RFC 3986) and writes it with sorted keys and
// without space. What is not JSON stays as it is.
func Canonical(encoded string) string {
	doc, err := url.PathUnescape(encoded)
	if err != nil {
		doc = encoded
	}
	var v any
	if json.Unmarshal([]byte(doc), &v) != nil {
		return doc
	}
	out, err := json.Marshal(v)
	if err != nil {
		return doc
	}
	return string(out)
}

// Said makes action.ErrGone of IAM's NoSuchEntity and says what was being done otherwise. A nil err stays nil.
func Said(err error, format string, args ...any) error {
	var no *types.NoSuchEntityException
	switch {
	case err == nil:
		return nil
	case errors.As(err, &no):
		return action.ErrGone
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}

// Gone tells whether IAM answered that what was named does not exist.
func Gone(err error) bool {
	var no *types.NoSuchEntityException
	return errors.As(err, &no)
}

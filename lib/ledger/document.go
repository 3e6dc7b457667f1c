package ledger

import (
	"context"
	"errors"
)

// Document is a text that is too long for a state: a policy as it was before a change. It stands under its digest, beside the
// hold and not with the findings in S3: a policy is small (a bucket's has 20 KB at most, an item 400), and so no action needs a right
// to the evidence, and an undo has one store that has to be there.
type Document struct {
	Text string `json:"text"`
}

// DocumentKey is the key of a resource's document.
func DocumentKey(resource, digest string) Key { return Key{"RES#" + resource, "DOCUMENT#" + digest} }

// Keep writes a document down. What is kept already means the same. Errors: Unreadable.
func Keep(ctx context.Context, s Store, k Key, text string) error {
	it, err := Load[Document](ctx, s, k)
	if err != nil || it.Exists() {
		return err
	}
	it.Value.Text = text
	if err := Save(ctx, s, &it); !errors.Is(err, ErrConflict) {
		return err
	}
	return nil // somebody kept it meanwhile
}

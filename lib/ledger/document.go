package ledger

import (
	"context"
	"errors"
)

// Document is a text that is too long for a state: a policy as it was before a change. It stands under its digest.
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

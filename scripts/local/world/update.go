package world

import (
	"context"
	"io"
)

// Update deploys the hub once more, with parameters as Name=value changed and all others as they are.
func (p *Platform) Update(ctx context.Context, w io.Writer, parameters ...string) error {
	args := []string{"hub", "--arch", arch(), "--drill=false"}
	for _, set := range parameters {
		args = append(args, "--set", set)
	}
	_, err := p.Tell(ctx, w, HubAccount, "scripts/deploy", args...)
	return err
}

// Field gives the value of a hidden field of a page's form.
func Field(page, name string) string { return readForm(page).fields.Get(name) }

package boot

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"firebreak/lib/fault"

	"github.com/aws/aws-lambda-go/lambda/messages"
)

// What the machine catches is the type of the error that leaves a function, and nothing leaves one without a name of the vocabulary.
func TestErrorsLeaveUnderTheirNames(t *testing.T) {
	type in struct{ Say string }
	serve := edge(func(_ context.Context, i in) (string, error) {
		switch i.Say {
		case "busy":
			return "", fault.New(fault.Busy, "somebody has it")
		case "no":
			return "", errors.New("no")
		}
		return i.Say, nil
	})
	for input, want := range map[string]fault.Name{`{"say":"busy"}`: fault.Busy, `{"say":"no"}`: fault.Unexpected, `{"say":1}`: fault.BadInput, `[]`: fault.BadInput} {
		_, err := serve(t.Context(), json.RawMessage(input))
		var left messages.InvokeResponse_Error
		if !errors.As(err, &left) || left.Type != string(want) {
			t.Errorf("%s: %#v, want %s", input, err, want)
		}
	}
	if out, err := serve(t.Context(), json.RawMessage(`{"say":"done"}`)); err != nil || out != "done" {
		t.Errorf("%q, %v", out, err)
	}
}

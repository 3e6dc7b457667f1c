package fault

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/aws/smithy-go"
)

func TestNamesReachTheMachine(t *testing.T) {
	api := func(code string) error { return &smithy.GenericAPIError{Code: code, Message: "m"} }
	for _, c := range []struct {
		err  error
		want Name
	}{
		{New(Busy, "x"), Busy},
		{fmt.Errorf("outer: %w", New(Busy, "x")), Busy},
		{Wrap(NotVerified, api("AccessDenied"), "x"), NotVerified},
		{fmt.Errorf("x: %w", api("AccessDenied")), Denied},
		{api("AccessDeniedException"), Denied},
		{api("UnauthorizedOperation"), Denied},
		{api("Throttling"), Throttled},
		{api("ThrottlingException"), Throttled},
		{api("RequestLimitExceeded"), Throttled},
		{api("NoSuchEntity"), Unexpected},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), Throttled},
		{errors.New("x"), Unexpected},
	} {
		var got messages.InvokeResponse_Error
		if !errors.As(Expose(c.err), &got) || got.Type != string(c.want) {
			t.Errorf("%v is exposed as %q, want %q", c.err, got.Type, c.want)
		}
		if got.Message != c.err.Error() {
			t.Errorf("message %q, want %q", got.Message, c.err)
		}
	}
	if Expose(nil) != nil || Wrap(Busy, nil, "x") != nil {
		t.Error("nil became an error")
	}
}

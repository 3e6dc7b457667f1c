package fault

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

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

func TestALongMessageKeepsItsEnds(t *testing.T) {
	var got messages.InvokeResponse_Error
	if !errors.As(Expose(New(Busy, "first %s last", strings.Repeat("é", 100_000))), &got) {
		t.Fatal("not exposed")
	}
	if len(got.Message) > longest+10 || !strings.HasPrefix(got.Message, "first ") || !strings.HasSuffix(got.Message, " last") || !utf8.ValidString(got.Message) {
		t.Errorf("%d bytes: %.20s … ", len(got.Message), got.Message)
	}
}

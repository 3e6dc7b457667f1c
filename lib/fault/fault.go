// Package fault holds the error names that the state machines may catch or retry, and the one edge function that exposes them.
//
// Step Functions sees the errorType that the Lambda runtime reports. aws-lambda-go takes it from the error's Go type, so a
// wrapped error would show as "wrapError"; only messages.InvokeResponse_Error returned by value keeps a chosen name (measured
// with aws-lambda-go 1.55).
package fault

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/aws/smithy-go"
)

// Name is an error name as it stands in ErrorEquals.
type Name string

// The closed vocabulary. A machine may name only these and the names of Lambda and Step Functions themselves.
const (
	Busy        Name = "Busy"        // another execution holds a live lease on the resource: try again later
	Throttled   Name = "Throttled"   // AWS asked for patience, or did not answer: try again later
	NotVerified Name = "NotVerified" // applied, but the read-back never stayed contained: a person is needed
	Denied      Name = "Denied"      // a role lacks a permission: mend the role, then redrive
	Incomplete  Name = "Incomplete"  // an ending was claimed that the outcomes do not bear out
	Unreadable  Name = "Unreadable"  // a setting, playbook or record could not be read: nothing was done
	BadInput    Name = "BadInput"    // the input cannot be what the function is for: nothing was done
	Unexpected  Name = "Unexpected"  // anything else
)

// Names lists the vocabulary, for tests that hold machines against it.
func Names() []Name {
	return []Name{Busy, Throttled, NotVerified, Denied, Incomplete, Unreadable, BadInput, Unexpected}
}

type named struct {
	name Name
	msg  string
	err  error
}

func (e *named) Error() string {
	if e.err == nil {
		return e.msg
	}
	return e.msg + ": " + e.err.Error()
}

func (e *named) Unwrap() error { return e.err }

// New makes an error of that name. The message says what happened, to what, and the way out.
func New(n Name, format string, args ...any) error {
	return &named{name: n, msg: fmt.Sprintf(format, args...)}
}

// Wrap gives err a name and says what was being done. A nil err stays nil.
func Wrap(n Name, err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &named{name: n, msg: fmt.Sprintf(format, args...), err: err}
}

// NameOf tells the name under which err is exposed: the innermost explicit name wins over what AWS answered, because the
// caller who named it knew more.
func NameOf(err error) Name {
	var n *named
	if errors.As(err, &n) {
		return n.name
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		switch code := api.ErrorCode(); {
		case strings.Contains(code, "Throttl"), code == "RequestLimitExceeded", code == "TooManyRequestsException",
			code == "ProvisionedThroughputExceededException", code == "SlowDown", code == "ServiceUnavailable",
			code == "InternalError", code == "InternalFailure", code == "InternalServerError", code == "TransactionConflictException",
			code == "ConcurrentModification", code == "ConcurrentModificationException", code == "OperationAborted":
			return Throttled
		case strings.HasPrefix(code, "AccessDenied"), code == "UnauthorizedOperation", code == "AuthorizationError",
			code == "AuthorizationErrorException", code == "KMSAccessDeniedException":
			return Denied
		}
	}
	var netErr net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &netErr) {
		return Throttled
	}
	return Unexpected
}

// Is tells whether err is exposed under that name.
func Is(err error, n Name) bool { return err != nil && NameOf(err) == n }

// longest is how much of a message leaves a function, in bytes: it travels through dead letters and into the cause of a
// failed execution, which may have 32,768 characters in all (Step Functions, "Fail workflow state").
const longest = 4096

// Expose turns err into what the Lambda runtime passes on unchanged: by value, with the name as its type. A very long message
// loses its middle; the log has it whole.
func Expose(err error) error {
	if err == nil {
		return nil
	}
	msg := strings.ToValidUTF8(err.Error(), "?")
	if len(msg) > longest {
		msg = strings.ToValidUTF8(msg[:longest/2], "") + " … " + strings.ToValidUTF8(msg[len(msg)-longest/2:], "")
	}
	return messages.InvokeResponse_Error{Type: string(NameOf(err)), Message: msg}
}

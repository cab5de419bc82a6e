package apply

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxErrors is how many errors of one stage a message lists.
const maxErrors = 5

// objectError is what went wrong with one object.
type objectError struct {
	ref  Ref
	verb string
	err  error
}

// ErrorOf says what went wrong with an object, as all errors of this package do:
// nothing of a Secret's data is in it.
func ErrorOf(ref Ref, verb string, err error) error {
	return &objectError{ref: ref, verb: verb, err: err}
}

func (e *objectError) Unwrap() error { return e.err }

// Error names the object, what was attempted and the server's reason. What the
// server says of a Secret may quote its data, so of Secrets only the fields are
// named.
func (e *objectError) Error() string {
	var status apierrors.APIStatus
	if !errors.As(e.err, &status) {
		return fmt.Sprintf("%s %s failed: %v", e.ref, e.verb, e.err)
	}
	reason := status.Status().Reason
	if reason == "" || reason == metav1.StatusReasonUnknown {
		reason = metav1.StatusReason(fmt.Sprintf("code %d", status.Status().Code))
	}
	message := e.err.Error()
	if e.ref.Group == "" && e.ref.Kind == "Secret" {
		message = Masked(status.Status())
	}
	return fmt.Sprintf("%s %s failed (%s): %s", e.ref, e.verb, reason, message)
}

// dataKey is the field of one key of a Secret. A key may be a line of an encrypted file
// that lacks its "=".
var dataKey = regexp.MustCompile(`(?s)^(data|stringData)[.\[].*`)

// denied is how an answer begins that a policy or a webhook has given. What these say
// themselves comes after it, and may quote the object whatever the reason.
var denied = regexp.MustCompile(`^(?:secrets "[^"]*" is forbidden: )?(?:ValidatingAdmissionPolicy '[^']*' with binding '[^']*' denied request|admission webhook "[^"]*" denied the request)`)

// Masked is what may be said of a server's answer that concerns a Secret.
func Masked(status metav1.Status) string {
	if by := denied.FindString(status.Message); by != "" {
		return by + "; why is not shown, it may quote the data"
	}
	switch status.Reason {
	case metav1.StatusReasonForbidden, metav1.StatusReasonUnauthorized, metav1.StatusReasonNotFound,
		metav1.StatusReasonConflict, metav1.StatusReasonTooManyRequests, metav1.StatusReasonTimeout:
		return status.Message
	}
	var fields []string
	if status.Details != nil {
		for _, cause := range status.Details.Causes {
			field := strings.TrimSpace(fmt.Sprintf("%s %s", dataKey.ReplaceAllString(cause.Field, "$1[...]"), cause.Type))
			if field != "" {
				fields = append(fields, field)
			}
		}
	}
	if len(fields) == 0 {
		return "the server's message is not shown, it may quote the data"
	}
	return strings.Join(fields, ", ")
}

// joined makes one error of several, in their order and not too long.
func joined(errs []error) error {
	if len(errs) <= maxErrors {
		return errors.Join(errs...)
	}
	more := fmt.Errorf("and %d more", len(errs)-maxErrors)
	return errors.Join(append(errs[:maxErrors:maxErrors], more)...)
}

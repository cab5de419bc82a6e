package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"syscall"
)

// networkError is a target that does not answer, in words that stay the same
// from one attempt to the next: conditions and events repeat them.
type networkError struct {
	text  string
	cause error
}

func (e *networkError) Error() string { return e.text }
func (e *networkError) Unwrap() error { return e.cause }

// steady rewrites the errors of connections: without the ports of this end, and
// one text for all ways in which no answer comes.
func steady(err error) error {
	var (
		dns         *net.DNSError
		certificate *tls.CertificateVerificationError
		network     net.Error
		operation   *net.OpError
		request     *url.Error
		tooMuch     *tooMuchError
	)
	switch {
	case err == nil || isConfigError(err):
		return err
	case errors.As(err, &tooMuch):
		return tooMuch
	case errors.As(err, &certificate):
		return fmt.Errorf("the target's certificate is not accepted: %w", certificate.Err)
	case errors.As(err, &dns):
		return &networkError{fmt.Sprintf("no address for %s", dns.Name), err}
	case errors.Is(err, syscall.ECONNREFUSED):
		return &networkError{"connection refused", err}
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &networkError{"the connection was cut", err}
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return &networkError{"no answer in time", err}
	case errors.As(err, &operation):
		return &networkError{fmt.Sprintf("%s failed: %v", operation.Op, operation.Err), err}
	case errors.As(err, &request):
		return &networkError{fmt.Sprint(request.Err), err}
	}
	return err
}

// sameTrouble says whether a new error is no news after an old one: a target
// that is out of reach refuses, cuts and ignores in turn.
func sameTrouble(old, now error) bool {
	var a, b *networkError
	return errors.As(old, &a) && errors.As(now, &b)
}

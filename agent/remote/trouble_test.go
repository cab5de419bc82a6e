package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"
)

func TestErrorsOfConnectionsAreSteady(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	reset := &net.OpError{
		Op: "read", Net: "tcp", Source: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 43210},
		Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 6443}, Err: os.NewSyscallError("read", syscall.ECONNRESET),
	}
	unroutable := &net.OpError{Op: "dial", Net: "tcp", Source: reset.Source, Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)}
	for want, err := range map[string]error{
		"connection refused":                     &url.Error{Op: "Get", URL: "https://x/readyz", Err: refused},
		"the connection was cut":                 &url.Error{Op: "Get", URL: "https://x/readyz", Err: reset},
		"no answer in time":                      fmt.Errorf("probe: %w", context.DeadlineExceeded),
		"dial failed: connect: no route to host": unroutable,
		"no address for prod.example":            &net.DNSError{Err: "no such host", Name: "prod.example", Server: "10.0.0.1:53"},
	} {
		NewWithT(t).Expect(steady(err)).To(MatchError(want))
	}
	g := NewWithT(t)
	g.Expect(steady(io.EOF)).To(MatchError("the connection was cut"))
	g.Expect(sameTrouble(steady(refused), steady(reset))).To(BeTrue(), "still out of reach")
	g.Expect(sameTrouble(steady(refused), errors.New("an answer"))).To(BeFalse())
	g.Expect(sameTrouble(nil, steady(refused))).To(BeFalse())
	g.Expect(steady(nil)).To(Succeed())
}

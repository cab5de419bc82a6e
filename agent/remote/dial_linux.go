package remote

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// dialer opens connections on which data that stays unacknowledged for the
// given time ends the connection (TCP_USER_TIMEOUT, RFC 5482): a write cannot
// linger in the socket and arrive after the fence has passed on.
func dialer(timeout time.Duration) *net.Dialer {
	return &net.Dialer{
		Timeout:   timeout,
		KeepAlive: timeout,
		Control: func(_, _ string, conn syscall.RawConn) error {
			var failed error
			err := conn.Control(func(fd uintptr) {
				failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(timeout.Milliseconds()))
			})
			if err != nil {
				return err
			}
			return failed
		},
	}
}

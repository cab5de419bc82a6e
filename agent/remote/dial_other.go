//go:build !linux

package remote

import (
	"net"
	"time"
)

// dialer opens plain connections: TCP_USER_TIMEOUT exists on Linux alone, where
// agents run in production.
func dialer(timeout time.Duration) *net.Dialer {
	return &net.Dialer{Timeout: timeout, KeepAlive: timeout}
}

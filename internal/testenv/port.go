package testenv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// port is a loopback port that stays ours while nothing listens on it: a
// socket is bound to it but does not listen, so a connection is refused and
// nobody else can take it. Those that are to listen on it bind with
// SO_REUSEPORT beside it.
type port struct {
	number int
	socket *os.File
}

// reservePort lets the kernel choose a free port of 127.0.0.1.
func reservePort() (*port, error) {
	p, err := bindPort()
	if err != nil {
		return nil, fmt.Errorf("reserving a loopback port: %w", err)
	}
	return p, nil
}

func bindPort() (*port, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	socket := os.NewFile(uintptr(fd), "reserved port")
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
		unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	if err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	return &port{number: name.(*unix.SockaddrInet4).Port, socket: socket}, nil
}

func (p *port) address() string { return fmt.Sprintf("127.0.0.1:%d", p.number) }

// listen opens a listener on the port. It may be closed and opened again.
func (p *port) listen(ctx context.Context) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error {
		var failed error
		err := conn.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		})
		return errors.Join(err, failed)
	}}
	listener, err := config.Listen(ctx, "tcp4", p.address())
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", p.address(), err)
	}
	return listener, nil
}

func (p *port) release() error { return p.socket.Close() }

package testenv

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// gate holds up what passes while it is shut.
type gate struct {
	mu   sync.Mutex
	open chan struct{} // closed while the gate is open
}

func newGate() *gate {
	g := &gate{open: make(chan struct{})}
	close(g.open)
	return g
}

// set opens or shuts the gate.
func (g *gate) set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
		if !open {
			g.open = make(chan struct{})
		}
	default:
		if open {
			close(g.open)
		}
	}
}

// passage is closed when the gate opens.
func (g *gate) passage() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open
}

// faultyConn is a client's connection whose bytes are held up while the gate
// is shut, as if the network swallowed them.
type faultyConn struct {
	*net.TCPConn
	proxy  *Proxy
	closed chan struct{}
	once   sync.Once
	// peer is the process at the other end. It is looked for before anything
	// passes: a process that has sent something cannot have ended unseen.
	peer func() int
	// severed says that nothing passes any more, in either direction.
	severed atomic.Bool
}

// Read implements net.Conn. What arrived while the gate was shut is handed on
// when it opens; what arrives at a severed connection is lost.
func (c *faultyConn) Read(b []byte) (int, error) {
	c.peer()
	n, err := c.TCPConn.Read(b)
	if c.severed.Load() {
		<-c.closed
		return 0, net.ErrClosed
	}
	if !c.pass() {
		return 0, net.ErrClosed
	}
	return n, err
}

// Write implements net.Conn. To a severed connection it does nothing, and says
// that it was done: a sender is not told that a network swallows its packets.
func (c *faultyConn) Write(b []byte) (int, error) {
	if !c.pass() {
		return 0, net.ErrClosed
	}
	if c.severed.Load() {
		return len(b), nil
	}
	return c.TCPConn.Write(b)
}

// findPeer looks for the process, and whether that is cut off.
func (c *faultyConn) findPeer() int {
	pid := findPeer(addressOf(c.RemoteAddr()), addressOf(c.LocalAddr()))
	c.proxy.mu.Lock()
	defer c.proxy.mu.Unlock()
	if slices.Contains(c.proxy.severed, pid) {
		c.severed.Store(true)
	}
	return pid
}

// pass waits at the gate; it returns false when the connection was closed
// meanwhile.
func (c *faultyConn) pass() bool {
	select {
	case <-c.proxy.gate.passage():
		return true
	case <-c.closed:
		return false
	}
}

// Close implements net.Conn.
func (c *faultyConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	c.proxy.forget(c)
	return c.TCPConn.Close()
}

// reset closes the connection so that the client gets a TCP reset.
func (c *faultyConn) reset() {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// faultyListener makes every connection a faulty one.
type faultyListener struct {
	net.Listener
	proxy *Proxy
}

// Accept implements net.Listener.
func (l *faultyListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		faulty := &faultyConn{TCPConn: conn.(*net.TCPConn), proxy: l.proxy, closed: make(chan struct{})}
		faulty.peer = sync.OnceValue(faulty.findPeer)
		if l.proxy.admit(l, faulty) {
			return faulty, nil
		}
	}
}

// admit notes a connection, unless its listener was dropped meanwhile.
func (p *Proxy) admit(l *faultyListener, conn *faultyConn) bool {
	p.mu.Lock()
	admitted := p.listener == l
	if admitted {
		p.connections[conn] = struct{}{}
	}
	p.mu.Unlock()
	if !admitted {
		conn.reset()
	}
	return admitted
}

func (p *Proxy) forget(conn *faultyConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.connections, conn)
}

// Drop resets the connections and refuses new ones, as a server does that is
// down, until another fault or Heal. Every fault takes the place of the one
// before.
func (p *Proxy) Drop() {
	p.mu.Lock()
	listener := p.listener
	p.listener = nil
	p.delay = 0
	p.mu.Unlock()
	if listener != nil {
		_ = listener.Close()
	}
	p.gate.set(true)
	p.Cut()
}

// Hang takes connections but passes nothing in either direction, as a network
// does that swallows packets. Requests that have reached the API server go on
// there. What was held up is passed on when the fault ends.
func (p *Proxy) Hang() error {
	p.gate.set(false)
	return p.listen(0)
}

// Delay holds every request back for so long before it reaches the API server.
// One whose client goes meanwhile never reaches it.
func (p *Proxy) Delay(d time.Duration) error {
	p.gate.set(true)
	return p.listen(d)
}

// Sever cuts these processes off, and no others: nothing of theirs passes in
// either direction, on connections that they have and on those that they make,
// and neither side is told. What they send meanwhile never arrives, as it never
// does where both ends have given the connection up when the network is back.
// Requests that have reached the API server go on there.
//
// It takes the place of an earlier Sever, and is independent of other faults;
// without processes it ends, as with Heal. Connections that were severed are then
// reset.
func (p *Proxy) Sever(pids ...int) {
	p.mu.Lock()
	p.severed = slices.Clone(pids)
	p.mu.Unlock()
	for _, conn := range p.open() {
		switch severed := slices.Contains(pids, conn.peer()); {
		case severed:
			conn.severed.Store(true)
		case conn.severed.Load():
			conn.reset()
		}
	}
}

// Heal ends all faults.
func (p *Proxy) Heal() error {
	p.Sever()
	p.gate.set(true)
	return p.listen(0)
}

// Cut resets the connections once. New ones are not affected.
func (p *Proxy) Cut() {
	for _, conn := range p.open() {
		conn.reset()
	}
}

// open lists the connections.
func (p *Proxy) open() []*faultyConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.connections))
}

// listen takes connections from now on, and sets the delay of requests.
func (p *Proxy) listen(delay time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = delay
	if p.listener != nil || p.ctx.Err() != nil {
		return nil
	}
	listener, err := p.port.listen(p.ctx)
	if err != nil {
		return fmt.Errorf("proxy %s: %w", p.Name, err)
	}
	p.listener = &faultyListener{Listener: listener, proxy: p}
	go func(l net.Listener) { _ = p.server.ServeTLS(l, "", "") }(p.listener) // ends with the listener
	return nil
}

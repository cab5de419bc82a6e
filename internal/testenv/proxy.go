package testenv

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"sync"
	"time"
)

// Proxy stands in front of a control plane's API server, at an address of its
// own: it records every request and plays a bad network. It speaks TLS with a
// certificate of the control plane's CA, HTTP/1.1 and HTTP/2, and passes
// bearer tokens on; client certificates end at it, and upgrades (exec,
// port-forward) are not supported.
//
// A mutating request that has reached the API server is seen through to its
// answer even when its client goes, for the record must tell when the write
// was over. That is the worst that a network can do, too: the cut that the
// server does not hear of.
//
// Its methods may be called from several goroutines.
type Proxy struct {
	// Name is what the records call it.
	Name string
	// URL is its address. It stays the same while it refuses connections.
	URL string

	control *ControlPlane
	port    *port
	gate    *gate
	server  *http.Server
	forward *httputil.ReverseProxy

	ctx  context.Context // ends with Stop
	stop context.CancelFunc

	mu          sync.Mutex // guards what follows
	listener    *faultyListener
	connections map[*faultyConn]struct{}
	delay       time.Duration
	severed     []int // processes
	records     []*Record
}

// Proxy starts a proxy in front of the API server. It needs a port and a
// connection to the API server, no more, so there may be hundreds. Stop it, or
// leave it until the program ends.
func (c *ControlPlane) Proxy(name string) (*Proxy, error) {
	p, err := c.newProxy(name)
	if err != nil {
		return nil, fmt.Errorf("starting proxy %s: %w", name, err)
	}
	if err := p.listen(0); err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

func (c *ControlPlane) newProxy(name string) (*Proxy, error) {
	upstream, err := url.Parse(c.URL)
	if err != nil {
		return nil, err
	}
	certificate, err := tls.X509KeyPair(c.serving.certificate, c.serving.key)
	if err != nil {
		return nil, err
	}
	p := &Proxy{Name: name, control: c, gate: newGate(), connections: map[*faultyConn]struct{}{}}
	if p.port, err = reservePort(); err != nil {
		return nil, err
	}
	p.URL = "https://" + p.port.address()
	p.ctx, p.stop = context.WithCancel(context.Background())
	silent := log.New(io.Discard, "", 0) // broken connections are its business
	p.forward = &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(upstream) },
		Transport:      c.transport(),
		FlushInterval:  -1, // watches
		ModifyResponse: p.answered,
		ErrorHandler:   func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:       silent,
	}
	p.server = &http.Server{
		Handler:           http.HandlerFunc(p.serve),
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
		ConnContext:       identify,
		ReadHeaderTimeout: readHeaderTimeout,
		ErrorLog:          silent,
	}
	return p, nil
}

// transport makes connections to the API server.
func (c *ControlPlane) transport() *http.Transport {
	roots := x509.NewCertPool()
	roots.AddCert(c.authority.certificate)
	return &http.Transport{
		TLSClientConfig:    &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:  true,
		DisableCompression: true, // the client's own wish is passed on
	}
}

// Kubeconfig returns a kubeconfig that leads through the proxy.
func (p *Proxy) Kubeconfig(token string) ([]byte, error) {
	return p.control.tokenKubeconfig(p.URL, token)
}

// Records returns a copy of what was recorded, by begin. Requests that go on
// are among it.
func (p *Proxy) Records() []Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	records := make([]Record, len(p.records))
	for i, record := range p.records {
		records[i] = *record
	}
	return records
}

// Reset forgets what was recorded.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.records = nil
}

// Stop resets all connections and gives the port back. It may be called more
// than once.
func (p *Proxy) Stop() {
	p.stop()
	p.Drop()
	_ = p.server.Close()
	_ = p.port.release()
	p.forward.Transport.(*http.Transport).CloseIdleConnections()
}

type contextKey int

const (
	peerKey   contextKey = iota // func() int: the process of a connection
	recordKey                   // *Record: what to note the answer in
)

// identify lets requests find the process of their connection.
func identify(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, peerKey, conn.(*tls.Conn).NetConn().(*faultyConn).peer)
}

func addressOf(address net.Addr) netip.AddrPort {
	port := address.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(port.Addr().Unmap(), port.Port())
}

// serve records a request, holds it back if told so, and forwards it.
func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	var content []byte
	if r.Body != nil {
		var err error
		if content, err = io.ReadAll(r.Body); err != nil {
			panic(http.ErrAbortHandler) // it was cut off while it was sent
		}
	}
	record := newRecord(r, content)
	record.Proxy = p.Name
	record.PID = r.Context().Value(peerKey).(func() int)()
	delay := p.begin(record)
	defer p.end(record)
	if !hold(r.Context(), delay) {
		panic(http.ErrAbortHandler)
	}
	ctx := context.WithValue(r.Context(), recordKey, record)
	if record.Mutating {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		defer context.AfterFunc(p.ctx, cancel)()
	}
	r = r.WithContext(ctx)
	r.Body = io.NopCloser(bytes.NewReader(content))
	p.forward.ServeHTTP(w, r)
}

// hold waits; it returns false when the client goes meanwhile.
func hold(ctx context.Context, delay time.Duration) bool {
	if delay == 0 {
		return true
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (p *Proxy) begin(record *Record) (delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	record.Begin = time.Now()
	p.records = append(p.records, record)
	return p.delay
}

// answered notes the API server's answer. A write is over with it.
func (p *Proxy) answered(response *http.Response) error {
	record, ok := response.Request.Context().Value(recordKey).(*Record)
	if !ok {
		return errors.New("a request without a record")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	record.Status = response.StatusCode
	if record.Mutating {
		record.End = time.Now()
	}
	return nil
}

func (p *Proxy) end(record *Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if record.End.IsZero() {
		record.End = time.Now()
	}
}

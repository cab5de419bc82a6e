package testenv

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
)

// Internet is an HTTP proxy on loopback behind which handlers stand for hosts of
// the Internet, over TLS. Nothing leaves the machine: a host for which none
// stands is refused. Its methods may be called from several goroutines.
type Internet struct {
	// Proxy is its URL, and CA the authority of its hosts as PEM.
	Proxy string
	CA    []byte

	authority *authority
	tunnels   *tunnels
	servers   []*http.Server

	mu    sync.Mutex
	hosts map[string]http.Handler
	pairs map[string]*tls.Certificate
}

// StartInternet starts one that has no hosts yet.
func StartInternet(ctx context.Context) (*Internet, error) {
	authority, err := newAuthority("the Internet's CA")
	if err != nil {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting the proxy: %w", err)
	}
	i := &Internet{
		Proxy: "http://" + listener.Addr().String(), CA: authority.pem, authority: authority,
		tunnels: &tunnels{Listener: listener, come: make(chan net.Conn), ended: make(chan struct{})},
		hosts:   map[string]http.Handler{}, pairs: map[string]*tls.Certificate{},
	}
	quiet := log.New(io.Discard, "", 0)
	outer := &http.Server{Handler: http.HandlerFunc(i.connect), ReadHeaderTimeout: readHeaderTimeout, ErrorLog: quiet}
	inner := &http.Server{Handler: http.HandlerFunc(i.serve), ReadHeaderTimeout: readHeaderTimeout, ErrorLog: quiet}
	i.servers = []*http.Server{outer, inner}
	secure := tls.NewListener(i.tunnels, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: i.certificate})
	go func() { _ = outer.Serve(listener) }() // both end with Stop
	go func() { _ = inner.Serve(secure) }()
	return i, nil
}

// Stop ends it.
func (i *Internet) Stop() {
	close(i.tunnels.ended)
	for _, server := range i.servers {
		_ = server.Close()
	}
}

// Host has the handler stand for a host, or another one from now on. A host that
// is reached without TLS, as the metadata services of machines are, is named with
// http:// in front.
func (i *Internet) Host(name string, handler http.Handler) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.hosts[name] = handler
}

// Join has this process reach the Internet here alone, and trust its hosts,
// whatever the machine's own way is. It is for the beginning of TestMain: Go reads
// the settings once.
func (i *Internet) Join(dir string) error {
	file := filepath.Join(dir, "internet.pem")
	err := os.WriteFile(file, i.CA, 0o600)
	for name, value := range map[string]string{
		"SSL_CERT_FILE": file, "HTTPS_PROXY": i.Proxy, "HTTP_PROXY": i.Proxy, "NO_PROXY": "", "no_proxy": "", "AWS_CA_BUNDLE": "",
	} {
		err = errors.Join(err, os.Setenv(name, value))
	}
	return err
}

// connect makes a tunnel to a host that is known, or asks one that needs none.
func (i *Internet) connect(w http.ResponseWriter, r *http.Request) {
	if handler := i.handler("http://" + r.Host); r.URL.Scheme == "http" && handler != nil {
		handler.ServeHTTP(w, r)
		return
	}
	host, port, err := net.SplitHostPort(r.Host)
	if r.Method != http.MethodConnect || err != nil || port != "443" || i.handler(host) == nil {
		http.Error(w, "no such host on this Internet: "+r.Method+" "+r.Host, http.StatusBadGateway)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		_ = conn.Close()
		return
	}
	select {
	case i.tunnels.come <- tunnel{conn, buffered.Reader}:
	case <-i.tunnels.ended:
		_ = conn.Close()
	}
}

func (i *Internet) serve(w http.ResponseWriter, r *http.Request) {
	if handler := i.handler(r.Host); handler != nil {
		handler.ServeHTTP(w, r)
		return
	}
	http.NotFound(w, r)
}

func (i *Internet) handler(host string) http.Handler {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.hosts[host]
}

// certificate issues one for the host that is asked for.
func (i *Internet) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if pair, ok := i.pairs[hello.ServerName]; ok {
		return pair, nil
	}
	template, err := newTemplate(pkix.Name{CommonName: "a host"})
	if err != nil {
		return nil, err
	}
	template.DNSNames = []string{hello.ServerName}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	issued, err := i.authority.issue(template)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(issued.certificate, issued.key)
	if err != nil {
		return nil, err
	}
	i.pairs[hello.ServerName] = &pair
	return &pair, nil
}

// tunnels is a listener that accepts what comes through the proxy.
type tunnels struct {
	net.Listener
	come  chan net.Conn
	ended chan struct{}
}

func (t *tunnels) Accept() (net.Conn, error) {
	select {
	case conn := <-t.come:
		return conn, nil
	case <-t.ended:
		return nil, net.ErrClosed
	}
}

// tunnel is a connection of which some may be read already.
type tunnel struct {
	net.Conn
	r *bufio.Reader
}

func (t tunnel) Read(p []byte) (int, error) { return t.r.Read(p) }

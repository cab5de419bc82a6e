package testenv

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
)

// siteAddress is not the loopback address that registry clients take for one
// without TLS.
var siteAddress = net.IPv4(127, 0, 0, 2)

// Site is an HTTPS server that stands for what is reached over the Internet. Its
// certificate is issued by an authority of its own.
type Site struct {
	// Host is its address and port, and URL that with its scheme.
	Host, URL string
	// CA is the authority's certificate as PEM, for SSL_CERT_FILE.
	CA []byte

	server *http.Server
}

// StartSite starts one that answers by the handler.
func StartSite(ctx context.Context, handler http.Handler) (*Site, error) {
	authority, err := newAuthority("somebody's CA")
	if err != nil {
		return nil, err
	}
	pair, err := authority.server(siteAddress)
	if err != nil {
		return nil, err
	}
	certificate, err := tls.X509KeyPair(pair.certificate, pair.key)
	if err != nil {
		return nil, fmt.Errorf("certificate of the site: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp4", net.JoinHostPort(siteAddress.String(), "0"))
	if err != nil {
		return nil, fmt.Errorf("starting the site: %w", err)
	}
	s := &Site{Host: listener.Addr().String(), URL: "https://" + listener.Addr().String(), CA: authority.pem}
	s.server = &http.Server{
		Handler: handler, ReadHeaderTimeout: readHeaderTimeout, ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}},
	}
	go func() { _ = s.server.ServeTLS(listener, "", "") }() // ends with Stop
	return s, nil
}

// Stop ends it.
func (s *Site) Stop() { _ = s.server.Close() }

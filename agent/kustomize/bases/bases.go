package bases

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"syscall"
	"time"
)

const (
	// fetchTimeout is how long one of them may take.
	fetchTimeout = 30 * time.Second
	// maxRedirects are followed, to other hosts as well: nothing secret is sent.
	maxRedirects = 5
	// maxListBytes bounds a list of references, and what is read of errors.
	maxListBytes = 16 << 20
)

// metadataAddresses are where clouds tell a machine its credentials, besides the
// link-local one.
var metadataAddresses = []netip.Addr{netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("fd20:ce::254"), netip.MustParseAddr("100.100.100.200")}

// ErrTooLarge says that there is more than was asked for.
var ErrTooLarge = errors.New("it is too large")

// Fetcher fetches. It is safe for concurrent use.
type Fetcher struct {
	client *http.Client
}

// New makes a Fetcher.
func New() *Fetcher {
	dialer := &net.Dialer{Timeout: fetchTimeout, Control: refuseAddresses}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: fetchTimeout, ResponseHeaderTimeout: fetchTimeout, IdleConnTimeout: fetchTimeout, MaxIdleConns: 10,
	}
	return &Fetcher{client: &http.Client{Transport: transport, CheckRedirect: checkRedirect}}
}

// refuseAddresses is asked for each address that is connected to.
func refuseAddresses(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	ip := to.Addr().Unmap().WithZone("")
	if ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() {
		return fmt.Errorf("%s is an address that bases are not fetched from", ip)
	}
	for _, metadata := range metadataAddresses {
		if ip == metadata {
			return fmt.Errorf("%s is an address that bases are not fetched from", ip)
		}
	}
	return nil
}

func checkRedirect(to *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return errors.New("it is redirected too often")
	case to.URL.Scheme != "https" && via[0].URL.Scheme == "https" || to.URL.Scheme != "https" && to.URL.Scheme != "http":
		return errors.New("it is redirected away from https")
	case to.URL.User != nil:
		return errors.New("it is redirected to a URL with credentials")
	}
	return nil
}

// Fetch returns the files that belong to what the URL names, by their paths, and
// the path of the named file or directory among them. They have not more than
// most bytes together; more is an ErrTooLarge.
func (f *Fetcher) Fetch(ctx context.Context, text string, most int64) (files map[string][]byte, entry string, err error) {
	at, err := parse(text)
	if err != nil {
		return nil, "", err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, fetchTimeout, fmt.Errorf("it took longer than %s", fetchTimeout))
	defer cancel()
	if at.git {
		files, err = f.repository(ctx, at, most)
		entry = at.dir
	} else {
		entry = path.Base(at.url)
		if u, failed := url.Parse(at.url); failed == nil {
			entry = path.Base(u.Path)
		}
		files = map[string][]byte{}
		files[entry], err = f.File(ctx, at.url, most)
	}
	switch cause := context.Cause(ctx); {
	case err == nil:
		return files, entry, nil
	case cause != nil:
		return nil, "", cause
	}
	return nil, "", plain(err)
}

// File fetches what the URL names, of not more than most bytes; more is an
// ErrTooLarge.
func (f *Fetcher) File(ctx context.Context, from string, most int64) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	response, err := f.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answered %d", response.StatusCode)
	}
	content, err := io.ReadAll(io.LimitReader(response.Body, most+1))
	if err == nil && int64(len(content)) > most {
		return nil, fmt.Errorf("%w: there are no more than %d bytes left for all of them", ErrTooLarge, most)
	}
	return content, err
}

// plain is the cause of an error without the URL, which the caller has.
func plain(err error) error {
	var request *url.Error
	for errors.As(err, &request) {
		err = request.Err
	}
	return err
}

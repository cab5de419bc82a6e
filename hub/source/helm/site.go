package helm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/access"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	maxRedirects = 10
	indexFile    = "index.yaml"
	dialTimeout  = 15 * time.Second
	ifNoneMatch  = "If-None-Match"
)

// site is a repository over HTTP, as its object says that it is reached.
type site struct {
	base     *url.URL
	username string
	password string
	// everywhere sends the credentials to the hosts of the index as well.
	everywhere bool
	// own carries requests to the repository's host; other those to others,
	// without a client certificate.
	own, other *http.Transport
	hint       string
	close      func()
}

// openSite reads what the object says; nothing is sent yet. The caller calls
// close.
func openSite(ctx context.Context, reader client.Reader, transport *http.Transport, obj *sourcev1.HelmRepository) (*site, error) {
	base, err := parseBase(obj.Spec.URL)
	if err != nil {
		return nil, reconcile.Stall(urlInvalidReason, err)
	}
	s := &site{base: base, everywhere: obj.Spec.PassCredentials, hint: "it wants credentials, and spec.secretRef is not set"}
	secrets := access.Secrets{Reader: reader, Namespace: obj.Namespace}
	own, done, err := secrets.Transport(ctx, transport, obj.Spec.CertSecretRef, nil)
	if err != nil {
		return nil, err
	}
	s.own, s.other, s.close = own, own, done
	if obj.Spec.SecretRef != nil {
		s.hint = fmt.Sprintf("it does not accept the credentials of Secret %s/%s (spec.secretRef)", obj.Namespace, obj.Spec.SecretRef.Name)
		err = secrets.Read(ctx, "spec.secretRef", obj.Spec.SecretRef.Name, func(secret *corev1.Secret) error {
			return s.logIn(secret.Data, obj.Spec.CertSecretRef == nil)
		})
		if err != nil {
			s.close()
			return nil, err
		}
	}
	if config := s.own.TLSClientConfig; config != nil && len(config.Certificates) > 0 {
		s.other = s.own.Clone()
		s.other.TLSClientConfig.Certificates = nil
		closeOwn := s.close
		s.close = func() { closeOwn(); s.other.CloseIdleConnections() }
	}
	return s, nil
}

func parseBase(text string) (*url.URL, error) {
	base, err := url.Parse(text)
	switch {
	case err != nil || base.Host == "":
		return nil, errors.New("spec.url is not a URL of a host")
	case base.User != nil:
		return nil, errors.New("spec.url holds credentials: put them into the Secret of spec.secretRef")
	case base.Scheme != "http" && base.Scheme != "https":
		return nil, fmt.Errorf("spec.url begins with %s://, which spec.type %s does not allow", base.Scheme, sourcev1.HelmRepositoryTypeDefault)
	}
	return base, nil
}

// logIn takes username and password, and, as Flux once asked for, what is about
// TLS.
func (s *site) logIn(data map[string][]byte, tlsToo bool) error {
	s.username, s.password = string(data["username"]), string(data["password"])
	if (s.username == "") != (s.password == "") {
		return errors.New("it has only one of the keys username and password")
	}
	settings := map[string][]byte{}
	for _, keys := range [][2]string{{"ca.crt", "caFile"}, {"tls.crt", "certFile"}, {"tls.key", "keyFile"}} {
		for _, key := range keys {
			if value := data[key]; len(value) > 0 && len(settings[keys[0]]) == 0 {
				settings[keys[0]] = value
			}
		}
	}
	if !tlsToo || len(settings) == 0 {
		if s.username == "" {
			return errors.New("it has neither username and password, nor anything about TLS")
		}
		return nil
	}
	config, err := access.TLS(settings)
	if err != nil {
		return err
	}
	s.own = s.own.Clone()
	s.own.TLSClientConfig = config
	s.other = s.own
	s.close = s.own.CloseIdleConnections
	return nil
}

// indexURL is where the index is.
func (s *site) indexURL() *url.URL {
	u := *s.base
	return u.JoinPath(indexFile)
}

// resolve is the URL of a package as the index names it.
func (s *site) resolve(reference string) (*url.URL, error) {
	ref, err := url.Parse(reference)
	if err != nil || reference == "" {
		return nil, errors.New("the index has no usable URL for it")
	}
	base := *s.base
	base.Path = strings.TrimSuffix(base.Path, "/") + "/"
	base.RawPath = ""
	u := base.ResolveReference(ref)
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("the index names a URL of scheme %q: http and https are fetched", u.Scheme)
	}
	if !ref.IsAbs() && u.RawQuery == "" && sameHost(u, &base) {
		u.RawQuery = base.RawQuery
	}
	u.User = nil
	return u, nil
}

// status is an answer that is no success.
type status struct {
	code int
	// after is when to come back, where the server says.
	after time.Duration
}

func (s *status) Error() string { return fmt.Sprintf("the server answered %d", s.code) }

// get asks for the URL and follows redirects. Credentials go to one host: the
// repository's, or, with passCredentials, that of the URL. The caller closes
// the body.
func (s *site) get(ctx context.Context, from *url.URL, header http.Header) (*http.Response, error) {
	trusted := s.base
	if s.everywhere {
		trusted = from
	}
	u := from
	for range maxRedirects {
		response, err := s.once(ctx, u, sameHost(u, trusted), header)
		if err != nil {
			return nil, err
		}
		if response.StatusCode == http.StatusOK || response.StatusCode == http.StatusNotModified && header.Get(ifNoneMatch) != "" {
			return response, nil
		}
		_ = response.Body.Close()
		next := response.Header.Get("Location")
		if next == "" || response.StatusCode < 300 || response.StatusCode > 399 {
			return nil, &status{response.StatusCode, access.RetryAfter(response.Header)}
		}
		if u, err = redirected(u, next); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("it redirects more than %d times", maxRedirects)
}

func redirected(from *url.URL, to string) (*url.URL, error) {
	next, err := from.Parse(to)
	switch {
	case err != nil || next.Host == "" || next.Scheme != "http" && next.Scheme != "https":
		return nil, errors.New("it redirects to what is no URL")
	case from.Scheme == "https" && next.Scheme == "http":
		return nil, fmt.Errorf("it redirects to %s without TLS", next.Host)
	}
	next.User = nil
	return next, nil
}

// once asks one host.
func (s *site) once(ctx context.Context, u *url.URL, trusted bool, header http.Header) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, errors.New("the URL does not parse")
	}
	request.Header = header.Clone()
	request.Header.Set("User-Agent", "headwater")
	transport := s.other
	if trusted {
		transport = s.own
		if s.username != "" {
			request.SetBasicAuth(s.username, s.password)
		}
	}
	return transport.RoundTrip(request)
}

// sameHost says whether credentials for one of the URLs may go to the other.
func sameHost(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Host, b.Host)
}

// copyBounded copies what a server sends; more than limit bytes are an error
// that names the flag.
func copyBounded(w io.Writer, body io.Reader, limit int64, flag string) error {
	n, err := io.Copy(w, io.LimitReader(body, limit+1))
	if err == nil && n > limit {
		return fmt.Errorf("it is larger than %d bytes (--%s)", limit, flag)
	}
	return err
}

// failed turns what went wrong into one sentence with a reason. What the server
// wrote is left out: it can be anything.
func (s *site) failed(ctx context.Context, reason, doing string, err error) error {
	var answer *status
	switch ended := context.Cause(ctx); {
	case ended != nil:
		err = fmt.Errorf("%s: %w", doing, ended)
	case !errors.As(err, &answer):
		err = fmt.Errorf("%s: %w", doing, err)
	case answer.code == http.StatusUnauthorized || answer.code == http.StatusForbidden:
		reason = meta.AuthenticationFailedReason
		err = fmt.Errorf("%s: %w: %s", doing, err, s.hint)
	case answer.code == http.StatusTooManyRequests && answer.after > 0:
		return reconcile.Wait(reason, fmt.Sprintf("%s: %s, too many requests: trying again in %s", doing, err, answer.after), answer.after)
	default:
		err = fmt.Errorf("%s: %w", doing, err)
	}
	return reconcile.Fail(reason, err)
}

// newStrangerTransport carries requests to hosts that only a chart names. It
// refuses link-local addresses: those of clouds' metadata services are.
func newStrangerTransport() *http.Transport {
	transport := access.NewTransport()
	dialer := &net.Dialer{Timeout: dialTimeout, Control: func(_, address string, _ syscall.RawConn) error {
		host, _, err := net.SplitHostPort(address)
		if ip := net.ParseIP(host); err != nil || ip == nil || ip.IsLinkLocalUnicast() {
			return errors.New("a chart may not name a link-local address")
		}
		return nil
	}}
	transport.DialContext = dialer.DialContext
	return transport
}

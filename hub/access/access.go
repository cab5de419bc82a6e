package access

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// Keys of the Secrets.
const (
	caKey       = "ca.crt"
	legacyCAKey = "caFile"
	certKey     = "tls.crt"
	keyKey      = "tls.key"
	addressKey  = "address"
	usernameKey = "username"
	passwordKey = "password"
)

const (
	dialTimeout = 15 * time.Second
	idleTimeout = 90 * time.Second
	// maxRetryAfter bounds what a server may ask us to wait.
	maxRetryAfter = time.Hour
)

// NewTransport is the HTTP transport for remotes that need no settings of their
// own. It has no timeout for a whole request: spec.timeout is that.
func NewTransport() *http.Transport {
	made := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout: dialTimeout,
		IdleConnTimeout:     idleTimeout,
		ForceAttemptHTTP2:   true,
	}
	// What net/http adds at the first use, or copy, it adds now: others read the settings
	// of a transport that they share.
	_ = made.Clone()
	return made
}

// Secrets reads the Secrets of one object.
type Secrets struct {
	// Reader reads them live.
	Reader client.Reader
	// Namespace is the object's.
	Namespace string
}

// Read gives the Secret to use. An error, use's included, has the reason
// AuthenticationFailed and names the field and the Secret.
func (s Secrets) Read(ctx context.Context, field, name string, use func(*corev1.Secret) error) error {
	key := types.NamespacedName{Namespace: s.Namespace, Name: name}
	var secret corev1.Secret
	err := s.Reader.Get(ctx, key, &secret)
	if apierrors.IsNotFound(err) {
		err = errors.New("it does not exist")
	}
	if err == nil {
		err = use(&secret)
	}
	if err != nil {
		return reconcile.Fail(meta.AuthenticationFailedReason, fmt.Errorf("%s: Secret %s: %w", field, key, err))
	}
	return nil
}

// Transport is the base with what spec.certSecretRef and spec.proxySecretRef
// say; either may be nil. The caller calls done when it needs it no longer.
func (s Secrets) Transport(ctx context.Context, base *http.Transport, cert, proxy *meta.LocalObjectReference) (transport *http.Transport, done func(), err error) {
	if cert == nil && proxy == nil {
		return base, func() {}, nil
	}
	settings, err := s.Settings(ctx, cert, proxy)
	if err != nil {
		return nil, nil, err
	}
	own := settings.On(base)
	return own, own.CloseIdleConnections, nil
}

// Settings are what spec.certSecretRef and spec.proxySecretRef say.
type Settings struct {
	// Digest is one of all that the Secrets hold: it is the same as long as they
	// do not change.
	Digest [sha256.Size]byte

	tls   *tls.Config
	proxy *url.URL
}

// Settings reads them; either reference may be nil.
func (s Secrets) Settings(ctx context.Context, cert, proxy *meta.LocalObjectReference) (Settings, error) {
	var found Settings
	var held map[string][]byte
	if cert != nil {
		if err := s.Read(ctx, "spec.certSecretRef", cert.Name, func(secret *corev1.Secret) (err error) {
			held = secret.Data
			found.tls, err = TLS(held)
			return err
		}); err != nil {
			return Settings{}, err
		}
	}
	through := ""
	if proxy != nil {
		var err error
		if found.proxy, err = s.Proxy(ctx, proxy); err != nil {
			return Settings{}, err
		}
		through = found.proxy.String() // with the login
	}
	text, err := json.Marshal([]any{held, through})
	found.Digest = sha256.Sum256(text)
	return found, err
}

// On is a transport of the caller's own: the base with the settings.
func (s Settings) On(base *http.Transport) *http.Transport {
	own := base.Clone()
	if s.tls != nil {
		own.TLSClientConfig = s.tls
	}
	if s.proxy != nil {
		own.Proxy = http.ProxyURL(s.proxy)
	}
	return own
}

// Proxy is the URL of the proxy that spec.proxySecretRef gives, with its login;
// nil where that is nil.
func (s Secrets) Proxy(ctx context.Context, ref *meta.LocalObjectReference) (through *url.URL, err error) {
	if ref == nil {
		return nil, nil
	}
	err = s.Read(ctx, "spec.proxySecretRef", ref.Name, func(secret *corev1.Secret) (err error) {
		through, err = proxyOf(secret.Data)
		return err
	})
	return through, err
}

// TLS reads ca.crt, and tls.crt with tls.key; at least one of both has to be
// there.
func TLS(data map[string][]byte) (*tls.Config, error) {
	ca, field := data[caKey], caKey
	if len(ca) == 0 {
		ca, field = data[legacyCAKey], legacyCAKey
	}
	cert, key := data[certKey], data[keyKey]
	if len(ca)+len(cert)+len(key) == 0 {
		return nil, fmt.Errorf("it has neither the key %s, nor %s with %s", caKey, certKey, keyKey)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(ca) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(ca) {
			return nil, fmt.Errorf("its key %s holds no certificate in PEM form", field)
		}
		config.RootCAs = pool
	}
	if len(cert)+len(key) == 0 {
		return config, nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("its keys %s and %s are not a pair of certificate and key", certKey, keyKey)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

func proxyOf(data map[string][]byte) (*url.URL, error) {
	u, err := url.Parse(string(data[addressKey]))
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("its key %s is not the URL of a proxy, such as http://proxy.example.com:3128", addressKey)
	}
	username, password := string(data[usernameKey]), string(data[passwordKey])
	switch {
	case username == "" && password != "":
		return nil, fmt.Errorf("it has the key %s, but no %s", passwordKey, usernameKey)
	case username != "":
		u.User = url.UserPassword(username, password)
	}
	return u, nil
}

// RetryAfter is when a server asks us to come back, in seconds or as a date by
// the server's own clock; zero where it does not say.
func RetryAfter(header http.Header) time.Duration {
	text := header.Get("Retry-After")
	seconds, err := strconv.Atoi(text)
	after := time.Duration(seconds) * time.Second
	if err != nil {
		then, thenErr := http.ParseTime(text)
		now, nowErr := http.ParseTime(header.Get("Date"))
		if thenErr != nil || nowErr != nil {
			return 0
		}
		after = then.Sub(now)
	}
	return max(0, min(after, maxRetryAfter))
}

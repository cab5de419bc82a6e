package pull

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	dialTimeout     = 10 * time.Second
	answerTimeout   = 30 * time.Second
	idleConnections = 90 * time.Second
	// renewAt is the share of a token's life after which it is renewed: as long
	// as the hub is away for less than the rest, the agent needs nobody's help.
	renewAt = 3
)

// token is the current one. It is safe for concurrent use.
type token struct {
	mu     sync.RWMutex
	text   string
	issued time.Time
	ends   time.Time
}

// set puts another token in place. Nothing but its times is believed of it, and
// these only to know when to ask for the next one.
func (t *token) set(text string) error {
	issued, ends, err := timesOf(text)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text, t.issued, t.ends = text, issued, ends
	return nil
}

func (t *token) get() string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.text
}

// life is how long the token was made for, and when to renew it.
func (t *token) life() (time.Duration, time.Time) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	life := t.ends.Sub(t.issued)
	return life, t.issued.Add(life / renewAt)
}

// wrap makes transports that send the token along to the scheme and host of the URL,
// and to no other that an answer may redirect to.
func (t *token) wrap(hub *url.URL) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper { return &bearer{token: t, hub: hub, next: next} }
}

type bearer struct {
	token *token
	hub   *url.URL
	next  http.RoundTripper
}

// RoundTrip sends the request with the token that is current.
func (b *bearer) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Scheme != b.hub.Scheme || request.URL.Host != b.hub.Host {
		return b.next.RoundTrip(request)
	}
	sent := request.Clone(request.Context())
	sent.Header.Set("Authorization", "Bearer "+b.token.get())
	return b.next.RoundTrip(sent)
}

// timesOf reads from a ServiceAccount's token when it was issued and when it
// ends.
func timesOf(text string) (issued, ends time.Time, err error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return issued, ends, errors.New("it is not the token of a ServiceAccount")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Issued  int64 `json:"iat"`
		Expires int64 `json:"exp"`
	}
	if err == nil {
		err = json.Unmarshal(payload, &claims)
	}
	if err != nil || claims.Issued <= 0 || claims.Expires <= claims.Issued {
		return issued, ends, errors.New("it is not a token of a ServiceAccount that ends")
	}
	return time.Unix(claims.Issued, 0), time.Unix(claims.Expires, 0), nil
}

// newTransport never waits without end.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: answerTimeout,
		IdleConnTimeout:       idleConnections,
		DisableCompression:    true,
		ForceAttemptHTTP2:     true,
	}
}

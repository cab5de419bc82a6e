package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/headwater-dev/headwater/api/meta"
)

// ErrNotFound says that the artifact is not, or no longer, stored.
var ErrNotFound = errors.New("the artifact is not stored")

const (
	dialTimeout     = 10 * time.Second
	answerTimeout   = 30 * time.Second
	idleConnections = 8
)

// newTransport never waits without end, and leaves the bytes as they are: what
// arrives has to match the digest.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: answerTimeout,
		IdleConnTimeout:       idleTimeout,
		MaxIdleConnsPerHost:   idleConnections,
		DisableCompression:    true,
	}
}

// temporaryError is worth another attempt.
type temporaryError struct{ error }

func (e temporaryError) Unwrap() error { return e.error }

// download fetches the artifact into the path, with a bounded number of
// attempts while the network or the server fails.
func (c *Cache) download(ctx context.Context, artifact meta.Artifact, want digest, path string) error {
	backoff := c.options.Backoff
	for attempt := 1; ; attempt++ {
		err := c.attempt(ctx, artifact, want, path)
		var temporary temporaryError
		if err == nil || !errors.As(err, &temporary) || attempt >= c.options.Attempts {
			return err
		}
		if err := pause(ctx, backoff); err != nil {
			return err
		}
		backoff *= 2
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func (c *Cache) attempt(ctx context.Context, artifact meta.Artifact, want digest, path string) error {
	ctx, cancel := context.WithTimeout(ctx, c.options.Timeout)
	defer cancel()
	body, err := c.request(ctx, artifact)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	f, err := newTempFile(filepath.Join(c.options.Dir, tempDirName))
	if err != nil {
		return err
	}
	defer discard(f)
	if err := c.copy(f, body, want); err != nil {
		return err
	}
	return c.keep(f, path)
}

// request asks for the artifact and returns the body of a good answer.
func (c *Cache) request(ctx context.Context, artifact meta.Artifact) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, artifact.URL, nil)
	if err != nil {
		return nil, fmt.Errorf("the artifact's URL: %w", withoutURL(err))
	}
	// A path can be published again with other content (spec.ignore has
	// changed): a proxy in between has to ask.
	request.Header.Set("Cache-Control", "no-cache")
	response, err := c.client.Do(request)
	if err != nil {
		return nil, temporaryError{fmt.Errorf("fetching from %s: %w", request.URL.Host, withoutURL(err))}
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	_ = response.Body.Close()
	err = fmt.Errorf("fetching from %s: the server answered %s", request.URL.Host, response.Status)
	switch code := response.StatusCode; {
	case code == http.StatusNotFound || code == http.StatusGone:
		return nil, fmt.Errorf("fetching from %s: %w", request.URL.Host, ErrNotFound)
	case code >= http.StatusInternalServerError || code == http.StatusTooManyRequests:
		return nil, temporaryError{err}
	}
	return nil, err
}

// copy streams the body into the file and compares the digest at its end.
func (c *Cache) copy(f *os.File, body io.Reader, want digest) error {
	h := want.new()
	limit := c.options.MaxArtifactBytes
	n, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(body, limit+1))
	switch {
	case err != nil:
		return temporaryError{fmt.Errorf("fetching stopped after %d bytes: %w", n, err)}
	case n > limit:
		return fmt.Errorf("the artifact is larger than the limit of %d bytes", limit)
	}
	return want.compare(h)
}

// keep moves the finished file to its place. There is no fsync: a file that a
// power cut has damaged is found and fetched again when it is first opened.
func (c *Cache) keep(f *os.File, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), dirMode); err != nil {
		return err
	}
	c.touch(f.Name())
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	c.verified.Add(path, info)
	return nil
}

// withoutURL takes the URL, which may hold credentials, out of an error.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

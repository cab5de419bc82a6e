package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/access"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	operationFailedReason = "BucketOperationFailed"
	urlInvalidReason      = "URLInvalid"
	// maxSessionBytes bounds all that an endpoint may send in a session: the
	// objects, and lists of them.
	maxSessionBytes = maxBytes + 128<<20
	// maxAnswerBytes and maxElements bound an answer that is no object: what clients
	// read into memory, where an element of a few bytes takes hundreds. A thousand
	// objects, which a page has, are some 60,000 at Microsoft, and less elsewhere.
	maxAnswerBytes = 4 << 20
	maxElements    = 100_000
	// maxKeyBytes is the longest key that an API takes: 1,024 characters.
	maxKeyBytes = 4096
)

// storage is what the APIs of buckets have in common. An error of the endpoint
// has a status.
type storage interface {
	// list tells of each object whose key begins with the prefix.
	list(ctx context.Context, prefix string, each func(key string, e entry) error) error
	// open reads an object in the state of the entry; of the zero entry, as it is.
	// Errors may come when it is read.
	open(ctx context.Context, key string, e entry) (io.ReadCloser, error)
	// status is the HTTP status of an error that the endpoint answered with; zero
	// for others.
	status(err error) int
}

// session is a conversation with one endpoint.
type session struct {
	storage

	obj   *sourcev1.Bucket
	login login
	guard *guard
	close func()
}

// open prepares a session; nothing is sent to the endpoint yet. The caller calls
// close.
func (f *Fetcher) open(ctx context.Context, obj *sourcev1.Bucket) (*session, error) {
	secrets := access.Secrets{Reader: f.Secrets, Namespace: obj.Namespace}
	endpoint, err := endpointOf(obj)
	if err != nil {
		return nil, err
	}
	base, done, err := secrets.Transport(ctx, f.Transport, obj.Spec.CertSecretRef, obj.Spec.ProxySecretRef)
	if err != nil {
		return nil, err
	}
	s := &session{
		obj: obj, close: done,
		guard: newGuard(base, maxSessionBytes, "set spec.endpoint or spec.region to where the bucket is"),
	}
	if s.login, err = f.loginOf(ctx, asking{obj: obj, secrets: secrets, endpoint: endpoint, base: base}); err == nil {
		s.storage, err = storageOf(ctx, obj, endpoint, s.login, s.guard)
	}
	if err != nil {
		done()
		return nil, err
	}
	return s, nil
}

// endpointOf is spec.endpoint as a URL: a host, or for Microsoft's and Google's
// storage a URL.
func endpointOf(obj *sourcev1.Bucket) (*url.URL, error) {
	text, scheme := obj.Spec.Endpoint, "https://"
	if obj.Spec.Insecure {
		scheme = "http://"
	}
	cloud := obj.Spec.Provider == sourcev1.BucketProviderAzure || obj.Spec.Provider == sourcev1.BucketProviderGoogle
	if !strings.Contains(text, "://") {
		text = scheme + text
	} else if !cloud {
		text = ""
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" || u.Path != "" && !cloud {
		return nil, reconcile.Stall(urlInvalidReason, errors.New("spec.endpoint is not a host, with the port where it is not the usual one; for the providers azure and gcp it may be a URL"))
	}
	return u, nil
}

func storageOf(ctx context.Context, obj *sourcev1.Bucket, endpoint *url.URL, l login, transport http.RoundTripper) (storage, error) {
	switch obj.Spec.Provider {
	case sourcev1.BucketProviderGoogle:
		return newGoogle(ctx, obj, endpoint, l, transport)
	case sourcev1.BucketProviderAzure:
		return newMicrosoft(obj, endpoint, l, transport)
	}
	return newS3(obj, endpoint, l, transport)
}

// guard follows no redirects, which would be signed again for another host, and
// bounds what is answered.
type guard struct {
	http.RoundTripper

	most int64
	left atomic.Int64
	// objects says that from now on objects are read.
	objects atomic.Bool
	// after is how long the endpoint last asked us to stay away, in nanoseconds.
	after atomic.Int64
	// remedy is for redirects.
	remedy string
}

func newGuard(base http.RoundTripper, most int64, remedy string) *guard {
	g := &guard{RoundTripper: base, most: most, remedy: remedy}
	g.left.Store(most)
	return g
}

// RoundTrip sends the request and bounds the answer's body.
func (g *guard) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := g.RoundTripper.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	if response.Header.Get("Location") != "" && response.StatusCode >= http.StatusMultipleChoices && response.StatusCode < http.StatusBadRequest {
		return nil, errors.Join(errors.New("the endpoint redirects: "+g.remedy), response.Body.Close())
	}
	if after := access.RetryAfter(response.Header); after > 0 && response.StatusCode >= http.StatusBadRequest {
		g.after.Store(int64(after))
	}
	response.Body = &bounded{ReadCloser: response.Body, by: g}
	return response, nil
}

type bounded struct {
	io.ReadCloser
	by       *guard
	read     int64
	elements int
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if !b.by.objects.Load() {
		b.read += int64(n)
		b.elements += access.Elements(p[:n])
		if b.read > maxAnswerBytes || b.elements > maxElements {
			return 0, fmt.Errorf("the endpoint answers with a list of more than %d bytes or %d elements", maxAnswerBytes, maxElements)
		}
	}
	if b.by.left.Add(-int64(n)) < 0 {
		return 0, fmt.Errorf("the endpoint answers with more than %d bytes", b.by.most)
	}
	return n, err
}

// failed turns what a client says into one sentence with a reason. Messages of
// the endpoint are left out: they can hold anything.
func (s *session) failed(ctx context.Context, doing string, err error) error {
	remote := fmt.Sprintf("spec.bucketName %q at %s: %s", s.obj.Spec.BucketName, s.obj.Spec.Endpoint, doing)
	status := s.status(err)
	var request *url.Error
	for errors.As(err, &request) {
		err = request.Err // its URL can hold a signature
	}
	reason := operationFailedReason
	switch ended := context.Cause(ctx); {
	case ended != nil:
		err = fmt.Errorf("%s: %w", remote, ended)
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		s.login.refused()
		reason = meta.AuthenticationFailedReason
		err = fmt.Errorf("%s: the endpoint answered %d: %s", remote, status, s.login.hint())
	case status == http.StatusNotFound && doing == listing:
		err = fmt.Errorf("%s: there is no such bucket", remote)
	case status != 0 && s.guard.after.Load() > 0:
		after := time.Duration(s.guard.after.Load())
		return reconcile.Wait(reason, fmt.Sprintf("%s: the endpoint answered %d: trying again in %s", remote, status, after), after)
	case status != 0:
		err = fmt.Errorf("%s: the endpoint answered %d", remote, status)
	default:
		err = fmt.Errorf("%s: %s", remote, reconcile.OneLine(err))
	}
	return reconcile.Fail(reason, err)
}

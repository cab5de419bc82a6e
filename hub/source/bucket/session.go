package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	corev1 "k8s.io/api/core/v1"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/access"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	operationFailedReason = "BucketOperationFailed"
	accessKey             = "accesskey"
	secretKey             = "secretkey"
	// maxSessionBytes bounds all that an endpoint may send in a session: the
	// objects, and lists of them.
	maxSessionBytes = maxBytes + 128<<20
)

// session is a conversation with one endpoint.
type session struct {
	obj    *sourcev1.Bucket
	client *minio.Client
	close  func()
}

// open prepares a session; nothing is sent yet. The caller calls close.
func (f *Fetcher) open(ctx context.Context, obj *sourcev1.Bucket) (*session, error) {
	secrets := access.Secrets{Reader: f.Secrets, Namespace: obj.Namespace}
	login := credentials.NewStaticV4("", "", "") // anonymous
	if obj.Spec.SecretRef != nil {
		if err := secrets.Read(ctx, "spec.secretRef", obj.Spec.SecretRef.Name, func(secret *corev1.Secret) error {
			id, key := string(secret.Data[accessKey]), string(secret.Data[secretKey])
			if id == "" || key == "" {
				return fmt.Errorf("it needs the keys %s and %s", accessKey, secretKey)
			}
			login = credentials.NewStaticV4(id, key, "")
			return nil
		}); err != nil {
			return nil, err
		}
	}
	base, done, err := secrets.Transport(ctx, f.Transport, obj.Spec.CertSecretRef, obj.Spec.ProxySecretRef)
	if err != nil {
		return nil, err
	}
	client, err := minio.New(obj.Spec.Endpoint, &minio.Options{
		Creds:      login,
		Secure:     !obj.Spec.Insecure,
		Region:     obj.Spec.Region,
		Transport:  newGuard(base),
		MaxRetries: 1, // the loop repeats what failed, with its own backoff
	})
	if err != nil {
		done()
		return nil, reconcile.Stall("URLInvalid", errors.New("spec.endpoint is not a host, with the port where it is not the usual one"))
	}
	return &session{obj: obj, client: client, close: done}, nil
}

// guard follows no redirects, which would be signed again for another host, and
// bounds what is answered.
type guard struct {
	http.RoundTripper
	left *atomic.Int64
}

func newGuard(base http.RoundTripper) *guard {
	g := &guard{base, new(atomic.Int64)}
	g.left.Store(maxSessionBytes)
	return g
}

// RoundTrip sends the request and bounds the answer's body.
func (g *guard) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := g.RoundTripper.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	if response.Header.Get("Location") != "" && response.StatusCode >= http.StatusMultipleChoices && response.StatusCode < http.StatusBadRequest {
		return nil, errors.Join(errors.New("the endpoint redirects: set spec.endpoint or spec.region to where the bucket is"), response.Body.Close())
	}
	response.Body = &bounded{response.Body, g.left}
	return response, nil
}

type bounded struct {
	io.ReadCloser
	left *atomic.Int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left.Add(-int64(n)) < 0 {
		return 0, fmt.Errorf("the endpoint answers with more than %d bytes", int64(maxSessionBytes))
	}
	return n, err
}

// failed turns what minio-go says into one sentence with a reason. Messages of
// the endpoint are left out: they can hold anything.
func (s *session) failed(ctx context.Context, doing string, err error) error {
	remote := fmt.Sprintf("spec.bucketName %q at %s: %s", s.obj.Spec.BucketName, s.obj.Spec.Endpoint, doing)
	var request *url.Error
	for errors.As(err, &request) {
		err = request.Err // its URL can hold a signature
	}
	reason := operationFailedReason
	var answer minio.ErrorResponse
	known := errors.As(err, &answer)
	switch ended := ctx.Err(); {
	case errors.Is(ended, context.DeadlineExceeded):
		err = fmt.Errorf("%s took longer than %s (spec.timeout): %w", remote, s.obj.Timeout(), ended)
	case ended != nil:
		err = fmt.Errorf("%s: %w", remote, ended)
	case known && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden):
		reason = meta.AuthenticationFailedReason
		err = fmt.Errorf("%s: the endpoint answered %d: %s", remote, answer.StatusCode, s.hint())
	case known && answer.Code == minio.NoSuchBucket:
		err = fmt.Errorf("%s: there is no such bucket", remote)
	case known && answer.StatusCode >= http.StatusMultipleChoices:
		err = fmt.Errorf("%s: the endpoint answered %d", remote, answer.StatusCode)
	default:
		err = fmt.Errorf("%s: %s", remote, reconcile.OneLine(err))
	}
	return reconcile.Fail(reason, err)
}

func (s *session) hint() string {
	if s.obj.Spec.SecretRef == nil {
		return "it wants credentials, and spec.secretRef is not set"
	}
	return fmt.Sprintf("it does not accept the credentials of Secret %s/%s (spec.secretRef)", s.obj.Namespace, s.obj.Spec.SecretRef.Name)
}

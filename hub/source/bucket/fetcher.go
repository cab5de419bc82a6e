package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/client"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/source"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/cloud"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	dirMode  = 0o700
	fileMode = 0o600
	// downloads is how many objects of a bucket are fetched at once.
	downloads = 8
)

// Fetcher is the source.Fetcher of Bucket.
type Fetcher struct {
	// Secrets reads the Secrets that the spec names: live, so that the hub
	// holds no Secret in memory for longer than it uses it.
	Secrets client.Reader
	// Transport carries the requests to endpoints without settings of their
	// own.
	Transport *http.Transport
	// Clouds log in where a spec names a provider, and keep what other services
	// of tokens give.
	Clouds *cloud.Logins
	// MaxTimeout bounds spec.timeout.
	MaxTimeout reconcile.MaxTimeout

	// store and lists are nil without Reuse.
	store *artifact.Store
	lists *lists
}

// Kind is Bucket.
func (*Fetcher) Kind() string { return sourcev1.BucketKind }

// Ignore returns spec.ignore and where status.observedIgnore is.
func (*Fetcher) Ignore(obj *sourcev1.Bucket) (want *string, observed **string) {
	return obj.Spec.Ignore, &obj.Status.ObservedIgnore
}

// Resolve lists the bucket.
func (f *Fetcher) Resolve(ctx context.Context, obj *sourcev1.Bucket) (source.Revision, error) {
	if err := reconcile.UnsupportedFields(obj,
		"bucketName", "endpoint", "interval", "timeout", "suspend", "ignore", "prefix", "region", "insecure",
		"provider", "secretRef", "serviceAccountName", "sts", "certSecretRef", "proxySecretRef", "accessFrom"); err != nil {
		return source.Revision{}, err
	}
	ctx, cancel := f.MaxTimeout.Within(ctx, obj.Timeout())
	defer cancel()
	s, err := f.open(ctx, obj)
	if err != nil {
		return source.Revision{}, err
	}
	defer s.close()
	found, err := s.find(ctx)
	if err != nil {
		return source.Revision{}, err
	}
	return found.revision(), nil
}

// Fetch brings the objects of the list: after Reuse only those that have changed.
func (f *Fetcher) Fetch(ctx context.Context, obj *sourcev1.Bucket, rev source.Revision, dir string) (source.Content, error) {
	ctx, cancel := f.MaxTimeout.Within(ctx, obj.Timeout())
	defer cancel()
	s, err := f.open(ctx, obj)
	if err != nil {
		return source.Content{}, err
	}
	defer s.close()
	found, err := s.find(ctx)
	if err != nil {
		return source.Content{}, err
	}
	if found.revision().Name != rev.Name {
		return source.Content{}, reconcile.Fail(operationFailedReason, fmt.Errorf("spec.bucketName %q changed while it was being read", obj.Spec.BucketName))
	}
	rest, err := f.reuse(ctx, obj, found, dir)
	if err != nil {
		return source.Content{}, s.failed(ctx, "reusing the last artifact", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return source.Content{}, reconcile.Fail(operationFailedReason, err)
	}
	defer func() { _ = root.Close() }()
	s.guard.objects.Store(true)
	group, downloading := errgroup.WithContext(ctx)
	group.SetLimit(downloads)
	for key, listed := range rest {
		group.Go(func() error {
			if err := s.download(downloading, root, key, listed); err != nil {
				return fmt.Errorf("fetching %q: %w", key, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return source.Content{}, s.failed(ctx, "fetching", err)
	}
	f.remember(obj, rev.Name, found)
	return source.Content{
		Summary: fmt.Sprintf("with %d fetched files from '%s' bucket", len(found), obj.Spec.BucketName),
		Whole:   true,
	}, nil
}

// download writes one object, as it was when it was listed.
func (s *session) download(ctx context.Context, root *os.Root, key string, listed entry) error {
	name := filepath.FromSlash(key)
	if !filepath.IsLocal(name) {
		return errors.New("the key leads out of the artifact")
	}
	content, err := s.open(ctx, key, listed)
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	if err := root.MkdirAll(filepath.Dir(name), dirMode); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(content, listed.size+1))
	if err == nil && n != listed.size {
		err = fmt.Errorf("it has %d bytes in the list, and %d or more when it is read", listed.size, n)
	}
	return errors.Join(err, f.Close())
}

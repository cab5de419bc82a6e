package helm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/source"
	"github.com/headwater-dev/headwater/hub/source/helm/index"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	indexationFailedReason = "IndexationFailed"
	urlInvalidReason       = "URLInvalid"
	fileMode               = 0o600
	// maxTags bounds how many repositories' entity tags are remembered.
	maxTags = 10_000
)

// RepositoryFetcher is the source.Fetcher of HelmRepositories with an index.
type RepositoryFetcher struct {
	// Secrets reads the Secrets that the spec names: live, so that the hub
	// holds no Secret in memory for longer than it uses it.
	Secrets client.Reader
	// Transport carries the requests to repositories without settings of
	// their own.
	Transport *http.Transport
	// Indexes keeps what was read, for charts.
	Indexes *index.Cache
	// Limits of indexes.
	Limits Limits
	// MaxTimeout bounds spec.timeout.
	MaxTimeout reconcile.MaxTimeout
	// Scratch makes a directory for one run.
	Scratch func() (dir string, done func(), err error)

	tags *lru.Cache[types.UID, tag]
}

// tag is the entity tag that came with an index.
type tag struct {
	etag, revision string
	generation     int64
}

// NewRepositoryFetcher makes a Fetcher; scratch makes a directory for one run.
func NewRepositoryFetcher(f RepositoryFetcher) *RepositoryFetcher {
	f.Limits = f.Limits.orDefaults()
	f.tags, _ = lru.New[types.UID, tag](maxTags) // the error is about a size below one
	return &f
}

// Kind is HelmRepository.
func (*RepositoryFetcher) Kind() string { return sourcev1.HelmRepositoryKind }

// Ignore returns nothing: an index has no files.
func (*RepositoryFetcher) Ignore(*sourcev1.HelmRepository) (want *string, observed **string) {
	return nil, new(*string)
}

// Resolve asks for the index, unless it is the one that was served before.
func (f *RepositoryFetcher) Resolve(ctx context.Context, obj *sourcev1.HelmRepository) (source.Revision, error) {
	if err := reconcile.UnsupportedFields(obj, "url", "interval", "timeout", "suspend", "secretRef", "certSecretRef",
		"passCredentials", "type=default", "provider", "insecure", "accessFrom"); err != nil {
		return source.Revision{}, err
	}
	limited, cancel := f.MaxTimeout.Within(ctx, obj.Timeout())
	defer cancel()
	s, err := openSite(limited, f.Secrets, f.Transport, obj)
	if err != nil {
		return source.Revision{}, err
	}
	defer s.close()
	doing := fmt.Sprintf("spec.url %s: fetching the index", obj.Spec.URL)
	known, header := f.knownTag(obj), http.Header{}
	if known.etag != "" {
		header.Set(ifNoneMatch, known.etag)
	}
	response, err := s.get(limited, s.indexURL(), header)
	if err != nil {
		return source.Revision{}, s.failed(limited, meta.FailedReason, doing, err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode == http.StatusNotModified {
		return revisionOf(known.revision), nil
	}
	rev, err := f.download(response)
	if err != nil {
		return source.Revision{}, s.failed(limited, meta.FailedReason, doing, err)
	}
	f.tags.Add(obj.UID, tag{response.Header.Get("ETag"), rev.Name, obj.Generation})
	return rev, nil
}

// knownTag is the entity tag of the index that is stored.
func (f *RepositoryFetcher) knownTag(obj *sourcev1.HelmRepository) tag {
	known, ok := f.tags.Get(obj.UID)
	if !ok || obj.Status.Artifact == nil || obj.Status.Artifact.Revision != known.revision || known.generation != obj.Generation {
		return tag{}
	}
	return known
}

// revisionOf is the revision of an index with a digest.
func revisionOf(name string) source.Revision {
	_, sum, _ := strings.Cut(name, ":")
	return source.Revision{Name: name, ID: sum, File: "index-" + sum + ".yaml"}
}

// download writes the answer to a file and names it by its digest.
func (f *RepositoryFetcher) download(response *http.Response) (rev source.Revision, err error) {
	dir, done, err := f.Scratch()
	if err != nil {
		return rev, err
	}
	defer func() {
		if err != nil {
			done()
		}
	}()
	path := filepath.Join(dir, "index")
	sum, err := saveIndex(path, response.Body, f.Limits.Index)
	if err != nil {
		return rev, err
	}
	rev = revisionOf("sha256:" + sum)
	rev.Found, rev.Release = path, done
	return rev, nil
}

// saveIndex writes to a new file and returns the SHA-256 of what it wrote.
func saveIndex(path string, content io.Reader, limit int64) (sum string, err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	err = copyBounded(io.MultiWriter(file, h), content, limit, "helm-index-max-size")
	return hexOf(h), errors.Join(err, file.Close())
}

func hexOf(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// Fetch reads the index, and writes it as JSON.
func (f *RepositoryFetcher) Fetch(ctx context.Context, obj *sourcev1.HelmRepository, rev source.Revision, dir string) (source.Content, error) {
	fetched, ok := rev.Found.(string)
	if !ok {
		return source.Content{}, reconcile.Fail(meta.FailedReason, fmt.Errorf("spec.url %s: the index has changed meanwhile", obj.Spec.URL))
	}
	made, err := os.CreateTemp(filepath.Dir(dir), "index-*.json")
	if err != nil {
		return source.Content{}, reconcile.Fail(meta.FailedReason, err)
	}
	size, err := f.convert(ctx, rev.Name, fetched, made)
	if err = errors.Join(err, made.Close()); err != nil {
		return source.Content{}, reconcile.Fail(indexationFailedReason, fmt.Errorf("spec.url %s: %w", obj.Spec.URL, err))
	}
	return source.Content{
		Summary: fmt.Sprintf("for revision '%s': index of %d bytes from '%s'", rev.Name, size, obj.Spec.URL),
		File:    made.Name(),
	}, nil
}

// convert keeps what was read in the cache under the revision.
func (f *RepositoryFetcher) convert(ctx context.Context, revision, fetched string, made io.Writer) (size int64, err error) {
	text, err := os.Open(fetched)
	if err != nil {
		return 0, err
	}
	defer func() { _ = text.Close() }()
	info, err := text.Stat()
	if err != nil {
		return 0, err
	}
	err = f.Indexes.Replace(revision, func() (*index.Index, error) {
		return index.Parse(reader{ctx, text}, info.Size(), made)
	})
	return info.Size(), err
}

// reader ends when its context does.
type reader struct {
	ctx context.Context
	io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

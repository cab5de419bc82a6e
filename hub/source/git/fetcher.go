package git

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/source"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// Fetcher is the source.Fetcher of GitRepository.
type Fetcher struct {
	// Secrets reads the Secrets that spec.secretRef names: live, so that the
	// hub holds no Secret in memory for longer than it uses it.
	Secrets client.Reader
	// Transport carries the requests to remotes without TLS settings of
	// their own.
	Transport *http.Transport
}

// Kind is GitRepository.
func (*Fetcher) Kind() string { return sourcev1.GitRepositoryKind }

// Ignore returns spec.ignore and where status.observedIgnore is.
func (*Fetcher) Ignore(obj *sourcev1.GitRepository) (want *string, observed **string) {
	return obj.Spec.Ignore, &obj.Status.ObservedIgnore
}

// Resolve asks the remote for the commit that spec.ref points at.
func (f *Fetcher) Resolve(ctx context.Context, obj *sourcev1.GitRepository) (source.Revision, error) {
	if err := supported(obj); err != nil {
		return source.Revision{}, err
	}
	t := targetOf(obj.Spec.Reference)
	if t.ref == "" {
		// A commit is what it is: there is nothing to ask.
		if err := t.checkCommit(); err != nil {
			return source.Revision{}, reconcile.Fail(gitOperationFailedReason, err)
		}
		return source.Revision{Name: t.revision(t.value), ID: t.value}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, obj.Timeout())
	defer cancel()
	s, err := f.open(ctx, obj)
	if err != nil {
		return source.Revision{}, err
	}
	defer s.close()
	refs, err := s.list(ctx)
	if err != nil {
		return source.Revision{}, err
	}
	_, commit, ok := t.find(refs)
	if !ok {
		return source.Revision{}, s.notFound(t)
	}
	return source.Revision{Name: t.revision(commit.String()), ID: commit.String()}, nil
}

// Fetch writes the files of the commit into dir, and its packfile beside it.
func (f *Fetcher) Fetch(ctx context.Context, obj *sourcev1.GitRepository, rev source.Revision, dir string) (source.Content, error) {
	ctx, cancel := context.WithTimeout(ctx, obj.Timeout())
	defer cancel()
	s, err := f.open(ctx, obj)
	if err != nil {
		return source.Content{}, err
	}
	defer s.close()
	refs, err := s.list(ctx)
	if err != nil {
		return source.Content{}, err
	}
	// A tag that leads to the commit is asked for by its own name: not every
	// server gives out objects that no reference names.
	want := plumbing.NewHash(rev.ID)
	if tip, commit, ok := targetOf(obj.Spec.Reference).find(refs); ok && commit == want {
		want = tip
	}
	objects, err := s.download(ctx, refs.Capabilities, want, filepath.Join(filepath.Dir(dir), "objects"))
	if err != nil {
		return source.Content{}, s.failed(ctx, "fetching commit "+rev.ID, err)
	}
	message, err := checkOut(ctx, objects, plumbing.NewHash(rev.ID), dir)
	if err != nil {
		return source.Content{}, s.failed(ctx, "checking out commit "+rev.ID, err)
	}
	subject, _, _ := strings.Cut(strings.TrimSpace(message), "\n")
	return source.Content{Summary: fmt.Sprintf("for commit '%s'", strings.TrimSpace(subject))}, nil
}

// supported stalls an object that asks for what is not implemented.
func supported(obj *sourcev1.GitRepository) error {
	if err := reconcile.UnsupportedFields(obj,
		"url", "interval", "timeout", "suspend", "ignore", "provider=generic", "secretRef",
		"ref.branch", "ref.tag", "ref.name", "ref.commit",
		"gitImplementation", "accessFrom"); err != nil {
		return err
	}
	if u, err := url.Parse(obj.Spec.URL); err == nil && u.Scheme == "ssh" {
		return reconcile.Stall(meta.UnsupportedFieldReason,
			fmt.Errorf("spec.url %s: this version does not implement ssh: use an https URL", plainURL(obj.Spec.URL)))
	}
	return nil
}

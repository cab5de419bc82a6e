package git

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/git"
	"github.com/headwater-dev/headwater/hub/source"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// Fetcher is the source.Fetcher of GitRepository.
type Fetcher struct {
	// Remotes opens sessions with the remotes.
	Remotes *git.Opener
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
	t := git.TargetOf(obj.Spec.Reference)
	if t.Ref == "" {
		// A commit is what it is: there is nothing to ask.
		if err := t.CheckCommit(); err != nil {
			return source.Revision{}, reconcile.Fail(git.OperationFailedReason, err)
		}
		return source.Revision{Name: t.Revision(t.Value), ID: t.Value}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, obj.Timeout())
	defer cancel()
	s, err := f.Remotes.Open(ctx, obj)
	if err != nil {
		return source.Revision{}, err
	}
	defer s.Close()
	refs, err := s.List(ctx)
	if err != nil {
		return source.Revision{}, err
	}
	_, commit, ok := t.Find(refs)
	if !ok {
		return source.Revision{}, s.NotFound(t)
	}
	return source.Revision{Name: t.Revision(commit.String()), ID: commit.String()}, nil
}

// Fetch writes the files of the commit into dir, and its packfile beside it.
func (f *Fetcher) Fetch(ctx context.Context, obj *sourcev1.GitRepository, rev source.Revision, dir string) (source.Content, error) {
	ctx, cancel := context.WithTimeout(ctx, obj.Timeout())
	defer cancel()
	s, err := f.Remotes.Open(ctx, obj)
	if err != nil {
		return source.Content{}, err
	}
	defer s.Close()
	refs, err := s.List(ctx)
	if err != nil {
		return source.Content{}, err
	}
	commit := plumbing.NewHash(rev.ID)
	objects, err := s.Download(ctx, refs, git.TargetOf(obj.Spec.Reference), commit, filepath.Join(filepath.Dir(dir), "objects"))
	if err != nil {
		return source.Content{}, err
	}
	message, err := checkOut(ctx, objects, commit, dir)
	if err != nil {
		return source.Content{}, s.Failed(ctx, "checking out commit "+rev.ID, err)
	}
	subject, _, _ := strings.Cut(strings.TrimSpace(message), "\n")
	return source.Content{Summary: fmt.Sprintf("for commit '%s'", strings.TrimSpace(subject))}, nil
}

// supported stalls an object that asks for what is not implemented.
func supported(obj *sourcev1.GitRepository) error {
	if err := reconcile.UnsupportedFields(obj,
		"url", "interval", "timeout", "suspend", "ignore", "provider=generic", "secretRef", "proxySecretRef",
		"ref.branch", "ref.tag", "ref.name", "ref.commit",
		"gitImplementation", "accessFrom"); err != nil {
		return err
	}
	if obj.Spec.ProxySecretRef != nil && strings.HasPrefix(obj.Spec.URL, "ssh://") {
		return reconcile.Stall(meta.UnsupportedFieldReason, errors.New("spec.proxySecretRef is for http and https: remove it, or use an https URL"))
	}
	return nil
}

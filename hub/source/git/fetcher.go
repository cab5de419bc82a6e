package git

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/git"
	"github.com/headwater-dev/headwater/hub/source"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// Fetcher is the source.Fetcher of GitRepository.
type Fetcher struct {
	// Remotes opens sessions with the remotes.
	Remotes *git.Opener
	// Client reads the GitRepositories that spec.include names.
	Client client.Reader
	// Store has their artifacts.
	Store *artifact.Store
	// MaxTimeout bounds spec.timeout.
	MaxTimeout reconcile.MaxTimeout
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
	if err := checkMode(obj, t); err != nil {
		return source.Revision{}, err
	}
	ctx, cancel := f.MaxTimeout.Within(ctx, obj.Timeout())
	defer cancel()
	included, err := f.includesOf(ctx, obj)
	if err != nil {
		return source.Revision{}, err
	}
	t, commit, err := f.locate(ctx, obj, t)
	if err != nil {
		return source.Revision{}, err
	}
	return source.Revision{
		Name:  t.Revision(commit),
		ID:    commit,
		Found: &found{target: t, included: included},
		Stale: !sameContent(included, obj.Status.IncludedArtifacts),
	}, nil
}

// locate finds the commit, and pins the target down.
func (f *Fetcher) locate(ctx context.Context, obj *sourcev1.GitRepository, t git.Target) (git.Target, string, error) {
	if t.IsCommit() {
		// A commit is what it is: there is nothing to ask.
		return t, t.Value, reconcile.Fail(git.OperationFailedReason, t.CheckCommit())
	}
	s, err := f.Remotes.Open(ctx, obj)
	if err != nil {
		return t, "", err
	}
	defer s.Close()
	refs, err := s.List(ctx)
	if err != nil {
		return t, "", err
	}
	t, commit, err := s.Locate(t, refs)
	return t, commit.String(), err
}

// Fetch reads the commit's packfile, which it leaves beside dir. What the spec
// adds from elsewhere is put together with the commit's files in dir.
func (f *Fetcher) Fetch(ctx context.Context, obj *sourcev1.GitRepository, rev source.Revision, dir string) (source.Content, error) {
	ctx, cancel := f.MaxTimeout.Within(ctx, obj.Timeout())
	defer cancel()
	s, err := f.Remotes.Open(ctx, obj)
	if err != nil {
		return source.Content{}, err
	}
	scratch := filepath.Dir(dir)
	files, err := f.download(ctx, s, obj, rev, scratch)
	if err != nil {
		s.Close()
		return source.Content{}, err
	}
	subject, _, _ := strings.Cut(strings.TrimSpace(files.message), "\n")
	content := source.Content{Summary: fmt.Sprintf("for commit '%s'", strings.TrimSpace(subject))}
	known, _ := rev.Found.(*found)
	if !obj.Spec.RecurseSubmodules && len(known.included) == 0 {
		content.Tree, content.Done = files, s.Close
		return content, nil
	}
	defer s.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return source.Content{}, reconcile.Fail(git.OperationFailedReason, err)
	}
	defer func() { _ = root.Close() }()
	return content, f.complete(ctx, work{obj: obj, root: root, scratch: scratch, space: &space{files: maxFiles, bytes: maxBytes}}, files, known.included)
}

// complete puts the files together with what is not in the repository itself.
func (f *Fetcher) complete(ctx context.Context, w work, files *tree, included []*meta.Artifact) error {
	if err := checkOut(ctx, files, w); err != nil {
		return err
	}
	if w.obj.Spec.RecurseSubmodules {
		if err := f.recurse(ctx, w, files); err != nil {
			return err
		}
	}
	for i, from := range included {
		if err := f.include(ctx, w, w.obj.Spec.Include[i], from); err != nil {
			return source.Unavailable(reconcile.Fail(copyFailureReason, fmt.Errorf("spec.include[%d]: %w", i, err)))
		}
	}
	return nil
}

// checkOut writes the files to a directory.
func checkOut(ctx context.Context, files *tree, w work) error {
	if err := copyTree(ctx, files, ".", w, "."); err != nil {
		return reconcile.Fail(git.OperationFailedReason, fmt.Errorf("writing the files of the commit: %w", err))
	}
	return nil
}

// download fetches the commit, and verifies what is signed.
func (f *Fetcher) download(ctx context.Context, s *git.Session, obj *sourcev1.GitRepository, rev source.Revision, scratch string) (*tree, error) {
	refs, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	known, _ := rev.Found.(*found)
	v := verification{target: known.target, commit: plumbing.NewHash(rev.ID)}
	v.tip, _, _ = v.target.Find(refs)
	if v.objects, err = s.Download(ctx, refs, v.target, v.commit, filepath.Join(scratch, "objects")); err != nil {
		return nil, err
	}
	if known.verified, err = f.verify(ctx, obj, v); err != nil {
		return nil, err
	}
	files, err := readTree(ctx, v.objects, v.commit, obj.Spec.SparseCheckout)
	var missing *noDirectory
	if errors.As(err, &missing) {
		return nil, reconcile.Fail(git.OperationFailedReason, fmt.Errorf("%w in commit %s", missing, rev.ID))
	}
	if err != nil {
		return nil, s.Failed(ctx, "reading commit "+rev.ID, err)
	}
	return files, nil
}

// supported stalls an object that asks for what is not implemented.
func supported(obj *sourcev1.GitRepository) error {
	if err := reconcile.UnsupportedFields(obj,
		"url", "interval", "timeout", "suspend", "ignore", "provider", "serviceAccountName", "secretRef", "proxySecretRef",
		"ref", "verify", "recurseSubmodules", "sparseCheckout", "include", "gitImplementation", "accessFrom"); err != nil {
		return err
	}
	if obj.Spec.ProxySecretRef != nil && strings.HasPrefix(obj.Spec.URL, "ssh://") {
		return reconcile.Stall(meta.UnsupportedFieldReason, errors.New("spec.proxySecretRef is for http and https: remove it, or use an https URL"))
	}
	return nil
}

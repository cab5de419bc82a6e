package git

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/transport"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/git"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// maxDepth is how deep submodules may lie in submodules, as in go-git.
const maxDepth = 10

// work is what is put together of a repository or of a submodule.
type work struct {
	// obj says how to reach the remote.
	obj *sourcev1.GitRepository
	// root is where the files go.
	root *os.Root
	// scratch is a directory for packfiles.
	scratch string
	depth   int
	// space is what is left for all that is put together in a run.
	space *space
}

// recurse brings the submodules of the commit with these files.
func (f *Fetcher) recurse(ctx context.Context, w work, files *tree) error {
	if len(files.links) == 0 {
		return nil
	}
	if w.depth == maxDepth {
		return reconcile.Fail(git.OperationFailedReason, fmt.Errorf("spec.recurseSubmodules: submodules lie more than %d deep", maxDepth))
	}
	content, err := files.modules()
	modules := config.NewModules()
	if err == nil {
		err = modules.Unmarshal(content)
	}
	if err != nil {
		return reconcile.Fail(git.OperationFailedReason, fmt.Errorf("reading %s: %w", modulesFile, err))
	}
	at := map[string]string{}
	for _, module := range modules.Submodules {
		at[path.Clean(module.Path)] = module.URL
	}
	for _, name := range slices.Sorted(maps.Keys(files.links)) {
		where, named := at[name]
		if !named {
			continue // a leftover: git itself passes over what .gitmodules does not name
		}
		if err := f.submodule(ctx, w, name, where, files.links[name]); err != nil {
			return fmt.Errorf("submodule %s: %w", name, err)
		}
	}
	return nil
}

func (f *Fetcher) submodule(ctx context.Context, w work, name, where string, commit plumbing.Hash) error {
	obj, err := remoteOf(w.obj, where)
	if err != nil {
		return err
	}
	local := filepath.FromSlash(name)
	if err := w.root.MkdirAll(local, dirMode); err != nil {
		return reconcile.Fail(git.OperationFailedReason, err)
	}
	root, err := w.root.OpenRoot(local)
	if err != nil {
		return reconcile.Fail(git.OperationFailedReason, err)
	}
	defer func() { _ = root.Close() }()
	scratch, err := os.MkdirTemp(w.scratch, "submodule-*")
	if err != nil {
		return reconcile.Fail(git.OperationFailedReason, err)
	}
	defer func() { _ = os.RemoveAll(scratch) }() // again with all of the run
	s, err := f.Remotes.Open(ctx, obj)
	if err != nil {
		return err
	}
	defer s.Close()
	refs, err := s.List(ctx)
	if err != nil {
		return err
	}
	objects, err := s.Download(ctx, refs, git.TargetOf(obj.Spec.Reference), commit, filepath.Join(scratch, "objects"))
	if err != nil {
		return err
	}
	files, err := readTree(ctx, objects, commit, nil)
	if err != nil {
		return s.Failed(ctx, "reading commit "+commit.String(), err)
	}
	within := work{obj: obj, root: root, scratch: scratch, depth: w.depth + 1, space: w.space}
	if err := checkOut(ctx, files, within); err != nil {
		return err
	}
	return f.recurse(ctx, within, files)
}

// remoteOf says how to reach a submodule. Credentials are for the host of the
// repository alone that they were given for.
func remoteOf(parent *sourcev1.GitRepository, where string) (*sourcev1.GitRepository, error) {
	to, err := absolute(parent.Spec.URL, where)
	if err != nil {
		return nil, reconcile.Fail(git.OperationFailedReason, err)
	}
	obj := &sourcev1.GitRepository{ObjectMeta: *parent.ObjectMeta.DeepCopy()}
	obj.Spec = sourcev1.GitRepositorySpec{URL: to.String(), ProxySecretRef: parent.Spec.ProxySecretRef}
	if from, err := url.Parse(parent.Spec.URL); err == nil && from.Scheme == to.Scheme && strings.EqualFold(from.Host, to.Host) {
		obj.Spec.SecretRef = parent.Spec.SecretRef
		obj.Spec.Provider, obj.Spec.ServiceAccountName = parent.Spec.Provider, parent.Spec.ServiceAccountName
	} else if to.Scheme == "ssh" {
		return nil, reconcile.Fail(meta.AuthenticationFailedReason, fmt.Errorf(
			"%s is not on the host of spec.url, where credentials do not follow, and ssh needs some: give it an https URL", git.PlainURL(to.String())))
	}
	return obj, nil
}

// absolute is the URL of a submodule, which may be relative to that of its
// parent, or in the form that scp has.
func absolute(parent, where string) (*url.URL, error) {
	if strings.HasPrefix(where, "./") || strings.HasPrefix(where, "../") {
		to, err := url.Parse(parent)
		if err != nil {
			return nil, errors.New("its URL is relative to one that does not parse")
		}
		to.Path = path.Join(to.Path, where)
		return to, nil
	}
	endpoint, err := transport.NewEndpoint(where)
	if err != nil {
		return nil, errors.New("its URL does not parse")
	}
	if endpoint.Protocol == "ssh" && !strings.Contains(where, "://") {
		where = endpoint.String()
	}
	to, err := url.Parse(where)
	if err != nil || !slices.Contains([]string{"http", "https", "ssh"}, to.Scheme) {
		return nil, fmt.Errorf("its URL is neither one of https, http nor ssh, but of %s", endpoint.Protocol)
	}
	return to, nil
}

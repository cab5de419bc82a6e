package git

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/source"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	notFoundReason    = "NotFound"
	noArtifactReason  = "NoArtifact"
	illegalPathReason = "IllegalPath"
	copyFailureReason = "CopyFailure"

	// includeRetry is how soon a missing artifact is looked for again:
	// Flux's --requeue-dependency.
	includeRetry = 30 * time.Second
)

// includesOf are the artifacts that spec.include names, in its order.
func (f *Fetcher) includesOf(ctx context.Context, obj *sourcev1.GitRepository) ([]*meta.Artifact, error) {
	var included []*meta.Artifact
	for i, include := range obj.Spec.Include {
		field := fmt.Sprintf("spec.include[%d]", i)
		if err := checkInclude(obj, include); err != nil {
			return nil, source.Unavailable(reconcile.Stall(illegalPathReason, fmt.Errorf("%s: %w", field, err)))
		}
		key := client.ObjectKey{Namespace: obj.Namespace, Name: include.GitRepositoryRef.Name}
		var other sourcev1.GitRepository
		err := f.Client.Get(ctx, key, &other)
		switch {
		case apierrors.IsNotFound(err):
			return nil, source.Unavailable(reconcile.Wait(notFoundReason, fmt.Sprintf("%s: there is no GitRepository %s", field, key), includeRetry))
		case err != nil:
			return nil, source.Unavailable(reconcile.Fail(notFoundReason, fmt.Errorf("%s: reading GitRepository %s: %w", field, key, err)))
		case f.includes(ctx, &other, obj.Name, map[string]bool{}):
			return nil, source.Unavailable(reconcile.Wait(illegalPathReason, fmt.Sprintf("%s: GitRepository %s includes this one in turn: remove one of the two", field, key), includeRetry))
		case other.Status.Artifact == nil:
			return nil, source.Unavailable(reconcile.Wait(noArtifactReason, fmt.Sprintf("%s: GitRepository %s has no artifact yet", field, key), includeRetry))
		}
		included = append(included, other.Status.Artifact)
	}
	return included, nil
}

// includes says whether the repository includes the named one in the end. In a
// circle each new artifact would make the next, larger one. Those that cannot be
// read say so where they are included.
func (f *Fetcher) includes(ctx context.Context, from *sourcev1.GitRepository, name string, seen map[string]bool) bool {
	seen[from.Name] = true
	for _, include := range from.Spec.Include {
		next := include.GitRepositoryRef.Name
		if next == name {
			return true
		}
		var other sourcev1.GitRepository
		if seen[next] || f.Client.Get(ctx, client.ObjectKey{Namespace: from.Namespace, Name: next}, &other) != nil {
			continue
		}
		if f.includes(ctx, &other, name, seen) {
			return true
		}
	}
	return false
}

func checkInclude(obj *sourcev1.GitRepository, include sourcev1.GitRepositoryInclude) error {
	switch {
	case include.GitRepositoryRef.Name == obj.Name:
		return errors.New("it names the object itself")
	case !filepath.IsLocal(fromPath(include)):
		return fmt.Errorf("fromPath %q leads out of the artifact", include.FromPath)
	case !filepath.IsLocal(toPath(include)):
		return fmt.Errorf("toPath %q leads out of the artifact", include.ToPath)
	}
	return nil
}

// fromPath is what is included of an artifact.
func fromPath(include sourcev1.GitRepositoryInclude) string { return within(include.FromPath) }

// toPath is where an include goes.
func toPath(include sourcev1.GitRepositoryInclude) string {
	return within(cmp.Or(include.ToPath, include.GitRepositoryRef.Name))
}

// within is a path in an artifact, whose root is / as in Flux.
func within(path string) string { return filepath.Clean(strings.TrimLeft(path, "/")) }

// include copies an artifact, or a directory of it, into the tree.
func (f *Fetcher) include(ctx context.Context, w work, include sourcev1.GitRepositoryInclude, from *meta.Artifact) error {
	packed, err := f.Store.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = packed.Close() }()
	dir, err := os.MkdirTemp(w.scratch, "include-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // again with all of the run
	if err := artifact.UnpackTo(dir, packed, artifact.Limits{}); err != nil {
		return err
	}
	unpacked, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = unpacked.Close() }()
	part := fromPath(include)
	info, err := unpacked.Stat(part)
	if err != nil || !info.IsDir() {
		return fmt.Errorf("fromPath %q is no directory in its artifact", include.FromPath)
	}
	return copyTree(ctx, unpacked.FS(), filepath.ToSlash(part), w, toPath(include))
}

// space is what is left for files and directories, and for bytes. One artifact may be
// included, and one submodule be there, many times: what agents take of it all is asked
// when it is on the disk.
type space struct {
	files int
	bytes int64
}

func (s *space) take(bytes int64) error {
	s.files--
	s.bytes -= bytes
	if s.files < 0 || s.bytes < 0 {
		return fmt.Errorf("with its submodules and includes it has more than %d files or %d bytes: leave some of them out", maxFiles, int64(maxBytes))
	}
	return nil
}

// copyTree copies the files below a directory. No file is replaced.
func copyTree(ctx context.Context, from fs.FS, part string, to work, at string) error {
	return fs.WalkDir(from, part, func(name string, entry fs.DirEntry, err error) error {
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		relative, err := filepath.Rel(filepath.FromSlash(part), filepath.FromSlash(name))
		if err != nil {
			return err
		}
		target := filepath.Join(at, relative)
		switch {
		case entry.IsDir():
			err = errors.Join(to.space.take(0), to.root.MkdirAll(target, dirMode))
		case entry.Type().IsRegular():
			err = copyFile(from, name, to, target)
		}
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%s is there already", target)
		}
		return err
	})
}

func copyFile(from fs.FS, name string, to work, target string) (err error) {
	in, err := from.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := to.space.take(info.Size()); err != nil {
		return err
	}
	out, err := to.root.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

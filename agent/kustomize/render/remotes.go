package render

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/yaml"
)

// Remotes fetches what kustomizations name at other places. It is safe for
// concurrent use.
type Remotes interface {
	// Fetch returns files by path, not more than most bytes of them, and the
	// path of the file or directory that the URL names.
	Fetch(ctx context.Context, url string, most int64) (files map[string][]byte, entry string, err error)
}

const (
	// maxRemotes, remoteBytes and remoteTimeout bound all that one build fetches.
	maxRemotes    = 20
	remoteBytes   = 64 << 20
	remoteTimeout = 2 * time.Minute
	// fetching is how many builds fetch at once, besides one that takes long.
	fetching = 4

	// remotePrefix begins the directories that stand for other places.
	remotePrefix = ".headwater-remote-"
)

// remoteFields may name other places.
var remoteFields = []string{"resources", "bases", "components"}

// remote is what was fetched for a URL, or why it was not.
type remote struct {
	files map[string][]byte
	entry string
	err   error
}

// remoteError says that a build needs something that was not fetched yet.
type remoteError struct{ url string }

func (e *remoteError) Error() string { return fmt.Sprintf("%q is remote", abbreviated(e.url)) }

// buildWithRemotes builds, and fetches what turns out to be missing, until
// nothing is. A build that waits for the network holds neither a place among
// those that run nor the artifact's files.
func (r *Renderer) buildWithRemotes(ctx context.Context, req Request, known *outside) (result, error) {
	made, missing, err := r.attempt(ctx, req, known)
	if missing != nil {
		made, err = r.buildFetched(ctx, req, known, missing)
	}
	// Nobody tells when another place changes.
	made.moving = len(known.fetched) > 0
	return made, err
}

// buildFetched fetches what is missing, and builds again.
func (r *Renderer) buildFetched(ctx context.Context, req Request, known *outside, missing *remoteError) (made result, err error) {
	if !req.Long {
		if err := r.fetching.Acquire(ctx, 1); err != nil {
			return result{}, err
		}
		defer r.fetching.Release(1)
	}
	waited, cancel := context.WithTimeout(ctx, remoteTimeout)
	defer cancel()
	for ; missing != nil; made, missing, err = r.attempt(ctx, req, known) {
		var found remote
		if len(known.fetched) >= maxRemotes {
			found.err = fmt.Errorf("the build needs more than %d remote bases", maxRemotes)
		} else {
			found.files, found.entry, found.err = r.options.Remotes.Fetch(waited, missing.url, known.room)
		}
		for _, content := range found.files {
			known.room -= int64(len(content))
		}
		known.fetched[missing.url] = found
	}
	return made, err
}

// attempt builds with what is known so far.
func (r *Renderer) attempt(ctx context.Context, req Request, known *outside) (result, *remoteError, error) {
	made, err := r.build(ctx, req, known)
	var missing *remoteError
	if r.options.Remotes != nil && errors.As(err, &missing) {
		return result{}, missing, err
	}
	return made, nil, err
}

// mount makes what was fetched known to the tree.
func (t *tree) mount(fetched map[string]remote) {
	t.fetched = fetched
	for url, found := range fetched {
		for name, content := range found.files {
			name = path.Join(mountOf(url), clean(name))
			t.mounted[name] = content
			t.link(name)
		}
	}
}

// mountOf is the directory that stands for a URL.
func mountOf(url string) string {
	sum := sha256.Sum256([]byte(url))
	return remotePrefix + hex.EncodeToString(sum[:8])
}

// checkRemote says whether a kustomization may name another place.
func (t *tree) checkRemote(field, url string) error {
	found, known := t.fetched[url]
	switch {
	case !t.remotes:
		return fmt.Errorf("%q is remote, and the agents fetch nothing: put a copy into the source, or start them with --no-remote-bases=false", abbreviated(url))
	case !slices.Contains(remoteFields, field):
		return fmt.Errorf("%q is remote: only resources and components are fetched, put a copy into the source", abbreviated(url))
	case !known:
		return &remoteError{url}
	case found.err != nil:
		return fmt.Errorf("%q: %w", abbreviated(url), found.err)
	case !t.isFile(path.Join(mountOf(url), found.entry)) && !t.isDir(path.Join(mountOf(url), found.entry)):
		return fmt.Errorf("%q: there is no %q", abbreviated(url), abbreviated(found.entry))
	}
	return nil
}

// checkInside keeps a path in the artifact, and what was fetched from reaching
// for the artifact's files. A field called path may be that of a field inside an
// object.
func (t *tree) checkInside(dir, field, target string) error {
	if path.IsAbs(target) && (!strings.EqualFold(field, "path") || t.isFile(clean(target))) {
		// kustomize would take it from the root of the artifact, whoever names it.
		return fmt.Errorf("%q is absolute: name it from the directory of the kustomization", abbreviated(target))
	}
	joined := path.Join(dir, target)
	if field != "path" && (joined == ".." || strings.HasPrefix(joined, "../")) {
		return fmt.Errorf("%q leads out of the artifact", target)
	}
	if !strings.HasPrefix(dir, remotePrefix) {
		return nil
	}
	root, _, _ := strings.Cut(dir, "/")
	if joined != root && !strings.HasPrefix(joined, root+"/") {
		return fmt.Errorf("%q leads out of the remote base", abbreviated(target))
	}
	return nil
}

// brought is a kustomization file that names what was fetched where it is in the
// tree.
func (t *tree) brought(dir string, content []byte) ([]byte, error) {
	if len(t.fetched) == 0 {
		return content, nil
	}
	var k types.Kustomization
	if err := k.Unmarshal(content); err != nil {
		return nil, err
	}
	k.FixKustomization()
	up := strings.Repeat("../", strings.Count(dir, "/")+min(1, len(dir)))
	changed := false
	for _, entries := range [][]string{k.Resources, k.Components} {
		for i, entry := range entries {
			if found, ok := t.fetched[entry]; ok {
				entries[i], changed = up+path.Join(mountOf(entry), found.entry), true
			}
		}
	}
	if !changed {
		return content, nil
	}
	return yaml.Marshal(k)
}

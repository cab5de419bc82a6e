package bucket

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/sourceignore"

	"github.com/headwater-dev/headwater/hub/source"
	"github.com/headwater-dev/headwater/internal/artifact"
)

const (
	// maxBytes is what agents unpack, as artifact.MaxFiles is.
	maxBytes = 512 << 20
	// maxListBytes bounds all keys and etags of a list: it is in memory.
	maxListBytes = 32 << 20
)

// entry is what a list says of one object.
type entry struct {
	etag string
	size int64
	// generation is Google's number of the state that the etag is of.
	generation int64
}

// list is what the bucket holds by key, without what is excluded.
type list map[string]entry

// revision is Flux's: the digest of the sorted lines of key and etag.
func (l list) revision() source.Revision {
	h := sha256.New()
	for _, key := range slices.Sorted(maps.Keys(l)) {
		_, _ = fmt.Fprintf(h, "%s %s\n", key, l[key].etag)
	}
	sum := fmt.Sprintf("%x", h.Sum(nil))
	return source.Revision{Name: "sha256:" + sum, ID: sum}
}

// listing is what is done when a bucket that does not exist shows.
const listing = "listing"

// find lists the keys below spec.prefix, without what is excluded. It asks for the
// .sourceignore only where the list shows one, or cannot because of a prefix.
func (s *session) find(ctx context.Context) (list, error) {
	excludes, err := s.excludes(ctx, s.obj.Spec.Prefix != "")
	if err != nil {
		return nil, s.failed(ctx, "reading what is excluded", err)
	}
	found, folders, size, listed := list{}, map[string]bool{".": true}, int64(0), 0
	err = s.list(ctx, s.obj.Spec.Prefix, func(key string, e entry) error {
		switch {
		case ctx.Err() != nil: // many excludes take long
			return ctx.Err()
		case len(key) > maxKeyBytes:
			return fmt.Errorf("it has a key of more than %d bytes", maxKeyBytes)
		case key == sourceignore.IgnoreFile:
			excludes, err = s.excludes(ctx, true)
			return err
		case strings.HasSuffix(key, "/"), excludes.Match(key):
			return nil
		}
		if listed += len(key) + len(e.etag); listed > maxListBytes {
			return fmt.Errorf("its keys and etags have more than %d bytes: set spec.prefix or spec.ignore", maxListBytes)
		}
		found[key] = e
		for dir := path.Dir(key); !folders[dir]; dir = path.Dir(dir) {
			folders[dir] = true
		}
		if size += e.size; size > maxBytes || len(found)+len(folders) > artifact.MaxFiles {
			return fmt.Errorf("it holds more than %d objects and folders or %d bytes: set spec.prefix or spec.ignore", artifact.MaxFiles, int64(maxBytes))
		}
		return nil
	})
	// Some keys come before the .sourceignore.
	maps.DeleteFunc(found, func(key string, _ entry) bool { return ctx.Err() == nil && excludes.Match(key) })
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, s.failed(ctx, listing, err)
	}
	return found, nil
}

// excludes are the patterns of spec.ignore, behind those of the bucket's own file
// where that is to be read.
func (s *session) excludes(ctx context.Context, own bool) (*source.Excludes, error) {
	var all source.Excludes
	if own {
		patterns, err := s.ignored(ctx)
		if err != nil {
			return nil, err
		}
		if err := all.Add(patterns, nil); err != nil {
			return nil, fmt.Errorf("%s: %w", sourceignore.IgnoreFile, err)
		}
	}
	if s.obj.Spec.Ignore == nil {
		return &all, nil
	}
	if err := all.Add(*s.obj.Spec.Ignore, nil); err != nil {
		return nil, fmt.Errorf("spec.ignore: %w", err)
	}
	return &all, nil
}

// ignored reads the .sourceignore at the root of the bucket, if there is one.
func (s *session) ignored(ctx context.Context) (string, error) {
	object, err := s.open(ctx, sourceignore.IgnoreFile, entry{})
	if err == nil {
		defer func() { _ = object.Close() }()
		var content string
		if content, err = source.ReadIgnore(object); err == nil {
			return content, nil
		}
	}
	if s.status(err) == http.StatusNotFound {
		return "", nil // and if there is no bucket either, its list says so
	}
	return "", err
}

package bucket

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/sourceignore"

	"github.com/headwater-dev/headwater/hub/source"
)

const (
	maxObjects = 100_000
	maxBytes   = 512 << 20
	// maxIgnoreBytes bounds the .sourceignore of a bucket.
	maxIgnoreBytes = 1 << 20
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
	var patterns string
	if s.obj.Spec.Prefix != "" {
		var err error
		if patterns, err = s.ignored(ctx); err != nil {
			return nil, s.failed(ctx, "reading "+sourceignore.IgnoreFile, err)
		}
	}
	excluded := s.excluded(patterns)
	found, size := list{}, int64(0)
	err := s.list(ctx, s.obj.Spec.Prefix, func(key string, e entry) error {
		switch {
		case len(key) > maxKeyBytes:
			return fmt.Errorf("it has a key of more than %d bytes", maxKeyBytes)
		case key == sourceignore.IgnoreFile:
			patterns, err := s.ignored(ctx)
			excluded = s.excluded(patterns)
			return err
		case strings.HasSuffix(key, "/"), excluded(key):
			return nil
		}
		found[key] = e
		if size += e.size; size > maxBytes || len(found) > maxObjects {
			return fmt.Errorf("it holds more than %d objects or %d bytes: set spec.prefix or spec.ignore", maxObjects, int64(maxBytes))
		}
		return nil
	})
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, s.failed(ctx, listing, err)
	}
	// Some keys come before the .sourceignore.
	maps.DeleteFunc(found, func(key string, _ entry) bool { return excluded(key) })
	return found, nil
}

// excluded tells the keys that these patterns exclude, or spec.ignore.
func (s *session) excluded(patterns string) func(key string) bool {
	if s.obj.Spec.Ignore != nil {
		patterns += "\n" + *s.obj.Spec.Ignore
	}
	matcher := sourceignore.NewMatcher(sourceignore.ReadPatterns(strings.NewReader(patterns), nil))
	return func(key string) bool { return matcher.Match(strings.Split(key, "/"), false) }
}

// ignored reads the .sourceignore at the root of the bucket, if there is one.
func (s *session) ignored(ctx context.Context) (string, error) {
	object, err := s.open(ctx, sourceignore.IgnoreFile, entry{})
	if err == nil {
		defer func() { _ = object.Close() }()
		var content []byte
		if content, err = io.ReadAll(io.LimitReader(object, maxIgnoreBytes+1)); err == nil && len(content) > maxIgnoreBytes {
			err = errors.New("it is larger than 1 MiB")
		}
		if err == nil {
			return string(content), nil
		}
	}
	if s.status(err) == http.StatusNotFound {
		return "", nil // and if there is no bucket either, its list says so
	}
	return "", err
}

package bucket

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/sourceignore"
	"github.com/minio/minio-go/v7"

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

// list asks for the keys below spec.prefix.
func (s *session) list(ctx context.Context) (list, error) {
	patterns, err := s.ignored(ctx)
	if err != nil {
		return nil, s.failed(ctx, "reading "+sourceignore.IgnoreFile, err)
	}
	if s.obj.Spec.Ignore != nil {
		patterns += "\n" + *s.obj.Spec.Ignore
	}
	matcher := sourceignore.NewMatcher(sourceignore.ReadPatterns(strings.NewReader(patterns), nil))
	// The channel is drained to its end only when the context ends.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	found, size := list{}, int64(0)
	for object := range s.client.ListObjects(ctx, s.obj.Spec.BucketName, minio.ListObjectsOptions{Prefix: s.obj.Spec.Prefix, Recursive: true}) {
		if object.Err != nil {
			return nil, s.failed(ctx, "listing", object.Err)
		}
		if strings.HasSuffix(object.Key, "/") || object.Key == sourceignore.IgnoreFile || matcher.Match(strings.Split(object.Key, "/"), false) {
			continue
		}
		found[object.Key] = entry{etag: object.ETag, size: object.Size}
		if size += object.Size; size > maxBytes || len(found) > maxObjects {
			return nil, s.failed(ctx, "listing", fmt.Errorf("it holds more than %d objects or %d bytes: set spec.prefix or spec.ignore", maxObjects, int64(maxBytes)))
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, s.failed(ctx, "listing", err)
	}
	return found, nil
}

// ignored reads the .sourceignore at the root of the bucket, if there is one.
func (s *session) ignored(ctx context.Context) (string, error) {
	object, err := s.client.GetObject(ctx, s.obj.Spec.BucketName, sourceignore.IgnoreFile, minio.GetObjectOptions{})
	if err != nil {
		return "", err
	}
	defer func() { _ = object.Close() }()
	content, err := io.ReadAll(io.LimitReader(object, maxIgnoreBytes+1))
	switch {
	case minio.ToErrorResponse(err).Code == minio.NoSuchKey:
		return "", nil
	case err != nil:
		return "", err
	case len(content) > maxIgnoreBytes:
		return "", errors.New("it is larger than 1 MiB")
	}
	return string(content), nil
}

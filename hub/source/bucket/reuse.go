package bucket

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/internal/artifact"
)

// Reuse has the Fetcher take objects from the last artifact whose etag is still
// the same. What artifacts were made of is remembered, in bounds, and not over a
// restart. Call it before the first Fetch.
func (f *Fetcher) Reuse(store *artifact.Store) (err error) {
	f.store = store
	f.lists, err = newLists()
	return err
}

// remember notes what the object's artifact of the revision is made of.
func (f *Fetcher) remember(obj *sourcev1.Bucket, revision string, made list) {
	if f.lists != nil {
		f.lists.put(client.ObjectKeyFromObject(obj), identity(obj, revision), made)
	}
}

// identity tells artifacts of an object apart, also those of a bucket at another place.
func identity(obj *sourcev1.Bucket, revision string) string {
	return strings.Join([]string{
		string(obj.UID), obj.Spec.Provider, obj.Spec.Endpoint, fmt.Sprint(obj.Spec.Insecure), obj.Spec.BucketName, revision,
	}, "\x00")
}

// reuse moves what has not changed since the last artifact into dir, and returns
// what is left to fetch. An artifact that cannot be used is none.
func (f *Fetcher) reuse(ctx context.Context, obj *sourcev1.Bucket, found list, dir string) (rest list, err error) {
	last := obj.GetArtifact()
	if f.lists == nil || last == nil {
		return found, nil
	}
	made, known := f.lists.get(client.ObjectKeyFromObject(obj), identity(obj, last.Revision))
	if !known {
		return found, nil
	}
	before := dir + ".before"
	if err := f.unpackLast(obj, before); err != nil {
		return found, nil //nolint:nilerr // the reconciler tells of damaged artifacts, and fetching all is right without them
	}
	root, err := os.OpenRoot(filepath.Dir(dir))
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	rest = list{}
	for key, listed := range found {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if made[key] != listed || !move(root, filepath.Base(before), filepath.Base(dir), filepath.FromSlash(key), listed.size) {
			rest[key] = listed
		}
	}
	return rest, nil
}

// unpackLast unpacks the artifact that the object has now.
func (f *Fetcher) unpackLast(obj *sourcev1.Bucket, dir string) error {
	packed, err := f.store.Open(obj.GetArtifact())
	if err != nil {
		return err
	}
	defer func() { _ = packed.Close() }()
	return errors.Join(os.Mkdir(dir, dirMode), artifact.UnpackTo(dir, packed, artifact.Limits{}))
}

// move moves a file of that size, and says whether it was there.
func move(root *os.Root, from, to, name string, size int64) bool {
	if !filepath.IsLocal(name) {
		return false
	}
	old, fresh := filepath.Join(from, name), filepath.Join(to, name)
	info, err := root.Lstat(old)
	if err != nil || !info.Mode().IsRegular() || info.Size() != size {
		return false
	}
	return root.MkdirAll(filepath.Dir(fresh), dirMode) == nil && root.Rename(old, fresh) == nil
}

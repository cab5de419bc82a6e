package bucket_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/client-go/tools/record"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/source"
	"github.com/headwater-dev/headwater/hub/source/bucket"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// reusing runs Buckets of the endpoint with one memory, and says how many objects a
// run has fetched.
func reusing(t *testing.T, e *endpoint) (run func(*sourcev1.Bucket) int) {
	t.Helper()
	g := NewWithT(t)
	store, err := artifact.NewStore(artifact.StoreOptions{Dir: t.TempDir(), AdvertisedAddr: "hub.test:9090"})
	g.Expect(err).NotTo(HaveOccurred())
	f := e.fetcher()
	g.Expect(f.Reuse(store)).To(Succeed())
	return func(obj *sourcev1.Bucket) int {
		e.gets.Store(0)
		g.Expect((&source.Reconciler[*sourcev1.Bucket]{
			Fetcher: f, Store: store, Events: reconcile.NewRecorder(record.NewFakeRecorder(10), nil, "source-controller", ""),
		}).Reconcile(t.Context(), obj)).To(Succeed())
		return int(e.gets.Load())
	}
}

// A Bucket that changes at each look takes the place of its own last list alone.
func TestABucketThatChangesLeavesOthersTheirLists(t *testing.T) {
	g := NewWithT(t)
	e := newEndpoint(t)
	run := reusing(t, e)
	restless, quiet := e.object(), e.object()
	restless.Spec.Prefix = "restless/"
	quiet.Name, quiet.Spec.Prefix = "quiet", "quiet/"
	e.put(t, map[string]string{"quiet/a": "1", "quiet/b": "1"})
	g.Expect(run(quiet)).To(Equal(2))
	for i := range 65 {
		e.put(t, map[string]string{"restless/a": fmt.Sprint(i)})
		g.Expect(run(restless)).To(Equal(1))
	}
	e.put(t, map[string]string{"quiet/b": "2"})
	g.Expect(run(quiet)).To(Equal(1))
}

// Only what has changed is fetched, and the artifact is the one that fetching all
// makes.
func TestOnlyChangesAreFetched(t *testing.T) {
	g := NewWithT(t)
	e := newEndpoint(t)
	dir := t.TempDir()
	store, err := artifact.NewStore(artifact.StoreOptions{Dir: dir, AdvertisedAddr: "hub.test:9090"})
	g.Expect(err).NotTo(HaveOccurred())
	reuses, whole := e.fetcher(), e.fetcher()
	g.Expect(reuses.Reuse(store)).To(Succeed())
	run := func(f *bucket.Fetcher, obj *sourcev1.Bucket) int32 {
		e.gets.Store(0)
		g.Expect((&source.Reconciler[*sourcev1.Bucket]{
			Fetcher: f, Store: store, Events: reconcile.NewRecorder(record.NewFakeRecorder(10), nil, "source-controller", ""),
		}).Reconcile(t.Context(), obj)).To(Succeed())
		return int32(e.gets.Load()) //nolint:gosec // a handful
	}
	obj, other := e.object(), e.object()
	other.Name = "other"

	e.put(t, map[string]string{"a": "1", "dir/b": "1", "dir/gone": "1", "gone/c": "1"})
	g.Expect(run(reuses, obj)).To(BeEquivalentTo(4))
	for _, key := range []string{"dir/gone", "gone/c"} {
		_, err := e.backend.DeleteObject("platform", key)
		g.Expect(err).NotTo(HaveOccurred())
	}
	e.put(t, map[string]string{"dir/b": "2", "d": "1"})
	g.Expect(run(reuses, obj)).To(BeEquivalentTo(2), "what has changed, and what is new")
	g.Expect(run(whole, other)).To(BeEquivalentTo(3))
	g.Expect(obj.Status.Artifact.Revision).To(Equal(other.Status.Artifact.Revision))
	g.Expect(obj.Status.Artifact.Digest).To(Equal(other.Status.Artifact.Digest))

	// An artifact that is lost, or damaged, is made of the bucket alone.
	g.Expect(os.WriteFile(filepath.Join(dir, obj.Status.Artifact.Path), []byte("damaged"), 0o600)).To(Succeed())
	e.put(t, map[string]string{"d": "2"})
	g.Expect(run(reuses, obj)).To(BeEquivalentTo(3))
	g.Expect(run(whole, other)).To(BeEquivalentTo(3))
	g.Expect(obj.Status.Artifact.Digest).To(Equal(other.Status.Artifact.Digest))
}

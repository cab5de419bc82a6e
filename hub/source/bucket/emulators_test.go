package bucket_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	. "github.com/onsi/gomega"
	"google.golang.org/api/option"
	gcs "google.golang.org/api/storage/v1"
	"k8s.io/client-go/tools/record"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/source"
	"github.com/headwater-dev/headwater/hub/source/sourcetest"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/internal/testenv"
	"github.com/headwater-dev/headwater/internal/testenv/clouds"
)

// emulator is what stands for a vendor's storage, behind a front with TLS that
// counts what is read of it.
type emulator struct {
	blobs
	plain string
	// read says whether the path is that of an object.
	read func(path string) bool
	made atomic.Int64
}

func newEmulator(t *testing.T, service *testenv.Service, read func(path string) bool) *emulator {
	t.Helper()
	e := &emulator{plain: "http://" + service.Addr, read: read}
	behind := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: service.Addr})
	e.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if e.deny.Load() {
			http.Error(w, "leak", http.StatusUnauthorized)
			return
		}
		if e.read(r.URL.Path) && !strings.HasSuffix(r.URL.Path, ".sourceignore") {
			e.gets.Add(1)
		}
		behind.ServeHTTP(w, r)
	}))
	t.Cleanup(e.Close)
	return e
}

// place is a bucket at an emulator, and the Bucket that reads it.
type place struct {
	*emulator
	obj   *sourcev1.Bucket
	login map[string]string
	put   func(*testing.T, map[string]string)
}

// named gives the Bucket a bucket of its own.
func (e *emulator) named(obj *sourcev1.Bucket) *sourcev1.Bucket {
	obj.Spec.BucketName = fmt.Sprintf("platform-%d", e.made.Add(1))
	return obj
}

func (p place) subject() *sourcetest.Subject[*sourcev1.Bucket] {
	subject := p.blobs.subject(p.obj, p.fetcher(p.login))
	subject.Commit = p.put
	p.gets.Store(0)
	p.deny.Store(false)
	return subject
}

func newAzurite(t *testing.T) *emulator {
	t.Helper()
	return newEmulator(t, testenv.StartAzurite(t, account, accountKey), func(path string) bool { return strings.Count(path, "/") > 2 })
}

func (e *emulator) azure(t *testing.T) place {
	t.Helper()
	obj := e.named(e.object("azure", e.URL+"/"+account))
	client := e.container(t, obj)
	_, err := client.Create(t.Context(), nil)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return place{e, obj, map[string]string{"accountKey": accountKey}, func(t *testing.T, files map[string]string) {
		for name, body := range files {
			_, err := client.NewBlockBlobClient(name).UploadBuffer(t.Context(), []byte(body), nil)
			NewWithT(t).Expect(err).NotTo(HaveOccurred())
		}
	}}
}

// container is the Bucket's, for its owner.
func (e *emulator) container(t *testing.T, obj *sourcev1.Bucket) *container.Client {
	t.Helper()
	g := NewWithT(t)
	key, err := container.NewSharedKeyCredential(account, accountKey)
	g.Expect(err).NotTo(HaveOccurred())
	client, err := container.NewClientWithSharedKeyCredential(e.plain+"/"+account+"/"+obj.Spec.BucketName, key, nil)
	g.Expect(err).NotTo(HaveOccurred())
	return client
}

func TestAzuriteKeepsTheContract(t *testing.T) {
	e := newAzurite(t)
	sourcetest.Run(t, func(t *testing.T) *sourcetest.Subject[*sourcev1.Bucket] { return e.azure(t).subject() })
}

// Azurite checks signatures as Azure does.
func TestLoginsAtAzurite(t *testing.T) {
	p := newAzurite(t).azure(t)
	p.put(t, map[string]string{"a": "1"})
	client := p.container(t, p.obj)
	signature := func(permissions sas.ContainerPermissions, until time.Duration) map[string]string {
		at, err := client.GetSASURL(permissions, time.Now().Add(until), &container.GetSASURLOptions{StartTime: new(time.Now().Add(-2 * time.Hour))})
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		_, query, _ := strings.Cut(at, "?")
		return map[string]string{"sasKey": query}
	}
	read := sas.ContainerPermissions{Read: true, List: true}
	for name, c := range map[string]struct {
		login map[string]string
		well  bool
	}{
		"the key":                   {map[string]string{"accountKey": accountKey}, true},
		"another key":               {map[string]string{"accountKey": "aHVudGVyMg=="}, false},
		"a signature":               {signature(read, time.Hour), true},
		"an old signature":          {signature(read, -time.Hour), false},
		"a signature for something": {signature(sas.ContainerPermissions{Write: true}, time.Hour), false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			rev, err := p.fetcher(c.login).Resolve(t.Context(), p.obj)
			if c.well {
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(rev.Name).To(HavePrefix("sha256:"))
				return
			}
			reason, _ := reconcile.ReasonOf(err)
			g.Expect(reason).To(Equal("AuthenticationFailed"))
			g.Expect(err).To(MatchError(ContainSubstring("does not accept the credentials of Secret team/login (spec.secretRef)")))
			g.Expect(err.Error()).NotTo(Or(ContainSubstring("sig="), ContainSubstring("aHVudGVyMg")))
		})
	}
}

func newGoogleStorage(t *testing.T) *emulator {
	t.Helper()
	return newEmulator(t, testenv.StartGoogleStorage(t), func(path string) bool {
		return strings.HasPrefix(path, "/storage/v1/b/") && strings.Contains(path, "/o/")
	})
}

func (e *emulator) google(t *testing.T) place {
	t.Helper()
	g := NewWithT(t)
	obj := e.named(e.object("gcp", strings.TrimPrefix(e.URL, "https://")))
	service, err := gcs.NewService(t.Context(), option.WithoutAuthentication(), option.WithEndpoint(e.plain+"/storage/v1/"))
	g.Expect(err).NotTo(HaveOccurred())
	_, err = service.Buckets.Insert("team", &gcs.Bucket{Name: obj.Spec.BucketName}).Do()
	g.Expect(err).NotTo(HaveOccurred())
	return place{e, obj, map[string]string{"serviceaccount": clouds.GoogleKey()}, func(t *testing.T, files map[string]string) {
		for name, body := range files {
			_, err := service.Objects.Insert(obj.Spec.BucketName, &gcs.Object{Name: name}).Media(strings.NewReader(body)).Do()
			NewWithT(t).Expect(err).NotTo(HaveOccurred())
		}
	}}
}

func TestGoogleStorageKeepsTheContract(t *testing.T) {
	e := newGoogleStorage(t)
	sourcetest.Run(t, func(t *testing.T) *sourcetest.Subject[*sourcev1.Bucket] { return e.google(t).subject() })
}

// What has not changed is not fetched again, by the etags that the emulators give.
func TestOnlyChangesAreFetchedOfEmulators(t *testing.T) {
	for name, start := range map[string]func(*testing.T) place{
		"azurite": func(t *testing.T) place { return newAzurite(t).azure(t) },
		"google":  func(t *testing.T) place { return newGoogleStorage(t).google(t) },
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			p := start(t)
			store, err := artifact.NewStore(artifact.StoreOptions{Dir: t.TempDir(), AdvertisedAddr: "hub.test:9090"})
			g.Expect(err).NotTo(HaveOccurred())
			f := p.fetcher(p.login)
			g.Expect(f.Reuse(store)).To(Succeed())
			run := func() int64 {
				p.gets.Store(0)
				g.Expect((&source.Reconciler[*sourcev1.Bucket]{
					Fetcher: f, Store: store, Events: reconcile.NewRecorder(record.NewFakeRecorder(10), nil, "source-controller", ""),
				}).Reconcile(t.Context(), p.obj)).To(Succeed())
				return p.gets.Load()
			}
			p.put(t, map[string]string{"a": "1", "dir/b": "1", "dir/c": "1"})
			g.Expect(run()).To(BeEquivalentTo(3))
			g.Expect(run()).To(BeZero())
			p.put(t, map[string]string{"dir/b": "2", "d": "1"})
			g.Expect(run()).To(BeEquivalentTo(2), "what has changed, and what is new")
		})
	}
}

package bucket_test

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/access"
	"github.com/headwater-dev/headwater/hub/source/bucket"
	"github.com/headwater-dev/headwater/internal/cloud"
	"github.com/headwater-dev/headwater/internal/testenv/clouds"
)

const pageSize = 2

// blobs is the bucket platform behind the parts of Google's and Microsoft's APIs
// that read: pages of two, and one state of each object. Both verify what they are
// asked with.
type blobs struct {
	*httptest.Server
	gets atomic.Int64
	// deny refuses everybody.
	deny atomic.Bool

	mu      sync.Mutex
	objects map[string]object
	number  int
}

type object struct {
	body       string
	generation int
}

func (o object) etag() string {
	sum := md5.Sum([]byte(fmt.Sprint(o.generation, o.body)))
	return "0x" + strings.ToUpper(hex.EncodeToString(sum[:8]))
}

func newBlobs(t *testing.T, api func(*blobs) http.Handler) *blobs {
	t.Helper()
	b := &blobs{objects: map[string]object{}}
	b.Server = httptest.NewTLSServer(api(b))
	t.Cleanup(b.Close)
	return b
}

func (b *blobs) put(_ *testing.T, files map[string]string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, body := range files {
		b.number++
		b.objects[key] = object{body: body, generation: b.number}
	}
}

func (b *blobs) get(key string) (object, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	found, ok := b.objects[key]
	if ok && key != ".sourceignore" {
		b.gets.Add(1)
	}
	return found, ok
}

// state is an object as it is listed.
func (b *blobs) state(key string) object {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.objects[key]
}

// page is what follows the marker, and where the next page begins.
func (b *blobs) page(prefix, marker string) (keys []string, next string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(b.objects)) {
		switch {
		case !strings.HasPrefix(key, prefix) || key < marker:
		case len(keys) == pageSize:
			return keys, key
		default:
			keys = append(keys, key)
		}
	}
	return keys, ""
}

// google speaks the JSON API of Google's storage.
func (b *blobs) google() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, isGet := strings.CutPrefix(r.URL.Path, "/storage/v1/b/platform/o/")
		query := r.URL.Query()
		switch found, ok := b.get(key); {
		case b.deny.Load() || !services.Bearer(r, clouds.GoogleAPI):
			http.Error(w, `{"error":{"code":401,"message":"leak"}}`, http.StatusUnauthorized)
		case r.URL.Path == "/storage/v1/b/platform/o":
			keys, next := b.page(query.Get("prefix"), query.Get("pageToken"))
			items := []any{}
			for _, key := range keys {
				o := b.state(key)
				items = append(items, map[string]any{"name": key, "etag": o.etag(), "size": strconv.Itoa(len(o.body)), "generation": strconv.Itoa(o.generation)})
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"items": items, "nextPageToken": next})
		case !isGet || !ok || query.Get("alt") != "media" || query.Has("generation") && query.Get("generation") != strconv.Itoa(found.generation):
			http.Error(w, `{"error":{"code":404,"message":"leak"}}`, http.StatusNotFound)
		default:
			_, _ = w.Write([]byte(found.body))
		}
	})
}

const (
	account    = "team"
	accountKey = "dGhlIGtleSBvZiB0aGUgYWNjb3VudA=="
	signed     = "sv=2024-11-04&sp=rl&sig=c2lnbmF0dXJl"
)

// microsoft speaks the API of Azure's blobs, for the account in the path.
func (b *blobs) microsoft() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, isGet := strings.CutPrefix(r.URL.Path, "/"+account+"/platform/")
		switch found, ok := b.get(key); {
		case b.deny.Load() || !allowed(r):
			w.Header().Set("X-Ms-Error-Code", "AuthorizationFailure")
			w.WriteHeader(http.StatusForbidden)
		case r.URL.Path == "/"+account+"/platform" && r.FormValue("comp") == "list":
			b.listMicrosoft(w, r)
		case !isGet || !ok:
			w.Header().Set("X-Ms-Error-Code", "BlobNotFound")
			w.WriteHeader(http.StatusNotFound)
		case r.Header.Get("If-Match") != "" && r.Header.Get("If-Match") != found.etag():
			w.WriteHeader(http.StatusPreconditionFailed)
		default:
			_, _ = w.Write([]byte(found.body))
		}
	})
}

func (b *blobs) listMicrosoft(w http.ResponseWriter, r *http.Request) {
	type item struct {
		Name       string `xml:"Name"`
		Deleted    bool   `xml:"Deleted"`
		Properties struct {
			Etag string `xml:"Etag"`
			Size int    `xml:"Content-Length"`
		} `xml:"Properties"`
		Folder string `xml:"Metadata>hdi_isfolder,omitempty"`
	}
	var answer struct {
		XMLName xml.Name `xml:"EnumerationResults"`
		Blobs   []item   `xml:"Blobs>Blob"`
		Next    string   `xml:"NextMarker"`
	}
	var keys []string
	keys, answer.Next = b.page(r.FormValue("prefix"), r.FormValue("marker"))
	for _, key := range keys {
		i, o := item{Name: key}, b.state(key)
		i.Properties.Etag, i.Properties.Size = o.etag(), len(o.body)
		if o.body == "" {
			i.Folder = "true"
		}
		answer.Blobs = append(answer.Blobs, i)
	}
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(answer)
}

// allowed verifies the shared key, the shared access signature, or the token.
func allowed(r *http.Request) bool {
	said := r.Header.Get("Authorization")
	if r.URL.Query().Get("sig") == "c2lnbmF0dXJl" && r.URL.Query().Get("sp") == "rl" {
		return said == ""
	}
	mac, isKey := strings.CutPrefix(said, "SharedKey "+account+":")
	if !isKey {
		return services.Bearer(r, cloud.AzureBlobs)
	}
	var headers, resource strings.Builder
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-ms-") {
			fmt.Fprintf(&headers, "%s:%s\n", lower, r.Header.Get(name))
		}
	}
	fmt.Fprintf(&resource, "/%s%s", account, r.URL.EscapedPath())
	for _, name := range slices.Sorted(maps.Keys(r.URL.Query())) {
		fmt.Fprintf(&resource, "\n%s:%s", name, r.URL.Query().Get(name))
	}
	text := "GET\n\n\n\n\n\n\n\n" + r.Header.Get("If-Match") + "\n\n\n\n" + headers.String() + resource.String()
	key, _ := base64.StdEncoding.DecodeString(accountKey)
	sum := hmac.New(sha256.New, key)
	sum.Write([]byte(text))
	return mac == base64.StdEncoding.EncodeToString(sum.Sum(nil))
}

// object is a Bucket of the provider, with the Secret login.
func (b *blobs) object(provider, endpoint string) *sourcev1.Bucket {
	obj := &sourcev1.Bucket{}
	obj.Namespace, obj.Name = "team", "policies"
	obj.Spec.Provider, obj.Spec.Endpoint, obj.Spec.BucketName = provider, endpoint, "platform"
	obj.Spec.Interval.Duration = time.Minute
	obj.Spec.SecretRef = &meta.LocalObjectReference{Name: "login"}
	obj.Spec.CertSecretRef = &meta.LocalObjectReference{Name: "ca"}
	return obj
}

// fetcher trusts the endpoint, and the hosts of the clouds.
func (b *blobs) fetcher(login map[string]string) *bucket.Fetcher {
	ca := string(services.Internet.CA)
	if b != nil {
		ca += certificateOf(b.Server)
	}
	return &bucket.Fetcher{
		Secrets:   fake.NewClientBuilder().WithObjects(newSecret("login", login), newSecret("ca", map[string]string{"ca.crt": ca})).Build(),
		Transport: access.NewTransport(),
		Clouds:    &cloud.Logins{CacheSize: 10, CacheFor: time.Hour},
	}
}

func TestBlobsAreVerified(t *testing.T) {
	// The tests below prove something only if the servers refuse the others.
	g := NewWithT(t)
	for _, api := range []func(*blobs) http.Handler{(*blobs).google, (*blobs).microsoft} {
		answer := httptest.NewRecorder()
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/team/platform?comp=list", http.NoBody)
		request.Header.Set("Authorization", "SharedKey team:AAAA")
		api(&blobs{objects: map[string]object{}}).ServeHTTP(answer, request)
		g.Expect(answer.Code).To(BeElementOf(401, 403))
	}
}

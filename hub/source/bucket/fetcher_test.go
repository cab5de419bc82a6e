package bucket_test

import (
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/access"
	"github.com/headwater-dev/headwater/hub/source/bucket"
	"github.com/headwater-dev/headwater/hub/source/sourcetest"
	"github.com/headwater-dev/headwater/internal/testenv/clouds"
)

// endpoint is an S3 server over TLS that knows one access key.
type endpoint struct {
	*httptest.Server
	backend *s3mem.Backend
	key     atomic.Pointer[string]
	gets    atomic.Int64
	// intercept answers in the server's place when it returns true.
	intercept func(http.ResponseWriter, *http.Request) bool
}

func newEndpoint(t *testing.T) *endpoint {
	t.Helper()
	e := &endpoint{backend: s3mem.New()}
	e.accept("AKIA1")
	NewWithT(t).Expect(e.backend.CreateBucket("platform")).To(Succeed())
	inner := gofakes3.New(e.backend).Server()
	e.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "Credential="+*e.key.Load()+"/") {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "<Error><Code>InvalidAccessKeyId</Code><Message>leak</Message></Error>")
			return
		}
		if e.intercept != nil && e.intercept(w, r) {
			return
		}
		if name := strings.TrimPrefix(r.URL.Path, "/platform/"); r.Method == http.MethodGet && name != "" && name != ".sourceignore" {
			e.gets.Add(1)
		}
		inner.ServeHTTP(w, r)
	}))
	e.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) accept(key string) { e.key.Store(&key) }

func (e *endpoint) host() string { return strings.TrimPrefix(e.URL, "https://") }

func (e *endpoint) put(t *testing.T, files map[string]string) {
	t.Helper()
	for key, body := range files {
		_, err := e.backend.PutObject("platform", key, map[string]string{"Last-Modified": "Mon, 02 Jan 2006 15:04:05 GMT"}, strings.NewReader(body), int64(len(body)), nil)
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
	}
}

func (e *endpoint) object() *sourcev1.Bucket {
	obj := &sourcev1.Bucket{}
	obj.Namespace, obj.Name = "team", "policies"
	obj.Spec.Endpoint, obj.Spec.BucketName = e.host(), "platform"
	obj.Spec.Region = "eu-central-1"
	obj.Spec.Interval.Duration = time.Minute
	obj.Spec.SecretRef = &meta.LocalObjectReference{Name: "login"}
	obj.Spec.CertSecretRef = &meta.LocalObjectReference{Name: "ca"}
	return obj
}

func newSecret(name string, data map[string]string) *corev1.Secret {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name}, Data: map[string][]byte{}}
	for key, value := range data {
		secret.Data[key] = []byte(value)
	}
	return secret
}

func (e *endpoint) fetcher(more ...client.Object) *bucket.Fetcher {
	ca := certificateOf(e.Server)
	return &bucket.Fetcher{
		Secrets: fake.NewClientBuilder().WithObjects(append(more,
			newSecret("login", map[string]string{"accesskey": "AKIA1", "secretkey": "s3cret"}),
			newSecret("ca", map[string]string{"ca.crt": ca}))...).Build(),
		Transport: access.NewTransport(),
	}
}

func certificateOf(s *httptest.Server) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}

func TestFetcherKeepsTheContract(t *testing.T) {
	sourcetest.Run(t, func(t *testing.T) *sourcetest.Subject[*sourcev1.Bucket] {
		e := newEndpoint(t)
		obj := e.object()
		return &sourcetest.Subject[*sourcev1.Bucket]{
			Fetcher:   e.fetcher(),
			Object:    obj,
			Commit:    e.put,
			Downloads: func() int { return int(e.gets.Load()) },
			WrongReference: func(*testing.T) []string {
				obj.Spec.BucketName = "nope"
				return []string{`spec.bucketName "nope"`, "there is no such bucket", e.host()}
			},
			WrongCredentials: func(*testing.T) (want, secrets []string) {
				e.accept("AKIA2")
				return []string{"Secret team/login", "spec.secretRef", e.host()}, []string{"s3cret", "leak"}
			},
		}
	})
}

func TestPrefixAndIgnore(t *testing.T) {
	g := NewWithT(t)
	e := newEndpoint(t)
	e.put(t, map[string]string{
		"policies/a.yaml": "a", "policies/logo.png": "png", "policies/b.tmp": "b", "policies/c.bak": "c", "other/d": "d",
		".sourceignore": "*.tmp\n",
	})
	obj, f := e.object(), e.fetcher()
	ignore := "*.bak"
	obj.Spec.Prefix, obj.Spec.Ignore = "policies/", &ignore
	rev, err := f.Resolve(t.Context(), obj)
	g.Expect(err).NotTo(HaveOccurred())
	dir := filepath.Join(t.TempDir(), "tree")
	g.Expect(os.Mkdir(dir, 0o700)).To(Succeed())
	content, err := f.Fetch(t.Context(), obj, rev, dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(content.Whole).To(BeTrue())
	g.Expect(filepath.Glob(filepath.Join(dir, "*", "*"))).To(Equal([]string{
		filepath.Join(dir, "policies", "a.yaml"), filepath.Join(dir, "policies", "logo.png"),
	}))
}

// Each key is held against each line.
func TestExcludesAreBounded(t *testing.T) {
	for name, c := range map[string]struct{ file, spec, want string }{
		"lines":      {strings.Repeat("a\n", 10_001), "", ".sourceignore: all excludes together have more than 10000 lines"},
		"bytes":      {strings.Repeat("0123456789abcdef0123456789abcde\n", 8193), "", ".sourceignore: all excludes together have more than 262144 bytes"},
		"both files": {strings.Repeat("a\n", 6000), strings.Repeat("b\n", 6000), "spec.ignore: all excludes together have more than 10000 lines"},
		"one line":   {"a\n" + strings.Repeat("a", 70_000) + "\nsecret\n", "", ".sourceignore: line 2 has more than 4096 bytes"},
	} {
		for _, prefix := range []string{"", "a/"} {
			t.Run(name+prefix, func(t *testing.T) {
				g := NewWithT(t)
				e := newEndpoint(t)
				e.put(t, map[string]string{"a/b": "1", "secret": "2", ".sourceignore": c.file})
				obj := e.object()
				obj.Spec.Prefix, obj.Spec.Ignore = prefix, &c.spec
				_, err := e.fetcher().Resolve(t.Context(), obj)
				g.Expect(err).To(MatchError(ContainSubstring(c.want)))
			})
		}
	}
}

// Agents count the root and folders too.
func TestABucketHasNoMoreThanAgentsUnpack(t *testing.T) {
	g := NewWithT(t)
	e := newEndpoint(t)
	files := map[string]string{}
	for i := range 49_999 {
		files[fmt.Sprintf("%05d/x", i)] = ""
	}
	e.put(t, files)
	_, err := e.fetcher().Resolve(t.Context(), e.object())
	g.Expect(err).NotTo(HaveOccurred())
	e.put(t, map[string]string{"y/z": ""})
	_, err = e.fetcher().Resolve(t.Context(), e.object())
	g.Expect(err).To(MatchError(ContainSubstring("it holds more than 100000 objects and folders")))
}

// A look at a bucket is a list and, where that shows a .sourceignore, a read of it,
// which counts for the keys before it too.
func TestRequestsOfALook(t *testing.T) {
	g := NewWithT(t)
	e := newEndpoint(t)
	e.put(t, map[string]string{"a": "a", "a.tmp": "b"})
	var requests atomic.Int32
	e.intercept = func(http.ResponseWriter, *http.Request) bool { requests.Add(1); return false }
	f := e.fetcher()
	plain, err := f.Resolve(t.Context(), e.object())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(requests.Swap(0)).To(BeEquivalentTo(1))

	e.put(t, map[string]string{"!.tmp": "first", ".sourceignore": "*.tmp\n"})
	ignoring, err := f.Resolve(t.Context(), e.object())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(requests.Load()).To(BeEquivalentTo(2))
	g.Expect(ignoring.Name).NotTo(Equal(plain.Name))
	dir := t.TempDir()
	_, err = f.Fetch(t.Context(), e.object(), ignoring, dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(filepath.Glob(filepath.Join(dir, "*"))).To(Equal([]string{filepath.Join(dir, "a")}))
}

func TestRetryAfterIsHonoured(t *testing.T) {
	g := NewWithT(t)
	e := newEndpoint(t)
	e.intercept = func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Retry-After", "90")
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	}
	_, err := e.fetcher().Resolve(t.Context(), e.object())
	g.Expect(err).To(MatchError(ContainSubstring("the endpoint answered 429: trying again in 1m30s")))
}

func TestRevisionIsFluxs(t *testing.T) {
	g := NewWithT(t)
	e := newEndpoint(t)
	e.put(t, map[string]string{"b": "a", "a": "a"})
	rev, err := e.fetcher().Resolve(t.Context(), e.object())
	g.Expect(err).NotTo(HaveOccurred())
	const md5OfA = "0cc175b9c0f1b6a831c399e269772661"
	g.Expect(rev.Name).To(Equal(fmt.Sprintf("sha256:%x", sha256.Sum256([]byte("a "+md5OfA+"\nb "+md5OfA+"\n")))))
}

func TestAChangeMeanwhileIsNotMixed(t *testing.T) {
	g := NewWithT(t)
	e := newEndpoint(t)
	e.put(t, map[string]string{"a": "1"})
	f, obj := e.fetcher(), e.object()
	rev, err := f.Resolve(t.Context(), obj)
	g.Expect(err).NotTo(HaveOccurred())
	e.put(t, map[string]string{"a": "2"})
	_, err = f.Fetch(t.Context(), obj, rev, t.TempDir())
	g.Expect(err).To(MatchError(ContainSubstring("changed while it was being read")))
}

// A list is read into memory, page by page.
func TestListsAreBounded(t *testing.T) {
	for _, c := range []struct {
		bytes int
		want  string
	}{{5 << 20, "a list of more than 4194304 bytes or 100000 elements"}, {4097, "a key of more than 4096 bytes"}} {
		e := newEndpoint(t)
		e.intercept = func(w http.ResponseWriter, r *http.Request) bool {
			if !r.URL.Query().Has("list-type") {
				return false
			}
			w.Header().Set("Content-Type", "application/xml")
			_, _ = io.WriteString(w, "<ListBucketResult><Name>platform</Name><IsTruncated>false</IsTruncated><Contents><Key>")
			_, _ = io.WriteString(w, strings.Repeat("a", c.bytes))
			_, _ = io.WriteString(w, "</Key><Size>1</Size></Contents></ListBucketResult>")
			return true
		}
		_, err := e.fetcher().Resolve(t.Context(), e.object())
		NewWithT(t).Expect(err).To(MatchError(ContainSubstring(c.want)))
	}
}

// A list of few bytes can take much memory: each object that it does not even name
// is hundreds of bytes.
func TestAPageHasNoMoreThanItsObjects(t *testing.T) {
	const many = 400_000
	want := MatchError(ContainSubstring("a list of more than 4194304 bytes or 100000 elements"))
	page := func(is func(*http.Request) bool, text string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if is(r) {
				_, _ = io.WriteString(w, text)
			}
			return is(r)
		}
	}
	for name, text := range map[string]string{
		"objects":  strings.Repeat("<Contents/>", many/4),
		"prefixes": strings.Repeat("<CommonPrefixes/>", many/4),
	} {
		t.Run("S3 "+name, func(t *testing.T) {
			e := newEndpoint(t)
			e.intercept = page(func(r *http.Request) bool { return r.URL.Query().Has("list-type") },
				"<ListBucketResult><Name>platform</Name><IsTruncated>false</IsTruncated>"+text+"</ListBucketResult>")
			_, err := e.fetcher().Resolve(t.Context(), e.object())
			NewWithT(t).Expect(err).To(want)
		})
	}
	t.Run("Google", func(t *testing.T) {
		b := newBlobs(t, intercepted((*blobs).google, page(func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/o") },
			`{"items":[{}`+strings.Repeat(",{}", many)+`]}`)))
		_, err := b.fetcher(map[string]string{"serviceaccount": clouds.GoogleKey()}).Resolve(t.Context(), b.object("gcp", strings.TrimPrefix(b.URL, "https://")))
		NewWithT(t).Expect(err).To(want)
	})
	t.Run("Microsoft", func(t *testing.T) {
		b := newBlobs(t, intercepted((*blobs).microsoft, page(func(r *http.Request) bool { return r.URL.Query().Get("comp") == "list" },
			"<EnumerationResults><Blobs>"+strings.Repeat("<Blob/>", many)+"</Blobs></EnumerationResults>")))
		_, err := b.fetcher(map[string]string{"accountKey": accountKey}).Resolve(t.Context(), b.object("azure", b.URL+"/"+account))
		NewWithT(t).Expect(err).To(want)
	})
}

// intercepted is the API, in whose place another answers when it returns true.
func intercepted(api func(*blobs) http.Handler, by func(http.ResponseWriter, *http.Request) bool) func(*blobs) http.Handler {
	return func(b *blobs) http.Handler {
		inner := api(b)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !by(w, r) {
				inner.ServeHTTP(w, r)
			}
		})
	}
}

// A list of pages, each of which may be, stays in memory until its end.
func TestAListIsBoundedInBytes(t *testing.T) {
	e := newEndpoint(t)
	n, long := 0, strings.Repeat("x", 2000)
	e.intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if !r.URL.Query().Has("list-type") || n >= 10_000 {
			return false
		}
		w.Header().Set("Content-Type", "application/xml")
		_, _ = io.WriteString(w, "<ListBucketResult><Name>platform</Name><IsTruncated>true</IsTruncated><NextContinuationToken>more</NextContinuationToken>")
		for range 1000 {
			n++
			_, _ = fmt.Fprintf(w, "<Contents><Key>%d/%s</Key><ETag>%s</ETag><Size>0</Size></Contents>", n, long, long)
		}
		_, _ = io.WriteString(w, "</ListBucketResult>")
		return true
	}
	obj := e.object()
	obj.Spec.Timeout = &metav1.Duration{Duration: time.Hour} // enough for a machine with much else to do
	_, err := e.fetcher().Resolve(t.Context(), obj)
	NewWithT(t).Expect(err).To(MatchError(ContainSubstring("its keys and etags have more than 33554432 bytes: set spec.prefix or spec.ignore")))
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	g := NewWithT(t)
	e := newEndpoint(t)
	asked := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	t.Cleanup(other.Close)
	e.intercept = func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		return true
	}
	_, err := e.fetcher().Resolve(t.Context(), e.object())
	g.Expect(err).To(MatchError(ContainSubstring("the endpoint redirects: set spec.endpoint")))
	g.Expect(asked).To(BeFalse())
}

func TestFailuresAreOneSentence(t *testing.T) {
	g := NewWithT(t)
	e := newEndpoint(t)
	e.intercept = func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, strings.Repeat("leak\n", 10_000))
		return true
	}
	_, err := e.fetcher().Resolve(t.Context(), e.object())
	g.Expect(err).To(MatchError(ContainSubstring("the endpoint answered 502")))
	g.Expect(err.Error()).NotTo(Or(ContainSubstring("\n"), ContainSubstring("leak")))

	done := make(chan struct{})
	defer close(done)
	e.intercept = func(http.ResponseWriter, *http.Request) bool { <-done; return true }
	obj := e.object()
	obj.Spec.Timeout = &metav1.Duration{Duration: 100 * time.Millisecond}
	_, err = e.fetcher().Resolve(t.Context(), obj)
	g.Expect(err).To(MatchError(ContainSubstring("took longer than 100ms (spec.timeout)")))

	obj.Spec.SecretRef.Name = "half"
	_, err = e.fetcher(newSecret("half", map[string]string{"accesskey": "x"})).Resolve(t.Context(), obj)
	g.Expect(err).To(MatchError("spec.secretRef: Secret team/half: it needs the keys accesskey and secretkey"))
}

func TestStalls(t *testing.T) {
	e := newEndpoint(t)
	for want, set := range map[string]func(*sourcev1.BucketSpec){
		"spec.sts.provider": func(s *sourcev1.BucketSpec) { s.STS = &sourcev1.BucketSTSSpec{Provider: "aws"} },
		"spec.endpoint":     func(s *sourcev1.BucketSpec) { s.Endpoint = "https://user:x@host/path" },
	} {
		obj := e.object()
		set(&obj.Spec)
		_, err := e.fetcher().Resolve(t.Context(), obj)
		NewWithT(t).Expect(err).To(MatchError(ContainSubstring(want)))
	}
}

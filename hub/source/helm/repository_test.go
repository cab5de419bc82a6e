package helm_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/api/meta"
)

func keyOf(obj client.Object) client.ObjectKey { return client.ObjectKeyFromObject(obj) }

func TestARepositoryThatFails(t *testing.T) {
	answer := func(code int, header ...string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(code)
			_, _ = io.WriteString(w, "leak")
			return true
		}
	}
	for name, c := range map[string]struct {
		intercept    func(http.ResponseWriter, *http.Request) bool
		reason, want string
	}{
		"forbidden":       {answer(403), "AuthenticationFailed", "the server answered 403: it does not accept the credentials of Secret team/login (spec.secretRef)"},
		"gone":            {answer(404), "Failed", "the server answered 404"},
		"busy":            {answer(429, "Retry-After", "17"), "Failed", "429, too many requests: trying again in 17s"},
		"busy until":      {answer(429, "Retry-After", "Mon, 01 Jan 2024 00:01:00 GMT", "Date", "Mon, 01 Jan 2024 00:00:00 GMT"), "Failed", "trying again in 1m0s"},
		"just busy":       {answer(429), "Failed", "the server answered 429"},
		"broken":          {answer(502), "Failed", "the server answered 502"},
		"round and round": {answer(302, "Location", "/charts/index.yaml"), "Failed", "redirects more than 10 times"},
		"to no URL":       {answer(302, "Location", "file:///etc/passwd"), "Failed", "redirects to what is no URL"},
		"no index":        {answer(200), "IndexationFailed", "does not begin with {"},
		"not the whole": {func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Length", "9")
			_, _ = io.WriteString(w, "{")
			return true
		}, "Failed", "unexpected EOF"},
		"more than it may": {endless, "Failed", "larger than 52428800 bytes (--helm-index-max-size)"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r, w := newRepository(t), newWorld(t)
			obj := r.object()
			w.sync(obj)
			before := obj.Status.Artifact.DeepCopy()
			r.intercept = c.intercept
			err := w.repositories.Reconcile(t.Context(), obj)
			g.Expect(err).To(MatchError(ContainSubstring(c.want)))
			g.Expect(err.Error()).NotTo(Or(ContainSubstring("leak"), ContainSubstring("s3cret"), ContainSubstring("\n")))
			g.Expect(condition(obj, "FetchFailed")).To(HavePrefix("True " + c.reason + " spec.url " + obj.Spec.URL))
			g.Expect(obj.Status.Artifact).To(Equal(before))
			g.Expect(w.store.Verify(before)).To(Succeed())
		})
	}
}

func endless(w http.ResponseWriter, _ *http.Request) bool {
	for range 60 << 4 {
		if _, err := io.WriteString(w, strings.Repeat(" ", 1<<16)); err != nil {
			break
		}
	}
	return true
}

func TestAServerThatDrips(t *testing.T) {
	g := NewWithT(t)
	r, w := newRepository(t), newWorld(t)
	r.intercept = func(out http.ResponseWriter, request *http.Request) bool {
		_, _ = io.WriteString(out, "{")
		_ = http.NewResponseController(out).Flush()
		<-request.Context().Done()
		return true
	}
	obj := r.object()
	obj.Spec.Timeout = &metav1.Duration{Duration: 100 * time.Millisecond}
	g.Expect(w.repositories.Reconcile(t.Context(), obj)).To(MatchError(ContainSubstring("took longer than 100ms (spec.timeout)")))
}

func TestRepositoriesThatCannotBe(t *testing.T) {
	for url, want := range map[string]string{
		"oci://registry.test/charts":      "spec.url begins with oci://, which spec.type default does not allow",
		"https://u:hunter2@charts.test/x": "spec.url holds credentials",
		"https:///x":                      "spec.url is not a URL of a host",
	} {
		g := NewWithT(t)
		w := newWorld(t)
		obj := newRepository(t).object()
		obj.Spec.URL = url
		err := w.repositories.Reconcile(t.Context(), obj)
		g.Expect(err).To(MatchError(ContainSubstring(want)))
		g.Expect(err.Error()).NotTo(ContainSubstring("hunter2"))
	}
	for name, want := range map[string]string{"gone": "it does not exist", "empty": "neither username and password", "half": "only one of the keys"} {
		g := NewWithT(t)
		w := newWorld(t, secret("empty", nil), secret("half", map[string]string{"username": "u"}))
		obj := newRepository(t).object()
		obj.Spec.SecretRef = &meta.LocalObjectReference{Name: name}
		g.Expect(w.repositories.Reconcile(t.Context(), obj)).To(MatchError(ContainSubstring(want)))
		g.Expect(condition(obj, "FetchFailed")).To(HavePrefix("True AuthenticationFailed spec.secretRef: Secret team/" + name))
	}
}

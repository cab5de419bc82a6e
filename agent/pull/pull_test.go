package pull

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/internal/testenv"
)

var shared testenv.Shared

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

func TestTimesOf(t *testing.T) {
	made := func(claims string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".sig"
	}
	g := NewWithT(t)
	issued, ends, err := timesOf(made(`{"iat":100,"exp":700}`))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(issued.Unix()).To(BeEquivalentTo(100))
	g.Expect(ends.Unix()).To(BeEquivalentTo(700))
	for _, bad := range []string{"", "abc", "a.b", "a.!.c", made(`{}`), made(`{"iat":5,"exp":5}`), made(`[]`), made(`{"iat":1}`)} {
		_, _, err := timesOf(bad)
		g.Expect(err).To(HaveOccurred(), bad)
		if bad != "" {
			g.Expect(err.Error()).NotTo(ContainSubstring(bad))
		}
	}
}

func TestTokenGoesToTheHubAlone(t *testing.T) {
	g := NewWithT(t)
	var seen []string
	record := func(_ http.ResponseWriter, r *http.Request) { seen = append(seen, r.Header.Get("Authorization")) }
	elsewhere := httptest.NewServer(http.HandlerFunc(record))
	defer elsewhere.Close()
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		record(w, r)
		http.Redirect(w, r, elsewhere.URL, http.StatusFound)
	}))
	defer hub.Close()
	tok := &token{text: "secret"}
	address, err := url.Parse(hub.URL)
	g.Expect(err).NotTo(HaveOccurred())
	wrapped := tok.wrap(address)(http.DefaultTransport)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, hub.URL, nil)
	g.Expect(err).NotTo(HaveOccurred())
	response, err := (&http.Client{Transport: wrapped}).Do(request)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(response.Body.Close()).To(Succeed())
	g.Expect(seen).To(Equal([]string{"Bearer secret", ""}))
}

// A gateway in front of the hub may redirect to its own port 80.
func TestTokenIsNotSentInTheClear(t *testing.T) {
	g := NewWithT(t)
	var seen []string
	record := func(_ http.ResponseWriter, r *http.Request) { seen = append(seen, r.Header.Get("Authorization")) }
	plain := httptest.NewServer(http.HandlerFunc(record))
	defer plain.Close()
	hub := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		record(w, r)
		http.Redirect(w, r, "http://example.com/", http.StatusFound)
	}))
	defer hub.Close()
	transport := hub.Client().Transport.(*http.Transport) //nolint:forcetypeassert // it is one
	servers := map[string]string{"example.com:443": hub.Listener.Addr().String(), "example.com:80": plain.Listener.Addr().String()}
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, servers[address])
	}
	tok := &token{text: "secret"}
	wrapped := tok.wrap(&url.URL{Scheme: "https", Host: "example.com"})(transport)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://example.com/", nil)
	g.Expect(err).NotTo(HaveOccurred())
	response, err := (&http.Client{Transport: wrapped}).Do(request)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(response.Body.Close()).To(Succeed())
	g.Expect(seen).To(Equal([]string{"Bearer secret", ""}))
}

// world is one API server that is the hub as well as the agent's own cluster.
type world struct {
	*WithT
	t         *testing.T
	namespace string
	admin     client.Client
	options   Options
}

func newWorld(t *testing.T) *world {
	t.Helper()
	g := NewWithT(t)
	plane := shared.ControlPlane(t)
	admin, err := plane.Client(nil)
	g.Expect(err).NotTo(HaveOccurred())
	made := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "pull-"}}
	g.Expect(admin.Create(t.Context(), made)).To(Succeed())
	kubeconfig, err := plane.Kubeconfig()
	g.Expect(err).NotTo(HaveOccurred())
	path := filepath.Join(t.TempDir(), "kubeconfig")
	g.Expect(os.WriteFile(path, kubeconfig, 0o600)).To(Succeed())
	w := &world{WithT: g, t: t, namespace: made.Name, admin: admin, options: Options{Secret: made.Name + "/headwater-hub", Kubeconfig: path}}
	_, err = plane.ServiceAccount(t.Context(), made.Name, "edge", []rbacv1.PolicyRule{{
		APIGroups: []string{""}, Resources: []string{"serviceaccounts/token"}, ResourceNames: []string{"edge"}, Verbs: []string{"create"},
	}})
	g.Expect(err).NotTo(HaveOccurred())
	config := plane.Config()
	g.Expect(admin.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: made.Name, Name: "headwater-hub"},
		Data: map[string][]byte{
			"server": []byte(config.Host), "ca.crt": config.CAData, "token": []byte(w.newToken()), "account": []byte("edge"),
			"namespace": []byte(made.Name), "cluster": []byte("edge"), "hub-uid": []byte("u"), "artifacts": []byte("https://hub.example.com"),
		},
	})).To(Succeed())
	return w
}

func (w *world) newToken() string {
	w.t.Helper()
	text, err := shared.ControlPlane(w.t).Token(w.t.Context(), w.namespace, "edge", 10*time.Minute)
	w.Expect(err).NotTo(HaveOccurred())
	return text
}

func (w *world) secret() *corev1.Secret {
	w.t.Helper()
	var secret corev1.Secret
	w.Expect(w.admin.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "headwater-hub"}, &secret)).To(Succeed())
	return &secret
}

func TestTokenIsRenewedAndKept(t *testing.T) {
	w := newWorld(t)
	a, err := Connect(t.Context(), w.options)
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(a.Agent()).To(Equal("pull." + w.namespace + ".edge"))
	now := clocktesting.NewFakeClock(time.Now())
	a.clock = now
	hub, err := kubernetes.NewForConfig(a.Hub())
	w.Expect(err).NotTo(HaveOccurred())
	first := string(w.secret().Data["token"])

	w.Expect(a.tend(t.Context(), hub)).To(Succeed())
	w.Expect(w.secret().Data).To(HaveKeyWithValue("token", []byte(first)), "it is fresh")
	now.Step(4 * time.Minute)
	w.Expect(a.tend(t.Context(), hub)).To(Succeed())
	second := string(w.secret().Data["token"])
	w.Expect(second).NotTo(Equal(first), "a third of its life is over")
	w.Expect(a.token.get()).To(Equal(second))
	life, _ := a.token.life()
	w.Expect(life).To(BeNumerically("~", 10*time.Minute, time.Minute))

	// One that was put there by hand is taken over.
	secret := w.secret()
	third := w.newToken()
	secret.Data["token"] = []byte(third + "\n") // as an editor writes a file
	w.Expect(w.admin.Update(t.Context(), secret)).To(Succeed())
	now.SetTime(time.Now())
	w.Expect(a.tend(t.Context(), hub)).To(Succeed())
	w.Expect(a.token.get()).To(Equal(third))

	// An older manifest is applied again.
	secret = w.secret()
	secret.Data["token"] = []byte("e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"iat":100,"exp":700}`)) + ".sig")
	w.Expect(w.admin.Update(t.Context(), secret)).To(Succeed())
	w.Expect(a.tend(t.Context(), hub)).To(Succeed())
	w.Expect(a.token.get()).To(Equal(third))
	w.Expect(w.secret().Data).To(HaveKeyWithValue("token", []byte(third)), "a restart begins with what is there")
}

// TestTheSecretOfAnotherHubIsLeftAlone: it is there before the Pod that is to use it,
// and an agent's own may be issued later than what it was made with.
func TestTheSecretOfAnotherHubIsLeftAlone(t *testing.T) {
	for _, key := range []string{"hub-uid", "server", "namespace", "cluster", "account"} {
		for name, issued := range map[string]time.Duration{"older": -time.Hour, "newer": time.Hour} {
			t.Run(key+" with an "+name+" token", func(t *testing.T) {
				w := newWorld(t)
				a, err := Connect(t.Context(), w.options)
				w.Expect(err).NotTo(HaveOccurred())
				hub, err := kubernetes.NewForConfig(a.Hub())
				w.Expect(err).NotTo(HaveOccurred())
				own := a.token.get()
				at := time.Now().Add(issued)
				claims := fmt.Sprintf(`{"iat":%d,"exp":%d}`, at.Unix(), at.Add(24*time.Hour).Unix())
				theirs := []byte("e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".sig")
				secret := w.secret()
				secret.Data["token"], secret.Data[key] = theirs, []byte("https://another.example.com")
				w.Expect(w.admin.Update(t.Context(), secret)).To(Succeed())

				a.clock = clocktesting.NewFakeClock(time.Now().Add(4 * time.Minute)) // time to renew
				w.Expect(a.tend(t.Context(), hub)).To(MatchError(And(ContainSubstring("another"), Not(ContainSubstring(string(theirs))))))
				w.Expect(a.token.get()).To(Equal(own))
				w.Expect(w.secret().Data).To(HaveKeyWithValue("token", theirs))
			})
		}
	}
}

func TestConnectSaysWhatIsWrong(t *testing.T) {
	w := newWorld(t)
	for key, value := range map[string]string{"token": "garbage", "server": "http://plain", "artifacts": "ftp://x", "cluster": ""} {
		secret := w.secret()
		before := secret.Data[key]
		secret.Data[key] = []byte(value)
		w.Expect(w.admin.Update(t.Context(), secret)).To(Succeed())
		_, err := Connect(t.Context(), w.options)
		w.Expect(err).To(MatchError(ContainSubstring(fmt.Sprintf("%q", key))), key)
		secret.Data[key] = before
		w.Expect(w.admin.Update(t.Context(), secret)).To(Succeed())
	}
	for _, o := range []Options{{Secret: "x"}, {Secret: "a/b", Kubeconfig: "/nosuch"}, {Secret: w.namespace + "/nosuch", Kubeconfig: w.options.Kubeconfig}} {
		_, err := Connect(t.Context(), o)
		w.Expect(err).To(MatchError(Or(ContainSubstring("--pull-secret"), ContainSubstring("--target-kubeconfig"))))
	}
}

package clouds

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/internal/testenv"
)

// lifetime of what the clouds give.
const lifetime = time.Hour

// Clouds are the token services of the clouds. Its methods may be called from
// several goroutines.
type Clouds struct {
	// Hub says whether a token is one of its ServiceAccounts, and Subject is who
	// may have the identities at the clouds. They are set before the first use.
	Hub     client.Client
	Subject string

	// Internet is where they are, and Proxy the way to it.
	Internet *testenv.Internet

	mu     sync.Mutex
	asked  map[string]int
	given  map[string]string
	keys   map[string]amazonKey
	number int
}

// Start gives an Internet the clouds' hosts.
func Start(internet *testenv.Internet) *Clouds {
	c := &Clouds{Internet: internet, asked: map[string]int{}, given: map[string]string{}, keys: map[string]amazonKey{}}
	c.amazon()
	c.microsoft()
	c.google()
	return c
}

// Run runs the tests of a package with the clouds in reach, at services, and with
// no other Internet. It returns the exit code, for TestMain.
func Run(services **Clouds, tests func() int) int {
	dir, err := os.MkdirTemp("", "internet-*")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	internet, err := testenv.StartInternet(context.Background())
	if err != nil {
		panic(err)
	}
	defer internet.Stop()
	if err := internet.Join(dir); err != nil {
		panic(err)
	}
	*services = Start(internet)
	return tests()
}

// Asked is how often a token service was asked for something, by its name: sts,
// ecr, entra, acr, google, or machine for the metadata service.
func (c *Clouds) Asked(service string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked[service]
}

// Good says whether a token was given for a purpose.
func (c *Clouds) Good(token, purpose string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return token != "" && c.given[token] == purpose
}

// Bearer says whether the request has a token that was given for a purpose.
func (c *Clouds) Bearer(r *http.Request, purpose string) bool {
	return c.Good(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), purpose)
}

// Withdraw has no token be good any longer.
func (c *Clouds) Withdraw() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.given)
	clear(c.keys)
}

// ask counts a question.
func (c *Clouds) ask(service string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked[service]++
}

// give makes a token for a purpose.
func (c *Clouds) give(purpose string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.number++
	token := fmt.Sprintf("token-%d", c.number)
	c.given[token] = purpose
	return token
}

// trusts says whether a token of a ServiceAccount is the subject's, for the
// audience.
func (c *Clouds) trusts(ctx context.Context, token, audience string) bool {
	if c.Hub == nil {
		return false
	}
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{audience}}}
	err := c.Hub.Create(ctx, review)
	return err == nil && review.Status.Authenticated && review.Status.User.Username == c.Subject
}

// Registry has a registry of a cloud's stand at the host: one that takes a
// password which was given for it, by its own token service.
func (c *Clouds) Registry(host, username string, inner http.Handler) {
	mux := http.NewServeMux()
	mux.HandleFunc("/oauth2/token", func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != username || !c.Good(password, "registry "+host) {
			http.Error(w, "leak", http.StatusUnauthorized)
			return
		}
		answer(w, map[string]any{"access_token": c.give("pull " + host)})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if !c.Bearer(r, "pull "+host) {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="https://%s/oauth2/token",service="%s"`, host, host))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	})
	if username == microsoftUser {
		mux.HandleFunc("/oauth2/exchange", c.exchange(host))
	}
	c.Internet.Host(host, mux)
}

package git_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	. "github.com/onsi/gomega"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/source/git"
	"github.com/headwater-dev/headwater/internal/cloud"
	"github.com/headwater-dev/headwater/internal/testenv/clouds"
)

// services are the clouds' token services, and all of the Internet there is.
var services *clouds.Clouds

func TestMain(m *testing.M) {
	os.Exit(clouds.Run(&services, func() int { return controlPlane.Run(m) }))
}

// github is the part of GitHub's API that knows the App 7, installed as 42 at the
// organization team and at the user somebody. Repositories take its tokens.
type github struct {
	*httptest.Server
	tokens atomic.Int64
	// valid is the one token that is good now.
	valid atomic.Pointer[string]
	// intercept answers in the API's place when it returns true.
	intercept func(http.ResponseWriter, *http.Request) bool
}

func newGitHub(t *testing.T) *github {
	t.Helper()
	gh := &github{}
	gh.withdraw()
	mux := http.NewServeMux()
	installation := func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(map[string]any{"id": 42}) }
	mux.HandleFunc("GET /api/v3/orgs/team/installation", installation)
	mux.HandleFunc("GET /api/v3/users/somebody/installation", installation)
	mux.HandleFunc("POST /api/v3/app/installations/42/access_tokens", func(w http.ResponseWriter, _ *http.Request) {
		token := "ghs_" + strings.Repeat("x", int(gh.tokens.Add(1)))
		gh.valid.Store(&token)
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "expires_at": time.Now().Add(time.Hour)})
	})
	gh.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if gh.intercept != nil && gh.intercept(w, r) {
			return
		}
		if !isApp(r) {
			http.Error(w, `{"message":"leak"}`, http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(gh.Close)
	return gh
}

func (gh *github) withdraw() { gh.valid.Store(new(string)) }

// isApp verifies the proof of being the App, as GitHub does.
func isApp(r *http.Request) bool {
	key, _ := clouds.RSAKey()
	var claims jwt.RegisteredClaims
	_, err := jwt.ParseWithClaims(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), &claims,
		func(*jwt.Token) (any, error) { return key.Public(), nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer("7"), jwt.WithIssuedAt(), jwt.WithExpirationRequired())
	return err == nil && claims.ExpiresAt.Sub(claims.IssuedAt.Time) <= 10*time.Minute
}

// secret is one with the App, changed.
func (gh *github) secret(change map[string]string) map[string]string {
	_, key := clouds.RSAKey()
	data := map[string]string{"githubAppID": "7\n", "githubAppInstallationID": "42", "githubAppPrivateKey": key, "githubAppBaseURL": gh.URL + "/api/v3"}
	for name, value := range change {
		data[name] = value
	}
	return data
}

// appObject is a repository that takes tokens of the App alone.
func appObject(t *testing.T, gh *github) *sourcev1.GitRepository {
	t.Helper()
	repository := newRepository(t)
	commit(t, repository, map[string]string{"app.yaml": "a: 1\n"})
	host := newFront(t, repository, httptest.NewServer)
	host.turn(func(w http.ResponseWriter, r *http.Request) bool {
		user, password, _ := r.BasicAuth()
		if user != "x-access-token" || password == "" || password != *gh.valid.Load() {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			w.WriteHeader(http.StatusUnauthorized)
			return false
		}
		return true
	})
	obj := newObject(host.URL + "/fleet.git")
	obj.Spec.Provider, obj.Spec.SecretRef = "github", &meta.LocalObjectReference{Name: "app"}
	return obj
}

func TestGitHubApp(t *testing.T) {
	gh := newGitHub(t)
	obj := appObject(t, gh)
	for name, change := range map[string]map[string]string{
		"by number":                    nil,
		"by organization":              {"githubAppInstallationID": "", "githubAppInstallationOwner": "team"},
		"by user":                      {"githubAppInstallationID": "", "githubAppInstallationOwner": "somebody"},
		"with a slash after the API's": {"githubAppBaseURL": gh.URL + "/api/v3/"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			f := newFetcher(newSecret("app", gh.secret(change)))
			f.Remotes.Clouds = &cloud.Logins{CacheSize: 10, CacheFor: time.Hour}
			before := gh.tokens.Load()
			rev, err := f.Resolve(t.Context(), obj)
			g.Expect(err).NotTo(HaveOccurred())
			_, err = f.Fetch(t.Context(), obj, rev, t.TempDir())
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(gh.tokens.Load()).To(Equal(before+1), "the token is kept")

			gh.withdraw()
			_, err = f.Resolve(t.Context(), obj)
			g.Expect(err).To(MatchError(HaveSuffix("authentication failed: the remote does not accept the GitHub App of Secret team/app (spec.provider github)")))
			_, err = f.Resolve(t.Context(), obj)
			g.Expect(err).NotTo(HaveOccurred(), "a token that was refused is not kept")
		})
	}
}

func TestGitHubAppThatIsWrong(t *testing.T) {
	gh := newGitHub(t)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	otherKey := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(other)}))
	for name, c := range map[string]struct {
		change       map[string]string
		reason, want string
	}{
		"no App":            {map[string]string{"githubAppID": ""}, "", "its key githubAppID is not the number"},
		"no installation":   {map[string]string{"githubAppInstallationID": ""}, "", "one of the keys githubAppInstallationID and githubAppInstallationOwner"},
		"two installations": {map[string]string{"githubAppInstallationOwner": "team"}, "", "one of the keys"},
		"a path in it":      {map[string]string{"githubAppInstallationID": "42/../1"}, "", "its key githubAppInstallationID is not the number"},
		"no key":            {map[string]string{"githubAppPrivateKey": "hunter2"}, "", "its key githubAppPrivateKey is not an RSA key"},
		"no API":            {map[string]string{"githubAppBaseURL": "hunter2"}, "", "its key githubAppBaseURL is not the URL"},
		"another key":       {map[string]string{"githubAppPrivateKey": otherKey}, "AuthenticationFailed", "/access_tokens answered 401: githubAppPrivateKey is not the key of the App githubAppID"},
		"elsewhere":         {map[string]string{"githubAppInstallationID": "43"}, "AuthenticationFailed", "answered 404: the App is not installed there"},
		"nobody":            {map[string]string{"githubAppInstallationID": "", "githubAppInstallationOwner": "a/b"}, "AuthenticationFailed", "/users/a%2Fb/installation answered 404"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			obj := appObject(t, gh)
			f := newFetcher(newSecret("app", gh.secret(c.change)))
			f.Remotes.Clouds = &cloud.Logins{}
			_, err := f.Resolve(t.Context(), obj)
			g.Expect(err).To(MatchError(And(HavePrefix("spec.secretRef: Secret team/app: "), ContainSubstring(c.want))))
			g.Expect(reasonOf(err)).To(Equal(c.reason))
			g.Expect(err.Error()).NotTo(Or(ContainSubstring("leak"), ContainSubstring("hunter2"), ContainSubstring("eyJ")))
		})
	}
}

func TestTheProofOfAnAppStaysWithTheAPI(t *testing.T) {
	g := NewWithT(t)
	gh := newGitHub(t)
	var asked atomic.Int64
	thief := elsewhere(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	gh.intercept = func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, thief.URL, http.StatusTemporaryRedirect)
		return true
	}
	obj := appObject(t, gh)
	f := newFetcher(newSecret("app", gh.secret(nil)))
	f.Remotes.Clouds = &cloud.Logins{}
	_, err := f.Resolve(t.Context(), obj)
	g.Expect(err).To(MatchError(HaveSuffix("/access_tokens answered 307")))
	g.Expect(asked.Load()).To(BeZero())

	gh.intercept = func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Retry-After", "17")
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	}
	_, err = f.Resolve(t.Context(), obj)
	g.Expect(err).To(MatchError(HaveSuffix("answered 429: trying again in 17s")))
}

// azureHost has a repository of Azure DevOps stand at the host.
func azureHost(t *testing.T, host string) *sourcev1.GitRepository {
	t.Helper()
	repository := newRepository(t)
	commit(t, repository, map[string]string{"app.yaml": "a: 1\n"})
	behind := newFront(t, repository, httptest.NewServer)
	services.Internet.Host(host, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !services.Bearer(r, "499b84ac-1321-427f-aa17-267ca6975798/.default") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		r.Header.Del("Authorization")
		behind.Config.Handler.ServeHTTP(w, r)
	}))
	obj := newObject("https://" + host + "/fleet.git")
	obj.Spec.Provider = "azure"
	return obj
}

// cloudFetcher is of a hub that has an identity at Microsoft.
func cloudFetcher(t *testing.T) *git.Fetcher {
	t.Helper()
	t.Setenv("AZURE_TENANT_ID", clouds.Tenant)
	t.Setenv("AZURE_CLIENT_ID", clouds.Client)
	t.Setenv("AZURE_CLIENT_SECRET", clouds.ClientSecret)
	f := newFetcher(newSecret("ca", map[string]string{"ca.crt": string(services.Internet.CA)}))
	f.Remotes.Clouds = &cloud.Logins{CacheSize: 10, CacheFor: time.Hour}
	return f
}

func TestAzureDevOps(t *testing.T) {
	g := NewWithT(t)
	obj, f := azureHost(t, "dev.azure.com"), cloudFetcher(t)
	rev, err := f.Resolve(t.Context(), obj)
	g.Expect(err).NotTo(HaveOccurred())
	before := services.Asked("entra")
	_, err = f.Fetch(t.Context(), obj, rev, t.TempDir())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(services.Asked("entra")).To(Equal(before), "the token is kept")
}

func TestCodeCommit(t *testing.T) {
	g := NewWithT(t)
	repository := newRepository(t)
	commit(t, repository, map[string]string{"app.yaml": "a: 1\n"})
	behind := newFront(t, repository, httptest.NewServer)
	services.Internet.Host("git-codecommit.eu-central-1.amazonaws.com", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !services.CodeCommit(r) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		r.URL.Path = strings.Replace(r.URL.Path, "/v1/repos/fleet", "/fleet.git", 1)
		r.Header.Del("Authorization")
		behind.Config.Handler.ServeHTTP(w, r)
	}))
	t.Setenv("AWS_ACCESS_KEY_ID", clouds.OwnID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", clouds.OwnKey)
	obj, f := newObject("https://git-codecommit.eu-central-1.amazonaws.com/v1/repos/fleet"), newFetcher()
	obj.Spec.Provider = "aws"
	f.Remotes.Clouds = &cloud.Logins{}
	rev, err := f.Resolve(t.Context(), obj)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = f.Fetch(t.Context(), obj, rev, t.TempDir())
	g.Expect(err).NotTo(HaveOccurred())

	t.Setenv("AWS_SECRET_ACCESS_KEY", "guessed")
	_, err = f.Resolve(t.Context(), obj)
	g.Expect(err).To(MatchError(ContainSubstring("does not accept the hub's own identity (spec.provider aws)")))
}

func TestProvidersThatCannotLogIn(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(*sourcev1.GitRepositorySpec)
		want string
	}{
		"a host of a tenant's": {func(s *sourcev1.GitRepositorySpec) { s.URL = "https://git.example.com/fleet.git" }, "the hub's own identity is for the cloud's own hosts"},
		"a CA of a tenant's":   {func(s *sourcev1.GitRepositorySpec) { s.SecretRef = &meta.LocalObjectReference{Name: "ca"} }, "the hub's own identity is for the cloud's own hosts"},
		"without TLS":          {func(s *sourcev1.GitRepositorySpec) { s.URL = "http://dev.azure.com/fleet.git" }, "logs in over https"},
		"ssh":                  {func(s *sourcev1.GitRepositorySpec) { s.URL = "ssh://git@ssh.dev.azure.com/fleet.git" }, "logs in over https"},
		"an App over ssh":      {func(s *sourcev1.GitRepositorySpec) { s.Provider, s.URL = "github", "ssh://git@github.com/fleet.git" }, "logs in over https"},
		"no App":               {func(s *sourcev1.GitRepositorySpec) { s.Provider = "github" }, "spec.provider github needs spec.secretRef"},
		"an account for none":  {func(s *sourcev1.GitRepositorySpec) { s.Provider, s.ServiceAccountName = "generic", "x" }, "spec.serviceAccountName is for spec.provider"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			f, obj := cloudFetcher(t), newObject("https://dev.azure.com/fleet.git")
			obj.Spec.Provider = "azure"
			c.set(&obj.Spec)
			_, err := f.Resolve(t.Context(), obj)
			g.Expect(err).To(MatchError(ContainSubstring(c.want)))
			g.Expect(reasonOf(err)).To(BeEmpty(), "somebody has to mend it")
		})
	}
	g := NewWithT(t)
	obj := newObject("http://127.0.0.1:1/never-asked.git")
	obj.Spec.SecretRef = &meta.LocalObjectReference{Name: "app"}
	_, err := newFetcher(newSecret("app", map[string]string{"githubAppID": "7"})).Resolve(t.Context(), obj)
	g.Expect(err).To(MatchError("spec.secretRef: Secret team/app: it has the key githubAppID of a GitHub App, but spec.provider is not github"))
}

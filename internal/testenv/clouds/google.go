package clouds

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// Pool is the provider that a ServiceAccount names.
	Pool = "projects/42/locations/global/workloadIdentityPools/hub/providers/hub"
	// Email is whom it acts for then.
	Email = "puller@team.iam.gserviceaccount.com"
	// GoogleUser logs in at Google's registries with a token.
	GoogleUser = "oauth2accesstoken"
	// GoogleAPI is what Google's tokens are for.
	GoogleAPI = "google"

	googleTokens = "https://oauth2.googleapis.com/token" //nolint:gosec // G101: an address
	// rsaBits is the least that Go takes: no test waits for a better key.
	rsaBits = 2048
)

// RSAKey is one that all tests of a process share, as PEM: it takes a while to
// make.
var RSAKey = sync.OnceValues(func() (*rsa.PrivateKey, string) {
	key, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		panic(err)
	}
	return key, string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
})

func (c *Clouds) google() {
	c.Internet.Host("sts.googleapis.com", http.HandlerFunc(c.federate))
	c.Internet.Host("iamcredentials.googleapis.com", http.HandlerFunc(c.impersonate))
	c.Internet.Host("oauth2.googleapis.com", http.HandlerFunc(c.exchangeKey))
}

// federate gives a token of the pool for one of a ServiceAccount.
func (c *Clouds) federate(w http.ResponseWriter, r *http.Request) {
	c.ask("google")
	audience := "//iam.googleapis.com/" + Pool
	if r.FormValue("audience") != audience || !c.trusts(r.Context(), r.FormValue("subject_token"), audience) {
		w.WriteHeader(http.StatusBadRequest)
		answer(w, map[string]any{"error": "invalid_grant", "error_description": "The given credential is rejected by the attribute condition."})
		return
	}
	answer(w, map[string]any{ //nolint:gosec // G101: names of fields
		"access_token": c.give("pool"), "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
		"token_type": "Bearer", "expires_in": int(lifetime / time.Second),
	})
}

// impersonate gives a token of the account that the pool may act for.
func (c *Clouds) impersonate(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/v1/projects/-/serviceAccounts/"+Email+":generateAccessToken" || !c.Bearer(r, "pool") {
		http.Error(w, "{}", http.StatusForbidden)
		return
	}
	answer(w, map[string]any{"accessToken": c.give(GoogleAPI), "expireTime": time.Now().Add(lifetime).UTC().Format(time.RFC3339)})
}

// exchangeKey gives a token to who has the key of the account.
func (c *Clouds) exchangeKey(w http.ResponseWriter, r *http.Request) {
	c.ask("google")
	key, _ := RSAKey()
	var claims jwt.RegisteredClaims
	_, err := jwt.ParseWithClaims(r.FormValue("assertion"), &claims, func(*jwt.Token) (any, error) { return key.Public(), nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithAudience(googleTokens), jwt.WithIssuer(Email))
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		answer(w, map[string]any{"error": "invalid_grant", "error_description": "Invalid JWT Signature."})
		return
	}
	answer(w, map[string]any{"access_token": c.give(GoogleAPI), "token_type": "Bearer", "expires_in": int(lifetime / time.Second)})
}

// GoogleKey is the file of the account's key, for GOOGLE_APPLICATION_CREDENTIALS
// and for Secrets.
func GoogleKey() string {
	_, key := RSAKey()
	text, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": Email, "private_key": key, "private_key_id": "1", "token_uri": googleTokens,
	})
	if err != nil {
		panic(fmt.Sprintf("a map of strings: %v", err))
	}
	return string(text)
}

// GoogleRegistry has one stand at the host, which takes Google's tokens.
func (c *Clouds) GoogleRegistry(host string, inner http.Handler) {
	c.Internet.Host(host, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != GoogleUser || !c.Good(password, GoogleAPI) {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
}

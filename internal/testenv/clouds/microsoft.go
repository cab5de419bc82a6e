package clouds

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// Tenant is where the identity at Microsoft is.
	Tenant = "11111111-2222-3333-4444-555555555555"
	// Client is that identity.
	Client = "66666666-7777-8888-9999-000000000000"
	// ClientSecret is its password where it is the process's own.
	ClientSecret = "the-client's-password"

	microsoftUser = "00000000-0000-0000-0000-000000000000"
	authority     = "login.microsoftonline.com"
)

func (c *Clouds) microsoft() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /common/discovery/instance", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{
			"tenant_discovery_endpoint": "https://" + authority + "/" + Tenant + "/v2.0/.well-known/openid-configuration",
			"metadata":                  []any{map[string]any{"preferred_network": authority, "preferred_cache": authority, "aliases": []string{authority}}},
		})
	})
	mux.HandleFunc("GET /"+Tenant+"/v2.0/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		at := "https://" + authority + "/" + Tenant
		answer(w, map[string]any{"authorization_endpoint": at + "/oauth2/v2.0/authorize", "token_endpoint": at + "/oauth2/v2.0/token", "issuer": at + "/v2.0"})
	})
	mux.HandleFunc("POST /"+Tenant+"/oauth2/v2.0/token", c.entra)
	c.Internet.Host(authority, mux)
}

// certificate is what the client is known by besides its password.
var certificate = sync.OnceValue(func() []byte {
	key, _ := RSAKey()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: Client}, NotAfter: time.Now().Add(lifetime)}
	made, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(fmt.Sprintf("a certificate for a key of our own: %v", err))
	}
	return made
})

// ClientCertificate is the client's certificate with its key, in PEM.
func ClientCertificate() string {
	_, key := RSAKey()
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate()})) + key
}

// certified says whether the assertion is signed by the client's certificate, for
// this service.
func certified(assertion string) bool {
	key, _ := RSAKey()
	parsed, err := jwt.ParseWithClaims(assertion, &jwt.RegisteredClaims{}, func(*jwt.Token) (any, error) { return key.Public(), nil },
		jwt.WithValidMethods([]string{"PS256", "RS256"}), jwt.WithExpirationRequired(), jwt.WithIssuer(Client), jwt.WithSubject(Client),
		jwt.WithAudience("https://"+authority+"/"+Tenant+"/oauth2/v2.0/token"))
	sum := sha256.Sum256(certificate())
	return err == nil && parsed.Header["x5t#S256"] == base64.StdEncoding.EncodeToString(sum[:]) // as Microsoft's library has it
}

// entra gives a token for the first scope to the client, which shows its password,
// signs by its certificate, or shows the token of a ServiceAccount.
func (c *Clouds) entra(w http.ResponseWriter, r *http.Request) {
	c.ask("entra")
	known := r.FormValue("client_secret") == ClientSecret || certified(r.FormValue("client_assertion")) || c.trusts(r.Context(), r.FormValue("client_assertion"), "api://AzureADTokenExchange")
	if r.FormValue("client_id") != Client || r.FormValue("grant_type") != "client_credentials" || !known {
		w.WriteHeader(http.StatusUnauthorized)
		answer(w, map[string]any{"error": "invalid_client", "error_description": "AADSTS700213: No matching federated identity record found. Trace ID: " + c.give("trace")})
		return
	}
	scope, _, _ := strings.Cut(r.FormValue("scope"), " ")
	answer(w, map[string]any{"token_type": "Bearer", "expires_in": int(lifetime / time.Second), "access_token": c.give(scope)})
}

// registryScope is what a token is for that a registry exchanges.
const registryScope = "https://containerregistry.azure.net/.default"

// exchange gives a password for the registry at the host.
func (c *Clouds) exchange(host string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c.ask("acr")
		if r.FormValue("grant_type") != "access_token" || r.FormValue("service") != host || !c.Good(r.FormValue("access_token"), registryScope) {
			w.WriteHeader(http.StatusUnauthorized)
			answer(w, map[string]any{"errors": []any{map[string]any{"code": "UNAUTHORIZED", "message": "leak"}}})
			return
		}
		password, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"exp": time.Now().Add(lifetime).Unix(), "jti": c.give("id")}).SignedString([]byte(host))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		c.mu.Lock()
		c.given[password] = "registry " + host
		c.mu.Unlock()
		answer(w, map[string]any{"refresh_token": password})
	}
}

// MicrosoftUser logs in at its registries.
func MicrosoftUser() string { return microsoftUser }

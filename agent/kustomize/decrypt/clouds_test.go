package decrypt

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	signer "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	authenticationv1 "k8s.io/api/authentication/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/agent/build"
	"github.com/headwater-dev/headwater/internal/testenv"
)

var (
	shared testenv.Shared
	clouds = &standIn{}
)

func TestMain(m *testing.M) {
	build.ServeIfCalled()
	stop, err := clouds.open()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := shared.Run(m)
	stop()
	os.Exit(code)
}

// The names by which the clouds' own clients ask.
const (
	amazonTokens  = "sts.eu-central-1.amazonaws.com"
	amazonKeys    = "kms.eu-central-1.amazonaws.com"
	azureLogin    = "login.microsoftonline.com"
	azureKeys     = "headwater.vault.azure.net"
	googleTokens  = "sts.googleapis.com"
	googleAccount = "iamcredentials.googleapis.com"
	googleKeys    = "cloudkms.googleapis.com"
)

// standIn is the key services of three clouds and what gives tokens for them,
// under their own names: a proxy leads all of them here. It asks the hub whether a
// token is one of its own, for this audience, as the clouds verify its signature.
type standIn struct {
	address string // of the TLS server

	mu  sync.Mutex
	hub client.Client
	// trusts is the user whom the clouds give what they have.
	trusts string
	// dataKey is what they open.
	dataKey []byte
	// asked are the requests, as host and path.
	asked []string
}

// open starts the stand-in, and has all clients of this process go to it.
func (s *standIn) open() (stop func(), err error) {
	dir, err := os.MkdirTemp("", "headwater-clouds-")
	if err != nil {
		return nil, err
	}
	certificate, root, err := certificateFor(amazonTokens, amazonKeys, azureLogin, azureKeys, googleTokens, googleAccount, googleKeys)
	if err != nil {
		return nil, err
	}
	trusted := filepath.Join(dir, "clouds.pem")
	if err := os.WriteFile(trusted, root, 0o600); err != nil {
		return nil, err
	}
	server := httptest.NewUnstartedServer(s)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	s.address = server.Listener.Addr().String()
	proxy := httptest.NewServer(http.HandlerFunc(s.connect))
	for name, value := range map[string]string{
		"HTTPS_PROXY": proxy.URL, "NO_PROXY": "", "SSL_CERT_FILE": trusted, "AWS_CA_BUNDLE": trusted, "SOPS_GCP_KMS_CLIENT_TYPE": "rest",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1",
	} {
		if err := os.Setenv(name, value); err != nil {
			return nil, err
		}
	}
	return func() {
		proxy.Close()
		server.Close()
		_ = os.RemoveAll(dir)
	}, nil
}

func certificateFor(names ...string) (certificate tls.Certificate, root []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return certificate, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	certificate = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), err
}

// connect is a proxy that leads to one place whatever it is asked for.
func (s *standIn) connect(w http.ResponseWriter, r *http.Request) {
	dialer := net.Dialer{}
	there, err := dialer.DialContext(r.Context(), "tcp", s.address)
	if err != nil || r.Method != http.MethodConnect {
		http.Error(w, "this is a proxy for TLS", http.StatusBadGateway)
		return
	}
	defer func() { _ = there.Close() }()
	here, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = here.Close() }()
	_, _ = io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
	go func(from *bufio.Reader) {
		_, _ = io.Copy(there, from)
		_ = there.Close()
	}(buffered.Reader)
	_, _ = io.Copy(here, there)
}

// trust has the clouds give that user, and nobody else, what opens the key.
func (s *standIn) trust(hub client.Client, user string, dataKey []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hub, s.trusts, s.dataKey, s.asked = hub, user, dataKey, nil
}

// seen are the hosts and paths that were asked for.
func (s *standIn) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	s.mu.Lock()
	s.asked = append(s.asked, r.Host+r.URL.Path)
	s.mu.Unlock()
	switch r.Host {
	case amazonTokens:
		s.assumeRole(w, r)
	case amazonKeys:
		s.amazonDecrypt(w, r, body)
	case azureLogin:
		s.azureToken(w, r)
	case azureKeys:
		s.azureDecrypt(w, r)
	case googleTokens:
		s.googleToken(w, r)
	case googleAccount:
		s.googleImpersonate(w, r)
	case googleKeys:
		s.googleDecrypt(w, r)
	default:
		http.Error(w, "nobody is here", http.StatusNotFound)
	}
}

// isTrusted asks the hub whose token it is, and whether it is for the audience.
func (s *standIn) isTrusted(ctx context.Context, token, audience string) bool {
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{audience}}}
	err := s.hub.Create(ctx, review)
	return err == nil && review.Status.Authenticated && review.Status.User.Username == s.trusts
}

func answerJSON(w http.ResponseWriter, code int, content any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(content)
}

// The role's credentials at Amazon, and those of the process.
var (
	roleCredentials = aws.Credentials{AccessKeyID: "AKIDOFTHEROLE", SecretAccessKey: "secret of the role", SessionToken: "session of the role"}
	ownCredentials  = aws.Credentials{AccessKeyID: "AKIDOFTHEAGENT", SecretAccessKey: "secret of the agent"}
)

const (
	roleARN = "arn:aws:iam::123456789012:role/keys"
	assumed = `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
<Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>2036-01-01T00:00:00Z</Expiration></Credentials>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`
	refused = `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>AccessDenied</Code>
<Message>Not authorized to perform sts:AssumeRoleWithWebIdentity</Message></Error><RequestId>%x</RequestId></ErrorResponse>`
)

func (s *standIn) assumeRole(w http.ResponseWriter, r *http.Request) {
	if !s.isTrusted(r.Context(), r.FormValue("WebIdentityToken"), "sts.amazonaws.com") || r.FormValue("RoleArn") != roleARN {
		id := make([]byte, 8)
		_, _ = rand.Read(id)
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, refused, id)
		return
	}
	fmt.Fprintf(w, assumed, roleCredentials.AccessKeyID, roleCredentials.SecretAccessKey, roleCredentials.SessionToken)
}

var credentialOf = regexp.MustCompile(`Credential=([^/]+)/.* SignedHeaders=([^,]+),`)

// amazonDecrypt opens keys for whoever signs as the role, or as the process.
func (s *standIn) amazonDecrypt(w http.ResponseWriter, r *http.Request, body []byte) {
	claimed := credentialOf.FindStringSubmatch(r.Header.Get("Authorization"))
	known := map[string]aws.Credentials{roleCredentials.AccessKeyID: roleCredentials, ownCredentials.AccessKeyID: ownCredentials}
	if claimed == nil || !signedBy(r, body, known[claimed[1]], strings.Split(claimed[2], ";")) || r.Header.Get("X-Amz-Target") != "TrentService.Decrypt" {
		answerJSON(w, http.StatusBadRequest, map[string]string{"__type": "InvalidSignatureException"})
		return
	}
	answerJSON(w, http.StatusOK, map[string]any{"Plaintext": s.dataKey})
}

// signedBy signs the request again and compares.
func signedBy(r *http.Request, body []byte, by aws.Credentials, headers []string) bool {
	again := &http.Request{Method: r.Method, URL: r.URL, Host: r.Host, Header: http.Header{}, ContentLength: r.ContentLength}
	for _, name := range headers {
		if value := r.Header.Get(name); value != "" {
			again.Header.Set(name, value)
		}
	}
	when, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	sum := sha256.Sum256(body)
	if err != nil || signer.NewSigner().SignHTTP(r.Context(), by, again, hex.EncodeToString(sum[:]), "kms", "eu-central-1", when) != nil {
		return false
	}
	return again.Header.Get("Authorization") == r.Header.Get("Authorization")
}

const (
	azureTenant = "11111111-1111-1111-1111-111111111111"
	azureClient = "22222222-2222-2222-2222-222222222222"
)

func (s *standIn) azureToken(w http.ResponseWriter, r *http.Request) {
	base := "https://" + azureLogin + "/" + azureTenant
	switch {
	case strings.HasSuffix(r.URL.Path, "/discovery/instance"):
		answerJSON(w, http.StatusOK, map[string]any{
			"tenant_discovery_endpoint": base + "/v2.0/.well-known/openid-configuration",
			"metadata":                  []any{map[string]any{"preferred_network": azureLogin, "preferred_cache": azureLogin, "aliases": []string{azureLogin}}},
		})
	case strings.HasSuffix(r.URL.Path, "/openid-configuration"):
		answerJSON(w, http.StatusOK, map[string]any{
			"token_endpoint": base + "/oauth2/v2.0/token", "authorization_endpoint": base + "/oauth2/v2.0/authorize", "issuer": base + "/v2.0",
		})
	case !s.isTrusted(r.Context(), r.FormValue("client_assertion"), "api://AzureADTokenExchange") || r.FormValue("client_id") != azureClient ||
		!strings.Contains(r.FormValue("scope"), "https://vault.azure.net/.default"):
		answerJSON(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client", "error_description": "AADSTS700213: No matching federated identity record found"})
	default:
		answerJSON(w, http.StatusOK, map[string]any{"token_type": "Bearer", "access_token": "token of the application", "expires_in": 3600})
	}
}

func (s *standIn) azureDecrypt(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer token of the application" {
		w.Header().Set("WWW-Authenticate", `Bearer authorization="https://`+azureLogin+"/"+azureTenant+`", resource="https://vault.azure.net"`)
		answerJSON(w, http.StatusUnauthorized, map[string]any{})
		return
	}
	answerJSON(w, http.StatusOK, map[string]any{"kid": "https://" + azureKeys + "/keys/main/1", "value": base64.RawURLEncoding.EncodeToString(s.dataKey)})
}

const (
	googleProvider = "projects/1/locations/global/workloadIdentityPools/fleet/providers/hub"
	googleEmail    = "keys@fleet.iam.gserviceaccount.com"
)

func (s *standIn) googleToken(w http.ResponseWriter, r *http.Request) {
	audience := "//iam.googleapis.com/" + googleProvider
	if !s.isTrusted(r.Context(), r.FormValue("subject_token"), audience) || r.FormValue("audience") != audience {
		answerJSON(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant", "error_description": "The given credential is rejected"})
		return
	}
	answerJSON(w, http.StatusOK, map[string]any{
		"access_token": "token of the principal", "issued_token_type": "urn:ietf:params:oauth:token-type:access_token", "token_type": "Bearer", "expires_in": 3600,
	})
}

func (s *standIn) googleImpersonate(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer token of the principal" || !strings.Contains(r.URL.Path, googleEmail) {
		answerJSON(w, http.StatusForbidden, map[string]any{"error": map[string]any{"code": 403}})
		return
	}
	answerJSON(w, http.StatusOK, map[string]any{"accessToken": "token of the account", "expireTime": "2036-01-01T00:00:00Z"})
}

func (s *standIn) googleDecrypt(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer token of the account" {
		answerJSON(w, http.StatusForbidden, map[string]any{"error": map[string]any{"code": 403}})
		return
	}
	answerJSON(w, http.StatusOK, map[string]any{"plaintext": s.dataKey})
}

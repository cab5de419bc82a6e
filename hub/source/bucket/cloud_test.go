package bucket_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	. "github.com/onsi/gomega"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/source/bucket"
	"github.com/headwater-dev/headwater/hub/source/sourcetest"
	"github.com/headwater-dev/headwater/internal/cloud"
	"github.com/headwater-dev/headwater/internal/testenv/clouds"
)

// services are the clouds' token services, and all of the Internet there is.
var services *clouds.Clouds

func TestMain(m *testing.M) { os.Exit(clouds.Run(&services, m.Run)) }

func TestGoogleKeepsTheContract(t *testing.T) {
	sourcetest.Run(t, func(t *testing.T) *sourcetest.Subject[*sourcev1.Bucket] {
		b := newBlobs(t, (*blobs).google)
		return b.subject(b.object("gcp", strings.TrimPrefix(b.URL, "https://")), b.fetcher(map[string]string{"serviceaccount": clouds.GoogleKey()}))
	})
}

func TestMicrosoftKeepsTheContract(t *testing.T) {
	sourcetest.Run(t, func(t *testing.T) *sourcetest.Subject[*sourcev1.Bucket] {
		b := newBlobs(t, (*blobs).microsoft)
		return b.subject(b.object("azure", b.URL+"/"+account), b.fetcher(map[string]string{"accountKey": accountKey}))
	})
}

func (b *blobs) subject(obj *sourcev1.Bucket, f *bucket.Fetcher) *sourcetest.Subject[*sourcev1.Bucket] {
	return &sourcetest.Subject[*sourcev1.Bucket]{
		Fetcher: f, Object: obj, Commit: b.put,
		Downloads: func() int { return int(b.gets.Load()) },
		WrongReference: func(*testing.T) []string {
			obj.Spec.BucketName = "nope"
			return []string{`spec.bucketName "nope"`, "there is no such bucket", obj.Spec.Endpoint}
		},
		WrongCredentials: func(*testing.T) (want, secrets []string) {
			b.deny.Store(true)
			return []string{"Secret team/login", "spec.secretRef"}, []string{"leak", accountKey, "PRIVATE KEY", "token-"}
		},
	}
}

func TestLoginsAtMicrosoft(t *testing.T) {
	for name, login := range map[string]map[string]string{
		"a client":      {"tenantId": clouds.Tenant, "clientId": clouds.Client, "clientSecret": clouds.ClientSecret},
		"its authority": {"tenantId": clouds.Tenant, "clientId": clouds.Client, "clientSecret": clouds.ClientSecret, "authorityHost": "https://login.microsoftonline.com/"},
		"a certificate": {"tenantId": clouds.Tenant, "clientId": clouds.Client, "clientCertificate": clouds.ClientCertificate()},
		"and its chain": {"tenantId": clouds.Tenant, "clientId": clouds.Client, "clientCertificate": clouds.ClientCertificate(), "clientCertificateSendChain": "true"},
		"a signature":   {"sasKey": "?" + signed},
		"a key":         {"accountKey": accountKey},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			b := newBlobs(t, (*blobs).microsoft)
			b.put(t, map[string]string{"a/b": "1", "a/c": "2", "a/d": "3", "a": "", ".sourceignore": "d\n"})
			f, obj, before := b.fetcher(login), b.object("azure", b.URL+"/"+account), services.Asked("entra")
			rev, err := f.Resolve(t.Context(), obj)
			g.Expect(err).NotTo(HaveOccurred())
			dir := filepath.Join(t.TempDir(), "tree")
			g.Expect(os.Mkdir(dir, 0o700)).To(Succeed())
			_, err = f.Fetch(t.Context(), obj, rev, dir)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(filepath.Glob(filepath.Join(dir, "*", "*"))).To(Equal([]string{filepath.Join(dir, "a", "b"), filepath.Join(dir, "a", "c")}), "and a is a folder")
			g.Expect(services.Asked("entra")-before).To(BeNumerically("<=", 1), "tokens are kept")
		})
	}
}

func TestSecretsOfClouds(t *testing.T) {
	b := newBlobs(t, (*blobs).microsoft)
	for name, c := range map[string]struct {
		provider string
		login    map[string]string
		want     string
	}{
		"nothing for Microsoft": {"azure", map[string]string{"clientId": clouds.Client}, "it has neither tenantId, clientId and one of clientSecret and clientCertificate, nor accountKey, nor sasKey"},
		"a certificate of none": {"azure", map[string]string{"tenantId": clouds.Tenant, "clientId": clouds.Client, "clientCertificate": "hunter2"}, "its key clientCertificate is no certificate"},
		"another client":        {"azure", map[string]string{"tenantId": clouds.Tenant, "clientId": clouds.Client, "clientSecret": "hunter2"}, "the authority answered 401 AADSTS700213"},
		"a key of none":         {"azure", map[string]string{"accountKey": "hunter2"}, "accountKey of spec.secretRef is not one in base64"},
		"nothing for Google":    {"gcp", map[string]string{"serviceaccount": "hunter2"}, "its key serviceaccount is not the key file"},
		"a file of the hub's": {"gcp", map[string]string{"serviceaccount": `{"type":"external_account","audience":"x","subject_token_type":"urn:ietf:params:oauth:token-type:jwt",` +
			`"token_url":"https://sts.googleapis.com/v1/token","credential_source":{"file":"/etc/hostname"}}`}, "its key serviceaccount is not the key file"},
		"another key": {"gcp", map[string]string{"serviceaccount": strings.Replace(clouds.GoogleKey(), clouds.Email, "other@team.iam.gserviceaccount.com", 1)}, "https://oauth2.googleapis.com/token answered 400"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := b.fetcher(c.login).Resolve(t.Context(), b.object(c.provider, b.URL+"/"+account))
			g.Expect(err).To(MatchError(ContainSubstring(c.want)))
			g.Expect(err.Error()).NotTo(Or(ContainSubstring("hunter2"), ContainSubstring("\n"), ContainSubstring("PRIVATE KEY")))
		})
	}
}

// ownIdentities has the hub be somebody at each cloud.
func ownIdentities(t *testing.T) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key.json")
	NewWithT(t).Expect(os.WriteFile(file, []byte(clouds.GoogleKey()), 0o600)).To(Succeed())
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": clouds.OwnID, "AWS_SECRET_ACCESS_KEY": clouds.OwnKey, "GOOGLE_APPLICATION_CREDENTIALS": file,
		"AZURE_TENANT_ID": clouds.Tenant, "AZURE_CLIENT_ID": clouds.Client, "AZURE_CLIENT_SECRET": clouds.ClientSecret,
	} {
		t.Setenv(name, value)
	}
}

func TestOwnIdentityAtTheClouds(t *testing.T) {
	ownIdentities(t)
	files := map[string]string{"a": "1", "b": "2"}
	s3 := newEndpoint(t)
	s3.put(t, files)
	inner := gofakes3.New(s3.backend, gofakes3.WithHostBucket(true)).Server()
	services.Internet.Host("platform.s3.dualstack.eu-central-1.amazonaws.com", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !services.Signed(r) {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	google, microsoft := &blobs{objects: map[string]object{}}, &blobs{objects: map[string]object{}}
	google.put(t, files)
	microsoft.put(t, files)
	services.Internet.Host("storage.googleapis.com", google.google())
	services.Internet.Host("team.blob.core.windows.net", microsoft.microsoft())
	for provider, endpoint := range map[string]string{
		"aws": "s3.amazonaws.com", "gcp": "storage.googleapis.com", "azure": "https://team.blob.core.windows.net/team",
	} {
		t.Run(provider, func(t *testing.T) {
			g := NewWithT(t)
			var none *blobs
			f, obj := none.fetcher(nil), none.object(provider, endpoint)
			obj.Spec.SecretRef, obj.Spec.CertSecretRef, obj.Spec.Region = nil, nil, clouds.Region
			rev, err := f.Resolve(t.Context(), obj)
			g.Expect(err).NotTo(HaveOccurred())
			_, err = f.Fetch(t.Context(), obj, rev, t.TempDir())
			g.Expect(err).NotTo(HaveOccurred())

			obj.Spec.CertSecretRef = &meta.LocalObjectReference{Name: "ca"}
			_, err = f.Resolve(t.Context(), obj)
			g.Expect(err).To(MatchError(HavePrefix("spec.provider "+provider+": the hub's own identity is for the cloud's own hosts")), "a CA of a tenant's")
			obj.Spec.CertSecretRef, obj.Spec.Insecure, obj.Spec.Endpoint = nil, true, "127.0.0.1:1"
			_, err = f.Resolve(t.Context(), obj)
			g.Expect(err).To(MatchError(ContainSubstring("the hub's own identity")), "without TLS")
			if provider != "aws" {
				obj.Spec.Insecure, obj.Spec.Endpoint = false, "blob.core.windows.net.example.com"
				_, err = f.Resolve(t.Context(), obj)
				g.Expect(err).To(MatchError(ContainSubstring("the hub's own identity")), "a host of a tenant's")
			}
		})
	}
}

// directory is an STS of MinIO's, which knows one person.
type directory struct {
	*httptest.Server
	asked atomic.Int64
}

func newDirectory(t *testing.T) *directory {
	t.Helper()
	d := &directory{}
	d.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.asked.Add(1)
		if r.FormValue("Action") != "AssumeRoleWithLDAPIdentity" || r.FormValue("LDAPUsername") != "ada" || r.FormValue("LDAPPassword") != "lovelace" {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Code>AccessDenied</Code><Message>leak</Message></Error></ErrorResponse>`)
			return
		}
		_, _ = fmt.Fprintf(w, `<AssumeRoleWithLDAPIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithLDAPIdentityResult><Credentials>`+
			`<AccessKeyId>AKIALDAP</AccessKeyId><SecretAccessKey>x</SecretAccessKey><SessionToken>session</SessionToken><Expiration>%s</Expiration>`+
			`</Credentials></AssumeRoleWithLDAPIdentityResult></AssumeRoleWithLDAPIdentityResponse>`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	t.Cleanup(d.Close)
	return d
}

func TestLDAP(t *testing.T) {
	g := NewWithT(t)
	d, e := newDirectory(t), newEndpoint(t)
	e.put(t, map[string]string{"a": "1"})
	e.accept("AKIALDAP")
	e.intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("X-Amz-Security-Token") == "session" {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	}
	obj := e.object()
	obj.Spec.SecretRef = nil
	obj.Spec.STS = &sourcev1.BucketSTSSpec{
		Provider: "ldap", Endpoint: d.URL,
		SecretRef: &meta.LocalObjectReference{Name: "person"}, CertSecretRef: &meta.LocalObjectReference{Name: "sts-ca"},
	}
	by := func(password string) *bucket.Fetcher {
		f := e.fetcher(newSecret("person", map[string]string{"username": "ada", "password": password}), newSecret("sts-ca", map[string]string{"ca.crt": certificateOf(d.Server)}))
		f.Clouds = &cloud.Logins{CacheSize: 10, CacheFor: time.Hour}
		return f
	}
	f := by("lovelace")
	rev, err := f.Resolve(t.Context(), obj)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = f.Fetch(t.Context(), obj, rev, t.TempDir())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(d.asked.Load()).To(Equal(int64(1)), "the keys are kept")

	e.accept("AKIANEW")
	_, err = f.Resolve(t.Context(), obj)
	g.Expect(err).To(MatchError(HaveSuffix("it does not accept what " + d.URL + " gives for Secret team/person (spec.sts)")))
	_, err = by("byron").Resolve(t.Context(), obj)
	g.Expect(err).To(MatchError("spec.sts.endpoint: with Secret team/person (spec.sts.secretRef): " + d.URL + " refuses: AccessDenied"))

	d.Config.Handler = http.RedirectHandler(e.URL, http.StatusTemporaryRedirect)
	_, err = by("lovelace").Resolve(t.Context(), obj)
	g.Expect(err).To(MatchError(ContainSubstring("redirects")), "the password goes nowhere else")

	obj.Spec.STS.CertSecretRef.Name = "nope"
	_, err = f.Resolve(t.Context(), obj)
	g.Expect(err).To(MatchError("spec.sts.certSecretRef: Secret team/nope: it does not exist"))
	obj.Spec.STS.SecretRef = nil
	_, err = f.Resolve(t.Context(), obj)
	g.Expect(err).To(MatchError(HavePrefix("spec.sts.secretRef is not set")))
}

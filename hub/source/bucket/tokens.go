package bucket

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azurecloud "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"golang.org/x/oauth2"
	googleoauth "golang.org/x/oauth2/google"
	gcs "google.golang.org/api/storage/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/hub/access"
	"github.com/headwater-dev/headwater/internal/cloud"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// Keys of the Secrets (FLUX.md §1.5).
const (
	googleKeyKey = "serviceaccount"

	tenantKey        = "tenantId"
	clientKey        = "clientId"
	clientSecretKey  = "clientSecret"
	certificateKey   = "clientCertificate"
	passwordKey      = "clientCertificatePassword" //nolint:gosec // G101: the name of a key
	chainKey         = "clientCertificateSendChain"
	authorityHostKey = "authorityHost"
	accountKeyKey    = "accountKey"
	signedKey        = "sasKey"

	ldapUsernameKey = "username"
	ldapPasswordKey = "password"
)

// tokenClient talks to a service of tokens: bounded, and nowhere else.
func tokenClient(base http.RoundTripper) *http.Client {
	return &http.Client{Transport: newGuard(base, maxTokenBytes, "a service of tokens has to be where it is said to be")}
}

// googleKey asks by the key of a service account. Files of other kinds are
// refused: they can name files of the hub to read, and programs to run.
func googleKey(ctx context.Context, data map[string][]byte, base *http.Transport) (func() (cloud.Login, error), error) {
	config, err := googleoauth.JWTConfigFromJSON(data[googleKeyKey], gcs.DevstorageReadOnlyScope)
	if err != nil {
		return nil, fmt.Errorf("its key %s is not the key file of a service account", googleKeyKey)
	}
	return func() (cloud.Login, error) {
		found, err := config.TokenSource(context.WithValue(ctx, oauth2.HTTPClient, tokenClient(base))).Token()
		if err != nil {
			return cloud.Login{}, notGiven(config.TokenURL, err)
		}
		return cloud.Login{Token: found.AccessToken, Expires: found.Expiry}, nil
	}, nil
}

// readMicrosoft reads one of the logins that Flux knows, in its order.
func (l *login) readMicrosoft(ctx context.Context, data map[string][]byte, base *http.Transport) (func() (cloud.Login, error), error) {
	text := func(key string) string { return string(data[key]) }
	if text(tenantKey) != "" && text(clientKey) != "" && len(data[clientSecretKey])+len(data[certificateKey]) > 0 {
		return clientLogin(ctx, data, base)
	}
	switch {
	case text(accountKeyKey) != "":
		l.accountKey = text(accountKeyKey)
	case text(signedKey) != "":
		l.query = strings.TrimPrefix(strings.TrimSpace(text(signedKey)), "?")
		if _, err := url.ParseQuery(l.query); err != nil {
			return nil, fmt.Errorf("its key %s is not a shared access signature", signedKey)
		}
	default:
		return nil, fmt.Errorf("it has neither %s, %s and one of %s and %s, nor %s, nor %s",
			tenantKey, clientKey, clientSecretKey, certificateKey, accountKeyKey, signedKey)
	}
	return nil, nil
}

// clientLogin asks as an application of a tenant at Microsoft.
func clientLogin(ctx context.Context, data map[string][]byte, base *http.Transport) (func() (cloud.Login, error), error) {
	tenant, client, host := string(data[tenantKey]), string(data[clientKey]), string(data[authorityHostKey])
	options := azcore.ClientOptions{Transport: tokenClient(base), Retry: policy.RetryOptions{MaxRetries: -1}}
	if host != "" {
		options.Cloud = azurecloud.Configuration{ActiveDirectoryAuthorityHost: host}
	}
	var credential azcore.TokenCredential
	var err error
	if secret := string(data[clientSecretKey]); secret != "" {
		credential, err = azidentity.NewClientSecretCredential(tenant, client, secret,
			&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: host != ""})
	} else {
		certificates, key, parseErr := azidentity.ParseCertificates(data[certificateKey], data[passwordKey])
		if parseErr != nil {
			return nil, fmt.Errorf("its key %s is no certificate with its key in PEM or PKCS#12 form, or %s does not open it", certificateKey, passwordKey)
		}
		credential, err = azidentity.NewClientCertificateCredential(tenant, client, certificates, key, &azidentity.ClientCertificateCredentialOptions{
			ClientOptions: options, DisableInstanceDiscovery: host != "", SendCertificateChain: truth(data[chainKey]),
		})
	}
	if err != nil {
		return nil, fmt.Errorf("its keys %s and %s do not name an application of a tenant, or %s is not the https URL of an authority", tenantKey, clientKey, authorityHostKey)
	}
	return func() (cloud.Login, error) {
		found, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{cloud.AzureBlobs}})
		if err != nil {
			return cloud.Login{}, notGiven("the authority", err)
		}
		return cloud.Login{Token: found.Token, Expires: found.ExpiresOn}, nil
	}, nil
}

func truth(value []byte) bool {
	text := strings.ToLower(strings.TrimSpace(string(value)))
	return text == "true" || text == "1"
}

// ldapLogin gets keys from an STS that knows the people of a directory.
func (f *Fetcher) ldapLogin(ctx context.Context, a asking) (l login, err error) {
	sts := a.obj.Spec.STS
	if sts.SecretRef == nil {
		return l, reconcile.Stall(cloud.InvalidSTSReason, fmt.Errorf("spec.sts.secretRef is not set: provider ldap needs a Secret with the keys %s and %s", ldapUsernameKey, ldapPasswordKey))
	}
	base, done, err := a.secrets.Transport(ctx, f.Transport, nil, a.obj.Spec.ProxySecretRef)
	if err != nil {
		return l, err
	}
	defer done()
	key := []string{"sts", sts.Endpoint, a.obj.Namespace}
	noted := func(secret *corev1.Secret) {
		key = append(key, secret.Name, string(secret.UID), secret.ResourceVersion)
	}
	if sts.CertSecretRef != nil {
		base = base.Clone()
		defer base.CloseIdleConnections()
		if err := a.secrets.Read(ctx, "spec.sts.certSecretRef", sts.CertSecretRef.Name, func(secret *corev1.Secret) (err error) {
			noted(secret)
			base.TLSClientConfig, err = access.TLS(secret.Data)
			return err
		}); err != nil {
			return l, err
		}
	}
	identity := &credentials.LDAPIdentity{STSEndpoint: sts.Endpoint}
	if err := a.secrets.Read(ctx, "spec.sts.secretRef", sts.SecretRef.Name, func(secret *corev1.Secret) error {
		noted(secret)
		identity.LDAPUsername, identity.LDAPPassword = string(secret.Data[ldapUsernameKey]), string(secret.Data[ldapPasswordKey])
		if identity.LDAPUsername == "" || identity.LDAPPassword == "" {
			return fmt.Errorf("it needs the keys %s and %s", ldapUsernameKey, ldapPasswordKey)
		}
		return nil
	}); err != nil {
		return l, err
	}
	l.whose = fmt.Sprintf("what %s gives for Secret %s/%s (spec.sts)", sts.Endpoint, a.obj.Namespace, sts.SecretRef.Name)
	l.Login, err = f.Clouds.Kept(func() (cloud.Login, error) {
		found, err := identity.RetrieveWithCredContext(&credentials.CredContext{Context: ctx, Client: tokenClient(base)})
		if err != nil {
			return cloud.Login{}, reconcile.Fail(meta.AuthenticationFailedReason, fmt.Errorf("spec.sts.endpoint: with Secret %s/%s (spec.sts.secretRef): %w",
				a.obj.Namespace, sts.SecretRef.Name, notGiven(sts.Endpoint, err)))
		}
		return cloud.Login{Username: found.AccessKeyID, Password: found.SecretAccessKey, Token: found.SessionToken, Expires: found.Expiration}, nil
	}, key...)
	l.forget = func() { f.Clouds.Forget(l.Login) }
	return l, err
}

// code is what Microsoft and Amazon name a refusal by.
var code = regexp.MustCompile(`^[A-Za-z0-9.]{1,64}$`)

var microsoftCode = regexp.MustCompile(`AADSTS\d{1,10}`)

// notGiven is why a service of tokens gives none. Its answer is left out but for
// the code of the refusal: it can hold anything.
func notGiven(at string, err error) error {
	var fromGoogle *oauth2.RetrieveError
	var fromMicrosoft *azidentity.AuthenticationFailedError
	var fromSTS credentials.ErrorResponse
	switch {
	case errors.As(err, &fromGoogle) && fromGoogle.Response != nil:
		return fmt.Errorf("%s answered %d", at, fromGoogle.Response.StatusCode)
	case errors.As(err, &fromMicrosoft) && fromMicrosoft.RawResponse != nil:
		return fmt.Errorf("%s answered %d %s", at, fromMicrosoft.RawResponse.StatusCode, microsoftCode.FindString(err.Error()))
	case errors.As(err, &fromSTS) && code.MatchString(fromSTS.STSError.Code):
		return fmt.Errorf("%s refuses: %s", at, fromSTS.STSError.Code)
	case errors.As(err, &fromSTS):
		return fmt.Errorf("%s refuses", at)
	}
	var request *url.Error
	for errors.As(err, &request) {
		err = request.Err // its URL can hold a secret
	}
	return fmt.Errorf("%s: %s", at, reconcile.OneLine(err))
}

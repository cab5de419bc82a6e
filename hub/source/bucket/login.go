package bucket

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/access"
	"github.com/headwater-dev/headwater/internal/cloud"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	accessKey = "accesskey"
	secretKey = "secretkey"
	// maxTokenBytes bounds what a service of tokens may answer.
	maxTokenBytes = 1 << 20
)

// login is how to log in at an endpoint: by keys, or a token; nothing of all that
// is anonymous.
type login struct {
	cloud.Login

	// accountKey is that of an account at Microsoft, and query what is signed by
	// it.
	accountKey, query string
	// whose it is, in words.
	whose string
	// forget has the next one asked for anew; nil if this one was not asked for.
	forget func()
}

func (l login) refused() {
	if l.forget != nil {
		l.forget()
	}
}

// hint says what a person can do about a login that is refused.
func (l login) hint() string {
	if l.whose == "" {
		return "it wants credentials, and spec.secretRef is not set"
	}
	return "it does not accept " + l.whose
}

// asking is what a login is asked for with.
type asking struct {
	obj      *sourcev1.Bucket
	secrets  access.Secrets
	endpoint *url.URL
	// base carries requests as spec.certSecretRef and spec.proxySecretRef say.
	base *http.Transport
}

// loginOf gets the login that the spec asks for. A Secret goes before everything
// else, as in Flux.
func (f *Fetcher) loginOf(ctx context.Context, a asking) (login, error) {
	spec := &a.obj.Spec
	generic := !cloud.Is(spec.Provider)
	ldap, amazon := generic, spec.Provider == cloud.AWS // what gives temporary keys for it
	switch sts := spec.STS; {
	case sts != nil && (!ldap || sts.Provider != sourcev1.STSProviderLDAP) && (!amazon || sts.Provider != sourcev1.STSProviderAmazon):
		return login{}, reconcile.Stall(cloud.InvalidSTSReason, fmt.Errorf("spec.sts.provider %q does not go with spec.provider %q: use ldap with generic, and aws with aws", sts.Provider, spec.Provider))
	case spec.SecretRef != nil:
		return f.secretLogin(ctx, a)
	case !generic:
		return f.cloudLogin(ctx, a)
	case sts != nil:
		return f.ldapLogin(ctx, a)
	}
	return login{}, nil
}

// secretLogin is by what spec.secretRef holds: the login itself, or what a service
// of tokens gives one for.
func (f *Fetcher) secretLogin(ctx context.Context, a asking) (login, error) {
	name := a.obj.Spec.SecretRef.Name
	full := a.obj.Namespace + "/" + name
	l := login{whose: "the credentials of Secret " + full + " (spec.secretRef)"}
	var ask func() (cloud.Login, error)
	var version string
	err := a.secrets.Read(ctx, "spec.secretRef", name, func(secret *corev1.Secret) (err error) {
		version = string(secret.UID) + " " + secret.ResourceVersion
		switch a.obj.Spec.Provider {
		case sourcev1.BucketProviderGoogle:
			ask, err = googleKey(ctx, secret.Data, a.base)
		case sourcev1.BucketProviderAzure:
			ask, err = l.readMicrosoft(ctx, secret.Data, a.base)
		default:
			l.Username, l.Password = string(secret.Data[accessKey]), string(secret.Data[secretKey])
			if l.Username == "" || l.Password == "" {
				err = fmt.Errorf("it needs the keys %s and %s", accessKey, secretKey)
			}
		}
		return err
	})
	if err != nil || ask == nil {
		return l, err
	}
	if l.Login, err = f.Clouds.Kept(ask, "bucket", a.obj.Spec.Provider, full, version); err != nil {
		return l, reconcile.Fail(meta.AuthenticationFailedReason, fmt.Errorf("spec.secretRef: Secret %s: %w", full, err))
	}
	l.forget = func() { f.Clouds.Forget(l.Login) }
	return l, nil
}

// errElsewhere is for an identity that is not the tenant's, and an endpoint that
// might be.
var errElsewhere = errors.New("the hub's own identity is for the cloud's own hosts, over TLS that the system's certificates vouch for: set spec.serviceAccountName or spec.secretRef, or remove spec.insecure and spec.certSecretRef and use an endpoint of the cloud's")

// cloudLogin is by an identity that the cloud knows.
func (f *Fetcher) cloudLogin(ctx context.Context, a asking) (l login, err error) {
	spec := &a.obj.Spec
	who := cloud.Identity{Namespace: a.obj.Namespace, Account: spec.ServiceAccountName}
	if who.Proxy, err = a.secrets.Proxy(ctx, spec.ProxySecretRef); err != nil {
		return l, err
	}
	if f.Clouds.Own(who) && (a.endpoint.Scheme != "https" || spec.CertSecretRef != nil || !isCloud(spec.Provider, a.endpoint)) {
		return l, reconcile.Stall(cloud.InvalidConfigurationReason, fmt.Errorf("spec.provider %s: %w", spec.Provider, errElsewhere))
	}
	if spec.Provider == cloud.AWS {
		sts := ""
		if spec.STS != nil {
			sts = spec.STS.Endpoint
		}
		l.Login, err = f.Clouds.S3(ctx, who, spec.Region, sts)
	} else {
		l.Login, err = f.Clouds.Blobs(ctx, spec.Provider, who)
	}
	l.whose = fmt.Sprintf("%s at %s (spec.provider)", f.Clouds.Name(who), spec.Provider)
	l.forget = func() { f.Clouds.Forget(l.Login) }
	return l, err
}

// isCloud says whether the endpoint is the cloud's, whose tokens are good for
// whoever gets them. What is signed for Amazon's API is good for one host alone.
func isCloud(provider string, endpoint *url.URL) bool {
	domains := map[string][]string{
		cloud.AWS: {""},
		cloud.GCP: {".googleapis.com"},
		cloud.Azure: {
			".blob.core.windows.net", ".blob.storage.azure.net", ".blob.core.chinacloudapi.cn", ".blob.core.usgovcloudapi.net",
		},
	}
	for _, domain := range domains[provider] {
		if strings.HasSuffix(strings.ToLower(endpoint.Hostname()), domain) {
			return true
		}
	}
	return false
}

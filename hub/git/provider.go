package git

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/access"
	"github.com/headwater-dev/headwater/internal/cloud"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// given is a login that spec.provider gives: nothing for generic.
type given struct {
	auth transport.AuthMethod
	// whose it is, in words.
	whose string
	// forget has the next one asked for anew.
	forget func()
}

// checkProvider refuses what cannot log in.
func checkProvider(obj *sourcev1.GitRepository) error {
	provider := obj.Spec.Provider
	github := provider == sourcev1.GitProviderGitHub
	switch {
	case obj.Spec.ServiceAccountName != "" && !cloud.Is(provider):
		return reconcile.Stall(cloud.InvalidConfigurationReason, fmt.Errorf("spec.serviceAccountName is for spec.provider %s and %s: remove it, or set the provider", cloud.AWS, cloud.Azure))
	case !github && !cloud.Is(provider):
		return nil
	case !strings.HasPrefix(obj.Spec.URL, "https://") && (cloud.Is(provider) || isSSH(obj.Spec.URL)):
		return reconcile.Stall(cloud.InvalidConfigurationReason, fmt.Errorf("spec.provider %s logs in over https: use an https URL in spec.url, or another provider", provider))
	case github && obj.Spec.SecretRef == nil:
		return reconcile.Stall(cloud.InvalidConfigurationReason, fmt.Errorf("spec.provider %s needs spec.secretRef: a Secret with the keys %s, %s or %s, and %s",
			provider, appIDKey, appInstallationKey, appOwnerKey, appKeyKey))
	}
	return nil
}

// ask gets the login that spec.provider says.
func (o *Opener) ask(ctx context.Context, obj *sourcev1.GitRepository, known credentials, base *http.Transport) (given, error) {
	var login cloud.Login
	var whose string
	var err error
	switch {
	case known.app != nil:
		whose = "the GitHub App of Secret " + known.secret
		login, err = o.Clouds.Kept(func() (cloud.Login, error) { return known.app.login(ctx, base) },
			sourcev1.GitProviderGitHub, known.secret, known.app.version)
		if err != nil {
			err = reconcile.Fail(meta.AuthenticationFailedReason, fmt.Errorf("spec.secretRef: Secret %s: %w", known.secret, err))
		}
	case cloud.Is(obj.Spec.Provider):
		whose, login, err = o.askCloud(ctx, obj, known)
	default:
		return given{}, nil
	}
	if err != nil {
		return given{}, err
	}
	g := given{whose: whose, forget: func() { o.Clouds.Forget(login) }, auth: &githttp.BasicAuth{Username: login.Username, Password: login.Password}}
	if login.Token != "" {
		g.auth = &githttp.TokenAuth{Token: login.Token}
	}
	return g, nil
}

func (o *Opener) askCloud(ctx context.Context, obj *sourcev1.GitRepository, known credentials) (whose string, login cloud.Login, err error) {
	u, err := url.Parse(obj.Spec.URL)
	if err != nil {
		return "", login, reconcile.Stall(cloud.InvalidConfigurationReason, errors.New("spec.url does not parse"))
	}
	proxy, err := access.Secrets{Reader: o.Secrets, Namespace: obj.Namespace}.Proxy(ctx, obj.Spec.ProxySecretRef)
	if err != nil {
		return "", login, err
	}
	who := cloud.Identity{Namespace: obj.Namespace, Account: obj.Spec.ServiceAccountName, Proxy: proxy}
	if o.Clouds.Own(who) && (known.tls != nil || obj.Spec.Provider == cloud.Azure && !isAzure(u)) {
		return "", login, reconcile.Stall(cloud.InvalidConfigurationReason, fmt.Errorf("spec.provider %s: %w", obj.Spec.Provider, errElsewhere))
	}
	login, err = o.Clouds.Git(ctx, obj.Spec.Provider, who, u)
	return o.Clouds.Name(who), login, err
}

// errElsewhere is for an identity that is not the tenant's, and a server that
// might be.
var errElsewhere = errors.New("the hub's own identity is for the cloud's own hosts, as the system's certificates vouch for them: set spec.serviceAccountName, or remove the TLS keys of spec.secretRef and use a URL of the cloud's")

// isAzure says whether a URL is one of Azure DevOps, whose tokens are good for
// whoever gets them. Signatures for CodeCommit are good for its hosts alone.
func isAzure(u *url.URL) bool {
	host := strings.ToLower(u.Hostname())
	return host == "dev.azure.com" || strings.HasSuffix(host, ".visualstudio.com")
}

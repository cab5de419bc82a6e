package cloud

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"time"

	"github.com/fluxcd/pkg/auth"
	"github.com/fluxcd/pkg/auth/aws"
	"github.com/fluxcd/pkg/auth/azure"
	"github.com/fluxcd/pkg/auth/gcp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// The providers, as spec.provider names them.
const (
	Generic = "generic"
	AWS     = aws.ProviderName
	Azure   = azure.ProviderName
	GCP     = gcp.ProviderName
)

// AzureBlobs is what Microsoft's tokens for buckets are asked for.
const AzureBlobs = azure.ScopeBlobStorage

// InvalidConfigurationReason is Flux's, for a spec whose provider and other
// fields do not go together.
const InvalidConfigurationReason = "InvalidProviderConfiguration"

// InvalidSTSReason is Flux's, for a spec.sts that cannot be used.
const InvalidSTSReason = "InvalidSTSConfiguration"

// Is says whether a provider is a cloud: spec.provider may be empty.
func Is(provider string) bool { return provider == AWS || provider == Azure || provider == GCP }

// Logins gets credentials from clouds. It is safe for concurrent use.
type Logins struct {
	// Client makes tokens of ServiceAccounts, and Live reads those; the
	// manager's when nil.
	Client client.Client
	Live   client.Reader
	// DefaultAccount is the ServiceAccount of the object's namespace that is
	// used where an object names none; if empty, the process's own identity.
	DefaultAccount string
	// CacheSize is how many credentials are kept, and CacheFor for how long at
	// most; none when zero.
	CacheSize int
	CacheFor  time.Duration
	// Clock is the real one when nil.
	Clock clock.PassiveClock

	cache cache
}

// AddToManager takes from the manager what is nil.
func (l *Logins) AddToManager(mgr ctrl.Manager) error {
	if l.Client == nil {
		l.Client = mgr.GetClient()
	}
	if l.Live == nil {
		l.Live = mgr.GetAPIReader()
	}
	return nil
}

// Or is the logins, or where those are nil ones of the manager that keep none: what
// a controller that was given none uses.
func Or(l *Logins, mgr ctrl.Manager) *Logins {
	if l == nil {
		l = &Logins{Client: mgr.GetClient(), Live: mgr.GetAPIReader()}
	}
	return l
}

// Identity is who asks a cloud.
type Identity struct {
	// Namespace of the object, and the ServiceAccount there that it names.
	Namespace, Account string
	// Proxy is what requests to the cloud go through; that of the environment
	// when nil, and for the process's own identity.
	Proxy *url.URL
}

// Login is what a cloud gives: username and password, or a bearer token. For an
// API of Amazon's it is all three: the ID of a key, the key, and the token of its
// session.
type Login struct {
	Username, Password, Token string
	// Expires is when the cloud takes it no longer; zero if never.
	Expires time.Time

	key key
}

// Own says whether the identity is the process's own.
func (l *Logins) Own(who Identity) bool { return l.accountOf(who) == "" }

// Name is the identity in words.
func (l *Logins) Name(who Identity) string {
	if l.Own(who) {
		return "the hub's own identity"
	}
	return "the identity of ServiceAccount " + who.Namespace + "/" + l.accountOf(who)
}

func (l *Logins) accountOf(who Identity) string {
	if who.Account == "" {
		return l.DefaultAccount
	}
	return who.Account
}

// Registry logs in at a registry of the cloud, given as host/path. It is an error
// if the host is none of the cloud's.
func (l *Logins) Registry(ctx context.Context, provider string, who Identity, repository string) (Login, error) {
	clouds := map[string]auth.ArtifactRegistryCredentialsProvider{AWS: aws.Provider{}, Azure: azure.Provider{}, GCP: gcp.Provider{}}
	cloud, ok := clouds[provider]
	if !ok {
		return Login{}, unknown(provider, "registries")
	}
	host, err := auth.GetRegistryFromArtifactRepository(repository)
	if err != nil {
		return Login{}, failed(provider, err)
	}
	return l.login(ctx, provider, who, "registry "+host, func(options []auth.Option) (Login, error) {
		found, err := auth.GetArtifactRegistryCredentials(ctx, cloud, repository, options...)
		if err != nil {
			return Login{}, err
		}
		config, err := found.Authorization()
		if err != nil {
			return Login{}, err
		}
		return Login{Username: config.Username, Password: config.Password, Expires: found.ExpiresAt}, nil
	})
}

// Git logs in at a Git repository of the cloud.
func (l *Logins) Git(ctx context.Context, provider string, who Identity, repository *url.URL) (Login, error) {
	clouds := map[string]auth.GitCredentialsProvider{AWS: aws.Provider{}, Azure: azure.Provider{}}
	cloud, ok := clouds[provider]
	if !ok {
		return Login{}, unknown(provider, "Git repositories")
	}
	return l.login(ctx, provider, who, "git "+repository.String(), func(options []auth.Option) (Login, error) {
		found, err := auth.GetGitCredentials(ctx, cloud, append(options, auth.WithGitURL(*repository))...)
		if err != nil {
			return Login{}, err
		}
		return Login{Username: found.Username, Password: found.Password, Token: found.BearerToken, Expires: found.ExpiresAt}, nil
	})
}

// S3 gets keys for Amazon's S3. The region, where empty, is that of the process,
// and the endpoint of the token service, where empty, the region's. It is an error
// if the endpoint is none of Amazon's: it is sent what is as good as the identity.
func (l *Logins) S3(ctx context.Context, who Identity, region, endpoint string) (Login, error) {
	if endpoint != "" && !amazonSTS.MatchString(endpoint) {
		return Login{}, reconcile.Stall(InvalidSTSReason, errors.New("spec.sts.endpoint: it is no token service of Amazon's: use one like https://sts.REGION.amazonaws.com, without a path"))
	}
	return l.login(ctx, AWS, who, "s3 "+region+" "+endpoint, func(options []auth.Option) (Login, error) {
		token, err := auth.GetAccessToken(ctx, aws.Provider{}, append(options, auth.WithSTSRegion(region), auth.WithSTSEndpoint(endpoint))...)
		if err != nil {
			return Login{}, err
		}
		keys, ok := token.(*aws.Credentials)
		if !ok {
			return Login{}, errors.New("it gave something else than keys")
		}
		login := Login{Username: ptr.Deref(keys.AccessKeyId, ""), Password: ptr.Deref(keys.SecretAccessKey, ""), Token: ptr.Deref(keys.SessionToken, "")}
		// Keys that were made for good, which the process itself may have, are of no session.
		if login.Username == "" || login.Password == "" || login.Token == "" && !l.Own(who) {
			return Login{}, errors.New("it gave keys that are not complete")
		}
		login.Expires = ptr.Deref(keys.Expiration, time.Time{})
		return login, nil
	})
}

// amazonSTS are the URLs of Amazon's token service: of all, of a region, with FIPS,
// and by a private link. The library lets a path stand for the end of the host, and
// anything for the region: sts.s3.amazonaws.com is whoever's has the bucket sts.
var amazonSTS = regexp.MustCompile(`^https://([a-z0-9-]+\.)?sts(-fips)?(\.[a-z]+(-[a-z]+)+-[0-9]+)?(\.vpce)?\.amazonaws\.com$`)

// Blobs gets a token for Microsoft's or Google's storage.
func (l *Logins) Blobs(ctx context.Context, provider string, who Identity) (Login, error) {
	clouds := map[string]auth.Provider{Azure: azure.Provider{}, GCP: gcp.Provider{}}
	cloud, ok := clouds[provider]
	if !ok {
		return Login{}, unknown(provider, "buckets")
	}
	return l.login(ctx, provider, who, "blobs", func(options []auth.Option) (Login, error) {
		token, err := auth.GetAccessToken(ctx, cloud, append(options, auth.WithScopes(AzureBlobs))...)
		if err != nil {
			return Login{}, err
		}
		switch token := token.(type) {
		case *azure.Token:
			return Login{Token: token.Token, Expires: token.ExpiresOn}, nil
		case *gcp.Token:
			return Login{Token: token.AccessToken, Expires: token.Expiry}, nil
		}
		return Login{}, errors.New("it gave something else than a token")
	})
}

// Forget drops a login that was refused: the next one is asked for anew.
func (l *Logins) Forget(login Login) { l.cache.forget(login.key) }

// login gets one from the cache, or else from the cloud.
func (l *Logins) login(ctx context.Context, provider string, who Identity, what string, ask func([]auth.Option) (Login, error)) (Login, error) {
	account, err := l.account(ctx, who)
	if err != nil {
		return Login{}, err
	}
	options := []auth.Option{
		auth.WithClient(PastCache(l.Client, l.Live)), auth.WithServiceAccountNamespace(who.Namespace), auth.WithServiceAccountName(l.accountOf(who)),
	}
	proxy := ""
	// The process's own identity may come from its machine, over plain HTTP: a
	// proxy of a tenant's would see it.
	if who.Proxy != nil && !l.Own(who) {
		proxy = who.Proxy.String()
		options = append(options, auth.WithProxyURL(*who.Proxy))
	}
	return l.Kept(func() (Login, error) {
		found, err := ask(options)
		if err != nil {
			err = failed(provider, err)
		}
		return found, err
	}, provider, account, proxy, what)
}

// Kept is what is in the cache under the key, or else what ask gives, which is
// kept there. The parts of the key say all that the login depends on.
func (l *Logins) Kept(ask func() (Login, error), key ...string) (Login, error) {
	k, now := keyOf(key...), l.now()
	if kept, ok := l.cache.find(k, now); ok {
		return kept, nil
	}
	found, err := ask()
	if err != nil {
		return Login{}, err
	}
	found.key = k
	l.cache.keep(found, now, l.CacheFor, l.CacheSize)
	return found, nil
}

// account is what tells one state of a ServiceAccount from every other one, also
// from one of the same name that somebody else made; empty for the process.
func (l *Logins) account(ctx context.Context, who Identity) (string, error) {
	if l.Own(who) {
		return "", nil
	}
	name := types.NamespacedName{Namespace: who.Namespace, Name: l.accountOf(who)}
	var account corev1.ServiceAccount
	err := l.Live.Get(ctx, name, &account)
	if apierrors.IsNotFound(err) {
		err = errors.New("it does not exist")
	}
	if err != nil && who.Account == "" {
		err = fmt.Errorf("which --default-service-account names: %w", err)
	}
	if err != nil {
		return "", reconcile.Fail(meta.AuthenticationFailedReason, fmt.Errorf("spec.serviceAccountName: ServiceAccount %s: %w", name, err))
	}
	return string(account.UID) + " " + account.ResourceVersion, nil
}

func (l *Logins) now() time.Time {
	if l.Clock == nil {
		return time.Now()
	}
	return l.Clock.Now()
}

func failed(provider string, err error) error {
	return reconcile.Fail(meta.AuthenticationFailedReason, fmt.Errorf("spec.provider: %w", Error(provider, err)))
}

func unknown(provider, what string) error {
	return reconcile.Stall(InvalidConfigurationReason, fmt.Errorf("spec.provider %q gives no logins for %s: use another one, or %s with spec.secretRef", provider, what, Generic))
}

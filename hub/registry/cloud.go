package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/headwater-dev/headwater/hub/access"
	"github.com/headwater-dev/headwater/internal/cloud"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// errWeak is for an identity that is not the tenant's, and a connection that the
// tenant could look into.
var errWeak = errors.New("spec.insecure and spec.certSecretRef need a ServiceAccount of the object's own (spec.serviceAccountName, or --default-service-account): the hub's own identity is for registries that the system's certificates vouch for")

// cloudLogin asks the cloud for a login at the registry.
func (o *Opener) cloudLogin(ctx context.Context, secrets access.Secrets, a Access, repository name.Repository) (login, error) {
	proxy, err := secrets.Proxy(ctx, a.ProxySecretRef)
	if err != nil {
		return login{}, err
	}
	who := cloud.Identity{Namespace: a.Namespace, Account: a.ServiceAccountName, Proxy: proxy}
	if o.Clouds.Own(who) && (a.Insecure || a.CertSecretRef != nil) {
		return login{}, reconcile.Stall(cloud.InvalidConfigurationReason, fmt.Errorf("spec.provider %s: %w", a.Provider, errWeak))
	}
	found, err := o.Clouds.Registry(ctx, a.Provider, who, repository.Name())
	if err != nil {
		return login{}, err
	}
	return login{
		config: authn.AuthConfig{Username: found.Username, Password: found.Password},
		host:   repository.RegistryStr(),
		cloud:  fmt.Sprintf("%s at %s (spec.provider)", o.Clouds.Name(who), a.Provider),
		forget: func() { o.Clouds.Forget(found) },
	}, nil
}

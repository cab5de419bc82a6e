package remote

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/auth"
	"github.com/fluxcd/pkg/auth/aws"
	"github.com/fluxcd/pkg/auth/azure"
	"github.com/fluxcd/pkg/auth/gcp"
	"k8s.io/client-go/rest"

	"github.com/headwater-dev/headwater/internal/cloud"
)

// clouds give access to the API servers of their managed clusters.
func clouds() map[string]auth.RESTConfigProvider {
	return map[string]auth.RESTConfigProvider{
		aws.ProviderName: aws.Provider{}, azure.ProviderName: azure.Provider{}, gcp.ProviderName: gcp.Provider{},
	}
}

// loadCloud asks a cloud for the way to a cluster of its own, and for a token.
// The ServiceAccount is one of the hub that the cloud trusts. Such a token lasts
// for minutes; when it is refused, this is done again.
func (c *Clusters) loadCloud(ctx context.Context, namespace string, provider auth.RESTConfigProvider, data map[string]string) (*rest.Config, error) {
	account := data[accountKey]
	if account == "" {
		account = c.DefaultAccount
	}
	switch {
	case data[clusterKey] == "":
		return nil, &configError{fmt.Errorf("data key %s is missing: name the cluster as provider %s does", clusterKey, provider.GetName())}
	case data[addressKey] != "" && !strings.HasPrefix(data[addressKey], "https://"):
		return nil, &configError{fmt.Errorf("data key %s is %q: want the https:// URL of the target's API server", addressKey, data[addressKey])}
	case account == "" && !c.AllowOwnIdentity:
		return nil, &configError{fmt.Errorf("data key %s is missing: name a ServiceAccount of the namespace, or start the agent with --kubeconfig-own-identity, which lets every tenant have the agent's own identity used", accountKey)}
	case account == "" && data[addressKey] != "":
		return nil, &configError{fmt.Errorf("data key %s needs %s: the agent's own identity is sent only to where the cloud says that the cluster is", addressKey, accountKey)}
	}
	audiences, err := audiencesOf(data)
	if err != nil {
		return nil, &configError{err}
	}
	options := []auth.Option{
		auth.WithClient(cloud.PastCache(c.Client, c.Live)), auth.WithServiceAccountNamespace(namespace), auth.WithServiceAccountName(account),
		auth.WithClusterResource(data[clusterKey]), auth.WithAudiences(audiences...),
	}
	if address := data[addressKey]; address != "" {
		options = append(options, auth.WithClusterAddress(address))
	}
	if authority := data[authorityKey]; authority != "" {
		options = append(options, auth.WithCAData(authority))
	}
	found, err := auth.GetRESTConfig(ctx, provider, options...)
	if err != nil {
		return nil, cloud.Error(provider.GetName(), err)
	}
	return &rest.Config{Host: found.Host, BearerToken: found.BearerToken, TLSClientConfig: rest.TLSClientConfig{CAData: found.CAData}}, nil
}

// errNoProvider says which providers there are.
func (c *Clusters) errNoProvider(provider string) error {
	known := slices.Sorted(maps.Keys(c.providers))
	return errors.New("data key " + providerKey + " is \"" + provider + "\": want " + genericProvider + ", " + strings.Join(known, ", "))
}

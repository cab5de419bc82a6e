package main

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	helmaction "helm.sh/helm/v3/pkg/action"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const (
	// helmParallel is how many actions of the Helm SDK are at work at once.
	helmParallel = 16
	// helmHistory is how many records are kept, as by the product.
	helmHistory = 5
)

// warmClient is a way to one target whose discovery has been done.
type warmClient struct {
	config    *rest.Config
	discovery keptDiscovery
	mapper    apimeta.RESTMapper
	namespace string
}

// keptDiscovery keeps what it knows: Helm would ask anew for each action.
type keptDiscovery struct {
	discovery.CachedDiscoveryInterface
}

// Invalidate does nothing.
func (keptDiscovery) Invalidate() {}

func newWarmClient(kubeconfig []byte, namespace string) (*warmClient, error) {
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	asks, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	c := &warmClient{config: config, namespace: namespace, discovery: keptDiscovery{memory.NewMemCacheClient(asks)}}
	if _, err := c.discovery.ServerVersion(); err != nil {
		return nil, err
	}
	groups, err := restmapper.GetAPIGroupResources(c.discovery)
	if err != nil {
		return nil, err
	}
	c.mapper = restmapper.NewDiscoveryRESTMapper(groups)
	return c, nil
}

// in is the client with another namespace.
func (c *warmClient) in(namespace string) *warmClient {
	other := *c
	other.namespace = namespace
	return &other
}

// ToRESTConfig implements genericclioptions.RESTClientGetter.
func (c *warmClient) ToRESTConfig() (*rest.Config, error) { return rest.CopyConfig(c.config), nil }

// ToDiscoveryClient implements genericclioptions.RESTClientGetter.
func (c *warmClient) ToDiscoveryClient() (discovery.CachedDiscoveryInterface, error) {
	return c.discovery, nil
}

// ToRESTMapper implements genericclioptions.RESTClientGetter.
func (c *warmClient) ToRESTMapper() (apimeta.RESTMapper, error) { return c.mapper, nil }

// ToRawKubeConfigLoader implements genericclioptions.RESTClientGetter.
func (c *warmClient) ToRawKubeConfigLoader() clientcmd.ClientConfig {
	return clientcmd.NewDefaultClientConfig(*clientcmdapi.NewConfig(), &clientcmd.ConfigOverrides{
		Context: clientcmdapi.Context{Namespace: c.namespace},
	})
}

// warmFloor makes a client for each target.
func (w *world) warmFloor(ctx context.Context) error {
	group, _ := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, at := range w.sites {
		group.Go(func() (err error) {
			at.warm, err = newWarmClient(at.kubeconfig, at.floor)
			return err
		})
	}
	return group.Wait()
}

// eachByHelm does something with each release by the Helm SDK, in the namespace that
// is chosen of its site.
func (w *world) eachByHelm(ctx context.Context, namespace func(*site) string, do func(*helmaction.Configuration, int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(helmParallel)
	for i := range w.kustomizations {
		group.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			at, config := w.site(i), &helmaction.Configuration{}
			in := namespace(at)
			if err := config.Init(at.warm.in(in), in, "secret", func(string, ...any) {}); err != nil {
				return err
			}
			config.Releases.MaxHistory = helmHistory
			if err := do(config, i); err != nil {
				return fmt.Errorf("release %s in %s: %w", appName(i), in, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// ofFloor is the namespace of the floor's releases.
func ofFloor(at *site) string { return at.floor }

func (w *world) helmInstall(ctx context.Context) error {
	return w.eachByHelm(ctx, ofFloor, func(config *helmaction.Configuration, i int) error {
		return w.installBy(config, appName(i), w.site(i).floor)
	})
}

func (w *world) installBy(config *helmaction.Configuration, name, namespace string) error {
	loaded, err := w.podinfo.load()
	if err != nil {
		return err
	}
	install := helmaction.NewInstall(config)
	install.ReleaseName, install.Namespace = name, namespace
	install.TakeOwnership, install.DisableOpenAPIValidation = true, true
	_, err = install.Run(loaded, podinfoValues("v1"))
	return err
}

func (w *world) helmUpgrade(ctx context.Context) error {
	return w.eachByHelm(ctx, ofFloor, func(config *helmaction.Configuration, i int) error {
		return w.upgradeBy(config, appName(i), w.site(i).floor)
	})
}

func (w *world) upgradeBy(config *helmaction.Configuration, name, namespace string) error {
	loaded, err := w.podinfo.load()
	if err != nil {
		return err
	}
	upgrade := helmaction.NewUpgrade(config)
	upgrade.Namespace, upgrade.MaxHistory, upgrade.ResetValues = namespace, helmHistory, true
	upgrade.TakeOwnership, upgrade.DisableOpenAPIValidation = true, true
	_, err = upgrade.Run(name, loaded, podinfoValues("v2"))
	return err
}

func (w *world) helmUninstall(ctx context.Context) error {
	return w.eachByHelm(ctx, ofFloor, func(config *helmaction.Configuration, i int) error {
		_, err := helmaction.NewUninstall(config).Run(appName(i))
		return err
	})
}

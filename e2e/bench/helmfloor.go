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

// eachByHelm does something with each release by the Helm SDK.
func (w *world) eachByHelm(ctx context.Context, do func(*helmaction.Configuration, string, string) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(helmParallel)
	for i := range w.kustomizations {
		group.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			at, config := w.site(i), &helmaction.Configuration{}
			if err := config.Init(at.warm, at.floor, "secret", func(string, ...any) {}); err != nil {
				return err
			}
			config.Releases.MaxHistory = helmHistory
			if err := do(config, appName(i), at.floor); err != nil {
				return fmt.Errorf("release %s in %s: %w", appName(i), at.floor, err)
			}
			return nil
		})
	}
	return group.Wait()
}

func (w *world) helmInstall(ctx context.Context) error {
	return w.eachByHelm(ctx, func(config *helmaction.Configuration, name, namespace string) error {
		loaded, err := w.podinfo.load()
		if err != nil {
			return err
		}
		install := helmaction.NewInstall(config)
		install.ReleaseName, install.Namespace = name, namespace
		install.TakeOwnership, install.DisableOpenAPIValidation = true, true
		_, err = install.Run(loaded, podinfoValues("v1"))
		return err
	})
}

func (w *world) helmUpgrade(ctx context.Context) error {
	return w.eachByHelm(ctx, func(config *helmaction.Configuration, name, namespace string) error {
		loaded, err := w.podinfo.load()
		if err != nil {
			return err
		}
		upgrade := helmaction.NewUpgrade(config)
		upgrade.Namespace, upgrade.MaxHistory, upgrade.ResetValues = namespace, helmHistory, true
		upgrade.TakeOwnership, upgrade.DisableOpenAPIValidation = true, true
		_, err = upgrade.Run(name, loaded, podinfoValues("v2"))
		return err
	})
}

func (w *world) helmUninstall(ctx context.Context) error {
	return w.eachByHelm(ctx, func(config *helmaction.Configuration, name, _ string) error {
		_, err := helmaction.NewUninstall(config).Run(name)
		return err
	})
}

package action

import (
	"sync"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// discoveryAge is how old the knowledge of a server's kinds may be that Helm reads
// by itself, where the server does not say whether they have changed.
const discoveryAge = 10 * time.Second

// Discovery is what is known of a server's kinds and version, shared by the
// actions on it. It is safe for concurrent use.
type Discovery struct {
	discovery.CachedDiscoveryInterface
	capabilities *capabilities
	mu           sync.Mutex
	read         time.Time
}

// NewDiscovery asks by the configuration when it is first used.
func NewDiscovery(config *rest.Config, kinds *Kinds) (*Discovery, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	asks, err := discovery.NewDiscoveryClientForConfigAndClient(config, client)
	if err != nil {
		return nil, err
	}
	return &Discovery{
		CachedDiscoveryInterface: memory.NewMemCacheClient(asks),
		capabilities:             &capabilities{server: asks.RESTClient(), client: client, kinds: kinds},
	}, nil
}

// Invalidate is called by Helm before each rendering for which it asks the server
// itself. It forgets what is older than a few seconds, so that many releases of
// one server ask it once.
func (d *Discovery) Invalidate() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.read) > discoveryAge {
		d.CachedDiscoveryInterface.Invalidate()
		d.read = time.Now()
	}
}

// Forget makes the next question go to the server: kinds were added.
func (d *Discovery) Forget() {
	d.capabilities.forget()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.CachedDiscoveryInterface.Invalidate()
	d.read = time.Time{}
}

// getter gives Helm and kubectl's libraries their way to the cluster.
type getter struct {
	config    *rest.Config
	discovery discovery.CachedDiscoveryInterface
	mapper    apimeta.RESTMapper
	namespace string
}

// ToRESTConfig implements genericclioptions.RESTClientGetter.
func (g *getter) ToRESTConfig() (*rest.Config, error) { return rest.CopyConfig(g.config), nil }

// ToDiscoveryClient implements genericclioptions.RESTClientGetter.
func (g *getter) ToDiscoveryClient() (discovery.CachedDiscoveryInterface, error) {
	return g.discovery, nil
}

// ToRESTMapper implements genericclioptions.RESTClientGetter.
func (g *getter) ToRESTMapper() (apimeta.RESTMapper, error) { return g.mapper, nil }

// ToRawKubeConfigLoader implements genericclioptions.RESTClientGetter. It knows
// the namespace and nothing else: no file is read.
func (g *getter) ToRawKubeConfigLoader() clientcmd.ClientConfig {
	return clientcmd.NewDefaultClientConfig(*clientcmdapi.NewConfig(), &clientcmd.ConfigOverrides{
		Context: clientcmdapi.Context{Namespace: g.namespace},
	})
}

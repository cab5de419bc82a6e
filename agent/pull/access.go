package pull

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/shard"
)

// Keys of the Secret, which hub agent install writes.
const (
	serverKey      = "server"
	authorityKey   = "ca.crt"
	tokenKey       = "token"
	accountKey     = "account"
	namespaceKey   = "namespace"
	clusterKey     = "cluster"
	hubUIDKey      = "hub-uid"
	artifactsKey   = "artifacts"
	artifactsCAKey = "artifacts-ca.crt"
)

// Options say where an agent inside of a cluster finds things.
type Options struct {
	// Secret, as namespace/name, holds the credentials for the hub. Empty: the
	// agent is not of that sort. --pull-secret.
	Secret string
	// Kubeconfig of the cluster itself; the Pod's ServiceAccount when empty.
	// --target-kubeconfig.
	Kubeconfig string
}

// Access is how an agent inside of a cluster reaches the hub. Its methods may be
// called concurrently.
type Access struct {
	// Namespace and Cluster name the RemoteCluster.
	Namespace, Cluster string
	// HubUID tells this hub's fences from another's.
	HubUID string
	// Target is the access to the cluster that the agent runs in.
	Target *rest.Config

	name    types.NamespacedName
	secrets client.Client
	hub     *rest.Config
	account string
	// whose is what the credentials are for, besides the token.
	whose     string
	token     token
	artifacts *artifacts
	clock     clock.Clock
}

// Connect reads the credentials. It does not speak to the hub yet.
func Connect(ctx context.Context, o Options) (*Access, error) {
	namespace, name, ok := strings.Cut(o.Secret, "/")
	if !ok || namespace == "" || name == "" {
		return nil, fmt.Errorf("--pull-secret %q: want namespace/name of a Secret that hub agent install has written", o.Secret)
	}
	target, err := targetConfig(o.Kubeconfig)
	if err != nil {
		return nil, err
	}
	secrets, err := client.New(target, client.Options{})
	if err != nil {
		return nil, fmt.Errorf("access to the cluster that the agent runs in: %w", err)
	}
	a := &Access{Target: target, name: types.NamespacedName{Namespace: namespace, Name: name}, secrets: secrets, clock: clock.RealClock{}}
	var secret corev1.Secret
	if err := secrets.Get(ctx, a.name, &secret); err != nil {
		return nil, fmt.Errorf("credentials for the hub, secret %s (--pull-secret): %w", a.name, err)
	}
	return a, a.read(&secret)
}

// targetConfig is the access to the agent's own cluster.
func targetConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		config, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("access to the cluster that the agent runs in (a Pod's ServiceAccount, or --target-kubeconfig): %w", err)
		}
		return config, nil
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("--target-kubeconfig: %w", err)
	}
	return config, nil
}

// read takes the credentials from the Secret.
func (a *Access) read(secret *corev1.Secret) error {
	text := func(key string) string { return strings.TrimSpace(string(secret.Data[key])) }
	for _, key := range []string{serverKey, tokenKey, accountKey, namespaceKey, clusterKey, hubUIDKey, artifactsKey} {
		if text(key) == "" {
			return fmt.Errorf("secret %s has no key %q: run hub agent install again", a.name, key)
		}
	}
	a.Namespace, a.Cluster, a.HubUID, a.account = text(namespaceKey), text(clusterKey), text(hubUIDKey), text(accountKey)
	a.whose = whose(secret)
	if err := a.token.set(text(tokenKey)); err != nil {
		return fmt.Errorf("secret %s, key %q: %w", a.name, tokenKey, err)
	}
	server, err := url.Parse(text(serverKey))
	if err != nil || server.Scheme != "https" || server.Host == "" {
		return fmt.Errorf("secret %s, key %q: want the https URL of the hub's API server", a.name, serverKey)
	}
	a.hub = &rest.Config{
		Host:            server.String(),
		TLSClientConfig: rest.TLSClientConfig{CAData: secret.Data[authorityKey]},
		WrapTransport:   a.token.wrap(server),
	}
	a.artifacts, err = newArtifacts(text(artifactsKey), secret.Data[artifactsCAKey], &a.token)
	if err != nil {
		return fmt.Errorf("secret %s: %w", a.name, err)
	}
	return nil
}

// whose tells a Secret for one hub and RemoteCluster from that for another. Where
// artifacts are, and who vouches for the hub, is left out: that changes, and the hub
// stays.
func whose(secret *corev1.Secret) string {
	var all []string
	for _, key := range []string{serverKey, accountKey, namespaceKey, clusterKey, hubUIDKey} {
		all = append(all, strings.TrimSpace(string(secret.Data[key])))
	}
	return strings.Join(all, "\n")
}

// Agent is the agent's name in the record of ownership.
func (a *Access) Agent() string { return shard.PullAgent(a.Namespace, a.Cluster) }

// Hub is the access to the hub's API server.
func (a *Access) Hub() *rest.Config { return rest.CopyConfig(a.hub) }

// Artifacts is the way to the hub's artifacts, wherever their URLs say they are:
// those URLs are of the hub's own cluster.
func (a *Access) Artifacts() http.RoundTripper { return a.artifacts }

// artifacts sends requests for artifacts to the hub's TLS address.
type artifacts struct {
	base *url.URL
	next http.RoundTripper
}

func newArtifacts(address string, authority []byte, t *token) (*artifacts, error) {
	base, err := url.Parse(address)
	if err != nil || base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("key %q: want the https URL of the hub's artifacts", artifactsKey)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(authority) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(authority) {
			return nil, errors.New("key " + artifactsCAKey + ": there is no certificate in it")
		}
	}
	transport := newTransport()
	transport.TLSClientConfig = config
	return &artifacts{base: base, next: t.wrap(base)(transport)}, nil
}

// RoundTrip asks for the path of the artifact at the hub's address.
func (a *artifacts) RoundTrip(request *http.Request) (*http.Response, error) {
	sent := request.Clone(request.Context())
	sent.URL.Scheme, sent.URL.Host, sent.Host = a.base.Scheme, a.base.Host, ""
	sent.URL.Path, sent.URL.RawPath = strings.TrimSuffix(a.base.Path, "/")+request.URL.Path, ""
	return a.next.RoundTrip(sent)
}

package remote

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/shard"
)

// The keys of a kubeconfig Secret that are tried when none is named, as Flux
// does (FLUX.md §2.2).
const (
	defaultDataKey  = "value"
	fallbackDataKey = "value.yaml"
)

// ErrSecretMissing says that the kubeconfig Secret, or its key, does not exist.
var ErrSecretMissing = errors.New("kubeconfig not found")

// configError is a kubeconfig that is missing or refused: only a person can
// mend it.
type configError struct{ err error }

func (e *configError) Error() string { return e.err.Error() }
func (e *configError) Unwrap() error { return e.err }

// loadConfig reads the kubeconfig of a key from its Secret.
func (c *Clusters) loadConfig(ctx context.Context, key shard.Key) (*rest.Config, error) {
	if key.IsHub() {
		return rest.CopyConfig(c.Hub), nil
	}
	if ref := key.Reference(); ref.ConfigMapRef != nil {
		return c.loadWorkload(ctx, key)
	}
	var secret corev1.Secret
	name := types.NamespacedName{Namespace: key.Namespace, Name: key.Name}
	if err := c.Live.Get(ctx, name, &secret); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, &configError{fmt.Errorf("secret %s: %w", name, ErrSecretMissing)}
		}
		return nil, fmt.Errorf("read kubeconfig secret %s: %w", name, client.IgnoreNotFound(err))
	}
	data, ok := secret.Data[key.DataKey]
	if !ok && key.DataKey == defaultDataKey {
		data, ok = secret.Data[fallbackDataKey]
	}
	if !ok {
		return nil, &configError{fmt.Errorf("secret %s has no key %q: %w", name, key.DataKey, ErrSecretMissing)}
	}
	config, err := c.parseKubeconfig(data)
	if err != nil {
		return nil, &configError{fmt.Errorf("kubeconfig in secret %s, key %q: %w", name, key.DataKey, err)}
	}
	return config, nil
}

// parseKubeconfig turns an untrusted kubeconfig into a client configuration.
// The texts of its errors never carry the kubeconfig's content.
func (c *Clusters) parseKubeconfig(data []byte) (*rest.Config, error) {
	config, err := clientcmd.Load(data)
	if err != nil {
		return nil, errors.New("it does not parse as a kubeconfig")
	}
	if err := c.vet(config); err != nil {
		return nil, err
	}
	restConfig, err := clientcmd.NewNonInteractiveClientConfig(*config, "", &clientcmd.ConfigOverrides{}, nil).ClientConfig()
	if err != nil {
		return nil, errors.New("its current-context, context, cluster or user is missing or incomplete")
	}
	return restConfig, nil
}

// vet refuses what would run a program or read a file of the agent's machine.
func (c *Clusters) vet(config *clientcmdapi.Config) error {
	for name, user := range config.AuthInfos {
		switch {
		case user.Exec != nil && !c.AllowExec:
			return fmt.Errorf("user %q has an exec plugin, which is refused: use a token or a client certificate, or start the agent with --insecure-kubeconfig-exec", name)
		case user.AuthProvider != nil:
			return fmt.Errorf("user %q has an auth-provider, which is refused: use a token or a client certificate", name)
		case user.TokenFile != "" || user.ClientCertificate != "" || user.ClientKey != "":
			return fmt.Errorf("user %q names a file, which is refused: put the data into the kubeconfig", name)
		}
	}
	for name, cluster := range config.Clusters {
		switch {
		case cluster.CertificateAuthority != "":
			return fmt.Errorf("cluster %q names a certificate-authority file, which is refused: use certificate-authority-data", name)
		case cluster.InsecureSkipTLSVerify && !c.AllowInsecureTLS:
			return fmt.Errorf("cluster %q sets insecure-skip-tls-verify, which is refused: add certificate-authority-data, or start the agent with --insecure-kubeconfig-tls", name)
		}
	}
	return nil
}

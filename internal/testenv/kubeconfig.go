package testenv

import (
	"fmt"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Kubeconfig returns a kubeconfig for the administrator (system:masters).
func (c *ControlPlane) Kubeconfig() ([]byte, error) {
	return c.kubeconfig(c.URL, "admin", &clientcmdapi.AuthInfo{
		ClientCertificateData: c.admin.certificate,
		ClientKeyData:         c.admin.key,
	})
}

// UserKubeconfig returns a kubeconfig with a client certificate for a user in
// the given groups. It may do what RBAC grants them.
func (c *ControlPlane) UserKubeconfig(user string, groups ...string) ([]byte, error) {
	pair, err := c.authority.client(user, groups)
	if err != nil {
		return nil, err
	}
	return c.kubeconfig(c.URL, user, &clientcmdapi.AuthInfo{
		ClientCertificateData: pair.certificate,
		ClientKeyData:         pair.key,
	})
}

// tokenKubeconfig is a kubeconfig with a bearer token, for the API server
// itself or for a proxy in front of it.
func (c *ControlPlane) tokenKubeconfig(server, token string) ([]byte, error) {
	return c.kubeconfig(server, "token", &clientcmdapi.AuthInfo{Token: token})
}

func (c *ControlPlane) kubeconfig(server, user string, auth *clientcmdapi.AuthInfo) ([]byte, error) {
	name := c.options.Name
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: c.authority.pem}
	config.AuthInfos[user] = auth
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: user}
	config.CurrentContext = name
	encoded, err := clientcmd.Write(*config)
	if err != nil {
		return nil, fmt.Errorf("writing a kubeconfig of %s for %s: %w", name, user, err)
	}
	return encoded, nil
}

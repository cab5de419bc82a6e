package git

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	corev1 "k8s.io/api/core/v1"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/access"
	"github.com/headwater-dev/headwater/internal/cloud"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// Keys of the Secret that spec.secretRef names.
const (
	usernameKey = "username"
	passwordKey = "password"
	tokenKey    = "bearerToken" //nolint:gosec // G101: the name of a key
	caKey       = "ca.crt"
	legacyCAKey = "caFile"
	certKey     = "tls.crt"
	keyKey      = "tls.key"

	identityKey   = "identity"
	knownHostsKey = "known_hosts"
)

// credentials are what a Secret says about how to reach a remote.
type credentials struct {
	// secret is the Secret's name, for messages; empty when there is none.
	secret string
	auth   transport.AuthMethod
	// tls is nil where the machine's own trust will do.
	tls *tls.Config
	// ssh is nil for other URLs.
	ssh *sshLogin
	// app is nil but for spec.provider github.
	app *app
}

// credentials reads the Secret of the object, if it names one.
func (o *Opener) credentials(ctx context.Context, obj *sourcev1.GitRepository) (c credentials, err error) {
	ssh, provider := isSSH(obj.Spec.URL), obj.Spec.Provider
	if err := checkProvider(obj); err != nil {
		return c, err
	}
	if obj.Spec.SecretRef == nil {
		if ssh {
			err = reconcile.Fail(meta.AuthenticationFailedReason, fmt.Errorf(
				"spec.secretRef is not set: ssh needs a Secret with the keys %s and %s", identityKey, knownHostsKey))
		}
		return c, err
	}
	name := obj.Spec.SecretRef.Name
	secrets := access.Secrets{Reader: o.Secrets, Namespace: obj.Namespace}
	err = secrets.Read(ctx, "spec.secretRef", name, func(secret *corev1.Secret) (err error) {
		c.secret = obj.Namespace + "/" + name
		if ssh {
			c.ssh, err = sshLoginOf(secret.Data, o.SSH)
			return err
		}
		if provider == sourcev1.GitProviderGitHub {
			if c.app, err = appOf(secret); err != nil {
				return reconcile.Stall(cloud.InvalidConfigurationReason, err)
			}
			return c.readTLS(secret.Data)
		}
		if len(secret.Data[appIDKey]) > 0 {
			return reconcile.Stall(cloud.InvalidConfigurationReason, fmt.Errorf("it has the key %s of a GitHub App, but spec.provider is not %s", appIDKey, sourcev1.GitProviderGitHub))
		}
		if cloud.Is(provider) {
			return c.readTLS(secret.Data)
		}
		return c.read(secret.Data)
	})
	return c, err
}

// isSSH says whether the URL is one of ssh.
func isSSH(url string) bool { return strings.HasPrefix(strings.ToLower(url), "ssh://") }

// read takes what the Secret holds. Its errors name keys, never values.
func (c *credentials) read(data map[string][]byte) error {
	if err := c.readAuth(data); err != nil {
		return err
	}
	if err := c.readTLS(data); err != nil {
		return err
	}
	if c.auth == nil && c.tls == nil {
		return fmt.Errorf("it has none of the keys %s with %s, %s, %s, or %s with %s",
			usernameKey, passwordKey, tokenKey, caKey, certKey, keyKey)
	}
	return nil
}

func (c *credentials) readAuth(data map[string][]byte) error {
	username, password, token := string(data[usernameKey]), string(data[passwordKey]), string(data[tokenKey])
	switch {
	case username != "" && password == "":
		return fmt.Errorf("it has the key %s, but no %s", usernameKey, passwordKey)
	case password != "" && username == "":
		return fmt.Errorf("it has the key %s, but no %s", passwordKey, usernameKey)
	case username != "" && token != "":
		return fmt.Errorf("it has both %s and %s: remove one of them", usernameKey, tokenKey)
	case username != "":
		c.auth = &githttp.BasicAuth{Username: username, Password: password}
	case token != "":
		c.auth = &githttp.TokenAuth{Token: token}
	}
	return nil
}

func (c *credentials) readTLS(data map[string][]byte) (err error) {
	if len(data[caKey])+len(data[legacyCAKey])+len(data[certKey])+len(data[keyKey]) > 0 {
		c.tls, err = access.TLS(data)
	}
	return err
}

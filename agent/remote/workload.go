package remote

import (
	"context"
	"fmt"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/headwater-dev/headwater/shard"
)

// The data keys of the ConfigMap are Flux's.
const (
	providerKey  = "provider"
	clusterKey   = "cluster"
	addressKey   = "address"
	authorityKey = "ca.crt"
	audiencesKey = "audiences"
	accountKey   = "serviceAccountName"
)

const (
	// genericProvider authenticates with a token of a ServiceAccount of the hub,
	// which the target trusts as an OpenID Connect issuer.
	genericProvider = "generic"
	// tokenSeconds is how long such a token lasts; when it is refused, another
	// one is asked for.
	tokenSeconds = 3600
)

// loadWorkload makes a configuration of what the ConfigMap of a key says.
func (c *Clusters) loadWorkload(ctx context.Context, key shard.Key) (*rest.Config, error) {
	name := types.NamespacedName{Namespace: key.Namespace, Name: key.Name}
	var settings corev1.ConfigMap
	if err := c.Live.Get(ctx, name, &settings); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, &configError{fmt.Errorf("config map %s: %w", name, ErrSecretMissing)}
		}
		return nil, fmt.Errorf("read config map %s: %w", name, err)
	}
	config, err := c.workloadConfig(ctx, key.Namespace, settings.Data)
	if err != nil {
		return nil, fmt.Errorf("config map %s: %w", name, err)
	}
	return config, nil
}

func (c *Clusters) workloadConfig(ctx context.Context, namespace string, data map[string]string) (*rest.Config, error) {
	provider := data[providerKey]
	if known, found := c.providers[provider]; found {
		return c.loadCloud(ctx, namespace, known, data)
	}
	if provider != genericProvider {
		return nil, &configError{c.errNoProvider(provider)}
	}
	identity, err := c.parseWorkload(data)
	if err != nil {
		return nil, &configError{err}
	}
	token, err := c.workloadToken(ctx, namespace, identity)
	if err != nil {
		return nil, err
	}
	return &rest.Config{
		Host:            identity.address,
		BearerToken:     token,
		TLSClientConfig: rest.TLSClientConfig{CAData: identity.authority},
	}, nil
}

// workload is who to be at which server.
type workload struct {
	address   string
	authority []byte
	account   string
	audiences []string
}

func (c *Clusters) parseWorkload(data map[string]string) (workload, error) {
	w := workload{address: data[addressKey], account: data[accountKey]}
	if !strings.HasPrefix(w.address, "https://") {
		return w, fmt.Errorf("data key address is %q: want the https:// URL of the target's API server", w.address)
	}
	if w.account == "" {
		w.account = c.DefaultAccount
	}
	if w.account == "" {
		return w, fmt.Errorf("data key serviceAccountName is missing: name a ServiceAccount of the namespace, or start the agent with --default-kubeconfig-service-account")
	}
	if authority := data[authorityKey]; authority != "" {
		w.authority = []byte(authority)
	}
	var err error
	if w.audiences, err = audiencesOf(data); len(w.audiences) == 0 {
		w.audiences = []string{w.address}
	}
	return w, err
}

// audiencesOf reads one audience a line, or a YAML list of them.
func audiencesOf(data map[string]string) ([]string, error) {
	var audiences []string
	if strings.HasPrefix(strings.TrimSpace(data[audiencesKey]), "-") {
		if err := yaml.UnmarshalStrict([]byte(data[audiencesKey]), &audiences); err != nil {
			return nil, fmt.Errorf("data key %s: want one audience a line, or a YAML list of strings", audiencesKey)
		}
		return audiences, nil
	}
	for line := range strings.Lines(data[audiencesKey]) {
		if line = strings.TrimSpace(line); line != "" {
			audiences = append(audiences, line)
		}
	}
	return audiences, nil
}

// workloadToken asks the hub for a token of the ServiceAccount.
func (c *Clusters) workloadToken(ctx context.Context, namespace string, w workload) (string, error) {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: w.account}}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		Audiences: w.audiences, ExpirationSeconds: ptr.To(int64(tokenSeconds)),
	}}
	err := c.Client.SubResource("token").Create(ctx, account, request)
	switch {
	case apierrors.IsNotFound(err):
		return "", &configError{fmt.Errorf("service account %s/%s does not exist", namespace, w.account)}
	case err != nil:
		return "", fmt.Errorf("token of service account %s/%s: %w", namespace, w.account, err)
	}
	return request.Status.Token, nil
}

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

const (
	// genericProvider authenticates with a token of a ServiceAccount of the hub,
	// which the target trusts as an OpenID Connect issuer.
	genericProvider = "generic"
	// tokenSeconds is how long such a token lasts; when it is refused, another
	// one is asked for.
	tokenSeconds = 3600
)

// loadWorkload makes a configuration of what the ConfigMap of a key says, with
// the data keys that Flux has.
func (c *Clusters) loadWorkload(ctx context.Context, key shard.Key) (*rest.Config, error) {
	name := types.NamespacedName{Namespace: key.Namespace, Name: key.Name}
	var settings corev1.ConfigMap
	if err := c.Live.Get(ctx, name, &settings); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, &configError{fmt.Errorf("config map %s: %w", name, ErrSecretMissing)}
		}
		return nil, fmt.Errorf("read config map %s: %w", name, err)
	}
	identity, err := c.parseWorkload(settings.Data)
	if err != nil {
		return nil, &configError{fmt.Errorf("config map %s: %w", name, err)}
	}
	token, err := c.workloadToken(ctx, key.Namespace, identity)
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
	w := workload{address: data["address"], account: data["serviceAccountName"]}
	if provider := data["provider"]; provider != genericProvider {
		return w, fmt.Errorf("data key provider is %q, but this version implements generic alone: use spec.kubeConfig.secretRef", provider)
	}
	if !strings.HasPrefix(w.address, "https://") {
		return w, fmt.Errorf("data key address is %q: want the https:// URL of the target's API server", w.address)
	}
	if w.account == "" {
		w.account = c.DefaultAccount
	}
	if w.account == "" {
		return w, fmt.Errorf("data key serviceAccountName is missing: name a ServiceAccount of the namespace, or start the agent with --default-kubeconfig-service-account")
	}
	if authority := data["ca.crt"]; authority != "" {
		w.authority = []byte(authority)
	}
	if err := yaml.UnmarshalStrict([]byte(data["audiences"]), &w.audiences); err != nil {
		return w, fmt.Errorf("data key audiences: want a YAML list of strings")
	}
	if len(w.audiences) == 0 {
		w.audiences = []string{w.address}
	}
	return w, nil
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

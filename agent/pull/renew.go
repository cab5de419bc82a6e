package pull

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	// lookEvery is how often the Secret is read: somebody may have put a new
	// token into it.
	lookEvery   = time.Minute
	lookTimeout = 20 * time.Second
	// fieldManager of the write to the Secret.
	fieldManager = "headwater-agent"
)

// AddToManager has the token renewed while the manager runs.
func (a *Access) AddToManager(mgr ctrl.Manager) error { return mgr.Add(a) }

// NeedLeaderElection is false: every agent renews its own.
func (a *Access) NeedLeaderElection() bool { return false }

// Start keeps the token fresh until the context ends.
func (a *Access) Start(ctx context.Context) error {
	hub, err := kubernetes.NewForConfig(a.Hub())
	if err != nil {
		return err
	}
	for {
		if err := a.tend(ctx, hub); err != nil && ctx.Err() == nil {
			log.FromContext(ctx).Info("token for the hub not renewed", "error", reconcile.Redact(err.Error()))
		}
		timer := a.clock.NewTimer(lookEvery)
		select {
		case <-timer.C():
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// tend brings the Secret's token and ours in line, and renews it when it is time.
// It does neither once the Secret is for somebody else.
func (a *Access) tend(ctx context.Context, hub kubernetes.Interface) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	var secret corev1.Secret
	lookErr := a.secrets.Get(ctx, a.name, &secret)
	if lookErr == nil && whose(&secret) != a.whose {
		// Its successor has it: a token of ours is of no use there, nor one from there
		// at our hub.
		return fmt.Errorf("secret %s is for another hub, or another way to it, by now: this agent leaves it alone, and is to be started anew", a.name)
	}
	if lookErr == nil {
		lookErr = a.adopt(ctx, &secret)
	}
	life, at := a.token.life()
	if a.clock.Now().Before(at) {
		return lookErr
	}
	return errors.Join(lookErr, a.renew(ctx, hub, &secret, life))
}

// adopt uses the token of the Secret, if it was issued later than ours. An older one
// is there when ours could not be kept, or when somebody has applied an older
// manifest: ours takes its place, or a restart would begin with it.
func (a *Access) adopt(ctx context.Context, secret *corev1.Secret) error {
	text := strings.TrimSpace(string(secret.Data[tokenKey])) // a file ends with a newline
	issued, _, err := timesOf(text)
	if err != nil {
		return fmt.Errorf("secret %s, key %q: %w", a.name, tokenKey, err)
	}
	a.token.mu.RLock()
	ours, older := a.token.text, issued.Before(a.token.issued)
	a.token.mu.RUnlock()
	switch {
	case text == ours:
		return nil
	case older:
		return a.keep(ctx, secret, ours)
	}
	log.FromContext(ctx).Info("token for the hub taken over from the Secret", "secret", a.name.String())
	return a.token.set(text)
}

// renew asks the hub for a token of the same life and keeps it in the Secret.
func (a *Access) renew(ctx context.Context, hub kubernetes.Interface, secret *corev1.Secret, life time.Duration) error {
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(life / time.Second))}}
	answer, err := hub.CoreV1().ServiceAccounts(a.Namespace).CreateToken(ctx, a.account, request, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("ask for a token of ServiceAccount %s/%s: %w", a.Namespace, a.account, err)
	}
	if err := a.token.set(answer.Status.Token); err != nil {
		return fmt.Errorf("token of ServiceAccount %s/%s: %w", a.Namespace, a.account, err)
	}
	if err := a.keep(ctx, secret, answer.Status.Token); err != nil {
		return err
	}
	log.FromContext(ctx).Info("token for the hub renewed", "ends", answer.Status.ExpirationTimestamp.String())
	return nil
}

// keep writes the token to the Secret, if that is still what was read.
func (a *Access) keep(ctx context.Context, secret *corev1.Secret, text string) error {
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]string{"resourceVersion": secret.ResourceVersion},
		"data":     map[string][]byte{tokenKey: []byte(text)},
	})
	if err != nil {
		return err
	}
	secret.Namespace, secret.Name = a.name.Namespace, a.name.Name
	if err := a.secrets.Patch(ctx, secret, client.RawPatch(types.MergePatchType, body), client.FieldOwner(fieldManager)); err != nil {
		return fmt.Errorf("keep the new token in secret %s: %w", a.name, err)
	}
	return nil
}

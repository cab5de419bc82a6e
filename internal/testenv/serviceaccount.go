package testenv

import (
	"context"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// tokenLifetime of the tokens in kubeconfigs: longer than any test or demo.
const tokenLifetime = 24 * time.Hour

// ServiceAccount returns a kubeconfig with a token for a ServiceAccount, which
// it makes, together with its namespace, if it does not exist. The rules are
// granted in the whole cluster; without any, it has what was bound to it
// elsewhere.
func (c *ControlPlane) ServiceAccount(ctx context.Context, namespace, name string, rules []rbacv1.PolicyRule) ([]byte, error) {
	kube, err := c.Client(nil)
	if err != nil {
		return nil, err
	}
	key := metav1.ObjectMeta{Namespace: namespace, Name: name}
	objects := []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}},
		&corev1.ServiceAccount{ObjectMeta: key},
	}
	if len(rules) > 0 {
		objects = append(objects, grant(key, rules)...)
	}
	for _, object := range objects {
		if err := kube.Create(ctx, object); err != nil && !apierrors.IsAlreadyExists(err) {
			return nil, fmt.Errorf("making ServiceAccount %s/%s: %w", namespace, name, err)
		}
	}
	token, err := c.Token(ctx, namespace, name, tokenLifetime)
	if err != nil {
		return nil, err
	}
	return c.tokenKubeconfig(c.URL, token)
}

// grant is a ClusterRole of the rules and its binding, named after the
// ServiceAccount.
func grant(account metav1.ObjectMeta, rules []rbacv1.PolicyRule) []client.Object {
	name := metav1.ObjectMeta{Name: "testenv:" + account.Namespace + ":" + account.Name}
	return []client.Object{
		&rbacv1.ClusterRole{ObjectMeta: name, Rules: rules},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: name,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name.Name},
			Subjects: []rbacv1.Subject{
				{Kind: rbacv1.ServiceAccountKind, Namespace: account.Namespace, Name: account.Name},
			},
		},
	}
}

// Token asks the API server for a token of a ServiceAccount that exists. The
// API server accepts lifetimes of ten minutes and more.
func (c *ControlPlane) Token(ctx context.Context, namespace, name string, lifetime time.Duration) (string, error) {
	kube, err := c.Client(nil)
	if err != nil {
		return "", err
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	seconds := int64(lifetime / time.Second)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	if err := kube.SubResource("token").Create(ctx, account, request); err != nil {
		return "", fmt.Errorf("requesting a token of ServiceAccount %s/%s: %w", namespace, name, err)
	}
	return request.Status.Token, nil
}

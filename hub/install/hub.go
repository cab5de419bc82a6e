package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/config"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/shard"
)

// remoteCluster makes the RemoteCluster, or takes over the one that the hub has
// made because a Kustomization names the cluster already.
func (o *options) remoteCluster(ctx context.Context, hub client.Client) error {
	name := client.ObjectKey{Namespace: o.namespace, Name: o.cluster}
	found := &fleetv1.RemoteCluster{}
	err := hub.Get(ctx, name, found)
	switch {
	case apierrors.IsNotFound(err):
		made := &fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}}
		made.Spec.Mode = fleetv1.PullMode
		if err := hub.Create(ctx, made, client.FieldOwner(fieldManager)); err != nil {
			return fmt.Errorf("make remote cluster %s: %w", name, err)
		}
		o.say("hub: RemoteCluster %s made", name)
		return nil
	case err != nil:
		return fmt.Errorf("read remote cluster %s: %w", name, err)
	case found.GetMode() == fleetv1.PullMode:
		o.say("hub: RemoteCluster %s unchanged", name)
		return nil
	case !shard.IsManaged(found):
		return fmt.Errorf("remote cluster %s is of mode %s: delete it first, or choose another name (--cluster)", name, found.GetMode())
	}
	return o.takeOver(ctx, hub, found)
}

// takeOver turns a RemoteCluster that nobody made by hand into one of mode Pull, if
// it holds the record of the same key: the hub's own does not, nor that of a Cluster
// of Cluster API, whatever its name.
func (o *options) takeOver(ctx context.Context, hub client.Client, found *fleetv1.RemoteCluster) error {
	name := client.ObjectKeyFromObject(found)
	if keys := shard.KeysOf(found, o.system); len(keys) != 1 || keys[0] != o.key() {
		target := "the hub itself"
		if len(keys) == 1 {
			target = keys[0].String()
		}
		return fmt.Errorf("remote cluster %s is the record of %s: choose another name (--cluster)", name, target)
	}
	err := hub.Get(ctx, name, &corev1.Secret{})
	switch {
	case err == nil:
		return fmt.Errorf("agents of the hub reach the cluster %s through the Secret of that name: delete the Secret first, or choose another name (--cluster)", name)
	case !apierrors.IsNotFound(err):
		return fmt.Errorf("look for a kubeconfig secret %s: %w", name, err)
	}
	found.Spec.Mode, found.Spec.KubeConfig = fleetv1.PullMode, nil
	delete(found.Labels, shard.ManagedLabel)
	if err := hub.Update(ctx, found, client.FieldOwner(fieldManager)); err != nil {
		return fmt.Errorf("change remote cluster %s to mode Pull: %w", name, err)
	}
	o.say("hub: RemoteCluster %s changed to mode Pull", name)
	return nil
}

// policyVersion is the annotation that tells a newer policy from an older one, which
// has a lower number or none.
const policyVersion = "fleet.headwater.dev/policy-version"

// policy makes what narrows the right to write Kustomizations and HelmReleases to
// what an agent needs, or brings it up to date. It is for all agents, and stays.
func (o *options) policy(ctx context.Context, hub client.Client) error {
	for text := range bytes.SplitSeq(config.AgentPolicy(), []byte("\n---\n")) {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(text, object); err != nil {
			return fmt.Errorf("the policy of agents: %w", err)
		}
		what, err := applyPolicy(ctx, hub, object)
		if err != nil {
			return fmt.Errorf("%s %s, without which the agent could change any Kustomization of its namespace (have config/policy/agents.yaml of this version applied, and be allowed to get it): %w",
				object.GetKind(), object.GetName(), err)
		}
		o.say("hub: %s %s %s", object.GetKind(), object.GetName(), what)
	}
	return nil
}

// applyPolicy makes one object of the policy, or replaces an older one, and says what
// became of it.
func applyPolicy(ctx context.Context, hub client.Client, object *unstructured.Unstructured) (what string, err error) {
	found := object.DeepCopy()
	err = hub.Get(ctx, client.ObjectKeyFromObject(object), found)
	if apierrors.IsNotFound(err) {
		return "made", hub.Create(ctx, object, client.FieldOwner(fieldManager))
	}
	if err != nil {
		return "", err
	}
	ours, theirs := versionOf(object), versionOf(found)
	switch {
	case theirs > ours:
		return fmt.Sprintf("left as it is: it is of a newer version (%d)", theirs), nil
	case theirs == ours:
		return "unchanged", nil
	}
	annotations := found.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	maps.Copy(annotations, object.GetAnnotations())
	found.SetAnnotations(annotations)
	// As a whole: what an older one has besides must not stay.
	found.Object["spec"] = object.Object["spec"]
	return "brought up to date", hub.Update(ctx, found, client.FieldOwner(fieldManager))
}

func versionOf(policy *unstructured.Unstructured) int {
	version, err := strconv.Atoi(policy.GetAnnotations()[policyVersion])
	if err != nil {
		return 0
	}
	return version
}

// hubObjects are the ServiceAccount of the agent and what it may do.
func (o *options) hubObjects() ([]client.Object, error) {
	rules, err := o.rules()
	if err != nil {
		return nil, err
	}
	name := metav1.ObjectMeta{Namespace: o.namespace, Name: o.account(), Labels: ownLabels()}
	return []client.Object{
		&corev1.ServiceAccount{ObjectMeta: name},
		&rbacv1.Role{ObjectMeta: name, Rules: rules},
		&rbacv1.RoleBinding{
			ObjectMeta: name,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name.Name},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: name.Namespace, Name: name.Name}},
		},
	}, nil
}

// rules are what the agents of the hub may do, as far as it makes sense in one
// namespace, and narrowed to this cluster's own RemoteCluster and Leases.
func (o *options) rules() ([]rbacv1.PolicyRule, error) {
	var role rbacv1.ClusterRole
	first, _, _ := bytes.Cut(config.AgentRules(), []byte("\n---\n"))
	if err := yaml.Unmarshal(first, &role); err != nil || role.Kind != "ClusterRole" {
		return nil, errors.Join(errors.New("the rules of agents do not begin with their ClusterRole"), err)
	}
	var rules []rbacv1.PolicyRule
	for _, rule := range role.Rules {
		switch {
		case slices.Contains(rule.Resources, "namespaces"), slices.Contains(rule.Verbs, "impersonate"),
			slices.Contains(rule.Resources, "serviceaccounts/token"):
			// A token of any account of the namespace is more than this cluster's.
			continue
		case slices.Contains(rule.APIGroups, fleetv1.GroupVersion.Group):
			rule.ResourceNames = []string{o.cluster}
		case len(rule.ResourceNames) > 0:
			continue
		}
		rules = append(rules, rule)
	}
	leases := []string{"headwater-agent-" + shard.PullAgent(o.namespace, o.cluster)}
	return append(rules,
		rbacv1.PolicyRule{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"create"}},
		rbacv1.PolicyRule{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, ResourceNames: leases, Verbs: []string{"get", "update"}},
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"serviceaccounts/token"}, ResourceNames: []string{o.account()}, Verbs: []string{"create"}},
	), nil
}

// credentials are what the agent needs to know of the hub, as the data of a
// Secret.
func (o *options) credentials(ctx context.Context, hub client.Client, access *rest.Config) (map[string][]byte, error) {
	if err := rest.LoadTLSFiles(access); err != nil {
		return nil, fmt.Errorf("authority of the hub's kubeconfig: %w", err)
	}
	server := o.hubServer
	if server == "" {
		server = access.Host
	}
	uid, err := hubUID(ctx, hub)
	if err != nil {
		return nil, err
	}
	artifacts, authority, err := o.artifactAccess(ctx, hub)
	if err != nil {
		return nil, err
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: o.namespace, Name: o.account()}}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(o.lifetime / time.Second))}}
	if err := hub.SubResource("token").Create(ctx, account, request); err != nil {
		return nil, fmt.Errorf("ask for a token of ServiceAccount %s/%s: %w", o.namespace, o.account(), err)
	}
	return map[string][]byte{
		"server": []byte(server), "ca.crt": access.CAData, "token": []byte(request.Status.Token),
		"account": []byte(o.account()), "namespace": []byte(o.namespace), "cluster": []byte(o.cluster),
		"hub-uid": []byte(uid), "artifacts": []byte(artifacts), "artifacts-ca.crt": []byte(authority),
	}, nil
}

// hubUID tells one hub from another.
func hubUID(ctx context.Context, hub client.Client) (string, error) {
	var system corev1.Namespace
	if err := hub.Get(ctx, client.ObjectKey{Name: "kube-system"}, &system); err != nil {
		return "", fmt.Errorf("identify the hub by the uid of its namespace kube-system: %w", err)
	}
	return string(system.UID), nil
}

// artifactAccess is where the hub serves artifacts to agents outside of it, and
// the authority of its certificate.
func (o *options) artifactAccess(ctx context.Context, hub client.Client) (address, authority string, err error) {
	var said corev1.ConfigMap
	err = hub.Get(ctx, client.ObjectKey{Namespace: o.system, Name: artifact.AccessConfigMap}, &said)
	if client.IgnoreNotFound(err) != nil {
		return "", "", fmt.Errorf("where the hub serves artifacts, config map %s/%s: %w", o.system, artifact.AccessConfigMap, err)
	}
	address = said.Data["address"]
	if o.artifacts != "" {
		address = o.artifacts
	}
	if address == "" {
		return "", "", errors.New("the hub serves no artifacts to agents outside of it: start it with --artifact-tls-addr and --artifact-tls-adv-addr; or name its address with --artifact-addr, or its namespace with --runtime-namespace")
	}
	return address, said.Data["ca.crt"], nil
}

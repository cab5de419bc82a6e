package install

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/headwater-dev/headwater/config"
)

const (
	agentName        = "headwater-agent"
	credentialSecret = "headwater-hub"
)

// argsAnnotation has what --agent-arg gave, on the agent's Deployment.
const argsAnnotation = "fleet.headwater.dev/agent-args"

// clusterAnnotation has the RemoteCluster of an agent, on its Deployment.
const clusterAnnotation = "fleet.headwater.dev/pull-cluster"

// fenceFlag of the agent says where its fence is.
const fenceFlag = "--fence-namespace="

const managedBy = "app.kubernetes.io/managed-by"

// ownLabels are on all that install makes.
func ownLabels() map[string]string {
	return map[string]string{managedBy: "headwater", "app.kubernetes.io/component": agentName}
}

// isOwn says whether install has made the object.
func isOwn(object client.Object) bool { return object.GetLabels()[managedBy] == "headwater" }

// targetObjects are what runs an agent in the cluster, in the order in which they
// are to be made.
func (o *options) targetObjects(credentials map[string][]byte, image string) ([]client.Object, error) {
	deployment, err := o.deployment(image, accessDigest(credentials))
	if err != nil {
		return nil, err
	}
	own := o.metaIn(o.agentNamespace, agentName)
	account := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: o.agentNamespace, Name: agentName}}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: o.agentNamespace}}
	if !o.export {
		// What is exported may be applied over a namespace that is somebody's.
		namespace.Labels = ownLabels()
	}
	objects := []client.Object{
		namespace,
		&corev1.ServiceAccount{ObjectMeta: own},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: o.clusterBinding(), Labels: ownLabels()},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: o.clusterRole},
			Subjects:   account,
		},
	}
	objects = append(objects, grant(own, account, rbacv1.PolicyRule{
		APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{credentialSecret}, Verbs: []string{"get", "patch"},
	})...)
	objects = append(objects, grant(o.metaIn(o.fenceNamespace, o.clusterBinding()), account, rbacv1.PolicyRule{
		APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"get", "create", "update"},
	})...)
	return append(objects,
		&corev1.Secret{ObjectMeta: o.metaIn(o.agentNamespace, credentialSecret), Data: credentials},
		deployment), nil
}

// requireFree refuses to take over what is not an install's: the hub's own agents, in
// a cluster that is a hub itself, have a ServiceAccount and a Role of the same names.
// A namespace is nobody's.
func (o *options) requireFree(ctx context.Context, target client.Client) error {
	objects, err := o.targetObjects(nil, "")
	if err != nil {
		return err
	}
	for _, object := range objects[1:] {
		name, others, err := o.isOthers(ctx, target, object)
		if err != nil {
			return err
		}
		if others {
			return fmt.Errorf("%s: %s is there and not of an install: name another namespace (--agent-namespace); or, if nobody needs it, delete it first", o.cluster, name)
		}
	}
	return nil
}

// isOthers says whether the object is there and install did not make it, and what it
// is called.
func (o *options) isOthers(ctx context.Context, target client.Client, object client.Object) (name string, others bool, err error) {
	found, err := manifest(object)
	if err != nil {
		return "", false, err
	}
	name = found.GetKind() + " " + strings.TrimPrefix(found.GetNamespace()+"/"+found.GetName(), "/")
	err = target.Get(ctx, client.ObjectKeyFromObject(object), found)
	if apierrors.IsNotFound(err) {
		return name, false, nil
	}
	if err != nil {
		return name, false, fmt.Errorf("%s: read %s: %w", o.cluster, name, err)
	}
	return name, !isOwn(found), nil
}

// checkAgent refuses to touch an agent that was installed for another
// RemoteCluster, or by another hub: its Secret, which install makes before what runs
// it and uninstall deletes after, says whose it is.
func (o *options) checkAgent(ctx context.Context, hub, target client.Client) error {
	var secret corev1.Secret
	name := client.ObjectKey{Namespace: o.agentNamespace, Name: credentialSecret}
	err := target.Get(ctx, name, &secret)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: read Secret %s: %w", o.cluster, name, err)
	}
	uid, err := hubUID(ctx, hub)
	if err != nil {
		return err
	}
	whose := string(secret.Data["namespace"]) + "/" + string(secret.Data["cluster"])
	switch {
	case string(secret.Data["hub-uid"]) != uid:
		whose += " of another hub"
	case whose == o.namespace+"/"+o.cluster:
		return nil
	}
	return fmt.Errorf("%s: the agent in namespace %s is that of remote cluster %s: check --kubeconfig, or name another namespace with --agent-namespace; if nobody needs that agent, delete the Secret %s in its cluster first",
		o.cluster, o.agentNamespace, whose, name)
}

// clusterBinding is the name of what is not in the agent's own namespace: several
// agents, of several hubs, may be in one cluster.
func (o *options) clusterBinding() string { return agentName + "-" + o.agentNamespace }

func (o *options) metaIn(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: ownLabels()}
}

func grant(name metav1.ObjectMeta, to []rbacv1.Subject, rules ...rbacv1.PolicyRule) []client.Object {
	return []client.Object{
		&rbacv1.Role{ObjectMeta: name, Rules: rules},
		&rbacv1.RoleBinding{
			ObjectMeta: name,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name.Name},
			Subjects:   to,
		},
	}
}

// accessDigest tells one way to the hub from another. The token is left out: the
// agent takes a new one over while it runs, and reads the rest once.
func accessDigest(credentials map[string][]byte) string {
	sum := sha256.New()
	for _, key := range slices.Sorted(maps.Keys(credentials)) {
		if key != "token" {
			sum.Write(fmt.Appendf(nil, "%s=%q\n", key, credentials[key]))
		}
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// deployment runs one agent with the Pod template of the agents in the hub. Two at
// once would only wait for each other. Another access starts it anew.
func (o *options) deployment(image, access string) (*appsv1.Deployment, error) {
	var base appsv1.StatefulSet
	if err := yaml.Unmarshal(config.AgentWorkload(), &base); err != nil {
		return nil, fmt.Errorf("manifest of the agents: %w", err)
	}
	template := base.Spec.Template
	container := &template.Spec.Containers[0]
	container.Args = slices.DeleteFunc(container.Args, func(arg string) bool { return strings.HasPrefix(arg, "--name=") })
	for _, arg := range o.agentArgs {
		if arg != "" {
			container.Args = append(container.Args, arg)
		}
	}
	// The last one counts.
	container.Args = append(container.Args,
		"--pull-secret=$(RUNTIME_NAMESPACE)/"+credentialSecret,
		fenceFlag+o.fenceNamespace)
	container.Image = image
	template.Spec.ServiceAccountName = agentName
	metav1.SetMetaDataAnnotation(&template.ObjectMeta, "fleet.headwater.dev/hub-access", access)
	deployment := &appsv1.Deployment{ObjectMeta: o.metaIn(o.agentNamespace, agentName)}
	args, err := json.Marshal(o.agentArgs)
	if err != nil {
		return nil, err
	}
	deployment.Annotations = map[string]string{clusterAnnotation: o.namespace + "/" + o.cluster, argsAnnotation: string(args)}
	deployment.Spec = appsv1.DeploymentSpec{
		Replicas: new(int32(1)),
		Strategy: appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType},
		Selector: base.Spec.Selector,
		Template: template,
	}
	return deployment, nil
}

// keepArgs takes the flags that the agent was given the last time, where none are
// given now.
func (o *options) keepArgs(ctx context.Context, target client.Client) error {
	if o.export || o.agentArgs != nil {
		return nil
	}
	var before appsv1.Deployment
	name := client.ObjectKey{Namespace: o.agentNamespace, Name: agentName}
	if err := target.Get(ctx, name, &before); err != nil {
		return client.IgnoreNotFound(err)
	}
	text := before.Annotations[argsAnnotation]
	if text == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(text), &o.agentArgs); err != nil {
		return fmt.Errorf("%s: annotation %s of Deployment %s: %w: name the agent's flags with --agent-arg", o.cluster, argsAnnotation, name, err)
	}
	return nil
}

// agentImage is the image to run: the one asked for, or that of the hub's agents.
// There is no other: what it runs may do in the cluster what --cluster-role says.
func (o *options) agentImage(ctx context.Context, hub client.Client) (string, error) {
	if o.image != "" {
		return o.image, nil
	}
	var agents appsv1.StatefulSet
	name := client.ObjectKey{Namespace: o.system, Name: "agent"}
	if err := hub.Get(ctx, name, &agents); err != nil {
		return "", fmt.Errorf("image of the hub's agents, stateful set %s (or name it with --image): %w", name, err)
	}
	for _, container := range agents.Spec.Template.Spec.Containers {
		if container.Name == "manager" {
			return container.Image, nil
		}
	}
	return "", fmt.Errorf("image of the hub's agents: stateful set %s has no container manager: name it with --image", name)
}

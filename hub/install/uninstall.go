package install

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/shard"
)

func uninstall(ctx context.Context, args []string) error {
	o := &options{out: os.Stdout}
	err := o.parse("hub agent uninstall", "Takes the agent out of a cluster, and what it was given on the hub.", args, o.bindUninstall)
	if err != nil {
		return err
	}
	return o.uninstall(ctx)
}

// uninstall removes what install has made: in the cluster first, so that a
// failure leaves the RemoteCluster to try again with.
func (o *options) uninstall(ctx context.Context) error {
	var target client.Client
	if !o.hubOnly {
		var err error
		if target, err = o.connectTarget(); err != nil {
			return err
		}
	}
	_, hub, err := o.connectHub()
	if err != nil {
		return err
	}
	found := &fleetv1.RemoteCluster{}
	err = hub.Get(ctx, client.ObjectKey{Namespace: o.namespace, Name: o.cluster}, found)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read remote cluster %s/%s: %w", o.namespace, o.cluster, err)
	}
	if err == nil && found.GetMode() != fleetv1.PullMode {
		return fmt.Errorf("remote cluster %s/%s is of mode %s: no agent was installed for it", o.namespace, o.cluster, found.GetMode())
	}
	if !o.hubOnly {
		if err := o.locate(ctx, hub, target, apierrors.IsNotFound(err)); err != nil {
			return err
		}
		if err := o.checkAgent(ctx, hub, target); err != nil {
			return err
		}
	}
	if err := o.unused(ctx, hub); err != nil {
		return err
	}
	if !o.hubOnly {
		objects, err := o.removable(ctx, hub, target)
		if err != nil {
			return err
		}
		if err := o.removeAll(ctx, o.cluster, target, objects); err != nil {
			return err
		}
	}
	objects, err := o.hubObjects()
	if err != nil {
		return err
	}
	objects = append(objects,
		&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: o.namespace, Name: "headwater-agent-" + shard.PullAgent(o.namespace, o.cluster)}},
		&fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Namespace: o.namespace, Name: o.cluster}})
	return o.removeAll(ctx, "hub", hub, objects)
}

// locate finds the agent in the cluster, and where its fence is: the flags of its
// install are kept there and nowhere else. Where it is not, something that an
// uninstall which failed has left has to be; but not if the RemoteCluster is gone, since
// an uninstall that is done may be run again.
func (o *options) locate(ctx context.Context, hub, target client.Client, gone bool) error {
	uid, err := hubUID(ctx, hub)
	if err != nil {
		return err
	}
	var agents appsv1.DeploymentList
	if err := target.List(ctx, &agents, client.MatchingLabels(ownLabels())); err != nil {
		return fmt.Errorf("%s: look for the agent: %w", o.cluster, err)
	}
	for i := range agents.Items {
		agent := &agents.Items[i]
		if agent.Annotations[clusterAnnotation] != o.namespace+"/"+o.cluster {
			continue
		}
		var secret corev1.Secret
		err := target.Get(ctx, client.ObjectKey{Namespace: agent.Namespace, Name: credentialSecret}, &secret)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("%s: read the credentials of the agent in namespace %s: %w", o.cluster, agent.Namespace, err)
		}
		// Without its Secret it may be another hub's: the flags decide.
		if string(secret.Data["hub-uid"]) == uid || err != nil && agent.Namespace == o.agentNamespace {
			o.agentNamespace, o.fenceNamespace = agent.Namespace, fenceNamespaceOf(agent, o.fenceNamespace)
			o.say("%s: the agent is in namespace %s, its fence in %s", o.cluster, o.agentNamespace, o.fenceNamespace)
			return nil
		}
	}
	if gone {
		return nil
	}
	return o.requireRest(ctx, target)
}

// fenceNamespaceOf is what the agent was given; the last one counts.
func fenceNamespaceOf(agent *appsv1.Deployment, otherwise string) string {
	for _, container := range agent.Spec.Template.Spec.Containers {
		for _, arg := range container.Args {
			if given, ok := strings.CutPrefix(arg, fenceFlag); ok {
				otherwise = given
			}
		}
	}
	return otherwise
}

// requireRest refuses if nothing that install makes is in the namespace.
func (o *options) requireRest(ctx context.Context, target client.Client) error {
	for _, object := range []client.Object{
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: o.clusterBinding()}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: o.agentNamespace, Name: agentName}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: o.agentNamespace}},
	} {
		err := target.Get(ctx, client.ObjectKeyFromObject(object), object)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("%s: look for what the agent has left: %w", o.cluster, err)
		}
		if err == nil && isOwn(object) {
			return nil
		}
	}
	return fmt.Errorf("%s: no agent of %s/%s is in this cluster: check --kubeconfig and --agent-namespace, or give the cluster up with --hub-only",
		o.cluster, o.namespace, o.cluster)
}

// unused refuses while Kustomizations or HelmReleases deploy to the cluster: nobody
// could take away what they have applied.
func (o *options) unused(ctx context.Context, hub client.Client) error {
	if o.force {
		return nil
	}
	users, err := o.users(ctx, hub)
	if err != nil || len(users) == 0 {
		return err
	}
	return fmt.Errorf("these objects in namespace %s still deploy to the cluster: %s: delete them first, so that the agent takes away what they have applied; or leave that there with --force",
		o.namespace, strings.Join(users, ", "))
}

// users are the objects that deploy to the cluster.
func (o *options) users(ctx context.Context, hub client.Client) ([]string, error) {
	var kustomizations kustomizev1.KustomizationList
	if err := hub.List(ctx, &kustomizations, client.InNamespace(o.namespace)); err != nil {
		return nil, fmt.Errorf("list the Kustomizations in %s: %w", o.namespace, err)
	}
	var releases helmv2.HelmReleaseList
	if err := hub.List(ctx, &releases, client.InNamespace(o.namespace)); err != nil {
		return nil, fmt.Errorf("list the HelmReleases in %s: %w", o.namespace, err)
	}
	var users []string
	for _, k := range kustomizations.Items {
		if shard.CurrentKey(k.Namespace, k.Name, k.Spec.KubeConfig, k.Status.Target) == o.key() {
			users = append(users, "Kustomization "+k.Name)
		}
	}
	for _, r := range releases.Items {
		if shard.KeyFor(r.Namespace, r.Name, r.Spec.KubeConfig) == o.key() {
			users = append(users, "HelmRelease "+r.Name)
		}
	}
	return users, nil
}

// removable are the objects in the cluster, last made first. What install did not
// make is left.
func (o *options) removable(ctx context.Context, hub, target client.Client) ([]client.Object, error) {
	objects, err := o.targetObjects(nil, "")
	if err != nil {
		return nil, err
	}
	uid, err := hubUID(ctx, hub)
	if err != nil {
		return nil, err
	}
	fence := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: o.fenceNamespace, Name: shard.FenceName(uid, o.key())}}
	var made []client.Object
	for i, object := range objects {
		name, others, err := o.isOthers(ctx, target, object)
		switch {
		case err != nil:
			return nil, err
		case others:
			o.say("%s: %s left: install did not make it", o.cluster, name)
		default:
			made = append(made, object)
		}
		if i == 0 {
			// It goes right before the namespace, when the agent is gone.
			made = append(made, fence)
		}
	}
	slices.Reverse(made)
	return made, nil
}

// removeAll deletes objects and says so.
func (o *options) removeAll(ctx context.Context, where string, from client.Client, objects []client.Object) error {
	for _, object := range objects {
		content, err := manifest(object)
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(content.GetNamespace()+"/"+content.GetName(), "/")
		err = from.Delete(ctx, content, client.PropagationPolicy(metav1.DeletePropagationBackground))
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return fmt.Errorf("%s: delete %s %s: %w", where, content.GetKind(), name, err)
		default:
			o.say("%s: %s %s deleted", where, content.GetKind(), name)
		}
	}
	return nil
}

package why

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/hub/placement"
	"github.com/headwater-dev/headwater/shard"
	"github.com/headwater-dev/headwater/shard/member"
)

// reader fills in the facts.
type reader struct {
	*options
	hub   client.Client
	facts *facts
}

// read collects the facts. It returns some and an error where what was asked for
// besides, the live part, could not be had.
func (o *options) read(ctx context.Context, config *rest.Config) (*facts, error) {
	scheme := runtime.NewScheme()
	builder := runtime.NewSchemeBuilder(clientgoscheme.AddToScheme, fleetv1.AddToScheme, kustomizev1.AddToScheme, helmv2.AddToScheme)
	if err := builder.AddToScheme(scheme); err != nil {
		return nil, err
	}
	hub, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("connect to the hub: %w", err)
	}
	r := &reader{options: o, hub: hub, facts: &facts{now: time.Now(), system: o.system, kind: o.kind, name: o.name}}
	if err := r.object(ctx); err != nil {
		return nil, err
	}
	r.objects(ctx)
	r.members(ctx)
	r.warning(ctx)
	if err := r.fences(ctx); err != nil {
		return nil, err
	}
	if !o.live {
		return r.facts, nil
	}
	return r.facts, r.ask(ctx, config)
}

// note remembers that something could not be read.
func (r *reader) note(what string, err error) {
	r.facts.unread = append(r.facts.unread, what+": "+err.Error())
}

// object reads what the question is about, and the record of its target.
func (r *reader) object(ctx context.Context) error {
	f := r.facts
	switch r.kind {
	case fleetv1.RemoteClusterKind:
		f.record = &fleetv1.RemoteCluster{}
		if err := r.get(ctx, f.record); err != nil {
			return err
		}
		if f.keys = shard.KeysOf(f.record, r.system); len(f.keys) == 0 {
			return fmt.Errorf("RemoteCluster %s stands for no target: spec.mode Hub is for RemoteCluster %s/%s alone (--runtime-namespace)", r.name, r.system, shard.HubCluster)
		}
		return nil
	case helmv2.HelmReleaseKind:
		release := &helmv2.HelmRelease{}
		if err := r.get(ctx, release); err != nil {
			return err
		}
		r.release(ctx, release)
	default:
		kustomization := &kustomizev1.Kustomization{}
		if err := r.get(ctx, kustomization); err != nil {
			return err
		}
		r.kustomization(ctx, kustomization)
	}
	r.record(ctx)
	return nil
}

// get reads the object in question.
func (r *reader) get(ctx context.Context, into client.Object) error {
	err := r.hub.Get(ctx, r.name, into)
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("there is no %s %s in namespace %s: name another with -n", r.kind, r.name.Name, r.name.Namespace)
	case apimeta.IsNoMatchError(err):
		return fmt.Errorf("this cluster has no kind %s, so it is not the hub: name the hub's kubeconfig with --kubeconfig", r.kind)
	case err != nil:
		return fmt.Errorf("read %s %s: %w", r.kind, r.name, err)
	}
	return nil
}

// record finds the RemoteCluster whose record of the key is in force.
func (r *reader) record(ctx context.Context) {
	f := r.facts
	namespace := cmp.Or(f.keys[0].Namespace, r.system)
	var list fleetv1.RemoteClusterList
	if err := r.hub.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		r.note("the RemoteClusters in "+namespace, err)
		return
	}
	var holders []*fleetv1.RemoteCluster
	for i := range list.Items {
		if slices.Contains(shard.KeysOf(&list.Items[i], r.system), f.keys[0]) {
			holders = append(holders, &list.Items[i])
		}
	}
	if len(holders) > 0 {
		f.record = slices.MinFunc(holders, shard.Precedence)
	}
}

// objects reads who else uses the target, for the pool and for labels that say
// something else than the record.
func (r *reader) objects(ctx context.Context) {
	f := r.facts
	if f.record == nil {
		return
	}
	var of placement.Objects
	var pools fleetv1.AgentPoolList
	var kustomizations kustomizev1.KustomizationList
	var releases helmv2.HelmReleaseList
	in := client.InNamespace(f.keys[0].Namespace) // everywhere, for the hub
	if err := errors.Join(
		r.hub.List(ctx, &pools, client.InNamespace(r.system)),
		r.hub.List(ctx, &kustomizations, in),
		r.hub.List(ctx, &releases, in),
	); err != nil {
		r.note("the AgentPools, and the objects that deploy to the target", err)
		return
	}
	of.Pools, of.Kustomizations, of.Releases = pools.Items, kustomizations.Items, releases.Items
	f.serving = placement.Serves(f.record, f.keys[0], r.system, of)
	for i := range of.Kustomizations {
		k := &of.Kustomizations[i]
		r.stray(kustomizev1.KustomizationKind, k, shard.CurrentKey(k.Namespace, k.Name, k.Spec.KubeConfig, k.Status.Target))
	}
	for i := range of.Releases {
		h := &of.Releases[i]
		r.stray(helmv2.HelmReleaseKind, h, shard.KeyFor(h.Namespace, h.Name, h.Spec.KubeConfig))
	}
}

func (r *reader) stray(kind string, obj client.Object, key shard.Key) {
	f := r.facts
	if slices.Contains(f.keys, key) && obj.GetLabels()[meta.AgentLabel] != f.assignment(key).Agent {
		f.strays = append(f.strays, kind+" "+client.ObjectKeyFromObject(obj).String())
	}
}

// members reads the Leases of the agents.
func (r *reader) members(ctx context.Context) {
	namespaces := []string{r.system}
	if own := r.facts.keys[0].Namespace; own != "" && own != r.system {
		namespaces = append(namespaces, own)
	}
	found := map[string]*coordinationv1.Lease{}
	for _, namespace := range namespaces {
		var list coordinationv1.LeaseList
		if err := r.hub.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{member.Label: "true"}); err != nil {
			r.note("the Leases of the agents in "+namespace, err)
			return
		}
		for i := range list.Items {
			if agent := member.AgentOf(&list.Items[i]); agent != "" && shard.MayJoin(agent, namespace, r.system) {
				found[agent] = &list.Items[i]
			}
		}
	}
	r.facts.members = found
}

// warning reads the newest Warning about the object.
func (r *reader) warning(ctx context.Context) {
	var list corev1.EventList
	err := r.hub.List(ctx, &list, client.InNamespace(r.name.Namespace),
		client.MatchingFields{"involvedObject.kind": r.kind, "involvedObject.name": r.name.Name, "type": corev1.EventTypeWarning})
	if err != nil {
		r.note("the events of the object", err)
		return
	}
	for _, event := range list.Items {
		when := event.LastTimestamp.Time
		if w := r.facts.warning; w == nil || when.After(w.when) {
			r.facts.warning = &warning{reason: event.Reason, message: event.Message, when: when}
		}
	}
}

// fences reads the Leases that can be read: those in the hub, and with
// --target-kubeconfig those in the target.
func (r *reader) fences(ctx context.Context) error {
	f := r.facts
	if f.record == nil {
		return nil
	}
	var target client.Client
	if r.targetKubeconfig != "" {
		config, err := clientcmd.BuildConfigFromFlags("", r.targetKubeconfig)
		if err != nil {
			return fmt.Errorf("--target-kubeconfig %s is no kubeconfig that can be used: %w", r.targetKubeconfig, err)
		}
		config.Timeout = requestTimeout
		if target, err = client.New(config, client.Options{}); err != nil {
			return fmt.Errorf("--target-kubeconfig %s: %w", r.targetKubeconfig, err)
		}
	}
	var system corev1.Namespace
	if err := r.hub.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, &system); err != nil {
		r.note("the uid of the hub's namespace kube-system, by which fences are named", err)
		return nil
	}
	for _, key := range f.keys {
		of := fence{key: key, place: f.record.Status.FencePlace(key.Partition)}
		of.name = types.NamespacedName{Namespace: r.fenceNamespace, Name: shard.FenceName(string(system.UID), key)}
		from := target
		if key.IsHub() || of.place == fleetv1.HubFence {
			of.name.Namespace, from = r.system, r.hub
			if key.IsHub() && of.place != "" {
				of.place = fleetv1.HubFence
			}
		}
		if from != nil && of.place != "" {
			r.lease(ctx, from, &of)
		}
		f.fences = append(f.fences, of)
	}
	return nil
}

func (r *reader) lease(ctx context.Context, from client.Client, of *fence) {
	var found coordinationv1.Lease
	err := from.Get(ctx, of.name, &found)
	switch {
	case err == nil:
		of.read, of.lease = true, &found
	case apierrors.IsNotFound(err):
		of.read = true
	default:
		r.note("the fence, Lease "+of.name.String(), err)
	}
}

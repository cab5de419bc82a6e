package fleet

import (
	"context"
	"fmt"
	"maps"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	toolscache "k8s.io/client-go/tools/cache"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/secret"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/internal/app"
	"github.com/headwater-dev/headwater/shard"
)

const (
	clusterResource = "clusters"
	// previousVersion is what Cluster API serves beside the current version, or,
	// before 1.11, alone. Its Go types are deprecated, and metadata needs none.
	previousVersion = "v1beta1"
	// clusterCRD is the CRD of Cluster API's Cluster.
	clusterCRD = clusterResource + ".cluster.x-k8s.io"
)

// clusterAPI follows the Clusters of Cluster API, by their metadata, for as long
// as their CRD is there: it starts, stops and changes the version with the CRD.
// It is a reconciler of that one CRD. Its methods may be called concurrently.
type clusterAPI struct {
	// crds reads the CRD.
	crds client.Reader
	// fleet lists the RemoteClusters.
	fleet client.Reader
	// metadata watches Clusters.
	metadata metadata.Interface
	// news wakes the controller of the fleet for the namespace of an object.
	news chan event.GenericEvent
	// life ends the watch; it outlives a run of Reconcile.
	life context.Context

	mu sync.Mutex
	// version is followed; none when empty.
	version  string
	informer toolscache.SharedIndexInformer
	stop     context.CancelFunc
	// known says that informer holds all the Clusters that there are.
	known bool
}

// declared is a cluster as Cluster API has it.
type declared struct {
	name   string
	labels map[string]string
}

// Reconcile follows the version that the CRD serves now.
func (c *clusterAPI) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var crd apiextensionsv1.CustomResourceDefinition
	err := c.crds.Get(ctx, request.NamespacedName, &crd)
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("read the CRD %s: %w", request.Name, err)
	}
	if apierrors.IsNotFound(err) {
		return ctrl.Result{}, c.follow(ctx, "", true)
	}
	if !established(&crd) {
		return ctrl.Result{}, nil
	}
	version := servedVersion(&crd)
	if version == "" {
		log.FromContext(ctx).Info("the Clusters of Cluster API are not followed, and no RemoteCluster is removed or labelled anew: their CRD serves neither v1beta2 nor v1beta1", "crd", request.Name)
	}
	return ctrl.Result{}, c.follow(ctx, version, false)
}

func established(crd *apiextensionsv1.CustomResourceDefinition) bool {
	for _, condition := range crd.Status.Conditions {
		if condition.Type == apiextensionsv1.Established {
			return condition.Status == apiextensionsv1.ConditionTrue
		}
	}
	return false
}

// servedVersion is the newest version that is served and that we know; empty for
// none.
func servedVersion(crd *apiextensionsv1.CustomResourceDefinition) string {
	for _, known := range []string{clusterv1.GroupVersion.Version, previousVersion} {
		for _, version := range crd.Spec.Versions {
			if version.Name == known && version.Served {
				return known
			}
		}
	}
	return ""
}

// follow watches the Clusters of the version, and those of no other any more. With no
// version there are none, or it is not known which there are.
func (c *clusterAPI) follow(ctx context.Context, version string, none bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if version == c.version && (version != "" || c.known == none) {
		return nil
	}
	if c.stop != nil {
		c.stop()
		c.stop = nil
	}
	c.version, c.informer, c.known = version, nil, none
	if version == "" {
		go c.wakeAll(log.IntoContext(c.life, log.FromContext(ctx)))
		return nil
	}
	log.FromContext(ctx).Info("following the Clusters of Cluster API", "version", version)
	resource := clusterv1.GroupVersion.WithResource(clusterResource)
	resource.Version = version
	informer := metadatainformer.NewFilteredMetadataInformer(c.metadata, resource, metav1.NamespaceAll, 0,
		toolscache.Indexers{toolscache.NamespaceIndex: toolscache.MetaNamespaceIndexFunc}, nil).Informer()
	if err := informer.SetTransform(app.Bare); err != nil {
		return err
	}
	handler, err := informer.AddEventHandler(c.handler())
	if err != nil {
		return err
	}
	life, stop := context.WithCancel(log.IntoContext(c.life, log.FromContext(ctx)))
	c.informer, c.stop = informer, stop
	go informer.RunWithContext(life)
	go c.await(life, informer, handler.HasSynced)
	return nil
}

// await notes that all Clusters are known, and has the whole fleet looked at:
// some may have gone while nobody watched.
func (c *clusterAPI) await(ctx context.Context, informer toolscache.SharedIndexInformer, synced toolscache.InformerSynced) {
	if !toolscache.WaitForCacheSync(ctx.Done(), synced) {
		return
	}
	c.mu.Lock()
	c.known = c.known || c.informer == informer
	c.mu.Unlock()
	c.wakeAll(ctx)
}

// wakeAll has every namespace with a RemoteCluster looked at.
func (c *clusterAPI) wakeAll(ctx context.Context) {
	var clusters fleetv1.RemoteClusterList
	if err := c.fleet.List(ctx, &clusters); err != nil {
		if ctx.Err() == nil {
			log.FromContext(ctx).Error(err, "list the RemoteClusters")
		}
		return
	}
	woken := map[string]bool{}
	for i := range clusters.Items {
		if namespace := clusters.Items[i].Namespace; !woken[namespace] {
			woken[namespace] = true
			c.wake(ctx, &clusters.Items[i])
		}
	}
}

func (c *clusterAPI) wake(ctx context.Context, obj client.Object) {
	select {
	case c.news <- event.GenericEvent{Object: obj}:
	case <-ctx.Done():
	}
}

// handler wakes the fleet when Clusters come, go, or change their labels.
func (c *clusterAPI) handler() toolscache.ResourceEventHandler {
	wake := func(obj any) {
		if gone, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
			obj = gone.Obj
		}
		if cluster, ok := obj.(*metav1.PartialObjectMetadata); ok {
			c.wake(c.life, cluster)
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    wake,
		DeleteFunc: wake,
		UpdateFunc: func(before, after any) {
			old, ok := before.(*metav1.PartialObjectMetadata)
			cluster, also := after.(*metav1.PartialObjectMetadata)
			if !ok || !also || old.UID != cluster.UID || !maps.Equal(old.Labels, cluster.Labels) {
				wake(after)
			}
		},
	}
}

// list is the Clusters in a namespace by the key of their kubeconfig; false
// while it is not known which there are.
func (c *clusterAPI) list(namespace string) (map[shard.Key]declared, bool, error) {
	c.mu.Lock()
	informer, known := c.informer, c.known
	c.mu.Unlock()
	clusters := map[shard.Key]declared{}
	if informer == nil {
		return clusters, known, nil
	}
	found, err := informer.GetIndexer().ByIndex(toolscache.NamespaceIndex, namespace)
	if err != nil {
		return nil, false, fmt.Errorf("list the Clusters in %s: %w", namespace, err)
	}
	for _, obj := range found {
		if cluster, ok := obj.(*metav1.PartialObjectMetadata); ok {
			clusters[declaredKey(namespace, cluster.Name)] = declared{name: cluster.Name, labels: cluster.Labels}
		}
	}
	return clusters, known, nil
}

// declaredKey is the key of a Cluster: that of the Secret in which Cluster API
// puts its kubeconfig.
func declaredKey(namespace, cluster string) shard.Key {
	return shard.Key{Namespace: namespace, Name: secret.Name(cluster, secret.Kubeconfig), DataKey: secret.KubeconfigDataName}
}

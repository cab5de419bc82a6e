package remote

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headwater-dev/headwater/internal/queue"
	"github.com/headwater-dev/headwater/shard"
)

// Thirty targets hang, with more objects than there are workers. The objects of
// the healthy one are all served, and again when they change.
func TestTargetsThatHangDelayNobodyElse(t *testing.T) {
	g := NewWithT(t)
	hub := newHub(t)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "fair-"}}
	g.Expect(hub.Create(t.Context(), namespace)).To(Succeed())
	names := func(target string, n int) {
		for i := range n {
			object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: fmt.Sprintf("%s-%d", target, i)}}
			g.Expect(hub.Create(t.Context(), object)).To(Succeed())
		}
	}
	for i := range 30 {
		names(fmt.Sprintf("hang%d", i), 8)
	}
	names("healthy", 6)

	mgr, err := ctrl.NewManager(shared.ControlPlane(t).Config(), ctrl.Options{
		Scheme: hub.Scheme(), Metrics: server.Options{BindAddress: "0"},
		Cache:      cache.Options{DefaultNamespaces: map[string]cache.Config{namespace.Name: {}}},
		Controller: ctrlconfig.Controller{SkipNameValidation: ptr.To(true)},
	})
	g.Expect(err).NotTo(HaveOccurred())
	clusters := &Clusters{Workers: 128, PerCluster: 4, slots: &queue.Slots[shard.Key]{Cap: 4}}
	var healthy, hanging atomic.Int32
	err = ctrl.NewControllerManagedBy(mgr).Named("fair").For(&corev1.ConfigMap{}).
		WithOptions(clusters.Options(func(request ctrl.Request) shard.Key {
			target, _, _ := strings.Cut(request.Name, "-")
			return shard.Key{Namespace: namespace.Name, Name: target, DataKey: "value"}
		})).
		Complete(reconcile.Func(func(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
			if strings.HasPrefix(request.Name, "hang") {
				hanging.Add(1)
				<-ctx.Done()
				return ctrl.Result{}, nil
			}
			healthy.Add(1)
			return ctrl.Result{}, nil
		}))
	g.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	t.Cleanup(func() { cancel(); g.Expect(<-done).To(Succeed()) })

	g.Eventually(hanging.Load, "20s").Should(Equal(int32(120)), "four of each")
	g.Eventually(healthy.Load, "20s").Should(Equal(int32(6)))
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "healthy-0"}}
	g.Expect(hub.Patch(t.Context(), object, client.RawPatch("application/merge-patch+json", []byte(`{"data":{"a":"b"}}`)))).To(Succeed())
	g.Eventually(healthy.Load, "20s").Should(Equal(int32(7)))
	g.Expect(hanging.Load()).To(Equal(int32(120)))
}

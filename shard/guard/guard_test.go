package guard_test

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/shard"
	"github.com/headwater-dev/headwater/shard/guard"
)

// keeper owns what it says.
type keeper struct {
	asked shard.Key
	ok    bool
	after time.Duration
	open  int
}

func (k *keeper) Admit(key shard.Key) (func(), time.Duration) {
	k.asked = key
	if !k.ok {
		return nil, k.after
	}
	k.open++
	return func() { k.open-- }, 0
}

func TestOwnershipIsCheckedWhenWorkIsTaken(t *testing.T) {
	cases := []struct {
		name   string
		keeper keeper
		absent bool
		runs   bool
		want   ctrl.Result
	}{
		{name: "ours", keeper: keeper{ok: true}, runs: true, want: ctrl.Result{RequeueAfter: time.Hour}},
		{name: "another's", keeper: keeper{}},
		{name: "ours soon", keeper: keeper{after: time.Second}, want: ctrl.Result{RequeueAfter: time.Second}},
		{name: "gone: the loop has to forget it", absent: true, runs: true, want: ctrl.Result{RequeueAfter: time.Hour}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			scheme := runtime.NewScheme()
			g.Expect(kustomizev1.AddToScheme(scheme)).To(Succeed())
			obj := &kustomizev1.Kustomization{
				ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "web"},
				Spec: kustomizev1.KustomizationSpec{KubeConfig: &meta.KubeConfigReference{
					SecretRef: &meta.SecretKeyReference{Name: "prod"},
				}},
			}
			builder := fake.NewClientBuilder().WithScheme(scheme)
			if !c.absent {
				builder = builder.WithObjects(obj)
			}
			ran := false
			guarded := &guard.Reconciler[*kustomizev1.Kustomization]{
				Reader: builder.Build(),
				Keeper: &c.keeper,
				New:    func() *kustomizev1.Kustomization { return &kustomizev1.Kustomization{} },
				Key: func(k *kustomizev1.Kustomization) shard.Key {
					return shard.KeyFor(k.Namespace, k.Name, k.Spec.KubeConfig)
				},
				Next: reconcile.Func(func(context.Context, ctrl.Request) (ctrl.Result, error) {
					ran = true
					g.Expect(c.keeper.open == 1).To(Equal(c.keeper.ok), "the run is counted until its end")
					return ctrl.Result{RequeueAfter: time.Hour}, nil
				}),
			}
			result, err := guarded.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(obj)})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(ran).To(Equal(c.runs))
			g.Expect(c.keeper.open).To(BeZero())
			g.Expect(result).To(Equal(c.want))
			if !c.absent {
				g.Expect(c.keeper.asked).To(Equal(shard.Key{Namespace: "apps", Name: "prod", DataKey: "value"}))
			}
		})
	}
}

package helm

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	ctrlreconcile "sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/internal/artifact"
)

// static keeps HelmRepositories of the type oci out of the loop. They have no
// artifact, no status and no finalizer: what another type left is taken away.
type static struct {
	next   ctrlreconcile.Reconciler
	client client.Client
	store  *artifact.Store
}

// Reconcile passes on what is not of the type oci.
func (s *static) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var obj sourcev1.HelmRepository
	err := s.client.Get(ctx, request.NamespacedName, &obj)
	if err != nil || obj.Spec.Type != sourcev1.HelmRepositoryTypeOCI {
		return s.next.Reconcile(ctx, request)
	}
	if obj.Spec.Suspend && obj.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	if err := s.clean(ctx, &obj); err != nil && !apierrors.IsNotFound(err) {
		return ctrl.Result{}, fmt.Errorf("making HelmRepository %s static: %w", request, err)
	}
	return ctrl.Result{}, nil
}

func (s *static) clean(ctx context.Context, obj *sourcev1.HelmRepository) error {
	held := controllerutil.ContainsFinalizer(obj, meta.Finalizer)
	if held {
		ref := artifact.Ref{Kind: sourcev1.HelmRepositoryKind, Namespace: obj.Namespace, Name: obj.Name}
		if err := s.store.Remove(ref); err != nil {
			return err
		}
	}
	if len(obj.Status.Conditions) > 0 || obj.Status.Artifact != nil || obj.Status.URL != "" || obj.Status.LastHandledReconcileAt != "" {
		if err := s.client.Status().Patch(ctx, obj.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"status":null}`))); err != nil {
			return err
		}
	}
	if !held {
		return nil
	}
	others := slices.DeleteFunc(slices.Clone(obj.Finalizers), func(f string) bool { return f == meta.Finalizer })
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": obj.UID, "finalizers": others}})
	if err != nil {
		return err
	}
	return s.client.Patch(ctx, obj, client.RawPatch(types.MergePatchType, patch))
}

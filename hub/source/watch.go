package source

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/headwater-dev/headwater/api/meta"
)

// WatchSecrets wakes objects because of Secrets that ask to be watched (FLUX.md
// §1.16): those that follow from the objects of the kind whose specs name the
// Secret, or without woken, these themselves.
func WatchSecrets(b *builder.Builder, reader client.Client, kind client.Object, woken func(ctx context.Context, user ctrl.Request) []ctrl.Request) {
	b.Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, secret client.Object) []ctrl.Request {
		users, err := usersOf(ctx, reader, kind, secret)
		if err != nil {
			log.FromContext(ctx).Error(err, "sources not listed: they will see the changed Secret at their interval", "secret", secret.GetName())
		}
		if woken == nil {
			return users
		}
		var requests []ctrl.Request
		for _, user := range users {
			requests = append(requests, woken(ctx, user)...)
		}
		return requests
	}), builder.OnlyMetadata, builder.WithPredicates(secretChanged()))
}

func secretChanged() predicate.Predicate {
	watched := func(obj client.Object) bool { return obj.GetLabels()[meta.WatchLabel] == "Enabled" }
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return !e.IsInInitialList && watched(e.Object) },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return watched(e.ObjectNew) && e.ObjectOld.GetResourceVersion() != e.ObjectNew.GetResourceVersion()
		},
		DeleteFunc: func(event.DeleteEvent) bool { return false },
	}
}

// usersOf are the objects of the kind that name the Secret.
func usersOf(ctx context.Context, reader client.Client, kind, secret client.Object) ([]ctrl.Request, error) {
	gvk, err := apiutil.GVKForObject(kind, reader.Scheme())
	if err != nil {
		return nil, err
	}
	gvk.Kind += "List"
	made, err := reader.Scheme().New(gvk)
	if err != nil {
		return nil, err
	}
	list := made.(client.ObjectList)
	if err := reader.List(ctx, list, client.InNamespace(secret.GetNamespace())); err != nil {
		return nil, err
	}
	var requests []ctrl.Request
	err = apimeta.EachListItem(list, func(item runtime.Object) error {
		names, err := namesSecret(item, secret.GetName())
		if names {
			requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(item.(client.Object))})
		}
		return err
	})
	return requests, err
}

// namesSecret says whether the spec of the object has a reference to the Secret:
// in the API of sources, whatever ends in secretRef names one of the object's own
// namespace.
func namesSecret(obj runtime.Object, secret string) (bool, error) {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return false, err
	}
	return refersTo(fields["spec"], secret), nil
}

func refersTo(value any, secret string) bool {
	fields, _ := value.(map[string]any)
	for name, value := range fields {
		if ref, ok := value.(map[string]any); ok && strings.HasSuffix(strings.ToLower(name), "secretref") && ref["name"] == secret {
			return true
		}
		if refersTo(value, secret) {
			return true
		}
	}
	return false
}

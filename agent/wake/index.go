package wake

import (
	"context"
	"fmt"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/shard"
)

// The indexes of the cached objects.
const (
	bySource     = "source"
	byTarget     = "target"
	byDependency = "dependency"
	byConfig     = "config"
)

// Name is how an Index calls an object that others refer to.
func Name(kind, namespace, name string) string { return kind + "/" + namespace + "/" + name }

// Index finds the cached objects of a kind by what they refer to. Set every
// field, and call Add before the cache starts. Its handlers are safe for
// concurrent use.
type Index[T client.Object] struct {
	// Reader is the cache.
	Reader client.Reader
	// Kind names the objects in errors.
	Kind string
	// NewList makes an empty list of them.
	NewList func() client.ObjectList

	// Source is the Name of what the object applies.
	Source func(T) string
	// Target is the key of where it applies it.
	Target func(T) shard.Key
	// Dependencies are the objects of its own kind that have to be ready first, as
	// "namespace/name".
	Dependencies func(T) []string
	// Configs are the Names of the ConfigMaps and Secrets that it reads.
	Configs func(T) []string
	// Changed, if set, is told of each object that reads one that has changed.
	Changed func(types.NamespacedName)
}

// Add has the cache keep the index of the objects, of which empty is one.
func (x *Index[T]) Add(indexer client.FieldIndexer, empty T) error {
	for field, values := range map[string]func(T) []string{
		bySource:     func(obj T) []string { return []string{x.Source(obj)} },
		byTarget:     func(obj T) []string { return []string{x.Target(obj).String()} },
		byDependency: x.Dependencies,
		byConfig:     x.Configs,
	} {
		if err := AddField(indexer, empty, field, values); err != nil {
			return fmt.Errorf("index %s by %s: %w", x.Kind, field, err)
		}
	}
	return nil
}

// AddField has the cache keep an index of its own of the objects.
func AddField[T client.Object](indexer client.FieldIndexer, empty T, field string, values func(T) []string) error {
	return indexer.IndexField(context.Background(), empty, field, func(obj client.Object) []string {
		own, ok := obj.(T)
		if !ok {
			return nil
		}
		return values(own)
	})
}

// OfSource enqueues the objects that apply a source of the kind.
func (x *Index[T]) OfSource(kind string) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, src client.Object) []ctrl.Request {
		return x.find(ctx, bySource, Name(kind, src.GetNamespace(), src.GetName()))
	})
}

// OfTarget enqueues the objects that go to a RemoteCluster.
func (x *Index[T]) OfTarget() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, obj client.Object) []ctrl.Request {
		record, ok := obj.(*fleetv1.RemoteCluster)
		if !ok {
			return nil
		}
		var requests []ctrl.Request
		// Whether it holds the record of these keys makes no difference here.
		for _, key := range shard.KeysOf(record, record.Namespace) {
			requests = append(requests, x.find(ctx, byTarget, key.String())...)
		}
		return requests
	})
}

// OfDependency enqueues the objects that wait for one of their kind.
func (x *Index[T]) OfDependency() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, dep client.Object) []ctrl.Request {
		return x.find(ctx, byDependency, client.ObjectKeyFromObject(dep).String())
	})
}

// OfConfig enqueues the objects that read a ConfigMap or Secret; kind says
// which.
func (x *Index[T]) OfConfig(kind string) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, config client.Object) []ctrl.Request {
		requests := x.find(ctx, byConfig, Name(kind, config.GetNamespace(), config.GetName()))
		if x.Changed != nil {
			for _, request := range requests {
				x.Changed(request.NamespacedName)
			}
		}
		return requests
	})
}

// find lists without copying: nothing but names is taken from the cache's
// objects.
func (x *Index[T]) find(ctx context.Context, field, value string) []ctrl.Request {
	list := x.NewList()
	err := x.Reader.List(ctx, list, client.MatchingFields{field: value}, client.UnsafeDisableDeepCopy)
	requests := make([]ctrl.Request, 0, apimeta.LenList(list))
	if err == nil {
		err = apimeta.EachListItem(list, func(item runtime.Object) error {
			obj, err := apimeta.Accessor(item)
			if err != nil {
				return err
			}
			requests = append(requests, ctrl.Request{
				NamespacedName: client.ObjectKey{Namespace: obj.GetNamespace(), Name: obj.GetName()},
			})
			return nil
		})
	}
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list "+x.Kind, "by", field, "value", value)
	}
	return requests
}

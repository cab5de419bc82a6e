package main

import (
	"context"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	floorNamespace   = "bench-floor"
	productNamespace = "bench-product"
	// parallel calls: on two cores, more of them do not finish sooner.
	parallel = 8
)

// applyAll server-side applies all objects of a version.
func (w *world) applyAll(version string) func(context.Context) error {
	return func(ctx context.Context) error {
		return w.each(ctx, version, func(ctx context.Context, o *unstructured.Unstructured) error {
			return w.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("floor"), client.ForceOwnership)
		})
	}
}

// deleteAll deletes them.
func (w *world) deleteAll(ctx context.Context) error {
	return w.each(ctx, "", func(ctx context.Context, o *unstructured.Unstructured) error {
		return w.client.Delete(ctx, o)
	})
}

func (w *world) each(ctx context.Context, version string, do func(context.Context, *unstructured.Unstructured) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i := range w.kustomizations {
		for _, o := range objects(floorNamespace, i, version) {
			group.Go(func() error { return do(ctx, o) })
		}
	}
	return group.Wait()
}

package main

import (
	"context"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// parallel calls: on two cores, more of them do not finish sooner.
const parallel = 8

// applyAll server-side applies all objects of a version.
func (w *world) applyAll(version string) func(context.Context) error {
	return func(ctx context.Context) error {
		return w.each(ctx, version, func(ctx context.Context, c client.Client, o *unstructured.Unstructured) error {
			return c.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("floor"), client.ForceOwnership)
		})
	}
}

// deleteAll deletes them.
func (w *world) deleteAll(ctx context.Context) error {
	return w.each(ctx, "", func(ctx context.Context, c client.Client, o *unstructured.Unstructured) error {
		return c.Delete(ctx, o)
	})
}

func (w *world) each(ctx context.Context, version string, do func(context.Context, client.Client, *unstructured.Unstructured) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i := range w.kustomizations {
		at := w.site(i)
		for _, o := range objects(at.floor, w.app(i), version) {
			group.Go(func() error { return do(ctx, at.client, o) })
		}
	}
	return group.Wait()
}

// nobody is the floor of what costs nothing.
func (w *world) nobody(context.Context) error { return nil }

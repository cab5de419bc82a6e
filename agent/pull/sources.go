package pull

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Sources reads sources: those of the cluster's own namespace from the cache, and
// others, which the agent may only read where somebody has granted it, live.
type Sources struct {
	client.Reader
	// Live reads past the cache.
	Live client.Reader
	// Namespace that the cache holds.
	Namespace string
}

// Get reads one source.
func (s Sources) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	if key.Namespace != s.Namespace {
		return s.Live.Get(ctx, key, obj, opts...)
	}
	return s.Reader.Get(ctx, key, obj, opts...)
}

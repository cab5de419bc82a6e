package main

import (
	"context"
	"fmt"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/e2e/stack"
)

// watchFailures notes each failure that a HelmRelease counts and that the run has
// not brought about: a success soon hides it.
func (w *world) watchFailures(ctx context.Context) error {
	types, err := stack.Scheme()
	if err != nil {
		return err
	}
	seen, err := cache.New(w.hub.Config(), cache.Options{
		Scheme: types, DefaultNamespaces: map[string]cache.Config{fleet: {}},
		DefaultWatchErrorHandler: func(context.Context, *toolscache.Reflector, error) {}, // the hub may be down
	})
	if err != nil {
		return err
	}
	informer, err := seen.GetInformer(ctx, &helmv2.HelmRelease{}, cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	of := map[string]*release{}
	for _, r := range w.releases {
		of[r.title()] = r
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{UpdateFunc: func(_, now any) {
		if o, ok := now.(*helmv2.HelmRelease); ok && of[o.Name] != nil {
			of[o.Name].witness(o)
		}
	}})
	if err != nil {
		return err
	}
	go func() { _ = seen.Start(ctx) }() // ends with the run
	return nil
}

// witness notes what the HelmRelease counts.
func (r *release) witness(o *helmv2.HelmRelease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o.Status.Failures == 0 || r.fails {
		return
	}
	text := fmt.Sprintf("%d of installs, %d of upgrades", o.Status.InstallFailures, o.Status.UpgradeFailures)
	if released := apimeta.FindStatusCondition(o.Status.Conditions, "Released"); released != nil {
		text += ": " + released.Message
	}
	if last := len(r.counted) - 1; last < 0 || r.counted[last] != text {
		r.counted = append(r.counted, text)
	}
}

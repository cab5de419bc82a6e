package kustomize

import (
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/headwater-dev/headwater/api/meta"
)

// defaultRequeueDependency is Flux's.
const defaultRequeueDependency = 30 * time.Second

// Options are what an administrator decides for all Kustomizations. Zero means
// the defaults of Flux.
type Options struct {
	// RequeueDependency is how soon an unmet dependency is looked at again; 30
	// s when zero.
	RequeueDependency time.Duration
	// NoCrossNamespaceRefs keeps spec.sourceRef and spec.dependsOn to the
	// Kustomization's own namespace.
	NoCrossNamespaceRefs bool
	// DefaultServiceAccount is impersonated at the target where
	// spec.serviceAccountName is empty; when it is empty too, nobody is.
	DefaultServiceAccount string
	// ExternalArtifacts allows sources that other programs make.
	ExternalArtifacts bool
	// AdditiveReadyExpr asks dependencies with a readyExpr for the usual
	// readiness as well.
	AdditiveReadyExpr bool
	// WatchConfigs selects the ConfigMaps and Secrets whose changes wake those
	// who read them; label reconcile.fluxcd.io/watch=Enabled when nil.
	WatchConfigs labels.Selector
}

func (o *Options) setDefaults() {
	if o.RequeueDependency <= 0 {
		o.RequeueDependency = defaultRequeueDependency
	}
	if o.WatchConfigs == nil {
		o.WatchConfigs = labels.SelectorFromSet(labels.Set{meta.WatchLabel: "Enabled"})
	}
}

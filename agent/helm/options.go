package helm

import (
	"runtime"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	// defaultRequeueDependency is Flux's.
	defaultRequeueDependency = 30 * time.Second
	// defaultPerCluster actions are at work on one target at once.
	defaultPerCluster = 4
	// defaultAtOnce actions are at work in all: more of them end no sooner, and
	// each has its chart and its objects in memory.
	defaultAtOnce, perCPU = 16, 4
)

// Options are what an administrator decides for all HelmReleases. Zero means the
// defaults of Flux.
type Options struct {
	// RequeueDependency is how soon an unmet dependency is looked at again; 30
	// s when zero.
	RequeueDependency time.Duration
	// NoCrossNamespaceRefs keeps chart sources and spec.dependsOn to the
	// HelmRelease's own namespace.
	NoCrossNamespaceRefs bool
	// DefaultServiceAccount is impersonated at the target where
	// spec.serviceAccountName is empty; when it is empty too, nobody is.
	DefaultServiceAccount string
	// ExternalArtifacts allows charts that other programs make.
	ExternalArtifacts bool
	// AdditiveReadyExpr asks dependencies with a readyExpr for the usual
	// readiness as well.
	AdditiveReadyExpr bool
	// AllowDNSLookups lets templates look names up.
	AllowDNSLookups bool
	// RetryByDefault makes RetryOnFailure the strategy of installs and upgrades
	// that name none.
	RetryByDefault bool
	// IgnoreChartDigest leaves the digest of an OCI artifact out of the version
	// of its chart.
	IgnoreChartDigest bool
	// WatchConfigs selects the ConfigMaps and Secrets whose changes wake those
	// who read them; label reconcile.fluxcd.io/watch=Enabled when nil.
	WatchConfigs labels.Selector
	// Poll keeps from watching releases: their storage is read, and drift looked
	// for, whenever a HelmRelease runs.
	Poll bool
	// FullCheck is the least time between two looks for drift that dry-run all
	// objects of a release whose metadata is as it was. A longer interval of the
	// HelmRelease counts instead.
	FullCheck time.Duration
	// PerCluster is how many actions are at work on one target at once, those
	// that wait not counted; 4 when zero.
	PerCluster int
	// AtOnce is how many are at work on all targets at once, those that wait for
	// a target not counted; 16, or 4 for each CPU, when zero.
	AtOnce int
	// Retries has the pauses after actions that came to nothing where a
	// HelmRelease does not say itself when to try again; MinRetryDelay and
	// MaxRetryDelay count.
	Retries reconcile.Pace
}

func (o *Options) setDefaults() {
	if o.RequeueDependency <= 0 {
		o.RequeueDependency = defaultRequeueDependency
	}
	if o.WatchConfigs == nil {
		o.WatchConfigs = labels.SelectorFromSet(labels.Set{meta.WatchLabel: "Enabled"})
	}
	if o.PerCluster <= 0 {
		o.PerCluster = defaultPerCluster
	}
	if o.AtOnce <= 0 {
		o.AtOnce = max(defaultAtOnce, perCPU*runtime.GOMAXPROCS(0))
	}
}

package kustomize

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// How drift is noticed.
const (
	watchDrift = "watch"
	pollDrift  = "poll"
)

// DriftOptions say how changes at a target are noticed and undone. The zero
// value watches, and dry-runs all objects at each interval.
type DriftOptions struct {
	// Detection is watch, which follows the objects' metadata, or poll, which
	// lists it; watch when empty.
	Detection string
	// FullCheck is the least time between two dry-runs of all objects of a
	// Kustomization. A longer interval of the Kustomization counts instead.
	FullCheck time.Duration
	// Overrides are field managers, besides kubectl, whose changes are undone.
	Overrides []string
	// EarlyKinds, as group/Kind, are applied in a stage of their own, after
	// definitions, namespaces, cluster roles and classes and before all else.
	EarlyKinds []string
}

// Bind makes flags of the options.
func (o *DriftOptions) Bind(flags *pflag.FlagSet) {
	flags.StringVar(&o.Detection, "drift-detection", watchDrift, "how changes at targets are noticed: watch (the metadata of what was applied; changes are put back at once) or poll (list it when a Kustomization or HelmRelease runs)")
	flags.DurationVar(&o.FullCheck, "full-check-interval", time.Hour, "least time between two dry-runs of all objects of a Kustomization, or of a HelmRelease with driftDetection, which find what their metadata does not show; a longer interval of the Kustomization or HelmRelease counts instead")
	flags.StringArrayVar(&o.Overrides, "override-manager", nil, "field manager, besides kubectl, whose changes to what Kustomizations apply are undone (repeatable)")
	flags.StringSliceVar(&o.EarlyKinds, "custom-apply-stage-kinds", nil, "kinds that are applied in a stage of their own before most others (group/Kind,...)")
}

// Polls says whether targets are not to be watched.
func (o *DriftOptions) Polls() bool { return o.Detection == pollDrift }

// kinds reads EarlyKinds.
func (o *DriftOptions) kinds() ([]schema.GroupKind, error) {
	switch o.Detection {
	case "", watchDrift, pollDrift:
	default:
		return nil, fmt.Errorf("--drift-detection=%s: want %s or %s", o.Detection, watchDrift, pollDrift)
	}
	kinds := make([]schema.GroupKind, 0, len(o.EarlyKinds))
	for _, text := range o.EarlyKinds {
		group, kind, ok := strings.Cut(text, "/")
		if !ok || kind == "" || strings.Contains(kind, "/") {
			return nil, fmt.Errorf("--custom-apply-stage-kinds: %q: want group/Kind, as in rbac.authorization.k8s.io/Role", text)
		}
		kinds = append(kinds, schema.GroupKind{Group: group, Kind: kind})
	}
	return kinds, nil
}

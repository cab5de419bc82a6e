package v2

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/headwater-dev/headwater/api/meta"
)

// DriftDetectionMode says what is done about objects that differ from the
// release.
//
// +kubebuilder:validation:Enum=enabled;warn;disabled
type DriftDetectionMode string

// Values of DriftDetection.Mode; an empty one means disabled.
const (
	// DriftDetectionEnabled puts them back.
	DriftDetectionEnabled DriftDetectionMode = "enabled"
	// DriftDetectionWarn reports them.
	DriftDetectionWarn DriftDetectionMode = "warn"
	// DriftDetectionDisabled does not look.
	DriftDetectionDisabled DriftDetectionMode = "disabled"
)

// Values of HelmReleaseSpec.PostRenderStrategy.
const (
	// PostRenderStrategyNoHooks renders all objects but hooks.
	PostRenderStrategyNoHooks = "nohooks"
	// PostRenderStrategyCombined renders hooks and objects together.
	PostRenderStrategyCombined = "combined"
	// PostRenderStrategySeparate renders hooks by themselves.
	PostRenderStrategySeparate = "separate"
)

// WaitStrategyName says how readiness is told.
//
// +kubebuilder:validation:Enum=poller;legacy
type WaitStrategyName string

// Values of WaitStrategy.Name.
const (
	// WaitStrategyPoller asks the objects' status, as kstatus does.
	WaitStrategyPoller WaitStrategyName = "poller"
	// WaitStrategyLegacy asks as Helm 3 does.
	WaitStrategyLegacy WaitStrategyName = "legacy"
)

// DriftDetection says what is done about objects that somebody has changed.
type DriftDetection struct {
	// Mode: enabled puts them back, warn reports them, disabled does not look.
	// Default disabled.
	// +optional
	Mode DriftDetectionMode `json:"mode,omitempty"`

	// Ignore leaves fields to others.
	// +optional
	Ignore []meta.IgnoreRule `json:"ignore,omitempty"`
}

// PostRenderer changes the objects that a chart renders.
type PostRenderer struct {
	// Kustomize changes them as kustomize does.
	// +optional
	Kustomize *Kustomize `json:"kustomize,omitempty"`
}

// Kustomize are changes to rendered objects: patches first, then images.
type Kustomize struct {
	// Patches, in order.
	// +optional
	Patches []meta.Patch `json:"patches,omitempty"`

	// PatchesStrategicMerge is the older spelling of patches, for strategic
	// merge patches as objects.
	// +optional
	PatchesStrategicMerge []apiextensionsv1.JSON `json:"patchesStrategicMerge,omitempty"`

	// PatchesJSON6902 is the older spelling of patches, for JSON 6902
	// operations.
	// +optional
	PatchesJSON6902 []meta.JSON6902Patch `json:"patchesJson6902,omitempty"`

	// Images replaces names, tags and digests of images.
	// +optional
	Images []meta.Image `json:"images,omitempty"`
}

// WaitStrategy says how readiness is told.
type WaitStrategy struct {
	// Name of the strategy: poller asks the objects' status, and
	// healthCheckExprs; legacy asks as Helm 3 does.
	// +required
	Name WaitStrategyName `json:"name"`
}

// ValuesReference names a ConfigMap or Secret with values, in the HelmRelease's
// namespace.
type ValuesReference struct {
	// Kind of the referent.
	// +kubebuilder:validation:Enum=Secret;ConfigMap
	// +required
	Kind string `json:"kind"`

	// Name of the referent.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`

	// ValuesKey is the key with the values. Default values.yaml.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[\-._a-zA-Z0-9]+$`
	// +optional
	ValuesKey string `json:"valuesKey,omitempty"`

	// TargetPath is the path of the one value that the key holds, as for
	// helm --set. When unset, the key holds a YAML document of values.
	// +kubebuilder:validation:MaxLength=250
	// +kubebuilder:validation:Pattern=`^([a-zA-Z0-9_\-.\\\/]|\[[0-9]{1,5}\])+$`
	// +optional
	TargetPath string `json:"targetPath,omitempty"`

	// Literal takes the value for targetPath as it is, with no syntax in it.
	// It is not read without targetPath. Default false.
	// +optional
	Literal bool `json:"literal,omitempty"`

	// Optional takes an absent referent or key for an empty one. Default
	// false.
	// +optional
	Optional bool `json:"optional,omitempty"`
}

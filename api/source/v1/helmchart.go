package v1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-dev/headwater/api/meta"
)

// HelmChartKind is the kind of a HelmChart.
const HelmChartKind = "HelmChart"

// Values of HelmChartSpec.ReconcileStrategy; an empty one means ChartVersion.
const (
	// ReconcileStrategyChartVersion makes a new artifact when the version in
	// Chart.yaml changes.
	ReconcileStrategyChartVersion = "ChartVersion"
	// ReconcileStrategyRevision makes a new artifact with each revision of the
	// source.
	ReconcileStrategyRevision = "Revision"
)

// HelmChartSpec says which chart becomes the artifact.
//
// +kubebuilder:validation:XValidation:rule="!has(self.verify) || self.sourceRef.kind == 'HelmRepository'",message="spec.verify is only supported when spec.sourceRef.kind is 'HelmRepository'"
type HelmChartSpec struct {
	// Chart is its name in a HelmRepository, or its path in a GitRepository or
	// Bucket.
	// +required
	Chart string `json:"chart"`

	// Version is a version or a range of versions. It is not read for charts
	// from a GitRepository or Bucket. Default *: the newest.
	// +kubebuilder:default="*"
	// +optional
	Version string `json:"version,omitempty"`

	// SourceRef names the source of the chart, in the same namespace.
	// +required
	SourceRef LocalHelmChartSourceReference `json:"sourceRef"`

	// Interval between two looks at the source, with a little jitter.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +required
	Interval metav1.Duration `json:"interval"`

	// ReconcileStrategy says what makes a new artifact of a chart from a
	// GitRepository or Bucket: a new version in Chart.yaml (ChartVersion), or
	// each revision of the source (Revision). Default ChartVersion.
	// +kubebuilder:validation:Enum=ChartVersion;Revision
	// +kubebuilder:default=ChartVersion
	// +optional
	ReconcileStrategy string `json:"reconcileStrategy,omitempty"`

	// ValuesFiles are merged, the last one on top, and take the place of the
	// chart's values.yaml. Paths are relative to the chart, or to the root of
	// a GitRepository or Bucket.
	// +optional
	ValuesFiles []string `json:"valuesFiles,omitempty"`

	// ValuesFile is from v1beta2 and before. It comes last, after valuesFiles.
	// +optional
	ValuesFile string `json:"valuesFile,omitempty"`

	// IgnoreMissingValuesFiles leaves out values files that do not exist.
	// Default false.
	// +optional
	IgnoreMissingValuesFiles bool `json:"ignoreMissingValuesFiles,omitempty"`

	// Suspend stops new reconciles. Default false.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// Verify asks for a signature. Only for charts from a HelmRepository of
	// the type oci. When unset, none is asked for.
	// +optional
	Verify *HelmChartVerification `json:"verify,omitempty"`

	// AccessFrom is from v1beta2 and before, where it was never enforced. It is
	// accepted and has no effect.
	// +optional
	AccessFrom *meta.AccessFrom `json:"accessFrom,omitempty"`
}

// LocalHelmChartSourceReference names the source of a chart.
type LocalHelmChartSourceReference struct {
	// APIVersion of the source; the current one when unset.
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`

	// Kind of the source.
	// +kubebuilder:validation:Enum=HelmRepository;GitRepository;Bucket
	// +required
	Kind string `json:"kind"`

	// Name of the source.
	// +required
	Name string `json:"name"`
}

// HelmChartVerification says which signature a chart has to have.
type HelmChartVerification struct {
	// Provider is the tool that signed.
	// +kubebuilder:validation:Enum=cosign;notation
	// +kubebuilder:default=cosign
	// +required
	Provider string `json:"provider"`

	// SecretRef names the Secret with what to trust, as for an OCIRepository.
	// +optional
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`

	// MatchOIDCIdentity lists the identities that may have signed without a
	// key, of which one has to fit. Without any, anybody may have signed, and
	// SourceVerified says so. For cosign alone.
	// +optional
	MatchOIDCIdentity []OIDCIdentityMatch `json:"matchOIDCIdentity,omitempty"`
}

// HelmChartStatus says how a HelmChart is doing.
type HelmChartStatus struct {
	meta.Status `json:",inline"`

	// ObservedVerification is the digest of spec.verify, with the content of
	// its Secret, that the chart's signature was checked with.
	// +optional
	ObservedVerification string `json:"observedVerification,omitempty"`

	// ObservedSourceArtifactRevision is the revision of the source that the
	// chart came from.
	// +optional
	ObservedSourceArtifactRevision string `json:"observedSourceArtifactRevision,omitempty"`

	// ObservedChartName is the name in Chart.yaml.
	// +optional
	ObservedChartName string `json:"observedChartName,omitempty"`

	// ObservedValuesFiles are the values files that were merged.
	// +optional
	ObservedValuesFiles []string `json:"observedValuesFiles,omitempty"`

	// URL at which the newest artifact can always be fetched.
	// +optional
	URL string `json:"url,omitempty"`

	// Artifact that is served now: the packaged chart.
	// +optional
	Artifact *meta.Artifact `json:"artifact,omitempty"`
}

// HelmChart makes an artifact of one version of a Helm chart.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:subresource:status
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
// +kubebuilder:metadata:labels={"app.kubernetes.io/component=source-controller","app.kubernetes.io/part-of=flux"}
// +kubebuilder:resource:shortName=hc,categories={all,fluxcd,fluxcd-sources}
// +kubebuilder:printcolumn:name="Chart",type="string",JSONPath=".spec.chart"
// +kubebuilder:printcolumn:name="Version",type="string",JSONPath=".spec.version"
// +kubebuilder:printcolumn:name="Source Kind",type="string",JSONPath=".spec.sourceRef.kind"
// +kubebuilder:printcolumn:name="Source Name",type="string",JSONPath=".spec.sourceRef.name"
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp"
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].status"
// +kubebuilder:printcolumn:name="Status",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].message"
type HelmChart struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says which chart to fetch.
	Spec HelmChartSpec `json:"spec,omitempty"`

	// Status says which chart was fetched.
	// +kubebuilder:default={"observedGeneration":-1}
	Status HelmChartStatus `json:"status,omitempty"`
}

// HelmChartList is a list of HelmCharts.
//
// +kubebuilder:object:root=true
type HelmChartList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items of the list.
	Items []HelmChart `json:"items"`
}

// CommonStatus is the part of the status that all kinds share.
func (in *HelmChart) CommonStatus() *meta.Status { return &in.Status.Status }

// Suspended says whether spec.suspend holds.
func (in *HelmChart) Suspended() bool { return in.Spec.Suspend }

// Interval is the time between two looks at the source.
func (in *HelmChart) Interval() time.Duration { return in.Spec.Interval.Duration }

// RetryInterval is zero: failures are retried with the controller's backoff.
func (in *HelmChart) RetryInterval() time.Duration { return 0 }

// GetArtifact returns the artifact that is served now, nil for none.
func (in *HelmChart) GetArtifact() *meta.Artifact { return in.Status.Artifact }

// SetArtifact notes the artifact that is served from now on.
func (in *HelmChart) SetArtifact(artifact *meta.Artifact) { in.Status.Artifact = artifact }

// SetLatestURL notes where the newest artifact can always be fetched.
func (in *HelmChart) SetLatestURL(url string) { in.Status.URL = url }

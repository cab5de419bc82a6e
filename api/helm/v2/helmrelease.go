package v2

import (
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-dev/headwater/api/meta"
)

// HelmReleaseKind is the kind of a HelmRelease.
const HelmReleaseKind = "HelmRelease"

// defaultTimeout of each Kubernetes operation of an action.
const defaultTimeout = 5 * time.Minute

// HelmReleaseSpec says which chart is released, and how.
//
// +kubebuilder:validation:XValidation:rule="(has(self.chart) && !has(self.chartRef)) || (!has(self.chart) && has(self.chartRef))", message="either chart or chartRef must be set"
type HelmReleaseSpec struct {
	// Chart says which chart is released, by the HelmChart that is made from
	// it. Either this or chartRef has to be set.
	// +optional
	Chart *HelmChartTemplate `json:"chart,omitempty"`

	// ChartRef names an artifact that is the chart. Either this or chart has
	// to be set.
	// +optional
	ChartRef *CrossNamespaceSourceReference `json:"chartRef,omitempty"`

	// Interval at which the release is compared with what is wanted, with a
	// little jitter.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +required
	Interval metav1.Duration `json:"interval"`

	// KubeConfig says on which cluster to release. When unset, on the hub
	// itself.
	// +optional
	KubeConfig *meta.KubeConfigReference `json:"kubeConfig,omitempty"`

	// Suspend stops new reconciles. Deleting a suspended HelmRelease leaves
	// the release in place. Default false.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// ReleaseName is the name of the release. Default: the name of the
	// HelmRelease, with the target namespace and a hyphen before it when that
	// is set.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=53
	// +optional
	ReleaseName string `json:"releaseName,omitempty"`

	// TargetNamespace is the namespace of the release. Default: that of the
	// HelmRelease.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +optional
	TargetNamespace string `json:"targetNamespace,omitempty"`

	// StorageNamespace is the namespace of Helm's record of the release.
	// Default: that of the HelmRelease.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +optional
	StorageNamespace string `json:"storageNamespace,omitempty"`

	// DependsOn are HelmReleases that have to be ready first.
	// +optional
	DependsOn []meta.DependencyReference `json:"dependsOn,omitempty"`

	// Timeout of each Kubernetes operation of an action, such as the wait for
	// a hook's Job. Default 5m.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`

	// MaxHistory is the number of releases that Helm keeps a record of; 0
	// means all. Default 5.
	// +optional
	MaxHistory *int `json:"maxHistory,omitempty"`

	// ServiceAccountName is the ServiceAccount to impersonate at the target,
	// in the HelmRelease's namespace. When unset, the agents'
	// --default-service-account; without that no one, except that what deploys to
	// the hub's own cluster acts as their --hub-service-account.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// PersistentClient takes what is known of the cluster's kinds, which may be
	// ten seconds old. false asks anew before each action, for charts that make
	// CRDs outside the crds directory. Default true.
	// +optional
	PersistentClient *bool `json:"persistentClient,omitempty"`

	// DriftDetection says what is done about objects that somebody has
	// changed. When unset, nothing.
	// +optional
	DriftDetection *DriftDetection `json:"driftDetection,omitempty"`

	// Install says how the release is installed.
	// +optional
	Install *Install `json:"install,omitempty"`

	// Upgrade says how the release is upgraded.
	// +optional
	Upgrade *Upgrade `json:"upgrade,omitempty"`

	// Test says how the release is tested.
	// +optional
	Test *Test `json:"test,omitempty"`

	// Rollback says how the release is rolled back.
	// +optional
	Rollback *Rollback `json:"rollback,omitempty"`

	// Uninstall says how the release is uninstalled.
	// +optional
	Uninstall *Uninstall `json:"uninstall,omitempty"`

	// ValuesFrom are ConfigMaps and Secrets with values, each laid over the
	// ones before it. Those with a targetPath come last of all.
	// +optional
	ValuesFrom []ValuesReference `json:"valuesFrom,omitempty"`

	// Values, laid over those of valuesFrom that have no targetPath.
	// +optional
	Values *apiextensionsv1.JSON `json:"values,omitempty"`

	// CommonMetadata is put on all objects, after they are rendered.
	// +optional
	CommonMetadata *meta.CommonMetadata `json:"commonMetadata,omitempty"`

	// PostRenderers change the rendered objects, in order.
	// +optional
	PostRenderers []PostRenderer `json:"postRenderers,omitempty"`

	// PostRenderStrategy says whether hooks go through the post-renderers:
	// nohooks, combined (along with the objects), or separate (by themselves).
	// Default combined.
	// +kubebuilder:validation:Enum=nohooks;combined;separate
	// +optional
	PostRenderStrategy string `json:"postRenderStrategy,omitempty"`

	// WaitStrategy says how readiness is told. Default poller.
	// +optional
	WaitStrategy *WaitStrategy `json:"waitStrategy,omitempty"`

	// HealthCheckExprs say how the health of custom resources is told, for the
	// wait strategy poller.
	// +optional
	HealthCheckExprs []meta.CustomHealthCheck `json:"healthCheckExprs,omitempty"`
}

// HelmRelease keeps one Helm release on one cluster.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:subresource:status
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
// +kubebuilder:metadata:labels={"app.kubernetes.io/component=helm-controller","app.kubernetes.io/part-of=flux"}
// +kubebuilder:resource:shortName=hr,categories={all,fluxcd,fluxcd-appliers}
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp"
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].status"
// +kubebuilder:printcolumn:name="Status",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].message"
type HelmRelease struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what to release.
	Spec HelmReleaseSpec `json:"spec,omitempty"`

	// Status says what was released.
	// +kubebuilder:default={"observedGeneration":-1}
	Status HelmReleaseStatus `json:"status,omitempty"`
}

// HelmReleaseList is a list of HelmReleases.
//
// +kubebuilder:object:root=true
type HelmReleaseList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items of the list.
	Items []HelmRelease `json:"items"`
}

// CommonStatus is the part of the status that all kinds share.
func (in *HelmRelease) CommonStatus() *meta.Status { return &in.Status.Status }

// Suspended says whether spec.suspend holds.
func (in *HelmRelease) Suspended() bool { return in.Spec.Suspend }

// Interval is the time between two comparisons of the release with what is wanted.
func (in *HelmRelease) Interval() time.Duration { return in.Spec.Interval.Duration }

// RetryInterval is zero: failures are retried with the controller's backoff.
func (in *HelmRelease) RetryInterval() time.Duration { return 0 }

// Timeout is the time limit of each Kubernetes operation of an action that
// does not state its own.
func (in *HelmRelease) Timeout() time.Duration {
	if in.Spec.Timeout == nil {
		return defaultTimeout
	}
	return in.Spec.Timeout.Duration
}

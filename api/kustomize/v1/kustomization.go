package v1

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-dev/headwater/api/meta"
)

// KustomizationKind is the kind of a Kustomization.
const KustomizationKind = "Kustomization"

// Values of KustomizationSpec.DeletionPolicy; an empty one means MirrorPrune.
const (
	DeletionPolicyMirrorPrune        = "MirrorPrune"
	DeletionPolicyDelete             = "Delete"
	DeletionPolicyWaitForTermination = "WaitForTermination"
	DeletionPolicyOrphan             = "Orphan"
)

// Values of KustomizationSpec.Validation; an empty one means server.
const (
	ValidationNone   = "none"
	ValidationClient = "client"
	ValidationServer = "server"
)

// KustomizationSpec says what is rendered, and to which cluster it is applied.
type KustomizationSpec struct {
	// SourceRef names the source of the files.
	// +required
	SourceRef CrossNamespaceSourceReference `json:"sourceRef"`

	// Path in the source of a directory with a kustomization.yaml, or with
	// plain manifests. Default: the root.
	// +optional
	Path string `json:"path,omitempty"`

	// Interval at which the cluster is compared with the source, with a little
	// jitter.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +required
	Interval metav1.Duration `json:"interval"`

	// RetryInterval is the time until a failed reconcile is repeated. Default:
	// the interval.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +optional
	RetryInterval *metav1.Duration `json:"retryInterval,omitempty"`

	// Timeout of validation, apply and health checks together. Default: the
	// interval less 30s. It is never below 30s, whatever is set.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`

	// Suspend stops new reconciles. Deleting a suspended Kustomization leaves
	// its objects in place. Default false.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// DependsOn are Kustomizations that have to be ready first.
	// +optional
	DependsOn []meta.DependencyReference `json:"dependsOn,omitempty"`

	// KubeConfig says which cluster to apply to. When unset, the hub itself.
	// +optional
	KubeConfig *meta.KubeConfigReference `json:"kubeConfig,omitempty"`

	// ServiceAccountName is the ServiceAccount to impersonate at the target,
	// in the Kustomization's namespace. When unset, the agents'
	// --default-service-account; without that no one, except that what deploys to
	// the hub's own cluster acts as their --hub-service-account.
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// Prune deletes objects that have left the source.
	// +required
	Prune bool `json:"prune"`

	// DeletionPolicy says what becomes of the objects when the Kustomization
	// is deleted. MirrorPrune: deleted when prune is true, else left. Delete:
	// deleted. WaitForTermination: deleted and waited for, up to the timeout.
	// Orphan: left. Default MirrorPrune.
	// +kubebuilder:validation:Enum=MirrorPrune;Delete;WaitForTermination;Orphan
	// +optional
	DeletionPolicy string `json:"deletionPolicy,omitempty"`

	// Force deletes and recreates objects whose change the cluster refuses
	// because a field cannot change.
	// +kubebuilder:default=false
	// +optional
	Force bool `json:"force,omitempty"`

	// Validation says what is checked before anything is applied. none:
	// nothing. client: the objects, against the target's OpenAPI schema.
	// server: every changed object, by a dry-run at the target, so that one
	// bad object stops all. Default server. Flux has no such field any more.
	// +kubebuilder:validation:Enum=none;client;server
	// +optional
	Validation string `json:"validation,omitempty"`

	// Wait checks the health of all objects after they are applied.
	// healthChecks is then not read. Default false.
	// +optional
	Wait bool `json:"wait,omitempty"`

	// HealthChecks are the objects whose health is checked after the apply.
	// An entry without a namespace means the target namespace, and one without
	// an apiVersion apps/v1.
	// +optional
	HealthChecks []meta.NamespacedObjectKindReference `json:"healthChecks,omitempty"`

	// HealthCheckExprs say how the health of custom resources is told, for
	// wait and for healthChecks.
	// +optional
	HealthCheckExprs []meta.CustomHealthCheck `json:"healthCheckExprs,omitempty"`

	// TargetNamespace is put on all namespaced objects.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +optional
	TargetNamespace string `json:"targetNamespace,omitempty"`

	// NamePrefix is put before the names of all objects.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	// +optional
	NamePrefix string `json:"namePrefix,omitempty"`

	// NameSuffix is put after the names of all objects.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	// +optional
	NameSuffix string `json:"nameSuffix,omitempty"`

	// CommonMetadata is put on all objects, after they are rendered.
	// +optional
	CommonMetadata *meta.CommonMetadata `json:"commonMetadata,omitempty"`

	// Patches are applied to the rendered objects, in order.
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

	// Components are paths of kustomize components, relative to path.
	// +optional
	Components []string `json:"components,omitempty"`

	// IgnoreMissingComponents leaves out components whose path does not exist.
	// Default false.
	// +optional
	IgnoreMissingComponents bool `json:"ignoreMissingComponents,omitempty"`

	// BuildMetadata lists the annotations that kustomize puts on the objects:
	// where they come from, or what has changed them.
	// +optional
	BuildMetadata []BuildMetadataOption `json:"buildMetadata,omitempty"`

	// PostBuild changes the text of the rendered objects.
	// +optional
	PostBuild *PostBuild `json:"postBuild,omitempty"`

	// Decryption of files and Secrets before they are applied.
	// +optional
	Decryption *Decryption `json:"decryption,omitempty"`

	// Ignore leaves fields of the applied objects to others.
	// +optional
	Ignore []meta.IgnoreRule `json:"ignore,omitempty"`
}

// CrossNamespaceSourceReference names a source.
type CrossNamespaceSourceReference struct {
	// APIVersion of the source; the current one when unset.
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`

	// Kind of the source.
	// +kubebuilder:validation:Enum=OCIRepository;GitRepository;Bucket;ExternalArtifact
	// +required
	Kind string `json:"kind"`

	// Name of the source.
	// +required
	Name string `json:"name"`

	// Namespace of the source; the referring object's own when unset.
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// KustomizationStatus says how a Kustomization is doing.
type KustomizationStatus struct {
	meta.Status `json:",inline"`

	// LastAppliedRevision is the revision of the source that was last applied
	// and, where asked for, found healthy.
	// +optional
	LastAppliedRevision string `json:"lastAppliedRevision,omitempty"`

	// LastAppliedOriginRevision is the upstream's name of the last applied
	// revision, where the source knows one, such as the commit from which an
	// OCI artifact was made.
	// +optional
	LastAppliedOriginRevision string `json:"lastAppliedOriginRevision,omitempty"`

	// LastAttemptedRevision is the revision of the last reconcile, however it
	// ended.
	// +optional
	LastAttemptedRevision string `json:"lastAttemptedRevision,omitempty"`

	// Inventory of the objects that were applied or are about to be created.
	// +optional
	Inventory *meta.ResourceInventory `json:"inventory,omitempty"`

	// History of the last sets of objects, the newest first; at most 5.
	// +optional
	History meta.History `json:"history,omitempty"`

	// WaitingSince is when the wait for health began; the timeout counts from
	// it, also in another process. It is absent when nothing is waited for.
	// +optional
	WaitingSince *metav1.Time `json:"waitingSince,omitempty"`

	// Target is the cluster that the inventory is in: namespace/Secret/key of
	// its kubeconfig, or hub/partition. While spec.kubeConfig says another one,
	// the objects are still to be pruned here.
	// +optional
	Target string `json:"target,omitempty"`
}

// Kustomization applies what a source renders to one cluster.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:subresource:status
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
// +kubebuilder:metadata:labels={"app.kubernetes.io/component=kustomize-controller","app.kubernetes.io/part-of=flux"}
// +kubebuilder:resource:shortName=ks,categories={all,fluxcd,fluxcd-appliers}
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp"
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].status"
// +kubebuilder:printcolumn:name="Status",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].message"
type Kustomization struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what to apply.
	Spec KustomizationSpec `json:"spec,omitempty"`

	// Status says what was applied.
	// +kubebuilder:default={"observedGeneration":-1}
	Status KustomizationStatus `json:"status,omitempty"`
}

// KustomizationList is a list of Kustomizations.
//
// +kubebuilder:object:root=true
type KustomizationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items of the list.
	Items []Kustomization `json:"items"`
}

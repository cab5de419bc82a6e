package apply

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	kindCRD         = "CustomResourceDefinition"
	kindNamespace   = "Namespace"
	kindClusterRole = "ClusterRole"
	kindJob         = "Job"
)

// firstKinds is the order in which the kinds that others depend on are
// applied, and the reverse of the order in which they are pruned.
var firstKinds = []string{
	kindCRD, kindNamespace, kindClusterRole,
	"ClusterClass", "RuntimeClass", "PriorityClass", "StorageClass", "VolumeSnapshotClass", "IngressClass", "GatewayClass",
	"ClusterRoleBinding", "ResourceQuota", "ServiceAccount", "Role", "RoleBinding", "ConfigMap", "Secret", "Service", "LimitRange",
	kindDeployment, "StatefulSet", "CronJob", "PodDisruptionBudget",
}

// lastKinds come after everything else: a webhook that stands before the
// objects that serve it would hold them up.
var lastKinds = []string{
	"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration",
}

const kindDeployment = "Deployment"

// rank is the place of a kind in the order of applying.
func rank(kind string) int {
	if i := slices.Index(firstKinds, kind); i >= 0 {
		return i
	}
	if i := slices.Index(lastKinds, kind); i >= 0 {
		return len(firstKinds) + 1 + i
	}
	return len(firstKinds)
}

// compareRefs orders references for applying.
func compareRefs(a, b Ref) int {
	return cmp.Or(
		cmp.Compare(rank(a.Kind), rank(b.Kind)),
		cmp.Compare(a.Group, b.Group),
		cmp.Compare(a.Kind, b.Kind),
		cmp.Compare(a.Namespace, b.Namespace),
		cmp.Compare(a.Name, b.Name),
	)
}

// wave is the part of a stage in which objects may be written side by side:
// what workloads need, the workloads and everything unlisted, the webhooks.
func wave(kind string) int {
	switch r := rank(kind); {
	case r < slices.Index(firstKinds, kindDeployment):
		return 0
	case r <= len(firstKinds):
		return 1
	default:
		return 2
	}
}

// stage is the part of a set that is planned and applied as one.
func stage(kind schema.GroupKind, early []schema.GroupKind) int {
	switch {
	case kind.Kind == kindCRD || kind.Kind == kindNamespace || kind.Kind == kindClusterRole:
		return 0
	case strings.HasSuffix(kind.Kind, "Class"):
		return 1
	case slices.Contains(early, kind):
		return 2
	default:
		return 3
	}
}

// Stages divides the objects into what has to be there before the rest can be
// planned (definitions, namespaces and cluster roles; then classes; then the
// kinds that are named early) and the rest. Each stage is in the order of applying; empty stages are left out. The
// argument is not changed.
func Stages(objects []*unstructured.Unstructured, early ...schema.GroupKind) [][]*unstructured.Unstructured {
	sorted := slices.Clone(objects)
	of := func(obj *unstructured.Unstructured) int { return stage(obj.GroupVersionKind().GroupKind(), early) }
	slices.SortStableFunc(sorted, func(a, b *unstructured.Unstructured) int {
		return cmp.Or(
			cmp.Compare(of(a), of(b)),
			compareRefs(RefTo(a), RefTo(b)),
		)
	})
	var stages [][]*unstructured.Unstructured
	for i, obj := range sorted {
		if i == 0 || of(obj) != of(sorted[i-1]) {
			stages = append(stages, nil)
		}
		last := len(stages) - 1
		stages[last] = append(stages[last], obj)
	}
	return stages
}

// waves returns where each wave of the kinds ends, as indexes into them. The
// kinds are in the order of applying or its reverse.
func waves(kinds []string) []int {
	var ends []int
	for i := range kinds {
		if i == len(kinds)-1 || wave(kinds[i]) != wave(kinds[i+1]) {
			ends = append(ends, i+1)
		}
	}
	return ends
}

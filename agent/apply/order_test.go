package apply

import (
	"math/rand/v2"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// object makes an object of "group/version Kind namespace/name"; the
// namespace may be left out.
func object(text string) *unstructured.Unstructured {
	parts := strings.Fields(text)
	obj := &unstructured.Unstructured{}
	obj.SetAPIVersion(parts[0])
	obj.SetKind(parts[1])
	namespace, name, ok := strings.Cut(parts[2], "/")
	if !ok {
		namespace, name = "", namespace
	}
	obj.SetNamespace(namespace)
	obj.SetName(name)
	return obj
}

// stages are Flux's (FLUX.md §2.2).
var inOrder = [][]string{{
	"apiextensions.k8s.io/v1 CustomResourceDefinition stores.example.com",
	"v1 Namespace a",
	"v1 Namespace b",
	"rbac.authorization.k8s.io/v1 ClusterRole reader",
}, {
	"cluster.x-k8s.io/v1beta1 ClusterClass a/c",
	"node.k8s.io/v1 RuntimeClass r",
	"scheduling.k8s.io/v1 PriorityClass p",
	"storage.k8s.io/v1 StorageClass s",
	"snapshot.storage.k8s.io/v1 VolumeSnapshotClass v",
	"networking.k8s.io/v1 IngressClass i",
	"gateway.networking.k8s.io/v1 GatewayClass g",
	"example.com/v1 StoreClass s",
}, {
	"rbac.authorization.k8s.io/v1 ClusterRoleBinding readers",
	"v1 ResourceQuota a/q",
	"v1 ServiceAccount a/web",
	"rbac.authorization.k8s.io/v1 Role a/web",
	"rbac.authorization.k8s.io/v1 RoleBinding a/web",
	"v1 ConfigMap a/one",
	"v1 ConfigMap a/two",
	"v1 ConfigMap b/one",
	"v1 Secret a/s",
	"v1 Service a/web",
	"v1 LimitRange a/l",
	"apps/v1 Deployment a/web",
	"apps/v1 StatefulSet a/db",
	"batch/v1 CronJob a/nightly",
	"policy/v1 PodDisruptionBudget a/web",
	"v1 Pod a/p",
	"batch/v1 Job a/j",
	"example.com/v1 Store a/s",
	"networking.k8s.io/v1 Ingress a/web",
	"admissionregistration.k8s.io/v1 MutatingWebhookConfiguration m",
	"admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration v",
}}

func TestStages(t *testing.T) {
	g := NewWithT(t)
	var shuffled []*unstructured.Unstructured
	for _, stage := range inOrder {
		for _, text := range stage {
			shuffled = append(shuffled, object(text))
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })

	var got [][]string
	for _, stage := range Stages(shuffled) {
		var texts []string
		for _, obj := range stage {
			name := obj.GetName()
			if obj.GetNamespace() != "" {
				name = obj.GetNamespace() + "/" + name
			}
			texts = append(texts, obj.GetAPIVersion()+" "+obj.GetKind()+" "+name)
		}
		got = append(got, texts)
	}
	g.Expect(got).To(Equal(inOrder))
	g.Expect(Stages(nil)).To(BeEmpty())
	g.Expect(Stages([]*unstructured.Unstructured{object("v1 ConfigMap a/one")})).To(HaveLen(1), "empty stages are left out")
}

func TestWaves(t *testing.T) {
	for _, c := range []struct {
		name  string
		kinds string
		ends  []int
	}{
		{"none", "", nil},
		{"one", "ConfigMap", []int{1}},
		{"what workloads need comes before them", "ServiceAccount ConfigMap LimitRange Deployment Ingress", []int{3, 5}},
		{"webhooks come last", "Service Deployment Store MutatingWebhookConfiguration ValidatingWebhookConfiguration", []int{1, 3, 5}},
		{"backwards", "ValidatingWebhookConfiguration Store Deployment ConfigMap Namespace", []int{1, 3, 5}},
	} {
		t.Run(c.name, func(t *testing.T) {
			NewWithT(t).Expect(waves(strings.Fields(c.kinds))).To(Equal(c.ends))
		})
	}
}

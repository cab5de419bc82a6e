package kustomize

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/equality"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
)

// written follows the Kustomization from one state until the request comes, and returns
// what each write of its status says. What a run is at, which it says when that takes
// long, is in the conditions alone, and passed over.
func (e *env) written(from watch.Interface, before *kustomizev1.Kustomization, request string) []string {
	e.t.Helper()
	said := []string{}
	for event := range from.ResultChan() {
		obj, ok := event.Object.(*kustomizev1.Kustomization)
		e.Expect(ok).To(BeTrue(), "%v", event)
		if obj.Annotations[meta.ReconcileRequestAnnotation] == request {
			return said
		}
		if !isProgress(before, obj) {
			said = append(said, fmt.Sprintf("%t: attempted %s, applied %s, %d objects", apimeta.IsStatusConditionTrue(obj.Status.Conditions, meta.ReadyCondition),
				obj.Status.LastAttemptedRevision, obj.Status.LastAppliedRevision, len(obj.Status.Inventory.Entries)))
		}
		before = obj
	}
	return append(said, "the watch has ended")
}

// isProgress says whether nothing was written but what a run is at.
func isProgress(before, obj *kustomizev1.Kustomization) bool {
	was, is := before.Status.DeepCopy(), obj.Status.DeepCopy()
	was.Conditions, is.Conditions = nil, nil
	at := apimeta.FindStatusCondition(obj.Status.Conditions, meta.ReconcilingCondition)
	return at != nil && at.Reason == meta.ProgressingReason && equality.Semantic.DeepEqual(was, is)
}

// An upgrade is one write at the hub, and one that creates something is two: the inventory
// is written ahead.
func TestAnUpgradeIsOneWriteAtTheHub(t *testing.T) {
	e := newEnv(t)
	e.push("1", "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("web")
	e.start()
	e.becomes("web", "True")
	e.request("web", "0")
	hub, err := client.NewWithWatch(shared.ControlPlane(t).Config(), client.Options{Scheme: e.scheme})
	e.Expect(err).NotTo(HaveOccurred())

	for i, c := range []struct {
		files []string
		want  []string
	}{
		{
			[]string{"one.yaml", configMap("one", "NS", "b")},
			[]string{"true: attempted main@sha1:2, applied main@sha1:2, 1 objects"},
		},
		{
			[]string{"one.yaml", configMap("one", "NS", "c"), "two.yaml", configMap("two", "NS", "c")},
			[]string{"true: attempted main@sha1:3, applied main@sha1:2, 2 objects", "true: attempted main@sha1:3, applied main@sha1:3, 2 objects"},
		},
		{
			[]string{"two.yaml", configMap("two", "NS", "c")},
			[]string{"true: attempted main@sha1:4, applied main@sha1:4, 1 objects"},
		},
	} {
		before := e.get("web")
		writes, err := hub.Watch(t.Context(), &kustomizev1.KustomizationList{}, client.InNamespace(e.namespace),
			&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: before.ResourceVersion}})
		e.Expect(err).NotTo(HaveOccurred())
		revision, request := fmt.Sprint(i+2), fmt.Sprint(i+1)
		e.push(revision, c.files...)
		e.becomes("web", "True ReconciliationSucceeded: Applied revision: main@sha1:"+revision)
		e.request("web", request)
		e.Expect(e.written(writes, before, request)).To(Equal(c.want), revision)
		writes.Stop()
	}
}

package kustomize

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headwater-dev/headwater/agent/apply"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
)

func ref(kind, namespace, name string) apply.Ref {
	group := map[string]string{"Deployment": "apps", "Kustomization": "kustomize.toolkit.fluxcd.io"}[kind]
	return apply.Ref{GroupKind: schema.GroupKind{Group: group, Kind: kind}, Version: "v1", Namespace: namespace, Name: name}
}

func kustomization(change ...func(*kustomizev1.Kustomization)) *kustomizev1.Kustomization {
	obj := &kustomizev1.Kustomization{
		ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "web", Generation: 2},
		Spec: kustomizev1.KustomizationSpec{
			SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "repo"},
		},
	}
	for _, change := range change {
		change(obj)
	}
	return obj
}

func TestKeeps(t *testing.T) {
	settings := ref("ConfigMap", "shop", "settings")
	other := func(change ...func(*kustomizev1.Kustomization)) *kustomizev1.Kustomization {
		obj := kustomization(change...)
		if obj.Status.Inventory == nil {
			obj.Status.Inventory = toInventory([]apply.Ref{settings})
		}
		return obj
	}
	at := func(revision string) func(*kustomizev1.Kustomization) {
		return func(obj *kustomizev1.Kustomization) { obj.Status.LastAppliedRevision = revision }
	}
	now := metav1.Now()
	for _, c := range []struct {
		name  string
		other *kustomizev1.Kustomization
		want  bool
	}{
		{"gone", nil, false},
		{"being deleted", other(at("main@sha1:2"), func(obj *kustomizev1.Kustomization) { obj.DeletionTimestamp = &now }), false},
		{"does not list it", other(at("main@sha1:2"), func(obj *kustomizev1.Kustomization) {
			obj.Status.Inventory = toInventory([]apply.Ref{ref("ConfigMap", "shop", "another")})
		}), false},
		{"has applied this revision and still lists it", other(at("main@sha1:2")), true},
		{"has not applied this revision", other(at("main@sha1:1")), false},
		{"of another source", other(at("main@sha1:1"), func(obj *kustomizev1.Kustomization) { obj.Spec.SourceRef.Name = "other" }), true},
		{"of a source in another namespace", other(at("main@sha1:1"), func(obj *kustomizev1.Kustomization) { obj.Spec.SourceRef.Namespace = "other" }), true},
		{"the same source spelled out", other(at("main@sha1:1"), func(obj *kustomizev1.Kustomization) { obj.Spec.SourceRef.Namespace = "fleet" }), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			NewWithT(t).Expect(keeps(c.other, kustomization(), settings, "main@sha1:2")).To(Equal(c.want))
		})
	}
}

func TestWaitingSince(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 500, time.UTC)
	before := now.Add(-time.Minute).Truncate(time.Second)
	waitingFor := func(change ...func(*kustomizev1.Kustomization)) *kustomizev1.Kustomization {
		obj := kustomization()
		obj.Status.WaitingSince = &metav1.Time{Time: before}
		obj.Status.LastHandledReconcileAt = "request-1"
		obj.Status.Conditions = []metav1.Condition{{Type: "Healthy", Status: "Unknown", ObservedGeneration: 2}}
		for _, change := range change {
			change(obj)
		}
		return obj
	}
	same := waiting{src: &meta.Artifact{Revision: "main@sha1:2"}, attempted: "main@sha1:2", requested: "request-1"}
	changed, newRevision, newRequest, noRequest := same, same, same, same
	changed.changed = true
	newRevision.attempted = "main@sha1:1"
	newRequest.requested = "request-2"
	noRequest.requested = ""
	for _, c := range []struct {
		name string
		obj  *kustomizev1.Kustomization
		what waiting
		want time.Time
	}{
		{"the same", waitingFor(), same, before},
		{"nobody asks any more", waitingFor(), noRequest, before},
		{"not waiting yet", waitingFor(func(obj *kustomizev1.Kustomization) { obj.Status.WaitingSince = nil }), same, now.Truncate(time.Second)},
		{"another spec", waitingFor(func(obj *kustomizev1.Kustomization) { obj.Generation = 3 }), same, now.Truncate(time.Second)},
		{"another revision", waitingFor(), newRevision, now.Truncate(time.Second)},
		{"another request", waitingFor(), newRequest, now.Truncate(time.Second)},
		{"something had to be changed", waitingFor(), changed, now.Truncate(time.Second)},
	} {
		t.Run(c.name, func(t *testing.T) {
			NewWithT(t).Expect(waitingSince(c.obj, c.what, now)).To(Equal(c.want))
		})
	}
}

func TestPoll(t *testing.T) {
	for _, c := range []struct {
		waited  time.Duration
		waiting int
		want    time.Duration
	}{
		{0, 1, time.Second},
		{5 * time.Second, 1, time.Second},
		{30 * time.Second, 1, 3 * time.Second},
		{time.Hour, 1, 5 * time.Second},
		{-time.Second, 1, time.Second},
		{0, 100, 2 * time.Second},
		{time.Hour, 1000, 20 * time.Second},
	} {
		NewWithT(t).Expect(poll(c.waited, c.waiting)).To(Equal(c.want), "%s of %d", c.waited, c.waiting)
	}
}

func TestChecksOf(t *testing.T) {
	applied := []apply.Check{{Ref: ref("ConfigMap", "shop", "settings")}}
	listed := func(change ...func(*kustomizev1.Kustomization)) *kustomizev1.Kustomization {
		obj := kustomization(change...)
		obj.Spec.HealthChecks = []meta.NamespacedObjectKindReference{
			{Kind: "Deployment", Name: "web"},
			{APIVersion: "v1", Kind: "ConfigMap", Name: "a", Namespace: "elsewhere"},
			{APIVersion: "kustomize.toolkit.fluxcd.io/v1", Kind: "Kustomization", Name: "web", Namespace: "fleet"},
		}
		return obj
	}
	for _, c := range []struct {
		name string
		obj  *kustomizev1.Kustomization
		want []apply.Ref
	}{
		{"none", kustomization(), nil},
		{"wait means all, and the list is not read", listed(func(obj *kustomizev1.Kustomization) { obj.Spec.Wait = true }), []apply.Ref{applied[0].Ref}},
		{"without a namespace the Kustomization's own", listed(),
			[]apply.Ref{ref("Deployment", "fleet", "web"), ref("ConfigMap", "elsewhere", "a")}},
		{"or the target namespace", listed(func(obj *kustomizev1.Kustomization) { obj.Spec.TargetNamespace = "shop" }),
			[]apply.Ref{ref("Deployment", "shop", "web"), ref("ConfigMap", "elsewhere", "a")}},
		{"at another cluster the same name is another object", listed(func(obj *kustomizev1.Kustomization) {
			obj.Spec.KubeConfig = &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: "prod"}}
		}), []apply.Ref{ref("Deployment", "fleet", "web"), ref("ConfigMap", "elsewhere", "a"), ref("Kustomization", "fleet", "web")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			checks, err := checksOf(c.obj, applied)
			g.Expect(err).NotTo(HaveOccurred())
			var refs []apply.Ref
			for _, check := range checks {
				refs = append(refs, check.Ref)
			}
			g.Expect(refs).To(Equal(c.want))
		})
	}

	bad := kustomization()
	bad.Spec.HealthChecks = []meta.NamespacedObjectKindReference{{APIVersion: "a/b/c", Kind: "X", Name: "x"}}
	_, err := checksOf(bad, nil)
	NewWithT(t).Expect(err).To(MatchError(ContainSubstring("spec.healthChecks[0].apiVersion")))
}

func TestChangeList(t *testing.T) {
	g := NewWithT(t)
	g.Expect(changeList([]apply.Change{
		{Ref: ref("Namespace", "", "shop"), Action: apply.Created},
		{Ref: ref("ConfigMap", "shop", "a"), Action: apply.Unchanged},
		{Ref: ref("Deployment", "shop", "web"), Action: apply.Configured},
		{Ref: ref("ConfigMap", "shop", "b"), Action: apply.Skipped},
		{Ref: ref("ConfigMap", "shop", "c"), Action: apply.Deleted},
	})).To(Equal([]string{"Namespace/shop created", "Deployment/shop/web configured", "ConfigMap/shop/c deleted"}))
	g.Expect(shortened(make([]string, 103))).To(HaveLen(101))
	g.Expect(shortened(make([]string, 103))[100]).To(Equal("... and 3 more"))
}

func TestPrunesOnDeletion(t *testing.T) {
	for _, c := range []struct {
		policy string
		prune  bool
		want   bool
	}{
		{"", true, true}, {"", false, false},
		{"MirrorPrune", true, true}, {"MirrorPrune", false, false},
		{"Delete", false, true}, {"WaitForTermination", false, true}, {"Orphan", true, false},
	} {
		obj := kustomization()
		obj.Spec.DeletionPolicy, obj.Spec.Prune = c.policy, c.prune
		NewWithT(t).Expect(prunesOnDeletion(obj)).To(Equal(c.want), "%s %v", c.policy, c.prune)
	}
}

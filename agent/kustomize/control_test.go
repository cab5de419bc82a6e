package kustomize

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
)

// at sets the path, and what the Kustomization depends on.
func at(path string, depends ...meta.DependencyReference) func(*kustomizev1.Kustomization) {
	return func(obj *kustomizev1.Kustomization) {
		obj.Spec.Path, obj.Spec.DependsOn = path, depends
	}
}

func TestDependenciesGoFirst(t *testing.T) {
	e := newEnv(t)
	base := strings.Replace(deployment, "name: web,", "name: base,", 1)
	// Only an event can wake what waits.
	e.options.RequeueDependency = time.Hour
	e.push("1", "base/web.yaml", base, "apps/one.yaml", configMap("one", "NS", "a"))
	e.kustomization("apps", at("apps", meta.DependencyReference{Name: "base"}))
	e.start()
	e.becomes("apps", "False DependencyNotReady: dependency 'NS/base' not found")
	e.Expect(e.get("apps").Status.Inventory).To(BeNil())
	e.Expect(e.object("v1", "ConfigMap", "one")).To(BeNil())

	e.kustomization("base", at("base"), waits5m)
	e.becomes("base", "Unknown Progressing")
	e.request("apps", "now")
	e.becomes("apps", "False DependencyNotReady: dependency 'NS/base' is not ready")
	e.published("/base' is not ready")
	e.setReady("base")
	e.becomes("apps", "True ReconciliationSucceeded: Applied revision: main@sha1:1")

	// The next revision waits for the dependency to have it as well.
	e.push("2", "base/web.yaml", strings.Replace(base, "example.com/web", "example.com/web:2", 1), "apps/one.yaml", configMap("one", "NS", "b"))
	e.becomes("apps", "False DependencyNotReady: dependency 'NS/base' is not")
	e.becomes("base", "Unknown Progressing")
	e.Expect(e.object("v1", "ConfigMap", "one").Object["data"]).To(Equal(map[string]any{"value": "a"}))
	e.setReady("base")
	e.becomes("apps", "True ReconciliationSucceeded: Applied revision: main@sha1:2")
	e.Expect(e.object("v1", "ConfigMap", "one").Object["data"]).To(Equal(map[string]any{"value": "b"}))
}

// A dependency is ready for its newest spec, which a suspended one has not seen, and for
// the revision that both of them apply.
func TestDependenciesThatAreNotReady(t *testing.T) {
	obj := kustomization()
	src := &meta.Artifact{Revision: "2"}
	for name, c := range map[string]struct {
		change func(*kustomizev1.Kustomization)
		want   string
	}{
		"ready": {func(*kustomizev1.Kustomization) {}, ""},
		"suspended since": {func(dep *kustomizev1.Kustomization) {
			dep.Spec.Suspend, dep.Generation = true, 3
		}, "dependency 'base/web' is not ready"},
		"ready before its last change": {func(dep *kustomizev1.Kustomization) { dep.Status.ObservedGeneration = 1 }, "dependency 'base/web' is not ready"},
		"waiting":                      {func(dep *kustomizev1.Kustomization) { dep.Status.Conditions[0].Status = "Unknown" }, "dependency 'base/web' is not ready"},
		"at an older revision":         {func(dep *kustomizev1.Kustomization) { dep.Status.LastAppliedRevision = "1" }, "dependency 'base/web' is not updated yet"},
		"of a source of its own": {func(dep *kustomizev1.Kustomization) {
			dep.Spec.SourceRef.Namespace, dep.Status.LastAppliedRevision = "", "1"
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dep := kustomization()
			dep.Namespace, dep.Spec.SourceRef.Namespace = "base", obj.Namespace
			dep.Status.ObservedGeneration = dep.Generation
			dep.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: "True"}}
			dep.Status.LastAppliedRevision = "2"
			c.change(dep)
			NewWithT(t).Expect((&Reconciler{}).unready(t.Context(), obj, dep, "", src)).To(Equal(c.want))
		})
	}
}

// What an expression asks for may not be there yet: it is asked again soon, and not at
// the interval.
func TestAReadyExpressionThatCannotBeEvaluatedIsTriedAgain(t *testing.T) {
	e := newEnv(t)
	e.options.RequeueDependency = 200 * time.Millisecond
	e.push("1", "base/web.yaml", deployment, "apps/one.yaml", configMap("one", "NS", "a"))
	e.kustomization("base", at("base"), waits5m)
	e.kustomization("apps", at("apps", meta.DependencyReference{Name: "base", ReadyExpr: "dep.metadata.annotations['go'] == 'yes'"}),
		func(obj *kustomizev1.Kustomization) { obj.Spec.RetryInterval = nil })
	e.start()
	e.becomes("apps", "False DependencyNotReady: dependency 'NS/base': readyExpr: evaluate the CEL expression")
	e.edit("base", func(obj *kustomizev1.Kustomization) { obj.Annotations = map[string]string{"go": "yes"} })
	e.becomes("apps", "True")
}

func TestReadyExpressionsTakeThePlaceOfTheRules(t *testing.T) {
	e := newEnv(t)
	e.options.RequeueDependency = 200 * time.Millisecond
	e.push("1", "base/web.yaml", deployment, "apps/one.yaml", configMap("one", "NS", "a"))
	e.kustomization("base", at("base"), waits5m)
	e.kustomization("apps", at("apps", meta.DependencyReference{Name: "base", ReadyExpr: "dep.metadata.labels['wave'] == self.metadata.labels['wave']"}),
		func(obj *kustomizev1.Kustomization) { obj.Labels = map[string]string{"wave": "2"} })
	e.start()
	e.becomes("base", "Unknown Progressing")
	e.becomes("apps", "False DependencyNotReady: dependency 'NS/base': readyExpr: evaluate the CEL expression")
	e.edit("base", func(obj *kustomizev1.Kustomization) { obj.Labels = map[string]string{"wave": "1"} })
	e.becomes("apps", "False DependencyNotReady: dependency 'NS/base' is not ready according to readyExpr eval")
	e.edit("base", func(obj *kustomizev1.Kustomization) { obj.Labels = map[string]string{"wave": "2"} })
	e.becomes("apps", "True")
	e.Expect(e.ready("base")).To(HavePrefix("Unknown"))
}

func TestExpressionsThatDoNotCompileStall(t *testing.T) {
	e := newEnv(t)
	e.push("1", "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("a", at("", meta.DependencyReference{Name: "base", ReadyExpr: "other.x == 1"}))
	e.kustomization("b", func(obj *kustomizev1.Kustomization) {
		obj.Spec.Wait = true
		obj.Spec.HealthCheckExprs = []meta.CustomHealthCheck{{APIVersion: "a.b/v1", HealthCheckExpressions: meta.HealthCheckExpressions{Current: "("}}}
	})
	e.start()
	e.becomes("a", "False InvalidCELExpression: spec.dependsOn[0].readyExpr: check the CEL expression")
	e.becomes("b", "False InvalidCELExpression: spec.healthCheckExprs[0].current: parse the CEL expression")
	e.Expect(e.condition("a", "Stalled")).To(HavePrefix("True InvalidCELExpression"))
	e.Expect(e.object("v1", "ConfigMap", "one")).To(BeNil())
}

func TestCyclesAreNamed(t *testing.T) {
	e := newEnv(t)
	e.push("1", "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("a", at("", meta.DependencyReference{Name: "b"}))
	e.kustomization("b", at("", meta.DependencyReference{Name: "c"}, meta.DependencyReference{Name: "x"}))
	e.kustomization("c", at("", meta.DependencyReference{Name: "a"}))
	e.kustomization("self", at("", meta.DependencyReference{Name: "self"}))
	e.start()
	e.becomes("a", "False DependencyNotReady: dependency 'NS/b' is not ready: the dependencies form a cycle, NS/a → NS/b → NS/c → NS/a")
	e.becomes("self", "False DependencyNotReady: dependency 'NS/self' is not ready: the dependencies form a cycle, NS/self → NS/self")
}

func TestReferencesStayInTheNamespaceWhereThatIsAsked(t *testing.T) {
	e := newEnv(t)
	e.options.NoCrossNamespaceRefs = true
	e.push("1", "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("source", func(obj *kustomizev1.Kustomization) { obj.Spec.SourceRef.Namespace = "default" })
	e.kustomization("dependency", at("", meta.DependencyReference{Name: "x", Namespace: "default"}))
	e.kustomization("fine", func(obj *kustomizev1.Kustomization) { obj.Spec.SourceRef.Namespace = obj.Namespace })
	e.start()
	e.becomes("source", "False AccessDenied: can't access 'default/repo', cross-namespace references have been blocked")
	e.becomes("dependency", "False AccessDenied: can't access 'default/x', cross-namespace references have been blocked")
	e.becomes("fine", "True")
}

func TestExternalArtifacts(t *testing.T) {
	for how, on := range map[string]bool{"off": false, "on": true} {
		t.Run(how, func(t *testing.T) {
			e := newEnv(t)
			e.options.ExternalArtifacts = on
			e.push("1", "one.yaml", configMap("one", "NS", "a"))
			made := &sourcev1.ExternalArtifact{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "made"}}
			e.Expect(e.hub.Create(t.Context(), made)).To(Succeed())
			made.Status.Artifact = e.repository().Status.Artifact
			e.Expect(e.hub.Status().Update(t.Context(), made)).To(Succeed())
			e.kustomization("web", func(obj *kustomizev1.Kustomization) {
				obj.Spec.SourceRef = kustomizev1.CrossNamespaceSourceReference{Kind: "ExternalArtifact", Name: "made"}
			})
			e.start()
			if !on {
				e.becomes("web", "False FeatureGateDisabled: spec.sourceRef.kind: the feature gate ExternalArtifact is off")
				return
			}
			e.becomes("web", "False ArtifactFailed: Source artifact not found, retrying in 30s")
			made.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: "True", Reason: "Made", LastTransitionTime: metav1.Now()}}
			e.Expect(e.hub.Status().Update(t.Context(), made)).To(Succeed())
			e.becomes("web", "True ReconciliationSucceeded: Applied revision: main@sha1:1")
		})
	}
}

// A Kustomization at rest is woken by what it reads and that is labelled, and finds out at
// its next run of what is not.
func TestLabelledConfigsWakeTheirReaders(t *testing.T) {
	e := newEnv(t)
	e.push("1", "one.yaml", configMap("${name}", "NS", "${value}"))
	kinds := map[string]func(name, value string) client.Object{
		"ConfigMap": func(name, value string) client.Object {
			return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: name}, Data: map[string]string{"value": value}}
		},
		"Secret": func(name, value string) client.Object {
			return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: name}, StringData: map[string]string{"value": value}}
		},
	}
	var names []string
	label := map[string]string{"reconcile.fluxcd.io/watch": "Enabled"}
	for kind, made := range kinds {
		for how, labels := range map[string]map[string]string{"watched": label, "plain": nil} {
			name := strings.ToLower(kind) + "-" + how
			names = append(names, name)
			config := made(name, "before")
			config.SetLabels(labels)
			e.Expect(e.hub.Create(t.Context(), config)).To(Succeed())
			e.kustomization(name, func(obj *kustomizev1.Kustomization) {
				obj.Spec.PostBuild = &kustomizev1.PostBuild{
					Substitute: map[string]string{"name": "of-" + name}, SubstituteFrom: []kustomizev1.SubstituteReference{{Kind: kind, Name: name}},
				}
			})
		}
	}
	value := func(name string) func() any {
		return func() any {
			said, _, _ := unstructured.NestedString(e.object("v1", "ConfigMap", "of-"+name).Object, "data", "value")
			return said
		}
	}
	e.start()
	for _, name := range names {
		e.becomes(name, "True")
	}
	e.atRest()
	for kind, made := range kinds {
		for _, how := range []string{"plain", "watched"} {
			config := made(strings.ToLower(kind)+"-"+how, "after")
			e.Expect(e.hub.Patch(t.Context(), config, client.Merge)).To(Succeed())
		}
	}
	for kind := range kinds {
		e.Eventually(value(strings.ToLower(kind)+"-watched"), within, "50ms").Should(Equal("after"))
	}
	for kind := range kinds {
		plain := strings.ToLower(kind) + "-plain"
		e.Expect(value(plain)()).To(Equal("before"), "nobody has told of it")
		e.request(plain, "1")
		e.Eventually(value(plain), within, "50ms").Should(Equal("after"))
	}
}

func TestConfigsOfAKustomization(t *testing.T) {
	g := NewWithT(t)
	got := configsOf(&kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "a"}, Spec: kustomizev1.KustomizationSpec{
		PostBuild:  &kustomizev1.PostBuild{SubstituteFrom: []kustomizev1.SubstituteReference{{Kind: "ConfigMap", Name: "vars"}, {Kind: "Secret", Name: "more"}}},
		Decryption: &kustomizev1.Decryption{SecretRef: &meta.LocalObjectReference{Name: "keys"}},
		KubeConfig: &meta.KubeConfigReference{ConfigMapRef: &meta.LocalObjectReference{Name: "cloud"}},
	}})
	g.Expect(got).To(Equal([]string{"ConfigMap/a/vars", "Secret/a/more", "Secret/a/keys", "ConfigMap/a/cloud"}))
}

func TestCustomHealthChecks(t *testing.T) {
	e := newEnv(t)
	group := e.namespace + ".example.com"
	e.push("1",
		"crd.yaml", "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: stores."+group+"}\nspec:\n  group: "+group+
			"\n  names: {kind: Store, plural: stores}\n  scope: Namespaced\n  versions:\n  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}\n",
		"store.yaml", "apiVersion: "+group+"/v1\nkind: Store\nmetadata: {name: main, namespace: NS}\nspec: {size: 3}\n")
	e.kustomization("web", waits5m, func(obj *kustomizev1.Kustomization) {
		obj.Spec.HealthCheckExprs = []meta.CustomHealthCheck{{APIVersion: group + "/v1", Kind: "Store", HealthCheckExpressions: meta.HealthCheckExpressions{
			Current: "status.phase == 'Done'", Failed: "status.phase == 'Broken'",
		}}}
	})
	e.start()
	e.becomes("web", "Unknown Progressing: waiting for: [Store/NS/main status: 'Unknown': evaluate the CEL expression")
	phase := func(value string) {
		store := e.object(group+"/v1", "Store", "main")
		e.Expect(unstructured.SetNestedField(store.Object, value, "status", "phase")).To(Succeed())
		e.Expect(e.hub.Update(t.Context(), store)).To(Succeed())
	}
	phase("Working")
	e.becomes("web", "Unknown Progressing: waiting for: [Store/NS/main status: 'InProgress']")
	phase("Broken")
	e.becomes("web", "False HealthCheckFailed: health check failed: failed early due to stalled resources: [Store/NS/main status: 'Failed']")
	phase("Done")
	e.becomes("web", "True")
	e.published("Health check passed map[kustomize.toolkit.fluxcd.io/revision:main@sha1:1]")
	e.published("Applied revision: main@sha1:1 map[kustomize.toolkit.fluxcd.io/commit_status:update kustomize.toolkit.fluxcd.io/revision:main@sha1:1]")
}

func TestDeletionWaitsForTermination(t *testing.T) {
	for how, inTime := range map[string]bool{"in time": true, "too late": false} {
		t.Run(how, func(t *testing.T) {
			e := newEnv(t)
			clock := clocktesting.NewFakeClock(time.Now())
			e.clock = clock
			e.push("1", "one.yaml", strings.Replace(configMap("one", "NS", "a"), "metadata:", "metadata:\n  finalizers: [example.com/hold]", 1))
			e.kustomization("web", func(obj *kustomizev1.Kustomization) {
				obj.Spec.Prune = false
				obj.Spec.DeletionPolicy = "WaitForTermination"
				obj.Spec.Timeout = duration(time.Minute)
			})
			e.start()
			e.becomes("web", "True")
			obj := e.get("web")
			e.Expect(e.hub.Delete(t.Context(), obj)).To(Succeed())
			e.becomes("web", "Unknown Progressing: waiting for termination of: [ConfigMap/NS/one status: 'Terminating']")
			if inTime {
				e.release("one")
			} else {
				clock.Step(2 * time.Minute)
			}
			e.Eventually(func() error { return e.hub.Get(t.Context(), client.ObjectKeyFromObject(obj), obj) }, "20s").Should(MatchError(ContainSubstring("not found")))
			if !inTime {
				e.published("Warning PruneFailed termination failed after 1m0s: timeout waiting for: [ConfigMap/")
				e.release("one")
			}
		})
	}
}

// mute is a target that does not answer reads as long as it is told to.
type mute struct {
	client.Client
	quiet *atomic.Bool
}

func (m *mute) Get(ctx context.Context, key client.ObjectKey, obj client.Object, options ...client.GetOption) error {
	if err := m.Client.Get(ctx, key, obj, options...); err != nil || !m.quiet.Load() || obj.GetDeletionTimestamp().IsZero() {
		return err
	}
	return apierrors.NewTooManyRequests("busy", 1)
}

func TestATargetThatIsBusyIsWaitedFor(t *testing.T) {
	e := newEnv(t)
	var quiet atomic.Bool
	e.wrap = func(next client.Client) client.Client { return &mute{next, &quiet} }
	e.push("1", "one.yaml", strings.Replace(configMap("one", "NS", "a"), "metadata:", "metadata:\n  finalizers: [example.com/hold]", 1))
	e.kustomization("web", func(obj *kustomizev1.Kustomization) { obj.Spec.DeletionPolicy = "WaitForTermination" })
	e.start()
	e.becomes("web", "True")
	quiet.Store(true)
	obj := e.get("web")
	e.Expect(e.hub.Delete(t.Context(), obj)).To(Succeed())
	e.becomes("web", "False PruneFailed: ConfigMap/NS/one get failed (TooManyRequests)")
	quiet.Store(false)
	e.becomes("web", "Unknown Progressing: waiting for termination of: [ConfigMap/NS/one status: 'Terminating']")
	e.release("one")
	e.Eventually(func() error { return e.hub.Get(t.Context(), client.ObjectKeyFromObject(obj), obj) }, "20s").Should(MatchError(ContainSubstring("not found")))
}

// slow is a target that takes nothing before it is told to.
type slow struct {
	client.Client
	open chan struct{}
}

func (s *slow) Get(ctx context.Context, key client.ObjectKey, obj client.Object, options ...client.GetOption) error {
	<-s.open
	return s.Client.Get(ctx, key, obj, options...)
}

func TestALongRunSaysWhatItIsAt(t *testing.T) {
	e := newEnv(t)
	open := make(chan struct{})
	e.wrap = func(next client.Client) client.Client { return &slow{next, open} }
	e.push("1", "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("web")
	e.start()
	e.Eventually(func() string { return e.condition("web", "Reconciling") }, within).Should(
		Equal("True Progressing: Detecting drift for revision main@sha1:1 with a timeout of 59m30s"))
	close(open)
	e.becomes("web", "True")
	e.Expect(e.condition("web", "Reconciling")).To(BeEmpty())
}

// release removes the finalizers of a ConfigMap.
func (e *env) release(name string) {
	e.t.Helper()
	obj := e.object("v1", "ConfigMap", name)
	obj.SetFinalizers(nil)
	e.Expect(e.hub.Update(e.t.Context(), obj)).To(Succeed())
}

func TestServiceAccountsDoTheWork(t *testing.T) {
	e := newEnv(t)
	e.push("1", "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("web", func(obj *kustomizev1.Kustomization) { obj.Spec.ServiceAccountName = "tenant" })
	e.start()
	e.becomes("web", `False ReconciliationFailed: ConfigMap/NS/one get failed (Forbidden): configmaps "one" is forbidden: User "system:serviceaccount:NS:tenant" cannot get resource "configmaps"`)
	e.Expect(e.object("v1", "ConfigMap", "one")).To(BeNil())

	e.Expect(e.hub.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "tenant"}})).To(Succeed())
	e.Expect(e.hub.Create(t.Context(), &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "tenant"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"*"}}},
	})).To(Succeed())
	e.Expect(e.hub.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "tenant"},
		RoleRef:    rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: "tenant"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: e.namespace, Name: "tenant"}},
	})).To(Succeed())
	e.becomes("web", "True")

	// Without the account nothing can be pruned any more, and the
	// Kustomization goes all the same.
	e.Expect(e.hub.Delete(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "tenant"}})).To(Succeed())
	obj := e.get("web")
	e.Expect(e.hub.Delete(t.Context(), obj)).To(Succeed())
	e.Eventually(func() error { return e.hub.Get(t.Context(), client.ObjectKeyFromObject(obj), obj) }, "20s").Should(MatchError(ContainSubstring("not found")))
	e.published("Warning PruneFailed unable to prune objects: spec.serviceAccountName \"tenant\": the ServiceAccount to impersonate does not exist")
	e.Expect(e.object("v1", "ConfigMap", "one")).NotTo(BeNil())
}

func TestTheDefaultServiceAccount(t *testing.T) {
	e := newEnv(t)
	e.options.DefaultServiceAccount = "nobody"
	e.push("1", "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("web")
	e.start()
	e.becomes("web", `False ReconciliationFailed: ConfigMap/NS/one get failed (Forbidden): configmaps "one" is forbidden: User "system:serviceaccount:NS:nobody"`)
}

func TestHistoryIsWrittenWithWhatChanges(t *testing.T) {
	e := newEnv(t)
	e.push("1", "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("web")
	e.start()
	e.becomes("web", "True")
	first := e.get("web").Status.History
	e.Expect(first).To(HaveLen(1))
	e.Expect(first[0].LastReconciledStatus).To(Equal("ReconciliationSucceeded"))
	e.Expect(first[0].Metadata).To(Equal(map[string]string{"revision": "main@sha1:1"}))
	e.Expect(first[0].TotalReconciliations).To(Equal(int64(1)))

	e.request("web", "again")
	e.Expect(e.get("web").Status.History).To(Equal(first), "nothing else has changed")
	e.push("2", "one.yaml", configMap("one", "NS", "a"), "README.md", "no object")
	e.becomes("web", "True ReconciliationSucceeded: Applied revision: main@sha1:2")
	second := e.get("web").Status.History
	e.Expect(second).To(HaveLen(1), "the same objects")
	// At least: that the connection was made wakes what applies there as well, and may come after the first run.
	e.Expect(second[0].TotalReconciliations).To(BeNumerically(">=", 3), "with the run that wrote nothing")
	e.Expect(second[0].Metadata).To(Equal(map[string]string{"revision": "main@sha1:2"}))

	e.push("3", "one.yaml", configMap("one", "NS", "a"), "bad.yaml", configMap("one", "nowhere", "a"))
	e.becomes("web", "False ReconciliationFailed")
	third := e.get("web").Status
	e.Expect(third.History).To(HaveLen(2))
	e.Expect(third.History[0].LastReconciledStatus).To(Equal("ReconciliationFailed"))
	e.Expect(third.LastAttemptedRevision).To(Equal("main@sha1:3"))
	e.Expect(third.LastAppliedRevision).To(Equal("main@sha1:2"))
	e.Expect(apimeta.IsStatusConditionTrue(third.Conditions, "Ready")).To(BeFalse())
}

func TestWithSnapshot(t *testing.T) {
	g := NewWithT(t)
	moment := func(minute int) metav1.Time { return metav1.NewTime(time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC)) }
	var history meta.History
	for i, digest := range []string{"a", "b", "a", "c", "d", "e", "f"} {
		history = withSnapshot(history, meta.Snapshot{Digest: digest, LastReconciled: moment(i), LastReconciledStatus: "S", TotalReconciliations: 2})
	}
	var got []string
	for _, snapshot := range history {
		got = append(got, snapshot.Digest)
	}
	g.Expect(got).To(Equal([]string{"f", "e", "d", "c", "a"}), "the newest first, five at most")
	g.Expect(history[4].TotalReconciliations).To(Equal(int64(4)))
	g.Expect(history[4].FirstReconciled).To(Equal(moment(0)))
	g.Expect(history[4].LastReconciled).To(Equal(moment(2)))
	history = withSnapshot(history, meta.Snapshot{Digest: "f", LastReconciledStatus: "F", LastReconciled: moment(9)})
	g.Expect(history[0].LastReconciledStatus).To(Equal("F"), "another outcome is another snapshot")
	g.Expect(history[1].Digest).To(Equal("f"))
}

func TestIgnoredFieldsAreLeftToOthers(t *testing.T) {
	e := newEnv(t)
	scaled := strings.Replace(deployment, "\nspec:\n", "\nspec:\n  replicas: 2\n  minReadySeconds: 3\n", 1)
	e.push("1", "web.yaml", scaled)
	e.kustomization("web", func(obj *kustomizev1.Kustomization) {
		obj.Spec.Ignore = []meta.IgnoreRule{{Paths: []string{"/spec/replicas"}, Target: &meta.Selector{Kind: "Deployment"}}}
	})
	e.start()
	e.becomes("web", "True")
	field := func(name string) int64 {
		value, _, err := unstructured.NestedInt64(e.object("apps/v1", "Deployment", "web").Object, "spec", name)
		e.Expect(err).NotTo(HaveOccurred())
		return value
	}
	e.Expect(field("replicas")).To(Equal(int64(2)), "a new object gets all of its manifest")
	for i, replicas := range []int64{5, 6} {
		live := e.object("apps/v1", "Deployment", "web")
		e.Expect(unstructured.SetNestedField(live.Object, replicas, "spec", "replicas")).To(Succeed())
		e.Expect(unstructured.SetNestedField(live.Object, int64(9), "spec", "minReadySeconds")).To(Succeed())
		e.Expect(e.hub.Update(t.Context(), live, client.FieldOwner("autoscaler"))).To(Succeed())
		e.request("web", []string{"first", "second"}[i])
		e.Expect(field("replicas")).To(Equal(replicas))
		e.Expect(field("minReadySeconds")).To(Equal(int64(3)), "no rule is for it")
	}
	before := e.object("apps/v1", "Deployment", "web").GetResourceVersion()
	e.request("web", "third")
	e.Expect(e.object("apps/v1", "Deployment", "web").GetResourceVersion()).To(Equal(before))

	e.edit("web", func(obj *kustomizev1.Kustomization) { obj.Spec.Ignore[0].Paths = []string{"/metadata/name"} })
	e.becomes("web", `False ReconciliationFailed: spec.ignore[0].paths: "/metadata/name": it is what the object is known by`)
}

// What kubectl has set is taken from it as it is, where a rule leaves the field alone.
func TestIgnoredFieldsThatKubectlHasSetStay(t *testing.T) {
	e := newEnv(t)
	scaled := strings.Replace(deployment, "\nspec:\n", "\nspec:\n  replicas: 2\n  minReadySeconds: 3\n", 1)
	live := parsed(e, strings.Replace(scaled, "replicas: 2", "replicas: 4", 1))
	e.Expect(e.hub.Create(t.Context(), live, client.FieldOwner("kubectl-create"))).To(Succeed())
	e.push("1", "web.yaml", scaled)
	e.kustomization("web", func(obj *kustomizev1.Kustomization) {
		obj.Spec.Ignore = []meta.IgnoreRule{{Paths: []string{"/spec/replicas"}}}
	})
	e.start()
	e.becomes("web", "True")
	replicas := func() int64 {
		value, _, err := unstructured.NestedInt64(e.object("apps/v1", "Deployment", "web").Object, "spec", "replicas")
		e.Expect(err).NotTo(HaveOccurred())
		return value
	}
	scale := func(to int64) {
		live := e.object("apps/v1", "Deployment", "web")
		e.Expect(unstructured.SetNestedField(live.Object, to, "spec", "replicas")).To(Succeed())
		e.Expect(e.hub.Update(t.Context(), live, client.FieldOwner("kubectl-edit"))).To(Succeed())
	}
	e.Expect(replicas()).To(Equal(int64(4)), "as kubectl has made it")
	scale(5)
	e.request("web", "first")
	e.Expect(replicas()).To(Equal(int64(5)), "as kubectl has set it")

	e.push("2", "web.yaml", strings.Replace(scaled, "  replicas: 2\n", "", 1))
	e.becomes("web", "True ReconciliationSucceeded: Applied revision: main@sha1:2")
	e.Expect(replicas()).To(Equal(int64(5)), "the manifest says no more of it")
	scale(6)
	e.request("web", "second")
	e.Expect(replicas()).To(Equal(int64(6)), "as kubectl has set it")
}

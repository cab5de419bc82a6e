package helm

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	helmaction "helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart/loader"
	helmrelease "helm.sh/helm/v3/pkg/release"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
)

// cli is what the helm CLI's commands are made of, as it sets them up itself.
func (e *env) cli() *helmaction.Configuration {
	e.t.Helper()
	path := filepath.Join(e.t.TempDir(), "kubeconfig")
	content, err := shared.ControlPlane(e.t).Kubeconfig()
	e.Expect(err).NotTo(HaveOccurred())
	e.Expect(os.WriteFile(path, content, 0o600)).To(Succeed())
	settings := genericclioptions.NewConfigFlags(false)
	settings.KubeConfig, settings.Namespace = &path, &e.namespace
	made := &helmaction.Configuration{}
	e.Expect(made.Init(settings, e.namespace, "secret", func(string, ...any) {})).To(Succeed())
	return made
}

// helm runs the helm CLI on the namespace, and returns what it says.
func (e *env) helm(args ...string) string {
	e.t.Helper()
	said, err := e.try(args...)
	e.Expect(err).NotTo(HaveOccurred(), said)
	return said
}

func (e *env) try(args ...string) (said string, err error) {
	e.t.Helper()
	path := filepath.Join(e.t.TempDir(), "kubeconfig")
	content, err := shared.ControlPlane(e.t).Kubeconfig()
	e.Expect(err).NotTo(HaveOccurred())
	e.Expect(os.WriteFile(path, content, 0o600)).To(Succeed())
	command := exec.CommandContext(e.t.Context(), helmBinary(e.t), append([]string{"--kubeconfig", path, "--namespace", e.namespace}, args...)...)
	command.Env = append(os.Environ(), "HELM_CONFIG_HOME="+e.t.TempDir(), "HELM_CACHE_HOME="+e.t.TempDir(), "HELM_DATA_HOME="+e.t.TempDir())
	out, err := command.CombinedOutput()
	return string(out), err
}

// helmBinary builds the helm CLI of the release that this module uses, unless that
// was done before.
func helmBinary(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "bin", "helm"))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	buildHelm.Do(func() {
		out, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", path, "helm.sh/helm/v3/cmd/helm").CombinedOutput()
		NewWithT(t).Expect(err).NotTo(HaveOccurred(), string(out))
	})
	return path
}

var buildHelm sync.Once

func TestTheHelmCLIReadsAndChangesReleases(t *testing.T) {
	e := newEnv(t)
	e.release("web", func(obj *helmv2.HelmRelease) { obj.Spec.Values = values("value: mine") })
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
	e.push("web", appChart("1.1.0", nil))
	e.becomes("web", "True UpgradeSucceeded")

	e.Expect(e.helm("list")).To(MatchRegexp(`web\s+\S+\s+2\s.*\sdeployed\s+app-1\.1\.0\s+a1\.1\.0`))
	e.Expect(e.helm("history", "web")).To(And(MatchRegexp(`1\s.*superseded\s+app-1\.0\.0`), MatchRegexp(`2\s.*deployed\s+app-1\.1\.0`)))
	e.Expect(e.helm("get", "values", "web", "--output", "json")).To(MatchJSON(`{"value":"mine"}`))
	e.Expect(e.helm("get", "manifest", "web")).To(ContainSubstring("kind: ConfigMap"))
	e.Expect(e.helm("status", "web")).To(ContainSubstring("STATUS: deployed"))

	// A rollback from outside is noticed, and what is wanted is released again.
	e.Expect(e.helm("rollback", "web", "1")).To(ContainSubstring("Rollback was a success"))
	e.becomes("web", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/web.v4 with chart app@1.1.0")
	e.Expect(e.records("web")).To(Equal([]string{"v4 deployed", "v3 superseded", "v2 superseded", "v1 superseded"}))

	// So is an uninstall.
	e.Expect(e.helm("uninstall", "web")).To(ContainSubstring("uninstalled"))
	e.becomes("web", "True InstallSucceeded: Helm install succeeded for release NS/web.v1 with chart app@1.1.0")
}

func TestAReleaseThatAnAgentHasLeftPendingIsTriedAgain(t *testing.T) {
	for _, status := range []helmrelease.Status{helmrelease.StatusPendingInstall, helmrelease.StatusPendingUpgrade, helmrelease.StatusPendingRollback, helmrelease.StatusUninstalling} {
		t.Run(status.String(), func(t *testing.T) {
			e := newEnv(t)
			e.release("web", func(obj *helmv2.HelmRelease) {
				obj.Spec.Upgrade = &helmv2.Upgrade{Remediation: &helmv2.UpgradeRemediation{}}
				obj.Spec.Install = &helmv2.Install{Remediation: &helmv2.InstallRemediation{}}
			})
			stop := e.start()
			e.push("web", appChart("1.0.0", nil))
			e.becomes("web", "True InstallSucceeded")
			stop()
			records := e.cli().Releases
			left, err := records.Last("web")
			e.Expect(err).NotTo(HaveOccurred())
			left.Info.Status = status
			if status == helmrelease.StatusPendingInstall || status == helmrelease.StatusUninstalling {
				e.Expect(records.Update(left)).To(Succeed())
			} else {
				left.Version = 2
				e.Expect(records.Create(left)).To(Succeed())
			}
			e.identity = "agent-0_2"
			e.start()
			e.request("1")
			e.Eventually(func() helmrelease.Status {
				last, err := records.Last("web")
				if err != nil {
					return ""
				}
				return last.Info.Status
			}, within, "50ms").Should(Equal(helmrelease.StatusDeployed))
			e.becomes("web", "True ")
			e.Expect(e.get("web").Status.Failures).To(BeZero())
			e.Expect(e.value("web")).To(Equal("default"))
		})
	}
}

// assign gives all partitions of the hub to the agent, and waits until no fence is
// held by the one before it.
func (e *env) assign(agent string) {
	e.t.Helper()
	record := &fleetv1.RemoteCluster{}
	e.Expect(e.hub.Get(e.t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "hub"}, record)).To(Succeed())
	before := record.DeepCopy()
	for i := range record.Status.Assignments {
		record.Status.Assignments[i].Agent = agent
	}
	// An agent may report in the same moment.
	e.Expect(e.hub.Status().Patch(e.t.Context(), record, client.MergeFrom(before))).To(Succeed())
}

// held is how many fences are.
func (e *env) held() int {
	e.t.Helper()
	var leases coordinationv1.LeaseList
	e.Expect(e.hub.List(e.t.Context(), &leases, client.InNamespace(e.namespace))).To(Succeed())
	held := 0
	for _, lease := range leases.Items {
		if ptr.Deref(lease.Spec.HolderIdentity, "") != "" {
			held++
		}
	}
	return held
}

func TestAReleaseGoesOnWhenItsClusterComesBack(t *testing.T) {
	e := newEnv(t)
	e.release("web")
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
	e.assign("agent-1")
	e.Eventually(e.held, within, "50ms").Should(BeZero())
	e.assign("agent-0")
	e.push("web", appChart("1.1.0", nil))
	e.becomes("web", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/web.v2 with chart app@1.1.0")
	e.Expect(e.get("web").Status.Failures).To(BeZero())
}

// What ends while its cluster is handed over is taken over as it has ended.
func TestWhatHasEndedInAHandOverIsNotDoneAgain(t *testing.T) {
	e := newEnv(t)
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.CommonMetadata = &meta.CommonMetadata{Labels: map[string]string{"team": "a"}}
		obj.Spec.PostRenderers = []helmv2.PostRenderer{{Kustomize: &helmv2.Kustomize{Images: []meta.Image{{Name: "a", NewName: "b"}}}}}
		obj.Spec.Upgrade = &helmv2.Upgrade{Remediation: &helmv2.UpgradeRemediation{RemediateLastFailure: ptr.To(true)}}
	})
	stop := e.start()
	e.push("web", appChart("1.0.0", files{"templates/post.yaml": hookPod("post-install", "0")}))
	e.another("web-post-install")
	stop = e.handOver(stop, func() { e.finish(t.Context(), "web-post-install", true) }, "v1 deployed")
	e.becomes("web", "True ")
	e.Expect(e.records("web")).To(Equal([]string{"v1 deployed"}))

	e.push("web", appChart("1.1.0", files{"templates/post.yaml": hookPod("post-upgrade", "0")}))
	e.another("web-post-upgrade")
	e.handOver(stop, func() { e.finish(t.Context(), "web-post-upgrade", false) }, "v2 failed")
	e.becomes("web", "False RetriesExceeded")
	e.Expect(e.get("web").Status.UpgradeFailures).To(Equal(int64(1)))
	e.Expect(e.records("web")).To(Equal([]string{"v3 deployed", "v2 failed", "v1 superseded"}))
}

// handOver has an action end while the hub is handed over to the next agent.
func (e *env) handOver(stop, end func(), newest string) (stopNext func()) {
	e.t.Helper()
	before := e.get("web").Status
	e.assign("agent-1")
	e.Eventually(func() bool { return e.admits() }, "2m", "20ms").Should(BeFalse())
	end()
	e.Eventually(func() string { return e.records("web")[0] }, within, "50ms").Should(Equal(newest))
	e.Eventually(e.held, within, "50ms").Should(BeZero())
	e.Expect(e.get("web").Status.History).To(Equal(before.History))
	stop()
	e.identity += "+"
	e.assign("agent-0")
	return e.start()
}

// admits says whether the agent takes runs of the HelmRelease web.
func (e *env) admits() bool {
	e.t.Helper()
	end, _ := e.agent.Targets.Admit(keyOf(e.get("web")))
	if end == nil {
		return false
	}
	end()
	return true
}

// In bench, a release that Flux 2.9 has made, with what it had in the cluster and
// in its status before it was told of other values.
func TestAReleaseThatFluxHasMadeIsAdopted(t *testing.T) {
	e := newEnvIn(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "bench"}})
	var before []*unstructured.Unstructured
	for _, file := range []string{"helm-storage.yaml", "helmrelease-objects.yaml"} {
		for _, obj := range recorded(e, file) {
			if strings.HasSuffix(obj.GetName(), ".v2") {
				continue // the upgrade that was under way
			}
			e.Expect(e.hub.Create(t.Context(), obj)).To(Succeed())
			before = append(before, obj)
		}
	}
	loaded, err := loader.Load(filepath.Join("..", "..", "hub", "source", "helm", "testdata", "podinfo"))
	e.Expect(err).NotTo(HaveOccurred())
	recordedRelease := recorded(e, "helmrelease.yaml")[0]
	raw, err := json.Marshal(recordedRelease)
	e.Expect(err).NotTo(HaveOccurred())
	obj := &helmv2.HelmRelease{}
	e.Expect(json.Unmarshal(raw, obj)).To(Succeed())
	snapshot := obj.Status.History[0]
	repository := &sourcev1.OCIRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: "bench", Name: "chart"},
		Spec:       sourcev1.OCIRepositorySpec{URL: "oci://example.com/podinfo", Interval: metav1.Duration{Duration: 3600e9}},
	}
	e.Expect(e.hub.Create(t.Context(), repository)).To(Succeed())
	repository.Status.Artifact = e.publish("OCIRepository", "chart", "6.14.1@"+snapshot.OCIDigest, e.save(loaded))
	repository.Status.ObservedGeneration = repository.Generation
	e.Expect(e.hub.Status().Update(t.Context(), repository)).To(Succeed())

	status := obj.Status
	obj.Spec.Values = values("{replicaCount: 0, serviceAccount: {enabled: true}, ui: {message: v1}}")
	e.Expect(e.hub.Create(t.Context(), obj)).To(Succeed())
	obj.Status = status
	obj.Status.Conditions, obj.Status.LastAttemptedConfigDigest = nil, snapshot.ConfigDigest
	obj.Status.ObservedGeneration, obj.Status.LastAttemptedGeneration = 1, 1
	e.Expect(e.hub.Status().Update(t.Context(), obj)).To(Succeed())
	e.start()
	e.becomes("app-0000", "True Succeeded: release NS/app-0000.v1 with chart podinfo@6.14.1+5058a9f65092 is in sync")
	e.Expect(e.records("app-0000")).To(Equal([]string{"v1 deployed"}))
	for _, was := range before {
		now := &unstructured.Unstructured{}
		now.SetGroupVersionKind(was.GroupVersionKind())
		e.Expect(e.hub.Get(t.Context(), client.ObjectKeyFromObject(was), now)).To(Succeed())
		e.Expect(now.GetResourceVersion()).To(Equal(was.GetResourceVersion()), "%s %s was written", was.GetKind(), was.GetName())
	}

	// What comes next is one upgrade, by Helm 3.
	e.edit("app-0000", func(obj *helmv2.HelmRelease) {
		obj.Spec.Values = values("{replicaCount: 0, serviceAccount: {enabled: true}, ui: {message: v2}}")
		obj.Spec.Upgrade = &helmv2.Upgrade{DisableWait: true}
	})
	e.becomes("app-0000", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/app-0000.v2 with chart podinfo@6.14.1+5058a9f65092")
}

// recorded reads the objects of a list that was recorded, as they can be created.
func recorded(e *env, file string) []*unstructured.Unstructured {
	e.t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "flux-2.9", file))
	e.Expect(err).NotTo(HaveOccurred())
	var list unstructured.UnstructuredList
	content, err := yaml.YAMLToJSON(raw)
	e.Expect(err).NotTo(HaveOccurred())
	e.Expect(list.UnmarshalJSON(content)).To(Succeed())
	found := make([]*unstructured.Unstructured, 0, len(list.Items))
	for i := range list.Items {
		obj := &list.Items[i]
		for _, field := range []string{"uid", "resourceVersion", "creationTimestamp", "managedFields"} {
			unstructured.RemoveNestedField(obj.Object, "metadata", field)
		}
		unstructured.RemoveNestedField(obj.Object, "spec", "clusterIP")
		unstructured.RemoveNestedField(obj.Object, "spec", "clusterIPs")
		found = append(found, obj)
	}
	return found
}

// finish plays the kubelet for the Pod of a hook.
func (e *env) finish(ctx context.Context, name string, succeeds bool) {
	e.t.Helper()
	key := client.ObjectKey{Namespace: e.namespace, Name: name}
	pod := &corev1.Pod{}
	e.Eventually(func() error { return e.hub.Get(ctx, key, pod) }, "2m", "20ms").Should(Succeed())
	pod.Status.Phase = corev1.PodSucceeded
	if !succeeds {
		pod.Status.Phase = corev1.PodFailed
	}
	e.Expect(e.hub.Status().Update(ctx, pod)).To(Succeed())
}

const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: {{ .Release.Name }}-KIND, annotations: {helm.sh/hook: KIND, helm.sh/hook-weight: 'WEIGHT'}}\nspec: {containers: [{name: a, image: a}]}\n"

func hookPod(kind, weight string) string {
	return strings.NewReplacer("KIND", kind, "WEIGHT", weight).Replace(pod)
}

func TestHooksAndTestsRunInTheirOrder(t *testing.T) {
	e := newEnv(t)
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.Install = &helmv2.Install{Strategy: &helmv2.InstallStrategy{
			Name: helmv2.ActionStrategyRetryOnFailure, RetryInterval: &metav1.Duration{Duration: 3600e9},
		}}
		obj.Spec.Test = &helmv2.Test{Enable: true, Filters: &[]helmv2.Filter{{Name: "web-other", Exclude: true}}}
	})
	e.start()
	e.push("web", appChart("1.0.0", files{
		"templates/pre.yaml":   hookPod("pre-install", "1"),
		"templates/post.yaml":  hookPod("post-install", "0"),
		"templates/test.yaml":  hookPod("test", "0"),
		"templates/other.yaml": strings.Replace(hookPod("test", "0"), "}}-test", "}}-other", 1),
	}))
	e.finish(t.Context(), "web-pre-install", true)
	e.finish(t.Context(), "web-post-install", true)
	e.Expect(e.value("web")).To(Equal("default"))
	e.finish(t.Context(), "web-test", false)
	e.becomes("web", "False TestFailed: Helm test failed for release NS/web with chart app@1.0.0")
	e.Expect(e.condition("web", "TestSuccess")).To(HavePrefix("False TestFailed"))
	e.Expect(*e.get("web").Status.History[0].TestHooks).To(HaveKey("web-test"))

	e.edit("web", func(obj *helmv2.HelmRelease) { obj.Spec.Test.IgnoreFailures = true })
	e.becomes("web", "True ")
	e.Expect(e.get("web").Status.Failures).To(BeZero())
}

// A chart may ask for the logs of its hooks: nobody is there to read them.
func TestHooksWhoseLogsAreAskedFor(t *testing.T) {
	e := newEnv(t)
	e.release("web")
	e.start()
	logged := strings.Replace(hookPod("pre-install", "0"), "helm.sh/hook-weight", "helm.sh/hook-output-log-policy: hook-succeeded, helm.sh/hook-weight", 1)
	e.push("web", appChart("1.0.0", files{"templates/pre.yaml": logged}))
	e.finish(t.Context(), "web-pre-install", true)
	e.becomes("web", "True InstallSucceeded: Helm install succeeded for release NS/web.v1 with chart app@1.0.0")
}

// Helm stores the tests that a filter leaves out before the others: that is no
// other release.
func TestFilteredTestsLeaveTheReleaseAsItIs(t *testing.T) {
	e := newEnv(t)
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.Test = &helmv2.Test{Enable: true, Filters: &[]helmv2.Filter{{Name: "web-zlast", Exclude: true}}}
	})
	e.start()
	e.push("web", appChart("1.0.0", files{
		"templates/a.yaml": hookPod("test", "0"),
		"templates/z.yaml": strings.Replace(hookPod("test", "0"), "}}-test", "}}-zlast", 1),
	}))
	e.finish(t.Context(), "web-test", true)
	e.becomes("web", "True TestSucceeded")
	for _, again := range []string{"1", "2"} {
		e.request(again)
		e.becomes("web", "True TestSucceeded")
	}
	e.Expect(e.records("web")).To(Equal([]string{"v1 deployed"}))
}

// The reaction to an install that hangs is often another name for it: what was begun
// under the old one is taken away, whichever agent has begun it.
func TestAnInstallThatWasCutOffIsNotForgottenWithItsName(t *testing.T) {
	for name, change := range map[string]func(spec *helmv2.HelmReleaseSpec, other string){
		"name": func(spec *helmv2.HelmReleaseSpec, _ string) { spec.ReleaseName = "new" },
		"target namespace": func(spec *helmv2.HelmReleaseSpec, other string) {
			spec.ReleaseName, spec.TargetNamespace = "web", other
		},
		"storage namespace": func(spec *helmv2.HelmReleaseSpec, other string) { spec.StorageNamespace = other },
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			e.fence.Duration, e.fence.Request = 6*time.Second, 2*time.Second
			proxy := e.front()
			e.release("web", func(obj *helmv2.HelmRelease) { obj.Spec.KubeConfig = prod() })
			stop := e.start()
			e.push("web", appChart("1.0.0", files{"templates/post.yaml": hookPod("post-install", "0")}))
			e.another("web-post-install")
			proxy.Drop()
			stop()
			e.Expect(e.records("web")).To(Equal([]string{"v1 pending-install"}))
			e.Expect(e.value("web")).To(Equal("default"))

			other := e.namespace + "-other"
			e.Expect(e.hub.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: other}})).To(Succeed())
			e.edit("web", func(obj *helmv2.HelmRelease) { change(&obj.Spec, other) })
			e.Expect(proxy.Heal()).To(Succeed())
			e.identity = "agent-0_2"
			e.start()
			e.Eventually(func() string { return e.value("web") }, within, "50ms").Should(BeEmpty())
			e.published("UninstallSucceeded Helm uninstall succeeded for release " + e.namespace + "/web ")
		})
	}
}

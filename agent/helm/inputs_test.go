package helm

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/internal/testenv"
)

// dumps renders all values.
const dumps = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\ndata: {value: {{ omit .Values \"global\" | toJson | quote }}}\n"

func TestValuesAreLaidOverEachOther(t *testing.T) {
	e := newEnv(t)
	e.create("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: base, namespace: NS, labels: {reconcile.fluxcd.io/watch: Enabled}}\ndata:\n  values.yaml: 'a: {from: base, kept: 1}'\n  set: 'x,y'\n  number: '7'\n  quoted: \"'7'\"")
	e.create("apiVersion: v1\nkind: Secret\nmetadata: {name: over, namespace: NS}\nstringData: {more: 'a: {from: secret}'}")
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.Values = values("a: {own: true}\nvalue: inline")
		obj.Spec.ValuesFrom = []helmv2.ValuesReference{
			{Kind: "ConfigMap", Name: "base"},
			{Kind: "ConfigMap", Name: "base", ValuesKey: "set", TargetPath: "value", Literal: true},
			{Kind: "ConfigMap", Name: "base", ValuesKey: "number", TargetPath: "n[0].of"},
			{Kind: "ConfigMap", Name: "base", ValuesKey: "quoted", TargetPath: "q"},
			{Kind: "Secret", Name: "over", ValuesKey: "more"},
			{Kind: "Secret", Name: "none", Optional: true},
			{Kind: "Secret", Name: "over", ValuesKey: "none", Optional: true},
		}
	})
	e.start()
	e.push("web", appChart("1.0.0", files{"templates/one.yaml": dumps}))
	e.becomes("web", "True InstallSucceeded")
	e.Expect(e.value("web")).To(MatchJSON(`{"a":{"from":"secret","kept":1,"own":true},"n":[{"of":7}],"q":"7","value":"x,y"}`))

	var base corev1.ConfigMap
	e.Expect(e.hub.Get(t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "base"}, &base)).To(Succeed())
	base.Data["set"] = "z"
	e.Expect(e.hub.Update(t.Context(), &base)).To(Succeed())
	e.becomes("web", "True UpgradeSucceeded")
	e.Expect(e.value("web")).To(ContainSubstring(`"value":"z"`))
}

func TestALargeNumberIsReleasedOnce(t *testing.T) {
	e := newEnv(t)
	e.create("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ids, namespace: NS}\ndata: {id: '1234567890123456789'}")
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.ValuesFrom = []helmv2.ValuesReference{{Kind: "ConfigMap", Name: "ids", ValuesKey: "id", TargetPath: "value"}}
	})
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
	e.Expect(e.history("web")).To(Equal([]string{"v1 deployed by install"}))
	for _, again := range []string{"1", "2"} {
		e.request(again)
		e.becomes("web", "True InstallSucceeded")
	}
	e.Expect(e.records("web")).To(Equal([]string{"v1 deployed"}))
	e.Expect(e.value("web")).To(Equal("1234567890123456789"))
}

func TestChartsOfAnOCIRepository(t *testing.T) {
	e := newEnv(t)
	const digest = "sha256:5058a9f65092bb3f58b98378f38983ca4898cc8d27a5d92455ef99c757105577"
	repository := &sourcev1.OCIRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "chart"},
		Spec:       sourcev1.OCIRepositorySpec{URL: "oci://example.com/chart", Interval: metav1.Duration{Duration: 3600e9}},
	}
	e.Expect(e.hub.Create(t.Context(), repository)).To(Succeed())
	repository.Status.Artifact = e.publish("OCIRepository", "chart", "1.0.0@"+digest, e.pack(appChart("1.0.0", nil)))
	repository.Status.ObservedGeneration = repository.Generation
	e.Expect(e.hub.Status().Update(t.Context(), repository)).To(Succeed())
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.Chart, obj.Spec.ChartRef = nil, &helmv2.CrossNamespaceSourceReference{Kind: "OCIRepository", Name: "chart"}
	})
	e.start()
	e.becomes("web", "True InstallSucceeded: Helm install succeeded for release NS/web.v1 with chart app@1.0.0+5058a9f65092")
	e.Expect(e.get("web").Status.History[0].OCIDigest).To(Equal(digest))
	e.Expect(e.get("web").Status.HelmChart).To(BeEmpty())

	// Back to a chart in a repository: the same chart name goes on in place.
	e.edit("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.ChartRef = nil
		obj.Spec.Chart = &helmv2.HelmChartTemplate{Spec: helmv2.HelmChartTemplateSpec{
			Chart: "app", SourceRef: helmv2.CrossNamespaceObjectReference{Kind: "HelmRepository", Name: "repo"},
			ValuesFiles: []string{"a.yaml"}, ValuesFile: "b.yaml",
		}}
	})
	e.push("web", appChart("1.0.1", nil))
	e.becomes("web", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/web.v2 with chart app@1.0.1")
	made := &sourcev1.HelmChart{}
	e.Expect(e.hub.Get(t.Context(), client.ObjectKey{Namespace: e.namespace, Name: e.namespace + "-web"}, made)).To(Succeed())
	e.Expect(made.Spec.ValuesFiles).To(Equal([]string{"a.yaml", "b.yaml"}))
	e.Expect(made.Labels).To(HaveKeyWithValue("helm.toolkit.fluxcd.io/name", "web"))

	// And away from it: the HelmChart goes.
	e.edit("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.Chart, obj.Spec.ChartRef = nil, &helmv2.CrossNamespaceSourceReference{Kind: "OCIRepository", Name: "chart"}
	})
	e.becomes("web", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/web.v3 with chart app@1.0.0+5058a9f65092")
	e.Expect(client.IgnoreNotFound(e.hub.Get(t.Context(), client.ObjectKeyFromObject(made), made))).To(Succeed())
	e.Expect(e.get("web").Status.HelmChart).To(BeEmpty())
}

func TestObjectsAreRenderedOnceMore(t *testing.T) {
	e := newEnv(t)
	hook := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-hook, annotations: {helm.sh/hook: pre-install}}\n"
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.CommonMetadata = &meta.CommonMetadata{Labels: map[string]string{"team": "a"}}
		obj.Spec.PostRenderers = []helmv2.PostRenderer{
			{Kustomize: &helmv2.Kustomize{Patches: []meta.Patch{{Patch: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {value: patched}"}}}},
			{Kustomize: &helmv2.Kustomize{
				PatchesStrategicMerge: []apiextensionsv1.JSON{*values("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {more: merged}")},
				PatchesJSON6902: []meta.JSON6902Patch{{Target: meta.Selector{Kind: "ConfigMap", Name: "web-hook"},
					Patch: []meta.JSON6902{{Op: "add", Path: "/data", Value: values("{hook: patched}")}}}},
			}},
		}
	})
	e.start()
	e.push("web", appChart("1.0.0", files{"templates/hook.yaml": hook}))
	e.becomes("web", "True InstallSucceeded")
	var one corev1.ConfigMap
	e.Expect(e.hub.Get(t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "web"}, &one)).To(Succeed())
	e.Expect(one.Data).To(Equal(map[string]string{"value": "patched", "more": "merged"}))
	e.Expect(one.Labels).To(And(HaveKeyWithValue("team", "a"), HaveKeyWithValue("helm.toolkit.fluxcd.io/name", "web"), HaveKeyWithValue("app.kubernetes.io/managed-by", "Helm")))
	e.Expect(e.hub.Get(t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "web-hook"}, &one)).To(Succeed())
	e.Expect(one.Data).To(Equal(map[string]string{"hook": "patched"}))

	e.edit("web", func(obj *helmv2.HelmRelease) { obj.Spec.CommonMetadata.Labels["team"] = "b" })
	e.becomes("web", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/web.v2")
}

func TestAnotherTargetIsInstalledAnew(t *testing.T) {
	e := newEnv(t)
	e.release("web", func(obj *helmv2.HelmRelease) { obj.Spec.ReleaseName = "first" })
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded: Helm install succeeded for release NS/first.v1")
	e.edit("web", func(obj *helmv2.HelmRelease) { obj.Spec.ReleaseName = "second" })
	e.becomes("web", "True InstallSucceeded: Helm install succeeded for release NS/second.v1")
	e.Expect(e.records("first")).To(BeEmpty())
	e.Expect(e.value("first")).To(BeEmpty())

	e.push("web", appChart("1.0.0", files{"Chart.yaml": "apiVersion: v2\nname: other\nversion: 2.0.0"}))
	e.becomes("web", "True InstallSucceeded: Helm install succeeded for release NS/second.v1 with chart other@2.0.0")

	e.edit("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.TargetNamespace, obj.Spec.StorageNamespace = e.namespace+"-made", e.namespace+"-made"
		obj.Spec.Install = &helmv2.Install{CreateNamespace: true}
		obj.Spec.StorageNamespace = ""
		obj.Spec.Uninstall = &helmv2.Uninstall{KeepHistory: true}
	})
	e.becomes("web", "True InstallSucceeded: Helm install succeeded for release NS-made/second.v2")
	e.Expect(e.records("second")).To(Equal([]string{"v2 deployed", "v1 superseded"}))
}

func TestASuspendedReleaseStays(t *testing.T) {
	e := newEnv(t)
	e.release("web")
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True")
	e.edit("web", func(obj *helmv2.HelmRelease) { obj.Spec.Suspend = true })
	obj := e.get("web")
	e.Expect(e.hub.Delete(t.Context(), obj)).To(Succeed())
	e.Eventually(func() error { return e.hub.Get(t.Context(), client.ObjectKeyFromObject(obj), obj) }, "2m", "50ms").ShouldNot(Succeed())
	e.Expect(e.value("web")).To(Equal("default"))
	e.Expect(e.records("web")).To(Equal([]string{"v1 deployed"}))
}

func TestDependenciesAreWaitedFor(t *testing.T) {
	e := newEnv(t)
	e.release("base", func(obj *helmv2.HelmRelease) { obj.Labels = map[string]string{"v": "1"} })
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.DependsOn = []meta.DependencyReference{{Name: "base"}, {Name: "base", ReadyExpr: "dep.metadata.labels['v'] == '1' && self.metadata.name == 'web'"}}
	})
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "False DependencyNotReady: dependency 'NS/base' is not ready")
	e.push("base", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
}

// A dependency that is no longer ready holds up what is begun anew, and not what undoes
// an upgrade that was begun before.
func TestARollbackWaitsForNoDependency(t *testing.T) {
	e := newEnv(t)
	e.release("base")
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.DependsOn = []meta.DependencyReference{{Name: "base"}}
		obj.Spec.Upgrade = &helmv2.Upgrade{Remediation: &helmv2.UpgradeRemediation{RemediateLastFailure: ptr.To(true)}}
	})
	e.start()
	e.push("base", appChart("1.0.0", nil))
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
	e.push("web", appChart("1.1.0", files{"templates/pre.yaml": hookPod("pre-upgrade", "0")}))
	e.another("web-pre-upgrade")
	e.push("base", appChart("1.1.0", files{"templates/bad.yaml": `{{ fail "no luck" }}`}))
	e.becomes("base", "False UpgradeFailed")
	e.finish(t.Context(), "web-pre-upgrade", false)
	e.Eventually(func() string { return e.condition("web", "Remediated") }, within, "50ms").Should(HavePrefix("True RollbackSucceeded"))
	e.push("web", appChart("1.2.0", nil))
	e.becomes("web", "False DependencyNotReady: dependency 'NS/base' is not ready")
	e.Expect(e.records("web")).To(Equal([]string{"v3 deployed", "v2 failed", "v1 superseded"}))
}

// prod makes a target that is reached by a kubeconfig Secret: the same API server,
// with a ServiceAccount that may do little.
func (e *env) prod(rules ...rbacv1.PolicyRule) {
	e.t.Helper()
	data, err := shared.ControlPlane(e.t).ServiceAccount(e.t.Context(), e.namespace, "prod", rules)
	e.Expect(err).NotTo(HaveOccurred())
	e.target(data)
}

// everything are the rules of somebody who may do everything.
func everything() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}},
		{NonResourceURLs: []string{"*"}, Verbs: []string{"get"}},
	}
}

// front is the target prod behind a proxy.
func (e *env) front() *testenv.Proxy {
	e.t.Helper()
	return e.frontOf(everything())
}

// frontOf is front for somebody who may do what the rules say.
func (e *env) frontOf(rules []rbacv1.PolicyRule) *testenv.Proxy {
	e.t.Helper()
	control := shared.ControlPlane(e.t)
	_, err := control.ServiceAccount(e.t.Context(), e.namespace, "prod", rules)
	e.Expect(err).NotTo(HaveOccurred())
	token, err := control.Token(e.t.Context(), e.namespace, "prod", time.Hour)
	e.Expect(err).NotTo(HaveOccurred())
	proxy, err := control.Proxy("prod")
	e.Expect(err).NotTo(HaveOccurred())
	e.t.Cleanup(proxy.Stop)
	data, err := proxy.Kubeconfig(token)
	e.Expect(err).NotTo(HaveOccurred())
	e.target(data)
	return proxy
}

// target makes the cluster prod, which the agent owns, of its kubeconfig.
func (e *env) target(kubeconfig []byte) {
	e.t.Helper()
	e.Expect(e.hub.Create(e.t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "prod"}, Data: map[string][]byte{"value": kubeconfig},
	})).To(Succeed())
	record := &fleetv1.RemoteCluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "prod"}, Spec: fleetv1.RemoteClusterSpec{KubeConfig: prod()},
	}
	e.Expect(e.hub.Create(e.t.Context(), record)).To(Succeed())
	record.Status.Assignments = []fleetv1.Assignment{{Agent: "agent-0", Epoch: 1}}
	e.Expect(e.hub.Status().Update(e.t.Context(), record)).To(Succeed())
}

// prod is the reference to the target.
func prod() *meta.KubeConfigReference {
	return &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: "prod"}}
}

func TestReleasesOfAKubeconfigAndAServiceAccount(t *testing.T) {
	e := newEnv(t)
	e.prod(everything()...)
	e.create("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: team, namespace: NS}")
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.KubeConfig = &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: "prod"}}
		obj.Spec.ServiceAccountName = "team"
	})
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "False StateError: records of the release web in namespace NS: secrets is forbidden: User \"system:serviceaccount:NS:team\"")
	e.create("apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: team, namespace: NS}\nrules: [{apiGroups: [''], resources: [secrets, configmaps], verbs: ['*']}]")
	e.create("apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: team, namespace: NS}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: team}\nsubjects: [{kind: ServiceAccount, name: team, namespace: NS}]")
	e.request("1")
	e.becomes("web", "True InstallSucceeded")

	// Without the kubeconfig the release stays behind.
	e.Expect(e.hub.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "prod"}})).To(Succeed())
	obj := e.get("web")
	e.Expect(e.hub.Delete(t.Context(), obj)).To(Succeed())
	e.published("unable to uninstall the release")
	e.Eventually(func() error { return e.hub.Get(t.Context(), client.ObjectKeyFromObject(obj), obj) }, "2m", "50ms").ShouldNot(Succeed())
	e.Expect(e.value("web")).To(Equal("default"))
}

const crd = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.helm.example.com}\n" +
	"spec: {group: helm.example.com, scope: Namespaced, names: {plural: things, kind: Thing}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, description: DESCRIPTION, x-kubernetes-preserve-unknown-fields: true}}}]}\n"

// A subchart that the values switch off brings nothing, CRDs included.
func TestCRDsOfASubchartThatIsOff(t *testing.T) {
	for name, on := range map[string]bool{"on": true, "off": false} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			e.release("web", func(obj *helmv2.HelmRelease) { obj.Spec.Values = values(fmt.Sprintf("sub: {enabled: %t}", on)) })
			e.start()
			e.push("web", appChart("1.0.0", files{
				"Chart.yaml":                "apiVersion: v2\nname: app\nversion: 1.0.0\ndependencies: [{name: sub, version: '*', condition: sub.enabled}]\n",
				"charts/sub/Chart.yaml":     "apiVersion: v2\nname: sub\nversion: 1.0.0\n",
				"charts/sub/crds/subs.yaml": ownCRD("Sub", "subs"),
			}))
			e.becomes("web", "True InstallSucceeded")
			obj := &unstructured.Unstructured{}
			obj.SetAPIVersion("apiextensions.k8s.io/v1")
			obj.SetKind("CustomResourceDefinition")
			err := e.hub.Get(t.Context(), client.ObjectKey{Name: "subs." + e.namespace + ".example.com"}, obj)
			e.Expect(err == nil).To(Equal(on))
		})
	}
}

func TestCRDsAndWhatIsMadeOfThem(t *testing.T) {
	e := newEnv(t)
	described := func(text string) string { return strings.ReplaceAll(crd, "DESCRIPTION", text) }
	thing := "{{ if .Capabilities.APIVersions.Has \"helm.example.com/v1/Thing\" }}apiVersion: helm.example.com/v1\nkind: Thing\nmetadata: {name: {{ .Release.Name }}}\nspec: {done: true}\n{{ end }}"
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.HealthCheckExprs = []meta.CustomHealthCheck{{APIVersion: "helm.example.com/v1", Kind: "Thing", HealthCheckExpressions: meta.HealthCheckExpressions{Current: "spec.done"}}}
	})
	e.start()
	e.push("web", appChart("1.0.0", files{"crds/thing.yaml": described("first") + "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: stray}\n", "templates/thing.yaml": thing}))
	e.becomes("web", "True InstallSucceeded")
	found := &unstructured.Unstructured{}
	found.SetAPIVersion("helm.example.com/v1")
	found.SetKind("Thing")
	e.Expect(e.hub.Get(t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "web"}, found)).To(Succeed())
	definition := func() string {
		obj := &unstructured.Unstructured{}
		obj.SetAPIVersion("apiextensions.k8s.io/v1")
		obj.SetKind("CustomResourceDefinition")
		e.Expect(e.hub.Get(t.Context(), client.ObjectKey{Name: "things.helm.example.com"}, obj)).To(Succeed())
		versions, _, _ := unstructured.NestedSlice(obj.Object, "spec", "versions")
		text, _, _ := unstructured.NestedString(versions[0].(map[string]any), "schema", "openAPIV3Schema", "description")
		return text
	}
	e.Expect(definition()).To(Equal("first"))
	e.push("web", appChart("1.1.0", files{"crds/thing.yaml": described("second"), "templates/thing.yaml": thing}))
	e.becomes("web", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/web.v2")
	e.Expect(definition()).To(Equal("first"), "Create leaves what is there")
	e.edit("web", func(obj *helmv2.HelmRelease) { obj.Spec.Upgrade = &helmv2.Upgrade{CRDs: helmv2.CreateReplace} })
	e.push("web", appChart("1.2.0", files{"crds/thing.yaml": described("third"), "templates/thing.yaml": thing}))
	e.becomes("web", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/web.v3")
	e.Expect(definition()).To(Equal("third"))
	e.Expect(e.inventory("web")).To(Equal([]string{"_things.helm.example.com_apiextensions.k8s.io_CustomResourceDefinition v1", "NS_web__ConfigMap v1", "NS_web_helm.example.com_Thing v1"}))
	e.edit("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.Install, obj.Spec.Upgrade = &helmv2.Install{CRDs: helmv2.Skip}, &helmv2.Upgrade{CRDs: helmv2.Skip}
		obj.Spec.Values = values("value: new")
	})
	e.becomes("web", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/web.v4")
	e.Expect(e.inventory("web")).To(Equal([]string{"NS_web__ConfigMap v1", "NS_web_helm.example.com_Thing v1"}))
}

// inventory is that of the status, as ids and versions.
func (e *env) inventory(name string) []string {
	e.t.Helper()
	said := []string{}
	for _, entry := range e.get(name).Status.Inventory.Entries {
		said = append(said, strings.ReplaceAll(entry.ID, e.namespace, "NS")+" "+entry.Version)
	}
	return said
}

// TestAChartSeesWhatAnotherHasJustDefined: what it renders without the kind would
// stay so, since nothing has it rendered again.
func TestAChartSeesWhatAnotherHasJustDefined(t *testing.T) {
	e := newEnv(t)
	sees := files{"templates/one.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\n" +
		"data: {value: '{{ .Capabilities.APIVersions.Has \"late.example.com/v1/Thing\" }}'}\n"}
	e.release("web")
	e.start()
	e.push("web", appChart("1.0.0", sees))
	e.becomes("web", "True InstallSucceeded")
	e.Expect(e.value("web")).To(Equal("false"))
	e.release("kinds")
	e.push("kinds", appChart("1.0.0", files{"templates/crd.yaml": strings.ReplaceAll(crd, "helm.example.com", "late.example.com")}))
	e.becomes("kinds", "True InstallSucceeded")
	asks := discovery.NewDiscoveryClientForConfigOrDie(shared.ControlPlane(t).Config())
	e.Eventually(func() error {
		_, err := asks.ServerResourcesForGroupVersion("late.example.com/v1")
		return err
	}, "2m", "20ms").Should(Succeed())
	e.push("web", appChart("1.1.0", sees))
	e.becomes("web", "True UpgradeSucceeded")
	e.Expect(e.value("web")).To(Equal("true"))
}

func TestDriftIsFoundAndPutRight(t *testing.T) {
	e := newEnv(t)
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.DriftDetection = &helmv2.DriftDetection{Mode: helmv2.DriftDetectionEnabled, Ignore: []meta.IgnoreRule{{Paths: []string{"/data/theirs"}}}}
		obj.Spec.MaxHistory = ptr.To(2)
	})
	e.start()
	e.push("web", appChart("1.0.0", files{"templates/one.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\ndata: {value: a, theirs: b}\n"}))
	e.becomes("web", "True InstallSucceeded")
	e.Expect(e.condition("web", "Drifted")).To(HavePrefix("False NoDriftDetected"))
	change := func(key string) {
		var one corev1.ConfigMap
		e.Expect(e.hub.Get(t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "web"}, &one)).To(Succeed())
		one.Data[key] = "by hand"
		e.Expect(e.hub.Update(t.Context(), &one)).To(Succeed())
	}
	change("theirs")
	change("value")
	e.request("1")
	e.published("DriftDetected Cluster state of release " + e.namespace + "/web.v1 has drifted from the desired state:\nConfigMap/" + e.namespace + "/web changed")
	e.Eventually(func() string { return e.value("web") }, "2m", "50ms").Should(Equal("a"))
	e.becomes("web", "True")
	var one corev1.ConfigMap
	e.Expect(e.hub.Get(t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "web"}, &one)).To(Succeed())
	e.Expect(one.Data).To(HaveKeyWithValue("theirs", "by hand"))

	e.edit("web", func(obj *helmv2.HelmRelease) { obj.Spec.DriftDetection.Mode = helmv2.DriftDetectionWarn })
	e.becomes("web", "True")
	change("value")
	e.request("2")
	e.Eventually(func() bool {
		return apimeta.IsStatusConditionTrue(e.get("web").Status.Conditions, "Drifted")
	}, "2m", "50ms").Should(BeTrue())
	e.becomes("web", "True")
	e.Expect(e.value("web")).To(Equal("by hand"))
}

// What somebody changes back as soon as it was put right is drift, and no failure of
// the install that went well.
func TestDriftThatComesBackAtOnce(t *testing.T) {
	e := newEnv(t)
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.DriftDetection = &helmv2.DriftDetection{Mode: helmv2.DriftDetectionEnabled}
	})
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
	hub, err := client.NewWithWatch(shared.ControlPlane(t).Config(), client.Options{Scheme: e.scheme})
	e.Expect(err).NotTo(HaveOccurred())
	changes, err := hub.Watch(t.Context(), &corev1.ConfigMapList{}, client.InNamespace(e.namespace), client.MatchingFields{"metadata.name": "web"})
	e.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(changes.Stop)
	go func() {
		for change := range changes.ResultChan() {
			if one, ok := change.Object.(*corev1.ConfigMap); ok && one.Data["value"] != "theirs" {
				_ = hub.Patch(t.Context(), one, client.RawPatch(types.MergePatchType, []byte(`{"data":{"value":"theirs"}}`)))
			}
		}
	}()
	e.Eventually(func() string { return e.value("web") }, "2m", "20ms").Should(Equal("theirs"))
	requests := 0
	e.Eventually(func() string {
		// A look that comes before the change finds nothing.
		if strings.HasPrefix(e.ready("web"), "True") {
			requests++
			e.request(strconv.Itoa(requests))
		}
		return e.ready("web")
	}, within, "50ms").Should(HavePrefix("False DriftDetected: "))
	e.Expect(e.get("web").Status.Failures).To(BeZero())
}

// A look that cannot be had has found nothing.
func TestDriftThatCannotBeLookedFor(t *testing.T) {
	e := newEnv(t)
	e.prod(
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get", "create"}},
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets", "namespaces"}, Verbs: []string{"*"}},
		rbacv1.PolicyRule{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"*"}},
	)
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.KubeConfig = prod()
		obj.Spec.DriftDetection = &helmv2.DriftDetection{Mode: helmv2.DriftDetectionWarn}
	})
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "False StateError: drift detection: ConfigMap/NS/web dry-run failed (Forbidden): ")
	e.Expect(e.has("Drifted")).To(BeFalse())
}

// Flux digests what it encodes as a line.
func TestDigestsOfTheSpecAreThoseOfFlux(t *testing.T) {
	g := NewWithT(t)
	g.Expect(digestOf([]helmv2.PostRenderer{{Kustomize: &helmv2.Kustomize{Images: []meta.Image{{Name: "a", NewTag: "b"}}}}})).
		To(Equal("sha256:9056cad4785d2754a268242c28796e50f940a41198feddfb6a0f512b6d078fc1"))
}

package helm

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/agent/helm/action"
	"github.com/headwater-dev/headwater/agent/helm/release"
	"github.com/headwater-dev/headwater/agent/helm/state"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/internal/testenv"
)

// stuck is a chart with a Deployment that nobody runs.
const stuck = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: {{ .Release.Name }}-stuck}\n" +
	"spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: a}]}}}\n"

func second() *metav1.Duration { return &metav1.Duration{Duration: time.Second} }

func TestAFailedInstallIsRemovedAndTriedAgain(t *testing.T) {
	e := newEnv(t)
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.Timeout = second()
		obj.Spec.Install = &helmv2.Install{Remediation: &helmv2.InstallRemediation{Retries: 1}}
	})
	e.start()
	e.push("web", appChart("1.0.0", files{"templates/stuck.yaml": stuck}))
	e.becomes("web", "False RetriesExceeded: ")
	e.Expect(e.ready("web")).To(And(ContainSubstring("Helm install failed for release NS/web with chart app@1.0.0"),
		ContainSubstring("timeout of 1s while waiting for: [Deployment/NS/web-stuck status: 'InProgress']")))
	e.Expect(e.condition("web", "Stalled")).To(HavePrefix("True RetriesExceeded"))
	e.Expect(e.condition("web", "Released")).To(HavePrefix("False InstallFailed"))
	e.Expect(e.condition("web", "Remediated")).To(HavePrefix("True UninstallSucceeded: Helm uninstall remediation succeeded for release NS/web"))
	status := e.get("web").Status
	e.Expect([]int64{status.Failures, status.InstallFailures, status.UpgradeFailures}).To(Equal([]int64{2, 2, 0}))
	e.Expect(e.records("web")).To(Equal([]string{"v1 failed"}), "the last failure stays, for people to look at")
	e.published("Warning InstallFailed Helm install failed")

	// Somebody asks for it to be tried again.
	e.request("1", meta.ResetRequestAnnotation)
	e.Eventually(func() int64 { return e.get("web").Status.UpgradeFailures }, "2m", "50ms").Should(BeNumerically(">", 0))
	e.Expect(e.get("web").Status.LastHandledResetAt).To(Equal("1"))
}

func TestAFailedUpgradeIsRolledBack(t *testing.T) {
	e := newEnv(t)
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.Timeout = second()
		obj.Spec.Upgrade = &helmv2.Upgrade{Remediation: &helmv2.UpgradeRemediation{Retries: 0, RemediateLastFailure: ptr.To(true)}}
	})
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
	e.push("web", appChart("1.1.0", files{"templates/stuck.yaml": stuck, "values.yaml": "value: new"}))
	e.becomes("web", "False RetriesExceeded")
	e.Expect(e.condition("web", "Remediated")).To(HavePrefix("True RollbackSucceeded: Helm rollback remediation succeeded for release NS/web.v3 with chart app@1.0.0"))
	e.Expect(e.value("web")).To(Equal("default"))
	e.Expect(e.history("web")).To(Equal([]string{"v3 deployed by rollback", "v2 failed by upgrade", "v1 superseded by install"}))

	e.push("web", appChart("1.2.0", nil))
	e.becomes("web", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/web.v4 with chart app@1.2.0")
	e.Expect(e.get("web").Status.Failures).To(BeZero())
	e.Expect(e.condition("web", "Remediated")).To(BeEmpty())
}

func TestAFailureWithoutRemediationIsTriedAgain(t *testing.T) {
	e := newEnv(t)
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.Install = &helmv2.Install{Strategy: &helmv2.InstallStrategy{Name: helmv2.ActionStrategyRetryOnFailure, RetryInterval: second()}}
		obj.Spec.Upgrade = &helmv2.Upgrade{Strategy: &helmv2.UpgradeStrategy{Name: helmv2.ActionStrategyRetryOnFailure, RetryInterval: second()}}
	})
	e.start()
	e.push("web", appChart("1.0.0", files{"templates/bad.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-bad}\nimmutable: nonsense\n"}))
	e.Eventually(func() int64 { return e.get("web").Status.Failures }, "2m", "50ms").Should(BeNumerically(">", 1), "it is tried again and again")
	e.push("web", appChart("1.1.0", nil))
	e.becomes("web", "True UpgradeSucceeded")
	e.Expect(e.get("web").Status.Failures).To(BeZero())
}

func TestPausesAreThoseOfTheAgent(t *testing.T) {
	e := newEnv(t)
	e.options.Retries = reconcile.Pace{MinRetryDelay: 10 * time.Millisecond, MaxRetryDelay: 20 * time.Millisecond}
	e.release("web")
	e.start()
	e.push("web", appChart("1.0.0", files{"templates/two.yaml": `{{ fail "not like this" }}`}))
	e.Eventually(func() int64 { return e.get("web").Status.Failures }, within, "50ms").Should(BeNumerically(">", 1))
	other, pauses := types.NamespacedName{Namespace: e.namespace, Name: "other"}, []time.Duration{}
	for range 3 {
		pauses = append(pauses, e.agent.runs.backoff(other, 1, state.Want{}))
	}
	e.Expect(pauses).To(Equal([]time.Duration{10 * time.Millisecond, 20 * time.Millisecond, 20 * time.Millisecond}))
}

func TestWhatCannotBeReleasedSaysWhy(t *testing.T) {
	cases := map[string]struct {
		spec  func(*helmv2.HelmRelease)
		chart files
		want  string
	}{
		"a template that fails":           {nil, files{"templates/bad.yaml": `{{ fail "no luck" }}`}, "False InstallFailed: Helm install failed for release NS/web with chart app@1.0.0: execution error at (app/templates/bad.yaml:1:3): no luck"},
		"a template that renders no YAML": {nil, files{"templates/bad.yaml": "a: b: c"}, "False InstallFailed: Helm install failed"},
		"a kind that is not there":        {nil, files{"templates/bad.yaml": "apiVersion: example.com/v1\nkind: Nothing\nmetadata: {name: a}"}, "False InstallFailed: "},
		"values that the schema rejects": {func(obj *helmv2.HelmRelease) { obj.Spec.Values = values("value: 1") }, files{"values.schema.json": `{"properties":{"value":{"type":"string"}}}`},
			"False InstallFailed: Helm install failed for release NS/web with chart app@1.0.0: values don't meet the specifications of the schema(s) in the following chart(s):\napp:\n- at '/value': got number, want string"},
		"a value that may be a Secret's": {func(obj *helmv2.HelmRelease) { obj.Spec.Values = values("value: hunter2") }, files{"values.schema.json": `{"properties":{"value":{"pattern":"^x"}}}`},
			"False InstallFailed: Helm install failed for release NS/web with chart app@1.0.0: values don't meet the specifications of the schema(s) in the following chart(s):\napp:\n- at '/value': it does not meet 'pattern'"},
		"a schema that reads files": {nil, files{"values.schema.json": `{"$ref":"file:///etc/hostname"}`},
			"False InstallFailed: Helm install failed for release NS/web with chart app@1.0.0: values don't meet the specifications of the schema(s) in the following chart(s):\napp:\nits values.schema.json: failing loading \"file:///etc/hostname\": only what https serves can be referred to"},
		"a schema at a machine's address": {nil, files{"values.schema.json": `{"$ref":"https://169.254.169.254/latest/"}`},
			"False InstallFailed: Helm install failed for release NS/web with chart app@1.0.0: values don't meet the specifications of the schema(s) in the following chart(s):\napp:\nits values.schema.json: failing loading \"https://169.254.169.254/latest/\": it could not be fetched"},
		"a schema that expands to too much": {func(obj *helmv2.HelmRelease) {
			obj.Spec.Values = values(strings.Repeat("{a: ", 40) + "1" + strings.Repeat("}", 40))
		}, files{"values.schema.json": `{"properties":{"a":{"$ref":"#"}},"patternProperties":{"^a":{"$ref":"#"}}}`},
			"False InstallFailed: Helm install failed for release NS/web with chart app@1.0.0: values don't meet the specifications of the schema(s) in the following chart(s):\napp:\nits values.schema.json is, with all that its references expand to, too much to hold these values against: simplify it, or set disableSchemaValidation to do without"},
		"another kubeVersion": {nil, files{"Chart.yaml": "apiVersion: v2\nname: app\nversion: 1.0.0\nkubeVersion: <1.10.0\n"}, "False InstallFailed: Helm install failed for release NS/web with chart app@1.0.0: chart requires kubeVersion: <1.10.0"},
		"a library":           {nil, files{"Chart.yaml": "apiVersion: v2\nname: app\nversion: 1.0.0\ntype: library\n", "templates/one.yaml": ""}, "False ArtifactFailed: chart of revision 1.0.0: app is a library chart"},
		"values of another type": {func(obj *helmv2.HelmRelease) { obj.Spec.Values = values("value: {a: map}") }, files{"templates/bad.yaml": `{{ .Values.value | upper }}`},
			"False InstallFailed: Helm install failed for release NS/web with chart app@1.0.0: template: app/templates/bad.yaml:"},
		"values that are a list": {func(obj *helmv2.HelmRelease) { obj.Spec.Values = values("[a]") }, nil, "False ValuesError: spec.values: it is no object"},
		"no values": {func(obj *helmv2.HelmRelease) {
			obj.Spec.ValuesFrom = []helmv2.ValuesReference{{Kind: "ConfigMap", Name: "none"}}
		}, nil, "False ValuesError: spec.valuesFrom[0]: ConfigMap 'NS/none' not found"},
		"no key": {func(obj *helmv2.HelmRelease) {
			obj.Spec.ValuesFrom = []helmv2.ValuesReference{{Kind: "ConfigMap", Name: "there"}}
		}, nil, "False ValuesError: spec.valuesFrom[0]: missing key 'values.yaml' in ConfigMap 'NS/there'"},
		"values that are no map": {func(obj *helmv2.HelmRelease) {
			obj.Spec.ValuesFrom = []helmv2.ValuesReference{{Kind: "ConfigMap", Name: "there", ValuesKey: "list"}}
		}, nil, "False ValuesError: spec.valuesFrom[0]: key list of ConfigMap NS/there is no YAML of values"},
		"a value that does not parse": {func(obj *helmv2.HelmRelease) {
			obj.Spec.ValuesFrom = []helmv2.ValuesReference{{Kind: "ConfigMap", Name: "there", ValuesKey: "braces", TargetPath: "value"}}
		}, nil, "False ValuesError: spec.valuesFrom[0]: the value of key braces of ConfigMap there cannot be set at targetPath value"},
		"an index that makes a long list": {func(obj *helmv2.HelmRelease) {
			obj.Spec.ValuesFrom = []helmv2.ValuesReference{{Kind: "ConfigMap", Name: "there", ValuesKey: "long", TargetPath: "value"}}
		}, nil, "False ValuesError: spec.valuesFrom[0]: the value of key long of ConfigMap there cannot be set at targetPath value"},
		"a patch of nothing": {func(obj *helmv2.HelmRelease) {
			obj.Spec.PostRenderStrategy = helmv2.PostRenderStrategyNoHooks
			obj.Spec.PostRenderers = []helmv2.PostRenderer{{Kustomize: &helmv2.Kustomize{Patches: []meta.Patch{{Patch: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}"}}}}}
		}, nil, "False InstallFailed: "},
		"an expression": {func(obj *helmv2.HelmRelease) {
			obj.Spec.HealthCheckExprs = []meta.CustomHealthCheck{{APIVersion: "v1", Kind: "A", HealthCheckExpressions: meta.HealthCheckExpressions{Current: "1 +"}}}
		}, nil, "False InvalidCELExpression: spec.healthCheckExprs[0].current: "},
		"a storage namespace that is not there": {func(obj *helmv2.HelmRelease) { obj.Spec.StorageNamespace = "nowhere" }, nil, "False InstallFailed: "},
		"itself":                                {func(obj *helmv2.HelmRelease) { obj.Spec.DependsOn = []meta.DependencyReference{{Name: obj.Name}} }, nil, "False DependencyNotReady: "},
		"an external artifact": {func(obj *helmv2.HelmRelease) {
			obj.Spec.Chart = nil
			obj.Spec.ChartRef = &helmv2.CrossNamespaceSourceReference{Kind: "ExternalArtifact", Name: "a"}
		}, nil, "False FeatureGateDisabled: spec.chartRef.kind: "},
	}
	e := newEnv(t)
	e.create("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: there, namespace: NS}\ndata: {other: x, list: '[a]', braces: '{a', long: '1,a[6\\5536]=1'}")
	e.start()
	called := map[string]string{}
	for name, c := range cases {
		web := fmt.Sprintf("web%d", len(called))
		called[name] = web
		e.release(web, func(obj *helmv2.HelmRelease) {
			// One try each is enough, and costs the others less.
			obj.Spec.Install = &helmv2.Install{Strategy: &helmv2.InstallStrategy{
				Name: helmv2.ActionStrategyRetryOnFailure, RetryInterval: &metav1.Duration{Duration: time.Hour},
			}}
			if c.spec != nil {
				c.spec(obj)
			}
		})
		if e.get(web).Spec.Chart != nil && name != "an expression" {
			e.push(web, appChart("1.0.0", c.chart))
		}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g, web := NewWithT(t), called[name]
			g.Eventually(func() string { return e.ready(web) }, within, "50ms").Should(HavePrefix(strings.ReplaceAll(c.want, "web", web)))
			g.Expect(e.records(web)).To(BeEmpty())
		})
	}
}

func TestAChartThatDoesNotParse(t *testing.T) {
	e := newEnv(t)
	e.release("web")
	e.release("cut")
	e.start()
	e.pushPacked("web", "1.0.0", []byte("this is no archive"))
	e.pushPacked("cut", "1.0.0", e.pack(appChart("1.0.0", nil))[:100])
	e.becomes("web", "False ArtifactFailed: chart of revision 1.0.0: ")
	e.becomes("cut", "False ArtifactFailed: chart of revision 1.0.0: ")
	e.push("web", appChart("1.0.1", nil))
	e.becomes("web", "True InstallSucceeded: Helm install succeeded for release NS/web.v1 with chart app@1.0.1")
}

func TestADamagedRecordIsNotTakenForNone(t *testing.T) {
	e := newEnv(t)
	hookless := base64.StdEncoding.EncodeToString([]byte(`{"name":"null","version":1,"info":{"status":"deployed"},"chart":{"metadata":{"name":"app","version":"1.0.0"}},"hooks":[null]}`))
	e.create("apiVersion: v1\nkind: Secret\ntype: helm.sh/release.v1\nmetadata: {name: sh.helm.release.v1.null.v1, namespace: NS, labels: {owner: helm, name: 'null', version: '1', status: deployed}}\nstringData: {release: " + hookless + "}")
	e.release("null")
	e.create("apiVersion: v1\nkind: Secret\ntype: helm.sh/release.v1\nmetadata: {name: sh.helm.release.v1.web.v1, namespace: NS, labels: {owner: helm, name: web, version: '1', status: deployed}}\nstringData: {release: nonsense}")
	e.release("web")
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "False StateError: the record of the release web in Secret NS/sh.helm.release.v1.web.v1 cannot be read: restore the Secret, or delete it")
	e.push("null", appChart("1.0.0", nil))
	e.becomes("null", "False StateError: the record of the release null in Secret NS/sh.helm.release.v1.null.v1 cannot be read: restore the Secret, or delete it: data key release: the release has no content in one of its hooks")
}

// recordOf makes a record of the release web that Helm would read, with so many blanks
// behind it, over which JSON goes fast.
func (e *env) recordOf(version, blanks int) {
	e.t.Helper()
	var packed bytes.Buffer
	packer := gzip.NewWriter(&packed)
	_, err := fmt.Fprintf(packer, `{"name":"web","namespace":%q,"version":%d,"info":{"status":"superseded"},"chart":{"metadata":{"name":"app","version":"1.0.0"}},"manifest":"x"}%s`,
		e.namespace, version, strings.Repeat(" ", blanks))
	e.Expect(err).NotTo(HaveOccurred())
	e.Expect(packer.Close()).To(Succeed())
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: e.namespace, Name: action.SecretName("web", version), Labels: map[string]string{"owner": "helm", "name": "web"},
		},
		Type: "helm.sh/release.v1", Data: map[string][]byte{"release": base64.StdEncoding.AppendEncode(nil, packed.Bytes())},
	}
	e.Expect(e.hub.Create(e.t.Context(), secret)).To(Succeed())
}

// A Secret of few bytes may unpack to many: whoever may write them on one cluster
// must not end the agent of others.
func TestRecordsThatUnpackToTooMuch(t *testing.T) {
	for name, c := range map[string]struct {
		records, blanks int
		want            string
	}{
		"one": {1, 33 << 20, "the record of the release web in Secret NS/sh.helm.release.v1.web.v1 cannot be read: restore the Secret, or delete it"},
		"all": {7, 31 << 20, "the records of the release web in namespace NS are more than 1000, or have more than 192 MiB unpacked: delete the Secrets of its oldest revisions"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			for version := range c.records {
				e.recordOf(version+1, c.blanks)
			}
			e.release("web")
			e.start()
			e.push("web", appChart("1.0.0", nil))
			e.becomes("web", "False StateError: "+c.want)
			e.Expect(e.hub.DeleteAllOf(t.Context(), &corev1.Secret{}, client.InNamespace(e.namespace), client.MatchingLabels{"name": "web"})).To(Succeed())
			e.becomes("web", "True ")
		})
	}
}

func TestManyRecordsAreReadInPages(t *testing.T) {
	e := newEnv(t)
	const many = 60
	for version := range many {
		e.recordOf(version+1, 10)
	}
	proxy := e.front()
	access := &corev1.Secret{}
	e.Expect(e.hub.Get(t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "prod"}, access)).To(Succeed())
	config, err := clientcmd.RESTConfigFromKubeConfig(access.Data["value"])
	e.Expect(err).NotTo(HaveOccurred())
	target, err := client.New(config, client.Options{})
	e.Expect(err).NotTo(HaveOccurred())
	found, upto, err := action.Records(t.Context(), target, release.Target{Name: "web", Namespace: e.namespace, StorageNamespace: e.namespace})
	e.Expect(err).NotTo(HaveOccurred())
	e.Expect(upto).NotTo(BeEmpty())
	e.Expect(found).To(HaveLen(many))
	e.Expect(found[0].Version).To(Equal(many))
	e.Expect(found[0].Manifest).NotTo(BeEmpty())
	e.Expect(found[1].Manifest).To(BeEmpty(), "nobody asks for it")
	lists := slices.DeleteFunc(proxy.Records(), func(asked testenv.Record) bool { return asked.Resource != "secrets" })
	e.Expect(len(lists)).To(BeNumerically(">", 1))
	for i, list := range lists {
		e.Expect(list.Query.Get("limit")).NotTo(BeEmpty())
		e.Expect(list.Query.Get("continue") != "").To(Equal(i > 0), "each page but the first goes on where the last ended")
	}
}

// Helm leaves the record of a rollback pending when a hook of it fails: it is a
// failed remediation all the same, and the next one waits.
func TestARollbackWhoseHookFails(t *testing.T) {
	e := newEnv(t)
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.Timeout = second()
		obj.Spec.Rollback = &helmv2.Rollback{Timeout: &metav1.Duration{Duration: time.Minute}}
		obj.Spec.Upgrade = &helmv2.Upgrade{Remediation: &helmv2.UpgradeRemediation{Retries: 3}}
	})
	e.start()
	e.push("web", appChart("1.0.0", files{"templates/pre.yaml": hookPod("pre-rollback", "0")}))
	e.becomes("web", "True InstallSucceeded")
	e.push("web", appChart("1.1.0", files{"templates/stuck.yaml": stuck}))
	first := e.another("web-pre-rollback")
	e.finish(t.Context(), "web-pre-rollback", false)
	e.becomes("web", "False RollbackFailed: Helm rollback remediation failed for release NS/web with chart app@1.1.0: ")
	e.Expect(e.condition("web", "Remediated")).To(HavePrefix("False RollbackFailed"))
	e.Expect(e.condition("web", "Released")).To(HavePrefix("False UpgradeFailed"))
	// The next one may have begun by now.
	e.Expect(e.records("web")).To(ContainElements("v3 failed", "v2 failed", "v1 deployed"))
	e.Expect(e.history("web")).To(ContainElements("v3 failed by rollback", "v2 failed by upgrade", "v1 deployed by install"))
	e.Expect(e.helm("history", "web")).To(ContainSubstring("Release failed in the state 'pending-rollback'"))
	e.published("Warning UpgradeFailed")
	e.published("Warning RollbackFailed")

	// The next one waits until it may succeed.
	e.another("web-pre-rollback", first)
	e.finish(t.Context(), "web-pre-rollback", true)
	e.Eventually(func() string { return e.condition("web", "Remediated") }, within, "50ms").Should(HavePrefix("True RollbackSucceeded"))
	e.Expect(e.get("web").Status.UpgradeFailures).To(BeNumerically(">", 0))
}

// Who may create records and not change them cannot be helped by trying again at
// once.
func TestARecordThatMayNotBeChanged(t *testing.T) {
	e := newEnv(t)
	e.prod(
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get", "list", "watch", "create", "delete"}},
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"configmaps", "namespaces"}, Verbs: []string{"*"}},
		rbacv1.PolicyRule{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"*"}},
	)
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.KubeConfig = prod()
		obj.Spec.Install = &helmv2.Install{Remediation: &helmv2.InstallRemediation{Retries: 1}}
	})
	e.start()
	e.push("web", appChart("1.0.0", nil))
	refused := "record sh.helm.release.v1.web.v1 of the release: secrets \"sh.helm.release.v1.web.v1\" is forbidden"
	e.becomes("web", "False StateError: Helm unlock failed for release NS/web with chart app@1.0.0: "+refused)
	e.Expect(e.condition("web", "Released")).To(HavePrefix("False InstallFailed: Helm install failed for release NS/web with chart app@1.0.0: " + refused))
	e.Expect(e.get("web").Status.InstallFailures).To(Equal(int64(1)))
	e.Expect(e.records("web")).To(Equal([]string{"v1 pending-install"}))

	role := &rbacv1.ClusterRole{}
	e.Expect(e.hub.Get(t.Context(), client.ObjectKey{Name: "testenv:" + e.namespace + ":prod"}, role)).To(Succeed())
	role.Rules[0].Verbs = append(role.Rules[0].Verbs, "update")
	e.Expect(e.hub.Update(t.Context(), role)).To(Succeed())
	e.becomes("web", "True InstallSucceeded: Helm install succeeded for release NS/web.v1 with chart app@1.0.0")
}

// ownCRD is one of a group that is the test's own.
func ownCRD(kind, plural string) string {
	return strings.NewReplacer("KIND", kind, "PLURAL", plural, "SINGULAR", strings.ToLower(kind)).Replace(
		"apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: PLURAL.NS.example.com}\n" +
			"spec: {group: NS.example.com, scope: Namespaced, names: {kind: KIND, plural: PLURAL, singular: SINGULAR, listKind: KINDList}, " +
			"versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}")
}

// What has made no record leaves nothing to undo: it is tried until it succeeds,
// whatever the spec allows of failures.
func TestFailuresThatHaveStoredNothingAreNotLimited(t *testing.T) {
	e := newEnv(t)
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.Install = &helmv2.Install{Remediation: &helmv2.InstallRemediation{}}
		obj.Spec.Upgrade = &helmv2.Upgrade{Remediation: &helmv2.UpgradeRemediation{}}
	})
	e.start()
	failures := func() int64 { return e.get("web").Status.Failures }
	e.push("web", appChart("1.0.0", files{"templates/late.yaml": "apiVersion: NS.example.com/v1\nkind: Late\nmetadata: {name: web}\n"}))
	e.Eventually(failures, within, "50ms").Should(BeNumerically(">", 1))
	e.becomes("web", "False InstallFailed: Helm install failed for release NS/web with chart app@1.0.0: ")
	e.Expect(e.condition("web", "Stalled")).To(BeEmpty())
	e.Expect(e.get("web").Status.InstallFailures).To(BeZero())
	e.create(ownCRD("Late", "lates"))
	e.becomes("web", "True InstallSucceeded: Helm install succeeded for release NS/web.v1 with chart app@1.0.0")
	e.Expect(failures()).To(BeZero())

	e.push("web", appChart("1.1.0", files{"templates/bad.yaml": `{{ fail "no luck" }}`}))
	e.Eventually(failures, within, "50ms").Should(BeNumerically(">", 1))
	e.becomes("web", "False UpgradeFailed: Helm upgrade failed for release NS/web with chart app@1.1.0: ")
	e.Expect(e.condition("web", "Stalled")).To(BeEmpty())
	e.Expect(e.get("web").Status.UpgradeFailures).To(BeZero())
	e.Expect(e.records("web")).To(Equal([]string{"v1 deployed"}))
}

// A test that cannot be begun has not passed.
func TestTestsThatCannotBeBegun(t *testing.T) {
	unknown := "apiVersion: NS.example.com/v1\nkind: Test\nmetadata: {name: {{ .Release.Name }}-test, annotations: {helm.sh/hook: test, helm.sh/hook-weight: '1'}}\n"
	passes := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-passes, annotations: {helm.sh/hook: test}}\n"
	e := newEnv(t)
	for _, name := range []string{"none", "second"} {
		e.release(name, func(obj *helmv2.HelmRelease) {
			obj.Spec.Install = &helmv2.Install{Remediation: &helmv2.InstallRemediation{}}
			obj.Spec.Test = &helmv2.Test{Enable: true}
		})
	}
	e.start()
	e.push("none", appChart("1.0.0", files{"templates/test.yaml": unknown}))
	e.push("second", appChart("1.0.0", files{"templates/test.yaml": unknown, "templates/passes.yaml": passes}))

	e.becomes("second", "False RetriesExceeded: Helm test failed for release NS/second with chart app@1.0.0: ")
	hooks := *e.get("second").Status.History[0].TestHooks
	e.Expect(hooks["second-passes"].Phase).To(Equal("Succeeded"))
	e.Expect(hooks["second-test"].Phase).To(Equal("Failed"))

	// Where nothing has run, nothing is known: it is tried until it is.
	e.Eventually(func() int64 { return e.get("none").Status.Failures }, within, "50ms").Should(BeNumerically(">", 1))
	e.becomes("none", "False TestFailed: Helm test failed for release NS/none with chart app@1.0.0: ")
	e.Expect(e.get("none").Status.InstallFailures).To(BeZero())
	e.Expect(e.get("none").Status.History[0].TestHooks).To(BeNil())
	e.create(ownCRD("Test", "tests"))
	e.becomes("none", "True TestSucceeded")
	e.Expect(e.get("none").Status.Failures).To(BeZero())
}

// has says whether the HelmRelease has the condition, of whatever generation.
func (e *env) has(kind string) bool {
	e.t.Helper()
	return apimeta.FindStatusCondition(e.get("web").Status.Conditions, kind) != nil
}

// What has failed is over when the spec says again what was rolled back to, and one
// failure does not speak in the name of the one before.
func TestConditionsEndWithWhatTheySay(t *testing.T) {
	e := newEnv(t)
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.Timeout = second()
		obj.Spec.Upgrade = &helmv2.Upgrade{Remediation: &helmv2.UpgradeRemediation{RemediateLastFailure: ptr.To(true)}}
	})
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
	e.push("web", appChart("1.1.0", files{"templates/stuck.yaml": stuck}))
	e.becomes("web", "False RetriesExceeded")
	e.Expect(e.condition("web", "Remediated")).To(HavePrefix("True RollbackSucceeded"))

	e.push("web", appChart("1.2.0", files{"templates/bad.yaml": `{{ fail "no luck" }}`}))
	e.becomes("web", "False UpgradeFailed: Helm upgrade failed for release NS/web with chart app@1.2.0: ")

	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/web.v3 with chart app@1.0.0")
	e.Expect(e.condition("web", "Released")).To(HavePrefix("True UpgradeSucceeded: Helm upgrade succeeded for release NS/web.v3 with chart app@1.0.0"))
	e.Expect(e.has("Remediated")).To(BeFalse())
	e.Expect(e.records("web")).To(Equal([]string{"v3 deployed", "v2 failed", "v1 superseded"}))
}

func TestConditionsEndWithWhatAsksForThem(t *testing.T) {
	e := newEnv(t)
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.Test = &helmv2.Test{Enable: true}
		obj.Spec.DriftDetection = &helmv2.DriftDetection{Mode: helmv2.DriftDetectionWarn}
	})
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True TestSucceeded")
	changed := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "web"}}
	e.Expect(e.hub.Patch(t.Context(), changed, client.RawPatch(types.MergePatchType, []byte(`{"data":{"value":"other"}}`)))).To(Succeed())
	e.request("1")
	e.Eventually(func() string { return e.condition("web", "Drifted") }, "2m", "20ms").Should(HavePrefix("True DriftDetected"))

	e.edit("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.Test.Enable, obj.Spec.DriftDetection.Mode = false, helmv2.DriftDetectionDisabled
	})
	e.becomes("web", "True InstallSucceeded: Helm install succeeded for release NS/web.v1 with chart app@1.0.0")
	e.Expect(e.has("TestSuccess")).To(BeFalse())
	e.Expect(e.has("Drifted")).To(BeFalse())
	e.Expect(e.records("web")).To(Equal([]string{"v1 deployed"}))
}

// A release whose tests have failed is not in place once it was rolled back, also
// where the one before has the same chart and values.
func TestWhatWasRolledBackIsNotThere(t *testing.T) {
	e := newEnv(t)
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.Test = &helmv2.Test{Enable: true}
		obj.Spec.Upgrade = &helmv2.Upgrade{Remediation: &helmv2.UpgradeRemediation{RemediateLastFailure: ptr.To(true)}}
	})
	e.start()
	e.push("web", appChart("1.0.0", files{"templates/test.yaml": hookPod("test", "0")}))
	first := e.another("web-test")
	e.finish(t.Context(), "web-test", true)
	e.becomes("web", "True TestSucceeded")
	e.edit("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.CommonMetadata = &meta.CommonMetadata{Labels: map[string]string{"team": "b"}}
	})
	second := e.another("web-test", first)
	e.finish(t.Context(), "web-test", false)
	e.Eventually(func() string { return e.condition("web", "Remediated") }, within, "50ms").Should(HavePrefix("True RollbackSucceeded"))
	e.becomes("web", "False RetriesExceeded: ")
	e.Expect(e.ready("web")).To(ContainSubstring("Helm test failed for release NS/web"))
	e.Expect(e.history("web")).To(Equal([]string{"v3 deployed by rollback", "v2 superseded by upgrade", "v1 superseded by install"}))

	// With the spec as it was before it is well again.
	e.edit("web", func(obj *helmv2.HelmRelease) { obj.Spec.CommonMetadata = nil })
	e.another("web-test", first, second)
	e.finish(t.Context(), "web-test", true)
	e.becomes("web", "True TestSucceeded: Helm test succeeded for release NS/web.v4")
}

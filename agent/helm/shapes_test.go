package helm

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
)

// A patch without a name is for all objects that the renderer sees at once.
func TestStrategiesOfPostRenderers(t *testing.T) {
	for strategy, want := range map[string]string{
		"":                                "patched",
		helmv2.PostRenderStrategyCombined: "patched",
		helmv2.PostRenderStrategySeparate: "patched",
		helmv2.PostRenderStrategyNoHooks:  "as it was",
	} {
		t.Run("strategy "+strategy, func(t *testing.T) {
			e := newEnv(t)
			e.release("web", func(obj *helmv2.HelmRelease) {
				obj.Spec.PostRenderStrategy = strategy
				obj.Spec.PostRenderers = []helmv2.PostRenderer{{Kustomize: &helmv2.Kustomize{Patches: []meta.Patch{{
					Target: &meta.Selector{Kind: "ConfigMap"}, Patch: `[{"op": "add", "path": "/data/value", "value": "patched"}]`,
				}}}}}
			})
			e.start()
			e.push("web", appChart("1.0.0", files{"templates/hook.yaml": "apiVersion: v1\nkind: ConfigMap\n" +
				"metadata: {name: hook, annotations: {helm.sh/hook: pre-install}}\ndata: {value: as it was}\n"}))
			e.becomes("web", "True InstallSucceeded")
			e.Expect(e.value("web")).To(Equal("patched"))
			e.Expect(e.value("hook")).To(Equal(want))
		})
	}
}

// What Helm stores is packed: values of nearly a Secret's size fit in.
func TestVeryLargeValues(t *testing.T) {
	e := newEnv(t)
	var text strings.Builder
	for i := range 30_000 {
		_, _ = fmt.Fprintf(&text, "key%05d: \"a value as any other\"\n", i)
	}
	e.Expect(text.Len()).To(BeNumerically(">", 900_000))
	e.Expect(e.hub.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "large"}, StringData: map[string]string{"values.yaml": text.String()},
	})).To(Succeed())
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.ValuesFrom = []helmv2.ValuesReference{{Kind: "Secret", Name: "large"}}
	})
	e.start()
	count := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: count}\ndata: {value: '{{ len .Values }} {{ .Values.key29999 }}'}\n"
	e.push("web", appChart("1.0.0", files{"templates/count.yaml": count}))
	e.becomes("web", "True InstallSucceeded")
	e.Expect(e.value("count")).To(Equal("30001 a value as any other"), "with value")
}

// Helm rewrites a chart's dependencies while it works: two releases of one artifact do
// not see what the other one has chosen.
func TestReleasesOfOneChartAtOnce(t *testing.T) {
	e := newEnv(t)
	choosy := appChart("1.0.0", files{
		"Chart.yaml":                  "apiVersion: v2\nname: app\nversion: 1.0.0\ndependencies: [{name: sub, version: 1.0.0, condition: sub.enabled}]\n",
		"charts/sub/Chart.yaml":       "apiVersion: v2\nname: sub\nversion: 1.0.0\n",
		"charts/sub/templates/a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}-sub'}\ndata: {value: '{{ .Values.word }}'}\n",
	})
	packed := e.pack(choosy)
	const many = 6
	name := func(i int) string { return fmt.Sprint("web-", i) }
	choose := func(obj *helmv2.HelmRelease, i int) {
		obj.Spec.Values = values(fmt.Sprintf("sub: {enabled: %v, word: word-%d}", i%2 == 0, i))
	}
	for i := range many {
		e.release(name(i), func(obj *helmv2.HelmRelease) { choose(obj, i) })
	}
	e.start()
	check := func(shift int) {
		for i := range many {
			want := ""
			if chosen := i + shift; chosen%2 == 0 {
				want = fmt.Sprint("word-", chosen)
			}
			e.Expect(e.value(name(i)+"-sub")).To(Equal(want), name(i))
		}
	}
	for i := range many {
		e.pushPacked(name(i), "1.0.0", packed)
	}
	for i := range many {
		e.becomes(name(i), "True InstallSucceeded")
	}
	check(0)
	for i := range many {
		e.edit(name(i), func(obj *helmv2.HelmRelease) { choose(obj, i+1) })
	}
	for i := range many {
		e.becomes(name(i), "True UpgradeSucceeded")
	}
	check(1)
}

// A request with force is one action, whatever the counters say, and is answered once.
func TestARequestWithForce(t *testing.T) {
	e := newEnv(t)
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.Upgrade = &helmv2.Upgrade{Remediation: &helmv2.UpgradeRemediation{RemediateLastFailure: ptr.To(false)}}
	})
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
	e.push("web", appChart("1.1.0", files{"templates/bad.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: z_refused}\n"}))
	e.becomes("web", "False RetriesExceeded")
	e.Expect(e.records("web")).To(HaveLen(2))
	e.request("1")
	e.Expect(e.records("web")).To(HaveLen(2), "a plain request does nothing")

	e.request("2", meta.ForceRequestAnnotation)
	e.Eventually(func() []string { return e.records("web") }, within, "50ms").Should(HaveLen(3))
	e.becomes("web", "False RetriesExceeded")
	e.Expect(e.get("web").Status.LastHandledForceAt).To(Equal("2"))
	e.request("3")
	e.Expect(e.records("web")).To(HaveLen(3), "it was answered")
}

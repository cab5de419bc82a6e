package helm

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
)

func TestTemplatesLookNamesUpWhereTheyMay(t *testing.T) {
	for name, c := range map[string]struct {
		allowed bool
		want    OmegaMatcher
	}{
		"by default":    {false, BeEmpty()},
		"with the gate": {true, Or(Equal("127.0.0.1"), Equal("::1"))},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			e.options.AllowDNSLookups = c.allowed
			e.release("web")
			e.start()
			looks := func(version string) files {
				return appChart(version, files{"templates/" + version + ".yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: at-" + version + "}\n" +
					`data: {value: {{ getHostByName "localhost" | quote }}}`})
			}
			e.push("web", looks("1.0.0"))
			e.becomes("web", "True InstallSucceeded")
			e.Expect(e.value("at-1.0.0")).To(c.want)
			e.push("web", looks("1.1.0"))
			e.becomes("web", "True UpgradeSucceeded")
			e.Expect(e.value("at-1.1.0")).To(c.want)
		})
	}
}

// The agent's clock is an hour ahead: whatever pause there is before the next
// attempt, it is over.
func TestFailuresAreRetriedByDefaultWithTheGate(t *testing.T) {
	for name, c := range map[string]struct {
		gate    bool
		failed  string
		records []string
	}{
		"by default":    {false, "False RetriesExceeded", []string{"v2 failed", "v1 deployed"}},
		"with the gate": {true, "False UpgradeFailed", []string{"v3 failed", "v2 failed", "v1 deployed"}},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			e.options.RetryByDefault = c.gate
			e.clock = clocktesting.NewFakePassiveClock(time.Now().Add(time.Hour))
			e.release("web", func(obj *helmv2.HelmRelease) {
				obj.Spec.Upgrade = &helmv2.Upgrade{Remediation: &helmv2.UpgradeRemediation{Retries: 0}}
			})
			e.start()
			e.push("web", appChart("1.0.0", nil))
			e.becomes("web", "True InstallSucceeded")
			e.push("web", appChart("1.1.0", files{"templates/bad.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-bad}\nimmutable: nonsense\n"}))
			e.becomes("web", c.failed)
			e.request("1")
			e.Eventually(func() []string { return e.records("web") }, within, "50ms").Should(Equal(c.records))
			e.becomes("web", c.failed)
		})
	}
}

func TestTheDigestOfTheArtifactMayBeLeftOut(t *testing.T) {
	const first, second = "5058a9f65092bb3f58b98378f38983ca4898cc8d27a5d92455ef99c757105577", "9a1b2c3d4e5fbb3f58b98378f38983ca4898cc8d27a5d92455ef99c757105577"
	e := newEnv(t)
	e.options.IgnoreChartDigest = true
	repository := &sourcev1.OCIRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "chart"},
		Spec: sourcev1.OCIRepositorySpec{
			URL: "oci://example.com/chart", Interval: metav1.Duration{Duration: time.Hour},
			Reference: &sourcev1.OCIRepositoryRef{Tag: "latest"},
		},
	}
	e.Expect(e.hub.Create(t.Context(), repository)).To(Succeed())
	pulled := func(made *meta.Artifact) {
		repository.Status.Artifact, repository.Status.ObservedGeneration = made, repository.Generation
	}
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.Chart, obj.Spec.ChartRef = nil, &helmv2.CrossNamespaceSourceReference{Kind: "OCIRepository", Name: "chart"}
	})
	e.start()
	e.offer(repository, "OCIRepository", "latest@sha256:"+first, pulled)
	const installed = "True InstallSucceeded: Helm install succeeded for release NS/web.v1 with chart app@1.0.0"
	e.Eventually(func() string { return e.ready("web") }, within, "50ms").Should(Equal(installed))

	// The same chart by another digest is no reason for an upgrade.
	e.offer(repository, "OCIRepository", "latest@sha256:"+second, pulled)
	e.request("1")
	e.Consistently(func() []string { return e.records("web") }, "1s", "50ms").Should(Equal([]string{"v1 deployed"}))
	e.Expect(e.ready("web")).To(Equal(installed))
}

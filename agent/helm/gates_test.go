package helm

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	clocktesting "k8s.io/utils/clock/testing"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
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
	e := newEnv(t)
	e.options.IgnoreChartDigest = true
	repository, pulled := e.repository()
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.Chart, obj.Spec.ChartRef = nil, &helmv2.CrossNamespaceSourceReference{Kind: "OCIRepository", Name: "chart"}
	})
	e.start()
	e.offer(repository, "OCIRepository", "latest@sha256:"+oneDigest, pulled)
	const installed = "True InstallSucceeded: Helm install succeeded for release NS/web.v1 with chart app@1.0.0"
	e.Eventually(func() string { return e.ready("web") }, within, "50ms").Should(Equal(installed))

	// The same chart by another digest is no reason for an upgrade.
	e.offer(repository, "OCIRepository", "latest@sha256:"+anotherDigest, pulled)
	e.request("1")
	e.Consistently(func() []string { return e.records("web") }, "1s", "50ms").Should(Equal([]string{"v1 deployed"}))
	e.Expect(e.ready("web")).To(Equal(installed))
}

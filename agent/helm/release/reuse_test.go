package release_test

import (
	"testing"

	. "github.com/onsi/gomega"
	"helm.sh/helm/v3/pkg/chartutil"
	helmrelease "helm.sh/helm/v3/pkg/release"
	"sigs.k8s.io/yaml"

	"github.com/headwater-dev/headwater/agent/helm/release"
)

func valuesOf(t *testing.T, text string) map[string]any {
	t.Helper()
	values := map[string]any{}
	NewWithT(t).Expect(yaml.Unmarshal([]byte(text), &values)).To(Succeed())
	return values
}

func TestReusedValuesAreHelmsAndComeToRest(t *testing.T) {
	for name, c := range map[string]struct{ earlier, values string }{
		"nothing given":               {"a: 1", ""},
		"nothing before":              {"", "a: 1"},
		"another value":               {"a: 1\nb: 2", "a: 3"},
		"a map below a map":           {"a: {b: 1, c: 2}", "a: {b: 3}"},
		"a map below a value":         {"a: {b: 1}", "a: 3"},
		"a value below a map":         {"a: 1", "a: {b: 3}"},
		"null for what was there":     {"a: 1\nb: {c: 2}", "a: null\nb: {c: null}"},
		"null for what was not there": {"b: 1", "a: null"},
		"null below a value":          {"a: null", "a: 1"},
		"a list":                      {"a: [1, 2]", "a: [3]"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			helms := chartutil.CoalesceTables(valuesOf(t, c.values), valuesOf(t, c.earlier))
			earlier, values := valuesOf(t, c.earlier), valuesOf(t, c.values)
			made := release.Reused(earlier, values)
			g.Expect(made).To(Equal(helms))
			g.Expect(earlier).To(Equal(valuesOf(t, c.earlier)), "it is written to")
			g.Expect(values).To(Equal(valuesOf(t, c.values)), "it is written to")
			rests, err := release.Keeps(made, values)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(rests).To(BeTrue())
		})
	}
	rests, err := release.Keeps(valuesOf(t, "a: 1\nb: 2"), valuesOf(t, "a: 3"))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	NewWithT(t).Expect(rests).To(BeFalse())
}

func TestTheRecordBeneathReusedValues(t *testing.T) {
	g := NewWithT(t)
	failed, deployed := release.Record{Version: 3, Status: helmrelease.StatusFailed}, release.Record{Version: 2, Status: helmrelease.StatusDeployed}
	g.Expect(release.Current([]release.Record{failed, deployed}).Version).To(Equal(2))
	g.Expect(release.Current([]release.Record{failed}).Version).To(Equal(3))
	g.Expect(release.Current(nil)).To(BeNil())
}

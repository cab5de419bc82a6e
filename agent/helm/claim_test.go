package helm

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/headwater-dev/headwater/agent/helm/release"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
)

// claims makes the HelmRelease stand for the release shared.
func claims(obj *helmv2.HelmRelease) { obj.Spec.ReleaseName = "shared" }

func TestTwoHelmReleasesOfOneReleaseDoNotFight(t *testing.T) {
	e := newEnv(t)
	e.options.RequeueDependency = time.Second
	e.release("a", claims)
	e.start()
	e.push("a", appChart("1.0.0", nil))
	e.becomes("a", "True InstallSucceeded")
	e.release("b", claims)
	e.push("b", appChart("2.0.0", files{"values.yaml": "value: other"}))
	e.becomes("b", "False StateError: the release NS/shared with its records in namespace NS is claimed by HelmRelease 'NS/a', which goes first, and by HelmRelease 'NS/b': give one of them another releaseName")
	e.requestOf("b", "1")
	e.requestOf("a", "1")
	e.Expect(e.ready("a")).To(HavePrefix("True InstallSucceeded"))
	e.Expect(e.records("shared")).To(Equal([]string{"v1 deployed"}))
	e.Expect(e.value("shared")).To(Equal("default"))

	// The one that stands back leaves the release alone when it goes, and has it
	// when the other does.
	e.release("c", claims)
	e.push("c", appChart("3.0.0", nil))
	e.becomes("c", "False StateError")
	e.Expect(e.hub.Delete(t.Context(), e.get("c"))).To(Succeed())
	e.Expect(e.hub.Delete(t.Context(), e.get("a"))).To(Succeed())
	e.becomes("b", "True InstallSucceeded: Helm install succeeded for release NS/shared.v1 with chart app@2.0.0")
	e.Expect(e.value("shared")).To(Equal("other"))
}

// An agent does not have the HelmReleases of others: whose a release is stands on
// its objects.
func TestAReleaseOfAnotherAgentsHelmReleaseIsLeftAlone(t *testing.T) {
	e := newEnv(t)
	e.release("b", claims)
	stop := e.start()
	e.push("b", appChart("1.0.0", nil))
	e.becomes("b", "True InstallSucceeded")
	stop()

	e.identity, e.own = "agent-0_2", labels.SelectorFromSet(labels.Set{"mine": "yes"})
	e.release("a", claims, func(obj *helmv2.HelmRelease) { obj.Labels = map[string]string{"mine": "yes"} })
	e.start()
	e.push("a", appChart("2.0.0", nil))
	e.becomes("a", "False StateError: the release NS/shared with its records in namespace NS is claimed by HelmRelease 'NS/b', which goes first, and by HelmRelease 'NS/a'")
	e.Expect(e.records("shared")).To(Equal([]string{"v1 deployed"}))
}

func TestWhoGoesFirst(t *testing.T) {
	of := release.Target{Name: "shared", Namespace: "fleet", StorageNamespace: "fleet"}
	claimant := func(name string, second int64, made bool) *helmv2.HelmRelease {
		obj := &helmv2.HelmRelease{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: name, CreationTimestamp: metav1.Unix(second, 0)}}
		if made {
			obj.Status.History = helmv2.Snapshots{{Name: "shared", Namespace: "fleet"}}
		}
		return obj
	}
	for name, c := range map[string]struct{ first, second *helmv2.HelmRelease }{
		"who has made it":        {claimant("b", 2, true), claimant("a", 1, false)},
		"the older":              {claimant("b", 1, false), claimant("a", 2, false)},
		"the older of two":       {claimant("b", 1, true), claimant("a", 2, true)},
		"by name, at one second": {claimant("a", 1, false), claimant("b", 1, false)},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(goesFirst(c.first, c.second, of)).To(BeTrue())
			g.Expect(goesFirst(c.second, c.first, of)).To(BeFalse())
		})
	}
}

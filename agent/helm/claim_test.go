package helm

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/agent/helm/release"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
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

// Nobody has to be able to release in a namespace to claim what is to be released
// there.
func TestAClaimFromElsewhereHoldsNobodyUp(t *testing.T) {
	e := newEnv(t)
	e.options.RequeueDependency = time.Second
	evil := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "evil-"}}
	e.Expect(e.hub.Create(t.Context(), evil)).To(Succeed())
	e.also = []string{evil.Name}
	e.release("a", claims, func(obj *helmv2.HelmRelease) {
		obj.Namespace = evil.Name
		obj.Spec.Suspend = true
		obj.Spec.TargetNamespace, obj.Spec.StorageNamespace = e.namespace, e.namespace
	})
	e.release("web", claims)
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
	e.Expect(e.records("shared")).To(Equal([]string{"v1 deployed"}))
}

// Nor does what somebody has released elsewhere by that name.
func TestAReleaseMadeElsewhereHoldsNobodyUp(t *testing.T) {
	e := newEnv(t)
	e.options.RequeueDependency = time.Second
	evil := *e
	evil.namespace = e.namespace + "-evil"
	e.Expect(e.hub.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: evil.namespace}})).To(Succeed())
	e.also = []string{evil.namespace}
	evil.release("a", claims, func(obj *helmv2.HelmRelease) { obj.Spec.TargetNamespace = e.namespace })
	e.start()
	evil.push("a", appChart("1.0.0", files{"templates/one.yaml": ""}))
	evil.becomes("a", "True InstallSucceeded")
	evil.edit("a", func(obj *helmv2.HelmRelease) { obj.Spec.Suspend, obj.Spec.StorageNamespace = true, e.namespace })

	e.release("web", claims)
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
	e.Expect(e.records("shared")).To(Equal([]string{"v1 deployed"}))
}

// Helm has one record of a name in a namespace, whatever namespace is released to.
func TestTwoHelmReleasesOfOneRecordDoNotFight(t *testing.T) {
	e := newEnv(t)
	e.options.RequeueDependency = time.Second
	other := e.namespace + "-other"
	e.Expect(e.hub.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: other}})).To(Succeed())
	e.release("a")
	e.start()
	e.release("b", claims, func(obj *helmv2.HelmRelease) { obj.Spec.TargetNamespace = other })
	e.push("b", appChart("1.0.0", nil))
	e.becomes("b", "True InstallSucceeded")
	e.edit("a", claims)
	e.push("a", appChart("2.0.0", nil))
	e.becomes("a", "False StateError: the release NS/shared with its records in namespace NS is claimed by HelmRelease 'NS/b', which goes first")
	e.Expect(e.records("shared")).To(Equal([]string{"v1 deployed"}))

	// Nor is what is left of the other moved to where it is not.
	e.edit("b", func(obj *helmv2.HelmRelease) { obj.Spec.Suspend = true })
	e.Expect(e.hub.Delete(t.Context(), e.get("b"))).To(Succeed())
	e.becomes("a", "False StateError: the records in namespace NS are of the release NS-other/shared, and not of NS/shared: uninstall it")
	e.Expect(e.records("shared")).To(Equal([]string{"v1 deployed"}))
}

// Two HelmReleases whose HelmCharts have one name: the one that has it keeps it.
func TestTheHelmChartOfAnotherIsLeftAlone(t *testing.T) {
	e := newEnv(t)
	other := *e
	other.namespace = e.namespace + "-y"
	e.Expect(e.hub.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: other.namespace}})).To(Succeed())
	e.also = []string{other.namespace}
	ofOne := func(obj *helmv2.HelmRelease) { obj.Spec.Chart.Spec.SourceRef.Namespace = e.namespace }
	e.release("y-app", ofOne)
	e.start()
	e.push("y-app", appChart("1.0.0", nil))
	e.becomes("y-app", "True InstallSucceeded")
	other.release("app", ofOne, func(obj *helmv2.HelmRelease) { obj.Spec.Chart.Spec.Chart = "evil" })
	other.becomes("app", "False HelmChartSyncErr: the HelmChart '"+e.namespace+"/NS-app' is that of HelmRelease '"+e.namespace+"/y-app', and would be that of HelmRelease 'NS/app' as well: give one of them another name")
	other.Expect(other.condition("app", "Stalled")).To(HavePrefix("True HelmChartSyncErr"))
	chart := &sourcev1.HelmChart{}
	e.Expect(e.hub.Get(t.Context(), client.ObjectKey{Namespace: e.namespace, Name: e.namespace + "-y-app"}, chart)).To(Succeed())
	e.Expect(chart.Spec.Chart).To(Equal("app"))

	// Once it is nobody's, it can be had.
	gone := e.get("y-app")
	e.Expect(e.hub.Delete(t.Context(), gone)).To(Succeed())
	e.Eventually(func() error { return e.hub.Get(t.Context(), client.ObjectKeyFromObject(gone), gone) }, "2m", "50ms").ShouldNot(Succeed())
	other.requestOf("app", "1")
	other.becomes("app", "False SourceNotReady")
}

func TestWhoGoesFirst(t *testing.T) {
	of := release.Target{Name: "shared", Namespace: "fleet", StorageNamespace: "fleet"}
	claimant := func(namespace, name string, second int64, made bool) *helmv2.HelmRelease {
		obj := &helmv2.HelmRelease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, CreationTimestamp: metav1.Unix(second, 0)}}
		if made {
			obj.Status.History = helmv2.Snapshots{{Name: "shared", Namespace: namespace}}
			obj.Status.StorageNamespace = "fleet"
		}
		return obj
	}
	elsewhere := claimant("evil", "a", 1, true)
	elsewhere.Status.StorageNamespace, elsewhere.Spec.StorageNamespace = "evil", "fleet"
	for name, c := range map[string]struct{ first, second *helmv2.HelmRelease }{
		"who has made it":                    {claimant("fleet", "b", 2, true), claimant("fleet", "a", 1, false)},
		"the older":                          {claimant("fleet", "b", 1, false), claimant("fleet", "a", 2, false)},
		"the older of two":                   {claimant("fleet", "b", 1, true), claimant("fleet", "a", 2, true)},
		"by name, at one second":             {claimant("fleet", "a", 1, false), claimant("fleet", "b", 1, false)},
		"who is where the record is":         {claimant("fleet", "b", 2, false), claimant("evil", "a", 1, false)},
		"who has made it from there":         {claimant("evil", "b", 2, true), claimant("fleet", "a", 1, false)},
		"who has made it, and not elsewhere": {claimant("fleet", "b", 2, true), elsewhere},
		"who is there, and not elsewhere":    {claimant("fleet", "b", 2, false), elsewhere},
		"the older of a neighbour":           {claimant("other", "b", 1, false), claimant("other", "a", 2, false)},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(goesFirst(c.first, c.second, of)).To(BeTrue())
			g.Expect(goesFirst(c.second, c.first, of)).To(BeFalse())
		})
	}
	g, a, b := NewWithT(t), claimant("evil", "a", 1, false), claimant("other", "b", 2, false)
	g.Expect(goesFirst(a, b, of)).To(BeFalse(), "whoever makes it first has it")
	g.Expect(goesFirst(b, a, of)).To(BeFalse(), "whoever makes it first has it")
}

// A HelmRelease whose history says, as Flux has left it, that it has made what is
// another's takes nothing from that one when it goes away from it.
func TestTheReleaseOfAnotherIsNotUninstalled(t *testing.T) {
	e := newEnv(t)
	e.release("web")
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
	for _, name := range []string{"renamed", "deleted"} {
		e.release(name, func(obj *helmv2.HelmRelease) {
			obj.Spec.ReleaseName, obj.Spec.Suspend, obj.Spec.Values = "web", true, values("value: own")
		})
		obj := e.get(name)
		before := obj.DeepCopy()
		obj.Status.History = e.get("web").Status.History
		e.Expect(e.hub.Status().Patch(t.Context(), obj, client.MergeFrom(before))).To(Succeed())
		e.edit(name, func(obj *helmv2.HelmRelease) { obj.Spec.Suspend = false })
		e.push(name, appChart("1.0.0", nil))
		e.becomes(name, "False StateError: the release NS/web with its records in namespace NS is claimed by HelmRelease 'NS/web'")
	}
	e.edit("renamed", func(obj *helmv2.HelmRelease) { obj.Spec.ReleaseName = "other" })
	e.becomes("renamed", "True InstallSucceeded: Helm install succeeded for release NS/other.v1")
	e.Expect(e.hub.Delete(t.Context(), e.get("deleted"))).To(Succeed())
	e.published("unable to uninstall the release")
	e.Expect(e.records("web")).To(Equal([]string{"v1 deployed"}))
	e.Expect(e.value("web")).To(Equal("default"))
}

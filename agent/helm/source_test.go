package helm

import (
	"context"
	"sync/atomic"
	"testing"

	. "github.com/onsi/gomega"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
)

// stall plays the hub for a HelmChart whose spec it cannot make a chart of: the
// generation is observed, and the artifact of the one before stays.
func (e *env) stall(name, why string) {
	e.t.Helper()
	e.EventuallyWithOffset(1, func() error {
		obj := &sourcev1.HelmChart{}
		if err := e.hub.Get(e.t.Context(), client.ObjectKey{Namespace: e.namespace, Name: e.namespace + "-" + name}, obj); err != nil {
			return err
		}
		e.Expect(obj.Status.Artifact).NotTo(BeNil())
		obj.Status.ObservedGeneration = obj.Generation
		for kind, status := range map[string]metav1.ConditionStatus{meta.ReadyCondition: "False", meta.StalledCondition: "True"} {
			apimeta.SetStatusCondition(&obj.Status.Conditions, metav1.Condition{
				Type: kind, Status: status, Reason: "ValuesFilesError", Message: why, ObservedGeneration: obj.Generation,
			})
		}
		return e.hub.Status().Update(e.t.Context(), obj)
	}, "2m", "20ms").Should(Succeed())
}

// late is a cache that has not heard of anything since it was stopped.
type late struct {
	client.Reader
	known atomic.Pointer[sourcev1.HelmChart]
}

func (l *late) Get(ctx context.Context, name client.ObjectKey, obj client.Object, options ...client.GetOption) error {
	if known := l.known.Load(); known != nil && known.Name == name.Name {
		known.DeepCopyInto(obj.(*sourcev1.HelmChart))
		return nil
	}
	return l.Reader.Get(ctx, name, obj, options...)
}

// Another chart and values for it arrive together: the values are not given to the
// chart before, which a cache still has.
func TestValuesAreForTheChartThatTheyCameWith(t *testing.T) {
	e := newEnv(t)
	cache := &late{Reader: e.hub}
	e.sources, e.options.RequeueDependency = cache, second().Duration
	e.release("web")
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
	chart := &sourcev1.HelmChart{}
	e.Expect(e.hub.Get(t.Context(), client.ObjectKey{Namespace: e.namespace, Name: e.namespace + "-web"}, chart)).To(Succeed())
	cache.known.Store(chart)
	e.edit("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.Chart.Spec.Version, obj.Spec.Values = "2.x", values("{value: new}")
	})
	e.becomes("web", "False SourceNotReady: HelmChart 'NS/NS-web' is not ready: latest generation of object has not been reconciled")
	e.Expect(e.records("web")).To(Equal([]string{"v1 deployed"}))

	cache.known.Store(nil)
	e.push("web", appChart("2.0.0", nil))
	e.becomes("web", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/web.v2 with chart app@2.0.0")
	e.Expect(e.value("web")).To(Equal("new"))
}

func TestAChartWhoseSourceIsStalledIsNotUsed(t *testing.T) {
	e := newEnv(t)
	e.options.RequeueDependency = second().Duration
	e.release("web")
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
	chart := &sourcev1.HelmChart{}
	generation := func() int64 {
		e.Expect(e.hub.Get(t.Context(), client.ObjectKey{Namespace: e.namespace, Name: e.namespace + "-web"}, chart)).To(Succeed())
		return chart.Generation
	}
	before := generation()
	e.edit("web", func(obj *helmv2.HelmRelease) { obj.Spec.Chart.Spec.ValuesFiles = []string{"typo.yaml"} })
	e.Eventually(generation, "2m", "20ms").Should(BeNumerically(">", before))
	e.stall("web", "no values file found at path 'typo.yaml'")
	e.becomes("web", "False SourceNotReady: HelmChart 'NS/NS-web' is not ready: no values file found at path 'typo.yaml'")

	// What is put right counts at once.
	e.edit("web", func(obj *helmv2.HelmRelease) { obj.Spec.Chart.Spec.ValuesFiles = nil })
	e.Eventually(generation, "2m", "20ms").Should(BeNumerically(">", before+1))
	chart.Status.Conditions, chart.Status.ObservedGeneration = nil, chart.Generation
	e.Expect(e.hub.Status().Update(t.Context(), chart)).To(Succeed())
	e.becomes("web", "True InstallSucceeded")
	e.Expect(e.records("web")).To(Equal([]string{"v1 deployed"}))
}

// offer sets the artifact of a source that others make.
func (e *env) offer(source client.Object, kind, revision string, status func(*meta.Artifact)) {
	e.t.Helper()
	e.Expect(e.hub.Get(e.t.Context(), client.ObjectKeyFromObject(source), source)).To(Succeed())
	status(e.publish(kind, source.GetName(), revision, e.pack(appChart("1.0.0", nil))))
	e.Expect(e.hub.Status().Update(e.t.Context(), source)).To(Succeed())
}

// Digests of two artifacts.
const (
	oneDigest     = "5058a9f65092bb3f58b98378f38983ca4898cc8d27a5d92455ef99c757105577"
	anotherDigest = "9a1b2c3d4e5fbb3f58b98378f38983ca4898cc8d27a5d92455ef99c757105577"
)

// repository makes the OCIRepository chart, and returns what sets its artifact.
func (e *env) repository() (made *sourcev1.OCIRepository, pulled func(*meta.Artifact)) {
	e.t.Helper()
	made = &sourcev1.OCIRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "chart"},
		Spec: sourcev1.OCIRepositorySpec{
			URL: "oci://example.com/chart", Interval: metav1.Duration{Duration: 3600e9},
			Reference: &sourcev1.OCIRepositoryRef{Digest: "sha256:" + oneDigest},
		},
	}
	e.Expect(e.hub.Create(e.t.Context(), made)).To(Succeed())
	return made, func(artifact *meta.Artifact) {
		made.Status.Artifact, made.Status.ObservedGeneration = artifact, made.Generation
	}
}

func TestTheDigestOfTheUpstreamArtifactIsFollowed(t *testing.T) {
	e := newEnv(t)
	e.options.ExternalArtifacts = true
	repository, pulled := e.repository()
	external := &sourcev1.ExternalArtifact{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "chart"}}
	given := func(made *meta.Artifact) {
		external.Status.Artifact = made
		apimeta.SetStatusCondition(&external.Status.Conditions, metav1.Condition{Type: meta.ReadyCondition, Status: "True", Reason: "Succeeded"})
	}
	e.Expect(e.hub.Create(t.Context(), external)).To(Succeed())
	for name, kind := range map[string]string{"web": "OCIRepository", "ext": "ExternalArtifact"} {
		e.release(name, func(obj *helmv2.HelmRelease) {
			obj.Spec.Chart, obj.Spec.ChartRef = nil, &helmv2.CrossNamespaceSourceReference{Kind: kind, Name: "chart"}
		})
	}
	e.start()
	e.offer(repository, "OCIRepository", "sha256:"+oneDigest, pulled)
	e.offer(external, "ExternalArtifact", "a@b@sha1:"+oneDigest[:40], given)
	e.becomes("web", "True InstallSucceeded: Helm install succeeded for release NS/web.v1 with chart app@1.0.0+5058a9f65092")
	e.becomes("ext", "True InstallSucceeded: Helm install succeeded for release NS/ext.v1 with chart app@1.0.0+5058a9f65092")
	e.offer(repository, "OCIRepository", "sha256:"+anotherDigest, pulled)
	e.offer(external, "ExternalArtifact", "a@b@sha1:"+anotherDigest[:40], given)
	e.becomes("web", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/web.v2 with chart app@1.0.0+9a1b2c3d4e5f")
	e.becomes("ext", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/ext.v2 with chart app@1.0.0+9a1b2c3d4e5f")
	e.Expect(e.get("web").Status.History[0].OCIDigest).To(Equal("sha256:" + anotherDigest))
	e.Expect(e.get("ext").Status.History[0].OCIDigest).To(Equal("sha1:" + anotherDigest[:40]))

	// A tag cannot have the sign before the metadata of a version.
	e.offer(repository, "OCIRepository", "1.0.0_x@sha256:"+oneDigest, pulled)
	e.becomes("web", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/web.v3 with chart app@1.0.0+5058a9f65092")
	e.offer(repository, "OCIRepository", "1.0.1_x@sha256:"+anotherDigest, pulled)
	e.becomes("web", "False ChartMutateError: chart of revision 1.0.1_x@sha256:"+anotherDigest+": the tag 1.0.1_x is a version, and the chart's is 1.0.0")
}

package helm

import (
	"bytes"
	"context"
	"strings"
	"sync/atomic"
	"testing"

	. "github.com/onsi/gomega"
	helmchart "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	restclient "k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/headwater-dev/headwater/agent/apply"
	"github.com/headwater-dev/headwater/agent/helm/action"
	"github.com/headwater-dev/headwater/agent/helm/release"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
)

// session is an action on the release web, without a reconciler around it.
func (e *env) session(hold func(context.Context) error, all files, change func(*action.Order)) *action.Session {
	e.t.Helper()
	config := shared.ControlPlane(e.t).Config()
	http, err := restclient.HTTPClientFor(config)
	e.Expect(err).NotTo(HaveOccurred())
	mapper, err := apiutil.NewDynamicRESTMapper(config, http)
	e.Expect(err).NotTo(HaveOccurred())
	known, err := action.NewDiscovery(config, action.NewKinds())
	e.Expect(err).NotTo(HaveOccurred())
	packed := e.pack(all)
	order := action.Order{
		Object: &helmv2.HelmRelease{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "web"}},
		Target: release.Target{Name: "web", Namespace: e.namespace, StorageNamespace: e.namespace},
		Chart:  func() (*helmchart.Chart, error) { return loader.LoadArchive(bytes.NewReader(packed)) },
	}
	change(&order)
	made, err := action.Open(e.t.Context(), action.Access{
		Config: config, Mapper: mapper, Discovery: known, Hold: hold, Yield: func() func() { return func() {} },
	}, order)
	e.Expect(err).NotTo(HaveOccurred())
	return made
}

// Helm waits in goroutines of its own: a panic there must not end the process.
func TestAPanicInAWaitIsAFailure(t *testing.T) {
	e := newEnv(t)
	free := func(context.Context) error { return nil }
	session := e.session(free, appChart("1.0.0", nil), func(order *action.Order) {
		order.Rules = func(schema.GroupKind) apply.Rule { panic("no luck") }
	})
	e.Expect(session.Install()).To(MatchError("helm crashed: no luck"))
	e.Expect(e.records("web")).To(Equal([]string{"v1 failed"}))

	// The same where the objects are written, after the record: an upgrade reads
	// what came of that even of a failure.
	var writes atomic.Int32
	session = e.session(func(context.Context) error {
		if writes.Add(1) == 2 {
			panic("no luck here")
		}
		return nil
	}, appChart("1.1.0", files{"values.yaml": "value: new"}), func(*action.Order) {})
	e.Expect(session.Upgrade()).To(MatchError("helm crashed: no luck here"))
	e.Expect(e.value("web")).To(Equal("default"))
	e.Expect(e.records("web")).To(Equal([]string{"v2 failed", "v1 failed"}))
}

// The server writes the status of a CRD when it likes: here, just before each of
// the first two writes of the action.
func TestACRDIsReplacedThoughItChanges(t *testing.T) {
	e := newEnv(t)
	busy := strings.ReplaceAll(crd, "helm.example.com", "busy.example.com")
	e.create(strings.ReplaceAll(busy, "DESCRIPTION", "before"))
	found := &unstructured.Unstructured{}
	found.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	found.SetName("things.busy.example.com")
	writes := 0
	session := e.session(func(ctx context.Context) error {
		if writes++; writes > 2 {
			return nil
		}
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"write":"`+strings.Repeat("x", writes)+`"}}}`))
		return e.hub.Patch(ctx, found.DeepCopy(), patch)
	}, appChart("1.0.0", files{"crds/thing.yaml": strings.ReplaceAll(busy, "DESCRIPTION", "after")}), func(order *action.Order) {
		order.Object.Spec.Install = &helmv2.Install{CRDs: helmv2.CreateReplace}
	})
	e.Expect(session.Install()).To(Succeed())
	e.Expect(e.hub.Get(t.Context(), client.ObjectKeyFromObject(found), found)).To(Succeed())
	e.Expect(found.GetAnnotations()).To(HaveKeyWithValue("write", "xx"))
	text, err := found.MarshalJSON()
	e.Expect(err).NotTo(HaveOccurred())
	e.Expect(string(text)).To(ContainSubstring(`"description":"after"`))
}

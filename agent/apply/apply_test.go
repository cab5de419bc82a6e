package apply

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/cert"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	configMap  = "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {color: red}}"
	account    = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: web}}"
	deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: example.com/web}]}
`
	service = `
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
`
)

func TestApplyThenNothing(t *testing.T) {
	c := newCluster(t)
	set := []string{deployment, service, configMap, account}
	c.g.Expect(c.must(set...)).To(Equal([]string{
		"ServiceAccount/web created", "ConfigMap/settings created", "Service/web created", "Deployment/web created",
	}))

	before := c.read("apps/v1 Deployment " + c.namespace + "/web")
	c.g.Expect(c.must(set...)).To(Equal([]string{
		"ServiceAccount/web unchanged", "ConfigMap/settings unchanged", "Service/web unchanged", "Deployment/web unchanged",
	}))
	after := c.read("apps/v1 Deployment " + c.namespace + "/web")
	c.g.Expect(after.GetResourceVersion()).To(Equal(before.GetResourceVersion()))
	c.g.Expect(after.GetLabels()).To(Equal(map[string]string{
		"kustomize.toolkit.fluxcd.io/name":      c.namespace,
		"kustomize.toolkit.fluxcd.io/namespace": "fleet",
	}))
	c.g.Expect(after.GetManagedFields()[0].Manager).To(Equal("kustomize-controller"))
}

func TestDriftIsPutBack(t *testing.T) {
	for _, test := range []struct {
		name, manager string
		patch         string
		left          map[string]any
	}{
		{"a changed value", "somebody", `{"data":{"color":"blue"}}`, map[string]any{"color": "red"}},
		{"a removed value", "somebody", `{"data":{"color":null}}`, map[string]any{"color": "red"}},
		{"a value of another controller stays", "somebody", `{"data":{"size":"xl"}}`, map[string]any{"color": "red", "size": "xl"}},
		{"what kubectl added goes", "kubectl-edit", `{"data":{"size":"xl"}}`, map[string]any{"color": "red"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCluster(t)
			c.must(configMap)
			live := c.read("v1 ConfigMap " + c.namespace + "/settings")
			c.g.Expect(c.admin.Patch(t.Context(), live, client.RawPatch(types.MergePatchType, []byte(test.patch)),
				client.FieldOwner(test.manager))).To(Succeed())
			c.must(configMap)
			live = c.read("v1 ConfigMap " + c.namespace + "/settings")
			c.g.Expect(live.Object["data"]).To(Equal(test.left))
			c.g.Expect(c.must(configMap)).To(Equal([]string{"ConfigMap/settings unchanged"}))
		})
	}
}

func TestWhatIsAskedForByHandIsSpared(t *testing.T) {
	c := newCluster(t)
	c.must(configMap)
	live := c.read("v1 ConfigMap " + c.namespace + "/settings")
	c.g.Expect(c.admin.Patch(t.Context(), live,
		client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"now","note":"x"}}}`)),
		client.FieldOwner("kubectl-annotate"))).To(Succeed())
	c.g.Expect(c.must(configMap)).To(Equal([]string{"ConfigMap/settings configured"}))
	live = c.read("v1 ConfigMap " + c.namespace + "/settings")
	c.g.Expect(live.GetAnnotations()).To(Equal(map[string]string{"reconcile.fluxcd.io/requestedAt": "now"}))
	c.g.Expect(c.must(configMap)).To(Equal([]string{"ConfigMap/settings unchanged"}))
}

func TestDefinitionAndInstanceInOneSet(t *testing.T) {
	c := newCluster(t)
	group := c.namespace + ".example.com"
	definition := `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: stores.` + group + `, creationTimestamp: null}
spec:
  group: ` + group + `
  names: {kind: Store, plural: stores}
  scope: Cluster
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`
	// The instance carries a namespace, as kustomize's namespace transformer
	// gives it to every kind that it does not know.
	instance := "{apiVersion: " + group + "/v1, kind: Store, metadata: {name: main}, spec: {size: 3}}"
	inside := "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: inner-" + c.namespace + "}}"
	namespace := "{apiVersion: v1, kind: Namespace, metadata: {name: inner-" + c.namespace + "}}"

	c.g.Expect(c.must(instance, inside, namespace, definition)).To(Equal([]string{
		"CustomResourceDefinition/stores." + group + " created",
		"Namespace/inner-" + c.namespace + " created",
		"ConfigMap/a created",
		"Store/main created",
	}))
	c.g.Expect(c.must(instance, inside, namespace, definition)).To(HaveEach(HaveSuffix(" unchanged")))
}

func TestDefinitionThatIsNeverEstablished(t *testing.T) {
	c := newCluster(t)
	definition := func(plural string) string {
		return `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ` + plural + `.` + c.namespace + `.example.com}
spec:
  group: ` + c.namespace + `.example.com
  names: {kind: Store, plural: ` + plural + `}
  scope: Namespaced
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
`
	}
	c.must(definition("stores"))
	objects := c.objects(definition("shops"))
	c.g.Expect(c.Prepare(objects)).To(Succeed())
	plan, err := c.Plan(t.Context(), objects)
	c.g.Expect(err).NotTo(HaveOccurred())
	done, err := c.Apply(t.Context(), plan)
	c.g.Expect(err).NotTo(HaveOccurred())

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	c.g.Expect(c.Settle(ctx, done)).To(MatchError(HavePrefix(
		"CustomResourceDefinition/shops." + c.namespace + ".example.com was applied but is not ready: its names are not accepted: ")))
}

func TestOneBadObjectStopsItsStage(t *testing.T) {
	c := newCluster(t)
	bad := "{apiVersion: v1, kind: Service, metadata: {name: bad}, spec: {ports: [{port: 99999, targetPort: 80}]}}"
	namespace := "{apiVersion: v1, kind: Namespace, metadata: {name: stage-" + c.namespace + "}}"
	done, err := c.run(c.objects(configMap, bad, namespace))
	c.g.Expect(err).To(MatchError(HavePrefix("Service/" + c.namespace + `/bad dry-run failed (Invalid): Service "bad" is invalid: spec.ports[0].port`)))
	c.g.Expect(words(done)).To(Equal([]string{"Namespace/stage-" + c.namespace + " created"}), "what was done is told although it failed")
	c.g.Expect(c.exists("v1 ConfigMap " + c.namespace + "/settings")).To(BeFalse())
}

func TestPrepareRefuses(t *testing.T) {
	c := newCluster(t)
	for _, test := range []struct {
		name    string
		objects []*unstructured.Unstructured
		want    string
	}{
		{"an unknown kind", c.objects("{apiVersion: nowhere.example.com/v1, kind: Thing, metadata: {name: a}}"),
			"Thing/" + c.namespace + "/a: the cluster has no kind Thing in nowhere.example.com/v1: is its definition installed?"},
		{"a version that is not served", c.objects("{apiVersion: apps/v1beta1, kind: Deployment, metadata: {name: a}}"),
			"Deployment/" + c.namespace + "/a: the cluster has no kind Deployment in apps/v1beta1: is its definition installed?"},
		{"no namespace", []*unstructured.Unstructured{parse(t, configMap)},
			"ConfigMap/settings has no namespace: set metadata.namespace or spec.targetNamespace"},
		{"one object twice", c.objects(configMap, configMap),
			"ConfigMap/" + c.namespace + "/settings is there twice: remove one of the two"},
		{"stringData that is none", c.objects("{apiVersion: v1, kind: Secret, metadata: {name: a}, stringData: {x: {y: z}}}"),
			"Secret/" + c.namespace + "/a: stringData must be a map of strings"},
	} {
		t.Run(test.name, func(t *testing.T) {
			NewWithT(t).Expect(c.Prepare(test.objects)).To(MatchError(test.want))
		})
	}
}

func TestMissingNamespace(t *testing.T) {
	c := newCluster(t)
	_, err := c.run(c.objects("{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: nowhere}}"))
	c.g.Expect(err).To(MatchError(`ConfigMap/nowhere/a dry-run failed (NotFound): namespaces "nowhere" not found`))
}

func TestATerminatingNamespaceIsNamed(t *testing.T) {
	c := newCluster(t)
	namespace := object("v1 Namespace " + c.namespace)
	c.g.Expect(c.admin.Delete(t.Context(), namespace)).To(Succeed())
	_, err := c.run(c.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: late}\n"))
	c.g.Expect(err).To(MatchError(And(
		HavePrefix("ConfigMap/"+c.namespace+"/late dry-run failed (Forbidden): "),
		ContainSubstring("namespace "+c.namespace+" because it is being terminated"))))
}

func TestSecretKeysLeaveWithTheManifest(t *testing.T) {
	c := newCluster(t)
	c.must("{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {a: one, b: two}}")
	c.must("{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {a: one}, data: {c: dGhyZWU=}}")
	live := c.read("v1 Secret " + c.namespace + "/s")
	c.g.Expect(live.Object["data"]).To(Equal(map[string]any{"a": "b25l", "c": "dGhyZWU="}))
}

func TestConflictsNameTheOtherOwner(t *testing.T) {
	c := newCluster(t)
	c.must(configMap)
	other := *c.Applier
	other.Owner.Name = "other"
	objects := c.objects(configMap)
	other.Owner.Label(objects)
	plan, err := other.Plan(t.Context(), objects)
	c.g.Expect(err).NotTo(HaveOccurred())
	c.g.Expect(plan.Conflicts).To(Equal([]Conflict{{
		Ref:   RefTo(objects[0]),
		Owner: types.NamespacedName{Namespace: "fleet", Name: c.namespace},
	}}))
}

func TestObjectsThatAreLeftAlone(t *testing.T) {
	for _, test := range []struct {
		name, metadata string
		first, second  string
	}{
		{"reconcile disabled", `annotations: {kustomize.toolkit.fluxcd.io/reconcile: Disabled}`, "skipped", "skipped"},
		{"ignored", `annotations: {kustomize.toolkit.fluxcd.io/ssa: Ignore}`, "skipped", "skipped"},
		{"ignored by a label", `labels: {kustomize.toolkit.fluxcd.io/ssa: ignore}`, "skipped", "skipped"},
		{"only if not present", `annotations: {kustomize.toolkit.fluxcd.io/ssa: IfNotPresent}`, "created", "skipped"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCluster(t)
			text := "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, " + test.metadata + "}}"
			c.g.Expect(c.must(text)).To(Equal([]string{"ConfigMap/a " + test.first}))
			c.g.Expect(c.must(text)).To(Equal([]string{"ConfigMap/a " + test.second}))
		})
	}
}

func TestReplacedObjectIsNotTouched(t *testing.T) {
	c := newCluster(t)
	c.must(configMap)
	objects := c.objects("{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {color: green}}")
	plan, err := c.Plan(t.Context(), objects)
	c.g.Expect(err).NotTo(HaveOccurred())

	live := c.read("v1 ConfigMap " + c.namespace + "/settings")
	c.g.Expect(c.admin.Delete(t.Context(), live)).To(Succeed())
	_, err = c.Apply(t.Context(), plan)
	c.g.Expect(err).To(MatchError(HavePrefix("ConfigMap/" + c.namespace + "/settings apply failed (Conflict)")))
	c.g.Expect(c.exists("v1 ConfigMap "+c.namespace+"/settings")).To(BeFalse(), "what was deleted is not brought back")
}

func TestApplyTellsWhatItDidWhenItFails(t *testing.T) {
	c := newCluster(t)
	refuse := func(ctx context.Context, next client.WithWatch, obj client.Object, patch client.Patch, options ...client.PatchOption) error {
		if obj.GetObjectKind().GroupVersionKind().Kind == "Service" {
			return errors.New("cut off")
		}
		return next.Patch(ctx, obj, patch, options...)
	}
	c.Client = intercepted(t, interceptor.Funcs{Patch: refuse})
	done, err := c.run(c.objects(configMap, account, service, deployment))
	c.g.Expect(err).To(MatchError("Service/" + c.namespace + "/web apply failed: cut off"))
	c.g.Expect(words(done)).To(Equal([]string{"ServiceAccount/web created", "ConfigMap/settings created"}))
	c.g.Expect(c.exists("apps/v1 Deployment "+c.namespace+"/web")).To(BeFalse(), "the next wave is not begun")
}

// The answers to applies carry no content: it may be large, and the way far.
func TestAnswersAreMetadata(t *testing.T) {
	c := newCluster(t)
	config := rest.CopyConfig(shared.ControlPlane(t).Config())
	var answered atomic.Int64
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return trip(func(request *http.Request) (*http.Response, error) {
			response, err := next.RoundTrip(request)
			if err == nil && request.Method == http.MethodPatch && !request.URL.Query().Has("dryRun") {
				response.Body = counting{response.Body, &answered}
			}
			return response, err
		})
	})
	var err error
	c.Client, err = client.New(config, client.Options{})
	c.g.Expect(err).NotTo(HaveOccurred())
	large := strings.Repeat("x", 500_000)
	text := "{apiVersion: v1, kind: ConfigMap, metadata: {name: large}, data: {value: " + large + "}}"
	c.g.Expect(c.must(text)).To(Equal([]string{"ConfigMap/large created"}))
	c.g.Expect(c.must(strings.Replace(text, "value: x", "value: y", 1))).To(Equal([]string{"ConfigMap/large configured"}))
	c.g.Expect(answered.Load()).To(And(BeNumerically(">", 100), BeNumerically("<", 10_000)))
	c.g.Expect(c.read("v1 ConfigMap " + c.namespace + "/large").Object["data"]).To(HaveKeyWithValue("value", "y"+large[1:]))
}

type trip func(*http.Request) (*http.Response, error)

func (f trip) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

// counting adds up what is read.
type counting struct {
	io.ReadCloser
	all *atomic.Int64
}

func (c counting) Read(into []byte) (int, error) {
	n, err := c.ReadCloser.Read(into)
	c.all.Add(int64(n))
	return n, err
}

func TestParallelIsBounded(t *testing.T) {
	g := NewWithT(t)
	const most, all = 3, 20
	a := &Applier{Parallel: most}
	arrived, release := make(chan int), make(chan struct{})
	ended := make(chan []error, 1)
	go func() {
		ended <- a.parallel(t.Context(), all, func(i int) error {
			arrived <- i
			<-release
			if i%7 == 0 {
				return errors.New(string(rune('a' + i)))
			}
			return nil
		})
	}()
	for range most {
		g.Eventually(arrived, "10s").Should(Receive(), "so many at once")
	}
	g.Consistently(arrived, "100ms").ShouldNot(Receive(), "and no more")
	for range all - most {
		release <- struct{}{}
		g.Eventually(arrived, "10s").Should(Receive(), "one failure does not keep the others from being tried")
	}
	close(release)
	var errs []error
	g.Eventually(ended, "10s").Should(Receive(&errs))
	g.Expect(errs).To(HaveExactElements(MatchError("a"), MatchError("h"), MatchError("o")))

	over, cancel := context.WithCancel(t.Context())
	cancel()
	g.Expect(a.parallel(over, 3, func(int) error { return nil })).To(HaveExactElements(MatchError(context.Canceled)))
}

// intercepted is a client of the shared cluster in which some calls fail.
func intercepted(t *testing.T, funcs interceptor.Funcs) client.Client {
	t.Helper()
	whole, err := client.NewWithWatch(shared.ControlPlane(t).Config(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return interceptor.NewClient(whole, funcs)
}

func TestPrune(t *testing.T) {
	c := newCluster(t)
	set := c.objects(configMap, account, service, deployment,
		"{apiVersion: v1, kind: ConfigMap, metadata: {name: kept, annotations: {kustomize.toolkit.fluxcd.io/prune: Disabled}}}")
	_, err := c.run(set)
	c.g.Expect(err).NotTo(HaveOccurred())
	for _, asks := range []string{"reconcile: disabled", "ssa: Ignore"} {
		key, value, _ := strings.Cut(asks, ": ")
		text := "{apiVersion: v1, kind: ConfigMap, metadata: {name: " + key + ", labels: {kustomize.toolkit.fluxcd.io/name: " + c.Owner.Name +
			", kustomize.toolkit.fluxcd.io/namespace: fleet}, annotations: {kustomize.toolkit.fluxcd.io/" + key + ": " + value + "}}}"
		left := c.objects(text)
		c.g.Expect(c.admin.Create(t.Context(), left[0])).To(Succeed())
		set = append(set, left...)
	}
	foreign := c.read("v1 ServiceAccount " + c.namespace + "/web")
	foreign.SetLabels(map[string]string{"kustomize.toolkit.fluxcd.io/name": "other", "kustomize.toolkit.fluxcd.io/namespace": "fleet"})
	c.g.Expect(c.admin.Update(t.Context(), foreign)).To(Succeed())

	var refs []Ref
	for _, obj := range set {
		refs = append(refs, RefTo(obj))
	}
	refs = append(refs, RefTo(object("v1 ConfigMap "+c.namespace+"/never")), RefTo(object("nowhere.example.com/v1 Thing "+c.namespace+"/a")))
	deleted, kept, err := c.Prune(t.Context(), refs)
	c.g.Expect(err).NotTo(HaveOccurred())
	c.g.Expect(kept).To(BeEmpty())
	c.g.Expect(words(deleted)).To(Equal([]string{"Deployment/web deleted", "Service/web deleted", "ConfigMap/settings deleted"}))
	for _, name := range []string{"kept", "reconcile", "ssa"} {
		c.g.Expect(c.exists("v1 ConfigMap "+c.namespace+"/"+name)).To(BeTrue(), name)
	}
	c.g.Expect(c.exists("v1 ServiceAccount "+c.namespace+"/web")).To(BeTrue(), "it is another's")
}

// TestPruneFindsWhatIsServedInAnotherVersion: where a server does not know the
// version, and where it has known it just before.
func TestPruneFindsWhatIsServedInAnotherVersion(t *testing.T) {
	c := newCluster(t)
	group := c.namespace + ".example.com"
	version := func(name, served, stored string) string {
		return "  - {name: " + name + ", served: " + served + ", storage: " + stored + ", schema: {openAPIV3Schema: {type: object}}}\n"
	}
	definition := func(served string) string {
		return "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: stores." + group + "}\n" +
			"spec:\n  group: " + group + "\n  names: {kind: Store, plural: stores}\n  scope: Namespaced\n  versions:\n" +
			version("v1alpha1", served, "false") + version("v1", "true", "true")
	}
	one := "{apiVersion: " + group + "/v1alpha1, kind: Store, metadata: {name: one}}"
	two := "{apiVersion: " + group + "/v1alpha1, kind: Store, metadata: {name: two}}"
	c.must(definition("true"), one, two)
	c.must(definition("false"))
	served := func(version string) error {
		fresh, err := shared.ControlPlane(t).Client(nil)
		c.g.Expect(err).NotTo(HaveOccurred())
		_, err = fresh.RESTMapper().RESTMapping(schema.GroupKind{Group: group, Kind: "Store"}, version)
		return err
	}
	c.g.Eventually(func() error { return served("v1alpha1") }, "30s", "20ms").Should(HaveOccurred())
	fresh, err := shared.ControlPlane(t).Client(nil)
	c.g.Expect(err).NotTo(HaveOccurred())

	c.Mapper = fresh.RESTMapper() // it has never seen the old version; the client has
	deleted, _, err := c.Prune(t.Context(), []Ref{RefTo(object(group + "/v1alpha1 Store " + c.namespace + "/one"))})
	c.g.Expect(err).NotTo(HaveOccurred())
	c.g.Expect(words(deleted)).To(Equal([]string{"Store/one deleted"}))
	c.Client = fresh
	deleted, _, err = c.Prune(t.Context(), []Ref{RefTo(object(group + "/v1alpha1 Store " + c.namespace + "/two"))})
	c.g.Expect(err).NotTo(HaveOccurred())
	c.g.Expect(words(deleted)).To(Equal([]string{"Store/two deleted"}))

	c.g.Expect(c.admin.Delete(t.Context(), object("apiextensions.k8s.io/v1 CustomResourceDefinition stores."+group))).To(Succeed())
	c.g.Eventually(func() error { return served("v1") }, "30s", "20ms").Should(HaveOccurred())
	c.Client, err = shared.ControlPlane(t).Client(nil)
	c.g.Expect(err).NotTo(HaveOccurred())
	c.Mapper = c.Client.RESTMapper()
	deleted, kept, err := c.Prune(t.Context(), []Ref{RefTo(object(group + "/v1 Store " + c.namespace + "/two"))})
	c.g.Expect(err).NotTo(HaveOccurred())
	c.g.Expect(deleted).To(BeEmpty())
	c.g.Expect(kept).To(BeEmpty(), "with the definition it has gone")
}

func TestPruneKeepsWhatItCannotDelete(t *testing.T) {
	c := newCluster(t)
	c.must(configMap, account)
	conflicts := 0
	c.Client = intercepted(t, interceptor.Funcs{
		Delete: func(ctx context.Context, next client.WithWatch, obj client.Object, options ...client.DeleteOption) error {
			if obj.GetObjectKind().GroupVersionKind().Kind == "ConfigMap" {
				return errors.New("webhook says no")
			}
			if conflicts++; conflicts == 1 {
				// Somebody changes the object between the look and the delete.
				live := obj.DeepCopyObject().(client.Object)
				live.SetAnnotations(map[string]string{"changed": "meanwhile"})
				if err := next.Update(ctx, live); err != nil {
					return err
				}
			}
			return next.Delete(ctx, obj, options...)
		},
	})
	refs := []Ref{RefTo(object("v1 ConfigMap " + c.namespace + "/settings")), RefTo(object("v1 ServiceAccount " + c.namespace + "/web"))}
	deleted, kept, err := c.Prune(t.Context(), refs)
	c.g.Expect(err).To(MatchError("ConfigMap/" + c.namespace + "/settings delete failed: webhook says no"))
	c.g.Expect(kept).To(Equal(refs[:1]))
	c.g.Expect(words(deleted)).To(Equal([]string{"ServiceAccount/web deleted"}))
	c.g.Expect(conflicts).To(Equal(2), "a change in between is looked at again")
}

func TestPruneSparesAnObjectThatCameAnew(t *testing.T) {
	c := newCluster(t)
	c.must(configMap)
	c.Client = intercepted(t, interceptor.Funcs{
		Delete: func(ctx context.Context, next client.WithWatch, obj client.Object, options ...client.DeleteOption) error {
			fresh := obj.DeepCopyObject().(*unstructured.Unstructured)
			if err := next.Delete(ctx, fresh); err != nil {
				return err
			}
			fresh = object("v1 ConfigMap " + c.namespace + "/settings")
			if err := next.Create(ctx, fresh); err != nil {
				return err
			}
			return next.Delete(ctx, obj, options...)
		},
	})
	deleted, kept, err := c.Prune(t.Context(), []Ref{RefTo(object("v1 ConfigMap " + c.namespace + "/settings"))})
	c.g.Expect(err).NotTo(HaveOccurred())
	c.g.Expect(deleted).To(BeEmpty())
	c.g.Expect(kept).To(BeEmpty())
	c.g.Expect(c.exists("v1 ConfigMap " + c.namespace + "/settings")).To(BeTrue())
}

func TestLook(t *testing.T) {
	c := newCluster(t)
	c.must(configMap, deployment)
	health, err := c.Look(t.Context(), []Check{
		{Ref: RefTo(object("apps/v1 Deployment " + c.namespace + "/web"))},
		{Ref: RefTo(object("v1 ConfigMap " + c.namespace + "/settings"))},
		{Ref: RefTo(object("nowhere.example.com/v1 Thing " + c.namespace + "/a"))},
	})
	c.g.Expect(err).NotTo(HaveOccurred())
	c.g.Expect(Describe(health.Waiting)).To(Equal(
		"[Deployment/" + c.namespace + "/web status: 'InProgress', Thing/" + c.namespace + "/a status: 'NotFound']"))

	live := c.read("apps/v1 Deployment " + c.namespace + "/web")
	live.Object["status"] = map[string]any{
		"observedGeneration": live.GetGeneration(), "replicas": int64(1), "updatedReplicas": int64(1), "readyReplicas": int64(1), "availableReplicas": int64(1),
		"conditions": []any{
			map[string]any{"type": "Available", "status": "True"},
			map[string]any{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
		},
	}
	c.g.Expect(c.admin.Status().Update(t.Context(), live)).To(Succeed())
	health, err = c.Look(t.Context(), []Check{{Ref: RefTo(live)}})
	c.g.Expect(err).NotTo(HaveOccurred())
	c.g.Expect(health).To(Equal(Health{}))
}

// The first object of a stage is written without a dry-run, and before the others:
// one that is refused leaves nothing behind, and neither does one that comes later.
func TestABadObjectStopsItsStageWhereverItStands(t *testing.T) {
	const (
		bad   = `{apiVersion: v1, kind: ServiceAccount, metadata: {name: robot, labels: {"no label": x}}}`
		worse = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: many}}`
		good  = `{apiVersion: v1, kind: ServiceAccount, metadata: {name: robot}}`
	)
	for _, test := range []struct {
		name  string
		set   []string
		names []string
	}{
		{"the first", []string{bad, configMap}, []string{"ServiceAccount/NS/robot dry-run failed"}},
		{"a later one", []string{good, worse}, []string{"Deployment/NS/web dry-run failed"}},
		{"both", []string{bad, worse}, []string{"ServiceAccount/NS/robot dry-run failed", "Deployment/NS/web dry-run failed"}},
		{"the only one", []string{bad}, []string{"ServiceAccount/NS/robot dry-run failed"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCluster(t)
			changes, err := c.run(c.objects(test.set...))
			c.g.Expect(changes).To(BeEmpty())
			for _, name := range test.names {
				c.g.Expect(err).To(MatchError(ContainSubstring(strings.ReplaceAll(name, "NS", c.namespace))))
			}
			for _, name := range []string{"v1 ServiceAccount NS/robot", "v1 ConfigMap NS/settings", "apps/v1 Deployment NS/web"} {
				c.g.Expect(c.exists(strings.ReplaceAll(name, "NS", c.namespace))).To(BeFalse(), name)
			}
		})
	}
}

// An object that was not known, and is there, is dry-run like the others: nothing
// is written when it is as it should be.
func TestWhatIsThereIsNotWrittenToFindOut(t *testing.T) {
	c := newCluster(t)
	c.must(configMap)
	before := c.read("v1 ConfigMap " + c.namespace + "/settings")
	plan, err := c.Plan(t.Context(), c.labelled(configMap))
	c.g.Expect(err).NotTo(HaveOccurred())
	c.g.Expect(words(plan.Changes)).To(Equal([]string{"ConfigMap/settings unchanged"}))
	c.g.Expect(plan.Writes()).To(BeEmpty())
	c.g.Expect(c.read("v1 ConfigMap " + c.namespace + "/settings").GetResourceVersion()).To(Equal(before.GetResourceVersion()))
}

// labelled are objects that are ready to be planned.
func (c *cluster) labelled(texts ...string) []*unstructured.Unstructured {
	c.t.Helper()
	objects := c.objects(texts...)
	c.g.Expect(c.Prepare(objects)).To(Succeed())
	c.Owner.Label(objects)
	return objects
}

// A stage that others wait for is waited for by name, and not for longer than the
// run has.
func TestAwait(t *testing.T) {
	c := newCluster(t)
	changes, err := c.run(c.objects(deployment, configMap))
	c.g.Expect(err).NotTo(HaveOccurred())
	var checks []Check
	for _, change := range changes {
		if check, ok := change.StageCheck(); ok {
			checks = append(checks, check)
		}
	}
	web := "[Deployment/" + c.namespace + "/web status: "
	limited := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		err := c.Await(ctx, checks)
		c.g.Expect(ctx.Err()).NotTo(HaveOccurred(), "some of the time is left")
		return err
	}
	c.g.Expect(limited()).To(MatchError("the next stage cannot begin: timeout waiting for: " + web + "'InProgress']"))

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	c.g.Expect(c.Await(ended, checks)).To(MatchError(context.Canceled))

	live := c.read("apps/v1 Deployment " + c.namespace + "/web")
	live.Object["status"] = map[string]any{"observedGeneration": live.GetGeneration(), "conditions": []any{
		map[string]any{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"},
	}}
	c.g.Expect(c.admin.Status().Update(t.Context(), live)).To(Succeed())
	c.g.Expect(limited()).To(MatchError("the next stage cannot begin: failed early due to stalled resources: " + web + "'Failed']"))

	c.Client = intercepted(t, interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return reconcile.ErrNotOwner
		},
	})
	c.g.Expect(limited()).To(MatchError(reconcile.ErrNotOwner))
}

// An object that changes just as another's fields are taken from it, as one does
// whose controller reports, is looked at again.
func TestWhatKubectlAddedGoesWhileTheObjectChanges(t *testing.T) {
	for _, test := range []struct {
		name string
		// changes is how often it changes in the middle.
		changes int
		// replaced says that it is made anew instead.
		replaced bool
		want     string
	}{
		{name: "twice", changes: 2},
		{name: "all the time", changes: 100, want: "apply failed (Conflict)"},
		{name: "replaced", changes: 1, replaced: true, want: "apply failed (Conflict)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCluster(t)
			c.must(configMap)
			settings := "v1 ConfigMap " + c.namespace + "/settings"
			edit := func(manager, data string) {
				patch := client.RawPatch(types.MergePatchType, []byte(`{"data":{`+data+`}}`))
				c.g.Expect(c.admin.Patch(t.Context(), c.read(settings), patch, client.FieldOwner(manager))).To(Succeed())
			}
			edit("kubectl-edit", `"size":"xl"`)
			done := 0
			c.Client = intercepted(t, interceptor.Funcs{
				Patch: func(ctx context.Context, next client.WithWatch, obj client.Object, patch client.Patch, options ...client.PatchOption) error {
					if done < test.changes {
						done++
						if test.replaced {
							c.g.Expect(c.admin.Delete(ctx, c.read(settings))).To(Succeed())
							c.g.Expect(c.admin.Create(ctx, c.objects(configMap)[0])).To(Succeed())
						} else {
							edit("its-controller", fmt.Sprintf(`"seen":"%d"`, done))
						}
					}
					return next.Patch(ctx, obj, patch, options...)
				},
			})
			_, err := c.run(c.objects(configMap))
			if test.want != "" {
				c.g.Expect(err).To(MatchError(ContainSubstring(test.want)))
				c.g.Expect(done).To(Equal(min(test.changes, conflictAttempts)))
				return
			}
			c.g.Expect(err).NotTo(HaveOccurred())
			c.g.Expect(c.read(settings).Object["data"]).To(Equal(map[string]any{"color": "red", "seen": "2"}))
		})
	}
}

// What fills the place of a webhook's certificates in a manifest is not applied:
// what an injector puts there stays, and there is nothing to put back.
func TestFillersOfCertificatesAreLeftOut(t *testing.T) {
	c := newCluster(t)
	group := c.namespace + ".example.com"
	definition := func(bundle string) string {
		return `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: stores.` + group + `}
spec:
  group: ` + group + `
  names: {kind: Store, plural: stores}
  scope: Namespaced
  conversion:
    strategy: Webhook
    webhook: {conversionReviewVersions: [v1], clientConfig: {` + bundle + `service: {namespace: a, name: b}}}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
`
	}
	live := func() any {
		found, _, _ := unstructured.NestedFieldNoCopy(c.read("apiextensions.k8s.io/v1 CustomResourceDefinition stores."+group).Object, caBundle...)
		return found
	}
	injected := base64.StdEncoding.EncodeToString(certificate(t))
	c.g.Expect(c.must(definition(`caBundle: "Cg==", `))).To(Equal([]string{"CustomResourceDefinition/stores." + group + " created"}))
	c.g.Expect(live()).To(BeNil())

	patch := `{"spec":{"conversion":{"webhook":{"clientConfig":{"caBundle":"` + injected + `"}}}}}`
	c.g.Expect(c.admin.Patch(t.Context(), c.read("apiextensions.k8s.io/v1 CustomResourceDefinition stores."+group),
		client.RawPatch(types.MergePatchType, []byte(patch)), client.FieldOwner("cainjector"))).To(Succeed())
	for _, filler := range []string{`caBundle: "Cg==", `, `caBundle: "", `, `caBundle: "no base64", `, `caBundle: null, `, ``} {
		c.g.Expect(c.must(definition(filler))).To(Equal([]string{"CustomResourceDefinition/stores." + group + " unchanged"}), filler)
		c.g.Expect(live()).To(Equal(injected), filler)
	}

	other := base64.StdEncoding.EncodeToString(certificate(t))
	c.g.Expect(c.must(definition("caBundle: " + other + ", "))).To(Equal([]string{"CustomResourceDefinition/stores." + group + " configured"}))
	c.g.Expect(live()).To(Equal(other), "certificates are applied")
}

// certificate is a new one, as PEM.
func certificate(t *testing.T) []byte {
	t.Helper()
	made, _, err := cert.GenerateSelfSignedCertKey("localhost", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

package apply

import (
	"os"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/internal/testenv"
)

var shared testenv.Shared

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// cluster is a real API server, and an applier with a namespace of its own.
type cluster struct {
	*Applier
	g         *WithT
	t         *testing.T
	admin     client.Client
	namespace string
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	g := NewWithT(t)
	admin, err := shared.ControlPlane(t).Client(nil)
	g.Expect(err).NotTo(HaveOccurred())
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "apply-"}}
	g.Expect(admin.Create(t.Context(), namespace)).To(Succeed())
	return &cluster{
		g: g, t: t, admin: admin, namespace: namespace.Name,
		Applier: &Applier{
			Client: admin,
			Mapper: admin.RESTMapper(),
			Owner: Owner{
				FieldManager: "kustomize-controller",
				Group:        "kustomize.toolkit.fluxcd.io",
				Namespace:    "fleet",
				Name:         namespace.Name,
				Spare:        []string{"reconcile.fluxcd.io/", "fleet.headwater.dev/"},
			},
		},
	}
}

// objects reads YAML documents; those of namespaced kinds get the cluster's
// namespace when they name none.
func (c *cluster) objects(texts ...string) []*unstructured.Unstructured {
	c.t.Helper()
	var objects []*unstructured.Unstructured
	for _, text := range texts {
		obj := parse(c.t, text)
		if obj.GetNamespace() == "" {
			obj.SetNamespace(c.namespace)
		}
		objects = append(objects, obj)
	}
	return objects
}

// run brings the objects in, stage after stage, as a caller does.
func (c *cluster) run(objects []*unstructured.Unstructured) ([]Change, error) {
	c.t.Helper()
	if err := c.Prepare(objects); err != nil {
		return nil, err
	}
	c.Owner.Label(objects)
	var all []Change
	for _, stage := range Stages(objects) {
		plan, err := c.Plan(c.t.Context(), stage)
		if err != nil {
			return all, err
		}
		done, err := c.Apply(c.t.Context(), plan)
		all = append(all, done...)
		if err != nil {
			return all, err
		}
		if err := c.Settle(c.t.Context(), done); err != nil {
			return all, err
		}
	}
	return all, nil
}

// must is run for objects that are accepted.
func (c *cluster) must(texts ...string) []string {
	c.t.Helper()
	changes, err := c.run(c.objects(texts...))
	c.g.ExpectWithOffset(1, err).NotTo(HaveOccurred())
	return words(changes)
}

func (c *cluster) read(text string) *unstructured.Unstructured {
	c.t.Helper()
	obj := object(text)
	c.g.ExpectWithOffset(1, c.admin.Get(c.t.Context(), client.ObjectKeyFromObject(obj), obj)).To(Succeed())
	return obj
}

func (c *cluster) exists(text string) bool {
	c.t.Helper()
	obj := object(text)
	err := c.admin.Get(c.t.Context(), client.ObjectKeyFromObject(obj), obj)
	if apierrors.IsNotFound(err) {
		return false
	}
	c.g.ExpectWithOffset(1, err).NotTo(HaveOccurred())
	return obj.GetDeletionTimestamp().IsZero()
}

// words are the changes as "Kind/name action".
func words(changes []Change) []string {
	var words []string
	for _, change := range changes {
		words = append(words, change.Ref.Kind+"/"+change.Ref.Name+" "+string(change.Action))
	}
	return words
}

package apply

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/headwater-dev/headwater/api/meta"
)

const statefulSet = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: one
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: example.com/web}]}
`

// What only a new object may have is replaced; what no object may have is left
// as it is, with force as well.
func TestForceReplacesWhatANewObjectMayHave(t *testing.T) {
	binding := "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: web}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: one}}"
	for name, test := range map[string]struct {
		id, text, old, new string
		replaced           bool
	}{
		"in the words of a Deployment":     {"apps/v1 Deployment", deployment, "app: web", "app: other", true},
		"in the words of a StatefulSet":    {"apps/v1 StatefulSet", statefulSet, "serviceName: one", "serviceName: two", true},
		"in the words of a RoleBinding":    {"rbac.authorization.k8s.io/v1 RoleBinding", binding, "name: one", "name: two", true},
		"in the words of a Service":        {"v1 Service", service, "{selector:", "{clusterIP: None, selector:", true},
		"invalid in a new object as well":  {"v1 Service", service, "port: 80", "port: 99999999", false},
		"one field immutable, one invalid": {"apps/v1 StatefulSet", statefulSet, "serviceName: one", "serviceName: two\n  replicas: -1", false},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.Force = true
			c.must(test.text)
			before := c.read(test.id + " " + c.namespace + "/web").GetUID()
			changes, err := c.run(c.objects(strings.ReplaceAll(test.text, test.old, test.new)))
			after := c.read(test.id + " " + c.namespace + "/web").GetUID()
			if !test.replaced {
				c.g.Expect(err).To(MatchError(ContainSubstring("dry-run failed (Invalid)")))
				c.g.Expect(after).To(Equal(before))
				return
			}
			c.g.Expect(err).NotTo(HaveOccurred())
			c.g.Expect(words(changes)).To(ConsistOf(HaveSuffix("/web created")))
			c.g.Expect(after).NotTo(Equal(before))
		})
	}
}

// What is held back while it is to be made anew is told by whom.
func TestForceSaysWhatHoldsTheOldObject(t *testing.T) {
	c := newCluster(t)
	c.Force = true
	held := "{apiVersion: v1, kind: ConfigMap, metadata: {name: held, finalizers: [example.com/held]}, immutable: true, data: {color: red}}"
	c.must(held)
	objects := c.objects(strings.Replace(held, "red", "blue", 1))
	c.Owner.Label(objects)
	plan, err := c.Plan(t.Context(), objects)
	c.g.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = c.Apply(ctx, plan)
	c.g.Expect(err).To(MatchError(ContainSubstring("held by the finalizers example.com/held")))
}

// A dry-run that meets somebody else's write, or that nobody can say why it is
// refused, costs no object, whether objects are checked before or not.
func TestForceDeletesNothingForWhatPasses(t *testing.T) {
	kind := schema.GroupResource{Resource: "configmaps"}
	for name, refusal := range map[string]error{
		"a conflict":       apierrors.NewConflict(kind, "settings", errors.New("the object has been modified")),
		"invalid, no more": apierrors.NewInvalid(schema.GroupKind{Kind: "ConfigMap"}, "settings", nil),
	} {
		for _, unchecked := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				c := newCluster(t)
				c.Force, c.Unchecked = true, unchecked
				c.must(configMap)
				before := c.read("v1 ConfigMap " + c.namespace + "/settings")
				c.Client = intercepted(t, interceptor.Funcs{
					Apply: func(ctx context.Context, next client.WithWatch, obj runtime.ApplyConfiguration, options ...client.ApplyOption) error {
						var asked client.ApplyOptions
						if asked.ApplyOptions(options); len(asked.DryRun) > 0 {
							return refusal
						}
						return next.Apply(ctx, obj, options...)
					},
				})
				_, err := c.run(c.objects(strings.Replace(configMap, "red", "blue", 1)))
				if !unchecked {
					c.g.Expect(err).To(MatchError(ContainSubstring("dry-run failed")))
				}
				c.g.Expect(c.read("v1 ConfigMap " + c.namespace + "/settings").GetUID()).To(Equal(before.GetUID()))
			})
		}
	}
}

// What is made anew has the fields that were left to others, as any new object has.
func TestForceMakesIgnoredFieldsAnew(t *testing.T) {
	c := newCluster(t)
	c.Force = true
	scaled := strings.Replace(deployment, "replicas: 1", "replicas: 3", 1)
	c.must(scaled)
	web := "apps/v1 Deployment " + c.namespace + "/web"
	c.g.Expect(c.patch(c.read(web), types.MergePatchType, `{"spec":{"replicas":5}}`, "autoscaler")).To(Succeed())
	rules, err := ParseIgnore([]meta.IgnoreRule{{Paths: []string{"/spec/replicas"}}})
	c.g.Expect(err).NotTo(HaveOccurred())
	c.Ignore = rules
	c.g.Expect(c.must(strings.ReplaceAll(scaled, "app: web", "app: other"))).To(Equal([]string{"Deployment/web created"}))
	c.g.Expect(c.read(web).Object["spec"]).To(HaveKeyWithValue("replicas", int64(3)))
}

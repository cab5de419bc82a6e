package apply

import (
	"context"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	plain   = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: plain}\ndata: {a: b}\n"
	refused = "apiVersion: v1\nkind: Service\nmetadata: {name: refused}\nspec: {ports: [{port: 0}]}\n"
)

// dryRuns counts them.
type dryRuns struct {
	client.Client
	count int
}

func (c *dryRuns) Apply(ctx context.Context, obj runtime.ApplyConfiguration, options ...client.ApplyOption) error {
	var all client.ApplyOptions
	if all.ApplyOptions(options); len(all.DryRun) > 0 {
		c.count++
	}
	return c.Client.Apply(ctx, obj, options...)
}

func (c *dryRuns) Patch(ctx context.Context, obj client.Object, patch client.Patch, options ...client.PatchOption) error {
	var all client.PatchOptions
	if all.ApplyOptions(options); len(all.DryRun) > 0 {
		c.count++
	}
	return c.Client.Patch(ctx, obj, patch, options...)
}

func TestUncheckedObjectsAreAppliedAtOnce(t *testing.T) {
	c := newCluster(t)
	counted := &dryRuns{Client: c.Client}
	c.Client, c.Unchecked, c.Parallel = counted, true, 1
	changes, err := c.run(c.objects(plain, refused))
	c.g.Expect(err).To(MatchError(HavePrefix("Service/" + c.namespace + "/refused apply failed (Invalid): ")))
	c.g.Expect(words(changes)).To(Equal([]string{"ConfigMap/plain created"}), "nothing stops it")
	c.g.Expect(c.must(plain)).To(Equal([]string{"ConfigMap/plain unchanged"}))
	c.g.Expect(c.must("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: plain}\ndata: {a: c}\n")).To(Equal([]string{"ConfigMap/plain configured"}))
	c.g.Expect(counted.count).To(BeZero())

	immutable := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: plain}\nimmutable: true\ndata: {a: VALUE}\n"
	c.must(immutable)
	changed := immutable + "binaryData: {x: eA==}\n"
	_, err = c.run(c.objects(changed))
	c.g.Expect(err).To(MatchError(ContainSubstring("ConfigMap/" + c.namespace + "/plain apply failed (Invalid): ")))
	c.Force = true
	c.g.Expect(c.must(changed)).To(Equal([]string{"ConfigMap/plain created"}))
}

func TestSchemasCheckFields(t *testing.T) {
	c := newCluster(t)
	schemas, err := NewSchemas(shared.ControlPlane(t).Config())
	c.g.Expect(err).NotTo(HaveOccurred())
	for text, want := range map[string]string{
		plain: "",
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: [b]\n":                                                                                                                                  ".data: expected map, got ",
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nvalues: {a: b}\n":                                                                                                                             ".values: field not declared in schema",
		"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, creationTimestamp: null}\nspec: {replicas: two}\n":                                                                                       ".spec.replicas: expected numeric",
		"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {template: {metadata: {creationTimestamp: null}, spec: {containers: [{name: a, resources: {limits: {cpu: 1, memory: 1Gi}}}]}}}\n": "",
		"apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {password: [hunter2]}\n":                                                                                                                   "it does not fit the schema of the server; what does not is not shown",
		"apiVersion: example.org/v1\nkind: Thing\nmetadata: {name: a}\n":                                                                                                                                     "",
		"apiVersion: v1\nkind: Thing\nmetadata: {name: a}\n":                                                                                                                                                 "",
	} {
		err := schemas.Check(parse(t, text))
		if want == "" {
			c.g.Expect(err).NotTo(HaveOccurred(), text)
			continue
		}
		c.g.Expect(err).To(MatchError(ContainSubstring(want)), text)
		c.g.Expect(err.Error()).NotTo(ContainSubstring("hunter2"))
	}
}

func TestWhatTheCallerRefusesStopsItsStage(t *testing.T) {
	c := newCluster(t)
	schemas, err := NewSchemas(shared.ControlPlane(t).Config())
	c.g.Expect(err).NotTo(HaveOccurred())
	c.Unchecked, c.Check = true, schemas.Check
	_, err = c.run(c.objects(plain, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad}\ndata: [b]\n"))
	c.g.Expect(err).To(MatchError(HavePrefix("ConfigMap/" + c.namespace + "/bad validation failed: .data: expected map")))
	c.g.Expect(c.exists("v1 ConfigMap " + c.namespace + "/plain")).To(BeFalse())
}

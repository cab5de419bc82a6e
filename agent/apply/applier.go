package apply

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// defaultParallel is how many requests an Applier has under way at once.
const defaultParallel = 4

// Owner is on whose behalf objects are applied.
type Owner struct {
	// FieldManager owns the fields that are applied.
	FieldManager string
	// Group is the API group that the labels on objects start with.
	Group string
	// Namespace and Name of the object that asks for them.
	Namespace, Name string
	// Spare are the prefixes of labels and annotations that people may set by
	// hand on what is applied. All else that was written by hand is undone.
	Spare []string
	// Overrides are managers, besides kubectl, whose fields are taken from them.
	Overrides []string
}

// Label puts the owner's labels on the objects.
func (o Owner) Label(objects []*unstructured.Unstructured) {
	for _, obj := range objects {
		labels := obj.GetLabels()
		if labels == nil {
			labels = map[string]string{}
		}
		labels[o.Group+"/name"] = o.Name
		labels[o.Group+"/namespace"] = o.Namespace
		obj.SetLabels(labels)
	}
}

// Of returns the owner that the object's labels name, and whether they name
// one.
func (o Owner) Of(obj metav1.Object) (types.NamespacedName, bool) {
	labels := obj.GetLabels()
	name := types.NamespacedName{Namespace: labels[o.Group+"/namespace"], Name: labels[o.Group+"/name"]}
	return name, name.Name != "" && name.Namespace != ""
}

// is says whether the name is the owner's.
func (o Owner) is(name types.NamespacedName) bool {
	return name.Namespace == o.Namespace && name.Name == o.Name
}

// says looks up what a label or annotation of the owner's group asks for on an
// object. Values are compared without regard to case.
func (o Owner) says(obj *unstructured.Unstructured, key, value string) bool {
	if obj == nil {
		return false
	}
	return strings.EqualFold(obj.GetLabels()[o.Group+"/"+key], value) ||
		strings.EqualFold(obj.GetAnnotations()[o.Group+"/"+key], value)
}

// excluded says whether the object asks to be left alone: neither applied nor
// pruned.
func (o Owner) excluded(obj *unstructured.Unstructured) bool {
	return o.says(obj, "reconcile", "disabled") || o.says(obj, "ssa", "ignore")
}

// Applier talks to one cluster on behalf of one owner. It is safe for
// concurrent use.
type Applier struct {
	// Client reads and writes the cluster, uncached.
	Client client.Client
	// Mapper knows the cluster's kinds, and asks again for those that it does
	// not know.
	Mapper apimeta.RESTMapper
	// Owner of what is applied.
	Owner Owner
	// Parallel is how many requests may be under way at once; 4 when zero.
	Parallel int

	// View spares questions about objects that Memory knows; both may be nil.
	View   View
	Memory *Memory
	// Full makes a plan ask the server about each object all the same. What it
	// then finds that the view had not shown is told to Missed.
	Full   bool
	Missed func(Ref)
	// Ignore are rules that leave fields of objects that are there to others.
	Ignore []Ignore
	// Force replaces objects with changes to fields that cannot be changed.
	Force bool
	// Unchecked leaves out the dry-runs: what is not known to be as it was
	// applied is read, and applied at once. Only what may be replaced is dry-run,
	// for that is how the server says that it has to be.
	Unchecked bool
	// Check, if set, judges each object that is not known to be as it was applied
	// before anything of its stage is. Its errors stop the stage.
	Check func(*unstructured.Unstructured) error
	// Now is the time, for the limit of corrections; Interval bounds how long
	// one is put off. Without Now corrections are not limited.
	Now      func() time.Time
	Interval time.Duration
}

// parallel calls do for each index below n, a few at a time and started in
// order. All are called whatever the others return, so that the outcome does
// not depend on who was faster; only an ended context stops it early. The
// errors come in the order of the indexes.
func (a *Applier) parallel(ctx context.Context, n int, do func(i int) error) []error {
	limit := a.Parallel
	if limit <= 0 {
		limit = defaultParallel
	}
	var group sync.WaitGroup
	slots := make(chan struct{}, limit)
	errs := make([]error, n)
	for i := range n {
		slots <- struct{}{}
		if errs[i] = ctx.Err(); errs[i] != nil {
			break
		}
		group.Go(func() {
			defer func() { <-slots }()
			errs[i] = do(i)
		})
	}
	group.Wait()
	return slices.DeleteFunc(errs, func(err error) bool { return err == nil })
}

package kustomize

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
)

// long makes kustomize hold each of so many objects against all others: the most that
// are allowed take it minutes.
func long(name string) func(*kustomizev1.Kustomization) {
	return func(obj *kustomizev1.Kustomization) {
		obj.Spec.Path, obj.Spec.NamePrefix = "many", name+"-"
	}
}

const mostObjects = 19_000

// assign gives the hub's partitions to another agent.
func (e *env) assign(agent string) {
	e.t.Helper()
	// The agent writes there as well.
	e.Expect(retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		record := &fleetv1.RemoteCluster{}
		if err := e.hub.Get(e.t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "hub"}, record); err != nil {
			return err
		}
		for i := range record.Status.Assignments {
			record.Status.Assignments[i].Agent = agent
			record.Status.Assignments[i].Epoch++
		}
		return e.hub.Status().Update(e.t.Context(), record)
	})).To(Succeed())
}

// A build that takes minutes does not keep the next agent waiting: it has written
// nothing, and is begun anew there.
func TestAHandOverEndsABuild(t *testing.T) {
	e := newEnv(t)
	e.push("1", "many/all.yaml", configMaps(mostObjects, 0))
	e.kustomization("web", long("web"))
	e.start()
	e.Eventually(func() string { return e.condition("web", "Reconciling") }, within, "50ms").Should(ContainSubstring("Building manifests"))
	e.assign("agent-1")
	key := keyOf(e.get("web"))
	e.Eventually(func() bool { return e.agent.Targets.MayWrite(key) }, within, "50ms").Should(BeFalse())
	e.Expect(e.ready("web")).To(BeEmpty(), "no failure of the build")
	e.Expect(e.get("web").Status.Inventory).To(BeNil())
}

// Builds that take minutes wait for each other without a worker, of which the agent has
// fewer than there are such builds.
func TestBuildsThatTakeLongKeepNoOthersWaiting(t *testing.T) {
	e := newEnv(t)
	e.push("1", "many/all.yaml", configMaps(mostObjects, 0), "good/one.yaml", configMap("one", "NS", "a"))
	const many = 16
	var names []string
	for i := range many {
		names = append(names, fmt.Sprint("long-", i))
		e.kustomization(names[i], long(names[i]))
	}
	conditions := func(kind string) (all []string) {
		for _, name := range names {
			all = append(all, e.condition(name, kind))
		}
		return all
	}
	e.start()
	e.Eventually(func() []string { return conditions("Reconciling") }, within, "50ms").Should(ContainElement(ContainSubstring("Building manifests")))
	e.kustomization("good", func(obj *kustomizev1.Kustomization) { obj.Spec.Path = "good" })
	e.becomes("good", "True")
	waits := "Unknown Progressing: waiting for other builds that take long"
	e.Eventually(func() []string { return conditions("Ready") }, within, "50ms").Should(ConsistOf(append(slices.Repeat([]any{waits}, many-1), "")...))
}

// Each has its turn.
func TestBuildsThatTakeLongComeToAnEnd(t *testing.T) {
	e := newEnv(t)
	// It is small, and might have been 160,000 values.
	e.push("1", "many/all.yaml", configMap("one", "NS", strings.Repeat(":", 160_000)))
	names := []string{"a", "b", "c"}
	for _, name := range names {
		e.kustomization(name, long(name))
	}
	e.start()
	for _, name := range names {
		e.becomes(name, "True ReconciliationSucceeded")
	}
}

package helm

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/shard"
)

// taken has a place taken, and tells when that has come about.
func taken(p *places, key shard.Key) <-chan *place {
	got := make(chan *place, 1)
	go func() { got <- p.take(key) }()
	return got
}

func TestActionsAtWorkAreFew(t *testing.T) {
	g := NewWithT(t)
	keyOf := func(name string) shard.Key { return shard.Key{Namespace: "fleet", Name: name} }
	p := newPlaces(1, 2)
	first, second := p.take(keyOf("a")), p.take(keyOf("b"))
	same, third := taken(p, keyOf("a")), taken(p, keyOf("c"))
	g.Consistently(third, "100ms").ShouldNot(Receive(), "two are at work")
	g.Expect(same).NotTo(Receive(), "one is at work on the target")

	// One that waits, in however many parts, is not at work.
	parts := []func(){first.yield(), first.yield()}
	var now *place
	g.Eventually(third).Should(Receive(&now))
	parts[0]()
	now.leave()
	g.Eventually(same).Should(Receive(&now))

	// It goes on when there is a place again.
	resumed := make(chan struct{})
	go func() { parts[1](); close(resumed) }()
	g.Consistently(resumed, "100ms").ShouldNot(BeClosed())
	now.leave()
	g.Eventually(resumed).Should(BeClosed())
	first.leave()
	second.leave()
	g.Expect(p.of).To(BeEmpty(), "nothing is kept of targets with no action")
}

// A target that takes its time takes nobody's place.
func TestASlowTargetHoldsUpNoOther(t *testing.T) {
	e := newEnv(t)
	e.options.AtOnce = 1
	proxy := e.front()
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.KubeConfig, obj.Spec.Install = prod(), &helmv2.Install{DisableWait: true}
	})
	e.release("own")
	e.start()
	e.becomes("web", "False SourceNotReady")
	e.becomes("own", "False SourceNotReady")
	e.Expect(proxy.Delay(4 * time.Second)).To(Succeed())
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "Unknown Progressing")
	e.push("own", appChart("1.0.0", nil))
	e.becomes("own", "True InstallSucceeded")
	e.Expect(e.records("web")).NotTo(ContainElement("v1 deployed"), "it is under way")
	e.Expect(proxy.Heal()).To(Succeed())
	e.becomes("web", "True InstallSucceeded")
}

// kept says whether the agent keeps what it knows of the kinds of a target.
func (e *env) kept(key shard.Key) bool {
	d := e.agent.discoveries
	d.mu.Lock()
	defer d.mu.Unlock()
	_, found := d.of[key]
	return found
}

func TestNothingIsKeptOfATargetThatWasHandedOver(t *testing.T) {
	e := newEnv(t)
	e.front()
	e.release("web", func(obj *helmv2.HelmRelease) { obj.Spec.KubeConfig = prod() })
	e.release("own")
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
	key := keyOf(e.get("web"))
	e.Expect(e.kept(key)).To(BeTrue())
	record := &fleetv1.RemoteCluster{}
	e.Expect(e.hub.Get(t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "prod"}, record)).To(Succeed())
	record.Status.Assignments[0].Agent = "agent-1"
	e.Expect(e.hub.Status().Update(t.Context(), record)).To(Succeed())
	e.Eventually(func() bool { return e.agent.Targets.MayWrite(key) }, within, "50ms").Should(BeFalse())
	e.push("own", appChart("1.0.0", nil))
	e.becomes("own", "True InstallSucceeded")
	e.Expect(e.kept(key)).To(BeFalse())
}

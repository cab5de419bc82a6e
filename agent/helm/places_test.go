package helm

import (
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
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

// occupied has the agent's places for post-renderers taken by builds that read on until
// they are released.
func (e *env) occupied() (release func()) {
	e.t.Helper()
	released, done, reads := make(chan struct{}), make(chan error, 2), make(chan struct{}, 2)
	for range 2 {
		go func() {
			done <- e.agent.Builder.Run(e.t.Context(), slowFiles{filesys.MakeFsInMemory(), reads, released}, "/", func(string, []byte) error { return nil })
		}()
	}
	for range 2 {
		e.Eventually(reads, within).Should(Receive())
	}
	release = sync.OnceFunc(func() {
		close(released)
		for range 2 {
			<-done // there is nothing in them to build
		}
	})
	e.t.Cleanup(release)
	return release
}

// slowFiles say when they are read, and wait.
type slowFiles struct {
	filesys.FileSystem
	reads, released chan struct{}
}

// ReadFile implements build.Files.
func (s slowFiles) ReadFile(name string) ([]byte, error) {
	select {
	case s.reads <- struct{}{}:
	default:
	}
	<-s.released
	return s.FileSystem.ReadFile(name)
}

// renamed has an image renamed after rendering.
func renamed(obj *helmv2.HelmRelease) {
	obj.Spec.PostRenderers = []helmv2.PostRenderer{{Kustomize: &helmv2.Kustomize{Images: []meta.Image{{Name: "a", NewName: "b"}}}}}
}

// Post-renderers have few places, where the builds of others may take long.
func TestAPostRendererThatWaitsHoldsUpNoOther(t *testing.T) {
	e := newEnv(t)
	e.options.AtOnce = 1
	e.start()
	release := e.occupied()
	e.release("web", renamed)
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "Unknown Progressing")
	e.release("own")
	e.push("own", appChart("1.0.0", nil))
	e.becomes("own", "True InstallSucceeded")
	e.Expect(e.records("web")).To(BeEmpty(), "it is under way")
	release()
	e.becomes("web", "True InstallSucceeded")
}

func TestAPostRendererEndsWithTheTimeout(t *testing.T) {
	e := newEnv(t)
	e.start()
	e.occupied()
	for name, hooks := range map[string]files{
		"web":   nil,
		"hooks": {"templates/one.yaml": "", "templates/pre.yaml": hookPod("pre-install", "0")},
	} {
		e.release(name, renamed, func(obj *helmv2.HelmRelease) {
			obj.Spec.Install = &helmv2.Install{Timeout: &metav1.Duration{Duration: 2 * time.Second}}
		})
		e.push(name, appChart("1.0.0", hooks))
		e.becomes(name, "False InstallFailed")
		e.Expect(e.ready(name)).To(ContainSubstring("the post-renderers were not done within 2s"))
		e.Expect(e.records(name)).To(BeEmpty())
	}
}

// kustomize holds each object against all others.
func TestMoreObjectsThanAPostRendererGetsDone(t *testing.T) {
	e := newEnv(t)
	e.start()
	e.release("web", renamed)
	e.push("web", appChart("1.0.0", files{"templates/many.yaml": "{{ range until 8000 }}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: many-{{ . }}}\n{{ end }}"}))
	e.becomes("web", "False InstallFailed")
	e.Expect(e.ready("web")).To(ContainSubstring("spec.postRenderers: 8001 objects with 1 post-renderers of "))
	e.Expect(e.records("web")).To(BeEmpty())
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

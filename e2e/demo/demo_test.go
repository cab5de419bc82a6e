package main

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
)

// built are the real binaries, with more time than on an idle machine: other
// tests may run beside these.
func built() options {
	return options{once: true, root: "../..", hubBinary: "../../bin/hub", agentBinary: "../../bin/agent", patience: 2}
}

func onTest(t *testing.T) *screen {
	return &screen{out: t.Output(), started: time.Now()}
}

func TestScenes(t *testing.T) {
	NewWithT(t).Expect(run(t.Context(), built(), onTest(t))).To(Succeed())
}

// The scenes do not believe the status: here it says that all is well, and
// there is no agent that does anything.
func TestScenesFailWithABrokenAgentOrHub(t *testing.T) {
	g := NewWithT(t)
	o := built()
	o.agentBinary, o.patience = "testdata/idle-agent", 0.2
	w := &world{options: o, screen: onTest(t)}
	defer w.Close()
	g.Expect(w.Open(t.Context())).To(Succeed())
	g.Expect(w.pretendReady(t.Context())).To(Succeed())

	err := w.Play(t.Context())

	g.Expect(err).To(MatchError(And(ContainSubstring("deploying"), ContainSubstring("prod-us"), ContainSubstring("not found"))))

	// Without a hub there is nobody who follows the image.
	w.hubProcess.Kill()
	err = w.perform(t.Context(), scenes()[5])
	g.Expect(err).To(MatchError(And(ContainSubstring("a new image"), ContainSubstring("imagepolicy shop has not chosen 1.3.0"))))
}

func (w *world) pretendReady(ctx context.Context) error {
	var all kustomizev1.KustomizationList
	if err := w.hub.List(ctx, &all); err != nil {
		return err
	}
	for _, o := range all.Items {
		before := o.DeepCopy()
		o.Status.ObservedGeneration = o.Generation
		apimeta.SetStatusCondition(&o.Status.Conditions, metav1.Condition{
			Type: meta.ReadyCondition, Status: metav1.ConditionTrue, Reason: "ReconciliationSucceeded", Message: "Applied",
		})
		if err := w.hub.Client.Status().Patch(ctx, &o, client.MergeFrom(before)); err != nil {
			return err
		}
	}
	return nil
}

func TestOwnership(t *testing.T) {
	g := NewWithT(t)
	targets := []*cluster{{name: "a"}, {name: "b"}, {name: "c"}}
	uneven := ownership{"a": "agent-1", "b": "agent-0", "c": "agent-1"}
	g.Expect(uneven.of("agent-1")).To(Equal([]string{"a", "c"}))
	g.Expect(uneven.busiest()).To(Equal("agent-1"))
	g.Expect(uneven.balanced(targets)).To(Succeed())
	g.Expect(ownership{"a": "agent-1", "b": "agent-1", "c": "agent-1"}.balanced(targets)).To(MatchError("agent-0 owns no cluster"))
	g.Expect(ownership{"a": "agent-1", "b": "agent-0"}.balanced(targets)).To(MatchError(`c is recorded as owned by ""`))
}

func TestScreen(t *testing.T) {
	t.Run("a terminal redraws the table", func(t *testing.T) {
		g := NewWithT(t)
		var out buffer
		s := &screen{out: &out, width: 12, started: time.Now()}
		s.Show([]string{"HEAD", "one"})
		s.Print("news")
		s.Show([]string{"HEAD", "a line that is too long"})
		g.Expect(string(out)).To(Equal("\nHEAD\none\n" + "\033[3A\033[J" + "news\n" + "\nHEAD\none\n" + "\033[3A\033[J" + "\nHEAD\na line tha…\n"))
	})
	t.Run("elsewhere the rows that changed are printed", func(t *testing.T) {
		g := NewWithT(t)
		var out buffer
		s := &screen{out: &out, started: time.Now()}
		s.Show([]string{"HEAD", "one  1", "two  2"})
		s.Show([]string{"HEAD", "one      1", "two      3"})
		g.Expect(string(out)).To(MatchRegexp(`^ +0\.0s    one 1\n +0\.0s    two 2\n +0\.0s    two 3\n$`))
	})
}

func TestShort(t *testing.T) {
	g := NewWithT(t)
	g.Expect(short("stored 'main@sha1:8cd555f0123456789abc', really")).To(Equal("stored 'main@8cd555f', really"))
	g.Expect(short("")).To(Equal("-"))
}

func TestSetLine(t *testing.T) {
	NewWithT(t).Expect(setLine("a: 1\nb: 2\nc: 3\n", "b: ", "x")).To(Equal("a: 1\nb: x\nc: 3\n"))
}

type buffer []byte

func (b *buffer) Write(text []byte) (int, error) {
	*b = append(*b, text...)
	return len(text), nil
}

package render

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestManyOfOneBuildOnce(t *testing.T) {
	g := NewWithT(t)
	r, err := New(Options{Builder: builder})
	g.Expect(err).NotTo(HaveOccurred())
	var group sync.WaitGroup
	for i := range 50 {
		group.Go(func() {
			objects, err := r.Render(t.Context(), Request{
				Digest:    "sha256:1",
				Open:      have(configMap("'${v}'")),
				Variables: &Variables{Values: map[string]string{"v": fmt.Sprint("cluster-", i%10)}},
			})
			if err != nil || len(objects) != 1 {
				t.Errorf("%v, %v", objects, err)
				return
			}
			if got, _, _ := unstructured.NestedString(objects[0].Object, "data", "x"); got != fmt.Sprint("cluster-", i%10) {
				t.Error(got)
			}
			// What a caller does to its objects is nobody else's business.
			objects[0].SetName("changed")
		})
	}
	group.Wait()
	g.Expect(testutil.ToFloat64(r.builds)).To(Equal(1.0))
	objects, err := r.Render(t.Context(), Request{Digest: "sha256:1", Variables: &Variables{Values: map[string]string{"v": "cluster-1"}}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(objects[0].GetName()).To(Equal("a"))
	g.Expect(testutil.ToFloat64(r.builds)).To(Equal(1.0))
	g.Expect(testutil.ToFloat64(r.hit)).To(BeNumerically(">", 40))
}

func TestResultsDependOnWhatTheyAreOf(t *testing.T) {
	g := NewWithT(t)
	r, err := New(Options{Builder: builder})
	g.Expect(err).NotTo(HaveOccurred())
	for i, req := range []Request{
		{Digest: "sha256:1"}, {Digest: "sha256:2"}, {Digest: "sha256:1", Settings: Settings{NamePrefix: "x-"}},
		{Digest: "sha256:1", Variables: &Variables{Always: true, Lenient: true}},
	} {
		req.Open = have(configMap(fmt.Sprintf("'%d'", i)))
		objects, err := r.Render(t.Context(), req)
		g.Expect(err).NotTo(HaveOccurred())
		want := i
		if req.Variables != nil {
			want = 0 // the layer below is that of the first one
		}
		g.Expect(asYAML(t, objects)).To(ContainSubstring(fmt.Sprintf("x: \"%d\"\n", want)))
	}
}

func TestFailuresAreNotKept(t *testing.T) {
	g := NewWithT(t)
	r, err := New(Options{Builder: builder})
	g.Expect(err).NotTo(HaveOccurred())
	gone := errors.New("the artifact is gone")
	_, err = r.Render(t.Context(), Request{Digest: "sha256:1", Open: func(context.Context) (Archive, error) { return nil, gone }})
	g.Expect(err).To(MatchError(gone))
	g.Expect(r.Render(t.Context(), Request{Digest: "sha256:1", Open: have(configMap("y"))})).To(HaveLen(1))
}

func TestLayerIsBounded(t *testing.T) {
	g := NewWithT(t)
	l, err := newLayer(1000)
	g.Expect(err).NotTo(HaveOccurred())
	made := map[string]int{}
	get := func(key string, size int64) {
		_, _, err := l.get(t.Context(), key, false, func(context.Context) (result, error) {
			made[key]++
			return result{bytes: size}, nil
		})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(l.used).To(BeNumerically("<=", 1000))
	}
	get("a", 400)
	get("b", 400)
	get("a", 400) // used last
	get("c", 400) // drives out b
	get("a", 400)
	get("b", 400)
	get("huge", 600) // would drive out most
	get("huge", 600)
	get("b", 400)
	g.Expect(made).To(Equal(map[string]int{"a": 1, "b": 2, "c": 1, "huge": 2}))
}

func TestGivingUpLeavesTheWorkToOthers(t *testing.T) {
	g := NewWithT(t)
	l, err := newLayer(1000)
	g.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(t.Context())
	begun, proceed := make(chan struct{}), make(chan struct{})
	failed, got := make(chan error), make(chan result)
	go func() {
		_, _, err := l.get(ctx, "a", false, func(ctx context.Context) (result, error) {
			close(begun)
			<-proceed
			return result{bytes: 7}, ctx.Err()
		})
		failed <- err
	}()
	<-begun
	go func() {
		made, _, err := l.get(t.Context(), "a", false, func(context.Context) (result, error) { return result{}, errors.New("made twice") })
		if err != nil {
			t.Error(err)
		}
		got <- made
	}()
	g.Eventually(func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.flights["a"].waiting
	}).Should(Equal(2))
	cancel()
	g.Expect(<-failed).To(MatchError(context.Canceled))
	close(proceed)
	g.Expect((<-got).bytes).To(Equal(int64(7)))
}

// What nobody waits for any more ends, and spoils nothing for the next one.
func TestTheLastToGiveUpEndsTheWork(t *testing.T) {
	g := NewWithT(t)
	l, err := newLayer(1000)
	g.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	_, _, err = l.get(ctx, "a", false, func(work context.Context) (result, error) {
		cancel()
		<-work.Done()
		close(ended)
		return result{}, work.Err()
	})
	g.Expect(err).To(MatchError(context.Canceled))
	g.Eventually(ended, "10s").Should(BeClosed())
	made, kept, err := l.get(t.Context(), "a", false, func(context.Context) (result, error) { return result{bytes: 7}, nil })
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(kept).To(BeFalse())
	g.Expect(made.bytes).To(Equal(int64(7)))
	g.Expect(l.used).To(Equal(int64(7)))
}

// Whose artifact does not come holds no place among those that build.
func TestADownloadHoldsNobodyUp(t *testing.T) {
	g := NewWithT(t)
	r, err := New(Options{Builder: builder, Concurrency: 1})
	g.Expect(err).NotTo(HaveOccurred())
	begun, ended := make(chan struct{}), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := r.Render(ctx, Request{Digest: "sha256:1", Open: func(ctx context.Context) (Archive, error) {
			close(begun)
			<-ctx.Done()
			return nil, ctx.Err()
		}})
		ended <- err
	}()
	<-begun
	soon, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	g.Expect(r.Render(soon, Request{Digest: "sha256:2", Open: have(configMap("y"))})).To(HaveLen(1))
	cancel()
	g.Expect(<-ended).To(MatchError(context.Canceled))
}

package queue_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"

	"github.com/headwater-dev/headwater/internal/queue"
)

// keyOf is what comes before the slash.
func keyOf(item string) string {
	key, _, _ := strings.Cut(item, "/")
	return key
}

func newQueue(t *testing.T, slots *queue.Slots[string], by clock.WithDelayedExecution) *queue.Queue[string, string] {
	t.Helper()
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[string](time.Second, time.Minute)
	q := queue.New(t.Name(), keyOf, slots, limiter, by)
	t.Cleanup(q.ShutDown)
	return q
}

// take gets an item that is ready.
func take(t *testing.T, q *queue.Queue[string, string]) string {
	t.Helper()
	got := make(chan string, 1)
	go func() {
		item, _ := q.Get()
		got <- item
	}()
	var item string
	NewWithT(t).Eventually(got).Should(Receive(&item))
	return item
}

func TestKeysAreServedInTurns(t *testing.T) {
	g := NewWithT(t)
	q := newQueue(t, &queue.Slots[string]{Cap: 10}, clock.RealClock{})
	q.Add("a/1")
	q.Add("a/2")
	q.Add("a/3")
	q.Add("b/1")
	q.Add("c/1")
	q.Add("b/2")
	q.Add("a/1") // it is in already
	var order []string
	for range 6 {
		order = append(order, take(t, q))
	}
	g.Expect(order).To(Equal([]string{"a/1", "b/1", "c/1", "a/2", "b/2", "a/3"}))
}

func TestNoKeyHasMoreThanItsShare(t *testing.T) {
	g := NewWithT(t)
	slots := &queue.Slots[string]{Cap: 2}
	one, other := newQueue(t, slots, clock.RealClock{}), newQueue(t, slots, clock.RealClock{})
	for i := range 3 {
		one.Add(fmt.Sprintf("a/%d", i))
		other.Add(fmt.Sprintf("a/%d", i))
	}
	g.Expect(take(t, one)).To(Equal("a/0"))
	g.Expect(take(t, other)).To(Equal("a/0"))
	one.Add("b/0")
	g.Expect(take(t, one)).To(Equal("b/0"), "a has its share, over both queues")
	g.Expect(slots.Running("a")).To(Equal(2))
	g.Expect(one.Waiting("a")).To(Equal([]string{"a/1", "a/2"}), "in the order of their turns")

	got := make(chan string, 1)
	go func() {
		item, _ := one.Get()
		got <- item
	}()
	g.Consistently(got, "100ms").ShouldNot(Receive())
	other.Done("a/0") // a slot is freed in the other queue
	g.Eventually(got).Should(Receive(Equal("a/1")))
}

// A worker that is done asks its own queue for more, sooner than any other wakes up.
func TestQueuesTakeTurnsAtAKey(t *testing.T) {
	g := NewWithT(t)
	slots := &queue.Slots[string]{Cap: 1}
	queues := []*queue.Queue[string, string]{newQueue(t, slots, clock.RealClock{}), newQueue(t, slots, clock.RealClock{})}
	running := make(chan string)
	for n, q := range queues {
		for i := range 4 {
			q.Add(fmt.Sprintf("a/%d of %d", i, n))
		}
		go func() {
			for item, shutdown := q.Get(); !shutdown; item, shutdown = q.Get() {
				running <- item
				q.Done(item)
			}
		}()
		g.Eventually(func() int { return slots.Running("a") }).Should(Equal(1), "of the first queue")
	}
	for i := range 4 {
		for n := range queues {
			g.Eventually(queues[1-n].Idle).Should(Equal(1))
			g.Eventually(running).Should(Receive(Equal(fmt.Sprintf("a/%d of %d", i, n))))
		}
	}
}

func TestAnItemIsWorkedOnOnceAtATime(t *testing.T) {
	g := NewWithT(t)
	q := newQueue(t, &queue.Slots[string]{Cap: 4}, clock.RealClock{})
	q.Add("a/1")
	g.Expect(take(t, q)).To(Equal("a/1"))
	q.Add("a/1")
	q.Add("a/2")
	g.Expect(take(t, q)).To(Equal("a/2"))
	g.Expect(q.Len()).To(BeZero())
	q.Done("a/1")
	g.Expect(take(t, q)).To(Equal("a/1"))
}

func TestAHigherPriorityGoesFirst(t *testing.T) {
	g := NewWithT(t)
	q := newQueue(t, &queue.Slots[string]{Cap: 4}, clock.RealClock{})
	low, high := -100, 3
	q.AddWithOpts(priorityqueue.AddOpts{Priority: &low}, "a/1", "b/1", "c/1")
	q.Add("a/2")
	q.AddWithOpts(priorityqueue.AddOpts{Priority: &high}, "c/1")
	q.AddWithOpts(priorityqueue.AddOpts{Priority: &low}, "c/1")
	item, priority, _ := q.GetWithPriority()
	g.Expect(item).To(Equal("c/1"))
	g.Expect(priority).To(Equal(3))
	g.Expect(take(t, q)).To(Equal("a/2"))
	g.Expect(take(t, q)).To(Equal("a/1"))
}

func TestTheSoonestTimeCounts(t *testing.T) {
	g := NewWithT(t)
	fake := clocktesting.NewFakeClock(time.Now())
	q := newQueue(t, &queue.Slots[string]{Cap: 4}, fake)
	q.AddAfter("a/1", time.Hour)
	q.AddAfter("a/2", time.Minute)
	q.AddAfter("a/1", 2*time.Minute)
	q.AddAfter("a/1", time.Hour)
	q.AddRateLimited("a/3") // a second
	g.Expect(q.NumRequeues("a/3")).To(Equal(1))
	g.Expect(q.Len()).To(BeZero())
	fake.Step(time.Second)
	g.Eventually(q.Len).Should(Equal(1))
	g.Expect(take(t, q)).To(Equal("a/3"))
	fake.Step(2 * time.Minute)
	g.Eventually(q.Len).Should(Equal(2))
	g.Expect(take(t, q)).To(Equal("a/2"))
	g.Expect(take(t, q)).To(Equal("a/1"))

	q.AddAfter("a/4", time.Hour)
	q.Add("a/4")
	g.Expect(take(t, q)).To(Equal("a/4"), "now is sooner than later")
}

func TestShutDownEndsTheWaits(t *testing.T) {
	g := NewWithT(t)
	q := newQueue(t, &queue.Slots[string]{Cap: 4}, clock.RealClock{})
	ended := make(chan bool, 1)
	go func() {
		_, shutdown := q.Get()
		ended <- shutdown
	}()
	q.ShutDown()
	g.Eventually(ended).Should(Receive(BeTrue()))
	g.Expect(q.ShuttingDown()).To(BeTrue())
	q.Add("a/1")
	g.Expect(q.Len()).To(BeZero())
}

// Workers that are busy with items which fail are let go, whatever becomes ready
// meanwhile.
func TestShutDownLetsBusyWorkersGo(t *testing.T) {
	g := NewWithT(t)
	const rounds, workers, runs = 50, 20, 200
	for range rounds {
		q := newQueue(t, &queue.Slots[string]{Cap: workers}, clock.RealClock{})
		var working sync.WaitGroup
		busy := make(chan struct{}, workers*runs)
		for worker := range workers {
			working.Go(func() {
				for i := 0; ; i++ {
					q.Add(fmt.Sprintf("%d/%d", worker, i))
					item, shutdown := q.Get()
					if shutdown {
						return
					}
					q.AddAfter(item, time.Microsecond)
					q.Done(item)
					select {
					case busy <- struct{}{}:
					default:
					}
				}
			})
		}
		for range runs {
			<-busy
		}
		q.ShutDown()
		gone := make(chan struct{})
		go func() { working.Wait(); close(gone) }()
		g.Eventually(gone, "30s").Should(BeClosed())
	}
}

// Many workers on two queues, random additions: each addition is followed by a
// run, no item runs twice at once, and no key exceeds its share.
func TestRandomWork(t *testing.T) {
	g := NewWithT(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	slots := &queue.Slots[string]{Cap: 3}
	queues := []*queue.Queue[string, string]{newQueue(t, slots, clock.RealClock{}), newQueue(t, slots, clock.RealClock{})}

	var mu sync.Mutex
	var wrong []string
	asked, seen := map[string]int{}, map[string]int{}
	byKey, busy := map[string]int{}, map[string]bool{}
	work := func(n int, q *queue.Queue[string, string]) {
		for {
			item, shutdown := q.Get()
			if shutdown {
				return
			}
			id := fmt.Sprintf("%d:%s", n, item)
			mu.Lock()
			byKey[keyOf(item)]++
			if busy[id] || byKey[keyOf(item)] > 3 {
				wrong = append(wrong, id)
			}
			busy[id], seen[id] = true, asked[id]
			mu.Unlock()
			mu.Lock()
			busy[id] = false
			byKey[keyOf(item)]--
			mu.Unlock()
			q.Done(item)
		}
	}
	var workers sync.WaitGroup
	for n, q := range queues {
		for range 20 {
			workers.Go(func() { work(n, q) })
		}
	}
	for range 20_000 {
		n, item := random.IntN(2), fmt.Sprintf("%d/%d", random.IntN(5), random.IntN(20))
		mu.Lock()
		asked[fmt.Sprintf("%d:%s", n, item)]++
		mu.Unlock()
		priority := -random.IntN(3)
		opts := priorityqueue.AddOpts{Priority: &priority}
		if random.IntN(4) == 0 {
			opts.After = time.Duration(random.IntN(1000)) * time.Microsecond
		}
		queues[n].AddWithOpts(opts, item)
	}
	g.Eventually(func() map[string]int {
		mu.Lock()
		defer mu.Unlock()
		late := map[string]int{}
		for id, n := range asked {
			if seen[id] != n {
				late[id] = n - seen[id]
			}
		}
		return late
	}, "20s").Should(BeEmpty())
	for _, q := range queues {
		q.ShutDown()
	}
	workers.Wait()
	g.Expect(wrong).To(BeEmpty())
}

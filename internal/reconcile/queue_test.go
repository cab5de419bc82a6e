package reconcile

import (
	"strconv"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
)

func request(name int) ctrl.Request {
	return ctrl.Request{NamespacedName: types.NamespacedName{Name: strconv.Itoa(name)}}
}

// TestQueueLetsItsWorkersGo shuts queues down under workers that are busy with
// items which fail. controller-runtime's own queue keeps one of them within the
// first few rounds.
func TestQueueLetsItsWorkersGo(t *testing.T) {
	g := NewWithT(t)
	const rounds, workers, runs = 50, 20, 200
	for range rounds {
		q := NewQueue("test", workqueue.DefaultTypedControllerRateLimiter[ctrl.Request]())
		var working sync.WaitGroup
		busy := make(chan struct{}, workers*runs)
		for worker := range workers {
			working.Go(func() {
				for i := 0; ; i++ {
					q.Add(request(worker*1_000_000 + i))
					item, shutdown := q.Get()
					if shutdown {
						return
					}
					q.AddRateLimited(item)
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
		g.Eventually(gone, 30*time.Second).Should(BeClosed())
	}
}

func TestQueueHandsOutEachItemOnce(t *testing.T) {
	g := NewWithT(t)
	q := NewQueue("test", workqueue.DefaultTypedControllerRateLimiter[ctrl.Request]())
	defer q.ShutDown()
	q.Add(request(1))
	q.Add(request(1))
	got := make(chan ctrl.Request)
	next := func() {
		item, shutdown := q.Get()
		if shutdown {
			item = ctrl.Request{}
		}
		got <- item
	}
	go next()
	g.Eventually(got, 30*time.Second).Should(Receive(Equal(request(1))))
	q.Add(request(1))
	q.Add(request(2))
	go next()
	g.Eventually(got, 30*time.Second).Should(Receive(Equal(request(2))), "the first is not done")
	q.Done(request(1))
	go next()
	g.Eventually(got, 30*time.Second).Should(Receive(Equal(request(1))))
}

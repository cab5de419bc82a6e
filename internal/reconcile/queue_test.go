package reconcile

import (
	"strconv"
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

package reconcile

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
)

func TestThePauseAfterEachFailure(t *testing.T) {
	web := ctrl.Request{NamespacedName: types.NamespacedName{Namespace: "team", Name: "web"}}
	for _, c := range []struct {
		pace Pace
		want []time.Duration
	}{
		{Pace{}, []time.Duration{750 * time.Millisecond, 1500 * time.Millisecond, 3 * time.Second}},
		{Pace{MinRetryDelay: time.Second, MaxRetryDelay: 3 * time.Second}, []time.Duration{time.Second, 2 * time.Second, 3 * time.Second, 3 * time.Second}},
	} {
		limiter := c.pace.Options().RateLimiter
		for before, want := range c.want {
			NewWithT(t).Expect(c.pace.Pause(before)).To(Equal(want))
			NewWithT(t).Expect(limiter.When(web)).To(Equal(want))
		}
	}
}

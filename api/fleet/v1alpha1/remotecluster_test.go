package v1alpha1_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
)

func TestLostAfter(t *testing.T) {
	for name, c := range map[string]struct {
		policy fleetv1.LostPolicy
		after  time.Duration
		ever   bool
	}{
		"unset":          {fleetv1.LostPolicy{}, time.Hour, true},
		"orphan":         {fleetv1.LostPolicy{Action: "Orphan", After: &metav1.Duration{Duration: time.Minute}}, time.Minute, true},
		"orphan at once": {fleetv1.LostPolicy{Action: "Orphan", After: &metav1.Duration{}}, 0, true},
		"wait":           {fleetv1.LostPolicy{Action: "Wait", After: &metav1.Duration{Duration: time.Minute}}, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			after, ever := (&fleetv1.RemoteCluster{Spec: fleetv1.RemoteClusterSpec{LostPolicy: c.policy}}).LostAfter()
			g.Expect(after).To(Equal(c.after))
			g.Expect(ever).To(Equal(c.ever))
		})
	}
}

func TestModeDefaultsToPush(t *testing.T) {
	g := NewWithT(t)
	cluster := &fleetv1.RemoteCluster{}
	g.Expect(cluster.GetMode()).To(Equal(fleetv1.ClusterMode("Push")))
	cluster.Spec.Mode = "Pull"
	g.Expect(cluster.GetMode()).To(Equal(fleetv1.ClusterMode("Pull")))
}

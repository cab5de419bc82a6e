package remote

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
)

func TestWhenATargetIsLost(t *testing.T) {
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		policy fleetv1.LostPolicy
		status metav1.ConditionStatus
		since  time.Duration
		// tried is for how long this process has; as long, when zero.
		tried time.Duration
		lost  bool
		after time.Duration
	}{
		"by default after an hour":             {since: time.Hour, status: "False", lost: true, after: 10 * time.Minute},
		"not by a process that has just begun": {since: 1000 * time.Hour, tried: time.Second, status: "False", after: 10 * time.Minute},
		"by one that has tried for long":       {since: 1000 * time.Hour, tried: time.Hour, status: "False", lost: true, after: 10 * time.Minute},
		"not before":                           {since: 50*time.Minute + 30*time.Second, status: "False", after: 9*time.Minute + 30*time.Second},
		"long before":                          {since: time.Minute, status: "False", after: 10 * time.Minute},
		"sooner, if the policy says":           {policy: fleetv1.LostPolicy{After: &metav1.Duration{Duration: time.Minute}}, since: time.Minute, status: "False", lost: true, after: 10 * time.Minute},
		"never, if the policy says":            {policy: fleetv1.LostPolicy{Action: "Wait"}, since: 1000 * time.Hour, status: "False", after: 10 * time.Minute},
		"not as long as it is reached":         {since: 1000 * time.Hour, status: "True", after: 30 * time.Second},
		"not if nothing is known":              {after: 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			record := &fleetv1.RemoteCluster{Spec: fleetv1.RemoteClusterSpec{LostPolicy: tc.policy}}
			if tc.status != "" {
				record.Status.Conditions = []metav1.Condition{{Type: "Connected", Status: tc.status, LastTransitionTime: metav1.NewTime(now.Add(-tc.since))}}
			}
			failing := now.Add(-tc.tried)
			if tc.tried == 0 {
				failing = now.Add(-tc.since)
			}
			lost, after := lostIn(record, failing, now)
			g.Expect(lost).To(Equal(tc.lost))
			g.Expect(after).To(Equal(tc.after))
		})
	}
}

package v1_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
)

func TestTimeout(t *testing.T) {
	for name, c := range map[string]struct {
		interval time.Duration
		timeout  *metav1.Duration
		want     time.Duration
	}{
		"unset: the interval less 30 seconds":    {10 * time.Minute, nil, 9*time.Minute + 30*time.Second},
		"unset and a short interval":             {45 * time.Second, nil, 30 * time.Second},
		"unset and an interval below 30 seconds": {5 * time.Second, nil, 30 * time.Second},
		"set":                                    {time.Minute, &metav1.Duration{Duration: 7 * time.Minute}, 7 * time.Minute},
		"set to less than allowed":               {10 * time.Minute, &metav1.Duration{Duration: time.Second}, 30 * time.Second},
		"set to nothing":                         {10 * time.Minute, &metav1.Duration{}, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			k := kustomizev1.Kustomization{Spec: kustomizev1.KustomizationSpec{
				Interval: metav1.Duration{Duration: c.interval}, Timeout: c.timeout,
			}}
			NewWithT(t).Expect(k.Timeout()).To(Equal(c.want))
		})
	}
}

func TestRetryInterval(t *testing.T) {
	g := NewWithT(t)
	k := kustomizev1.Kustomization{Spec: kustomizev1.KustomizationSpec{Interval: metav1.Duration{Duration: 10 * time.Minute}}}
	g.Expect(k.RetryInterval()).To(Equal(10 * time.Minute))
	k.Spec.RetryInterval = &metav1.Duration{Duration: time.Minute}
	g.Expect(k.RetryInterval()).To(Equal(time.Minute))
	g.Expect(k.Interval()).To(Equal(10 * time.Minute))
}

func TestSourceNamespace(t *testing.T) {
	g := NewWithT(t)
	k := kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "apps"}}
	g.Expect(k.SourceNamespace()).To(Equal("apps"))
	k.Spec.SourceRef.Namespace = "sources"
	g.Expect(k.SourceNamespace()).To(Equal("sources"))
}

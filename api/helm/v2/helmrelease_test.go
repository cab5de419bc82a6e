package v2_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
)

func TestTimeout(t *testing.T) {
	g := NewWithT(t)
	release := &helmv2.HelmRelease{}
	g.Expect(release.Timeout()).To(Equal(5 * time.Minute))
	release.Spec.Timeout = &metav1.Duration{Duration: time.Second}
	g.Expect(release.Timeout()).To(Equal(time.Second))
}

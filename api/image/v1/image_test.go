package v1_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	imagev1 "github.com/headwater-dev/headwater/api/image/v1"
)

func TestImageRefIsWrittenAsInAManifest(t *testing.T) {
	g := NewWithT(t)
	ref := imagev1.ImageRef{Name: "registry.example.com/app", Tag: "1.2.3"}
	g.Expect(ref.String()).To(Equal("registry.example.com/app:1.2.3"))
	ref.Digest = "sha256:0123"
	g.Expect(ref.String()).To(Equal("registry.example.com/app:1.2.3@sha256:0123"))
}

func TestScanTimeout(t *testing.T) {
	g := NewWithT(t)
	repository := &imagev1.ImageRepository{Spec: imagev1.ImageRepositorySpec{Interval: metav1.Duration{Duration: time.Hour}}}
	g.Expect(repository.Timeout()).To(Equal(time.Hour))
	repository.Spec.Timeout = &metav1.Duration{Duration: time.Second}
	g.Expect(repository.Timeout()).To(Equal(time.Second))
}

func TestPolicyIntervalIsThatOfTheDigest(t *testing.T) {
	g := NewWithT(t)
	policy := &imagev1.ImagePolicy{}
	g.Expect(policy.Interval()).To(BeZero())
	policy.Spec.Interval = &metav1.Duration{Duration: time.Hour}
	g.Expect(policy.Interval()).To(Equal(time.Hour))
}

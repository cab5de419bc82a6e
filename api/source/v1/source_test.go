package v1_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
)

func TestTimeout(t *testing.T) {
	g := NewWithT(t)
	g.Expect((&sourcev1.GitRepository{}).Timeout()).To(Equal(time.Minute))
	g.Expect((&sourcev1.HelmRepository{}).Timeout()).To(Equal(time.Minute))
	set := &sourcev1.Bucket{Spec: sourcev1.BucketSpec{Timeout: &metav1.Duration{Duration: time.Second}}}
	g.Expect(set.Timeout()).To(Equal(time.Second))
}

func TestHelmRepositoryInterval(t *testing.T) {
	g := NewWithT(t)
	repository := &sourcev1.HelmRepository{}
	g.Expect(repository.Interval()).To(Equal(time.Minute))
	repository.Spec.Interval.Duration = time.Hour
	g.Expect(repository.Interval()).To(Equal(time.Hour))
}

func TestArtifactIsTheOneInStatus(t *testing.T) {
	g := NewWithT(t)
	repository := &sourcev1.GitRepository{}
	g.Expect(repository.GetArtifact()).To(BeNil())
	repository.SetArtifact(&meta.Artifact{Revision: "main@sha1:1"})
	g.Expect(repository.Status.Artifact).To(HaveField("Revision", "main@sha1:1"))
	g.Expect(repository.GetArtifact()).To(BeIdenticalTo(repository.Status.Artifact))
}

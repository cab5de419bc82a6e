package fleet

import (
	"testing"

	. "github.com/onsi/gomega"
)

func TestPercentile(t *testing.T) {
	g := NewWithT(t)
	values := []float64{}
	for i := range 200 {
		values = append(values, float64(200-i))
	}
	g.Expect(percentile(values, 99)).To(Equal(198.0))
	g.Expect(percentile(values, 50)).To(Equal(100.0))
	g.Expect(percentile([]float64{7}, 99)).To(Equal(7.0))
}

func TestUnknownCase(t *testing.T) {
	err := Run(t.Context(), "nosuch", Options{}, t.Output())
	NewWithT(t).Expect(err).To(MatchError(`no such case: "nosuch"; want one of [blackholed credentials hanging memory slow waiting]`))
}

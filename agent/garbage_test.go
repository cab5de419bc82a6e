package main

import (
	"testing"

	. "github.com/onsi/gomega"
)

func TestGarbageIsBounded(t *testing.T) {
	g := NewWithT(t)
	const mib = 1 << 20
	for live, percent := range map[uint64]int{
		0: 984, 8 * mib: 800, 16 * mib: 400, 32 * mib: 200, 64 * mib: 62, 80 * mib: 30, 96 * mib: 25, 1024 * mib: 25,
	} {
		g.Expect(percentOf(live)).To(Equal(percent), "%d MiB live", live/mib)
	}
	g.Expect(differs(100, 95)).To(BeFalse())
	g.Expect(differs(100, 90)).To(BeTrue())
	g.Expect(differs(80, 100)).To(BeTrue())
	g.Expect(differs(10, 0)).To(BeTrue())
}

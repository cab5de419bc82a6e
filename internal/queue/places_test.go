package queue_test

import (
	"context"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/headwater-dev/headwater/internal/queue"
)

func TestARunHasOnePlace(t *testing.T) {
	g := NewWithT(t)
	places := queue.NewPlaces(2)
	one, leaveOne := places.Visit(t.Context())
	two, leaveTwo := places.Visit(t.Context())
	defer leaveTwo()
	for range 3 {
		g.Expect(queue.Enter(one)).To(Succeed())
		g.Expect(queue.Enter(two)).To(Succeed())
	}

	within, cancel := context.WithCancel(t.Context())
	gone, leaveGone := places.Visit(within)
	cancel()
	g.Expect(queue.Enter(gone)).To(MatchError(context.Canceled))
	leaveGone() // it has none

	three, leaveThree := places.Visit(t.Context())
	defer leaveThree()
	entered := make(chan error, 1)
	go func() { entered <- queue.Enter(three) }()
	g.Consistently(entered, "100ms").ShouldNot(Receive())
	leaveOne()
	g.Eventually(entered).Should(Receive(BeNil()))
}

func TestWhoNeedsNoPlace(t *testing.T) {
	g := NewWithT(t)
	g.Expect(queue.Enter(t.Context())).To(Succeed())
	var none *queue.Places
	run, leave := none.Visit(t.Context())
	defer leave()
	g.Expect(queue.Enter(run)).To(Succeed())
}

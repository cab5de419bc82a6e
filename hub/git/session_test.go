package git

import (
	"bytes"
	"context"
	"io"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/headwater-dev/headwater/internal/queue"
)

// Long lists of references take memory: whoever has no place reads no more of one.
func TestALongListTakesAPlace(t *testing.T) {
	g := NewWithT(t)
	places := queue.NewPlaces(1)
	other, leave := places.Visit(t.Context())
	g.Expect(queue.Enter(other)).To(Succeed())
	read := func(ctx context.Context, size int) error {
		run, leave := places.Visit(ctx)
		defer leave()
		n, err := io.Copy(io.Discard, listed(run, bytes.NewReader(make([]byte, size))))
		if err == nil {
			g.Expect(n).To(BeNumerically("==", size))
		}
		return err
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	g.Expect(read(ended, smallList-1)).To(Succeed())
	g.Expect(read(ended, 2*smallList)).To(MatchError(context.Canceled))
	leave()
	g.Expect(read(t.Context(), 2*smallList)).To(Succeed())
	g.Expect(read(t.Context(), maxListBytes+1)).To(MatchError(errListTooLong))
}

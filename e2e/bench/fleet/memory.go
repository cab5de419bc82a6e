package fleet

import (
	"context"
	"fmt"
	"time"
)

// measureMemory prints the memory of each agent when all targets are Ready, and
// when each has had another commit.
func measureMemory(ctx context.Context, f *fleet) error {
	f.printMemory("all Ready")
	began := time.Now()
	if err := f.deliver(ctx); err != nil {
		return err
	}
	if err := f.watch.await(ctx, f.revision, f.names()); err != nil {
		return err
	}
	f.printMemory(fmt.Sprintf("after another commit, which took %.0f s", time.Since(began).Seconds()))
	return nil
}

func (f *fleet) printMemory(when string) {
	for _, agent := range f.agents {
		peak, now := resident(agent.PID())
		fmt.Fprintf(f.out, "%s: %s: %.0f MiB resident, %.0f MiB at the peak\n", when, agent.Name, now, peak)
	}
}

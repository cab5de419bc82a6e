package reconcile

import (
	"context"
	"fmt"
	"time"
)

// MaxTimeout bounds what spec.timeout asks for; zero is no bound. It is the hub's
// --max-source-timeout.
type MaxTimeout time.Duration

// Within is the context of what spec.timeout is about, for as long as that asks for
// and the bound allows. The cause of its end says which of them it was, and is a
// context.DeadlineExceeded.
func (m MaxTimeout) Within(ctx context.Context, asked time.Duration) (context.Context, context.CancelFunc) {
	limit, whose := asked, "(spec.timeout)"
	if bound := time.Duration(m); bound > 0 && bound < asked {
		limit, whose = bound, "(--max-source-timeout, whatever spec.timeout says)"
	}
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("it took longer than %s %s: %w", limit, whose, context.DeadlineExceeded))
}

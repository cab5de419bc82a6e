package render

import (
	"context"
	"errors"
	"runtime/debug"

	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

// errCrashed is what is said of files on which a library crashed. What a panic says
// may quote what is in them.
var errCrashed = errors.New("rendering crashed on these files: the agent's log says where")

// surviving calls the function and turns its panic into an error: it runs in a
// goroutine of its own, where nobody else would, and one tenant's files would end
// the process for all.
func surviving(ctx context.Context, do func(context.Context) (result, error)) (made result, err error) {
	defer func() {
		if recover() != nil {
			ctrllog.FromContext(ctx).Error(errCrashed, "rendering crashed", "stack", string(debug.Stack()))
			made, err = result{}, errCrashed
		}
	}()
	return do(ctx)
}

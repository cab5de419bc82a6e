package render

import (
	"context"
	"errors"
	"io"
	"log"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
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

// guard sets what kustomize has in variables of the process. The places in it that
// end the process with log.Fatal write to the standard logger before they do, which
// makes a panic of it. And patches that copy are bounded.
var guard = sync.OnceFunc(func() {
	listenToLastWords()
	jsonpatch.AccumulatedCopySizeLimit = maxFileBytes
})

// listenToLastWords comes before what the standard logger wrote to: the program has it
// keep secrets out of what libraries say.
func listenToLastWords() { log.SetOutput(lastWords{log.Writer()}) }

// lastWords is the output of the standard logger.
type lastWords struct{ next io.Writer }

// Write implements io.Writer.
func (w lastWords) Write(b []byte) (int, error) {
	if kustomizeExits() {
		panic(errCrashed)
	}
	return w.next.Write(b)
}

// kustomizeExits says whether kustomize has called log.Fatal.
func kustomizeExits() bool {
	callers := make([]uintptr, 16)
	frames := runtime.CallersFrames(callers[:runtime.Callers(0, callers)])
	for fatal, more := false, true; more; {
		var frame runtime.Frame
		frame, more = frames.Next()
		if fatal {
			return strings.HasPrefix(frame.Function, "sigs.k8s.io/kustomize/")
		}
		fatal = strings.HasPrefix(frame.Function, "log.Fatal")
	}
	return false
}

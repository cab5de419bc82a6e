package expr

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
)

// The names of the objects in a readyExpr.
const (
	self = "self"
	dep  = "dep"
)

// CompileReady compiles a readyExpr: a condition over the object that waits and
// the one that it waits for (FLUX.md §1.8, §1.9). The types are checked: one that
// cannot be a bool is an error.
func (c *Compiler) CompileReady(text string) (*Condition, error) {
	return c.compile(c.ready, text)
}

// Ready evaluates a readyExpr. Its errors are those of CompileReady and of
// Condition.Holds.
func (c *Compiler) Ready(ctx context.Context, text string, waiting, dependency runtime.Object) (bool, error) {
	condition, err := c.CompileReady(text)
	if err != nil {
		return false, err
	}
	values := make(map[string]any, 2)
	for name, obj := range map[string]runtime.Object{self: waiting, dep: dependency} {
		if values[name], err = runtime.DefaultUnstructuredConverter.ToUnstructured(obj); err != nil {
			return false, err
		}
	}
	return condition.Holds(ctx, values)
}

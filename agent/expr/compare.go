package expr

import (
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"
)

// maxCompared is how many values one comparison may come to: an object has fewer.
const maxCompared = 1_000_000

// comparing replaces ==, != and in, which cannot be declared anew as functions can. They
// go down into lists and maps, look at no context meanwhile, and come to a value as often as
// it stands there: a list of lists that are one and the same list has few values in memory
// and may have more than anybody can compare.
func comparing(step interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	call, ok := step.(interpreter.InterpretableCall)
	if !ok {
		return step, nil
	}
	switch call.Function() {
	case operators.Equals, operators.NotEquals, operators.In:
		return &comparison{call}, nil
	}
	return step, nil
}

// comparison is a call of ==, != or in.
type comparison struct{ interpreter.InterpretableCall }

// Exec implements interpreter.InterpretableV2.
func (c *comparison) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	args := c.Args()
	left, right := args[0].Exec(frame), args[1].Exec(frame)
	for _, value := range []ref.Val{left, right} {
		if types.IsUnknownOrError(value) {
			return value
		}
	}
	if compared(c.Function(), left, right) > maxCompared {
		return types.NewErr("one comparison comes to more than the %d values that are allowed", maxCompared)
	}
	if c.Function() == operators.In {
		if all, ok := right.(traits.Container); ok {
			return all.Contains(left)
		}
		return types.ValOrErr(right, "no such overload")
	}
	equal := types.Equal(left, right)
	if same, ok := equal.(types.Bool); ok && c.Function() == operators.NotEquals {
		return !same
	}
	return equal
}

// Eval implements interpreter.Interpretable.
func (c *comparison) Eval(vars interpreter.Activation) ref.Val {
	return c.Exec(interpreter.AsFrame(vars))
}

// compared is how many values are compared at most: as many as the smaller side has,
// or all that a list has in which something is looked for.
func compared(function string, left, right ref.Val) int64 {
	if function != operators.In {
		return count(right, count(left, maxCompared))
	}
	if _, ok := right.(traits.Mapper); ok {
		return 1
	}
	return count(right, maxCompared)
}

// count is how many values there are in the value, itself included, each as often as it
// stands there, or the first number above the given one.
func count(value ref.Val, most int64) int64 {
	sum := int64(1)
	switch v := value.(type) {
	case *types.Optional:
		if v.HasValue() {
			sum += count(v.GetValue(), most-sum)
		}
	case traits.Mapper:
		for it := v.Iterator(); sum <= most && it.HasNext() == types.True; {
			sum += count(v.Get(it.Next()), most-sum)
		}
	case traits.Lister:
		for it := v.Iterator(); sum <= most && it.HasNext() == types.True; {
			sum += count(it.Next(), most-sum)
		}
	}
	return sum
}

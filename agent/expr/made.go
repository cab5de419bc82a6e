package expr

import (
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"
)

const (
	// maxMade is how many bytes the values that one evaluation makes may have, each
	// value counted as often as it is met: CEL shares the parts of lists, so that ten
	// calls of map make a value that nothing can go through.
	maxMade = 16 << 20
	// perPart is what a value counts for, in bytes, besides its text.
	perPart = 16
	// leftName is where an evaluation finds how many bytes are left to it, as an
	// *int64: no expression can name it.
	leftName = "\x00left"
)

// counted is a step of a program that adds what it makes to that of its
// evaluation. Comparisons, errors that quote a value and the like then never
// meet one that is too large.
func counted(step interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	switch step := step.(type) {
	case interpreter.InterpretableConstructor:
		return countedConstructor{step}, nil
	case interpreter.InterpretableCall:
		return countedCall{step}, nil
	}
	return step, nil
}

type countedConstructor struct {
	interpreter.InterpretableConstructor
}

func (c countedConstructor) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	return count(frame, c.InterpretableConstructor.Exec(frame))
}

func (c countedConstructor) Eval(values interpreter.Activation) ref.Val {
	return c.Exec(interpreter.AsFrame(values))
}

type countedCall struct {
	interpreter.InterpretableCall
}

func (c countedCall) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	return count(frame, c.InterpretableCall.Exec(frame))
}

func (c countedCall) Eval(values interpreter.Activation) ref.Val {
	return c.Exec(interpreter.AsFrame(values))
}

// count returns the value, or an error when it is more than is left.
func count(frame *interpreter.ExecutionFrame, made ref.Val) ref.Val {
	switch made.(type) {
	case traits.MutableLister: // a macro's own, whose elements are counted
		return made
	case types.String, types.Bytes, traits.Lister, traits.Mapper:
	default:
		return made
	}
	found, _ := frame.ResolveName(leftName)
	left := found.(*int64)
	if *left = less(*left, made); *left < 0 {
		return types.NewErr("the expression makes more than the %d bytes that are allowed", maxMade)
	}
	return made
}

// less is what is left of so many bytes without those of the value. Nothing is
// looked at once it is below zero.
func less(left int64, value ref.Val) int64 {
	left -= perPart
	switch v := value.(type) {
	case types.String, types.Bytes:
		return left - length(value)
	case *types.Optional:
		if v.HasValue() {
			return less(left, v.GetValue())
		}
	case traits.Mapper:
		for it := v.Iterator(); left >= 0 && it.HasNext() == types.True; {
			key := it.Next()
			left = less(less(left, key), v.Get(key))
		}
	case traits.Lister:
		for it := v.Iterator(); left >= 0 && it.HasNext() == types.True; {
			left = less(left, it.Next())
		}
	}
	return left
}

// parts is how many values there are in a value, a text counted by its length.
func parts(value ref.Val) int64 { return (maxMade - less(maxMade, value)) / perPart }

// comparing is what comparisons cost: CEL looks at the outermost lengths alone.
type comparing struct{}

// CallCost implements interpreter.ActualCostEstimator. Nil leaves a call to CEL.
func (comparing) CallCost(function, _ string, args []ref.Val, _ ref.Val) *uint64 {
	var cost int64
	switch function {
	case operators.Equals, operators.NotEquals:
		if _, text := args[0].(types.String); text {
			return nil
		}
		cost = min(parts(args[0]), parts(args[1]))
	case operators.In, operators.OldIn:
		if _, keys := args[1].(traits.Mapper); keys {
			return nil
		}
		cost = parts(args[1])
	case "sets.contains", "sets.intersects", "sets.equivalent":
		cost = compared(args)
	default:
		return nil
	}
	made := uint64(cost)
	return &made
}

// noSetsCost takes away what the library of sets counts, which is by the lengths of
// both lists.
func noSetsCost() cel.ProgramOption {
	none := func([]ref.Val, ref.Val) *uint64 { return nil }
	return cel.CostTrackerOptions(
		interpreter.OverloadCostTracker("list_sets_contains_list", none),
		interpreter.OverloadCostTracker("list_sets_intersects_list", none),
		interpreter.OverloadCostTracker("list_sets_equivalent_list", none))
}

package expr

import (
	"regexp/syntax"
	"strings"
	"unicode/utf8"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/decls"
	"github.com/google/cel-go/common/functions"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// CEL counts what a call costs when it has ended. These calls may make or do far
// more than their arguments are long, so that each is looked at before.
var bounds = map[string]bound{
	"replace": {atMost: maxText, unit: "bytes", of: replaced},
	"join":    {atMost: maxText, unit: "bytes", of: joined},
	"format":  {atMost: maxText, unit: "bytes", of: formatted},

	"json.encode": {atMost: maxText, unit: "bytes", of: func(args []ref.Val) int64 { return size(args[0]) }},

	"indexOf":     {atMost: maxSteps, unit: "comparisons", of: product},
	"lastIndexOf": {atMost: maxSteps, unit: "comparisons", of: product},

	"sets.contains":   {atMost: 1_000_000, unit: "comparisons", of: compared},
	"sets.intersects": {atMost: 1_000_000, unit: "comparisons", of: compared},
	"sets.equivalent": {atMost: 1_000_000, unit: "comparisons", of: compared},
}

// maxText is how long a text that is made may be, in bytes: an object is not longer.
const maxText = 1 << 20

// bound is what one call may come to.
type bound struct {
	atMost int64
	unit   string
	// of is what the call with these arguments comes to, or more than it may.
	of func(args []ref.Val) int64
}

// bounded is the environment with its unbounded functions replaced.
func bounded(env *cel.Env) (*cel.Env, error) {
	var options []cel.EnvOption
	for name, limit := range bounds {
		function := env.Functions()[name]
		bindings, err := function.Bindings()
		if err != nil {
			return nil, err
		}
		of := map[string]*functions.Overload{}
		for _, binding := range bindings {
			of[binding.Operator] = binding
		}
		for _, overload := range function.OverloadDecls() {
			options = append(options, cel.Function(name, limit.guard(name, overload, of[overload.ID()])))
		}
	}
	return env.Extend(options...)
}

// guard is an overload as it was, but for calls above the bound.
func (b bound) guard(name string, overload *decls.OverloadDecl, as *functions.Overload) cel.FunctionOpt {
	declare := cel.Overload
	if overload.IsMemberFunction() {
		declare = cel.MemberOverload
	}
	return declare(overload.ID(), overload.ArgTypes(), overload.ResultType(), cel.FunctionBinding(func(args ...ref.Val) ref.Val {
		if b.of(args) > b.atMost {
			return types.NewErr("one call of %s comes to more than the %d %s that are allowed", name, b.atMost, b.unit)
		}
		switch {
		case as.Unary != nil:
			return as.Unary(args[0])
		case as.Binary != nil:
			return as.Binary(args[0], args[1])
		}
		return as.Function(args...)
	}))
}

// replaced is how long a text is after text.replace(old, new).
func replaced(args []ref.Val) int64 {
	text, old, to := textOf(args[0]), textOf(args[1]), textOf(args[2])
	times := strings.Count(text, old)
	if old == "" {
		times = utf8.RuneCountInString(text) + 1
	}
	return int64(len(text)) + int64(times)*int64(len(to))
}

// joined is how long the elements of a list are with the separator, if any,
// between them.
func joined(args []ref.Val) int64 {
	between := int64(0)
	if len(args) > 1 {
		between = length(args[1])
	}
	return size(args[0]) + length(args[0])*between
}

// formatted is how long a text is at most in which each argument stands once.
func formatted(args []ref.Val) int64 {
	return length(args[0]) + size(args[1])
}

const (
	// maxPattern bounds a regular expression in bytes: what it is compiled to may be a
	// thousand times as long.
	maxPattern = 1 << 10
	// maxSteps bounds what matching it takes, about ten nanoseconds each.
	maxSteps = 100_000_000
)

// matching is the function matches of CEL's own library, which counts the
// length of the pattern, and after the call.
func matching() cel.EnvOption {
	both := []*cel.Type{cel.StringType, cel.StringType}
	return cel.Function(overloads.Matches,
		cel.Overload(overloads.Matches, both, cel.BoolType),
		cel.MemberOverload(overloads.MatchesString, both, cel.BoolType),
		cel.SingletonBinaryBinding(match, traits.MatcherType))
}

func match(text, pattern ref.Val) ref.Val {
	if length(pattern) > maxPattern {
		return types.NewErr("a regular expression has more than the %d bytes that are allowed", maxPattern)
	}
	parsed, err := syntax.Parse(textOf(pattern), syntax.Perl)
	if err != nil {
		return types.WrapErr(err)
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return types.WrapErr(err)
	}
	if int64(len(program.Inst))*length(text) > maxSteps {
		return types.NewErr("one call of matches comes to more than the %d steps that are allowed", maxSteps)
	}
	return text.(traits.Matcher).Match(pattern)
}

// product of the lengths of both arguments.
func product(args []ref.Val) int64 { return length(args[0]) * length(args[1]) }

// compared is how many values are compared at most when each element of one list
// is held against each of the other.
func compared(args []ref.Val) int64 {
	return min(length(args[0])*parts(args[1]), parts(args[0])*length(args[1]))
}

// perValue is what a value is written in at most, with what is around it, besides
// the text that it holds: a number with the highest precision.
const perValue = 128

// size is how long the value is at most as a text, or something above maxText.
func size(value ref.Val) int64 {
	switch v := value.(type) {
	case types.String, types.Bytes:
		return 2 * length(value) // in hexadecimal digits
	case traits.Mapper:
		return sizes(v, func(key ref.Val) int64 { return size(key) + size(v.Get(key)) })
	case traits.Lister:
		return sizes(v, size)
	}
	return perValue
}

// sizes adds up what there is in a list or a map, until that is above maxText.
func sizes(all traits.Iterable, of func(ref.Val) int64) int64 {
	sum := int64(0)
	for it := all.Iterator(); sum <= maxText && it.HasNext() == types.True; {
		sum += perValue + of(it.Next())
	}
	return sum
}

// length in bytes, or in elements.
func length(value ref.Val) int64 {
	switch v := value.(type) {
	case types.String:
		return int64(len(v))
	case types.Bytes:
		return int64(len(v))
	case traits.Sizer:
		count, _ := v.Size().(types.Int)
		return int64(count)
	}
	return 0
}

func textOf(value ref.Val) string {
	text, _ := value.(types.String)
	return string(text)
}

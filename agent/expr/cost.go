package expr

import (
	"strings"

	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"
)

const (
	// perUnit is how many bytes of text, and how many compared values, cost one unit:
	// CEL's own number where it counts texts.
	perUnit = 10
	// perElement is how many bytes an element of a list takes.
	perElement = 16
	// perLiteral is what CEL counts for a list or a map that is written down.
	perLiteral = 10
)

// costs is what calls cost that CEL counts as 1 whatever they read and make: so what one
// evaluation makes stays below some ten megabytes. It implements interpreter.ActualCostEstimator.
type costs struct{}

// CallCost is nil for what CEL counts well by itself.
func (costs) CallCost(function, _ string, args []ref.Val, result ref.Val) *uint64 {
	units := int64(1)
	switch {
	case function == literal:
		units = perLiteral + int64(len(args))
	case function == operators.Equals, function == operators.NotEquals, function == operators.In:
		units += compared(function, args[0], args[1]) / perUnit
		units += min(length(args[0]), length(args[1])) / perUnit
	case strings.HasPrefix(function, "sets."):
		units += product(args) / perUnit
	case makesText[function]:
		for _, arg := range args {
			units += made(arg) / perUnit
		}
		units += made(result) / perUnit
	default:
		return nil
	}
	cost := uint64(units) //nolint:gosec // not negative
	return &cost
}

// makesText are the functions of the extensions that read or make texts or lists of them.
var makesText = map[string]bool{
	"base64.decode": true, "base64.encode": true,
	"charAt": true, "format": true, "indexOf": true, "join": true, "lastIndexOf": true, "lowerAscii": true, "replace": true,
	"reverse": true, "split": true, "strings.quote": true, "substring": true, "trim": true, "upperAscii": true,
}

// made is how many bytes a text or a list has by itself.
func made(value ref.Val) int64 {
	if list, ok := value.(traits.Lister); ok {
		return length(list.(ref.Val)) * perElement
	}
	return length(value)
}

// literal stands for the function that makes a list or a map of what is written down.
const literal = "@literal"

// constructing makes a call of what CEL counts as one step, however long it is.
func constructing(step interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	if made, ok := step.(interpreter.InterpretableConstructor); ok {
		return &construction{made}, nil
	}
	return step, nil
}

// construction is an interpreter.InterpretableCall.
type construction struct {
	interpreter.InterpretableConstructor
}

func (*construction) Function() string   { return literal }
func (*construction) OverloadID() string { return literal }

// Args are the elements, or the keys and values.
func (c *construction) Args() []interpreter.InterpretableV2 { return c.InitVals() }

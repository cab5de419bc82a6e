package expr

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/env"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"
	lru "github.com/hashicorp/golang-lru/v2"
)

const (
	// maxLength of an expression, in bytes.
	maxLength = 16 << 10
	// maxCost bounds one evaluation, in CEL's units, to what an API server
	// allows one validation rule.
	maxCost = 1_000_000
	// checkEvery is how many steps of a loop pass between two looks at the
	// context.
	checkEvery = 100
	// maxQuoted bounds in bytes how much of an expression an error of its
	// evaluation quotes, and maxReason what CEL says, which quotes keys and values.
	maxQuoted = 100
	maxReason = 500
	// maxComputedKeys of maps in a checked expression.
	maxComputedKeys = 8
	// maxKept compiled expressions of at most maxKeptLength bytes: a compiled one takes
	// up to a hundred times the memory of its text.
	maxKept       = 512
	maxKeptLength = 512
)

// Condition is a compiled expression that is true or false. It is safe for
// concurrent use.
type Condition struct {
	text    string
	program cel.Program
}

// Compiler compiles expressions and keeps the short ones that it compiled. It is
// safe for concurrent use.
type Compiler struct {
	env *cel.Env
	// ready is env with the names of a readyExpr.
	ready *cel.Env
	kept  *lru.Cache[kept, *Condition]
}

// kept is what tells one compiled expression from another.
type kept struct {
	env  *cel.Env
	text string
}

// NewCompiler returns a compiler of its own language environment, which takes a
// few milliseconds to make.
func NewCompiler() (*Compiler, error) {
	language, err := cel.NewCustomEnv(
		cel.StdLib(cel.StdLibSubset(env.NewLibrarySubset().AddExcludedFunctions(env.NewFunction(overloads.Matches)))),
		matching(),
		cel.HomogeneousAggregateLiterals(),
		cel.EagerlyValidateDeclarations(true),
		cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true),
		cel.OptionalTypes(),
		ext.Strings(),
		ext.Sets(),
		ext.Encoders(),
	)
	if err == nil {
		language, err = bounded(language)
	}
	if err != nil {
		return nil, fmt.Errorf("set up CEL: %w", err)
	}
	object := cel.MapType(cel.StringType, cel.DynType)
	ready, err := language.Extend(cel.Variable(self, object), cel.Variable(dep, object))
	if err != nil {
		return nil, fmt.Errorf("set up CEL: %w", err)
	}
	cache, err := lru.New[kept, *Condition](maxKept)
	if err != nil {
		return nil, err
	}
	return &Compiler{env: language, ready: ready, kept: cache}, nil
}

// Compile compiles an expression over whatever fields it is evaluated with: it is
// parsed, and no type is checked.
func (c *Compiler) Compile(text string) (*Condition, error) {
	return c.compile(c.env, text)
}

// compile compiles in one of both environments, or returns what is kept.
func (c *Compiler) compile(env *cel.Env, text string) (*Condition, error) {
	key := kept{env: env, text: text}
	if made, ok := c.kept.Get(key); ok {
		return made, nil
	}
	if len(text) > maxLength {
		return nil, fmt.Errorf("the CEL expression has %d bytes, more than the %d that are allowed", len(text), maxLength)
	}
	read, err := c.read(env, text)
	if err != nil {
		return nil, err
	}
	program, err := env.Program(read,
		cel.CostLimit(maxCost),
		cel.CostTracking(comparing{}),
		noSetsCost(),
		cel.CustomDecoratorV2(counted),
		cel.InterruptCheckFrequency(checkEvery))
	if err != nil {
		return nil, fmt.Errorf("compile the CEL expression %q: %w", text, err)
	}
	made := &Condition{text: text, program: program}
	if len(text) <= maxKeptLength {
		c.kept.Add(key, made)
	}
	return made, nil
}

// read parses the expression and, where the variables are known, checks it.
func (c *Compiler) read(env *cel.Env, text string) (*cel.Ast, error) {
	parsed, issues := env.Parse(text)
	if err := issues.Err(); err != nil {
		return nil, fmt.Errorf("parse the CEL expression %q: %w", text, err)
	}
	if env != c.ready {
		return parsed, nil
	}
	if computedKeys(parsed) > maxComputedKeys {
		return nil, fmt.Errorf("the CEL expression %q has more than the %d keys of maps that are allowed to be computed", text, maxComputedKeys)
	}
	checked, issues := env.Check(parsed)
	if err := issues.Err(); err != nil {
		return nil, fmt.Errorf("check the CEL expression %q: %w", text, err)
	}
	if out := checked.OutputType(); !out.IsExactType(cel.BoolType) && !out.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("the CEL expression %q is a %s: it has to be true or false", text, out)
	}
	return checked, nil
}

// computedKeys is how many keys of maps are written as anything but a literal. A map has
// its key's type and its value's in its own: with {a: a} each loop doubles what the checker
// goes through, and nothing else of the language does.
func computedKeys(parsed *cel.Ast) int {
	found := 0
	ast.PreOrderVisit(parsed.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.MapKind {
			return
		}
		for _, entry := range e.AsMap().Entries() {
			if entry.AsMapEntry().Key().Kind() != ast.LiteralKind {
				found++
			}
		}
	}))
	return found
}

// Holds evaluates the condition. Its errors are those of the expression on
// these values: a field that is not there, a result that is no bool, too high a
// cost, more made than is allowed.
func (c *Condition) Holds(ctx context.Context, values map[string]any) (bool, error) {
	left := int64(maxMade)
	given := map[string]any{leftName: &left}
	maps.Copy(given, values)
	result, _, err := c.program.ContextEval(ctx, given)
	if err != nil {
		if reason := err.Error(); len(reason) > maxReason {
			err = errors.New(shortened(reason, maxReason))
		}
		return false, fmt.Errorf("evaluate the CEL expression %q: %w", shortened(c.text, maxQuoted), err)
	}
	holds, ok := result.(types.Bool)
	if !ok {
		return false, fmt.Errorf("evaluate the CEL expression %q: %w", shortened(c.text, maxQuoted), errors.New("the result is neither true nor false"))
	}
	return bool(holds), nil
}

// shortened is as much of a text as says which one it is: errors come once for each
// object, and stand in conditions.
func shortened(text string, atMost int) string {
	if len(text) <= atMost {
		return text
	}
	return strings.ToValidUTF8(text[:atMost], "") + "..."
}

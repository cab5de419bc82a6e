package expr

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/google/cel-go/cel"
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
	// evaluation quotes.
	maxQuoted = 100
	// maxKept compiled expressions.
	maxKept = 1024
)

// Condition is a compiled expression that is true or false. It is safe for
// concurrent use.
type Condition struct {
	text    string
	program cel.Program
}

// Compiler compiles expressions and keeps what it compiled. It is safe for
// concurrent use.
type Compiler struct {
	env  *cel.Env
	kept *lru.Cache[string, *Condition]
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
	kept, err := lru.New[string, *Condition](maxKept)
	if err != nil {
		return nil, err
	}
	return &Compiler{env: language, kept: kept}, nil
}

// Compile compiles an expression over the named variables, each an object. The
// types are checked: one that cannot be a bool is an error. With no names the
// expression is over whatever fields it is evaluated with, and only parsed.
func (c *Compiler) Compile(text string, variables ...string) (*Condition, error) {
	key := strings.Join(append(variables, text), "\x00")
	if kept, ok := c.kept.Get(key); ok {
		return kept, nil
	}
	if len(text) > maxLength {
		return nil, fmt.Errorf("the CEL expression has %d bytes, more than the %d that are allowed", len(text), maxLength)
	}
	env, ast, err := c.parse(text, variables)
	if err != nil {
		return nil, err
	}
	program, err := env.Program(ast,
		cel.CostLimit(maxCost),
		cel.CostTracking(comparing{}),
		noSetsCost(),
		cel.CustomDecoratorV2(counted),
		cel.InterruptCheckFrequency(checkEvery))
	if err != nil {
		return nil, fmt.Errorf("compile the CEL expression %q: %w", text, err)
	}
	made := &Condition{text: text, program: program}
	c.kept.Add(key, made)
	return made, nil
}

// parse reads the expression and, where the variables are known, checks it.
func (c *Compiler) parse(text string, variables []string) (*cel.Env, *cel.Ast, error) {
	ast, issues := c.env.Parse(text)
	if err := issues.Err(); err != nil {
		return nil, nil, fmt.Errorf("parse the CEL expression %q: %w", text, err)
	}
	if len(variables) == 0 {
		return c.env, ast, nil
	}
	options := make([]cel.EnvOption, 0, len(variables))
	for _, name := range variables {
		options = append(options, cel.Variable(name, cel.MapType(cel.StringType, cel.DynType)))
	}
	env, err := c.env.Extend(options...)
	if err != nil {
		return nil, nil, fmt.Errorf("set up CEL: %w", err)
	}
	checked, issues := env.Check(ast)
	if err := issues.Err(); err != nil {
		return nil, nil, fmt.Errorf("check the CEL expression %q: %w", text, err)
	}
	if out := checked.OutputType(); !out.IsExactType(cel.BoolType) && !out.IsExactType(cel.DynType) {
		return nil, nil, fmt.Errorf("the CEL expression %q is a %s: it has to be true or false", text, out)
	}
	return env, checked, nil
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
		return false, fmt.Errorf("evaluate the CEL expression %q: %w", shortened(c.text), err)
	}
	holds, ok := result.(types.Bool)
	if !ok {
		return false, fmt.Errorf("evaluate the CEL expression %q: %w", shortened(c.text), errors.New("the result is neither true nor false"))
	}
	return bool(holds), nil
}

// shortened is as much of an expression as says which one it is: its errors come
// once for each object, and stand in conditions.
func shortened(text string) string {
	if len(text) <= maxQuoted {
		return text
	}
	return strings.ToValidUTF8(text[:maxQuoted], "") + "..."
}

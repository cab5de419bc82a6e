package action

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

const (
	// maxSchemaParts bounds a chart's schema with the documents that it refers to:
	// the compiler compares each part with all others, and keeps the path of each.
	maxSchemaParts = 50_000
	// partPath is how long a path may be in bytes for each time that its part counts.
	partPath = 1 << 10
	// maxSchemaChecks bounds how often a part is held against a value: references
	// may double that with each definition. Each may be a level of the stack as well,
	// of 2 KiB or more, and Go ends a process whose stack outgrows 512 MiB.
	maxSchemaChecks = 150_000
	// stepsInCheck are the steps of a regular expression on a text in the time of a
	// check, some 400 microseconds at most.
	stepsInCheck = 40_000
	// comparison is what it takes to compare with one value of an enum, or to begin with
	// a regular expression, in steps.
	comparison = stepsInCheck / 5
	// entry is what a check takes for each key or item of the value, and for each name
	// that the part lists, in steps: an error may repeat them all.
	entry = stepsInCheck / 10
	// levelsInCheck are as many levels of values as an error of a check may name.
	levelsInCheck = 100
)

var errSchemaTooMuch = errors.New("its values.schema.json is, with all that its references expand to, too much to hold these values against: " +
	"simplify it, or set disableSchemaValidation to do without")

// budget is what one schema may take: neither the compiler nor the validator has an
// end of its own, or hears of one.
type budget struct {
	ctx           context.Context
	parts, checks int
	// steps are those that do not make a check yet.
	steps int
	// each is what a check counts for.
	each int
	// anchors are the addresses of the parts that a $dynamicRef may lead to.
	anchors []string
}

func newBudget(ctx context.Context, values map[string]any) *budget {
	return &budget{ctx: ctx, parts: maxSchemaParts, checks: maxSchemaChecks, each: 1 + levels(values, map[uintptr]int{})/levelsInCheck}
}

// levels is how deep a value is. What is known of maps, which several may share, is kept.
func levels(value any, known map[uintptr]int) (deep int) {
	switch value := value.(type) {
	case []any:
		for _, below := range value {
			deep = max(deep, 1+levels(below, known))
		}
	case map[string]any:
		at := reflect.ValueOf(value).Pointer()
		if found, ok := known[at]; ok {
			return found
		}
		for _, below := range value {
			deep = max(deep, 1+levels(below, known))
		}
		known[at] = deep
	}
	return deep
}

// spent says whether there is nothing left, or no time.
func (b *budget) spent() bool { return b.parts < 0 || b.checks < 0 || b.ctx.Err() != nil }

// step takes so many steps.
func (b *budget) step(many int) {
	b.steps += many
	b.checks -= b.steps / stepsInCheck
	b.steps %= stepsInCheck
}

// take counts the parts of a document ahead of its compilation.
func (b *budget) take(address string, document any) error {
	b.takeAt(address, "", document)
	if b.spent() {
		return errSchemaTooMuch
	}
	return nil
}

func (b *budget) takeAt(address, path string, part any) {
	if b.parts < 0 {
		return
	}
	switch part := part.(type) {
	case bool:
		b.parts -= 1 + len(path)/partPath
	case []any:
		for i, below := range part {
			b.takeAt(address, path+"/"+strconv.Itoa(i), below)
		}
	case map[string]any:
		b.parts -= 1 + len(path)/partPath
		if _, ok := part["$dynamicAnchor"].(string); ok {
			b.anchors = append(b.anchors, address+"#"+url.PathEscape(path))
		}
		for key, below := range part {
			b.takeAt(address, path+"/"+pointerEscapes.Replace(key), below)
		}
	}
}

// pointerEscapes are those of RFC 6901.
var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

// compile compiles the schema at the address such that its checks are counted.
func (b *budget) compile(compiler *jsonschema.Compiler, address string) (*jsonschema.Schema, error) {
	compiled, err := compiler.Compile(address)
	if err != nil {
		return nil, err
	}
	counted := map[*jsonschema.Schema]bool{}
	b.count(compiled, counted)
	for i := 0; i < len(b.anchors); i++ { // there may be more in documents that are loaded for one
		if anchored, err := compiler.Compile(b.anchors[i]); err == nil {
			b.count(anchored, counted)
		}
	}
	return compiled, nil
}

// count has the checks of a part, and of all that it leads to, counted.
func (b *budget) count(part *jsonschema.Schema, counted map[*jsonschema.Schema]bool) {
	for left := []*jsonschema.Schema{part}; len(left) > 0; {
		part, left = left[len(left)-1], left[:len(left)-1]
		if part == nil || counted[part] {
			continue
		}
		counted[part] = true
		left = append(left, below(part)...)
		part.Format = &jsonschema.Format{Name: "counted", Validate: b.checkOf(part)}
	}
}

// checkOf counts a check of the part. The format, which is a function, stands in for all
// that the validator looks at ahead of it: that would be done uncounted, so it is taken
// off the part.
func (b *budget) checkOf(part *jsonschema.Schema) func(value any) error {
	first := &jsonschema.Schema{Location: part.Location, Bool: part.Bool, Types: part.Types, Const: part.Const}
	enum, format, named := part.Enum, part.Format, listed(part)
	part.Bool, part.Types, part.Const, part.Enum = nil, nil, nil, nil
	return func(value any) error {
		b.checks -= b.each
		b.step(entry * (named + entries(value)))
		if b.spent() {
			return errSchemaTooMuch
		}
		if err := first.Validate(value); err != nil {
			return err
		}
		if enum != nil && !b.among(enum.Values, value) {
			return unlisted
		}
		if format != nil {
			return format.Validate(value)
		}
		return nil
	}
}

// unlisted is the error of what is not in an enum, as the validator has it.
var unlisted = &jsonschema.ValidationError{Causes: []*jsonschema.ValidationError{{ErrorKind: &kind.Enum{}}}}

// among says whether the value is one of all.
func (b *budget) among(all []any, value any) bool {
	one := &jsonschema.Schema{}
	for i := range all {
		b.step(comparison)
		if b.spent() {
			return false
		}
		one.Const = &all[i]
		if one.Validate(value) == nil {
			return true
		}
	}
	return false
}

// entries is how many keys or items a value has.
func entries(value any) int {
	switch value := value.(type) {
	case []any:
		return len(value)
	case map[string]any:
		return len(value)
	}
	return 0
}

// listed is how many names a part wants of an object.
func listed(part *jsonschema.Schema) int {
	all := len(part.Required)
	for _, names := range part.DependentRequired {
		all += len(names)
	}
	for _, other := range part.Dependencies {
		if names, ok := other.([]string); ok {
			all += len(names)
		}
	}
	return all
}

// below are the parts that one leads to; some are nil.
func below(part *jsonschema.Schema) []*jsonschema.Schema {
	all := []*jsonschema.Schema{
		part.Ref, part.RecursiveRef, part.Not, part.If, part.Then, part.Else, part.PropertyNames,
		part.UnevaluatedProperties, part.Contains, part.Items2020, part.UnevaluatedItems, part.ContentSchema,
	}
	if part.DynamicRef != nil {
		all = append(all, part.DynamicRef.Ref)
	}
	all = slices.Concat(all, part.AllOf, part.AnyOf, part.OneOf, part.PrefixItems)
	all = slices.AppendSeq(all, maps.Values(part.Properties))
	all = slices.AppendSeq(all, maps.Values(part.PatternProperties))
	all = slices.AppendSeq(all, maps.Values(part.DependentSchemas))
	// These may be something else, of which there is nothing to check.
	others := append(slices.Collect(maps.Values(part.Dependencies)), part.AdditionalProperties, part.Items, part.AdditionalItems)
	for _, other := range others {
		switch other := other.(type) {
		case *jsonschema.Schema:
			all = append(all, other)
		case []*jsonschema.Schema:
			all = append(all, other...)
		}
	}
	return all
}

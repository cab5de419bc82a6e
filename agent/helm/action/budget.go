package action

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
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
)

var errSchemaTooMuch = errors.New("its values.schema.json is, with all that its references expand to, too much to hold these values against: " +
	"simplify it, or set disableSchemaValidation to do without")

// budget is what one schema may take: neither the compiler nor the validator has an
// end of its own.
type budget struct {
	ctx           context.Context
	parts, checks int
	// anchors are the addresses of the parts that a $dynamicRef may lead to.
	anchors []string
}

func newBudget(ctx context.Context) *budget {
	return &budget{ctx: ctx, parts: maxSchemaParts, checks: maxSchemaChecks}
}

// spent says whether there is nothing left, or no time.
func (b *budget) spent() bool { return b.parts < 0 || b.checks < 0 || b.ctx.Err() != nil }

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

// count has the checks of a part, and of all that it leads to, counted. The format is
// what the validator asks for ahead of any other part, and is a function.
func (b *budget) count(part *jsonschema.Schema, counted map[*jsonschema.Schema]bool) {
	for left := []*jsonschema.Schema{part}; len(left) > 0; {
		part, left = left[len(left)-1], left[:len(left)-1]
		if part == nil || counted[part] {
			continue
		}
		counted[part] = true
		left = append(left, below(part)...)
		format := part.Format
		part.Format = &jsonschema.Format{Name: "counted", Validate: func(value any) error {
			b.checks--
			switch {
			case b.spent():
				return errSchemaTooMuch
			case format != nil:
				return format.Validate(value)
			}
			return nil
		}}
	}
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

package action

import (
	"regexp"
	"regexp/syntax"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// patternInPart is how large a regular expression may be, in bytes or steps of its
// program, for each time that it counts as a part of the schema. A step takes some 100
// bytes.
const patternInPart = 20

// pattern is a regular expression whose matches are counted.
type pattern struct {
	*regexp.Regexp
	size int
	left *budget
}

// pattern compiles a regular expression. It implements jsonschema.RegexpEngine.
func (b *budget) pattern(text string) (jsonschema.Regexp, error) {
	b.parts -= len(text) / patternInPart
	if b.spent() {
		return nil, errSchemaTooMuch
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, err
	}
	size := sizeOf(parsed)
	b.parts -= size / patternInPart
	if b.spent() {
		return nil, errSchemaTooMuch
	}
	compiled, err := regexp.Compile(text)
	return &pattern{compiled, size, b}, err
}

// MatchString implements jsonschema.Regexp. Where nothing is left it panics: the
// validator would go on with the next one.
func (p *pattern) MatchString(text string) bool {
	p.left.step(comparison + p.size*len(text))
	if p.left.spent() {
		panic(errSchemaTooMuch)
	}
	return p.Regexp.MatchString(text)
}

// sizeOf is how many steps the program of a regular expression has, or more: each may
// be taken at each letter.
func sizeOf(of *syntax.Regexp) int {
	size := 1 + len(of.Rune)
	for _, below := range of.Sub {
		size += sizeOf(below)
	}
	if of.Op == syntax.OpRepeat {
		size *= max(of.Min, of.Max, 1)
	}
	return size
}

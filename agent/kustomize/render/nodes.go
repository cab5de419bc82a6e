package render

import (
	"bytes"
	"errors"
	"fmt"

	"sigs.k8s.io/kustomize/kyaml/kio"
	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// This process parses kustomizations, looks for aliases and Lists, and goes the short
// way. Two bytes may be a value of YAML, which takes hundreds in memory: a bound of bytes
// is none. What exceeds these is refused, or left to kustomize, whose process has a bound
// of its own.
const (
	// maxValues are those of one file.
	maxValues = 1_000_000
	// maxShortValues and maxShortBytes are what a build of the short way reads.
	maxShortValues = 500_000
	maxShortBytes  = 64 << 20
	// longValues and longBytes are what a build reads that takes more than two hundred
	// megabytes here, and so the place of those that take long: there is one. No
	// kustomization may have more.
	longValues = 150_000
	longBytes  = 32 << 20
	// maxCompared bounds how often keys are compared, twice over: kyaml compares each with all
	// others of its mapping, and has an error for each two that are the same.
	maxCompared = 100_000_000
)

// errKeys is of mappings that kyaml would take long for.
var errKeys = errors.New("the mappings have too many keys")

// values is how many values the content has if it is YAML, by the signs that stand before
// them. It may have twice as many, and where it is prose it has fewer.
func values(content []byte) int {
	found := 0
	for _, sign := range []byte(",:-?[{") {
		found += bytes.Count(content, []byte{sign})
	}
	return found
}

// limitValues counts what is about to be parsed, and refuses too much at once.
func (t *tree) limitValues(name string, content []byte) error {
	if err := haveAtMost(maxValues, name, content); err != nil {
		return err
	}
	t.used.values += values(content)
	return t.checkLong()
}

// haveAtMost refuses content that may have more values.
func haveAtMost(most int, name string, content []byte) error {
	if found := values(content); found > most {
		return fmt.Errorf("%s: it may have %d values of YAML, by the signs before them (,:-?[{), and a build reads up to %d there: split it", name, found, most)
	}
	return nil
}

// checkLong has a build that turns out to be large begin anew, in the place of those that
// take long.
func (t *tree) checkLong() error {
	if !t.long && (t.used.values > longValues || t.used.bytes > longBytes) {
		return ErrLong
	}
	return nil
}

// parsed is what kyaml reads in the content, with keys that it can then compare.
func parsed(content []byte) ([]*yaml.RNode, error) {
	found, err := kio.FromBytes(content)
	if err != nil {
		return nil, err
	}
	left := maxCompared
	for _, node := range found {
		if err := checkKeys(node.YNode(), &left); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// checkKeys finds a key that comes twice in a mapping, as kyaml does, and takes no more
// comparisons than are left.
func checkKeys(node *yaml.Node, left *int) error {
	if node.Kind == yaml.MappingNode {
		for i := 0; i < len(node.Content); i += 2 {
			if *left -= len(node.Content) - i; *left < 0 {
				return errKeys
			}
			one := node.Content[i]
			for j := i + 2; j < len(node.Content); j += 2 {
				if other := node.Content[j]; one.Kind == other.Kind && one.Value == other.Value {
					return fmt.Errorf("line %d: mapping key %q already defined at line %d", other.Line, abbreviated(other.Value), one.Line)
				}
			}
		}
	}
	for _, child := range node.Content {
		if err := checkKeys(child, left); err != nil {
			return err
		}
	}
	return nil
}

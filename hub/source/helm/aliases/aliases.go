// Package aliases bounds what the aliases of YAML add to it: *a stands for all
// that &a names, so a small file can say a great deal.
//
// The YAML libraries bound how much of a file may be aliases, by the number of
// values and not by their length: a long text that is named often passes.
package aliases

import (
	"bytes"
	"errors"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// MaxBytes is how much all aliases of a file together may add to it.
const MaxBytes = 4 << 20

var (
	errTooMany = fmt.Errorf("its aliases add up to more than %d bytes", MaxBytes)
	errCircle  = errors.New("an alias stands inside of what it names")
)

// Bound fails where the text is no YAML, or its aliases add more than MaxBytes to
// it. It reads the first document, and converts nothing. It asks nothing of a text
// that can have no alias.
func Bound(text []byte) error {
	if !bytes.Contains(text, []byte("&")) || !bytes.Contains(text, []byte("*")) {
		return nil
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return err
	}
	a := adder{sizes: map[*yaml.Node]int{}}
	_, err := a.size(&document)
	return err
}

// adder goes through a document in its order, in which an anchor comes before its
// aliases.
type adder struct {
	// sizes are those of what has an anchor.
	sizes map[*yaml.Node]int
	// added is what the aliases so far stand for.
	added int
}

// size is how long the texts in a node are together, and one for each value, with
// its aliases in full.
func (a *adder) size(node *yaml.Node) (int, error) {
	if node.Kind == yaml.AliasNode {
		return a.alias(node.Alias)
	}
	sum := 1 + len(node.Value)
	for _, child := range node.Content {
		size, err := a.size(child)
		if err != nil {
			return 0, err
		}
		sum += size
	}
	if node.Anchor != "" {
		a.sizes[node] = sum
	}
	return sum, nil
}

func (a *adder) alias(of *yaml.Node) (int, error) {
	size, known := a.sizes[of]
	if !known {
		return 0, errCircle
	}
	if a.added += size; a.added > MaxBytes {
		return 0, errTooMany
	}
	return size, nil
}

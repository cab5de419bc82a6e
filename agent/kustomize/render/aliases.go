package render

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/kio"
	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// muchAliased is where counting stops: more than any limit.
const muchAliased = 1 << 30

var errAliasCycle = errors.New("a YAML anchor contains an alias of itself")

// limitAliases refuses YAML whose aliases stand for too much: kustomize replaces
// each by a copy, so that a few lines can ask for more than the machine has.
func (t *tree) limitAliases(name string, content []byte) error {
	if !mayAlias(content) {
		return nil
	}
	added, err := aliasNodes(content, true)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	t.used.aliases += added
	if t.used.aliases > t.most.aliases {
		return fmt.Errorf("%s: YAML aliases stand for more than %d values", name, t.most.aliases)
	}
	return nil
}

// mayAlias says whether text can hold an anchor and an alias at all.
func mayAlias[T ~string | ~[]byte](text T) bool {
	return bytes.IndexByte([]byte(text), '&') >= 0 && bytes.IndexByte([]byte(text), '*') >= 0
}

// aliasNodes is the number of nodes that the aliases in the content stand for, and
// with inline those in texts that are YAML themselves. Content that is not YAML has
// none: kustomize will say what is wrong.
func aliasNodes(content []byte, inline bool) (int, error) {
	nodes, err := (&kio.ByteReader{Reader: bytes.NewReader(content), OmitReaderAnnotations: true}).Read()
	if err != nil {
		return 0, nil
	}
	count := counter{sizes: map[*yaml.Node]int{}, inline: inline}
	for _, node := range nodes {
		if _, err := count.size(node.YNode()); err != nil {
			return 0, err
		}
	}
	return count.aliased, nil
}

// counter finds out how large YAML becomes when aliases are replaced.
type counter struct {
	// sizes of nodes with an anchor; -1 while a node is being looked at.
	sizes   map[*yaml.Node]int
	aliased int
	// inline looks into texts. Nobody looks into the texts in those: a text in a text
	// in a text, and so on, would be in memory many times over.
	inline bool
}

// size is the number of nodes that the node stands for, at most muchAliased.
func (c *counter) size(node *yaml.Node) (int, error) {
	if node == nil {
		return 0, nil
	}
	if node.Kind == yaml.AliasNode {
		size, err := c.anchored(node.Alias)
		c.aliased = min(c.aliased+size, muchAliased)
		return size, err
	}
	if c.inline && node.Kind == yaml.ScalarNode && mayAlias(node.Value) && strings.Contains(node.Value, ":") {
		// An inline patch, perhaps, which kustomize parses in turn.
		inner, err := aliasNodes([]byte(node.Value), false)
		if err != nil {
			return 0, err
		}
		c.aliased = min(c.aliased+inner, muchAliased)
	}
	if node.Anchor != "" {
		return c.anchored(node)
	}
	return c.children(node)
}

// anchored is the size of a node that aliases can stand for.
func (c *counter) anchored(node *yaml.Node) (int, error) {
	size, known := c.sizes[node]
	if known && size < 0 {
		return 0, errAliasCycle
	}
	if known {
		return size, nil
	}
	c.sizes[node] = -1
	size, err := c.children(node)
	c.sizes[node] = size
	return size, err
}

func (c *counter) children(node *yaml.Node) (int, error) {
	size := 1
	for _, child := range node.Content {
		inner, err := c.size(child)
		if err != nil {
			return 0, err
		}
		size = min(size+inner, muchAliased)
	}
	return size, nil
}

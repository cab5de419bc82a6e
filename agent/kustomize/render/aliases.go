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

// textsDeep is how deep kustomize looks for YAML in texts: a kustomization holds a
// transformer's configuration, and that a patch. The text in a text in a text, and
// so on, would be many times as long as the file.
const textsDeep = 2

// limitAliases refuses YAML whose aliases stand for too much: kustomize replaces
// each by a copy, so that a few lines can ask for more than the machine has. The
// texts in it that are YAML themselves count as read. One is parsed at a time, so
// that not all of them are in memory.
func (t *tree) limitAliases(name string, content []byte) error {
	texts := [][]byte{content}
	for deep := range 1 + textsDeep {
		var inner [][]byte
		for _, text := range texts {
			if deep > 0 {
				t.used.bytes += len(text)
			}
			if t.used.bytes > t.most.bytes {
				return fmt.Errorf("%s: with the texts in it that may be YAML themselves the build reads more than %d bytes", name, t.most.bytes)
			}
			found, err := aliasNodes(text)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if t.used.aliases += found.aliased; t.used.aliases > t.most.aliases {
				return fmt.Errorf("%s: YAML aliases stand for more than %d values", name, t.most.aliases)
			}
			inner = append(inner, found.texts...)
		}
		texts = inner
	}
	return nil
}

// mayHoldYAML says whether the text of a scalar can be YAML with an anchor and an
// alias.
func mayHoldYAML(text string) bool {
	return strings.Contains(text, "&") && strings.Contains(text, "*") && strings.Contains(text, ":")
}

// aliasNodes counts what the aliases in the content stand for. Content that is not
// YAML has none: kustomize will say what is wrong.
func aliasNodes(content []byte) (counter, error) {
	count := counter{sizes: map[*yaml.Node]int{}}
	if bytes.IndexByte(content, '&') < 0 || bytes.IndexByte(content, '*') < 0 {
		return count, nil
	}
	nodes, err := (&kio.ByteReader{Reader: bytes.NewReader(content), OmitReaderAnnotations: true}).Read()
	if err != nil {
		return count, nil
	}
	for _, node := range nodes {
		if _, err := count.size(node.YNode()); err != nil {
			return count, err
		}
	}
	count.sizes = nil // which hold the nodes
	return count, nil
}

// counter finds out how large YAML becomes when aliases are replaced.
type counter struct {
	// sizes of nodes with an anchor; -1 while a node is being looked at.
	sizes map[*yaml.Node]int
	// aliased is the number of nodes that aliases stand for.
	aliased int
	// texts may be YAML with aliases themselves.
	texts [][]byte
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
	if node.Kind == yaml.ScalarNode && mayHoldYAML(node.Value) {
		// An inline patch, perhaps, which kustomize parses in turn.
		c.texts = append(c.texts, []byte(node.Value))
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

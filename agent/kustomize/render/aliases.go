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

var (
	errAliasCycle = errors.New("a YAML anchor contains an alias of itself")
	errNotYAML    = errors.New("this is no YAML")
)

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
			if err := t.limitValues(name, text); err != nil {
				return err
			}
			found, err := aliasNodes(text)
			if errors.Is(err, errNotYAML) {
				continue // kustomize will say what is wrong
			}
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if t.used.aliases += found.aliased.values; t.used.aliases > t.most.aliases {
				return fmt.Errorf("%s: YAML aliases stand for more than %d values", name, t.most.aliases)
			}
			if t.used.bytes += found.aliased.bytes; t.used.bytes > t.most.bytes {
				return fmt.Errorf("%s: with what YAML aliases stand for the build reads more than %d bytes", name, t.most.bytes)
			}
			inner = append(inner, found.texts...)
		}
		texts = inner
	}
	return t.checkLong()
}

// limitSettings is limitAliases for what this process parses in any case: kustomizations,
// and configurations of generators and transformers. They are shorter.
func (t *tree) limitSettings(name string, content []byte) error {
	if len(content) > maxFileBytes {
		return tooLarge(name, int64(len(content)))
	}
	if err := haveAtMost(longValues, name, content); err != nil {
		return err
	}
	before := t.used.bytes
	if err := t.limitAliases(name, content); err != nil {
		return err
	}
	if t.used.bytes-before > longBytes {
		return fmt.Errorf("%s: with what YAML aliases stand for it has more than %d bytes", name, longBytes)
	}
	return nil
}

// mayHoldYAML says whether the text of a scalar can be YAML with an anchor and an
// alias.
func mayHoldYAML(text string) bool {
	return strings.Contains(text, "&") && strings.Contains(text, "*") && strings.Contains(text, ":")
}

// aliasNodes counts what the aliases in the content stand for. It fails with
// errNotYAML where that cannot be told.
func aliasNodes(content []byte) (counter, error) {
	count := counter{extents: map[*yaml.Node]extent{}}
	if bytes.IndexByte(content, '&') < 0 || bytes.IndexByte(content, '*') < 0 {
		return count, nil
	}
	nodes, err := (&kio.ByteReader{Reader: bytes.NewReader(content), OmitReaderAnnotations: true}).Read()
	if err != nil {
		return count, errNotYAML
	}
	for _, node := range nodes {
		if _, err := count.extent(node.YNode()); err != nil {
			return count, err
		}
	}
	count.extents = nil // which hold the nodes
	return count, nil
}

// extent is how much YAML there is: nodes, and bytes of the texts in them. Neither is
// more than muchAliased.
type extent struct{ values, bytes int }

// underWay stands for the extent of a node that is being looked at.
var underWay = extent{values: -1}

func (e extent) plus(other extent) extent {
	return extent{values: min(e.values+other.values, muchAliased), bytes: min(e.bytes+other.bytes, muchAliased)}
}

// counter finds out how large YAML becomes when aliases are replaced.
type counter struct {
	// extents of nodes with an anchor.
	extents map[*yaml.Node]extent
	// aliased is what aliases stand for.
	aliased extent
	// texts may be YAML with aliases themselves.
	texts [][]byte
}

// extent is what the node stands for.
func (c *counter) extent(node *yaml.Node) (extent, error) {
	if node == nil {
		return extent{}, nil
	}
	if node.Kind == yaml.AliasNode {
		found, err := c.anchored(node.Alias)
		c.aliased = c.aliased.plus(found)
		return found, err
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

// anchored is the extent of a node that aliases can stand for.
func (c *counter) anchored(node *yaml.Node) (extent, error) {
	found, known := c.extents[node]
	if known && found == underWay {
		return extent{}, errAliasCycle
	}
	if known {
		return found, nil
	}
	c.extents[node] = underWay
	found, err := c.children(node)
	c.extents[node] = found
	return found, err
}

func (c *counter) children(node *yaml.Node) (extent, error) {
	all := extent{values: 1, bytes: len(node.Value)}
	for _, child := range node.Content {
		inner, err := c.extent(child)
		if err != nil {
			return extent{}, err
		}
		all = all.plus(inner)
	}
	return all, nil
}

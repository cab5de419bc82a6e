package render

import (
	"bytes"
	"fmt"
	"path"

	"sigs.k8s.io/kustomize/kyaml/kio"
	"sigs.k8s.io/kustomize/kyaml/yaml"

	"github.com/headwater-dev/headwater/agent/build"
)

// count adds the objects of a file to those of the build, and refuses more than
// kustomize gets done: nothing ends it once it has read all files, and all the while
// it takes a place among the builds.
func (t *tree) count(name string, content []byte) error {
	if !t.counts {
		return nil
	}
	if dir, base := splitPath(name); isKustomizationFile(base) {
		t.depth, t.texts = max(t.depth, t.levels[dir]+1), t.texts+len(content)
	} else {
		t.objects += documents(content)
	}
	steps := t.objects * (t.objects*t.depth + t.texts/build.TextsInStep)
	switch {
	case steps > t.most.steps:
		return fmt.Errorf("%s: with this file the build has %d objects in %d levels of overlays with %d bytes of kustomizations, more than kustomize gets done: make several Kustomizations of them",
			name, t.objects, t.depth, t.texts)
	case steps > longSteps && !t.long:
		return ErrLong
	}
	return nil
}

// longSteps are those of a build that takes seconds, and is not to keep others waiting.
const longSteps = 5_000_000

// below notes the directories that a kustomization is made of.
func (t *tree) below(dir string, entries []string) {
	for _, entry := range entries {
		if inner := clean(path.Join(dir, entry)); t.isDir(inner) {
			t.levels[inner] = max(t.levels[inner], t.levels[dir]+1)
		}
	}
}

// documents is how many objects a file has, or more. Only one that may hold Lists, in
// whatever spelling, has to be parsed for that.
func documents(content []byte) int {
	separated := bytes.Count(content, []byte("\n---")) + 1
	lists := false
	for _, sign := range []string{"items", `\x`, `\u`, `\U`, "\\\n", "\\\r", "\x00"} {
		lists = lists || bytes.Contains(content, []byte(sign))
	}
	if !lists {
		return separated
	}
	nodes, err := (&kio.ByteReader{Reader: bytes.NewReader(content), OmitReaderAnnotations: true}).Read()
	if err != nil {
		return separated // kustomize will say what is wrong
	}
	found := 0
	for _, node := range nodes {
		found += listed(node)
	}
	return max(separated, found)
}

// listed is how many objects a list has, or 1 for what is none.
func listed(node *yaml.RNode) int {
	items := node.Field("items")
	if items == nil || items.Value.YNode().Kind != yaml.SequenceNode {
		return 1
	}
	found := 0
	for _, item := range items.Value.Content() {
		found += listed(yaml.NewRNode(item))
	}
	return found
}

package automation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"go.yaml.in/yaml/v3"

	imagev1 "github.com/headwater-dev/headwater/api/image/v1"
)

// token is what marks a value as one that follows an ImagePolicy, as Flux has
// it: a comment behind it such as # {"$imagepolicy": "flux-system:app:tag"}.
const token = `"$imagepolicy"`

// From so many bytes, or values, a file is not looked into: each value takes 200
// bytes of memory.
const (
	maxFile   = 8 << 20
	maxValues = 250_000
)

// Change is one value that was written anew.
type Change struct {
	// OldValue and NewValue of the scalar.
	OldValue, NewValue string
	// Setter is what the marker names: namespace:name, and :tag, :name or
	// :digest after it.
	Setter string
	// image is what the policy chose.
	image imagev1.ImageRef
	// object that the value belongs to.
	object ObjectIdentifier
}

// ObjectIdentifier names the object that a file describes.
type ObjectIdentifier struct {
	APIVersion, Kind, Name, Namespace string
}

// Problem is a marker, or a whole file, that was passed over.
type Problem struct {
	// Line is where it is; zero for the file.
	Line int
	// Reason in one sentence.
	Reason string
}

// images looks up what a policy has chosen. An error says why a marker is
// passed over; errUnselected passes it over without a word.
type images func(namespace, name string) (imagev1.ImageRef, error)

// errUnselected says that a policy is no business of this automation, or has
// chosen nothing yet.
var errUnselected = errors.New("the policy is not selected")

// rewrite sets the marked values of a file to what the policies have chosen.
// All else stays as it is, byte for byte: what it returns is the content itself
// when nothing changes, or when the file cannot be parsed or edited safely.
func rewrite(content []byte, lookup images) (_ []byte, changes []Change, problems []Problem) {
	if len(content) > maxFile {
		return content, nil, []Problem{{Reason: fmt.Sprintf("it is larger than %d bytes", maxFile)}}
	}
	if mostValues(content) > maxValues {
		return content, nil, []Problem{{Reason: fmt.Sprintf("it has more than %d values", maxValues)}}
	}
	edits, problems, err := plan(content, lookup)
	if err == nil && len(edits) > 0 {
		var edited []byte
		if edited, err = apply(content, edits); err == nil {
			for _, e := range edits {
				changes = append(changes, e.change)
			}
			return edited, changes, problems
		}
	}
	if err != nil {
		problems = append(problems, Problem{Reason: "it does not parse: " + err.Error()})
	}
	return content, nil, problems
}

// mostValues is how many values a YAML file may have at most, by what stands between
// them.
func mostValues(content []byte) (most int) {
	for _, separator := range []string{"\n", ",", ":", "[", "{", "- ", "? "} {
		most += bytes.Count(content, []byte(separator))
	}
	return most
}

// edit is one scalar to be replaced.
type edit struct {
	span
	text   string
	change Change
	// index of the scalar in the order of the file.
	index int
}

// plan finds the marked scalars whose values are not what they are to be.
func plan(content []byte, lookup images) (edits []edit, problems []Problem, err error) {
	all, err := documents(content)
	if err != nil {
		return nil, nil, err
	}
	text := newSource(content)
	index := 0
	for _, document := range all {
		object := identify(document)
		walk(document, func(node *yaml.Node) {
			if strings.Contains(node.LineComment, token) {
				e, err := planOne(node, text, lookup)
				switch {
				case err != nil:
					problems = append(problems, Problem{Line: node.Line, Reason: err.Error()})
				case e != nil:
					e.index, e.change.object = index, object
					edits = append(edits, *e)
				}
			}
			if node.Kind == yaml.ScalarNode {
				index++
			}
		})
	}
	return edits, problems, nil
}

// planOne is the edit of one marked scalar; nil when there is nothing to do.
func planOne(node *yaml.Node, text *source, lookup images) (*edit, error) {
	setter, err := parseMarker(node.LineComment)
	if err != nil {
		return nil, err
	}
	if node.Kind != yaml.ScalarNode {
		return nil, errors.New("the marker stands behind something that is no single value")
	}
	image, err := lookup(setter.namespace, setter.name)
	if errors.Is(err, errUnselected) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	value, err := setter.value(image)
	if err != nil || setter.same(node.Value, value, image) {
		return nil, err
	}
	at, err := text.locate(node)
	if err != nil {
		return nil, err
	}
	return &edit{
		span:   at,
		text:   spell(value, node.Style),
		change: Change{OldValue: node.Value, NewValue: value, Setter: setter.String(), image: image},
	}, nil
}

// apply replaces the scalars, and makes sure that nothing else has changed.
func apply(content []byte, edits []edit) ([]byte, error) {
	edited, end := make([]byte, 0, len(content)), 0
	expected := map[int]string{}
	for _, e := range edits {
		if e.start < end {
			return nil, errors.New("two markers stand behind one value")
		}
		edited = append(append(edited, content[end:e.start]...), e.text...)
		end = e.end
		expected[e.index] = e.change.NewValue
	}
	edited = append(edited, content[end:]...)
	return edited, sameBut(content, edited, expected)
}

// marker is what a comment names.
type marker struct {
	namespace, name string
	// part of the image: tag, name, digest, or empty for all of it.
	part string
}

func (m marker) String() string {
	if m.part == "" {
		return m.namespace + ":" + m.name
	}
	return m.namespace + ":" + m.name + ":" + m.part
}

// parseMarker reads {"$imagepolicy": "namespace:name[:part]"}. What stands
// behind it in the comment is for people.
func parseMarker(comment string) (marker, error) {
	start := strings.Index(comment, "{")
	if start < 0 {
		return marker{}, fmt.Errorf(`its marker is no JSON object: write # {%s: "namespace:name"}`, token)
	}
	var fields map[string]string
	err := json.NewDecoder(io.LimitReader(strings.NewReader(comment[start:]), 1<<10)).Decode(&fields)
	if err != nil {
		return marker{}, fmt.Errorf(`its marker is no JSON object of text: write # {%s: "namespace:name"}`, token)
	}
	words := strings.Split(fields["$imagepolicy"], ":")
	if len(words) < 2 || len(words) > 3 || slices.Contains(words, "") {
		return marker{}, fmt.Errorf(`its marker names %q: write namespace:name, and :tag, :name or :digest behind it for a part of the image`, fields["$imagepolicy"])
	}
	m := marker{namespace: words[0], name: words[1]}
	if len(words) == 3 {
		m.part = words[2]
	}
	if !slices.Contains([]string{"", "tag", "name", "digest"}, m.part) {
		return marker{}, fmt.Errorf("its marker asks for the part %q of an image: there are tag, name and digest", m.part)
	}
	return m, nil
}

// value is the part of the image that the marker asks for.
func (m marker) value(image imagev1.ImageRef) (string, error) {
	switch m.part {
	case "tag":
		return image.Tag, nil
	case "name":
		return image.Name, nil
	case "digest":
		if image.Digest == "" {
			return "", fmt.Errorf("its marker asks for a digest, but ImagePolicy %s/%s reflects none: set spec.digestReflectionPolicy", m.namespace, m.name)
		}
		return image.Digest, nil
	}
	return image.String(), nil
}

// same says whether the old value means what the new one does: a name may leave
// out what the registry's name implies.
func (m marker) same(old, value string, image imagev1.ImageRef) bool {
	if old == value || m.part == "tag" || m.part == "digest" {
		return old == value
	}
	rest := strings.TrimPrefix(value, image.Name)
	spelled, ok := strings.CutSuffix(old, rest)
	if !ok {
		return false
	}
	before, err := name.NewRepository(spelled)
	if err != nil {
		return false
	}
	after, err := name.NewRepository(image.Name)
	return err == nil && before.Name() == after.Name()
}

// identify names the object that a document describes, as far as it says.
func identify(document *yaml.Node) ObjectIdentifier {
	var object struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string `yaml:"kind"`
		Metadata   struct {
			Name      string `yaml:"name"`
			Namespace string `yaml:"namespace"`
		} `yaml:"metadata"`
	}
	if document.Decode(&object) != nil {
		return ObjectIdentifier{}
	}
	return ObjectIdentifier{
		APIVersion: object.APIVersion, Kind: object.Kind,
		Name: object.Metadata.Name, Namespace: object.Metadata.Namespace,
	}
}

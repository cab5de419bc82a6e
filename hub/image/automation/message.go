package automation

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"github.com/google/go-containerregistry/pkg/name"
	"k8s.io/apimachinery/pkg/types"

	imagev1 "github.com/headwater-dev/headwater/api/image/v1"
)

const (
	defaultMessage = "Update from image update automation"
	// maxMessage bounds a commit message in bytes.
	maxMessage = 1 << 20
	// maxTemplate bounds a template in bytes: its nesting is parsed by recursion.
	maxTemplate = 64 << 10
	// maxRepeats bounds the functions of templates that make much of little.
	maxRepeats = 10_000
)

// messageData is what a commit template sees.
type messageData struct {
	// AutomationObject is the ImageUpdateAutomation.
	AutomationObject types.NamespacedName
	// Changed is what was written, as Flux has it since its v1beta2.
	Changed Changed
	// Updated is the same as older versions had it.
	Updated Updated
	// Values are spec.git.commit.messageTemplateValues.
	Values map[string]string
}

// Changed says what was written, by files, by objects, and as a list.
type Changed struct {
	// FileChanges are the changes of each object in each file.
	FileChanges map[string]ObjectChanges
}

// ObjectChanges are changes by the objects that they belong to.
type ObjectChanges map[ObjectIdentifier][]Change

// Objects are the changes of each object, whatever files it is in.
func (c Changed) Objects() ObjectChanges {
	objects := ObjectChanges{}
	for _, file := range slices.Sorted(maps.Keys(c.FileChanges)) {
		for object, changes := range c.FileChanges[file] {
			objects[object] = append(objects[object], changes...)
		}
	}
	return objects
}

// Changes are all changes, each once, in the order of their values.
func (c Changed) Changes() []Change {
	var all []Change
	for _, objects := range c.FileChanges {
		for _, changes := range objects {
			for _, change := range changes {
				change.object = ObjectIdentifier{}
				all = append(all, change)
			}
		}
	}
	slices.SortFunc(all, func(a, b Change) int {
		return strings.Compare(a.OldValue+"\x00"+a.NewValue+"\x00"+a.Setter, b.OldValue+"\x00"+b.NewValue+"\x00"+b.Setter)
	})
	return slices.Compact(all)
}

// Updated says which images were written.
type Updated struct {
	// Files are the images of each object in each file.
	Files map[string]FileImages
}

// FileImages are the images written in a file.
type FileImages struct {
	// Objects are the images by the objects that they belong to.
	Objects map[ObjectIdentifier][]Image
}

// Images are all images that were written, each once, in the order of text.
func (u Updated) Images() []Image {
	var all []Image
	for _, images := range u.Objects() {
		all = append(all, images...)
	}
	return unique(all)
}

// Objects are the images of each object, whatever files it is in.
func (u Updated) Objects() map[ObjectIdentifier][]Image {
	objects := map[ObjectIdentifier][]Image{}
	for _, file := range u.Files {
		for object, images := range file.Objects {
			objects[object] = unique(append(objects[object], images...))
		}
	}
	return objects
}

func unique(images []Image) []Image {
	slices.SortFunc(images, func(a, b Image) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(images)
}

// Image is one image in a commit template.
type Image struct {
	ref    imagev1.ImageRef
	policy types.NamespacedName
}

// String is the image as a manifest names it.
func (i Image) String() string { return i.ref.String() }

// Identifier is the tag, or the digest where there is one.
func (i Image) Identifier() string {
	if i.ref.Digest != "" {
		return i.ref.Digest
	}
	return i.ref.Tag
}

// Repository is the image's path at the registry; what a name implies is
// written out.
func (i Image) Repository() string {
	repository, err := name.NewRepository(i.ref.Name)
	if err != nil {
		return i.ref.Name
	}
	return repository.RepositoryStr()
}

// Registry is the host of the registry; empty for a name that has none.
func (i Image) Registry() string {
	repository, err := name.NewRepository(i.ref.Name)
	if err != nil {
		return ""
	}
	return repository.RegistryStr()
}

// Name is the image with all that its name implies.
func (i Image) Name() string {
	return i.Registry() + "/" + i.Repository() + strings.TrimPrefix(i.ref.String(), i.ref.Name)
}

// Policy names the ImagePolicy that chose the image.
func (i Image) Policy() types.NamespacedName { return i.policy }

// describe arranges the changes of each file for a template.
func describe(files map[string][]Change) (Changed, Updated) {
	changed := Changed{FileChanges: map[string]ObjectChanges{}}
	updated := Updated{Files: map[string]FileImages{}}
	for file, changes := range files {
		changed.FileChanges[file] = ObjectChanges{}
		updated.Files[file] = FileImages{Objects: map[ObjectIdentifier][]Image{}}
		for _, change := range changes {
			changed.FileChanges[file][change.object] = append(changed.FileChanges[file][change.object], change)
			words := strings.Split(change.Setter, ":")
			image := Image{ref: change.image, policy: types.NamespacedName{Namespace: words[0], Name: words[1]}}
			updated.Files[file].Objects[change.object] = unique(append(updated.Files[file].Objects[change.object], image))
		}
	}
	return changed, updated
}

// parseMessage compiles a commit template. Its functions are sprig's that
// depend on nothing but their arguments, as in Flux.
func parseMessage(text string) (*template.Template, error) {
	if strings.TrimSpace(text) == "" {
		text = defaultMessage
	}
	if len(text) > maxTemplate {
		return nil, fmt.Errorf("spec.git.commit.messageTemplate has more than %d bytes", maxTemplate)
	}
	compiled, err := template.New("messageTemplate").Funcs(functions()).Parse(text)
	if err != nil {
		return nil, fmt.Errorf("spec.git.commit.messageTemplate does not compile: %w", err)
	}
	return compiled, nil
}

// execute fills in the template. What would be endless may be: see confine.
func execute(compiled *template.Template, data messageData) (string, error) {
	out := bounded{left: maxMessage}
	if err := compiled.Execute(&out, data); err != nil {
		return "", fmt.Errorf("spec.git.commit.messageTemplate: %w", err)
	}
	text := strings.TrimSpace(out.String())
	if text == "" {
		return "", errors.New("spec.git.commit.messageTemplate makes an empty message: give it a fixed subject")
	}
	return text + "\n", nil
}

// functions are those of sprig, those that repeat bounded.
func functions() template.FuncMap {
	all := sprig.HermeticTxtFuncMap()
	all["repeat"] = func(count int, text string) (string, error) {
		if count < 0 || count*len(text) > maxMessage {
			return "", fmt.Errorf("repeat %d times: a message has %d bytes at most", count, maxMessage)
		}
		return strings.Repeat(text, count), nil
	}
	for _, endless := range []string{"until", "untilStep", "seq"} {
		delete(all, endless)
	}
	all["until"] = func(count int) ([]int, error) {
		if count < 0 || count > maxRepeats {
			return nil, fmt.Errorf("until %d: %d at most", count, maxRepeats)
		}
		numbers := make([]int, count)
		for i := range numbers {
			numbers[i] = i
		}
		return numbers, nil
	}
	return all
}

// bounded is a buffer that fails when it is full.
type bounded struct {
	bytes.Buffer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, fmt.Errorf("the message is longer than %d bytes", maxMessage)
	}
	return b.Buffer.Write(p)
}

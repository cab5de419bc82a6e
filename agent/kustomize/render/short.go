package render

import (
	"errors"
	"path"
	"reflect"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/hasher"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/openapi"
)

// loadSchema has kustomize parse its own OpenAPI schema, which all builds of this process
// read.
var loadSchema = sync.OnceFunc(func() { openapi.Schema() })

// errLongWay says that a directory takes kustomize.
var errLongWay = errors.New("this takes kustomize")

// direct builds a directory the short way: where kustomizations only list files
// and directories, kustomize parses and changes nothing. The parser is
// its own, for its own notion of YAML. Whatever is unusual, and every error, is
// left to kustomize: ok is then false.
func (t *tree) direct(dir string, k *types.Kustomization) (found []*unstructured.Unstructured, ok bool) {
	loadSchema()
	defer func() {
		if crash := recover(); crash != nil {
			found, ok = nil, false
		}
	}()
	factory := resource.NewFactory(&hasher.Hasher{})
	factory.IncludeLocalConfigs = true
	l := lister{tree: t, factory: factory, known: map[string]bool{}, at: []string{dir}}
	if t.otherKustomization(dir, t.kustomizationFile(dir)) || l.resources(dir, k) != nil {
		return nil, false
	}
	for _, res := range l.found {
		obj, err := plain(res)
		if err != nil {
			return nil, false
		}
		if isObject(obj) {
			found = append(found, obj)
		}
	}
	return found, true
}

// lister collects what kustomizations list.
type lister struct {
	tree    *tree
	factory *resource.Factory
	found   []*resource.Resource
	known   map[string]bool
	// at are the directories between the entry point and the present one.
	at []string
}

// resources collects what one kustomization lists, if it does nothing else.
func (l *lister) resources(dir string, k *types.Kustomization) error {
	bare := types.Kustomization{TypeMeta: k.TypeMeta, Resources: k.Resources}
	if len(k.Resources) == 0 || k.Kind != types.KustomizationKind || !reflect.DeepEqual(*k, bare) {
		return errLongWay
	}
	for _, entry := range k.Resources {
		joined := path.Join(dir, entry)
		if overNetwork.MatchString(entry) || path.IsAbs(entry) || strings.HasPrefix(joined, "..") {
			return errLongWay
		}
		collect := l.file
		if l.tree.isDir(clean(joined)) {
			collect = l.dir
		}
		if err := collect(clean(joined)); err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) dir(dir string) error {
	name := l.tree.kustomizationFile(dir)
	if name == "" || slices.Contains(l.at, dir) || l.tree.otherKustomization(dir, name) {
		return errLongWay
	}
	content, err := l.tree.ReadFile(name)
	if err != nil {
		return err
	}
	var k types.Kustomization
	if err := k.Unmarshal(content); err != nil {
		return err
	}
	k.FixKustomization()
	l.at = append(l.at, dir)
	defer func() { l.at = l.at[:len(l.at)-1] }()
	return l.resources(dir, &k)
}

// otherKustomization finds a second kustomization file, which is an error.
func (t *tree) otherKustomization(dir, name string) bool {
	return slices.ContainsFunc(t.dirs[dir], func(base string) bool {
		return isKustomizationFile(base) && path.Join(dir, base) != name && t.isFile(path.Join(dir, base))
	})
}

func (l *lister) file(name string) error {
	content, err := l.tree.ReadFile(name)
	if err != nil {
		return err
	}
	if used := l.tree.used; used.values > maxShortValues || used.bytes > maxShortBytes {
		return errLongWay
	}
	resources, err := l.parse(content)
	if err != nil {
		return err
	}
	for _, res := range resources {
		id := res.CurId()
		key := strings.Join([]string{id.Gvk.String(), id.EffectiveNamespace(), id.Name}, "|")
		if l.known[key] || instructs(res) {
			return errLongWay
		}
		l.known[key] = true
		l.found = append(l.found, res)
	}
	return nil
}

// parse is the factory's SliceFromBytes, which begins with the same, for keys that can be
// compared.
func (l *lister) parse(content []byte) ([]*resource.Resource, error) {
	nodes, err := parsed(content)
	if err != nil {
		return nil, err
	}
	for _, node := range nodes {
		if strings.HasSuffix(node.GetKind(), "List") {
			return l.factory.SliceFromBytes(content)
		}
		if empty, _ := node.HasNilEntryInList(); empty {
			return nil, errLongWay
		}
	}
	return l.factory.ResourcesFromRNodes(nodes)
}

// instructs says whether annotations of the object tell kustomize to do
// something.
func instructs(res *resource.Resource) bool {
	for key := range res.GetAnnotations() {
		group, _, _ := strings.Cut(key, "/")
		if strings.HasSuffix(group, "config.kubernetes.io") || strings.HasSuffix(group, "config.k8s.io") {
			return true
		}
	}
	return false
}

// plain is the object, after what kustomize does to any.
func plain(res *resource.Resource) (*unstructured.Unstructured, error) {
	res.RemoveBuildAnnotations()
	if err := errors.Join(res.SetOrigin(nil), res.ClearTransformations()); err != nil {
		return nil, err
	}
	raw, err := res.MarshalJSON()
	if err != nil {
		return nil, err
	}
	obj := &unstructured.Unstructured{}
	return obj, obj.UnmarshalJSON(raw)
}

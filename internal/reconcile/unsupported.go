package reconcile

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
)

// UnsupportedFields stalls an object that sets a field of its spec which this
// version does not implement: no field is ignored in silence. What is
// implemented is given as paths below spec: "kubeConfig.secretRef" stands for
// that field and everything in it, "force=false" for that one value alone.
func UnsupportedFields(obj client.Object, supported ...string) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return fmt.Errorf("spec of %s/%s: %w", obj.GetNamespace(), obj.GetName(), err)
	}
	spec, _ := content["spec"].(map[string]any)
	if field := firstUnsupported(spec, "", supported); field != "" {
		return Unsupported("spec." + field)
	}
	return nil
}

// ForeignSource stalls an object whose field refers to something of another group
// than that of the sources.
func ForeignSource(field, apiVersion string) error {
	if group, _, _ := strings.Cut(apiVersion, "/"); apiVersion != "" && group != sourcev1.GroupVersion.Group {
		return Stall(meta.UnsupportedFieldReason, fmt.Errorf("%s.apiVersion: %s has no sources: use %s", field, apiVersion, sourcev1.GroupVersion))
	}
	return nil
}

// firstUnsupported walks the fields in alphabetical order, so that the answer
// is the same at each run.
func firstUnsupported(fields map[string]any, prefix string, supported []string) string {
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		path, value := prefix+name, fields[name]
		if isZero(value) || slices.Contains(supported, path) ||
			slices.Contains(supported, fmt.Sprintf("%s=%v", path, value)) {
			continue
		}
		inner, ok := value.(map[string]any)
		if !ok || !anyBelow(supported, path) {
			return path
		}
		if field := firstUnsupported(inner, path+".", supported); field != "" {
			return field
		}
	}
	return ""
}

func anyBelow(supported []string, path string) bool {
	return slices.ContainsFunc(supported, func(s string) bool { return strings.HasPrefix(s, path+".") })
}

// isZero says whether a value is what an unset field means.
func isZero(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	default:
		return reflect.ValueOf(value).IsZero()
	}
}

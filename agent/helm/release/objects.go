package release

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
)

// yamlBuffer is the size of the first read of a stream.
const yamlBuffer = 4096

// Definitions are the CRDs among the files of the chart's directory of them. Other
// objects do not belong there, and are not brought to the cluster.
func (r Record) Definitions() ([]*unstructured.Unstructured, error) {
	var found []*unstructured.Unstructured
	for _, file := range r.CRDs {
		objects, err := Objects(string(file))
		if err != nil {
			return nil, fmt.Errorf("CRDs of the chart: %w", err)
		}
		for _, obj := range objects {
			if obj.GetKind() == "CustomResourceDefinition" {
				found = append(found, obj)
			}
		}
	}
	return found, nil
}

// Objects reads the objects of a stream of manifests; lists stand for what is in
// them.
func Objects(manifests string) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	documents := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(manifests), yamlBuffer)
	for {
		var raw json.RawMessage
		obj := &unstructured.Unstructured{}
		err := documents.Decode(&raw)
		if err == nil && len(raw) > 0 {
			err = utiljson.Unmarshal(raw, &obj.Object) // which keeps whole numbers
		}
		switch {
		case errors.Is(err, io.EOF):
			return objects, nil
		case err != nil:
			return nil, fmt.Errorf("the chart has rendered something that is no YAML: %w", err)
		case len(obj.Object) == 0:
		case obj.IsList():
			err := obj.EachListItem(func(item runtime.Object) error {
				if one, ok := item.(*unstructured.Unstructured); ok {
					objects = append(objects, one)
				}
				return nil
			})
			if err != nil {
				return nil, fmt.Errorf("a list that the chart has rendered: %w", err)
			}
		default:
			objects = append(objects, obj)
		}
	}
}

package apply

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/openapi3"
	"k8s.io/client-go/rest"
)

// schemaTimeout bounds one answer; the library's requests have no context.
const schemaTimeout = 30 * time.Second

// errMasked takes the place of an answer that may quote what is in a Secret.
var errMasked = errors.New("it does not fit the schema of the server; what does not is not shown, it may quote the data")

// Schemas checks objects against the OpenAPI documents of one cluster: that
// their fields exist and have the right type. It asks for a document when an
// object of its group and version comes, and keeps it; so it is to live no
// longer than a run. It is safe for concurrent use.
type Schemas struct {
	root openapi3.Root

	mu    sync.Mutex
	types map[schema.GroupVersion]published
}

// published is what a cluster says of a group and version.
type published struct {
	managedfields.TypeConverter
	kinds map[string]bool
}

// NewSchemas returns the schemas of the cluster that the configuration leads to.
func NewSchemas(config *rest.Config) (*Schemas, error) {
	config = rest.CopyConfig(config)
	config.Timeout = schemaTimeout
	found, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("read the OpenAPI schema of the target: %w", err)
	}
	return &Schemas{root: openapi3.NewRoot(found.OpenAPIV3()), types: map[schema.GroupVersion]published{}}, nil
}

// Check says what of the object does not fit. An object whose kind the cluster
// has published nothing of, such as one whose definition has just been made,
// passes: the server judges it when it is applied.
func (s *Schemas) Check(obj *unstructured.Unstructured) error {
	known, err := s.of(obj.GroupVersionKind().GroupVersion())
	if err != nil || !known.kinds[obj.GetKind()] {
		return err
	}
	_, err = known.ObjectToTyped(obj)
	if err != nil && obj.GetKind() == "Secret" && obj.GetAPIVersion() == "v1" {
		return errMasked
	}
	return err
}

// of returns what the cluster says of a group and version; no kinds where that
// is nothing.
func (s *Schemas) of(version schema.GroupVersion) (published, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found, ok := s.types[version]; ok {
		return found, nil
	}
	var missing *openapi3.GroupVersionNotFoundError
	document, err := s.root.GVSpec(version)
	if errors.As(err, &missing) || err == nil && document.Components == nil {
		return published{}, nil
	}
	if err != nil {
		return published{}, fmt.Errorf("read the OpenAPI schema of %s: %w", version, err)
	}
	converter, err := managedfields.NewTypeConverter(document.Components.Schemas, false)
	if err != nil {
		return published{}, fmt.Errorf("understand the OpenAPI schema of %s: %w", version, err)
	}
	made := published{TypeConverter: converter, kinds: map[string]bool{}}
	for _, defined := range document.Components.Schemas {
		for _, kind := range items(map[string]any(defined.Extensions), "x-kubernetes-group-version-kind") {
			content, _ := kind.(map[string]any)
			if content["group"] == version.Group && content["version"] == version.Version {
				made.kinds[fmt.Sprint(content["kind"])] = true
			}
		}
	}
	s.types[version] = made
	return made, nil
}

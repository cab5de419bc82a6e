package apply

import (
	"encoding/base64"
	"errors"
	"fmt"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/cert"
)

// serverMetadata are the fields of metadata that the server sets. A manifest
// that was exported from a cluster carries them, and an apply with them is
// refused or means something else.
var serverMetadata = []string{"creationTimestamp", "deletionTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"}

// caBundle is where a definition has the certificates of its conversion webhook.
var caBundle = []string{"spec", "conversion", "webhook", "clientConfig", "caBundle"}

// Prepare brings the objects into the form in which they are applied: without
// what only the server sets, with the data of Secrets in one place and the
// protocols of ports spelled out, without a conversion webhook's certificates that
// are none, and without a namespace where the kind has none. It changes the
// objects, and fails on those that cannot be applied at all: of a kind that neither
// the cluster nor the set defines, without a namespace, or given twice.
func (a *Applier) Prepare(objects []*unstructured.Unstructured) error {
	scopes, err := a.scopes(objects)
	if err != nil {
		return err
	}
	seen := make(map[string]bool, len(objects))
	var errs []error
	for _, obj := range objects {
		for _, field := range serverMetadata {
			unstructured.RemoveNestedField(obj.Object, "metadata", field)
		}
		spellOutProtocols(obj)
		dropFillers(obj)
		if err := errors.Join(mergeStringData(obj), setScope(obj, scopes)); err != nil {
			errs = append(errs, err)
			continue
		}
		id := RefTo(obj).ID()
		if seen[id] {
			errs = append(errs, fmt.Errorf("%s is there twice: remove one of the two", RefTo(obj)))
		}
		seen[id] = true
	}
	return joined(errs)
}

// setScope sees to it that namespaced objects have a namespace and others have
// none.
func setScope(obj *unstructured.Unstructured, scopes map[schema.GroupKind]bool) error {
	namespaced, known := scopes[obj.GroupVersionKind().GroupKind()]
	switch {
	case !known:
		return fmt.Errorf("%s: the cluster has no kind %s in %s: is its definition installed?",
			RefTo(obj), obj.GetKind(), obj.GetAPIVersion())
	case !namespaced:
		obj.SetNamespace("")
	case obj.GetNamespace() == "":
		return fmt.Errorf("%s has no namespace: set metadata.namespace or spec.targetNamespace", RefTo(obj))
	}
	return nil
}

// scopes says for the kinds of the objects whether they are namespaced, as the
// set itself or the cluster defines them.
func (a *Applier) scopes(objects []*unstructured.Unstructured) (map[schema.GroupKind]bool, error) {
	scopes := definedScopes(objects)
	for _, obj := range objects {
		gvk := obj.GroupVersionKind()
		if _, known := scopes[gvk.GroupKind()]; known {
			continue
		}
		mapping, err := a.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		if apimeta.IsNoMatchError(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: looking up its kind: %w", RefTo(obj), err)
		}
		scopes[gvk.GroupKind()] = mapping.Scope.Name() == apimeta.RESTScopeNameNamespace
	}
	return scopes, nil
}

// definedScopes says for each kind that the objects define whether it is
// namespaced.
func definedScopes(objects []*unstructured.Unstructured) map[schema.GroupKind]bool {
	scopes := map[schema.GroupKind]bool{}
	for _, obj := range objects {
		if obj.GetKind() != kindCRD {
			continue
		}
		group, _, _ := unstructured.NestedString(obj.Object, "spec", "group")
		kind, _, _ := unstructured.NestedString(obj.Object, "spec", "names", "kind")
		scope, _, _ := unstructured.NestedString(obj.Object, "spec", "scope")
		scopes[schema.GroupKind{Group: group, Kind: kind}] = scope == "Namespaced"
	}
	return scopes
}

// dropFillers takes the caBundle of a definition's conversion webhook out where it
// holds no certificate (FLUX.md §2.2): such a value fills the place of what an
// injector puts there, and owning it we would take the injected one away.
func dropFillers(obj *unstructured.Unstructured) {
	if obj.GetKind() != kindCRD {
		return
	}
	bundle, found, _ := unstructured.NestedFieldNoCopy(obj.Object, caBundle...)
	if !found {
		return
	}
	text, _ := bundle.(string)
	raw, err := base64.StdEncoding.DecodeString(text)
	if err == nil {
		_, err = cert.ParseCertsPEM(raw)
	}
	if err != nil {
		unstructured.RemoveNestedField(obj.Object, caBundle...)
	}
}

// mergeStringData moves a Secret's stringData into data. The server does the
// same, but keeps what we own under stringData, so that a key that leaves the
// manifest would stay in the cluster.
func mergeStringData(obj *unstructured.Unstructured) error {
	if obj.GetKind() != "Secret" || obj.GroupVersionKind().Group != "" || obj.Object["stringData"] == nil {
		return nil
	}
	plain, _, err := unstructured.NestedStringMap(obj.Object, "stringData")
	if err != nil {
		return fmt.Errorf("%s: stringData must be a map of strings", RefTo(obj))
	}
	data := map[string]any{}
	if obj.Object["data"] != nil {
		if data, _, err = unstructured.NestedMap(obj.Object, "data"); err != nil {
			return fmt.Errorf("%s: data must be a map", RefTo(obj))
		}
	}
	for key, value := range plain {
		data[key] = base64.StdEncoding.EncodeToString([]byte(value))
	}
	unstructured.RemoveNestedField(obj.Object, "stringData")
	return unstructured.SetNestedMap(obj.Object, data, "data")
}

package action

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/kube"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
)

const (
	crdKind = "CustomResourceDefinition"
	// crdTimeout is how long a server may take to serve a new kind.
	crdTimeout = 60 * time.Second
	yamlBuffer = 4096
)

// applyCRDs brings the CRDs in the chart's crds directories to the cluster, as
// the policy says, and waits until their kinds are served. None is ever deleted.
func (s *Session) applyCRDs(loaded *chart.Chart, policy helmv2.CRDsPolicy) error {
	files := loaded.CRDObjects()
	if policy == helmv2.Skip || len(files) == 0 {
		return nil
	}
	var made kube.ResourceList
	for _, file := range files {
		definitions, err := s.definitions(file)
		if err != nil {
			return err
		}
		for _, definition := range definitions {
			changed, err := s.applyCRD(definition, policy == helmv2.CreateReplace)
			if err != nil {
				return fmt.Errorf("CRD %s of %s: %w", definition.GetName(), file.Filename, err)
			}
			if changed {
				made = append(made, infoOf(definition))
			}
		}
	}
	if len(made) == 0 {
		return nil
	}
	if err := s.kube.poll(crdTimeout, s.kube.healthOf(made, false)); err != nil {
		return fmt.Errorf("CRDs of the chart: %w", err)
	}
	s.access.Discovery.Forget()
	return nil
}

// definitions are the CRDs in a file. Other objects do not belong there and are
// left out, as Flux does.
func (s *Session) definitions(file chart.CRD) ([]*unstructured.Unstructured, error) {
	var found []*unstructured.Unstructured
	documents := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(file.File.Data), yamlBuffer)
	for {
		obj := &unstructured.Unstructured{}
		err := documents.Decode(&obj.Object)
		switch {
		case errors.Is(err, io.EOF):
			return found, nil
		case err != nil:
			return nil, fmt.Errorf("CRDs of the chart in %s: %w", file.Filename, err)
		case len(obj.Object) == 0:
		case obj.GetKind() != crdKind:
			s.log.printf("%s holds a %s, which is no CRD: it is left out", file.Filename, obj.GetKind())
		default:
			found = append(found, obj)
		}
	}
}

func (s *Session) applyCRD(definition *unstructured.Unstructured, replace bool) (changed bool, err error) {
	if s.Render != nil {
		s.Render.Label(definition)
	}
	err = s.client.Create(s.ctx, definition.DeepCopy(), client.FieldOwner(FieldManager))
	if err == nil || !apierrors.IsAlreadyExists(err) || !replace {
		return err == nil, client.IgnoreAlreadyExists(err)
	}
	// The server writes the status of a definition by itself, at any time.
	return true, retry.RetryOnConflict(retry.DefaultBackoff, func() error { return s.replaceCRD(definition) })
}

func (s *Session) replaceCRD(definition *unstructured.Unstructured) error {
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(definition.GroupVersionKind())
	if err := s.client.Get(s.ctx, client.ObjectKeyFromObject(definition), live); err != nil {
		return err
	}
	desired := live.DeepCopy()
	desired.Object["spec"] = definition.Object["spec"]
	desired.SetLabels(merged(live.GetLabels(), definition.GetLabels()))
	desired.SetAnnotations(merged(live.GetAnnotations(), definition.GetAnnotations()))
	return s.client.Update(s.ctx, desired, client.FieldOwner(FieldManager))
}

func merged(under, over map[string]string) map[string]string {
	all := map[string]string{}
	for _, from := range []map[string]string{under, over} {
		for key, value := range from {
			all[key] = value
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// infoOf is the definition as Helm's lists have it.
func infoOf(definition *unstructured.Unstructured) *resource.Info {
	gvk := definition.GroupVersionKind()
	return &resource.Info{
		Name: definition.GetName(), Object: definition,
		Mapping: &apimeta.RESTMapping{GroupVersionKind: gvk, Scope: apimeta.RESTScopeRoot},
	}
}

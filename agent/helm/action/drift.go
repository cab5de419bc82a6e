package action

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/agent/apply"
	"github.com/headwater-dev/headwater/agent/helm/release"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
)

// exempt, as a label or annotation with the value disabled, keeps an object from
// being looked at.
var exempt = helmv2.GroupVersion.Group + "/driftDetection"

// Difference is an object that is not as it was released.
type Difference struct {
	Ref apply.Ref
	// Missing says that it is gone.
	Missing bool
	desired *unstructured.Unstructured
}

// String is the difference for people.
func (d Difference) String() string {
	if d.Missing {
		return d.Ref.String() + " removed"
	}
	return d.Ref.String() + " changed"
}

// Differences dry-runs the objects of a release and compares what the server
// would make of them with what it has. It writes nothing, and returns as well what
// it has looked at.
func Differences(ctx context.Context, by client.Client, mapper apimeta.RESTMapper, obj *helmv2.HelmRelease, record release.Record) (found []Difference, looked []Looked, err error) {
	applier := &apply.Applier{Client: by, Mapper: mapper, Owner: OwnerOf(obj)}
	objects, err := objectsOf(applier, mapper, record)
	if err != nil {
		return nil, nil, err
	}
	if detection := obj.Spec.DriftDetection; detection != nil {
		if applier.Ignore, err = apply.ParseIgnore(detection.Ignore); err != nil {
			return nil, nil, fmt.Errorf("spec.driftDetection.ignore%w", err)
		}
	}
	if objects, err = applier.Leave(ctx, objects); err != nil {
		return nil, nil, err
	}
	for _, desired := range objects {
		if isExempt(desired) {
			continue
		}
		live, differs, err := compare(ctx, by, desired)
		if err != nil {
			return nil, nil, err
		}
		looked = append(looked, lookedAt(applier.Owner, desired, live))
		if differs {
			found = append(found, Difference{Ref: apply.RefTo(desired), Missing: live == nil, desired: desired})
		}
	}
	return found, looked, nil
}

// objectsOf are the objects of a release, as they are applied.
func objectsOf(applier *apply.Applier, mapper apimeta.RESTMapper, record release.Record) ([]*unstructured.Unstructured, error) {
	objects, err := release.Objects(record.Manifest)
	if err != nil {
		return nil, err
	}
	for _, obj := range objects {
		gvk := obj.GroupVersionKind()
		mapping, err := mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", apply.RefTo(obj), err)
		}
		if obj.GetNamespace() == "" && mapping.Scope.Name() == apimeta.RESTScopeNameNamespace {
			obj.SetNamespace(record.Namespace)
		}
	}
	return objects, applier.Prepare(objects)
}

func isExempt(obj *unstructured.Unstructured) bool {
	return strings.EqualFold(obj.GetLabels()[exempt], "disabled") || strings.EqualFold(obj.GetAnnotations()[exempt], "disabled")
}

// compare returns the object as it is, nil when it is gone, and says whether it
// differs.
func compare(ctx context.Context, by client.Client, desired *unstructured.Unstructured) (live *unstructured.Unstructured, differs bool, err error) {
	live = &unstructured.Unstructured{}
	live.SetGroupVersionKind(desired.GroupVersionKind())
	err = by.Get(ctx, client.ObjectKeyFromObject(desired), live)
	if apierrors.IsNotFound(err) {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, apply.ErrorOf(apply.RefTo(desired), "get", err)
	}
	applied := desired.DeepCopy()
	if err := put(ctx, by, applied, client.DryRunAll); err != nil {
		return nil, false, apply.ErrorOf(apply.RefTo(desired), "dry-run", err)
	}
	return live, !isExempt(live) && !reflect.DeepEqual(without(live), without(applied)), nil
}

// without is the object without what each write changes.
func without(obj *unstructured.Unstructured) map[string]any {
	bare := obj.DeepCopy()
	for _, field := range []string{"managedFields", "resourceVersion", "generation", "creationTimestamp"} {
		unstructured.RemoveNestedField(bare.Object, "metadata", field)
	}
	delete(bare.Object, "status")
	return bare.Object
}

func put(ctx context.Context, by client.Client, obj *unstructured.Unstructured, options ...client.ApplyOption) error {
	options = append(slices.Clone(options), client.FieldOwner(FieldManager), client.ForceOwnership)
	return by.Apply(ctx, client.ApplyConfigurationFromUnstructured(obj), options...)
}

// CorrectDrift puts objects back that are not as they were released.
func (s *Session) CorrectDrift() error {
	last, err := s.config.Releases.Last(s.Target.Name)
	if err != nil {
		return err
	}
	record, err := release.RecordOf(last, s.Target.StorageNamespace)
	if err != nil {
		return err
	}
	differences, _, err := Differences(s.ctx, s.client, s.access.Mapper, s.Object, record)
	if err != nil {
		return s.ended(err)
	}
	var errs []error
	for _, difference := range differences {
		if err := put(s.ctx, s.client, difference.desired); err != nil {
			errs = append(errs, apply.ErrorOf(difference.Ref, "apply", err))
		}
	}
	return s.ended(errors.Join(errs...))
}

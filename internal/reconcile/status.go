package reconcile

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"sync"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// conflictRetries is how often a patch is repeated after a conflict.
const conflictRetries = 3

// Status writes the status of the objects of one kind: the difference to what
// was written last, in one patch that carries the resourceVersion. It is safe
// for concurrent use.
type Status struct {
	// Client writes.
	Client client.Client
	// Live reads past the cache, after a conflict.
	Live client.Reader
	// FieldOwner is the field manager of the writes.
	FieldOwner string
	// Owns says whether this process may still write for the object; nil
	// means always.
	Owns func(client.Object) bool

	mu sync.Mutex
	// runs holds the objects that are being reconciled, as they were last
	// read or written.
	runs map[types.NamespacedName]client.Object
	// written holds the resourceVersion of the last write, to notice a cache
	// that lags behind it.
	written map[types.NamespacedName]string
	// confirmed holds the tenure in which the status was last confirmed.
	confirmed map[types.NamespacedName]int64
}

// begin registers the object, as it was read, as the base of the next Patch.
func (s *Status) begin(obj client.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runs == nil {
		s.runs = map[types.NamespacedName]client.Object{}
		s.written = map[types.NamespacedName]string{}
		s.confirmed = map[types.NamespacedName]int64{}
	}
	s.runs[client.ObjectKeyFromObject(obj)] = obj.DeepCopyObject().(client.Object)
}

func (s *Status) end(obj client.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.runs, client.ObjectKeyFromObject(obj))
}

// forget drops what is remembered of an object that is gone.
func (s *Status) forget(name types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.written, name)
	delete(s.confirmed, name)
}

// stale says whether the object, as the cache has it, is older than the last
// write.
func (s *Status) stale(obj client.Object) bool {
	s.mu.Lock()
	last, ok := s.written[client.ObjectKeyFromObject(obj)]
	s.mu.Unlock()
	if !ok {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(obj.GetResourceVersion(), last)
	return err == nil && order < 0
}

func (s *Status) base(obj client.Object) client.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs[client.ObjectKeyFromObject(obj)]
}

// wrote keeps what the server answered as the base of the next patch.
func (s *Status) wrote(obj client.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := client.ObjectKeyFromObject(obj)
	if order, err := resourceversion.CompareResourceVersion(obj.GetResourceVersion(), s.written[key]); err == nil && order < 0 {
		// The answer to an earlier write, which was slower.
		return
	}
	if _, running := s.runs[key]; running {
		s.runs[key] = obj
	}
	s.written[key] = obj.GetResourceVersion()
}

// Confirm makes sure, once in each tenure of whatever gives this process the
// right to write, that the status of the object in this run is the one that the
// API server has: somebody who had that right before may have written since. When
// it is not, the run has to be repeated.
func (s *Status) Confirm(ctx context.Context, obj client.Object, tenure int64) error {
	key := client.ObjectKeyFromObject(obj)
	s.mu.Lock()
	base, known := s.runs[key], s.confirmed[key] == tenure
	s.mu.Unlock()
	if known || base == nil {
		return nil
	}
	live, err := s.rebase(ctx, base)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.confirmed[key] = tenure
	if s.runs[key] == base {
		s.runs[key] = live
	}
	return nil
}

// PatchIn is Patch and Confirm in one: the server takes the patch only where the
// status is the one that it has.
func (s *Status) PatchIn(ctx context.Context, obj client.Object, tenure int64) error {
	before := s.base(obj)
	if err := s.Patch(ctx, obj); err != nil {
		return err
	}
	if s.base(obj) == before {
		return s.Confirm(ctx, obj, tenure) // there was nothing to write
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.confirmed[client.ObjectKeyFromObject(obj)] = tenure
	return nil
}

// Patch writes the object's status as far as it differs from what was read or
// written last in this run; where nothing differs it writes nothing. It may be
// called during a Reconcile to write ahead. After a conflict it reads live and
// repeats the patch, unless somebody else has changed the status meanwhile:
// then the error stands and the run has to be repeated. It returns ErrNotOwner
// when this process no longer owns the object.
func (s *Status) Patch(ctx context.Context, obj client.Object) error {
	base := s.base(obj)
	if base == nil {
		return fmt.Errorf("status of %s/%s: written outside of a run", obj.GetNamespace(), obj.GetName())
	}
	return s.patchFrom(ctx, base, obj)
}

// PatchAhead writes the status ahead of something that the run is going to wait
// for, in the words in which the Wait says so. It is a PatchIn.
func (s *Status) PatchAhead(ctx context.Context, obj Object, wait error, tenure int64) error {
	finish(obj, wait, nil)
	return s.PatchIn(ctx, obj, tenure)
}

// patchFrom writes the difference between two states of an object's status. It
// conflicts with every write since the first of them.
func (s *Status) patchFrom(ctx context.Context, base, obj client.Object) error {
	diff, err := statusDiff(base, obj)
	if err != nil || diff == nil {
		return err
	}
	for range conflictRetries {
		err = s.send(ctx, base, diff)
		if !apierrors.IsConflict(err) {
			return err
		}
		if base, err = s.rebase(ctx, base); err != nil {
			return err
		}
	}
	return fmt.Errorf("status of %s/%s: still conflicting after %d attempts", obj.GetNamespace(), obj.GetName(), conflictRetries)
}

func (s *Status) send(ctx context.Context, base client.Object, status map[string]any) error {
	if s.Owns != nil && !s.Owns(base) {
		return ErrNotOwner
	}
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": base.GetUID(), "resourceVersion": base.GetResourceVersion()},
		"status":   status,
	})
	if err != nil {
		return err
	}
	answer := base.DeepCopyObject().(client.Object)
	patch := client.RawPatch(types.MergePatchType, body)
	if err := s.Client.Status().Patch(ctx, answer, patch, client.FieldOwner(s.FieldOwner)); err != nil {
		return err
	}
	s.wrote(answer)
	return nil
}

// rebase reads the object live after a conflict. Only a status that is still
// as the base has it, apart from the conditions, may be patched again: anything
// else was decided by somebody who knew more.
func (s *Status) rebase(ctx context.Context, base client.Object) (client.Object, error) {
	live := base.DeepCopyObject().(client.Object)
	if err := s.Live.Get(ctx, client.ObjectKeyFromObject(base), live); err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s/%s", base.GetNamespace(), base.GetName())
	if live.GetUID() != base.GetUID() {
		return nil, fmt.Errorf("status of %s: the object was replaced meanwhile", name)
	}
	before, err := statusOf(base)
	if err != nil {
		return nil, err
	}
	now, err := statusOf(live)
	if err != nil {
		return nil, err
	}
	delete(before, "conditions")
	delete(now, "conditions")
	if !reflect.DeepEqual(before, now) {
		return nil, fmt.Errorf("status of %s: somebody else changed it meanwhile", name)
	}
	return live, nil
}

// statusDiff is the merge patch from one object's status to the other's, nil
// when they are equal.
func statusDiff(from, to client.Object) (map[string]any, error) {
	if sameStatus(from, to) {
		return nil, nil // most often, and found out for little
	}
	before, err := statusOf(from)
	if err != nil {
		return nil, err
	}
	after, err := statusOf(to)
	if err != nil {
		return nil, err
	}
	if reflect.DeepEqual(before, after) {
		return nil, nil
	}
	a, err := json.Marshal(before)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(after)
	if err != nil {
		return nil, err
	}
	patch, err := jsonpatch.CreateMergePatch(a, b)
	if err != nil {
		return nil, fmt.Errorf("status of %s/%s: %w", to.GetNamespace(), to.GetName(), err)
	}
	diff := map[string]any{}
	if err := json.Unmarshal(patch, &diff); err != nil {
		return nil, err
	}
	return diff, nil
}

// sameStatus says whether two objects of one kind are known to have the same
// status.
func sameStatus(a, b client.Object) bool {
	before, after := reflect.ValueOf(a).Elem().FieldByName("Status"), reflect.ValueOf(b).Elem().FieldByName("Status")
	return before.IsValid() && after.IsValid() && reflect.DeepEqual(before.Interface(), after.Interface())
}

func statusOf(obj client.Object) (map[string]any, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, fmt.Errorf("status of %s/%s: %w", obj.GetNamespace(), obj.GetName(), err)
	}
	status, ok := content["status"].(map[string]any)
	if !ok {
		return map[string]any{}, nil
	}
	return maps.Clone(status), nil
}

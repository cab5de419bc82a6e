package placement

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/shard"
)

const (
	// fieldManager of the writes.
	fieldManager = "headwater-placement"
	// writers is how many writes are under way at once.
	writers = 16
)

// writes collects how the writes of one run ended.
type writes struct {
	mu        sync.Mutex
	overtaken bool
	failed    []error
}

// ended notes the end of one write and says whether it took place. A conflict
// is no error: somebody knew more, and the next run will know it too.
func (w *writes) ended(err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err == nil:
		return true
	case apierrors.IsConflict(err):
		w.overtaken = true
	case apierrors.IsNotFound(err):
		// It was deleted meanwhile.
	default:
		w.failed = append(w.failed, err)
	}
	return false
}

// write writes the records and then the labels that follow them. It says
// whether some write came too late, so that the run is to be repeated.
func (r *Reconciler) write(ctx context.Context, w world, d decision) (bool, error) {
	var all writes
	r.writeRecords(ctx, w.now.Time, &d, &all)
	r.writeLabels(ctx, w, d, &all)
	r.writePools(ctx, d.pools, &all)
	return all.overtaken, errors.Join(all.failed...)
}

// writeRecords writes what has changed, and takes the keys of a record that was
// not written out of the decision: no label goes before its record.
func (r *Reconciler) writeRecords(ctx context.Context, now time.Time, d *decision, all *writes) {
	var group errgroup.Group
	group.SetLimit(writers)
	written := make([]bool, len(d.records))
	for i, rec := range d.records {
		group.Go(func() error {
			written[i] = all.ended(r.writeRecord(ctx, rec))
			return nil
		})
	}
	_ = group.Wait()
	for i, rec := range d.records {
		if written[i] {
			r.announce(ctx, rec)
			r.beginHandover(rec, now)
			r.noteEpochs(rec.cluster, rec.status.Assignments)
			continue
		}
		for _, key := range shard.KeysOf(rec.cluster, r.Namespace) {
			delete(d.owners, key)
		}
	}
}

// writeRecord applies placement's part of the status, on the condition that the
// RemoteCluster is still the one that the decision was made from.
func (r *Reconciler) writeRecord(ctx context.Context, rec record) error {
	name, version := client.ObjectKeyFromObject(rec.cluster), rec.cluster.ResourceVersion
	if len(rec.foreign) > 0 {
		// Applying does not take away what another manager has put there.
		var err error
		if version, err = r.replaceRecord(ctx, rec); err != nil {
			return err
		}
	}
	body, err := json.Marshal(map[string]any{
		"apiVersion": fleetv1.GroupVersion.String(),
		"kind":       fleetv1.RemoteClusterKind,
		"metadata": map[string]any{
			"name": name.Name, "namespace": name.Namespace,
			"uid": rec.cluster.UID, "resourceVersion": version,
		},
		"status": rec.status,
	})
	if err != nil {
		return err
	}
	answer := &fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}}
	patch := client.RawPatch(types.ApplyPatchType, body)
	err = r.Client.Status().Patch(ctx, answer, patch, client.FieldOwner(fieldManager), client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("record of remote cluster %s: %w", name, err)
	}
	return nil
}

// replaceRecord puts the whole record in the place of what is there, and returns
// the new version of the RemoteCluster.
func (r *Reconciler) replaceRecord(ctx context.Context, rec record) (string, error) {
	name := client.ObjectKeyFromObject(rec.cluster)
	assignments := rec.status.Assignments
	if assignments == nil {
		assignments = []fleetv1.Assignment{}
	}
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": rec.cluster.UID, "resourceVersion": rec.cluster.ResourceVersion},
		"status":   map[string]any{"assignments": assignments},
	})
	if err != nil {
		return "", err
	}
	answer := &fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}}
	err = r.Client.Status().Patch(ctx, answer, client.RawPatch(types.MergePatchType, body), client.FieldOwner(fieldManager))
	if err != nil {
		return "", fmt.Errorf("record of remote cluster %s: %w", name, err)
	}
	return answer.ResourceVersion, nil
}

// announce says what has moved, and what was taken out of the record.
func (r *Reconciler) announce(ctx context.Context, rec record) {
	for _, move := range rec.moves {
		movedKeys.WithLabelValues(string(move.Reason)).Inc()
	}
	for _, event := range append(moveEvents(rec.moves), foreignEvents(rec)...) {
		r.Events.Publish(ctx, rec.cluster, event)
		log.FromContext(ctx).Info(event.Message, "remoteCluster", client.ObjectKeyFromObject(rec.cluster).String())
	}
}

// route is the label of an object after a run.
type route struct {
	agent string
	// from is the resourceVersion that it was written from, if it was.
	from string
}

// writeLabels makes the routing labels follow the records. An object whose
// target has no record yet keeps its label: no agent acts on it. One that the
// cache has as it was before the label was written is not written again.
func (r *Reconciler) writeLabels(ctx context.Context, w world, d decision, all *writes) {
	var group errgroup.Group
	group.SetLimit(writers)
	routed := make(map[types.UID]route, len(w.objects))
	var mu sync.Mutex
	for i := range w.objects {
		o := &w.objects[i]
		agent, known := d.owners[o.key]
		was, before := r.routed[o.uid]
		written := route{agent: agent, from: o.resourceVersion}
		if !known || agent == o.agent || was == written {
			mu.Lock()
			routed[o.uid] = route{agent: o.agent}
			if was == written {
				routed[o.uid] = was
			}
			mu.Unlock()
			continue
		}
		group.Go(func() error {
			now := was
			if all.ended(r.writeLabel(ctx, o, agent)) {
				now = written
				if before && was.agent != o.agent {
					r.Events.Publish(ctx, o.reference(), labelEvent(was.agent, o.agent, agent))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			routed[o.uid] = now
			return nil
		})
	}
	_ = group.Wait()
	r.routed = routed
}

// writeLabel routes one object, on the condition that it is as it was read. With
// the label it gets the finalizer that its agent would else have to add before
// anything else.
func (r *Reconciler) writeLabel(ctx context.Context, o *object, agent string) error {
	labels := map[string]*string{meta.AgentLabel: nil}
	if agent != "" {
		labels[meta.AgentLabel] = &agent
	}
	metadata := map[string]any{"uid": o.uid, "resourceVersion": o.resourceVersion, "labels": labels}
	if agent != "" && o.finalizers != nil {
		metadata["finalizers"] = o.finalizers
	}
	body, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return err
	}
	answer := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: o.name.Namespace, Name: o.name.Name}}
	answer.SetGroupVersionKind(o.gvk())
	patch := client.RawPatch(types.MergePatchType, body)
	if err := r.Client.Patch(ctx, answer, patch, client.FieldOwner(fieldManager)); err != nil {
		return fmt.Errorf("routing label of %s %s: %w", o.kind, o.name, err)
	}
	return nil
}

// gvk is the kind that the object is read and written as.
func (o *object) gvk() schema.GroupVersionKind {
	if o.kind == helmv2.HelmReleaseKind {
		return helmv2.GroupVersion.WithKind(o.kind)
	}
	return kustomizev1.GroupVersion.WithKind(o.kind)
}

// reference is the object as an event is about it.
func (o *object) reference() client.Object {
	meta := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: o.name.Namespace, Name: o.name.Name, UID: o.uid, ResourceVersion: o.resourceVersion,
	}}
	meta.SetGroupVersionKind(o.gvk())
	return meta
}

// writePools writes the statuses of AgentPools that have changed.
func (r *Reconciler) writePools(ctx context.Context, records []poolRecord, all *writes) {
	for _, rec := range records {
		name := client.ObjectKeyFromObject(rec.object)
		body, err := json.Marshal(map[string]any{
			"apiVersion": fleetv1.GroupVersion.String(),
			"kind":       fleetv1.AgentPoolKind,
			"metadata":   map[string]any{"name": name.Name, "namespace": name.Namespace, "uid": rec.object.UID},
			"status":     rec.status,
		})
		if err == nil {
			answer := &fleetv1.AgentPool{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}}
			patch := client.RawPatch(types.ApplyPatchType, body)
			err = r.Client.Status().Patch(ctx, answer, patch, client.FieldOwner(fieldManager), client.ForceOwnership)
		}
		if err != nil {
			err = fmt.Errorf("status of agent pool %s: %w", name, err)
		}
		all.ended(err)
	}
}

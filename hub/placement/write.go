package placement

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
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
	r.writeRecords(ctx, &d, &all)
	r.writeLabels(ctx, w, d, &all)
	return all.overtaken, errors.Join(all.failed...)
}

// writeRecords writes what has changed, and takes the keys of a record that was
// not written out of the decision: no label goes before its record.
func (r *Reconciler) writeRecords(ctx context.Context, d *decision, all *writes) {
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
	name := client.ObjectKeyFromObject(rec.cluster)
	body, err := json.Marshal(map[string]any{
		"apiVersion": fleetv1.GroupVersion.String(),
		"kind":       fleetv1.RemoteClusterKind,
		"metadata": map[string]any{
			"name": name.Name, "namespace": name.Namespace,
			"uid": rec.cluster.UID, "resourceVersion": rec.cluster.ResourceVersion,
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

// announce says what has moved.
func (r *Reconciler) announce(ctx context.Context, rec record) {
	for _, move := range rec.moves {
		movedKeys.WithLabelValues(string(move.Reason)).Inc()
	}
	for _, event := range moveEvents(rec.moves) {
		r.Events.Publish(ctx, rec.cluster, event)
		log.FromContext(ctx).Info(event.Message, "remoteCluster", client.ObjectKeyFromObject(rec.cluster).String())
	}
}

// writeLabels makes the routing labels follow the records. An object whose
// target has no record yet keeps its label: no agent acts on it.
func (r *Reconciler) writeLabels(ctx context.Context, w world, d decision, all *writes) {
	var group errgroup.Group
	group.SetLimit(writers)
	for i := range w.objects {
		o := &w.objects[i]
		agent, known := d.owners[o.key]
		if !known || agent == o.agent {
			continue
		}
		group.Go(func() error {
			all.ended(r.writeLabel(ctx, o, agent))
			return nil
		})
	}
	_ = group.Wait()
}

// writeLabel routes one object, on the condition that it is as it was read.
func (r *Reconciler) writeLabel(ctx context.Context, o *object, agent string) error {
	labels := map[string]*string{meta.AgentLabel: nil}
	if agent != "" {
		labels[meta.AgentLabel] = &agent
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": o.uid, "resourceVersion": o.resourceVersion, "labels": labels,
	}})
	if err != nil {
		return err
	}
	answer := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: o.name.Namespace, Name: o.name.Name}}
	answer.SetGroupVersionKind(kustomizev1.GroupVersion.WithKind(kustomizev1.KustomizationKind))
	patch := client.RawPatch(types.MergePatchType, body)
	if err := r.Client.Patch(ctx, answer, patch, client.FieldOwner(fieldManager)); err != nil {
		return fmt.Errorf("routing label of Kustomization %s: %w", o.name, err)
	}
	return nil
}

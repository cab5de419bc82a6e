package remote

import (
	"context"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	// fenceManager owns the notes of fences. Every agent writes its own ones,
	// and all keep each other's.
	fenceManager = "headwater-fence"
	// noteAttempts is how often a note is tried against a record that others
	// write at the same time.
	noteAttempts = 10
)

// ledger is what the hub remembers of one fence: who should have it, and whether
// and where it was made before. Only its fence writes to it, one note at a time.
type ledger struct {
	client client.Client
	live   client.Reader
	// record is the RemoteCluster; partition is that of the key.
	record    types.NamespacedName
	partition int32
	agent     string

	// mu guards noted, which is what this process has written or read.
	mu    sync.Mutex
	noted fleetv1.FencePlace
}

// known is where the fence was made, as far as it is known without asking;
// empty when it never was. The record in the cache is at least as new as the one
// that made this agent the owner, and so it has what the owners before noted.
func (l *ledger) known(ctx context.Context) fleetv1.FencePlace {
	l.mu.Lock()
	noted := l.noted
	l.mu.Unlock()
	if noted != "" {
		return noted
	}
	var record fleetv1.RemoteCluster
	if err := l.client.Get(ctx, l.record, &record); err != nil {
		return ""
	}
	return record.Status.FencePlace(l.partition)
}

// ours asks the hub whether the key is this agent's.
func (l *ledger) ours(ctx context.Context) (bool, error) {
	record, err := l.read(ctx)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil && record.Status.Assignment(l.partition).Agent == l.agent, err
}

func (l *ledger) read(ctx context.Context) (*fleetv1.RemoteCluster, error) {
	var record fleetv1.RemoteCluster
	if err := l.live.Get(ctx, l.record, &record); err != nil {
		return nil, fmt.Errorf("record of the target %s: %w", l.record, err)
	}
	return &record, nil
}

// owned is the record that names this agent the owner. The cache may do for it, since
// what is written goes into the very record that was read or nowhere.
func (l *ledger) owned(ctx context.Context, cached bool) (*fleetv1.RemoteCluster, error) {
	var record fleetv1.RemoteCluster
	if cached && l.client.Get(ctx, l.record, &record) == nil && record.Status.Assignment(l.partition).Agent == l.agent {
		return &record, nil
	}
	live, err := l.read(ctx)
	if apierrors.IsNotFound(err) || err == nil && live.Status.Assignment(l.partition).Agent != l.agent {
		return nil, reconcile.ErrNotOwner
	}
	return live, err
}

// note remembers that the fence is made at the place, and says whether anybody
// may have had one before. Only the owner may write it, and only into the very
// record that names it so.
func (l *ledger) note(ctx context.Context, at fleetv1.FencePlace) (before bool, err error) {
	for attempt := range noteAttempts {
		var record *fleetv1.RemoteCluster
		if record, err = l.owned(ctx, attempt == 0); err != nil {
			return false, err
		}
		assignment := record.Status.Assignment(l.partition)
		place := record.Status.FencePlace(l.partition)
		before = place != "" || assignment.Epoch > 1
		if place != at {
			err = l.write(ctx, record, at)
		}
		if err == nil {
			l.mu.Lock()
			l.noted = at
			l.mu.Unlock()
			return before, nil
		}
		if !apierrors.IsConflict(err) {
			break
		}
	}
	return false, fmt.Errorf("note the fence in the record of the target %s: %w", l.record, err)
}

func (l *ledger) write(ctx context.Context, record *fleetv1.RemoteCluster, at fleetv1.FencePlace) error {
	base := record.DeepCopy()
	found := false
	for i := range record.Status.Fences {
		if record.Status.Fences[i].Partition == l.partition {
			record.Status.Fences[i].Place, found = at, true
		}
	}
	if !found {
		record.Status.Fences = append(record.Status.Fences, fleetv1.Fence{Partition: l.partition, Place: at})
	}
	patch := client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})
	return l.client.Status().Patch(ctx, record, patch, client.FieldOwner(fenceManager))
}

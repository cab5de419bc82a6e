package helm

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	helmrelease "helm.sh/helm/v3/pkg/release"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/agent/helm/action"
	"github.com/headwater-dev/headwater/agent/helm/postrender"
	"github.com/headwater-dev/headwater/agent/helm/release"
	"github.com/headwater-dev/headwater/agent/helm/state"
	"github.com/headwater-dev/headwater/agent/remote"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// errOthers says that what is to be uninstalled is not the HelmRelease's own.
var errOthers = errors.New("it is that of HelmRelease")

// Finalize uninstalls the release, unless the HelmRelease is suspended, and
// deletes the HelmChart.
func (r *Reconciler) Finalize(ctx context.Context, obj *helmv2.HelmRelease) error {
	if err := r.busy(obj); err != nil {
		return err
	}
	if !obj.Spec.Suspend && len(obj.Status.History) > 0 {
		err := r.uninstall(ctx, obj)
		if errors.Is(err, remote.ErrSecretMissing) || errors.Is(err, remote.ErrLost) || errors.Is(err, errAccountMissing) || errors.Is(err, errOthers) {
			r.Events.Publish(ctx, obj, reconcile.Event{
				Severity: reconcile.SeverityError, Reason: uninstallFailedReason, Metadata: eventMetadata(obj),
				Message: fmt.Sprintf("unable to uninstall the release %s, which stays behind: %v", releaseOf(obj), err),
			})
			err = nil
		}
		if err != nil {
			return err
		}
	}
	if obj.Status.HelmChart == "" {
		return nil
	}
	return reconcile.Fail(chartSyncReason, r.deleteChart(ctx, obj))
}

// releaseOf is the release that the HelmRelease has made.
func releaseOf(obj *helmv2.HelmRelease) release.Target {
	latest := obj.Status.History[0]
	return release.Target{
		Name: latest.Name, Namespace: latest.Namespace,
		StorageNamespace: cmp.Or(obj.Status.StorageNamespace, obj.Spec.StorageNamespace, obj.Namespace),
	}
}

// uninstall removes the release in an action of its own. It returns nil when
// there is none any more.
func (r *Reconciler) uninstall(ctx context.Context, obj *helmv2.HelmRelease) error {
	to, err := r.open(ctx, obj)
	if err != nil {
		return err
	}
	defer to.release()
	of, name := releaseOf(obj), client.ObjectKeyFromObject(obj)
	records, _, err := action.Records(ctx, to.Client, of)
	if err != nil {
		return reconcile.Fail(stateReason, err)
	}
	before, _ := r.runs.current(name)
	r.runs.drop(name)
	if before != nil && before.action == state.Leave {
		r.announceEnd(ctx, obj, before, records)
	}
	if len(records) == 0 || records[0].Status == helmrelease.StatusUninstalled {
		return nil
	}
	if before != nil && before.action == state.Leave && before.ended.err != nil && !left(before) {
		return failure(before, records)
	}
	if other, err := r.maker(ctx, obj, of, records); other != nil {
		return fmt.Errorf("%w '%s'", errOthers, client.ObjectKeyFromObject(other))
	} else if err != nil {
		return err
	}
	if err := r.fence(ctx, obj, to); err != nil {
		return err
	}
	what := task{
		order: action.Order{Object: obj.DeepCopy(), Target: of, Render: postrender.New(obj, r.Builder)},
		next:  state.Decision{Action: state.Leave, Release: of},
		chart: records[0].ChartName + "@" + records[0].ChartVersion, timeout: timeoutOf(obj, state.Leave),
	}
	return r.begin(ctx, obj, to, what)
}

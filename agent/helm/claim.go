package helm

import (
	"cmp"
	"context"
	"fmt"

	helmrelease "helm.sh/helm/v3/pkg/release"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/agent/helm/postrender"
	"github.com/headwater-dev/headwater/agent/helm/release"
	"github.com/headwater-dev/headwater/agent/wake"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/shard"
)

// byRelease is the index of the cached HelmReleases by what they claim.
const byRelease = "release"

func addClaims(indexer client.FieldIndexer) error {
	err := wake.AddField(indexer, &helmv2.HelmRelease{}, byRelease, func(obj *helmv2.HelmRelease) []string { return []string{claimOf(obj)} })
	if err != nil {
		return fmt.Errorf("index HelmReleases by %s: %w", byRelease, err)
	}
	return nil
}

// claimed says so when another HelmRelease claims the same release and goes first:
// two that each bring it back to their own would do so for ever.
func (r *Reconciler) claimed(ctx context.Context, obj *helmv2.HelmRelease, at look) error {
	rivals, err := r.rivals(ctx, obj, at)
	if err != nil {
		return err
	}
	for i := range rivals {
		rival := &rivals[i]
		if !goesFirst(rival, obj, at.in.want.Target) {
			continue
		}
		return reconcile.Park(stateReason, fmt.Errorf(
			"the release %s with its records in namespace %s is claimed by HelmRelease '%s', which goes first, and by HelmRelease '%s': give one of them another releaseName, targetNamespace or storageNamespace",
			at.in.want.Target, at.in.want.StorageNamespace, client.ObjectKeyFromObject(rival), client.ObjectKeyFromObject(obj)), r.Options.RequeueDependency)
	}
	return nil
}

// free says so when the release is not this HelmRelease's to act on.
func (r *Reconciler) free(ctx context.Context, obj *helmv2.HelmRelease, at look) error {
	if err := r.claimed(ctx, obj, at); err != nil {
		return err
	}
	if err := elsewhere(at.seen.Records, at.in.want.Target); err != nil {
		return reconcile.Park(stateReason, err, r.Options.RequeueDependency)
	}
	return nil
}

// rivals are the other HelmReleases that claim the release: those that this agent
// has, and the one whose name is on the release's objects, which may be another
// agent's.
func (r *Reconciler) rivals(ctx context.Context, obj *helmv2.HelmRelease, at look) ([]helmv2.HelmRelease, error) {
	var list helmv2.HelmReleaseList
	if err := r.Client.List(ctx, &list, client.MatchingFields{byRelease: claimOf(obj)}); err != nil {
		return nil, fmt.Errorf("list the HelmReleases that claim the release %s: %w", at.in.want.Target, err)
	}
	var rivals []helmv2.HelmRelease
	known := map[types.NamespacedName]bool{client.ObjectKeyFromObject(obj): true}
	for i := range list.Items {
		if name := client.ObjectKeyFromObject(&list.Items[i]); !known[name] {
			known[name], rivals = true, append(rivals, list.Items[i])
		}
	}
	maker, err := r.maker(ctx, obj, at.in.want.Target, at.seen.Records)
	if maker != nil && !known[client.ObjectKeyFromObject(maker)] {
		rivals = append(rivals, *maker)
	}
	return rivals, err
}

// maker is another HelmRelease that claims the release, and whose name is on its
// objects; nil when there is none. What it has made is not this one's to uninstall,
// whatever this one's history says: Flux lets both write in turn.
func (r *Reconciler) maker(ctx context.Context, obj *helmv2.HelmRelease, of release.Target, records []release.Record) (*helmv2.HelmRelease, error) {
	if len(records) == 0 {
		return nil, nil
	}
	name, found := postrender.OwnerOf(records[0].Manifest)
	if !found || name == client.ObjectKeyFromObject(obj) {
		return nil, nil
	}
	other := &helmv2.HelmRelease{}
	err := r.Live.Get(ctx, name, other)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read HelmRelease '%s', which has made the release %s: %w", name, of, err)
	case claimOf(other) != claimOn(keyOf(obj), of):
		return nil, nil
	}
	return other, nil
}

// anothers says whether the release that is to be left is another HelmRelease's.
func (r *Reconciler) anothers(ctx context.Context, obj *helmv2.HelmRelease, to *target, of release.Target) (bool, error) {
	found, err := read(ctx, to, of)
	if err != nil {
		return false, err
	}
	other, err := r.maker(ctx, obj, of, found.records)
	return other != nil, err
}

// claimOf is the release that a HelmRelease stands for, the same for all that stand
// for the same one. All partitions of the hub are one place.
func claimOf(obj *helmv2.HelmRelease) string { return claimOn(keyOf(obj), release.TargetOf(obj)) }

func claimOn(key shard.Key, of release.Target) string {
	place := "hub"
	if !key.IsHub() {
		place = key.String()
	}
	return place + "/" + of.StorageNamespace + "/" + of.Name
}

// goesFirst says whether a rival goes before the HelmRelease where both claim the
// release: the one that has made it, or else the older. Of two in different
// namespaces that have made nothing the one in the storage namespace goes first,
// and no other: whoever may not write there must not be in the way of who may.
func goesFirst(rival, obj *helmv2.HelmRelease, of release.Target) bool {
	has, had := made(rival, of), made(obj, of)
	switch {
	case has != had:
		return has
	case !has && rival.Namespace != obj.Namespace:
		return rival.Namespace == of.StorageNamespace
	case !rival.CreationTimestamp.Equal(&obj.CreationTimestamp):
		return rival.CreationTimestamp.Before(&obj.CreationTimestamp)
	}
	return client.ObjectKeyFromObject(rival).String() < client.ObjectKeyFromObject(obj).String()
}

// made says whether the HelmRelease has made the release, or begun to. It is told
// from others as a claim is: by its name and the namespace of its records, which the
// status says and not the spec.
func made(obj *helmv2.HelmRelease, of release.Target) bool {
	return len(obj.Status.History) > 0 && obj.Status.History[0].Name == of.Name &&
		cmp.Or(obj.Status.StorageNamespace, obj.Namespace) == of.StorageNamespace
}

// elsewhere says so when the records are of a release in another namespace than is
// wanted: Helm would leave it there, and it would never be as it is wanted.
func elsewhere(records []release.Record, of release.Target) error {
	if len(records) == 0 || records[0].Status == helmrelease.StatusUninstalled || records[0].Namespace == of.Namespace {
		return nil
	}
	return fmt.Errorf("the records in namespace %s are of the release %s, and not of %s: uninstall it, or give the HelmRelease another releaseName, targetNamespace or storageNamespace",
		of.StorageNamespace, records[0].Target, of)
}

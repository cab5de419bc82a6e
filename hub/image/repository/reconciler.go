package repository

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"

	imagev1 "github.com/headwater-dev/headwater/api/image/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/hub/access"
	"github.com/headwater-dev/headwater/hub/image"
	"github.com/headwater-dev/headwater/hub/registry"
	"github.com/headwater-dev/headwater/internal/cloud"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	// fieldOwner is Flux's field manager of scans and choices.
	fieldOwner = "image-reflector-controller"

	imageURLInvalidReason     = "ImageURLInvalid"
	readOperationFailedReason = "ReadOperationFailed"
)

// Reconciler scans ImageRepositories. It is a reconcile.Kind.
type Reconciler struct {
	// Tags keeps what was found.
	Tags *image.Tags
	// Events publishes changes of Ready.
	Events *reconcile.Recorder
	// Pace of the scans.
	Pace reconcile.Pace
	// Registry opens sessions; one that reads Secrets live when nil.
	Registry *registry.Opener
	// Clouds log in where a spec names a provider; logins that are not kept when
	// nil.
	Clouds *cloud.Logins
	// Clock tells when a scan was made; the real one when nil.
	Clock clock.PassiveClock
}

// AddToManager scans when a spec changes, when somebody asks, and at the
// interval.
func (r *Reconciler) AddToManager(mgr ctrl.Manager) error {
	if r.Registry == nil {
		r.Registry = &registry.Opener{Secrets: mgr.GetAPIReader(), Transport: access.NewTransport(), Clouds: cloud.Or(r.Clouds, mgr)}
	}
	if r.Clock == nil {
		r.Clock = clock.RealClock{}
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("imagerepository").
		For(&imagev1.ImageRepository{}, builder.WithPredicates(reconcile.Changed())).
		WithOptions(r.Pace.Options()).
		Complete(&reconcile.Loop[*imagev1.ImageRepository]{
			Client: mgr.GetClient(),
			Status: &reconcile.Status{Client: mgr.GetClient(), Live: mgr.GetAPIReader(), FieldOwner: fieldOwner},
			Kind:   r,
			Events: r.Events,
		})
}

// Reconcile scans the image's tags and keeps them when they have changed.
func (r *Reconciler) Reconcile(ctx context.Context, obj *imagev1.ImageRepository) error {
	if err := supported(obj); err != nil {
		return err
	}
	repository, err := registry.Parse(obj.Spec.Image, obj.Spec.Insecure)
	if err != nil {
		return reconcile.Stall(imageURLInvalidReason, fmt.Errorf("spec.image %w", err))
	}
	excluded, err := compile(obj.Spec.ExclusionList)
	if err != nil {
		return reconcile.Stall(readOperationFailedReason, err)
	}
	found, err := r.scan(ctx, obj, repository)
	if err != nil {
		return err
	}
	return r.store(obj, repository.Name(), keep(found, excluded))
}

// supported stalls an object that asks for what is not implemented.
func supported(obj *imagev1.ImageRepository) error {
	return reconcile.UnsupportedFields(obj,
		"image", "interval", "timeout", "secretRef", "proxySecretRef", "serviceAccountName", "certSecretRef",
		"suspend", "accessFrom", "exclusionList", "provider", "insecure")
}

func (r *Reconciler) scan(ctx context.Context, obj *imagev1.ImageRepository, repository name.Repository) ([]string, error) {
	ctx, cancel := r.Pace.MaxTimeout.Within(ctx, obj.Timeout())
	defer cancel()
	session, err := r.Registry.Open(ctx, repository, image.Access(obj))
	if err != nil {
		return nil, err
	}
	tags, err := list(ctx, repository, session)
	if err != nil {
		return nil, session.Failed(ctx, readOperationFailedReason, "listing the tags", err)
	}
	return tags, nil
}

// store writes the tags where they are new, or are not where they should be, and
// which image they are of.
func (r *Reconciler) store(obj *imagev1.ImageRepository, canonical string, tags []string) error {
	key := client.ObjectKeyFromObject(obj)
	now, before := result(tags), obj.Status.LastScanResult
	kept, err := r.Tags.Has(key, now.Revision)
	if err == nil && !kept {
		err = r.Tags.Put(key, tags)
	}
	if err != nil {
		return reconcile.Fail(readOperationFailedReason, err)
	}
	// Tags that were lost are a result as well: policies wait for them.
	if !kept || before == nil || before.Revision != now.Revision || before.TagCount != now.TagCount || !slices.Equal(before.LatestTags, now.LatestTags) {
		now.ScanTime = metav1.NewTime(r.Clock.Now())
		obj.Status.LastScanResult = now
	}
	obj.Status.CanonicalImageName = canonical
	obj.Status.ObservedExclusionList = obj.Spec.ExclusionList
	return nil
}

// Finalize forgets the tags.
func (r *Reconciler) Finalize(_ context.Context, obj *imagev1.ImageRepository) error {
	return r.Tags.Remove(client.ObjectKeyFromObject(obj))
}

// Ready says what the scan has found.
func (r *Reconciler) Ready(obj *imagev1.ImageRepository) (reason, message string) {
	found := obj.Status.LastScanResult
	return meta.SucceededReason, fmt.Sprintf("successful scan: found %d tags with checksum %s", found.TagCount, found.Revision)
}

package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	imagev1 "github.com/headwater-dev/headwater/api/image/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/hub/image"
	"github.com/headwater-dev/headwater/hub/registry"
	"github.com/headwater-dev/headwater/internal/cloud"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	invalidPolicyReason         = "InvalidPolicy"
	intervalNotConfiguredReason = "IntervalNotConfigured"
	failureReason               = "Failure"
	readOperationFailedReason   = "ReadOperationFailed"

	// dependencyRetry is how soon a repository that was not scanned is looked
	// at again; the end of a scan wakes the policy before.
	dependencyRetry = 30 * time.Second
)

// Reconciler chooses for ImagePolicies. It is a reconcile.Kind.
type Reconciler struct {
	// Tags are what was scanned.
	Tags *image.Tags
	// Events publishes changes of Ready.
	Events *reconcile.Recorder
	// Pace of the evaluations.
	Pace reconcile.Pace
	// NoCrossNamespaceRefs refuses repositories of other namespaces, whatever
	// they allow.
	NoCrossNamespaceRefs bool
	// Registry opens sessions to look digests up; one that reads Secrets live
	// when nil.
	Registry *registry.Opener
	// Clouds log in where a spec names a provider; logins that are not kept when
	// nil.
	Clouds *cloud.Logins
	// Client reads from the cache; the manager's when nil.
	Client client.Client
	// Live reads namespaces, which no cache holds; the manager's when nil.
	Live client.Reader
	// Clock tells when a digest is due; the real one when nil.
	Clock clock.PassiveClock

	digests digests
}

// Reconcile chooses a tag.
func (r *Reconciler) Reconcile(ctx context.Context, obj *imagev1.ImagePolicy) error {
	if obj.Spec.DigestReflectionPolicy == imagev1.ReflectAlways && obj.Spec.Interval == nil {
		return reconcile.Stall(intervalNotConfiguredReason,
			errors.New("spec.interval is not set: spec.digestReflectionPolicy Always needs it"))
	}
	repository, err := r.repository(ctx, obj)
	if err != nil {
		return err
	}
	tags, err := r.Tags.Get(client.ObjectKeyFromObject(repository), repository.Status.LastScanResult.Revision)
	if errors.Is(err, image.ErrNotScanned) {
		return reconcile.Wait(meta.DependencyNotReadyReason, fmt.Sprintf("ImageRepository %s: %s", client.ObjectKeyFromObject(repository), err), dependencyRetry)
	}
	if err != nil {
		return reconcile.Fail(readOperationFailedReason, err)
	}
	tag, err := choose(tags, &obj.Spec)
	if errors.Is(err, errInvalid) {
		return reconcile.Stall(invalidPolicyReason, err)
	}
	if err != nil {
		return reconcile.Fail(failureReason, err)
	}
	chosen := imagev1.ImageRef{Name: repository.Spec.Image, Tag: tag}
	if chosen.Digest, err = r.digest(ctx, obj, repository, chosen); err != nil {
		return err
	}
	note(obj, chosen)
	return nil
}

// note puts the choice into the status; what was chosen before is kept beside
// it.
func note(obj *imagev1.ImagePolicy, chosen imagev1.ImageRef) {
	before := obj.Status.LatestRef
	if before != nil && *before != chosen {
		obj.Status.ObservedPreviousRef = before
	}
	obj.Status.LatestRef = &chosen
}

// repository is the ImageRepository that the policy chooses from, scanned.
func (r *Reconciler) repository(ctx context.Context, obj *imagev1.ImagePolicy) (*imagev1.ImageRepository, error) {
	key := types.NamespacedName{Namespace: obj.Spec.ImageRepositoryRef.Namespace, Name: obj.Spec.ImageRepositoryRef.Name}
	if key.Namespace == "" {
		key.Namespace = obj.Namespace
	}
	if key.Namespace != obj.Namespace && r.NoCrossNamespaceRefs {
		return nil, reconcile.Stall(meta.AccessDeniedReason,
			fmt.Errorf("spec.imageRepositoryRef: ImageRepository %s is in another namespace, which --no-cross-namespace-refs forbids", key))
	}
	var repository imagev1.ImageRepository
	err := r.Client.Get(ctx, key, &repository)
	if apierrors.IsNotFound(err) {
		return nil, reconcile.Wait(meta.DependencyNotReadyReason, fmt.Sprintf("spec.imageRepositoryRef: there is no ImageRepository %s", key), dependencyRetry)
	}
	if err != nil {
		return nil, reconcile.Fail(meta.DependencyNotReadyReason, fmt.Errorf("spec.imageRepositoryRef: reading ImageRepository %s: %w", key, err))
	}
	if err := r.allowed(ctx, obj.Namespace, &repository); err != nil {
		return nil, err
	}
	if repository.Status.LastScanResult == nil {
		return nil, reconcile.Wait(meta.DependencyNotReadyReason, fmt.Sprintf("ImageRepository %s was not scanned yet", key), dependencyRetry)
	}
	// The tags are those of the image that was scanned, which may be another one yet.
	named, err := registry.Parse(repository.Spec.Image, repository.Spec.Insecure)
	if err != nil || named.Name() != repository.Status.CanonicalImageName {
		return nil, reconcile.Wait(meta.DependencyNotReadyReason, fmt.Sprintf("ImageRepository %s was not scanned since its spec.image is %s", key, repository.Spec.Image), dependencyRetry)
	}
	return &repository, nil
}

// allowed says whether policies of the namespace may choose from the
// repository.
func (r *Reconciler) allowed(ctx context.Context, namespace string, repository *imagev1.ImageRepository) error {
	if namespace == repository.Namespace {
		return nil
	}
	var from corev1.Namespace
	if err := r.Live.Get(ctx, client.ObjectKey{Name: namespace}, &from); err != nil {
		return reconcile.Fail(meta.AccessDeniedReason, fmt.Errorf("reading the labels of namespace %s: %w", namespace, err))
	}
	if !matches(repository.Spec.AccessFrom, from.Labels) {
		// Not "there is none": whoever may not read it learns no more than that.
		return reconcile.Fail(meta.AccessDeniedReason, fmt.Errorf("spec.imageRepositoryRef: ImageRepository %s does not allow namespace %s: its spec.accessFrom has to match the namespace's labels",
			client.ObjectKeyFromObject(repository), namespace))
	}
	return nil
}

// matches says whether one of the selectors matches a namespace with the labels.
func matches(from *meta.AccessFrom, labels map[string]string) bool {
	return from != nil && slices.ContainsFunc(from.NamespaceSelectors, func(selector meta.NamespaceSelector) bool {
		for key, value := range selector.MatchLabels {
			if got, ok := labels[key]; !ok || got != value {
				return false
			}
		}
		return true
	})
}

// digest looks the chosen tag's digest up, as often as the policy asks for.
func (r *Reconciler) digest(ctx context.Context, obj *imagev1.ImagePolicy, repository *imagev1.ImageRepository, chosen imagev1.ImageRef) (string, error) {
	key, now := client.ObjectKeyFromObject(obj), r.Clock.Now()
	before := obj.Status.LatestRef
	known := before != nil && before.Digest != "" && before.Name == chosen.Name && before.Tag == chosen.Tag
	switch obj.Spec.DigestReflectionPolicy {
	case imagev1.ReflectIfNotPresent:
		if known {
			return before.Digest, nil
		}
	case imagev1.ReflectAlways:
		if known && !r.digests.due(key, obj, now) {
			return before.Digest, nil
		}
	default:
		return "", nil
	}
	digest, err := r.lookUp(ctx, repository, chosen.Tag)
	if err != nil {
		return "", err
	}
	r.digests.looked(key, obj, digest, now)
	return digest, nil
}

// lookUp asks the registry, with what the ImageRepository says of how to reach
// it.
func (r *Reconciler) lookUp(ctx context.Context, obj *imagev1.ImageRepository, tag string) (string, error) {
	repository, err := registry.Parse(obj.Spec.Image, obj.Spec.Insecure)
	if err != nil {
		return "", reconcile.Fail(readOperationFailedReason, fmt.Errorf("spec.image of ImageRepository %s %w", client.ObjectKeyFromObject(obj), err))
	}
	ctx, cancel := r.Pace.MaxTimeout.Within(ctx, obj.Timeout())
	defer cancel()
	session, err := r.Registry.Open(ctx, repository, image.Access(obj))
	if err != nil {
		return "", fmt.Errorf("ImageRepository %s: %w", client.ObjectKeyFromObject(obj), err)
	}
	found, err := remote.Head(repository.Tag(tag), session.Options()...)
	if err != nil {
		err = session.Failed(ctx, readOperationFailedReason, "reading the digest of tag "+tag, err)
		return "", fmt.Errorf("ImageRepository %s: %w", client.ObjectKeyFromObject(obj), err)
	}
	return found.Digest.String(), nil
}

// Finalize forgets when the digest was looked up.
func (r *Reconciler) Finalize(_ context.Context, obj *imagev1.ImagePolicy) error {
	r.digests.forget(client.ObjectKeyFromObject(obj))
	return nil
}

// Ready says what was chosen.
func (r *Reconciler) Ready(obj *imagev1.ImagePolicy) (reason, message string) {
	chosen, before := obj.Status.LatestRef, obj.Status.ObservedPreviousRef
	message = fmt.Sprintf("Latest image tag for %s resolved to %s", chosen.Name, chosen.Tag)
	if chosen.Digest != "" {
		message += " with digest " + chosen.Digest
	}
	if before != nil {
		message += " (previously " + before.String() + ")"
	}
	return meta.SucceededReason, message
}

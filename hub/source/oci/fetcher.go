package oci

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"k8s.io/apimachinery/pkg/api/equality"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/registry"
	"github.com/headwater-dev/headwater/hub/registry/signature"
	"github.com/headwater-dev/headwater/hub/source"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	pullFailedReason  = "OCIArtifactPullFailed"
	layerFailedReason = "OCIArtifactLayerOperationFailed"
	urlInvalidReason  = "URLInvalid"
)

// maxAnnotations bounds all annotations of a manifest, in bytes: they become part
// of the status, and an object that is too large cannot be written.
const maxAnnotations = 64 << 10

// Annotations that say what an artifact was made of.
const (
	originSource   = "org.opencontainers.image.source"
	originRevision = "org.opencontainers.image.revision"
)

// Fetcher is the source.Fetcher of OCIRepository.
type Fetcher struct {
	// Registries opens sessions with the remotes.
	Registries registry.Opener
	// Signatures reads whom spec.verify trusts.
	Signatures signature.Verifier
	// MaxTimeout bounds spec.timeout.
	MaxTimeout reconcile.MaxTimeout
}

// Kind is OCIRepository.
func (*Fetcher) Kind() string { return sourcev1.OCIRepositoryKind }

// Ignore returns spec.ignore and where status.observedIgnore is.
func (*Fetcher) Ignore(obj *sourcev1.OCIRepository) (want *string, observed **string) {
	return obj.Spec.Ignore, &obj.Status.ObservedIgnore
}

// Observed says whether the artifact was made with spec.layerSelector.
func (*Fetcher) Observed(obj *sourcev1.OCIRepository) bool {
	return equality.Semantic.DeepEqual(obj.Spec.LayerSelector, obj.Status.ObservedLayerSelector)
}

// Observe notes in status with which spec.layerSelector the artifact was made, and
// with which trust it was verified.
func (*Fetcher) Observe(obj *sourcev1.OCIRepository, rev source.Revision) {
	obj.Status.ObservedLayerSelector = obj.Spec.LayerSelector.DeepCopy()
	by, _ := rev.Found.(trusted)
	obj.Status.ObservedVerification = string(by)
}

// Resolve asks the registry for the digest that spec.ref stands for.
func (f *Fetcher) Resolve(ctx context.Context, obj *sourcev1.OCIRepository) (source.Revision, error) {
	if err := reconcile.UnsupportedFields(obj,
		"url", "interval", "timeout", "suspend", "ignore", "insecure", "provider",
		"secretRef", "serviceAccountName", "certSecretRef", "proxySecretRef", "layerSelector", "ref", "verify"); err != nil {
		return source.Revision{}, err
	}
	repository, err := repositoryOf(obj)
	if err != nil {
		return source.Revision{}, err
	}
	ctx, cancel := f.MaxTimeout.Within(ctx, obj.Timeout())
	defer cancel()
	s, err := f.open(ctx, obj, repository)
	if err != nil {
		return source.Revision{}, err
	}
	rev, err := s.locate(ctx, obj.Spec.Reference)
	if err != nil {
		return source.Revision{}, err
	}
	rev.Found, err = f.verify(ctx, obj, s, rev)
	return rev, err
}

// locate finds the digest that the reference stands for.
func (s *session) locate(ctx context.Context, ref *sourcev1.OCIRepositoryRef) (source.Revision, error) {
	if ref == nil {
		ref = &sourcev1.OCIRepositoryRef{}
	}
	if ref.Digest != "" {
		digest, err := v1.NewHash(ref.Digest)
		if err != nil {
			return source.Revision{}, reconcile.Fail(pullFailedReason, fmt.Errorf("spec.ref.digest %q is not a digest, such as sha256:<64 hex digits>", ref.Digest))
		}
		return source.Revision{Name: digest.String(), ID: digest.String()}, nil
	}
	tag, err := s.tag(ctx, ref)
	if err != nil {
		return source.Revision{}, err
	}
	digest, err := s.digest(ctx, tag)
	if err != nil {
		return source.Revision{}, err
	}
	return source.Revision{Name: tag + "@" + digest, ID: digest}, nil
}

// Fetch brings the selected layer of the manifest.
func (f *Fetcher) Fetch(ctx context.Context, obj *sourcev1.OCIRepository, rev source.Revision, dir string) (source.Content, error) {
	ctx, cancel := f.MaxTimeout.Within(ctx, obj.Timeout())
	defer cancel()
	repository, err := repositoryOf(obj)
	if err != nil {
		return source.Content{}, err
	}
	s, err := f.open(ctx, obj, repository)
	if err != nil {
		return source.Content{}, err
	}
	image, err := remote.Image(repository.Digest(rev.ID), s.Options()...)
	if err != nil {
		return source.Content{}, s.Failed(ctx, pullFailedReason, "reading the manifest "+rev.ID, err)
	}
	manifest, err := image.Manifest()
	if err != nil {
		return source.Content{}, s.Failed(ctx, pullFailedReason, "reading the manifest "+rev.ID, err)
	}
	if size := sizeOf(manifest.Annotations); size > maxAnnotations {
		return source.Content{}, reconcile.Fail(pullFailedReason,
			fmt.Errorf("%s: %s: the manifest's annotations have %d bytes, more than %d", rev.Name, obj.Spec.URL, size, maxAnnotations))
	}
	selected, err := selectLayer(manifest, obj.Spec.LayerSelector)
	if err != nil {
		return source.Content{}, reconcile.Fail(layerFailedReason, fmt.Errorf("%s: %s: %w", rev.Name, obj.Spec.URL, err))
	}
	layer, err := image.LayerByDigest(selected.Digest)
	if err != nil {
		return source.Content{}, s.Failed(ctx, layerFailedReason, "reading the layer "+selected.Digest.String(), err)
	}
	content := source.Content{Summary: summary(obj, rev, manifest.Annotations), Metadata: manifest.Annotations}
	if copied(obj) {
		content.File = filepath.Join(filepath.Dir(dir), "layer")
	}
	if err := take(layer, dir, content.File); err != nil {
		return source.Content{}, s.Failed(ctx, layerFailedReason, "reading the layer "+selected.Digest.String(), err)
	}
	return content, nil
}

func sizeOf(annotations map[string]string) (size int) {
	for key, value := range annotations {
		size += len(key) + len(value)
	}
	return size
}

func summary(obj *sourcev1.OCIRepository, rev source.Revision, annotations map[string]string) string {
	text := fmt.Sprintf("with revision '%s' from '%s'", rev.Name, obj.Spec.URL)
	if origin := annotations[originSource]; origin != "" {
		text += fmt.Sprintf(", origin source '%s'", origin)
	}
	if origin := annotations[originRevision]; origin != "" {
		text += fmt.Sprintf(", origin revision '%s'", origin)
	}
	return text
}

// repositoryOf parses spec.url. What does not parse stays so until the spec
// changes.
func repositoryOf(obj *sourcev1.OCIRepository) (name.Repository, error) {
	repository, err := registry.Parse(strings.TrimPrefix(obj.Spec.URL, "oci://"), obj.Spec.Insecure)
	if err != nil {
		return name.Repository{}, reconcile.Stall(urlInvalidReason,
			errors.New("spec.url is not oci://host/path, without tag (spec.ref.tag), digest (spec.ref.digest) and credentials (spec.secretRef)"))
	}
	return repository, nil
}

// session is a conversation with the registry of one object.
type session struct {
	*registry.Session
	repository name.Repository
	url        string
}

// open prepares a session; nothing is sent yet. The caller calls Close.
func (f *Fetcher) open(ctx context.Context, obj *sourcev1.OCIRepository, repository name.Repository) (*session, error) {
	s, err := f.Registries.Open(ctx, repository, registry.Access{
		Namespace:          obj.Namespace,
		Remote:             "spec.url " + obj.Spec.URL,
		SecretRef:          obj.Spec.SecretRef,
		Provider:           obj.Spec.Provider,
		ServiceAccountName: obj.Spec.ServiceAccountName,
		CertSecretRef:      obj.Spec.CertSecretRef,
		ProxySecretRef:     obj.Spec.ProxySecretRef,
		Insecure:           obj.Spec.Insecure,
	})
	return &session{Session: s, repository: repository, url: obj.Spec.URL}, err
}

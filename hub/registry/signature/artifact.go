package signature

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/headwater-dev/headwater/hub/registry"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	// maxSignatures bounds how many signatures of an artifact are looked at.
	maxSignatures = 50
	// maxSignatureBytes bounds each of them.
	maxSignatureBytes = 1 << 20
)

// errTooMany says that there are signatures that nobody looked at.
var errTooMany = fmt.Errorf("there are more than %d signatures, and the first %d are not good", maxSignatures, maxSignatures)

// Verify says whether the artifact has a signature of somebody who is trusted.
// An error has the reason VerificationError, or that of a session that fails.
func (t *Trust) Verify(ctx context.Context, s *registry.Session, digest name.Digest) error {
	a := &artifact{ref: digest, session: s}
	err := t.judge.judge(ctx, a)
	var unread *readError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &unread):
		return s.Failed(ctx, FailedReason, "reading the signatures of "+digest.DigestStr(), unread.error)
	}
	return reconcile.Fail(FailedReason, fmt.Errorf("failed to verify the signature using provider '%s': no matching signatures were found for '%s': %s",
		t.name, digest, reconcile.OneLine(err)))
}

// artifact is what is asked about.
type artifact struct {
	ref     name.Digest
	session *registry.Session
	looked  int
}

// readError is one of the registry, not of a signature.
type readError struct{ error }

func (e *readError) Unwrap() error { return e.error }

// blob is a signature, or what carries one, as it is stored.
type blob struct {
	v1.Descriptor
	content []byte
}

// first looks at signatures until one is good. Without any, it says so.
func (a *artifact) first(blobs func(yield func(blob) error) error, good func(blob) error) error {
	var bad []error
	errFound := errors.New("found")
	err := blobs(func(b blob) error {
		if a.looked++; a.looked > maxSignatures {
			return errTooMany
		}
		err := good(b)
		if err == nil {
			return errFound
		}
		bad = append(bad, err)
		return nil
	})
	switch {
	case errors.Is(err, errFound):
		return nil
	case err != nil:
		return err
	case len(bad) == 0:
		return errNone
	}
	return errors.Join(bad...)
}

// errNone says that there is nothing to check.
var errNone = errors.New("it has no signature")

// attached yields the layers of the image that cosign keeps beside an artifact,
// under a tag made of its digest.
func (a *artifact) attached(yield func(blob) error) error {
	tag := a.ref.Context().Tag(strings.Replace(a.ref.DigestStr(), ":", "-", 1) + ".sig")
	return a.layers(tag, maxSignatures+1, yield)
}

// referring yields the first layer of each manifest that refers to the artifact
// and is of the type.
func (a *artifact) referring(artifactType string) func(yield func(blob) error) error {
	return func(yield func(blob) error) error {
		index, err := remote.Referrers(a.ref, a.session.Options()...)
		if err != nil {
			return &readError{err}
		}
		list, err := index.IndexManifest()
		if err != nil {
			return &readError{err}
		}
		asked := 0
		for _, manifest := range list.Manifests {
			if !strings.HasPrefix(manifest.ArtifactType, artifactType) {
				continue
			}
			if asked++; asked > maxSignatures { // also of those that have no layer
				return errTooMany
			}
			if err := a.layers(a.ref.Context().Digest(manifest.Digest.String()), 1, yield); err != nil {
				return err
			}
		}
		return nil
	}
}

// layers yields the content of a manifest's first layers, so many at most; nothing
// when there is no manifest.
func (a *artifact) layers(ref name.Reference, most int, yield func(blob) error) error {
	image, err := remote.Image(ref, a.session.Options()...)
	if missing(err) {
		return nil
	}
	if err != nil {
		return &readError{err}
	}
	manifest, err := image.Manifest()
	if err != nil {
		return &readError{err}
	}
	for _, descriptor := range manifest.Layers[:min(most, len(manifest.Layers))] {
		b := blob{Descriptor: descriptor}
		// One that is too large stays empty: it is as bad as any other.
		if descriptor.Size <= maxSignatureBytes {
			if b.content, err = content(image, descriptor.Digest); err != nil {
				return &readError{err}
			}
		}
		if err := yield(b); err != nil {
			return err
		}
	}
	return nil
}

// content is empty where it is too large: the size that was looked at may be that of
// another descriptor with the digest.
func content(image v1.Image, digest v1.Hash) (_ []byte, err error) {
	layer, err := image.LayerByDigest(digest)
	if err != nil {
		return nil, err
	}
	reader, err := layer.Compressed()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	read, err := io.ReadAll(io.LimitReader(reader, maxSignatureBytes+1))
	if len(read) > maxSignatureBytes {
		return nil, err
	}
	return read, err
}

func missing(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound
}

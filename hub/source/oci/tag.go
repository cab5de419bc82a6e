package oci

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/registry"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const defaultTag = "latest"

// tag is the one that the reference asks for, with Flux's precedence: semver,
// then tag, then latest.
func (s *session) tag(ctx context.Context, ref *sourcev1.OCIRepositoryRef) (string, error) {
	switch {
	case ref.SemVer != "":
		tags, err := remote.List(s.repository, s.Options()...)
		if err != nil {
			return "", s.Failed(ctx, pullFailedReason, "listing the tags", err)
		}
		tag, err := highest(tags, ref.SemVer, ref.SemverFilter)
		if err != nil {
			return "", reconcile.Fail(pullFailedReason, fmt.Errorf("%w in %s", err, s.url))
		}
		return tag, nil
	case ref.Tag != "":
		return ref.Tag, nil
	}
	return defaultTag, nil
}

// highest is the tag of the highest version in the range.
func highest(tags []string, constraint, filter string) (string, error) {
	accepted, err := semver.NewConstraint(constraint)
	if err != nil {
		return "", fmt.Errorf("spec.ref.semver %q is not a range of versions", constraint)
	}
	wanted, err := regexp.Compile(filter)
	if err != nil {
		return "", fmt.Errorf("spec.ref.semverFilter %q is not a regular expression", filter)
	}
	var best *semver.Version
	for _, tag := range tags {
		if !wanted.MatchString(tag) {
			continue
		}
		version, err := semver.StrictNewVersion(strings.TrimPrefix(tag, "v"))
		if err != nil || !accepted.Check(version) || best != nil && !version.GreaterThan(best) {
			continue
		}
		if best, err = semver.NewVersion(tag); err != nil {
			return "", fmt.Errorf("tag %q: %w", tag, err)
		}
	}
	if best == nil {
		return "", fmt.Errorf("no tag matches spec.ref.semver %q", constraint)
	}
	return best.Original(), nil
}

// digest asks what the tag stands for: by HEAD, and by GET at registries that
// do not answer that, or say why only there.
func (s *session) digest(ctx context.Context, tag string) (string, error) {
	ref := s.repository.Tag(tag)
	head, err := remote.Head(ref, s.Options()...)
	if err == nil {
		return head.Digest.String(), nil
	}
	if !registry.Final(err) {
		var descriptor *remote.Descriptor
		if descriptor, err = remote.Get(ref, s.Options()...); err == nil {
			return descriptor.Digest.String(), nil
		}
	}
	return "", s.Failed(ctx, pullFailedReason, fmt.Sprintf("resolving the tag %q", tag), err)
}

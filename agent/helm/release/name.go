package release

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
)

const (
	// maxName is the length of a release's name that Helm allows.
	maxName = 53
	// A longer name is cut to so many letters, and so many digits of its digest
	// tell it from others.
	cutName, nameDigits = 40, 12
)

// Target is which release a HelmRelease stands for.
type Target struct {
	// Name of the release.
	Name string
	// Namespace that it is in, and that of its records.
	Namespace, StorageNamespace string
}

// TargetOf is the release that the spec asks for.
func TargetOf(obj *helmv2.HelmRelease) Target {
	name := cmp.Or(obj.Spec.ReleaseName, obj.Name)
	if obj.Spec.ReleaseName == "" && obj.Spec.TargetNamespace != "" {
		name = obj.Spec.TargetNamespace + "-" + obj.Name
	}
	return Target{
		Name:             shortened(name),
		Namespace:        cmp.Or(obj.Spec.TargetNamespace, obj.Namespace),
		StorageNamespace: cmp.Or(obj.Spec.StorageNamespace, obj.Namespace),
	}
}

// shortened is the name as Helm takes it.
func shortened(name string) string {
	if len(name) <= maxName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:cutName] + "-" + hex.EncodeToString(sum[:])[:nameDigits]
}

// String is the release for people.
func (t Target) String() string { return t.Namespace + "/" + t.Name }

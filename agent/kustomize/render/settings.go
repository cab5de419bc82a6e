package render

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/headwater-dev/headwater/api/meta"
)

// Settings are the part of a spec that decides what kustomize renders: what is
// built, and what is laid over the kustomization file found there. The fields
// are the spec's own, in its words.
type Settings struct {
	// Path of the directory to build, as the spec has it.
	Path string
	// TargetNamespace, NamePrefix and NameSuffix replace those of the file;
	// empty to leave them.
	TargetNamespace, NamePrefix, NameSuffix string
	// Patches, PatchesStrategicMerge and PatchesJSON6902 come after the file's.
	Patches               []meta.Patch
	PatchesStrategicMerge []apiextensionsv1.JSON
	PatchesJSON6902       []meta.JSON6902Patch
	// Images are merged into the file's, field by field.
	Images []meta.Image
	// Components come after the file's; they are relative to Path.
	Components []string
	// IgnoreMissingComponents leaves out components that do not exist.
	IgnoreMissingComponents bool
	// BuildMetadata replaces the file's; empty to leave it.
	BuildMetadata []string
}

// digest identifies the settings.
func (s Settings) digest() (string, error) {
	raw, err := json.Marshal(s)
	if err != nil {
		return "", fmt.Errorf("the build's settings: %w", err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), nil
}

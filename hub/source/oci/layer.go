package oci

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/registry"
	"github.com/headwater-dev/headwater/internal/artifact"
)

const fileMode = 0o600

func copied(obj *sourcev1.OCIRepository) bool {
	return obj.Spec.LayerSelector != nil && obj.Spec.LayerSelector.Operation == sourcev1.OCILayerCopy
}

// selectLayer is the first layer, or the first of the wanted media type.
func selectLayer(manifest *v1.Manifest, selector *sourcev1.OCILayerSelector) (v1.Descriptor, error) {
	want := ""
	if selector != nil {
		want = selector.MediaType
	}
	for _, layer := range manifest.Layers {
		if want == "" || canonical(string(layer.MediaType)) == canonical(want) {
			if layer.Size > registry.MaxLayerBytes {
				return v1.Descriptor{}, fmt.Errorf("the layer %s has %d bytes, more than %d", layer.Digest, layer.Size, int64(registry.MaxLayerBytes))
			}
			return layer, nil
		}
	}
	if want == "" {
		return v1.Descriptor{}, errors.New("the artifact has no layers")
	}
	return v1.Descriptor{}, fmt.Errorf("no layer has the media type %q (spec.layerSelector.mediaType)", want)
}

// canonical is the media type with the one spelling of Helm's types, which
// come with an underscore as well.
func canonical(mediaType string) string {
	if strings.Contains(mediaType, "helm") {
		return strings.ReplaceAll(mediaType, "_", "+")
	}
	return mediaType
}

// take writes the layer to the file, or unpacks it into dir where file is
// empty. The reader checks the digest at its end.
func take(layer v1.Layer, dir, file string) (err error) {
	content, err := layer.Compressed()
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	if file == "" {
		if err := artifact.UnpackTo(dir, content, artifact.Limits{}); err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, content)
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}

package helm

import (
	"bytes"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/headwater-dev/headwater/hub/registry"
)

// chartRepository is a conversation about the repository of one chart.
type chartRepository struct {
	*registry.Session
	repository name.Repository
}

// pull reads the layer with the chart. What it reads is checked against its
// digest.
func (c *chartRepository) pull(ref name.Reference, limit int64) ([]byte, error) {
	image, err := remote.Image(ref, c.Options()...)
	if err != nil {
		return nil, err
	}
	manifest, err := image.Manifest()
	if err != nil {
		return nil, err
	}
	selected, err := chartLayerOf(manifest)
	if err != nil {
		return nil, err
	}
	if selected.Size > limit {
		return nil, fmt.Errorf("it is larger than %d bytes (--helm-chart-max-size)", limit)
	}
	layer, err := image.LayerByDigest(selected.Digest)
	if err != nil {
		return nil, err
	}
	packed, err := layer.Compressed()
	if err != nil {
		return nil, err
	}
	defer func() { _ = packed.Close() }()
	var content bytes.Buffer
	if err := copyBounded(&content, packed, limit, "helm-chart-max-size"); err != nil {
		return nil, err
	}
	return content.Bytes(), nil
}

func chartLayerOf(manifest *v1.Manifest) (v1.Descriptor, error) {
	for _, layer := range manifest.Layers {
		if layer.MediaType == chartLayer || layer.MediaType == oldChartLayer {
			return layer, nil
		}
	}
	return v1.Descriptor{}, fmt.Errorf("it has no layer of the media type %s: it is not a chart", chartLayer)
}

package testenv

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// The media types of what the flux CLI pushes (FLUX.md §3.2).
const (
	contentLayer  = types.MediaType("application/vnd.cncf.flux.content.v1.tar+gzip")
	contentConfig = types.MediaType("application/vnd.cncf.flux.config.v1+json")
)

// Registry is an OCI registry over plain HTTP on loopback. Its methods may be
// called from several goroutines.
type Registry struct {
	// Host and port of the registry.
	Host string

	server *httptest.Server
}

// StartRegistry starts an empty registry.
func StartRegistry() *Registry {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	return &Registry{Host: strings.TrimPrefix(server.URL, "http://"), server: server}
}

// Stop ends the registry.
func (r *Registry) Stop() { r.server.Close() }

// Push tags an artifact of the files, as the flux CLI makes them, and returns
// its digest.
func (r *Registry) Push(repository, tag string, files map[string]string) (digest string, err error) {
	content, err := archive(files)
	if err != nil {
		return "", fmt.Errorf("archiving %s:%s: %w", repository, tag, err)
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), contentConfig)
	if image, err = mutate.AppendLayers(image, static.NewLayer(content, contentLayer)); err != nil {
		return "", err
	}
	ref, err := name.NewTag(r.Host+"/"+repository+":"+tag, name.Insecure)
	if err != nil {
		return "", err
	}
	if err := remote.Write(ref, image); err != nil {
		return "", fmt.Errorf("pushing %s:%s: %w", repository, tag, err)
	}
	hash, err := image.Digest()
	return hash.String(), err
}

func archive(files map[string]string) ([]byte, error) {
	var buffer bytes.Buffer
	zipper := gzip.NewWriter(&buffer)
	tarrer := tar.NewWriter(zipper)
	for path, content := range files {
		header := &tar.Header{Name: path, Mode: 0o600, Size: int64(len(content)), Typeflag: tar.TypeReg}
		if err := tarrer.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := tarrer.Write([]byte(content)); err != nil {
			return nil, err
		}
	}
	if err := tarrer.Close(); err != nil {
		return nil, err
	}
	if err := zipper.Close(); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}

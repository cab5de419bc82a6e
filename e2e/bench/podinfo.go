package main

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	helmrelease "helm.sh/helm/v3/pkg/release"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// podinfoRecord is a record of Helm's storage with the chart of podinfo in it,
// which is what is released: a real chart, of which three objects are made.
const podinfoRecord = "agent/helm/testdata/flux-2.9/helm-storage.yaml"

// podinfoVersion is that of the chart; in the record it has a digest behind it.
const podinfoVersion = "6.14.1"

// podinfo is the chart as files and as an archive.
type podinfo struct {
	files   map[string]string
	archive []byte
}

// load parses the archive: each action needs a chart of its own.
func (p *podinfo) load() (*chart.Chart, error) { return loader.LoadArchive(bytes.NewReader(p.archive)) }

// readPodinfo takes the chart out of the record.
func readPodinfo(root, dir string) (*podinfo, error) {
	content, err := os.ReadFile(filepath.Join(root, podinfoRecord))
	if err != nil {
		return nil, err
	}
	rel, err := firstRelease(content)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", podinfoRecord, err)
	}
	made := rel.Chart
	made.Metadata.Version = podinfoVersion
	values, err := yaml.Marshal(made.Values)
	if err != nil {
		return nil, err
	}
	about, err := yaml.Marshal(made.Metadata)
	if err != nil {
		return nil, err
	}
	p := &podinfo{files: map[string]string{"Chart.yaml": string(about), "values.yaml": string(values)}}
	for _, file := range append(made.Templates, made.Files...) {
		p.files[file.Name] = string(file.Data)
	}
	// The archive's values come from the raw files, which no record has.
	made.Raw = []*chart.File{{Name: chartutil.ValuesfileName, Data: values}}
	saved, err := chartutil.Save(made, dir)
	if err != nil {
		return nil, err
	}
	p.archive, err = os.ReadFile(saved)
	return p, err
}

// firstRelease reads the first of a list of Secrets.
func firstRelease(content []byte) (*helmrelease.Release, error) {
	var secrets corev1.SecretList
	if err := yaml.Unmarshal(content, &secrets); err != nil {
		return nil, err
	}
	packed, err := base64.StdEncoding.DecodeString(string(secrets.Items[0].Data["release"]))
	if err != nil {
		return nil, err
	}
	text, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	rel := &helmrelease.Release{}
	return rel, json.NewDecoder(text).Decode(rel)
}

// podinfoValues are those of a version, which shows in the Deployment.
func podinfoValues(version string) map[string]any {
	return map[string]any{
		"replicaCount":   float64(0), // what Pods cost is not ours
		"serviceAccount": map[string]any{"enabled": true},
		"ui":             map[string]any{"message": version},
	}
}

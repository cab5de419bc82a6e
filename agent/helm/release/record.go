package release

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	helmrelease "helm.sh/helm/v3/pkg/release"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

// unlockedPrefix begins the description of a record that was left pending.
const unlockedPrefix = "Release unlocked from stale '"

// Record is what is known of one revision of a release.
type Record struct {
	Target
	Version int
	Status  helmrelease.Status
	// ChartName, ChartVersion and AppVersion are the chart's.
	ChartName, ChartVersion, AppVersion string
	// ConfigDigest is that of the values, Digest that of all that was released.
	ConfigDigest, Digest string
	FirstDeployed        time.Time
	LastDeployed         time.Time
	Deleted              time.Time
	// Interrupted is the pending status that the record was left in by an agent
	// that ended in the middle of an action; empty for all others.
	Interrupted helmrelease.Status
	// Tests are the hooks that are tests.
	Tests []Test
	// Manifest of the objects, without hooks, the values that they were made of,
	// and the files in the chart's directory of CRDs; those of its subcharts are in
	// no record. What is remembered of a record has none of them.
	Manifest string
	Config   map[string]any
	CRDs     [][]byte
	// Stored is where the record was read.
	Stored Stored
}

// Stored is the Secret of a record, as it was when it was read.
type Stored struct {
	Name    string
	UID     types.UID
	Version string
}

// Test is a test of a release and how it went last.
type Test struct {
	Name               string
	Started, Completed time.Time
	Phase              helmrelease.HookPhase
}

// RecordOf is what a release that was decoded says, in its storage namespace.
func RecordOf(rel *helmrelease.Release, storageNamespace string) (Record, error) {
	config, err := ConfigDigest(rel.Config)
	if err != nil {
		return Record{}, err
	}
	digest, err := digestOf(rel)
	if err != nil {
		return Record{}, err
	}
	record := Record{
		Target:  Target{Name: rel.Name, Namespace: rel.Namespace, StorageNamespace: storageNamespace},
		Version: rel.Version, Status: rel.Info.Status,
		ChartName: rel.Chart.Metadata.Name, ChartVersion: rel.Chart.Metadata.Version, AppVersion: rel.Chart.Metadata.AppVersion,
		ConfigDigest: config, Digest: digest,
		FirstDeployed: rel.Info.FirstDeployed.Time, LastDeployed: rel.Info.LastDeployed.Time, Deleted: rel.Info.Deleted.Time,
		Manifest: rel.Manifest, Config: rel.Config,
	}
	for _, file := range rel.Chart.CRDObjects() {
		record.CRDs = append(record.CRDs, file.File.Data)
	}
	if rest, ok := strings.CutPrefix(rel.Info.Description, unlockedPrefix); ok {
		status, _, _ := strings.Cut(rest, "'")
		record.Interrupted = helmrelease.Status(status)
	}
	for _, hook := range rel.Hooks {
		for _, event := range hook.Events {
			if event == helmrelease.HookTest {
				record.Tests = append(record.Tests, Test{
					Name: hook.Name, Started: hook.LastRun.StartedAt.Time, Completed: hook.LastRun.CompletedAt.Time, Phase: hook.LastRun.Phase,
				})
			}
		}
	}
	return record, nil
}

// Unlocked is the description of a record that was left in the pending status.
func Unlocked(status helmrelease.Status) string {
	return unlockedPrefix + status.String() + "' state"
}

// ConfigDigest is the digest of values, the same for the same values in any
// order, and the same before and after they were stored in a record: whole
// numbers beyond 2^53 come back from there as other ones.
func ConfigDigest(values map[string]any) (string, error) {
	if values == nil {
		values = map[string]any{}
	}
	stored, err := json.Marshal(values)
	if err != nil {
		return "", fmt.Errorf("digest of the values: %w", err)
	}
	var read map[string]any
	if err := json.Unmarshal(stored, &read); err != nil {
		return "", fmt.Errorf("digest of the values: %w", err)
	}
	text, err := yaml.Marshal(read)
	if err != nil {
		return "", fmt.Errorf("digest of the values: %w", err)
	}
	return Digest(text), nil
}

// Digest of a text as algorithm:hex.
func Digest(text []byte) string {
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// digestOf covers what was released. How its hooks ran is no part of it, nor is
// their order: tests run later, the helm CLI may run them again, and Helm stores
// the hooks that a filter has left out before the others.
func digestOf(rel *helmrelease.Release) (string, error) {
	type hook struct{ Name, Manifest string }
	hooks := make([]hook, 0, len(rel.Hooks))
	for _, h := range rel.Hooks {
		hooks = append(hooks, hook{h.Name, h.Manifest})
	}
	slices.SortFunc(hooks, func(a, b hook) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Manifest, b.Manifest))
	})
	text, err := json.Marshal(map[string]any{
		"name": rel.Name, "namespace": rel.Namespace, "version": rel.Version,
		"status": rel.Info.Status, "firstDeployed": rel.Info.FirstDeployed.Unix(), "lastDeployed": rel.Info.LastDeployed.Unix(),
		"chart": rel.Chart.Metadata, "config": rel.Config, "manifest": rel.Manifest, "hooks": hooks,
	})
	if err != nil {
		return "", fmt.Errorf("digest of the release %s/%s: %w", rel.Namespace, rel.Name, err)
	}
	return Digest(text), nil
}

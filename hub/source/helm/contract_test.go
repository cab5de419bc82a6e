package helm_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"testing"

	. "github.com/onsi/gomega"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/source/sourcetest"
)

// TestRepositoryContract commits files as annotations of a chart's entry.
func TestRepositoryContract(t *testing.T) {
	sourcetest.Run(t, func(t *testing.T) *sourcetest.Subject[*sourcev1.HelmRepository] {
		r, w, all := newRepository(t), newWorld(t), map[string]string{}
		obj := r.object()
		return &sourcetest.Subject[*sourcev1.HelmRepository]{
			Fetcher: w.repositories.Fetcher,
			Object:  obj,
			Commit: func(t *testing.T, files map[string]string) {
				t.Helper()
				maps.Copy(all, files)
				r.entries = map[string][]map[string]any{"files": {{"name": "files", "version": "1.0.0", "annotations": maps.Clone(all)}}}
				r.publish(t)
			},
			Downloads: func() int { return int(r.sent.Load()) },
			WrongReference: func(*testing.T) []string {
				obj.Spec.URL += "/gone"
				return []string{"spec.url " + obj.Spec.URL, "404"}
			},
			WrongCredentials: func(*testing.T) (want, secrets []string) {
				r.protect("other")
				return []string{"401", "Secret team/login", "spec.secretRef"}, []string{"s3cret", "leak"}
			},
			Files: func(t *testing.T, file string) map[string]string {
				t.Helper()
				content, err := os.ReadFile(file)
				g := NewWithT(t)
				g.Expect(err).NotTo(HaveOccurred())
				var stored struct {
					Entries map[string][]struct{ Annotations map[string]string }
				}
				g.Expect(json.Unmarshal(content, &stored)).To(Succeed())
				return stored.Entries["files"][0].Annotations
			},
		}
	})
}

// TestChartContract commits files as those of a new version of a chart.
func TestChartContract(t *testing.T) {
	sourcetest.Run(t, func(t *testing.T) *sourcetest.Subject[*sourcev1.HelmChart] {
		r, w, all, n := newRepository(t), newWorld(t), map[string]string{}, 0
		repo, obj := r.object(), chartObject("HelmRepository", "app", "*")
		commit := func(t *testing.T, files map[string]string) {
			t.Helper()
			n++
			maps.Copy(all, files)
			version := fmt.Sprintf("1.0.%d", n)
			r.add(t, newChart(t, "app", version, all), "app", version, nil)
			w.sync(repo)
			r.sent.Store(0)
		}
		return &sourcetest.Subject[*sourcev1.HelmChart]{
			Fetcher:   w.charts.Fetcher,
			Object:    obj,
			Commit:    commit,
			Downloads: func() int { return int(r.sent.Load()) },
			WrongReference: func(*testing.T) []string {
				obj.Spec.Version = "9.x"
				return []string{"HelmRepository team/repo", `chart "app"`, `no version matches "9.x"`}
			},
			WrongCredentials: func(t *testing.T) (want, secrets []string) {
				commit(t, map[string]string{"b": "2"})
				r.protect("other")
				return []string{"HelmRepository team/repo", "401", "Secret team/login"}, []string{"s3cret", "leak"}
			},
			Files:     filesOf,
			Stored:    "True ChartPullSucceeded pulled 'app' chart with version '1.0.1'",
			Announced: "Normal ChartPullSucceeded pulled 'app' chart with version ",
		}
	})
}

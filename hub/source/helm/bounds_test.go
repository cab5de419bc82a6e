package helm_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// TestWhatAChartIgnoresIsBounded has a .helmignore, each line of which each file is
// held against.
func TestWhatAChartIgnoresIsBounded(t *testing.T) {
	const head = "apiVersion: v2\nname: app\nversion: 1.0.0\n"
	many := map[string]string{"c/Chart.yaml": head, "c/.helmignore": "f*\n"}
	for i := range 10_000 {
		many[fmt.Sprintf("c/f%d", i)] = ""
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"lines": {map[string]string{"c/.helmignore": strings.Repeat("z\n", 10_001)}, ".helmignore has more than 262144 bytes or 10000 lines"},
		"bytes": {map[string]string{"c/.helmignore": strings.Repeat("#"+strings.Repeat("z", 1022)+"\n", 257)}, ".helmignore has more than 262144 bytes or 10000 lines"},
		"files": {many, "more than 10000 files and directories"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			w.git("main@sha1:1", with(nil, "", map[string]string{"c/Chart.yaml": head, "c/.helmignore": "*.md\nbig/\n", "c/README.md": "x", "c/big/a": "x"}))
			obj := chartObject("GitRepository", "c", "*")
			obj.Spec.ReconcileStrategy = "Revision"
			g.Expect(w.build(obj)).To(Succeed())
			g.Expect(w.files(obj)).To(And(HaveLen(2), HaveKey(".helmignore")))

			w.git("main@sha1:2", with(c.files, "", map[string]string{"c/Chart.yaml": head}))
			g.Expect(w.build(obj)).To(MatchError(ContainSubstring(c.want)))
		})
	}
}

// A neighbour is read as the chart itself is.
func TestWhatANeighbourIgnoresIsBounded(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.git("main@sha1:1", map[string]string{
		"lib/Chart.yaml":  "apiVersion: v2\nname: lib\nversion: 1.0.0\n",
		"lib/.helmignore": strings.Repeat("z\n", 10_001),
		"app/Chart.yaml":  "apiVersion: v2\nname: app\nversion: 1.0.0\ndependencies:\n- {name: lib, version: 1.x, repository: \"file://../lib\"}\n",
	})
	obj := chartObject("GitRepository", "app", "*")
	g.Expect(w.build(obj)).To(MatchError(ContainSubstring(".helmignore has more than 262144 bytes or 10000 lines")))
	g.Expect(condition(obj, "BuildFailed")).To(HavePrefix("True DependencyBuildError "))
}

func TestAChartThatTakesTooLongIsTriedAgain(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.git("main@sha1:1", with(podinfo(t), "c/", nil))
	obj := chartObject("GitRepository", "c", "*")
	late, cancel := context.WithCancelCause(t.Context())
	cancel(context.DeadlineExceeded)
	g.Expect(w.charts.Reconcile(late, obj)).To(MatchError(context.DeadlineExceeded))
	g.Expect(condition(obj, "FetchFailed")).To(HavePrefix("True ChartPackageError GitRepository team/repo: "))
}

// TestDependenciesAreBoundedTogether has packages each of which may be, as a
// Chart.lock names them.
func TestDependenciesAreBoundedTogether(t *testing.T) {
	for name, c := range map[string]struct{ count, size int }{
		"bytes": {count: 6, size: manyBytes},
		"files": {count: 2_500},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r, w := newRepository(t), newWorld(t)
			files, lock := map[string]string{}, "dependencies:\n"
			for i := range c.count {
				files[fmt.Sprintf("f%d", i)] = strings.Repeat("#", c.size)
			}
			for i := range 4 {
				version := fmt.Sprintf("0.0.%d", i)
				r.add(t, newChart(t, "a", version, files), "a", version, nil)
				lock += fmt.Sprintf("- {name: a, version: %s, repository: %q}\n", version, r.URL+"/charts")
			}
			w.sync(r.object())
			w.git("main@sha1:1", map[string]string{"c/Chart.yaml": "apiVersion: v2\nname: app\nversion: 1.0.0\n", "c/Chart.lock": lock})
			obj := chartObject("GitRepository", "c", "*")
			g.Expect(w.build(obj)).To(MatchError(ContainSubstring(
				`dependency "a": with it the chart has more than 10000 files or 104857600 bytes`)))
			g.Expect(condition(obj, "BuildFailed")).To(HavePrefix("True DependencyBuildError GitRepository team/repo: "))
		})
	}
}

func TestAPackageIsNoLargerThanOneThatIsFetched(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	files, noise := map[string]string{"c/Chart.yaml": "apiVersion: v2\nname: app\nversion: 1.0.0\n"}, rand.NewChaCha8([32]byte{})
	for _, name := range []string{"c/a", "c/b", "c/c"} {
		content := make([]byte, 4<<20)
		_, _ = noise.Read(content)
		files[name] = string(content)
	}
	w.git("main@sha1:1", files)
	obj := chartObject("GitRepository", "c", "*")
	g.Expect(w.build(obj)).To(MatchError(HaveSuffix("the package is larger than 10485760 bytes (--helm-chart-max-size)")))
	g.Expect(condition(obj, "BuildFailed")).To(HavePrefix("True ChartPackageError "))
}

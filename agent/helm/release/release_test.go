package release_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	helmchart "helm.sh/helm/v3/pkg/chart"
	helmrelease "helm.sh/helm/v3/pkg/release"
	helmtime "helm.sh/helm/v3/pkg/time"
	corev1 "k8s.io/api/core/v1"

	"github.com/headwater-dev/headwater/agent/helm/release"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
)

func TestNames(t *testing.T) {
	long := strings.Repeat("a", 60)
	for name, c := range map[string]struct {
		spec helmv2.HelmReleaseSpec
		of   string
		want release.Target
	}{
		"by itself":            {helmv2.HelmReleaseSpec{}, "web", release.Target{Name: "web", Namespace: "fleet", StorageNamespace: "fleet"}},
		"with a target":        {helmv2.HelmReleaseSpec{TargetNamespace: "shop"}, "web", release.Target{Name: "shop-web", Namespace: "shop", StorageNamespace: "fleet"}},
		"with a name":          {helmv2.HelmReleaseSpec{TargetNamespace: "shop", ReleaseName: "own"}, "web", release.Target{Name: "own", Namespace: "shop", StorageNamespace: "fleet"}},
		"with its own storage": {helmv2.HelmReleaseSpec{StorageNamespace: "kept"}, "web", release.Target{Name: "web", Namespace: "fleet", StorageNamespace: "kept"}},
		"too long":             {helmv2.HelmReleaseSpec{}, long, release.Target{Name: strings.Repeat("a", 40) + "-11ee391211c6", Namespace: "fleet", StorageNamespace: "fleet"}},
	} {
		t.Run(name, func(t *testing.T) {
			obj := &helmv2.HelmRelease{Spec: c.spec}
			obj.Namespace, obj.Name = "fleet", c.of
			NewWithT(t).Expect(release.TargetOf(obj)).To(Equal(c.want))
		})
	}
}

func rel() *helmrelease.Release {
	at := helmtime.Time{Time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	return &helmrelease.Release{
		Name: "web", Namespace: "fleet", Version: 2, Config: map[string]any{"b": 1, "a": "x"}, Manifest: "a: b",
		Info:  &helmrelease.Info{Status: helmrelease.StatusDeployed, FirstDeployed: at, LastDeployed: at},
		Chart: &helmchart.Chart{Metadata: &helmchart.Metadata{Name: "app", Version: "1.0.0"}},
		Hooks: []*helmrelease.Hook{{Name: "t", Events: []helmrelease.HookEvent{helmrelease.HookTest}}, {Name: "u", Manifest: "c: d"}},
	}
}

func TestSnapshotsKnowTheirRecord(t *testing.T) {
	g := NewWithT(t)
	record, err := release.RecordOf(rel(), "fleet")
	g.Expect(err).NotTo(HaveOccurred())
	own := release.SnapshotOf(record, "", "install")
	flux := own.DeepCopy()
	flux.APIVersion, flux.Digest = "v2", "sha256:another"
	// Of the digests that were made when the order of the hooks was part of them.
	older := own.DeepCopy()
	older.APIVersion, older.Digest = "headwater/v1", "sha256:d8db0c5d0ab8a4c9e3e2a4a3a7a44b51"
	for name, c := range map[string]struct {
		change     func(*helmrelease.Release)
		same, flux bool
	}{
		"as it was":      {func(*helmrelease.Release) {}, true, true},
		"tests have run": {func(r *helmrelease.Release) { r.Hooks[0].LastRun.Phase = helmrelease.HookPhaseFailed }, true, true},
		"filtered tests": {func(r *helmrelease.Release) { slices.Reverse(r.Hooks) }, true, true},
		"another hook":   {func(r *helmrelease.Release) { r.Hooks[1].Manifest = "c: e" }, false, true},
		"other objects":  {func(r *helmrelease.Release) { r.Manifest = "a: c" }, false, true},
		"other values":   {func(r *helmrelease.Release) { r.Config["a"] = "y" }, false, false},
		"a later one":    {func(r *helmrelease.Release) { r.Version = 3 }, false, false},
		"superseded":     {func(r *helmrelease.Release) { r.Info.Status = helmrelease.StatusSuperseded }, false, false},
		"another chart":  {func(r *helmrelease.Release) { r.Chart.Metadata.Version = "1.0.1" }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			g, now := NewWithT(t), rel()
			c.change(now)
			record, err := release.RecordOf(now, "fleet")
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(release.Matches(own, record)).To(Equal(c.same), "of ours")
			g.Expect(release.Matches(flux, record)).To(Equal(c.flux), "of Flux's")
			g.Expect(release.Matches(older, record)).To(Equal(c.flux), "of an older agent's")
		})
	}
}

func TestRecordsThatAreNone(t *testing.T) {
	text := func(of string) string { return base64.StdEncoding.EncodeToString([]byte(of)) }
	for name, data := range map[string]string{"nothing": "", "no base64": "%%%", "no gzip": "H4sI", "no JSON": "bm8=", "cut off": "H4sIAAAAAAAA/6pWSkksSQQEAAD//w==",
		"no info": text(`{"chart":{"metadata":{}}}`), "no chart": text(`{"info":{}}`), "no metadata": text(`{"info":{},"chart":{}}`),
		"a hook that is null":     text(`{"info":{},"chart":{"metadata":{}},"hooks":[null]}`),
		"a file that is null":     text(`{"info":{},"chart":{"metadata":{},"files":[null]}}`),
		"a template that is null": text(`{"info":{},"chart":{"metadata":{},"templates":[null]}}`)} {
		t.Run(name, func(t *testing.T) {
			_, _, err := release.Decode(&corev1.Secret{Data: map[string][]byte{"release": []byte(data)}})
			NewWithT(t).Expect(err).To(MatchError(HavePrefix("data key release: ")))
		})
	}
}

// The values of a release that Flux 2.9 has made, and the digest in its status.
func TestDigestsOfValuesAreThoseOfFlux(t *testing.T) {
	g := NewWithT(t)
	digest, err := release.ConfigDigest(map[string]any{
		"ui": map[string]any{"message": "v1"}, "serviceAccount": map[string]any{"enabled": true}, "replicaCount": 0.0,
	})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(digest).To(Equal("sha256:db52e4f204b99e59b9829de33e952771009b03f04a92e4a3036a530f6b11ec89"))
}

// What helm --set makes of a number is a whole one, which a record has as a float.
func TestDigestsOfValuesOutliveTheRecord(t *testing.T) {
	for name, number := range map[string]any{"small": int64(7), "large": int64(1234567890123456789), "fraction": 1.5, "larger": 1e300} {
		t.Run(name, func(t *testing.T) {
			g, made := NewWithT(t), rel()
			made.Config = map[string]any{"app": map[string]any{"id": number}}
			wanted, err := release.ConfigDigest(made.Config)
			g.Expect(err).NotTo(HaveOccurred())
			data, err := release.Encode(made)
			g.Expect(err).NotTo(HaveOccurred())
			read, _, err := release.Decode(&corev1.Secret{Data: data})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(release.ConfigDigest(read.Config)).To(Equal(wanted))
		})
	}
}

// digits are a text of that many random numbers.
func digits(count int) string {
	random, text := rand.New(rand.NewPCG(1, 2)), strings.Builder{} //nolint:gosec // the same each time
	for range count {
		fmt.Fprintf(&text, "%016x", random.Uint64())
	}
	return text.String()
}

// Whatever reads gzip reads the records, and what fits into a Secret when Helm
// packs it does so here.
func TestRecordsArePacked(t *testing.T) {
	for name, size := range map[string]int{"small": 100, "large": 75_000} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			made := rel()
			made.Manifest = digits(size)
			data, err := release.Encode(made)
			g.Expect(err).NotTo(HaveOccurred())
			read, _, err := release.Decode(&corev1.Secret{Data: data})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(read.Manifest).To(Equal(made.Manifest))
			g.Expect(read.Info.Status).To(Equal(helmrelease.StatusDeployed))

			packed, err := base64.StdEncoding.DecodeString(string(data["release"]))
			g.Expect(err).NotTo(HaveOccurred())
			unpacker, err := gzip.NewReader(bytes.NewReader(packed))
			g.Expect(err).NotTo(HaveOccurred())
			text, err := io.ReadAll(unpacker)
			g.Expect(err).NotTo(HaveOccurred())
			var tight bytes.Buffer
			by, err := gzip.NewWriterLevel(&tight, gzip.BestCompression)
			g.Expect(err).NotTo(HaveOccurred())
			_, err = by.Write(text)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(by.Close()).To(Succeed())
			if size > 1000 {
				g.Expect(len(packed)).To(BeNumerically(">", 512<<10))
				g.Expect(len(packed)).To(Equal(tight.Len()))
			}
		})
	}
}

func TestARunOfTestsThatFails(t *testing.T) {
	ran := func(name string, phase helmrelease.HookPhase) release.Test {
		return release.Test{Name: name, Started: time.Unix(1, 0), Phase: phase}
	}
	for name, c := range map[string]struct {
		tests          []release.Test
		failed         bool
		tested, passed bool
	}{
		"no tests":                          {nil, false, true, true},
		"all pass":                          {[]release.Test{ran("a", "Succeeded"), ran("b", "Succeeded")}, false, true, true},
		"one fails":                         {[]release.Test{ran("a", "Succeeded"), ran("b", "Failed")}, true, true, false},
		"none is begun":                     {[]release.Test{{Name: "a"}, {Name: "b"}}, true, false, true},
		"the second is not begun":           {[]release.Test{ran("a", "Succeeded"), {Name: "b"}}, true, true, false},
		"the end of one is unknown":         {[]release.Test{ran("a", "Unknown")}, true, true, false},
		"all pass, and cannot be cleared":   {[]release.Test{ran("a", "Succeeded")}, true, false, true},
		"what is not asked for has not run": {[]release.Test{ran("a", "Succeeded"), {Name: "left out"}}, true, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			snapshot := &helmv2.Snapshot{}
			release.NoteTests(snapshot, release.Record{Tests: c.tests}, c.failed, func(test string) bool { return test != "left out" })
			g.Expect(release.Tested(snapshot)).To(Equal(c.tested))
			g.Expect(!release.TestsFailed(snapshot)).To(Equal(c.passed))
		})
	}
}

// The history reaches back to a release that may be gone back to.
// However often something fails, the history keeps what can be gone back to: a
// rollback whose hook fails is tried again and again.
func TestTheHistoryKeepsOneToGoBackTo(t *testing.T) {
	passed := &map[string]*helmv2.TestHookStatus{"t": {Phase: "Succeeded"}}
	for name, c := range map[string]struct {
		history helmv2.Snapshots
		want    int
	}{
		"one that went well":             {helmv2.Snapshots{{Version: 1, Status: "deployed", TestHooks: passed}}, 1},
		"one that was not tested":        {helmv2.Snapshots{{Version: 1, Status: "deployed"}}, 1},
		"a tested one before one not so": {helmv2.Snapshots{{Version: 2, Status: "deployed"}, {Version: 1, Status: "superseded", TestHooks: passed}}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			g, history := NewWithT(t), c.history
			for version := 3; version < 20; version++ {
				history = release.With(history, &helmv2.Snapshot{Version: version, Status: "failed"}, release.TestsPassed)
			}
			g.Expect(history).To(HaveLen(5))
			g.Expect(history[0].Version).To(Equal(19))
			g.Expect(release.Previous(history, release.TestsPassed).Version).To(Equal(c.want))
		})
	}
}

func TestTheHistoryEndsWithOneToGoBackTo(t *testing.T) {
	passed := &map[string]*helmv2.TestHookStatus{"t": {Phase: "Succeeded"}}
	before := helmv2.Snapshots{
		{Version: 4, Status: "failed"}, {Version: 3, Status: "superseded"}, {Version: 2, Status: "superseded", TestHooks: passed}, {Version: 1, Status: "superseded", TestHooks: passed},
	}
	for by, want := range map[release.Standard]int{release.NoTestFailed: 3, release.AnyTests: 3, release.TestsPassed: 2} {
		g := NewWithT(t)
		kept := release.With(before, &helmv2.Snapshot{Version: 5, Status: "pending-upgrade"}, by)
		g.Expect(kept[len(kept)-1].Version).To(Equal(want))
		g.Expect(release.Previous(kept, by).Version).To(Equal(want))
	}
}

// Whole numbers beyond those that a float64 holds come to the cluster as they are
// written.
func TestWholeNumbersAreKept(t *testing.T) {
	g := NewWithT(t)
	objects, err := release.Objects("apiVersion: v1\nkind: Thing\nmetadata: {name: a}\nspec: {serial: 9007199254740993}\n---\n# nothing\n---\n")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(objects).To(HaveLen(1))
	g.Expect(objects[0].Object["spec"]).To(Equal(map[string]any{"serial": int64(9007199254740993)}))
}

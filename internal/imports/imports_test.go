package imports

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

const module = "github.com/headwater-dev/headwater/"

// allowed says what the packages at and below a path may import of this
// module: a path names one package, a path with /... all at and below it. The
// longest path that fits a package decides.
var allowed = map[string][]string{
	// What everybody speaks of. It imports nothing but itself.
	"api":      {"api/..."},
	"api/meta": {},

	// Pure arithmetic, and the two packages that bring it to a cluster.
	"shard":        {"api/..."},
	"shard/member": {"api/...", "shard"},
	"shard/guard":  {"api/...", "shard", "internal/reconcile"},

	// Machinery that both processes share.
	"internal":         {"api/...", "internal/..."},
	"internal/app":     {"api/...", "internal/reconcile", "internal/artifact"},
	"internal/queue":   {},
	"internal/testenv": {"api/...", "internal/testenv/..."},

	// The processes. Kinds are siblings: none imports another, and only the
	// main packages import them all.
	"hub":                    {"api/...", "shard/...", "internal/...", "hub/..."},
	"hub/access":             {"api/...", "internal/..."},
	"hub/registry":           {"api/...", "internal/...", "hub/access"},
	"hub/registry/signature": {"api/...", "internal/...", "hub/access", "hub/registry"},
	"hub/git":                {"api/...", "internal/...", "hub/access"},
	"hub/source":             {"api/...", "internal/..."},
	"hub/source/sourcetest":  {"api/...", "internal/...", "hub/source"},
	"hub/source/git":         {"api/...", "internal/...", "hub/source", "hub/access", "hub/git"},
	"hub/source/oci":         {"api/...", "internal/...", "hub/source", "hub/access", "hub/registry/..."},
	"hub/source/helm":        {"api/...", "internal/...", "hub/source", "hub/source/helm/...", "hub/access", "hub/registry/..."},
	"hub/source/helm/index":  {"internal/reconcile", "hub/source/helm/aliases"},
	"hub/source/helm/chart":  {"internal/artifact", "internal/reconcile", "hub/source/helm/aliases"},
	"hub/source/bucket":      {"api/...", "internal/...", "hub/source", "hub/access"},
	"hub/image":              {"api/...", "internal/...", "hub/registry", "hub/image/..."},
	"hub/image/repository":   {"api/...", "internal/...", "hub/access", "hub/registry", "hub/image"},
	"hub/image/policy":       {"api/...", "internal/...", "hub/access", "hub/registry", "hub/image"},
	"hub/image/automation":   {"api/...", "internal/...", "hub/access", "hub/git", "hub/image"},
	"hub/fleet":              {"api/...", "shard/...", "internal/..."},
	"hub/install":            {"api/...", "shard", "internal/...", "config"},
	"hub/placement":          {"api/...", "shard/...", "internal/..."},
	"hub/why":                {"api/...", "shard", "shard/member", "internal/app", "hub/placement"},

	"agent":                   {"api/...", "shard/...", "internal/...", "agent/..."},
	"agent/kustomize":         {"api/...", "shard/...", "internal/...", "agent/kustomize/...", "agent/build", "agent/apply", "agent/expr", "agent/remote/...", "agent/wake"},
	"agent/kustomize/bases":   {"internal/gitobjects"},
	"agent/kustomize/decrypt": {"agent/kustomize/render", "agent/build"}, // in tests
	"agent/kustomize/render":  {"api/meta", "internal/artifact", "internal/reconcile", "agent/build"},
	"agent/helm":              {"api/...", "shard/...", "internal/...", "agent/helm/...", "agent/build", "agent/apply", "agent/expr", "agent/remote/...", "agent/wake"},
	"agent/helm/release":      {"api/..."},
	"agent/helm/state":        {"api/...", "agent/helm/release"},
	"agent/helm/action":       {"api/...", "agent/helm/release", "agent/apply", "agent/kustomize/bases", "internal/reconcile"},
	"agent/helm/postrender":   {"api/...", "agent/helm/release", "agent/build"},
	"agent/build":             {"internal/app", "internal/confine"},
	"agent/apply":             {"api/meta", "internal/reconcile"},
	"agent/remote":            {"api/...", "shard/...", "internal/...", "agent/remote/view"},
	"agent/remote/view":       {},
	"agent/pull":              {"api/...", "shard", "internal/..."},
	"agent/expr":              {"api/meta"},
	"agent/wake":              {"api/fleet/v1alpha1", "shard", "shard/guard"},

	// Black boxes: they start the processes, they do not link them.
	"e2e":       {"api/...", "shard", "internal/testenv/...", "e2e/stack"},
	"config":    {},
	"e2e/bench": {"api/...", "internal/testenv/...", "e2e/stack", "e2e/bench/fleet"},
	// The chaos run, and its judge, who hears nobody but the proxies.
	"e2e/chaos":       {"api/...", "internal/testenv/...", "e2e/stack", "e2e/chaos/judge"},
	"e2e/chaos/judge": {"internal/testenv"},
}

// testCode is what may import the test environment, besides tests.
var testCode = []string{"internal/testenv", "e2e", "hub/source/sourcetest"}

// testsMay is what the tests of any package may import besides.
var testsMay = []string{"api/...", "internal/testenv/...", "hub/source/sourcetest"}

// onlyIn names the places that may import a library; everybody else asks them.
var onlyIn = map[string][]string{
	"github.com/go-git":                      {"hub/git", "hub/source/git", "hub/image", "agent/kustomize/bases", "internal/gitobjects", "internal/testenv"},
	"helm.sh/helm":                           {"hub/source/helm", "agent/helm", "e2e/bench"}, // the latter as a floor
	"github.com/google/go-containerregistry": {"hub/registry", "hub/source/oci", "hub/source/helm", "hub/image", "internal/testenv"},
	"sigs.k8s.io/kustomize":                  {"agent/kustomize", "agent/helm", "agent/build", "config", "e2e/stack"},
	"github.com/getsops/sops":                {"agent/kustomize/decrypt"},
	"github.com/sigstore":                    {"hub/registry/signature", "hub/source/oci"},
	"github.com/notaryproject":               {"hub/registry/signature", "hub/source/oci"}, // the latter to sign, in tests
	"k8s.io/kubernetes":                      {},
}

// notIn names packages that do without a library, so that what they decide can
// be tested, and reasoned about, without a cluster.
var notIn = map[string][]string{
	"k8s.io/client-go":               {"shard", "api/meta"},
	"sigs.k8s.io/controller-runtime": {"shard", "api/meta"},
}

func TestImportsPointOneWay(t *testing.T) {
	var wrong []string
	for _, file := range goFiles(t) {
		pkg := filepath.ToSlash(filepath.Dir(file))
		test := strings.HasSuffix(file, "_test.go")
		for _, path := range imports(t, file) {
			ours, isOurs := strings.CutPrefix(path, module)
			if isOurs && !mayImport(pkg, ours, test) || !isOurs && !mayUse(pkg, path) {
				wrong = append(wrong, file+" imports "+path)
			}
		}
	}
	NewWithT(t).Expect(wrong).To(BeEmpty(), "the tables at the top of this file say who may import what")
}

func TestTheTableIsHeld(t *testing.T) {
	for _, tc := range []struct {
		pkg, path string
		test      bool
		want      bool
	}{
		{pkg: "hub", path: "hub/source/git", want: true},
		{pkg: "hub", path: "agent/apply"},
		{pkg: "hub", path: "agent/apply", test: true},
		{pkg: "hub/source", path: "hub/source/git"},
		{pkg: "hub/source/git", path: "hub/source", want: true},
		{pkg: "hub/source/git", path: "hub/source/oci"},
		{pkg: "agent/kustomize", path: "agent/helm"},
		{pkg: "agent/kustomize", path: "agent/remote", want: true},
		{pkg: "agent/kustomize", path: "internal/testenv"},
		{pkg: "agent/kustomize", path: "internal/testenv", test: true, want: true},
		{pkg: "agent/apply", path: "api/kustomize/v1"},
		{pkg: "api/source/v1", path: "api/meta", want: true},
		{pkg: "api/meta", path: "api/source/v1"},
		{pkg: "shard", path: "shard/member"},
		{pkg: "internal/artifact", path: "hub/source"},
		{pkg: "e2e/demo", path: "agent/remote"},
		{pkg: "elsewhere", path: "api/meta"},
		{pkg: "shard", path: "shard", test: true, want: true},
	} {
		NewWithT(t).Expect(mayImport(tc.pkg, tc.path, tc.test)).To(Equal(tc.want), "%s imports %s (test: %v)", tc.pkg, tc.path, tc.test)
	}
	for _, tc := range []struct {
		pkg, path string
		want      bool
	}{
		{"shard", "k8s.io/client-go/kubernetes", false},
		{"shard/member", "k8s.io/client-go/kubernetes", true},
		{"hub/fleet", "github.com/go-git/go-git/v5", false},
		{"hub/source/git", "github.com/go-git/go-git/v5", true},
		{"hub/fleet", "k8s.io/client-go/kubernetes", true},
		{"agent/kustomize", "k8s.io/kubernetes/pkg/apis/core", false},
		{"agent/kustomize", "fmt", true},
	} {
		NewWithT(t).Expect(mayUse(tc.pkg, tc.path)).To(Equal(tc.want), "%s imports %s", tc.pkg, tc.path)
	}
}

func mayImport(pkg, path string, test bool) bool {
	rules, row := []string(nil), ""
	for place, may := range allowed {
		if within(pkg, place) && len(place) >= len(row) {
			row, rules = place, may
		}
	}
	if row == "" {
		return false
	}
	if test && path == pkg {
		return true
	}
	if test {
		rules = slices.Concat(rules, testsMay)
	} else if within(path, "internal/testenv") && !slices.ContainsFunc(testCode, func(place string) bool { return within(pkg, place) }) {
		return false
	}
	return slices.ContainsFunc(rules, func(rule string) bool {
		tree, ok := strings.CutSuffix(rule, "/...")
		return path == rule || ok && within(path, tree)
	})
}

func mayUse(pkg, path string) bool {
	for library, packages := range notIn {
		if within(path, library) && slices.Contains(packages, pkg) {
			return false
		}
	}
	for library, places := range onlyIn {
		if within(path, library) {
			return slices.ContainsFunc(places, func(place string) bool { return within(pkg, place) })
		}
	}
	return true
}

func within(path, tree string) bool {
	return path == tree || strings.HasPrefix(path, tree+"/")
}

// goFiles lists the module's Go files, relative to its root.
func goFiles(t *testing.T) []string {
	root := os.DirFS("../..")
	var files []string
	NewWithT(t).Expect(fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && path != "." {
			_, notOurs := fs.Stat(root, path+"/go.mod")
			if notOurs == nil || entry.Name() == "testdata" || strings.HasPrefix(entry.Name(), ".") {
				return fs.SkipDir
			}
		}
		if strings.HasSuffix(path, ".go") {
			files = append(files, path)
		}
		return nil
	})).To(Succeed())
	NewWithT(t).Expect(files).NotTo(BeEmpty())
	return files
}

func imports(t *testing.T, file string) []string {
	g := NewWithT(t)
	parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join("../..", file), nil, parser.ImportsOnly)
	g.Expect(err).NotTo(HaveOccurred())
	var paths []string
	for _, spec := range parsed.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		g.Expect(err).NotTo(HaveOccurred())
		paths = append(paths, path)
	}
	return paths
}

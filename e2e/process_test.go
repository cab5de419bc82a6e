package e2e

import (
	"debug/buildinfo"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// The flux CLI reads logs by these keys (FLUX.md §2.6).
func TestLogLinesAreFluxs(t *testing.T) {
	n := newTenant(t, map[string]string{"kustomization.yaml": "resources: [nosuch.yaml]\n"})
	n.cluster("one")
	ks := n.kustomization("one", "one")
	n.create(n.source(), ks)
	n.becomes(ks, HavePrefix("False BuildFailed"))

	n.Eventually(func() []map[string]any { return linesOf(n.namespace) }).Should(ContainElement(SatisfyAll(
		HaveKeyWithValue("level", "error"),
		HaveKeyWithValue("ts", MatchRegexp(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d`)),
		HaveKeyWithValue("msg", "reconciliation failed"),
		HaveKeyWithValue("controller", "kustomization"),
		HaveKeyWithValue("controllerGroup", "kustomize.toolkit.fluxcd.io"),
		HaveKeyWithValue("controllerKind", "Kustomization"),
		HaveKeyWithValue("Kustomization", HaveKeyWithValue("name", "one")),
		HaveKeyWithValue("namespace", n.namespace),
		HaveKeyWithValue("name", "one"),
		HaveKey("reconcileID"),
		HaveKeyWithValue("error", ContainSubstring("nosuch.yaml")),
	)))
}

// linesOf are the log lines about a namespace.
func linesOf(namespace string) []map[string]any {
	var found []map[string]any
	for line := range strings.Lines(shared.product.Logs(100000)) {
		entry := map[string]any{}
		if json.Unmarshal([]byte(line), &entry) == nil && entry["namespace"] == namespace {
			found = append(found, entry)
		}
	}
	return found
}

func TestFlags(t *testing.T) {
	cases := []struct {
		name string
		args []string
		code int
		want string
	}{
		{name: "hub", args: []string{"--help"}, want: "--storage-adv-addr"},
		{name: "agent", args: []string{"--help"}, want: "--fence-duration"},
		{name: "hub", args: []string{"--nosuch"}, code: 1, want: "unknown flag: --nosuch"},
		{name: "hub", args: []string{"stray"}, code: 1, want: `unexpected argument "stray"`},
		{name: "agent", args: []string{"--log-level=loud"}, code: 1, want: `--log-level "loud": want error, info, debug or trace`},
		{name: "agent", args: []string{"--concurrent=0"}, code: 1, want: "--concurrent 0: want 1 or more"},
		{name: "hub", args: []string{"--max-source-timeout=-1m"}, code: 1, want: "--max-source-timeout -1m0s: want 0 or more"},
		{name: "agent", args: []string{"--kubeconfig=/nosuch"}, code: 1, want: "access to the hub (--kubeconfig"},
		{name: "hub", code: 1, want: "or a Pod's ServiceAccount): there is none of these, or nothing in it"},
		{name: "hub", args: []string{"agent", "install", "--cluster=prod", "--export"}, code: 1, want: "access to the hub (--hub-kubeconfig, "},
	}
	for _, c := range cases {
		t.Run(c.name+" "+strings.Join(c.args, " "), func(t *testing.T) {
			g := NewWithT(t)
			command := exec.CommandContext(t.Context(), filepath.Join("..", "bin", c.name), c.args...)
			command.Env = []string{"KUBECONFIG=/nosuch"}
			output, err := command.CombinedOutput()
			g.Expect(command.ProcessState.ExitCode()).To(Equal(c.code), "%v", err)
			g.Expect(string(output)).To(ContainSubstring(c.want))
		})
	}
}

// A binary says which version it is of: that of the tag it is built from, or the
// commit, where the build is stamped.
func TestVersion(t *testing.T) {
	for _, name := range []string{"hub", "agent"} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			binary := filepath.Join("..", "bin", name)
			output, err := exec.CommandContext(t.Context(), binary, "--version").Output()
			g.Expect(err).NotTo(HaveOccurred())
			info, err := buildinfo.ReadFile(binary)
			g.Expect(err).NotTo(HaveOccurred())
			want := `\(devel\)`
			for _, setting := range info.Settings {
				if setting.Key == "vcs.revision" {
					want = `v\d+\.\d+\.\d+(-rc\.\d+)?|v\S+-` + setting.Value[:12]
				}
			}
			g.Expect(string(output)).To(MatchRegexp(`^(` + want + `)(\+dirty)?\n$`))
		})
	}
}

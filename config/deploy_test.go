package config_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/headwater-dev/headwater/internal/testenv"
)

// user is somebody at a shell in the repository, with a kubeconfig.
type user struct {
	*WithT
	t          *testing.T
	kubeconfig string
}

// run returns what the command prints. Nothing of a make that runs the tests gets
// to one that they run.
func (u user) run(name string, args ...string) (string, error) {
	u.t.Helper()
	command := exec.CommandContext(u.t.Context(), name, args...)
	command.Dir = ".."
	for _, variable := range os.Environ() {
		switch key, _, _ := strings.Cut(variable, "="); key {
		case "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "IMAGE_PREFIX", "TAG", "OVERLAY", "FORCE", "KUBECONFIG":
		default:
			command.Env = append(command.Env, variable)
		}
	}
	command.Env = append(command.Env, "KUBECONFIG="+u.kubeconfig)
	output, err := command.CombinedOutput()
	return string(output), err
}

func (u user) must(name string, args ...string) string {
	u.t.Helper()
	output, err := u.run(name, args...)
	u.Expect(err).NotTo(HaveOccurred(), output)
	return output
}

// newUser has a cluster with nothing in it.
func newUser(t *testing.T) user {
	t.Helper()
	content, err := testenv.ForTest(t, testenv.Options{}).Kubeconfig()
	u := user{NewWithT(t), t, filepath.Join(t.TempDir(), "kubeconfig")}
	u.Expect(err).NotTo(HaveOccurred())
	u.Expect(os.WriteFile(u.kubeconfig, content, 0o600)).To(Succeed())
	bin, err := filepath.Abs("../bin") // where make services puts kubectl if there is none
	u.Expect(err).NotTo(HaveOccurred())
	t.Setenv("PATH", os.Getenv("PATH")+string(os.PathListSeparator)+bin)
	return u
}

// blocks are what a page shows in a language.
func (u user) blocks(page, language string) []string {
	u.t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "docs", page))
	u.Expect(err).NotTo(HaveOccurred())
	var found []string
	for _, block := range regexp.MustCompile("(?ms)^ *```"+language+"\n(.*?)^ *```$").FindAllStringSubmatch(string(content), -1) {
		found = append(found, block[1])
	}
	return found
}

// TestImagesHaveAPlaceOfOnesOwn: a default would be somebody's at a public
// registry.
func TestImagesHaveAPlaceOfOnesOwn(t *testing.T) {
	u := user{NewWithT(t), t, os.DevNull}
	for _, target := range []string{"deploy", "images"} {
		output, err := u.run("make", "--dry-run", target)
		u.Expect(err).To(HaveOccurred(), target)
		u.Expect(output).To(ContainSubstring("IMAGE_PREFIX is missing"))
		u.Expect(u.must("make", "--dry-run", target, "IMAGE_PREFIX=registry.example.com/headwater")).NotTo(BeEmpty())
	}
}

// TestDeployWhereFluxWas is how a cluster comes from Flux: its CRDs belong to
// Flux's installer, and its objects stay.
func TestDeployWhereFluxWas(t *testing.T) {
	u := newUser(t)
	u.must("kubectl", "apply", "--server-side", "--field-manager=flux", "-f", "api/conformance/testdata/flux")
	u.must("kubectl", "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
	u.must("kubectl", "apply", "-f", "config/default/namespace.yaml", "-f", "config/samples/gitrepository.yaml")
	for name, image := range map[string]string{
		"source-controller": "source-controller", "kustomize-controller-shard1": "kustomize-controller", "notification-controller": "notification-controller",
	} {
		u.must("kubectl", "create", "-n", "flux-system", "deployment", name, "--image=ghcr.io/fluxcd/"+image+":v1.9.0")
		u.must("kubectl", "label", "-n", "flux-system", "deployment", name, "app.kubernetes.io/part-of=flux")
	}
	flux := func() string {
		return u.must("kubectl", "get", "-n", "flux-system", "deployments", "-l", "app.kubernetes.io/part-of=flux", "-o",
			`jsonpath={range .items[?(@.metadata.name!="headwater-hub")]}{.metadata.name} {.spec.replicas} {.metadata.annotations.kustomize\.toolkit\.fluxcd\.io/reconcile}{"\n"}{end}`)
	}
	running := flux()
	steps := u.blocks("from-flux.md", "sh")
	u.must("bash", "-ec", steps[0]+steps[1])
	u.Expect(flux()).To(Equal("kustomize-controller-shard1 0 disabled\nnotification-controller 1 \nsource-controller 0 disabled\n"))
	before := u.must("kubectl", "get", "-f", "config/samples/gitrepository.yaml", "-o", "yaml")

	for range 2 { // the second time over its own objects
		u.must("make", "deploy", "IMAGE_PREFIX=registry.example.com/headwater", "TAG=v0.0.1")
	}
	image := func(workload string) string {
		return u.must("kubectl", "get", "-n", "flux-system", workload, "-o", "jsonpath={.spec.template.spec.containers[0].image}")
	}
	u.Expect(image("deployment/headwater-hub")).To(Equal("registry.example.com/headwater/hub:v0.0.1"))
	u.Expect(image("statefulset/agent")).To(Equal("registry.example.com/headwater/agent:v0.0.1"))
	u.Expect(u.must("kubectl", "get", "crd", "gitrepositories.source.toolkit.fluxcd.io", "-o", "jsonpath={.spec.versions[*].name}")).
		To(ContainSubstring("v1beta2"), "ours are there")
	u.Expect(u.must("kubectl", "get", "-f", "config/samples/gitrepository.yaml", "-o", "yaml")).To(Equal(before), "no object was touched")

	functions, _, _ := strings.Cut(steps[0], "kubectl annotate")
	u.must("bash", "-ec", functions+steps[2])
	u.Expect(flux()).To(Equal(running), "and back")
}

// TestFlagsOutliveTheNextDeploy: those of the page, which keep tenants apart.
func TestFlagsOutliveTheNextDeploy(t *testing.T) {
	u := newUser(t)
	overlay, root := t.TempDir(), u.must("pwd", "-P")
	base, err := filepath.Rel(overlay, filepath.Join(strings.TrimSpace(root), "config", "default"))
	u.Expect(err).NotTo(HaveOccurred())
	content := strings.Replace(u.blocks("flags.md", "yaml")[0], "- ../default\n", "- "+base+"\n", 1)
	u.Expect(os.WriteFile(filepath.Join(overlay, "kustomization.yaml"), []byte(content), 0o600)).To(Succeed())
	deploy := func(more ...string) (string, error) {
		return u.run("make", append([]string{"deploy", "IMAGE_PREFIX=registry.example.com/headwater", "OVERLAY=" + overlay}, more...)...)
	}
	args := func(workload string) string {
		return u.must("kubectl", "get", "-n", "flux-system", workload, "-o", "jsonpath={.spec.template.spec.containers[0].args}")
	}

	for _, tag := range []string{"v0.0.1", "v0.0.2"} { // an upgrade
		output, err := deploy("TAG=" + tag)
		u.Expect(err).NotTo(HaveOccurred(), output)
		u.Expect(args("deployment/headwater-hub")).To(And(ContainSubstring("--storage-path="), ContainSubstring(`"--no-cross-namespace-refs"`)))
		u.Expect(args("statefulset/agent")).To(And(ContainSubstring("--hub-service-account="), ContainSubstring(`"--default-service-account=tenant"`)))
	}

	u.must("kubectl", "patch", "-n", "flux-system", "statefulset/agent", "--field-manager=kubectl-edit", "--type=json",
		`--patch=[{"op":"replace","path":"/spec/template/spec/containers/0/args","value":["--log-level=debug"]}]`)
	output, err := deploy()
	u.Expect(err).To(HaveOccurred())
	u.Expect(output).To(And(ContainSubstring("conflict"), ContainSubstring("kubectl-edit")))
	output, err = deploy("FORCE=1")
	u.Expect(err).NotTo(HaveOccurred(), output)
	u.Expect(args("statefulset/agent")).To(ContainSubstring(`"--default-service-account=tenant"`))
}

package config_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
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
		case "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "IMAGE_PREFIX", "TAG", "KUBECONFIG":
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

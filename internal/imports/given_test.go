package imports

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// given are the libraries that Headwater is asked to stand on, and whether
// something here stands on them by now: each joins with the first kind that
// needs it.
var given = map[string]bool{
	"sigs.k8s.io/controller-runtime":         true,
	"k8s.io/client-go":                       true,
	"github.com/go-git/go-git/v5":            true,
	"sigs.k8s.io/kustomize/api":              true,
	"github.com/hashicorp/golang-lru/v2":     true,
	"sigs.k8s.io/cluster-api":                true,
	"helm.sh/helm/v3":                        true,
	"github.com/google/go-containerregistry": true,
}

func TestWhatWasGivenIsUsed(t *testing.T) {
	g := NewWithT(t)
	direct := directRequirements(t)
	linked := linkedModules(t)
	for module, used := range given {
		g.Expect(slices.Contains(direct, module)).To(Equal(used), "%s is a direct requirement in go.mod", module)
		g.Expect(slices.Contains(linked, module)).To(Equal(used), "%s is linked into hub or agent", module)
	}
}

func directRequirements(t *testing.T) []string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json")
	command.Dir = "../.."
	output, err := command.Output()
	g := NewWithT(t)
	g.Expect(err).NotTo(HaveOccurred())
	var file struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	g.Expect(json.Unmarshal(output, &file)).To(Succeed())
	var direct []string
	for _, required := range file.Require {
		if !required.Indirect {
			direct = append(direct, required.Path)
		}
	}
	return direct
}

func linkedModules(t *testing.T) []string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "./hub", "./agent")
	command.Dir = "../.."
	output, err := command.Output()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	modules := strings.Fields(string(output))
	slices.Sort(modules)
	return slices.Compact(modules)
}

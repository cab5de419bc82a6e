package e2e

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/testenv"
)

// administrator is a kubeconfig file for an administrator of a control plane.
func administrator(t *testing.T, plane *testenv.ControlPlane) string {
	t.Helper()
	content, err := plane.Kubeconfig()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	path := filepath.Join(t.TempDir(), "kubeconfig")
	NewWithT(t).Expect(os.WriteFile(path, content, 0o600)).To(Succeed())
	return path
}

// why runs hub why, and returns its answer, its error and its exit code.
func (n *tenant) why(file string, args ...string) (answer, failure string, code int) {
	n.t.Helper()
	args = append([]string{"why", "--kubeconfig=" + file, "--namespace=" + n.namespace}, args...)
	command := exec.CommandContext(n.t.Context(), filepath.Join("..", "bin", "hub"), args...)
	var out, log bytes.Buffer
	command.Stdout, command.Stderr = &out, &log
	err := command.Run()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		return out.String(), log.String(), ended.ExitCode()
	}
	n.Expect(err).NotTo(HaveOccurred())
	return out.String(), log.String(), 0
}

func TestWhyExplainsWhatOneSees(t *testing.T) {
	n := newTenant(t, map[string]string{"one.yaml": configMap("one", "1")})
	file := administrator(t, shared.hub)
	n.cluster("prod")
	apps := n.kustomization("apps", "prod")
	n.create(n.source(), apps)
	n.becomes(apps, HavePrefix("True "))
	owner := n.agentOf("prod")

	t.Run("in order", func(t *testing.T) {
		g := NewWithT(t)
		g.Eventually(func() int { _, _, code := n.why(file, "ks/apps"); return code }, patience).Should(BeZero())
		answer, _, _ := n.why(file, "kustomization/apps", "--target-kubeconfig="+administrator(t, shared.target),
			"--debug-addr=http://"+shared.agents[owner].Address)
		g.Expect(answer).To(And(
			HavePrefix("Kustomization "+n.namespace+"/apps is ready"),
			ContainSubstring(owner+": the record, RemoteCluster "+n.namespace+"/prod, gives it the key "+n.namespace+"/prod/value with epoch "),
			ContainSubstring("The routing label fleet.headwater.dev/agent agrees."),
			ContainSubstring("AgentPool default serves it."),
			ContainSubstring(owner+" is alive"),
			Or(ContainSubstring("Held by "+owner+"_"), ContainSubstring("Nobody holds it; it is")),
			ContainSubstring("kept in the target as Lease kube-system/headwater-fence-"),
			ContainSubstring("Waits for\n  Nothing."),
			ContainSubstring(owner+" reaches the target (breaker closed)."),
			ContainSubstring("0 objects wait for a turn"),
		))
	})
	t.Run("a cluster", func(t *testing.T) {
		g := NewWithT(t)
		answer, _, code := n.why(file, "rcl/prod")
		g.Expect(answer).To(And(HavePrefix("RemoteCluster "+n.namespace+"/prod is connected"), ContainSubstring("--target-kubeconfig reads who holds it")))
		g.Expect(code).To(BeZero())
	})
	t.Run("a release", func(t *testing.T) {
		g := NewWithT(t)
		n.create(&helmv2.HelmRelease{ObjectMeta: n.meta("web"), Spec: helmv2.HelmReleaseSpec{
			Suspend: true, Interval: metav1.Duration{Duration: time.Hour},
			ChartRef:   &helmv2.CrossNamespaceSourceReference{Kind: "HelmChart", Name: "web"},
			KubeConfig: &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: "prod"}},
		}})
		g.Eventually(func() string { answer, _, _ := n.why(file, "hr/web"); return answer }, patience).Should(And(
			HavePrefix("HelmRelease "+n.namespace+"/web is suspended."), ContainSubstring("spec.suspend is true"), ContainSubstring("The routing label fleet.headwater.dev/agent agrees.")))
	})
	t.Run("suspended", func(t *testing.T) {
		g := NewWithT(t)
		patch := client.RawPatch(types.MergePatchType, []byte(`{"spec": {"suspend": true}}`))
		g.Expect(shared.onHub.Patch(t.Context(), apps, patch)).To(Succeed())
		answer, _, code := n.why(file, "ks/apps")
		g.Expect(answer).To(ContainSubstring("Somebody to end the suspension"))
		g.Expect(code).To(Equal(3))
	})
}

func TestWhyExplainsWhatIsAmiss(t *testing.T) {
	n := newTenant(t, map[string]string{"one.yaml": configMap("one", "1")})
	file := administrator(t, shared.hub)
	dark := n.cluster("dark")
	dark.Drop()
	lost := n.kustomization("lost", "dark")
	n.create(lost,
		&fleetv1.RemoteCluster{ObjectMeta: n.meta("nobodys"), Spec: fleetv1.RemoteClusterSpec{
			KubeConfig:    &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: "gone"}},
			AgentSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"zone": "nowhere"}},
		}},
		func() client.Object {
			k := n.kustomization("first", "dark")
			k.Spec.DependsOn = []meta.DependencyReference{{Name: "nosuch"}}
			return k
		}())
	said := func(object string, want ...string) {
		t.Helper()
		for _, part := range want {
			n.Eventually(func() string { answer, _, _ := n.why(file, object); return answer }).Should(ContainSubstring(part))
		}
		_, _, code := n.why(file, object)
		n.Expect(code).To(Equal(3))
	}
	said("rcl/nobodys", "Nobody: the record", `no live agent matches spec.agentSelector zone=nowhere`)
	said("rcl/dark", "is not connected", "The target to be reached: ")
	said("ks/lost", "Its source, GitRepository "+n.namespace+"/repo, which does not exist.", "The target to be reached: ")
	said("ks/first", "Its dependency, Kustomization "+n.namespace+"/nosuch, which does not exist.")
}

func TestWhySaysWhatItCannotTell(t *testing.T) {
	n := newTenant(t, map[string]string{"one.yaml": configMap("one", "1")})
	file := administrator(t, shared.hub)
	n.cluster("prod")
	n.create(n.source(), n.kustomization("apps", "prod"))
	n.becomes(&kustomizev1.Kustomization{ObjectMeta: n.meta("apps")}, HavePrefix("True "))
	stranger := other(n.agentOf("prod"))

	limited, err := shared.hub.ServiceAccount(t.Context(), n.namespace, "reader", nil)
	n.Expect(err).NotTo(HaveOccurred())
	reader := filepath.Join(t.TempDir(), "kubeconfig")
	n.Expect(os.WriteFile(reader, limited, 0o600)).To(Succeed())

	empty := httptest.NewServer(http.NotFoundHandler())
	defer empty.Close()
	for _, tc := range []struct {
		file string
		args []string
		want string
		code int
	}{
		{file, []string{"ks/nosuch"}, "there is no Kustomization nosuch in namespace " + n.namespace + ": name another with -n", 1},
		{file, []string{"ks"}, "names no object", 2},
		{administrator(t, shared.target), []string{"ks/apps"}, "so it is not the hub: name the hub's kubeconfig with --kubeconfig", 1},
		{reader, []string{"ks/apps"}, "forbidden", 1},
		{file, []string{"ks/apps", "--live"}, "there is no Pod flux-system/" + n.agentOf("prod") + ": name the agent's address with --debug-addr", 1},
		{file, []string{"ks/apps", "--debug-addr=http://" + shared.agents[stranger].Address}, "agent " + stranger + " has answered", 1},
		{file, []string{"ks/apps", "--debug-addr=" + empty.URL}, "start the agents with --debug-targets", 1},
	} {
		_, failure, code := n.why(tc.file, tc.args...)
		n.Expect(failure).To(ContainSubstring(tc.want))
		n.Expect(code).To(Equal(tc.code), failure)
	}
}

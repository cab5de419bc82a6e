package why

import (
	"bytes"
	"errors"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/spf13/pflag"
)

func TestObjectsAreNamedAsPeopleDo(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
		err  string
	}{
		{args: []string{"kustomization/apps"}, want: "Kustomization apps"},
		{args: []string{"Kustomizations/apps"}, want: "Kustomization apps"},
		{args: []string{"ks/apps"}, want: "Kustomization apps"},
		{args: []string{"kustomization.kustomize.toolkit.fluxcd.io/apps"}, want: "Kustomization apps"},
		{args: []string{"ks", "apps"}, want: "Kustomization apps"},
		{args: []string{"hr/web"}, want: "HelmRelease web"},
		{args: []string{"helmreleases/web"}, want: "HelmRelease web"},
		{args: []string{"rcl/prod"}, want: "RemoteCluster prod"},
		{args: []string{"remoteclusters/prod"}, want: "RemoteCluster prod"},
		{err: "the object is missing"},
		{args: []string{"ks"}, err: `"ks" names no object`},
		{args: []string{"ks/a/b"}, err: `"ks/a/b" names no object`},
		{args: []string{"pod/web"}, err: `kind "pod" cannot be explained`},
		{args: []string{"ks/a", "ks/b"}, err: `unexpected argument "ks/b"`},
		{args: []string{"ks", "a", "b"}, err: `unexpected argument "b"`},
	} {
		g := NewWithT(t)
		kind, name, err := parseObject(tc.args)
		if tc.err != "" {
			g.Expect(err).To(MatchError(ContainSubstring(tc.err)))
			continue
		}
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(kind + " " + name).To(Equal(tc.want))
	}
}

func TestTheCommandLine(t *testing.T) {
	g := NewWithT(t)
	var out bytes.Buffer
	g.Expect(run(t.Context(), []string{"--help"}, &out)).To(MatchError(pflag.ErrHelp))
	g.Expect(out.String()).To(And(ContainSubstring("hub why KIND/NAME"), ContainSubstring("Exit codes"), ContainSubstring("--debug-addr")))
	for _, args := range [][]string{nil, {"pod/a"}, {"--nonsense", "ks/a"}} {
		err := run(t.Context(), args, &out)
		var coded *exit
		g.Expect(errors.As(err, &coded)).To(BeTrue())
		g.Expect(coded.ExitCode()).To(Equal(2))
		g.Expect(err).To(MatchError(ContainSubstring("hub why --help")))
	}
}

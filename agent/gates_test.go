package main

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/spf13/pflag"

	"github.com/headwater-dev/headwater/internal/reconcile"
)

func TestFlagsOfKustomizations(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		err  string
	}{
		"gates":           {args: []string{"--feature-gates=ExternalArtifact=true,AdditiveCELDependencyCheck=true,CancelHealthCheckOnNewRevision=true"}},
		"an unknown gate": {args: []string{"--feature-gates=Other=true"}, err: "there is no feature gate Other here: there are AdditiveCELDependencyCheck, "},
		"no value":        {args: []string{"--feature-gates=ExternalArtifact"}, err: "want Name=true or Name=false"},
		"always on":       {args: []string{"--feature-gates=CancelHealthCheckOnNewRevision=false"}, err: "CancelHealthCheckOnNewRevision cannot be turned off"},
		"a bad selector":  {args: []string{"--watch-configs-label-selector=a in"}, err: "watch-configs-label-selector"},
		"a selector":      {args: []string{"--watch-configs-label-selector=team=a"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var o options
			flags := pflag.NewFlagSet("agent", pflag.ContinueOnError)
			o.bind(flags)
			err := flags.Parse(c.args)
			if c.err != "" {
				g.Expect(err).To(MatchError(ContainSubstring(c.err)))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(o.kustomizations.ExternalArtifacts).To(Equal(name == "gates"))
			g.Expect(o.kustomizations.AdditiveReadyExpr).To(Equal(name == "gates"))
			g.Expect(o.kustomizations.WatchConfigs != nil).To(Equal(name == "a selector"))
		})
	}
}

// TestReleasesKeepTheAgentsPace: flags of Flux's helm-controller mean the same
// here, and those of drift the same for both kinds.
func TestReleasesKeepTheAgentsPace(t *testing.T) {
	g := NewWithT(t)
	var o options
	flags := pflag.NewFlagSet("agent", pflag.ContinueOnError)
	o.bind(flags)
	g.Expect(flags.Parse([]string{"--min-retry-delay=1s", "--max-retry-delay=2m", "--drift-detection=poll", "--full-check-interval=3h"})).To(Succeed())
	g.Expect(o.releases().Retries).To(Equal(reconcile.Pace{MinRetryDelay: time.Second, MaxRetryDelay: 2 * time.Minute}))
	g.Expect(o.releases().Poll).To(BeTrue())
	g.Expect(o.releases().FullCheck).To(Equal(3 * time.Hour))
}

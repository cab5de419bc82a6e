package main

import (
	"reflect"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/headwater-dev/headwater/agent/helm"
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

// parsed are the options that the arguments make.
func parsed(t *testing.T, args ...string) *options {
	t.Helper()
	var o options
	flags := pflag.NewFlagSet("agent", pflag.ContinueOnError)
	o.bind(flags)
	NewWithT(t).Expect(flags.Parse(args)).To(Succeed())
	return &o
}

// Flags of Flux's helm-controller mean the same here, and those of drift the same
// for both kinds.
func TestFlagsArriveAtReleases(t *testing.T) {
	g := NewWithT(t)
	all := parsed(t, "--feature-gates=ExternalArtifact=true,AdditiveCELDependencyCheck=true,AllowDNSLookups=true",
		"--feature-gates=DefaultToRetryOnFailure=true,DisableChartDigestTracking=true",
		"--requeue-dependency=7s", "--no-cross-namespace-refs", "--default-service-account=team", "--watch-configs-label-selector=team=a",
		"--concurrent-per-cluster=9", "--min-retry-delay=1s", "--max-retry-delay=2m", "--drift-detection=poll", "--full-check-interval=3h").releases()
	g.Expect(all).To(Equal(helm.Options{
		RequeueDependency:     7 * time.Second,
		NoCrossNamespaceRefs:  true,
		DefaultServiceAccount: "team",
		ExternalArtifacts:     true,
		AdditiveReadyExpr:     true,
		AllowDNSLookups:       true,
		RetryByDefault:        true,
		IgnoreChartDigest:     true,
		WatchConfigs:          labels.SelectorFromSet(labels.Set{"team": "a"}),
		Poll:                  true,
		FullCheck:             3 * time.Hour,
		PerCluster:            9,
		Retries:               reconcile.Pace{MinRetryDelay: time.Second, MaxRetryDelay: 2 * time.Minute},
	}))
	of := reflect.ValueOf(all)
	for i := range of.NumField() {
		if name := of.Type().Field(i).Name; name != "AtOnce" { // follows from the machine
			g.Expect(of.Field(i).IsZero()).To(BeFalse(), "%s has no flag above", name)
		}
	}
}

func TestEachGateOfReleasesIsForOneThing(t *testing.T) {
	for name, turnOn := range map[string]func(*helm.Options){
		"ExternalArtifact":           func(o *helm.Options) { o.ExternalArtifacts = true },
		"AdditiveCELDependencyCheck": func(o *helm.Options) { o.AdditiveReadyExpr = true },
		"AllowDNSLookups":            func(o *helm.Options) { o.AllowDNSLookups = true },
		"DefaultToRetryOnFailure":    func(o *helm.Options) { o.RetryByDefault = true },
		"DisableChartDigestTracking": func(o *helm.Options) { o.IgnoreChartDigest = true },
	} {
		t.Run(name, func(t *testing.T) {
			want := parsed(t).releases()
			turnOn(&want)
			NewWithT(t).Expect(parsed(t, "--feature-gates="+name+"=true").releases()).To(Equal(want))
		})
	}
}

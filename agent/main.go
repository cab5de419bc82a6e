// Command agent applies Kustomizations and HelmReleases to the target clusters that it owns.
package main

import (
	"context"

	"github.com/headwater-dev/headwater/agent/build"
	"github.com/headwater-dev/headwater/agent/helm"
	"github.com/headwater-dev/headwater/agent/kustomize"
	"github.com/headwater-dev/headwater/internal/app"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/shard/member"
)

// builds and postRenders are how many may be built at once: what they take at most fits
// beside the agent into the memory that config/agent gives it. Neither waits for the other.
const builds, postRenders = 3, 1

func main() {
	var o options
	app.Run(app.Program{
		Name:     "agent",
		About:    "The agent applies Kustomizations and HelmReleases to the target clusters that placement has given it.\nRun as many as the fleet needs, each under a name of its own.",
		Scheme:   scheme(),
		Connect:  o.connect,
		Flags:    o.bind,
		Cache:    o.cache,
		Commands: build.Commands(),
		Setup: func(ctx context.Context, a *app.App) error {
			go boundGarbage(ctx)
			artifacts, err := artifact.NewCache(o.artifacts)
			if err != nil {
				return err
			}
			targets, err := o.targets(ctx, a)
			if err != nil {
				return err
			}
			meter := &member.Meter{}
			return a.Add(append(o.inside(),
				o.member(a, targets.Identity, meter),
				targets,
				&kustomize.Reconciler{
					Targets: targets, Artifacts: artifacts, Events: a.Events, Sources: o.sources(a), Meter: meter.Begin,
					Builder: build.New(builds, o.buildMemory), Options: o.kustomizations, Builds: o.builds(o.namespace(a)), Drift: o.drift,
				},
				&helm.Reconciler{
					Targets: targets, Artifacts: artifacts, Events: a.Events, Sources: o.sources(a), Meter: meter.Begin,
					Builder: build.New(postRenders, o.buildMemory), Options: o.releases(),
				},
			)...)
		},
	})
}

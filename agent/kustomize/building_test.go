package kustomize

import (
	"context"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/headwater-dev/headwater/agent/remote"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// startBuilding runs an agent that builds as the options say.
func (e *env) startBuilding(builds BuildOptions) {
	e.t.Helper()
	mgr, err := ctrl.NewManager(shared.ControlPlane(e.t).Config(), ctrl.Options{
		Scheme:     e.scheme,
		Metrics:    server.Options{BindAddress: "0"},
		Cache:      cache.Options{DefaultNamespaces: map[string]cache.Config{e.namespace: {}}},
		Controller: ctrlconfig.Controller{SkipNameValidation: ptr.To(true)},
	})
	e.Expect(err).NotTo(HaveOccurred())
	recorder := reconcile.NewRecorder(e.events, e.scheme, "headwater-agent", "")
	clusters := &remote.Clusters{
		HubUID: e.namespace, Agent: "agent-0", Identity: "agent-0_1", Namespace: e.namespace, Events: recorder, Workers: 8,
		Fence: remote.FenceOptions{Namespace: e.namespace, Duration: 30 * time.Second, Request: 10 * time.Second, Idle: 30 * time.Second},
	}
	e.Expect(clusters.AddToManager(mgr)).To(Succeed())
	artifacts, err := artifact.NewCache(artifact.CacheOptions{Dir: e.t.TempDir()})
	e.Expect(err).NotTo(HaveOccurred())
	e.Expect((&Reconciler{
		Targets: targets{clusters, e.wrap}, Artifacts: artifacts, Events: recorder, Builds: builds, Options: e.options,
	}).AddToManager(mgr)).To(Succeed())
	ctx, cancel := context.WithCancel(e.t.Context())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	e.t.Cleanup(func() {
		cancel()
		e.Expect(<-done).To(Succeed())
	})
}

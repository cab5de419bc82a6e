package helm_test

import (
	"context"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/source/helm"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const patience = 30 * time.Second

// startCharts runs the controllers of HelmRepository and HelmChart against a real
// API server, with the artifacts in the directory.
func startCharts(t *testing.T, dir string) client.Client {
	t.Helper()
	g := NewWithT(t)
	ctrl.SetLogger(logr.Discard())
	scheme := runtime.NewScheme()
	g.Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	g.Expect(sourcev1.AddToScheme(scheme)).To(Succeed())
	plane := controlPlane.ControlPlane(t)
	mgr, err := ctrl.NewManager(plane.Config(), ctrl.Options{
		Scheme:     scheme,
		Metrics:    server.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: new(true)}, // one of each for each test of this process
	})
	g.Expect(err).NotTo(HaveOccurred())
	store, err := artifact.NewStore(artifact.StoreOptions{Dir: dir, AdvertisedAddr: "hub.test:9090"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect((&helm.Controller{
		Store: store, Events: reconcile.NewRecorder(record.NewFakeRecorder(100), scheme, "source-controller", ""),
	}).AddToManager(mgr)).To(Succeed())
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		NewWithT(t).Eventually(stopped, patience).Should(Receive(BeNil()))
	})
	admin, err := plane.Client(scheme)
	g.Expect(err).NotTo(HaveOccurred())
	return admin
}

// The charts of a registry are looked at with the HelmRepository's login: they
// follow a change of it, although the HelmRepository has no artifact that changes.
func TestAChangedLoginWakesTheChartsOfARegistry(t *testing.T) {
	g := NewWithT(t)
	on := startCharts(t, t.TempDir())
	named := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "team", Name: name} }
	login := &corev1.Secret{
		ObjectMeta: named("login"), StringData: map[string]string{"username": "flux", "password": "s3cret"},
	}
	login.Labels = map[string]string{meta.WatchLabel: "Enabled"}
	chart := &sourcev1.HelmChart{ObjectMeta: named("app"), Spec: sourcev1.HelmChartSpec{
		Chart: "podinfo", Version: "6.x", Interval: metav1.Duration{Duration: time.Hour},
		SourceRef: sourcev1.LocalHelmChartSourceReference{Kind: "HelmRepository", Name: "registry"},
	}}
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}}, login,
		&sourcev1.HelmRepository{ObjectMeta: named("registry"), Spec: sourcev1.HelmRepositorySpec{
			Type: "oci", URL: ociCharts(t, "6.14.1"), Insecure: true, SecretRef: &meta.LocalObjectReference{Name: "login"},
		}},
		chart,
	} {
		g.Expect(on.Create(t.Context(), o)).To(Succeed())
	}
	ready := func() string {
		if err := on.Get(t.Context(), client.ObjectKeyFromObject(chart), chart); err != nil {
			return err.Error()
		}
		return condition(chart, "Ready")
	}
	g.Eventually(ready, patience).Should(HavePrefix("True"))

	login.StringData = map[string]string{"password": "old"}
	g.Expect(on.Update(t.Context(), login)).To(Succeed())
	g.Eventually(ready, patience).Should(HavePrefix("False AuthenticationFailed HelmRepository team/registry"))
}

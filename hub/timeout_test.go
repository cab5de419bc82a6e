package main

import (
	"net"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	imagev1 "github.com/headwater-dev/headwater/api/image/v1"
	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/internal/app"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// startSilent returns the address of a server that takes connections and never
// answers.
func startSilent(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
		}
	}()
	return listener.Addr().String()
}

// startHub runs all of the hub with the flags.
func startHub(t *testing.T, args ...string) client.Client {
	t.Helper()
	ctrl.SetLogger(logr.Discard())
	g, hub := NewWithT(t), shared.ControlPlane(t)
	var o options
	flags := pflag.NewFlagSet("hub", pflag.ContinueOnError)
	o.bind(flags)
	g.Expect(flags.Parse(append(args, "--storage-path="+t.TempDir(), "--image-storage-path="+t.TempDir(),
		"--storage-addr=127.0.0.1:0", "--storage-adv-addr=hub.example.com"))).To(Succeed())
	mgr, err := ctrl.NewManager(hub.Config(), ctrl.Options{Scheme: scheme(), Metrics: server.Options{BindAddress: "0"}, Cache: o.cache(app.Options{})})
	g.Expect(err).NotTo(HaveOccurred())
	events := reconcile.NewRecorder(record.NewFakeRecorder(1000), scheme(), "headwater-hub", "")
	g.Expect(o.setUp(t.Context(), &app.App{Options: app.Options{Namespace: "default"}, Manager: mgr, Events: events})).To(Succeed())
	stopped := make(chan error, 1)
	go func() { stopped <- mgr.Start(t.Context()) }()
	t.Cleanup(func() { g.Eventually(stopped, "30s").Should(Receive(BeNil())) })
	admin, err := hub.Client(scheme())
	g.Expect(err).NotTo(HaveOccurred())
	return admin
}

// Each kind that talks to a remote says that the hub gave it less time than it asks
// for.
func TestTheHubBoundsTheTimeoutOfEachKind(t *testing.T) {
	g := NewWithT(t)
	onHub := startHub(t, "--max-source-timeout=200ms")
	silent, name := startSilent(t), metav1.ObjectMeta{Namespace: "team", Name: "slow"}
	g.Expect(onHub.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}})).To(Succeed())
	login := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "login"}, StringData: map[string]string{"accesskey": "a", "secretkey": "s"}}
	g.Expect(onHub.Create(t.Context(), login)).To(Succeed())
	charts := metav1.ObjectMeta{Namespace: "team", Name: "charts"}
	long, often := &metav1.Duration{Duration: 59 * time.Minute}, metav1.Duration{Duration: time.Minute}

	g.Expect(onHub.Create(t.Context(), &sourcev1.HelmRepository{ObjectMeta: charts, Spec: sourcev1.HelmRepositorySpec{
		URL: "oci://" + silent + "/charts", Type: "oci", Insecure: true, Timeout: long,
	}})).To(Succeed())
	slow := map[string]reconcile.Object{
		"GitRepository":  &sourcev1.GitRepository{ObjectMeta: name, Spec: sourcev1.GitRepositorySpec{URL: "http://" + silent + "/fleet.git", Interval: often, Timeout: long}},
		"OCIRepository":  &sourcev1.OCIRepository{ObjectMeta: name, Spec: sourcev1.OCIRepositorySpec{URL: "oci://" + silent + "/fleet", Insecure: true, Interval: often, Timeout: long}},
		"HelmRepository": &sourcev1.HelmRepository{ObjectMeta: name, Spec: sourcev1.HelmRepositorySpec{URL: "http://" + silent, Interval: often, Timeout: long}},
		"HelmChart": &sourcev1.HelmChart{ObjectMeta: name, Spec: sourcev1.HelmChartSpec{
			Chart: "web", Version: "1.0.0", SourceRef: sourcev1.LocalHelmChartSourceReference{Kind: "HelmRepository", Name: "charts"}, Interval: often,
		}},
		"Bucket": &sourcev1.Bucket{ObjectMeta: name, Spec: sourcev1.BucketSpec{
			BucketName: "fleet", Endpoint: silent, Insecure: true, SecretRef: &meta.LocalObjectReference{Name: "login"}, Interval: often, Timeout: long,
		}},
		"ImageRepository": &imagev1.ImageRepository{ObjectMeta: name, Spec: imagev1.ImageRepositorySpec{Image: silent + "/web", Insecure: true, Interval: often}},
		"ImageUpdateAutomation": &imagev1.ImageUpdateAutomation{ObjectMeta: name, Spec: imagev1.ImageUpdateAutomationSpec{
			SourceRef: imagev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "slow"}, Interval: often,
			GitSpec: &imagev1.GitSpec{Commit: imagev1.CommitSpec{Author: imagev1.CommitUser{Email: "bot@example.com"}}},
		}},
	}
	for kind, obj := range slow {
		g.Expect(onHub.Create(t.Context(), obj)).To(Succeed(), kind)
	}
	for kind, obj := range slow {
		g.Eventually(func() (string, error) {
			err := onHub.Get(t.Context(), client.ObjectKeyFromObject(obj), obj)
			ready := apimeta.FindStatusCondition(obj.CommonStatus().Conditions, "Ready")
			if ready == nil {
				return "", err
			}
			return ready.Message, err
		}, "30s").Should(ContainSubstring("it took longer than 200ms (--max-source-timeout, whatever spec.timeout says)"), kind)
	}
}

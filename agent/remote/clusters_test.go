package remote

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/shard"
)

// fleet is one agent's Clusters, run by a manager against a real API server
// that is hub and target at once.
type fleet struct {
	*WithT
	t         *testing.T
	hub       client.Client
	clusters  *Clusters
	namespace string
	stop      func()
}

func newFleet(t *testing.T, changes ...func(*Clusters)) *fleet {
	t.Helper()
	g := NewWithT(t)
	hub := newHub(t)
	config, scheme := shared.ControlPlane(t).Config(), hub.Scheme()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "fleet-"}}
	g.Expect(hub.Create(t.Context(), namespace)).To(Succeed())

	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: scheme, Metrics: server.Options{BindAddress: "0"},
		// Each test runs a manager of its own in one process.
		Controller: ctrlconfig.Controller{SkipNameValidation: ptr.To(true)},
	})
	g.Expect(err).NotTo(HaveOccurred())
	clusters := &Clusters{
		HubUID: namespace.Name, Agent: "agent-a", Identity: "agent-a_1", Namespace: namespace.Name,
		Fence:      FenceOptions{Namespace: namespace.Name, Duration: 9 * time.Second, Request: 3 * time.Second, Idle: 30 * time.Second},
		ProbeEvery: 100 * time.Millisecond, ProbeTimeout: 5 * time.Second,
		Events: reconcile.NewRecorder(record.NewFakeRecorder(100), scheme, "headwater-agent", ""),
	}
	for _, change := range changes {
		change(clusters)
	}
	g.Expect(clusters.AddToManager(mgr)).To(Succeed())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	f := &fleet{WithT: g, t: t, hub: hub, clusters: clusters, namespace: namespace.Name, stop: func() { cancel(); g.Expect(<-done).To(Succeed()); done <- nil }}
	t.Cleanup(f.stop)
	return f
}

// kubeconfig makes the Secret of a target, which is this API server.
func (f *fleet) kubeconfig(name string) {
	f.t.Helper()
	data, err := shared.ControlPlane(f.t).ServiceAccount(f.t.Context(), f.namespace, name, []rbacv1.PolicyRule{
		{APIGroups: []string{"", "coordination.k8s.io"}, Resources: []string{"configmaps", "leases"}, Verbs: []string{"*"}},
	})
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(f.hub.Create(f.t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name}, Data: map[string][]byte{"value": data},
	})).To(Succeed())
}

func (f *fleet) assign(name, agent string, epoch int64) shard.Key {
	f.t.Helper()
	record := &fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name}}
	if err := f.hub.Get(f.t.Context(), client.ObjectKeyFromObject(record), record); err != nil {
		record.Spec.KubeConfig = &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: name}}
		f.Expect(f.hub.Create(f.t.Context(), record)).To(Succeed())
	}
	before := record.DeepCopy()
	record.Status.Assignments = []fleetv1.Assignment{{Agent: agent, Epoch: epoch}}
	f.Expect(f.hub.Status().Patch(f.t.Context(), record, client.MergeFrom(before))).To(Succeed())
	return shard.KeyFor(f.namespace, "any", record.Spec.KubeConfig)
}

// open opens the key as soon as that works.
func (f *fleet) open(key shard.Key) *Target {
	f.t.Helper()
	var target *Target
	f.Eventually(func() (err error) {
		target, err = f.clusters.Open(f.t.Context(), key)
		return err
	}, "20s").Should(Succeed())
	return target
}

func (f *fleet) connected(name string) string {
	var record fleetv1.RemoteCluster
	f.Expect(f.hub.Get(f.t.Context(), client.ObjectKey{Namespace: f.namespace, Name: name}, &record)).To(Succeed())
	condition := apimeta.FindStatusCondition(record.Status.Conditions, "Connected")
	if condition == nil {
		return ""
	}
	return string(condition.Status) + " " + condition.Reason + " " + condition.Message
}

func (f *fleet) configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name}}
}

func (f *fleet) holder(key shard.Key) string {
	lease := &coordinationv1.Lease{}
	name := client.ObjectKey{Namespace: f.namespace, Name: shard.FenceName(f.clusters.HubUID, key)}
	if err := f.hub.Get(context.WithoutCancel(f.t.Context()), name, lease); err != nil {
		return err.Error()
	}
	return *lease.Spec.HolderIdentity
}

func TestWritesNeedTheFenceAndEndWithTheHandOver(t *testing.T) {
	f := newFleet(t)
	f.kubeconfig("prod")
	key := f.assign("prod", "agent-a", 1)
	target := f.open(key)
	f.Eventually(func() string { return f.connected("prod") }).Should(HavePrefix("True Connected"))

	f.Expect(target.Client.Create(t.Context(), f.configMap("early"))).To(MatchError(ContainSubstring("does not hold the target's fence")))
	_, err := target.Fence(t.Context())
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(target.Client.Create(t.Context(), f.configMap("one"))).To(Succeed())
	f.Expect(f.holder(key)).To(Equal("agent-a_1"))

	f.assign("prod", "agent-b", 2)
	f.Eventually(func() error {
		another, err := f.clusters.Open(t.Context(), key)
		if err == nil {
			another.Close()
		}
		return err
	}).Should(MatchError(reconcile.ErrNotOwner))
	f.Expect(f.holder(key)).To(Equal("agent-a_1"), "work is still in flight")
	f.Expect(f.clusters.MayWrite(key)).To(BeTrue(), "its last status may be written")
	f.Expect(target.Client.Create(t.Context(), f.configMap("two"))).To(Succeed())

	target.Close()
	f.Eventually(func() string { return f.holder(key) }).Should(BeEmpty())
	f.Eventually(func() bool { return f.clusters.MayWrite(key) }).Should(BeFalse())
	f.Expect(target.Client.Create(t.Context(), f.configMap("late"))).To(MatchError(reconcile.ErrNotOwner))
	f.Expect(f.hub.Get(t.Context(), client.ObjectKey{Namespace: f.namespace, Name: "late"}, f.configMap("late"))).NotTo(Succeed())
}

// A hand-over waits for the end of a run, in which its status is written, and
// not only for its work at the target.
func TestAHandOverWaitsForTheRun(t *testing.T) {
	f := newFleet(t)
	f.kubeconfig("prod")
	key := f.assign("prod", "agent-a", 1)
	f.open(key).Close()
	end, _ := f.clusters.Admit(key)
	f.Expect(end).NotTo(BeNil())
	f.assign("prod", "agent-b", 2)
	f.Eventually(func() bool {
		another, _ := f.clusters.Admit(key)
		if another != nil {
			another()
		}
		return another == nil
	}).Should(BeTrue())
	f.Expect(f.clusters.MayWrite(key)).To(BeTrue())
	end()
	f.Eventually(func() bool { return f.clusters.MayWrite(key) }).Should(BeFalse())
}

func TestAHandOverWaitsForWorkThatLasts(t *testing.T) {
	f := newFleet(t)
	f.clusters.Drain = 50 * time.Millisecond
	f.kubeconfig("prod")
	key := f.assign("prod", "agent-a", 1)
	brief, long := f.open(key), f.open(key)
	long.Lasts(time.Hour)
	_, err := long.Fence(t.Context())
	f.Expect(err).NotTo(HaveOccurred())
	f.assign("prod", "agent-b", 2)
	f.Eventually(func() error {
		another, err := f.clusters.Open(t.Context(), key)
		if err == nil {
			another.Close()
		}
		return err
	}).Should(MatchError(reconcile.ErrNotOwner))
	brief.Close()
	f.Consistently(func() error {
		return long.Client.Create(t.Context(), f.configMap("one"), client.DryRunAll)
	}, "500ms").Should(Succeed(), "far beyond the usual time")
	f.Expect(f.holder(key)).To(Equal("agent-a_1"))
	long.Close()
	f.Eventually(func() string { return f.holder(key) }).Should(BeEmpty())

	// Who has said nothing is cut off, and so is everybody when the process ends.
	for _, name := range []string{"brief", "ends"} {
		f.kubeconfig(name)
		key := f.assign(name, "agent-a", 1)
		target, done := f.open(key), make(chan struct{})
		if name == "ends" {
			target.Lasts(time.Hour)
			go func() { f.stop(); close(done) }()
		} else {
			f.assign(name, "agent-b", 2)
			close(done)
		}
		f.Eventually(func() error {
			return target.Client.Get(t.Context(), client.ObjectKey{Namespace: f.namespace, Name: "none"}, f.configMap("none"))
		}, "10s").Should(MatchError(reconcile.ErrNotOwner), name)
		target.Close()
		<-done
	}
}

// A user makes a RemoteCluster of their own for a target that the hub had made
// one for: the record moves over, and the key goes on being served.
// What was confirmed in one tenure is not taken for confirmed in another, also where
// the key was away so shortly that nobody has noticed.
func TestAKeyThatComesBackHasAnotherTenure(t *testing.T) {
	f := newFleet(t)
	f.kubeconfig("prod")
	key := f.assign("prod", "agent-a", 1)
	tenure := func() int64 {
		target := f.open(key)
		defer target.Close()
		number, err := target.Fence(t.Context())
		f.Expect(err).NotTo(HaveOccurred())
		return number
	}
	before := tenure()
	f.assign("prod", "agent-b", 2)
	f.Eventually(func() bool { return f.clusters.MayWrite(key) }).Should(BeFalse())
	f.assign("prod", "agent-a", 3)
	f.Expect(tenure()).To(BeNumerically(">", before))
}

func TestAKeyFollowsItsRecordToAnotherRemoteCluster(t *testing.T) {
	f := newFleet(t)
	f.kubeconfig("prod")
	key := f.assign("prod", "agent-a", 1)
	f.open(key).Close()
	made := &fleetv1.RemoteCluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "mine"},
		Spec:       fleetv1.RemoteClusterSpec{KubeConfig: &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: "prod"}}},
	}
	f.Expect(f.hub.Create(t.Context(), made)).To(Succeed())
	before := made.DeepCopy()
	made.Status.Assignments = []fleetv1.Assignment{{Agent: "agent-a", Epoch: 2}}
	f.Expect(f.hub.Status().Patch(t.Context(), made, client.MergeFrom(before))).To(Succeed())
	f.assign("prod", "", 3)
	f.Eventually(func() string { return f.connected("mine") }, "10s").Should(HavePrefix("True Connected"))
	f.open(key).Close()
}

func TestAProcessThatStopsReleasesItsFences(t *testing.T) {
	f := newFleet(t)
	f.kubeconfig("prod")
	key := f.assign("prod", "agent-a", 1)
	target := f.open(key)
	_, err := target.Fence(t.Context())
	f.Expect(err).NotTo(HaveOccurred())
	target.Close()
	f.stop()
	f.Expect(f.holder(key)).To(BeEmpty())
}

func TestATargetThatCannotBeReachedSaysWhy(t *testing.T) {
	f := newFleet(t)
	missing := f.assign("absent", "agent-a", 1)
	f.Eventually(func() string { return f.connected("absent") }, "10s").Should(HavePrefix("False KubeConfigInvalid secret " + f.namespace + "/absent: kubeconfig not found"))
	_, err := f.clusters.Open(t.Context(), missing)
	f.Expect(err).To(MatchError(ErrSecretMissing))

	f.Expect(f.hub.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "dark"},
		StringData: map[string]string{"value": goodKubeconfig, "other": "x"},
	})).To(Succeed())
	dark := f.assign("dark", "agent-a", 1)
	f.Eventually(func() string { return f.connected("dark") }, "20s").Should(HavePrefix("False TargetUnreachable"))
	f.Expect(f.connected("dark")).NotTo(ContainSubstring("hunter2"))
	_, err = f.clusters.Open(t.Context(), dark)
	f.Expect(err).To(MatchError(ContainSubstring("is unreachable")))

	// The Secret appears: no need to wait for the next attempt.
	f.kubeconfig("absent")
	f.open(missing).Close()
	f.Eventually(func() string { return f.connected("absent") }).Should(HavePrefix("True Connected"))
}

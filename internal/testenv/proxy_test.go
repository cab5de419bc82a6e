package testenv

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const proxyUser = "system:serviceaccount:proxied:agent"

func TestProxyRecordsWhoWroteWhat(t *testing.T) {
	g := NewWithT(t)
	p, kubeconfig := newProxy(t)
	kube := clientFor(t, kubeconfig)
	created := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "proxied", Name: "created"}}
	before := time.Now()

	g.Expect(kube.Create(t.Context(), created)).To(Succeed())
	g.Expect(kube.Apply(t.Context(), corev1apply.ConfigMap("applied", "proxied"), client.FieldOwner("me"))).To(Succeed())
	g.Expect(kube.Apply(t.Context(), corev1apply.ConfigMap("tried", "proxied"), client.FieldOwner("me"), client.DryRunAll)).To(Succeed())
	g.Expect(kube.Delete(t.Context(), created, client.DryRunAll)).To(Succeed())
	g.Expect(kube.Delete(t.Context(), created)).To(Succeed())
	g.Expect(kube.List(t.Context(), &corev1.SecretList{})).NotTo(Succeed())

	type row struct {
		Verb, Name string
		Mutating   bool
		Status     int
	}
	var rows []row
	for _, record := range p.Records() {
		g.Expect(record.Proxy).To(Equal("target"))
		g.Expect(record.User).To(Equal(proxyUser))
		g.Expect(record.PID).To(Equal(os.Getpid()))
		g.Expect(record.Begin).To(BeTemporally(">=", before))
		g.Expect(record.End).To(BeTemporally(">", record.Begin))
		if record.Resource == "" {
			continue // discovery
		}
		rows = append(rows, row{record.Verb, record.Name, record.Mutating, record.Status})
	}
	g.Expect(rows).To(Equal([]row{
		{"create", "created", true, 201},
		{"patch", "applied", true, 201},
		{"patch", "tried", false, 201},
		{"delete", "created", false, 200},
		{"delete", "created", true, 200},
		{"list", "", false, 403},
	}))
	var managers []string
	for _, record := range p.Records() {
		if record.Verb == "patch" {
			managers = append(managers, record.FieldManager)
			g.Expect(record.Namespace).To(Equal("proxied"))
			g.Expect(record.Path).To(HavePrefix("/api/v1/namespaces/proxied/configmaps/"))
		}
	}
	g.Expect(managers).To(Equal([]string{"me", "me"}))

	p.Reset()
	g.Expect(p.Records()).To(BeEmpty())
}

func TestProxyRecordsCreatesOfUnknownKindsAndBadTokens(t *testing.T) {
	g := NewWithT(t)
	p, _ := newProxy(t)
	kubeconfig, err := p.Kubeconfig("not-a-token")
	g.Expect(err).NotTo(HaveOccurred())
	config := configFor(t, kubeconfig)
	config.NextProtos = []string{"http/1.1"}
	config.ContentType = "application/json"
	kube, err := kubernetes.NewForConfig(config)
	g.Expect(err).NotTo(HaveOccurred())

	body := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "example.com/v1", "kind": "Widget", "metadata": map[string]any{"name": "w"},
	}}
	content, err := body.MarshalJSON()
	g.Expect(err).NotTo(HaveOccurred())
	err = kube.CoreV1().RESTClient().Post().AbsPath("/apis/example.com/v1/namespaces/a/widgets").Body(content).Do(t.Context()).Error()
	g.Expect(err).To(Satisfy(apierrors.IsUnauthorized))

	records := p.Records()
	g.Expect(records).To(HaveLen(1))
	g.Expect(records[0].User).To(BeEmpty())
	g.Expect(records[0].Name).To(Equal("w"))
	g.Expect(records[0].Status).To(Equal(401))
}

func TestProxyRecordsLeases(t *testing.T) {
	g := NewWithT(t)
	p, kubeconfig := newProxy(t)
	kube := clientFor(t, kubeconfig) // speaks protobuf for built-in kinds
	renewed := metav1.NewMicroTime(time.Date(2026, 1, 2, 3, 4, 5, 600000000, time.UTC))
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: "proxied", Name: "fence"},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: ptr.To("agent-0_x"), RenewTime: &renewed},
	}
	g.Expect(kube.Create(t.Context(), lease)).To(Succeed())
	old := lease.DeepCopy()
	lease.Spec.HolderIdentity = ptr.To("agent-1_y")
	g.Expect(kube.Patch(t.Context(), lease, client.MergeFrom(old))).To(Succeed())
	g.Expect(kube.Delete(t.Context(), lease)).To(Succeed())

	var writes []Record
	for _, record := range p.Records() {
		if record.Mutating {
			writes = append(writes, record)
		}
	}
	g.Expect(writes).To(HaveLen(3))
	g.Expect(writes[0].Name).To(Equal("fence"))
	g.Expect(writes[0].Lease.HolderIdentity).To(HaveValue(Equal("agent-0_x")))
	g.Expect(writes[0].Lease.RenewTime.Time).To(BeTemporally("==", renewed.Time))
	g.Expect(writes[1].Lease.HolderIdentity).To(HaveValue(Equal("agent-1_y")))
	g.Expect(writes[2].Lease).To(BeNil())
}

func TestProxyRecordsTheLabelsOfSecrets(t *testing.T) {
	g := NewWithT(t)
	p, kubeconfig := newProxy(t)
	kube := clientFor(t, kubeconfig)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "proxied", Name: "labelled", Labels: map[string]string{"status": "pending-install"}},
		Data:       map[string][]byte{"release": []byte("hidden")},
	}
	g.Expect(kube.Create(t.Context(), secret)).To(Succeed())
	secret.Labels["status"] = "deployed"
	g.Expect(kube.Update(t.Context(), secret)).To(Succeed())
	g.Expect(kube.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: "proxied", Name: "labelled", Labels: map[string]string{"status": "other"},
	}})).To(Succeed())

	var said []string
	for _, record := range p.Records() {
		if record.Mutating {
			said = append(said, record.Verb+" "+record.Name+" "+record.Labels["status"])
		}
	}
	g.Expect(said).To(Equal([]string{"create labelled pending-install", "update labelled deployed", "create labelled "}))
}

func TestProxyTellsProcessesApart(t *testing.T) {
	g := NewWithT(t)
	p, kubeconfig := newProxy(t)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	g.Expect(os.WriteFile(path, kubeconfig, 0o600)).To(Succeed())
	g.Expect(clientFor(t, kubeconfig).List(t.Context(), &corev1.ConfigMapList{})).To(Succeed())
	p.Reset()

	other := helperCommand("client", "KUBECONFIG="+path)
	g.Expect(other.Run()).To(Succeed())

	records := p.Records()
	g.Expect(records).NotTo(BeEmpty())
	for _, record := range records {
		g.Expect(record.PID).To(Equal(other.Process.Pid))
		g.Expect(record.User).To(Equal(proxyUser))
	}
}

// listOnce is what the helper process of the test above does.
func listOnce(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	kube, err := client.New(config, client.Options{})
	if err != nil {
		return err
	}
	return kube.List(ctx, &corev1.ConfigMapList{})
}

func TestProxyStreamsWatches(t *testing.T) {
	for _, protocol := range []string{"h2", "http/1.1"} {
		t.Run(protocol, func(t *testing.T) {
			g := NewWithT(t)
			p, kubeconfig := newProxy(t)
			config := configFor(t, kubeconfig)
			config.NextProtos = []string{protocol}
			kube, err := client.NewWithWatch(config, client.Options{})
			g.Expect(err).NotTo(HaveOccurred())
			watcher, err := kube.Watch(t.Context(), &corev1.ConfigMapList{}, client.InNamespace("proxied"), sinceNow(t))
			g.Expect(err).NotTo(HaveOccurred())

			name := "streamed-" + protocol[:2]
			object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "proxied", Name: name}}
			g.Expect(adminClient(t).Create(t.Context(), object)).To(Succeed())
			g.Eventually(watcher.ResultChan()).WithTimeout(eventually).Should(Receive(HaveField("Object.ObjectMeta.Name", name)))
			g.Expect(watchRecord(g, p).End).To(BeZero())
			g.Expect(watchRecord(g, p).Status).To(Equal(200))

			watcher.Stop()
			g.Eventually(func() time.Time { return watchRecord(g, p).End }).ShouldNot(BeZero())
		})
	}
}

func TestProxyCutsConnections(t *testing.T) {
	g := NewWithT(t)
	p, kubeconfig := newProxy(t)
	watcher := newWatch(t, kubeconfig)

	p.Cut()

	g.Eventually(watcher.ResultChan()).Should(BeClosed())
	g.Expect(clientFor(t, kubeconfig).List(t.Context(), &corev1.ConfigMapList{})).To(Succeed())
}

func TestProxyDropsConnections(t *testing.T) {
	g := NewWithT(t)
	p, kubeconfig := newProxy(t)
	kube := clientFor(t, kubeconfig)
	watcher := newWatch(t, kubeconfig)

	p.Drop()

	g.Eventually(watcher.ResultChan()).Should(BeClosed())
	g.Expect(kube.List(t.Context(), &corev1.ConfigMapList{})).To(MatchError(ContainSubstring("connection refused")))
	g.Expect(p.Heal()).To(Succeed())
	g.Expect(kube.List(t.Context(), &corev1.ConfigMapList{})).To(Succeed())
}

func TestProxyHangs(t *testing.T) {
	g := NewWithT(t)
	p, kubeconfig := newProxy(t)
	kube := clientFor(t, kubeconfig)
	g.Expect(kube.List(t.Context(), &corev1.ConfigMapList{})).To(Succeed())
	p.Reset()
	g.Expect(p.Hang()).To(Succeed())

	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	g.Expect(kube.List(short, &corev1.ConfigMapList{})).To(MatchError(context.DeadlineExceeded), "the old connection")
	short, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := new(tls.Dialer).DialContext(short, "tcp", strings.TrimPrefix(p.URL, "https://"))
	g.Expect(err).To(MatchError(context.DeadlineExceeded), "a new connection")
	g.Expect(p.Records()).To(BeEmpty(), "nothing arrived")

	late := make(chan error)
	go func() { late <- kube.List(t.Context(), &corev1.NamespaceList{}) }()
	g.Consistently(late).WithTimeout(200 * time.Millisecond).ShouldNot(Receive())
	g.Expect(p.Heal()).To(Succeed())
	g.Eventually(late).WithTimeout(eventually).Should(Receive(MatchError(ContainSubstring("cannot list resource"))))
}

func TestProxySeversOneProcess(t *testing.T) {
	g := NewWithT(t)
	p, kubeconfig := newProxy(t)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	g.Expect(os.WriteFile(path, kubeconfig, 0o600)).To(Succeed())
	kube := clientFor(t, kubeconfig)
	g.Expect(kube.List(t.Context(), &corev1.ConfigMapList{})).To(Succeed())

	p.Sever(os.Getpid())

	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "proxied", Name: "severed"}}
	g.Expect(kube.Create(short, object)).To(MatchError(context.DeadlineExceeded), "the old connection")
	short, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := new(tls.Dialer).DialContext(short, "tcp", strings.TrimPrefix(p.URL, "https://"))
	g.Expect(err).To(MatchError(context.DeadlineExceeded), "a new connection")
	other := helperCommand("client", "KUBECONFIG="+path)
	g.Expect(other.Run()).To(Succeed(), "another process")

	p.Sever()

	g.Eventually(func() error { return kube.List(t.Context(), &corev1.ConfigMapList{}) }).WithTimeout(eventually).Should(Succeed())
	g.Expect(p.Records()).NotTo(ContainElement(HaveField("Name", "severed")), "what was sent meanwhile is lost")
}

func TestProxyDelaysRequests(t *testing.T) {
	g := NewWithT(t)
	p, kubeconfig := newProxy(t)
	kube := clientFor(t, kubeconfig)
	g.Expect(kube.List(t.Context(), &corev1.ConfigMapList{})).To(Succeed())
	p.Reset()
	g.Expect(p.Delay(10 * time.Millisecond)).To(Succeed())
	g.Expect(kube.List(t.Context(), &corev1.ConfigMapList{})).To(Succeed())
	g.Expect(p.Records()).To(ConsistOf(HaveField("Status", 200)), "it goes on when its time has come")

	g.Expect(p.Delay(time.Hour)).To(Succeed())
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "proxied", Name: "delayed"}}
	g.Expect(kube.Create(short, object)).To(MatchError(context.DeadlineExceeded))
	g.Eventually(func() Record { return p.Records()[1] }).Should(And(
		HaveField("End", Not(BeZero())), HaveField("Status", 0)), "it ended without an answer")
	err := adminClient(t).Get(t.Context(), client.ObjectKeyFromObject(object), object)
	g.Expect(err).To(Satisfy(apierrors.IsNotFound), "it was held back")
}

// The clock is synctest's.
func TestARequestIsHeldForItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, begin := NewWithT(t), time.Now()
		g.Expect(hold(t.Context(), time.Hour)).To(BeTrue())
		g.Expect(time.Now()).To(BeTemporally("==", begin.Add(time.Hour)))

		short, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		g.Expect(hold(short, time.Hour)).To(BeFalse())
		g.Expect(time.Now()).To(BeTemporally("==", begin.Add(time.Hour+time.Minute)))
	})
}

func TestProxySeesWritesThrough(t *testing.T) {
	g := NewWithT(t)
	c := shared.ControlPlane(t)
	p, kubeconfig := newProxy(t)
	kube := clientFor(t, kubeconfig)
	g.Expect(kube.List(t.Context(), &corev1.ConfigMapList{})).To(Succeed())
	p.Reset()

	g.Expect(c.Pause()).To(Succeed())
	sent := make(chan error)
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "proxied", Name: "seen-through"}}
	go func() { sent <- kube.Create(t.Context(), object) }()
	g.Eventually(p.Records).Should(HaveLen(1))
	g.Expect(p.Records()[0].End).To(BeZero())
	p.Cut()
	g.Eventually(sent).WithTimeout(eventually).Should(Receive(HaveOccurred()))
	resumed := time.Now()
	g.Expect(c.Resume()).To(Succeed())

	g.Eventually(func() Record { return p.Records()[0] }).WithTimeout(eventually).Should(And(
		HaveField("Status", 201), HaveField("End", BeTemporally(">", resumed))))
	g.Expect(adminClient(t).Get(t.Context(), client.ObjectKeyFromObject(object), &corev1.ConfigMap{})).To(Succeed())
}

func TestManyProxiesOfOneServer(t *testing.T) {
	g := NewWithT(t)
	c := shared.ControlPlane(t)
	for i := range 100 {
		p, err := c.Proxy(fmt.Sprintf("target-%d", i))
		g.Expect(err).NotTo(HaveOccurred())
		t.Cleanup(p.Stop)
		kubeconfig, err := p.Kubeconfig("none")
		g.Expect(err).NotTo(HaveOccurred())
		kube, err := kubernetes.NewForConfig(configFor(t, kubeconfig))
		g.Expect(err).NotTo(HaveOccurred())
		_, err = kube.ServerVersion()
		g.Expect(err).To(Satisfy(apierrors.IsUnauthorized))
		g.Expect(p.Records()).To(HaveLen(1))
	}
}

func TestProxyOfAServerThatIsDown(t *testing.T) {
	g := NewWithT(t)
	c, err := newControlPlane(Options{Name: "down"})
	g.Expect(err).NotTo(HaveOccurred())
	defer c.Stop()
	p, err := c.Proxy("down")
	g.Expect(err).NotTo(HaveOccurred())
	defer p.Stop()
	kubeconfig, err := p.Kubeconfig("none")
	g.Expect(err).NotTo(HaveOccurred())
	kube, err := kubernetes.NewForConfig(configFor(t, kubeconfig))
	g.Expect(err).NotTo(HaveOccurred())

	_, err = kube.ServerVersion()

	g.Expect(err).To(HaveOccurred())
	g.Expect(p.Records()).To(ConsistOf(HaveField("Status", 0)))
}

// newProxy returns a proxy of the shared control plane, and a kubeconfig that
// leads through it and may do everything with ConfigMaps and Leases, and write
// Secrets.
func newProxy(t *testing.T) (*Proxy, []byte) {
	t.Helper()
	c := shared.ControlPlane(t)
	_, err := c.ServiceAccount(t.Context(), "proxied", "agent", []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"*"}},
		{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"create", "update"}},
		{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"*"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Proxy("target")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	admin, after := adminClient(t), context.WithoutCancel(t.Context())
	t.Cleanup(func() {
		for _, kind := range []client.Object{&corev1.ConfigMap{}, &corev1.Secret{}, &coordinationv1.Lease{}} {
			if err := admin.DeleteAllOf(after, kind, client.InNamespace("proxied")); err != nil {
				t.Error(err)
			}
		}
	})
	token, err := c.Token(t.Context(), "proxied", "agent", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := p.Kubeconfig(token)
	if err != nil {
		t.Fatal(err)
	}
	return p, kubeconfig
}

func newWatch(t *testing.T, kubeconfig []byte) watch.Interface {
	t.Helper()
	kube, err := client.NewWithWatch(configFor(t, kubeconfig), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	watcher, err := kube.Watch(t.Context(), &corev1.ConfigMapList{}, client.InNamespace("proxied"), sinceNow(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(watcher.Stop)
	return watcher
}

// sinceNow is an option of a watch that leaves out what is already there.
func sinceNow(t *testing.T) client.ListOption {
	t.Helper()
	var list corev1.ConfigMapList
	if err := adminClient(t).List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	return &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.ResourceVersion}}
}

func watchRecord(g Gomega, p *Proxy) Record {
	for _, record := range p.Records() {
		if record.Verb == "watch" {
			return record
		}
	}
	g.Expect(p.Records()).To(ContainElement(HaveField("Verb", "watch")))
	return Record{}
}

package e2e

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
)

// secret must never be seen in a status or an event.
const secret = "hunter2"

// silent expects that nothing on the hub tells the secret.
func (n *tenant) silent() {
	n.t.Helper()
	var events corev1.EventList
	n.Expect(shared.onHub.List(n.t.Context(), &events, client.InNamespace(n.namespace))).To(Succeed())
	for _, event := range events.Items {
		n.Expect(event.Message).NotTo(ContainSubstring(secret))
	}
}

func TestBadSources(t *testing.T) {
	cases := []struct {
		name   string
		change func(*tenant, *sourcev1.GitRepository)
		want   []string
	}{
		{
			name: "wrong branch", want: []string{"False ", "spec.ref.branch", "nosuch"},
			change: func(_ *tenant, s *sourcev1.GitRepository) { s.Spec.Reference.Branch = "nosuch" },
		},
		{
			name: "does not resolve", want: []string{"False ", "127.0.0.1:1"},
			change: func(_ *tenant, s *sourcev1.GitRepository) { s.Spec.URL = "http://me:" + secret + "@127.0.0.1:1/x" },
		},
		{
			name: "wrong credentials", want: []string{"False AuthenticationFailed"},
			change: func(n *tenant, s *sourcev1.GitRepository) {
				n.repo.Protect("me", "right")
				n.create(&corev1.Secret{ObjectMeta: n.meta("auth"), StringData: map[string]string{"username": "me", "password": secret}})
				s.Spec.SecretRef = &meta.LocalObjectReference{Name: "auth"}
			},
		},
		{
			name: "missing credentials", want: []string{"False AuthenticationFailed", "auth"},
			change: func(_ *tenant, s *sourcev1.GitRepository) {
				s.Spec.SecretRef = &meta.LocalObjectReference{Name: "auth"}
			},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			n := newTenant(t, map[string]string{"a.yaml": configMap("a", "1")})
			good := n.source()
			n.create(good)
			n.becomes(good, HavePrefix("True "))
			served := good.Status.Artifact

			change := good.DeepCopy()
			c.change(n, change)
			n.Expect(shared.onHub.Patch(t.Context(), change, client.MergeFrom(good))).To(Succeed())
			for _, want := range c.want {
				n.becomes(change, ContainSubstring(want))
			}
			n.Expect(change.Status.Artifact).To(Equal(served), "the last artifact is still there")
			n.Eventually(func() []string { return n.warnings("repo") }).ShouldNot(BeEmpty())
			n.Expect(fmt.Sprint(change.Status)).NotTo(ContainSubstring(secret))
			n.silent()
		})
	}
}

// sealedByACloud is a Secret that nobody but Amazon's key service opens.
const sealedByACloud = `apiVersion: v1
kind: Secret
metadata: {name: db}
stringData: {password: "ENC[AES256_GCM,data:eA==,iv:eA==,tag:eA==,type:str]"}
sops:
  kms: [{arn: "arn:aws:kms:eu-central-1:123456789012:key/1", created_at: "2026-01-01T00:00:00Z", enc: c2VhbGVk, aws_profile: ""}]
  lastmodified: "2026-01-01T00:00:00Z"
  mac: ENC[AES256_GCM,data:eA==,iv:eA==,tag:eA==,type:str]
  version: 3.9.0
`

func TestBadKustomizations(t *testing.T) {
	cases := []struct {
		name   string
		commit map[string]string
		change func(*tenant, *kustomizev1.Kustomization)
		want   []string
	}{
		{
			name:   "kustomization.yaml does not parse",
			commit: map[string]string{"kustomization.yaml": "resources: [a.yaml\n"},
			want:   []string{"False BuildFailed", "kustomization.yaml"},
		},
		{
			name:   "a file is missing",
			commit: map[string]string{"kustomization.yaml": "resources: [a.yaml, nosuch.yaml]\n"},
			want:   []string{"False BuildFailed", "nosuch.yaml"},
		},
		{
			name:   "the API server rejects an object",
			commit: map[string]string{"bad.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {ports: [{port: 99999999}]}\n", "late.yaml": configMap("late", "1")},
			want:   []string{"False ReconciliationFailed", "Service/", "/bad"},
		},
		{
			name:   "an unknown kind",
			commit: map[string]string{"bad.yaml": "apiVersion: nosuch.example.com/v1\nkind: Nosuch\nmetadata: {name: bad}\n"},
			want:   []string{"False ReconciliationFailed", "Nosuch"},
		},
		{
			name:   "no such path",
			change: func(_ *tenant, ks *kustomizev1.Kustomization) { ks.Spec.Path = "./nosuch" },
			want:   []string{"False ArtifactFailed", "spec.path", "nosuch"},
		},
		{
			name:   "a path outside",
			change: func(_ *tenant, ks *kustomizev1.Kustomization) { ks.Spec.Path = "../../etc" },
			want:   []string{"False ArtifactFailed", "spec.path"},
		},
		{
			name:   "no such source",
			change: func(_ *tenant, ks *kustomizev1.Kustomization) { ks.Spec.SourceRef.Name = "nosuch" },
			want:   []string{"False ", "nosuch' not found"},
		},
		{
			name:   "a cloud's key, and no such ServiceAccount",
			commit: map[string]string{"sealed.yaml": sealedByACloud},
			change: func(_ *tenant, ks *kustomizev1.Kustomization) {
				ks.Spec.Decryption = &kustomizev1.Decryption{Provider: "sops", ServiceAccountName: "keys"}
			},
			want: []string{"False BuildFailed", "Secret/", "/db: ", "service account ", "/keys does not exist"},
		},
		{
			name:   "a remote base",
			commit: map[string]string{"kustomization.yaml": "resources: ['https://example.com/org/repo']\n"},
			want:   []string{"False BuildFailed", `kustomization.yaml: resources: "https://example.com/org/repo" is remote`, "--no-remote-bases=false"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			n := newTenant(t, map[string]string{"a.yaml": configMap("a", "1")})
			n.cluster("one")
			ks := n.kustomization("one", "one")
			n.create(n.source(), ks)
			n.becomes(ks, HavePrefix("True "))
			inventory := ks.Status.Inventory.DeepCopy()
			if c.commit != nil {
				n.commit(c.commit)
			}
			if c.change != nil {
				change := ks.DeepCopy()
				c.change(n, change)
				n.Expect(shared.onHub.Patch(t.Context(), change, client.MergeFrom(ks))).To(Succeed())
			}
			for _, want := range c.want {
				n.becomes(ks, ContainSubstring(want))
			}
			n.Eventually(func() []string { return n.warnings("one") }).ShouldNot(BeEmpty())
			n.Expect(n.data("a")).To(HaveKeyWithValue("value", "1"), "what was applied before stays")
			n.Expect(n.data("late")).To(BeNil(), "one bad object stops its stage")
			for _, entry := range inventory.Entries {
				n.Expect(ks.Status.Inventory.Entries).To(ContainElement(entry))
			}
			n.Expect(fmt.Sprint(ks.Status)).NotTo(ContainSubstring(secret))
			n.silent()
		})
	}
}

// foreignKubeconfig names a server that nobody listens at.
const foreignKubeconfig = `apiVersion: v1
kind: Config
current-context: x
contexts: [{name: x, context: {cluster: x, user: x}}]
clusters: [{name: x, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: x, user: {token: hunter2}}]
`

// The way to a cluster is lost and comes back.
func TestBadKubeconfigs(t *testing.T) {
	cases := []struct {
		name   string
		damage func(*tenant, *corev1.Secret)
		want   []string
	}{
		{
			name:   "no Secret",
			damage: func(n *tenant, s *corev1.Secret) { n.Expect(shared.onHub.Delete(n.t.Context(), s)).To(Succeed()) },
			want:   []string{"False KubeConfigInvalid", "/one: kubeconfig not found"},
		},
		{
			name:   "no such key",
			damage: func(n *tenant, s *corev1.Secret) { n.replace(s, map[string][]byte{"config": []byte("x")}) },
			want:   []string{"False KubeConfigInvalid", `no key "value"`},
		},
		{
			name:   "not a kubeconfig",
			damage: func(n *tenant, s *corev1.Secret) { n.replace(s, map[string][]byte{"value": []byte("{" + secret)}) },
			want:   []string{"False KubeConfigInvalid", "does not parse"},
		},
		{
			name: "exec",
			damage: func(n *tenant, s *corev1.Secret) {
				text := strings.Replace(foreignKubeconfig, "token: "+secret, "exec: {apiVersion: client.authentication.k8s.io/v1, command: "+secret+"}", 1)
				n.replace(s, map[string][]byte{"value": []byte(text)})
			},
			want: []string{"False KubeConfigInvalid", "exec plugin"},
		},
		{
			name:   "a server that does not answer",
			damage: func(n *tenant, s *corev1.Secret) { n.replace(s, map[string][]byte{"value": []byte(foreignKubeconfig)}) },
			want:   []string{"False TargetUnreachable", "/one/value is unreachable"},
		},
		{
			name: "a revoked token",
			damage: func(n *tenant, _ *corev1.Secret) {
				account := &corev1.ServiceAccount{ObjectMeta: n.meta("one")}
				n.Expect(shared.onTarget.Delete(n.t.Context(), account)).To(Succeed())
			},
			want: []string{"False KubeConfigInvalid", "401"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			n := newTenant(t, map[string]string{"a.yaml": configMap("a", "1")})
			proxy := n.cluster("one")
			ks := n.kustomization("one", "one")
			n.create(n.source(), ks)
			n.becomes(ks, HavePrefix("True "))

			kubeconfig := &corev1.Secret{ObjectMeta: n.meta("one")}
			n.Expect(shared.onHub.Get(t.Context(), client.ObjectKeyFromObject(kubeconfig), kubeconfig)).To(Succeed())
			c.damage(n, kubeconfig.DeepCopy())
			for _, want := range c.want {
				n.becomes(ks, ContainSubstring(want))
			}
			n.Eventually(func() []string { return n.warnings("one") }).ShouldNot(BeEmpty())
			n.Expect(n.data("a")).To(HaveKeyWithValue("value", "1"), "what was applied before stays")
			n.Expect(ks.Status.Inventory.Entries).To(HaveLen(1))
			n.Expect(fmt.Sprint(ks.Status)).NotTo(ContainSubstring(secret))
			n.silent()

			n.commit(map[string]string{"a.yaml": configMap("a", "2")})
			n.Expect(client.IgnoreNotFound(shared.onHub.Delete(t.Context(), kubeconfig))).To(Succeed())
			n.create(&corev1.Secret{ObjectMeta: n.meta("one"), Data: map[string][]byte{"value": n.kubeconfig(proxy, "one")}})
			n.becomes(ks, HavePrefix("True "))
			n.Eventually(func() map[string]string { return n.data("a") }).Should(HaveKeyWithValue("value", "2"))
		})
	}
}

func (n *tenant) replace(s *corev1.Secret, data map[string][]byte) {
	n.t.Helper()
	s.Data = data
	n.Expect(shared.onHub.Update(n.t.Context(), s)).To(Succeed())
}

// A Kustomization that is pointed at the same cluster by another kubeconfig moves, and
// nothing is touched there, whichever agents own the two. (Package agent/kustomize has
// it at two clusters.)
func TestAKustomizationThatIsMovedToTheSameClusterTouchesNothing(t *testing.T) {
	n := newTenant(t, map[string]string{"a.yaml": configMap("a", "1"), "b.yaml": configMap("b", "1")})
	first, second := n.cluster("first"), n.cluster("second")
	ks := n.kustomization("mover", "first")
	n.create(n.source(), ks)
	n.becomes(ks, HavePrefix("True "))
	n.Expect(ks.Status.Target).To(Equal(n.namespace + "/first/value"))
	first.Reset()
	before := ks.DeepCopy()
	ks.Spec.KubeConfig.SecretRef.Name = "second"
	n.Expect(shared.onHub.Patch(t.Context(), ks, client.MergeFrom(before))).To(Succeed())
	n.becomes(ks, HavePrefix("True "))
	n.Expect(ks.Status.Target).To(Equal(n.namespace + "/second/value"))
	n.Expect(writes(second)).To(BeEmpty())
	n.Expect(writes(first)).To(BeEmpty())
	n.Expect(n.data("a")).To(HaveKeyWithValue("value", "1"))
}

func TestTwoKustomizationsThatClaimOneObject(t *testing.T) {
	n := newTenant(t, map[string]string{"one/a.yaml": configMap("a", "one"), "two/a.yaml": configMap("a", "two")})
	n.cluster("one")
	first, second := n.kustomization("first", "one"), n.kustomization("second", "one")
	first.Spec.Path, second.Spec.Path = "./one", "./two"
	n.create(n.source(), first)
	n.becomes(first, HavePrefix("True "))
	n.create(second)
	n.becomes(second, And(HavePrefix("False OwnershipConflict"), ContainSubstring("ConfigMap/"+n.namespace+"/a"), ContainSubstring(n.namespace+"/first")))
	n.Expect(n.data("a")).To(HaveKeyWithValue("value", "one"))
	n.Eventually(func() []string { return n.warnings("second") }).ShouldNot(BeEmpty())

	// The remedy in the message works.
	n.Expect(shared.onHub.Delete(t.Context(), first)).To(Succeed())
	n.becomes(second, HavePrefix("True "))
	n.Expect(n.data("a")).To(HaveKeyWithValue("value", "two"))
}

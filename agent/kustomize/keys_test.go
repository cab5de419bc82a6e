package kustomize

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/agent/kustomize/decrypt"
	"github.com/headwater-dev/headwater/agent/kustomize/render"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
)

func sealed(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile("testdata/sealed/" + name)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return string(content)
}

// An object may be ciphertext on purpose, with keys and without.
func TestAnObjectThatIsNotToBeDecrypted(t *testing.T) {
	renderer, err := render.New(render.Options{})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for _, where := range []string{"annotations", "labels"} {
		files := map[string][]byte{"secret.yaml": []byte(strings.Replace(sealed(t, "secret.yaml"), "metadata:\n",
			"metadata:\n    "+where+": {kustomize.toolkit.fluxcd.io/decrypt: Disabled}\n", 1))}
		secret := decrypt.Secret{Name: "a/keys", UID: "1", ResourceVersion: "1", Data: map[string][]byte{"x.agekey": []byte(sealed(t, "keys.agekey"))}}
		for name, keys := range map[string]render.Keys{"no keys": nil, "with keys": decrypt.New("a", secret)} {
			t.Run(where+", "+name, func(t *testing.T) {
				g := NewWithT(t)
				objects, err := renderer.Render(t.Context(), render.Request{Keys: keys, Open: have(files)})
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(objects).To(HaveLen(1))
				g.Expect(objects[0].Object["stringData"]).To(HaveKeyWithValue("password", HavePrefix("ENC[")))
			})
		}
	}
}

// Whoever names another's artifact and path gets what their own keys open, also
// right after the other one has opened it.
func TestWhatIsDecryptedIsNotShared(t *testing.T) {
	g := NewWithT(t)
	renderer, err := render.New(render.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	files := map[string][]byte{
		"kustomization.yaml": []byte("resources: [secret.yaml]\nsecretGenerator: [{name: made, envs: [db.env]}]\n"),
		"secret.yaml":        []byte(sealed(t, "secret.yaml")),
		"db.env":             []byte(sealed(t, "db.env")),
	}
	build := func(keys render.Keys) ([]*unstructured.Unstructured, error) {
		return renderer.Render(t.Context(), render.Request{Digest: "sha256:1", Keys: keys, Open: have(files)})
	}
	secret := decrypt.Secret{Name: "a/keys", UID: "1", ResourceVersion: "1", Data: map[string][]byte{"x.agekey": []byte(sealed(t, "keys.agekey"))}}

	objects, err := build(decrypt.New("a", secret))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(objects).To(HaveLen(2))
	g.Expect(objects[0].Object["stringData"]).To(Equal(map[string]any{"password": "hunter2"}))
	g.Expect(objects[1].Object["data"]).To(Equal(map[string]any{"PASSWORD": "aHVudGVyMw=="}))

	changed := secret
	changed.ResourceVersion, changed.Data = "2", nil
	for name, keys := range map[string]render.Keys{
		"another namespace without keys":      decrypt.New("b"),
		"another namespace with other keys":   decrypt.New("b", decrypt.Secret{UID: "2", ResourceVersion: "1"}),
		"the same namespace after the change": decrypt.New("a", changed),
	} {
		_, err := build(keys)
		g.Expect(err).To(MatchError(ContainSubstring("cannot get sops data key")), name)
		g.Expect(err.Error()).To(ContainSubstring("db.env"), "it names the file")
	}
	delete(files, "db.env")
	files["kustomization.yaml"] = []byte("resources: [secret.yaml]")
	_, err = renderer.Render(t.Context(), render.Request{Digest: "sha256:2", Open: have(files)})
	g.Expect(err).To(MatchError(ContainSubstring("Secret/NS/db is SOPS encrypted: configure spec.decryption")))
}

// byVault is a Secret whose key a Vault has.
const byVault = `
apiVersion: v1
kind: Secret
metadata: {name: db, namespace: NS}
stringData: {password: "ENC[AES256_GCM,data:AAAA,iv:AAAA,tag:AAAA,type:str]"}
sops:
  hc_vault: [{vault_address: ADDRESS, engine_path: sops, key_name: key, enc: "vault:v1:AAAA", created_at: "2026-01-01T00:00:00Z"}]
  lastmodified: "2026-01-01T00:00:00Z"
  mac: ENC[AES256_GCM,data:AAAA,iv:AAAA,tag:AAAA,type:str]
  encrypted_regex: ^stringData$
  version: 3.9.0
`

// The administrator's age identities open what no key of one's own opens. Nothing
// else of their Secret is anybody's: a token would go to whatever address a tenant
// writes.
func TestTheAgentsOwnAgeIdentities(t *testing.T) {
	e := newEnv(t)
	var asked atomic.Int32
	vault := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(vault.Close)
	e.Expect(e.hub.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "shared"},
		Data:       map[string][]byte{"x.agekey": []byte(sealed(t, "keys.agekey")), "sops.vault-token": []byte("hunter2")},
	})).To(Succeed())
	e.builds.AgeSecret = types.NamespacedName{Namespace: e.namespace, Name: "shared"}
	e.push("1", "age/secret.yaml", sealed(t, "secret.yaml"), "vault/secret.yaml", strings.ReplaceAll(byVault, "ADDRESS", vault.URL))
	for _, name := range []string{"age", "vault"} {
		e.kustomization(name, func(obj *kustomizev1.Kustomization) {
			obj.Spec.Path = name
			obj.Spec.TargetNamespace = e.namespace
			obj.Spec.Decryption = &kustomizev1.Decryption{Provider: "sops"}
		})
	}
	e.start()
	e.becomes("age", "True ReconciliationSucceeded")
	e.becomes("vault", "False BuildFailed")
	e.Expect(e.ready("vault")).To(ContainSubstring("hold no key of this kind"))
	e.Expect(asked.Load()).To(BeZero())
}

// The Vaults that the administrator lists are shown a token of the tenant's account,
// in its own role.
func TestTheVaultsOfTheAdministrator(t *testing.T) {
	e := newEnv(t)
	roles := make(chan string, 100)
	vault := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var said struct{ Role, JWT string }
		if r.URL.Path == "/v1/auth/jwt/login" && json.NewDecoder(r.Body).Decode(&said) == nil && said.JWT != "" {
			roles <- said.Role
		}
		http.Error(w, `{"errors": ["permission denied"]}`, http.StatusForbidden)
	}))
	t.Cleanup(vault.Close)
	e.builds.VaultConfig = types.NamespacedName{Namespace: e.namespace, Name: "vaults"}
	e.Expect(e.hub.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "keys"}})).To(Succeed())
	e.push("1", "secret.yaml", strings.ReplaceAll(byVault, "ADDRESS", vault.URL))
	e.kustomization("web", func(obj *kustomizev1.Kustomization) {
		obj.Spec.Decryption = &kustomizev1.Decryption{Provider: "sops", ServiceAccountName: "keys"}
	})
	e.start()
	e.becomes("web", "False BuildFailed: --sops-vault-configmap: cannot get ConfigMap 'NS/vaults'")

	e.Expect(e.hub.Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "vaults"},
		Data:       map[string]string{"config.yaml": "instances: [{address: '" + vault.URL + "', loginPath: auth/jwt/login}]"},
	})).To(Succeed())
	e.request("web", "1")
	e.Eventually(func() string { return e.ready("web") }, "20s", "20ms").
		Should(And(HavePrefix("False BuildFailed"), ContainSubstring("log in at the Vault "+vault.URL), ContainSubstring("permission denied")))
	e.Expect(<-roles).To(Equal(e.namespace + "_keys"))
}

func TestBuildFieldsAtACluster(t *testing.T) {
	e := newEnv(t)
	for _, obj := range []client.Object{
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "keys"}, StringData: map[string]string{"x.agekey": sealed(t, "keys.agekey")}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "vars"}, StringData: map[string]string{"region": "eu", "tier": "gold"}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "vars"}, Data: map[string]string{"region": "us", "size": "3"}},
	} {
		obj.SetNamespace(e.namespace)
		e.Expect(e.hub.Create(e.t.Context(), obj)).To(Succeed())
	}
	e.push("1",
		"deploy/one.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one, namespace: NS}\ndata: {text: '${region}-${tier}-${size}-${color:=blue}'}\n",
		"deploy/secret.yaml", sealed(t, "secret.yaml"),
		"parts/labels/kustomization.yaml", "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nlabels: [{pairs: {part: of}}]\n")
	e.kustomization("web", func(obj *kustomizev1.Kustomization) {
		obj.Spec.Path = "deploy"
		obj.Spec.NamePrefix = "p-"
		obj.Spec.Components = []string{"../parts/labels", "../parts/gone"}
		obj.Spec.IgnoreMissingComponents = true
		obj.Spec.CommonMetadata = &meta.CommonMetadata{Annotations: map[string]string{"note": "n"}}
		obj.Spec.Decryption = &kustomizev1.Decryption{Provider: "sops", SecretRef: &meta.LocalObjectReference{Name: "keys"}}
		obj.Spec.PostBuild = &kustomizev1.PostBuild{
			Substitute: map[string]string{"tier": "inline"},
			SubstituteFrom: []kustomizev1.SubstituteReference{
				{Kind: "ConfigMap", Name: "vars"}, {Kind: "Secret", Name: "vars"}, {Kind: "Secret", Name: "gone", Optional: true},
			},
		}
	})
	e.kustomization("thief", func(obj *kustomizev1.Kustomization) {
		obj.Spec.Path = "deploy"
		obj.Spec.Decryption = &kustomizev1.Decryption{Provider: "sops"}
		obj.Spec.Suspend = true
	})
	e.start()
	e.becomes("web", "True ReconciliationSucceeded")
	one := e.object("v1", "ConfigMap", "p-one")
	e.Expect(one.Object["data"]).To(Equal(map[string]any{"text": "eu-inline-3-blue"}))
	e.Expect(one.GetLabels()).To(HaveKeyWithValue("part", "of"))
	e.Expect(one.GetAnnotations()).To(HaveKeyWithValue("note", "n"))
	e.Expect(e.object("v1", "Secret", "p-db").Object["data"]).To(Equal(map[string]any{"password": "aHVudGVyMg=="}))

	e.edit("thief", func(obj *kustomizev1.Kustomization) { obj.Spec.Suspend = false })
	e.becomes("thief", "False BuildFailed: Secret/NS/db: cannot get sops data key")
	e.edit("thief", func(obj *kustomizev1.Kustomization) {
		obj.Spec.Decryption = nil
		obj.Spec.PostBuild = &kustomizev1.PostBuild{SubstituteFrom: []kustomizev1.SubstituteReference{{Kind: "ConfigMap", Name: "gone"}}}
	})
	e.becomes("thief", "False BuildFailed: substitute from 'ConfigMap/gone': configmaps \"gone\" not found")
}

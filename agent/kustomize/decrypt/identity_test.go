package decrypt

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/getsops/sops/v3/azkv"
	"github.com/getsops/sops/v3/cmd/sops/formats"
	"github.com/getsops/sops/v3/gcpkms"
	"github.com/getsops/sops/v3/keys"
	"github.com/getsops/sops/v3/kms"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const keyARN = "arn:aws:kms:eu-central-1:123456789012:key/1"

// masters are the key of each cloud, with the data key sealed by it: what the
// stand-ins take for that does not matter.
func masters() map[string]keys.MasterKey {
	amazon := kms.NewMasterKey(keyARN, "", nil)
	amazon.EncryptedKey = base64.StdEncoding.EncodeToString([]byte("sealed"))
	azure := azkv.NewMasterKey("https://"+azureKeys, "main", "1")
	azure.EncryptedKey = base64.RawURLEncoding.EncodeToString([]byte("sealed"))
	google := gcpkms.NewMasterKeyFromResourceID("projects/fleet/locations/global/keyRings/main/cryptoKeys/main")
	google.EncryptedKey = base64.StdEncoding.EncodeToString([]byte("sealed"))
	return map[string]keys.MasterKey{"aws": amazon, "azure": azure, "gcp": google}
}

// account is a ServiceAccount that says who it is at each cloud.
func account(t *testing.T, hub client.Client, namespace, name string) *corev1.ServiceAccount {
	t.Helper()
	made := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: map[string]string{
		"eks.amazonaws.com/role-arn":        roleARN,
		"azure.workload.identity/tenant-id": azureTenant, "azure.workload.identity/client-id": azureClient,
		"gcp.auth.fluxcd.io/workload-identity-provider": googleProvider, "iam.gke.io/gcp-service-account": googleEmail,
	}}}
	NewWithT(t).Expect(hub.Create(t.Context(), made)).To(Succeed())
	return made
}

func newHub(t *testing.T) (hub client.Client, namespace string) {
	t.Helper()
	g := NewWithT(t)
	hub, err := shared.ControlPlane(t).Client(nil)
	g.Expect(err).NotTo(HaveOccurred())
	made := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "decrypt-"}}
	g.Expect(hub.Create(t.Context(), made)).To(Succeed())
	return hub, made.Name
}

// own sets credentials of the process, which no ServiceAccount may come to use.
func own(t *testing.T) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", ownCredentials.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", ownCredentials.SecretAccessKey)
}

// The clouds open a key for the ServiceAccount that they trust, by their own
// names and for a token of the hub; not for another one that only claims to be it.
func TestCloudsOpenKeysForAServiceAccount(t *testing.T) {
	hub, namespace := newHub(t)
	own(t)
	trusted, intruder := account(t, hub, namespace, "keys"), account(t, hub, namespace, "intruder")
	gone := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "gone"}}
	refusals := map[string]string{"aws": "Not authorized to perform", "azure": "AADSTS700213", "gcp": "The given credential is rejected"}
	services := map[string]string{"aws": amazonKeys, "azure": azureKeys, "gcp": googleKeys}
	for cloud, master := range masters() {
		t.Run(cloud, func(t *testing.T) {
			g := NewWithT(t)
			dataKey := newDataKey(t)
			clouds.trust(hub, "system:serviceaccount:"+namespace+":keys", dataKey)
			file := seal(t, file{content: manifest, format: formats.Yaml, only: "^stringData$"}, master, dataKey)
			open := func(as *corev1.ServiceAccount, secrets ...Secret) error {
				return New(namespace, secrets...).As(&Identity{Account: as, Tokens: hub}).Object(t.Context(), object(t, file))
			}
			g.Expect(open(trusted)).To(Succeed())
			g.Expect(open(trusted, Secret{Data: map[string][]byte{}})).To(Succeed(), "beside a Secret with other keys")

			clouds.trust(hub, "system:serviceaccount:"+namespace+":keys", dataKey)
			err := open(intruder)
			g.Expect(err).To(MatchError(ContainSubstring(refusals[cloud])))
			g.Expect(open(intruder)).To(MatchError(err.Error()), "the same words at every attempt")
			opened := slices.DeleteFunc(clouds.seen(), func(asked string) bool {
				return !strings.HasPrefix(asked, services[cloud]) || cloud == "azure" // who is asked without a token first
			})
			g.Expect(opened).To(BeEmpty(), "and the process's own identity is not used instead")
			g.Expect(open(gone)).To(MatchError(ContainSubstring("service account " + namespace + "/gone does not exist")))
		})
	}
}

// Without a ServiceAccount it is the process that asks, as in Flux.
func TestCloudsOpenKeysForTheProcess(t *testing.T) {
	g := NewWithT(t)
	own(t)
	dataKey := newDataKey(t)
	clouds.trust(nil, "", dataKey)
	file := seal(t, file{content: manifest, format: formats.Yaml, only: "^stringData$"}, masters()["aws"], dataKey)
	g.Expect(New("a").Object(t.Context(), object(t, file))).To(Succeed())
}

// A managed identity is the agent's own: a Secret may name it only where the agent's
// identity is used anyway.
func TestManagedIdentitiesAreTheProcesss(t *testing.T) {
	g := NewWithT(t)
	machine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, http.StatusOK, map[string]any{
			"access_token": "token of the application", "expires_on": "2082758400", "resource": "https://vault.azure.net", "token_type": "Bearer",
		})
	}))
	defer machine.Close()
	t.Setenv("IDENTITY_ENDPOINT", machine.URL)
	t.Setenv("IDENTITY_HEADER", "header")
	dataKey := newDataKey(t)
	clouds.trust(nil, "", dataKey)
	file := seal(t, file{content: manifest, format: formats.Yaml, only: "^stringData$"}, masters()["azure"], dataKey)
	secret := Secret{Name: "a/keys", Data: map[string][]byte{"sops.azure-kv": []byte("clientId: " + azureClient)}}
	g.Expect(New("a", secret).Object(t.Context(), object(t, file))).To(Succeed())

	clouds.trust(nil, "", dataKey)
	named := &Identity{Account: &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "gone"}}}
	g.Expect(New("a", secret).As(named).Object(t.Context(), object(t, file))).
		To(MatchError(ContainSubstring("decryption Secret a/keys: key sops.azure-kv: it names a managed identity of the agent")))
	g.Expect(clouds.seen()).To(BeEmpty())
}

// What the ARN of a key says becomes part of a host's name.
func TestRegionsOfKeys(t *testing.T) {
	g := NewWithT(t)
	identity := &Identity{Account: &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{UID: "1"}}}
	for arn, fine := range map[string]bool{
		keyARN: true, "arn:aws-us-gov:kms:us-gov-east-1:1:alias/x": true,
		"arn:aws:kms:evil.example.com/x:1:key/1": false, "arn:aws:kms:a@b:1:key/1": false, "nonsense": false,
	} {
		err := identity.applyAWS(t.Context(), kms.NewMasterKey(arn, "", nil))
		g.Expect(err == nil).To(Equal(fine), arn)
	}
}

func TestIDOfAnIdentity(t *testing.T) {
	g := NewWithT(t)
	seen := map[string]bool{New("a").ID(): true}
	for _, as := range []metav1.ObjectMeta{
		{Name: "x", UID: "1", ResourceVersion: "1"}, {Name: "y", UID: "1", ResourceVersion: "1"},
		{Name: "x", UID: "2", ResourceVersion: "1"}, {Name: "x", UID: "1", ResourceVersion: "2"}, {Name: "x"},
	} {
		id := New("a").As(&Identity{Account: &corev1.ServiceAccount{ObjectMeta: as}}).ID()
		g.Expect(seen).NotTo(HaveKey(id))
		seen[id] = true
	}
}

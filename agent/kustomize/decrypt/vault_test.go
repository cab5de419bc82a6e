package decrypt

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/getsops/sops/v3/cmd/sops/formats"
	"github.com/getsops/sops/v3/hcvault"
	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// vault stands in for an OpenBao whose method of login asks the hub whose token it
// is shown, and which has one role.
type vault struct {
	*httptest.Server
	hub           client.Client
	user, role    string
	dataKey       []byte
	logins, opens atomic.Int32
}

func newVault(t *testing.T, hub client.Client) *vault {
	t.Helper()
	v := &vault{hub: hub, dataKey: newDataKey(t)}
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/team/auth/kubernetes/login", v.login)
	mux.HandleFunc("/v1/transit/decrypt/key", v.decrypt)
	v.Server = httptest.NewServer(mux)
	t.Cleanup(v.Close)
	return v
}

func (v *vault) login(w http.ResponseWriter, r *http.Request) {
	v.logins.Add(1)
	var said struct {
		Role string `json:"role"`
		JWT  string `json:"jwt"`
	}
	_ = json.NewDecoder(r.Body).Decode(&said)
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: said.JWT, Audiences: []string{v.URL}}}
	err := v.hub.Create(r.Context(), review)
	if err != nil || !review.Status.Authenticated || review.Status.User.Username != v.user || said.Role != v.role {
		answerJSON(w, http.StatusForbidden, map[string]any{"errors": []string{"permission denied"}})
		return
	}
	answerJSON(w, http.StatusOK, map[string]any{"auth": map[string]any{"client_token": "token of the role"}})
}

func (v *vault) decrypt(w http.ResponseWriter, r *http.Request) {
	v.opens.Add(1)
	if r.Header.Get("X-Vault-Token") != "token of the role" {
		answerJSON(w, http.StatusForbidden, map[string]any{"errors": []string{"permission denied"}})
		return
	}
	answerJSON(w, http.StatusOK, map[string]any{"data": map[string]any{"plaintext": base64.StdEncoding.EncodeToString(v.dataKey)}})
}

// file is a Secret whose key the Vault at the address has.
func (v *vault) file(t *testing.T, address string) []byte {
	t.Helper()
	master := hcvault.NewMasterKey(address, "transit", "key")
	master.EncryptedKey = "vault:v1:x"
	return seal(t, file{content: manifest, format: formats.Yaml, only: "^stringData$"}, master, v.dataKey)
}

// A listed Vault opens a key for the ServiceAccount that it knows, which logs in once
// for all files; no other account, and no Vault that is not listed, gets anything.
func TestAVaultOpensKeysForAServiceAccount(t *testing.T) {
	g := NewWithT(t)
	hub, namespace := newHub(t)
	t.Setenv("VAULT_TOKEN", "token of the role")
	known, intruder := account(t, hub, namespace, "keys"), account(t, hub, namespace, "intruder")
	listed, other := newVault(t, hub), newVault(t, hub)
	listed.user, listed.role = "system:serviceaccount:"+namespace+":keys", namespace+"_keys"
	vaults, err := ReadVaults("1", "instances:\n- address: "+listed.URL+"/\n  loginPath: team/auth/kubernetes/login\n")
	g.Expect(err).NotTo(HaveOccurred())

	as := func(identity *Identity, secrets ...Secret) *Keys {
		return New(namespace, secrets...).As(identity).At(vaults)
	}
	keys := as(&Identity{Account: known, Tokens: hub}, Secret{Data: map[string][]byte{}})
	for range 3 {
		g.Expect(keys.Object(t.Context(), object(t, listed.file(t, listed.URL)))).To(Succeed())
	}
	g.Expect(listed.logins.Load()).To(BeEquivalentTo(1))

	listed.opens.Store(0)
	err = as(&Identity{Account: intruder, Tokens: hub}).Object(t.Context(), object(t, listed.file(t, listed.URL)))
	g.Expect(err).To(MatchError(And(ContainSubstring("log in at the Vault "+listed.URL), ContainSubstring("permission denied"))))
	g.Expect(strings.Contains(err.Error(), "eyJ")).To(BeFalse(), "no token is shown")
	err = New(namespace).At(vaults).Object(t.Context(), object(t, listed.file(t, listed.URL)))
	g.Expect(err).To(MatchError(ContainSubstring("name one in spec.decryption.serviceAccountName")))
	g.Expect(listed.opens.Load()).To(BeZero())

	g.Expect(as(&Identity{Account: known, Tokens: hub}).Object(t.Context(), object(t, other.file(t, other.URL)))).
		To(MatchError(ContainSubstring("hold no key of this kind")))
	g.Expect(other.logins.Load() + other.opens.Load()).To(BeZero())

	// A token of one's own goes before.
	own := Secret{UID: "1", Data: map[string][]byte{"sops.vault-token": []byte("token of the role\n")}}
	g.Expect(as(&Identity{Account: intruder, Tokens: hub}, own).Object(t.Context(), object(t, other.file(t, other.URL)))).To(Succeed())
	g.Expect(other.logins.Load()).To(BeZero())
}

func TestReadVaults(t *testing.T) {
	for content, want := range map[string]string{
		"instances: [{address: 'vault:8200', loginPath: x}]":                                       "instances[0].address: it has to be a URL",
		"instances: [{address: 'https://a', loginPath: x}, {address: 'unix:///a', loginPath: x}]":  "instances[1].address: it has to be a URL",
		"instances: [{address: 'https://a', loginPath: /}]":                                        "instances[0].loginPath: it is empty",
		"instances: [{address: 'https://a', loginPath: x}, {address: 'https://a/', loginPath: y}]": "instances[1].address: it is there twice",
		"instances: [{address: 'https://a', loginPath: x}]\nroles: []":                             "unknown field",
		"- https://a": "cannot unmarshal",
	} {
		_, err := ReadVaults("1", content)
		NewWithT(t).Expect(err).To(MatchError(ContainSubstring(want)), content)
	}
	vaults, err := ReadVaults("1", "")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	NewWithT(t).Expect(New("a").At(vaults).ID()).NotTo(Equal(New("a").At(Vaults{State: "2"}).ID()))
}

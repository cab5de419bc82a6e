package decrypt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"

	"filippo.io/age"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/getsops/sops/v3/azkv"
	"github.com/getsops/sops/v3/kms"
	"sigs.k8s.io/yaml"
)

// Secret holds keys by the names that Flux gives them: *.agekey, *.asc,
// sops.vault-token, sops.aws-kms, sops.azure-kv and sops.gcp-kms.
type Secret struct {
	// Name is what errors call it.
	Name string
	// UID and ResourceVersion identify its state.
	UID, ResourceVersion string
	// Data are the keys.
	Data map[string][]byte
}

// Keys are those of one Kustomization. It is safe for concurrent use.
type Keys struct {
	id       string
	secrets  []Secret
	identity *Identity
	vaults   Vaults
	load     func() ([]*ring, error)
}

// New makes the keys of a Kustomization in a namespace. The Secrets are tried in
// order: its own, then those that everybody may use.
func New(namespace string, secrets ...Secret) *Keys {
	id := []string{namespace}
	for _, secret := range secrets {
		id = append(id, secret.UID+"@"+secret.ResourceVersion)
	}
	k := &Keys{id: strings.Join(id, " "), secrets: secrets}
	k.load = sync.OnceValues(k.rings)
	return k
}

// As has the key services of clouds asked in the name of a ServiceAccount, where
// no Secret has credentials for them. It is to be called before any other method.
func (k *Keys) As(identity *Identity) *Keys {
	account := identity.Account
	k.id += fmt.Sprintf(" as %s %s@%s", account.Name, account.UID, account.ResourceVersion)
	k.identity = identity
	return k
}

// At has the Vaults log in the ServiceAccount, where no Secret has a token for them.
// It is to be called before any other method but As.
func (k *Keys) At(vaults Vaults) *Keys {
	k.id += " at " + vaults.State
	k.vaults = vaults
	return k
}

// ID names the namespace and the state of the Secrets, of the ServiceAccount and of
// the list of Vaults.
func (k *Keys) ID() string { return k.id }

func (k *Keys) rings() ([]*ring, error) {
	var rings []*ring
	vaults := &logins{vaults: k.vaults, identity: k.identity}
	for _, secret := range k.secrets {
		r := &ring{identity: k.identity, logins: vaults}
		if err := r.read(secret.Data); err != nil {
			return nil, fmt.Errorf("decryption Secret %s: %w", secret.Name, err)
		}
		rings = append(rings, r)
	}
	if len(rings) == 0 {
		rings = append(rings, &ring{identity: k.identity, logins: vaults})
	}
	return rings, nil
}

// ring holds the keys of one Secret.
type ring struct {
	ages  []age.Identity
	pgp   openpgp.EntityList
	vault string
	aws   *kms.CredentialsProvider
	azure *azkv.TokenCredential
	gcp   []byte
	// identity is what the clouds know that have no credentials here; the
	// process's own when nil.
	identity *Identity
	logins   *logins
}

// read adds keys. Its errors quote none of them.
func (r *ring) read(data map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(data)) {
		if err := r.add(name, data[name]); err != nil {
			return fmt.Errorf("key %s: %w", name, err)
		}
	}
	return nil
}

func (r *ring) add(name string, content []byte) error {
	switch {
	case path.Ext(name) == ".agekey":
		identities, err := age.ParseIdentities(bytes.NewReader(content))
		if err != nil {
			return errors.New("it is no age identity")
		}
		r.ages = append(r.ages, identities...)
	case path.Ext(name) == ".asc":
		entities, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(content))
		if err != nil {
			return errors.New("it is no armored OpenPGP key")
		}
		r.pgp = append(r.pgp, entities...)
	case name == "sops.vault-token":
		r.vault = strings.Trim(string(content), "\n")
	case name == "sops.aws-kms":
		return r.addAWS(content)
	case name == "sops.azure-kv":
		return r.addAzure(content)
	case name == "sops.gcp-kms":
		return r.addGCP(content)
	}
	return nil
}

// googleTokenHosts are the hosts where Google has key files exchanged for tokens.
var googleTokenHosts = []string{"oauth2.googleapis.com", "accounts.google.com", "www.googleapis.com"}

// addGCP takes the kinds of key files that hold all they need. The others name
// files to read, addresses to ask and programs to run, with the agent's rights.
func (r *ring) addGCP(content []byte) error {
	var fields struct {
		Type     string `json:"type"`
		TokenURI string `json:"token_uri"`
	}
	if err := json.Unmarshal(content, &fields); err != nil || fields.Type != "service_account" && fields.Type != "authorized_user" {
		return errors.New("it has to be the JSON key file of a service account, or of an authorized user")
	}
	if at, err := url.Parse(fields.TokenURI); fields.TokenURI != "" && (err != nil || at.Scheme != "https" || !slices.Contains(googleTokenHosts, at.Host)) {
		return errors.New("its token_uri has to be Google's, https://oauth2.googleapis.com/token, or be left out")
	}
	r.gcp = bytes.TrimSpace(content)
	return nil
}

func (r *ring) addAWS(content []byte) error {
	var fields struct {
		ID      string `json:"aws_access_key_id"`
		Secret  string `json:"aws_secret_access_key"`
		Session string `json:"aws_session_token"`
	}
	if err := yaml.Unmarshal(content, &fields); err != nil || fields.ID == "" || fields.Secret == "" {
		return errors.New("it has to be YAML with aws_access_key_id and aws_secret_access_key")
	}
	r.aws = kms.NewCredentialsProvider(credentials.NewStaticCredentialsProvider(fields.ID, fields.Secret, fields.Session))
	return nil
}

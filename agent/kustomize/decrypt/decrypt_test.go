package decrypt

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	agearmor "filippo.io/age/armor"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	sopsage "github.com/getsops/sops/v3/age"
	"github.com/getsops/sops/v3/cmd/sops/formats"
	"github.com/getsops/sops/v3/hcvault"
	"github.com/getsops/sops/v3/keys"
	"github.com/getsops/sops/v3/pgp"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/headwater-dev/headwater/agent/kustomize/render"
)

// file is what is encrypted, and the values to encrypt; all of them when empty.
type file struct {
	content string
	format  formats.Format
	only    string
}

// seal encrypts a file as the sops tool does, for one master key that holds the
// data key already.
func seal(t *testing.T, f file, master keys.MasterKey, dataKey []byte) []byte {
	t.Helper()
	g := NewWithT(t)
	branches, err := store(f.format).LoadPlainFile([]byte(f.content))
	g.Expect(err).NotTo(HaveOccurred())
	tree := sops.Tree{Branches: branches, Metadata: sops.Metadata{
		KeyGroups: []sops.KeyGroup{{master}}, Version: "3.9.0", LastModified: time.Unix(1, 0).UTC(), EncryptedRegex: f.only,
	}}
	mac, err := tree.Encrypt(dataKey, aes.NewCipher())
	g.Expect(err).NotTo(HaveOccurred())
	tree.Metadata.MessageAuthenticationCode, err = aes.NewCipher().Encrypt(mac, dataKey, tree.Metadata.LastModified.Format(time.RFC3339))
	g.Expect(err).NotTo(HaveOccurred())
	sealed, err := store(f.format).EmitEncryptedFile(tree)
	g.Expect(err).NotTo(HaveOccurred())
	return sealed
}

func newDataKey(t *testing.T) []byte {
	t.Helper()
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		t.Fatal(err)
	}
	return key
}

// ageKey is an identity, and a master key of it that holds the data key.
func ageKey(t *testing.T, dataKey []byte) (identity string, master keys.MasterKey) {
	t.Helper()
	g := NewWithT(t)
	made, err := age.GenerateX25519Identity()
	g.Expect(err).NotTo(HaveOccurred())
	var sealed bytes.Buffer
	armored := agearmor.NewWriter(&sealed)
	w, err := age.Encrypt(armored, made.Recipient())
	g.Expect(err).NotTo(HaveOccurred())
	_, err = w.Write(dataKey)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.Close()).To(Succeed())
	g.Expect(armored.Close()).To(Succeed())
	return made.String(), &sopsage.MasterKey{Recipient: made.Recipient().String(), EncryptedKey: sealed.String()}
}

func pgpKey(t *testing.T, dataKey []byte) (private string, master keys.MasterKey) {
	t.Helper()
	g := NewWithT(t)
	entity, err := openpgp.NewEntity("test", "", "test@example.com", nil)
	g.Expect(err).NotTo(HaveOccurred())
	var secret, sealed bytes.Buffer
	w, err := armor.Encode(&secret, openpgp.PrivateKeyType, nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(entity.SerializePrivate(w, nil)).To(Succeed())
	g.Expect(w.Close()).To(Succeed())
	outer, err := armor.Encode(&sealed, "PGP MESSAGE", nil)
	g.Expect(err).NotTo(HaveOccurred())
	inner, err := openpgp.Encrypt(outer, []*openpgp.Entity{entity}, nil, nil, nil)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = inner.Write(dataKey)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(inner.Close()).To(Succeed())
	g.Expect(outer.Close()).To(Succeed())
	return secret.String(), &pgp.MasterKey{Fingerprint: "0000000000000000000000000000000000000000", EncryptedKey: sealed.String()}
}

const manifest = "apiVersion: v1\nkind: Secret\nmetadata:\n    name: db\nstringData:\n    password: hunter2\n    port: \"5432\"\n"

func object(t *testing.T, content []byte) *unstructured.Unstructured {
	t.Helper()
	raw, err := yaml.YAMLToJSON(content)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	obj := &unstructured.Unstructured{}
	NewWithT(t).Expect(obj.UnmarshalJSON(raw)).To(Succeed())
	return obj
}

func TestObject(t *testing.T) {
	dataKey := newDataKey(t)
	identity, byAge := ageKey(t, dataKey)
	private, byPGP := pgpKey(t, dataKey)
	for name, c := range map[string]struct {
		master keys.MasterKey
		data   map[string][]byte
	}{
		"age": {byAge, map[string][]byte{"keys.agekey": []byte("# a comment\n" + identity + "\n")}},
		"PGP": {byPGP, map[string][]byte{"key.asc": []byte(private)}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			obj := object(t, seal(t, file{content: manifest, format: formats.Yaml, only: "^(data|stringData)$"}, c.master, dataKey))
			g.Expect(obj.Object).To(HaveKey("sops"))
			g.Expect(New("a", Secret{Data: c.data}).Object(t.Context(), obj)).To(Succeed())
			g.Expect(obj.Object["stringData"]).To(Equal(map[string]any{"password": "hunter2", "port": "5432"}))
			g.Expect(obj.Object).NotTo(HaveKey("sops"))
		})
	}
}

func TestFile(t *testing.T) {
	dataKey := newDataKey(t)
	identity, master := ageKey(t, dataKey)
	k := New("a", Secret{Data: map[string][]byte{"x.agekey": []byte(identity)}})
	for name, c := range map[string]struct {
		format formats.Format
		plain  string
	}{
		"a.yaml":     {formats.Yaml, "password: hunter2\n"},
		"a.env":      {formats.Dotenv, "PASSWORD=hunter2\n"},
		"a.ini":      {formats.Ini, "[a]\npassword = hunter2\n"},
		"a.bin":      {formats.Binary, "\x00hunter2"},
		"no-ending":  {formats.Binary, "hunter2"},
		"sub/a.json": {formats.Json, "{\n\"password\": \"hunter2\"\n}"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			sealed := seal(t, file{content: c.plain, format: c.format}, master, dataKey)
			g.Expect(string(sealed)).NotTo(ContainSubstring("hunter2"))
			opened, err := k.File(t.Context(), name, sealed)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(strings.TrimSpace(string(opened))).To(Equal(strings.TrimSpace(c.plain)))
			g.Expect(k.File(t.Context(), name, []byte(c.plain))).To(Equal([]byte(c.plain)), "what is not encrypted stays")
		})
	}
}

// The files of generators are in the formats that Flux takes them for.
func TestFilesOfGenerators(t *testing.T) {
	dataKey := newDataKey(t)
	identity, master := ageKey(t, dataKey)
	keys := New("a", Secret{Data: map[string][]byte{"x.agekey": []byte(identity)}})
	renderer, err := render.New(render.Options{})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	const docker = `{"auths":{"x":{"auth":"hunter2"}}}`
	for generator, c := range map[string]struct {
		path string
		file
		key, want string
	}{
		"envs: [secrets.enc]":                     {"secrets.enc", file{content: "PASSWORD=hunter2\n", format: formats.Dotenv}, "PASSWORD", "hunter2"},
		"envs: [app.env.prod]":                    {"app.env.prod", file{content: "PASSWORD=hunter2\n", format: formats.Dotenv}, "PASSWORD", "hunter2"},
		"env: app.env":                            {"app.env", file{content: "PASSWORD=hunter2\n", format: formats.Dotenv}, "PASSWORD", "hunter2"},
		"files: [config.json=config.enc]":         {"config.enc", file{content: `{"a":"hunter2"}`, format: formats.Json}, "config.json", `{"a":"hunter2"}`},
		"files: [config.json]":                    {"config.json", file{content: `{"a":"hunter2"}`, format: formats.Json}, "config.json", `{"a":"hunter2"}`},
		"files: [.dockerconfigjson=sub/reg.json]": {"sub/reg.json", file{content: docker, format: formats.Json}, ".dockerconfigjson", docker},
		"files: [token=token.yaml]":               {"token.yaml", file{content: `{"a":"hunter2"}`, format: formats.Binary}, "token", `{"a":"hunter2"}`},
	} {
		t.Run(generator, func(t *testing.T) {
			g := NewWithT(t)
			objects, err := renderer.Render(t.Context(), render.Request{Keys: keys, Open: func(context.Context) (render.Archive, error) {
				return archive{
					"kustomization.yaml": []byte("secretGenerator: [{name: made, " + generator + "}]"),
					c.path:               seal(t, c.file, master, dataKey),
				}, nil
			}})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(objects).To(HaveLen(1))
			value, _, err := unstructured.NestedString(objects[0].Object, "data", c.key)
			g.Expect(err).NotTo(HaveOccurred())
			opened, err := base64.StdEncoding.DecodeString(value)
			g.Expect(err).NotTo(HaveOccurred())
			if json.Valid([]byte(c.want)) {
				g.Expect(opened).To(MatchJSON(c.want))
				return
			}
			g.Expect(string(opened)).To(Equal(c.want))
		})
	}
}

// archive is an artifact at hand.
type archive map[string][]byte

func (a archive) Size() (int64, error) { return 1, nil }
func (a archive) Files(int64, int64) (map[string][]byte, map[string]int64, error) {
	return a, nil, nil
}

func (archive) Close() error { return nil }

func TestSecretValues(t *testing.T) {
	g := NewWithT(t)
	dataKey := newDataKey(t)
	identity, master := ageKey(t, dataKey)
	value := func(format formats.Format, plain string) string {
		return base64.StdEncoding.EncodeToString(seal(t, file{content: plain, format: format}, master, dataKey))
	}
	obj := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "db"},
		"data": map[string]any{
			"config.yaml": value(formats.Yaml, "a: hunter2\n"), "token": value(formats.Binary, "hunter2"), "plain": "aGVsbG8=",
			".dockerconfigjson": value(formats.Json, `{"auths":{"x":{"auth":"hunter2"}}}`), "a.env": value(formats.Dotenv, "A=hunter2\n"),
			"empty": value(formats.Binary, ""),
		},
	}}
	g.Expect(New("a", Secret{Data: map[string][]byte{"x.agekey": []byte(identity)}}).Object(t.Context(), obj)).To(Succeed())
	data, _, _ := unstructured.NestedStringMap(obj.Object, "data")
	decoded := map[string]string{}
	for name, encoded := range data {
		raw, err := base64.StdEncoding.DecodeString(encoded)
		g.Expect(err).NotTo(HaveOccurred())
		decoded[name] = string(raw)
	}
	g.Expect(decoded["config.yaml"]).To(Equal("a: hunter2\n"))
	g.Expect(decoded["token"]).To(Equal("hunter2"))
	g.Expect(decoded["plain"]).To(Equal("hello"))
	g.Expect(decoded["a.env"]).To(Equal("A=hunter2\n"))
	g.Expect(decoded["empty"]).To(BeEmpty())
	g.Expect(json.Valid([]byte(decoded[".dockerconfigjson"]))).To(BeTrue())
}

func TestRefusals(t *testing.T) {
	dataKey := newDataKey(t)
	identity, byAge := ageKey(t, dataKey)
	other, _ := ageKey(t, dataKey)
	otherPrivate, _ := pgpKey(t, dataKey)
	_, byPGP := pgpKey(t, dataKey)
	vault := hcvault.NewMasterKey("http://127.0.0.1:1", "transit", "key")
	vault.EncryptedKey = "vault:v1:x"
	for _, c := range []struct {
		name   string
		master keys.MasterKey
		data   map[string][]byte
		want   string
	}{
		{"no keys", byAge, nil, "hold no key of this kind"},
		{"another's age identity", byAge, map[string][]byte{"x.agekey": []byte(other)}, "none of the age identities opens it"},
		{"another's OpenPGP key", byPGP, map[string][]byte{"x.asc": []byte(otherPrivate)}, "none of the OpenPGP keys opens it"},
		{"no Vault token", vault, nil, "hold no key of this kind"},
		{"no age identity", byAge, map[string][]byte{"x.agekey": []byte("AGE-SECRET-KEY-1hunter2")}, "decryption Secret a/keys: key x.agekey: it is no age identity"},
		{"no OpenPGP key", byPGP, map[string][]byte{"x.asc": []byte("hunter2")}, "key x.asc: it is no armored OpenPGP key"},
		{"no AWS credentials", byAge, map[string][]byte{"sops.aws-kms": []byte("hunter2")}, "key sops.aws-kms: it has to be YAML with aws_access_key_id"},
		{"no Google credentials", byAge, map[string][]byte{"sops.gcp-kms": []byte("hunter2")}, "key sops.gcp-kms: it has to be the JSON key file of a service account"},
		{"Google credentials that read a file of the agent", byAge, map[string][]byte{"sops.gcp-kms": []byte(
			`{"type":"external_account","audience":"a","subject_token_type":"urn:ietf:params:oauth:token-type:jwt","token_url":"https://127.0.0.1:1/hunter2","credential_source":{"file":"/etc/hostname"}}`,
		)}, "key sops.gcp-kms: it has to be the JSON key file of a service account"},
		{"Google credentials that run a program", byAge, map[string][]byte{"sops.gcp-kms": []byte(
			`{"type":"external_account","credential_source":{"executable":{"command":"hunter2"}}}`,
		)}, "key sops.gcp-kms: it has to be the JSON key file of a service account"},
		{"Google credentials that ask an address of their own", byAge, map[string][]byte{"sops.gcp-kms": []byte(
			`{"type":"service_account","client_email":"a@b","private_key":"hunter2","token_uri":"http://127.0.0.1:1/hunter2"}`,
		)}, "key sops.gcp-kms: its token_uri has to be Google's"},
		{"Google credentials that ask an address like Google's", byAge, map[string][]byte{"sops.gcp-kms": []byte(
			`{"type":"authorized_user","Token_URI":"https://oauth2.googleapis.com@127.0.0.1:1/hunter2"}`,
		)}, "key sops.gcp-kms: its token_uri has to be Google's"},
		{"no Azure credentials", byAge, map[string][]byte{"sops.azure-kv": []byte("tenantId: hunter2")}, "key sops.azure-kv: it holds no credential"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			t.Setenv("SOPS_AGE_KEY", identity)
			t.Setenv("VAULT_TOKEN", "hunter2")
			obj := object(t, seal(t, file{content: manifest, format: formats.Yaml, only: "^stringData$"}, c.master, dataKey))
			err := New("a", Secret{Name: "a/keys", Data: c.data}).Object(t.Context(), obj)
			g.Expect(err).To(MatchError(ContainSubstring(c.want)))
			g.Expect(err.Error()).NotTo(ContainSubstring("hunter2"))
		})
	}
}

func TestGooglesKeyFiles(t *testing.T) {
	for _, at := range []string{"", `, "token_uri": "https://oauth2.googleapis.com/token"`, `, "token_uri": "https://accounts.google.com/o/oauth2/token"`} {
		r := &ring{}
		NewWithT(t).Expect(r.add("sops.gcp-kms", []byte(`{"type": "service_account"`+at+`}`))).To(Succeed())
	}
}

// A file names the Vault to ask. What is at that address and is no Vault is not shown.
func TestWhatIsNoVaultIsNotShown(t *testing.T) {
	g := NewWithT(t)
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "hunter2", http.StatusForbidden)
	}))
	defer page.Close()
	dataKey := newDataKey(t)
	vault := hcvault.NewMasterKey(page.URL, "transit", "key")
	vault.EncryptedKey = "vault:v1:x"
	obj := object(t, seal(t, file{content: manifest, format: formats.Yaml, only: "^stringData$"}, vault, dataKey))
	err := New("a", Secret{Data: map[string][]byte{"sops.vault-token": []byte("token")}}).Object(t.Context(), obj)
	g.Expect(err).To(MatchError(ContainSubstring(page.URL + " answers 403, and not as a Vault does")))
	g.Expect(err.Error()).NotTo(ContainSubstring("hunter2"))
}

// A file that names more keys than anybody has is refused before one is asked for, and
// one whose keys nobody gives out ends with the time that there is.
func TestKeysWithoutEnd(t *testing.T) {
	g := NewWithT(t)
	dataKey := newDataKey(t)
	ctx, cancel := context.WithCancel(t.Context())
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or the server does not notice who leaves
		cancel()
		<-r.Context().Done()
	}))
	defer silent.Close()
	vault := hcvault.NewMasterKey(silent.URL, "transit", "key")
	vault.EncryptedKey = "vault:v1:x"
	text := seal(t, file{content: manifest, format: formats.Yaml, only: "^stringData$"}, vault, dataKey)
	ring := New("a", Secret{Name: "a/keys", Data: map[string][]byte{"sops.vault-token": []byte("token")}})
	g.Expect(ring.Object(ctx, object(t, text))).To(MatchError(ContainSubstring("have not answered in time")))

	many := object(t, text)
	listed, _, err := unstructured.NestedSlice(many.Object, "sops", "hc_vault")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(unstructured.SetNestedSlice(many.Object, slices.Repeat(listed, mostKeys+1), "sops", "hc_vault")).To(Succeed())
	g.Expect(ring.Object(t.Context(), many)).To(MatchError(ContainSubstring("it names 101 master keys, more than 100")))
}

func TestTheObjectsOwnKeysComeFirst(t *testing.T) {
	g := NewWithT(t)
	dataKey := newDataKey(t)
	identity, master := ageKey(t, dataKey)
	other, _ := ageKey(t, dataKey)
	own, global := Secret{Data: map[string][]byte{"x.agekey": []byte(other)}}, Secret{Data: map[string][]byte{"x.agekey": []byte(identity)}}
	for _, k := range []*Keys{New("a", own, global), New("a", global, own), New("a", global)} {
		g.Expect(k.Object(t.Context(), object(t, seal(t, file{content: manifest, format: formats.Yaml, only: "^stringData$"}, master, dataKey)))).To(Succeed())
	}
}

func TestTooLarge(t *testing.T) {
	g := NewWithT(t)
	_, err := New("a").File(t.Context(), "a.yaml", []byte("mac: ENC["+strings.Repeat("x", 6<<20)))
	g.Expect(err).To(MatchError("a SOPS file of 6291465 bytes is larger than the limit of 5242880"))
}

// bombs are files for which SOPS's parsers would take all of the stack, or of the
// memory, whatever keys there are.
func bombs() map[string]file {
	const head = "x: 1\nsops: {}\n# mac: ENC[\n"
	laughs := "---\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		laughs += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 10), ", "))
	}
	return map[string]file{
		"an anchor in itself": {content: head + "---\na: &a\n- *a\n", format: formats.Yaml},
		"a merge of itself":   {content: head + "---\na: &a\n  <<: *a\n", format: formats.Yaml},
		"aliases of aliases":  {content: head + laughs, format: formats.Yaml},
		"deep YAML":           {content: head + "---\na: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "\n", format: formats.Yaml},
		"deep JSON":           {content: `{"sops": {"mac": "ENC[x]"}, "a": ` + strings.Repeat("[", 5_000_000), format: formats.Json},
		"deep dotenv":         {content: "sops_mac=ENC[x]\nsops_a" + strings.Repeat("__map_", 800_000) + "=x\n", format: formats.Dotenv},
		"deep ini":            {content: "[sops]\nmac = ENC[x]\na" + strings.Repeat("__map_", 800_000) + " = x\n", format: formats.Ini},
	}
}

func TestBombs(t *testing.T) {
	names := map[formats.Format]string{formats.Yaml: "a.yaml", formats.Json: "a.json", formats.Dotenv: "a.env", formats.Ini: "a.ini"}
	for name, bomb := range bombs() {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			want := MatchError(Or(ContainSubstring("it has YAML aliases"), ContainSubstring("it nests deeper than 100 levels")))
			_, err := New("a").File(t.Context(), names[bomb.format], []byte(bomb.content))
			g.Expect(err).To(want)
			g.Expect(New("a").Object(t.Context(), &unstructured.Unstructured{Object: map[string]any{
				"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "db"},
				"data": map[string]any{"x": base64.StdEncoding.EncodeToString([]byte(bomb.content))},
			}})).To(want, "as a value of a Secret")
		})
	}
}

// A hundred levels are allowed, in every format that has any.
func TestDeepFiles(t *testing.T) {
	dataKey := newDataKey(t)
	identity, master := ageKey(t, dataKey)
	k := New("a", Secret{Data: map[string][]byte{"x.agekey": []byte(identity)}})
	plain := `{"a": ` + strings.Repeat("[", mostDeep-1) + `"hunter2"` + strings.Repeat("]", mostDeep-1) + "}"
	for name, format := range map[string]formats.Format{"a.yaml": formats.Yaml, "a.json": formats.Json} {
		opened, err := k.File(t.Context(), name, seal(t, file{content: plain, format: format}, master, dataKey))
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		NewWithT(t).Expect(yaml.YAMLToJSON(opened)).To(MatchJSON(plain), name)
	}
}

func TestID(t *testing.T) {
	g := NewWithT(t)
	seen := map[string]bool{}
	for _, k := range []*Keys{
		New("a"), New("b"), New("a", Secret{UID: "1", ResourceVersion: "1"}), New("a", Secret{UID: "1", ResourceVersion: "2"}),
		New("a", Secret{UID: "2", ResourceVersion: "1"}), New("a", Secret{UID: "1", ResourceVersion: "1"}, Secret{UID: "2", ResourceVersion: "1"}),
	} {
		g.Expect(seen).NotTo(HaveKey(k.ID()))
		seen[k.ID()] = true
	}
}

func FuzzFile(f *testing.F) {
	f.Add("a.yaml", []byte("a: ENC[AES256_GCM,data:x,iv:x,tag:x,type:str]\nsops:\n    mac: ENC[AES256_GCM,data:x,iv:x,tag:x,type:str]\n    age:\n        - recipient: x\n          enc: x\n"))
	f.Add("a.json", []byte(`{"data": "x", "sops": {"mac": "ENC[x]", "pgp": [{"fp": "x", "enc": "x"}]}}`))
	f.Add("a.env", []byte("A=x\nsops_mac=ENC[x]\nsops_age__list_0__map_enc=x\n"))
	f.Add("a.ini", []byte("[sops]\nmac = ENC[x]\n"))
	f.Add("a", []byte(`{"data": "x", "sops": {"mac": "ENC[x]"}}`))
	f.Add("a.yaml", []byte("x: 1\nsops: {}\n# mac: ENC[\n---\na: &a\n- *a\n"))
	f.Add("a.json", []byte(`{"sops": {"mac": "ENC[x]"}, "a": `+strings.Repeat("[", 1<<12)))
	f.Fuzz(func(t *testing.T, name string, content []byte) {
		if len(content) > 1<<16 || bytes.Contains(content, []byte("kms")) || bytes.Contains(content, []byte("azure")) {
			return // the clouds' own clients would go out
		}
		opened, err := New("a").File(t.Context(), name, content)
		if err == nil && !bytes.Equal(opened, content) {
			t.Error("it was opened without a key")
		}
	})
}

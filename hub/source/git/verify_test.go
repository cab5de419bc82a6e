package git_test

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ssh"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/record"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/source"
	"github.com/headwater-dev/headwater/hub/source/git"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/internal/testenv"
)

// author signs with git, as people do.
type author struct {
	// config of git that signs.
	config []string
	// trusted are the keys of the Secret that trusts the author.
	trusted map[string]string
}

// newSSHAuthor signs with ssh-keygen.
func newSSHAuthor(t *testing.T) author {
	t.Helper()
	key := newKey(t, "ed25519")
	file := filepath.Join(t.TempDir(), "key")
	NewWithT(t).Expect(os.WriteFile(file, []byte(pemOf(t, key, "")), 0o600)).To(Succeed())
	return author{
		config:  []string{"-c", "gpg.format=ssh", "-c", "user.signingkey=" + file},
		trusted: map[string]string{"me.sshpub": "# mine\n" + string(ssh.MarshalAuthorizedKey(signerOf(t, key).PublicKey()))},
	}
}

// newPGPAuthor signs with gpg, and a key that gpg has made: of one that Go has made it
// makes a signature in some hundreds that it finds bad itself.
func newPGPAuthor(t *testing.T) author {
	t.Helper()
	g := NewWithT(t)
	gpg := func(args ...string) string {
		output, err := exec.CommandContext(t.Context(), "gpg", append([]string{"--batch", "--quiet"}, args...)...).CombinedOutput()
		g.Expect(err).NotTo(HaveOccurred(), string(output))
		return string(output)
	}
	address := rand.Text() + "@example.com"
	gpg("--passphrase", "", "--quick-generate-key", "Robot <"+address+">", "rsa2048", "sign")
	return author{config: []string{"-c", "user.signingkey=" + address}, trusted: map[string]string{"me.asc": gpg("--armor", "--export", address)}}
}

// commit makes a signed commit the head of main.
func (a author) commit(t *testing.T, r *testenv.Repository, content string) string {
	t.Helper()
	blob := run(t, r, content, "hash-object", "-w", "--stdin")
	tree := run(t, r, "100644 blob "+blob+"\ta\n", "mktree")
	hash := run(t, r, "", append(a.config, "commit-tree", "-S", tree, "-m", "Signed: "+content)...)
	run(t, r, "", "update-ref", "refs/heads/main", hash)
	return hash
}

func (a author) tag(t *testing.T, r *testenv.Repository, name, commit string) {
	t.Helper()
	run(t, r, "", append(a.config, "tag", "-s", "-m", "release", name, commit)...)
}

// reconciler runs the fetcher against a store, as the hub does.
func reconciler(t testing.TB, f *git.Fetcher) *source.Reconciler[*sourcev1.GitRepository] {
	t.Helper()
	store, err := artifact.NewStore(artifact.StoreOptions{Dir: t.TempDir(), AdvertisedAddr: "hub.test:9090"})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	f.Store = store
	return &source.Reconciler[*sourcev1.GitRepository]{
		Fetcher: f, Store: store, Events: reconcile.NewRecorder(record.NewFakeRecorder(100), nil, "source-controller", ""),
	}
}

func condition(obj *sourcev1.GitRepository, kind string) string {
	c := apimeta.FindStatusCondition(obj.Status.Conditions, kind)
	if c == nil {
		return ""
	}
	return string(c.Status) + " " + c.Reason + " " + c.Message
}

func trusting(repository *testenv.Repository, mode sourcev1.GitVerificationMode, ref sourcev1.GitRepositoryRef) *sourcev1.GitRepository {
	obj := newObject(repository.URL)
	obj.Generation = 1
	obj.Spec.Reference = &ref
	obj.Spec.Verification = &sourcev1.GitRepositoryVerification{Mode: mode, SecretRef: meta.LocalObjectReference{Name: "keys"}}
	return obj
}

func TestSignatures(t *testing.T) {
	home := t.TempDir()
	t.Setenv("GNUPGHOME", home)
	NewWithT(t).Expect(os.Chmod(home, 0o700)).To(Succeed())
	t.Cleanup(func() { _ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run() })
	for kind, newAuthor := range map[string]func(*testing.T) author{"ssh": newSSHAuthor, "pgp": newPGPAuthor} {
		t.Run(kind, func(t *testing.T) {
			me, other := newAuthor(t), newAuthor(t)
			repository := newRepository(t)
			unsigned := commit(t, repository, map[string]string{"a": "0"})
			run(t, repository, "", "update-ref", "refs/heads/unsigned", unsigned)
			mine := me.commit(t, repository, "1")
			me.tag(t, repository, "v1.0.0", mine)
			run(t, repository, "", "tag", "light", mine)
			run(t, repository, "", "tag", "-a", "-m", "not signed", "plain", mine)
			me.tag(t, repository, "of-unsigned", unsigned)
			run(t, repository, "", "update-ref", "refs/tags/renamed", "refs/tags/v1.0.0")
			signed := run(t, repository, "", "cat-file", "commit", mine)
			tampered := run(t, repository, strings.Replace(signed+"\n", "Signed: 1", "Signed: 2", 1), "hash-object", "-t", "commit", "-w", "--stdin")
			run(t, repository, "", "update-ref", "refs/heads/tampered", tampered)
			raw := run(t, repository, "", "cat-file", "tag", "v1.0.0")
			tag := run(t, repository, strings.Replace(strings.Replace(raw+"\n", "tag v1.0.0", "tag bad", 1), "release", "revoked", 1), "hash-object", "-t", "tag", "-w", "--stdin")
			run(t, repository, "", "update-ref", "refs/tags/bad", tag)
			for _, c := range []struct {
				name string
				mode sourcev1.GitVerificationMode
				ref  sourcev1.GitRepositoryRef
				by   author
				want string
			}{
				{"HEAD", "HEAD", sourcev1.GitRepositoryRef{Branch: "main"}, me, "True Succeeded verified signature of commit '" + mine + "' with key '"},
				{"head", "head", sourcev1.GitRepositoryRef{Branch: "main"}, me, "True Succeeded verified signature of commit"},
				{"no mode", "", sourcev1.GitRepositoryRef{Commit: mine}, me, "True Succeeded verified signature of commit"},
				{"Tag", "Tag", sourcev1.GitRepositoryRef{Tag: "of-unsigned"}, me, "True Succeeded verified signature of tag 'of-unsigned' with key '"},
				{"TagAndHEAD", "TagAndHEAD", sourcev1.GitRepositoryRef{SemVer: "1.x"}, me, "True Succeeded verified signature of tag 'v1.0.0' with key '"},
				{"tag by name", "Tag", sourcev1.GitRepositoryRef{Name: "refs/tags/v1.0.0"}, me, "True Succeeded"},
				{"wrong key", "HEAD", sourcev1.GitRepositoryRef{Branch: "main"}, other, "False InvalidCommitSignature signature verification of commit '" + mine + "' failed: "},
				{"wrong key of a tag", "Tag", sourcev1.GitRepositoryRef{Tag: "v1.0.0"}, other, "False InvalidTagSignature signature verification of tag 'v1.0.0' failed: "},
				{"unsigned commit", "HEAD", sourcev1.GitRepositoryRef{Branch: "unsigned"}, me, "False InvalidCommitSignature signature verification of commit '" + unsigned + "' failed: it is not signed"},
				{"unsigned tag", "Tag", sourcev1.GitRepositoryRef{Tag: "plain"}, me, "False InvalidTagSignature signature verification of tag 'plain' failed: it is not signed"},
				{"signed tag of an unsigned commit", "TagAndHEAD", sourcev1.GitRepositoryRef{Tag: "of-unsigned"}, me, "False InvalidCommitSignature"},
				{"lightweight tag", "Tag", sourcev1.GitRepositoryRef{Tag: "light"}, me, "False InvalidGitObject tag 'light' is not annotated"},
				{"tag under another name", "Tag", sourcev1.GitRepositoryRef{Tag: "renamed"}, me, "False InvalidGitObject tag 'renamed' was made as 'v1.0.0'"},
				{"tampered commit", "HEAD", sourcev1.GitRepositoryRef{Branch: "tampered"}, me, "False InvalidCommitSignature"},
				{"tampered tag", "Tag", sourcev1.GitRepositoryRef{Tag: "bad"}, me, "False InvalidTagSignature"},
			} {
				t.Run(c.name, func(t *testing.T) {
					g := NewWithT(t)
					obj := trusting(repository, c.mode, c.ref)
					err := reconciler(t, newFetcher(newSecret("keys", c.by.trusted))).Reconcile(t.Context(), obj)
					g.Expect(condition(obj, "SourceVerified")).To(HavePrefix(c.want))
					g.Expect(condition(obj, "FetchFailed")).To(BeEmpty())
					good := strings.HasPrefix(c.want, "True")
					g.Expect(err == nil).To(Equal(good))
					g.Expect(obj.Status.Artifact != nil).To(Equal(good))
				})
			}
		})
	}
}

// TestVerifiedIsTheArtifact has the keys change, and a commit that is signed by the new
// one but cannot be read: it says nothing of the one that is stored.
func TestVerifiedIsTheArtifact(t *testing.T) {
	g := NewWithT(t)
	lost, me := newSSHAuthor(t), newSSHAuthor(t)
	repository := newRepository(t)
	old := lost.commit(t, repository, "1")
	r := reconciler(t, newFetcher(newSecret("lost", lost.trusted), newSecret("keys", me.trusted)))
	obj := trusting(repository, "HEAD", sourcev1.GitRepositoryRef{Branch: "main"})
	obj.Spec.Verification.SecretRef.Name = "lost"
	g.Expect(r.Reconcile(t.Context(), obj)).To(Succeed())

	obj.Spec.Verification.SecretRef.Name = "keys"
	obj.Generation++
	blob := run(t, repository, "x", "hash-object", "-w", "--stdin")
	broken := rawTree(t, repository, []string{"100644 .."}, map[bool]string{false: blob})
	run(t, repository, "", "update-ref", "refs/heads/main", run(t, repository, "", append(me.config, "commit-tree", "-S", broken, "-m", "Broken")...))
	g.Expect(r.Reconcile(t.Context(), obj)).To(MatchError(ContainSubstring("by a name that no file system takes")))

	run(t, repository, "", "update-ref", "refs/heads/main", old)
	g.Expect(r.Reconcile(t.Context(), obj)).NotTo(Succeed())
	g.Expect(condition(obj, "SourceVerified")).To(HavePrefix("False InvalidCommitSignature signature verification of commit '" + old))
}

// hostileTag serves the repository with one tag more, whatever its object is: git
// itself gives out none that it cannot read.
func hostileTag(t *testing.T, r *testenv.Repository, name, object, commit string) *httptest.Server {
	t.Helper()
	tag := run(t, r, object, "hash-object", "-t", "tag", "--literally", "-w", "--stdin")
	file := filepath.Join(t.TempDir(), "pack")
	sum := run(t, r, tag+"\n"+run(t, r, "", "rev-list", "--objects", "--no-object-names", commit)+"\n", "pack-objects", "--quiet", file)
	pack, err := os.ReadFile(file + "-" + sum + ".pack")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	packet := func(line string) string { return fmt.Sprintf("%04x%s", len(line)+4, line) }
	return elsewhere(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
			_, _ = io.WriteString(w, packet("NAK\n")+string(pack))
			return
		}
		w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
		_, _ = io.WriteString(w, packet("# service=git-upload-pack\n")+"0000"+
			packet(tag+" refs/tags/"+name+"\x00ofs-delta\n")+packet(commit+" refs/tags/"+name+"^{}\n")+"0000")
	})
}

// TestATagIsNoneBehindItsSignature has a text that was signed for something else
// stand before the lines of a tag, which nobody signed.
func TestATagIsNoneBehindItsSignature(t *testing.T) {
	home := t.TempDir()
	t.Setenv("GNUPGHOME", home)
	NewWithT(t).Expect(os.Chmod(home, 0o700)).To(Succeed())
	t.Cleanup(func() { _ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run() })
	me := newPGPAuthor(t)
	for name, text := range map[string]string{
		"a list of checksums": "e3b0c442  headwater.tar.gz\n",
		"a mail":              "Content-Type: text/plain\r\n\r\nsee you\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			signing := exec.CommandContext(t.Context(), "gpg", "--batch", "--armor", "--detach-sign")
			signing.Stdin = strings.NewReader(text)
			signature, err := signing.Output()
			g.Expect(err).NotTo(HaveOccurred())

			repository := newRepository(t)
			theirs := commit(t, repository, map[string]string{"a": "of somebody else"})
			lines := "object " + theirs + "\ntype commit\ntag v9.9.9\n\nrelease\n"
			server := hostileTag(t, repository, "v9.9.9", text+strings.Replace(string(signature), "\n\n", "\n \n", 1)+lines, theirs)
			obj := trusting(repository, "Tag", sourcev1.GitRepositoryRef{SemVer: "*"})
			obj.Spec.URL = server.URL + "/fleet.git"
			g.Expect(reconciler(t, newFetcher(newSecret("keys", me.trusted))).Reconcile(t.Context(), obj)).NotTo(Succeed())
			g.Expect(condition(obj, "SourceVerified")).To(HavePrefix("False InvalidGitObject reading tag 'v9.9.9': what was signed does not begin with"))
			g.Expect(obj.Status.Artifact).To(BeNil())
		})
	}
}

func TestVerificationFollowsTheSpec(t *testing.T) {
	g := NewWithT(t)
	me := newSSHAuthor(t)
	repository := newRepository(t)
	first := me.commit(t, repository, "1")
	keys := newSecret("keys", me.trusted)
	broken := newSecret("broken", map[string]string{"me.sshpub": "hunter2"})
	r := reconciler(t, newFetcher(keys, broken, newSecret("empty", nil), newSecret("odd", map[string]string{"x": "hunter2"})))
	obj := trusting(repository, "HEAD", sourcev1.GitRepositoryRef{Branch: "main"})
	obj.Spec.Verification = nil
	g.Expect(r.Reconcile(t.Context(), obj)).To(Succeed())
	g.Expect(condition(obj, "SourceVerified")).To(BeEmpty())

	obj.Spec.Verification = &sourcev1.GitRepositoryVerification{Mode: "HEAD", SecretRef: meta.LocalObjectReference{Name: "keys"}}
	obj.Generation++
	g.Expect(r.Reconcile(t.Context(), obj)).To(Succeed(), "verified although the commit is known")
	g.Expect(condition(obj, "SourceVerified")).To(HavePrefix("True Succeeded"))
	g.Expect(*obj.Status.SourceVerificationMode).To(BeEquivalentTo("HEAD"))
	downloads := repository.Requests().UploadPack
	g.Expect(r.Reconcile(t.Context(), obj)).To(Succeed())
	g.Expect(repository.Requests().UploadPack).To(Equal(downloads), "verified once")

	commit(t, repository, map[string]string{"a": "unsigned"})
	for range 2 {
		g.Expect(r.Reconcile(t.Context(), obj)).To(MatchError(ContainSubstring("it is not signed")))
		g.Expect(condition(obj, "SourceVerified")).To(HavePrefix("False InvalidCommitSignature"))
		g.Expect(obj.Status.Artifact.Revision).To(HaveSuffix(first), "the last good artifact stays")
	}
	for name, want := range map[string]string{
		"nope": "it does not exist", "broken": "its key me.sshpub has a line that is no public SSH key", "empty": "it holds no keys", "odd": "its key x holds no armored OpenPGP keys",
	} {
		obj.Spec.Verification.SecretRef.Name = name
		g.Expect(r.Reconcile(t.Context(), obj)).To(MatchError(And(ContainSubstring("spec.verify.secretRef: Secret team/"+name+": "+want), Not(ContainSubstring("hunter2")))))
		g.Expect(condition(obj, "SourceVerified")).To(HavePrefix("False VerificationError spec.verify.secretRef"))
	}
	obj.Spec.Verification.Mode = "TagAndHEAD"
	err := r.Reconcile(t.Context(), obj)
	g.Expect(err).To(MatchError(ContainSubstring(`spec.verify.mode is TagAndHEAD, but spec.ref.branch main is no tag`)))
	g.Expect(reasonOf(err)).To(BeEmpty(), "it stalls")

	obj.Spec.Verification = nil
	g.Expect(r.Reconcile(t.Context(), obj)).To(Succeed())
	g.Expect(condition(obj, "SourceVerified")).To(BeEmpty())
	g.Expect(obj.Status.SourceVerificationMode).To(BeNil())
}

package git_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	remote "github.com/headwater-dev/headwater/hub/git"
	"github.com/headwater-dev/headwater/hub/source/git"
	"github.com/headwater-dev/headwater/hub/source/sourcetest"
	"github.com/headwater-dev/headwater/internal/testenv"
)

// sshWorld is a repository behind ssh, and a Secret that opens it.
type sshWorld struct {
	server     *testenv.GitServer
	ssh        *testenv.GitSSH
	repository *testenv.Repository
	secret     map[string]string
}

func newKey(t *testing.T, kind string) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case "ecdsa":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	default:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return key
}

func signerOf(t *testing.T, key crypto.Signer) ssh.Signer {
	t.Helper()
	signer, err := ssh.NewSignerFromSigner(key)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return signer
}

func pemOf(t *testing.T, key crypto.Signer, passphrase string) string {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(key, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	}
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return string(pem.EncodeToMemory(block))
}

func newSSHWorld(t *testing.T, key crypto.Signer, hostKeys ...ssh.Signer) *sshWorld {
	t.Helper()
	g := NewWithT(t)
	w := &sshWorld{}
	var err error
	w.server, err = testenv.StartGit(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(w.server.Stop)
	w.repository, err = w.server.Repository(t.Context(), "fleet")
	g.Expect(err).NotTo(HaveOccurred())
	w.listen(t, key, hostKeys...)
	w.secret = map[string]string{"identity": pemOf(t, key, ""), "known_hosts": w.ssh.KnownHosts}
	return w
}

func (w *sshWorld) listen(t *testing.T, key crypto.Signer, hostKeys ...ssh.Signer) {
	t.Helper()
	var err error
	w.ssh, err = w.server.StartSSH(t.Context(), signerOf(t, key).PublicKey(), hostKeys...)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	t.Cleanup(w.ssh.Stop)
}

func (w *sshWorld) object() *sourcev1.GitRepository {
	obj := newObject(w.ssh.URL(w.repository))
	obj.Spec.SecretRef = &meta.LocalObjectReference{Name: "key"}
	return obj
}

func (w *sshWorld) fetcher() *git.Fetcher { return newFetcher(newSecret("key", w.secret)) }

func TestSSHKeepsTheContract(t *testing.T) {
	sourcetest.Run(t, func(t *testing.T) *sourcetest.Subject[*sourcev1.GitRepository] {
		key := newKey(t, "ed25519")
		w := newSSHWorld(t, key)
		obj := w.object()
		other := newSecret("other", map[string]string{"identity": pemOf(t, newKey(t, "rsa"), ""), "known_hosts": w.ssh.KnownHosts})
		return &sourcetest.Subject[*sourcev1.GitRepository]{
			Fetcher:   newFetcher(newSecret("key", w.secret), other),
			Object:    obj,
			Commit:    func(t *testing.T, files map[string]string) { commit(t, w.repository, files) },
			Downloads: func() int { return w.repository.Requests().UploadPack },
			WrongReference: func(*testing.T) []string {
				obj.Spec.Reference.Branch = "nope"
				return []string{`spec.ref.branch "nope"`, "ssh://" + w.ssh.Addr + "/fleet.git"}
			},
			WrongCredentials: func(*testing.T) (want, secrets []string) {
				obj.Spec.SecretRef.Name = "other"
				return []string{"Secret team/other", "spec.secretRef"}, []string{"PRIVATE KEY"}
			},
		}
	})
}

func TestSSHKeysOfAllKinds(t *testing.T) {
	for _, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		for _, passphrase := range []string{"", "hunter2"} {
			t.Run(strings.TrimSpace(kind+" "+passphrase), func(t *testing.T) {
				key := newKey(t, kind)
				w := newSSHWorld(t, key, signerOf(t, newKey(t, kind)))
				commit(t, w.repository, map[string]string{"a": "1"})
				w.secret["identity"] = pemOf(t, key, passphrase)
				if passphrase != "" {
					w.secret["password"] = passphrase
				}
				_, _, files := fetch(t, w.fetcher(), w.object())
				NewWithT(t).Expect(files).To(HaveKey("a"))
			})
		}
	}
}

func TestSSHAsksForTheKeyThatItKnows(t *testing.T) {
	g := NewWithT(t)
	known, preferred := signerOf(t, newKey(t, "rsa")), signerOf(t, newKey(t, "ed25519"))
	w := newSSHWorld(t, newKey(t, "ed25519"), preferred, known)
	commit(t, w.repository, map[string]string{"a": "1"})
	for _, line := range strings.SplitAfter(w.ssh.KnownHosts, "\n") {
		if strings.Contains(line, "ssh-rsa") {
			w.secret["known_hosts"] = line
		}
	}
	_, _, files := fetch(t, w.fetcher(), w.object())
	g.Expect(files).To(HaveKey("a"))

	fetcher := w.fetcher()
	fetcher.Remotes.SSH = remote.Algorithms{KeyExchange: []string{"curve25519-sha256"}, HostKey: []string{"ssh-ed25519"}}
	_, err := fetcher.Resolve(t.Context(), w.object())
	g.Expect(err).To(MatchError(ContainSubstring("the host shows the key ssh-ed25519 SHA256:")), "what the flag says goes first")
	fetcher.Remotes.SSH = remote.Algorithms{HostKey: []string{"ecdsa-sha2-nistp256"}}
	_, err = fetcher.Resolve(t.Context(), w.object())
	g.Expect(err).To(MatchError(ContainSubstring("no common algorithm for host key")))
}

func TestAlgorithmsAreChecked(t *testing.T) {
	g := NewWithT(t)
	g.Expect(remote.Algorithms{}.Check()).To(Succeed())
	g.Expect(remote.Algorithms{KeyExchange: []string{"curve25519-sha256"}, HostKey: []string{"ssh-ed25519"}}.Check()).To(Succeed())
	g.Expect(remote.Algorithms{KeyExchange: []string{"rot13"}}.Check()).To(MatchError(ContainSubstring(`--ssh-kex-algos: "rot13"`)))
	g.Expect(remote.Algorithms{HostKey: []string{"rot13"}}.Check()).To(MatchError(ContainSubstring(`--ssh-hostkey-algos: "rot13"`)))
}

func TestSSHFailuresAreOneSentence(t *testing.T) {
	key := newKey(t, "ed25519")
	w := newSSHWorld(t, key)
	stranger := signerOf(t, newKey(t, "ed25519"))
	elsewhere := "[other.test]:22 " + string(ssh.MarshalAuthorizedKey(stranger.PublicKey()))
	for _, c := range []struct {
		name   string
		change func(obj *sourcev1.GitRepository, secret map[string]string)
		want   []string
	}{
		{"empty", func(*sourcev1.GitRepository, map[string]string) {}, []string{"EmptyGitRepository", "is empty"}},
		{"no Secret", func(obj *sourcev1.GitRepository, _ map[string]string) { obj.Spec.SecretRef = nil },
			[]string{"AuthenticationFailed", "spec.secretRef is not set", "identity and known_hosts"}},
		{"no identity", func(_ *sourcev1.GitRepository, s map[string]string) { delete(s, "identity") },
			[]string{"AuthenticationFailed", "Secret team/key: it has no key identity"}},
		{"no known_hosts", func(_ *sourcev1.GitRepository, s map[string]string) { delete(s, "known_hosts") },
			[]string{"AuthenticationFailed", "it has no key known_hosts"}},
		{"broken identity", func(_ *sourcev1.GitRepository, s map[string]string) { s["identity"] = "hunter2" },
			[]string{"AuthenticationFailed", "its key identity is no private SSH key"}},
		{"broken known_hosts", func(_ *sourcev1.GitRepository, s map[string]string) { s["known_hosts"] = "hunter2" },
			[]string{"AuthenticationFailed", "its key known_hosts is not in the form"}},
		{"locked identity", func(_ *sourcev1.GitRepository, s map[string]string) { s["identity"] = pemOf(t, key, "hunter2") },
			[]string{"AuthenticationFailed", "give the passphrase as password"}},
		{"wrong passphrase", func(_ *sourcev1.GitRepository, s map[string]string) {
			s["identity"], s["password"] = pemOf(t, key, "hunter2"), "hunter3"
		}, []string{"AuthenticationFailed", "password does not open it"}},
		{"another key", func(_ *sourcev1.GitRepository, s map[string]string) { s["identity"] = pemOf(t, newKey(t, "ecdsa"), "") },
			[]string{"AuthenticationFailed", "does not accept the credentials of Secret team/key"}},
		{"unknown host", func(_ *sourcev1.GitRepository, s map[string]string) { s["known_hosts"] = elsewhere },
			[]string{"GitOperationFailed", "known_hosts has none of this host", "Secret team/key (spec.secretRef)"}},
		{"wrong host key", func(_ *sourcev1.GitRepository, s map[string]string) {
			host, port, _ := net.SplitHostPort(w.ssh.Addr)
			s["known_hosts"] = "[" + host + "]:" + port + " " + string(ssh.MarshalAuthorizedKey(stranger.PublicKey()))
		}, []string{"GitOperationFailed", "is not the one in known_hosts of Secret team/key"}},
		{"no repository", func(obj *sourcev1.GitRepository, _ map[string]string) {
			obj.Spec.URL = "ssh://git@" + w.ssh.Addr + "/gone.git"
		},
			[]string{"GitOperationFailed", "there is no repository"}},
		{"no server", func(obj *sourcev1.GitRepository, _ map[string]string) {
			obj.Spec.URL = "ssh://git@127.0.0.1:1/gone.git"
		},
			[]string{"GitOperationFailed", "connection refused"}},
		{"a proxy", func(obj *sourcev1.GitRepository, _ map[string]string) {
			obj.Spec.ProxySecretRef = &meta.LocalObjectReference{Name: "p"}
		},
			[]string{"", "spec.proxySecretRef is for http and https"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			obj, secret := w.object(), map[string]string{}
			for k, v := range w.secret {
				secret[k] = v
			}
			c.change(obj, secret)
			_, err := newFetcher(newSecret("key", secret)).Resolve(t.Context(), obj)
			g.Expect(err).To(HaveOccurred())
			g.Expect(reasonOf(err)).To(Equal(c.want[0]))
			for _, part := range c.want[1:] {
				g.Expect(err.Error()).To(ContainSubstring(part))
			}
			g.Expect(err.Error()).NotTo(Or(ContainSubstring("hunter2"), ContainSubstring("\n")))
		})
	}
}

// TestSSHEndsWithItsContext has a server that never gets past its greeting, and
// one that sends a byte now and then.
func TestSSHEndsWithItsContext(t *testing.T) {
	for name, serve := range map[string]func(net.Conn){
		"silent": func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) },
		"drips": func(conn net.Conn) {
			ticks := time.NewTicker(20 * time.Millisecond)
			defer ticks.Stop()
			for range ticks.C {
				if _, err := conn.Write([]byte("x")); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
			g.Expect(err).NotTo(HaveOccurred())
			t.Cleanup(func() { _ = listener.Close() })
			go func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					go serve(conn)
				}
			}()
			w := newSSHWorld(t, newKey(t, "ed25519"))
			obj := w.object()
			obj.Spec.URL = "ssh://" + listener.Addr().String() + "/x.git"
			obj.Spec.Timeout = &metav1.Duration{Duration: 100 * time.Millisecond}
			_, err = w.fetcher().Resolve(t.Context(), obj)
			g.Expect(err).To(MatchError(ContainSubstring("took longer than 100ms (spec.timeout)")))

			obj.Spec.Timeout = nil
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() {
				_, err := w.fetcher().Resolve(ctx, obj)
				ended <- err
			}()
			cancel()
			g.Eventually(ended, patience).Should(Receive(MatchError(context.Canceled)))
		})
	}
}

// TestSSHEndlessPreludes has a server that answers before it is asked.
func TestSSHEndlessPreludes(t *testing.T) {
	for name, prelude := range preludes() {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newSSHWorld(t, newKey(t, "ed25519"))
			commit(t, w.repository, map[string]string{"a": "1"})
			obj := w.object()
			rev, err := w.fetcher().Resolve(t.Context(), obj)
			g.Expect(err).NotTo(HaveOccurred())
			server := listenSSH(t, rev.ID+" refs/heads/main\x00shallow side-band-64k no-progress allow-tip-sha1-in-want\n", prelude)
			w.secret["known_hosts"], obj.Spec.URL = server.knownHosts, "ssh://git@"+server.addr+"/fleet.git"
			_, err = w.fetcher().Fetch(t.Context(), obj, rev, t.TempDir())
			g.Expect(err).To(MatchError(ContainSubstring(longPrelude)))
		})
	}
}

// hostile is a Git server of one reference and one answer.
type hostile struct {
	addr, knownHosts string
}

func listenSSH(t *testing.T, reference, answer string) hostile {
	t.Helper()
	g := NewWithT(t)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = listener.Close() })
	key := signerOf(t, newKey(t, "ed25519"))
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(key)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_, channels, requests, err := ssh.NewServerConn(conn, config)
		if err != nil {
			return
		}
		go ssh.DiscardRequests(requests)
		for offered := range channels {
			channel, requests, err := offered.Accept()
			if err != nil {
				return
			}
			_ = (<-requests).Reply(true, nil)
			go ssh.DiscardRequests(requests)
			_, _ = fmt.Fprintf(channel, "%04x%s0000%s", len(reference)+4, reference, answer)
			_ = channel.CloseWrite()
			_, _ = io.Copy(io.Discard, channel) // until the client has gone
		}
	}()
	return hostile{listener.Addr().String(), knownhosts.Line([]string{listener.Addr().String()}, key.PublicKey()) + "\n"}
}

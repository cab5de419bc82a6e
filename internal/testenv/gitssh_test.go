package testenv

import (
	"crypto/ed25519"
	"crypto/rand"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

func TestGitSSHLetsOneKeyIn(t *testing.T) {
	g := NewWithT(t)
	repository := newRepository(t)
	newKey := func() ssh.Signer {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		g.Expect(err).NotTo(HaveOccurred())
		key, err := ssh.NewSignerFromKey(private)
		g.Expect(err).NotTo(HaveOccurred())
		return key
	}
	mine, host := newKey(), newKey()
	server, err := repository.server.StartSSH(t.Context(), mine.PublicKey(), host)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(server.Stop)
	g.Expect(server.KnownHosts).To(Equal(knownhosts.Line([]string{server.Addr}, host.PublicKey()) + "\n"))
	g.Expect(server.URL(repository)).To(Equal("ssh://git@" + server.Addr + "/fleet.git"))

	dial := func(key ssh.Signer) (*ssh.Client, error) {
		return ssh.Dial("tcp", server.Addr, &ssh.ClientConfig{
			User: "git", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.FixedHostKey(host.PublicKey()),
		})
	}
	_, err = dial(newKey())
	g.Expect(err).To(MatchError(ContainSubstring("unable to authenticate")))
	client, err := dial(mine)
	g.Expect(err).NotTo(HaveOccurred())
	session, err := client.NewSession()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(session.Run("rm -rf /nothing")).NotTo(Succeed(), "git's two commands alone")
	g.Expect(client.Close()).To(Succeed())
}

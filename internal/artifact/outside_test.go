package artifact

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestTheCertificateForAgentsOutsideFollowsItsSecret: an unusable one does not end
// the hub, and another authority is published for those who install agents.
func TestTheCertificateForAgentsOutsideFollowsItsSecret(t *testing.T) {
	g := NewWithT(t)
	hub, err := shared.ControlPlane(t).Client(nil)
	g.Expect(err).NotTo(HaveOccurred())
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "outside-"}}
	g.Expect(hub.Create(t.Context(), namespace)).To(Succeed())
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "own"},
		StringData: map[string]string{"tls.crt": "no certificate", "tls.key": "no key", "ca.crt": "no authority"},
	}
	g.Expect(hub.Create(t.Context(), secret)).To(Succeed())

	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	addr := listener.Addr().String()
	g.Expect(listener.Close()).To(Succeed())
	now := clocktesting.NewFakeClock(time.Now())
	outside := &Outside{
		Addr: addr, Advertised: "hub.example.com:9443", Namespace: namespace.Name, Secret: secret.Name, Clock: now,
		client: hub, live: hub,
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- outside.Start(ctx) }()
	g.Eventually(now.HasWaiters, "20s").Should(BeTrue(), "it tries again")
	g.Expect(ended).NotTo(Receive())

	published := func() map[string]string {
		access := &corev1.ConfigMap{}
		_ = hub.Get(t.Context(), client.ObjectKey{Namespace: namespace.Name, Name: AccessConfigMap}, access)
		return access.Data
	}
	// trusts says whether an agent with that authority gets through.
	trusts := func(authority []byte) error {
		known := x509.NewCertPool()
		known.AppendCertsFromPEM(authority)
		dialer := &tls.Dialer{Config: &tls.Config{RootCAs: known, ServerName: "hub.example.com", MinVersion: tls.VersionTLS12}}
		conn, err := dialer.DialContext(t.Context(), "tcp", addr)
		if err == nil {
			err = conn.Close()
		}
		return err
	}
	rotate := func(pause time.Duration) []byte {
		authority, key, err := newAuthority(now.Now())
		g.Expect(err).NotTo(HaveOccurred())
		made, err := issue(authority, key, "hub.example.com", now.Now())
		g.Expect(err).NotTo(HaveOccurred())
		private, err := x509.MarshalPKCS8PrivateKey(made.PrivateKey)
		g.Expect(err).NotTo(HaveOccurred())
		secret.StringData, secret.Data = nil, map[string][]byte{
			"ca.crt": authority, "tls.crt": pemOf("CERTIFICATE", made.Certificate[0]), "tls.key": pemOf("PRIVATE KEY", private),
		}
		g.Expect(hub.Update(t.Context(), secret)).To(Succeed())
		now.Step(pause)
		return authority
	}
	first := rotate(time.Minute)
	g.Eventually(published, "20s").Should(Equal(map[string]string{"address": "https://hub.example.com:9443", "ca.crt": string(first)}))
	g.Expect(trusts(first)).To(Succeed())

	g.Eventually(now.HasWaiters, "20s").Should(BeTrue())
	second := rotate(time.Hour)
	g.Eventually(published, "20s").Should(HaveKeyWithValue("ca.crt", string(second)))
	g.Expect(trusts(second)).To(Succeed())
	g.Expect(trusts(first)).To(MatchError(ContainSubstring("unknown authority")))

	// What is put there next is of no use: it goes on with what it has.
	g.Eventually(now.HasWaiters, "20s").Should(BeTrue())
	secret.Data["tls.key"] = []byte("no key")
	g.Expect(hub.Update(t.Context(), secret)).To(Succeed())
	now.Step(time.Hour)
	g.Eventually(now.HasWaiters, "20s").Should(BeTrue())
	g.Expect(trusts(second)).To(Succeed())
	cancel()
	g.Eventually(ended, "20s").Should(Receive(BeNil()))
}

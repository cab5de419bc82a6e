package remote

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

const goodKubeconfig = `apiVersion: v1
kind: Config
current-context: x
contexts: [{name: x, context: {cluster: x, user: x}}]
clusters: [{name: x, cluster: {server: "https://127.0.0.1:6443"}}]
users: [{name: x, user: {token: hunter2}}]
`

func TestKubeconfigsAreVetted(t *testing.T) {
	cases := []struct {
		name     string
		old, new string
		insecure bool
		want     string
	}{
		{name: "plain"},
		{name: "exec", old: "token: hunter2", new: "exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/hunter2}", want: "exec plugin"},
		{name: "auth provider", old: "token: hunter2", new: "auth-provider: {name: hunter2}", want: "auth-provider"},
		{name: "token file", old: "token: hunter2", new: "tokenFile: /etc/hunter2", want: "names a file"},
		{name: "client key file", old: "token: hunter2", new: "client-key: /etc/hunter2", want: "names a file"},
		{name: "CA file", old: `6443"`, new: `6443", certificate-authority: /etc/hunter2`, want: "certificate-authority-data"},
		{name: "insecure", old: `6443"`, new: `6443", insecure-skip-tls-verify: true`, want: "--insecure-kubeconfig-tls"},
		{name: "insecure, allowed", old: `6443"`, new: `6443", insecure-skip-tls-verify: true`, insecure: true},
		{name: "no such context", old: "current-context: x", new: "current-context: hunter2", want: "current-context"},
		{name: "not YAML", old: "apiVersion: v1", new: "{hunter2", want: "does not parse"},
		{name: "wrong type", old: "clusters: [", new: "clusters: hunter2 #", want: "does not parse"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			text := goodKubeconfig
			if c.old != "" {
				text = strings.Replace(text, c.old, c.new, 1)
				g.Expect(text).NotTo(Equal(goodKubeconfig))
			}
			config, err := (&Clusters{AllowInsecureTLS: c.insecure}).parseKubeconfig([]byte(text))
			if c.want == "" {
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(config.Host).To(Equal("https://127.0.0.1:6443"))
				return
			}
			g.Expect(err).To(MatchError(ContainSubstring(c.want)))
			g.Expect(err.Error()).NotTo(ContainSubstring("hunter2"))
		})
	}
}

func FuzzParseKubeconfig(f *testing.F) {
	f.Add([]byte(goodKubeconfig))
	f.Fuzz(func(t *testing.T, data []byte) {
		config, err := new(Clusters).parseKubeconfig(data)
		if err == nil && (config.ExecProvider != nil || config.BearerTokenFile != "" || config.Insecure || config.CAFile != "" || config.CertFile != "") {
			t.Errorf("accepted %q", data)
		}
	})
}

package git

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// defaultSSHUser is who logs in where spec.url names nobody.
const defaultSSHUser = "git"

// Algorithms are what ssh may use, in order of preference; empty means the
// defaults of golang.org/x/crypto, and for keys of hosts those that known_hosts
// has.
type Algorithms struct {
	KeyExchange, HostKey []string
}

// Check refuses names that are not known.
func (a Algorithms) Check() error {
	good, poor := ssh.SupportedAlgorithms(), ssh.InsecureAlgorithms()
	for _, list := range []struct {
		flag        string
		names, have []string
	}{
		{"--ssh-kex-algos", a.KeyExchange, append(good.KeyExchanges, poor.KeyExchanges...)},
		{"--ssh-hostkey-algos", a.HostKey, append(good.HostKeys, poor.HostKeys...)},
	} {
		for _, name := range list.names {
			if !slices.Contains(list.have, name) {
				return fmt.Errorf("%s: %q is not known: use some of %v", list.flag, name, list.have)
			}
		}
	}
	return nil
}

// sshLogin is what a Secret says of how to log in over ssh.
type sshLogin struct {
	key        ssh.Signer
	knownHosts ssh.HostKeyCallback
	algorithms Algorithms
}

// hostKeyError says that the host is not the one that known_hosts names.
type hostKeyError struct {
	presented string
	known     bool
}

func (e *hostKeyError) Error() string {
	if e.known {
		return fmt.Sprintf("the host shows the key %s, which is not the one in %s", e.presented, knownHostsKey)
	}
	return fmt.Sprintf("the host shows the key %s, and %s has none of this host", e.presented, knownHostsKey)
}

// sshLoginOf reads identity, password and known_hosts. Its errors name keys,
// never values.
func sshLoginOf(data map[string][]byte, algorithms Algorithms) (*sshLogin, error) {
	for _, key := range []string{identityKey, knownHostsKey} {
		if len(data[key]) == 0 {
			return nil, fmt.Errorf("it has no key %s, which ssh needs", key)
		}
	}
	login := &sshLogin{algorithms: algorithms}
	var err error
	if passphrase := data[passwordKey]; len(passphrase) > 0 {
		login.key, err = ssh.ParsePrivateKeyWithPassphrase(data[identityKey], passphrase)
	} else {
		login.key, err = ssh.ParsePrivateKey(data[identityKey])
	}
	var locked *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &locked):
		return nil, fmt.Errorf("its key %s is encrypted: give the passphrase as %s", identityKey, passwordKey)
	case err != nil:
		return nil, fmt.Errorf("its key %s is no private SSH key, or %s does not open it", identityKey, passwordKey)
	}
	login.knownHosts, err = readKnownHosts(data[knownHostsKey])
	return login, err
}

// readKnownHosts goes by a file, since the library reads nothing else.
func readKnownHosts(content []byte) (callback ssh.HostKeyCallback, err error) {
	f, err := os.CreateTemp("", "headwater-known-hosts-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.Write(content)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	callback, err = knownhosts.New(f.Name())
	if err != nil {
		return nil, fmt.Errorf("its key %s is not in the form of a known_hosts file", knownHostsKey)
	}
	return callback, nil
}

// config is for one host.
func (l *sshLogin) config(user, addr string) *ssh.ClientConfig {
	if user == "" {
		user = defaultSSHUser
	}
	c := &ssh.ClientConfig{
		User:              user,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(l.key)},
		HostKeyAlgorithms: l.algorithms.HostKey,
		HostKeyCallback: func(host string, remote net.Addr, key ssh.PublicKey) error {
			err := l.knownHosts(host, remote, key)
			var mismatch *knownhosts.KeyError
			if errors.As(err, &mismatch) {
				return &hostKeyError{presented: key.Type() + " " + ssh.FingerprintSHA256(key), known: len(mismatch.Want) > 0}
			}
			return err
		},
	}
	c.KeyExchanges = l.algorithms.KeyExchange
	if len(c.HostKeyAlgorithms) == 0 {
		c.HostKeyAlgorithms = l.known(addr)
	}
	return c
}

// known are the algorithms of the keys that known_hosts has of the host: a host
// with keys of several kinds is to show one that can be checked.
func (l *sshLogin) known(addr string) (algorithms []string) {
	var mismatch *knownhosts.KeyError
	if !errors.As(l.knownHosts(addr, &net.TCPAddr{IP: net.IPv4zero}, noKey{}), &mismatch) {
		return nil
	}
	for _, known := range mismatch.Want {
		switch kind := known.Key.Type(); kind {
		case ssh.KeyAlgoRSA:
			algorithms = append(algorithms, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		default:
			algorithms = append(algorithms, kind)
		}
	}
	return algorithms
}

// noKey is a key that no host has.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return []byte("none") }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

package git

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

const (
	sshKeySuffix = ".sshpub"
	sshNamespace = "git"
)

// trust is whose signatures are good.
type trust struct {
	pgp openpgp.EntityList
	ssh []ssh.PublicKey
}

// trustOf reads the keys of a Secret: those of ssh in keys that end in .sshpub,
// all others are OpenPGP. Its errors name keys, never values.
func trustOf(data map[string][]byte) (trust, error) {
	var t trust
	for _, name := range slices.Sorted(maps.Keys(data)) {
		if strings.HasSuffix(name, sshKeySuffix) {
			keys, err := sshKeys(data[name])
			if err != nil {
				return trust{}, fmt.Errorf("its key %s has a line that is no public SSH key", name)
			}
			t.ssh = append(t.ssh, keys...)
			continue
		}
		ring, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(data[name]))
		if err != nil {
			return trust{}, fmt.Errorf("its key %s holds no armored OpenPGP keys", name)
		}
		t.pgp = append(t.pgp, ring...)
	}
	if len(t.pgp)+len(t.ssh) == 0 {
		return trust{}, fmt.Errorf("it holds no keys: give OpenPGP keys under names that end in .asc, SSH keys under names that end in %s", sshKeySuffix)
	}
	return t, nil
}

func sshKeys(content []byte) (keys []ssh.PublicKey, err error) {
	for line := range bytes.Lines(content) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		key, _, _, _, err := ssh.ParseAuthorizedKey(line)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// check looks whether one of the keys made the signature, and says which.
func (t trust) check(s signed) (key string, err error) {
	switch {
	case len(s.signature) == 0:
		return "", errors.New("it is not signed")
	case bytes.HasPrefix(s.signature, []byte(sshBegin)):
		return t.checkSSH(s)
	case bytes.HasPrefix(s.signature, []byte(pgpBegin)):
		return t.checkPGP(s)
	}
	return "", errors.New("its signature is neither one of OpenPGP nor one of SSH")
}

func (t trust) checkPGP(s signed) (key string, err error) {
	signer, err := openpgp.CheckArmoredDetachedSignature(t.pgp, bytes.NewReader(s.payload), bytes.NewReader(s.signature), nil)
	if err != nil {
		return "", fmt.Errorf("none of the %d OpenPGP keys made its signature: %w", len(t.pgp), err)
	}
	return signer.PrimaryKey.KeyIdString(), nil
}

func (t trust) checkSSH(s signed) (key string, err error) {
	signature, err := sshsig.Unarmor(s.signature)
	if err != nil {
		return "", errors.New("its signature is no whole SSH signature")
	}
	by := slices.IndexFunc(t.ssh, func(key ssh.PublicKey) bool {
		return bytes.Equal(key.Marshal(), signature.PublicKey.Marshal())
	})
	if by < 0 {
		return "", fmt.Errorf("it is signed by %s, which is none of the %d SSH keys", ssh.FingerprintSHA256(signature.PublicKey), len(t.ssh))
	}
	if err := sshsig.Verify(bytes.NewReader(s.payload), signature, t.ssh[by], signature.HashAlgorithm, sshNamespace); err != nil {
		return "", fmt.Errorf("its signature is wrong: %w", err)
	}
	return ssh.FingerprintSHA256(t.ssh[by]), nil
}

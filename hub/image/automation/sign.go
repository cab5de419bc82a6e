package automation

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
	corev1 "k8s.io/api/core/v1"

	imagev1 "github.com/headwater-dev/headwater/api/image/v1"
)

// Keys of the Secret with a signing key, as Flux has them.
const (
	pgpKey           = "git.asc"
	pgpPassphraseKey = "passphrase"
	sshKey           = "identity"
	sshPasswordKey   = "password"
	sshNamespace     = "git"
)

// signer makes an armored detached signature.
type signer func(content io.Reader) (string, error)

// signerOf reads the key of a Secret. Its errors name keys, never values.
func signerOf(secret *corev1.Secret, kind imagev1.SigningKeyType) (signer, error) {
	pgp, isPGP := secret.Data[pgpKey]
	identity, isSSH := secret.Data[sshKey]
	switch {
	case kind == imagev1.SigningKeyTypeGPG && !isPGP:
		return nil, fmt.Errorf("it has no key %s", pgpKey)
	case kind == imagev1.SigningKeyTypeSSH && !isSSH:
		return nil, fmt.Errorf("it has no key %s", sshKey)
	case kind == "" && isPGP && isSSH:
		return nil, fmt.Errorf("it has both %s and %s: say which one by spec.git.commit.signingKey.type", pgpKey, sshKey)
	case kind == imagev1.SigningKeyTypeGPG, kind == "" && isPGP:
		return pgpSigner(pgp, secret.Data[pgpPassphraseKey])
	case kind == imagev1.SigningKeyTypeSSH, kind == "" && isSSH:
		return sshSigner(identity, secret.Data[sshPasswordKey])
	}
	return nil, fmt.Errorf("it has neither the key %s nor %s", pgpKey, sshKey)
}

func pgpSigner(armored, passphrase []byte) (signer, error) {
	ring, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(armored))
	if err != nil {
		return nil, fmt.Errorf("its key %s is no armored PGP key", pgpKey)
	}
	if len(ring) != 1 || ring[0].PrivateKey == nil {
		return nil, fmt.Errorf("its key %s holds %d PGP keys: one with its private part is needed", pgpKey, len(ring))
	}
	entity := ring[0]
	if entity.PrivateKey.Encrypted {
		if err := entity.DecryptPrivateKeys(passphrase); err != nil {
			return nil, fmt.Errorf("its key %s does not open the PGP key of %s", pgpPassphraseKey, pgpKey)
		}
	}
	return func(content io.Reader) (string, error) {
		var signature bytes.Buffer
		err := openpgp.ArmoredDetachSign(&signature, entity, content, &packet.Config{DefaultHash: crypto.SHA256})
		return signature.String(), err
	}, nil
}

func sshSigner(identity, password []byte) (signer, error) {
	var key ssh.Signer
	var err error
	if len(password) > 0 {
		key, err = ssh.ParsePrivateKeyWithPassphrase(identity, password)
	} else {
		key, err = ssh.ParsePrivateKey(identity)
	}
	var locked *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &locked):
		return nil, fmt.Errorf("its key %s is encrypted: give the password as %s", sshKey, sshPasswordKey)
	case err != nil:
		return nil, fmt.Errorf("its key %s is no SSH key, or %s does not open it", sshKey, sshPasswordKey)
	}
	return func(content io.Reader) (string, error) {
		signature, err := sshsig.Sign(content, key, sshsig.HashSHA512, sshNamespace)
		if err != nil {
			return "", err
		}
		return string(sshsig.Armor(signature)), nil
	}, nil
}

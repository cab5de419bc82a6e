package decrypt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
	agearmor "filippo.io/age/armor"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/getsops/sops/v3/azkv"
	"github.com/getsops/sops/v3/gcpkms"
	"github.com/getsops/sops/v3/hcvault"
	"github.com/getsops/sops/v3/keyservice"
	"github.com/getsops/sops/v3/kms"
	"google.golang.org/grpc"
)

// mostDataKey bounds what a master key may hold: SOPS's data key, or a part.
const mostDataKey = 4 << 10

var errNotHere = errors.New("the decryption Secrets hold no key of this kind")

var _ keyservice.KeyServiceClient = (*ring)(nil)

// Encrypt is not what this is for.
func (r *ring) Encrypt(context.Context, *keyservice.EncryptRequest, ...grpc.CallOption) (*keyservice.EncryptResponse, error) {
	return nil, errors.ErrUnsupported
}

// Decrypt opens the data key of a file with the keys of the ring.
func (r *ring) Decrypt(ctx context.Context, request *keyservice.DecryptRequest, _ ...grpc.CallOption) (*keyservice.DecryptResponse, error) {
	plain, err := r.decrypt(ctx, request.GetKey(), request.GetCiphertext())
	if err != nil {
		return nil, err
	}
	return &keyservice.DecryptResponse{Plaintext: plain}, nil
}

func (r *ring) decrypt(ctx context.Context, key *keyservice.Key, sealed []byte) ([]byte, error) {
	switch kind := key.GetKeyType().(type) {
	case *keyservice.Key_AgeKey:
		return r.byAge(sealed)
	case *keyservice.Key_PgpKey:
		return r.byPGP(sealed)
	case *keyservice.Key_VaultKey:
		if r.vault == "" {
			return nil, errNotHere
		}
		master := hcvault.NewMasterKey(kind.VaultKey.GetVaultAddress(), kind.VaultKey.GetEnginePath(), kind.VaultKey.GetKeyName())
		master.EncryptedKey = string(sealed)
		hcvault.Token(r.vault).ApplyToMasterKey(master)
		return master.DecryptContext(ctx)
	case *keyservice.Key_KmsKey:
		return r.byAWS(ctx, kind.KmsKey, sealed)
	case *keyservice.Key_AzureKeyvaultKey:
		master := azkv.NewMasterKey(kind.AzureKeyvaultKey.GetVaultUrl(), kind.AzureKeyvaultKey.GetName(), kind.AzureKeyvaultKey.GetVersion())
		master.EncryptedKey = string(sealed)
		if r.azure != nil {
			r.azure.ApplyToMasterKey(master)
		}
		return master.DecryptContext(ctx)
	case *keyservice.Key_GcpKmsKey:
		master := gcpkms.NewMasterKeyFromResourceID(kind.GcpKmsKey.GetResourceId())
		master.EncryptedKey = string(sealed)
		if len(r.gcp) > 0 {
			gcpkms.CredentialJSON(r.gcp).ApplyToMasterKey(master)
		}
		return master.DecryptContext(ctx)
	}
	return nil, fmt.Errorf("keys of the kind %T are not supported", key.GetKeyType())
}

func (r *ring) byAWS(ctx context.Context, key *keyservice.KmsKey, sealed []byte) ([]byte, error) {
	values := map[string]*string{}
	for name, value := range key.GetContext() {
		values[name] = &value
	}
	// A profile would be one of the process.
	master := kms.NewMasterKey(key.GetArn(), key.GetRole(), values)
	master.EncryptedKey = string(sealed)
	if r.aws != nil {
		r.aws.ApplyToMasterKey(master)
	}
	return master.DecryptContext(ctx)
}

func (r *ring) byAge(sealed []byte) ([]byte, error) {
	if len(r.ages) == 0 {
		return nil, errNotHere
	}
	plain, err := age.Decrypt(agearmor.NewReader(bytes.NewReader(sealed)), r.ages...)
	if err != nil {
		return nil, errors.New("none of the age identities opens it")
	}
	return io.ReadAll(io.LimitReader(plain, mostDataKey))
}

func (r *ring) byPGP(sealed []byte) ([]byte, error) {
	if len(r.pgp) == 0 {
		return nil, errNotHere
	}
	block, err := armor.Decode(bytes.NewReader(sealed))
	if err != nil {
		return nil, errors.New("it is no armored OpenPGP message")
	}
	message, err := openpgp.ReadMessage(block.Body, r.pgp, nil, nil)
	if err != nil {
		return nil, errors.New("none of the OpenPGP keys opens it")
	}
	return io.ReadAll(io.LimitReader(message.UnverifiedBody, mostDataKey))
}

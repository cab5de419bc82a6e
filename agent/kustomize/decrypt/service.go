package decrypt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"filippo.io/age"
	agearmor "filippo.io/age/armor"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/getsops/sops/v3/azkv"
	"github.com/getsops/sops/v3/gcpkms"
	"github.com/getsops/sops/v3/hcvault"
	"github.com/getsops/sops/v3/keyservice"
	"github.com/getsops/sops/v3/kms"
	vaultapi "github.com/hashicorp/vault/api"
	"google.golang.org/grpc"
)

// mostDataKey bounds what a master key may hold: SOPS's data key, or a part.
const mostDataKey = 4 << 10

// keyTimeout is how long a cloud or a Vault may take to open one key: it holds
// up the build.
const keyTimeout = 30 * time.Second

var errNotHere = errors.New("the decryption Secrets hold no key of this kind")

var _ keyservice.KeyServiceClient = (*ring)(nil)

// Encrypt is not what this is for.
func (r *ring) Encrypt(context.Context, *keyservice.EncryptRequest, ...grpc.CallOption) (*keyservice.EncryptResponse, error) {
	return nil, errors.ErrUnsupported
}

// within has a ring asked for as long as a context lasts: SOPS hands down one of its
// own.
type within struct {
	*ring
	ctx context.Context
}

// Decrypt is the ring's.
func (w within) Decrypt(_ context.Context, request *keyservice.DecryptRequest, options ...grpc.CallOption) (*keyservice.DecryptResponse, error) {
	return w.ring.Decrypt(w.ctx, request, options...)
}

// asked are the rings, for one file.
func (k *Keys) asked(ctx context.Context) ([]keyservice.KeyServiceClient, error) {
	rings, err := k.load()
	services := make([]keyservice.KeyServiceClient, 0, len(rings))
	for _, r := range rings {
		services = append(services, within{r, ctx})
	}
	return services, err
}

// Decrypt opens the data key of a file with the keys of the ring.
func (r *ring) Decrypt(ctx context.Context, request *keyservice.DecryptRequest, _ ...grpc.CallOption) (*keyservice.DecryptResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, keyTimeout)
	defer cancel()
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
		return r.byVault(ctx, kind.VaultKey, sealed)
	case *keyservice.Key_KmsKey:
		return r.byAWS(ctx, kind.KmsKey, sealed)
	case *keyservice.Key_AzureKeyvaultKey:
		return r.byAzure(ctx, kind.AzureKeyvaultKey, sealed)
	case *keyservice.Key_GcpKmsKey:
		return r.byGCP(ctx, kind.GcpKmsKey, sealed)
	}
	return nil, fmt.Errorf("keys of the kind %T are not supported", key.GetKeyType())
}

func (r *ring) byVault(ctx context.Context, key *keyservice.VaultKey, sealed []byte) ([]byte, error) {
	token := r.vault
	if token == "" {
		var err error
		if token, err = r.logins.token(ctx, key.GetVaultAddress()); err != nil {
			return nil, err
		}
	}
	master := hcvault.NewMasterKey(key.GetVaultAddress(), key.GetEnginePath(), key.GetKeyName())
	master.EncryptedKey = string(sealed)
	hcvault.Token(token).ApplyToMasterKey(master)
	plain, err := master.DecryptContext(ctx)
	var answer *vaultapi.ResponseError
	if errors.As(err, &answer) && answer.RawError {
		// The address is a file's. What else the agent reaches is not shown.
		return nil, fmt.Errorf("%s answers %d, and not as a Vault does", abbreviated(key.GetVaultAddress()), answer.StatusCode)
	}
	return plain, err
}

func (r *ring) byAWS(ctx context.Context, key *keyservice.KmsKey, sealed []byte) ([]byte, error) {
	values := map[string]*string{}
	for name, value := range key.GetContext() {
		values[name] = &value
	}
	// A profile would be one of the process.
	master := kms.NewMasterKey(key.GetArn(), key.GetRole(), values)
	master.EncryptedKey = string(sealed)
	switch {
	case r.aws != nil:
		r.aws.ApplyToMasterKey(master)
	case r.identity != nil:
		if err := r.identity.applyAWS(ctx, master); err != nil {
			return nil, err
		}
	}
	return master.DecryptContext(ctx)
}

func (r *ring) byAzure(ctx context.Context, key *keyservice.AzureKeyVaultKey, sealed []byte) ([]byte, error) {
	master := azkv.NewMasterKey(key.GetVaultUrl(), key.GetName(), key.GetVersion())
	master.EncryptedKey = string(sealed)
	switch {
	case r.azure != nil:
		r.azure.ApplyToMasterKey(master)
	case r.identity != nil:
		if err := r.identity.applyAzure(ctx, master); err != nil {
			return nil, err
		}
	}
	return master.DecryptContext(ctx)
}

func (r *ring) byGCP(ctx context.Context, key *keyservice.GcpKmsKey, sealed []byte) ([]byte, error) {
	master := gcpkms.NewMasterKeyFromResourceID(key.GetResourceId())
	master.EncryptedKey = string(sealed)
	switch {
	case len(r.gcp) > 0:
		gcpkms.CredentialJSON(r.gcp).ApplyToMasterKey(master)
	case r.identity != nil:
		if err := r.identity.applyGCP(ctx, master); err != nil {
			return nil, err
		}
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

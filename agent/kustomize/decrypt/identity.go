package decrypt

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/fluxcd/pkg/auth"
	"github.com/fluxcd/pkg/auth/aws"
	"github.com/fluxcd/pkg/auth/azure"
	"github.com/fluxcd/pkg/auth/gcp"
	"github.com/getsops/sops/v3/azkv"
	"github.com/getsops/sops/v3/gcpkms"
	"github.com/getsops/sops/v3/kms"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// keyRegion is the region in the ARN of a key. SOPS takes anything for one; it
// becomes part of a host's name.
var keyRegion = regexp.MustCompile(`^arn:aws[a-z-]*:kms:([a-z0-9-]+):`)

// Object-level identity is no gate here, as in agent/remote: the ServiceAccount
// is the tenant's own.
func init() { auth.EnableObjectLevelWorkloadIdentity() }

// Identity is a ServiceAccount of the hub that clouds and Vaults trust. Their key
// services are asked in its name.
type Identity struct {
	// Account as it was read: ID stands for this state of it. Without a uid it
	// does not exist.
	Account *corev1.ServiceAccount
	// Tokens asks the hub for tokens of the account.
	Tokens client.Client
}

// holder is a client that knows one ServiceAccount, and passes on the rest.
type holder struct {
	client.Client
	account *corev1.ServiceAccount
}

// Get returns the account.
func (h holder) Get(_ context.Context, _ client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	to, ok := obj.(*corev1.ServiceAccount)
	if !ok {
		return errors.ErrUnsupported
	}
	h.account.DeepCopyInto(to)
	return nil
}

func (i *Identity) exists() error {
	if i.Account.UID == "" {
		return fmt.Errorf("service account %s/%s does not exist", i.Account.Namespace, i.Account.Name)
	}
	return nil
}

// options are how the clouds' libraries come to tokens of the account.
func (i *Identity) options(more ...auth.Option) ([]auth.Option, error) {
	if err := i.exists(); err != nil {
		return nil, err
	}
	return append(more,
		auth.WithClient(holder{i.Tokens, i.Account}),
		auth.WithServiceAccountNamespace(i.Account.Namespace), auth.WithServiceAccountName(i.Account.Name),
	), nil
}

// applyAWS has the key opened as the role of the account.
func (i *Identity) applyAWS(ctx context.Context, to *kms.MasterKey) error {
	region := keyRegion.FindStringSubmatch(to.Arn)
	if region == nil {
		return fmt.Errorf("the ARN %q names no region", abbreviated(to.Arn))
	}
	options, err := i.options(auth.WithSTSRegion(region[1]))
	if err != nil {
		return err
	}
	kms.NewCredentialsProvider(aws.NewCredentialsProvider(ctx, options...)).ApplyToMasterKey(to)
	return nil
}

// applyAzure has the key opened as the application of the account.
func (i *Identity) applyAzure(ctx context.Context, to *azkv.MasterKey) error {
	options, err := i.options()
	if err != nil {
		return err
	}
	azkv.NewTokenCredential(azure.NewTokenCredential(ctx, options...)).ApplyToMasterKey(to)
	return nil
}

// applyGCP has the key opened as the principal of the account.
func (i *Identity) applyGCP(ctx context.Context, to *gcpkms.MasterKey) error {
	options, err := i.options()
	if err != nil {
		return err
	}
	gcpkms.NewTokenSource(gcp.NewTokenSource(ctx, options...)).ApplyToMasterKey(to)
	return nil
}

// abbreviated is a value from a file, short enough for a message.
func abbreviated(value string) string {
	const most = 100
	if len(value) > most {
		return value[:most] + "..."
	}
	return value
}

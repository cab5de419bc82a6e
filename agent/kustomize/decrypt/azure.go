package decrypt

import (
	"cmp"
	"errors"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/getsops/sops/v3/azkv"
	"sigs.k8s.io/yaml"
)

// azureFields is a credential in Flux's spelling, and in that of the az tool.
type azureFields struct {
	TenantID            string `json:"tenantId"`
	ClientID            string `json:"clientId"`
	ClientSecret        string `json:"clientSecret"`
	Certificate         string `json:"clientCertificate"`
	CertificatePassword string `json:"clientCertificatePassword"`
	SendChain           bool   `json:"clientCertificateSendChain"`
	AuthorityHost       string `json:"authorityHost"`

	Tenant   string `json:"tenant"`
	AppID    string `json:"appId"`
	Password string `json:"password"`
}

// addAzure takes a service principal with a secret or a certificate. The id of a
// managed identity stands for one of the agent's own, and so does not count beside a
// ServiceAccount.
func (r *ring) addAzure(content []byte) error {
	var f azureFields
	if err := yaml.Unmarshal(content, &f); err != nil {
		return errors.New("it is no YAML with tenantId and clientId")
	}
	tenant, id, secret := cmp.Or(f.TenantID, f.Tenant), cmp.Or(f.ClientID, f.AppID), cmp.Or(f.ClientSecret, f.Password)
	var options azcore.ClientOptions
	if f.AuthorityHost != "" {
		options.Cloud = cloud.Configuration{ActiveDirectoryAuthorityHost: f.AuthorityHost}
	}
	credential, err := newAzureCredential(f, tenant, id, secret, options)
	if err != nil {
		return errors.New("it holds no credential that Azure's client takes")
	}
	if _, managed := credential.(*azidentity.ManagedIdentityCredential); managed && r.identity != nil {
		return errors.New("it names a managed identity of the agent, which is not used where a ServiceAccount is named: " +
			"it needs tenantId, clientId, and clientSecret or clientCertificate")
	}
	r.azure = azkv.NewTokenCredential(credential)
	return nil
}

func newAzureCredential(f azureFields, tenant, id, secret string, options azcore.ClientOptions) (azcore.TokenCredential, error) {
	switch {
	case tenant != "" && id != "" && secret != "":
		return azidentity.NewClientSecretCredential(tenant, id, secret, &azidentity.ClientSecretCredentialOptions{ClientOptions: options})
	case tenant != "" && id != "" && f.Certificate != "":
		certificates, key, err := azidentity.ParseCertificates([]byte(f.Certificate), []byte(f.CertificatePassword))
		if err != nil {
			return nil, err
		}
		return azidentity.NewClientCertificateCredential(tenant, id, certificates, key,
			&azidentity.ClientCertificateCredentialOptions{ClientOptions: options, SendCertificateChain: f.SendChain})
	case id != "":
		return azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ClientOptions: options, ID: azidentity.ClientID(id)})
	}
	return nil, errors.New("tenantId, clientId and clientSecret are not set")
}

package decrypt

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"

	vaultapi "github.com/hashicorp/vault/api"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

// loginSeconds is how long a token that a Vault is shown is good for; it is the
// least that an API server makes.
const loginSeconds = 600

// Vaults are those, of OpenBao too, that know the ServiceAccounts of the hub: where
// to log in, by address. No other is shown a token.
type Vaults struct {
	// State identifies them: it changes with what they are read from.
	State string
	paths map[string]string
}

// ReadVaults reads Flux's form of the list (FLUX.md §2.2, SOPS): YAML with instances
// of address and loginPath. Its errors name the field.
func ReadVaults(state, content string) (Vaults, error) {
	var list struct {
		Instances []struct {
			Address   string `json:"address"`
			LoginPath string `json:"loginPath"`
		} `json:"instances"`
	}
	if err := yaml.UnmarshalStrict([]byte(content), &list); err != nil {
		return Vaults{}, err
	}
	vaults := Vaults{State: state, paths: map[string]string{}}
	for i, instance := range list.Instances {
		address := bare(instance.Address)
		parsed, err := url.Parse(address)
		switch {
		case err != nil || parsed.Scheme != "https" && parsed.Scheme != "http" || parsed.Host == "":
			return Vaults{}, fmt.Errorf("instances[%d].address: it has to be a URL of https or http", i)
		case strings.Trim(instance.LoginPath, "/") == "":
			return Vaults{}, fmt.Errorf("instances[%d].loginPath: it is empty: name that of the auth method, as auth/kubernetes/login", i)
		case vaults.paths[address] != "":
			return Vaults{}, fmt.Errorf("instances[%d].address: it is there twice", i)
		}
		vaults.paths[address] = strings.Trim(instance.LoginPath, "/")
	}
	return vaults, nil
}

// bare is an address as it is compared.
func bare(address string) string { return strings.TrimRight(address, "/") }

// logins are those of one ServiceAccount for the files of one build, each made when
// it is first needed. It is safe for concurrent use.
type logins struct {
	vaults   Vaults
	identity *Identity

	mu     sync.Mutex
	tokens map[string]string
}

// token is the Vault's for the ServiceAccount, in the role <namespace>_<name> that
// Flux asks for. It is errNotHere at a Vault that is not listed.
func (l *logins) token(ctx context.Context, address string) (string, error) {
	address = bare(address)
	path := l.vaults.paths[address]
	switch {
	case path == "":
		return "", errNotHere
	case l.identity == nil:
		return "", fmt.Errorf("the Vault %s knows ServiceAccounts: name one in spec.decryption.serviceAccountName", address)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if made := l.tokens[address]; made != "" {
		return made, nil
	}
	made, err := l.identity.login(ctx, address, path)
	if err != nil {
		return "", fmt.Errorf("log in at the Vault %s: %w", address, err)
	}
	if l.tokens == nil {
		l.tokens = map[string]string{}
	}
	l.tokens[address] = made
	return made, nil
}

// login shows a Vault a token of the account that is good for it alone, and returns
// what it gives for that.
func (i *Identity) login(ctx context.Context, address, path string) (string, error) {
	if err := i.exists(); err != nil {
		return "", err
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		Audiences: []string{address}, ExpirationSeconds: ptr.To[int64](loginSeconds),
	}}
	if err := i.Tokens.SubResource("token").Create(ctx, i.Account, request); err != nil {
		return "", fmt.Errorf("token of ServiceAccount %s/%s: %w", i.Account.Namespace, i.Account.Name, err)
	}
	config := vaultapi.DefaultConfig()
	if config.Error != nil {
		return "", config.Error
	}
	config.Address = address
	client, err := vaultapi.NewClient(config)
	if err != nil {
		return "", err
	}
	client.ClearToken()
	answer, err := client.Logical().WriteWithContext(ctx, path, map[string]any{
		"role": i.Account.Namespace + "_" + i.Account.Name, "jwt": request.Status.Token,
	})
	switch {
	case err != nil:
		return "", err
	case answer == nil || answer.Auth == nil || answer.Auth.ClientToken == "":
		return "", errors.New("it gave no token")
	}
	return answer.Auth.ClientToken, nil
}

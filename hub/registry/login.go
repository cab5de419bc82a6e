package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/hub/access"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// login is how to log in at a registry.
type login struct {
	config authn.AuthConfig
	// secrets are those that were read; secret is the one with the login, if
	// one has it.
	secrets []string
	secret  string
	host    string
	// cloud says in words whose login a cloud gave, and forget has the next one
	// asked for anew.
	cloud  string
	forget func()
}

// hint says what a person can do about a login that is refused.
func (l login) hint() string {
	switch {
	case l.cloud != "":
		return l.cloud + " may not do this there"
	case len(l.secrets) == 0:
		return "no login was sent: neither spec.secretRef nor spec.serviceAccountName gives one"
	case l.secret == "":
		return fmt.Sprintf("no login was sent: Secret %s (spec.secretRef, or of spec.serviceAccountName) has none for %s", strings.Join(l.secrets, ", "), l.host)
	}
	return fmt.Sprintf("the login of Secret %s (spec.secretRef, or of spec.serviceAccountName) does not do", l.secret)
}

// readLogin reads the Secret of spec.secretRef, or else the pull secrets of the
// ServiceAccount.
func readLogin(ctx context.Context, secrets access.Secrets, a Access, repository name.Repository) (login, error) {
	l := login{host: repository.RegistryStr()}
	field, names := "spec.secretRef", []string{}
	if a.SecretRef != nil {
		names = append(names, a.SecretRef.Name)
	}
	if a.ServiceAccountName != "" {
		pullSecrets, err := pullSecretsOf(ctx, secrets, a.ServiceAccountName)
		if err != nil {
			return l, err
		}
		names = append(names, pullSecrets...)
		if a.SecretRef == nil {
			field = "spec.serviceAccountName"
		}
	}
	for _, secretName := range names {
		full := a.Namespace + "/" + secretName
		l.secrets = append(l.secrets, full)
		if err := secrets.Read(ctx, field, secretName, func(secret *corev1.Secret) error {
			config, ok, err := find(secret, repository, a.Basic)
			if ok && l.secret == "" {
				l.config, l.secret = config, full
			}
			return err
		}); err != nil {
			return l, err
		}
	}
	return l, nil
}

func pullSecretsOf(ctx context.Context, secrets access.Secrets, accountName string) ([]string, error) {
	var account corev1.ServiceAccount
	key := types.NamespacedName{Namespace: secrets.Namespace, Name: accountName}
	err := secrets.Reader.Get(ctx, key, &account)
	if apierrors.IsNotFound(err) {
		err = errors.New("it does not exist")
	}
	if err != nil {
		return nil, reconcile.Fail(meta.AuthenticationFailedReason, fmt.Errorf("spec.serviceAccountName: ServiceAccount %s: %w", key, err))
	}
	var names []string
	for _, secret := range account.ImagePullSecrets {
		names = append(names, secret.Name)
	}
	return names, nil
}

// find looks for the login of the repository: the entry with the longest path
// that fits. Where basic is allowed, username and password are one for every
// repository.
func find(secret *corev1.Secret, repository name.Repository, basic bool) (authn.AuthConfig, bool, error) {
	if username := string(secret.Data[corev1.BasicAuthUsernameKey]); basic && username != "" {
		return authn.AuthConfig{Username: username, Password: string(secret.Data[corev1.BasicAuthPasswordKey])}, true, nil
	}
	entries, err := entriesOf(secret)
	if err != nil {
		return authn.AuthConfig{}, false, err
	}
	best, length := authn.AuthConfig{}, -1
	for entry, raw := range entries {
		fit := fits(entry, repository)
		if fit <= length {
			continue
		}
		// Into a fresh value: an entry must not take fields of another.
		var config authn.AuthConfig
		if err := json.Unmarshal(raw, &config); err != nil {
			return authn.AuthConfig{}, false, fmt.Errorf("its entry for %q does not parse", entry)
		}
		best, length = config, fit
	}
	return best, length >= 0, nil
}

// entriesOf reads the logins of a docker configuration. Its errors quote
// nothing of it.
func entriesOf(secret *corev1.Secret) (map[string]json.RawMessage, error) {
	if data, ok := secret.Data[corev1.DockerConfigJsonKey]; ok {
		var file struct {
			Auths map[string]json.RawMessage `json:"auths"`
		}
		if json.Unmarshal(data, &file) != nil {
			return nil, fmt.Errorf("its key %s is not JSON of the form of docker's config.json", corev1.DockerConfigJsonKey)
		}
		return file.Auths, nil
	}
	data, ok := secret.Data[corev1.DockerConfigKey]
	if !ok {
		return nil, fmt.Errorf("it has no key %s: make it with the type %s", corev1.DockerConfigJsonKey, corev1.SecretTypeDockerConfigJson)
	}
	var auths map[string]json.RawMessage
	if json.Unmarshal(data, &auths) != nil {
		return nil, fmt.Errorf("its key %s is not JSON of the form of docker's .dockercfg", corev1.DockerConfigKey)
	}
	return auths, nil
}

// fits is how much of the repository an entry such as
// https://*.example.com/team names; -1 when it names another one.
func fits(entry string, repository name.Repository) int {
	_, rest, found := strings.Cut(entry, "://")
	if !found {
		rest = entry
	}
	host, folder, _ := strings.Cut(rest, "/")
	folder = strings.Trim(folder, "/")
	if folder == "v1" || folder == "v2" {
		folder = "" // the API's, in old files
	}
	if host == "docker.io" || host == "registry-1.docker.io" {
		host = name.DefaultRegistry
	}
	// A star stands for a part of one label of the name.
	labels, wanted := strings.Split(repository.RegistryStr(), "."), strings.Split(host, ".")
	if len(labels) != len(wanted) {
		return -1
	}
	for i := range labels {
		if ok, err := path.Match(wanted[i], labels[i]); err != nil || !ok {
			return -1
		}
	}
	if folder != "" && !strings.HasPrefix(repository.RepositoryStr()+"/", folder+"/") {
		return -1
	}
	return len(folder)
}

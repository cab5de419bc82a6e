package action

import (
	"context"
	"fmt"
	"slices"

	helmrelease "helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/agent/helm/release"
)

// Labels of the Secrets in Helm's storage.
const (
	ownerLabel, ownerHelm = "owner", "helm"
	nameLabel             = "name"
	statusLabel           = "status"
	versionLabel          = "version"
)

// RecordSelector picks the Secrets of Helm's storage by their labels.
func RecordSelector() string { return labels.Set{ownerLabel: ownerHelm}.String() }

// ReleaseOf is the name of the release that a Secret with these labels is a record
// of; empty for others.
func ReleaseOf(of map[string]string) string { return of[nameLabel] }

// IsBusy says whether a Secret with these labels is the record of an action that
// is under way, or was left in the middle.
func IsBusy(of map[string]string) bool {
	status := helmrelease.Status(of[statusLabel])
	return status.IsPending() || status == helmrelease.StatusUninstalling
}

// SecretName is that of a revision's record.
func SecretName(release string, version int) string {
	return fmt.Sprintf("%s.%s.v%d", storage.HelmStorageType, release, version)
}

// Records reads what Helm's storage has of a release, the newest first, and up to
// which resourceVersion. A record that cannot be read is an error that names its
// Secret: taken for absent, the release would be made a second time.
func Records(ctx context.Context, from client.Reader, target release.Target) (records []release.Record, upto string, err error) {
	secrets, err := stored(ctx, from, target)
	if err != nil {
		return nil, "", err
	}
	records = make([]release.Record, 0, len(secrets.Items))
	for i := range secrets.Items {
		secret := &secrets.Items[i]
		rel, err := decode(secret, target)
		if err != nil {
			return nil, "", err
		}
		record, err := release.RecordOf(rel, target.StorageNamespace)
		if err != nil {
			return nil, "", unreadable(secret, target, err)
		}
		record.Stored = release.Stored{Name: secret.Name, UID: secret.UID, Version: secret.ResourceVersion}
		records = append(records, record)
	}
	slices.SortFunc(records, func(a, b release.Record) int { return b.Version - a.Version })
	return records, secrets.ResourceVersion, nil
}

// stored are the Secrets that Helm's storage has of a release.
func stored(ctx context.Context, from client.Reader, target release.Target) (*corev1.SecretList, error) {
	secrets := &corev1.SecretList{}
	err := from.List(ctx, secrets, client.InNamespace(target.StorageNamespace),
		client.MatchingLabels{ownerLabel: ownerHelm, nameLabel: target.Name})
	if err != nil {
		return nil, fmt.Errorf("records of the release %s in namespace %s: %w", target.Name, target.StorageNamespace, err)
	}
	return secrets, nil
}

func decode(secret *corev1.Secret, of release.Target) (*helmrelease.Release, error) {
	rel, err := release.Decode(secret)
	if err != nil {
		return nil, unreadable(secret, of, err)
	}
	return rel, nil
}

func unreadable(secret *corev1.Secret, of release.Target, err error) error {
	return fmt.Errorf("the record of the release %s in Secret %s/%s cannot be read: restore the Secret, or delete it: %w",
		of.Name, secret.Namespace, secret.Name, err)
}

// Unlock marks a record failed that an action has left pending: when its agent
// ended or, if it has failed, when Helm did not say so.
func (s *Session) Unlock(version int, failed bool) error {
	rel, err := s.config.Releases.Get(s.Target.Name, version)
	if err != nil {
		return s.ended(fmt.Errorf("unlock: %w", err))
	}
	if !rel.Info.Status.IsPending() {
		return nil
	}
	said := release.Unlocked(rel.Info.Status)
	if failed {
		said = fmt.Sprintf("Release failed in the state '%s'", rel.Info.Status)
	}
	rel.SetStatus(helmrelease.StatusFailed, said)
	return s.ended(s.config.Releases.Update(rel))
}

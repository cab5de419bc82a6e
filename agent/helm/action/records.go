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

// Bounds of what the storage may have of one release: whoever may write Secrets on a
// target must not end the agent of others.
const (
	maxRevisions = 1000
	// maxStored is what all records may be in bytes, packed and unpacked. The
	// default history and one more always fit.
	maxStored = (defaultMaxHistory + 1) * release.MaxRecord
	// pageOfRecords are asked for at once.
	pageOfRecords = 50
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
// Secret: taken for absent, the release would be made a second time. Manifest and
// CRDs are kept of the newest alone, and values of it and the current one.
func Records(ctx context.Context, from client.Reader, target release.Target) (records []release.Record, upto string, err error) {
	secrets, err := stored(ctx, from, target)
	if err != nil {
		return nil, "", err
	}
	records = make([]release.Record, 0, len(secrets.Items))
	unpacked := 0
	for i := range secrets.Items {
		secret := &secrets.Items[i]
		rel, size, err := decode(secret, target, unpacked)
		if err != nil {
			return nil, "", err
		}
		unpacked += size
		record, err := release.RecordOf(rel, target.StorageNamespace)
		if err != nil {
			return nil, "", unreadable(secret, target, err)
		}
		record.Stored = release.Stored{Name: secret.Name, UID: secret.UID, Version: secret.ResourceVersion}
		records = append(records, record)
		slices.SortFunc(records, func(a, b release.Record) int { return b.Version - a.Version })
		trim(records)
	}
	return records, secrets.ResourceVersion, nil
}

// trim drops what is large in records and that nobody asks for.
func trim(records []release.Record) {
	current := release.Current(records)
	for i := range records[1:] {
		old := &records[1+i]
		old.Manifest, old.CRDs = "", nil
		if old != current {
			old.Config = nil
		}
	}
}

// stored are the Secrets that Helm's storage has of a release.
func stored(ctx context.Context, from client.Reader, target release.Target) (*corev1.SecretList, error) {
	all, size := &corev1.SecretList{}, 0
	for {
		page := &corev1.SecretList{}
		err := from.List(ctx, page, client.InNamespace(target.StorageNamespace), client.Limit(pageOfRecords), client.Continue(all.Continue),
			client.MatchingLabels{ownerLabel: ownerHelm, nameLabel: target.Name})
		if err != nil {
			return nil, fmt.Errorf("records of the release %s in namespace %s: %w", target.Name, target.StorageNamespace, err)
		}
		for i := range page.Items {
			size += page.Items[i].Size()
		}
		all.ListMeta, all.Items = page.ListMeta, append(all.Items, page.Items...)
		switch {
		case len(all.Items) > maxRevisions || size > maxStored:
			return nil, tooMany(target)
		case all.Continue == "":
			return all, nil
		}
	}
}

func tooMany(of release.Target) error {
	return fmt.Errorf("the records of the release %s in namespace %s are more than %d, or have more than %d MiB unpacked: "+
		"delete the Secrets of its oldest revisions, and let spec.maxHistory bound them",
		of.Name, of.StorageNamespace, maxRevisions, maxStored>>20)
}

// decode reads the release in a Secret, and says how many bytes it had unpacked, as
// those before it had.
func decode(secret *corev1.Secret, of release.Target, before int) (rel *helmrelease.Release, size int, err error) {
	rel, size, err = release.Decode(secret)
	switch {
	case err != nil:
		return nil, 0, unreadable(secret, of, err)
	case before+size > maxStored:
		return nil, 0, tooMany(of)
	}
	return rel, size, nil
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

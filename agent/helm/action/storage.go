package action

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	helmrelease "helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage/driver"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/agent/helm/release"
)

// recordType is that of the Secrets in Helm's storage.
const recordType corev1.SecretType = "helm.sh/release.v1"

// records are what Helm's storage has of the session's release. They are read
// when they are first asked for, and from then on known by what the action itself
// writes: nobody else has an action on the release. It is safe for concurrent use.
type records struct {
	*Session
	mu sync.Mutex
	// of are the records by their Secrets' names; nil until they are read.
	of map[string]*record
	// failure is how the last write has failed.
	failure error
	// begun is the revision of the record that the action has made, or may have:
	// nobody knows of a write without an answer. 0 when it has made none.
	begun int
}

// record is a Secret as the server has it, and what is in it once somebody has
// asked.
type record struct {
	secret  *corev1.Secret
	release *helmrelease.Release
	// size is how many bytes the release had unpacked.
	size int
}

var _ driver.Driver = &records{}

func newRecords(s *Session) *records {
	made := &records{Session: s}
	if s.Fresh {
		made.of = map[string]*record{}
	}
	return made
}

// Name implements driver.Driver.
func (r *records) Name() string { return driver.SecretsDriverName }

// Get implements driver.Driver.
func (r *records) Get(key string) (*helmrelease.Release, error) {
	found, err := r.find(func(secret *corev1.Secret) bool { return secret.Name == key })
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

// List implements driver.Driver.
func (r *records) List(fits func(*helmrelease.Release) bool) ([]*helmrelease.Release, error) {
	all, err := r.find(func(*corev1.Secret) bool { return true })
	return slices.DeleteFunc(all, func(rel *helmrelease.Release) bool { return !fits(rel) }), err
}

// Query implements driver.Driver.
func (r *records) Query(by map[string]string) ([]*helmrelease.Release, error) {
	wanted := labels.SelectorFromSet(by)
	return r.find(func(secret *corev1.Secret) bool { return wanted.Matches(labels.Set(secret.Labels)) })
}

// Create implements driver.Driver. The hooks of a revision are rendered before it
// is stored, and thereby before any of them runs.
func (r *records) Create(key string, rel *helmrelease.Release) error {
	if rel.Info.Status == helmrelease.StatusPendingInstall || rel.Info.Status == helmrelease.StatusPendingUpgrade {
		if err := r.renderHooks(rel); err != nil {
			return err
		}
	}
	secret, err := r.secretOf(key, rel, "createdAt")
	if err != nil {
		return err
	}
	err = r.client.Create(r.ctx, secret)
	if apierrors.IsAlreadyExists(err) {
		return driver.ErrReleaseExists
	}
	r.begin(rel.Version)
	r.forget()
	return r.note(secret, err)
}

// Update implements driver.Driver.
func (r *records) Update(key string, rel *helmrelease.Release) error {
	secret, err := r.secretOf(key, rel, "modifiedAt")
	if err != nil {
		return err
	}
	return r.note(secret, r.client.Update(r.ctx, secret))
}

// Delete implements driver.Driver.
func (r *records) Delete(key string) (*helmrelease.Release, error) {
	rel, err := r.Get(key)
	if err != nil {
		return nil, err
	}
	gone := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: r.Target.StorageNamespace, Name: key}}
	if err := r.client.Delete(r.ctx, gone); client.IgnoreNotFound(err) != nil {
		return rel, fmt.Errorf("record %s of the release: %w", key, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failure = nil
	delete(r.of, key)
	return rel, nil
}

// find are the releases of the records that fit, or driver.ErrReleaseNotFound.
func (r *records) find(fits func(*corev1.Secret) bool) ([]*helmrelease.Release, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.load(); err != nil {
		return nil, err
	}
	var found []*helmrelease.Release
	for _, record := range r.of {
		if !fits(record.secret) {
			continue
		}
		if record.release == nil {
			var err error
			if record.release, record.size, err = decode(record.secret, r.Target, r.unpacked()); err != nil {
				return nil, err
			}
			record.release.Labels = ownLabels(record.secret.Labels)
		}
		found = append(found, record.release)
	}
	if len(found) == 0 {
		return nil, driver.ErrReleaseNotFound
	}
	return found, nil
}

// ownLabels are those that people have put on a record: Helm copies them to the next
// one, and makes the others for each.
func ownLabels(all map[string]string) map[string]string {
	own := maps.Clone(all)
	for _, system := range driver.GetSystemLabels() {
		delete(own, system)
	}
	return own
}

// unpacked is how many bytes what was asked for has.
func (r *records) unpacked() int {
	all := 0
	for _, record := range r.of {
		if record.release != nil {
			all += record.size
		}
	}
	return all
}

// load reads all records of the release, unless that was done.
func (r *records) load() error {
	if r.of != nil {
		return nil
	}
	stored, err := stored(r.ctx, r.client, r.Target)
	if err != nil {
		return err
	}
	r.of = map[string]*record{}
	for i := range stored.Items {
		r.of[stored.Items[i].Name] = &record{secret: &stored.Items[i]}
	}
	return nil
}

// note keeps what was written, or that it was not.
func (r *records) note(written *corev1.Secret, err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failure = nil
	if err != nil {
		r.failure = fmt.Errorf("record %s of the release: %w", written.Name, explainSize(err))
		return r.failure
	}
	if r.of != nil {
		r.of[written.Name] = &record{secret: written}
	}
	return nil
}

// begin notes that the action has asked for a record of its own, which nobody else
// has made before.
func (r *records) begin(version int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun = version
}

// unwritten is how the last write has failed; nil when it has not.
func (r *records) unwritten() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failure
}

// answered says whether it is a server's answer: without one, nobody knows whether
// the record was written.
func answered(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status)
}

// forget lets go of what was unpacked: what an action looks at before it begins
// is large, and it may wait for long after that.
func (r *records) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, record := range r.of {
		record.release = nil
	}
}

// secretOf is the Secret of a record, with the time of the write in a label.
func (r *records) secretOf(key string, rel *helmrelease.Release, written string) (*corev1.Secret, error) {
	data, err := release.Encode(rel)
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	maps.Copy(all, rel.Labels)
	maps.Copy(all, map[string]string{
		ownerLabel: ownerHelm, nameLabel: rel.Name, versionLabel: strconv.Itoa(rel.Version),
		statusLabel: rel.Info.Status.String(), written: strconv.FormatInt(time.Now().Unix(), 10),
	})
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.Target.StorageNamespace, Name: key, Labels: all},
		Type:       recordType,
		Data:       data,
	}, nil
}

// renderHooks changes the hooks of a release: Helm hands a post-renderer the other
// objects alone.
func (s *Session) renderHooks(rel *helmrelease.Release) error {
	if s.Render == nil {
		return nil
	}
	return s.rendering(func(ctx context.Context) error {
		for _, hook := range rel.Hooks {
			rendered, err := s.Render.Hook(ctx, hook.Manifest)
			if err != nil {
				return fmt.Errorf("hook %s: %w", hook.Path, err)
			}
			hook.Manifest = rendered
		}
		return nil
	})
}

// explainSize says what is to be done about a record that a server does not take
// for its size.
func explainSize(err error) error {
	tooLarge := apierrors.IsRequestEntityTooLargeError(err)
	var refused apierrors.APIStatus
	if errors.As(err, &refused) && refused.Status().Details != nil {
		for _, cause := range refused.Status().Details.Causes {
			tooLarge = tooLarge || cause.Type == metav1.CauseType(field.ErrorTypeTooLong)
		}
	}
	if !tooLarge {
		return err
	}
	return fmt.Errorf("the record of the release is too large for a Secret, which may have 1 MiB of the packed chart, values and objects: "+
		"leave files out of the chart with .helmignore, or make several releases of it: %w", err)
}

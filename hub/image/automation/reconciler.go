package automation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	imagev1 "github.com/headwater-dev/headwater/api/image/v1"
	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/access"
	"github.com/headwater-dev/headwater/hub/git"
	"github.com/headwater-dev/headwater/internal/cloud"
	"github.com/headwater-dev/headwater/internal/queue"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	invalidUpdateStrategyReason      = "InvalidUpdateStrategy"
	invalidSourceConfigurationReason = "InvalidSourceConfiguration"
	sourceManagerFailedReason        = "SourceManagerFailed"
	updateFailedReason               = "UpdateFailed"
	removedTemplateFieldReason       = "RemovedTemplateField"
	invalidPolicySelectorReason      = "InvalidPolicySelector"

	// attempts are how often a run begins anew because somebody else pushed.
	attempts = 3
	// shownSkips are how many passed over markers the status names, and shownSkip is
	// how long such a line is, in bytes.
	shownSkips, shownSkip = 20, 500
)

// Reconciler runs ImageUpdateAutomations. It is a reconcile.Kind.
type Reconciler struct {
	// Events announces pushes and changes of Ready.
	Events *reconcile.Recorder
	// Scratch makes a directory for one run.
	Scratch func() (dir string, done func(), err error)
	// Pace of the runs.
	Pace reconcile.Pace
	// NoCrossNamespaceRefs refuses sources of other namespaces.
	NoCrossNamespaceRefs bool
	// SSH limits what ssh may use.
	SSH git.Algorithms
	// Clouds log in where the source names a provider; logins that are not kept
	// when nil.
	Clouds *cloud.Logins
	// Remotes opens sessions with repositories; one that reads Secrets live when
	// nil.
	Remotes *git.Opener
	// Client reads from the cache; the manager's when nil.
	Client client.Client
	// Live reads Secrets past the cache; the manager's when nil.
	Live client.Reader
	// Clock dates commits; the real one when nil.
	Clock clock.PassiveClock

	// places are those of the runs that have fetched.
	places *queue.Places
}

// job is what an automation asks for, checked.
type job struct {
	source   *sourcev1.GitRepository
	route    route
	policies map[string]imagev1.ImagePolicy
	sign     signer
}

// attempt is one look at the repository, and what was edited of it.
type attempt struct {
	session    *git.Session
	references map[string]plumbing.Hash
	work       *checkout
	edited     *rewritten
}

// Reconcile writes the chosen images into the repository.
func (r *Reconciler) Reconcile(ctx context.Context, obj *imagev1.ImageUpdateAutomation) error {
	ctx, leave := r.places.Visit(ctx)
	defer leave()
	j, err := r.prepare(ctx, obj)
	if err != nil {
		return err
	}
	ctx, cancel := r.Pace.MaxTimeout.Within(ctx, j.source.Timeout())
	defer cancel()
	for range attempts {
		if err = r.run(ctx, obj, j); !errors.Is(err, git.ErrMoved) {
			break
		}
	}
	if errors.Is(err, git.ErrMoved) {
		return reconcile.Fail(git.OperationFailedReason, fmt.Errorf("pushing, %d times: %w", attempts, err))
	}
	return err
}

// prepare reads what the run needs besides the repository.
func (r *Reconciler) prepare(ctx context.Context, obj *imagev1.ImageUpdateAutomation) (job, error) {
	if err := supported(obj); err != nil {
		return job{}, err
	}
	if _, err := parseMessage(obj.Spec.GitSpec.Commit.MessageTemplate); err != nil {
		return job{}, reconcile.Stall(updateFailedReason, err)
	}
	if strings.Contains(obj.Spec.GitSpec.Commit.MessageTemplate, ".Changed.ImageResult") {
		return job{}, reconcile.Stall(removedTemplateFieldReason,
			errors.New("spec.git.commit.messageTemplate has .Changed.ImageResult, which Flux has removed: use .Updated, or .Changed.FileChanges, .Objects and .Changes"))
	}
	var (
		j   job
		err error
	)
	if j.source, err = r.source(ctx, obj); err != nil {
		return job{}, err
	}
	if j.route, err = routeOf(obj.Spec.GitSpec, j.source); err != nil {
		return job{}, reconcile.Stall(invalidSourceConfigurationReason, err)
	}
	if j.policies, err = r.policies(ctx, obj); err != nil {
		return job{}, err
	}
	j.sign, err = r.signer(ctx, obj)
	return j, err
}

// supported stalls an object that cannot be run.
func supported(obj *imagev1.ImageUpdateAutomation) error {
	if err := reconcile.UnsupportedFields(obj,
		"sourceRef", "interval", "policySelector", "update", "suspend",
		"git.checkout", "git.commit", "git.push"); err != nil {
		return err
	}
	if update := obj.Spec.Update; update != nil && update.Strategy != "" && update.Strategy != imagev1.UpdateStrategySetters {
		return reconcile.Stall(invalidUpdateStrategyReason, fmt.Errorf("spec.update.strategy %q is not known: use Setters", update.Strategy))
	}
	if obj.Spec.GitSpec == nil {
		return reconcile.Stall(invalidSourceConfigurationReason, errors.New("spec.git is not set: spec.git.commit.author.email at least is needed"))
	}
	return nil
}

// run looks at the repository once, and pushes a commit if there is one to make.
func (r *Reconciler) run(ctx context.Context, obj *imagev1.ImageUpdateAutomation, j job) error {
	session, err := r.Remotes.Open(ctx, j.source)
	if err != nil {
		return about(j.source, err)
	}
	defer session.Close()
	refs, err := session.List(ctx)
	if err != nil {
		return about(j.source, err)
	}
	from, head, err := headOf(session, j.route.from, refs)
	if err != nil {
		return err
	}
	j.route.from = from
	chosen := chosenBy(j.policies)
	if settled(obj, j.route.from.Revision(head.String()), chosen) {
		return nil
	}
	dir, done, err := r.Scratch()
	if err != nil {
		return reconcile.Fail(updateFailedReason, fmt.Errorf("making a directory to check out into: %w", err))
	}
	defer done()
	objects, err := session.Download(ctx, refs, j.route.from, head, dir)
	if err != nil {
		return about(j.source, err)
	}
	work, err := open(objects, head)
	if err != nil {
		return reconcile.Fail(git.OperationFailedReason, err)
	}
	edited, err := work.rewrite(ctx, pathOf(obj), lookupIn(obj.Namespace, j.policies))
	if err != nil {
		return reconcile.Fail(updateFailedReason, err)
	}
	now := head
	if len(edited.changes) > 0 {
		if now, err = r.push(ctx, obj, j, attempt{session: session, references: refs.References, work: work, edited: edited}); err != nil {
			return err
		}
	}
	r.ran(obj, j.route.from.Revision(now.String()), chosen, edited)
	return nil
}

// push commits what was edited and pushes that. It returns what a checkout leads to
// from now on.
func (r *Reconciler) push(ctx context.Context, obj *imagev1.ImageUpdateAutomation, j job, made attempt) (now plumbing.Hash, err error) {
	work, head := made.work, made.work.commit.Hash
	text, err := message(ctx, obj.Spec.GitSpec.Commit, client.ObjectKeyFromObject(obj), made.edited.changes)
	if err != nil {
		return head, reconcile.Fail(updateFailedReason, err)
	}
	commit, err := work.commitTree(made.edited.tree, r.author(obj), text, j.sign)
	if err != nil {
		return head, reconcile.Fail(updateFailedReason, err)
	}
	updates, err := j.route.updates(made.references, head, commit)
	if err != nil {
		return head, reconcile.Fail(git.OperationFailedReason, err)
	}
	pack := git.Pack{Objects: work.objects, New: work.made, Options: optionsOf(obj)}
	if err := made.session.Push(ctx, pack, updates); err != nil {
		return head, about(j.source, err)
	}
	r.pushed(ctx, obj, j, commit, text)
	if slices.Contains(j.route.to, j.route.branch) && j.route.from.Ref == j.route.branch.String() {
		return commit, nil
	}
	return head, nil
}

// settled says whether a run would find what the last one found. One that failed, or
// was not begun, leaves that open.
func settled(obj *imagev1.ImageUpdateAutomation, revision string, chosen imagev1.ObservedPolicies) bool {
	return obj.Status.ObservedGeneration == obj.Generation &&
		!apimeta.IsStatusConditionFalse(obj.Status.Conditions, meta.ReadyCondition) &&
		obj.Status.ObservedSourceRevision == revision &&
		maps.Equal(obj.Status.ObservedPolicies, chosen)
}

// pushed notes a push and says so.
func (r *Reconciler) pushed(ctx context.Context, obj *imagev1.ImageUpdateAutomation, j job, commit plumbing.Hash, text string) {
	now := metav1.NewTime(r.Clock.Now())
	obj.Status.LastPushCommit, obj.Status.LastPushTime = commit.String(), &now
	names := make([]string, len(j.route.to))
	for i, name := range j.route.to {
		names[i] = name.Short()
	}
	r.Events.Publish(ctx, obj, reconcile.Event{
		Severity: reconcile.SeverityInfo,
		Reason:   meta.SucceededReason,
		Message:  fmt.Sprintf("pushed commit '%s' to %q\n%s", commit.String(), names, text),
		Metadata: map[string]string{imagev1.GroupVersion.Group + "/revision": j.route.from.Revision(commit.String())},
	})
}

// ran notes what a run has found.
func (r *Reconciler) ran(obj *imagev1.ImageUpdateAutomation, revision string, chosen imagev1.ObservedPolicies, found *rewritten) {
	now := metav1.NewTime(r.Clock.Now())
	obj.Status.LastAutomationRunTime = &now
	obj.Status.ObservedSourceRevision = revision
	obj.Status.ObservedPolicies = chosen
	obj.Status.Skipped = nil
	for _, s := range found.skipped {
		obj.Status.Skipped = append(obj.Status.Skipped, s.String())
	}
	if more := found.skips - len(found.skipped); more > 0 {
		obj.Status.Skipped = append(obj.Status.Skipped, fmt.Sprintf("and %d more", more))
	}
}

// signer reads the key that signs commits; nil when none is asked for.
func (r *Reconciler) signer(ctx context.Context, obj *imagev1.ImageUpdateAutomation) (sign signer, err error) {
	key := obj.Spec.GitSpec.Commit.SigningKey
	if key == nil {
		return nil, nil
	}
	secrets := access.Secrets{Reader: r.Live, Namespace: obj.Namespace}
	err = secrets.Read(ctx, "spec.git.commit.signingKey.secretRef", key.SecretRef.Name, func(secret *corev1.Secret) (err error) {
		sign, err = signerOf(secret, key.Type)
		return err
	})
	return sign, err
}

func (r *Reconciler) author(obj *imagev1.ImageUpdateAutomation) object.Signature {
	user := obj.Spec.GitSpec.Commit.Author
	return object.Signature{Name: user.Name, Email: user.Email, When: r.Clock.Now()}
}

func pathOf(obj *imagev1.ImageUpdateAutomation) string {
	if obj.Spec.Update == nil {
		return ""
	}
	return obj.Spec.Update.Path
}

func optionsOf(obj *imagev1.ImageUpdateAutomation) map[string]string {
	if obj.Spec.GitSpec.Push == nil {
		return nil
	}
	return obj.Spec.GitSpec.Push.Options
}

// Finalize has nothing to undo: what was committed stays.
func (r *Reconciler) Finalize(context.Context, *imagev1.ImageUpdateAutomation) error { return nil }

// Ready says that there is nothing left to write.
func (r *Reconciler) Ready(obj *imagev1.ImageUpdateAutomation) (reason, message string) {
	message = "repository up-to-date"
	if len(obj.Status.Skipped) > 0 {
		message += "; passed over: " + obj.Status.Skipped[0]
	}
	if more := len(obj.Status.Skipped) - 1; more > 0 {
		message += fmt.Sprintf(", and %d more in status.skipped", more)
	}
	return meta.SucceededReason, message
}

package automation

import (
	"context"
	"fmt"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	imagev1 "github.com/headwater-dev/headwater/api/image/v1"
	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/git"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// source is the GitRepository that spec.sourceRef names. Only how it is reached
// matters: it need not be ready.
func (r *Reconciler) source(ctx context.Context, obj *imagev1.ImageUpdateAutomation) (*sourcev1.GitRepository, error) {
	ref := obj.Spec.SourceRef
	if err := reconcile.ForeignSource("spec.sourceRef", ref.APIVersion); err != nil {
		return nil, err
	}
	if ref.Kind != sourcev1.GitRepositoryKind {
		return nil, reconcile.Stall(invalidSourceConfigurationReason, fmt.Errorf("spec.sourceRef.kind %q is not known: use GitRepository", ref.Kind))
	}
	key := types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}
	if key.Namespace == "" {
		key.Namespace = obj.Namespace
	}
	if key.Namespace != obj.Namespace && r.NoCrossNamespaceRefs {
		return nil, reconcile.Stall(meta.AccessDeniedReason,
			fmt.Errorf("spec.sourceRef: GitRepository %s is in another namespace, which --no-cross-namespace-refs forbids", key))
	}
	var source sourcev1.GitRepository
	err := r.Client.Get(ctx, key, &source)
	if apierrors.IsNotFound(err) {
		err = fmt.Errorf("spec.sourceRef: there is no GitRepository %s", key)
	}
	return &source, reconcile.Fail(sourceManagerFailedReason, err)
}

// about names the repository before what is said of it: url, secretRef and timeout are
// fields of its spec.
func about(source *sourcev1.GitRepository, err error) error {
	return fmt.Errorf("GitRepository %s: %w", client.ObjectKeyFromObject(source), err)
}

// policies are the ImagePolicies of the namespace that spec.policySelector
// picks, by name; the others are there without a choice.
func (r *Reconciler) policies(ctx context.Context, obj *imagev1.ImageUpdateAutomation) (map[string]imagev1.ImagePolicy, error) {
	selector := labels.Everything()
	if obj.Spec.PolicySelector != nil {
		var err error
		if selector, err = metav1.LabelSelectorAsSelector(obj.Spec.PolicySelector); err != nil {
			return nil, reconcile.Stall(invalidPolicySelectorReason, fmt.Errorf("spec.policySelector: %w", err))
		}
	}
	var list imagev1.ImagePolicyList
	if err := r.Client.List(ctx, &list, client.InNamespace(obj.Namespace)); err != nil {
		return nil, reconcile.Fail(updateFailedReason, fmt.Errorf("listing ImagePolicies: %w", err))
	}
	policies := map[string]imagev1.ImagePolicy{}
	for _, policy := range list.Items {
		if !selector.Matches(labels.Set(policy.Labels)) {
			policy.Status.LatestRef = nil
		}
		policies[policy.Name] = policy
	}
	return policies, nil
}

// chosenBy are the images that the policies have chosen.
func chosenBy(policies map[string]imagev1.ImagePolicy) imagev1.ObservedPolicies {
	chosen := imagev1.ObservedPolicies{}
	for name, policy := range policies {
		if policy.Status.LatestRef != nil {
			chosen[name] = *policy.Status.LatestRef
		}
	}
	return chosen
}

// lookupIn finds what policies of the namespace have chosen.
func lookupIn(namespace string, policies map[string]imagev1.ImagePolicy) images {
	return func(elsewhere, name string) (imagev1.ImageRef, error) {
		if elsewhere != namespace {
			return imagev1.ImageRef{}, fmt.Errorf("its marker names ImagePolicy %s/%s: automations write what policies of their own namespace (%s) choose", elsewhere, name, namespace)
		}
		policy, ok := policies[name]
		if !ok {
			return imagev1.ImageRef{}, fmt.Errorf("its marker names ImagePolicy %s/%s, which does not exist", namespace, name)
		}
		if policy.Status.LatestRef == nil {
			return imagev1.ImageRef{}, errUnselected
		}
		return *policy.Status.LatestRef, nil
	}
}

// headOf is the commit to begin with, and what it was found by.
func headOf(session *git.Session, from git.Target, refs *packp.AdvRefs) (git.Target, plumbing.Hash, error) {
	if !from.IsCommit() {
		return session.Locate(from, refs)
	}
	if err := from.CheckCommit(); err != nil {
		return from, plumbing.ZeroHash, reconcile.Fail(git.OperationFailedReason, err)
	}
	return from, plumbing.NewHash(from.Value), nil
}

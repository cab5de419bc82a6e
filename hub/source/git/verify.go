package git

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/storer"
	corev1 "k8s.io/api/core/v1"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/access"
	"github.com/headwater-dev/headwater/hub/git"
	"github.com/headwater-dev/headwater/hub/source"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	verificationErrorReason       = "VerificationError"
	invalidVerificationModeReason = "InvalidVerificationMode"
	invalidGitObjectReason        = "InvalidGitObject"
	invalidTagSignatureReason     = "InvalidTagSignature"
	invalidCommitSignatureReason  = "InvalidCommitSignature"
)

// modeOf is what spec.verify asks for; empty for nothing.
func modeOf(obj *sourcev1.GitRepository) sourcev1.GitVerificationMode {
	switch v := obj.Spec.Verification; {
	case v == nil:
		return ""
	case v.Mode == "" || v.Mode == "head":
		return sourcev1.ModeGitHEAD
	default:
		return v.Mode
	}
}

// checkMode refuses to look for the signature of a tag where there is none.
func checkMode(obj *sourcev1.GitRepository, t git.Target) error {
	mode := modeOf(obj)
	switch mode {
	case "", sourcev1.ModeGitHEAD:
		return nil
	case sourcev1.ModeGitTag, sourcev1.ModeGitTagAndHEAD:
		if t.IsTag() {
			return nil
		}
		return source.Unverified(reconcile.Stall(invalidVerificationModeReason,
			fmt.Errorf("spec.verify.mode is %s, but %s %s is no tag: set spec.ref.tag or spec.ref.semver, or use the mode HEAD", mode, t.Field, t.Value)))
	}
	return source.Unverified(reconcile.Stall(invalidVerificationModeReason,
		fmt.Errorf("spec.verify.mode %q is not known: use HEAD, Tag or TagAndHEAD", mode)))
}

// verification is one look at signatures.
type verification struct {
	objects storer.EncodedObjectStorer
	target  git.Target
	// tip is what the reference names, commit what it leads to.
	tip, commit plumbing.Hash
	trust       trust
}

// verify checks what spec.verify asks for, and says what was found. It becomes a
// condition with the artifact: until then it is about nothing that is there.
func (f *Fetcher) verify(ctx context.Context, obj *sourcev1.GitRepository, v verification) (string, error) {
	mode := modeOf(obj)
	if mode == "" {
		return "", nil
	}
	secrets := access.Secrets{Reader: f.Remotes.Secrets, Namespace: obj.Namespace}
	name := obj.Spec.Verification.SecretRef.Name
	if err := secrets.Read(ctx, "spec.verify.secretRef", name, func(secret *corev1.Secret) (err error) {
		v.trust, err = trustOf(secret.Data)
		return err
	}); err != nil {
		return "", source.Unverified(reconcile.Fail(verificationErrorReason, errors.New(err.Error()))) // has the reason of logins
	}
	var found []string
	if mode != sourcev1.ModeGitHEAD {
		key, err := v.checkTag()
		if err != nil {
			return "", source.Unverified(err)
		}
		found = append(found, fmt.Sprintf("tag '%s' with key '%s'", strings.TrimPrefix(v.target.Ref, "refs/tags/"), key))
	}
	if mode != sourcev1.ModeGitTag {
		key, err := v.checkCommit()
		if err != nil {
			return "", source.Unverified(err)
		}
		found = append(found, fmt.Sprintf("commit '%s' with key '%s'", v.commit, key))
	}
	return "verified signature of " + strings.Join(found, " and "), nil
}

func (v verification) checkCommit() (key string, err error) {
	content, err := readObject(v.objects, plumbing.CommitObject, v.commit)
	if err != nil {
		return "", reconcile.Fail(invalidGitObjectReason, fmt.Errorf("reading commit '%s': %w", v.commit, err))
	}
	s, err := signedCommit(content)
	if err == nil {
		key, err = v.trust.check(s)
	}
	if err != nil {
		return "", reconcile.Fail(invalidCommitSignatureReason, fmt.Errorf("signature verification of commit '%s' failed: %w", v.commit, err))
	}
	return key, nil
}

// checkTag also holds the tag to its name and its commit: the signature of one
// tag must not pass for another.
func (v verification) checkTag() (key string, err error) {
	name := strings.TrimPrefix(v.target.Ref, "refs/tags/")
	if v.tip == v.commit {
		return "", reconcile.Fail(invalidGitObjectReason, fmt.Errorf("tag '%s' is not annotated, so it has no signature", name))
	}
	content, err := readObject(v.objects, plumbing.TagObject, v.tip)
	if err != nil {
		return "", reconcile.Fail(invalidGitObjectReason, fmt.Errorf("reading tag '%s': %w", name, err))
	}
	s := signedTag(content)
	is, err := readTag(s.payload)
	switch {
	case err != nil:
		return "", reconcile.Fail(invalidGitObjectReason, fmt.Errorf("reading tag '%s': %w", name, err))
	case is.kind != "commit" || is.object != v.commit.String():
		return "", reconcile.Fail(invalidGitObjectReason, fmt.Errorf("tag '%s' is not one of commit '%s', but of %s '%s'", name, v.commit, is.kind, is.object))
	case is.name != name:
		return "", reconcile.Fail(invalidGitObjectReason, fmt.Errorf("tag '%s' was made as '%s'", name, is.name))
	}
	if key, err = v.trust.check(s); err != nil {
		return "", reconcile.Fail(invalidTagSignatureReason, fmt.Errorf("signature verification of tag '%s' failed: %w", name, err))
	}
	return key, nil
}

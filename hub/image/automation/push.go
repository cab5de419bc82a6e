package automation

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	imagev1 "github.com/headwater-dev/headwater/api/image/v1"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/git"
)

const branches = "refs/heads/"

// route is where commits come from and go to.
type route struct {
	from git.Target
	// branch is the one that the checkout names, also where a tag or a commit of it
	// decides what is checked out; empty where it names none.
	branch plumbing.ReferenceName
	// to are the references that are moved. Of these, reset may lose commits.
	to    []plumbing.ReferenceName
	reset plumbing.ReferenceName
}

// routeOf reads spec.git.checkout and spec.git.push with Flux's rules. It fails
// where nobody says to which branch to push.
func routeOf(spec *imagev1.GitSpec, source *sourcev1.GitRepository) (route, error) {
	ref := source.Spec.Reference
	if spec.Checkout != nil {
		ref = &spec.Checkout.Reference
	}
	r := route{from: git.TargetOf(ref)}
	if spec.Checkout != nil {
		r.from.Field = "spec.git.checkout." + strings.TrimPrefix(r.from.Field, "spec.")
	} else {
		r.from.Field += " of GitRepository " + client.ObjectKeyFromObject(source).String()
	}
	switch {
	case ref != nil && ref.Branch != "":
		r.branch = plumbing.NewBranchReferenceName(ref.Branch)
	case strings.HasPrefix(r.from.Ref, branches):
		r.branch = plumbing.ReferenceName(r.from.Ref)
	}
	push := spec.Push
	if push == nil {
		push = &imagev1.PushSpec{}
	}
	if push.Branch != "" {
		to := plumbing.NewBranchReferenceName(push.Branch)
		r.to = append(r.to, to)
		if to != r.branch {
			r.reset = to
		}
	}
	if push.Refspec != "" {
		to, err := r.destination(push)
		if err != nil {
			return route{}, err
		}
		r.to = append(r.to, to)
	}
	if len(r.to) == 0 {
		if r.branch == "" {
			return route{}, fmt.Errorf("spec.git.push is not set, and what is checked out (%s %s) is no branch: set spec.git.push.branch", r.from.Field, r.from.Value)
		}
		r.to = append(r.to, r.branch)
	}
	slices.Sort(r.to)
	r.to = slices.Compact(r.to)
	return r, nil
}

// destination is where a refspec leads. Its source can be nothing but the new
// commit.
func (r route) destination(push *imagev1.PushSpec) (plumbing.ReferenceName, error) {
	from, to, found := strings.Cut(push.Refspec, ":")
	if strings.HasPrefix(push.Refspec, "+") || from == "" || strings.Contains(push.Refspec, "*") {
		return "", errors.New("spec.git.push.refspec neither begins with + or a colon nor has patterns: a push replaces no commit that it has not seen")
	}
	if !found {
		to = from
	}
	if to == "" {
		return "", errors.New("spec.git.push.refspec names nothing behind the colon")
	}
	on := cmp.Or(push.Branch, r.branch.Short())
	if !slices.Contains([]string{"HEAD", on, branches + on}, from) {
		return "", fmt.Errorf("spec.git.push.refspec begins with %q: the commit is made on %q: begin with that, or with HEAD", from, on)
	}
	if !strings.HasPrefix(to, "refs/") {
		to = branches + to
	}
	return plumbing.ReferenceName(to), nil
}

// updates move the references to the commit. What is there has to be what was checked
// out, or commits would be lost; spec.git.push.branch alone is reset, wherever it is,
// where it is another branch than the checkout's.
//
// Where the server moves one after the other, that branch goes first, and the
// checkout's last: a run after one that was cut short finds the same to do again.
func (r route) updates(references map[string]plumbing.Hash, base, commit plumbing.Hash) ([]git.Update, error) {
	updates := make([]git.Update, len(r.to))
	for i, name := range r.to {
		old := references[name.String()]
		if name != r.reset && !old.IsZero() && old != base {
			return nil, fmt.Errorf("%s has commits that are not in %s %s, which was checked out: they would be lost", name, r.from.Field, r.from.Value)
		}
		updates[i] = git.Update{Name: name, Old: old, New: commit}
	}
	slices.SortStableFunc(updates, func(a, b git.Update) int { return cmp.Compare(r.rank(a.Name), r.rank(b.Name)) })
	return updates, nil
}

func (r route) rank(name plumbing.ReferenceName) int {
	switch name {
	case r.reset:
		return 0
	case r.branch:
		return 2
	}
	return 1
}

package repository

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	imagev1 "github.com/headwater-dev/headwater/api/image/v1"
	"github.com/headwater-dev/headwater/hub/image"
	"github.com/headwater-dev/headwater/hub/registry"
)

const (
	// maxTags and maxPages bound what one repository may have.
	maxTags  = 1_000_000
	maxPages = 10_000
	// shown is how many tags the status lists.
	shown = 10
)

// tagForm is what the OCI distribution specification lets a tag be. Everything
// else that a registry sends is no tag, whatever it may be.
var tagForm = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)

// list asks the registry for all tags, page by page.
func list(ctx context.Context, repository name.Repository, session *registry.Session) ([]string, error) {
	puller, err := remote.NewPuller(session.Options()...)
	if err != nil {
		return nil, err
	}
	lister, err := puller.Lister(ctx, repository)
	if err != nil {
		return nil, err
	}
	var all []string
	seen := map[string]bool{}
	for lister.HasNext() {
		page, err := lister.Next(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Tags...)
		switch {
		case len(all) > maxTags:
			return nil, fmt.Errorf("the registry lists more than %d tags", maxTags)
		case seen[page.Next] || len(seen) > maxPages:
			return nil, errors.New("the registry's pages lead to each other without an end")
		case page.Next != "":
			seen[page.Next] = true
		}
	}
	return all, nil
}

// keep sorts the tags, each once, and leaves out those that are excluded or are
// no tags.
func keep(tags []string, excluded []*regexp.Regexp) []string {
	kept := slices.DeleteFunc(slices.Clone(tags), func(tag string) bool {
		return !tagForm.MatchString(tag) ||
			slices.ContainsFunc(excluded, func(pattern *regexp.Regexp) bool { return pattern.MatchString(tag) })
	})
	slices.Sort(kept)
	return slices.Clip(slices.Compact(kept))
}

// result is what the status says of sorted tags; the time is the caller's.
func result(tags []string) *imagev1.ScanResult {
	latest := slices.Clone(tags[max(0, len(tags)-shown):])
	slices.Reverse(latest)
	return &imagev1.ScanResult{Revision: image.Revision(tags), TagCount: len(tags), LatestTags: latest}
}

// compile reads spec.exclusionList.
func compile(patterns []string) ([]*regexp.Regexp, error) {
	compiled := make([]*regexp.Regexp, len(patterns))
	for i, pattern := range patterns {
		var err error
		if compiled[i], err = regexp.Compile(pattern); err != nil {
			return nil, fmt.Errorf("spec.exclusionList[%d]: %w", i, err)
		}
	}
	return compiled, nil
}

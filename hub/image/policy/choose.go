package policy

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"

	imagev1 "github.com/headwater-dev/headwater/api/image/v1"
)

// errInvalid marks what only a change of the policy can help.
var errInvalid = errors.New("the policy cannot be evaluated")

// errNoTag says that the repository has nothing that the policy accepts.
var errNoTag = errors.New("no tag was found")

// candidate is a tag, and the part of it that is compared.
type candidate struct {
	tag, value string
}

// choose returns the tag that the policy prefers. It depends on nothing but its
// arguments, and on the order of the tags not at all. Errors that wrap
// errInvalid stay until the policy changes.
func choose(tags []string, spec *imagev1.ImagePolicySpec) (string, error) {
	better, err := orderOf(spec.Policy)
	if err != nil {
		return "", err
	}
	candidates, err := filter(tags, spec.FilterTags)
	if err != nil {
		return "", err
	}
	if len(candidates) == 0 {
		return "", fmt.Errorf("%w among %d: %s", errNoTag, len(tags), noneOf(tags, spec.FilterTags))
	}
	best, err := better(candidates)
	if err != nil {
		return "", err
	}
	return best.tag, nil
}

func noneOf(tags []string, by *imagev1.TagFilter) string {
	if len(tags) > 0 && by != nil {
		return fmt.Sprintf("spec.filterTags.pattern %q matches none", by.Pattern)
	}
	return "the repository has none"
}

// order picks the best of one or more candidates.
type order func([]candidate) (candidate, error)

// orderOf is the one order that the policy names.
func orderOf(choice imagev1.ImagePolicyChoice) (order, error) {
	var orders []order
	if choice.SemVer != nil {
		allowed, err := semver.NewConstraint(choice.SemVer.Range)
		if err != nil {
			return nil, fmt.Errorf("%w: spec.policy.semver.range %q: %w", errInvalid, choice.SemVer.Range, err)
		}
		orders = append(orders, func(all []candidate) (candidate, error) { return newest(all, allowed, choice.SemVer.Range) })
	}
	if choice.Alphabetical != nil {
		descending := choice.Alphabetical.Order == imagev1.OrderDescending
		orders = append(orders, func(all []candidate) (candidate, error) { return last(all, descending), nil })
	}
	if choice.Numerical != nil {
		descending := choice.Numerical.Order == imagev1.OrderDescending
		orders = append(orders, func(all []candidate) (candidate, error) { return largest(all, descending) })
	}
	if len(orders) != 1 {
		return nil, fmt.Errorf("%w: spec.policy sets %d orders: set one of semver, alphabetical and numerical", errInvalid, len(orders))
	}
	return orders[0], nil
}

// filter picks the tags that match, and what is compared of each. When several
// tags have the same value, the last in the order of text stands for it.
func filter(tags []string, by *imagev1.TagFilter) ([]candidate, error) {
	sorted := slices.Sorted(slices.Values(tags))
	if by == nil || by.Pattern == "" {
		all := make([]candidate, len(sorted))
		for i, tag := range sorted {
			all[i] = candidate{tag: tag, value: tag}
		}
		return all, nil
	}
	pattern, err := regexp.Compile(by.Pattern)
	if err != nil {
		return nil, fmt.Errorf("%w: spec.filterTags.pattern: %w", errInvalid, err)
	}
	var matching []candidate
	for _, tag := range sorted {
		groups := pattern.FindStringSubmatchIndex(tag)
		if groups == nil {
			continue
		}
		value := tag
		if by.Extract != "" {
			value = string(pattern.ExpandString(nil, by.Extract, tag, groups))
		}
		matching = append(matching, candidate{tag: tag, value: value})
	}
	return matching, nil
}

// newest is the highest version of a range. What is no version is left out.
func newest(all []candidate, allowed *semver.Constraints, spelled string) (candidate, error) {
	var (
		best    candidate
		highest *semver.Version
	)
	for _, c := range all {
		version, err := semver.StrictNewVersion(strings.TrimPrefix(c.value, "v"))
		if err != nil || !allowed.Check(version) {
			continue
		}
		if highest == nil || !version.LessThan(highest) {
			best, highest = c, version
		}
	}
	if highest == nil {
		return candidate{}, fmt.Errorf("%w among %d: none is a version in spec.policy.semver.range %q", errNoTag, len(all), spelled)
	}
	return best, nil
}

// last is the last candidate in the order of text, or the first.
func last(all []candidate, descending bool) candidate {
	byValue := func(a, b candidate) int { return strings.Compare(a.value, b.value) }
	if descending {
		return slices.MinFunc(all, byValue)
	}
	return slices.MaxFunc(all, byValue)
}

// largest is the candidate with the largest number, or the smallest. A
// candidate that is no number makes the whole choice fail: nobody can say where
// it belongs.
func largest(all []candidate, descending bool) (candidate, error) {
	var (
		best   candidate
		number float64
	)
	for i, c := range all {
		n, err := strconv.ParseFloat(c.value, 64)
		if err != nil || math.IsNaN(n) {
			return candidate{}, fmt.Errorf("tag %q is compared as %q, which is no number: let spec.filterTags leave it out", c.tag, c.value)
		}
		if i == 0 || descending && n <= number || !descending && n >= number {
			best, number = c, n
		}
	}
	return best, nil
}

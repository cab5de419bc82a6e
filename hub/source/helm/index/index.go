package index

import (
	"errors"
	"fmt"
	"time"

	"github.com/Masterminds/semver/v3"
)

// Version is one version of a chart in an index.
type Version struct {
	// Version as the index writes it.
	Version string
	// URL of the package, absolute or relative to the repository.
	URL string
	// Digest is the SHA-256 of the package in hex; empty when the index does
	// not say.
	Digest string
	// Created is when the package was made.
	Created time.Time
}

// Index is what a repository offers. It is read-only once it is made.
type Index struct {
	charts map[string][]Version
	size   int64
	count  int
}

// Approximate bytes that a version and a chart take besides their texts.
const (
	versionOverhead = 96
	chartOverhead   = 128
)

// Bytes is about how much memory the index takes.
func (i *Index) Bytes() int64 { return i.size }

// Versions is how many versions of all charts there are.
func (i *Index) Versions() int { return i.count }

// Find chooses a version of the chart: the one that is written exactly so, or
// else the highest in the range, and the one made last among equals. An empty
// range means *: the highest that is no prerelease.
func (i *Index) Find(chart, wanted string) (Version, error) {
	versions, ok := i.charts[chart]
	if !ok {
		return Version{}, fmt.Errorf("the index has no chart %q", chart)
	}
	at, err := choose(len(versions), wanted, func(n int) (string, time.Time) { return versions[n].Version, versions[n].Created })
	if err != nil {
		return Version{}, fmt.Errorf("chart %q: %w", chart, err)
	}
	return versions[at], nil
}

// Choose is Find for a plain list of versions.
func Choose(versions []string, wanted string) (string, error) {
	at, err := choose(len(versions), wanted, func(n int) (string, time.Time) { return versions[n], time.Time{} })
	if err != nil {
		return "", err
	}
	return versions[at], nil
}

func choose(n int, wanted string, version func(int) (string, time.Time)) (int, error) {
	for i := range n {
		if text, _ := version(i); wanted != "" && text == wanted {
			return i, nil
		}
	}
	if wanted == "" {
		wanted = "*"
	}
	accepted, err := semver.NewConstraint(wanted)
	if err != nil {
		return 0, fmt.Errorf("version %q is neither in the repository nor a range of versions", wanted)
	}
	best, highest, made := -1, (*semver.Version)(nil), time.Time{}
	for i := range n {
		text, created := version(i)
		v, err := semver.NewVersion(text)
		if err != nil || !accepted.Check(v) {
			continue
		}
		if best < 0 || v.GreaterThan(highest) || v.Equal(highest) && created.After(made) {
			best, highest, made = i, v, created
		}
	}
	if best < 0 {
		return 0, fmt.Errorf("no version matches %q", wanted)
	}
	return best, nil
}

// builder collects an index.
type builder struct {
	index *Index
	max   int
}

var errTooMany = errors.New("the index has too many versions")

func (b *builder) add(chart string, v Version) error {
	if b.index.count++; b.index.count > b.max {
		return fmt.Errorf("%w: more than %d", errTooMany, b.max)
	}
	if _, known := b.index.charts[chart]; !known {
		b.index.size += chartOverhead + int64(len(chart))
	}
	b.index.size += versionOverhead + int64(len(v.Version)+len(v.URL)+len(v.Digest))
	b.index.charts[chart] = append(b.index.charts[chart], v)
	return nil
}

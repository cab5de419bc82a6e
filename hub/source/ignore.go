package source

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/fluxcd/pkg/sourceignore"
)

// excluder says which paths below dir stay out of the artifact (FLUX.md §2.1):
// what belongs to version control always; images, archives and files of CI
// systems unless the tree has a .sourceignore or the spec excludes something;
// then the patterns of each .sourceignore in its directory, and last those of
// the spec, which can so take a file in again.
func excluder(dir string, ignore *string) (func(path string, isDir bool) bool, error) {
	domain := strings.Split(dir, string(filepath.Separator))
	patterns, err := sourceignore.LoadIgnorePatterns(dir, domain)
	if err != nil {
		return nil, fmt.Errorf("reading the %s files: %w", sourceignore.IgnoreFile, err)
	}
	if ignore != nil {
		patterns = append(patterns, sourceignore.ReadPatterns(strings.NewReader(*ignore), domain)...)
	}
	matcher := sourceignore.NewDefaultMatcher(nil, domain)
	if len(patterns) > 0 {
		matcher = sourceignore.NewMatcher(append(sourceignore.VCSPatterns(domain), patterns...))
	}
	return func(path string, isDir bool) bool {
		return matcher.Match(strings.Split(path, string(filepath.Separator)), isDir)
	}, nil
}

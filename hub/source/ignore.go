package source

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/fluxcd/pkg/sourceignore"
	"github.com/fluxcd/pkg/sourceignore/gitignore"
)

// maxIgnoreBytes bounds a .sourceignore: each path is held against each of its
// lines.
const maxIgnoreBytes = 1 << 20

// excluder says which paths of the tree stay out of the artifact (FLUX.md §2.1):
// what belongs to version control always; images, archives and files of CI
// systems unless the tree has a .sourceignore or the spec excludes something;
// then the patterns of each .sourceignore in its directory, and last those of
// the spec, which can so take a file in again.
func excluder(tree fs.FS, ignore *string) (func(path string, isDir bool) bool, error) {
	patterns, err := patternsOf(tree)
	if err != nil {
		return nil, fmt.Errorf("reading the %s files: %w", sourceignore.IgnoreFile, err)
	}
	if ignore != nil {
		patterns = append(patterns, sourceignore.ReadPatterns(strings.NewReader(*ignore), nil)...)
	}
	matcher := sourceignore.NewDefaultMatcher(nil, nil)
	if len(patterns) > 0 {
		matcher = sourceignore.NewMatcher(append(sourceignore.VCSPatterns(nil), patterns...))
	}
	return func(path string, isDir bool) bool {
		return matcher.Match(strings.Split(path, "/"), isDir)
	}, nil
}

// patternsOf are those of each .sourceignore; a directory's come before those of
// the directories in it, which can overrule them.
func patternsOf(tree fs.FS) ([]gitignore.Pattern, error) {
	var patterns []gitignore.Pattern
	err := fs.WalkDir(tree, ".", func(dir string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if d.Name() == ".git" {
			return fs.SkipDir
		}
		content, err := readIgnore(tree, path.Join(dir, sourceignore.IgnoreFile))
		if err != nil || content == "" {
			return err
		}
		var domain []string
		if dir != "." {
			domain = strings.Split(dir, "/")
		}
		patterns = append(patterns, sourceignore.ReadPatterns(strings.NewReader(content), domain)...)
		return nil
	})
	return patterns, err
}

// readIgnore is empty where there is no such file.
func readIgnore(tree fs.FS, name string) (string, error) {
	info, err := fs.Stat(tree, name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil || !info.Mode().IsRegular() {
		return "", err
	}
	f, err := tree.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	content, err := io.ReadAll(io.LimitReader(f, maxIgnoreBytes+1))
	if len(content) > maxIgnoreBytes {
		return "", fmt.Errorf("%s has more than %d bytes", name, maxIgnoreBytes)
	}
	return string(content), err
}

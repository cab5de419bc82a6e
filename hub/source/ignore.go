package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/fluxcd/pkg/sourceignore"
	"github.com/fluxcd/pkg/sourceignore/gitignore"

	"github.com/headwater-dev/headwater/internal/artifact"
)

// Bounds of all .sourceignore files and the spec's excludes together: each path
// is held against each of their lines.
const (
	maxIgnoreBytes = 256 << 10
	maxIgnoreLines = 10_000
	// maxIgnoreLine is also far below the length at which the parser stops, and
	// takes what comes behind for no pattern.
	maxIgnoreLine = 4096
)

// excluder says which paths of the tree stay out of the artifact (FLUX.md §2.1):
// what belongs to version control always; images, archives and files of CI
// systems unless the tree has a .sourceignore or the spec excludes something;
// then the patterns of each .sourceignore in its directory, and last those of
// the spec, which can so take a file in again.
func excluder(ctx context.Context, tree fs.FS, ignore *string) (func(path string, isDir bool) bool, error) {
	var all Excludes
	if err := all.addFiles(ctx, tree); err != nil {
		return nil, fmt.Errorf("reading the %s files: %w", sourceignore.IgnoreFile, err)
	}
	if ignore != nil {
		if err := all.Add(*ignore, nil); err != nil {
			return nil, fmt.Errorf("spec.ignore: %w", err)
		}
	}
	matcher := sourceignore.NewDefaultMatcher(nil, nil)
	if len(all.patterns) > 0 {
		matcher = sourceignore.NewMatcher(append(sourceignore.VCSPatterns(nil), all.patterns...))
	}
	return func(path string, isDir bool) bool {
		return matcher.Match(strings.Split(path, "/"), isDir)
	}, nil
}

// Excludes are patterns, the later of which overrule the earlier. The zero value has
// none.
type Excludes struct {
	patterns     []gitignore.Pattern
	bytes, lines int
}

// addFiles adds each .sourceignore; a directory's comes before those of the
// directories in it, which can overrule it. Directories deeper than an artifact
// has any are not looked at.
func (e *Excludes) addFiles(ctx context.Context, tree fs.FS) error {
	return fs.WalkDir(tree, ".", func(dir string, d fs.DirEntry, err error) error {
		if err := errors.Join(err, context.Cause(ctx)); err != nil || !d.IsDir() {
			return err
		}
		if d.Name() == ".git" || strings.Count(dir, "/") >= artifact.MaxDepth {
			return fs.SkipDir
		}
		name := path.Join(dir, sourceignore.IgnoreFile)
		content, err := readIgnore(tree, name)
		if err != nil || content == "" {
			return err
		}
		var domain []string
		if dir != "." {
			domain = strings.Split(dir, "/")
		}
		if err := e.Add(content, domain); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
}

// Add parses content that holds below the domain, the path of a directory, once its
// size is known to be within bounds: 256 KiB and 10,000 lines for all, and 4096 bytes
// for each line.
func (e *Excludes) Add(content string, domain []string) error {
	if e.bytes += len(content); e.bytes > maxIgnoreBytes {
		return fmt.Errorf("all excludes together have more than %d bytes", maxIgnoreBytes)
	}
	line := 0
	for text := range strings.Lines(content) {
		if line++; len(text) > maxIgnoreLine {
			return fmt.Errorf("line %d has more than %d bytes", line, maxIgnoreLine)
		}
	}
	if e.lines += line; e.lines > maxIgnoreLines {
		return fmt.Errorf("all excludes together have more than %d lines", maxIgnoreLines)
	}
	e.patterns = append(e.patterns, sourceignore.ReadPatterns(strings.NewReader(content), domain)...)
	return nil
}

// Match says whether the path, of a file, is excluded.
func (e *Excludes) Match(path string) bool {
	return sourceignore.NewMatcher(e.patterns).Match(strings.Split(path, "/"), false)
}

// ReadIgnore reads a .sourceignore, and ends a byte beyond the bound, which Add
// refuses.
func ReadIgnore(r io.Reader) (string, error) {
	content, err := io.ReadAll(io.LimitReader(r, maxIgnoreBytes+1))
	return string(content), err
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
	return ReadIgnore(f)
}

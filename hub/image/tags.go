package image

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

const (
	dirMode   = 0o750
	extension = ".tags"
	// before is added to the name of the file that was replaced last.
	before  = ".before"
	unnamed = "new-*"
	// maxName leaves the extensions room in the 255 bytes of a file's name; a
	// namespace's and an object's name have 317 together.
	maxName = 240
)

// ErrNotScanned says that there are no tags of the revision.
var ErrNotScanned = errors.New("its tags are not there: they come with the next scan")

// Tags is a directory with the tags of ImageRepositories. Several goroutines of
// one process may use it at once.
type Tags struct {
	dir string
}

// OpenTags makes the directory if need be, and removes what was being written
// when a process died.
func OpenTags(dir string) (*Tags, error) {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fmt.Errorf("making the directory of image tags: %w", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, unnamed))
	if err != nil {
		return nil, fmt.Errorf("listing image tags: %w", err)
	}
	for _, file := range left {
		if err := os.Remove(file); err != nil {
			return nil, fmt.Errorf("removing what was left of a scan: %w", err)
		}
	}
	return &Tags{dir: dir}, nil
}

// Revision is a checksum of a sorted list of tags: of the bytes that are kept of
// them.
func Revision(tags []string) string {
	h := sha256.New()
	w := bufio.NewWriter(h)
	_ = write(w, tags) // a hash takes everything
	_ = w.Flush()
	return revisionOf(h)
}

func revisionOf(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

// write separates the tags by newlines.
func write(w *bufio.Writer, tags []string) error {
	for i, tag := range tags {
		if i > 0 {
			_ = w.WriteByte('\n') // the error comes again with the next
		}
		if _, err := w.WriteString(tag); err != nil {
			return err
		}
	}
	return nil
}

// Put replaces the tags of the repository. Those that it replaces can still be read
// until the next Put: a status may name their revision yet. A tag holds no newline.
func (t *Tags) Put(repository types.NamespacedName, tags []string) error {
	file, err := os.CreateTemp(t.dir, unnamed)
	if err != nil {
		return fmt.Errorf("keeping the tags of ImageRepository %s: %w", repository, err)
	}
	w := bufio.NewWriter(file)
	err = write(w, tags)
	to := t.file(repository)
	if err = errors.Join(err, w.Flush(), file.Close()); err == nil {
		err = os.Rename(to, to+before)
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = os.Rename(file.Name(), to)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("keeping the tags of ImageRepository %s: %w", repository, err), remove(file.Name()))
	}
	return nil
}

// Get returns the tags of the revision, or ErrNotScanned.
func (t *Tags) Get(repository types.NamespacedName, revision string) ([]string, error) {
	for _, file := range []string{t.file(repository), t.file(repository) + before} {
		content, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("reading the tags of ImageRepository %s: %w", repository, err)
		}
		h := sha256.New()
		_, _ = h.Write(content) // a hash takes everything
		switch {
		case err != nil || revisionOf(h) != revision:
		case len(content) == 0:
			return nil, nil
		default:
			return strings.Split(string(content), "\n"), nil
		}
	}
	return nil, ErrNotScanned
}

// Has says whether the tags of the revision are those that were put last.
func (t *Tags) Has(repository types.NamespacedName, revision string) (bool, error) {
	file, err := os.Open(t.file(repository))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading the tags of ImageRepository %s: %w", repository, err)
	}
	defer func() { _ = file.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return false, fmt.Errorf("reading the tags of ImageRepository %s: %w", repository, err)
	}
	return revisionOf(h) == revision, nil
}

// Remove forgets the tags of the repository.
func (t *Tags) Remove(repository types.NamespacedName) error {
	return errors.Join(remove(t.file(repository)), remove(t.file(repository)+before))
}

func remove(file string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing image tags: %w", err)
	}
	return nil
}

// file is where the tags of a repository are. Namespaces have no dots, so no
// two repositories share a file.
func (t *Tags) file(repository types.NamespacedName) string {
	name := repository.Namespace + "." + repository.Name
	if len(name) > maxName {
		name = fmt.Sprintf("%x", sha256.Sum256([]byte(name))) // which has no dot
	}
	return filepath.Join(t.dir, name+extension)
}

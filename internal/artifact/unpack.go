package artifact

import (
	"archive/tar"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// ErrTooLarge says that an archive would exceed a limit.
var ErrTooLarge = errors.New("the archive is too large")

var errLongPath = fmt.Errorf("%w: the path has more than %d bytes", ErrTooLarge, maxPath)

const (
	// MaxFiles is the number of entries that an archive may have where nothing else
	// is said: files, directories, and the root.
	MaxFiles = 100_000

	// MaxBytes is the size of an archive, unpacked, where nothing else is said.
	MaxBytes = 512 << 20

	defaultMaxRatio = 500
	// ratioFloor is the size below which the ratio is not judged: small trees
	// of repeated YAML compress very well, and do no harm.
	ratioFloor = 32 << 20
	// MaxDepth is the number of elements of a path in an archive. Each costs a
	// file system an open, and whoever removes the tree a file descriptor.
	MaxDepth = 100
	// maxPath is the longest path that Linux takes.
	maxPath = 4096
	// maxShown is how much of a path an error shows; a header may hold 1 MiB.
	maxShown = 256
)

// Limits bound what an archive may unpack to. Zero means the default.
type Limits struct {
	// Files is the number of entries, and of directories that have none but
	// are in their paths; 100,000.
	Files int
	// Bytes is the size of everything together; 512 MiB.
	Bytes int64
	// Ratio is unpacked to packed size, judged from 32 MiB on; 500.
	Ratio int64
}

func (l Limits) orDefaults() Limits {
	if l.Files == 0 {
		l.Files = MaxFiles
	}
	if l.Bytes == 0 {
		l.Bytes = MaxBytes
	}
	if l.Ratio == 0 {
		l.Ratio = defaultMaxRatio
	}
	return l
}

// Files reads a gzipped tar into memory: the content of each regular file by
// its slash-separated path. What is refused, and how, is as for UnpackTo.
func Files(r io.Reader, limits Limits) (map[string][]byte, error) {
	files, _, err := FilesUpTo(math.MaxInt64, r, limits)
	return files, err
}

// FilesUpTo is Files, but reads no file of more than so many bytes: of those it returns
// the sizes in bytes.
func FilesUpTo(most int64, r io.Reader, limits Limits) (files map[string][]byte, larger map[string]int64, err error) {
	files, larger = map[string][]byte{}, map[string]int64{}
	err = unpack(r, limits, sink{file: func(name string, _ bool, content io.Reader) error {
		body, err := io.ReadAll(io.LimitReader(content, most))
		if err != nil {
			return err
		}
		beyond, err := io.Copy(io.Discard, content)
		if beyond > 0 {
			larger[name] = most + beyond
			return err
		}
		files[name] = body
		return err
	}})
	if err != nil {
		return nil, nil, err
	}
	return files, larger, nil
}

// Unpacked is how many bytes a gzipped tar says that it unpacks to, and what it does if
// it is gzipped in one piece and has no sparse files; it may be more.
func Unpacked(packed io.ReaderAt, size int64) (int64, error) {
	var last [4]byte // of a gzip: RFC 1952, ISIZE
	if _, err := packed.ReadAt(last[:], size-int64(len(last))); err != nil {
		return 0, fmt.Errorf("unpacking: not a gzipped archive: %w", err)
	}
	return int64(binary.LittleEndian.Uint32(last[:])), nil
}

// UnpackTo writes a gzipped tar into an existing directory. Symbolic links are
// skipped, as Flux does. A path that leads out of the directory, an entry that
// is neither file nor directory, and a name that comes twice are errors that
// name the entry; one that wraps ErrTooLarge names the limit as well: those of
// Limits, 4096 bytes for a path, and MaxDepth. After an error the directory holds part of the archive.
func UnpackTo(dir string, r io.Reader, limits Limits) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("unpacking: %w", err)
	}
	defer func() { _ = root.Close() }()
	buffer := make([]byte, copyBytes)
	return unpack(r, limits, sink{
		dir: func(name string) error {
			return root.MkdirAll(filepath.FromSlash(name), archivedDirMode)
		},
		file: func(name string, executable bool, content io.Reader) error {
			return writeFile(root, name, executable, content, buffer)
		},
	})
}

func writeFile(root *os.Root, name string, executable bool, content io.Reader, buffer []byte) error {
	local := filepath.FromSlash(name)
	if err := root.MkdirAll(filepath.Dir(local), archivedDirMode); err != nil {
		return err
	}
	mode := os.FileMode(archivedFileMode)
	if executable {
		mode = archivedExecMode
	}
	f, err := root.OpenFile(local, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = copyThrough(buffer, f, content)
	if err = errors.Join(err, f.Close()); err != nil {
		_ = root.Remove(local) // half a file is none
	}
	return err
}

// sink is where entries go. Their names are clean, relative, and used once.
type sink struct {
	dir  func(name string) error // may be nil
	file func(name string, executable bool, content io.Reader) error
}

func unpack(r io.Reader, limits Limits, to sink) error {
	m := &meter{packed: &counter{r: r}, limits: limits.orDefaults()}
	gz, err := gzip.NewReader(m.packed)
	if err != nil {
		return fmt.Errorf("unpacking: not a gzipped archive: %w", err)
	}
	m.gz = gz
	u := &unpacker{meter: m, tr: tar.NewReader(m), seen: map[string]bool{}, to: to}
	for more := true; more; {
		if more, err = u.next(); err != nil {
			return err
		}
	}
	// What follows the end of the tar is read as well, for the checksum that
	// stands at the end of the gzip.
	if _, err := io.Copy(io.Discard, m); err != nil {
		return fmt.Errorf("unpacking: after the last entry: %w", err)
	}
	return nil
}

type unpacker struct {
	meter *meter
	tr    *tar.Reader
	to    sink
	// seen maps each name to whether it is a directory.
	seen map[string]bool
	last string
	n    int
}

// next handles one entry; more is false at the end of the archive.
func (u *unpacker) next() (more bool, err error) {
	header, err := u.tr.Next()
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("unpacking: after %q: %w", u.last, err)
	}
	u.last = shown(header.Name)
	if err := u.entry(header); err != nil {
		return false, fmt.Errorf("unpacking %q: %w", u.last, err)
	}
	return true, nil
}

// shown is the path as errors have it.
func shown(name string) string {
	if len(name) > maxShown {
		return name[:maxShown] + "…"
	}
	return name
}

func (u *unpacker) entry(header *tar.Header) error {
	if err := u.count(); err != nil {
		return err
	}
	switch header.Typeflag {
	case tar.TypeXGlobalHeader, tar.TypeSymlink:
		return nil
	case tar.TypeDir, tar.TypeReg:
	default:
		return fmt.Errorf("only files and directories may be in an archive, this is of type %q", header.Typeflag)
	}
	name, err := cleanName(header.Name)
	if err != nil {
		return err
	}
	isDir := header.Typeflag == tar.TypeDir
	if !isDir && name == "." {
		return errors.New("a file cannot be the root of the archive")
	}
	if err := u.claim(name, isDir); err != nil {
		return err
	}
	if isDir {
		if u.to.dir == nil {
			return nil
		}
		return u.to.dir(name)
	}
	if err := u.meter.announce(header.Size); err != nil {
		return err
	}
	return u.to.file(name, header.Mode&0o111 != 0, content{u.tr, u.meter})
}

func (u *unpacker) count() error {
	if u.n++; u.n > u.meter.limits.Files {
		return fmt.Errorf("%w: more than %d entries", ErrTooLarge, u.meter.limits.Files)
	}
	return nil
}

// cleanName is the entry's path inside the tree, or an error when it is not
// inside.
func cleanName(name string) (string, error) {
	if len(name) > maxPath {
		return "", errLongPath
	}
	if strings.ContainsRune(name, 0) {
		return "", errors.New("the path holds a NUL")
	}
	clean := path.Clean(name)
	if name == "" || path.IsAbs(name) || !filepath.IsLocal(filepath.FromSlash(clean)) || hasDotDot(name) {
		return "", errors.New("the path leads out of the archive")
	}
	return clean, checkPath(clean)
}

// checkPath refuses what is longer or deeper than paths in an archive may be.
func checkPath(clean string) error {
	if len(clean) > maxPath {
		return errLongPath
	}
	if strings.Count(clean, "/") >= MaxDepth {
		return fmt.Errorf("%w: the path has more than %d elements", ErrTooLarge, MaxDepth)
	}
	return nil
}

// hasDotDot finds any "..", also one that would be cleaned away: through a link
// it would lead elsewhere than it seems.
func hasDotDot(name string) bool {
	for _, part := range strings.Split(name, "/") {
		if part == ".." {
			return true
		}
	}
	return false
}

// claim takes the name and those of its parents, so that no path is two things.
func (u *unpacker) claim(name string, isDir bool) error {
	if wasDir, taken := u.seen[name]; taken && (!isDir || !wasDir) {
		return errors.New("the path is in the archive twice")
	}
	u.seen[name] = isDir
	for i := strings.LastIndexByte(name, '/'); i > 0; i = strings.LastIndexByte(name[:i], '/') {
		dir := name[:i]
		isDir, taken := u.seen[dir]
		if taken && !isDir {
			return fmt.Errorf("its parent %q is a file", shown(dir))
		}
		if taken {
			break
		}
		if err := u.count(); err != nil {
			return err
		}
		u.seen[dir] = true
	}
	return nil
}

// meter reads the unpacked stream and stops at the limits.
type meter struct {
	gz     *gzip.Reader
	packed *counter
	limits Limits
	read   int64 // bytes of the stream
	taken  int64 // bytes of the files in it
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.gz.Read(p)
	m.read += int64(n)
	if limitErr := m.check(m.read); limitErr != nil {
		return 0, limitErr
	}
	return n, err
}

// announce refuses a file that is too large before it is read. How well it is
// compressed shows when it is.
func (m *meter) announce(size int64) error {
	switch {
	case size < 0 || size > m.limits.Bytes:
		return fmt.Errorf("%w: it alone is larger than %d bytes", ErrTooLarge, m.limits.Bytes)
	case m.taken+size > m.limits.Bytes:
		return tooManyBytes(m.limits.Bytes)
	}
	return nil
}

// content is that of one file. A sparse file is larger than its share of the
// stream, so it is counted here as well.
type content struct {
	io.Reader
	meter *meter
}

func (c content) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.meter.taken += int64(n)
	if limitErr := c.meter.check(c.meter.taken); limitErr != nil {
		return 0, limitErr
	}
	return n, err
}

func (m *meter) check(unpacked int64) error { return m.limits.check(unpacked, m.packed.n) }

// check judges the size of an archive, or of what has been read of it.
func (l Limits) check(unpacked, packed int64) error {
	switch {
	case unpacked > l.Bytes:
		return tooManyBytes(l.Bytes)
	case unpacked > ratioFloor && unpacked/l.Ratio > packed:
		return fmt.Errorf("%w: it unpacks to more than %d times its size", ErrTooLarge, l.Ratio)
	}
	return nil
}

func tooManyBytes(limit int64) error {
	return fmt.Errorf("%w: it unpacks to more than %d bytes", ErrTooLarge, limit)
}

// counter counts what is read through it.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

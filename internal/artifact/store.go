package artifact

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-dev/headwater/api/meta"
)

const (
	// latestName is the link to the artifact of an object that was published
	// last; indexName is that of an index of a Helm repository.
	latestName = "latest.tar.gz"
	indexName  = "index.yaml"
	// maxNameLength is that of file systems.
	maxNameLength = 255
	// defaultRetentionTTL and defaultRetentionRecords are Flux's.
	defaultRetentionTTL     = time.Minute
	defaultRetentionRecords = 2
	// fullCheckInterval is how long a file that was read and found whole is
	// taken to be so, as long as nobody has touched it. It bounds for how long
	// a disk that lost bits by itself goes unnoticed.
	fullCheckInterval = 10 * time.Minute
	// settled is how old the last change of a file has to be: file systems
	// count in steps, and a second change within one step would not show.
	settled = 2 * time.Second
)

// Ref names the object whose artifacts are stored.
type Ref struct {
	Kind, Namespace, Name string
}

// path is where the object's files are, below the root of the store.
func (r Ref) path() (string, error) {
	for _, part := range []string{r.Kind, r.Namespace, r.Name} {
		if !isPlainName(part) {
			return "", fmt.Errorf("artifact of %s %s/%s: %q cannot be part of a path", r.Kind, r.Namespace, r.Name, part)
		}
	}
	return path.Join(strings.ToLower(r.Kind), r.Namespace, r.Name), nil
}

// isPlainName says whether s is one visible element of a path.
func isPlainName(s string) bool {
	return s != "" && len(s) <= maxNameLength && !strings.HasPrefix(s, ".") && !strings.ContainsAny(s, `/\`+"\x00")
}

// StoreOptions configure a Store.
type StoreOptions struct {
	// Dir is the root of the store; it belongs to this process alone.
	// --storage-path.
	Dir string
	// AdvertisedAddr is the host:port at which agents reach the server.
	// --storage-adv-addr.
	AdvertisedAddr string
	// RetentionTTL is for how long an artifact is kept after a newer one took
	// its place; one minute when zero. --artifact-retention-ttl.
	RetentionTTL time.Duration
	// RetentionRecords is how many artifacts of an object are kept at most,
	// the current one included; two when zero. --artifact-retention-records.
	RetentionRecords int
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// Store keeps the artifacts of sources on disk. It is safe for concurrent use,
// as long as no two goroutines publish or remove for the same object at once:
// the reconcile loop sees to that.
type Store struct {
	options StoreOptions
	root    *os.Root

	mu      sync.Mutex
	digests map[string]stamped
}

// stamped is the digest of a file, and which state of which file it is that of.
type stamped struct {
	digest string
	state  state
	// read is when the file was last read to its end and found to be so; zero
	// when its state may have changed since without a trace.
	read time.Time
}

// NewStore opens the store and sweeps what an earlier process left unfinished.
func NewStore(o StoreOptions) (*Store, error) {
	if o.Dir == "" || o.AdvertisedAddr == "" {
		return nil, errors.New("the artifact store needs a directory (--storage-path) and the address it is reached at (--storage-adv-addr)")
	}
	if o.RetentionTTL == 0 {
		o.RetentionTTL = defaultRetentionTTL
	}
	if o.RetentionRecords == 0 {
		o.RetentionRecords = defaultRetentionRecords
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := sweep(filepath.Join(o.Dir, tempDirName)); err != nil {
		return nil, fmt.Errorf("opening the artifact store: %w", err)
	}
	root, err := os.OpenRoot(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("opening the artifact store: %w", err)
	}
	return &Store{options: o, root: root, digests: map[string]stamped{}}, nil
}

// linkName is the name of the latest link beside a file.
func linkName(file string) string {
	if strings.HasSuffix(file, ".yaml") {
		return indexName
	}
	return latestName
}

func isLink(name string) bool { return name == latestName || name == indexName }

// LatestURL is where the newest artifact of the same object as the one at the
// path can always be fetched.
func (s *Store) LatestURL(artifactPath string) string {
	return s.URL(path.Join(path.Dir(artifactPath), linkName(artifactPath)))
}

// URL is where agents fetch the file at the artifact path.
func (s *Store) URL(artifactPath string) string {
	return "http://" + s.options.AdvertisedAddr + "/" + strings.TrimPrefix(artifactPath, "/")
}

// WorkDir makes a directory on the store's own disk for a fetch to work in. The
// caller calls done, which removes it.
func (s *Store) WorkDir() (dir string, done func(), err error) {
	return newTempDir(filepath.Join(s.options.Dir, tempDirName))
}

// Publish stores what write produces as the object's newest artifact: complete
// and on disk when it returns, or not there at all. A file of the same name is
// replaced. The artifact that was the newest until now stays for the retention
// time, counted from now.
func (s *Store) Publish(ctx context.Context, ref Ref, revision, file string, write func(io.Writer) error) (*meta.Artifact, error) {
	dir, err := ref.path()
	if err != nil {
		return nil, err
	}
	if !isPlainName(file) || isLink(file) {
		return nil, fmt.Errorf("artifact of %s: %q cannot be the name of a file", dir, file)
	}
	artifact := &meta.Artifact{
		Path:           path.Join(dir, file),
		URL:            s.URL(path.Join(dir, file)),
		Revision:       revision,
		LastUpdateTime: metav1.NewTime(s.options.Now()).Rfc3339Copy(),
	}
	if err := s.write(ctx, artifact, write); err != nil {
		return nil, fmt.Errorf("storing %s: %w", artifact.Path, err)
	}
	if err := s.link(dir, file); err != nil {
		return nil, fmt.Errorf("linking %s/%s: %w", dir, linkName(file), err)
	}
	return artifact, nil
}

// atMost takes so many bytes, which is as much as an agent downloads.
type atMost struct {
	w    io.Writer
	left int64
}

func (a *atMost) Write(p []byte) (int, error) {
	if a.left -= int64(len(p)); a.left < 0 {
		return 0, fmt.Errorf("%w: more than %d bytes as an artifact", ErrTooLarge, defaultArtifactBytes)
	}
	return a.w.Write(p)
}

// write makes the file and fills in the artifact's digest and size.
func (s *Store) write(ctx context.Context, artifact *meta.Artifact, write func(io.Writer) error) error {
	f, err := newTempFile(filepath.Join(s.options.Dir, tempDirName))
	if err != nil {
		return err
	}
	defer discard(f)
	h := sha256.New()
	// What compresses writes a few bytes at a time.
	buffered := bufio.NewWriterSize(&atMost{io.MultiWriter(f, h), defaultArtifactBytes}, copyBytes)
	if err := write(buffered); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	now := s.options.Now()
	if err := errors.Join(context.Cause(ctx), f.Sync(), os.Chtimes(f.Name(), now, now)); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	artifact.Size, artifact.Digest = &size, canonicalDigest(h)
	target := s.local(artifact.Path)
	if err := os.MkdirAll(filepath.Dir(target), dirMode); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), target); err != nil {
		return err
	}
	// After the rename, which counts as a change.
	stored, err := stateOf(f)
	if err != nil {
		return err
	}
	s.remember(artifact.Path, stamped{digest: artifact.Digest, state: stored})
	return syncDir(filepath.Dir(target))
}

// Link sees to it that the latest link beside the artifact leads to it.
func (s *Store) Link(artifact *meta.Artifact) error {
	dir, file, err := splitPath(artifact.Path)
	if err != nil {
		return err
	}
	return s.link(dir, file)
}

// link points the latest link of the directory at the file. The artifact that
// it pointed at gets the present as its time, so that its retention starts when
// it was replaced, however old it is: agents may be about to fetch it.
func (s *Store) link(dir, file string) error {
	link := s.local(path.Join(dir, linkName(file)))
	old, err := os.Readlink(link)
	if err == nil && old == file {
		return nil
	}
	if err == nil && isPlainName(old) {
		now := s.options.Now()
		err = os.Chtimes(filepath.Join(filepath.Dir(link), old), now, now)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	work, done, err := s.WorkDir()
	if err != nil {
		return err
	}
	defer done()
	fresh := filepath.Join(work, linkName(file))
	if err := os.Symlink(file, fresh); err != nil {
		return err
	}
	return os.Rename(fresh, link)
}

// Open opens the artifact's file after it has read and verified it; errors are
// those of Verify, but a file that is not what the digest names stays: it may be a newer
// one that the caller has not heard of. The caller closes it.
func (s *Store) Open(artifact *meta.Artifact) (*os.File, error) {
	if _, err := s.verify(artifact, 0); err != nil {
		return nil, err
	}
	f, err := s.root.Open(filepath.FromSlash(artifact.Path))
	if err != nil {
		return nil, fmt.Errorf("artifact %s: %w", artifact.Path, err)
	}
	return f, nil
}

// Verify says whether the artifact's file is there and is what its digest
// names. The error wraps ErrNotFound or ErrDigest; a damaged file is removed,
// so that it is not served. A file that nobody has touched since it was read is
// read again every ten minutes only.
func (s *Store) Verify(artifact *meta.Artifact) error {
	other, err := s.verify(artifact, fullCheckInterval)
	if other {
		err = errors.Join(err, s.root.Remove(filepath.FromSlash(artifact.Path)))
		s.forget(artifact.Path)
	}
	return err
}

// verify trusts what was read no longer ago than trusted. It says whether the file is
// there, and another one than the artifact's.
func (s *Store) verify(artifact *meta.Artifact, trusted time.Duration) (other bool, err error) {
	want, err := parseDigest(artifact.Digest)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrDigest, err)
	}
	if _, _, err := splitPath(artifact.Path); err != nil {
		return false, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	f, err := s.root.Open(filepath.FromSlash(artifact.Path))
	if errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("artifact %s: %w", artifact.Path, ErrNotFound)
	}
	if err != nil {
		return false, fmt.Errorf("artifact %s: %w", artifact.Path, err)
	}
	defer func() { _ = f.Close() }()
	if err := s.check(artifact.Path, f, want, trusted); err != nil {
		return errors.Is(err, ErrDigest), fmt.Errorf("artifact %s: %w", artifact.Path, err)
	}
	return false, nil
}

// check reads the file, unless that was done within the time and the file is in
// the same state still.
func (s *Store) check(artifactPath string, f *os.File, want digest, trusted time.Duration) error {
	// Before it is read: what changes meanwhile is another state.
	found, err := stateOf(f)
	if err != nil {
		return err
	}
	now := s.options.Now()
	known, ok := s.known(artifactPath)
	if ok && known.state == found && known.digest == want.String() && now.Sub(known.read) < trusted {
		return nil
	}
	if err := want.verify(f); err != nil {
		return err
	}
	checked := stamped{digest: want.String(), state: found}
	if now.Sub(found.changedAt()) > settled {
		checked.read = now
	}
	s.remember(artifactPath, checked)
	return nil
}

// Remove deletes everything that is stored for the object.
func (s *Store) Remove(ref Ref) error {
	dir, err := ref.path()
	if err != nil {
		return err
	}
	if err := os.RemoveAll(s.local(dir)); err != nil {
		return fmt.Errorf("removing the artifacts below %s: %w", dir, err)
	}
	s.forget(dir)
	return nil
}

func (s *Store) local(artifactPath string) string {
	return filepath.Join(s.options.Dir, filepath.FromSlash(artifactPath))
}

// digest is that of an open file at the path, computed once for as long as it
// stays in the same state.
func (s *Store) digest(artifactPath string, f *os.File) (string, error) {
	found, err := stateOf(f)
	if err != nil {
		return "", err
	}
	if known, ok := s.known(artifactPath); ok && known.state == found {
		return known.digest, nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, found.size)); err != nil {
		return "", err
	}
	s.remember(artifactPath, stamped{digest: canonicalDigest(h), state: found})
	return canonicalDigest(h), nil
}

func (s *Store) known(artifactPath string) (stamped, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.digests[artifactPath]
	return known, ok
}

func (s *Store) remember(artifactPath string, d stamped) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.digests[artifactPath] = d
}

// forget drops the digests of the file, or of all files below the directory.
func (s *Store) forget(artifactPath string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for known := range s.digests {
		if known == artifactPath || strings.HasPrefix(known, artifactPath+"/") {
			delete(s.digests, known)
		}
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

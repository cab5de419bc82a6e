package artifact

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// Temporary files and directories are locked with flock for as long as they
// are in use. The kernel drops the lock when the process dies, however it
// dies, so a sweep can tell what a killed process left from what a living one
// is writing, with no clock and no process id.

const (
	tempDirName = ".tmp"
	dirMode     = 0o750
)

// newTempFile makes a locked temporary file in dir. The lock ends when the
// file is closed.
func newTempFile(dir string) (*os.File, error) {
	f, err := makeLocked(func() (*os.File, error) { return os.CreateTemp(dir, "file-*") })
	if err != nil {
		return nil, fmt.Errorf("making a temporary file: %w", err)
	}
	return f, nil
}

// makeLocked makes a file or a directory, and again when the sweep of another
// process has taken it for a leftover before it was locked.
func makeLocked(create func() (*os.File, error)) (f *os.File, err error) {
	const attempts = 100
	for range attempts {
		f, err = create()
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, err
		}
		if err = lock(f); err == nil {
			err = isThere(f)
		}
		if err == nil {
			return f, nil
		}
		discard(f)
	}
	return nil, err
}

// isThere is an error when the file is not in its directory any more.
func isThere(f *os.File) error {
	open, err := f.Stat()
	if err != nil {
		return err
	}
	there, err := os.Lstat(f.Name())
	if err == nil && !os.SameFile(open, there) {
		err = fmt.Errorf("%s is another file", f.Name())
	}
	return err
}

// discard closes and removes a temporary file; after a rename there is nothing
// left to remove.
func discard(f *os.File) {
	_ = f.Close()
	_ = os.Remove(f.Name())
}

// newTempDir makes a locked temporary directory in dir. The caller calls done
// when it is no longer needed.
func newTempDir(dir string) (path string, done func(), err error) {
	held, err := makeLocked(func() (*os.File, error) {
		path, err := os.MkdirTemp(dir, "dir-*")
		if err != nil {
			return nil, err
		}
		return os.Open(path)
	})
	if err != nil {
		return "", nil, fmt.Errorf("making a temporary directory: %w", err)
	}
	return held.Name(), func() {
		_ = os.RemoveAll(held.Name())
		_ = held.Close()
	}, nil
}

// sweep makes dir if it is absent and removes from it what no living process
// has locked. A leftover that cannot be removed costs its space alone: it is
// logged, and the next start tries again.
func sweep(dir string) error {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return fmt.Errorf("making the directory for temporary files: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("listing temporary files: %w", err)
	}
	for _, e := range entries {
		if err := sweepOne(filepath.Join(dir, e.Name())); err != nil {
			log.Log.Error(err, "leftover not removed", "path", filepath.Join(dir, e.Name()))
		}
	}
	return nil
}

func sweepOne(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return nil // gone already, or a dangling link: nothing to win
	}
	defer func() { _ = f.Close() }()
	if lock(f) != nil {
		return nil // somebody is writing it
	}
	return os.RemoveAll(path)
}

func lock(f *os.File) error {
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}

package testenv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	directoryPattern = "headwater-testenv-*"
	directoryLock    = "lock"
)

// directory is a temporary directory that belongs to this process while it
// lives: it holds a lock in it. A process that was killed cannot remove its
// directories, but it loses its locks, so that the next one may.
type directory struct {
	path string
	lock *os.File
}

// newDirectory makes a directory and sweeps those that dead processes left.
func newDirectory() (*directory, error) {
	sweepDirectories()
	path, err := os.MkdirTemp("", directoryPattern)
	if err != nil {
		return nil, fmt.Errorf("making a directory for the test environment: %w", err)
	}
	lock, err := lockIn(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), os.RemoveAll(path))
	}
	return &directory{path: path, lock: lock}, nil
}

// lockIn makes the lock file of a directory. It gets its name only when it is
// locked: a sweep of another process never sees it free.
func lockIn(path string) (*os.File, error) {
	lock, err := os.CreateTemp(path, "new-lock-*")
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	if err := os.Rename(lock.Name(), filepath.Join(path, directoryLock)); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

func (d *directory) file(elem ...string) string {
	return filepath.Join(append([]string{d.path}, elem...)...)
}

func (d *directory) remove() error {
	return errors.Join(os.RemoveAll(d.path), d.lock.Close())
}

// sweepDirectories removes the directories whose owner is gone. What it cannot
// remove (another user's) it leaves.
func sweepDirectories() {
	locks, err := filepath.Glob(filepath.Join(os.TempDir(), directoryPattern, directoryLock))
	if err != nil {
		return
	}
	for _, name := range locks {
		lock, err := os.Open(name)
		if err != nil {
			continue
		}
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = os.RemoveAll(filepath.Dir(name))
		}
		_ = lock.Close()
	}
}

package artifact

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// state tells a file, and each state that it has been in, from all others.
// Whatever is done to a file moves the time of its inode's last change, and
// nobody but the kernel sets that: a copy that keeps the other times shows too.
type state struct {
	device, inode uint64
	size          int64
	changed       unix.Timespec
}

func stateOf(f *os.File) (state, error) {
	var found unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &found); err != nil {
		return state{}, fmt.Errorf("looking at %s: %w", f.Name(), err)
	}
	return state{device: uint64(found.Dev), inode: found.Ino, size: found.Size, changed: found.Ctim}, nil
}

func (s state) changedAt() time.Time { return time.Unix(s.changed.Unix()) }

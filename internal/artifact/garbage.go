package artifact

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"
)

// file is one entry of a listing that garbage or evictions are chosen from.
type file struct {
	name string
	size int64
	// time is when the file was published or replaced (store), or last used
	// (cache).
	time time.Time
}

// GC removes artifacts of the object that nobody needs any longer and returns
// how many: the current one stays; of the others those older than the retention
// time go, then the oldest until no more than the retained number are left.
// currentPath is the path of the current artifact, empty when there is none.
func (s *Store) GC(ref Ref, currentPath string) (removed int, err error) {
	dir, err := ref.path()
	if err != nil {
		return 0, err
	}
	files, err := list(s.local(dir))
	if err != nil {
		return 0, fmt.Errorf("collecting garbage below %s: %w", dir, err)
	}
	retention := retention{ttl: s.options.RetentionTTL, records: s.options.RetentionRecords}
	for _, name := range retention.garbage(files, path.Base(currentPath), s.options.Now()) {
		rmErr := os.Remove(filepath.Join(s.local(dir), name))
		if rmErr != nil && !errors.Is(rmErr, fs.ErrNotExist) {
			err = errors.Join(err, rmErr)
			continue
		}
		s.forget(path.Join(dir, name))
		removed++
	}
	if err != nil {
		return removed, fmt.Errorf("collecting garbage below %s: %w", dir, err)
	}
	return removed, nil
}

// list returns the regular files of a directory; none when it does not exist.
func list(dir string) ([]file, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var files []file
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		files = append(files, file{name: e.Name(), size: info.Size(), time: info.ModTime()})
	}
	return files, nil
}

// retention says what is kept.
type retention struct {
	ttl     time.Duration
	records int
}

// garbage chooses the files to remove, oldest first. It is pure.
func (r retention) garbage(files []file, current string, now time.Time) []string {
	others := slices.DeleteFunc(slices.Clone(files), func(f file) bool { return f.name == current })
	slices.SortFunc(others, oldestFirst)
	kept := r.records
	if len(others) < len(files) {
		kept--
	}
	excess := len(others) - max(kept, 0)
	var names []string
	for i, f := range others {
		if i < excess || now.Sub(f.time) > r.ttl {
			names = append(names, f.name)
		}
	}
	return names
}

// evictions chooses the files to remove so that the rest fits into budget bytes,
// least recently used first; keep stays whatever its size. It is pure.
func evictions(files []file, keep string, budget int64) []string {
	var total int64
	for _, f := range files {
		total += f.size
	}
	files = slices.Clone(files)
	slices.SortFunc(files, oldestFirst)
	var names []string
	for _, f := range files {
		if total <= budget {
			break
		}
		if f.name == keep {
			continue
		}
		total -= f.size
		names = append(names, f.name)
	}
	return names
}

func oldestFirst(a, b file) int {
	return cmp.Or(a.time.Compare(b.time), cmp.Compare(a.name, b.name))
}

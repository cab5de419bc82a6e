package render

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// limits bound what one build may ask for. A build that reaches one is a bomb:
// overlays that multiply their bases, or aliases that multiply their anchors.
type limits struct {
	// reads and bytes of files, each counted as often as it is read, and bytes of
	// texts in them that are read as YAML in turn.
	reads, bytes int
	// aliases is how many values the aliases of YAML may stand for, and values how many
	// this process has parsed.
	aliases, values int
	// steps that kustomize may have to do, of about a microsecond: at each level of
	// the overlays it holds each object against all others, and any text of a
	// kustomization may be written into all of them.
	steps int
}

// defaultLimits are ten times what the largest real repositories need.
func defaultLimits() limits {
	return limits{reads: 20_000, bytes: 256 << 20, aliases: 200_000, steps: 400_000_000}
}

// maxFileBytes is the largest file that a build reads. Parsed YAML takes many
// times its size in memory, and nobody's file may take all of the agent's.
const maxFileBytes = 16 << 20

var errReadOnly = errors.New("the files of an artifact are read-only")

// tree is the read-only file system of one build: the files of an artifact,
// with the entry point's kustomization file laid over them. Its root is the
// artifact's, and there is nothing outside. It refuses what a build must not do,
// and remembers why, since kustomize drops some errors. It is for one goroutine.
type tree struct {
	ctx   context.Context
	files map[string][]byte
	dirs  map[string][]string
	// larger are the sizes of files that are not read: no build may.
	larger map[string]int64
	// over are files in place of those of the artifact.
	over map[string][]byte
	// mounted are files of other places, and fetched what they were fetched for;
	// remotes says that the build may name such places.
	mounted map[string][]byte
	fetched map[string]remote
	remotes bool

	most, used limits
	refusal    error

	// keys open encrypted files that generators and patches read; may be nil. Those
	// that were opened before are here, and those that have to be.
	keys    Keys
	opened  map[string][]byte
	missing map[string]sealedFile
	// sealed are the files that kustomize puts into objects, found so far, by path,
	// and the names that say their formats.
	sealed map[string]string
	// configs are the files that say what is generated, found so far.
	configs map[string]bool
	// counts says that objects are counted: there are so many, in so many levels of
	// overlays, with so many bytes of kustomizations. levels are those of directories,
	// from zero.
	counts                bool
	objects, depth, texts int
	levels                map[string]int
	// long says that the build may take long.
	long bool
}

var _ filesys.FileSystem = (*tree)(nil)

// newTree makes a file system of an artifact's files, given by slash-separated
// paths. The files are shared, not copied.
func newTree(ctx context.Context, files map[string][]byte, most limits) *tree {
	t := &tree{ctx: ctx, files: files, dirs: map[string][]string{"": nil}, over: map[string][]byte{}, mounted: map[string][]byte{}, missing: map[string]sealedFile{}, sealed: map[string]string{}, configs: map[string]bool{}, levels: map[string]int{}, most: most}
	for name := range files {
		t.link(name)
	}
	t.sort()
	return t
}

func (t *tree) sort() {
	for dir := range t.dirs {
		slices.Sort(t.dirs[dir])
	}
}

// leave makes files known that are not read for their sizes.
func (t *tree) leave(larger map[string]int64) {
	t.larger = larger
	for name := range larger {
		t.link(name)
	}
	if len(larger) > 0 {
		t.sort()
	}
}

// link makes the directories above a file known.
func (t *tree) link(name string) {
	for name != "" {
		dir, base := splitPath(name)
		_, known := t.dirs[dir]
		t.dirs[dir] = append(t.dirs[dir], base)
		if known && dir != "" {
			return
		}
		name = dir
	}
}

func splitPath(name string) (dir, base string) {
	dir, base = path.Split(name)
	return strings.TrimSuffix(dir, "/"), base
}

// clean is the path below the root, empty for the root itself. A path that
// leads out of the root ends at it.
func clean(name string) string {
	return strings.TrimPrefix(path.Clean("/"+name), "/")
}

// refuse notes the first reason why the build must not go on.
func (t *tree) refuse(err error) error {
	if t.refusal == nil {
		t.refusal = err
	}
	return err
}

// ReadFile returns the content of a file that the build may use.
func (t *tree) ReadFile(name string) ([]byte, error) {
	if t.refusal != nil {
		return nil, t.refusal
	}
	if err := t.ctx.Err(); err != nil {
		return nil, t.refuse(fmt.Errorf("the build was given up: %w", err))
	}
	name = clean(name)
	if size, ok := t.larger[name]; ok {
		return nil, t.refuse(tooLarge(name, size))
	}
	content, ok := t.content(name)
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	if len(content) > maxFileBytes {
		return nil, t.refuse(tooLarge(name, int64(len(content))))
	}
	t.used.reads++
	t.used.bytes += len(content)
	if t.used.reads > t.most.reads || t.used.bytes > t.most.bytes {
		return nil, t.refuse(fmt.Errorf("the build reads more than %d files or %d bytes: do overlays multiply their bases?", t.most.reads, t.most.bytes))
	}
	content = t.unsealed(name, content)
	dir, base := splitPath(name)
	if isKustomizationFile(base) {
		if err := t.limitSettings(name, content); err != nil {
			return nil, t.refuse(err)
		}
		err := t.checkKustomization(dir, content)
		if err != nil {
			return nil, t.refuse(fmt.Errorf("%s: %w", name, err))
		}
		if content, err = t.brought(dir, content); err != nil {
			return nil, t.refuse(fmt.Errorf("%s: %w", name, err))
		}
	} else if err := t.limitAliases(name, content); err != nil {
		return nil, t.refuse(err)
	}
	if err := t.count(name, content); err != nil {
		return nil, t.refuse(err)
	}
	return content, nil
}

func tooLarge(name string, size int64) error {
	return fmt.Errorf("%s: the file has %d bytes, and a build reads files of up to %d: split it", name, size, maxFileBytes)
}

// unsealed is the content of a file, decrypted where kustomize would else put
// ciphertext into an object. What nobody has opened yet is noted as missing.
func (t *tree) unsealed(name string, content []byte) []byte {
	as, used := t.sealed[name]
	if t.keys == nil || !used || t.configs[name] {
		return content
	}
	if opened, ok := t.opened[name]; ok {
		return opened
	}
	if t.keys.Sealed(as, content) {
		t.missing[name] = sealedFile{as, content}
	}
	return content
}

// again lets another build begin at the same entry point.
func (t *tree) again() {
	t.used, t.refusal, t.missing = limits{}, nil, map[string]sealedFile{}
	t.objects, t.depth, t.texts, t.levels = 0, 0, 0, map[string]int{}
}

func (t *tree) content(name string) ([]byte, bool) {
	if content, ok := t.over[name]; ok {
		return content, true
	}
	if content, ok := t.mounted[name]; ok {
		return content, true
	}
	content, ok := t.files[name]
	return content, ok
}

func isKustomizationFile(base string) bool {
	return slices.Contains(konfig.RecognizedKustomizationFileNames(), base)
}

// kustomizationFile is the path of the directory's kustomization file, empty
// when it has none.
func (t *tree) kustomizationFile(dir string) string {
	for _, base := range konfig.RecognizedKustomizationFileNames() {
		if name := path.Join(dir, base); t.isFile(name) {
			return name
		}
	}
	return ""
}

func (t *tree) isFile(name string) bool {
	_, ok := t.content(name)
	_, larger := t.larger[name]
	return ok || larger
}

func (t *tree) isDir(name string) bool {
	_, ok := t.dirs[name]
	return ok
}

// CleanedAbs divides a path into its directory and its file.
func (t *tree) CleanedAbs(name string) (filesys.ConfirmedDir, string, error) {
	name = clean(name)
	switch {
	case t.isDir(name):
		return filesys.ConfirmedDir("/" + name), "", nil
	case t.isFile(name):
		dir, base := splitPath(name)
		return filesys.ConfirmedDir("/" + dir), base, nil
	}
	return "", "", &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// Exists says whether there is a file or directory.
func (t *tree) Exists(name string) bool { return t.isDir(clean(name)) || t.isFile(clean(name)) }

// IsDir says whether there is a directory.
func (t *tree) IsDir(name string) bool { return t.isDir(clean(name)) }

// ReadDir returns the sorted names in a directory.
func (t *tree) ReadDir(name string) ([]string, error) {
	names, ok := t.dirs[clean(name)]
	if !ok {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	return slices.Clone(names), nil
}

// Glob is no part of what a build needs of a file system, as are all that
// follow.
func (t *tree) Glob(string) ([]string, error) { return nil, errors.ErrUnsupported }

// Walk is not supported.
func (t *tree) Walk(string, filepath.WalkFunc) error { return errors.ErrUnsupported }

// Open is not supported.
func (t *tree) Open(string) (filesys.File, error) { return nil, errors.ErrUnsupported }

// Create fails.
func (t *tree) Create(string) (filesys.File, error) { return nil, errReadOnly }

// Mkdir fails.
func (t *tree) Mkdir(string) error { return errReadOnly }

// MkdirAll fails.
func (t *tree) MkdirAll(string) error { return errReadOnly }

// RemoveAll fails.
func (t *tree) RemoveAll(string) error { return errReadOnly }

// WriteFile fails.
func (t *tree) WriteFile(string, []byte) error { return errReadOnly }

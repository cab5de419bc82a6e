package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

const (
	dirMode  = 0o700
	fileMode = 0o600
	execMode = 0o700
)

// checkOut writes the files of the commit into dir and returns its message.
func checkOut(ctx context.Context, objects storer.EncodedObjectStorer, hash plumbing.Hash, dir string) (message string, err error) {
	commit, err := object.GetCommit(objects, hash)
	if err != nil {
		return "", fmt.Errorf("reading the commit: %w", err)
	}
	tree, err := commit.Tree()
	if err != nil {
		return "", fmt.Errorf("reading the commit's tree: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	walker := object.NewTreeWalker(tree, true, nil)
	defer walker.Close()
	for {
		name, entry, err := walker.Next()
		if errors.Is(err, io.EOF) {
			return commit.Message, nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = writeEntry(root, objects, name, entry)
		}
		if err != nil {
			return "", fmt.Errorf("writing %q: %w", name, err)
		}
	}
}

// writeEntry writes a file. Links and submodules are not part of an artifact,
// and directories come with their files.
func writeEntry(root *os.Root, objects storer.EncodedObjectStorer, name string, entry object.TreeEntry) error {
	mode := os.FileMode(fileMode)
	switch entry.Mode {
	case filemode.Regular, filemode.Deprecated:
	case filemode.Executable:
		mode = execMode
	default:
		return nil
	}
	blob, err := object.GetBlob(objects, entry.Hash)
	if err != nil {
		return err
	}
	content, err := blob.Reader()
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	local := filepath.FromSlash(name)
	if err := root.MkdirAll(filepath.Dir(local), dirMode); err != nil {
		return err
	}
	f, err := root.OpenFile(local, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}

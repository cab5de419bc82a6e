package testenv

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"time"
)

const defaultBranch = "main"

// Repository is a bare Git repository of a GitServer, seen on one branch. Its
// methods may be called from several goroutines; commits to one branch at a
// time.
type Repository struct {
	// URL is where to clone it from, without credentials.
	URL string
	// Dir is where it lies on disk.
	Dir string

	server *GitServer
	name   string
	branch string
}

// On returns the same repository seen on another branch. A branch that does
// not exist is made by its first commit, which follows the head of main.
func (r *Repository) On(branch string) *Repository {
	other := *r
	other.branch = branch
	return &other
}

// Protect asks for these credentials (HTTP basic authentication) from now on;
// empty ones make the repository public again.
func (r *Repository) Protect(username, password string) {
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	state := r.server.repositories[r.name]
	state.username, state.password = username, password
}

// Requests returns what was asked of the repository since it was made.
func (r *Repository) Requests() GitRequests {
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	return r.server.repositories[r.name].requests
}

// Commit writes files, given as path → content, and returns the new commit.
// Files that it does not name stay as they are.
func (r *Repository) Commit(ctx context.Context, message string, files map[string]string) (string, error) {
	var changes bytes.Buffer
	for _, path := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&changes, "M 100644 inline %s\ndata %d\n%s\n", path, len(files[path]), files[path])
	}
	return r.commit(ctx, message, changes.String())
}

// Remove removes files or whole directories and returns the new commit.
func (r *Repository) Remove(ctx context.Context, message string, paths ...string) (string, error) {
	var changes bytes.Buffer
	for _, path := range paths {
		fmt.Fprintf(&changes, "D %s\n", path)
	}
	return r.commit(ctx, message, changes.String())
}

// Head returns the branch's commit; empty when there is none.
func (r *Repository) Head(ctx context.Context) (string, error) {
	return r.head(ctx, r.branch)
}

// Messages are the subjects of the branch's commits after one, the newest first.
func (r *Repository) Messages(ctx context.Context, after string) ([]string, error) {
	said, err := r.git(ctx, nil, "-C", r.Dir, "log", "--format=%s", after+".."+r.branch)
	if err != nil || said == "" {
		return nil, err
	}
	return strings.Split(said, "\n"), nil
}

// commit gives git one commit as a fast-import stream: no working tree, no
// index, one process.
func (r *Repository) commit(ctx context.Context, message, changes string) (string, error) {
	parent, err := r.Head(ctx)
	if err == nil && parent == "" {
		parent, err = r.head(ctx, defaultBranch)
	}
	if err != nil {
		return "", err
	}
	var stream bytes.Buffer
	fmt.Fprintf(&stream, "commit refs/heads/%s\n", r.branch)
	fmt.Fprintf(&stream, "committer Testenv <testenv@headwater.invalid> %d +0000\n", time.Now().Unix())
	fmt.Fprintf(&stream, "data %d\n%s\n", len(message), message)
	if parent != "" {
		fmt.Fprintf(&stream, "from %s\n", parent)
	}
	stream.WriteString(changes)
	if _, err := r.git(ctx, &stream, "-C", r.Dir, "fast-import", "--quiet"); err != nil {
		return "", err
	}
	return r.Head(ctx)
}

func (r *Repository) head(ctx context.Context, branch string) (string, error) {
	return r.git(ctx, nil, "-C", r.Dir, "for-each-ref", "--format=%(objectname)", "refs/heads/"+branch)
}

// git runs git and returns what it printed.
func (r *Repository) git(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	command := exec.CommandContext(ctx, r.server.git, args...)
	command.Env = gitEnvironment()
	command.Stdin = stdin
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("running git %s for repository %s: %w: %s",
			strings.Join(args, " "), r.name, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSpace(string(output)), nil
}

// peeked is a request body whose start can be read twice.
type peeked struct {
	*bufio.Reader
	io.Closer
}

func newPeeked(body io.ReadCloser) peeked {
	return peeked{Reader: bufio.NewReader(body), Closer: body}
}

// start returns the first bytes, as many as name the command of a request.
func (p peeked) start() []byte {
	const enough = 64
	start, _ := p.Peek(enough) // shorter bodies end with an error, and are whole
	return start
}

package testenv

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// readHeaderTimeout of the servers here. Their clients are on loopback.
const readHeaderTimeout = time.Minute

// GitServer serves bare repositories over smart HTTP on loopback, by git's own
// http-backend: real negotiation and real packfiles. Its methods may be called
// from several goroutines.
type GitServer struct {
	// URL is the address under which the repositories are.
	URL string

	dir     *directory
	git     string
	server  *http.Server
	backend http.Handler

	mu           sync.Mutex
	repositories map[string]*repositoryState
}

// repositoryState is what the server knows of a repository besides its files.
type repositoryState struct {
	username, password string // none asked for when both are empty
	requests           GitRequests
}

// GitRequests counts what was asked of a repository.
type GitRequests struct {
	// InfoRefs counts requests for the references (info/refs).
	InfoRefs int
	// UploadPack counts requests for objects: clones and fetches. Protocol 2
	// lists references by the same URL; that is not counted here.
	UploadPack int
	// Denied counts requests of either kind with wrong or missing credentials.
	Denied int
}

// StartGit starts a Git server without repositories. It needs git on the PATH.
func StartGit(ctx context.Context) (*GitServer, error) {
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, fmt.Errorf("starting the Git server: %w: install git", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting the Git server: %w", err)
	}
	dir, err := newDirectory()
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	s := &GitServer{
		URL:          "http://" + listener.Addr().String(),
		dir:          dir,
		git:          git,
		repositories: map[string]*repositoryState{},
	}
	s.backend = &cgi.Handler{
		Path:   git,
		Args:   []string{"http-backend"},
		Env:    append(gitEnvironment(), "GIT_PROJECT_ROOT="+dir.path, "GIT_HTTP_EXPORT_ALL=1"),
		Stderr: io.Discard, // what goes wrong is in the answers
	}
	s.server = &http.Server{Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: readHeaderTimeout}
	go func() { _ = s.server.Serve(listener) }() // ends with Stop
	return s, nil
}

// Stop ends the server and removes the repositories.
func (s *GitServer) Stop() {
	_ = s.server.Close()
	_ = s.dir.remove() // or swept by the next start
}

// serve counts a request and asks for credentials before git sees it.
func (s *GitServer) serve(w http.ResponseWriter, r *http.Request) {
	name, rest, found := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), ".git/")
	fetches := false
	if r.Method == http.MethodPost && rest == "git-upload-pack" {
		body := newPeeked(r.Body)
		r.Body = body
		fetches = !bytes.Contains(body.start(), []byte("command=ls-refs"))
	}
	username, password, _ := r.BasicAuth()
	s.mu.Lock()
	repository := s.repositories[name]
	known := found && repository != nil
	allowed := known && repository.admits(username, password)
	if known {
		repository.requests.count(allowed, rest == "info/refs", fetches)
	}
	s.mu.Unlock()
	switch {
	case !known:
		http.NotFound(w, r)
	case !allowed:
		w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
		http.Error(w, "credentials required", http.StatusUnauthorized)
	default:
		s.backend.ServeHTTP(w, r)
	}
}

func (r *repositoryState) admits(username, password string) bool {
	return subtle.ConstantTimeCompare([]byte(r.username+"\x00"+r.password), []byte(username+"\x00"+password)) == 1 ||
		r.username == "" && r.password == ""
}

func (n *GitRequests) count(allowed, lists, fetches bool) {
	switch {
	case !allowed:
		n.Denied++
	case lists:
		n.InfoRefs++
	case fetches:
		n.UploadPack++
	}
}

// Repository makes an empty repository whose first branch is main. People may
// push to it.
func (s *GitServer) Repository(ctx context.Context, name string) (*Repository, error) {
	r := &Repository{
		URL:    s.URL + "/" + name + ".git",
		Dir:    filepath.Join(s.dir.path, name+".git"),
		server: s,
		name:   name,
		branch: defaultBranch,
	}
	if _, err := r.git(ctx, nil, "init", "--quiet", "--bare", "--initial-branch="+defaultBranch, r.Dir); err != nil {
		return nil, err
	}
	if _, err := r.git(ctx, nil, "-C", r.Dir, "config", "http.receivepack", "true"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.repositories[name] = &repositoryState{}
	return r, nil
}

// gitEnvironment keeps the user's and the machine's configuration out.
func gitEnvironment() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=/nonexistent",
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_GLOBAL=" + os.DevNull,
	}
}

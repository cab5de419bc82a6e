package artifact

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	// sendTimeout bounds one download, so that a reader that stands still
	// holds no connection for ever.
	sendTimeout = 15 * time.Minute
	// stopTimeout is how long downloads in flight may last when the server
	// stops.
	stopTimeout = 10 * time.Second
)

// Server hands out the artifacts of a store over plain HTTP. It runs on the
// leader alone: only the leader's store is filled.
type Server struct {
	// Store holds the artifacts.
	Store *Store
	// Addr to listen on. --storage-addr.
	Addr string

	// handler is the store when nil; tls is plain HTTP when nil; flag names Addr
	// in errors.
	handler http.Handler
	tls     *tls.Config
	flag    string
}

// NeedLeaderElection is true: see Server.
func (*Server) NeedLeaderElection() bool { return true }

// AddToManager lets the manager run the server.
func (s *Server) AddToManager(mgr manager.Manager) error { return mgr.Add(s) }

// Start serves until the context ends.
func (s *Server) Start(ctx context.Context) error {
	if s.handler == nil {
		s.handler, s.flag = s.Store, "--storage-addr"
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.Addr)
	if err != nil {
		return fmt.Errorf("artifact server (%s): %w", s.flag, err)
	}
	log.FromContext(ctx).Info("artifact server started", "addr", listener.Addr().String(), "tls", s.tls != nil)
	if s.tls != nil {
		listener = tls.NewListener(listener, s.tls)
	}
	server := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       headerTimeout,
		WriteTimeout:      sendTimeout,
		IdleTimeout:       idleTimeout,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		stopped <- server.Shutdown(stop)
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("artifact server (%s): %w", s.flag, err)
	}
	return <-stopped
}

// ServeHTTP answers GET and HEAD for artifacts and their latest links, and with
// an empty 200 for the root, which is what a readiness probe asks for. Nothing
// else of the directory can be reached or listed.
func (s *Store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	if r.URL.Path == "/" {
		w.WriteHeader(http.StatusOK)
		return
	}
	name := strings.TrimPrefix(r.URL.Path, "/")
	f, name, err := s.open(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		http.NotFound(w, r)
		return
	case err != nil:
		log.FromContext(r.Context()).Error(err, "artifact not readable", "path", name)
		http.Error(w, "the artifact cannot be read", http.StatusInternalServerError)
		return
	}
	defer func() { _ = f.Close() }()
	s.serve(w, r, f, name)
}

func (s *Store) serve(w http.ResponseWriter, r *http.Request, f *os.File, name string) {
	digest, err := s.digest(name, f)
	if err != nil {
		log.FromContext(r.Context()).Error(err, "artifact not readable", "path", name)
		http.Error(w, "the artifact cannot be read", http.StatusInternalServerError)
		return
	}
	header := w.Header()
	header.Set("ETag", `"`+digest+`"`)
	header.Set("Content-Type", contentType(name))
	header.Set("X-Content-Type-Options", "nosniff")
	// Not for caches between here and an agent, which would hand it to anybody; and
	// a path may be published again with other content.
	header.Set("Cache-Control", "private, no-cache")
	// No modification time: the ETag says all, and a replaced artifact's time
	// is moved for its retention.
	http.ServeContent(w, r, "", time.Time{}, f)
}

func contentType(name string) string {
	if strings.HasSuffix(name, ".yaml") {
		return "application/yaml"
	}
	return "application/gzip"
}

// open opens the file at a path as asked for, and returns the path that it
// really has. Only the latest link may be a link, and only to a file beside it.
func (s *Store) open(name string) (*os.File, string, error) {
	dir, base, err := splitPath(name)
	if err != nil {
		return nil, name, fs.ErrNotExist
	}
	if isLink(base) {
		base, err = s.root.Readlink(filepath.FromSlash(name))
		if err != nil || !isPlainName(base) || isLink(base) {
			return nil, name, fs.ErrNotExist
		}
		name = path.Join(dir, base)
	}
	info, err := s.root.Lstat(filepath.FromSlash(name))
	if err != nil {
		return nil, name, err
	}
	if !info.Mode().IsRegular() {
		return nil, name, fs.ErrNotExist
	}
	f, err := s.root.Open(filepath.FromSlash(name))
	return f, name, err
}

// splitPath takes the path of an artifact apart and refuses any other: it has
// four visible elements, kind, namespace, name and file.
func splitPath(name string) (dir, base string, err error) {
	parts := strings.Split(name, "/")
	if len(parts) != 4 {
		return "", "", fmt.Errorf("%q is not the path of an artifact", name)
	}
	for _, part := range parts {
		if !isPlainName(part) {
			return "", "", fmt.Errorf("%q is not the path of an artifact", name)
		}
	}
	return path.Dir(name), parts[3], nil
}

package testenv

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// GitSSH serves the repositories of a GitServer over ssh as well, by git's own
// upload-pack and receive-pack.
type GitSSH struct {
	// Addr is its host and port.
	Addr string
	// KnownHosts names its keys, in the form of a known_hosts file.
	KnownHosts string

	git      *GitServer
	listener net.Listener
	config   *ssh.ServerConfig

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// StartSSH lets the given key in, whatever the user's name. Without host keys
// the server makes one.
func (s *GitServer) StartSSH(ctx context.Context, authorized ssh.PublicKey, hostKeys ...ssh.Signer) (*GitSSH, error) {
	if len(hostKeys) == 0 {
		key, err := newHostKey()
		if err != nil {
			return nil, err
		}
		hostKeys = append(hostKeys, key)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting the Git server's ssh: %w", err)
	}
	g := &GitSSH{Addr: listener.Addr().String(), git: s, listener: listener, conns: map[net.Conn]struct{}{}}
	g.config = &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if !bytes.Equal(key.Marshal(), authorized.Marshal()) {
			return nil, errors.New("unknown key")
		}
		return &ssh.Permissions{}, nil
	}}
	for _, key := range hostKeys {
		g.config.AddHostKey(key)
		g.KnownHosts += knownhosts.Line([]string{g.Addr}, key.PublicKey()) + "\n"
	}
	go g.accept()
	return g, nil
}

// URL is where to clone a repository from.
func (g *GitSSH) URL(r *Repository) string { return "ssh://git@" + g.Addr + "/" + r.name + ".git" }

// Stop ends the server and cuts its connections.
func (g *GitSSH) Stop() {
	_ = g.listener.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	for conn := range g.conns {
		_ = conn.Close()
	}
}

func newHostKey() (ssh.Signer, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return ssh.NewSignerFromKey(private)
}

func (g *GitSSH) accept() {
	for {
		conn, err := g.listener.Accept()
		if err != nil {
			return // stopped
		}
		g.mu.Lock()
		g.conns[conn] = struct{}{}
		g.mu.Unlock()
		go g.serve(conn)
	}
}

func (g *GitSSH) serve(conn net.Conn) {
	defer func() {
		_ = conn.Close()
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.conns, conn)
	}()
	_, channels, requests, err := ssh.NewServerConn(conn, g.config)
	if err != nil {
		return // the client was told
	}
	go ssh.DiscardRequests(requests)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel() // git goes with the connection
	for offered := range channels {
		if offered.ChannelType() != "session" {
			_ = offered.Reject(ssh.UnknownChannelType, "sessions alone")
			continue
		}
		channel, requests, err := offered.Accept()
		if err != nil {
			return
		}
		go g.session(ctx, channel, requests)
	}
}

// session runs the one command of a session.
func (g *GitSSH) session(ctx context.Context, channel ssh.Channel, requests <-chan *ssh.Request) {
	defer func() { _ = channel.Close() }()
	for request := range requests {
		var command struct{ Line string }
		if request.Type != "exec" || ssh.Unmarshal(request.Payload, &command) != nil {
			_ = request.Reply(false, nil)
			continue
		}
		_ = request.Reply(true, nil)
		code := g.run(ctx, channel, command.Line)
		_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{code}))
		return
	}
}

// run runs git and returns its exit code.
func (g *GitSSH) run(ctx context.Context, channel ssh.Channel, line string) uint32 {
	const failed = 128
	service, path, _ := strings.Cut(line, " ")
	name := strings.TrimSuffix(strings.Trim(path, "'/"), ".git")
	if service != "git-upload-pack" && service != "git-receive-pack" {
		fmt.Fprintln(channel.Stderr(), "no such command")
		return failed
	}
	command := exec.CommandContext(ctx, g.git.git, strings.TrimPrefix(service, "git-"), filepath.Join(g.git.dir.path, filepath.Base(name)+".git"))
	command.Env = gitEnvironment()
	command.Stdout, command.Stderr = channel, channel.Stderr()
	in, err := command.StdinPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		fmt.Fprintln(channel.Stderr(), err)
		return failed
	}
	go func() {
		g.feed(in, channel, name, service)
		_ = in.Close()
	}()
	if err := command.Wait(); err != nil {
		return failed
	}
	return 0
}

// feed gives git what the client sends, and counts it: a client that only looks
// at the references ends with an empty packet.
func (g *GitSSH) feed(to io.Writer, from io.Reader, name, service string) {
	start := make([]byte, 4)
	n, _ := io.ReadFull(from, start)
	g.git.mu.Lock()
	if r := g.git.repositories[name]; r != nil && service == "git-upload-pack" {
		r.requests.count(true, string(start[:n]) == "0000" || n < len(start), true)
	}
	g.git.mu.Unlock()
	if _, err := to.Write(start[:n]); err == nil {
		_, _ = io.Copy(to, from) // ends with either of them
	}
}

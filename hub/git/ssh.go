package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"golang.org/x/crypto/ssh"

	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	sshPort        = 22
	sshDialTimeout = 15 * time.Second
)

// overSSH talks to a remote over ssh. It stands in for go-git's transport, which
// dials and shakes hands without a context, and reads files of this machine to
// know where to and with which keys.
type overSSH struct {
	login *sshLogin
	// prelude bounds the answers to requests.
	prelude func(io.Reader) io.Reader
}

// NewUploadPackSession prepares a conversation; nothing is sent yet.
func (o overSSH) NewUploadPackSession(to *transport.Endpoint, _ transport.AuthMethod) (transport.UploadPackSession, error) {
	return &sshSession{login: o.login, prelude: o.prelude, to: to, service: transport.UploadPackServiceName}, nil
}

// NewReceivePackSession prepares a conversation; nothing is sent yet.
func (o overSSH) NewReceivePackSession(to *transport.Endpoint, _ transport.AuthMethod) (transport.ReceivePackSession, error) {
	return &sshSession{login: o.login, prelude: o.prelude, to: to, service: transport.ReceivePackServiceName}, nil
}

// sshSession is one run of git-upload-pack or git-receive-pack at the remote. The
// connection is closed when a context ends that it was last called with.
type sshSession struct {
	login   *sshLogin
	prelude func(io.Reader) io.Reader
	to      *transport.Endpoint
	service string

	client  *ssh.Client
	command *ssh.Session
	in      io.WriteCloser
	out     io.Reader
	// said is the start of what the server printed on stderr.
	said said
	// asked says that the conversation went beyond the list.
	asked  bool
	unbind func() bool
}

// bind closes the connection when the context ends.
func (s *sshSession) bind(ctx context.Context, conn io.Closer) {
	if s.unbind != nil {
		s.unbind()
	}
	s.unbind = context.AfterFunc(ctx, func() { _ = conn.Close() })
}

func (s *sshSession) start(ctx context.Context) (err error) {
	port := s.to.Port
	if port == 0 {
		port = sshPort
	}
	addr := net.JoinHostPort(strings.Trim(s.to.Host, "[]"), strconv.Itoa(port))
	conn, err := (&net.Dialer{Timeout: sshDialTimeout}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	s.bind(ctx, conn)
	c, channels, requests, err := ssh.NewClientConn(conn, addr, s.login.config(s.to.User, addr))
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	s.client = ssh.NewClient(c, channels, requests)
	if s.command, err = s.client.NewSession(); err != nil {
		return err
	}
	s.command.Stderr = &s.said
	if s.in, err = s.command.StdinPipe(); err != nil {
		return err
	}
	if s.out, err = s.command.StdoutPipe(); err != nil {
		return err
	}
	return s.command.Start(s.service + " " + quoted(s.to.Path))
}

// quoted is the path as one word of a shell's command. A path that begins with a
// home directory is meant without its first slash.
func quoted(path string) string {
	if strings.HasPrefix(path, "/~") {
		path = path[1:]
	}
	return "'" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(path) + "'"
}

// AdvertisedReferences is for go-git's interface: nobody here calls it.
func (s *sshSession) AdvertisedReferences() (*packp.AdvRefs, error) {
	return s.AdvertisedReferencesContext(context.Background())
}

// AdvertisedReferencesContext connects and reads the list of references.
func (s *sshSession) AdvertisedReferencesContext(ctx context.Context) (*packp.AdvRefs, error) {
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	refs := packp.NewAdvRefs()
	err := refs.Decode(listed(ctx, s.out))
	pushes := s.service == transport.ReceivePackServiceName
	switch {
	case errors.Is(err, packp.ErrEmptyAdvRefs) && pushes:
	case errors.Is(err, packp.ErrEmptyAdvRefs):
		return nil, transport.ErrEmptyRemoteRepository
	case err != nil:
		return nil, s.explain(err)
	case refs.IsEmpty() && !pushes:
		return nil, transport.ErrEmptyRemoteRepository
	}
	transport.FilterUnsupportedCapabilities(refs.Capabilities)
	return refs, nil
}

// UploadPack asks for objects.
func (s *sshSession) UploadPack(ctx context.Context, request *packp.UploadPackRequest) (*packp.UploadPackResponse, error) {
	if err := request.Validate(); err != nil {
		return nil, err
	}
	s.asked = true
	s.bind(ctx, s.client)
	err := request.UploadRequest.Encode(s.in)
	if err == nil {
		err = request.UploadHaves.Encode(s.in, true)
	}
	if err == nil {
		err = pktline.NewEncoder(s.in).EncodeString("done\n")
	}
	if err != nil {
		return nil, s.explain(err)
	}
	response := packp.NewUploadPackResponse(request)
	if err := response.Decode(io.NopCloser(s.prelude(s.out))); err != nil {
		return nil, s.explain(err)
	}
	return response, nil
}

// ReceivePack brings objects and moves references.
func (s *sshSession) ReceivePack(ctx context.Context, request *packp.ReferenceUpdateRequest) (*packp.ReportStatus, error) {
	s.asked = true
	s.bind(ctx, s.client)
	err := request.Encode(s.in)
	if err == nil {
		err = s.in.Close()
	}
	if err != nil {
		return nil, s.explain(err)
	}
	if !request.Capabilities.Supports(capability.ReportStatus) {
		return nil, s.explain(s.command.Wait())
	}
	report := packp.NewReportStatus()
	if err := report.Decode(demultiplexed(request.Capabilities, s.prelude(s.out))); err != nil {
		return nil, s.explain(err)
	}
	return report, report.Error()
}

// Close ends the conversation and the connection.
func (s *sshSession) Close() error {
	var err error
	if s.in != nil && !s.asked {
		_, _ = s.in.Write(pktline.FlushPkt) // a polite end; the server may be gone
	}
	if s.client != nil {
		err = s.client.Close()
	}
	if s.unbind != nil {
		s.unbind()
	}
	return err
}

// explain says why the server ended a conversation, as far as it told.
func (s *sshSession) explain(err error) error {
	if err == nil {
		return nil
	}
	text := ""
	var line *pktline.ErrorLine
	switch {
	case errors.As(err, &line):
		text = line.Text
	case errors.Is(err, packp.ErrEmptyInput), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		_ = s.in.Close()
		_ = s.command.Wait() // until stderr is whole, or the context ends
		text = s.said.text()
	}
	switch lower := strings.ToLower(text); {
	case text == "":
		return err
	case strings.Contains(lower, "not found"), strings.Contains(lower, "does not exist"),
		strings.Contains(lower, "no such repository"), strings.Contains(lower, "could not be found"),
		strings.Contains(lower, "does not appear to be a git repository"):
		return transport.ErrRepositoryNotFound
	}
	return fmt.Errorf("the server says: %s", reconcile.OneLine(errors.New(text)))
}

// said keeps the first bytes that are written to it.
type said struct {
	mu    sync.Mutex
	start []byte
}

// Write takes everything and keeps little.
func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if room := maxErrorBytes - len(s.start); room > 0 {
		s.start = append(s.start, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

func (s *said) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.TrimSpace(string(s.start))
}

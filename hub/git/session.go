package git

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	"sigs.k8s.io/controller-runtime/pkg/client"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/access"
	"github.com/headwater-dev/headwater/internal/cloud"
	"github.com/headwater-dev/headwater/internal/queue"
)

const (
	// maxListBytes bounds a list of references: some 500,000 of them.
	maxListBytes = 64 << 20
	// smallList is how much of a list is read without a place: some 60,000 references.
	// In memory a list takes up to five times its size, garbage included.
	smallList = 4 << 20
	// maxPreludeBytes bounds what a server sends before a packfile, and its answer to
	// a push: a few lines, where one commit is asked for.
	maxPreludeBytes = 1 << 20
	// maxErrorBytes bounds what is read of the body of an error.
	maxErrorBytes = 4 << 10
)

// Opener opens sessions with remotes. It is safe for concurrent use.
type Opener struct {
	// Secrets reads the Secrets that spec.secretRef names: live, so that the
	// hub holds no Secret in memory for longer than it uses it.
	Secrets client.Reader
	// Transport carries the requests to remotes without TLS settings of their
	// own.
	Transport *http.Transport
	// SSH limits what ssh may use.
	SSH Algorithms
	// Clouds log in where spec.provider says so, and keep the logins of GitHub
	// Apps.
	Clouds *cloud.Logins
}

// Session is a conversation with one remote. It belongs to one goroutine.
type Session struct {
	obj      *sourcev1.GitRepository
	secret   string
	given    given
	remote   transport.Transport
	endpoint *transport.Endpoint
	auth     transport.AuthMethod
	done     func()
	// fetch is the part of the conversation that reads; nil before the list.
	fetch transport.UploadPackSession
	// answer is what is read of a server.
	answer *limited
	// stores are those with what was downloaded.
	stores []io.Closer
}

// Open prepares a session; nothing is sent yet. The caller calls Close. Errors
// have a reason, name the field, and hold no secret.
func (o *Opener) Open(ctx context.Context, obj *sourcev1.GitRepository) (*Session, error) {
	known, err := o.credentials(ctx, obj)
	if err != nil {
		return nil, err
	}
	s := &Session{obj: obj, secret: known.secret, auth: known.auth, done: func() {}}
	if s.endpoint, err = transport.NewEndpoint(obj.Spec.URL); err != nil {
		return nil, s.Failed(ctx, "parsing", err)
	}
	if known.ssh != nil {
		s.remote = overSSH{known.ssh, s.prelude}
		return s, nil
	}
	base, done, err := o.transport(ctx, obj, known)
	if err != nil {
		return nil, err
	}
	s.done = done
	if s.given, err = o.ask(ctx, obj, known, base); err != nil {
		done()
		return nil, err
	}
	if s.given.auth != nil {
		s.auth = s.given.auth
	}
	var carrier http.RoundTripper = base
	if known.tls != nil && len(known.tls.Certificates) > 0 {
		others := base.Clone()
		others.TLSClientConfig.Certificates = nil
		carrier = certified{s.endpoint, base, others}
		s.done = func() { done(); others.CloseIdleConnections() }
	}
	// Redirects of the first request alone are followed, and go-git drops the
	// credentials when they lead to another host.
	s.remote = githttp.NewClientWithOptions(&http.Client{Transport: bounded{carrier, s.prelude}},
		&githttp.ClientOptions{RedirectPolicy: githttp.FollowInitialRedirects})
	return s, nil
}

// certified shows the client certificate to the host of the endpoint alone: a
// redirect may lead to others.
type certified struct {
	to          *transport.Endpoint
	own, others *http.Transport
}

// RoundTrip sends the request.
func (c certified) RoundTrip(request *http.Request) (*http.Response, error) {
	at, err := transport.NewEndpoint(request.URL.String())
	if err == nil && at.Protocol == c.to.Protocol && strings.EqualFold(at.Host, c.to.Host) && at.Port == c.to.Port {
		return c.own.RoundTrip(request)
	}
	return c.others.RoundTrip(request)
}

// transport is the one to use for http: the shared one where the object has no
// settings of its own.
func (o *Opener) transport(ctx context.Context, obj *sourcev1.GitRepository, known credentials) (*http.Transport, func(), error) {
	secrets := access.Secrets{Reader: o.Secrets, Namespace: obj.Namespace}
	base, done, err := secrets.Transport(ctx, o.Transport, nil, obj.Spec.ProxySecretRef)
	if err != nil || known.tls == nil {
		return base, done, err
	}
	base = base.Clone()
	base.TLSClientConfig = known.tls
	return base, base.CloseIdleConnections, nil
}

// Close ends the session.
func (s *Session) Close() {
	s.hangUp()
	for _, store := range s.stores {
		_ = store.Close() // it was read from
	}
	s.done()
}

// at is where a conversation begins: a copy, for go-git writes into it where a
// redirect led, and the credentials are for where the spec says.
func (s *Session) at() *transport.Endpoint {
	at := *s.endpoint
	return &at
}

// hangUp ends the conversation that reads.
func (s *Session) hangUp() {
	if s.fetch != nil {
		_ = s.fetch.Close() // what was read is read
		s.fetch = nil
	}
}

// List asks for the remote's references: one request.
func (s *Session) List(ctx context.Context) (*packp.AdvRefs, error) {
	s.hangUp()
	fetch, err := s.remote.NewUploadPackSession(s.at(), s.auth)
	if err != nil {
		return nil, s.Failed(ctx, "opening", err)
	}
	s.fetch = fetch
	refs, err := fetch.AdvertisedReferencesContext(ctx)
	if err != nil {
		return nil, s.Failed(ctx, "listing the references", err)
	}
	return refs, nil
}

// prelude bounds the answer to a request until packfile says that it has got to
// what it is about.
func (s *Session) prelude(answer io.Reader) io.Reader {
	s.answer = &limited{answer, maxPreludeBytes, errPreludeTooLong}
	return s.answer
}

// packfile is the answer from where the packfile begins. Packfiles go to disk, and
// have a bound of their own.
func (s *Session) packfile(used *capability.List, answer io.Reader) io.Reader {
	pack := bufio.NewReader(demultiplexed(used, answer))
	if _, err := pack.Peek(1); err == nil {
		s.answer.left = math.MaxInt64
	}
	return pack // has the error as well
}

// bounded keeps a remote from filling our memory with an endless list of
// references, endless lines before a packfile, or an endless error.
type bounded struct {
	http.RoundTripper
	// prelude bounds what else is answered.
	prelude func(io.Reader) io.Reader
}

// RoundTrip sends the request and bounds the answer's body.
func (b bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := b.RoundTripper.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	switch {
	case response.StatusCode >= http.StatusMultipleChoices:
		response.Body = body{io.LimitReader(response.Body, maxErrorBytes), response.Body}
	case request.Method == http.MethodGet:
		response.Body = body{listed(request.Context(), response.Body), response.Body}
	default:
		response.Body = body{b.prelude(response.Body), response.Body}
	}
	return response, nil
}

type body struct {
	io.Reader
	io.Closer
}

// listed bounds a list of references. Of a large one the rest is read once the run
// has its place.
func listed(ctx context.Context, list io.Reader) io.Reader {
	return &limited{&growing{list, ctx, smallList}, maxListBytes, errListTooLong}
}

// growing is what is read without a place only while it is small.
type growing struct {
	r     io.Reader
	ctx   context.Context
	small int64
}

func (g *growing) Read(p []byte) (int, error) {
	if g.small <= 0 {
		if err := queue.Enter(g.ctx); err != nil {
			return 0, err
		}
	}
	n, err := g.r.Read(p)
	g.small -= int64(n)
	return n, err
}

var errListTooLong = fmt.Errorf("the list of references is longer than %d bytes", maxListBytes)

var errPreludeTooLong = fmt.Errorf("the server sends more than %d bytes besides what it was asked for", maxPreludeBytes)

// limited fails, rather than ends, at its limit: half of something must not pass for
// the whole.
type limited struct {
	r    io.Reader
	left int64
	err  error
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, l.err
	}
	return n, err
}
